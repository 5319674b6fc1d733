"""Logistic banks: M-steps climb, and end where scikit-learn's fits do."""

import warnings

import numpy as np
import pytest
from _bank_outputs import all_log_prob, all_predict
from _problems import (
    banks,
    expected_log_prob,
    fit_part,
    make_rows,
    numeric_gradient,
    one_expert,
    random_resp,
    statistics_of,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from mixexp import MixtureOfExpertsClassifier
from mixexp.experts._logistic import NEWTON_COEFFICIENTS
from mixexp.protocols import evolve


@pytest.mark.parametrize("n_classes", [2, 3, 4])
@pytest.mark.parametrize("alpha", [0.0, 0.05, 5.0])
@pytest.mark.parametrize("intercept", [True, False])
def test_logistic_bank_equals_scikit_learn(rng, n_classes, alpha, intercept):
    X = rng.standard_normal((250, 2)) + 0.5
    y = rng.integers(n_classes, size=250)
    weight, resp = rng.exponential(size=250), random_resp(rng, 2, 250)
    rows = make_rows(X, y, weight, block_rows=100)
    template = LogisticRegression(C=1 / alpha if alpha else np.inf, fit_intercept=intercept)
    labels = np.array(list("abcd"))[:n_classes]
    bank = one_expert(template, rows, labels)
    bank = fit_part(bank.replicate(2), rows, resp, 12)
    prior = 0.0
    for k, expert in enumerate(bank.fitted(None)):
        oracle = clone(template).set_params(tol=1e-13, solver="newton-cholesky", max_iter=1000)
        oracle.fit(X, labels[y], sample_weight=resp[k] * weight)
        assert expert.coef_.shape == oracle.coef_.shape
        assert expert.intercept_.shape == oracle.intercept_.shape
        assert_allclose(expert.coef_, oracle.coef_, atol=1e-6)
        centred = oracle.intercept_ - (oracle.intercept_.mean() if n_classes > 2 else 0.0)
        assert_allclose(expert.intercept_, centred, atol=1e-6)
        assert_array_equal(expert.classes_, labels)
        assert_array_equal(expert.predict(X), oracle.predict(X))
        prior -= 0.5 * alpha * np.sum(oracle.coef_**2)
    assert_allclose(bank.log_prior(), prior, rtol=1e-5)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_logistic_log_prob(rng, n_classes):
    rows, bank, resp = banks(rng, n_classes=n_classes)
    bank = fit_part(bank, rows, resp, 2)
    expected = np.array([e.predict_log_proba(rows.X) for e in bank.fitted(None)])
    expected = expected[:, np.arange(rows.n_rows), rows.y]
    log_prob = all_log_prob(bank, rows)
    assert_allclose(log_prob, expected, rtol=1e-9, atol=1e-12)
    block = next(iter(rows.blocks()))
    assert_array_equal(bank.deviance(block), -log_prob)
    assert_allclose(all_predict(bank, rows).sum(axis=1), 1.0)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("alpha", [0.0, 2.0])
def test_logistic_gradient_by_finite_differences(rng, n_classes, alpha):
    rows, bank, resp = banks(rng, n_classes=n_classes, alpha=alpha)
    rows.weight = rng.exponential(size=rows.n_rows)
    bank = bank.set_parameters(rng.standard_normal(bank.theta.size))
    slope = numeric_gradient(
        lambda v: expected_log_prob(bank.set_parameters(v), rows, resp), bank.get_parameters()
    ).reshape(bank.theta.shape)
    own = statistics_of(bank, rows, resp)["gradient"] - bank.penalty * bank.theta
    assert_allclose(slope, own - own.mean(axis=1, keepdims=True), atol=1e-5)


def test_logistic_coefficients_stay_centred(rng):
    rows, bank, resp = banks(rng, n_classes=4)
    bank = fit_part(bank, rows, resp, 6)
    assert_allclose(bank.theta.sum(axis=1), 0.0, atol=1e-12)
    assert bank.n_parameters == 3 * 3 * 4
    shifted = bank.set_parameters((bank.theta + rng.standard_normal((3, 1, 4))).ravel())
    assert_allclose(shifted.theta, bank.theta, atol=1e-12)


@pytest.mark.parametrize("n_classes", [2, 3, 4])
@pytest.mark.parametrize("alpha", [0.0, 1.0, 20.0])
def test_logistic_bounded_step_gains_where_newton_steps_fall(rng, n_classes, alpha):
    # steps as `update` takes them, without the guard of `fit_at`
    newton_fell = 0
    for size in [1.0, 4.0] * 20:
        rows, bank, resp = banks(rng, n=60, d=2, n_classes=n_classes, alpha=alpha)
        bank = bank.set_parameters(size * rng.standard_normal(bank.theta.size))
        before = expected_log_prob(bank, rows, resp)
        bounded = bank.bounded()
        assert bounded.n_gram_weights == 3
        statistics = statistics_of(bounded, rows, resp)
        new = bounded.update(statistics, rows)
        assert new.curvature == "newton"
        # under the bound the quadratic model lies below the objective: half the slope is gained
        slope = np.vdot(statistics["gradient"] - bank.penalty * bank.theta, new.theta - bank.theta)
        gain = expected_log_prob(new, rows, resp) - before
        assert slope > 0
        assert gain >= 0.5 * slope - 1e-12 * abs(before)
        newton = bank.update(statistics_of(bank, rows, resp), rows)
        newton_fell += expected_log_prob(newton, rows, resp) < before - 1e-3 * abs(before)
    if alpha <= 1.0:  # a strong penalty keeps Newton steps short
        assert newton_fell > 0  # so that the bound is needed


def test_logistic_toward(rng):
    rows, old, resp = banks(rng, n_classes=3)
    new = fit_part(old, rows, resp)
    for t in (0.0, 0.5, 1.0):
        assert_allclose(old.toward(new, t).theta, (1 - t) * old.theta + t * new.theta)


def test_logistic_bank_of_more_coefficients_than_newton_steps_are_for(rng):
    X = rng.standard_normal((200, 90))
    y = rng.integers(3, size=200)
    rows = make_rows(X, y)
    bank = one_expert(LogisticRegression(C=0.05), rows, np.arange(3)).replicate(2)
    assert bank.theta[0].size == 273 > NEWTON_COEFFICIENTS
    resp = random_resp(rng, 2, 200)
    bounds = []
    for _ in range(100):
        assert bank.n_gram_weights == 6  # one per class
        bank = fit_part(bank, rows, resp)
        bounds.append(expected_log_prob(bank, rows, resp))
    assert np.all(np.diff(bounds) > -1e-10)
    for k, expert in enumerate(bank.fitted(None)):
        oracle = LogisticRegression(C=0.05, tol=1e-10, max_iter=5000).fit(X, y, resp[k])
        assert_allclose(expert.coef_, oracle.coef_, atol=1e-4)


def test_logistic_separable_classes_without_penalty_stay_finite(rng):
    x = np.sort(rng.standard_normal(60))[:, None]
    rows = make_rows(x, (x[:, 0] > 0.3).astype(int))
    bank = one_expert(LogisticRegression(C=np.inf), rows, np.arange(2))
    resp = np.ones((1, 60))
    for _ in range(60):
        bank = fit_part(bank, rows, resp)
        assert np.all(np.isfinite(bank.theta))
    assert expected_log_prob(bank, rows, resp) > -1e-3


@pytest.mark.parametrize("size", [1e2, 1e4])
def test_logistic_huge_logits(rng, size):
    rows, bank, resp = banks(rng, n_classes=3, alpha=0.0)
    bank = bank.set_parameters(size * rng.standard_normal(bank.theta.size))
    scores = np.einsum("kcp,pm->kcm", bank.theta, bank.design.matrix(rows.X))
    expected = log_softmax(scores, axis=1)[:, rows.y, np.arange(rows.n_rows)]
    assert_allclose(all_log_prob(bank, rows), expected, rtol=1e-9, atol=1e-9 * size)
    assert np.all(np.isfinite(all_predict(bank, rows)))
    for start in (bank, bank.bounded()):
        assert np.all(np.isfinite(fit_part(start, rows, resp).theta))


def test_classes_that_tie_far_out_share_the_probability(rng):
    """The logarithm of 2 is lost beside a score of 1e17."""
    rows = make_rows(rng.standard_normal((30, 2)), rng.integers(3, size=30))
    bank = one_expert(LogisticRegression(), rows, np.arange(3)).replicate(2)
    theta = np.zeros_like(bank.theta)
    theta[:, :, 0] = [[1e17, 1e17, -2e17], [1.0, 2.0, -3.0]]
    log_prob = all_log_prob(evolve(bank, theta=theta), rows)
    y = np.concatenate([block.y for block in rows.blocks()])
    assert_allclose(log_prob[0], np.where(y == 2, -3e17, -np.log(2)))
    assert_allclose(log_prob[1], log_softmax([1.0, 2.0, -3.0])[y])


@pytest.mark.parametrize("seed", range(4))
def test_densities_of_classes_add_up_to_one(seed):
    """Intercepts of classes that an expert does not have grow without a bound."""
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((30, 1)), rng.integers(3, size=30)
    model = MixtureOfExpertsClassifier(n_experts=4, n_init=2, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y)
    assert_allclose(np.exp(model.log_density(X, y)), model.predict_proba(X)[range(30), y])
