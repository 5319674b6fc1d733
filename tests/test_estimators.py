"""What the two estimators promise, checked against closed forms and second implementations."""

import copy
import pickle
import warnings
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad
from scipy.optimize import approx_fprime
from scipy.special import log_softmax, logsumexp
from scipy.stats import norm
from sklearn.base import BaseEstimator, clone
from sklearn.cluster import KMeans
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils.class_weight import compute_sample_weight

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.families import Gaussian
from mixexp.gates import ConstantGate, SoftmaxGate

# Whether a fit converges is the matter of a few tests, which look for it; most compare two fits.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# Tight enough that two ways to one optimum agree to six digits.
TIGHT = {"tol": 1e-14, "max_iter": 20_000}


def two_lines(n=200, seed=0, n_outputs=None):
    """Two overlapping regimes, so that neither gate nor experts separate."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2, 2, (n, 3))
    first = rng.random(n) < 1 / (1 + np.exp(3 * X[:, 0] - X[:, 1]))
    y = np.where(first, 1 + 2 * X[:, 0] - X[:, 1], -1 - X[:, 0] + X[:, 2])
    y = y + np.where(first, 0.3, 0.6) * rng.standard_normal(n)
    if n_outputs is None:
        return X, y
    more = [y] + [np.where(first, j * X[:, 1], -X[:, 2]) for j in range(1, n_outputs)]
    return X, np.column_stack(more) + 0.2 * rng.standard_normal((n, n_outputs))


def two_boundaries(n=200, seed=0, n_classes=2):
    """Classes whose boundary differs between two overlapping regimes; some label noise."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2, 2, (n, 3))
    first = rng.random(n) < 1 / (1 + np.exp(3 * X[:, 0]))
    score = np.where(first, X[:, 1] - X[:, 0], X[:, 2] + X[:, 0]) + 0.5 * rng.standard_normal(n)
    cuts = np.quantile(score, np.arange(1, n_classes) / n_classes)
    return X, np.searchsorted(cuts, score)


def soft_start(n, k=2, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(k), n)


def data_for(model, **options):
    return (two_boundaries if sklearn.base.is_classifier(model) else two_lines)(**options)


def outputs_of(model, X):
    """What a user looks at, in one array a kind."""
    kinds = ["predict", "predict_proba"] if sklearn.base.is_classifier(model) else ["predict"]
    return [getattr(model, kind)(X) for kind in [*kinds, "gate_proba", "predict_experts"]]


def assert_same_fit(one, other, X, X_other=None, rtol=1e-6, atol=1e-7):
    for a, b in zip(
        outputs_of(one, X), outputs_of(other, X if X_other is None else X_other), strict=True
    ):
        if a.dtype.kind == "f":
            assert_allclose(a, b, rtol=rtol, atol=atol)
        else:
            assert np.mean(a == b) > 0.99  # a tie may break either way
    assert_allclose(one.lower_bound_, other.lower_bound_, rtol=rtol, atol=atol)
    assert_allclose(one.usage_, other.usage_, rtol=rtol, atol=atol)


REGRESSORS = {
    "default": MixtureOfExpertsRegressor(n_experts=2, n_init=3, random_state=0),
    "ridge": MixtureOfExpertsRegressor(Ridge(0.5), 2, n_init=3, random_state=0),
    "linear": MixtureOfExpertsRegressor(LinearRegression(), 2, n_init=3, random_state=0),
    "tree": MixtureOfExpertsRegressor(
        DecisionTreeRegressor(max_depth=2), 2, cross_fit=2, n_init=2, random_state=0
    ),
    "pipeline": MixtureOfExpertsRegressor(
        make_pipeline(StandardScaler(with_mean=False), Ridge(0.5)), 2, n_init=2, random_state=0
    ),
}
CLASSIFIERS = {
    "default": MixtureOfExpertsClassifier(n_experts=2, n_init=3, random_state=0),
    "logistic": MixtureOfExpertsClassifier(LogisticRegression(), 2, n_init=3, random_state=0),
    "tree": MixtureOfExpertsClassifier(
        DecisionTreeClassifier(max_depth=2), 2, cross_fit=2, n_init=2, random_state=0
    ),
    "pipeline": MixtureOfExpertsClassifier(
        make_pipeline(StandardScaler(with_mean=False), LogisticRegression(tol=1e-8)),
        2,
        n_init=2,
        random_state=0,
    ),
}
MODELS = {f"{kind}-regressor": model for kind, model in REGRESSORS.items()} | {
    f"{kind}-classifier": model for kind, model in CLASSIFIERS.items()
}


@pytest.fixture(params=MODELS)
def model(request):
    return clone(MODELS[request.param])


@cache
def fit_once(key, n_classes=2):
    model = clone(MODELS[key])
    X, y = two_boundaries(n_classes=n_classes) if "classifier" in key else two_lines()
    return model.fit(X, y)


@pytest.fixture(params=MODELS)
def fitted(request):
    """A fitted model that a test may not fit again, and its data."""
    model = copy.copy(fit_once(request.param))
    return model, *data_for(model)


@pytest.fixture(params=["default-regressor", "default-classifier"])
def default(request):
    return clone(MODELS[request.param])


# ------------------------------------------------------------------------- one expert


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


# ----------------------------------------------------------- against a slow reference EM


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
    resp = start
    for _ in range(1000):
        parameters = slow_m_step(X, y, resp, weight, alpha)
        log_joint = slow_e_step(X, y, *parameters)
        resp = np.exp(log_joint - logsumexp(log_joint, axis=1, keepdims=True))
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


class Straight(LinearRegression):
    """Has no bank, being a subclass."""


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


# -------------------------------------------------------------- the penalised objective


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


@pytest.mark.parametrize("n_classes", [2, 3])
def test_bank_and_estimator_bank_agree_on_classifications(n_classes):
    X, y = two_boundaries(n_classes=n_classes)
    start = soft_start(len(y))
    fits = [
        MixtureOfExpertsClassifier(expert, 2, init=start, tol=1e-9, max_iter=2000).fit(X, y)
        for expert in (LogisticRegression(), Logistic(tol=1e-8, max_iter=1000))
    ]
    assert_allclose(fits[0].lower_bound_, fits[1].lower_bound_, atol=1e-6)
    assert_allclose(fits[0].predict_proba(X), fits[1].predict_proba(X), atol=1e-2)


# -------------------------------------------------------------------------------- weights


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_weights_are_frequencies(model, form):
    """Weight 2 is the row twice, weight 0 the row removed."""
    X, y = data_for(model, n=150)
    X[np.abs(X) < 0.3] = 0
    weight = np.random.default_rng(2).integers(0, 4, len(y))
    y_label = y if sklearn.base.is_regressor(model) else np.array(["a", "b"])[y]
    ids = np.random.default_rng(3).permutation(np.repeat(np.arange(len(y)), weight))
    weighted = clone(model).fit(form(X), y_label, sample_weight=weight)
    repeated = clone(model).fit(form(X[ids]), y_label[ids])
    assert_same_fit(weighted, repeated, form(X))
    assert weighted.n_iter_ == repeated.n_iter_


@pytest.mark.parametrize("init", ["labels", "responsibilities", "clusterwise"])
def test_weights_are_frequencies_for_every_deterministic_start(default, init):
    X, y = data_for(default, n=150)
    start = {"labels": (X[:, 0] > 0).astype(int), "responsibilities": soft_start(len(y))}
    weight = np.random.default_rng(2).integers(0, 4, len(y))
    ids = np.random.default_rng(3).permutation(np.repeat(np.arange(len(y)), weight))
    given = start.get(init, init)
    weighted = clone(default).set_params(init=given).fit(X, y, sample_weight=weight)
    given = given if isinstance(given, str) else given[ids]
    repeated = clone(default).set_params(init=given).fit(X[ids], y[ids])
    assert_same_fit(weighted, repeated, X)


def test_copies_of_a_row_may_start_with_different_responsibilities():
    """Equal rows are merged; what they start from is averaged, as a sum over rows would do."""
    X, y = two_lines(n=100)
    start = soft_start(200)
    twice = MixtureOfExpertsRegressor(n_experts=2, init=start)
    twice.fit(np.vstack([X, X]), np.append(y, y))
    merged = MixtureOfExpertsRegressor(n_experts=2, init=(start[:100] + start[100:]) / 2)
    merged.fit(X, y, sample_weight=np.full(100, 2.0))
    assert_same_fit(twice, merged, X)


@pytest.mark.parametrize(
    "unpenalised",
    [
        MixtureOfExpertsRegressor(LinearRegression(), 2, gate=SoftmaxGate(0), random_state=0),
        MixtureOfExpertsRegressor(Straight(), 2, gate=ConstantGate(), n_init=2, random_state=0),
        MixtureOfExpertsClassifier(
            LogisticRegression(C=np.inf), 2, gate=ConstantGate(), random_state=0
        ),
    ],
    ids=str,
)
def test_a_common_factor_of_weights_changes_nothing_without_penalty(unpenalised):
    X, y = data_for(unpenalised)
    weight = np.random.default_rng(1).uniform(0.5, 2, len(y))
    model = clone(unpenalised).set_params(
        tol=1e-11, max_iter=5000
    )  # a penalised expert may have part in starts
    one = clone(model).fit(X, y, sample_weight=weight)
    seven = clone(model).fit(X, y, sample_weight=7 * weight)
    assert_same_fit(one, seven, X, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "penalised",
    [
        MixtureOfExpertsRegressor(Ridge(20.0), 2, random_state=0),
        MixtureOfExpertsClassifier(LogisticRegression(C=0.05), 2, random_state=0),
    ],
    ids=str,
)
def test_a_common_factor_of_weights_weakens_a_penalty(penalised):
    X, y = data_for(penalised)
    one = clone(penalised).fit(X, y)
    seven = clone(penalised).fit(X, y, sample_weight=np.full(len(y), 7.0))
    copies = clone(penalised).fit(np.tile(X, (7, 1)), np.tile(y, 7))
    assert_same_fit(seven, copies, X)
    assert np.abs(one.predict_experts(X) - seven.predict_experts(X)).max() > 0.01


def test_row_order_does_not_matter(model):
    X, y = data_for(model)
    order = np.random.default_rng(4).permutation(len(y))
    assert_same_fit(clone(model).fit(X, y), clone(model).fit(X[order], y[order]), X)


def test_row_order_does_not_matter_beyond_the_sketch():
    X, y = two_lines(n=9000)
    order = np.random.default_rng(4).permutation(len(y))
    model = MixtureOfExpertsRegressor(n_experts=2, n_init=3, random_state=0)
    assert_same_fit(clone(model).fit(X, y), clone(model).fit(X[order], y[order]), X)


@pytest.mark.parametrize("balanced", [False, True])
def test_class_weight_is_a_sample_weight(balanced):
    X, y = two_boundaries(n_classes=3)
    keep = (y > 0) | (np.arange(len(y)) % 4 == 0)
    X, y = X[keep], np.array(["p", "q", "r"])[y[keep]]
    class_weight = "balanced" if balanced else {"p": 3.0, "r": 0.5}
    model = MixtureOfExpertsClassifier(n_experts=2, random_state=0)
    by_class = clone(model).set_params(class_weight=class_weight).fit(X, y)
    by_row = clone(model).fit(X, y, sample_weight=compute_sample_weight(class_weight, y))
    assert_same_fit(by_class, by_row, X)
    without = clone(model).fit(X, y)
    assert np.abs(without.predict_proba(X) - by_row.predict_proba(X)).max() > 0.01


def test_class_weight_multiplies_sample_weight():
    """Balanced means balanced in total weight, so that weight 2 stays the row twice."""
    X, y = two_boundaries()
    keep = (y > 0) | (np.arange(len(y)) % 4 == 0)
    X, y = X[keep], y[keep]
    weight = np.random.default_rng(2).integers(0, 4, len(y))
    ids = np.repeat(np.arange(len(y)), weight)
    for class_weight in ("balanced", {0: 3.0}):
        model = MixtureOfExpertsClassifier(
            n_experts=2, random_state=0, class_weight=class_weight, n_init=2
        )
        weighted = clone(model).fit(X, y, sample_weight=weight)
        assert_same_fit(weighted, clone(model).fit(X[ids], y[ids]), X)


# ---------------------------------------------------------------------------------- input


def test_sparse_equals_dense(model):
    X, y = data_for(model)
    X[np.abs(X) < 0.5] = 0
    dense = clone(model).fit(X, y)
    for form in (sp.csr_array, sp.csc_matrix):
        assert_same_fit(dense, clone(model).fit(form(X), y), X, form(X))


def test_single_precision_equals_the_same_numbers_in_double(model):
    X, y = data_for(model)
    X = X.astype(np.float32)
    model.set_params(init="clusterwise")  # "mixed" sets out on a ridge, where rounding decides
    single, double = clone(model).fit(X, y), clone(model).fit(X.astype(float), y)
    own = "Pipeline" in str(model.expert)  # a scaler works in the precision it is given
    assert_same_fit(single, double, X, **({"rtol": 1e-2, "atol": 1e-3} if own else {}))


@pytest.mark.parametrize(
    "change",
    [
        np.asfortranarray,
        lambda a: np.repeat(a, 2, axis=0)[::2],  # strided
        lambda a: a.tolist(),
        lambda a: a.astype(object),
        lambda a: a.astype(">f8"),
    ],
    ids=["fortran", "strided", "lists", "object", "big-endian"],
)
def test_the_form_of_arrays_does_not_matter(default, change):
    X, y = data_for(default)
    assert_same_fit(clone(default).fit(X, y), clone(default).fit(change(X), y), X, change(X))


def test_integers_are_numbers(default):
    X, y = data_for(default)
    X = np.round(10 * X)
    for kind in (np.int8, np.int64):
        assert_same_fit(clone(default).fit(X, y), clone(default).fit(X.astype(kind), y), X)


def test_inputs_are_left_as_they_were(model):
    X, y = data_for(model)
    weight, start = np.linspace(0, 2, len(y)), soft_start(len(y))
    inputs = [X, y, weight, start]
    copies = [a.copy() for a in inputs]
    for a in inputs:
        a.flags.writeable = False
    template = model.get_params()["expert"]
    model.set_params(init=start, max_iter=5).fit(X, y, sample_weight=weight)
    model.predict(X)
    for a, b in zip(inputs, copies, strict=True):
        assert_array_equal(a, b)
    assert model.init is start
    assert model.get_params()["expert"] is template
    assert template is None or not [name for name in vars(template) if name.endswith("_")]


FRAMES = {
    "pandas": lambda X: pd.DataFrame(X, columns=["a", "b", "c"]),
    "polars": lambda X: pl.DataFrame(X, schema=["a", "b", "c"]),
}


@pytest.fixture(params=FRAMES)
def library(request):
    """A data frame library whose column names the installed scikit-learn can read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        known = hasattr(StandardScaler().fit(FRAMES[request.param](np.eye(3))), "feature_names_in_")
    if not known:
        pytest.skip(f"scikit-learn {sklearn.__version__} does not know this {request.param}")
    return request.param


def test_frames(model, library):
    X, y = data_for(model)
    frame = FRAMES[library](X)
    from_frame = clone(model).fit(frame, y)
    assert_array_equal(from_frame.feature_names_in_, ["a", "b", "c"])
    assert from_frame.n_features_in_ == 3
    assert_same_fit(clone(model).fit(X, y), from_frame, X, frame)
    for expert in from_frame.experts_:
        assert_array_equal(expert.feature_names_in_, ["a", "b", "c"])
        expert.predict(frame)

    with pytest.raises(ValueError, match="feature names should match"):
        from_frame.predict(
            frame.rename(columns={"a": "z"}) if library == "pandas" else frame.rename({"a": "z"})
        )
    with pytest.raises(ValueError, match="same order"):
        from_frame.predict(frame[["b", "a", "c"]])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        assert_allclose(from_frame.predict_experts(X), from_frame.predict_experts(frame))


def test_experts_see_the_frame():
    """An expert may choose columns by name."""
    X, y = two_lines()
    frame = FRAMES["pandas"](X)
    expert = make_pipeline(make_column_transformer(("passthrough", ["b", "c"])), Ridge())
    named = MixtureOfExpertsRegressor(expert, 2, init=soft_start(len(y)), **TIGHT).fit(frame, y)
    plain = (
        clone(named)
        .set_params(expert=make_pipeline("passthrough", Ridge()), expert_features=[1, 2])
        .fit(X, y)
    )
    assert_same_fit(named, plain, frame, X)


def test_series_and_odd_indices():
    X, y = two_lines()
    frame = FRAMES["pandas"](X).set_index(pd.Index(np.arange(len(y))[::-1] % 7))
    frame["b"] = frame["b"].astype("Float64")
    weight = pd.Series(np.linspace(0, 2, len(y)), index=frame.index)
    model = REGRESSORS["pipeline"]
    one = clone(model).fit(frame, pd.Series(y, index=frame.index), sample_weight=weight)
    assert_same_fit(one, clone(model).fit(X, y, sample_weight=weight.to_numpy()), frame, X)


@pytest.mark.parametrize("expert", [None, Ridge(), DecisionTreeRegressor(max_depth=3)], ids=str)
def test_several_outputs(expert):
    X, Y = two_lines(n_outputs=3)
    model = MixtureOfExpertsRegressor(expert, 2, random_state=0, n_init=2).fit(X, Y)
    assert model.predict(X).shape == Y.shape
    assert model.predict_experts(X).shape == (len(X), 2, 3)
    assert model.dispersions_.shape == (2, 3)
    gate, means = model.gate_proba(X), model.predict_experts(X)
    assert_allclose(model.predict(X), np.einsum("ik,ikq->iq", gate, means))
    log_expert = norm.logpdf(Y[:, None], means, model.dispersions_).sum(axis=2)
    assert_allclose(model.log_density(X, Y), logsumexp(np.log(gate) + log_expert, axis=1))
    assert model.score(X, Y) == pytest.approx(r2_score(Y, model.predict(X)))
    for k, fitted in enumerate(model.experts_):
        assert_allclose(fitted.predict(X), means[:, k])


def test_one_output_in_a_column_keeps_its_shape():
    X, y = two_lines()
    flat = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    column = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y[:, None])
    assert column.predict(X).shape == (len(y), 1)
    assert column.predict_experts(X).shape == (len(y), 2, 1)
    assert_allclose(column.predict(X)[:, 0], flat.predict(X), rtol=1e-9)
    assert_allclose(column.dispersions_.ravel(), flat.dispersions_)
    assert_allclose(column.log_density(X, y[:, None]), flat.log_density(X, y))


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["no", "perhaps", "yes"]),
        np.array(["no", "perhaps", "yes"], dtype=object),
        np.array([-5, 0, 70]),
        np.array([1.0, 2.0, 4.0]),
    ],
    ids=["str", "object", "int", "float"],
)
@pytest.mark.parametrize("kind", ["default", "tree", "pipeline"])
def test_labels(kind, labels):
    X, y = two_boundaries(n_classes=3)
    codes = fit_once(f"{kind}-classifier", n_classes=3)
    named = clone(CLASSIFIERS[kind]).fit(X, labels[y])
    assert_array_equal(named.classes_, labels)
    assert named.predict(X).dtype == labels.dtype
    assert_array_equal(named.predict(X), labels[codes.predict(X)])
    assert_array_equal(named.predict_proba(X), codes.predict_proba(X))
    assert_array_equal(named.log_density(X, labels[y]), codes.log_density(X, y))
    for expert in named.experts_:
        assert set(expert.classes_) <= set(labels)


def test_boolean_labels():
    X, y = two_boundaries()
    model = MixtureOfExpertsClassifier(n_experts=2, random_state=0).fit(X, y == 1)
    assert model.predict(X).dtype == bool
    assert_array_equal(model.classes_, [False, True])
    assert_array_equal(model.predict(X), clone(model).fit(X, y).predict(X) == 1)


def calibrated(model, k, proba, y):
    """Return an expert's probabilities as the docstring of `exponents_` says."""
    power = np.maximum(proba, 1e-12) ** model.exponents_[k]
    shares = np.bincount(y) / len(y)
    smooth = model.smoothing_[k]
    return (1 - smooth) * power / power.sum(axis=1, keepdims=True) + smooth * shares


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_experts_whose_region_lacks_classes_still_give_all(kind):
    """Three classes in three bands; an expert's start sees one or two of them."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-3, 3, (200, 2))
    y = np.array(["u", "v", "w"])[np.digitize(X[:, 0], [-1, 1])]
    init = (X[:, 0] > 1).astype(int)
    model = clone(CLASSIFIERS[kind]).set_params(init=init, cross_fit="auto").fit(X, y)
    if model.cross_fitted_:  # calibrated, and so not what the experts themselves say
        proba = model.predict_experts(X)
        assert np.all(proba > 0)
        assert_allclose(proba.sum(axis=2), 1)
        model.set_params(cross_fit=False).fit(X, y)
    assert_array_equal(model.classes_, ["u", "v", "w"])
    proba = model.predict_experts(X)
    assert proba.shape == (200, 2, 3)
    assert_allclose(proba.sum(axis=2), 1)
    assert model.score(X, y) > 0.9
    for k, expert in enumerate(model.experts_):
        columns = np.searchsorted(model.classes_, expert.classes_)
        assert_allclose(expert.predict_proba(X), proba[:, k][:, columns])


# ---------------------------------------------------------------------- columns and starts


SELECTIONS = {
    "indices": [0, 2],
    "negative": [0, -1],
    "slice": slice(0, 3, 2),
    "mask": [True, False, True],
    "mask array": np.array([True, False, True]),
    "callable": lambda X: [0, 2],
}
NAME_SELECTIONS = {
    "names": ["a", "c"],
    "index": pd.Index(["a", "c"]),
    "selector": make_column_selector(pattern="a|c"),
    "callable": lambda frame: [name for name in frame.columns if name != "b"],
}


@pytest.mark.parametrize("key", SELECTIONS)
@pytest.mark.parametrize("kind", ["default-regressor", "tree-regressor", "default-classifier"])
def test_feature_selection_is_the_fit_on_those_columns(kind, key):
    X, y = data_for(MODELS[kind])
    start = soft_start(len(y))
    # folds depend on the whole rows, also on the columns that are left out
    model = clone(MODELS[kind]).set_params(init=start, max_iter=20, cross_fit=False)
    columns = SELECTIONS[key]
    chosen = clone(model).set_params(expert_features=columns, gate_features=columns).fit(X, y)
    assert_same_fit(chosen, clone(model).fit(X[:, [0, 2]], y), X, X[:, [0, 2]])
    assert chosen.n_features_in_ == 3


@pytest.mark.parametrize("key", [*NAME_SELECTIONS, "indices", "mask"])
@pytest.mark.parametrize("kind", ["default-regressor", "tree-regressor"])
def test_feature_selection_from_frames(kind, key, library):
    if library == "polars" and key in ("index", "selector"):
        pytest.skip("pandas only")
    X, y = data_for(MODELS[kind])
    frame, start = FRAMES[library](X), soft_start(len(y))
    model = clone(MODELS[kind]).set_params(init=start, max_iter=20, cross_fit=False)
    columns = {**SELECTIONS, **NAME_SELECTIONS}[key]
    chosen = clone(model).set_params(expert_features=columns, gate_features=columns)
    chosen.fit(frame, y)
    assert_same_fit(chosen, clone(model).fit(X[:, [0, 2]], y), frame, X[:, [0, 2]])
    for expert in chosen.experts_:
        assert_array_equal(expert.feature_names_in_, ["a", "c"])


def test_experts_alone_on_some_columns():
    X, y = two_lines()
    model = MixtureOfExpertsRegressor(n_experts=2, gate=ConstantGate(), init=soft_start(len(y)))
    chosen = clone(model).set_params(expert_features=[2, 0]).fit(X, y)
    assert_same_fit(chosen, clone(model).fit(X[:, [2, 0]], y), X, X[:, [2, 0]])
    assert chosen.experts_[0].coef_.shape == (2,)
    assert_allclose(chosen.experts_[1].predict(X[:, [2, 0]]), chosen.predict_experts(X)[:, 1])


def test_gate_alone_on_some_columns():
    X, y = two_lines()
    model = MixtureOfExpertsRegressor(DummyRegressor(), 2, init=soft_start(len(y)), max_iter=500)
    chosen = clone(model).set_params(gate_features=[1]).fit(X, y)
    assert_same_fit(chosen, clone(model).fit(X[:, [1]], y), X, X[:, [1]])
    assert chosen.gate_.coef_.shape == (2, 1)


def test_gate_and_experts_on_different_columns():
    X, y = two_lines()
    model = MixtureOfExpertsRegressor(
        n_experts=2, expert_features=[1, 2], gate_features=[0], random_state=0
    ).fit(X, y)
    other = X.copy()
    other[:, 0] += 1
    assert_array_equal(model.predict_experts(X), model.predict_experts(other))
    assert np.abs(model.gate_proba(X) - model.gate_proba(other)).max() > 0.1
    other = X.copy()
    other[:, 1:] += 1
    assert_array_equal(model.gate_proba(X), model.gate_proba(other))


class Halves:
    """The least that can be an `init`: no estimator, only `fit_predict`."""

    def __init__(self, column=0):
        self.column = column

    def fit_predict(self, X):
        values = X[self.column] if isinstance(self.column, str) else np.asarray(X)[:, self.column]
        return np.where(np.asarray(values) > 0, "high", "low")


def test_a_clusterer_is_its_labels(default):
    X, y = data_for(default)
    by_object = clone(default).set_params(init=Halves()).fit(X, y)
    by_labels = clone(default).set_params(init=np.where(X[:, 0] > 0, "high", "low")).fit(X, y)
    by_codes = clone(default).set_params(init=(X[:, 0] < 0).astype(int)).fit(X, y)
    indicator = np.column_stack([X[:, 0] > 0, X[:, 0] <= 0]).astype(float)
    by_resp = clone(default).set_params(init=indicator).fit(X, y)
    for other in (by_labels, by_resp):
        assert_same_fit(by_object, other, X)
    assert_same_fit(by_object, by_codes, X)
    assert len(by_object.restarts_) == len(by_labels.restarts_) == 1
    frame = FRAMES["pandas"](X)
    assert_same_fit(by_object, clone(default).set_params(init=Halves("a")).fit(frame, y), X, frame)


def test_starts_from_scikit_learn_objects(default):
    rng = np.random.default_rng(0)
    X, y = data_for(default)
    X[:, 1] += 10 * (rng.random(len(y)) < 0.4)  # two clear clusters
    clusters = (X[:, 1] > 5).astype(int)
    by_labels = clone(default).set_params(init=clusters).fit(X, y)
    by_means = clone(default).set_params(init=KMeans(2, n_init=1, random_state=0)).fit(X, y)
    assert sorted(by_means.usage_) == pytest.approx(sorted(by_labels.usage_), rel=1e-6)
    assert by_means.lower_bound_ == pytest.approx(by_labels.lower_bound_, rel=1e-9)
    assert len(by_means.restarts_) == 1
    # no seed of its own: every start is another one
    several = clone(default).set_params(init=KMeans(2), n_init=3).fit(X, y)
    assert len(several.restarts_) == 3
    assert not hasattr(several.init, "labels_")


def test_outlier_detectors_split_off_the_odd_rows(default):
    X, y = data_for(default)
    X[:12] += 20
    model = default.set_params(init=IsolationForest(random_state=0), max_iter=1).fit(X, y)
    assert len(model.restarts_) == 1
    odd = model.gate_proba(X[:12]).argmax(axis=1)
    rest = model.gate_proba(X[12:]).argmax(axis=1)
    assert len(set(odd)) == 1
    assert np.mean(rest != odd[0]) > 0.9


@pytest.mark.parametrize("init", ["clusterwise", "kmeans", "random"])
def test_named_starts(default, init):
    X, y = data_for(default)
    model = default.set_params(init=init, n_init=3).fit(X, y)
    assert len(model.restarts_) == 3
    assert len({start.seed for start in model.restarts_}) == 3
    best = clone(default).set_params(init="clusterwise", n_init=10).fit(X, y)
    assert model.lower_bound_ > best.lower_bound_ - 0.05


# ---------------------------------------------------------------------------- predictions


def middle(weights, outputs):
    """A pooling that is neither: the mean of the weighted and the most probable."""
    weighted = np.einsum("nk,nk...->n...", weights, outputs)
    return (weighted + outputs[np.arange(len(weights)), weights.argmax(axis=1)]) / 2


@pytest.mark.parametrize("n_outputs", [None, 2])
def test_pooling_of_regressions(n_outputs):
    X, y = two_lines(n_outputs=n_outputs)
    model = MixtureOfExpertsRegressor(n_experts=3, random_state=0, n_init=2).fit(X, y)
    gate, means = model.route(X), model.predict_experts(X)
    assert_array_equal(gate, model.gate_proba(X))
    weighted = np.sum(gate.reshape(gate.shape + (1,) * (means.ndim - 2)) * means, axis=1)
    assert_allclose(model.predict(X), weighted)
    first = np.stack([means[i, k] for i, k in enumerate(gate.argmax(axis=1))])
    assert_allclose(model.set_params(pooling="argmax").fit(X, y).predict(X), first)
    assert_allclose(model.set_params(pooling=middle).fit(X, y).predict(X), (weighted + first) / 2)


@cache
def named_fit(kind, n_classes, pooling):
    X, y = two_boundaries(n_classes=n_classes)
    model = clone(CLASSIFIERS[kind]).set_params(pooling=pooling)
    return model.fit(X, np.array(["x", "k", "b"])[y])


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.parametrize(
    "pooling", ["weighted", "argmax", middle], ids=["weighted", "argmax", "callable"]
)
def test_pooling_of_classifications(kind, pooling, n_classes):
    X, y = two_boundaries(n_classes=n_classes)
    labels = np.array(["x", "k", "b"])[y]
    model = named_fit(kind, n_classes, pooling)
    gate, proba = model.gate_proba(X), model.predict_experts(X)
    weighted = np.einsum("ik,ikc->ic", gate, proba)
    first = np.stack([proba[i, k] for i, k in enumerate(gate.argmax(axis=1))])
    wanted = {"weighted": weighted, "argmax": first}.get(pooling, (weighted + first) / 2)
    assert_allclose(model.predict_proba(X), wanted)
    assert_allclose(model.predict_proba(X).sum(axis=1), 1)
    assert_array_equal(model.predict(X), model.classes_[model.predict_proba(X).argmax(axis=1)])
    with np.errstate(divide="ignore"):
        assert_allclose(model.predict_log_proba(X), np.log(model.predict_proba(X)))
    assert model.score(X, labels) == accuracy_score(labels, model.predict(X))


@pytest.mark.parametrize(
    "pooling", ["weighted", "argmax", middle], ids=["weighted", "argmax", "callable"]
)
def test_a_prediction_does_not_depend_on_its_batch(fitted, pooling):
    model, X, y = fitted
    model._settings = replace(model._settings, pooling=pooling)  # without another fit
    together = outputs_of(model, X)
    order = np.random.default_rng(5).permutation(len(y))[:20]
    for whole, some in zip(together, outputs_of(model, X[order]), strict=True):
        if whole.dtype.kind == "f":
            assert_allclose(some, whole[order], rtol=1e-12)
        else:
            assert_array_equal(some, whole[order])
    alone = [
        np.concatenate(rows)
        for rows in zip(*(outputs_of(model, X[i : i + 1]) for i in order), strict=True)
    ]
    for whole, single in zip(together, alone, strict=True):
        if whole.dtype.kind == "f":
            assert_allclose(single, whole[order], rtol=1e-12)


def test_many_rows_are_predicted_as_few():
    X, y = two_lines()
    model = MixtureOfExpertsRegressor(n_experts=3, random_state=0, n_init=2).fit(X, y)
    many = np.tile(X, (200, 1))
    assert_allclose(model.predict(many), np.tile(model.predict(X), 200), rtol=1e-12)
    assert_allclose(model.gate_proba(many), np.tile(model.gate_proba(X), (200, 1)), rtol=1e-12)


@pytest.mark.parametrize("far", [1e4, 1e5, 1e6, 1e100])
def test_predictions_are_finite_far_from_the_data(fitted, far):
    model, X, _ = fitted
    for row_factor in (far, -far):
        X_far = row_factor * X
        if "tree" in str(model.expert).lower() and far > 1e38:
            pytest.skip("trees hold X in float32")
        for output in outputs_of(model, X_far):
            assert output.dtype.kind != "f" or np.all(np.isfinite(output))
        assert_allclose(model.gate_proba(X_far).sum(axis=1), 1)
        if sklearn.base.is_classifier(model):
            assert_allclose(model.predict_proba(X_far).sum(axis=1), 1)


def test_identities(fitted):
    model, X, y = fitted
    gate, outputs = model.gate_proba(X), model.predict_experts(X)
    if sklearn.base.is_classifier(model):
        smallest = 5e-7 if "tree" in str(model.expert).lower() else 0
        log_expert = np.log(outputs[np.arange(len(y)), :, y].clip(smallest))
    else:
        log_expert = norm.logpdf(y[:, None], outputs, model.dispersions_)
    log_joint = np.log(gate) + log_expert
    log_density = logsumexp(log_joint, axis=1)
    assert_allclose(model.log_density(X, y), log_density, rtol=1e-9, atol=1e-12)
    assert_allclose(model.responsibilities(X, y), np.exp(log_joint - log_density[:, None]))
    assert_allclose(gate.sum(axis=1), 1)
    assert_allclose(model.usage_, gate.mean(axis=0), rtol=1e-9)


def test_usage_is_weighted(default):
    X, y = data_for(default)
    weight = np.random.default_rng(1).uniform(0, 2, len(y))
    model = default.fit(X, y, sample_weight=weight)
    assert_allclose(model.usage_, np.average(model.gate_proba(X), axis=0, weights=weight))


def test_densities_integrate_to_one():
    X, y = two_lines()
    model = MixtureOfExpertsRegressor(n_experts=3, random_state=0, n_init=2).fit(X, y)
    x = X[:1]
    total, _ = quad(
        lambda t: np.exp(model.log_density(x, [t])[0]),
        -30,
        30,
        limit=200,
        points=model.predict_experts(x)[0],
    )
    assert total == pytest.approx(1, abs=1e-6)
    mean, _ = quad(
        lambda t: t * np.exp(model.log_density(x, [t])[0]),
        -30,
        30,
        limit=200,
        points=model.predict_experts(x)[0],
    )
    assert mean == pytest.approx(model.predict(x)[0], abs=1e-6)


@pytest.mark.parametrize("kind", ["default", "logistic", "pipeline"])
def test_class_densities_are_the_probabilities(kind):
    X, y = two_boundaries(n_classes=3)
    model = fit_once(f"{kind}-classifier", n_classes=3)
    density = np.exp([model.log_density(X, np.full(len(y), c)) for c in range(3)]).T
    assert_allclose(density, model.predict_proba(X), rtol=1e-9, atol=1e-6)  # floored at 1e-6


def test_experts_are_scikit_learn_estimators(fitted):
    model, X, y = fitted
    assert len(model.experts_) == 2
    for k, expert in enumerate(model.experts_):
        assert isinstance(expert, BaseEstimator)
        assert expert.n_features_in_ == 3
        if sklearn.base.is_classifier(model):
            proba = expert.predict_proba(X)
            if model.cross_fitted_:
                proba = calibrated(model, k, proba, y)
            assert_allclose(proba, model.predict_experts(X)[:, k], atol=1e-12)
            assert set(expert.predict(X)) <= {0, 1}
        else:
            assert_allclose(
                expert.predict(X), model.predict_experts(X)[:, k], rtol=1e-9, atol=1e-12
            )
        template = model.expert
        if template is not None:
            assert type(expert) is type(template)
        again = pickle.loads(pickle.dumps(expert))
        assert_array_equal(again.predict(X), expert.predict(X))
        clone(expert).fit(X, y)


def test_score_takes_weights(default):
    X, y = data_for(default)
    weight = np.linspace(0, 1, len(y))
    default.fit(X, y)
    score = accuracy_score if sklearn.base.is_classifier(default) else r2_score
    wanted = score(y, default.predict(X), sample_weight=weight)
    assert default.score(X, y, sample_weight=weight) == pytest.approx(wanted)


# ------------------------------------------------------------------- runs, seeds, records


def test_records_of_a_fit(default):
    X, y = data_for(default)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        default.set_params(n_init=4).fit(X, y)
    assert default.converged_
    assert default.lower_bounds_.shape == (default.n_iter_,)
    assert default.lower_bound_ == default.lower_bounds_[-1]
    assert np.all(np.diff(default.lower_bounds_) >= -1e-9 * max(1, abs(default.lower_bound_)))
    assert default.n_passes_ >= default.n_iter_ + 1
    assert len(default.restarts_) == 4
    long_runs = [start for start in default.restarts_ if "long run" in start.events]
    assert len(long_runs) == 1
    assert long_runs[0].bound == default.lower_bound_
    assert all(start.n_iter >= 1 and start.flags == [] for start in default.restarts_)
    assert default.usage_.sum() == pytest.approx(1)
    if sklearn.base.is_regressor(default):
        assert default.dispersions_.shape == (2,)


@pytest.mark.parametrize("max_iter", [1, 2, 7, 40])
def test_tol_zero_runs_every_iteration(default, max_iter):
    X, y = data_for(default)
    default.set_params(tol=0, max_iter=max_iter)
    with pytest.warns(ConvergenceWarning, match="Increase max_iter or tol"):
        default.fit(X, y)
    assert default.n_iter_ == len(default.lower_bounds_) == max_iter
    assert not default.converged_


def test_a_fit_that_did_not_converge_says_what_to_change(model):
    X, y = data_for(model)
    model.set_params(tol=1e-15, max_iter=2)
    name = type(model).__name__
    with pytest.warns(
        ConvergenceWarning, match=f"{name} did not converge in max_iter=2 .*tol=1e-15"
    ):
        model.fit(X, y)
    assert not model.converged_


@pytest.mark.parametrize("alpha", [0, 0.1])
def test_a_separable_gate_warns_and_says_what_to_change(alpha):
    rng = np.random.default_rng(0)
    X = np.append(rng.uniform(-2, -1, 60), rng.uniform(1, 2, 60))[:, None]
    y = np.where(X[:, 0] < 0, 5 - X[:, 0], -5 + X[:, 0]) + 0.01 * rng.standard_normal(120)
    model = MixtureOfExpertsRegressor(
        LinearRegression(), 2, gate=SoftmaxGate(alpha=alpha), random_state=0
    )
    if alpha:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model.fit(X, y)
    else:
        with pytest.warns(ConvergenceWarning, match=r"gate separates .*penalise the gate"):
            model.fit(X, y)
    assert np.isfinite(model.gate_.coef_).all()
    assert model.score(X, y) > 0.999
    assert_allclose(sorted(e.coef_[0] for e in model.experts_), [-1, 1], atol=0.05)
    far = 1e6 * X
    assert np.isfinite(model.predict(far)).all()


@pytest.mark.parametrize("assignment", ["soft", "hard", "stochastic"])
def test_assignments(default, assignment):
    X, y = data_for(default)
    model = default.set_params(assignment=assignment, max_iter=500).fit(X, y)
    soft = clone(model).set_params(assignment="soft").fit(X, y)
    fit, best = model.log_density(X, y).mean(), soft.log_density(X, y).mean()
    assert fit > best - 0.1
    again = clone(model).fit(X, y)
    assert_array_equal(again.lower_bounds_, model.lower_bounds_)
    order = np.random.default_rng(4).permutation(len(y))
    assert_same_fit(model, clone(model).fit(X[order], y[order]), X)
    if assignment == "stochastic":
        assert model.lower_bound_ == model.lower_bounds_.max()
    else:
        assert model.lower_bound_ == model.lower_bounds_[-1]
        assert np.all(np.diff(model.lower_bounds_) >= -1e-9)


def test_hard_assignment_climbs_the_classification_likelihood():
    X, y = two_lines()
    model = MixtureOfExpertsRegressor(
        LinearRegression(), 2, gate=ConstantGate(), assignment="hard", random_state=0
    ).fit(X, y)
    log_expert = norm.logpdf(y[:, None], model.predict_experts(X), model.dispersions_)
    log_joint = np.log(model.gate_proba(X)) + log_expert
    assert model.lower_bound_ == pytest.approx(log_joint.max(axis=1).mean())
    # at the end each expert is the least-squares line of its own rows
    own = log_joint.argmax(axis=1)
    for k, expert in enumerate(model.experts_):
        alone = LinearRegression().fit(X[own == k], y[own == k])
        assert_allclose(expert.coef_, alone.coef_)


def test_the_number_of_jobs_does_not_matter(model):
    X, y = data_for(model)
    one = clone(model).set_params(n_jobs=1).fit(X, y)
    two = clone(model).set_params(n_jobs=2).fit(X, y)
    assert_array_equal(one.lower_bounds_, two.lower_bounds_)
    for a, b in zip(outputs_of(one, X), outputs_of(two, X), strict=True):
        assert_array_equal(a, b)


def test_seeds(model):
    X, y = data_for(model)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    one, two = clone(model).fit(X, y), clone(model).fit(X, y)
    twice = clone(model).fit(X, y).fit(X, y)
    # the global generator is left alone
    assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    for other in (two, twice):
        assert_array_equal(one.lower_bounds_, other.lower_bounds_)
        for a, b in zip(outputs_of(one, X), outputs_of(other, X), strict=True):
            assert_array_equal(a, b)
    instance = clone(model).set_params(random_state=np.random.RandomState(0)).fit(X, y)
    assert_array_equal(one.predict(X), instance.predict(X))


def test_seeds_of_experts_follow_that_of_the_mixture():
    """Trees that look at one random column a split: equal for a seed, different for another."""
    X, y = two_lines()
    expert = DecisionTreeRegressor(max_depth=2, max_features=1)
    fits = [
        MixtureOfExpertsRegressor(
            expert, 2, init=(X[:, 0] > 0).astype(int), random_state=seed, max_iter=500
        ).fit(X, y)
        for seed in (0, 0, 1)
    ]
    assert_array_equal(fits[0].predict(X), fits[1].predict(X))
    assert np.any(fits[0].predict(X) != fits[2].predict(X))
    assert fits[0].expert.random_state is None
    assert len({e.random_state for e in fits[0].experts_}) == 2


def test_pickle(fitted):
    model, X, y = fitted
    again = pickle.loads(pickle.dumps(model))
    for a, b in zip(outputs_of(model, X), outputs_of(again, X), strict=True):
        assert_array_equal(a, b)
    assert_array_equal(again.responsibilities(X, y), model.responsibilities(X, y))
    assert len(pickle.dumps(model)) < 40_000  # no training rows inside


def test_a_pickle_of_another_version_warns():
    X, y = two_lines()
    model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    model._mixexp_version = "0.0.0"
    with pytest.warns(UserWarning, match="was saved by mixexp 0.0.0"):
        again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.predict(X), model.predict(X))


def test_a_second_fit_is_a_first_fit(default):
    """Nothing of an earlier fit is left, whatever has changed."""
    X, y = data_for(default)
    frame = FRAMES["pandas"](X)
    default.set_params(max_iter=5000)
    twice = clone(default).set_params(n_experts=3).fit(frame, y)
    twice.set_params(n_experts=2).fit(X[:, :2], y)
    once = clone(default).fit(X[:, :2], y)
    assert_same_fit(once, twice, X[:, :2], rtol=0, atol=0)
    assert sorted(vars(once)) == sorted(vars(twice))
    assert len(twice.experts_) == len(twice.usage_) == twice.gate_.coef_.shape[0] == 2


def test_classes_follow_the_last_fit():
    X, y = two_boundaries(n_classes=3)
    model = MixtureOfExpertsClassifier(n_experts=2, random_state=0, n_init=2).fit(X, y)
    keep = y > 0
    model.fit(X[keep], y[keep])
    assert_array_equal(model.classes_, [1, 2])
    assert model.predict_proba(X).shape == (len(y), 2)
    weight = (y > 0).astype(float)
    weighted = clone(model).fit(X, y, sample_weight=weight)
    assert_array_equal(weighted.classes_, [1, 2])  # a class without weight is not there
    assert_same_fit(model, weighted, X)


def test_nothing_is_set_by_init_and_parameters_nest():
    gate, expert = SoftmaxGate(), Ridge()
    model = MixtureOfExpertsRegressor(expert, gate=gate)
    assert model.gate is gate and model.expert is expert
    model.set_params(gate__alpha=3.0, expert__alpha=2.0)
    assert gate.alpha == 3.0 and expert.alpha == 2.0
    copy = clone(model)
    assert copy.gate is not gate and copy.gate.alpha == 3.0
    X, y = two_lines()
    model.fit(X, y)
    assert not hasattr(gate, "theta")
    with pytest.raises(NotFittedError):
        copy.predict(X)
    with pytest.raises(ValueError, match="Invalid parameter"):
        model.set_params(gate__beta=1)


@pytest.mark.parametrize("kind", ["regressor", "classifier"])
def test_grid_search_in_a_pipeline(kind):
    if kind == "regressor":
        (X, y), model = two_lines(), MixtureOfExpertsRegressor(Ridge(), n_init=2, random_state=0)
        strength = {"alpha": [1e-2, 1e4]}
    else:
        X, y = two_boundaries()
        model = MixtureOfExpertsClassifier(LogisticRegression(), n_init=2, random_state=0)
        strength = {"C": [1e-6, 1.0]}
    name = type(model).__name__.lower()
    grid = {f"{name}__expert__{key}": values for key, values in strength.items()}
    grid |= {f"{name}__n_experts": [1, 2], f"{name}__gate__alpha": [0.1, 1e5]}
    model.set_params(gate=SoftmaxGate())
    search = GridSearchCV(make_pipeline(StandardScaler(), model), grid, cv=3, error_score="raise")
    search.fit(X, y)
    best = search.best_params_
    assert best[f"{name}__n_experts"] == 2
    assert best[f"{name}__gate__alpha"] == 0.1
    assert best[f"{name}__expert__{next(iter(strength))}"] != 1e4
    assert (
        search.best_score_
        > cross_val_score(
            clone(search.estimator).set_params(**{f"{name}__n_experts": 1}), X, y, cv=3
        ).mean()
    )


def test_metadata_routing(default):
    X, y = data_for(default)
    weight = np.linspace(0, 2, len(y))
    wanted = clone(default).fit(X, y, sample_weight=weight)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = make_pipeline("passthrough", clone(default).set_fit_request(sample_weight=True))
        routed.fit(X, y, sample_weight=weight)
        assert_same_fit(wanted, routed[-1], X, rtol=0, atol=0)


@pytest.mark.parametrize("models", [REGRESSORS, CLASSIFIERS], ids=["regressor", "classifier"])
def test_pipeline_experts_do_not_depend_on_metadata_routing(models):
    model = models["pipeline"]
    X, y = data_for(model)
    weight = np.linspace(0, 2, len(y))
    wanted = clone(model).fit(X, y, sample_weight=weight)
    with sklearn.config_context(enable_metadata_routing=True):
        assert_same_fit(wanted, clone(model).fit(X, y, sample_weight=weight), X, rtol=0, atol=0)


def test_the_floor_of_dispersions_keeps_fits_finite_and_is_flagged():
    """Rows exactly on two lines: the likelihood has no bound, the fit has one."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, (100, 1))
    y = np.where(X[:, 0] < 0.2, 1 + X[:, 0], 3 - 2 * X[:, 0])
    model = MixtureOfExpertsRegressor(LinearRegression(), 2, random_state=0).fit(X, y)
    assert np.all(model.dispersions_ > 0)
    assert np.isfinite(model.lower_bound_)
    assert model.score(X, y) > 0.95
    chosen = [start for start in model.restarts_ if start.bound == model.lower_bound_]
    assert chosen[0].flags == ["dispersion on its floor"]
