"""Bad X, y and weights: a clear error, or a sound result where scikit-learn gives one too."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from _bad_input import (
    CLASSIFIER,
    REGRESSOR,
    Case,
    N,
    at,
    check,
    every,
    with_target,
    with_value,
    with_weight,
)
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, Ridge

from mixexp import MixtureOfExpertsRegressor
from mixexp.gates import SoftmaxGate

CASES = [
    # ------------------------------ X
    Case("NaN in X", "Input X contains NaN.*{name}", data=with_value(np.nan)),
    Case("inf in X", "Input X contains infinity", data=with_value(np.inf)),
    Case("no rows", "Found array with 0 sample", data=lambda X, y: (X[:0], y[:0], None)),
    Case("no columns", "0 feature", data=lambda X, y: (X[:, :0], y, None)),
    Case(
        "one row",
        "{name}: n_samples=1 .*fewer than n_experts=2",
        REGRESSOR,
        data=lambda X, y: (X[:1], y[:1], None),
    ),
    Case(
        "one row of a class",
        "{name}: the data contain one class only",
        CLASSIFIER,
        data=lambda X, y: (X[:1], y[:1], None),
    ),
    Case(
        "more experts than rows",
        "{name}: n_samples=5 .*fewer than n_experts=7.*Lower n_experts",
        data=lambda X, y: (X[:5], y[:5], None),
        parameters={"n_experts": 7},
    ),
    Case("one dimension", "Expected 2D array, got 1D", data=lambda X, y: (X[:, 0], y, None)),
    Case("three dimensions", "dim 3|3 dim", data=lambda X, y: (X[:, :, None], y, None)),
    Case(
        "words in X",
        "{name}: columns 0, 1, 2 of X are not numbers .*takes numbers only. Encode in front",
        data=lambda X, y: (np.char.add(X.astype(str), "a"), y, None),
    ),
    Case("numbers as words in X", None, data=lambda X, y: (X.astype(str).astype(object), y, None)),
    Case("complex X", "Complex data not supported", data=lambda X, y: (X + 1j, y, None)),
    Case(
        "sparse X for a dense expert",
        "Sparse data was passed",
        REGRESSOR,
        error=TypeError,
        data=lambda X, y: (sp.csr_array(X), y, None),
        parameters={"expert": HistGradientBoostingRegressor()},
    ),
    Case("a constant column", None, data=lambda X, y: (np.c_[X, np.full(N, 7.0)], y, None)),
    Case("a column of zeros", None, data=lambda X, y: (np.c_[X, np.zeros(N)], y, None)),
    Case("a column twice", None, data=lambda X, y: (np.c_[X, X[:, 0]], y, None)),
    Case("all columns constant", None, data=lambda X, y: (np.full((N, 3), 5.0), y, None)),
    Case("all columns zero", None, data=lambda X, y: (np.zeros((N, 2)), y, None)),
    Case(
        "all columns constant, unpenalised",
        None,
        REGRESSOR,
        data=lambda X, y: (np.full((N, 3), 5.0), y, None),
        parameters={"expert": LinearRegression(), "gate": SoftmaxGate(alpha=0)},
    ),
    # ------------------------------ y
    Case("no y", "requires y to be passed", data=lambda X, y: (X, None, None)),
    Case("NaN in y", "y contains NaN", data=with_target(np.nan)),
    Case("inf in y", "y contains infinity", data=with_target(np.inf)),
    Case(
        "None in y",
        "y contains NaN",
        REGRESSOR,
        data=lambda X, y: (X, np.append(y[1:].astype(object), None), None),
    ),
    Case(
        "NaT in y",
        "{name}: y holds .*NaT.* in row 59, and 1 missing labels in all. Leave them out",
        CLASSIFIER,
        data=lambda X, y: (X, np.append(np.datetime64("2020") + y[1:], np.datetime64("NaT")), None),
    ),
    *(
        Case(
            f"{missing} among labels",
            f"{{name}}: y holds {missing} in row 59, and 1 missing labels in all. Leave them out",
            CLASSIFIER,
            data=lambda X, y, missing=missing: (
                X,
                [*np.array(["a", "b"])[y[1:] % 2], missing],
                None,
            ),
        )
        for missing in (None, pd.NA)
    ),
    Case(
        "words as y",
        "{name}: y=.* cannot be read as numbers .* fit a classifier",
        REGRESSOR,
        data=lambda X, y: (X, np.char.add(y.astype(str), "a"), None),
    ),
    Case(
        "dates as y",
        "{name}: y=.* cannot be read as numbers .*datetime64.* Give an array of numbers",
        REGRESSOR,
        data=lambda X, y: (X, np.datetime64("2020-01-01") + np.arange(len(y)), None),
    ),
    Case(
        "sparse y",
        "{name}: y is a sparse matrix. Give an array",
        REGRESSOR,
        data=lambda X, y: (X, sp.csr_array(np.asarray(y, float)[:, None]), None),
    ),
    Case("y too short", "inconsistent numbers of samples", data=lambda X, y: (X, y[:-1], None)),
    Case(
        "words in y",
        "could not convert string|dtype='numeric'",
        REGRESSOR,
        data=lambda X, y: (X, np.where(y > 0, "a", "b"), None),
    ),
    Case("y of no columns", "0 feature", REGRESSOR, data=lambda X, y: (X, y[:, None][:, :0], None)),
    Case(
        "y of three dimensions", "dim 3", REGRESSOR, data=lambda X, y: (X, y[:, None, None], None)
    ),
    Case(
        "huge y",
        "y goes up to .* Divide y by a constant",
        REGRESSOR,
        data=lambda X, y: (X, 1e200 * y, None),
    ),
    Case("large y", None, REGRESSOR, data=lambda X, y: (X, 1e100 * y, None)),
    Case("small y", None, REGRESSOR, data=lambda X, y: (X, 1e-100 * y, None)),
    Case("constant y", None, REGRESSOR, data=lambda X, y: (X, np.full(N, 3.0), None)),
    Case("y of zeros", None, REGRESSOR, data=lambda X, y: (X, np.zeros(N), None)),
    Case("a perfect line", None, REGRESSOR, data=lambda X, y: (X, 1 + X @ [1.0, 2.0, 3.0], None)),
    Case(
        "one class",
        "{name}: the data contain one class only, .*at least 2",
        CLASSIFIER,
        data=lambda X, y: (X, np.ones(N, dtype=int), None),
    ),
    Case(
        "one class by weight",
        "{name}: the data contain one class only",
        CLASSIFIER,
        data=lambda X, y: (X, y, (y == 1).astype(float)),
    ),
    Case(
        "continuous y",
        "Unknown label type: continuous",
        CLASSIFIER,
        data=lambda X, y: (X, y + 0.5 * X[:, 0], None),
    ),
    Case(
        "y of two columns",
        r"y should be a 1d array|Multioutput target|shape \(60, 2\)",
        CLASSIFIER,
        data=lambda X, y: (X, np.c_[y, 1 - y], None),
    ),
    Case(
        "classes of several types",
        "uniformly strings or numbers|mix of label|not supported between|Unknown label type",
        CLASSIFIER,
        error=(ValueError, TypeError),
        data=lambda X, y: (X, np.where(y == 1, "one", y.astype(object)), None),
    ),
    # ------------------------------ weights
    Case(
        "all weights zero",
        "{name}: sample_weight is zero for all 60 rows|weights must contain at least one non-zero",
        data=with_weight(np.zeros_like),
    ),
    Case(
        "negative weights",
        "Negative values in data passed to `?sample_weight",
        data=with_weight(at(2, -1.0)),
    ),
    Case("NaN weights", "Input sample_weight contains NaN", data=with_weight(at(2, np.nan))),
    Case("inf weights", "Input sample_weight contains infinity", data=with_weight(at(2, np.inf))),
    Case(
        "too few weights",
        r"sample_weight.shape == \(59,\), expected \(60,\)",
        data=with_weight(lambda w: w[1:]),
    ),
    Case(
        "weights of two dimensions",
        "[Ss]ample.?weights? must be 1D",
        data=with_weight(lambda w: w[:, None]),
    ),
    Case(
        "words as weights", "could not convert string", data=with_weight(lambda w: np.full(N, "a"))
    ),
    Case("one number as weight", None, data=lambda X, y: (X, y, 2.0)),
    Case(
        "weights leave too few rows",
        "{name}: n_samples=1 rows with positive weight are fewer",
        REGRESSOR,
        data=with_weight(lambda w: np.eye(N)[0]),
    ),
    Case("boolean weights", None, data=with_weight(lambda w: np.arange(N) % 3 > 0)),
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@every(CASES)
def test_bad_data(kind, case):
    check(kind, case)


@pytest.mark.parametrize("expert", [LinearRegression(), Ridge()])
def test_columns_as_small_as_can_be(expert):
    """Their squares underflow; penalties are those of the smallest scale that has one."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 2))
    y = X @ [1.0, 2.0] + 0.1 * rng.standard_normal(60)
    model = MixtureOfExpertsRegressor(expert, n_experts=1).fit(X * 1e-170, y)
    assert np.all(np.isfinite(model.predict(X * 1e-170)))
    if isinstance(expert, LinearRegression):
        usual = LinearRegression().fit(X, y).predict(X)
        np.testing.assert_allclose(model.predict(X * 1e-170), usual, atol=1e-8)


@pytest.mark.parametrize("family", ["gaussian", "student_t", "laplace"])
def test_targets_whose_squares_are_zero_are_refused(family):
    """Dispersions would stop above the residuals, and all experts would look alike."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 2))
    y = np.where(X[:, 0] > 0, 1 + 2 * X[:, 1], -1 - 3 * X[:, 1]) + 0.1 * rng.standard_normal(60)
    model = MixtureOfExpertsRegressor(n_experts=2, family=family, random_state=0, tol=1e-4)
    for scale in (1e-154, 1e-200, 1e-310):
        with pytest.raises(ValueError, match=r"y goes over a range of .* Multiply y by"):
            model.fit(X, y * scale)
    found = model.fit(X, y * 1e-150)
    assert found.score(X, y * 1e-150) > 0.8
    assert np.all(model.fit(X, np.full(60, 1e-200)).predict(X) == 1e-200)


@pytest.mark.parametrize("family", ["gaussian", "student_t", "laplace"])
def test_targets_whose_squares_are_infinite_are_refused(family):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 2))
    y = X[:, 0] + 0.1 * rng.standard_normal(60)
    model = MixtureOfExpertsRegressor(n_experts=2, family=family, random_state=0, tol=1e-4)
    for large in (y * 1e153, np.full(60, 1e300)):
        with pytest.raises(ValueError, match=r"Regressor: y goes up to .* Divide y by a constant"):
            model.fit(X, large)
    model.set_params(n_experts=1)
    assert model.fit(X, y * 1e150).score(X, y * 1e150) > 0.9
