"""A fit is at the maximum of its penalised objective; two kinds of bank have the same one."""

import numpy as np
import pytest
from _two_regimes import TIGHT, Straight, assert_same_fit, soft_start, two_boundaries, two_lines
from numpy.testing import assert_allclose
from scipy.optimize import approx_fprime
from scipy.special import log_softmax, logsumexp
from scipy.stats import norm
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.families import Gaussian
from mixexp.gates import ConstantGate, SoftmaxGate

# Whether a fit converges is the matter of a few tests, which look for it; most compare two fits.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def gate_terms(theta, X, alpha, spread):
    """Log gate probabilities (n, K) and log-prior of centred coefficients in input units."""
    theta = theta - theta.mean(axis=0)
    log_gate = log_softmax(theta[:, 0] + X @ theta[:, 1:].T, axis=1)
    return log_gate, -0.5 * alpha * np.sum((theta[:, 1:] * spread) ** 2)


@pytest.mark.parametrize("shared", [False, True])
def test_ridge_experts_are_at_the_maximum_of_their_objective(shared):
    """Gradient by finite differences of the objective as the documentation states it."""
    X, y = two_lines()
    weight = np.random.default_rng(1).uniform(0.5, 2, len(y))
    mixture = MixtureOfExpertsRegressor(
        Ridge(3.0),
        2,
        gate=SoftmaxGate(0.7),
        family=Gaussian(shared=shared),
        random_state=0,
        **TIGHT,
    ).fit(X, y, sample_weight=weight)
    spread = StandardScaler().fit(X, sample_weight=weight).scale_

    def objective(vector):
        gate, experts, logs = np.split(vector, [8, 16])
        log_gate, prior = gate_terms(gate.reshape(2, 4), X, 0.7, spread)
        coef, scale = experts.reshape(2, 4), np.broadcast_to(np.exp(logs), 2)
        log_expert = norm.logpdf(y[:, None], coef[:, 0] + X @ coef[:, 1:].T, scale)
        prior -= 0.5 * np.sum(3.0 * coef[:, 1:] ** 2 / scale[:, None] ** 2)
        return (weight @ logsumexp(log_gate + log_expert, axis=1) + prior) / weight.sum()

    gate = np.column_stack([mixture.gate_.intercept_, mixture.gate_.coef_])
    experts = [np.append(e.intercept_, e.coef_) for e in mixture.experts_]
    logs = np.log(mixture.dispersions_)
    if shared:
        assert logs[0] == logs[1]
        logs = logs[:1]
    found = np.concatenate([gate.ravel(), *experts, logs])
    assert_allclose(mixture.lower_bound_, objective(found), rtol=1e-9)
    assert_allclose(gate.sum(axis=0), 0, atol=1e-9)
    assert_allclose(approx_fprime(found, objective, 1e-6), 0, atol=2e-5)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_logistic_experts_are_at_the_maximum_of_their_objective(n_classes):
    X, y = two_boundaries(n_classes=n_classes)
    weight = np.random.default_rng(1).uniform(0.5, 2, len(y))
    mixture = MixtureOfExpertsClassifier(
        LogisticRegression(C=0.5), 2, gate=SoftmaxGate(0.7), random_state=0, **TIGHT
    ).fit(X, y, sample_weight=weight)
    spread = StandardScaler().fit(X, sample_weight=weight).scale_
    q = 1 if n_classes == 2 else n_classes

    def objective(vector):
        gate, experts = np.split(vector, [8])
        log_gate, prior = gate_terms(gate.reshape(2, 4), X, 0.7, spread)
        coef = experts.reshape(2, q, 4)
        scores = coef[..., 0] + np.einsum("ij,kcj->ikc", X, coef[..., 1:])
        if q == 1:
            scores = np.concatenate([np.zeros_like(scores), scores], axis=2)
        log_expert = log_softmax(scores, axis=2)[np.arange(len(y)), :, y]
        prior -= 0.5 / 0.5 * np.sum(coef[..., 1:] ** 2)
        return (weight @ logsumexp(log_gate + log_expert, axis=1) + prior) / weight.sum()

    gate = np.column_stack([mixture.gate_.intercept_, mixture.gate_.coef_])
    experts = [np.column_stack([e.intercept_, e.coef_]).ravel() for e in mixture.experts_]
    found = np.concatenate([gate.ravel(), *experts])
    assert_allclose(mixture.lower_bound_, objective(found), rtol=1e-9)
    assert_allclose(approx_fprime(found, objective, 1e-6), 0, atol=2e-5)


class Ridged(Ridge):
    """Has no bank, being a subclass."""


class Logistic(LogisticRegression):
    """Has no bank, being a subclass."""


@pytest.mark.parametrize("gate", [SoftmaxGate(0.5), ConstantGate()], ids=str)
@pytest.mark.parametrize(
    "banked, alike", [(Ridge(2.0), Ridged(2.0)), (LinearRegression(), Straight())], ids=str
)
def test_bank_and_estimator_bank_agree_on_regressions(banked, alike, gate):
    X, y = two_lines()
    fits = [
        MixtureOfExpertsRegressor(expert, 2, gate=gate, init=soft_start(len(y)), **TIGHT).fit(X, y)
        for expert in (banked, alike)
    ]
    for one, other in zip(fits[0].experts_, fits[1].experts_, strict=True):
        assert type(other) is type(alike)
        assert type(one) is type(banked)
        assert_allclose(one.coef_, other.coef_, rtol=1e-6, atol=1e-6)
        assert_allclose(one.intercept_, other.intercept_, rtol=1e-6, atol=1e-6)
    assert_allclose(fits[0].dispersions_, fits[1].dispersions_, rtol=1e-6)
    assert_same_fit(*fits, X, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("n_classes", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_bank_and_estimator_bank_agree_on_classifications(n_classes):
    X, y = two_boundaries(n_classes=n_classes)
    start = soft_start(len(y))
    fits = [
        MixtureOfExpertsClassifier(
            expert, 2, gate=SoftmaxGate(alpha=0.3), init=start, tol=1e-9, max_iter=2000
        ).fit(X, y)
        for expert in (LogisticRegression(), Logistic(tol=1e-8, max_iter=1000))
    ]
    assert_allclose(fits[0].lower_bound_, fits[1].lower_bound_, atol=1e-6)
    assert_allclose(fits[0].predict_proba(X), fits[1].predict_proba(X), atol=1e-2)
