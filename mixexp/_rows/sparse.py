"""Design matrices of sparse rows: products only, nothing is filled in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import scipy.sparse as sp

__all__ = [
    "FEWEST_COLUMNS",
    "SparseMatrix",
    "SparseRuns",
    "canonical",
    "rows_between",
    "sparse_moments",
    "stays_sparse",
]

#: All rows in runs: of each a CSR matrix, and weights or None.
SparseRuns = Callable[[], Iterable[tuple[Any, np.ndarray | None]]]

#: Designs with no more columns are filled in: their Gram matrices are then cheap.
FEWEST_COLUMNS = 48

#: Largest share of filled entries. A product with a stored entry costs about ten times one with
#: an entry of a full matrix.
MOST_FILLED = 0.1

#: Largest mean of a column, in units of its spread. A product subtracts the means at its end, and
#: loses as many digits as this has.
FARTHEST_CENTER = 1e4

#: Up to this many vectors are faster one by one: scipy's product with a matrix runs a short inner
#: loop for every entry.
MOST_SINGLE = 3


class SparseMatrix:
    """The matrix (size, m) of a design for sparse rows, for products from the left.

    ``theta @ matrix`` and ``values @ matrix.T`` are products with the rows as they are stored:
    columns are centred and scaled in the coefficients, not in the rows.

    Parameters
    ----------
    X : CSR matrix of shape (m, n_columns)
    center, inverse_scale : ndarray of shape (n_columns,)
    intercept : bool
    """

    #: Products with arrays are this class's.
    __array_ufunc__ = None

    def __init__(self, X: Any, center: np.ndarray, inverse_scale: np.ndarray, intercept: bool):
        self._X = X if X.dtype == np.float64 else X.astype(np.float64)
        self._transposed = self._X.T
        self._inverse_scale = inverse_scale
        self._scaled_center = center * inverse_scale
        self._intercept = intercept

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of columns of the design and of rows."""
        return self._X.shape[1] + self._intercept, self._X.shape[0]

    @property
    def T(self) -> _Transposed:
        """The transposed matrix, for products from the left."""
        return _Transposed(self)

    def __rmatmul__(self, theta: np.ndarray) -> np.ndarray:
        first = int(self._intercept)
        slopes = theta[:, first:]
        shift = slopes @ self._scaled_center
        shift = theta[:, 0] - shift if first else -shift
        scores = _product(self._X, slopes * self._inverse_scale)
        scores += shift[:, None]
        return scores

    def totals(self, values: np.ndarray) -> np.ndarray:
        """Return the products (k, size) of values (k, m) with the transposed matrix."""
        first = int(self._intercept)
        sums = np.add.reduce(values, axis=1)
        slopes = _product(self._transposed, values)
        slopes *= self._inverse_scale
        slopes -= np.multiply.outer(sums, self._scaled_center)
        return np.concatenate([sums[:, None], slopes], axis=1) if first else slopes

    def __getitem__(self, key: tuple[slice, np.ndarray]) -> np.ndarray:
        """Return the full matrix of some of the rows: ``matrix[:, ids]``."""
        _, ids = key
        slopes = self._X[ids].toarray().T * self._inverse_scale[:, None]
        slopes -= self._scaled_center[:, None]
        if not self._intercept:
            return slopes
        return np.vstack([np.ones((1, slopes.shape[1])), slopes])


class _Transposed:
    """The transposed matrix: ``values @ matrix.T``."""

    __array_ufunc__ = None

    def __init__(self, matrix: SparseMatrix):
        self._matrix = matrix

    def __rmatmul__(self, values: np.ndarray) -> np.ndarray:
        return self._matrix.totals(values)


def _product(X: Any, vectors: np.ndarray) -> np.ndarray:
    """Return X (a, b) times each of the vectors (k, b), as (k, a)."""
    if len(vectors) <= MOST_SINGLE:
        return np.stack([X @ vector for vector in vectors])
    return np.ascontiguousarray((X @ vectors.T).T)


def rows_between(X: Any, start: int, stop: int) -> Any:
    """Return consecutive rows of a CSR matrix, as a view of its entries."""
    first, last = X.indptr[start], X.indptr[stop]
    parts = X.data[first:last], X.indices[first:last], X.indptr[start : stop + 1] - first
    return type(X)(parts, shape=(stop - start, X.shape[1]), copy=False)


def stays_sparse(filled: float, center: np.ndarray, scale: np.ndarray) -> bool:
    """Return whether products with sparse rows are cheaper, and exact, as stored.

    `filled` is the share of the entries that are stored.
    """
    if filled > MOST_FILLED:
        return False
    return bool(np.all(np.abs(center) <= FARTHEST_CENTER * scale, where=scale > 0))


def sparse_moments(
    runs: SparseRuns, n_columns: int, total_weight: float, centred: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Return the weighted moments of sparse columns: largest sizes, means and spreads.

    Means and spreads are in units of the sizes, as squares might overflow; a column of zeros has
    a size of 1. Without `centred` means are 0, and a spread is the root of the mean square. Last
    comes the share of the entries that are stored.

    Parameters
    ----------
    runs : callable
        Returns all rows, in runs of a CSR matrix and its weights, None for ones; called two or
        three times.
    n_columns : int
    total_weight : float
    centred : bool
    """
    size, n_rows, n_stored = np.zeros(n_columns), 0, 0
    for X, _ in runs():
        X = canonical(X)
        np.maximum.at(size, X.indices, np.abs(np.asarray(X.data, dtype=np.float64)))
        n_rows, n_stored = n_rows + X.shape[0], n_stored + X.nnz
    unit = np.where(size > 0, size, 1.0)
    center = np.zeros(n_columns)
    if centred:
        for X, weight in runs():
            X = canonical(X)
            weighted, of_entries = _in_units(X, unit), _of_entries(X, weight)
            if of_entries is not None:
                weighted = weighted * of_entries
            center += np.bincount(X.indices, weighted, minlength=n_columns)
        center /= total_weight
    second, stored = np.zeros(n_columns), np.zeros(n_columns)
    for X, weight in runs():
        X = canonical(X)
        of_entries = _of_entries(X, weight)
        stored += np.bincount(X.indices, of_entries, minlength=n_columns)
        squares = (_in_units(X, unit) - center[X.indices]) ** 2
        if of_entries is not None:
            squares *= of_entries
        second += np.bincount(X.indices, squares, minlength=n_columns)
    second += np.maximum(total_weight - stored, 0.0) * center**2
    return unit, center, np.sqrt(second / total_weight), n_stored / max(1, n_rows * n_columns)


def canonical(X: Any) -> Any:
    """Return a CSR matrix without duplicate entries, or anything else as it is."""
    if sp.issparse(X) and not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X


def _in_units(X: Any, unit: np.ndarray) -> np.ndarray:
    """Return the stored entries in units of their columns."""
    return np.asarray(X.data, dtype=np.float64) / unit[X.indices]


def _of_entries(X: Any, weight: np.ndarray | None) -> np.ndarray | None:
    """Return the weight of every stored entry."""
    return None if weight is None else np.repeat(weight, np.diff(X.indptr))
