"""Every family of `FAMILIES` through the same tests; then the gaussian against its formulas."""

import numpy as np
import pytest
from _problems import numeric_gradient
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad
from scipy.stats import norm
from sklearn.base import clone

from mixexp.families import FAMILIES, Gaussian

K, Q, M = 3, 2, 40


@pytest.fixture(params=FAMILIES, ids=list(FAMILIES))
def family(request):
    return FAMILIES[request.param]()


@pytest.fixture
def case(rng):
    """Targets (Q, M), means (K, Q, M), dispersions (K, Q) and responsibilities (K, M)."""
    resp = rng.dirichlet(np.ones(K), M).T
    dispersion = rng.uniform(0.1, 3.0, (K, Q))
    return rng.standard_normal((Q, M)), rng.standard_normal((K, Q, M)), dispersion, resp


# ---------------------------------------------------------------- every family


@pytest.mark.parametrize("dispersion", [0.03, 1.0, 40.0])
def test_density_integrates_to_one(family, dispersion):
    def density(y):
        log_prob, _ = family.evaluate(
            np.array([[y]]), np.full((1, 1, 1), 2.0), np.array([[dispersion]])
        )
        return np.exp(log_prob[0, 0])

    total, _ = quad(density, 2 - 12 * dispersion, 2 + 12 * dispersion, points=[2.0])
    assert_allclose(total, 1.0, atol=1e-8)


def test_outputs_are_independent_given_the_expert(family, case):
    y, mean, dispersion, _ = case
    log_prob, score = family.evaluate(y, mean, dispersion)
    assert log_prob.shape == (K, M)
    assert score.shape == (K, Q, M)
    alone = [family.evaluate(y[[q]], mean[:, [q]], dispersion[:, [q]])[0] for q in range(Q)]
    assert_allclose(log_prob, alone[0] + alone[1], atol=1e-12)


def test_inputs_are_not_changed(family, case):
    kept = [np.copy(a) for a in case]
    _, score = family.evaluate(*case[:3])
    family.scatter(score, case[3][:, None] * score)
    for before, after in zip(kept, case, strict=True):
        assert_array_equal(before, after)


@pytest.mark.parametrize("shared", [False, True])
def test_dispersion_maximises_the_likelihood(family, case, shared):
    y, mean, dispersion, resp = case
    family = clone(family).set_params(shared=shared)
    _, score = family.evaluate(y, mean, dispersion)
    scatter = family.scatter(score, resp[:, None] * score)
    assert scatter.shape == (K, Q)
    best = family.dispersion(scatter, resp.sum(axis=1), np.zeros(Q))

    def likelihood(logs):
        logs = np.broadcast_to(logs.reshape(-1, Q), (K, Q))
        return np.sum(resp * family.evaluate(y, mean, np.exp(logs))[0])

    logs = np.log(best[:1] if shared else best).ravel()
    assert len(logs) == family.n_parameters(K, Q)
    assert_allclose(numeric_gradient(likelihood, logs), 0.0, atol=1e-6)
    assert likelihood(logs) > max(likelihood(logs + 0.1), likelihood(logs - 0.1))
    if shared:
        assert_array_equal(best, np.broadcast_to(best[0], (K, Q)))


def test_floor(family, case):
    y, mean, dispersion, resp = case
    _, score = family.evaluate(y, mean, dispersion)
    scatter = family.scatter(score, resp[:, None] * score)
    free = family.dispersion(scatter, resp.sum(axis=1), np.zeros(Q))
    floor = np.array([np.median(free[:, 0]), 0.0])
    assert_array_equal(family.dispersion(scatter, resp.sum(axis=1), floor), np.maximum(free, floor))


def test_distribution_functions_agree(family, rng):
    # the log-density, density, distribution function, quantiles, variance and draws are of one law
    mean, dispersion = np.array([-2.0, 0.0, 5.0]), np.array([0.3, 1.0, 4.0])
    y = mean + dispersion * rng.standard_normal((50, 3))
    density = family.pdf(y, mean, dispersion)
    for k in range(3):
        here = mean[k].reshape(1, 1, 1), dispersion[k].reshape(1, 1)
        log_prob, _ = family.evaluate(y[:, k][None], *here)
        assert_allclose(np.log(density[:, k]), log_prob[0], atol=1e-12)
    below = family.cdf(y, mean, dispersion)
    step = 1e-5 * dispersion
    slope = family.cdf(y + step, mean, dispersion) - family.cdf(y - step, mean, dispersion)
    assert_allclose(slope / (2 * step), density, rtol=1e-6, atol=1e-9)
    assert_allclose(family.quantile(below, mean, dispersion), y, atol=1e-8)
    n = 100_000
    draw = family.sample(
        np.broadcast_to(mean, (n, 3)),
        np.broadcast_to(dispersion, (n, 3)),
        np.random.RandomState(0),
    )
    variance = family.variance(np.broadcast_to(mean, (n, 3)), dispersion)
    assert variance.shape == (n, 3)
    assert_allclose(np.mean((draw - mean) ** 2, axis=0), variance[0], rtol=0.03)
    shares = family.cdf(draw, mean, dispersion)
    assert_allclose(np.mean(shares < 0.25, axis=0), 0.25, atol=0.01)


# ---------------------------------------------------------------- gaussian


def test_gaussian_equals_scipy(case):
    y, mean, dispersion, _ = case
    log_prob, score = Gaussian().evaluate(y, mean, dispersion)
    expected = norm.logpdf(y, mean, dispersion[..., None]).sum(axis=1)
    assert_allclose(log_prob, expected, rtol=1e-12)
    assert_array_equal(score, y - mean)


@pytest.mark.parametrize("dispersion", [1e-8, 1e8])
def test_gaussian_far_and_near(dispersion):
    y = np.array([[0.0, 1.0, 1e4]])
    log_prob, _ = Gaussian().evaluate(y, np.zeros((1, 1, 3)), np.array([[dispersion]]))
    assert_allclose(log_prob, norm.logpdf(y, 0, dispersion), rtol=1e-13)


def test_gaussian_dispersion_is_the_weighted_root_mean_square(case):
    y, mean, dispersion, resp = case
    residual = y - mean
    scatter = Gaussian().scatter(residual, resp[:, None] * residual)
    expected = np.einsum("km,kqm->kq", resp, residual**2)
    assert_allclose(scatter, expected, rtol=1e-12)
    mass = resp.sum(axis=1)
    own = Gaussian().dispersion(scatter, mass, np.zeros(Q))
    assert_allclose(own, np.sqrt(expected / mass[:, None]), rtol=1e-12)
    shared = Gaussian(shared=True).dispersion(scatter, mass, np.zeros(Q))
    assert_allclose(shared[1], np.sqrt(expected.sum(axis=0) / mass.sum()), rtol=1e-12)


def test_gaussian_sample(rng):
    mean, dispersion = np.full((50_000, 2), [1.0, -3.0]), np.array([0.5, 2.0])
    draw = Gaussian().sample(mean, dispersion, np.random.RandomState(0))
    assert draw.shape == mean.shape
    assert np.all(np.abs(draw.mean(axis=0) - [1, -3]) < 4 * dispersion / np.sqrt(len(draw)))
    assert_allclose(draw.std(axis=0), dispersion, rtol=0.02)
