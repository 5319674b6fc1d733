"""Density, distribution function, quantiles, moments and draws of every family are of one law."""

import warnings

import numpy as np
import pytest
from _family_cases import VARIANTS, frozen, parameters_of
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.base import clone

from mixexp.families import Gamma, Laplace, Poisson, StudentT
from mixexp.protocols import can


@pytest.fixture(params=VARIANTS, ids=str)
def family(request):
    return clone(request.param)


@pytest.fixture(params=[(4,), (4, 2)], ids=["one output", "two outputs"])
def law(request, family, rng):
    """Means (50, K[, Q]), parameters (P, K[, Q]), the law of scipy and draws."""
    parameters = parameters_of(family, rng, request.param)
    mean = family.mean(rng.normal(0.5, 1.0, (50, *request.param)))
    reference = frozen(family, mean, parameters)
    return mean, parameters, reference, reference.rvs(random_state=0)


def test_pdf_and_probabilities_equal_scipy(family, law):
    mean, parameters, reference, y = law
    density = reference.pmf(y) if family.discrete else reference.pdf(y)
    assert_allclose(family.pdf(y, mean, parameters), density, rtol=1e-9)
    assert_allclose(family.cdf(y, mean, parameters), reference.cdf(y), rtol=1e-9)
    if can(family, "sf"):
        assert_allclose(family.sf(y, mean, parameters), reference.sf(y), rtol=1e-9)


def test_quantile_inverts_cdf(family, law):
    mean, parameters, reference, y = law
    if family.discrete:
        for q in (1e-9, 0.01, 0.3, 0.5, 0.97, 1 - 1e-9):
            found = family.quantile(q, mean, parameters)
            assert_array_equal(found, reference.ppf(q))
        # a probability that one count reaches exactly belongs to that count
        inside = family.cdf(y, mean, parameters) < 1
        seen, at = y[inside], mean[inside]
        own = np.array([np.broadcast_to(each, mean.shape)[inside] for each in parameters])
        exact = family.cdf(seen, at, own.reshape(-1, seen.size))
        assert_array_equal(family.quantile(exact, at, own.reshape(-1, seen.size)), seen)
        return
    below = family.cdf(y, mean, parameters)
    assert_allclose(family.quantile(below, mean, parameters), y, rtol=1e-6, atol=1e-9)
    assert_allclose(
        family.cdf(family.quantile(0.3, mean, parameters), mean, parameters), 0.3, rtol=1e-9
    )


def test_variance(family, law):
    mean, parameters, reference, _ = law
    variance = family.variance(mean, parameters)
    assert variance.shape == mean.shape
    assert_allclose(variance, reference.var())


def test_sample(family, rng):
    n = 100_000
    parameters = np.repeat(parameters_of(family, rng, (3,))[:, None], n, axis=1)
    if family.name == "student_t":  # moments need light tails
        parameters[1] = np.maximum(parameters[1], 6.0)
    mean = np.tile(family.mean(np.array([-1.0, 0.0, 2.0])), (n, 1))
    before = mean.copy()
    draw = family.sample(mean, parameters, np.random.RandomState(0))
    again = family.sample(mean, parameters, np.random.RandomState(0))
    assert_array_equal(draw, again)
    assert_array_equal(mean, before)
    variance = family.variance(mean, parameters)[0]
    assert draw.shape == mean.shape
    assert np.all(np.abs(draw.mean(axis=0) - mean[0]) < 4 * np.sqrt(variance / n))
    assert_allclose(draw.var(axis=0), variance, rtol=0.06)
    share = np.mean(draw <= family.quantile(0.25, mean[0], parameters[:, 0]), axis=0)
    at = family.cdf(family.quantile(0.25, mean[0], parameters[:, 0]), mean[0], parameters[:, 0])
    assert_allclose(share, at, atol=0.01)


# ---------------------------------------------------------------- ends of ranges


def test_student_t_variance_is_infinite_up_to_two_degrees():
    parameters = np.array([[1.0, 1.0, 2.0], [1.5, 2.0, 4.0]])
    assert_array_equal(StudentT().variance(np.zeros((1, 3)), parameters), [[np.inf, np.inf, 8.0]])


def test_positive_families_have_nothing_below_zero():
    y, mean = np.array([-1.0, -0.5]), np.ones(2)
    for family, parameters in ((Gamma(), np.ones((1, 2))), (Poisson(), np.empty((0, 2)))):
        assert_array_equal(family.pdf(y, mean, parameters), 0.0)
        assert_array_equal(family.cdf(y, mean, parameters), 0.0)
        assert_array_equal(family.sf(y, mean, parameters), 1.0)


@pytest.mark.parametrize("dispersion", [2.0, 1.0, 0.5])
def test_gamma_has_no_density_at_zero(dispersion):
    # `fit` refuses y = 0, so that there is one answer for it everywhere: it is impossible
    found = Gamma().pdf(np.zeros(1), np.full(1, 2.0), np.full((1, 1), dispersion))
    assert_array_equal(found, 0.0)


def test_poisson_between_counts_and_at_wild_means():
    none = np.empty((0, 1))
    assert Poisson().pdf(np.array([1.5]), np.array([2.0]), none) == 0
    assert_allclose(Poisson().cdf(np.array([1.5]), np.array([2.0]), none), stats.poisson(2).cdf(1))
    assert Poisson().pdf(np.array([3.0]), np.array([np.inf]), none) == 0
    assert Poisson().cdf(np.array([3.0]), np.array([np.inf]), none) == 0
    for mean in (1e-8, 0.1, 5e8, 1e12):
        found = Poisson().quantile(0.975, np.array([mean]), none)
        assert_allclose(found, stats.norm.ppf(0.975) * mean**0.5 + mean, rtol=1e-7, atol=1.0)


def test_laplace_quantiles_in_both_tails():
    found = Laplace().quantile(np.array([1e-12, 0.5, 0.75]), np.ones(3), np.full((1, 3), 2.0))
    assert_allclose(found, stats.laplace(1, 2).ppf([1e-12, 0.5, 0.75]))


def test_pdf_and_evaluate_are_one_density(family, rng):
    # at and around the mean, and so far out that squares overflow
    mean = np.full((1, 1, 1), 3.0)
    parameters = parameters_of(family, rng, (1, 1))
    near = 3.0 + np.array([0.0, 1e-9, -3e-7, 1e-6, 2e-6, -0.1, 5.0])
    far = np.array([1e3, 1e140, 1e160, 1e300, -1e160])
    y = np.concatenate([np.floor(near) if family.discrete else near, far, [0.0, 0.5, 1e-300]])
    y = y[family.supports(y)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        eta = np.repeat(family.eta(mean), len(y), axis=2)
        log_prob = family.evaluate(y[None], eta, parameters)[0][0]
        pdf = family.pdf(y[:, None], np.full((len(y), 1), 3.0), parameters[..., 0])[:, 0]
    seen = log_prob > -600
    assert np.sum(seen) >= 5
    assert_allclose(np.log(pdf[seen]), log_prob[seen], rtol=1e-12, atol=1e-12)
    assert_array_equal(pdf[log_prob < -800], 0.0)


@pytest.mark.parametrize("df", [2.1, 3.0, 5.0, 30.0])
@pytest.mark.parametrize("q", [1e-150, 1e-230, 1e-250, 1e-290])
def test_far_quantiles_of_student_t(df, q):
    """The inverse of new scipy is +inf at some of them, on the wrong side."""
    parameters, mean = np.array([[[1.0]], [[df]]]), np.zeros((1, 1))
    low = StudentT().quantile(q, mean, parameters)
    assert low < 0
    assert_allclose(StudentT().logcdf(low, mean, parameters), np.log(q), rtol=1e-10)
    assert StudentT().quantile(0.0, mean, parameters) == -np.inf
    assert StudentT().quantile(1.0, mean, parameters) == np.inf
