"""Rows far from the training data: finite answers, or an error that names the row."""

import re
import warnings
from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._numerics import FARTHEST_SCORE, linear_scores
from mixexp.gates import ConstantGate, GaussianGate, HierarchicalGate, SoftmaxGate

LARGEST_FLOAT32 = float(np.finfo(np.float32).max)

DIRECTIONS = np.array([[1.0, 1.0], [-1.0, 1.0], [1.0, 0.0], [0.0, -1.0], [1.0, -0.999]])

GATES = [
    SoftmaxGate(),
    ConstantGate(),
    HierarchicalGate((2, 2)),
    *(GaussianGate(shape) for shape in ("full", "tied", "diag", "spherical")),
    LogisticRegression(),
]


def data(rng, n=120):
    X = rng.standard_normal((n, 2))
    return X, np.where(X[:, 0] > 0, X[:, 1], 1 - X[:, 1]) + 0.1 * rng.standard_normal(n)


def fitted(kind, X, y, **parameters):
    model = kind(n_experts=4, n_init=1, max_iter=5, random_state=0).set_params(**parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X, y)


def answers(model, row):
    """Yield the name and the answer of every method; None where the row is refused by name."""
    methods = {
        "gate_proba": lambda: model.gate_proba(row),
        "route": lambda: model.route(row),
        "responsibilities": lambda: model.responsibilities(row, [1]),
        "log_density": lambda: model.log_density(row, [1]),
        "predict": lambda: model.predict(row),
    }
    if hasattr(model, "predict_proba"):
        methods["predict_proba"] = lambda: model.predict_proba(row)
    else:
        law = model.predict_distribution
        methods |= {
            "pdf": lambda: law(row).pdf(1.0),
            "cdf": lambda: law(row).cdf(1.0),
            "mean": lambda: law(row).mean(),
            "variance": lambda: law(row).variance(),
            "quantile": lambda: law(row).quantile([0.1, 0.9]),
            "sample": lambda: model.sample_y(row, 5, random_state=0),
        }
    for name, method in methods.items():
        try:
            found = method()
        except ValueError as error:
            if not re.search(r"row 0 of X, which has|the gate's LogisticRegression", str(error)):
                raise
            found = None
        yield name, found


SIZES = [1e30, LARGEST_FLOAT32, 1e150, 1e300, 1.7e308]


@pytest.mark.parametrize(
    "kind, parameters",
    [(kind, {"gate": gate}) for gate in GATES for kind in ("regressor", "classifier")]
    + [
        ("regressor", {"family": family, "n_experts": 3, "noise_expert": True})
        for family in ("student_t", "laplace", "poisson", "negative_binomial", "gamma")
    ]
    + [("regressor", {"expert": MixtureOfExpertsRegressor(n_experts=2), "n_experts": 2})],
    ids=str,
)
def test_far_queries_are_finite_or_refused(kind, parameters, rng):
    X, y = data(rng)
    if kind == "classifier":
        model = fitted(MixtureOfExpertsClassifier, X, np.digitize(y, [0, 1]), **parameters)
    else:
        positive = parameters.get("family") in ("poisson", "negative_binomial", "gamma")
        y = np.floor(np.exp(y)) + 1 if positive else y
        model = fitted(MixtureOfExpertsRegressor, X, y, **parameters)
    for size, direction in product(SIZES, DIRECTIONS):
        for dtype in (np.float64, np.float32) if size <= LARGEST_FLOAT32 else (np.float64,):
            row = (size * direction)[None].astype(dtype)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                found = dict(answers(model, row))
            for name, values in found.items():
                if values is None:
                    continue
                values = np.asarray(values, dtype=float)
                assert not np.any(np.isnan(values)), name
                # squares of numbers above 1e154 are infinite, and densities may be 0
                assert name in ("log_density", "variance") or np.all(np.isfinite(values)), name
                if name in ("gate_proba", "route", "responsibilities", "predict_proba"):
                    assert_allclose(values.sum(axis=1), 1.0)
                    assert values.max() <= 1
            own_gate = not isinstance(parameters.get("gate"), LogisticRegression)
            assert found["gate_proba"] is not None or not own_gate
            if size <= 1e150 and own_gate:
                assert all(values is not None for values in found.values())


def test_the_row_that_is_too_far_is_named(rng):
    X, y = data(rng)
    model = fitted(MixtureOfExpertsRegressor, X, y)
    rows = np.vstack([X[:5], [[0.0, -1.5e308]], X[:2]])
    match = r"MixtureOfExpertsRegressor: expert \d .* row 5 of X, which has -1.5e\+308 in column 1"
    with pytest.raises(ValueError, match=match):
        model.predict(rows)


def test_log_links_end_at_the_edge_of_doubles(rng):
    X, _ = data(rng)
    y = rng.poisson(np.exp(0.5 * X[:, 0]))
    model = fitted(MixtureOfExpertsRegressor, X, y, family="poisson")
    means = model.predict_experts(np.array([[1e6, 0.0], [-1e6, 0.0]]))
    assert np.all(np.isfinite(means)) and np.all(means > 0)


# ---------------------------------------------------------------- scores


def test_scores_near_by_are_the_product(rng):
    theta, design = rng.standard_normal((3, 4)), rng.standard_normal((4, 10))
    assert_array_equal(linear_scores(theta, design), theta @ design)


def test_far_scores_keep_their_order(rng):
    theta = 1e5 * rng.standard_normal((5, 3))
    rays = np.vstack([np.zeros(200), rng.standard_normal((2, 200))])
    order = np.argsort(theta @ rays, axis=0)
    for size in (1e200, 1e297, 1e303, 1e307):
        rows = size * rays
        rows[0] = 1.0
        found = linear_scores(theta, rows)
        assert np.all(np.abs(found) <= FARTHEST_SCORE * (1 + 1e-12))
        assert_array_equal(np.argsort(found, axis=0), order)
    rows[1:] = np.inf
    assert np.all(np.isfinite(linear_scores(theta, rows)))


def test_one_far_row_leaves_the_others_alone(rng):
    theta, design = rng.standard_normal((3, 4)), rng.standard_normal((4, 10))
    expected = theta @ design
    design[2, 7] = 1e308
    others = np.delete(np.arange(10), 7)
    found = linear_scores(1e3 * theta, design)
    assert_allclose(found[:, others], 1e3 * expected[:, others], rtol=1e-12)
    assert np.all(np.isfinite(found))
