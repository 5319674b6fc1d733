"""Rows left out one by one, in closed form."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose
from sklearn.linear_model import Ridge

from mixexp import MixtureOfExpertsRegressor
from mixexp.experts._left_out import LeftOut
from mixexp.protocols import Rows


def by_refits(X, y, weight, penalty, strength, intercept):
    """Return the residual of each row of a ridge regression without it."""
    found = np.empty(y.T.shape)
    scaled = X / np.sqrt(penalty)
    for i in range(len(X)):
        ids = np.arange(len(X)) != i
        model = Ridge(alpha=strength, fit_intercept=intercept, solver="svd")
        model.fit(scaled[ids], y[ids], weight[ids])
        found[:, i] = y[i] - model.predict(scaled[i : i + 1])[0]
    return found


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("n_columns", [3, 19, 20, 60])
def test_residuals_are_those_of_refits(n_columns, intercept, rng):
    X, y = rng.standard_normal((20, n_columns)), rng.standard_normal((20, 2)) + 3
    weight, penalty = rng.uniform(0.5, 4, 20), rng.uniform(0.5, 2, n_columns)
    X -= np.average(X, axis=0, weights=weight)
    left_out = LeftOut(X.T, y.T, weight, penalty, intercept)
    for strength in (1e-3, 1.0, 1e3):
        expected = by_refits(X, y, weight, penalty, strength, intercept)
        assert_allclose(left_out.residuals(strength), expected, rtol=1e-6, atol=1e-8)
        squares = np.average(expected**2, axis=1, weights=weight)
        more = 1 + np.sqrt(2 / left_out.free(strength))
        assert_allclose(left_out.mean_squares(strength), squares * more, rtol=1e-6)


@pytest.mark.parametrize("intercept", [True, False])
def test_independent_residuals(intercept, rng):
    X, y = rng.standard_normal((20, 6)), rng.standard_normal((1, 20))
    X -= X.mean(axis=0)
    left_out = LeftOut(X.T, y, np.ones(20), np.ones(6), intercept)
    assert_allclose(left_out.free(1e-9), 20 - 6 - intercept)
    maker = np.eye(20) - Ridge(alpha=9.0, fit_intercept=intercept).fit(X, np.eye(20)).predict(X)
    squares = maker @ maker
    assert_allclose(left_out.free(9.0), np.trace(squares) ** 2 / np.trace(squares @ squares))


def test_measurements_of_one_unit_are_left_out_together(rng):
    """One would predict the other: dispersions were their difference, and densities -1e7."""
    X, y = rng.standard_normal((12, 5)), rng.standard_normal((2, 12))
    X -= X.mean(axis=0)
    both = np.vstack([X, X + 1e-10 * rng.standard_normal(X.shape)])
    found = LeftOut(both.T, y.reshape(1, -1), np.ones(24), np.ones(5), True).residuals(0.5)
    mean = y.mean(axis=0)
    missed = LeftOut(X.T, mean[None], np.full(12, 2.0), np.ones(5), True).residuals(0.5)
    assert_allclose(found, (y - mean + missed).reshape(1, -1), rtol=1e-6)
    model = MixtureOfExpertsRegressor(n_experts=1, random_state=0)
    wide, new = rng.standard_normal((40, 60)), rng.standard_normal((500, 60))
    twice = np.vstack([wide, wide + 1e-9 * rng.standard_normal(wide.shape)])
    model.fit(twice, np.tile(wide[:, :4].sum(axis=1) + 0.5 * rng.standard_normal(40), 2))
    assert model.log_density(new, new[:, :4].sum(axis=1)).mean() > -2.5


def test_levels_of_codes_are_no_such_sets(rng):
    codes = np.eye(4)[np.arange(12) % 4]
    y = 10.0 * codes[:, 0] + 0.1 * rng.standard_normal(12)
    left_out = LeftOut(codes.T - 0.25, y[None], np.ones(12), np.ones(4), True)
    assert np.abs(left_out.residuals(1e-3)).max() < 1


@pytest.mark.parametrize("shape", [(12, 10), (25, 24)])
def test_hardly_more_rows_than_columns_are_no_reason_to_be_sure(shape):
    """Rows left out may be missed by little by luck: densities fell to -100 in one sample."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        X, coef = rng.standard_normal((300, shape[1])), rng.standard_normal(shape[1])
        y = X @ coef + 0.5 * rng.standard_normal(300)
        model = MixtureOfExpertsRegressor(n_experts=1, random_state=0)
        model.fit(X[: shape[0]], y[: shape[0]])
        density = model.log_density(X[shape[0] :], y[shape[0] :]).mean() + np.log(y.std())
        assert density > -4


def test_copies_of_columns_and_constant_targets(rng):
    X = rng.standard_normal((15, 4))
    twice = np.hstack([X, X])
    y = np.stack([X[:, 0] + rng.standard_normal(15), np.full(15, 2.0)])
    one = LeftOut(X.T, y, np.ones(15), np.ones(4), True)
    two = LeftOut(twice.T, y, np.ones(15), 2 * np.ones(8), True)
    assert_allclose(two.residuals(0.1), one.residuals(0.1), rtol=1e-9, atol=1e-12)
    assert_allclose(one.residuals(0.1)[1], 0, atol=1e-12)


def test_weights_are_copies_that_go_together(rng):
    X, y = rng.standard_normal((12, 5)), rng.standard_normal((1, 12))
    weight = rng.integers(1, 4, 12).astype(float)
    X -= np.average(X, axis=0, weights=weight)
    expected = by_refits(X, y.T, weight, np.ones(5), 0.5, True)
    found = LeftOut(X.T, y, weight, np.ones(5), True).residuals(0.5)
    assert_allclose(found, expected, rtol=1e-8)


@pytest.mark.parametrize("shape", [(72, 60), (60, 55), (100, 100), (80, 120)])
def test_one_expert_of_few_rows_is_as_good_as_ridge(shape, rng):
    """Without a fifth of the rows these are fewer than the columns: 3 to 30 times the error."""
    n, p = shape
    X, new = rng.standard_normal((n, p)), rng.standard_normal((1000, p))
    coef = rng.standard_normal(p) * (rng.uniform(size=p) < 0.3)
    y = X @ coef + 0.1 * rng.standard_normal(n)
    model = MixtureOfExpertsRegressor(n_experts=1, random_state=0).fit(X, y)
    best = min(
        np.std(new @ coef - Ridge(alpha).fit(X, y).predict(new)) for alpha in np.logspace(-5, 3, 25)
    )
    assert np.sqrt(np.mean((model.predict(new) - new @ coef) ** 2)) < 1.3 * best  # of an oracle
    low, high = model.predict_interval(new, coverage=0.9)
    truth = new @ coef + 0.1 * rng.standard_normal(1000)
    assert np.mean((truth >= low) & (truth <= high)) > 0.75


def test_sparse_rows_are_left_out_one_by_one_too(rng):
    X = sp.random(700, 500, 0.05, random_state=0, format="csr")
    coef = rng.standard_normal(500) * (rng.uniform(size=500) < 0.3)
    truth = X @ coef
    y = truth + 0.1 * rng.standard_normal(700)
    train, new = slice(0, 600), slice(600, None)
    model = MixtureOfExpertsRegressor(n_experts=1, random_state=0).fit(X[train], y[train])
    assert model._model.bank.by_products
    dense = X.toarray()
    errors = [
        np.std(truth[new] - Ridge(alpha).fit(dense[train], y[train]).predict(dense[new]))
        for alpha in np.logspace(-4, 2, 13)
    ]
    assert np.sqrt(np.mean((model.predict(X[new]) - truth[new]) ** 2)) < 1.2 * min(errors)


def test_a_bank_leaves_out_weighted_rows_beyond_their_offset(rng):
    X, y = rng.standard_normal((30, 25)), rng.standard_normal((1, 30))
    weight, offset = rng.uniform(1, 4, 30), rng.standard_normal((1, 30))
    bank = MixtureOfExpertsRegressor(n_experts=1).fit(X, y[0])._model.bank
    found = bank.left_out(Rows(X, y, weight, offset=offset, training=True)).residuals(0.7)
    scaled = (X - X.mean(axis=0)) / X.std(axis=0)
    expected = LeftOut(scaled.T, y - offset, weight, np.ones(25), True).residuals(0.7)
    assert_allclose(found, expected, rtol=1e-8)
