"""Columns that were constant in the first rows of `partial_fit`, until they vary in enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

__all__ = ["Late", "joined"]

#: Rows in which a column that was constant varies before it has coefficients, and a scale.
FEWEST_LATE = 30


@dataclass(frozen=True)
class Late:
    """Columns that have been constant, and the rows in which they were not.

    Attributes
    ----------
    columns : ndarray of int
    values : ndarray
        Their constants.
    rows : array or sparse matrix of shape (n, n_features), or None
    """

    columns: np.ndarray
    values: np.ndarray
    rows: Any = None

    @classmethod
    def of(cls, tables: list) -> Late:
        """Return the constant columns of tables of rows."""
        low, high = (
            np.array([_dense(getattr(X, name)(axis=0)) for X in tables]) for name in ("min", "max")
        )
        columns = np.flatnonzero(low.min(axis=0) == high.max(axis=0))
        return cls(columns, low[0, columns])

    def ready(self, X: Any) -> tuple[Any, Late]:
        """Return rows of the columns that vary in enough rows of those so far, and what is left.

        Other columns are constant in these rows. None if there are no such columns.
        """
        if not len(self.columns):
            return None, self
        new = X[np.flatnonzero(self._vary(X).any(axis=1))]
        if not new.shape[0]:
            return None, self
        rows = new if self.rows is None else joined([self.rows, new])
        found = self._vary(rows)
        vary = np.count_nonzero(found, axis=0) >= FEWEST_LATE
        if not vary.any():
            return None, Late(self.columns, self.values, rows)
        waiting = np.flatnonzero(found[:, ~vary].any(axis=1))
        rest = Late(self.columns[~vary], self.values[~vary], rows[waiting])
        ready = _dense_rows(rows).copy()
        ready[:, rest.columns] = rest.values
        return sp.csr_array(ready) if sp.issparse(X) else ready, rest

    def _vary(self, X: Any) -> np.ndarray:
        """Return where rows have other values than the constants, (n, n_columns)."""
        values = _dense_rows(X[:, self.columns])
        return (values != self.values) & ~np.isnan(values)


def _dense(values: Any) -> np.ndarray:
    """Return values of columns, of a sparse matrix or not, as a vector."""
    return np.asarray(values.toarray() if sp.issparse(values) else values).ravel()


def _dense_rows(X: Any) -> np.ndarray:
    return X.toarray() if sp.issparse(X) else X


def joined(tables: list) -> Any:
    """Return tables of rows as one: sparse if the first is."""
    if sp.issparse(tables[0]):
        return sp.vstack(tables, format="csr")
    return np.concatenate([_dense_rows(X) for X in tables])
