"""
======================================
Lines with outliers: three ways to fit
======================================

A normal density has thin tails: a few gross outliers bend an expert's line, or capture a whole
expert. This example compares the gaussian family with two remedies. ``family="student_t"`` gives
the errors heavy tails and estimates how heavy they are. ``noise_expert=True`` keeps normal errors
and adds an expert with a uniform density, which absorbs outliers and identifies them.
"""

# %%
# The data
# --------
# Two lines that meet at 0. One row in ten is replaced by a number between -15 and 15.

import matplotlib.pyplot as plt
import numpy as np

from mixexp import MixtureOfExpertsRegressor


def true_line(x):
    """Return the regression function without outliers."""
    return np.where(x > 0, 2 - 3 * x, 2 + 2 * x)


def make_rows(n, share, seed):
    """Return features, targets, and a mask of outliers; `share` is their expected share."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-3, 3, n)
    outlier = rng.random(n) < share
    y = np.where(outlier, rng.uniform(-15, 15, n), true_line(x) + 0.5 * rng.standard_normal(n))
    return x[:, None], y, outlier


X, y, outlier = make_rows(400, 0.1, seed=0)
X_new, y_new, _ = make_rows(4000, 0.0, seed=1)

# %%
# Three fits
# ----------
# The error is the RMSE of the predicted line. The log-density is the mean over 4000 test rows
# without outliers; larger is better.

models = {
    "gaussian": MixtureOfExpertsRegressor(n_experts=2, random_state=0),
    "student_t": MixtureOfExpertsRegressor(n_experts=2, family="student_t", random_state=0),
    "noise_expert": MixtureOfExpertsRegressor(n_experts=2, noise_expert=True, random_state=0),
}
grid = np.linspace(-3, 3, 301)
print("              error   log-density   dispersions")
for name, model in models.items():
    model.fit(X, y)
    error = np.sqrt(np.mean((model.predict(grid[:, None]) - true_line(grid)) ** 2))
    density = model.log_density(X_new, y_new).mean()
    print(f"{name:13s} {error:.2f}    {density:.2f}         {model.dispersions_.round(2)}")

# %%
# The true standard deviation is 0.5. In the gaussian mixture one expert needs a much larger one to
# accommodate the outliers, and its line suffers. The scale of student_t is not a standard
# deviation: with two or fewer degrees of freedom the variance is infinite.

print("degrees of freedom:", models["student_t"].degrees_of_freedom_.round(2))

# %%
# Which rows are outliers?
# ------------------------
# With `noise_expert`, the last column of the responsibilities is the probability that a row is an
# outlier. Outliers that happen to fall near a line cannot be identified.

noise = models["noise_expert"].responsibilities(X, y)[:, -1] > 0.5
print(f"{outlier.sum()} outliers; {np.sum(noise & outlier)} of them identified")
print(f"{np.sum(~outlier)} other rows; {np.sum(noise & ~outlier)} of them mistaken for outliers")

# %%
# The picture
# -----------
# Above, the rows; those that the noise expert identifies are red. Below, how far each prediction is
# from the true line, on a scale thirty times as fine.

figure, (above, below) = plt.subplots(
    2, 1, figsize=(7, 6), sharex=True, layout="constrained", height_ratios=[1, 1.2]
)
above.scatter(X[~noise], y[~noise], s=8, color="0.6", label="other rows")
above.scatter(X[noise], y[noise], s=14, color="C3", label="identified as outliers")
above.plot(grid, true_line(grid), "k--", linewidth=1, label="true line")
above.set(ylabel="y", title="Rows")
for (name, model), style in zip(models.items(), ["-", "--", "-."], strict=True):
    below.plot(grid, model.predict(grid[:, None]) - true_line(grid), style, label=name)
below.axhline(0, color="0.4", linewidth=1, zorder=0)
below.set(xlabel="x", ylabel="prediction − true line", title="Error of the predicted line")
for ax in (above, below):
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")

plt.show()
