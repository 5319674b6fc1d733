"""Rows with equal features share an expert's last room, whatever their targets."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.routing import Switch
from mixexp.routing._queue import capacity_of, placed, shared_out


@pytest.mark.parametrize("factor", [0.3, 1.0, 1.25])
@pytest.mark.parametrize("seed", range(10))
def test_of_distinct_rows_it_is_the_queue(seed, factor):
    rng = np.random.default_rng(seed)
    n_experts, n = 3, 40
    scores, order = rng.dirichlet(np.ones(n_experts), n).T, rng.permutation(n)
    weight = None if seed % 2 else rng.integers(1, 9, n) / 8 + 0.01
    labels = np.where(rng.random(n) < 0.2, rng.integers(0, n_experts, n), -1)
    capacity = capacity_of(weight, n, n_experts, factor)
    for next_best in (False, True) if factor >= 1 else (False,):
        expert = placed(scores, order, weight, capacity, next_best, labels)
        groups = rng.permutation(n)
        shares = shared_out(scores, order, groups, weight, capacity, next_best, labels)
        assert_array_equal(shares, np.arange(n_experts + 1)[:, None] == expert)


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_equal_rows_have_equal_shares_and_loads_keep_to_the_capacity(seed, weights):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 5, 60)
    scores = rng.dirichlet(np.ones(3), 5).T[:, groups]
    weight = rng.integers(1, 9, 60).astype(float) if weights else None
    order = np.lexsort((rng.permutation(60), -scores.max(axis=0)))
    ones = np.ones(60) if weight is None else weight
    capacity = capacity_of(weight, 60, 3, 1.0)
    shares = shared_out(scores, order, groups, weight, capacity, True)
    assert_allclose(shares.sum(axis=0), 1.0)
    assert np.all(shares[3] == 0)
    assert np.all(shares[:3] @ ones <= capacity + 1e-9)
    for group in range(5):
        own = shares[:, groups == group]
        assert_array_equal(own, np.repeat(own[:, :1], own.shape[1], axis=1))
    other = shared_out(scores, order[::-1], groups, weight, capacity, False)
    assert_allclose(other.sum(axis=0), 1.0)
    assert np.all(other[:3] @ ones <= capacity + 1e-9)


def test_a_weight_that_counts_rows_is_split_and_another_is_not():
    scores, order, groups = np.array([[0.9, 0.8], [0.1, 0.2]]), np.arange(2), np.arange(2)
    shares = shared_out(scores, order, groups, np.array([3.0, 4.0]), 4.0, True)
    assert_allclose(shares, [[1.0, 0.25], [0.0, 0.75], [0.0, 0.0]])
    shares = shared_out(scores, order, groups, np.array([3.5, 4.0]), 4.0, True)
    assert_allclose(shares, [[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]])


@pytest.mark.parametrize("factor", [1.0, 1.25])
def test_probabilities_of_tied_rows_are_near_their_frequencies(factor):
    """Targets decided which of the equal rows a full expert took: .91 for .54."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 5, (400, 1)).astype(float)
    y = (rng.random(400) < 0.2 + 0.15 * X[:, 0]).astype(int)
    model = MixtureOfExpertsClassifier(n_experts=4, routing=Switch(factor), random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y)
    levels = np.arange(5.0)[:, None]
    found = model.predict_proba(levels)[:, 1]
    share = np.array([y[X[:, 0] == level].mean() for level in levels[:, 0]])
    assert np.all(np.abs(found - share) < 0.25)
    assert model.routing_.loads_.max() <= model.routing_.capacity_ + 1e-9
    assert_allclose(model.routing_.loads_.sum(), 400)


def test_equal_rows_have_the_mean_of_their_targets():
    y = np.repeat([0, 1], 20)
    kinds = [(MixtureOfExpertsClassifier, y), (MixtureOfExpertsRegressor, y.astype(float))]
    for kind, target in kinds:
        model = kind(n_experts=2, routing=Switch(1.0), random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            model.fit(np.ones((40, 2)), target)
        mean = model.predict_proba if kind is MixtureOfExpertsClassifier else model.predict
        assert_allclose(mean(np.ones((1, 2))), 0.5 * np.ones_like(mean(np.ones((1, 2)))), atol=0.05)
