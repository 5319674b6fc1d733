"""Fits equal one expert alone, and a slow EM written out by hand."""

import numpy as np
import pytest
from _two_regimes import TIGHT, Straight, soft_start, two_boundaries, two_lines
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.gates import ConstantGate

# Whether a fit converges is the matter of a few tests, which look for it; most compare two fits.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# ---------------------------------------------------------------- one expert


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "expert",
    [
        LinearRegression(),
        LinearRegression(fit_intercept=False),
        Ridge(2.5),
        Ridge(2.5, fit_intercept=False),
        DecisionTreeRegressor(max_depth=3, random_state=3),
        make_pipeline(StandardScaler(), Ridge(2.5)),
    ],
    ids=str,
)
def test_one_regression_expert_is_the_expert_alone(expert, weighted):
    X, y = two_lines()
    weight = np.random.default_rng(1).uniform(0.5, 2, len(y)) if weighted else None
    mixture = MixtureOfExpertsRegressor(expert, n_experts=1).fit(X, y, sample_weight=weight)
    name = expert.steps[-1][0] + "__" if hasattr(expert, "steps") else ""
    alone = clone(expert).fit(X, y, **{f"{name}sample_weight": weight})
    if name and weighted:
        alone[0].fit(X, sample_weight=weight)
        alone[1].fit(alone[0].transform(X), y, sample_weight=weight)
    assert_allclose(mixture.predict(X), alone.predict(X), rtol=1e-9, atol=1e-9)
    assert_allclose(mixture.experts_[0].predict(X), alone.predict(X), rtol=1e-9, atol=1e-9)
    assert_array_equal(mixture.gate_proba(X), 1)
    assert_array_equal(mixture.usage_, [1])
    if isinstance(expert, LinearRegression):
        scale = np.sqrt(np.average((y - alone.predict(X)) ** 2, weights=weight))
        assert_allclose(mixture.dispersions_, [scale])
        density = norm.logpdf(y, alone.predict(X), scale)
        assert_allclose(mixture.log_density(X, y), density)
        assert_allclose(mixture.lower_bound_, np.average(density, weights=weight))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "expert",
    [
        LogisticRegression(tol=1e-10, max_iter=10_000),
        LogisticRegression(C=0.03, fit_intercept=False, tol=1e-10, max_iter=10_000),
        LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000),
        LogisticRegression(solver="newton-cholesky", tol=1e-10, max_iter=10_000),
        DecisionTreeClassifier(max_depth=3, random_state=3),
    ],
    ids=str,
)
def test_one_classification_expert_is_the_expert_alone(expert, n_classes, weighted):
    X, y = two_boundaries(n_classes=n_classes)
    weight = np.random.default_rng(1).uniform(0.5, 2, len(y)) if weighted else None
    mixture = MixtureOfExpertsClassifier(expert, n_experts=1, tol=1e-12, cross_fit=False)
    mixture.fit(X, y, sample_weight=weight)
    alone = clone(expert).fit(X, y, sample_weight=weight)
    assert_allclose(mixture.predict_proba(X), alone.predict_proba(X), rtol=1e-4, atol=1e-6)
    assert_array_equal(mixture.predict(X), alone.predict(X))
    if isinstance(expert, LogisticRegression):
        assert_allclose(mixture.experts_[0].coef_, alone.coef_, rtol=1e-4, atol=1e-6)
        assert_allclose(mixture.experts_[0].intercept_, alone.intercept_, rtol=1e-4, atol=1e-6)


# ---------------------------------------------------------------- against a slow reference EM


def slow_m_step(X, y, resp, weight, alpha=0.0):
    """Shares, coefficients (K, p + 1, q) and dispersions (K, q) of a mixture of regressions."""
    design = np.column_stack([np.ones(len(X)), X])
    share, coefs, scales = [], [], []
    for column in resp.T:
        r = column * weight
        penalty = alpha * np.diag([0.0] + [1.0] * X.shape[1])
        coef = np.linalg.solve(
            design.T @ (r[:, None] * design) + penalty, design.T @ (r[:, None] * y)
        )
        square = r @ (y - design @ coef) ** 2 + np.diagonal(coef.T @ penalty @ coef)
        share.append(r.sum() / weight.sum())
        coefs.append(coef)
        scales.append(np.sqrt(square / r.sum()))
    return np.array(share), np.array(coefs), np.array(scales)


def slow_e_step(X, y, share, coefs, scales):
    """Log-joint (n, K)."""
    design = np.column_stack([np.ones(len(X)), X])
    means = np.einsum("ij,kjq->ikq", design, coefs)
    return np.log(share) + norm.logpdf(y[:, None], means, scales).sum(axis=2)


@pytest.mark.parametrize("n_outputs", [1, 2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 3.0])
def test_constant_gate_is_a_mixture_of_regressions(alpha, weighted, n_outputs):
    X, y = two_lines(n_outputs=n_outputs)
    weight = np.random.default_rng(1).uniform(0.5, 2, len(y)) if weighted else np.ones(len(y))
    start = soft_start(len(y))
    resp, last = start, None
    for _ in range(1000):
        parameters = slow_m_step(X, y, resp, weight, alpha)
        log_joint = slow_e_step(X, y, *parameters)
        last, resp = resp, np.exp(log_joint - logsumexp(log_joint, axis=1, keepdims=True))
        if np.abs(resp - last).max() < 1e-12:
            break
    share, coefs, scales = parameters

    expert = Ridge(alpha) if alpha else LinearRegression()
    mixture = MixtureOfExpertsRegressor(expert, 2, gate=ConstantGate(), init=start, **TIGHT)
    mixture.fit(X, y, sample_weight=weight)
    assert_allclose(mixture.gate_proba(X), np.broadcast_to(share, (len(y), 2)), atol=1e-6)
    assert_allclose(mixture.usage_, share, atol=1e-6)
    for expert, coef in zip(mixture.experts_, coefs, strict=True):
        assert_allclose(np.atleast_1d(expert.intercept_), coef[0], atol=1e-6)
        assert_allclose(np.atleast_2d(expert.coef_), coef[1:].T, atol=1e-6)
    assert_allclose(mixture.dispersions_.reshape(2, -1), scales, atol=1e-6)
    assert_allclose(mixture.responsibilities(X, y), resp, atol=1e-5)
    assert_allclose(mixture.log_density(X, y), logsumexp(log_joint, axis=1), atol=1e-5)


@pytest.mark.parametrize("expert", [LinearRegression(), Straight()], ids=str)
@pytest.mark.parametrize("assignment", ["soft", "hard"])
@pytest.mark.parametrize("max_iter", [1, 3])
def test_iterations_are_those_of_em_by_hand(max_iter, assignment, expert):
    """Responsibilities given as `init` are what EM starts from, and nothing else."""
    X, y = two_lines()
    start = soft_start(len(y), seed=3)
    parameters = slow_m_step(X, y[:, None], start, np.ones(len(y)))
    bounds = []
    for _ in range(max_iter):
        log_joint = slow_e_step(X, y[:, None], *parameters)
        if assignment == "soft":
            resp = np.exp(log_joint - logsumexp(log_joint, axis=1, keepdims=True))
        else:
            resp = np.eye(2)[log_joint.argmax(axis=1)]
        parameters = slow_m_step(X, y[:, None], resp, np.ones(len(y)))
        log_joint = slow_e_step(X, y[:, None], *parameters)
        rows = logsumexp(log_joint, axis=1) if assignment == "soft" else log_joint.max(axis=1)
        bounds.append(rows.mean())
    mixture = MixtureOfExpertsRegressor(
        expert,
        2,
        gate=ConstantGate(),
        init=start,
        n_init=1,
        assignment=assignment,
        max_iter=max_iter,
        tol=0,
    ).fit(X, y)
    assert mixture.n_iter_ == max_iter
    assert_allclose(mixture.lower_bounds_, bounds, rtol=1e-9)
    assert_allclose(mixture.usage_, parameters[0], rtol=1e-9)
    assert_allclose([e.intercept_ for e in mixture.experts_], parameters[1][:, 0, 0], rtol=1e-8)
    assert_allclose([e.coef_ for e in mixture.experts_], parameters[1][:, 1:, 0], rtol=1e-8)
    assert_allclose(mixture.dispersions_, parameters[2][:, 0], rtol=1e-9)
