"""
============================================
Fuel consumption: one line, or three experts
============================================

The fuel consumption of a car depends on its weight, its power and its age, but not in the same way
for all cars. A mixture of linear experts learns groups of cars from the data: each expert is a
linear model, and a gate decides which expert to trust for which car.

This example compares such a mixture with a single ridge regression, describes the experts in
words, and draws their regions. It takes a few seconds and writes ``quickstart.png`` to the working
directory.
"""

# %%
# The table
# ---------
# The table holds 392 cars of the model years 1970 to 1982, with eight features each; the target is
# the fuel consumption in miles per gallon (mpg).

import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict

from mixexp import MixtureOfExpertsRegressor, describe_experts
from mixexp.datasets import load_auto_mpg
from mixexp.inspection import ExpertRegionsDisplay

cars = load_auto_mpg()
X, y, names = cars.data, cars.target, cars.feature_names

# %%
# Comparison with a ridge regression
# ----------------------------------
# We compare out-of-fold predictions from a shuffled 5-fold cross-validation. The mixture scales
# columns internally, so no preprocessing is needed. Any number of experts from 3 to 10 gives an
# error of 2.6 to 2.8 mpg here, and 3 are the easiest to interpret. README.md shows how to choose
# the number with a grid search.

ridge = RidgeCV(alphas=np.logspace(-3, 3, 13))
mixture = MixtureOfExpertsRegressor(n_experts=3, random_state=0)
folds = KFold(n_splits=5, shuffle=True, random_state=0)


def out_of_fold_rmse(model):
    """Return the root mean squared error of out-of-fold predictions."""
    return np.sqrt(np.mean((cross_val_predict(model, X, y, cv=folds) - y) ** 2))


rmse_ridge, rmse_mixture = out_of_fold_rmse(ridge), out_of_fold_rmse(mixture)
print(f"RMSE, one ridge regression:      {rmse_ridge:.2f} mpg")
print(f"RMSE, mixture of {mixture.n_experts} experts:      {rmse_mixture:.2f} mpg")
print(f"ratio, mixture / ridge:          {rmse_mixture / rmse_ridge:.2f}")

# %%
# The experts in words
# --------------------
# The mixture is now fitted on all cars. For each expert, ``describe_experts`` says which cars it
# answers, by rules that a small tree found, and how far these rules agree with the mixture (the
# fidelity). Then come the columns that move its prediction most: the change in mpg from the low to
# the high values among its own cars, all else equal. Weight, displacement and cylinders are
# strongly correlated, so none of them alone should be read as a cause.

mixture.fit(X, y)
description = describe_experts(mixture, X, y, feature_names=names)
print(f"\n{description}")

# %%
# Regions of the experts
# ----------------------
# The picture varies weight and model year and holds all other features at their medians. Colours
# show the most probable expert, strong where the gate is certain. Each point is a car in the colour
# of its most probable expert. For a third of the cars it differs from the background, as their
# other features are far from the medians.

display = ExpertRegionsDisplay.from_estimator(
    mixture, X, features=("weight", "year"), feature_names=names
)
display.ax_.set(
    xlabel="weight (pounds)",
    ylabel="model year (19..)",
    title="Regions of the experts, other features at medians",
)
display.figure_.savefig("quickstart.png", dpi=150)
print("\nRegions of the experts: see quickstart.png.")
