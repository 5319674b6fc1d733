"""Banks of experts: one M-step of K experts equals K fits by scikit-learn."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
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
from scipy.stats import norm
from sklearn import config_context
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mixexp._fitting import takes_sparse, takes_weights
from mixexp._protocols import Part, can
from mixexp.experts import EstimatorBank, Trainer, check_expert, has_bank
from mixexp.experts._logistic import NEWTON_COEFFICIENTS
from mixexp.experts._templates import linear_terms, log_penalty
from mixexp.families import Gaussian


def all_log_prob(bank, rows):
    return np.concatenate([bank.log_prob(block) for block in rows.blocks()], axis=1)


def all_predict(bank, rows):
    return np.concatenate([bank.predict(block) for block in rows.blocks()], axis=2)


KINDS = {
    "linear": {},
    "linear, unpenalised": {"alpha": 0.0},
    "linear, two outputs": {"n_outputs": 2},
    "linear, no intercept": {"intercept": False},
    "logistic, two classes": {"n_classes": 2},
    "logistic, three classes": {"n_classes": 3, "alpha": 0.2},
    "logistic, no intercept": {"n_classes": 3, "intercept": False},
}


@pytest.fixture(params=KINDS)
def bank_case(request, rng):
    """Rows, a bank of linear or logistic experts and responsibilities."""
    return banks(rng, **KINDS[request.param])


# ---------------------------------------------------------------- every bank of linear models


def test_statistics_add_over_blocks(bank_case, rng):
    rows, bank, resp = bank_case
    bank = bank.set_parameters(0.3 * rng.standard_normal(len(bank.get_parameters())))
    whole = statistics_of(bank, rows, resp)
    rows.block_rows = 64
    rows._kept.clear()
    cut = statistics_of(bank, rows, resp)
    assert set(cut) == set(whole)
    for name, value in whole.items():
        assert_allclose(cut[name], value, rtol=1e-9, atol=1e-10 * np.abs(value).max())


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_repetitions(rng, kind):
    rows, bank, resp = banks(rng, **KINDS[kind])
    weight = rng.integers(0, 4, size=rows.n_rows)
    again = np.repeat(np.arange(rows.n_rows), weight)
    template, classes = bank.template, getattr(bank, "classes", None)
    fits = []
    for ids, w in ((np.flatnonzero(weight), weight[weight > 0].astype(float)), (again, None)):
        part = make_rows(rows.X[ids], rows.y[..., ids], w)
        one = one_expert(template, part, classes)
        fits.append(fit_part(one.replicate(3), part, resp[:, ids], 6))
    assert_allclose(fits[0].get_parameters(), fits[1].get_parameters(), atol=1e-9)


def test_many_steps_end_at_a_stationary_point(bank_case, rng):
    rows, bank, resp = bank_case
    bank = fit_part(bank, rows, resp, 20)
    vector = bank.get_parameters()
    top = expected_log_prob(bank, rows, resp)
    slope = numeric_gradient(
        lambda v: expected_log_prob(bank.set_parameters(v), rows, resp), vector
    )
    assert_allclose(slope, 0.0, atol=2e-4)
    for _ in range(20):
        near = bank.set_parameters(vector + 0.02 * rng.standard_normal(len(vector)))
        assert expected_log_prob(near, rows, resp) < top


def test_bound_does_not_fall_at_fixed_responsibilities(bank_case):
    rows, bank, resp = bank_case
    before = -np.inf
    for _ in range(8):
        bank = fit_part(bank, rows, resp)
        after = expected_log_prob(bank, rows, resp)
        assert after >= before - 1e-10 * abs(after)
        before = after


def test_parameters_round_trip(bank_case, rng):
    rows, bank, resp = bank_case
    bank = fit_part(bank, rows, resp, 3)
    vector = bank.get_parameters()
    kept = vector.copy()
    again = bank.set_parameters(vector.copy())
    assert_allclose(again.get_parameters(), vector, rtol=1e-13, atol=1e-13)
    assert_allclose(all_log_prob(again, rows), all_log_prob(bank, rows), rtol=1e-10)
    other = bank.set_parameters(vector + rng.standard_normal(len(vector)))
    assert_array_equal(bank.get_parameters(), kept)
    restored = other.set_parameters(other.get_parameters())
    assert_allclose(all_log_prob(restored, rows), all_log_prob(other, rows), rtol=1e-9)


def test_update_leaves_the_old_bank_alone(bank_case):
    rows, bank, resp = bank_case
    bank = fit_part(bank, rows, resp)
    vector = bank.get_parameters().copy()
    new = fit_part(bank, rows, resp[::-1])
    assert_array_equal(bank.get_parameters(), vector)
    assert not np.allclose(new.get_parameters(), vector)


def test_fitted_experts_predict_what_the_bank_does(bank_case):
    rows, bank, resp = bank_case
    bank = fit_part(bank, rows, resp, 3)
    assert isinstance(bank, Part)
    experts = bank.fitted(np.array(["a", "b", "c"]))
    predicted = all_predict(bank, rows)
    frame = pd.DataFrame(rows.X, columns=["a", "b", "c"])
    assert len(experts) == bank.n_experts == 3
    for expert, own in zip(experts, predicted, strict=True):
        assert type(expert) is type(bank.template)
        assert expert.get_params() == bank.template.get_params()
        assert expert.n_features_in_ == 3
        proba = can(expert, "predict_proba")
        outputs = expert.predict_proba(frame) if proba else expert.predict(frame)
        assert_allclose(outputs.reshape(rows.n_rows, -1).T, own, rtol=1e-8, atol=1e-8)
        assert_array_equal(expert.feature_names_in_, ["a", "b", "c"])
    assert not hasattr(bank.fitted(None)[0], "feature_names_in_")
    assert not hasattr(bank.template, "coef_")


def test_an_expert_without_rows_keeps_its_parameters(bank_case):
    rows, bank, resp = bank_case
    bank = fit_part(bank, rows, resp, 3)
    resp[1] = 0.0
    new = fit_part(bank, rows, resp, 3)
    assert np.all(np.isfinite(new.get_parameters()))
    if not can(bank, "classes"):  # nothing pulls at an expert but its prior
        assert_array_equal(new.theta[1], bank.theta[1])
        assert_array_equal(new.parameters[0][1], bank.parameters[0][1])


def test_replicate_gives_equal_experts(rng):
    for classes in (None, np.arange(3)):
        y = rng.standard_normal(40) if classes is None else rng.integers(3, size=40)
        rows = make_rows(rng.standard_normal((40, 2)), y)
        one = one_expert(None, rows, classes)
        one = fit_part(one, rows, np.ones((1, 40)), 3)
        five = one.replicate(5)
        assert (one.n_experts, five.n_experts) == (1, 5)
        assert_allclose(all_log_prob(five, rows), np.tile(all_log_prob(one, rows), (5, 1)))
        assert five.n_parameters == 5 * one.n_parameters


# ---------------------------------------------------------------- linear


@pytest.mark.parametrize("alpha", [0.0, 1e-3, 10.0])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_linear_bank_equals_scikit_learn(rng, alpha, intercept, n_outputs):
    rows, bank, resp = banks(rng, n=200, alpha=alpha, intercept=intercept, n_outputs=n_outputs)
    weight = rng.exponential(size=200)
    # one step is exact, from wherever it starts
    bank = bank.set_parameters(0.3 * rng.standard_normal(len(bank.get_parameters())))
    rows = make_rows(rows.X, rows.y, weight, block_rows=64)
    rows._designs = {(tuple(range(3)), intercept): bank.design}
    bank = fit_part(bank, rows, resp)
    target = rows.y[0] if n_outputs == 1 else rows.y.T
    for k, expert in enumerate(bank.fitted(None)):
        oracle = LinearRegression() if alpha == 0 else Ridge(alpha, solver="svd")
        oracle.set_params(fit_intercept=intercept)
        oracle.fit(rows.X, target, sample_weight=resp[k] * weight)
        assert expert.coef_.shape == oracle.coef_.shape
        if intercept:
            assert np.shape(expert.intercept_) == np.shape(oracle.intercept_)
        assert_allclose(expert.coef_, oracle.coef_, rtol=1e-8, atol=1e-11)
        assert_allclose(expert.intercept_, oracle.intercept_, rtol=1e-8, atol=1e-8)
        # the dispersion is the maximum of the penalised likelihood at these coefficients
        error = (target - oracle.predict(rows.X)).reshape(200, -1)
        square = (resp[k] * weight) @ error**2
        square += alpha * np.sum(np.atleast_2d(oracle.coef_) ** 2, axis=1)
        expected = np.sqrt(square / (resp[k] @ weight))
        assert_allclose(bank.parameters[0][k], expected, rtol=1e-9)


def test_default_expert_penalises_scaled_columns(rng):
    X = rng.standard_normal((100, 2)) * [1e-3, 1e3]
    weight, y = rng.exponential(size=100), rng.standard_normal(100)
    rows = make_rows(X, y, weight)
    bank = one_expert(None, rows)
    resp = random_resp(rng, 2, 100)
    bank = fit_part(bank.replicate(2), rows, resp)
    mean = np.average(X, axis=0, weights=weight)
    spread = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weight))
    for k, expert in enumerate(bank.fitted(None)):
        oracle = Ridge(bank.template.alpha, solver="svd").fit(X / spread, y, weight * resp[k])
        assert_allclose(expert.coef_, oracle.coef_ / spread, rtol=1e-9)


@pytest.mark.parametrize("n_outputs", [1, 2])
@pytest.mark.parametrize("alpha", [0.0, 2.0])
def test_linear_log_prob_and_prior(rng, n_outputs, alpha):
    rows, bank, resp = banks(rng, n_outputs=n_outputs, alpha=alpha)
    bank = fit_part(bank, rows, resp)
    log_prob = all_log_prob(bank, rows)
    prior = 0.0
    for k, expert in enumerate(bank.fitted(None)):
        mean = expert.predict(rows.X).reshape(rows.n_rows, -1).T
        own = norm.logpdf(rows.y, mean, bank.parameters[0][k][:, None]).sum(axis=0)
        assert_allclose(log_prob[k], own, rtol=1e-8)
        squares = np.sum(np.atleast_2d(expert.coef_) ** 2, axis=1)
        prior -= 0.5 * alpha * np.sum(squares / bank.parameters[0][k] ** 2)
    assert_allclose(bank.log_prior(), prior, rtol=1e-9)


@pytest.mark.parametrize("alpha", [0.0, 5.0])
def test_shared_dispersion(rng, alpha):
    rows, bank, resp = banks(rng, alpha=alpha, n_outputs=2)
    shared = one_expert(bank.template, rows, family=Gaussian(shared=True))
    shared = fit_part(shared.replicate(3), rows, resp)
    bank = fit_part(bank, rows, resp)
    mass = resp.sum(axis=1)[:, None]
    expected = np.sqrt(np.sum(bank.parameters[0] ** 2 * mass, axis=0) / rows.n_rows)
    assert_allclose(shared.parameters[0], np.tile(expected, (3, 1)), rtol=1e-10)
    assert shared.n_parameters == 3 * 2 * 4 + 2
    assert bank.n_parameters == 3 * 2 * 4 + 6


def test_linear_collinear_columns(rng):
    X = rng.standard_normal((80, 4))
    X[:, 3] = X[:, 0] - 2 * X[:, 1]
    rows = make_rows(X, rng.standard_normal(80))
    resp = random_resp(rng, 3, 80)
    bank = one_expert(LinearRegression(), rows)
    bank = fit_part(bank.replicate(3), rows, resp)
    for k, expert in enumerate(bank.fitted(None)):
        oracle = LinearRegression().fit(X[:, :3], rows.y[0], resp[k])
        assert_allclose(expert.predict(X), oracle.predict(X[:, :3]), atol=1e-9)
        assert np.abs(expert.coef_).max() < 100


def test_linear_expert_with_fewer_rows_than_coefficients(rng):
    rows = make_rows(rng.standard_normal((30, 6)), rng.standard_normal(30))
    resp = np.zeros((2, 30))
    resp[0, :3], resp[1, 3:] = 1.0, 1.0
    bank = one_expert(LinearRegression(), rows).replicate(2)
    new = fit_part(bank, rows, resp)
    assert_allclose(all_predict(new, rows)[0, 0, :3], rows.y[0, :3], atol=1e-9)
    assert np.all(np.isfinite(new.get_parameters()))
    assert_allclose(new.parameters[0][0], bank.floor)
    assert_array_equal(new.on_floor, [True, False])


@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_sums_of_squares_do_not_cancel(rng, offset):
    # the dispersion is 1e-8 times the size of y
    X = rng.standard_normal((500, 2))
    noise = rng.standard_normal(500)
    rows = make_rows(X, offset + 1e3 * X[:, 0] + noise)
    bank = one_expert(LinearRegression(), rows)
    bank = fit_part(bank, rows, np.ones((1, 500)), 2)
    exact = LinearRegression().fit(X, noise)
    expected = np.sqrt(np.mean((noise - exact.predict(X)) ** 2))
    assert_allclose(bank.parameters[0][0, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("factor", [1e-100, 1e-20, 1e-8, 1e8, 1e100])
def test_linear_bank_does_not_depend_on_the_unit_of_y(rng, factor):
    X, y = rng.standard_normal((60, 2)), rng.standard_normal(60)
    resp = random_resp(rng, 2, 60)
    fits = []
    for unit in (1.0, factor):
        rows = make_rows(X, unit * y)
        one = one_expert(LinearRegression(), rows)
        one = fit_part(one, rows, np.ones((1, 60)), 2)
        fits.append(fit_part(one.replicate(2), rows, resp))
    assert_allclose(fits[1].parameters[0], factor * fits[0].parameters[0], rtol=1e-8)
    assert_allclose(fits[1].floor, factor * fits[0].floor, rtol=1e-8)
    assert_allclose(fits[1].theta, factor * fits[0].theta, rtol=1e-8)


def test_floor_is_a_share_of_the_one_expert_dispersion(rng):
    rows, bank, _ = banks(rng, n_outputs=2)
    one = one_expert(bank.template, rows)
    assert one.n_experts == 1
    one = fit_part(one, rows, np.ones((1, rows.n_rows)))
    many = one.replicate(4)
    assert_allclose(many.floor, 1e-3 * one.parameters[0][0])
    assert_allclose(many.theta, np.repeat(one.theta, 4, axis=0))
    assert not np.any(many.on_floor)
    logs = np.log(many.parameters[0])
    logs[2, 1] = -50.0
    low = many.set_parameters(np.concatenate([many.theta.ravel(), logs.ravel()]))
    assert_array_equal(low.on_floor, [False, False, True, False])
    assert low.parameters[0][2, 1] == many.floor[1]


@pytest.mark.parametrize("value", [0.0, 3.0, -1e8])
def test_constant_targets(rng, value):
    rows = make_rows(rng.standard_normal((40, 2)), np.full(40, value))
    one = one_expert(LinearRegression(), rows)
    bank = fit_part(one, rows, np.ones((1, 40)), 5).replicate(2)
    bank = fit_part(bank, rows, random_resp(rng, 2, 40), 3)
    assert np.all(bank.parameters[0] > 0)
    assert_allclose(all_predict(bank, rows), value, rtol=1e-12, atol=1e-12)
    assert np.all(np.isfinite(all_log_prob(bank, rows)))


def test_linear_deviance_ranks_residuals(rng):
    rows, bank, resp = banks(rng, n_outputs=2)
    bank = fit_part(bank, rows, resp)
    block = next(iter(rows.blocks()))
    residual = (rows.y - all_predict(bank, rows)) / np.std(rows.y, axis=1)[:, None]
    plain = (
        fit_part(
            one_expert(bank.template, rows),
            rows,
            np.ones((1, rows.n_rows)),
        )
        .replicate(3)
        .set_parameters(bank.get_parameters())
    )
    units = 1e3 * (plain.floor / np.std(rows.y, axis=1))[:, None]
    squares = ((residual / units) ** 2).sum(axis=1)
    constant = np.sum(np.log(1e3 * plain.floor) + 0.5 * np.log(2 * np.pi))
    assert_allclose(plain.deviance(block), 0.5 * squares + constant, rtol=1e-9)
    assert_array_equal(plain.deviance(block).argmin(axis=0), squares.argmin(axis=0))


def test_closed_forms_keep_their_step(rng):
    rows, bank, resp = banks(rng)
    new = fit_part(bank, rows, resp)
    assert bank.toward(new, 0.25) is new
    bounded = fit_part(bank.bounded(), rows, resp)
    assert_array_equal(bounded.get_parameters(), new.get_parameters())


# ---------------------------------------------------------------- logistic


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


def test_logistic_bounded_step_never_lowers_the_bound(rng):
    newton_fell = 0
    for _ in range(40):
        c = int(rng.integers(2, 5))
        rows, bank, resp = banks(rng, n=60, d=2, n_classes=c, alpha=rng.choice([0.0, 1.0]))
        bank = bank.set_parameters(4 * rng.standard_normal(bank.theta.size))
        before = expected_log_prob(bank, rows, resp)
        bounded = bank.bounded()
        assert bounded.n_gram_weights == 3
        new = fit_part(bounded, rows, resp)
        assert new.curvature == "newton"
        assert expected_log_prob(new, rows, resp) >= before - 1e-12 * abs(before)
        newton_fell += expected_log_prob(fit_part(bank, rows, resp), rows, resp) < before
    assert newton_fell > 0  # so that the test above has something to say


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
        assert bank.n_gram_weights == 2
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


# ---------------------------------------------------------------- templates


@pytest.mark.parametrize(
    "template, alpha",
    [
        (LinearRegression(), 0.0),
        (Ridge(3.0), 3.0),
        (Ridge(0), 0.0),
        (LogisticRegression(), 1.0),
        (LogisticRegression(C=4.0, solver="newton-cg"), 0.25),
        (LogisticRegression(C=np.inf), 0.0),
    ],
    ids=str,
)
@pytest.mark.parametrize("intercept", [True, False])
def test_templates_with_a_bank(template, alpha, intercept):
    classifies = isinstance(template, LogisticRegression)
    family, other = (None, Gaussian()) if classifies else (Gaussian(), None)
    template = clone(template).set_params(fit_intercept=intercept)
    terms = linear_terms(template, family)
    assert terms.alpha == alpha
    assert terms.fit_intercept == intercept
    assert terms.input_units
    assert not terms.per_weight
    assert has_bank(template, family) and has_bank(None, family)
    assert linear_terms(template, other) is None


class MyRidge(Ridge):
    """A subclass may do anything."""


def elastic_net():
    """Return a logistic regression with an L1 part, as old and new scikit-learn spell it."""
    template = LogisticRegression(l1_ratio=0.5, solver="saga")
    if template.penalty != "deprecated":
        template.set_params(penalty="elasticnet")
    return template


@pytest.mark.parametrize(
    "template",
    [
        Ridge(positive=True),
        Ridge([1.0, 2.0]),
        LinearRegression(positive=True),
        elastic_net(),
        LogisticRegression(class_weight="balanced"),
        LogisticRegression(solver="liblinear"),
        MyRidge(),
        DecisionTreeRegressor(),
        make_pipeline(StandardScaler(), Ridge()),
    ],
    ids=str,
)
@pytest.mark.parametrize("family", [Gaussian(), None], ids=["gaussian", "classes"])
def test_templates_without_a_bank(template, family):
    assert linear_terms(template, family) is None
    assert not has_bank(template, family)


def test_log_penalty_of_fitted_estimators(rng):
    X, Y = rng.standard_normal((40, 2)), rng.standard_normal((40, 2))
    ridge = Ridge(2.0).fit(X, Y)
    assert_allclose(log_penalty(ridge, Gaussian()), 2 * np.sum(ridge.coef_**2, axis=1))
    ridge = MyRidge(np.array([1.0, 3.0])).fit(X, Y)
    assert_allclose(log_penalty(ridge, Gaussian()), [1, 3] * np.sum(ridge.coef_**2, axis=1))
    assert_array_equal(log_penalty(LinearRegression().fit(X, Y[:, 0]), Gaussian()), 0.0)
    logistic = LogisticRegression(C=0.5).fit(X, Y[:, 0] > 0)
    assert_allclose(log_penalty(logistic, None), np.sum(logistic.coef_**2))
    assert log_penalty(DecisionTreeRegressor().fit(X, Y), Gaussian()) is None
    balanced = LogisticRegression(class_weight="balanced").fit(X, Y[:, 0] > 0)
    assert log_penalty(balanced, None) is None


@pytest.mark.parametrize(
    "expert, classifier, message",
    [
        (Ridge, False, "must be a scikit-learn estimator"),
        (object(), False, "must be a scikit-learn estimator"),
        (LogisticRegression(), False, r"must be a regressor such as Ridge\(\), got Logistic"),
        (Ridge(), True, "must be a classifier"),
        (LinearSVC(), True, "LinearSVC has no predict_proba"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_wrong_experts(expert, classifier, message):
    with pytest.raises(TypeError, match=message) as error:
        check_expert(expert, "Owner", classifier=classifier)
    assert str(error.value).startswith("Owner: expert")


def test_right_experts():
    check_expert(make_pipeline(StandardScaler(), Ridge()), "Owner", classifier=False)
    check_expert(DecisionTreeClassifier(), "Owner", classifier=True)
    plain = KNeighborsRegressor()
    for expert in (plain, make_pipeline(StandardScaler(), plain)):  # rows are drawn for them
        check_expert(expert, "Owner", classifier=False)
        assert not takes_weights(expert)
    assert takes_weights(make_pipeline(StandardScaler(), Ridge()))
    assert takes_sparse(Ridge())
    assert not takes_sparse(GaussianNB())


# ---------------------------------------------------------------- any estimator


def estimator_bank(
    template, rows, k=3, *, classes=None, family=None, seed=0, n_jobs=None, columns=None, folds=0
):
    """Return an unfitted bank of K clones."""
    n_outputs = 1 if classes is not None else len(rows.y)
    family = None if classes is not None else family or Gaussian()
    candidates = [[("expert", template)]] * k
    trainer = Trainer(
        candidates, [columns] * k, classes=classes, family=family, n_outputs=n_outputs,
        n_jobs=n_jobs, seed=seed, owner="Mixture",
    )  # fmt: skip
    return EstimatorBank(trainer, folds)


def fit_bank(bank, rows, resp):
    """Return a bank of estimators after an M-step at fixed responsibilities, with its experts."""
    return fit_part(bank, rows, resp).finished(rows)


@pytest.mark.parametrize(
    "template",
    [
        DecisionTreeRegressor(max_depth=3, random_state=0),
        RandomForestRegressor(5, max_depth=3, random_state=0),
        Ridge(2.0),
        LinearRegression(),
        make_pipeline(StandardScaler(), Ridge()),
    ],
    ids=lambda e: type(e).__name__,
)
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_estimator_bank_equals_separate_fits(rng, template, n_outputs):
    X = rng.standard_normal((90, 2))
    weight = rng.exponential(size=90)
    rows = make_rows(X, rng.standard_normal((n_outputs, 90)), weight, block_rows=64)
    resp = random_resp(rng, 3, 90)
    bank = fit_bank(estimator_bank(template, rows), rows, resp)
    target = rows.y[0] if n_outputs == 1 else rows.y.T
    predicted, log_prob = all_predict(bank, rows), all_log_prob(bank, rows)
    for k, expert in enumerate(bank.fitted(None)):
        w = weight * resp[k]
        if isinstance(template, Pipeline):
            given = {f"{name}__sample_weight": w for name, _ in template.steps}
        else:
            given = {"sample_weight": w}
        oracle = clone(template).fit(X, target, **given)
        mean = oracle.predict(X)
        assert_allclose(expert.predict(X), mean, rtol=1e-12)
        assert_allclose(predicted[k].T, mean.reshape(90, -1), rtol=1e-12)
        square = w @ (target - mean).reshape(90, -1) ** 2
        last = oracle[-1] if isinstance(template, Pipeline) else oracle
        if type(last) is Ridge:
            square += last.alpha * np.sum(np.atleast_2d(last.coef_) ** 2, axis=1)
        dispersion = np.sqrt(square / w.sum())
        assert_allclose(bank.parameters[0][k], dispersion, rtol=1e-9)
        own = norm.logpdf(rows.y, predicted[k], dispersion[:, None]).sum(axis=0)
        assert_allclose(log_prob[k], own, rtol=1e-9)
    assert not hasattr(template, "n_features_in_")


@pytest.mark.parametrize(
    "template, n_classes",
    [(Ridge(2.0), None), (LinearRegression(), None), (LogisticRegression(C=0.5), 2)],
    ids=str,
)
def test_estimator_bank_equals_linear_bank(rng, template, n_classes):
    X = rng.standard_normal((120, 2))
    classes = None if n_classes is None else np.arange(n_classes)
    y = rng.standard_normal(120) if n_classes is None else rng.integers(n_classes, size=120)
    rows, resp = make_rows(X, y), random_resp(rng, 2, 120)
    banked = one_expert(template, rows, classes).replicate(2)
    banked = fit_part(banked, rows, resp, 12)
    if n_classes is not None:
        template = clone(template).set_params(tol=1e-12)
    other = fit_bank(estimator_bank(template, rows, 2, classes=classes), rows, resp)
    assert other.monotone
    assert_allclose(all_log_prob(other, rows), all_log_prob(banked, rows), atol=1e-6)
    assert_allclose(other.log_prior(), banked.log_prior(), rtol=1e-5, atol=1e-12)
    for a, b in zip(other.fitted(None), banked.fitted(None), strict=True):
        assert_allclose(a.coef_, b.coef_, atol=1e-6)


def test_new_rows_are_predicted_training_rows_remembered(rng):
    X = rng.standard_normal((90, 2))
    rows = make_rows(X, rng.standard_normal(90), block_rows=64)
    template = DecisionTreeRegressor(max_depth=4, random_state=0)
    bank = fit_bank(estimator_bank(template, rows), rows, random_resp(rng, 3, 90))
    new = make_rows(X[::-1], rows.y[:, ::-1], training=False)
    assert_allclose(all_predict(bank, new)[..., ::-1], all_predict(bank, rows), rtol=1e-12)
    assert_allclose(all_log_prob(bank, new)[:, ::-1], all_log_prob(bank, rows), rtol=1e-12)
    trimmed = bank.trimmed()
    assert trimmed._known is None and bank._known is not None
    assert_allclose(all_predict(trimmed, rows), all_predict(bank, rows), rtol=1e-12)
    assert not bank.monotone
    assert bank.log_prior() == 0.0


def test_update_of_estimators_leaves_the_old_bank_alone(rng):
    rows = make_rows(rng.standard_normal((60, 2)), rng.standard_normal(60))
    resp = random_resp(rng, 2, 60)
    bank = fit_bank(estimator_bank(MyRidge(), rows, 2), rows, resp)
    coef, known = [e.coef_.copy() for e in bank.experts], bank._known.copy()
    fit_bank(bank, rows, resp[::-1])
    assert_array_equal([e.coef_ for e in bank.experts], coef)
    assert_array_equal(bank._known, known)


def test_estimator_statistics_join(rng):
    rows = make_rows(rng.standard_normal((100, 2)), rng.standard_normal(100), block_rows=64)
    resp = random_resp(rng, 2, 100)
    bank = fit_bank(estimator_bank(Ridge(), rows, 2), rows, resp)
    statistics = statistics_of(bank, rows, resp)
    assert_array_equal(np.concatenate(statistics, axis=1), resp)


@pytest.mark.parametrize("k", [1, 4])
def test_n_jobs_does_not_change_experts(rng, k):
    rows = make_rows(rng.standard_normal((80, 3)), rng.standard_normal(80))
    resp = random_resp(rng, k, 80)
    template = RandomForestRegressor(5, max_depth=3)  # random states are left to the bank
    one, two = (
        fit_bank(estimator_bank(template, rows, k, n_jobs=n_jobs), rows, resp) for n_jobs in (1, 2)
    )
    assert_array_equal(all_predict(one, rows), all_predict(two, rows))


def test_random_states(rng):
    rows = make_rows(rng.standard_normal((40, 2)), rng.standard_normal(40))
    resp = np.full((2, 40), 0.5)
    template = make_pipeline(StandardScaler(), DecisionTreeRegressor(max_features=1))
    bank = estimator_bank(template, rows, 2, seed=3).with_floor(np.array([0.1]))
    bank = fit_bank(bank, rows, resp)
    states = [e.get_params()["decisiontreeregressor__random_state"] for e in bank.experts]
    assert len(set(states)) == 2  # by expert
    again = fit_bank(bank, rows, resp)  # not by iteration: the M-step is one fixed function
    assert [e.get_params()["decisiontreeregressor__random_state"] for e in again.experts] == states
    other = fit_bank(estimator_bank(template, rows, 2, seed=4), rows, resp)
    assert other.experts[0][-1].random_state != states[0]
    given = fit_bank(estimator_bank(DecisionTreeRegressor(random_state=7), rows, 2), rows, resp)
    assert [e.random_state for e in given.experts] == [7, 7]
    assert template[-1].random_state is None


class Spy(RegressorMixin, BaseEstimator):
    """Remembers what it was given."""

    def fit(self, X, y, sample_weight=None):
        self.X_, self.y_, self.weight_ = X, y, sample_weight
        return self

    def transform(self, X):
        return X

    def predict(self, X):
        return np.zeros(X.shape[0])


def test_negligible_rows_are_dropped(rng):
    X, y = rng.standard_normal((50, 2)), rng.standard_normal(50)
    rows = make_rows(X, y)
    resp = random_resp(rng, 2, 50)
    resp[0, :10] = 1e-11 * resp[0].max()
    resp[0, 10:20] = 1e-9 * resp[0].max()
    bank = fit_bank(estimator_bank(Spy(), rows, 2), rows, resp)
    first, second = bank.experts
    assert_array_equal(first.X_, X[10:])
    assert_array_equal(first.y_, y[10:])
    assert_array_equal(first.weight_, resp[0, 10:])  # not normalised
    assert_array_equal(second.weight_, resp[1])


def test_columns_and_frames_reach_the_experts(rng):
    X, y = rng.standard_normal((30, 3)), rng.standard_normal(30)
    rows = make_rows(X, y)
    bank = estimator_bank(Spy(), rows, 2, columns=np.array([2, 0]))
    expert = fit_bank(bank, rows, random_resp(rng, 2, 30)).experts[0]
    assert_array_equal(expert.X_, X[:, [2, 0]])
    rows.frame = pd.DataFrame(X, columns=list("abc"))
    expert = fit_bank(bank, rows, random_resp(rng, 2, 30)).experts[0]
    assert list(expert.X_.columns) == ["c", "a"]
    sparse = make_rows(sp.csr_array(X), y)
    expert = fit_bank(bank, sparse, random_resp(rng, 2, 30)).experts[0]
    assert sp.issparse(expert.X_)
    assert_array_equal(expert.X_.toarray(), X[:, [2, 0]])


@pytest.mark.parametrize("routing", [False, True])
def test_every_step_of_a_pipeline_gets_the_weights(rng, routing):
    X, y = rng.standard_normal((40, 2)), rng.standard_normal(40)
    rows, resp = make_rows(X, y), random_resp(rng, 2, 40)
    template = make_pipeline(FunctionTransformer(), Spy(), StandardScaler(), "passthrough", Spy())
    with config_context(enable_metadata_routing=routing):
        bank = fit_bank(estimator_bank(template, rows, 2), rows, resp)
    for expert, weight in zip(bank.experts, resp, strict=True):
        assert_array_equal(expert[1].weight_, weight)
        assert_array_equal(expert[-1].weight_, weight)
        assert_allclose(expert[2].mean_, np.average(X, axis=0, weights=weight))


def test_a_pipeline_inside_a_pipeline_gets_the_weights(rng):
    X, y = rng.standard_normal((40, 2)), rng.standard_normal(40)
    rows, resp = make_rows(X, y), random_resp(rng, 2, 40)
    template = make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), Spy()))
    check_expert(template, "Owner", classifier=False)
    bank = fit_bank(estimator_bank(template, rows, 2), rows, resp)
    for expert, weight in zip(bank.experts, resp, strict=True):
        assert_array_equal(expert[-1][-1].weight_, weight)


# -- classes


@pytest.fixture
def regions(rng):
    """Rows of three classes, and responsibilities: classes 0 and 2, only class 1, all."""
    y = np.arange(90) % 3
    resp = np.stack([y != 1, y == 1, np.ones(90)]) * rng.uniform(0.2, 1.0, 90)
    return make_rows(rng.standard_normal((90, 2)), y), resp


@pytest.mark.parametrize(
    "template",
    [
        DecisionTreeClassifier(max_depth=2, random_state=0),
        LogisticRegression(),
        make_pipeline(StandardScaler(), DecisionTreeClassifier(max_depth=2, random_state=0)),
    ],
    ids=lambda e: type(e).__name__,
)
def test_regions_that_lack_classes(regions, template):
    rows, resp = regions
    classes = np.array(["a", "b", "c"])
    bank = fit_bank(estimator_bank(template, rows, classes=classes), rows, resp)
    proba = all_predict(bank, rows)
    assert proba.shape == (3, 3, 90)
    assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-12)
    # the columns of the two classes it saw, in their places
    assert_array_equal(bank.experts[0].classes_, ["a", "c"])
    assert_array_equal(proba[0, 1], 0.0)
    assert_allclose(proba[0, [0, 2]].T, bank.experts[0].predict_proba(rows.X), rtol=1e-12)
    # one class only: a constant, smoothed by one row of the overall shares
    mass = resp[1].sum()
    expected = np.full(3, 1 / 3)
    expected[1] += mass
    assert_allclose(proba[1], np.tile(expected / (mass + 1), (90, 1)).T, rtol=1e-12)
    assert_array_equal(bank.experts[1].classes_, classes)
    assert_array_equal(bank.experts[1].predict(rows.X[:2]), ["b", "b"])
    # a class that an expert never saw is improbable, not impossible
    log_prob = all_log_prob(bank, rows)
    assert_allclose(log_prob[0, rows.y == 1], np.log(1e-6 / 3))
    assert_allclose(log_prob[2], np.log(np.maximum(proba[2, rows.y, np.arange(90)], 1e-6 / 3)))
    assert bank.parameters is None
    assert_array_equal(bank.on_floor, False)


def test_constant_expert_counts_weights(rng):
    y = np.array([0] * 10 + [1] * 30)
    weight = np.repeat([3.0, 1.0], [10, 30])
    rows = make_rows(rng.standard_normal((40, 2)), y, weight)
    resp = np.stack([y == 1, y >= 0]).astype(float)
    template = DecisionTreeClassifier(max_depth=1)
    bank = fit_bank(estimator_bank(template, rows, 2, classes=np.arange(2)), rows, resp)
    # 30 rows of class 1, one row with shares 30/60 and 30/60
    assert_allclose(bank.experts[0].predict_proba(rows.X[:1]), [[0.5 / 31, 30.5 / 31]])


# -- the guard


class Fickle(Ridge):
    """A ridge regression whose later fits go wrong."""

    fits = 0

    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight=sample_weight)
        type(self).fits += 1
        if type(self).fits > 2:
            self.coef_ = self.coef_ + 1.0
        return self


class FickleLogistic(LogisticRegression):
    """A logistic regression whose later fits go wrong."""

    fits = 0

    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight=sample_weight)
        type(self).fits += 1
        if type(self).fits > 2:
            self.coef_ = self.coef_ - 1.0
        return self


@pytest.mark.parametrize("template", [Fickle(1.0), FickleLogistic()], ids=str)
def test_guard_keeps_the_better_expert(rng, monkeypatch, template):
    monkeypatch.setattr(type(template), "fits", 0)
    X = rng.standard_normal((80, 2))
    logistic = isinstance(template, LogisticRegression)
    y = (X[:, 0] > 0).astype(int) if logistic else X[:, 0] + rng.standard_normal(80)
    rows, resp = make_rows(X, y), random_resp(rng, 2, 80)
    classes = np.arange(2) if logistic else None
    bank = fit_bank(estimator_bank(template, rows, 2, classes=classes), rows, resp)
    before = expected_log_prob(bank, rows, resp)
    new = fit_bank(bank, rows, resp)
    assert type(template).fits == 4
    assert new.experts[0] is bank.experts[0] and new.experts[1] is bank.experts[1]
    assert_array_equal(all_predict(new, rows), all_predict(bank, rows))
    assert_allclose(expected_log_prob(new, rows, resp), before, rtol=1e-12)
    # only the expert that got worse is kept: a change of responsibilities asks for another fit
    monkeypatch.setattr(type(template), "fits", -10)
    changed = fit_bank(bank, rows, resp[[1, 0]])
    assert changed.experts[0] is not bank.experts[0]
    assert expected_log_prob(changed, rows, resp[[1, 0]]) > expected_log_prob(
        bank, rows, resp[[1, 0]]
    )


def test_guard_is_for_likelihood_fits_only(rng):
    rows = make_rows(rng.standard_normal((60, 2)), rng.standard_normal(60))
    resp = random_resp(rng, 2, 60)
    bank = fit_bank(estimator_bank(DecisionTreeRegressor(max_depth=2), rows, 2), rows, resp)
    new = fit_bank(bank, rows, resp[::-1])
    assert not new.monotone
    assert new.experts[0] is not bank.experts[0]


def test_an_empty_estimator_keeps_its_fit(rng):
    rows = make_rows(rng.standard_normal((60, 2)), rng.standard_normal(60))
    resp = random_resp(rng, 2, 60)
    bank = fit_bank(estimator_bank(DecisionTreeRegressor(max_depth=2), rows, 2), rows, resp)
    resp[1] = 0.0
    new = fit_bank(bank, rows, resp)
    assert new.experts[1] is bank.experts[1]
    assert_array_equal(new.parameters[0][1], bank.parameters[0][1])
    # one that is empty from the start is fitted on all rows
    first = fit_bank(estimator_bank(Spy(), rows, 2), rows, resp)
    assert len(first.experts[1].X_) == 60


def test_estimator_floor(rng):
    rows = make_rows(rng.standard_normal((60, 2)), rng.standard_normal(60))
    bank = estimator_bank(DecisionTreeRegressor(), rows, 2).with_floor(np.array([0.25]))
    bank = fit_bank(bank, rows, random_resp(rng, 2, 60))
    assert_array_equal(bank.parameters[0], 0.25)
    assert_array_equal(bank.on_floor, True)
