"""What only one family does: options, errors, closed forms, ends of ranges."""

import numpy as np
import pytest
from _family_cases import make_case, statistics_of
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.special import digamma, gammaln

from mixexp import MixtureOfExpertsRegressor
from mixexp.families import Binomial, Gamma, Gaussian, Laplace, NegativeBinomial, Poisson, StudentT
from mixexp.families._shape import log_minus_digamma, shape_from_gap, stirling_rest

K, Q = 3, 2


# ---------------------------------------------------------------- check and n_parameters


@pytest.mark.parametrize("df", [0, -1.0, np.nan, np.inf, "3", True])
def test_bad_degrees_of_freedom(df):
    with pytest.raises(ValueError, match=r"StudentT: df must be None or .* got .*gaussian"):
        StudentT(df=df).check(np.ones((1, 3)), "Owner")


@pytest.mark.parametrize("df", [None, 1, 0.3, np.float32(4.0), np.int64(5)])
def test_good_degrees_of_freedom(df):
    StudentT(df=df).check(np.ones((1, 3)), "Owner")


def test_bad_shared():
    with pytest.raises(ValueError, match="Gaussian: shared must be True or False, got 'yes'"):
        Gaussian(shared="yes").check(np.ones((1, 3)), "Owner")


@pytest.mark.parametrize("family", [Poisson(), NegativeBinomial()], ids=str)
@pytest.mark.parametrize("value", [-1.0, 0.5])
def test_counts_are_needed(family, value):
    match = (
        rf"Owner: family '{family.name}' needs counts .* got {value}\..*offset=np.log\(exposure\)"
    )
    with pytest.raises(ValueError, match=match):
        family.check(np.array([[0.0, 3.0], [1.0, value]]), "Owner")
    family.check(np.array([[0.0, 3.0]]), "Owner")


@pytest.mark.parametrize("value", [-1.0, 0.0])
def test_gamma_needs_positive_targets(value):
    with pytest.raises(ValueError, match=f"Owner: family 'gamma' needs y above 0, got {value}"):
        Gamma().check(np.array([[1.0, 3.0], [1.0, value]]), "Owner")


@pytest.mark.parametrize(
    "family, count",
    [
        (Gaussian(), 6),
        (Gaussian(shared=True), 2),
        (StudentT(), 12),
        (StudentT(df=4), 6),
        (Laplace(), 6),
        (Poisson(), 0),
        (NegativeBinomial(), 6),
        (Gamma(), 6),
        (Binomial(), 0),
    ],
    ids=str,
)
def test_n_parameters(family, count):
    assert family.n_parameters(K, Q) == count


# ---------------------------------------------------------------- gaussian


@pytest.mark.parametrize("dispersion", [1e-8, 1e8])
def test_gaussian_far_and_near(dispersion):
    y = np.array([[0.0, 1.0, 1e4]])
    log_prob, _, _ = Gaussian().evaluate(y, np.zeros((1, 1, 3)), np.array([[[dispersion]]]))
    assert_allclose(log_prob, stats.norm.logpdf(y, 0, dispersion), rtol=1e-13)


def test_gaussian_dispersion_is_the_weighted_root_mean_square(rng):
    y, eta, parameters, resp = make_case(Gaussian(), rng)
    sums = statistics_of(Gaussian(), y, eta, parameters, resp)
    expected = np.einsum("km,kqm->kq", resp, (y - eta) ** 2)
    assert_allclose(sums, expected[None], rtol=1e-12)
    mass = resp.sum(axis=1)
    own = Gaussian().update(sums, mass, parameters, np.zeros(Q))[0]
    assert_allclose(own, np.sqrt(expected / mass[:, None]), rtol=1e-12)
    shared = Gaussian(shared=True).update(sums, mass, parameters, np.zeros(Q))[0]
    assert_allclose(shared, np.tile(np.sqrt(expected.sum(0) / mass.sum()), (K, 1)), rtol=1e-12)


# ---------------------------------------------------------------- student_t


def test_student_t_with_many_degrees_is_gaussian(rng):
    y, eta, parameters, resp = make_case(Gaussian(), rng)
    many = StudentT(df=1e9)
    both = np.stack([parameters[0], np.full((K, Q), 1e9)])
    found, expected = many.evaluate(y, eta, both), Gaussian().evaluate(y, eta, parameters)
    assert_allclose(found[0], expected[0], rtol=1e-6)
    assert_allclose(found[1], expected[1], rtol=1e-6)
    assert_allclose(found[2], 1.0, rtol=1e-6)
    assert_allclose(
        statistics_of(many, y, eta, both, resp), statistics_of(Gaussian(), y, eta, parameters, resp)
    )


@pytest.mark.parametrize("tails, end", [("none", 200.0), ("wild", 1.0)])
def test_estimated_degrees_stay_in_range(rng, tails, end):
    y = rng.uniform(-1, 1, (1, 500)) if tails == "none" else rng.standard_cauchy((1, 500)) ** 5
    family, resp = StudentT(), np.ones((1, 500))
    parameters = family.initial(1, 1)
    for _ in range(2000):
        sums = statistics_of(family, y, np.zeros((1, 1, 500)), parameters, resp)
        parameters = family.update(sums, np.array([500.0]), parameters, np.zeros(1))
    assert_allclose(parameters[1], end)


def test_student_t_solves_the_equation_of_peel_and_mclachlan(rng):
    y, eta, parameters, resp = make_case(StudentT(), rng, m=2000)
    mass, old = resp.sum(axis=1), parameters[1]
    sums = statistics_of(StudentT(), y, eta, parameters, resp)
    nu = StudentT().update(sums, mass, parameters, np.zeros(Q))[1]
    u = (old[..., None] + 1) / (old[..., None] + ((y - eta) / parameters[0][..., None]) ** 2)
    terms = np.einsum("km,kqm->kq", resp, np.log(u) - u) / mass[:, None]
    left = -digamma(nu / 2) + np.log(nu / 2) + 1 + terms
    left += digamma((old + 1) / 2) - np.log((old + 1) / 2)
    assert_allclose(left[nu < 200], 0.0, atol=1e-10)
    assert np.any(nu < 200)


def test_student_t_wild_residuals_are_finite():
    parameters = StudentT().initial(1, 1)
    with np.errstate(over="ignore"):
        log_prob, score, curvature = StudentT().evaluate(
            np.array([[1e200, 1e150]]), np.zeros((1, 1, 2)), parameters
        )
        sums = StudentT().statistics(score, curvature, np.zeros((1, 2)), 0 * score)
    assert np.all(np.isfinite(log_prob)) and np.all(np.isfinite(score))
    assert_array_equal(sums, 0.0)


# ---------------------------------------------------------------- laplace


def test_laplace_at_and_near_zero():
    eta = np.array([[[0.0, 1e-9, -1e-7, 1e-3]]])
    log_prob, score, curvature = Laplace().evaluate(np.zeros((1, 4)), eta, np.full((1, 1, 1), 2.0))
    assert_allclose(log_prob, stats.laplace(0, 2).logpdf(eta[0]), atol=1e-6)
    assert np.all(np.isfinite(curvature))
    assert score[0, 0, 0] == 0
    assert_allclose(score[0, 0, 3], -2.0)


def test_laplace_scale_tends_to_the_mean_absolute_residual(rng):
    y, eta, parameters, resp = make_case(Laplace(), rng)
    mass = resp.sum(axis=1)
    goal = np.einsum("km,kqm->kq", resp, np.abs(y - eta)) / mass[:, None]
    far = np.log(parameters[0] / goal)
    sums = statistics_of(Laplace(), y, eta, parameters, resp)
    near = Laplace().update(sums, mass, parameters, np.zeros(Q))[0]
    assert_allclose(np.log(near / goal), far / 2, atol=1e-9)


# ---------------------------------------------------------------- gamma and the shape equation


def test_gamma_shape_is_that_of_scipy():
    y = stats.gamma(3.0, scale=2.0).rvs(5000, random_state=0)[None]
    eta = np.full((1, 1, 5000), np.log(y.mean()))
    sums = statistics_of(Gamma(), y, eta, np.ones((1, 1, 1)), np.ones((1, 5000)))
    found = Gamma().update(sums, np.array([5000.0]), np.ones((1, 1, 1)), np.zeros(1))
    shape, _, _ = stats.gamma.fit(y[0], floc=0)
    assert_allclose(found[0, 0, 0] ** -2, shape, rtol=1e-6)


def test_shape_equation_over_all_shapes():
    a = np.logspace(-9, 15, 97)
    assert_allclose(shape_from_gap(log_minus_digamma(a)), a, rtol=1e-9)
    middle = a[(a > 1e-3) & (a < 1e3)]
    assert_allclose(log_minus_digamma(middle), np.log(middle) - digamma(middle), rtol=1e-12)
    around = np.array([999.9, 1000.1])
    assert_allclose(log_minus_digamma(around), np.log(around) - digamma(around), rtol=1e-9)
    assert_allclose(
        stirling_rest(around), around * np.log(around) - around - gammaln(around), rtol=1e-9
    )
    assert np.all(np.isfinite(shape_from_gap(np.array([-1.0, 0.0, np.inf]))))


def test_gamma_with_a_narrow_law_keeps_its_digits():
    # with shape a the log of y / mean is normal with variance 1/a, for large a
    dispersion = 1e-6
    z = np.array([-2.0, 0.0, 1.0])
    y = np.exp(dispersion * z)[None]
    found, _, _ = Gamma().evaluate(y, np.zeros((1, 1, 3)), np.full((1, 1, 1), dispersion))
    assert_allclose(found[0], stats.norm.logpdf(z) - np.log(dispersion), atol=1e-5)


@pytest.mark.parametrize("factor", [1e160, 1e-170])
def test_gamma_refuses_targets_whose_squares_leave_the_doubles(factor, rng):
    X = rng.standard_normal((60, 2))
    y = np.exp(np.where(X[:, 0] > 0, 2, -1) + 0.1 * rng.standard_normal(60))
    model = MixtureOfExpertsRegressor(n_experts=2, family="gamma", n_init=1, random_state=0)
    with pytest.raises(ValueError, match="squares of such numbers leave float64"):
        model.fit(X, y * factor)
    for unit in (1e100, 1e-150):
        std = model.fit(X, y * unit).predict(X, return_std=True)[1]
        assert np.all(np.isfinite(std) & (std > 0))
        assert 0.9 < model.score(X, y * unit) < 1
