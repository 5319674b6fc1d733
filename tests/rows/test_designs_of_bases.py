"""Designs with a basis: its output takes the place of the columns, indicators stay theirs."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.preprocessing import FunctionTransformer

from mixexp._rows.basis import Based, Basis
from mixexp._rows.rows import Rows
from mixexp.bases import QuantileBasis


def based(transformer, X, columns=None, takes_sparse=False):
    """Return columns of rows with a transformer fitted to them."""
    seen = X if columns is None else X[:, columns]
    fitted = transformer.fit(seen)
    return Based(columns, Basis(fitted, fitted.transform(seen).shape[1], takes_sparse, "basis"))


@pytest.fixture
def X():
    return np.random.default_rng(0).standard_normal((300, 4)) ** 3


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("columns", [None, np.array([2, 0])])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_outputs_take_the_place_of_columns(X, intercept, columns, dtype):
    X = X.astype(dtype)
    weight = np.arange(1.0, 301.0)
    selection = based(QuantileBasis(), X, columns)
    output = selection.basis.outputs(X if columns is None else X[:, columns])
    rows, by_hand = Rows(X, weight=weight), Rows(output, weight=weight)
    design, plain = rows.design(selection, intercept), by_hand.design(None, intercept)
    assert_array_equal(design.matrix(X), plain.matrix(output))
    assert design.n_values == output.shape[1] == plain.n_values
    assert rows.design(selection, intercept) is design
    assert rows.design(columns, intercept) is not design
    again = rows.design(design.selection, intercept)
    assert_array_equal(again.matrix(X), design.matrix(X))


def test_moments_do_not_depend_on_blocks(X):
    selection = based(QuantileBasis(), X)
    rows = Rows(X)
    rows.block_rows = 64
    cut, whole = rows.design(selection), Rows(X).design(selection)
    assert_allclose(cut.center, whole.center, atol=1e-14)
    assert_allclose(cut.scale, whole.scale, rtol=1e-13)


def test_indicators_are_those_of_columns(X):
    X[::4, 1] = np.nan
    selection = based(QuantileBasis(), X)
    rows = Rows(X, missing=True)
    design = rows.design(selection)
    assert design.indicators.tolist() == [1]
    assert design.n_values == 8
    assert design.size == 10
    matrix = design.matrix(X)
    assert_array_equal(matrix[[2, 6]][:, ::4], 0.0)
    assert_allclose(matrix.mean(axis=1), [1.0, *np.zeros(9)], atol=1e-12)
    assert len(np.unique(matrix[9])) == 2


def test_the_transformer_gets_its_own_copy(X):
    def spoil(values):
        values += 1.0
        return values

    before = X.copy()
    selection = Based(None, Basis(FunctionTransformer(spoil).fit(X), 4, False, "basis"))
    Rows(X).design(selection)
    assert_array_equal(X, before)


def test_no_output_is_taken_for_sparse_columns_or_few_directions():
    X = sp.random(50, 300, density=0.2, random_state=0, format="csr")
    doubled = FunctionTransformer(lambda X: X * 2.0, accept_sparse=True)
    selection = based(doubled, X, takes_sparse=True)
    rows = Rows(X)
    design = rows.design(selection)
    assert not design.sparse
    assert rows.spanned(design) is design
    assert_allclose(design.matrix(X), rows.design(None).matrix(X), atol=1e-12)


def test_names():
    X = np.arange(12.0).reshape(4, 3)
    columns = np.array([2, 0])
    design = Rows(X).design(based(QuantileBasis(), X, columns))
    assert design.names(["a", "b", "c"]) == ["c", "a", "rank(c)", "rank(a)"]
    assert Rows(X).design(columns).names(["a", "b", "c"]) == ["c", "a"]
    nameless = based(FunctionTransformer(np.sqrt), X, columns)
    assert Rows(X).design(nameless).names(["a", "b", "c"]) == ["basis0", "basis1"]
