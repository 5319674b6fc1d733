"""Drafts and full models that count what they are asked, and two small problems."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin


class Counting:
    """Counts calls and rows in the class, since cascades clone their estimators."""

    calls, rows = 0, 0

    @classmethod
    def reset(cls):
        cls.calls = cls.rows = 0

    def asked(self, X):
        type(self).calls += 1
        type(self).rows += X.shape[0]


class Sign(Counting, ClassifierMixin, BaseEstimator):
    """Class 1 where x0 > cut, surer the further away, but for rows in a band `wrong` of x1."""

    def __init__(self, cut=0.0, band=-2.0):
        self.cut = cut
        self.band = band

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.n_features_in_ = X.shape[1]
        return self

    def predict_proba(self, X):
        self.asked(X)
        X = np.asarray(X)
        p = 1 / (1 + np.exp(-3 * (X[:, 0] - self.cut)))
        p = np.where(X[:, 1] < self.band, 1 - p, p)
        return np.column_stack([1 - p, p])

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


class Draft(Sign):
    """A `Sign` with counts of its own."""

    calls, rows = 0, 0


class Full(Sign):
    """A `Sign` with counts of its own."""

    calls, rows = 0, 0


class Line(Counting, RegressorMixin, BaseEstimator):
    """The line x0, plus `bend` times what x1 has above 0."""

    def __init__(self, bend=0.0):
        self.bend = bend

    def fit(self, X, y):
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X):
        self.asked(X)
        X = np.asarray(X)
        return X[:, 0] + self.bend * np.maximum(X[:, 1], 0)


class DraftLine(Line):
    calls, rows = 0, 0


class FullLine(Line):
    calls, rows = 0, 0


class StdLine(DraftLine):
    """A line that knows where it is off."""

    def predict(self, X, return_std=False):
        mean = super().predict(X)
        return (mean, np.maximum(np.asarray(X)[:, 1], 0)) if return_std else mean


def two_classes(n=600, seed=0):
    X = np.random.default_rng(seed).uniform(-1, 1, (n, 2))
    return X, (X[:, 0] > 0).astype(int)


def bent(n=600, seed=0):
    X = np.random.default_rng(seed).uniform(-1, 1, (n, 2))
    return X, X[:, 0] + np.maximum(X[:, 1], 0)
