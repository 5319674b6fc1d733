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


# ---------------------------------------------------------------- several levels, odd arguments


def test_several_quantiles_lead(mixture, outputs):
    q = np.array([[0.05, 0.5, 0.9], [0.2, 0.7, 0.99]])
    found = mixture.quantile(q)
    assert found.shape == (2, 3, N, *outputs)
    for i, j in np.ndindex(q.shape):
        assert_array_equal(found[i, j], mixture.quantile(q[i, j]))
    assert_array_equal(mixture.quantile([0.3])[0], mixture.quantile(0.3))
    low, high = mixture.interval([0.5, 0.9])
    assert low.shape == high.shape == (2, N, *outputs)
    assert_array_equal((low[1], high[1]), mixture.interval(0.9))
    assert np.all(low[1] <= low[0]) and np.all(high[0] <= high[1])
    assert mixture.quantile([]).shape == (0, N, *outputs)
    assert np.all(np.isfinite(mixture.interval(np.nextafter(1.0, 0.0))))


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda law: law.quantile("0.5x"), r"q='0.5x' .*number between 0 and 1"),
        (lambda law: law.quantile(None), "q must be one number between 0 and 1.*got nan"),
        (lambda law: law.quantile(True), "q must be one number.*got 1.0"),
        (lambda law: law.quantile([0.5, 1.5]), "q must be .*got 1.5"),
        (lambda law: law.quantile([[0.5], [0.5, 0.6]]), "q=.* cannot be read as numbers"),
        (lambda law: law.quantile(0.5 + 0j), "q=.* cannot be read as numbers"),
        (lambda law: law.interval([0.5, np.nan]), "level must be .*got nan"),
        (lambda law: law.interval(0.0), "level must be .*got 0.0"),
        (lambda law: law.pdf(np.nan), "y contains NaN"),
        (lambda law: law.cdf(["a"] * N), "y=.* cannot be read as numbers.*one number a row"),
        (lambda law: law.pdf(np.ones(N) * 1j), "y=an array of shape .*complex"),
        (lambda law: law.sample(0), "n_samples=0 must be a whole number"),
        (lambda law: law.sample(2.5), r"n_samples=2.5 must be a whole number"),
        (lambda law: law.sample(True), "n_samples=True must be a whole number"),
        (lambda law: law.sample(np.ones(4)), "n_samples=an array of shape"),
        (lambda law: law.sample(1, "seed"), "random_state='seed' must be None"),
        (lambda law: law.sample(1, 1.5), r"random_state=1.5 must be None"),
        (lambda law: law.sample(1, -1), "random_state=-1 must be None"),
    ],
)
def test_odd_arguments(call, match):
    law = MixtureDistribution(np.ones((N, 1)), np.zeros((N, 1)), np.ones((1, 1)), Gaussian())
    with pytest.raises(ValueError, match=f"MixtureDistribution: {match}"):
        call(law)


def test_an_expert_of_no_weight_may_be_infinite():
    weights, means = np.array([[1.0, 0.0]] * 2), np.array([[4.0, np.inf]] * 2)
    for family in (Gaussian(), FAMILIES["gamma"](), Poisson()):
        parameters = family.initial(2, 1)[..., 0]
        law = MixtureDistribution(weights, means, parameters, family)
        alone = MixtureDistribution(weights[:, :1], means[:, :1], parameters[:, :1], family)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for method in ("mean", "variance"):
                assert_array_equal(getattr(law, method)(), getattr(alone, method)())
            for y in (0.0, 3.0, 1e300, np.inf):
                assert_array_equal(law.pdf(y), alone.pdf(y))
                assert_array_equal(law.cdf(y), alone.cdf(y))


def test_joint_densities_of_many_outputs_do_not_overflow():
    scales = np.array([1e-200, 1e-200, 1e200, 1e200])
    law = MixtureDistribution(
        np.ones((1, 1)), np.zeros((1, 1, 4)), scales.reshape(1, 1, 4), Gaussian()
    )
    assert_allclose(law.pdf(np.zeros((1, 4))), (2 * np.pi) ** -2)
