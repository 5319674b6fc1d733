"""Calibration of class probabilities."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import softmax
from sklearn.metrics import log_loss
from sklearn.tree import DecisionTreeClassifier

from mixexp import MixtureOfExpertsClassifier
from mixexp.families import Calibration

K, C, N = 2, 3, 4000


@pytest.fixture
def case(rng):
    return problem(rng)


def problem(rng):
    """Return true probabilities (K, C, N), labels drawn from the first, and responsibilities."""
    proba = softmax(2 * rng.standard_normal((K, C, N)), axis=1)
    y = (proba[0].cumsum(axis=0) < rng.random(N)).sum(axis=0)
    return proba, y, np.array([np.ones(N), np.full(N, 0.3)])


def log_likelihood(calibration, proba, y, resp):
    return np.sum(resp * np.log(calibration.apply(proba)[:, y, np.arange(N)]), axis=1)


def test_probabilities_that_are_right_stay(case):
    proba, y, resp = case
    found = Calibration.fitted(proba, y, resp)
    assert_allclose(found.exponents[0], 1.0, atol=0.1)
    assert found.smoothing[0] < 0.05
    assert_allclose(found.apply(proba)[0], proba[0], atol=0.05)
    assert_allclose(found.apply(proba).sum(axis=1), 1.0, atol=1e-12)
    assert_allclose(found.shares, np.bincount(y) / N)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("power", [0.6, 1.5, 4.0])
def test_too_sure_or_not_sure_enough(power, seed):
    proba, y, resp = problem(np.random.default_rng(seed))
    wrong = proba**power / np.sum(proba**power, axis=1, keepdims=True)
    found = Calibration.fitted(wrong, y, resp)
    assert_allclose(found.exponents[0], 1 / power, rtol=0.1)


def test_a_zero_is_not_a_proof(case):
    proba, y, resp = case
    sure = np.equal(proba.argmax(axis=1)[:, None], np.arange(C)[:, None]).astype(float)
    found = Calibration.fitted(sure, y, resp)
    assert np.all(found.apply(sure) > 0.01)
    right = np.mean(proba[0].argmax(axis=0) == y)
    assert_allclose(found.apply(sure)[0].max(axis=0).mean(), right, atol=0.03)


def test_no_neighbour_is_better(case):
    proba, y, resp = case
    proba = proba**2 / np.sum(proba**2, axis=1, keepdims=True)
    found = Calibration.fitted(proba, y, resp)
    best = log_likelihood(found, proba, y, resp)
    for exponent, smoothing in [(1.1, 1.0), (0.9, 1.0), (1.0, 1.5), (1.0, 0.5)]:
        other = Calibration(
            found.shares, found.exponents * exponent, np.minimum(found.smoothing * smoothing, 1.0)
        )
        assert np.all(log_likelihood(other, proba, y, resp) <= best + 1.0)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_leaf", [1, 2, 5, 8])
def test_shares_in_small_leaves_are_too_sure(n_leaf, seed):
    # what a tree says out of fold: shares of the classes in a leaf of a few other rows. Whether an
    # exponent or the smoothing mends it the likelihood hardly tells, if most shares are 0 or 1
    rng = np.random.default_rng(seed)
    true = rng.dirichlet(np.ones(C), size=(2, 1000)).transpose(0, 2, 1)
    leaf = np.array([[rng.multinomial(n_leaf, p) for p in half.T] for half in true]) / n_leaf
    leaf = leaf.transpose(0, 2, 1)
    y = (true.cumsum(axis=1) < rng.random((2, 1, 1000))).sum(axis=1)
    found = Calibration.fitted(leaf[:1], y[0], np.ones((1, 1000)))

    def misfit(calibration, half):
        return -np.log(calibration.apply(leaf[[half]])[0, y[half], np.arange(1000)]).mean()

    grid = [
        Calibration(found.shares, np.array([exponent]), np.array([share]))
        for exponent in np.geomspace(0.1, 2.0, 12)
        for share in [1e-6, *np.linspace(0.02, 1.0, 25)]
    ]
    assert misfit(found, 0) <= min(misfit(other, 0) for other in grid) + 1e-4
    raw = Calibration(found.shares, np.ones(1), np.full(1, 1e-6))
    assert misfit(found, 1) < misfit(raw, 1)  # of new rows
    right = np.mean(leaf[1].argmax(axis=0) == y[1])
    assert leaf[1].max(axis=0).mean() > right + 0.02
    assert_allclose(found.apply(leaf[[1]])[0].max(axis=0).mean(), right, atol=0.06)


def test_an_expert_without_rows(case):
    proba, y, resp = case
    found = Calibration.fitted(proba, y, np.array([resp[0], np.zeros(N)]))
    assert found.exponents[1] == 1.0
    assert found.smoothing[1] <= 1e-6
    assert_allclose(found.select(np.array([1])).exponents, [1.0])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("seed", range(3))
def test_the_mixture_uses_it(rng, seed):
    X = rng.standard_normal((400, 2))
    y = (X[:, 0] * X[:, 1] > 0) ^ (rng.random(400) < 0.15)
    tree = DecisionTreeClassifier(min_samples_leaf=2)
    model = MixtureOfExpertsClassifier(tree, n_experts=2, max_iter=5, random_state=seed)
    model.fit(X, y)
    assert model.cross_fitted_
    raw = np.stack([e.predict_proba(X) for e in model.experts_])
    calibration = Calibration(np.bincount(y) / 400, model.exponents_, model.smoothing_)
    expected = calibration.apply(raw.transpose(0, 2, 1)).transpose(2, 0, 1)
    assert_allclose(model.predict_experts(X), expected)
    proba = np.einsum("nk,nkc->nc", model.route(X), expected)
    assert_allclose(model.predict_proba(X), proba)
    assert_allclose(model.log_density(X, y), np.log(proba[np.arange(400), y.astype(int)]))
    X_new = rng.standard_normal((2000, 2))
    y_new = (X_new[:, 0] * X_new[:, 1] > 0) ^ (rng.random(2000) < 0.15)
    # trees are too sure of themselves; calibrated, they are right as often as they say
    proba = model.predict_proba(X_new)
    raw = np.stack([e.predict_proba(X_new) for e in model.experts_])
    raw = np.einsum("nk,knc->nc", model.route(X_new), raw)
    right = model.score(X_new, y_new)
    assert raw.max(axis=1).mean() > right + 0.1
    assert_allclose(proba.max(axis=1).mean(), right, atol=0.05)
    assert log_loss(y_new, proba) < log_loss(y_new, np.minimum(raw, 1.0)) - 0.1
    fooled = MixtureOfExpertsClassifier(
        tree, n_experts=2, max_iter=5, cross_fit=False, random_state=seed
    )
    fooled.fit(X, y)
    assert not hasattr(fooled, "exponents_")
    density = [m.log_density(X_new, y_new).mean() for m in (model, fooled)]
    assert density[0] > density[1] + 0.1
    assert_allclose(model.lower_bound_, density[0], atol=0.1)


def test_a_region_without_rows_keeps_what_experts_say():
    proba = np.array([[[0.9, 0.2], [0.1, 0.8]]])
    calibration = Calibration.fitted(proba, np.array([0, 1]), np.zeros((1, 2)))
    assert_allclose(calibration.shares, 0.5)
    assert_allclose(calibration.apply(proba), proba, atol=1e-6)
