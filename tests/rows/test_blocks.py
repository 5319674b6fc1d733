"""Rows, blocks and designs: what parts see does not depend on how the data are held or cut."""

import gc
import weakref

import numpy as np
import pytest
import scipy.sparse as sp
from _problems import make_rows, softmax_gated
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.linear_model import LinearRegression

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._numerics import column_products
from mixexp._rows import rows as rows_module
from mixexp._rows.blocks import KEPT_COLUMNS
from mixexp.gates import SoftmaxGate


def whole(rows, design):
    """Return the design matrix (p, n) of all rows, by blocks."""
    return np.concatenate([block.matrix(design) for block in rows.blocks()], axis=1)


# ---------------------------------------------------------------- designs


@pytest.mark.parametrize("block_rows", [7, 64, 10_000])
def test_design_centres_and_scales_by_weight(rng, block_rows):
    X = rng.standard_normal((200, 3)) * [1.0, 1e6, 1e-6] + [0.0, 1e6, 3.0]
    weight = rng.exponential(size=200)
    rows = make_rows(X, weight=weight, block_rows=block_rows)
    design = rows.design(None)
    mean = np.average(X, axis=0, weights=weight)
    spread = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weight))
    assert_allclose(design.center, mean, rtol=1e-12)
    assert_allclose(design.scale, spread, rtol=1e-9)
    matrix = whole(rows, design)
    assert_array_equal(matrix[0], 1.0)
    assert_allclose(matrix[1:] @ weight / weight.sum(), 0.0, atol=1e-9)
    assert_allclose(matrix[1:] ** 2 @ weight / weight.sum(), 1.0, rtol=1e-9)


@pytest.mark.parametrize("weight", [None, np.arange(1.0, 101.0)])
def test_design_without_intercept_is_not_centred(rng, weight):
    X = rng.standard_normal((100, 2)) + 5.0
    design = make_rows(X, weight=weight).design(None, intercept=False)
    assert_array_equal(design.center, 0.0)
    assert_allclose(design.scale, np.sqrt(np.average(X**2, axis=0, weights=weight)), rtol=1e-13)
    assert design.size == 2
    assert_allclose(design.matrix(X), (X / design.scale).T, rtol=1e-14)


@pytest.mark.parametrize("offset", [0.0, 1e8, -1e8])
@pytest.mark.parametrize("first", [0.0, 2000.0])
def test_moments_with_huge_offsets(rng, offset, first):
    # exact integers, so that only the moments themselves can round
    X = offset + rng.choice([-1.0, 1.0], size=(5000, 1))
    X[0] += first
    weight = rng.integers(1, 4, size=5000).astype(float)
    design = make_rows(X, weight=weight, block_rows=512).design(None)
    mean = np.average(X - offset, axis=0, weights=weight)
    spread = np.sqrt(np.average((X - offset - mean) ** 2, axis=0, weights=weight))
    assert_allclose(design.center - offset, mean, atol=1e-7)
    assert_allclose(design.scale, spread, rtol=1e-7)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1e8 / 3, -1e-300])
def test_constant_columns_are_left_out(rng, value):
    X = np.column_stack([np.full(300, value), rng.standard_normal(300)])
    rows = make_rows(X, weight=rng.exponential(size=300))
    design = rows.design(None)
    assert_array_equal(design.scale > 0, [False, True])
    assert_array_equal(design.inverse_scale[0], 0.0)
    assert_array_equal(whole(rows, design)[1], 0.0)
    assert_array_equal(design.penalty(0.0), [0.0, 1.0, 0.0])
    slopes, intercept = design.to_input_units(np.array([1.0, 5.0, 2.0]))
    assert slopes[0] == 0.0
    assert_allclose(intercept, 1.0 - slopes[1] * design.center[1])


def test_a_column_that_varies_by_rounding_is_constant(rng):
    X = np.where(rng.random((100, 1)) < 0.5, 0.3, 0.1 + 0.2)
    assert X.std() > 0
    assert_array_equal(make_rows(X).design(None).scale, 0.0)


def test_a_column_of_little_spread_is_not_constant(rng):
    X = 1.0 + 1e-9 * rng.standard_normal((100, 1))
    assert_allclose(make_rows(X).design(None).scale, X.std(axis=0), rtol=1e-5)
    X = 1e-200 * rng.standard_normal((100, 1)) * [1.0, 1e100]
    assert_allclose(make_rows(X).design(None).scale[1], X[:, 1].std(), rtol=1e-12)


def test_design_selects_columns(rng):
    X = rng.standard_normal((50, 4))
    rows = make_rows(X)
    design = rows.design(np.array([3, 1]))
    assert_allclose(design.center, X[:, [3, 1]].mean(axis=0), atol=1e-15)
    assert_allclose(
        whole(rows, design)[1:], ((X - X.mean(axis=0)) / X.std(axis=0))[:, [3, 1]].T, rtol=1e-10
    )
    assert rows.design(np.array([3, 1])) is design
    assert rows.design(np.array([1, 3])) is not design
    assert rows.design(np.array([3, 1]), intercept=False) is not design
    assert rows.design(None) is rows.design(np.arange(4))


@pytest.mark.parametrize("intercept", [True, False])
def test_to_input_units_predicts_the_same(rng, intercept):
    X = rng.standard_normal((30, 3)) * [1e-5, 1.0, 1e5] + [1.0, 0.0, 1e5]
    design = make_rows(X).design(None, intercept)
    theta = rng.standard_normal((2, 4, design.size))
    slopes, intercepts = design.to_input_units(theta)
    assert slopes.shape == (2, 4, 3)
    assert intercepts.shape == (2, 4)
    assert_allclose(slopes @ X.T + intercepts[..., None], theta @ design.matrix(X), atol=1e-8)


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("units", ["input", "spread"])
def test_penalty_of_scaled_and_input_coefficients(rng, intercept, units):
    design = make_rows(rng.standard_normal((40, 2)) * [1.0, 1e3]).design(None, intercept)
    theta = rng.standard_normal(design.size)
    slopes, _ = design.to_input_units(theta)
    scaled = theta[int(intercept) :]
    expected = 0.7 * np.sum((slopes if units == "input" else scaled) ** 2)
    penalty = design.penalty(0.7, units=units)
    assert_allclose(np.sum(penalty * theta**2), expected, rtol=1e-12)


# ---------------------------------------------------------------- rows and blocks


def test_blocks_cover_the_rows_in_order(rng):
    X, y = rng.standard_normal((1000, 2)), rng.standard_normal(1000)
    weight = rng.exponential(size=1000)
    rows = make_rows(X, y, weight, block_rows=333)
    blocks = list(rows.blocks())
    assert [(b.start, b.stop) for b in blocks] == [(0, 333), (333, 666), (666, 999), (999, 1000)]
    assert_array_equal(np.concatenate([b.X for b in blocks]), X)
    assert_array_equal(np.concatenate([b.y for b in blocks], axis=1)[0], y)
    assert_array_equal(np.concatenate([b.weight for b in blocks]), weight)
    assert rows.total_weight == pytest.approx(weight.sum())
    assert make_rows(X).total_weight == 1000.0


def test_blocks_of_wide_data_have_fewer_rows(monkeypatch):
    assert make_rows(np.zeros((10, 2))).block_rows == rows_module.BLOCK_ROWS
    monkeypatch.setattr(rows_module, "BLOCK_ITEMS", 100_000)
    assert make_rows(np.zeros((10, 200))).block_rows == 500
    assert make_rows(np.zeros((10, 50_000))).block_rows == 64


@pytest.mark.parametrize("columns", [None, np.array([2, 0])])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("index_dtype", [np.int32, np.int64])
def test_csr_equals_dense(rng, columns, intercept, index_dtype):
    X = rng.standard_normal((150, 3)) * (rng.random((150, 3)) < 0.4)
    sparse = sp.csr_array(X)
    sparse.indices = sparse.indices.astype(index_dtype)
    sparse.indptr = sparse.indptr.astype(index_dtype)
    dense_rows = make_rows(X, block_rows=64)
    for given in (sparse, sp.csr_matrix(X)):
        rows = make_rows(given, block_rows=64)
        design, expected = rows.design(columns, intercept), dense_rows.design(columns, intercept)
        assert_array_equal(design.center, expected.center)
        assert_array_equal(design.scale, expected.scale)
        assert_array_equal(whole(rows, design), whole(dense_rows, expected))


def test_float32_is_kept_and_computed_in_float64(rng):
    X = (1000 + rng.standard_normal((300, 2))).astype(np.float32)
    rows = make_rows(X)
    exact = make_rows(X.astype(np.float64))
    assert rows.X.dtype == np.float32
    assert rows.take(np.arange(3)).dtype == np.float32
    design, expected = rows.design(None), exact.design(None)
    assert_array_equal(design.scale, expected.scale)
    matrix = whole(rows, design)
    assert matrix.dtype == np.float64
    assert_array_equal(matrix, whole(exact, expected))


def bytes_kept(rows):
    """Return the size of what the blocks keep between passes."""
    pairs = [pair for prepared in rows._prepared.values() for pair in prepared.kept.values()]
    return sum(m.nbytes if p is None else p.nbytes for m, p in pairs)


@pytest.mark.parametrize("memory", [0, 1000])
@pytest.mark.parametrize("d", [3, KEPT_COLUMNS + 2])
@pytest.mark.parametrize("intercept", [True, False])
def test_kept_products(rng, memory, d, intercept):
    with config_context(working_memory=memory):
        rows = make_rows(rng.standard_normal((200, d)), block_rows=64)
    design = rows.design(None, intercept)
    for _ in range(2):
        for block in rows.blocks():
            matrix, products = block.matrix(design), block.products(design)
            assert_allclose(matrix, design.matrix(block.X), rtol=1e-15)
            if memory and d < KEPT_COLUMNS:
                assert_array_equal(products, column_products(design.matrix(block.X)))
            else:
                assert products is None
    kept = bytes_kept(rows)
    assert kept <= memory * 2**20
    assert bool(kept) == bool(memory)


@pytest.mark.parametrize("d", [5, KEPT_COLUMNS + 2])
def test_what_is_kept_stays_within_working_memory(rng, d):
    with config_context(working_memory=1):
        rows = make_rows(rng.standard_normal((100_000 // d, d)), block_rows=256)
    design = rows.design(None)
    for block in rows.blocks():
        block.matrix(design)
    assert 0.5 * 2**20 < bytes_kept(rows) <= 2**20


@pytest.mark.parametrize("memory", [0.003, 0.01, 0.03, 1])
def test_what_is_kept_does_not_depend_on_the_order_in_which_blocks_ask(rng, memory):
    X = rng.standard_normal((640, 4))
    kept = []
    for order in (slice(None), slice(None, None, -1)):
        with config_context(working_memory=memory):
            rows = make_rows(X, block_rows=64)
        designs = rows.design(None), rows.design(np.arange(2))
        for block in list(rows.blocks())[order]:
            for design in designs:
                block.products(design)
        kept.append(
            {
                (block.start, i): block._prepared.kept[design][1] is not None
                for block in rows.blocks()
                for i, design in enumerate(designs)
                if design in block._prepared.kept
            }
        )
    assert kept[0] == kept[1]
    assert memory == 1 or len(kept[0]) < 20
    assert memory < 0.01 or any(kept[0].values())


def test_what_is_kept_serves_the_next_pass(rng):
    rows = make_rows(rng.standard_normal((100, 2)), block_rows=64)
    design = rows.design(None)
    first = [block.fresh().products(design) for block in rows.blocks()]
    for block, products in zip(rows.blocks(), first, strict=True):
        assert block.fresh().products(design) is products
        assert block.reweighted(np.ones(64)).matrix(design) is block.matrix(design)
        block.keep(rows, 1)
        assert block.reweighted(np.ones(64)).recall(rows) == 1


def test_new_rows_keep_nothing(rng):
    rows = make_rows(rng.standard_normal((100, 2)), training=False)
    whole(rows, rows.design(None))
    assert not bytes_kept(rows)


def test_subset(rng):
    X, y = rng.standard_normal((20, 2)), rng.standard_normal(20)
    rows = make_rows(X, y)
    design = rows.design(None)
    ids, weight = np.array([3, 17, 4]), np.array([1.0, 2.0, 3.0])
    part = rows.subset(ids, weight)
    assert_array_equal(part.X, X[ids])
    assert_array_equal(part.y[0], y[ids])
    assert part.total_weight == 6.0
    assert part.training
    assert part.design(None) is design


# ---------------------------------------------------------------- through a fit


def regression(proba):
    gate = SoftmaxGate(0.1)
    model = MixtureOfExpertsRegressor(LinearRegression(), n_experts=3, gate=gate, init=proba)
    return model.set_params(max_iter=12, tol=0.0, random_state=0)


def classification(proba):
    model = MixtureOfExpertsClassifier(n_experts=3, init=proba)
    return model.set_params(max_iter=12, tol=0.0, random_state=0)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("block_rows", [64, 100, 999, 10_000])
@pytest.mark.parametrize("make", [regression, classification])
def test_block_size_does_not_change_a_fit(rng, monkeypatch, block_rows, make):
    X, y, proba, _ = softmax_gated(rng, 1500, 2, 3)
    weight = rng.exponential(size=1500)
    y = y if make is regression else np.digitize(y, np.quantile(y, [0.3, 0.6]))
    expected = make(proba).fit(X, y, sample_weight=weight)
    monkeypatch.setattr(rows_module, "BLOCK_ROWS", block_rows)
    again = make(proba).fit(X, y, sample_weight=weight)
    assert_allclose(again.lower_bounds_, expected.lower_bounds_, atol=1e-10)
    for new, old in zip(again.experts_, expected.experts_, strict=True):
        assert_allclose(new.coef_, old.coef_, atol=1e-9)
    assert_allclose(again.gate_.coef_, expected.gate_.coef_, atol=1e-9)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("make", [regression, classification])
@pytest.mark.parametrize("form", [np.float32, sp.csr_array, sp.csr_matrix])
def test_a_fit_does_not_depend_on_the_form_of_X(rng, make, form):
    X, y, proba, _ = softmax_gated(rng, 300, 2, 3)
    X = np.where(rng.random(X.shape) < 0.2, 0.0, X).astype(np.float32).astype(np.float64)
    y = y if make is regression else np.digitize(y, np.quantile(y, [0.3, 0.6]))
    expected = make(proba).fit(X, y)
    given = X.astype(np.float32) if form is np.float32 else form(X)
    again = make(proba).fit(given, y)
    assert_array_equal(again.lower_bounds_, expected.lower_bounds_)
    assert_array_equal(again.log_density(given, y), expected.log_density(X, y))
    assert_array_equal(again.predict(given), expected.predict(X))


def test_rows_and_blocks_are_freed_at_once(rng):
    """A cycle would keep the arrays of all blocks alive until garbage is collected."""
    rows = make_rows(rng.standard_normal((100, 2)), rng.standard_normal(100), block_rows=64)
    blocks = list(rows.blocks())
    seen = [weakref.ref(rows), *map(weakref.ref, blocks)]
    gc.disable()
    try:
        del rows, blocks
        assert [ref() for ref in seen] == [None] * 3
    finally:
        gc.enable()
