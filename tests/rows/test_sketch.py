"""Hashes of row content and the sketch: the same for the same rows, in whatever form."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import kstest

from mixexp._rows.sketch import hashed_uniform, row_hashes, sketch


@pytest.fixture
def table(rng):
    """Rows with zeros, and a target."""
    X = rng.standard_normal((300, 4)) * (rng.random((300, 4)) < 0.5)
    return X, rng.standard_normal((2, 300))


def test_hash_is_of_the_content_not_of_the_place(table, rng):
    X, y = table
    hashes = row_hashes(X, y, 0)
    assert hashes.shape == (300,) and hashes.dtype == np.uint64
    order = rng.permutation(300)
    assert_array_equal(row_hashes(X[order], y[:, order], 0), hashes[order])
    assert_array_equal(row_hashes(X[100:120], y[:, 100:120], 0), hashes[100:120])
    assert_array_equal(row_hashes(np.asfortranarray(X), y, 0), hashes)


def test_hash_of_every_form_of_the_same_numbers(table):
    X, y = table
    hashes = row_hashes(X, y, 7)
    for form in (sp.csr_matrix, sp.csr_array):
        assert_array_equal(row_hashes(form(X), y, 7), hashes)
    explicit = sp.csr_array(np.ones_like(X))
    explicit.data[:] = X.ravel()  # zeros stored
    assert_array_equal(row_hashes(explicit, y, 7), hashes)
    assert_array_equal(row_hashes(np.where(X == 0, -0.0, X), y, 7), hashes)
    X32 = X.astype(np.float32)
    assert_array_equal(row_hashes(X32, y, 7), row_hashes(X32.astype(float), y, 7))
    codes = np.arange(300) % 3
    assert_array_equal(row_hashes(X, codes, 7), row_hashes(X, codes.astype(float), 7))


def test_hash_tells_rows_apart(rng):
    X = np.arange(20_000.0).reshape(-1, 1) / 64
    assert len(np.unique(row_hashes(X, None, 0))) == len(X)
    grid = np.stack(np.meshgrid(np.arange(100.0), np.arange(100.0)), axis=-1).reshape(-1, 2)
    assert len(np.unique(row_hashes(grid, None, 0))) == len(grid)  # (a, b) is not (b, a)
    assert len(np.unique(row_hashes(sp.csr_array(grid), None, 0))) == len(grid)
    # one row in X and y, the other way round, and in another output
    zero, one = np.zeros((1, 1)), np.ones((1, 1))
    four = [
        row_hashes(one, zero, 0),
        row_hashes(zero, one, 0),
        row_hashes(zero, np.array([[0.0], [1.0]]), 0),
        row_hashes(np.array([[0.0, 1.0]]), zero, 0),
    ]
    assert len(np.unique(four)) == 4


def test_hash_depends_on_the_seed(table):
    X, y = table
    assert not np.any(row_hashes(X, y, 0) == row_hashes(X, y, 1))


@pytest.mark.parametrize("step", [0, 1, 2])
def test_hashed_uniform_is_uniform(step):
    hashes = row_hashes(np.arange(50_000.0).reshape(-1, 1), None, 3)
    draw = hashed_uniform(hashes, 3, step)
    assert draw.min() >= 0 and draw.max() < 1
    assert kstest(draw, "uniform").pvalue > 1e-3
    other = hashed_uniform(hashes, 3, step + 1)
    assert abs(np.corrcoef(draw, other)[0, 1]) < 4 / np.sqrt(len(draw))
    assert abs(np.corrcoef(draw[1:], draw[:-1])[0, 1]) < 4 / np.sqrt(len(draw))
    assert_array_equal(hashed_uniform(hashes, 3, step), draw)


def test_hashed_uniform_stays_below_one():
    ends = np.array([0, 2**64 - 1], dtype=np.uint64)
    assert np.all(hashed_uniform(ends, 0) < 1)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("size", [10, 40, 1000])
def test_sketch_merges_and_takes_the_smallest(rng, size, weighted):
    distinct = rng.standard_normal((50, 2))
    copies = rng.integers(50, size=200)
    X = distinct[copies]
    hashes = row_hashes(X, None, 0)
    weight = rng.integers(1, 5, size=200).astype(float) if weighted else None
    ids, merged, inverse = sketch(hashes, weight, size)
    found = np.unique(copies)
    order = np.argsort(row_hashes(distinct[found], None, 0))[:size]
    assert_array_equal(X[ids], distinct[found[order]])
    summed = np.bincount(copies, weights=weight, minlength=50)
    assert_allclose(merged, summed[found[order]])
    assert merged.dtype == np.float64
    if size < len(found):
        assert inverse is None
    else:  # a row's number is that of its representative
        assert_array_equal(X, X[ids][inverse])


def test_sketch_does_not_depend_on_order_or_on_copies(rng):
    X = rng.standard_normal((100, 2))
    weight = rng.integers(1, 4, size=100)
    hashes = row_hashes(X, None, 0)
    ids, merged, _ = sketch(hashes, weight.astype(float), 30)
    repeated = rng.permutation(np.repeat(np.arange(100), weight))
    again, summed, _ = sketch(hashes[repeated], None, 30)
    assert_array_equal(X[repeated][again], X[ids])
    assert_array_equal(summed, merged)


def test_sketch_of_distinct_rows_has_no_weights(rng):
    hashes = row_hashes(rng.standard_normal((20, 1)), None, 0)
    assert sketch(hashes, None, 8)[1] is None
    assert sketch(hashes, np.ones(20), 8)[1] is None
    assert_array_equal(sketch(hashes, np.full(20, 2.0), 8)[1], 2.0)


def test_sketch_is_a_uniform_sample(rng):
    # the smallest hashes say nothing about the values
    X = rng.standard_normal((20_000, 1))
    ids, _, _ = sketch(row_hashes(X, None, 0), None, 2000)
    assert kstest(X[ids, 0], "norm").pvalue > 1e-3
