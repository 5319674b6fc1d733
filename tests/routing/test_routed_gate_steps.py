"""The M-step of a routed gate: the gradient of the routed density at fixed routes, and no step."""

import numpy as np
import pytest
from _problems import statistics_of
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import log_softmax, logsumexp

from mixexp.gates import SoftmaxGate
from mixexp.protocols import Rows
from mixexp.routing import RoutedGate, Switch, TopK


@pytest.fixture
def case(rng):
    rows = Rows(rng.standard_normal((80, 2)), training=True, weight=rng.integers(1, 4, 80) * 1.0)
    inner = SoftmaxGate(0.0).start(rows, 3, None)
    inner = inner.set_parameters(rng.standard_normal(inner.get_parameters().size))
    return rows, inner, next(rows.blocks())


def objective(theta, block, design, reached, log_p, fallback):
    """Return Σ w log p(y | x) with the routes fixed."""
    log_gate = log_softmax(theta @ block.matrix(design), axis=0)
    inside = np.where(reached, log_gate, -np.inf)
    if fallback:
        rest = logsumexp(np.where(reached, -np.inf, log_gate), axis=0)
        log_weights = np.vstack([inside, rest])
    else:
        log_weights = inside - logsumexp(inside, axis=0)
    return float(logsumexp(log_weights + log_p, axis=0) @ block.weight)


@pytest.mark.parametrize("router", [TopK(2), TopK(1, False, fallback="mean")], ids=str)
def test_it_climbs_the_routed_density(case, router, rng):
    rows, inner, block = case
    gate = RoutedGate(inner, router)
    log_weights = gate.log_prob(block)
    log_p = rng.standard_normal(log_weights.shape)
    joint = log_weights + log_p
    resp = np.exp(joint - logsumexp(joint, axis=0)) * block.weight
    gradient = gate.statistics(block, resp)["gradient"]
    reached = log_weights[:3] > -np.inf
    theta = inner.get_parameters().reshape(3, -1)
    numeric = np.empty_like(theta)
    for index in np.ndindex(theta.shape):
        step = np.zeros_like(theta)
        step[index] = 1e-6
        up, down = (
            objective(theta + s, block, inner.design, reached, log_p, router.needs_fallback)
            for s in (step, -step)
        )
        numeric[index] = (up - down) / 2e-6
    assert_allclose(gradient, numeric, atol=1e-5)
    # and that is what a line search looks at
    climbed = gate.climbed(block, resp)
    assert_allclose(np.exp(climbed)[resp > 0], np.exp(log_weights)[resp > 0], rtol=1e-10)


def test_a_bounded_step_is_none_and_the_next_one_is_full_again(case):
    rows, inner, block = case
    gate = RoutedGate(inner, TopK(2))
    resp = np.exp(gate.log_prob(block))[::-1] * block.weight
    resp = np.where(gate.log_prob(block) > -np.inf, resp + 0.1, 0.0)

    def stepped(part):
        sums = part.statistics(block, resp)
        weights = np.empty((part.n_gram_weights, block.n_rows))
        part.gram_weights(block, resp, weights)
        matrix = block.matrix(part.design)
        p = len(matrix)
        packed = np.stack([((matrix * w) @ matrix.T)[np.triu_indices(p)] for w in weights])
        sums["gram"] = packed
        return part.update(sums, rows)

    held = stepped(gate.bounded())
    assert_array_equal(held.inner.get_parameters(), inner.get_parameters())
    assert np.any(stepped(held).inner.get_parameters() != inner.get_parameters())
    assert gate.toward(held, 0.5) is not None and gate.damped(held) is gate


@pytest.mark.parametrize("router", [TopK(2), Switch()], ids=str)
def test_a_thawed_gate_moves_again(case, router, rng):
    rows, inner, _ = case
    frozen, _ = RoutedGate(inner, router.started(3)).freeze(rows)
    resp = rng.dirichlet(np.ones(3), 80).T
    for gate, moves in ((frozen, False), (frozen.thawed(), True)):
        new = gate.update(statistics_of(gate, rows, resp), rows)
        assert np.any(new.inner.get_parameters() != inner.get_parameters()) == moves
