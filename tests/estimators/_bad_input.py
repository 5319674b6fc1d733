"""Cases of bad input, and the check that every one of them goes through."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor

MIXTURES = {"Regressor": MixtureOfExpertsRegressor, "Classifier": MixtureOfExpertsClassifier}
BOTH, REGRESSOR, CLASSIFIER = tuple(MIXTURES), ("Regressor",), ("Classifier",)


def sound_data(kind, n=60):
    """Rows that every mixture can be fitted on."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (n, 3))
    score = np.where(X[:, 0] > 0, 2 * X[:, 1], -X[:, 1]) + 0.3 * rng.standard_normal(n)
    return X, score if kind == "Regressor" else (score > 0).astype(int)


def fit(model, X, y, weight):
    return model.fit(X, y) if weight is None else model.fit(X, y, sample_weight=weight)


def after_fit(method: Callable) -> Callable:
    """Fit on sound rows, then call a method with the input in question."""

    def call(model, X, y, weight):
        kind = "Regressor" if hasattr(model, "family") else "Classifier"
        model.fit(*sound_data(kind))
        return method(model, X, y)

    return call


@dataclass
class Case:
    """One kind of input, and what has to come of it.

    `message` None means that a finite result has to, with a `warning` where there is one; `{name}`
    in both is the class of the mixture.
    """

    name: str
    message: str | None
    kinds: tuple[str, ...] = BOTH
    error: Any = ValueError
    data: Callable = lambda X, y: (X, y, None)
    call: Callable = fit
    parameters: dict = field(default_factory=dict)
    warning: str | None = None


def with_value(value):
    """Put a value into X."""

    def data(X, y):
        X = X.copy()
        X[3, 1] = value
        return X, y, None

    return data


def with_target(value):
    def data(X, y):
        y = y.astype(float)
        y[3] = value
        return X, y, None

    return data


def with_weight(change):
    """Weights of one, changed."""

    def data(X, y):
        return X, y, change(np.ones(len(y)))

    return data


def at(index, value):
    def change(a):
        a = np.array(a)
        a[index] = value
        return a

    return change


def frame(X, y):
    return pd.DataFrame(X, columns=["a", "b", "c"]), y, None


N = 60


def outputs(model, X):
    names = ["gate_proba", "predict_experts", "predict_proba"]
    return [getattr(model, name)(X) for name in names if hasattr(model, name)] + [
        np.asarray(model.predict(X), dtype=float)
    ]


def every(cases):
    """Return the decorator that runs a test on every case for every kind of mixture."""
    return pytest.mark.parametrize(
        "kind, case",
        [(kind, case) for case in cases for kind in case.kinds],
        ids=[f"{kind}-{case.name}" for case in cases for kind in case.kinds],
    )


def check(kind, case):
    """Check that a case gives its error, or a sound result with its warning."""
    X, y, weight = case.data(*sound_data(kind))
    parameters = {"n_experts": 2, "n_init": 2, "max_iter": 30, "random_state": 0, **case.parameters}
    model = MIXTURES[kind](**parameters)
    if case.message is None:
        expected = nullcontext()
        if case.warning is not None:
            message = case.warning.replace("{name}", f"MixtureOfExperts{kind}")
            expected = pytest.warns(UserWarning, match=message)
        with expected:
            fit(model, X, y, weight)
        for output in outputs(model, X):
            assert np.all(np.isfinite(output))
        assert np.isfinite(model.lower_bound_)
        return
    message = "(?s)" + case.message.replace("{name}", f"MixtureOfExperts{kind}")
    with pytest.raises(case.error, match=message):
        case.call(model, X, y, weight)
