"""The negative binomial family: other libraries, its bounds, sums that do not cancel, fits."""

import warnings

import numpy as np
import pytest
from _count_table import count_table
from _family_cases import statistics_of
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.optimize import minimize
from scipy.special import logsumexp
from sklearn.linear_model import PoissonRegressor
from sklearn.tree import DecisionTreeRegressor

from mixexp import MixtureOfExpertsRegressor
from mixexp.families import NegativeBinomial, Poisson
from mixexp.families._negative_binomial import LARGEST_ALPHA, SMALLEST_ALPHA
from mixexp.families._rising import log_rising, rising_slopes

#: `statsmodels.api.NegativeBinomial(y, X).fit(method="newton")` of statsmodels 0.15.0 on
#: `count_table`: log-likelihood; intercept, coefficients and α; their standard errors.
LIKELIHOOD = -418.1059444119111
PARAMETERS = [0.8978076145613091, 0.542948013763186, -0.33289070159707385, 0.8389330292963587]
ERRORS = [0.08029509052094622, 0.11350256449965672, 0.1168633406657471, 0.14589623569140106]

#: The same with the offset.
LIKELIHOOD_OFFSET = -422.2720081054702
PARAMETERS_OFFSET = [
    0.9101787343288794,
    0.5464915326421987,
    -0.3339241927910432,
    0.9122329461964486,
]


def single(**options):
    """Return a negative binomial regression without penalty."""
    options = {"tol": 1e-12, "max_iter": 500, **options}
    return MixtureOfExpertsRegressor(
        PoissonRegressor(alpha=0), n_experts=1, family="negative_binomial", **options
    )


def regimes(rng, n=600):
    X = rng.uniform(-2, 2, (n, 1))
    mean = np.exp(1 + np.abs(X[:, 0]))
    return X, rng.poisson(mean * rng.gamma(2.0, 0.5, n)).astype(float)


# ---------------------------------------------------------------- one expert


@pytest.mark.parametrize("acceleration", ["auto", None])
def test_one_expert_is_that_of_statsmodels(acceleration):
    X, y, _, offset = count_table()
    model = single(acceleration=acceleration).fit(X, y)
    assert_allclose(model.log_density(X, y).sum(), LIKELIHOOD, atol=1e-6)
    found = [model.experts_[0].intercept_, *model.experts_[0].coef_, model.dispersions_[0]]
    assert_allclose(found, PARAMETERS, rtol=1e-5)
    model = single(acceleration=acceleration).fit(X, y, offset=offset)
    assert_allclose(model.log_density(X, y, offset=offset).sum(), LIKELIHOOD_OFFSET, atol=1e-6)
    found = [model.experts_[0].intercept_, *model.experts_[0].coef_, model.dispersions_[0]]
    assert_allclose(found, PARAMETERS_OFFSET, rtol=1e-5)


def test_standard_errors_are_those_of_statsmodels():
    X, y, _, _ = count_table()
    frame = single().fit(X, y).summary(X, y).to_frame()
    assert_allclose(frame["std_error"].to_numpy(), ERRORS, rtol=1e-4)


def test_one_expert_is_at_the_maximum():
    X, y, _, _ = count_table()

    def loss(theta):
        mean, size = np.exp(theta[0] + X @ theta[1:3]), np.exp(-theta[3])
        return -stats.nbinom.logpmf(y, size, size / (size + mean)).sum()

    best = minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-7})
    model = single().fit(X, y)
    assert_allclose(model.log_density(X, y).sum(), -best.fun, atol=1e-7)


def test_offset_and_weights():
    X, y, _, offset = count_table()
    weight = np.arange(200) % 3
    repeated = np.repeat(np.arange(200), weight)
    weighted = single().fit(X, y, weight, offset=offset)
    copies = single().fit(X[repeated], y[repeated], offset=offset[repeated])
    assert_allclose(weighted.lower_bound_, copies.lower_bound_, rtol=1e-10)
    assert_allclose(weighted.dispersions_, copies.dispersions_, rtol=1e-6)
    shifted = single().fit(X, y, offset=np.full(200, 0.7))
    plain = single().fit(X, y)
    assert_allclose(shifted.predict(X, offset=np.full(200, 0.7)), plain.predict(X), rtol=1e-7)


# ---------------------------------------------------------------- without over-dispersion


@pytest.mark.parametrize("acceleration", ["auto", None])
def test_counts_without_over_dispersion_end_at_poisson(rng, acceleration):
    X = rng.uniform(-1, 1, (400, 1))
    y = np.round(np.exp(1.5 + X[:, 0]))  # less spread than Poisson's
    model = single(acceleration=acceleration).fit(X, y)
    assert_allclose(model.dispersions_, SMALLEST_ALPHA, rtol=1e-6)
    assert model.converged_
    poisson = MixtureOfExpertsRegressor(
        PoissonRegressor(alpha=0), n_experts=1, family="poisson", tol=1e-12
    ).fit(X, y)
    assert_allclose(model.predict(X), poisson.predict(X), rtol=1e-5)
    assert_allclose(model.log_density(X, y), poisson.log_density(X, y), atol=1e-5)
    assert "dispersion" in str(model.summary(X, y))


def test_laws_of_small_dispersions_are_poissons():
    y, mean = np.arange(60.0)[:, None], np.array([[0.01, 3.0, 30.0]])
    one, none = np.full((1, 3), SMALLEST_ALPHA), np.empty((0, 3))
    for name in ("logpdf", "cdf", "sf", "logcdf"):
        found = getattr(NegativeBinomial(), name)(y, mean, one)
        assert_allclose(found, getattr(Poisson(), name)(y, mean, none), rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize("start", [SMALLEST_ALPHA, 1e-3, 1.0, LARGEST_ALPHA])
def test_dispersion_is_found_from_anywhere(rng, start):
    mean, alpha = np.exp(rng.normal(1.0, 0.5, (1, 1, 3000))), 0.4
    y = rng.poisson(mean[0] * rng.gamma(1 / alpha, alpha, (1, 3000))).astype(float)
    family, resp, parameters = NegativeBinomial(), np.ones((1, 3000)), np.full((1, 1, 1), start)
    for _ in range(60):
        sums = statistics_of(family, y, np.log(mean), parameters, resp)
        parameters = family.update(sums, np.array([3000.0]), parameters, np.zeros(1))
    assert_allclose(sums[0], 0.0, atol=1e-8)
    assert_allclose(parameters, alpha, rtol=0.1)


# ---------------------------------------------------------------- mixtures


@pytest.mark.parametrize("acceleration", ["auto", None])
def test_two_regimes(rng, acceleration):
    X, y = regimes(rng, 2000)
    model = MixtureOfExpertsRegressor(
        n_experts=2, family="negative_binomial", acceleration=acceleration, random_state=0
    ).fit(X, y)
    assert np.diff(model.lower_bounds_).min() > -1e-9
    assert_allclose(model.dispersions_, 0.5, atol=0.12)
    slopes = sorted(float(expert.coef_[0]) for expert in model.experts_)
    assert_allclose(slopes, [-1, 1], atol=0.2)
    law = model.predict_distribution(X)
    assert_allclose(law.mean(), model.predict(X), rtol=1e-10)
    assert_allclose(np.log(law.pdf(y)), model.log_density(X, y), atol=1e-9)


def test_estimators_as_experts(rng):
    X, y = regimes(rng)
    tree = DecisionTreeRegressor(max_depth=2, random_state=0)
    model = MixtureOfExpertsRegressor(
        tree, n_experts=2, family="negative_binomial", n_init=1, random_state=0
    ).fit(X, y)
    assert np.all((model.dispersions_ > 0.05) & (model.dispersions_ < 2))


def test_information_is_the_second_difference_of_the_likelihood(rng):
    X, y = regimes(rng, 400)
    model = MixtureOfExpertsRegressor(
        PoissonRegressor(alpha=0), n_experts=2, family="negative_binomial", n_init=1, random_state=0
    ).fit(X, y)
    inner, rows = model._model, model._rows_of_fit(X, y, None, None, None, None)[0]
    start, step = inner.bank.get_parameters(), 1e-4

    def likelihood(vector):
        moved = inner.bank.set_parameters(vector)
        return (
            type(inner)(inner.gate, moved, inner.target, inner.columns, None)
            .log_density(rows)
            .sum()
        )

    n_gate = inner.gate.get_parameters().size
    found = inner.information(rows).observed[n_gate:, n_gate:]
    for j in range(start.size):
        unit = np.zeros(start.size)
        unit[j] = step
        second = likelihood(start + unit) + likelihood(start - unit) - 2 * likelihood(start)
        assert_allclose(found[j, j], -second / step**2, rtol=1e-4)


# ---------------------------------------------------------------- sums and extremes


@pytest.mark.parametrize("alpha", [1e-8, 1e-4, 0.01, 0.3, 5.0, 1e4])
def test_rising_sums_equal_their_terms(alpha):
    y = np.array([0.0, 1.0, 2.0, 31.0, 32.0, 33.0, 40.0, 200.0, 5000.0])
    wide = np.full(y.shape, alpha)
    for dispersion in (np.array([alpha]), wide):
        found = (log_rising(y, dispersion), *rising_slopes(y, dispersion))
        for i, count in enumerate(y):
            x = alpha * np.arange(count)
            terms = np.log1p(x), x / (1 + x), x / (1 + x) ** 2
            for value, each in zip(found, terms, strict=True):
                assert_allclose(value[i], each.sum(), rtol=1e-11)


def test_extremes_give_no_nan():
    y = np.array([0.0, 1.0, 99.0, 101.0, 1e6, 1e15, 1e200, 1e299])[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for alpha in (SMALLEST_ALPHA, 1.0, LARGEST_ALPHA):
            mean = np.array([[1e-300, 1e-5, 1.0, 1e5, 1e100, 1e300]])
            parameters = np.full((1, 6), alpha)
            found = NegativeBinomial().logpdf(y, mean, parameters)
            assert np.all(found <= 1e-9) and not np.any(np.isnan(found))
            for name in ("cdf", "sf"):
                found = getattr(NegativeBinomial(), name)(y, mean, parameters)
                assert np.all((found >= 0) & (found <= 1))
            eta = np.log(mean)[:, None] * np.ones((1, 1, 1))
            for derivative in NegativeBinomial().derivatives(
                np.full((1, 6), 7.0), eta, np.full((1, 1, 1), alpha)
            ):
                assert np.all(np.isfinite(derivative))


def test_quantiles_at_both_ends():
    mean, parameters = np.array([[0.5, 20.0, 1e6, 1e302]]), np.array([[0.3, 1.0, 1e-8, 1.0]])
    family = NegativeBinomial()
    assert_array_equal(family.quantile(0.0, mean, parameters), 0.0)
    assert_array_equal(family.quantile(1.0, mean, parameters), np.inf)
    for q in (1e-12, 1e-3, 0.5, 0.999, 1 - 1e-12):
        found = family.quantile(q, mean, parameters)
        assert np.all(family.cdf(found, mean, parameters) >= q)
        earlier = np.minimum(found - 1, np.nextafter(found, 0.0))  # far up the double before
        before = family.cdf(np.maximum(earlier, 0.0), mean, parameters)
        assert np.all((found == 0) | (before < q))
        assert_array_equal(family._searched(q, mean, parameters), found)


@pytest.mark.parametrize("alpha", [1e-4, 0.5, 3.0, 1e4])
@pytest.mark.parametrize("mean", [1e6, 1e15, 1e100])
def test_laws_of_counts_far_below_the_mean(mean, alpha):
    family, count = NegativeBinomial(), 1000
    j = np.arange(count)
    terms = np.log1p(alpha * j) - np.log1p(j) - np.log((1 + alpha * mean) / mean)
    expected = terms.sum() - np.log1p(alpha * mean) / alpha
    found = family.logpdf(np.array([float(count)]), np.array([mean]), np.array([[alpha]]))
    assert_allclose(found, expected, rtol=1e-11)


@pytest.mark.parametrize("alpha", [0.05, 0.5, 3.0])
def test_huge_counts_have_the_density_of_gamma(alpha):
    # y / μ tends to a Gamma variable of mean 1 and shape 1 / α, up to terms of 1 / μ
    y = 1e14 * np.array([[0.5, 0.9, 1.0, 3.0]])
    expected = stats.gamma.logpdf(y[0], 1 / alpha, scale=1e14 * alpha)
    eta, parameters = np.full((1, 1, 4), np.log(1e14)), np.array([[[alpha]]])
    log_prob = NegativeBinomial().evaluate(y, eta, parameters)[0]
    assert_allclose(log_prob[0], expected, rtol=1e-10)
    law = NegativeBinomial().logpdf(y[0], np.full(4, 1e14), parameters[0, 0, :, None])
    assert_allclose(law, expected, rtol=1e-10)


@pytest.mark.parametrize("alpha", [0.05, 3.0])
def test_logcdf_from_below_zero_on(alpha):
    y, mean, parameters = np.arange(-2.0, 9.0), np.full(11, 4.0), np.full((1, 11), alpha)
    expected = stats.nbinom(1 / alpha, 1 / (1 + alpha * 4)).logcdf(y)
    assert_allclose(NegativeBinomial().logcdf(y, mean, parameters), expected, rtol=1e-10)


def test_logcdf_where_the_probability_is_no_double():
    y = np.array([0.0, 3.5, 100.0, 1500.0])
    mean, parameters = np.full(4, 1e4), np.full((1, 4), 1e-4)
    law = stats.nbinom(1e4, 0.5)
    expected = [logsumexp(law.logpmf(np.arange(np.floor(end) + 1))) for end in y]
    assert np.all(np.array(expected) < -700)
    assert_allclose(NegativeBinomial().logcdf(y, mean, parameters), expected, rtol=1e-10)


@pytest.mark.parametrize("expert", [PoissonRegressor(alpha=0), None])
def test_alpha_of_large_counts_does_not_depend_on_their_scale(rng, expert):
    """With α y large, the derivative by log α is a small rest of sums of the order of y."""
    X = rng.standard_normal((300, 1))
    rate = np.exp(X[:, 0]) * rng.gamma(2, 0.5, 300)
    found = [
        MixtureOfExpertsRegressor(expert, n_experts=1, family="negative_binomial")
        .fit(X, np.round(rate * scale))
        .dispersions_
        for scale in (1e9, 1e16, 1e25)
    ]
    assert_allclose(found[1:], np.stack([found[0]] * 2), rtol=1e-4)


@pytest.mark.parametrize("family", ["poisson", "negative_binomial"])
def test_counts_whose_scores_overflow_are_refused(family):
    model = MixtureOfExpertsRegressor(n_experts=1, family=family)
    with pytest.raises(ValueError, match=r"takes counts below 1e\+90 as y, got 1e\+90"):
        model.fit([[0.0], [1.0], [2.0]], [1.0, 1e90, 2.0])
    with pytest.raises(ValueError, match=r"needs counts 0, 1, 2, ... as y, got -1.0"):
        model.fit([[0.0], [1.0], [2.0]], [-1.0, 1e90, 2.0])


@pytest.mark.parametrize("alpha", [1e-8, 1e-3, 0.5, 20.0])
def test_tails_are_sums_of_probabilities_also_near_poisson(alpha):
    """1 / (1 + alpha mean) has lost the digits of a small alpha."""
    family, mean = NegativeBinomial(), np.full((1, 1), 0.01)
    parameters = np.full((1, 1, 1), alpha)
    counts = np.arange(400.0)[:, None, None]
    pmf = np.exp([family.logpdf(count, mean, parameters) for count in counts]).ravel()
    for y in (0, 1, 4):
        above = family.sf(np.full((1, 1), float(y)), mean, parameters)
        assert above == pytest.approx(pmf[y + 1 :].sum(), rel=1e-9)
