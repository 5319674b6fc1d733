"""
=================
How many experts?
=================

To predict, take the number of experts that does best on rows held out. It is tempting to read that
number as a number of groups. This example chooses it where three groups are there, and on a curve
that has none, from few rows and from many.
"""

# %%
# Three lines, and a curve
# ------------------------
# One table follows three lines. The other follows part of a sine, with the same noise.

import matplotlib.pyplot as plt
import numpy as np

from mixexp import MixtureOfExpertsRegressor
from mixexp.datasets import make_piecewise_linear
from mixexp.selection import SelectionDisplay, select_n_experts


def make_lines(n):
    """Return rows of three lines."""
    return make_piecewise_linear(n, n_regions=3, noise=0.3, random_state=3)


def make_curve(n):
    """Return rows of one smooth curve."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, n)
    return x[:, None], 2 * np.sin(3.5 * x) + 0.3 * rng.standard_normal(n)


# %%
# Candidates
# ----------
# `select_n_experts` fits one to six experts and computes all criteria of each. The likelihood
# hardly ever falls when an expert is added, so it does not say when to stop. BIC charges for every
# parameter. CV is the log-density of rows that three refits did not see; the smallest number within
# one standard error of the best is taken.

ROWS = {150: "0.55", 1200: "C0"}  # and colours
tables, found = {}, {}
for make in (make_lines, make_curve):
    for n in ROWS:
        X, y = tables[make, n] = make(n)
        model = MixtureOfExpertsRegressor(random_state=0)
        found[make, n] = select_n_experts(model, X, y, n_experts=range(1, 7), criterion="cv")
print(found[make_lines, 150])

# %%
# ``n_experts="auto"`` decides within a single fit, without refits, by AIC with a factor of 3.

print("\n                     CV  BIC  auto")
for (make, n), selection in found.items():
    auto = MixtureOfExpertsRegressor(n_experts="auto", random_state=0).fit(*tables[make, n])
    best = selection.n_experts[selection.bic.argmin()]
    name = f"{make.__name__[5:]}, {n} rows"
    print(f"{name:18s} {selection.n_experts_:4d} {best:4d} {auto.n_experts_:5d}")

# %%
# The picture
# -----------
# From left to right: what was chosen from few rows, and from many, each expert where the gate
# trusts it most; and the criterion with the chosen number, and bars for the standard error of the
# gap to the best.
#
# Above, three is the answer of both, and a fourth expert gains nothing. Below, four pieces are all
# that 150 rows can tell from noise; 1200 rows show that the pieces are bent, and more of them
# predict better. That number says how finely a curve is cut, not how many groups there are.

figure, axes = plt.subplots(2, 3, figsize=(11, 6), sharex="col", layout="constrained")
for make, (*panels, criterion) in zip((make_lines, make_curve), axes, strict=True):
    for n, ax in zip(ROWS, panels, strict=True):
        (X, y), model = tables[make, n], found[make, n].best_estimator_
        ax.scatter(X, y, s=5, color="0.75", linewidths=0)
        grid = np.linspace(-1, 1, 400)[:, None]
        lines, owner = model.predict_experts(grid), model.gate_proba(grid).argmax(axis=1)
        for k in range(model.n_experts):
            ax.plot(grid[owner == k], lines[owner == k, k], linewidth=3)
        ax.set(title=f"{make.__name__[5:]}, {n} rows: {model.n_experts} experts")
        SelectionDisplay.from_selection(
            found[make, n],
            ax=criterion,
            line_kwargs={"color": ROWS[n], "label": f"{n} rows"},
            chosen_kwargs={"color": ROWS[n], "linestyle": "--" if n == 150 else ":", "label": "_"},
        )
    panels[0].set(ylabel="y", ylim=panels[1].get_ylim())
for ax in axes[1, :2]:
    ax.set_xlabel("x")
axes[0, 2].set_xlabel("")
axes[0, 2].legend(loc="lower right")
axes[1, 2].get_legend().remove()

plt.show()
