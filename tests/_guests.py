"""Estimators that misbehave, and a small problem for them."""

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin

from mixexp import MixtureOfExpertsRegressor


def kink(n=120, seed=0):
    """Return rows around a kink at x = 5, far from the origin."""
    rng = np.random.default_rng(seed)
    X = rng.normal(5, 3, (n, 2))
    return X, np.abs(X[:, 0] - 5) * 2 + 0.1 * rng.normal(size=n)


def regressor(expert=None, **params):
    given = {"n_experts": 2, "n_init": 2, "max_iter": 8, "tol": 1e-2, "random_state": 0}
    return MixtureOfExpertsRegressor(expert, **{**given, **params})


class Shift(BaseEstimator):
    """A transformer that works in place, whatever it is given."""

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        if hasattr(X, "iloc"):
            for j in range(X.shape[1]):
                X.isetitem(j, X.iloc[:, j] - 100.0)
            X.iloc[:, :] = X.to_numpy() + 1.0
            return X
        X -= 99.0
        return X


class Greedy(RegressorMixin, BaseEstimator):
    """A regressor that raises `error`, in `fit` or in `predict`."""

    def __init__(self, error=None, where="fit"):
        self.error = error
        self.where = where

    def fit(self, X, y, sample_weight=None):
        if self.where == "fit":
            raise self.error
        return self

    def predict(self, X):
        raise self.error
