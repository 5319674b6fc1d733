"""Mixtures of every family: moments, quantiles by brute force, draws."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mixexp.distribution import MixtureDistribution
from mixexp.families import FAMILIES, Gaussian, Poisson, StudentT

N, K, Q = 12, 3, 2


@pytest.fixture(params=[(), (Q,)], ids=["one output", "two outputs"])
def outputs(request):
    return request.param


@pytest.fixture(params=FAMILIES, ids=list(FAMILIES))
def mixture(request, outputs, rng):
    family = FAMILIES[request.param]()
    parameters = family.initial(K, 1)[..., 0]
    parameters = np.tile(parameters.reshape(-1, K, *[1] * len(outputs)), (1, 1, *outputs))
    parameters *= rng.uniform(0.5, 1.5, parameters.shape)
    means = family.mean(rng.normal(1.0, 1.0, (N, K, *outputs)))
    return MixtureDistribution(rng.dirichlet(np.ones(K), N), means, parameters, family)


def test_quantile_is_the_smallest_value_with_enough_below(mixture, outputs):
    for q in (0.001, 0.3, 0.9):
        found = mixture.quantile(q)
        assert found.shape == (N, *outputs)
        assert np.all(mixture.cdf(found) >= q)
        if not mixture.family.discrete:
            assert_allclose(mixture.cdf(found), q, atol=1e-12)
            continue
        below = np.array([mixture.cdf(np.full((N, *outputs), y)) for y in range(100)])
        assert_array_equal(found, np.argmax(below >= q, axis=0))


def test_moments_of_draws(mixture, outputs):
    draws = mixture.sample(20_000, random_state=0)
    assert draws.shape == (N, *outputs, 20_000)
    assert np.all(np.isfinite(mixture.variance()))
    spread = np.sqrt(mixture.variance() / 20_000)
    assert np.all(np.abs(draws.mean(axis=-1) - mixture.mean()) < 5 * spread)
    assert_allclose(draws.var(axis=-1), mixture.variance(), rtol=0.25)
    low, high = mixture.interval(0.8)
    inside = np.mean((draws >= low[..., None]) & (draws <= high[..., None]), axis=-1)
    assert np.all(inside > 0.785)
    if not mixture.family.discrete:
        assert np.all(inside < 0.815)


def test_pdf_is_of_all_outputs_jointly(mixture):
    y = np.floor(mixture.mean()) + (1.0 if mixture.family.discrete else 0.5)
    expected = np.zeros(N)
    for k in range(K):
        density = mixture.family.pdf(y, mixture.means[:, k], mixture.parameters[:, k])
        expected += mixture.weights[:, k] * density.reshape(N, -1).prod(axis=1)
    assert_allclose(mixture.pdf(y), expected)


def test_an_expert_of_next_to_no_weight_does_not_spoil_quantiles():
    # with a log link, far from its region it can predict anything
    weights = np.array([[1.0 - 1e-30, 1e-30], [1.0, 0.0]])
    means = np.array([[4.0, 1e200], [4.0, np.inf]])
    for family in (Gaussian(), FAMILIES["gamma"](), Poisson()):
        parameters = family.initial(2, 1)[..., 0]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            law = MixtureDistribution(weights, means, parameters, family)
            alone = MixtureDistribution(np.ones((2, 1)), means[:, :1], parameters[:, :1], family)
            assert_allclose(law.quantile(0.9), alone.quantile(0.9), rtol=1e-9)
            assert law.mean()[1] == 4.0


def test_infinite_variance():
    parameters = np.array([[1.0, 1.0], [1.5, 5.0]])
    weights = np.array([[0.5, 0.5], [0.0, 1.0]])
    law = MixtureDistribution(weights, np.zeros((2, 2)), parameters, StudentT())
    assert_allclose(law.variance(), [np.inf, 5 / 3])


def test_quantiles_of_both_signs_and_zero():
    law = MixtureDistribution(
        np.full((3, 2), 0.5),
        np.array([[-3.0, -3.0], [-1.0, 1.0], [2.0, 9.0]]),
        np.full((1, 2), 1e-3),
        Gaussian(),
    )
    assert_allclose(law.quantile(0.5), [-3.0, 0.0, 5.5], atol=4)
    assert_allclose(law.cdf(law.quantile(0.25)), 0.25, atol=1e-10)
