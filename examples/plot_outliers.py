"""
======================================
Lines with outliers: three ways to fit
======================================

A normal density has thin tails: a few gross outliers bend the line of an expert, or take an expert
of their own. Two remedies are compared here with the gaussian family. ``family="student_t"`` gives
the errors heavy tails, and estimates how heavy. ``noise_expert=True`` keeps normal errors and adds
an expert with a uniform density, which takes the rows that no line explains and says which they
are.
"""

# %%
# The data
# --------
# Two lines that meet at 0. One row in ten is replaced by a number between -15 and 15.

import matplotlib.pyplot as plt
import numpy as np

from mixexp import MixtureOfExpertsRegressor


def true_line(x):
    """Return the regression function of the rows that are no outliers."""
    return np.where(x > 0, 2 - 3 * x, 2 + 2 * x)


def make_rows(n, share, seed):
    """Return features, targets, and which rows are outliers: about this share of them."""
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
# The error is that of the predicted line. The density is that of 4000 new rows without outliers:
# the mean of its logarithm, larger is better.

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
# The true standard deviation is 0.5. In the gaussian mixture one expert has a much larger one: it
# makes room for outliers, and its line suffers. The scale of student_t is not a standard deviation:
# with two or fewer degrees of freedom the tails are so heavy that the variance is infinite.

print("degrees of freedom:", models["student_t"].degrees_of_freedom_.round(2))

# %%
# Which rows are outliers
# -----------------------
# With `noise_expert` the last column of the responsibilities says how likely a row is an outlier.
# Outliers that fall near a line cannot be told.

noise = models["noise_expert"].responsibilities(X, y)[:, -1] > 0.5
print(f"{outlier.sum()} outliers; {np.sum(noise & outlier)} of them found")
print(f"{np.sum(~outlier)} other rows; {np.sum(noise & ~outlier)} of them taken for outliers")

figure, axes = plt.subplots(1, 3, figsize=(11, 3.8), sharey=True, layout="constrained")
for ax, (name, model) in zip(axes, models.items(), strict=True):
    ax.scatter(X, y, s=8, color="0.7")
    if name == "noise_expert":
        ax.scatter(X[noise], y[noise], s=10, color="C3", label="taken for an outlier")
    ax.plot(grid, model.predict(grid[:, None]), color="C0", linewidth=2, label="prediction")
    ax.plot(grid, true_line(grid), "k--", linewidth=1, label="true line")
    ax.set(title=name, xlabel="x", ylim=(-23, 16))
    ax.legend(loc="lower left", fontsize="small")
axes[0].set_ylabel("y")

plt.show()
