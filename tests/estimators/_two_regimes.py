"""Two overlapping regimes, mixtures to fit on them, and when two fits are the same."""

from functools import cache

import numpy as np
import pandas as pd
import polars as pl
import sklearn
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor

# Tight enough that two ways to one optimum agree to six digits.
TIGHT = {"tol": 1e-14, "max_iter": 20_000}


def two_lines(n=200, seed=0, n_outputs=None):
    """Two overlapping regimes, so that neither gate nor experts separate."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2, 2, (n, 3))
    first = rng.random(n) < 1 / (1 + np.exp(3 * X[:, 0] - X[:, 1]))
    y = np.where(first, 1 + 2 * X[:, 0] - X[:, 1], -1 - X[:, 0] + X[:, 2])
    y = y + np.where(first, 0.3, 0.6) * rng.standard_normal(n)
    if n_outputs is None:
        return X, y
    more = [y] + [np.where(first, j * X[:, 1], -X[:, 2]) for j in range(1, n_outputs)]
    return X, np.column_stack(more) + 0.2 * rng.standard_normal((n, n_outputs))


def two_boundaries(n=200, seed=0, n_classes=2):
    """Classes whose boundary differs between two overlapping regimes; some label noise."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2, 2, (n, 3))
    first = rng.random(n) < 1 / (1 + np.exp(3 * X[:, 0]))
    score = np.where(first, X[:, 1] - X[:, 0], X[:, 2] + X[:, 0]) + 0.5 * rng.standard_normal(n)
    cuts = np.quantile(score, np.arange(1, n_classes) / n_classes)
    return X, np.searchsorted(cuts, score)


def soft_start(n, k=2, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(k), n)


def data_for(model, **options):
    return (two_boundaries if sklearn.base.is_classifier(model) else two_lines)(**options)


def outputs_of(model, X):
    """What a user looks at, in one array a kind."""
    kinds = ["predict", "predict_proba"] if sklearn.base.is_classifier(model) else ["predict"]
    return [getattr(model, kind)(X) for kind in [*kinds, "gate_proba", "predict_experts"]]


def assert_same_fit(one, other, X, X_other=None, rtol=1e-6, atol=1e-7):
    for a, b in zip(
        outputs_of(one, X), outputs_of(other, X if X_other is None else X_other), strict=True
    ):
        if a.dtype.kind == "f":
            assert_allclose(a, b, rtol=rtol, atol=atol)
        else:
            assert np.mean(a == b) > 0.99  # a tie may break either way
    assert_allclose(one.lower_bound_, other.lower_bound_, rtol=rtol, atol=atol)
    assert_allclose(one.usage_, other.usage_, rtol=rtol, atol=atol)


# What is fitted expert by expert is costly: two fits are the same after a few iterations or never.
FEW = {"n_init": 2, "max_iter": 8, "random_state": 0}

REGRESSORS = {
    "default": MixtureOfExpertsRegressor(n_experts=2, n_init=3, random_state=0),
    "ridge": MixtureOfExpertsRegressor(Ridge(0.5), 2, n_init=3, random_state=0),
    "linear": MixtureOfExpertsRegressor(LinearRegression(), 2, n_init=3, random_state=0),
    "tree": MixtureOfExpertsRegressor(DecisionTreeRegressor(max_depth=2), 2, cross_fit=2, **FEW),
    "pipeline": MixtureOfExpertsRegressor(
        make_pipeline(StandardScaler(with_mean=False), Ridge(0.5)), 2, **FEW
    ),
}
CLASSIFIERS = {
    "default": MixtureOfExpertsClassifier(n_experts=2, n_init=3, random_state=0),
    "logistic": MixtureOfExpertsClassifier(LogisticRegression(), 2, n_init=3, random_state=0),
    "tree": MixtureOfExpertsClassifier(DecisionTreeClassifier(max_depth=2), 2, cross_fit=2, **FEW),
    "pipeline": MixtureOfExpertsClassifier(
        make_pipeline(StandardScaler(with_mean=False), LogisticRegression(tol=1e-8)), 2, **FEW
    ),
}
MODELS = {f"{kind}-regressor": model for kind, model in REGRESSORS.items()} | {
    f"{kind}-classifier": model for kind, model in CLASSIFIERS.items()
}


@cache
def fit_once(key, n_classes=2):
    model = clone(MODELS[key])
    X, y = two_boundaries(n_classes=n_classes) if "classifier" in key else two_lines()
    return model.fit(X, y)


class Straight(LinearRegression):
    """Has no bank, being a subclass."""


FRAMES = {
    "pandas": lambda X: pd.DataFrame(X, columns=["a", "b", "c"]),
    "polars": lambda X: pl.DataFrame(X, schema=["a", "b", "c"]),
}


def calibrated(model, k, proba, y):
    """Return an expert's probabilities as the docstring of `exponents_` says."""
    power = np.maximum(proba, 1e-12) ** model.exponents_[k]
    shares = np.bincount(y) / len(y)
    smooth = model.smoothing_[k]
    return (1 - smooth) * power / power.sum(axis=1, keepdims=True) + smooth * shares
