"""Scores and calibration of predictive distributions."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.distribution import MixtureDistribution
from mixexp.families import FAMILIES, Gaussian, StudentT
from mixexp.inspection import CalibrationDisplay, ResponsibilitiesDisplay
from mixexp.metrics import calibration, crps, log_score, log_score_scorer, neg_crps_scorer, pit

N = 20_000


def drawn(name, rng):
    """Return a law of many rows, and a draw from each."""
    family = FAMILIES[name]()
    parameters = family.initial(2, 1)[..., 0] * np.array([[0.6, 0.9]])
    means = family.mean(rng.normal(0.7, 0.7, (N, 2)))
    law = MixtureDistribution(rng.dirichlet(np.ones(2), N), means, parameters, family)
    return law, law.sample(1, random_state=1)[:, 0]


@pytest.mark.parametrize("name", FAMILIES)
def test_draws_are_calibrated(name, rng):
    law, y = drawn(name, rng)
    assert stats.kstest(pit(y, law, random_state=0), "uniform").statistic < 0.02
    found = calibration(y, law, random_state=0)
    assert_allclose(found.observed, found.coverages, atol=0.02)
    assert_allclose(found.densities, 1, atol=0.15)
    assert_allclose(np.sum(found.densities * np.diff(found.bin_edges)), 1)
    if not law.family.discrete:
        some, y = law[:300], y[:300]
        low, high = some.interval(found.coverages)
        inside = np.mean((low <= y) & (y <= high), axis=1)
        assert_allclose(inside, calibration(y, some).observed, atol=1e-12)


def test_scores_are_weighted_means():
    law = MixtureDistribution(np.ones((3, 1)), np.zeros((3, 1)), np.ones((1, 1)), Gaussian())
    y, weight = np.array([0.0, 1.0, np.inf]), np.array([1.0, 3.0, 0.0])
    assert_allclose(log_score(y, law, sample_weight=weight), stats.norm.logpdf([0, 1, 1, 1]).mean())
    assert_allclose(crps(y, law, sample_weight=weight), law.crps(y)[[0, 1, 1, 1]].mean())
    assert log_score(y, law) == -np.inf
    assert crps(y, law) == np.inf
    heavy = MixtureDistribution(np.ones((1, 1)), np.zeros((1, 1)), np.full((2, 1), 0.9), StudentT())
    assert crps([0.0], heavy) == np.inf


def test_scorers_in_searches(rng):
    X = rng.normal(size=(120, 2))
    y = np.abs(X[:, 0]) + 0.1 * rng.normal(size=120)
    model = MixtureOfExpertsRegressor(n_experts=2, n_init=1, random_state=0)
    pipeline = make_pipeline(StandardScaler(), model)
    assert np.isfinite(cross_val_score(pipeline, X, y, scoring=log_score_scorer, cv=2)).all()
    name = "mixtureofexpertsregressor__n_experts"
    search = GridSearchCV(pipeline, {name: [1, 2]}, scoring=neg_crps_scorer, cv=2).fit(X, y)
    assert search.best_params_ == {name: 2}
    law = model.fit(X, y).predict_distribution(X)
    assert_array_equal(neg_crps_scorer(model, X, y), -crps(y, law))
    assert_array_equal(
        log_score_scorer(search, X, y), log_score_scorer(search.best_estimator_, X, y)
    )
    with pytest.raises(TypeError, match="log_score_scorer: StandardScaler has no predict_dist"):
        log_score_scorer(StandardScaler(), X, y)
    classifier = MixtureOfExpertsClassifier(n_experts=1).fit(X, y > 0.5)
    with pytest.raises(TypeError, match="predicts classes"):
        neg_crps_scorer(classifier, X, y)


def test_successes_and_failures(rng):
    X, trials = rng.normal(size=(60, 1)), rng.integers(1, 6, 60)
    won = rng.binomial(trials, 0.4)
    y = np.column_stack([won, trials - won])
    model = MixtureOfExpertsRegressor(n_experts=1, family="binomial").fit(X, y)
    assert_allclose(log_score_scorer(model, X, y), model.log_density(X, y).mean())
    law = model.predict_distribution(X, trials=trials)
    assert neg_crps_scorer(model, X, y) == -crps(won, law)
    shown = CalibrationDisplay.from_estimator(model, X, y, random_state=0)
    assert_array_equal(shown.densities, calibration(won, law, random_state=0).densities)
    with pytest.raises(ValueError, match=r"log_score_scorer: y has .* successes"):
        log_score_scorer(model, X, won)


@pytest.mark.parametrize("score", [log_score, crps, pit, calibration])
def test_what_is_no_distribution(score):
    with pytest.raises(TypeError, match=f"{score.__name__}: distribution=.*no distribution of num"):
        score([0.0, 1.0], np.zeros(2))


@pytest.mark.parametrize(
    "options, match",
    [
        ({"coverages": [0.5, 1.0]}, "calibration: coverages must be .*got 1.0"),
        ({"n_bins": 0}, "calibration: n_bins=0 must be a whole number"),
        ({"sample_weight": [1.0]}, "calibration: sample_weight=.* must be 2 finite"),
        ({"sample_weight": [0.0, 0.0]}, "calibration: there are no rows with weight"),
    ],
)
def test_odd_arguments_of_calibration(options, match):
    law = MixtureDistribution(np.ones((2, 1)), np.zeros((2, 1)), np.ones((1, 1)), Gaussian())
    with pytest.raises(ValueError, match=match):
        calibration([0.0, 1.0], law, **options)


def test_rates_are_not_compared_with_counts(rng):
    X, exposure = rng.standard_normal((200, 2)), rng.uniform(1, 50, 200)
    y = rng.poisson(exposure * np.exp(0.3 * X[:, 0]))
    model = MixtureOfExpertsRegressor(n_experts=1, family="poisson", random_state=0)
    model.fit(X, y, offset=np.log(exposure))
    judges = {
        "log_score_scorer": log_score_scorer,
        "neg_crps_scorer": neg_crps_scorer,
        "CalibrationDisplay": CalibrationDisplay.from_estimator,
        "ResponsibilitiesDisplay": ResponsibilitiesDisplay.from_estimator,
    }
    for name, judge in judges.items():
        with pytest.raises(ValueError, match=f"{name}: the Mixture.* was fitted with an offset"):
            judge(model, X, y)
    law = model.predict_distribution(X, offset=np.log(exposure))
    assert log_score(y, law) > -4
