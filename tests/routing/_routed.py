"""Data with pieces, estimators that count their rows, and slow formulas that several files use."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.linear_model import LogisticRegression, Ridge

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor

#: Short runs: most tests do not need the end of EM.
FEW = {"init": "kmeans", "n_init": 1, "max_iter": 6, "random_state": 0}


def pieces(n=240, k=4, seed=0, noise=0.3, d=2):
    """Return X, y and the piece of each row: lines that jump between strips of the first column."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2, 2, (n, d))
    z = np.minimum((X[:, 0] + 2) * k / 4, k - 1).astype(int)
    slopes = np.array([3.0, -2.0, 1.0, -3.0, 2.0, -1.0, 2.5, -2.5])[z]
    return X, slopes * X[:, 1] + 2.0 * (z % 3) + noise * rng.standard_normal(n), z


def class_pieces(n=240, k=4, seed=0, n_classes=2):
    """Return X and classes whose boundary differs between strips of the first column."""
    X, y, _ = pieces(n, k, seed)
    cuts = np.quantile(y, np.arange(1, n_classes) / n_classes)
    return X, np.array(["ash", "elm", "oak"])[np.searchsorted(cuts, y)]


def regressor(expert=None, **params):
    """Return a mixture whose predictions are the pooled outputs of its experts, not bounded."""
    given = {"n_experts": 4, "bound_predictions": False, **FEW}
    return MixtureOfExpertsRegressor(expert, **{**given, **params})


def classifier(expert=None, **params):
    return MixtureOfExpertsClassifier(expert, **{"n_experts": 4, **FEW, **params})


class Counting(BaseEstimator):
    """Counts the rows of its fit, and of each call to predict."""

    def fit(self, X, y, sample_weight=None):
        self.n_fitted_, self.X_fitted_, self.weight_, self.calls_ = len(X), X, sample_weight, []
        self.model_ = self.kind().fit(X, y, sample_weight)
        if hasattr(self.model_, "classes_"):
            self.classes_ = self.model_.classes_
        return self

    def predict(self, X):
        self.calls_.append(len(X))
        return self.model_.predict(X)


class CountingRidge(RegressorMixin, Counting):
    kind = Ridge


class CountingLogistic(ClassifierMixin, Counting):
    kind = LogisticRegression

    def predict_proba(self, X):
        self.calls_.append(len(X))
        return self.model_.predict_proba(X)


def forget_calls(model):
    """Begin to count calls anew."""
    for expert in model.experts_:
        if hasattr(expert, "calls_"):
            expert.calls_.clear()
