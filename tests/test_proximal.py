"""Steps under an L1 penalty, function by function."""

import numpy as np
import pytest
from _problems import make_rows
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.linear_model import ElasticNet

from mixexp._numerics import pair_products, unpack_symmetric, weighted_gram
from mixexp._proximal import (
    identified,
    l1_weights,
    n_identified,
    optimality_gap,
    proximal_bound_step,
    proximal_solutions,
    proximal_step,
    soft_thresholded,
)


def problems(rng, b, n, rank=None):
    """Return B second-order models of n coefficients, their gradients and centres."""
    factor = rng.standard_normal((b, n, rank or 2 * n)) * 10.0 ** rng.uniform(-2, 2, (b, n, 1))
    matrices = factor @ factor.transpose(0, 2, 1)
    start = rng.standard_normal((b, n)) * (rng.random((b, n)) < 0.5)
    towards = rng.standard_normal((b, n, 1))
    return matrices, (matrices @ towards)[:, :, 0], start


def values(matrices, gradient, start, l1, x):
    """Return penalised models (B,) at x."""
    step = x - start
    bent = np.einsum("bi,bij,bj->b", step, matrices, step)
    return np.sum(gradient * step, axis=1) - 0.5 * bent - np.sum(l1 * np.abs(x), axis=1)


def test_soft_thresholding():
    assert_array_equal(soft_thresholded(np.array([-3.0, -1.0, 0.5, 2.0]), 1.0), [-2, 0, 0, 1])


def test_optimality_gap():
    slope, x = np.array([2.0, -2.0, 0.5, -1.5]), np.array([1.0, 1.0, 0.0, 0.0])
    assert_array_equal(optimality_gap(slope, x, np.full(4, 1.0)), [1.0, 3.0, 0.0, 0.5])


@pytest.mark.parametrize("rank", [None, 7], ids=["full rank", "rank 7"])
@pytest.mark.parametrize("strength", [0.0, 0.01, 0.5, 5.0])
def test_solutions_are_optimal(rng, strength, rank):
    matrices, gradient, start = problems(rng, 6, 12, rank)
    size = np.abs(gradient).max(axis=1, keepdims=True)
    l1 = strength * size * rng.exponential(size=(6, 12))
    l1[:, 0] = 0.0  # an intercept
    x = proximal_solutions(matrices, gradient, start, l1)
    slope = gradient - np.einsum("bij,bj->bi", matrices, x - start)
    assert_array_equal(optimality_gap(slope, x, l1) <= 1e-9 * size, True)
    top = values(matrices, gradient, start, l1, x)
    noise = 1e-10 * np.abs(top)
    assert np.all(top >= values(matrices, gradient, start, l1, start) - noise)
    for _ in range(20):
        near = x + 0.01 * rng.standard_normal(x.shape)
        assert np.all(values(matrices, gradient, start, l1, near) <= top + noise)


def test_solutions_of_a_large_penalty_are_zero_and_unpenalised_ones_are_free(rng):
    matrices, gradient, start = problems(rng, 3, 5)
    l1 = np.array([0.0, 1e9, 1e9, 1e9, 1e9])
    x = proximal_solutions(matrices, gradient, start, l1)
    assert_array_equal(x[:, 1:], 0.0)
    wanted = gradient[:, 0] + np.einsum("bj,bj->b", matrices[:, 0], start)
    assert_allclose(x[:, 0], wanted / matrices[:, 0, 0])


def test_a_problem_does_not_depend_on_the_others(rng):
    matrices, gradient, start = problems(rng, 4, 8)
    l1 = 0.2 * np.abs(gradient).mean() * np.ones(8)
    together = proximal_solutions(matrices, gradient, start, l1)
    for b in range(4):
        here = slice(b, b + 1)
        alone = proximal_solutions(matrices[here], gradient[here], start[here], l1)
        assert_allclose(together[here], alone, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("l1_ratio", [1.0, 0.3])
def test_solutions_are_those_of_scikit_learn(rng, l1_ratio):
    X = rng.standard_normal((80, 15)) @ rng.standard_normal((15, 15))
    y = X @ (rng.standard_normal(15) * (rng.random(15) < 0.4)) + rng.standard_normal(80)
    reference = ElasticNet(0.5, l1_ratio=l1_ratio, fit_intercept=False, tol=1e-14, max_iter=10**6)
    reference.fit(X, y)
    ridge, lasso = 40.0 * (1 - l1_ratio), np.full(15, 40.0 * l1_ratio)
    start = rng.standard_normal((1, 15))
    gradient = X.T @ (y - X @ start[0]) - ridge * start
    matrix = (X.T @ X + ridge * np.eye(15))[None]
    x = proximal_solutions(matrix, gradient, start, lasso)
    assert_allclose(x[0], reference.coef_, atol=1e-8)
    assert_array_equal(x[0] == 0, reference.coef_ == 0)
    assert 0 < np.count_nonzero(x) < 15


def test_weights_are_those_of_the_units(rng):
    rows = make_rows(np.column_stack([rng.standard_normal((50, 2)) * [1.0, 100.0], np.ones(50)]))
    design = rows.design(None)
    assert l1_weights(design, 0.0) is None
    assert_array_equal(l1_weights(design, 2.0), [0.0, 2.0, 2.0, 2.0])
    inverse = np.append(1 / rows.X[:, :2].std(axis=0), 0.0)
    assert_allclose(l1_weights(design, 2.0, units="input"), np.append(0.0, 2 * inverse))
    assert len(l1_weights(rows.design(None, False), 1.0)) == 3


@pytest.mark.parametrize("k", [2, 3, 4, 7])
@pytest.mark.parametrize("ridge", [0.0, 0.3, 20.0])
def test_identified_coefficients_have_the_least_penalty(rng, k, ridge):
    theta, l1 = 3 * rng.standard_normal((k, 6)), np.array([0.0, 1.0, 1.0, 0.2, 5.0, 1.0])
    ridges = np.where(np.arange(6) == 0, 0.0, ridge)
    found = identified(theta, ridges, l1)
    assert_allclose(softmax(found, axis=0), softmax(theta, axis=0), rtol=1e-12)
    assert_allclose(found[:, 0].sum(), 0.0, atol=1e-13)
    for v, a, lasso in list(zip(theta.T, ridges, l1, strict=True))[1:]:

        def penalty(m, v=v, a=a, lasso=lasso):
            return lasso * np.abs(v - m).sum() + 0.5 * a * np.sum((v - m) ** 2)

        least = minimize_scalar(penalty, bounds=(-10, 10), method="bounded").fun
        own = identified(v[:, None], np.array([a]), np.array([lasso]))[:, 0]
        assert lasso * np.abs(own).sum() + 0.5 * a * np.sum(own**2) <= least + 1e-12
    assert_allclose(identified(found, ridges, l1), found, atol=1e-13)
    if k % 2 and ridge == 0:
        assert_array_equal(np.sum(found[:, 1:] == 0, axis=0), 1)
    if k == 2:
        assert_allclose(found.sum(axis=0), 0.0, atol=1e-13)


def test_columns_that_not_all_classes_see_are_not_shifted(rng):
    theta = rng.standard_normal((3, 2))
    ones = np.ones(2)
    found = identified(theta, ones, ones, np.array([True, False]))
    assert_array_equal(found[:, 1], theta[:, 1])
    assert not np.allclose(found[:, 0], theta[:, 0])


def test_number_of_identified_coefficients():
    slopes = np.array([[1.0, 0.0, 2.0], [-1.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
    assert n_identified(slopes) == 2 + 0 + 1
    assert n_identified(slopes, np.array([False, True, True])) == 3 + 0 + 1


def multinomial(rng, k, n=80, p=4):
    """Return a design (p, n), responsibilities (K, n) and penalties of a multinomial model."""
    design = np.vstack([np.ones(n), rng.standard_normal((p - 1, n))])
    resp = softmax(3 * rng.standard_normal((k, p)) @ design, axis=0)
    return (
        design,
        resp,
        np.append(0.0, np.full(p - 1, 0.5)),
        np.append(0.0, np.geomspace(2.0, 40.0, p - 1)),
    )


def objective(theta, design, resp, ridge, l1):
    log_prob = log_softmax(theta @ design, axis=0)
    return np.sum(resp * log_prob) - 0.5 * np.sum(ridge * theta**2) - np.sum(l1 * np.abs(theta))


def grams(curvature, proba, design):
    k, n = proba.shape
    if curvature == "bound":
        return design @ design.T
    if curvature == "newton":
        weights = pair_products(proba, np.empty((k * (k - 1) // 2, n)))
    else:
        weights = 2 * proba * (1 - proba) if k > 2 else 2 * proba[:1] * proba[1:]
    return unpack_symmetric(weighted_gram(weights, design), len(design))


@pytest.mark.parametrize("curvature", ["newton", "blocks"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("k", [2, 3, 4])
def test_proximal_steps_end_at_an_optimum(rng, k, masked, curvature):
    design, resp, ridge, l1 = multinomial(rng, k)
    seen = None
    if masked:
        seen = np.ones((k, 4), dtype=bool)
        seen[0, 2] = seen[1, 3] = False
    theta, last = np.zeros((k, 4)), None
    for _ in range(60 if curvature == "newton" else 400):
        proba = softmax(theta @ design, axis=0)
        gradient = (resp - proba) @ design.T
        gram = grams(curvature, proba, design)
        last = proximal_step(curvature, gram, gradient, theta, ridge, 80.0, 1e-9, last, seen, l1=l1)
        theta = theta + last.step
    slope = (resp - softmax(theta @ design, axis=0)) @ design.T - ridge * theta
    gap = optimality_gap(slope, theta, l1)
    assert_allclose(gap if seen is None else gap[seen], 0.0, atol=1e-6)
    assert np.any(theta[:, 1:] == 0)
    if seen is not None:
        assert_array_equal(theta[~seen], 0.0)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("k", [2, 3, 5])
def test_steps_under_the_bound_never_fall(rng, k, masked):
    for _ in range(30):
        design, resp, ridge, l1 = multinomial(rng, k)
        seen = np.ones((k, 4), dtype=bool) if masked else None
        theta = identified(4 * rng.standard_normal((k, 4)), ridge, l1)
        for _ in range(3):
            before = objective(theta, design, resp, ridge, l1)
            gradient = (resp - softmax(theta @ design, axis=0)) @ design.T
            gram = grams("bound", resp, design)
            theta = theta + proximal_bound_step(gram, gradient, theta, ridge, seen, l1=l1)
            after = objective(theta, design, resp, ridge, l1)
            assert after >= before - 1e-12 * abs(before)


def test_a_step_that_promises_too_much_is_damped(rng):
    design, resp, ridge, l1 = multinomial(rng, 3)
    theta = 40 * identified(rng.standard_normal((3, 4)), ridge, l1)
    proba = softmax(theta @ design, axis=0)
    model = grams("newton", proba, design), (resp - proba) @ design.T, theta, ridge, 80.0
    free = proximal_step("newton", *model, 1e-9, l1=l1)
    assert free.limited and free.damping > 1e-9
    assert free.slope <= 2 * free.limit * 80.0


@pytest.mark.parametrize("curvature", ["newton", "blocks"])
def test_the_slope_is_twice_the_gain_of_the_model(rng, curvature):
    """Of two classes, whose step is centred: the model in all coefficients, term by term."""
    design, resp, ridge, l1 = multinomial(rng, 2)
    half = rng.standard_normal((1, 4))
    theta = np.concatenate([half, -half])
    proba = softmax(theta @ design, axis=0)
    gram, gradient = grams(curvature, proba, design), (resp - proba) @ design.T
    found = proximal_step(curvature, gram, gradient, theta, ridge, 80.0, 1e-9, l1=l1)
    inner = (proba[0] * proba[1] * design) @ design.T
    hessian = np.block([[inner, -inner], [-inner, inner]])
    hessian += np.diag(np.tile(ridge + 80.0 * found.damping, 2))
    uphill, new = gradient - ridge * theta, (theta + found.step).ravel()
    one = hessian[None], uphill.reshape(1, -1), theta.reshape(1, -1), np.tile(l1, 2)
    gain = values(*one, new[None]) - values(*one, theta.reshape(1, -1))
    assert_allclose(found.slope, 2 * gain[0], rtol=1e-9)
