"""Offsets."""

import warnings

import numpy as np
import pytest
from _outliers import lines_with_outliers
from numpy.testing import assert_allclose
from scipy.special import logsumexp
from scipy.stats import poisson
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
)
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.gates import ConstantGate


def counts(rng, n=500):
    """Return X, counts, exposure and the two rates of a mixture of Poisson regressions."""
    X = rng.standard_normal((n, 1))
    exposure = rng.uniform(1, 20, n)
    rate = np.exp(np.where(rng.random(n) < 0.5, 1 + 0.5 * X[:, 0], -1.5 - 0.5 * X[:, 0]))
    return X, rng.poisson(exposure * rate), exposure


@pytest.mark.parametrize("expert", [None, PoissonRegressor(alpha=0)])
def test_offset_enters_the_density(rng, expert):
    X, y, exposure = counts(rng)
    model = MixtureOfExpertsRegressor(
        expert, n_experts=2, family="poisson", gate=ConstantGate(), random_state=0
    )
    model.fit(X, y, offset=np.log(exposure))
    rates = model.predict_experts(X)
    assert_allclose(
        model.predict_experts(X, offset=np.log(exposure)), rates * exposure[:, None], rtol=1e-10
    )
    assert_allclose(rates[:, 0], model.experts_[0].predict(X))
    log_joint = np.log(model.gate_.proba_) + poisson.logpmf(y[:, None], rates * exposure[:, None])
    density = logsumexp(log_joint, axis=1)
    offset = np.log(exposure)
    assert_allclose(model.log_density(X, y, offset=offset), density)
    assert_allclose(
        model.responsibilities(X, y, offset=offset), np.exp(log_joint - density[:, None]), atol=1e-9
    )
    assert_allclose(
        model.predict_distribution(X, offset=offset).mean(), model.predict(X, offset=offset)
    )
    assert model.score(X, y, offset=offset) > model.score(X, y)
    n_parameters = model.aic(X, y, offset=offset) / 2 + density.sum()
    if expert is None:  # its penalty takes a little
        assert 4.9 < n_parameters < 5
    else:
        assert_allclose(n_parameters, 5)
    draws = model.sample_y(X, 200, random_state=0, offset=offset)
    assert_allclose(draws.mean(), model.predict(X, offset=offset).mean(), rtol=0.05)
    intercepts = np.sort([e.intercept_ for e in model.experts_])
    assert_allclose(intercepts, [-1.5, 1.0], atol=0.25)


@pytest.mark.parametrize("shift", [-40.0, 30.0, 50.0, 300.0])
def test_a_constant_offset_is_an_intercept(rng, shift):
    X, y, exposure = counts(rng)
    options = {"n_experts": 2, "family": "poisson", "gate": ConstantGate(), "random_state": 0}
    one = MixtureOfExpertsRegressor(**options).fit(X, y, offset=np.log(exposure))
    two = MixtureOfExpertsRegressor(**options).fit(X, y, offset=np.log(exposure) + shift)
    assert_allclose(two.lower_bound_, one.lower_bound_, atol=1e-5)
    one_two = [np.sort([e.intercept_ for e in model.experts_]) for model in (one, two)]
    assert_allclose(one_two[0] - one_two[1], shift, atol=0.05)
    assert_allclose(two.predict(X, offset=shift), one.predict(X, offset=0.0), rtol=0.05)


def test_an_offset_moves_a_gaussian_as_its_subtraction_does(rng):
    X, y, _, _ = lines_with_outliers(rng, 200, 0.0)
    offset = rng.standard_normal(200)
    for expert in (LinearRegression(), DecisionTreeRegressor(max_depth=2, random_state=0)):
        options = {"n_experts": 2, "init": (X[:, 0] > 0).astype(int), "max_iter": 5, "tol": 0}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            one = MixtureOfExpertsRegressor(expert, **options).fit(X, y + offset, offset=offset)
            two = MixtureOfExpertsRegressor(expert, **options).fit(X, y)
        if expert.__class__ is LinearRegression:  # folds are drawn by content, offset included
            assert_allclose(one.predict(X), two.predict(X), rtol=1e-6)
        assert_allclose(one.predict(X, offset=offset), one.predict(X) + offset)


def test_offset_of_estimator_experts_with_a_log_link(rng):
    X, y, exposure = counts(rng)
    offset = np.log(exposure)
    tree = DecisionTreeRegressor(max_depth=2, criterion="poisson", random_state=0)
    model = MixtureOfExpertsRegressor(
        tree, n_experts=1, family="poisson", cross_fit=False, max_iter=2, init=np.zeros(500)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y, offset=offset)
    # one GLM or tree: rates weighted by exposure
    alone = DecisionTreeRegressor(max_depth=2, criterion="poisson", random_state=0)
    order = np.lexsort((y, X[:, 0]))
    alone.fit(X[order], (y / exposure)[order], sample_weight=exposure[order])
    assert_allclose(model.predict(X), alone.predict(X), rtol=1e-9)
    assert_allclose(model.predict(X, offset=offset), alone.predict(X) * exposure, rtol=1e-9)


def test_offset_of_classes(rng):
    X = rng.standard_normal((400, 1))
    offset = rng.standard_normal(400)
    y = rng.random(400) < 1 / (1 + np.exp(-(X[:, 0] + 2 * offset)))
    expert = LogisticRegression(C=1e6)
    model = MixtureOfExpertsClassifier(expert, n_experts=1).fit(X, y, offset=2 * offset)
    plain = model.experts_[0].predict_proba(X)
    log_odds = np.log(plain[:, 1] / plain[:, 0]) + 2 * offset
    assert_allclose(
        model.predict_proba(X, offset=2 * offset)[:, 1], 1 / (1 + np.exp(-log_odds)), rtol=1e-9
    )
    assert_allclose(model.experts_[0].coef_, [[1.0]], atol=0.35)
    assert model.score(X, y, offset=2 * offset) > model.score(X, y)
    three = MixtureOfExpertsClassifier(expert, n_experts=1).fit(
        X, np.arange(400) % 3, offset=np.zeros((400, 3))
    )
    shifted = three.predict_proba(X, offset=np.tile([0.0, 0.0, 1.0], (400, 1)))
    expected = three.predict_proba(X) * [1, 1, np.e]
    assert_allclose(shifted, expected / expected.sum(axis=1, keepdims=True), rtol=1e-9)


def test_wrong_offsets(rng):
    X, y, exposure = counts(rng)
    model = MixtureOfExpertsRegressor(n_experts=2, family="poisson", random_state=0)
    with pytest.raises(ValueError, match=r"offset has shape \(500, 3\)"):
        model.fit(X, y, offset=np.zeros((500, 3)))
    with pytest.raises(ValueError, match=r"offset has shape \(10,\).* each of 500 rows"):
        model.fit(X, y, offset=np.zeros(10))
    with pytest.raises(ValueError, match="500 values that are NaN or infinite"):
        model.fit(X, y, offset=np.full(500, np.nan))
    with pytest.raises(ValueError, match=r"offset goes from .* scale of the log link: give np.log"):
        model.fit(X, y, offset=100 * exposure)
    with pytest.raises(ValueError, match=r"offset=np.log"):
        model.fit(X, y / exposure)
    with pytest.raises(ValueError, match="offset is added to the linear predictor of logistic"):
        MixtureOfExpertsClassifier(DecisionTreeClassifier(), n_experts=2).fit(
            X, y > 3, offset=np.zeros(500)
        )
