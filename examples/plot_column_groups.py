"""
=====================================
Columns that belong to single experts
=====================================

Often it is known which columns can matter in which regime. A list of lists as `expert_features`
gives each expert columns of its own: fewer coefficients, which fewer rows can bear.
"""

# %%
# Power in three regimes
# ----------------------
# Simulated demand on a power grid. Five columns each describe heating, factories and cooling. When
# it is cold, only those of heating matter, when it is hot those of cooling, and in between those of
# factories. The temperature chooses, and it alone.

import matplotlib.pyplot as plt
import numpy as np

from mixexp import MixtureOfExpertsRegressor
from mixexp.gates import SoftmaxGate

GROUPS = ["heating", "factories", "cooling"]
SIZE = 5  # columns of a group
COEF = np.zeros((3, 3 * SIZE))
for k in range(3):
    COEF[k, k * SIZE : (k + 1) * SIZE] = [3.0, -2.0, 2.0, 1.5, -1.0]


def make_days(n, seed):
    """Return columns with the temperature last, demand, and the regime of each row."""
    rng = np.random.default_rng(seed)
    temperature = rng.uniform(-10, 35, n)
    regime = np.digitize(temperature, [7, 22])
    columns = rng.standard_normal((n, 3 * SIZE))
    y = 50 + 5 * regime + np.sum(COEF[regime] * columns, axis=1) + 1.5 * rng.standard_normal(n)
    return np.column_stack([columns, temperature]), y, regime


# %%
# All columns, or one's own
# -------------------------
# One mixture has all columns in all experts. In the other, expert k sees group k only, so its
# number is known beforehand. Both gates see the temperature, and a small penalty lets borders be
# sharp. The error is that of 5000 new days, averaged over three training tables.

EVERY = list(range(3 * SIZE))
SEEN = {"all columns": EVERY, "own columns": [EVERY[k * SIZE : (k + 1) * SIZE] for k in range(3)]}
X_new, y_new, _ = make_days(5000, seed=100)
ROWS = [90, 130, 200, 400, 1000]


def fit(n, name, seed):
    """Return the mixture that sees its columns as `name` says."""
    model = MixtureOfExpertsRegressor(
        n_experts=3,
        expert_features=SEEN[name],
        gate_features=[3 * SIZE],
        gate=SoftmaxGate(alpha=0.01),
        n_init=4,
        random_state=0,
    )
    return model.fit(*make_days(n, seed)[:2])


def error(model):
    """Return the root mean squared error of new days."""
    return np.sqrt(np.mean((model.predict(X_new) - y_new) ** 2))


rmse = {name: [np.mean([error(fit(n, name, s)) for s in range(3)]) for n in ROWS] for name in SEEN}
print("training rows", *ROWS, sep="\t")
for name, errors in rmse.items():
    print(f"{name}, GW", *np.round(errors, 2), sep="\t")


def coefficients(model):
    """Return coefficients for a cold, mild and hot day; NaN where a column is not seen."""
    days = np.zeros((3, X_new.shape[1]))
    days[:, -1] = [0, 15, 30]
    experts = model.gate_proba(days).argmax(axis=1)
    found = np.full((3, 3 * SIZE), np.nan)
    for row, k in zip(found, experts, strict=True):
        seen = model.expert_features
        row[seen if seen == EVERY else seen[k]] = model.experts_[k].coef_
    return found


# %%
# The picture
# -----------
# Left: coefficients of the experts for cold, mild and hot days, from 130 days. With all columns,
# the ten that say nothing take up noise in every expert. Where columns are not seen (blank), there
# is nothing to take up. Right: the fewer the days, the more this helps; a thousand days say by
# themselves which columns matter.

figure = plt.figure(figsize=(11, 5), layout="constrained")
axes = figure.subplot_mosaic([["truth", "curve"], ["all", "curve"], ["own", "curve"]])
shown = {"truth": COEF, "all": fit(130, "all columns", 0), "own": fit(130, "own columns", 0)}
for key, what in shown.items():
    ax, table = axes[key], what if key == "truth" else coefficients(what)
    image = ax.imshow(table, cmap="RdBu_r", vmin=-3.5, vmax=3.5, aspect="auto")
    ax.set(yticks=range(3), yticklabels=["cold", "mild", "hot"], xticks=[])
    ax.set_title(key if key == "truth" else f"{key} columns", fontsize="medium")
axes["own"].set_xticks([SIZE * k + (SIZE - 1) / 2 for k in range(3)], GROUPS)
figure.colorbar(image, ax=[axes[key] for key in shown], label="coefficient, GW per unit")
for (name, errors), style in zip(rmse.items(), ["o-", "s--"], strict=True):
    axes["curve"].plot(ROWS, errors, style, label=name)
axes["curve"].axhline(1.5, color="0.5", linewidth=1, linestyle=":", label="noise alone")
axes["curve"].set(xscale="log", xlabel="training rows (days)", ylabel="RMSE of new days, GW")
axes["curve"].set_xticks(ROWS, ROWS)
axes["curve"].minorticks_off()
axes["curve"].legend()

plt.show()
