"""
======================================================
Intervals that cover, whatever the law: conformal ones
======================================================

`predict_interval` holds its share of targets if the densities are right. Where they are not, a
conformal step makes up for it: rows that were not fitted say by how much intervals are too narrow,
or too wide, and new rows are covered with at least the level on average, whatever the law of y
(Romano, Patterson & Candès 2019, Conformalized quantile regression).

MAPIE does it on top of `predict_quantile` (``pip install mapie``). Without MAPIE this example stops
before that step.
"""

# %%
# The data
# --------
# Two regimes, of which the right one has very skewed errors: no gaussian ones. The mixture is
# fitted to 30 rows only; 300 others are kept for the conformal step.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin

from mixexp import MixtureOfExpertsRegressor

try:
    from mapie.regression import ConformalizedQuantileRegressor
except ImportError:
    ConformalizedQuantileRegressor = None


def make_rows(n, seed):
    """Return features and targets."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-3, 3, n)
    even, skewed = 0.2 * rng.standard_normal(n), rng.lognormal(0, 1.3, n) - 1
    y = np.where(x < 0, 1 - x + even, 1 + 2 * x + skewed)
    return x[:, None], y


X, y = make_rows(30, seed=0)
X_calibration, y_calibration = make_rows(300, seed=1)
X_test, y_test = make_rows(10_000, seed=2)

# %%
# Intervals of the model
# ----------------------

LEVEL = 0.9
model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)


def coverage(low, high):
    """Return the share of test targets between two ends."""
    return np.mean((low <= y_test) & (y_test <= high))


low, high = model.predict_interval(X_test, LEVEL)
intervals = {"the model": (low, high)}
print(f"of the model: coverage {coverage(low, high):.3f}, mean width {np.mean(high - low):.2f}")

# %%
# Conformal intervals
# -------------------
# MAPIE takes three fitted estimators, of the low end, the high end and the median: here one mixture
# under three names. Their residuals on rows of their own move both ends.


class Quantile(RegressorMixin, BaseEstimator):
    """A quantile of a fitted mixture as the prediction of an estimator."""

    def __init__(self, model, level):
        self.model = model
        self.level = level

    def fit(self, X, y):
        """Note that the mixture is fitted."""
        self.fitted_ = True
        return self

    def predict(self, X):
        """Return the quantile of every row."""
        return self.model.predict_quantile(X, self.level)


if ConformalizedQuantileRegressor is None:
    print("MAPIE is not installed: no conformal intervals")
else:
    levels = ((1 - LEVEL) / 2, (1 + LEVEL) / 2, 0.5)
    conformal = ConformalizedQuantileRegressor(
        [Quantile(model, level).fit(X, y) for level in levels], confidence_level=LEVEL, prefit=True
    )
    conformal.conformalize(X_calibration, y_calibration)
    low, high = conformal.predict_interval(X_test)[1][:, :, 0].T
    intervals["conformal"] = low, high
    print(f"conformal:    coverage {coverage(low, high):.3f}, mean width {np.mean(high - low):.2f}")

# %%
# Where they cover
# ----------------
# The level is that of all rows together, on average over calibration tables: with 300 rows, one of
# them may end 2 % above or below. Coverage at a given x is still the model's affair: the conformal
# step moves the low ends by one number, and the high ends by another, for all x.

edges = np.linspace(-3, 3, 13)
bins = np.digitize(X_test[:, 0], edges[1:-1])
order = np.argsort(X_test[:, 0])
figure, axes = plt.subplots(
    2, len(intervals), figsize=(9.5, 6), sharex=True, sharey="row", squeeze=False,
    layout="constrained", height_ratios=[2, 1],
)  # fmt: skip
for (name, (low, high)), (above, below) in zip(intervals.items(), axes.T, strict=True):
    inside = (low <= y_test) & (y_test <= high)
    shown = np.arange(1500)
    for mask, color, label in ((inside, "0.6", "inside"), (~inside, "C3", "outside")):
        rows = shown[mask[shown]]
        above.scatter(X_test[rows], y_test[rows], s=5, color=color, label=label)
    above.fill_between(
        X_test[order, 0], low[order], high[order], color="C0", alpha=0.25, label="interval"
    )
    above.set(ylim=(-4, 20))
    above.set_title(f"{name}: {inside.mean():.1%} inside, mean width {np.mean(high - low):.2f}")
    shares = np.bincount(bins, inside) / np.bincount(bins)
    below.stairs(shares, edges, color="C0", linewidth=2)
    below.axhline(LEVEL, color="k", linestyle="--", linewidth=1)
    below.set(xlabel="x", ylim=(0, 1.05))
axes[0, 0].set_ylabel("y")
axes[0, 0].legend(loc="upper left", fontsize="small")
axes[1, 0].set_ylabel("share inside")

plt.show()
