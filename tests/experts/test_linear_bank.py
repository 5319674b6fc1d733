"""Linear banks: one M-step of K experts equals K fits by scikit-learn."""

import numpy as np
import pytest
from _bank_outputs import all_log_prob, all_predict
from _problems import (
    banks,
    fit_part,
    make_rows,
    one_expert,
    random_resp,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm
from sklearn.linear_model import LinearRegression, Ridge

from mixexp.families import Gaussian


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
