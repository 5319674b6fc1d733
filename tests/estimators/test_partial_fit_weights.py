"""`partial_fit`: relative weights, batches of no weight, parameters that have changed."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import Ridge

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._estimators.streaming import START_ROWS
from mixexp.gates import SoftmaxGate


@pytest.fixture
def turning(rng):
    """Return rows of one line, and later ones of another."""
    X = rng.uniform(-1, 1, (START_ROWS + 3000, 2))
    slope = np.where(np.arange(len(X)) < START_ROWS, 1.0, -1.0)
    return X, slope * X[:, 0] + 0.01 * rng.standard_normal(len(X))


def learnt(X, y, weight):
    model = MixtureOfExpertsRegressor(n_experts=1, random_state=0)
    bounds = [0, *range(START_ROWS, len(X) + 1, 1000)]
    for start, stop in zip(bounds, bounds[1:], strict=False):
        here = slice(start, stop)
        model.partial_fit(X[here], y[here], None if weight is None else weight[here])
    return model


@pytest.mark.filterwarnings("ignore:.*rescaled")
@pytest.mark.parametrize("unit", [1e-3, 0.5])
def test_only_ratios_of_relative_weights_matter(unit, turning):
    X, y = turning
    expected = learnt(X, y, None).predict(X[:20])
    assert_allclose(learnt(X, y, np.full(len(X), unit)).predict(X[:20]), expected, rtol=1e-9)


def test_a_batch_of_no_weight_teaches_nothing(turning):
    X, y = turning
    model = learnt(X, y, None)
    before = model.predict(X[:20])
    model.partial_fit(X[:10], y[:10] + 5, np.zeros(10))
    assert_array_equal(model.predict(X[:20]), before)
    with pytest.raises(ValueError, match="sample_weight"):
        model.partial_fit(X[:10], y[:10], np.zeros(3))


@pytest.mark.parametrize(
    ("first", "changed"),
    [
        ({"expert_features": [0]}, {"expert_features": [1]}),
        ({"gate_features": [0]}, {"gate_features": [0, 1]}),
        ({"expert": Ridge()}, {"expert__alpha": 1e6}),
        ({"gate": SoftmaxGate(1.0)}, {"gate__alpha": 5.0}),
        ({}, {"n_experts": 3}),
    ],
)
def test_parameters_that_shape_the_mixture_stay(first, changed, rng):
    X, y = rng.standard_normal((60, 2)), rng.standard_normal(60)
    model = MixtureOfExpertsRegressor(n_experts=2, random_state=0, **first).partial_fit(X, y)
    model.set_params(**changed)
    name = next(iter(changed)).partition("__")[0]
    with pytest.raises(ValueError, match=f"{name}=.*first call of partial_fit"):
        model.partial_fit(X, y)


def test_dense_batches_and_sparse_ones(rng):
    X, y = rng.standard_normal((200, 2)), rng.standard_normal(200)
    model = MixtureOfExpertsRegressor(n_experts=2, random_state=0)
    model.partial_fit(X[:100], y[:100]).partial_fit(sp.csr_array(X[100:]), y[100:])
    other = MixtureOfExpertsRegressor(n_experts=2, random_state=0)
    other.partial_fit(X[:100], y[:100]).partial_fit(X[100:], y[100:])
    assert_allclose(model.predict(X), other.predict(X))


def test_class_weight_after_a_fit_changes_nothing_before_the_next(rng):
    X = rng.standard_normal((200, 2))
    y = (X[:, 0] + rng.standard_normal(200) > 0).astype(int)
    model = MixtureOfExpertsClassifier(class_weight={0: 1, 1: 5}, n_experts=2, random_state=0)
    model.fit(X, y)
    before = model.bic(X, y)
    assert model.set_params(class_weight=None).bic(X, y) == before
