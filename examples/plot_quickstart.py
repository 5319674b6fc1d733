"""
===========================================
Fuel consumption: one line, or three experts
===========================================

How far a car goes on a gallon of petrol depends on its weight, its power and its age, but not in
the same way for all cars. A mixture of linear experts finds groups of cars by itself: a gate says
which expert to trust for which car, and each expert is a linear model of its own.

This example compares such a mixture with one ridge regression, says in words what the experts
have learnt, and draws their regions. It takes a few seconds and writes ``quickstart.png`` into
the working directory.
"""

# %%
# The table
# ---------
# 392 cars of the model years 1970 to 1982. Eight numbers are known of each; the target is its
# fuel consumption in miles per gallon (mpg).

import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict

from mixexp import MixtureOfExpertsRegressor
from mixexp.datasets import load_auto_mpg
from mixexp.inspection import ExpertRegionsDisplay

cars = load_auto_mpg()
X, y, names = cars.data, cars.target, cars.feature_names

# %%
# Against one ridge regression
# ----------------------------
# Both models predict every car from a fit that has not seen it (shuffled 5-fold cross-validation).
# The mixture scales columns itself, so the inputs go in as they are. Any number of experts from 3
# to 10 predicts about equally well here, and 3 are the easiest to read. README.md shows how to
# choose the number by a grid search.

ridge = RidgeCV(alphas=np.logspace(-3, 3, 13))
mixture = MixtureOfExpertsRegressor(n_experts=3, random_state=0)
folds = KFold(n_splits=5, shuffle=True, random_state=0)


def out_of_fold_rmse(model):
    """Return the root mean squared error of predictions for cars that the fit has not seen."""
    return np.sqrt(np.mean((cross_val_predict(model, X, y, cv=folds) - y) ** 2))


rmse_ridge, rmse_mixture = out_of_fold_rmse(ridge), out_of_fold_rmse(mixture)
print(f"RMSE, one ridge regression:      {rmse_ridge:.2f} mpg")
print(f"RMSE, mixture of {mixture.n_experts} experts:      {rmse_mixture:.2f} mpg")
print(f"ratio, mixture / ridge:          {rmse_mixture / rmse_ridge:.2f}")

# %%
# What the experts say
# --------------------
# Fitted on all cars. An expert's coefficient, times the standard deviation of that column over the
# expert's own cars, is an effect in mpg: so columns can be compared. An effect holds with all else
# equal. Weight, displacement and cylinders go together: do not read one of them alone as a cause.

mixture.fit(X, y)
expert_of_car = mixture.gate_proba(X).argmax(axis=1)
UNITS = {
    "cylinders": "more cylinders",
    "displacement": "cubic inches more displacement",
    "horsepower": "more horsepower",
    "weight": "pounds more weight",
    "acceleration": "seconds more from 0 to 60 miles per hour",
    "year": "model years later",
}
ORIGINS = {
    "origin_europe": "made in Europe, not the USA",
    "origin_japan": "made in Japan, not the USA",
}


def effect_in_words(name, coefficient, step):
    """Return what a coefficient means: the effect of `step` more, or of the origin."""
    if name in ORIGINS:
        change, what = coefficient, ORIGINS[name]
    else:
        change, what = coefficient * step, f"{step:.3g} {UNITS[name]}"
    return f"{what}: {abs(change):.1f} mpg {'more' if change > 0 else 'less'}"


def typical(column, own):
    """Return the median of a column over an expert's cars."""
    return np.median(X[own, names.index(column)])


for k in np.argsort(-mixture.usage_):
    own = expert_of_car == k
    coef, spread = mixture.experts_[k].coef_, X[own].std(axis=0)
    print(
        f"\nExpert {k} answers for {own.sum()} cars (share {mixture.usage_[k]:.0%}), typically "
        f"{typical('weight', own):.0f} pounds, {typical('horsepower', own):.0f} horsepower, model "
        f"year 19{typical('year', own):.0f}, {np.median(y[own]):.0f} mpg.\n"
        f"It is off by about {mixture.dispersions_[k]:.1f} mpg. Its strongest effects:"
    )
    for j in np.argsort(-np.abs(coef * spread))[:3]:
        print(f"  - {effect_in_words(names[j], coef[j], spread[j])}")

# %%
# Who answers where
# -----------------
# Weight and model year vary over the picture, all else is held at its median. The colour is that
# of the most probable expert, strong where the gate is sure. A point is a car, in the colour of its
# own expert: where it differs from the ground, the car is not the median in all else.

display = ExpertRegionsDisplay.from_estimator(
    mixture, X, features=(names.index("weight"), names.index("year"))
)
display.ax_.set(
    xlabel="weight (pounds)",
    ylabel="model year (19..)",
    title="Which expert answers for which car",
)
display.figure_.savefig("quickstart.png", dpi=150)
print("\nThe experts' regions are drawn in quickstart.png.")
