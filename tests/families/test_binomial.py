"""The binomial family: successes among trials."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.special import expit
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import cross_val_score
from sklearn.tree import DecisionTreeClassifier

from mixexp import MixtureOfExpertsRegressor, describe_experts, routing_report
from mixexp.families import Binomial
from mixexp.inference import bootstrap
from mixexp.metrics import expert_importance, gate_regret, oracle_score
from mixexp.routing import TopK

#: `GLM(y, X, family=Binomial())` of statsmodels 0.15.0 on `table`: log-likelihood; intercept and
#: coefficients; their standard errors.
LIKELIHOOD = -246.8674190093694
PARAMETERS = [-0.205038759127244, 0.7912866907838247, -0.008642857449340083]
ERRORS = [0.06604552921734132, 0.09524800758235052, 0.0931106738150963]


def table():
    """Return X (200, 2) and successes and failures (200, 2), by a formula."""
    i = np.arange(200.0)
    X = np.column_stack([np.sin(i), np.cos(1.7 * i)])
    trials = 3 + i % 5
    share = 0.2 + 0.3 * (X[:, 0] > 0) + 0.4 * ((0.618034 * i) % 1)
    won = np.minimum(trials, np.floor(trials * share))
    return X, np.column_stack([won, trials - won])


def single(**options):
    """Return a binomial regression without penalty."""
    expert = LogisticRegression(C=np.inf)
    return MixtureOfExpertsRegressor(expert, n_experts=1, family="binomial", tol=1e-12, **options)


def regimes(rng, n=1200):
    X = rng.uniform(-2, 2, (n, 1))
    chance = 1 / (1 + np.exp(1.5 - 3 * np.abs(X[:, 0])))
    trials = rng.integers(1, 20, n)
    won = rng.binomial(trials, chance)
    return X, np.column_stack([won, trials - won]), chance


# ---------------------------------------------------------------- one expert


def test_one_expert_is_that_of_statsmodels():
    X, y = table()
    model = single().fit(X, y)
    assert_allclose(model.log_density(X, y).sum(), LIKELIHOOD, atol=1e-8)
    expert = model.experts_[0]
    assert_allclose([expert.intercept_[0], *expert.coef_[0]], PARAMETERS, rtol=1e-6)
    assert_allclose(model.summary(X, y).to_frame()["std_error"], ERRORS, rtol=1e-5)
    assert_allclose(expert.predict_proba(X)[:, 1], model.predict(X), rtol=1e-12)


@pytest.mark.parametrize("C", [0.5, np.inf])
def test_single_trials_are_logistic_regression(rng, C):
    X = rng.standard_normal((300, 2))
    y = (rng.random(300) < 1 / (1 + np.exp(-X[:, 0]))).astype(float)
    model = MixtureOfExpertsRegressor(
        LogisticRegression(C=C), n_experts=1, family="binomial", tol=1e-12
    ).fit(X, y)
    other = LogisticRegression(C=C, tol=1e-10, max_iter=1000).fit(X, y)
    assert_allclose(model.experts_[0].coef_, other.coef_, atol=1e-6)
    assert_allclose(model.predict(X), other.predict_proba(X)[:, 1], atol=1e-6)
    two = np.column_stack([y, 1 - y])
    assert_allclose(model.log_density(X, y), model.log_density(X, two), atol=1e-14)


def test_offset_and_weights():
    X, y = table()
    weight, offset = np.arange(200) % 3, np.cos(np.arange(200.0))
    repeated = np.repeat(np.arange(200), weight)
    weighted = single().fit(X, y, weight, offset=offset)
    copies = single().fit(X[repeated], y[repeated], offset=offset[repeated])
    assert_allclose(weighted.experts_[0].coef_, copies.experts_[0].coef_, rtol=1e-8)
    shifted = single().fit(X, y, offset=np.full(200, 0.7))
    plain = single().fit(X, y)
    assert_allclose(shifted.predict(X, offset=np.full(200, 0.7)), plain.predict(X), rtol=1e-7)


# ---------------------------------------------------------------- the density


def test_density_score_and_curvature(rng):
    trials = np.array([1.0, 5.0, 17.0, 400.0])
    y = np.stack([np.array([0.0, 2.0, 17.0, 123.0]), trials])
    eta = rng.normal(0, 1, (3, 1, 4))
    log_prob, score, curvature = Binomial().evaluate(y, eta, np.empty((0, 3, 1)))
    chance = Binomial().mean(eta)[:, 0]
    assert_allclose(log_prob, stats.binom.logpmf(y[0], trials, chance), rtol=1e-10)
    step = 1e-5
    up, down = (Binomial().evaluate(y, eta + d, np.empty((0, 3, 1))) for d in (step, -step))
    assert_allclose(score[:, 0], (up[0] - down[0]) / (2 * step), rtol=1e-5, atol=1e-5)
    assert_allclose(curvature, -(up[1] - down[1]) / (2 * step), rtol=1e-6)
    derivatives = Binomial().derivatives(y, eta, np.empty((0, 3, 1)))
    assert_array_equal(derivatives.by_eta, score)
    assert_array_equal(derivatives.curvature, curvature)


@pytest.mark.parametrize("eta", [-1e5, -800.0, 800.0, 1e5])
def test_extremes_give_no_nan(eta):
    y = np.array([[0.0, 3.0, 10.0, 1e6], [10.0, 10.0, 10.0, 1e9]])
    for found in Binomial().evaluate(y, np.full((1, 1, 4), eta), np.empty((0, 1, 1))):
        assert np.all(np.isfinite(found))


# ---------------------------------------------------------------- mixtures


@pytest.mark.parametrize("acceleration", ["auto", None])
def test_two_regimes(rng, acceleration):
    X, y, chance = regimes(rng)
    model = MixtureOfExpertsRegressor(
        n_experts=2, family="binomial", acceleration=acceleration, random_state=0
    ).fit(X, y)
    assert np.diff(model.lower_bounds_).min() > -1e-9
    assert np.mean(np.abs(model.predict(X) - chance)) < 0.02
    share, trials = y[:, 0] / y.sum(axis=1), y.sum(axis=1)
    error = trials @ (share - model.predict(X)) ** 2
    total = trials @ (share - np.average(share, weights=trials)) ** 2
    assert_allclose(model.score(X, y), 1 - error / total)
    outputs = model.predict_experts(X)
    joint = model.gate_proba(X) * stats.binom.pmf(y[:, :1], trials[:, None], outputs)
    assert_allclose(model.log_density(X, y), np.log(joint.sum(axis=1)), atol=1e-10)
    assert_allclose(model.responsibilities(X, y), joint / joint.sum(axis=1, keepdims=True))
    law = model.predict_distribution(X)
    assert_allclose(law.mean(), model.predict(X), rtol=1e-12)
    assert_allclose(law.pdf(1.0) + law.pdf(0.0), 1.0)
    assert set(np.unique(model.sample_y(X, 5, random_state=0))) == {0.0, 1.0}
    assert np.isfinite(model.bic(X, y))


def test_rows_without_a_success(rng):
    X, y, _ = regimes(rng)
    never = rng.random(len(X)) < 0.2
    y[never] = np.column_stack([np.zeros(never.sum()), y[never].sum(axis=1)])
    model = MixtureOfExpertsRegressor(
        n_experts=2, family="binomial", zero_expert=True, random_state=0
    ).fit(X, y)
    assert_allclose(model.gate_.zero_share_, 0.2, atol=0.04)
    assert_array_equal(model.responsibilities(X, y)[y[:, 0] > 0, 2], 0.0)


def test_cross_validation_takes_both_columns(rng):
    X, y, _ = regimes(rng, 300)
    model = MixtureOfExpertsRegressor(n_experts=2, family="binomial", n_init=1, random_state=0)
    assert np.all(cross_val_score(model, X, y, cv=3) > 0.3)


def test_parametric_bootstrap_draws_all_trials(rng):
    X, y = table()
    model = single(random_state=0).fit(X, y)
    found = bootstrap(model, X, y, n_refits=100, kind="parametric", random_state=0)
    assert_allclose(found.std_errors, ERRORS, rtol=0.25)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("row", [[-1.0, 2.0], [0.5, 0.5], [0.0, 0.0], [3.0, -1.0]])
def test_impossible_targets_are_refused(row):
    X, y = table()
    model = single().fit(X, y)
    assert model.log_density(X[:1], [row]) == -np.inf
    y[7] = row
    for refused in (single().fit, model.responsibilities):
        with pytest.raises(ValueError, match=r"family 'binomial' needs whole .* in row 7\. .*give"):
            refused(X, y)
    with pytest.raises(ValueError, match="one or two columns, got 3"):
        single().fit(X, np.ones((200, 3)))
    with pytest.raises(ValueError, match="in row 0"):
        single().fit(X, np.full(200, 2.0))


@pytest.mark.parametrize(
    "options, what",
    [
        ({"expert": DecisionTreeClassifier()}, "DecisionTreeClassifier"),
        ({"expert": LogisticRegression(), "cross_fit": 3}, "cross_fit=3"),
        ({"shared_expert": Ridge()}, "shared_expert"),
        ({"routing": TopK(1), "noise_expert": True}, "noise_expert=True"),
    ],
)
def test_other_parts_are_refused(options, what):
    X, y = table()
    with pytest.raises(ValueError, match=f"MixtureOfExpertsRegressor: .*{what}"):
        MixtureOfExpertsRegressor(n_experts=2, family="binomial", **options).fit(X, y)


# ---------------------------------------------------------------- scores of shares


@pytest.fixture
def unequal(rng):
    """Return a mixture, X and y with 10 or 30 trials a row, and the same as shares and weights."""
    X, y = regimes(rng, 300)[:2]
    y[:100] *= 3
    model = MixtureOfExpertsRegressor(n_experts=2, family="binomial", n_init=2, random_state=0)
    trials = y.sum(axis=1)
    return model.fit(X, y), X, y, y[:, 0] / trials, trials


def test_descriptions_have_the_error_of_the_share(unequal):
    model, X, y, share, trials = unequal
    answered = model.route(X).argmax(axis=1)
    for k, found in enumerate(describe_experts(model, X, y)):
        own = answered == k
        squared = (model.predict_experts(X)[own, k] - share[own]) ** 2
        assert_allclose(found.error, np.sqrt(np.average(squared, weights=trials[own])))


def test_reports_have_r2_of_the_share(unequal):
    model, X, y, share, trials = unequal
    outputs = model.predict_experts(X)
    expected = [r2_score(share, outputs[:, k], sample_weight=trials) for k in range(2)]
    assert_allclose(routing_report(model, X, y).score, expected)


def test_oracle_and_importances_are_of_the_share(unequal):
    model, X, y, share, trials = unequal
    outputs = model.predict_experts(X)
    nearest = outputs[np.arange(len(X)), np.abs(outputs - share[:, None]).argmin(axis=1)]
    best = r2_score(share, nearest, sample_weight=trials)
    assert_allclose(oracle_score(model, X, y, scoring="r2"), best)
    assert_allclose(gate_regret(model, X, y, scoring="r2"), best - model.score(X, y))
    found = expert_importance(model, X, y, random_state=0).importances
    same = expert_importance(model, X, share, sample_weight=trials, random_state=0).importances
    assert_allclose(found, same)


@pytest.mark.parametrize("row", [[0, 0], [-1, 3], [0.5, 0.5]])
def test_scores_refuse_impossible_targets(row, unequal):
    model, X, y, _, _ = unequal
    y = y.astype(float)
    y[7] = row
    with pytest.raises(ValueError, match=r"MixtureOfExpertsRegressor.* failures in row 7"):
        model.score(X, y)


@pytest.mark.parametrize("row", [[0, 0], [-1, 3]])
def test_descriptions_refuse_rows_without_trials(row, unequal):
    model, X, y, _, _ = unequal
    y[7] = row
    with pytest.raises(ValueError, match=r"describe_experts: row 7 .* successes"):
        describe_experts(model, X, y)


def test_the_law_is_of_one_trial(unequal):
    model, X, y, _, _ = unequal
    with pytest.raises(ValueError, match=r"distribution of one trial.*log_density"):
        model.predict_distribution(X).logpdf(y)


def test_three_columns_are_refused_by_name():
    message = r"MixtureOfExpertsRegressor: family 'binomial' needs y of one or two columns, got 3"
    with pytest.raises(ValueError, match=message):
        MixtureOfExpertsRegressor(family="binomial").fit(np.zeros((4, 1)), np.ones((4, 3)))


def test_moments_and_distribution_of_one_trial():
    chance, none = np.array([0.0, 0.2, 0.5, 0.9]), np.empty((0, 4))
    law, family = stats.bernoulli(chance), Binomial()
    assert_allclose(family.variance(chance, none), law.var())
    for y in (-1.0, 0.0, 0.5, 1.0, 2.0):
        at = np.full(4, y)
        assert_allclose(family.cdf(at, chance, none), law.cdf(y))
        assert_allclose(family.sf(at, chance, none), law.sf(y))


def test_starts_see_the_share_of_successes():
    won, trials = np.array([2.0, 0.0, 5.0]), np.array([8.0, 3.0, 5.0])
    assert_allclose(Binomial().shares(np.stack([won, trials])), [[0.25, 0.0, 1.0]])


def test_runs_and_batches_of_rows():
    """More rows than starts see, so that the long run reads them run by run."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(9000, 2))
    chance = expit(np.where(X[:, 0] > 0, 2 * X[:, 1] - 1, 1 - 2 * X[:, 1]))
    trials = rng.integers(1, 20, len(X))
    won = rng.binomial(trials, chance)
    Y = np.column_stack([won, trials - won]).astype(float)
    cuts = [(X[i : i + 2500], Y[i : i + 2500]) for i in range(0, len(X), 2500)]
    model = MixtureOfExpertsRegressor(n_experts=2, family="binomial", n_init=2, random_state=0)
    whole = clone(model).fit(X, Y)
    in_runs = clone(model).fit_blocks(lambda: iter(cuts))
    assert_allclose(in_runs.lower_bounds_, whole.lower_bounds_, rtol=1e-10)
    online = clone(model)
    for rows in cuts:
        online.partial_fit(*rows)
    density = online.log_density(X, Y).mean()
    assert density > whole.log_density(X, Y).mean() - 0.01


@pytest.mark.parametrize("shift", [50.0, -50.0])
def test_predictions_are_bounded_by_shares_and_not_by_far_log_odds(shift):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2))
    y = (rng.random(200) < 1 / (1 + np.exp(-2 * X[:, 0]))).astype(int)
    model = MixtureOfExpertsRegressor(n_experts=2, family="binomial", random_state=0)
    usual = model.fit(X, y).predict(X)
    shifted = clone(model).fit(X, y, offset=shift).predict(X, offset=shift)
    assert_allclose(shifted, usual, atol=1e-5)
