"""Routing weights of each router, against examples worked out by hand."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mixexp._rows.blocks import Block
from mixexp.protocols import evolve
from mixexp.routing import ROUTERS, ExpertChoice, Switch, Threshold, TopK, TopP
from mixexp.routing._balance import log_prices
from mixexp.routing._routed_gate import jittered

#: Gate probabilities of four rows, one a line.
PROBA = np.array(
    [[0.5, 0.3, 0.15, 0.05], [0.1, 0.2, 0.3, 0.4], [0.25] * 4, [0.97, 0.01, 0.01, 0.01]]
)


def weights_of(router, proba=PROBA):
    """Return weights, one row a line; scores need not be normalised."""
    return router.weights(np.log(proba).T + 3.0).T


def test_top_k():
    expected = [
        [5 / 8, 3 / 8, 0, 0],
        [0, 0, 3 / 7, 4 / 7],
        [0.5, 0.5, 0, 0],
        [97 / 98, 1 / 98, 0, 0],
    ]
    assert_allclose(weights_of(TopK(2)), expected, rtol=1e-12)
    assert_array_equal(
        weights_of(TopK(1)), [[1, 0, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0], [1, 0, 0, 0]]
    )
    assert_allclose(weights_of(TopK(4)), PROBA, rtol=1e-12)


def test_top_k_without_renormalisation_leaves_the_rest_to_the_fallback():
    weights = weights_of(TopK(2, renormalise=False, fallback="mean"))
    expected = [
        [0.5, 0.3, 0, 0, 0.2],
        [0, 0, 0.3, 0.4, 0.3],
        [0.25, 0.25, 0, 0, 0.5],
        [0.97, 0.01, 0, 0, 0.02],
    ]
    assert_allclose(weights, expected, rtol=1e-12)


def test_top_p():
    weights = weights_of(TopP(0.8))
    expected = [[5 / 8, 3 / 8, 0, 0], [0, 2 / 9, 3 / 9, 4 / 9], [0.25] * 4, [1, 0, 0, 0]]
    assert_allclose(weights, expected, rtol=1e-12)
    assert_allclose(weights_of(TopP(1.0)), PROBA, rtol=1e-12)


@pytest.mark.parametrize(("first", "second"), [(0.5, 0.4), (0.6, 0.3), (0.7, 0.2), (0.8, 0.1)])
def test_top_p_takes_no_expert_for_what_rounding_lacks(first, second):
    proba = np.array([[first, second, 0.06, 0.04], [0.06, second, first, 0.04]])
    assert_array_equal(weights_of(TopP(0.9), proba) > 0, [[1, 1, 0, 0], [0, 1, 1, 0]])


def test_threshold():
    weights = weights_of(Threshold(0.28))
    expected = [[5 / 8, 3 / 8, 0, 0], [0, 0, 3 / 7, 4 / 7], [1, 0, 0, 0], [1, 0, 0, 0]]
    assert_allclose(weights, expected, rtol=1e-12)
    assert_array_equal(weights_of(Threshold(1.0)), weights_of(TopK(1)))
    assert_allclose(weights_of(Threshold(0.0)), PROBA, rtol=1e-12)


def test_switch_sends_no_row_to_the_fallback_in_prediction():
    router = Switch(0.5, "fallback", fallback="mean")
    assert_array_equal(weights_of(router)[:, :4], weights_of(TopK(1)))
    assert_array_equal(weights_of(router)[:, 4], 0.0)


@pytest.mark.parametrize(
    ("factor", "weight", "expected"),
    [
        (1.0, None, [0.97, 0.3, 0.3, 0.4]),  # one row each
        (2.0, None, [0.5, 0.25, 0.25, 0.25]),  # two each
        (1.0, [1.0, 1.0, 1.0, 9.0], [0.97, 0.2, 0.15, 0.05]),  # three of twelve, surest first
        (1.0, [0.5, 0.5, 0.5, 0.5], [0.97, 0.3, 0.3, 0.4]),
    ],
)
def test_thresholds_of_expert_choice(factor, weight, expected):
    router = ExpertChoice(factor).started(4)
    weight = None if weight is None else np.array(weight)
    router = router.surveyed(np.log(PROBA).T, weight)
    assert_allclose(router.thresholds_, expected, rtol=1e-8)
    assert np.all(router.thresholds_ < expected)  # rounding must not shut the last row out


def test_expert_choice_admits_by_threshold_and_at_least_the_best_expert():
    router = evolve(ExpertChoice(), thresholds_=np.array([0.6, 0.3, 0.15, 0.5]))
    reached = weights_of(router) > 0
    assert_array_equal(reached, [[1, 1, 1, 0], [0, 0, 1, 1], [1, 0, 1, 0], [1, 0, 0, 0]])
    assert_allclose(weights_of(router)[0], np.array([0.5, 0.3, 0.15, 0]) / 0.95, rtol=1e-12)
    # in training all rows are admitted before the first look
    assert_allclose(weights_of(ExpertChoice().started(4)), PROBA, rtol=1e-12)


@pytest.mark.parametrize("router", [TopK(2), Switch(), Threshold(0.28), TopP(0.8)])
def test_a_bias_changes_the_choice_and_not_the_weights(router):
    biased = evolve(router, bias_=np.array([-1.0, 0.0, 1.0, 0.0]))
    weights = weights_of(biased)
    assert np.all(weights[:, 2] > 0)
    if isinstance(router, TopK):
        expected = [[0, 2 / 3, 1 / 3, 0], [0, 0, 3 / 7, 4 / 7], [0, 0.5, 0.5, 0], [0, 0.5, 0.5, 0]]
        assert_allclose(weights, expected, rtol=1e-12)


def test_prices_even_out_soft_loads_and_multiply_probabilities():
    proba = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]]).T
    factors = np.exp(log_prices(proba, None))
    shares = proba * factors[:, None]
    shares /= shares.sum(axis=0)
    assert_allclose(shares.sum(axis=1), 2.0, rtol=0.02)
    router = TopK(1, balance="assignment").surveyed(np.log(proba), None)
    assert_array_equal(router.weights(np.log(proba)).T[:, 1], [0, 0, 1, 1])
    weight = np.array([1.0, 1.0, 1.0, 5.0])
    factors = np.exp(log_prices(proba, weight))
    shares = proba * factors[:, None]
    assert_allclose((shares / shares.sum(axis=0)) @ weight, 4.0, rtol=0.02)


def test_temperature_divides_scores():
    assert_allclose(weights_of(TopK(4, temperature=0.5))[1], np.array([1, 4, 9, 16]) / 30)
    assert_allclose(weights_of(TopK(2, temperature=0.5))[0], [25 / 34, 9 / 34, 0, 0], rtol=1e-12)
    assert_array_equal(weights_of(Threshold(0.5, temperature=0.5))[1] > 0, [0, 0, 0, 1])


@pytest.mark.parametrize("make", ROUTERS)
def test_weights_show_who_is_routed_though_probabilities_underflow(make):
    proba = np.zeros((2, 4))
    proba[:, 0] = 1.0
    with np.errstate(divide="ignore"):
        weights = make().started(4).weights(np.log(proba).T)
    assert_allclose(weights.sum(axis=0), 1.0, rtol=1e-12)
    if make is TopK:
        assert_array_equal((weights > 0).sum(axis=0), 2)


def test_jitter_is_keyed_by_content():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((50, 3))
    one = jittered(Block(X), 0.2, seed=1, step=2).X
    ratio = one / X
    assert ratio.min() > 0.8 and ratio.max() < 1.2 and ratio.std() > 0.08
    assert len(np.unique(ratio)) == X.size
    order = rng.permutation(50)
    assert_array_equal(jittered(Block(X[order]), 0.2, seed=1, step=2).X, one[order])
    for other in ({"seed": 2, "step": 2}, {"seed": 1, "step": 3}):
        assert np.abs(jittered(Block(X), 0.2, **other).X - one).max() > 0.01


def test_jitter_of_sparse_rows():
    sp = pytest.importorskip("scipy.sparse")
    X = sp.random(30, 5, 0.4, format="csr", random_state=0)
    rows = jittered(Block(X), 0.2, seed=1, step=0).X
    assert_array_equal(rows.indices, X.indices)
    assert_array_equal(rows.toarray(), jittered(Block(X.toarray()), 0.2, seed=1, step=0).X)
    ratio = rows.data / X.data
    assert ratio.min() > 0.8 and ratio.max() < 1.2 and len(np.unique(ratio)) == X.nnz
