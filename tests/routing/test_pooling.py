"""Poolings: the experts' outputs as one prediction."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mixexp.routing import POOLINGS, argmax_pooling, weighted_pooling


@pytest.fixture(params=[(), (1,), (4,)], ids=str)
def case(request, rng):
    weights = rng.dirichlet(np.ones(3), 30)
    return weights, rng.standard_normal((30, 3, *request.param))


@pytest.mark.parametrize("name", POOLINGS)
def test_every_pooling(name, case):
    weights, outputs = case
    pooled = POOLINGS[name](weights, outputs)
    assert pooled.shape == (30, *outputs.shape[2:])
    # within the range of the experts, and nothing where they agree
    assert np.all(pooled <= outputs.max(axis=1) + 1e-12)
    assert np.all(pooled >= outputs.min(axis=1) - 1e-12)
    same = np.repeat(outputs[:, :1], 3, axis=1)
    assert_allclose(POOLINGS[name](weights, same), outputs[:, 0], rtol=1e-12)
    # a row's prediction does not depend on the other rows
    assert_allclose(POOLINGS[name](weights[4:7], outputs[4:7]), pooled[4:7], rtol=1e-14)
    sure = np.eye(3)[np.arange(30) % 3]
    assert_array_equal(POOLINGS[name](sure, outputs), outputs[np.arange(30), np.arange(30) % 3])


def test_weighted_pooling_is_the_mean(case):
    weights, outputs = case
    expected = sum(
        weights[:, k].reshape(-1, *[1] * (outputs.ndim - 2)) * outputs[:, k] for k in range(3)
    )
    assert_allclose(weighted_pooling(weights, outputs), expected, atol=1e-14)


def test_argmax_pooling_takes_the_first_of_equals(case):
    weights, outputs = case
    weights = weights.copy()
    weights[0] = [0.2, 0.4, 0.4]
    pooled = argmax_pooling(weights, outputs)
    assert_array_equal(pooled[0], outputs[0, 1])
    for i in range(30):
        assert_array_equal(pooled[i], outputs[i, np.argmax(weights[i])])


def test_an_expert_without_weight_adds_nothing():
    weights = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    for wild in (np.inf, -np.inf, np.nan):
        outputs = np.array([[2.0, wild], [wild, 3.0], [1.0, 2.0]])
        assert_array_equal(weighted_pooling(weights, outputs), [2.0, 3.0, 1.5])
        wide = np.stack([outputs, outputs], axis=2)
        assert_array_equal(weighted_pooling(weights, wide), [[2.0] * 2, [3.0] * 2, [1.5] * 2])
    assert weighted_pooling(weights[2:], np.array([[1.0, np.inf]]))[0] == np.inf
