"""
====================================
When some of the subtasks are known
====================================

Often somebody knows a little about who did what. ``expert_labels`` gives the expert of single rows,
which then stay with it. ``init`` takes a guess for all rows, from which EM starts and which it
corrects. This example follows two birds whose paths cross.
"""

# %%
# Two birds
# ---------
# A radar measures heights, 400 of them in an hour, and does not tell the birds apart. Each bird is
# an expert, a smooth curve of time; the gate is constant, as either may be measured at any time.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.preprocessing import SplineTransformer

from mixexp import MixtureOfExpertsRegressor
from mixexp.gates import ConstantGate

N = 400
rng = np.random.default_rng(0)
bird = rng.integers(0, 2, N)
time = rng.uniform(0, 60, N)
paths = [400 + 160 * np.sin(0.15 * time), 400 - 120 * np.sin(0.15 * time + 0.4)]
height = np.where(bird == 0, *paths) + 20 * rng.standard_normal(N)
X = time[:, None]


def new_mixture(**parameters):
    """Return an unfitted mixture of two curves."""
    return MixtureOfExpertsRegressor(
        n_experts=2,
        gate=ConstantGate(),
        expert_basis=SplineTransformer(14),
        random_state=0,
        **parameters,
    )


# %%
# Three fits
# ----------
# The first knows nothing. For the second, an observer recognised the bird in 16 of the 400 rows.
# For the third, somebody guessed the bird of every row, and was wrong in a quarter of them.

known = np.where(np.arange(N) < 16, bird, -1)
guess = np.where(rng.random(N) < 0.25, 1 - bird, bird)
fits = {
    "nothing is known": new_mixture().fit(X, height),
    "16 rows are known": new_mixture().fit(X, height, expert_labels=known),
    "all are guessed": new_mixture(init=guess).fit(X, height),
}
found, right = {}, {}
for name, model in fits.items():
    found[name] = model.responsibilities(X, height).argmax(axis=1)
    right[name] = np.mean(found[name] == bird)
    if name == "nothing is known":  # its experts have no names: the better of the two orders counts
        right[name] = max(right[name], 1 - right[name])
    print(f"{name:17s} {right[name]:.0%} of the rows are of the right bird")
print(f"the guess itself  {np.mean(guess == bird):.0%}")

# %%
# The picture
# -----------
# Colours are the experts, dashed lines the true paths. The first mixture has the birds turn back
# where they meet, and change names there. Paths that cross have the higher likelihood, but no start
# came near them. A few known rows (rings) on the way are enough. So is a bad guess for all, as its
# errors are spread over both birds; it is only a start, and no row keeps its label. In the last
# minutes, with few rows left, it lets the birds change names once more.

figure, axes = plt.subplots(3, 1, figsize=(9, 8), sharex=True, sharey=True, layout="constrained")
grid = np.linspace(time.min(), time.max(), 600)[:, None]
order = time.argsort()
for ax, (name, model) in zip(axes, fits.items(), strict=True):
    for k, color in enumerate(["C0", "C1"]):
        own = found[name] == k
        ax.scatter(time[own], height[own], s=12, color=color, alpha=0.6, linewidths=0)
        ax.plot(grid, model.predict_experts(grid)[:, k], color=color, linewidth=2.5)
        ax.plot(time[order], paths[k][order], "k--", linewidth=0.8)
    if name == "16 rows are known":
        rings = {"s": 70, "facecolors": "none", "edgecolors": "k"}
        ax.scatter(time[known >= 0], height[known >= 0], **rings)
    ax.set(ylabel="height, m", title=f"{name}: {right[name]:.0%} right")
axes[-1].set_xlabel("time, minutes")

plt.show()
