"""Designs of wide and sparse rows: products, moments, the row space and principal scores."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose

from mixexp._conjugate import (
    CurvatureProducts,
    conjugate_gradients,
    kept_curvature,
    least_squares_determined,
    multinomial_determined_by_products,
)
from mixexp._costs import by_products
from mixexp._evidence import determined, multinomial_determined
from mixexp._numerics import n_pairs, pair_products
from mixexp._rows.principal import principal_scores
from mixexp._rows.row_space import RowSpace
from mixexp._rows.rows import Rows
from mixexp._rows.sketch import _column_salts, _salt


@pytest.fixture
def sparse(rng):
    S = sp.random(300, 80, 0.05, format="csr", random_state=0)
    S.data *= rng.choice([1e-3, 1.0, 1e3], S.nnz)
    return S


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_moments_and_products_of_sparse_rows(rng, sparse, intercept, weighted):
    weight = rng.uniform(0.5, 2, 300) if weighted else None
    design = Rows(sparse, weight=weight).design(None, intercept)
    full = Rows(sparse.toarray(), weight=weight).design(None, intercept)
    assert design.sparse
    assert_allclose(design.center, full.center, rtol=1e-13)
    assert_allclose(design.scale, full.scale, rtol=1e-13)
    block = next(Rows(sparse).blocks())
    matrix, products = full.matrix(sparse.toarray()), block.linear(design)
    for k in (1, 3, 7):
        theta, values = rng.standard_normal((k, design.size)), rng.standard_normal((k, 300))
        assert_allclose(theta @ products, theta @ matrix, atol=1e-12)
        assert_allclose(values @ products.T, values @ matrix.T, atol=1e-11)
    assert_allclose(products[:, [3, 5]], matrix[:, [3, 5]], atol=1e-13)


def test_columns_far_from_zero_are_filled_in(sparse):
    far = sp.hstack([sparse, 1e9 + np.arange(300.0)[:, None]], format="csr")
    assert not Rows(far).design(None).sparse
    assert Rows(far).design(np.arange(80)).sparse


def test_salts_of_columns_are_those_of_each():
    assert _column_salts(5, 30).tolist() == [int(_salt(5, j)) for j in range(30)]


@pytest.mark.parametrize("units", ["input", "spread", "size"])
def test_coordinates_of_the_row_space(rng, units):
    S = sp.random(40, 300, 0.1, format="csr", random_state=1)
    rows = Rows(S, training=True)
    plain = rows.design(None)
    design = rows.spanned(plain, units=units)
    assert isinstance(design, RowSpace)
    matrix = design.matrix(S)
    assert_allclose(matrix @ matrix.T / 40, np.eye(design.size), atol=1e-9)
    theta = rng.standard_normal((2, design.size))
    slopes, intercepts = design.to_input_units(theta)
    assert_allclose(slopes @ S.T.toarray() + intercepts[:, None], theta @ matrix, atol=1e-10)
    of_plain = design.to_plain(theta)
    assert_allclose(of_plain @ plain.matrix(S), theta @ matrix, atol=1e-10)
    penalty = design.penalty(0.7)
    of_columns = plain.penalty(0.7, units=units)
    assert_allclose(design.plain_penalty(penalty), of_columns)
    assert_allclose((penalty * theta**2).sum(), (of_columns * of_plain**2).sum())


def test_a_penalty_in_units_of_the_sizes_is_that_of_columns_over_their_largest_values(rng):
    S = sp.random(200, 60, 0.05, format="csc", random_state=1)
    S.data[S.indptr[3] : S.indptr[4]] = 0.0  # a constant column
    design = Rows(S.tocsr()).design(None)
    theta = rng.standard_normal(design.size)
    slopes, _ = design.to_input_units(theta)
    over_size = slopes * abs(S).max(axis=0).toarray()[0]
    free = np.arange(60) != 3
    penalty = design.penalty(2.0, units="size")[1:]
    share = penalty[free] * theta[1:][free] ** 2 / over_size[free] ** 2
    assert_allclose(share, share[0])
    # as much prior variance of a predictor as with 2 for all
    assert np.sum(1 / penalty[free]) == pytest.approx(59 / 2.0)
    rescaled = Rows((S @ sp.diags(rng.uniform(0.01, 100, 60))).tocsr()).design(None)
    assert_allclose(rescaled.penalty(2.0, units="size")[1:], penalty)
    dense = Rows(S.toarray()).design(None)
    assert_allclose(dense.penalty(2.0, units="size")[1:], 2.0 - ~free)


@pytest.mark.parametrize("X", [np.ones((20, 300)), np.zeros((1, 300))], ids=["equal", "one"])
def test_rows_without_a_direction_keep_their_columns(X):
    rows = Rows(X)
    assert rows.spanned(rows.design(None)) is rows.design(None)


def test_principal_scores_are_those_of_the_decomposition(rng):
    X = rng.standard_normal((200, 5)) @ rng.standard_normal((5, 300)) * 3
    X += 0.01 * rng.standard_normal(X.shape)
    rows = Rows(X)
    design = rows.design(None)
    scores = principal_scores(rows, design, 5)
    u, s, _ = np.linalg.svd(design.matrix(X)[1:].T, full_matrices=False)
    expected = u[:, :5] * s[:5] / s[0] * np.sqrt(200)
    assert_allclose(np.abs(np.sum(scores * expected, axis=0)), np.sum(expected**2, axis=0))


def test_conjugate_gradients_solve_each_system(rng):
    half = rng.standard_normal((3, 8, 8))
    matrices = half @ half.transpose(0, 2, 1) + np.eye(8)
    rhs = rng.standard_normal((3, 8))
    rhs[1] = 0.0

    def product(vectors, which):
        return np.einsum("bij,bj->bi", matrices[which], vectors)

    diagonal = np.diagonal(matrices, axis1=1, axis2=2)
    x, residual = conjugate_gradients(product, rhs, diagonal, 1e-12, 100)
    assert_allclose(np.einsum("bij,bj->bi", matrices, x), rhs, atol=1e-9)
    assert_allclose(residual, 0, atol=1e-9)
    early, left = conjugate_gradients(product, rhs, diagonal, 1e-12, 2)
    curvature = np.einsum("bi,bij,bj->b", early, matrices, early)
    assert_allclose(curvature, np.sum(early * rhs, axis=1), atol=1e-10)
    assert_allclose(left, rhs - np.einsum("bij,bj->bi", matrices, early), atol=1e-10)


@pytest.mark.parametrize(
    ("shape", "filled", "products"),
    [((2000, 200), 0.01, False), ((2000, 2000), 0.01, True), ((2000, 300), 0.9, False)],
    ids=str,
)
def test_the_cheaper_way_is_chosen(shape, filled, products):
    rows = Rows(sp.random(*shape, filled, format="csr", random_state=0))
    design = rows.design(None)
    order = design.size
    way = {"n_weights": 1, "systems": 1, "order": order, "vectors": 1, "exact": True}
    assert by_products(rows, design, **way) == products


@pytest.fixture
def of_rows(rng):
    """Sparse rows, their design, and a penalty of some of its columns."""
    X = sp.random(600, 300, 0.05, format="csr", random_state=rng.integers(1 << 30))
    rows = Rows(X)
    design = rows.design(np.arange(300), True)
    penalty = design.penalty(20.0) * (np.arange(design.size) != 7)
    return rows, design, penalty


def assert_counted(found, exact, share):
    """Within 1.4 standard errors, of which one is at most √(2 γ)."""
    assert exact - 2 * np.sqrt(exact) < found < (1 + share) * exact + 2 * np.sqrt(exact)


@pytest.fixture(params=["solved", "truncated"])
def share(request, monkeypatch):
    """The share that the trace may be too large: its systems are truncated, unless solved."""
    if request.param == "truncated":
        return 0.12
    monkeypatch.setattr("mixexp._conjugate.PROBE_TOL", 1e-8)
    monkeypatch.setattr("mixexp._conjugate.MOST_PROBE", 1000)
    return 0.0


def test_a_trace_counts_the_coefficients_that_rows_determine(rng, of_rows, share):
    rows, design, penalty = of_rows
    weights = rng.random((3, 1, 600)) ** 3
    seen = rng.random((3, design.size)) < 0.8
    found = least_squares_determined(CurvatureProducts(rows, design, weights), penalty, seen)
    Z = design.matrix(rows.X.toarray())
    for each, weight, mask in zip(found, weights, seen, strict=True):
        gram = (Z * weight) @ Z.T
        exact = determined(gram[np.ix_(mask, mask)], penalty[mask]).sum()
        assert 30 < exact < 200
        assert_counted(each, exact, share)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_a_trace_counts_the_coefficients_of_classes(rng, of_rows, share, n_classes, apart):
    """Centred ones, or, where classes see other columns, those that each sees."""
    rows, design, penalty = of_rows
    proba = rng.dirichlet(np.ones(n_classes), (2, 600)).transpose(0, 2, 1)
    weight, seen = rng.random((2, 600)), None
    if apart:
        seen = np.ones((2, n_classes, design.size), dtype=bool)
        seen[:, 0, 100:200] = False
    products = CurvatureProducts(rows, design, kept_curvature(proba, weight, apart=apart), 0.5)
    found = multinomial_determined_by_products(products, penalty, n_classes, seen)
    Z = design.matrix(rows.X.toarray())
    for i in range(2):
        pairs = pair_products(proba[i], np.empty((n_pairs(n_classes), 600)))
        gram = 0.5 * np.stack([(Z * pair * weight[i]) @ Z.T for pair in pairs])
        mask = None if seen is None else seen[i]
        exact = multinomial_determined("newton", gram, penalty, n_classes, mask).sum()
        assert exact > 30
        assert_counted(found[i], exact, share)
