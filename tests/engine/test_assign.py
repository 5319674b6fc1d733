"""Assigners: responsibilities and each row's share of the objective."""

import numpy as np
import pytest
from _problems import make_rows
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp, softmax

from mixexp._engine.assign import ASSIGNERS, Hard, Soft, Stochastic


def block_of(rng, n):
    rows = make_rows(rng.standard_normal((n, 2)), rng.standard_normal(n))
    rows.block_rows = n
    return next(rows.blocks())


@pytest.mark.parametrize("name", ASSIGNERS)
@pytest.mark.parametrize("k", [1, 4])
def test_every_assigner_gives_distributions(rng, name, k):
    log_joint = 5 * rng.standard_normal((k, 100))
    resp, objective = ASSIGNERS[name](0)(log_joint.copy(), block_of(rng, 100), 1)
    assert resp.shape == (k, 100)
    assert objective.shape == (100,)
    assert np.all(resp >= 0)
    assert_allclose(resp.sum(axis=0), 1.0)
    assert np.all(objective <= logsumexp(log_joint, axis=0) + 1e-12)


def test_soft_is_the_posterior(rng):
    log_joint = rng.standard_normal((3, 50)) * 100 - 1000
    resp, objective = Soft()(log_joint.copy(), block_of(rng, 50), 0)
    assert_allclose(resp, softmax(log_joint, axis=0), atol=1e-15)
    assert_allclose(objective, logsumexp(log_joint, axis=0), rtol=1e-14)


def test_hard_takes_the_first_of_the_best(rng):
    log_joint = rng.standard_normal((3, 50))
    log_joint[:, 0] = [1.0, 2.0, 2.0]
    resp, objective = Hard()(log_joint.copy(), block_of(rng, 50), 0)
    assert_array_equal(resp, np.eye(3)[log_joint.argmax(axis=0)].T)
    assert_array_equal(resp[:, 0], [0.0, 1.0, 0.0])
    assert_array_equal(objective, log_joint.max(axis=0))


def test_stochastic_draws_from_the_posterior(rng):
    n = 40_000
    proba = np.array([0.5, 0.0, 0.3, 0.2])
    with np.errstate(divide="ignore"):
        log_joint = np.log(np.repeat(proba[:, None], n, axis=1))
    block = block_of(rng, n)
    resp, objective = Stochastic(5)(log_joint.copy(), block, 1)
    assert set(np.unique(resp)) == {0.0, 1.0}
    share = resp.mean(axis=1)
    assert share[1] == 0.0
    assert np.all(np.abs(share - proba) <= 4 * np.sqrt(proba * (1 - proba) / n))
    assert_allclose(objective, 0.0, atol=1e-12)
    # another iteration or seed is another draw, the same ones the same
    again = Stochastic(5)(log_joint.copy(), block, 1)[0]
    assert_array_equal(again, resp)
    for seed, step in ((5, 2), (6, 1)):
        other = Stochastic(seed)(log_joint.copy(), block, step)[0]
        same = np.sum(other * resp) / n
        assert abs(same - np.sum(proba**2)) < 0.02


def test_stochastic_draw_is_of_the_row_not_of_its_place(rng):
    X, y = rng.standard_normal((60, 2)), rng.standard_normal(60)
    log_joint = rng.standard_normal((3, 60))
    order = np.concatenate([rng.permutation(60), [0, 0]])
    resp = np.concatenate(
        [
            Stochastic(1)(log_joint[:, b.start : b.stop].copy(), b, 4)[0]
            for b in make_rows(X, y, block_rows=25).blocks()
        ],
        axis=1,
    )
    moved = next(make_rows(X[order], y[order], block_rows=62).blocks())
    assert_array_equal(Stochastic(1)(log_joint[:, order].copy(), moved, 4)[0], resp[:, order])
