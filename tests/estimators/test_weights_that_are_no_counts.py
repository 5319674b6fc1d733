"""Sample weights are frequencies, and what is none is rescaled with a word."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.ensemble import AdaBoostClassifier, AdaBoostRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._weights import ONE, as_counts, responsibilities_as_weights

BELOW = "sample weights.* are below 1 .*rescaled to a mean of 1"


def lines(n=300, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2, 2, (n, 2))
    y = np.where(X[:, 0] < 0, 1 + 2 * X[:, 1], -1 - 3 * X[:, 1]) + 0.1 * rng.normal(size=n)
    return X, y


def regressor(**params):
    return MixtureOfExpertsRegressor(**{"n_experts": 2, "n_init": 4, "random_state": 0, **params})


@pytest.mark.parametrize("size", [1.0, 1 / 300, 1e-200, 0.999])
def test_shares_are_taken_as_their_ratios(rng, size):
    X, y = lines()
    weight = rng.uniform(0.2, 0.9, 300) * size
    with pytest.warns(UserWarning, match="MixtureOfExpertsRegressor: all 300 positive " + BELOW):
        model = regressor().fit(X, y, sample_weight=weight)
    counts = regressor().fit(X, y, sample_weight=weight / size / np.mean(weight / size))
    assert_allclose(model.predict(X), counts.predict(X), rtol=1e-6, atol=1e-8)


def test_normalised_weights_are_as_ones():
    X, y = lines()
    ones = regressor().fit(X, y)
    with pytest.warns(UserWarning, match=BELOW) as caught:
        shares = regressor().fit(X, y, sample_weight=np.full(300, 1 / 300))
    assert len(caught) == 1
    assert_allclose(shares.predict(X), ones.predict(X))
    with pytest.warns(UserWarning, match=BELOW) as caught:
        criteria = [getattr(ones, name)(X, y, np.full(300, 0.5)) for name in ("aic", "bic", "icl")]
    assert len(caught) == 3  # one a call
    assert_allclose(criteria, [ones.aic(X, y), ones.bic(X, y), ones.icl(X, y)])


def test_rows_without_weight_do_not_enter_the_mean():
    X, y = lines()
    weight = np.where(np.arange(300) % 3 == 0, 0.0, 0.25)
    with pytest.warns(UserWarning, match="all 200 positive"):
        model = regressor().fit(X, y, sample_weight=weight)
    some = regressor().fit(X[weight > 0], y[weight > 0])
    assert_allclose(model.predict(X), some.predict(X))


def test_counts_are_left_alone(rng):
    model = regressor()
    for weight in (np.array([1.0, 0.1, 0.0]), np.array([3.0, 2.0]), np.ones(3)):
        assert_array_equal(as_counts(weight, model), weight)
    with pytest.warns(UserWarning, match="below 1"):
        once = as_counts(rng.uniform(0.1, 0.11, 7), model)
    assert_allclose(once.mean(), 1.0)
    assert_array_equal(as_counts(once, model), once)
    assert ONE < 1


def test_class_weights_are_named():
    X, y = lines()
    model = MixtureOfExpertsClassifier(
        n_experts=2, n_init=2, random_state=0, class_weight={0: 0.1, 1: 0.2}
    )
    with pytest.warns(UserWarning, match="weights, times class_weight, are below 1"):
        model.fit(X, (y > 0).astype(int))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.set_params(class_weight="balanced").fit(X, (y > 0).astype(int))


def test_groups_have_their_weights_rescaled_too():
    X, y = lines()
    groups = np.repeat(np.arange(100), 3)
    X = X[groups * 3]
    plain = regressor().fit(X, y, groups=groups)
    with pytest.warns(UserWarning, match="below 1"):
        model = regressor().fit(X, y, sample_weight=np.full(300, 0.2), groups=groups)
    assert_allclose(model.predict(X), plain.predict(X))


def test_responsibilities_are_weights_as_they_are():
    X, y = lines()
    with responsibilities_as_weights():
        weight = np.array([0.2, 0.4])
        assert_array_equal(as_counts(weight, regressor()), weight)
    inner = make_pipeline(StandardScaler(), regressor(n_init=1, tol=1e-3))
    outer = regressor(expert=inner, cross_fit=False, max_iter=2, tol=10.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        outer.fit(X, y)
    assert not any("below 1" in str(w.message) or "adds up" in str(w.message) for w in caught)


def test_a_total_that_is_small_beside_the_parameters_is_warned_of():
    X, y = lines()
    weight = np.full(300, 0.01)
    weight[0] = 1.0
    with pytest.warns(UserWarning, match="adds up to 3.99 over 300 rows.*about 11 parameters"):
        regressor().fit(X, y, sample_weight=weight)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        regressor().fit(X, y, sample_weight=np.where(np.arange(300) < 20, 1.0, 0.01))
        regressor().fit(X[:9], y[:9])  # few rows are what there is


@pytest.mark.slow
def test_boosting_of_mixtures_is_no_coin_toss():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2))
    y = (np.where(X[:, 0] < 0, 1, -1) * X[:, 1] + 0.3 * rng.normal(size=300) > 0).astype(int)
    base = MixtureOfExpertsClassifier(n_experts=2, n_init=4, tol=1e-4, random_state=0)
    alone = base.fit(X, y).score(X, y)
    with pytest.warns(UserWarning, match="below 1"):
        boosted = AdaBoostClassifier(base, n_estimators=3, random_state=0).fit(X, y)
    assert boosted.score(X, y) > alone - 0.03
    numbers = AdaBoostRegressor(Ridge(), n_estimators=2, random_state=0)  # draws its rows
    numbers.set_params(estimator=regressor(n_init=2, tol=1e-3))
    assert numbers.fit(*lines()).score(*lines()) > 0.9
