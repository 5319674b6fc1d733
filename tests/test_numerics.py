"""Functions of plain arrays, against scipy, einsum and Hessians written out."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import log_softmax, logsumexp, softmax

from mixexp._newton import CURVATURE_FLOOR, multinomial_bound_step, multinomial_newton_step
from mixexp._numerics import (
    MOST_PACKED_COLUMNS,
    PACKED_COLUMNS,
    column_products,
    level,
    n_pairs,
    pair_products,
    softmax_in_place,
    softmax_of_level,
    solve_psd,
    solve_psd_stack,
    unpack_symmetric,
    weighted_gram,
)

# ---------------------------------------------------------------- softmax


@pytest.mark.parametrize("size", [1.0, 100.0, 599.0, 601.0, 1e4])
@pytest.mark.parametrize("shape", [(4, 50), (3, 4, 20), (1, 7), (2, 1)])
@pytest.mark.parametrize("centred", [None, False, True])
def test_softmax_equals_scipy(rng, shape, size, centred):
    """`centred` is None for all in one, otherwise the scores are first made level."""
    scores = rng.uniform(-1, 1, shape)
    if centred:
        scores -= scores.mean(axis=-2, keepdims=True)
    scores *= size / max(np.abs(scores).max(), 1e-300)
    proba, given = scores.copy(), scores.copy()
    if centred is None:
        total = softmax_in_place(proba)
    else:
        level(proba, centred=centred)
        log_proba = proba.copy()
        total = softmax_of_level(proba)
        assert_allclose(log_proba - total[..., None, :], log_softmax(given, axis=-2), atol=1e-11)
        total = total + (given - log_proba)[..., 0, :]
    assert_allclose(total, logsumexp(given, axis=-2), rtol=1e-13, atol=1e-12)
    assert_allclose(proba, softmax(given, axis=-2), rtol=1e-12, atol=1e-300)
    assert_allclose(proba.sum(axis=-2), 1.0, rtol=1e-14)


def test_small_centred_scores_are_level_as_they_are(rng):
    scores = rng.standard_normal((3, 4, 20))
    scores -= scores.mean(axis=1, keepdims=True)
    same = scores.copy()
    level(same, centred=True)
    assert_array_equal(same, scores)


@pytest.mark.parametrize("centred", [False, True])
def test_equal_large_scores_share_the_probability(centred):
    scores = np.array([[1e17, 1.0], [1e17, 1.0], [-2e17, -2.0]])
    level(scores, centred=centred)
    log_proba = scores - softmax_of_level(scores.copy())
    assert_allclose(np.exp(log_proba).sum(axis=0), 1.0)


@pytest.mark.parametrize("shift", [-1e4, 0.0, 1e4])
def test_softmax_in_place_does_not_depend_on_a_shift(rng, shift):
    scores = rng.standard_normal((3, 40))
    shifted = scores + shift
    total, moved = softmax_in_place(scores), softmax_in_place(shifted)
    assert_allclose(moved, total + shift, rtol=1e-14)
    assert_allclose(shifted, scores, rtol=1e-11)


@pytest.mark.parametrize("centred", [False, True])
def test_softmax_of_two_unlike_columns(centred):
    # one column overflows without a shift, the other underflows with the same one
    scores = np.array([[800.0, -3.0], [-800.0, 3.0]])
    proba, in_place = scores.copy(), scores.copy()
    level(proba, centred=centred)
    softmax_of_level(proba)
    assert_allclose(softmax_in_place(in_place), [800.0, np.logaddexp(-3, 3)], rtol=1e-15)
    for found in (proba, in_place):
        assert_allclose(found, softmax(scores, axis=0), atol=1e-300)


# ---------------------------------------------------------------- products and Gram matrices


@pytest.mark.parametrize("k", [1, 2, 3, 6])
@pytest.mark.parametrize("lead", [(), (2,)])
def test_pair_products(rng, k, lead):
    proba = rng.standard_normal((*lead, k, 11))
    out = np.full((*lead, n_pairs(k), 11), np.nan)
    result = pair_products(proba, out)
    first, second = np.triu_indices(k, 1)
    assert n_pairs(k) == len(first)
    assert_array_equal(result, proba[..., first, :] * proba[..., second, :])
    assert result is out


@pytest.mark.parametrize("p", [1, 2, 5])
def test_column_products(rng, p):
    design = rng.standard_normal((p, 13))
    rows, cols = np.triu_indices(p)
    assert_array_equal(column_products(design), design[rows] * design[cols])
    out = np.empty((len(rows), 13))
    assert column_products(design, out) is out
    design[0] = 1.0  # an intercept: the first p products are the design
    assert_array_equal(column_products(design)[:p], design)


@pytest.mark.parametrize("m", [1, 63, 64, 1000, 5000])
@pytest.mark.parametrize("p", [1, 4, 30, PACKED_COLUMNS + 1])
@pytest.mark.parametrize("q", [1, 3, 25])
@pytest.mark.parametrize("signed", [True, False])
def test_weighted_gram_equals_einsum(rng, p, m, q, signed):
    design = rng.standard_normal((p, m))
    weights = rng.standard_normal((q, m))
    weights = weights if signed else weights**2
    full = np.einsum("qm,im,jm->qij", weights, design, design, optimize=True)
    gram = weighted_gram(weights, design)
    assert gram.shape == (q, p * (p + 1) // 2)
    assert_allclose(unpack_symmetric(gram, p), full, atol=1e-9)
    kept = weighted_gram(weights, design, column_products(design))
    assert_allclose(unpack_symmetric(kept, p), full, atol=1e-9)


@pytest.mark.parametrize("q", [2, 200])
def test_weighted_gram_of_many_columns(rng, q):
    p = MOST_PACKED_COLUMNS + 1
    design, weights = rng.standard_normal((p, 70)), rng.random((q, 70))
    weights[1, 3] = 0.0
    gram = weighted_gram(weights, design)
    assert gram.shape == (q, p * p)
    full = np.einsum("qm,im,jm->qij", weights, design, design, optimize=True)
    assert_allclose(unpack_symmetric(gram, p), full, atol=1e-9)


@pytest.mark.parametrize("m", [100, 3000])
def test_kept_products_give_the_same_gram_matrices(rng, m):
    """Where they are many, beside few weights, they are not read."""
    design = rng.standard_normal((30, m))
    weights, products = rng.random((4, m)), column_products(design)
    found = weighted_gram(weights, design, products)
    assert_allclose(found, weights @ products.T, rtol=1e-10)
    unread = weighted_gram(weights, design, np.full_like(products, np.nan))
    assert np.isnan(unread).any() == (m == 100)


@pytest.mark.parametrize("q", [3, 30])
def test_a_gram_matrix_of_weights_that_are_nan_is_nan(rng, q):
    weights = rng.random((q, 20))
    weights[1, 2] = np.nan
    gram = weighted_gram(weights, rng.standard_normal((12, 20)))
    assert np.isnan(gram).any(axis=1).tolist() == [i == 1 for i in range(q)]


@pytest.mark.parametrize("p", [3, PACKED_COLUMNS, MOST_PACKED_COLUMNS + 1])
def test_weighted_gram_of_no_weight_rows(rng, p):
    # a gate that reuses its Hessian asks for none
    design = rng.standard_normal((p, 10))
    gram = weighted_gram(np.empty((0, 10)), design)
    assert unpack_symmetric(gram, p).shape == (0, p, p)


def test_unpack_symmetric(rng):
    a = rng.standard_normal((2, 4, 4))
    a += a.transpose(0, 2, 1)
    rows, cols = np.triu_indices(4)
    assert_array_equal(unpack_symmetric(a[:, rows, cols], 4), a)
    assert unpack_symmetric(np.empty((0, 10)), 4).shape == (0, 4, 4)


# ---------------------------------------------------------------- solve_psd


@pytest.mark.parametrize("spread", [0, 4, 8])
@pytest.mark.parametrize("rhs_shape", [(6,), (6, 3)])
def test_solve_psd_definite(rng, spread, rhs_shape):
    root = rng.standard_normal((40, 6)) * 10.0 ** np.linspace(-spread, spread, 6)
    x = (rng.standard_normal(rhs_shape).T / 10.0 ** np.linspace(-spread, spread, 6)).T
    matrix = root.T @ root
    kept = matrix.copy()
    assert_allclose(solve_psd(matrix, matrix @ x), x, rtol=1e-9)
    assert_array_equal(matrix, kept)


@pytest.mark.parametrize("spread", [0, 8])
@pytest.mark.parametrize("redundant", [1, 3])
def test_solve_psd_singular(rng, spread, redundant):
    # least squares on collinear columns: the normal equations hold, and of all solutions the
    # one without a part in directions (of unit-diagonal columns) that the matrix does not see
    base = rng.standard_normal((40, 6 - redundant))
    root = np.hstack([base, base @ rng.standard_normal((6 - redundant, redundant))])
    root /= np.linalg.norm(root, axis=0)
    scale = 10.0 ** np.linspace(-spread, spread, 6)
    target = rng.standard_normal(40)
    x = solve_psd((root * scale).T @ (root * scale), (root * scale).T @ target)
    assert_allclose(scale * x, np.linalg.lstsq(root, target, rcond=1e-9)[0], rtol=1e-6, atol=1e-9)


def test_solve_psd_of_zeros():
    matrix = np.diag([4.0, 0.0, 1.0])
    assert_allclose(solve_psd(matrix, np.array([2.0, 0.0, 3.0])), [0.5, 0.0, 3.0])
    assert_array_equal(solve_psd(np.zeros((2, 2)), np.ones(2)), np.zeros(2))


@pytest.mark.parametrize("singular", [False, True])
def test_a_stack_is_solved_as_one_by_one(rng, singular):
    scale = 10.0 ** np.linspace(-6, 6, 5)
    roots = rng.standard_normal((3, 40, 5)) * scale
    if singular:
        roots[1, :, 4] = 1e12 * roots[1, :, 0]
    matrices = np.swapaxes(roots, 1, 2) @ roots
    rhs = matrices @ (rng.standard_normal((3, 5, 2)) / scale[:, None])
    kept = matrices.copy()
    expected = [solve_psd(*pair) for pair in zip(matrices, rhs, strict=True)]
    for x, one in zip(solve_psd_stack(matrices, rhs), expected, strict=True):
        assert_allclose(x, one, rtol=1e-8)
    assert_array_equal(matrices, kept)


# ---------------------------------------------------------------- multinomial steps


def multinomial_problem(seed):
    """Return design (n, p), weighted soft labels (n, K), weights, theta (K, p) and penalty."""
    rng = np.random.default_rng(seed)
    k, p, n = rng.integers(2, 6), rng.integers(1, 5), rng.integers(5, 60)
    x = np.column_stack([np.ones(n), rng.standard_normal((n, p - 1))])
    if p > 2 and seed % 4 == 0:
        x[:, -1] = x[:, 1]
    weight = rng.exponential(size=n)
    labels = softmax(10.0 ** rng.uniform(-1, 2) * rng.standard_normal((n, k)), axis=1)
    theta = 10.0 ** rng.uniform(-2, 1) * rng.standard_normal((k, p))
    penalty = np.where(np.arange(p) == 0, 0.0, rng.choice([0.0, 0.1, 10.0]))
    return x, labels * weight[:, None], weight, theta - theta.mean(axis=0), penalty


def objective(theta, x, resp, penalty):
    return np.sum(resp * log_softmax(x @ theta.T, axis=1)) - 0.5 * np.sum(penalty * theta**2)


def gradient(theta, x, resp, weight):
    return (resp - weight[:, None] * softmax(x @ theta.T, axis=1)).T @ x


def explicit_hessian(theta, x, weight, penalty):
    """Return the negative Hessian (K p, K p) of the objective, row by row."""
    k, p = theta.shape
    total = np.kron(np.eye(k), np.diag(penalty))
    for row, w in zip(x, weight, strict=True):
        g = softmax(theta @ row)
        total += w * np.kron(np.diag(g) - np.outer(g, g), np.outer(row, row))
    return total


def newton_step(theta, x, resp, weight, penalty):
    proba = softmax(x @ theta.T, axis=1)
    first, second = np.triu_indices(len(theta), 1)
    weights = proba[:, first] * proba[:, second] * weight[:, None]
    grams = np.einsum("nq,ni,nj->qij", weights, x, x)
    own = gradient(theta, x, resp, weight)
    return multinomial_newton_step(grams, own, theta, penalty, weight.sum())


def test_explicit_hessian_is_that_of_the_objective():
    x, resp, weight, theta, penalty = multinomial_problem(5)
    hessian = explicit_hessian(theta, x, weight, penalty)
    columns = []
    for i in range(theta.size):
        shift = np.zeros(theta.size)
        shift[i] = 1e-5
        up, down = theta + shift.reshape(theta.shape), theta - shift.reshape(theta.shape)
        difference = gradient(up, x, resp, weight) - gradient(down, x, resp, weight)
        columns.append(-difference.ravel() / 2e-5 + np.tile(penalty, len(theta)) * (shift > 0))
    assert_allclose(hessian, np.array(columns), atol=1e-6)
    eps = 1e-6
    direction = np.random.default_rng(0).standard_normal(theta.shape)
    slope = objective(theta + eps * direction, x, resp, penalty)
    slope = (slope - objective(theta - eps * direction, x, resp, penalty)) / (2 * eps)
    own = gradient(theta, x, resp, weight) - penalty * theta
    assert_allclose(slope, np.sum(own * direction), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("seed", range(12))
def test_newton_step_solves_the_full_newton_equations(seed):
    x, resp, weight, theta, penalty = multinomial_problem(seed)
    step = newton_step(theta, x, resp, weight, penalty)
    assert_allclose(step.sum(axis=0), 0.0, atol=1e-10 * max(1.0, np.abs(step).max()))
    hessian = explicit_hessian(theta, x, weight, penalty)
    hessian += CURVATURE_FLOOR * weight.sum() * np.eye(theta.size)
    own = gradient(theta, x, resp, weight) - penalty * theta
    expected = np.linalg.lstsq(hessian, own.ravel(), rcond=1e-10)[0]
    expected = expected.reshape(theta.shape)
    expected -= expected.mean(axis=0)
    scale = np.abs(expected).max()
    if np.linalg.matrix_rank(x) == x.shape[1]:
        assert_allclose(step, expected, atol=1e-6 * scale)
    # what the step does to the scores is unique even where columns are collinear
    assert_allclose(x @ step.T, x @ expected.T, atol=1e-6 * max(1.0, np.abs(x @ expected.T).max()))


def test_newton_step_of_one_class_is_zero():
    step = multinomial_newton_step(
        np.empty((0, 2, 2)), np.zeros((1, 2)), np.zeros((1, 2)), np.array([0.0, 0.1]), 1.0
    )
    assert_array_equal(step, np.zeros((1, 2)))


def test_bound_step_solves_its_equations():
    x, resp, weight, theta, penalty = multinomial_problem(3)
    gram = (x * weight[:, None]).T @ x
    own = gradient(theta, x, resp, weight)
    step = multinomial_bound_step(gram, own, theta, penalty)
    matrix = 0.5 * gram + np.diag(penalty)
    assert_allclose(step @ matrix, own - penalty * theta, atol=1e-9)
    assert_allclose(step.sum(axis=0), 0.0, atol=1e-12)


@pytest.mark.parametrize("batch", range(4))
def test_bound_step_never_lowers_the_objective(batch):
    for seed in range(100 * batch, 100 * (batch + 1)):
        x, resp, weight, theta, penalty = multinomial_problem(seed)
        gram = (x * weight[:, None]).T @ x
        before = objective(theta, x, resp, penalty)
        for _ in range(3):
            own = gradient(theta, x, resp, weight)
            theta = theta + multinomial_bound_step(gram, own, theta, penalty)
            after = objective(theta, x, resp, penalty)
            assert after >= before - 1e-12 * max(1.0, abs(before)), seed
            before = after
