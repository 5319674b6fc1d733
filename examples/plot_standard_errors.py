"""
===========================================
How sure are the coefficients of an expert?
===========================================

The coefficients of linear experts have standard errors that count what is not known: which rows
belong to which expert. This example sets them beside a shortcut, which gives each row to its most
probable expert and then runs one ordinary regression per group, and both beside the truth.
"""

# %%
# Customers of two kinds
# ----------------------
# Simulated sales: bargain hunters buy much less at a higher price, regular customers hardly look at
# it. The higher the income, the more probable is a regular customer, but nobody knows who is who.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.linear_model import LinearRegression

from mixexp import MixtureOfExpertsRegressor
from mixexp.gates import SoftmaxGate

COLUMNS = ["price", "income", "distance"]
TRUTH = {"regular": [3.0, -0.3, 0.5, -0.2], "bargain hunter": [2.0, -1.5, 0.0, -0.6]}


def make_customers(n, seed):
    """Return features, sales, and the kind of each customer; columns are standardised."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.standard_normal((n, 3)), columns=COLUMNS)
    kind = (rng.random(n) > 1 / (1 + np.exp(-0.3 - 1.2 * X["income"]))).astype(int)
    lines = np.array(list(TRUTH.values()))[kind]
    y = lines[:, 0] + np.sum(lines[:, 1:] * X, axis=1) + rng.standard_normal(n)
    return X, y, kind


# %%
# The summary
# -----------
# For errors without a prior, experts and gate have no penalty. The kinds are given as the start, so
# that experts have a known order; EM moves the rows as it likes.


def fit(X, y, kind):
    """Return the fitted mixture."""
    model = MixtureOfExpertsRegressor(
        LinearRegression(), n_experts=2, gate=SoftmaxGate(alpha=0), init=kind
    )
    return model.fit(X, y)


X, y, kind = make_customers(800, seed=0)
model = fit(X, y, kind)
print(model.summary(X, y))

# %%
# Two kinds of intervals
# ----------------------
# The first are those of the summary, the others those of a regression for each group. Intervals of
# 95 % should hold the true coefficient in 95 of 100 tables.


def by_mixture(model, X, y):
    """Return the experts' coefficients and half widths of intervals, from the summary."""
    estimates = model.summary(X, y).estimates
    names = zip(estimates.parts, estimates.names, strict=True)
    keep = [part.startswith("expert") and name != "dispersion" for part, name in names]
    return estimates.estimates[keep], WIDTH * estimates.std_errors[keep]


def by_regressions(model, X, y):
    """Return the same from a regression on the rows of each expert."""
    owner = model.responsibilities(X, y).argmax(axis=1)
    found = []
    for k in range(2):
        A, own = np.column_stack([np.ones(len(X)), X])[owner == k], y[owner == k]
        coef, squares, *_ = np.linalg.lstsq(A, own, rcond=None)
        variance = squares[0] / (len(A) - A.shape[1]) * np.linalg.inv(A.T @ A).diagonal()
        found.append([coef, WIDTH * np.sqrt(variance)])
    return np.hstack(found)


WIDTH = norm.ppf(0.975)
METHODS = {"mixture": by_mixture, "regression per group": by_regressions}
true = np.concatenate(list(TRUTH.values()))
covers = {name: [] for name in METHODS}
for seed in range(1, 101):
    X_new, y_new, kind_new = make_customers(800, seed)
    refit = fit(X_new, y_new, kind_new)
    for name, method in METHODS.items():
        estimate, half = method(refit, X_new, y_new)
        covers[name].append(np.abs(estimate - true) <= half)
for name, inside in covers.items():
    print(f"{name:21s} {np.mean(inside):.0%} of the intervals hold the truth")

# %%
# The picture
# -----------
# Left: the slopes in one table, with their intervals; black strokes are the truth. Right: of 100
# tables, how often an interval held it. The shortcut takes the most probable expert for certain.
# Rows between both groups are filed under the nearer one, so that each group looks tidier than it
# is: intervals are too short, around estimates that are shifted.

figure, (forest, coverage) = plt.subplots(
    1, 2, figsize=(10, 4.4), sharey=True, layout="constrained", width_ratios=[2, 1]
)
slopes = np.flatnonzero(np.arange(len(true)) % (len(COLUMNS) + 1))
place = np.array([0, 1, 2, 4, 5, 6])
for (name, method), color, shift in zip(METHODS.items(), ["C0", "C3"], [-0.15, 0.15], strict=True):
    estimate, half = np.array(method(model, X, y))[:, slopes]
    style = {"color": color, "marker": "o", "linestyle": "", "label": name}
    forest.errorbar(estimate, place + shift, xerr=half, elinewidth=2.5, **style)
    coverage.plot(np.mean(covers[name], axis=0)[slopes], place + shift, **style)
forest.scatter(true[slopes], place, s=500, marker="|", color="k", zorder=3, label="truth")
forest.axvline(0, color="0.8", linewidth=1, zorder=0)
labels = [f"{kind}: {name}" for kind in TRUTH for name in COLUMNS]
forest.set(yticks=place, yticklabels=labels, xlabel="sales per standard deviation of a column")
forest.invert_yaxis()
forest.legend(loc="upper left", markerscale=0.6)
coverage.axvline(0.95, color="k", linestyle="--", linewidth=1)
coverage.set(xlabel="share of intervals with the truth", xlim=(0, 1.05))

plt.show()
