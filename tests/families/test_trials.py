"""`trials=` of the binomial family: one column of successes, laws of several trials."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.special import logsumexp
from sklearn import config_context
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_validate

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.families import Binomial
from mixexp.metrics import calibration

#: `GLM(np.column_stack([won, trials - won]), X, family=Binomial())` of statsmodels 0.15.0 on
#: `table`: log-likelihood; intercept and coefficients; their standard errors.
LIKELIHOOD = -246.8674190093694
PARAMETERS = [-0.205038759127244, 0.7912866907838247, -0.008642857449340083]
ERRORS = [0.06604552921734132, 0.09524800758235052, 0.0931106738150963]


def table():
    """Return X (200, 2), successes and trials, by a formula."""
    i = np.arange(200.0)
    X = np.column_stack([np.sin(i), np.cos(1.7 * i)])
    trials = 3 + i % 5
    share = 0.2 + 0.3 * (X[:, 0] > 0) + 0.4 * ((0.618034 * i) % 1)
    return X, np.minimum(trials, np.floor(trials * share)), trials


def mixture(n_experts=1, **options):
    expert = LogisticRegression(C=np.inf)
    options = {"family": "binomial", "random_state": 0, **options}
    return MixtureOfExpertsRegressor(expert, n_experts=n_experts, tol=1e-12, **options)


@pytest.fixture(scope="module")
def fitted():
    """Return two experts on rows of 1 to 12 trials, X, successes, trials."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, (400, 1))
    trials = rng.integers(1, 13, 400)
    won = rng.binomial(trials, 1 / (1 + np.exp(1.5 - 3 * np.abs(X[:, 0]))))
    model = MixtureOfExpertsRegressor(n_experts=2, family="binomial", n_init=2, random_state=0)
    return model.fit(X, won, trials=trials), X, won, trials


def test_one_expert_is_that_of_statsmodels():
    X, won, trials = table()
    model = mixture().fit(X, won, trials=trials)
    assert_allclose(model.log_density(X, won, trials=trials).sum(), LIKELIHOOD, rtol=1e-9)
    estimates = model.summary(X, won, trials=trials).estimates
    assert_allclose(estimates.estimates, PARAMETERS, rtol=1e-6)
    assert_allclose(estimates.std_errors, ERRORS, rtol=1e-6)


def test_it_is_the_form_of_two_columns(fitted):
    model, X, won, trials = fitted
    both = np.column_stack([won, trials - won])
    other = MixtureOfExpertsRegressor(n_experts=2, family="binomial", n_init=2, random_state=0)
    other.fit(X, both)
    assert_array_equal(other.predict(X), model.predict(X))
    names = ["log_density", "responsibilities", "log_density_experts", "score", "aic", "bic", "icl"]
    for name in names:
        one, two = getattr(model, name)(X, won, trials=trials), getattr(other, name)(X, both)
        assert_array_equal(one, two, name)
    summaries = [model.summary(X, won, trials=trials), other.summary(X, both)]
    assert str(summaries[0]) == str(summaries[1])
    model.align_experts(other, X, won, trials=trials)


def test_weights_are_repeated_rows():
    X, won, trials = table()
    weight = np.arange(200) % 3
    weighted = mixture().fit(X, won, weight, trials=trials)
    copies = np.repeat(np.arange(200), weight)
    repeated = mixture().fit(X[copies], won[copies], trials=trials[copies])
    assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-9)
    scores = weighted.score(X, won, weight, trials=trials)
    assert_allclose(scores, repeated.score(X[copies], won[copies], trials=trials[copies]))


def test_a_number_is_that_of_all_rows():
    X, won, _ = table()
    one, two = mixture().fit(X, won, trials=7), mixture().fit(X, won, trials=np.full(200, 7))
    assert_array_equal(one.predict(X), two.predict(X))
    law = one.predict_distribution(X, trials=7)
    assert_array_equal(law.mean(), two.predict_distribution(X, trials=np.full(200, 7)).mean())


# ---------------------------------------------------------------- laws of all trials


def test_laws_of_one_expert_are_binomial():
    X, won, trials = table()
    model = mixture().fit(X, won, trials=trials)
    law, known = model.predict_distribution(X, trials=trials), stats.binom(trials, model.predict(X))
    for name in ("mean", "std", "median", "entropy"):
        assert_allclose(getattr(law, name)(), getattr(known, name)(), rtol=1e-9, err_msg=name)
    for name, of_scipy in {"pdf": "pmf", "logpdf": "logpmf", "cdf": "cdf", "sf": "sf"}.items():
        for y in (-1.0, 0.0, 2.0, 2.5, trials, 20.0):
            assert_allclose(
                getattr(law, name)(y), getattr(known, of_scipy)(y), rtol=1e-9, err_msg=name
            )
    for q in (0.01, 0.5, 0.9, 1.0):
        assert_array_equal(law.quantile(q), known.ppf(q))
    assert_allclose(law[5:9].pdf(2.0), known.pmf(2.0)[5:9])


def test_laws_of_mixtures(fitted):
    model, X, won, trials = fitted
    law = model.predict_distribution(X, trials=trials)
    assert_allclose(law.logpdf(won), model.log_density(X, won, trials=trials), atol=1e-10)
    assert_allclose(law.mean(), trials * model.predict(X), rtol=1e-12)
    grid = np.arange(13.0)
    pmf = np.stack([law.pdf(y) for y in grid])
    assert_allclose(pmf.sum(axis=0), 1.0, rtol=1e-12)
    assert_allclose(np.cumsum(pmf, axis=0), [law.cdf(y) for y in grid], atol=1e-12)
    assert_allclose(law.variance(), grid**2 @ pmf - law.mean() ** 2, rtol=1e-9)
    crps = ((np.stack([law.cdf(y) for y in grid]) - (won <= grid[:, None])) ** 2).sum(axis=0)
    assert_allclose(law.crps(won), crps, atol=1e-10)
    low, high = model.predict_interval(X, 0.8, trials=trials)
    assert_array_equal(model.predict_quantile(X, [0.1, 0.9], trials=trials), [low, high])
    draws = model.sample_y(X, 3000, random_state=0, trials=trials)
    assert np.all(draws.max(axis=1) <= trials)
    assert_allclose(draws.mean(axis=1), law.mean(), atol=0.25)
    assert np.abs(calibration(won, law, random_state=0).observed - [0.5, 0.8, 0.95]).max() < 0.05
    one = law.component(1)
    assert_allclose(one.mean(), trials * model.predict_experts(X)[:, 1])
    regions = law[:50].highest_density_region(0.8)
    assert np.all(regions[:, 0, 0] <= law[:50].mode())


def test_known_rows_and_zeros(fitted):
    model, X, won, trials = fitted
    groups = np.arange(400)
    known = model.given(X, won, groups=groups, trials=trials)
    both = model.given(X, np.column_stack([won, trials - won]), groups=groups)
    law = known.predict_distribution(X, groups=groups, trials=trials)
    assert_allclose(law.mean(), trials * both.predict(X, groups=groups))
    zeros = mixture(zero_expert=True).fit(X, won, trials=trials)
    law = zeros.predict_distribution(X, trials=trials)
    assert_allclose(law.mean(), trials * zeros.predict(X))
    assert_allclose(law.logpdf(won), zeros.log_density(X, won, trials=trials), atol=1e-9)


@pytest.mark.parametrize("n", [1.0, 50.0, 1e6, 1e9])
def test_extremes_have_no_nan(n):
    family = Binomial()
    chance = np.array([0.0, 1e-300, 1e-12, 0.03, 0.5, 0.9, 1 - 1e-12, 1.0])
    trials, known = np.full((1, 8), n), stats.binom(n, chance)
    with np.errstate(all="ignore"):
        for y in (0.0, 1.0, np.floor(n / 2), n - 1, n, n + 1, np.inf):
            at = np.full(8, y)
            assert_allclose(family.logpdf(at, chance, trials), known.logpmf(y), rtol=1e-6)
            assert_allclose(family.cdf(at, chance, trials), known.cdf(y), atol=1e-12)
            assert_allclose(family.sf(at, chance, trials), known.sf(y), atol=1e-12)
            logs = family.logcdf(at, chance, trials)
            assert_allclose(np.exp(logs), known.cdf(y), rtol=1e-9, atol=1e-280)
        none_won = family.logcdf(np.zeros(8), chance, trials)
        assert_allclose(none_won, n * np.log1p(-chance), rtol=1e-9)
    for q in (1e-10, 0.3, 0.99):
        assert_array_equal(family.quantile(q, chance, trials), known.ppf(q))


def test_draws_of_one_trial_have_its_probability():
    won = Binomial().sample(np.full(2000, 0.9), np.empty((0, 1)), np.random.RandomState(0))
    assert set(won) == {0.0, 1.0} and 0.88 < won.mean() < 0.92


def test_logcdf_where_the_probability_is_no_double():
    trials, chance = 5000, np.array([0.9, 0.99])
    won = np.array([1000.0, 3000.0])
    expected = [
        logsumexp(stats.binom(trials, p).logpmf(np.arange(y + 1)))
        for y, p in zip(won, chance, strict=True)
    ]
    assert max(expected) < -1000
    found = Binomial().logcdf(won, chance, np.full((1, 2), float(trials)))
    assert_allclose(found, expected, rtol=1e-10)


# ---------------------------------------------------------------- routed, and refused


def test_trials_are_routed():
    X, won, trials = table()
    with config_context(enable_metadata_routing=True):
        model = mixture().set_fit_request(trials=True).set_score_request(trials=True)
        found = cross_validate(model, X, won, cv=2, params={"trials": trials})
    half = np.arange(100)
    other = mixture().fit(X[100:], won[100:], trials=trials[100:])
    assert_allclose(found["test_score"][0], other.score(X[half], won[half], trials=trials[half]))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"trials": np.full(200, 2.0)}, r"y must be .* row 3 has y=5 and trials=2\. Of a share"),
        (
            {"trials": 3 + np.arange(200.0) % 5 - 3 * (np.arange(200) == 5)},
            "trials=0 in row 5 must",
        ),
        ({"trials": np.full(200, 9.5)}, r"trials=9\.5 in row 0 must be a whole number from 1"),
        ({"trials": np.full(200, np.nan)}, "trials=nan in row 0 must be a whole number"),
        ({"trials": np.full(199, 9.0)}, r"trials has shape \(199,\)\. Give .* each of 200 rows"),
        (
            {"trials": ["a"] * 200},
            "trials=.* cannot be read as numbers.* Give the number of trials",
        ),
        ({"y": np.full(200, 0.5)}, r"y must be whole numbers .* y=0\.5 .* share \* trials"),
        ({"y": np.ones((200, 2))}, r"y has shape \(200, 2\), and trials=.* Leave trials out"),
        ({"family": "poisson"}, "trials=.* family 'poisson' has no trials. Leave .*'binomial'"),
    ],
)
def test_wrong_trials(change, message):
    X, won, trials = table()
    given = {"y": won, "trials": trials, "family": "binomial", **change}
    model = MixtureOfExpertsRegressor(n_experts=1, family=given["family"], random_state=0)
    with pytest.raises(ValueError, match=f"MixtureOfExpertsRegressor: {message}"):
        model.fit(X, given["y"], trials=given["trials"])
    assert not hasattr(model, "experts_")


def test_only_the_binomial_family_has_trials(rng):
    X, won, trials = table()
    model = MixtureOfExpertsRegressor(n_experts=1).fit(X, won)
    for call in (model.predict_distribution, model.sample_y):
        with pytest.raises(ValueError, match="family 'gaussian' has no trials"):
            call(X, trials=trials)
    classes = MixtureOfExpertsClassifier(n_experts=1).fit(X, won > 2)
    with pytest.raises(ValueError, match=r"MixtureOfExpertsClassifier: trials=.* classes have no"):
        classes.log_density(X, won > 2, trials=trials)
    with pytest.raises(ValueError, match=r"trials has shape \(3,\)"):
        mixture().fit(X, won, trials=trials).predict_distribution(X, trials=[1, 2, 3])
