"""The row space of wide rows: n rows span at most n directions, however many columns there are."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import scipy.sparse as sp

from mixexp._rows.designs import Design, Units

if TYPE_CHECKING:
    from mixexp._rows.passes import Passes

__all__ = ["RowSpace", "row_space", "spans_few"]

#: Most rows: the directions are the eigenvectors of a matrix of n².
MOST_ROWS = 1024

#: Most numbers of the directions: 128 MB.
MOST_NUMBERS = 1 << 24

#: With no more columns, Gram matrices of the columns themselves are cheap.
FEWEST_COLUMNS = 256

#: Eigenvalues below this share of the largest are rounding error of the others.
RANK_TOL = 1e-14

#: Vectors multiplied with the rows at once.
CHUNK = 64


@dataclass(frozen=True, eq=False)
class RowSpace(Design):
    """A design in coordinates of the row space of the training rows, each of unit variance.

    Ridge-penalised coefficients lie in the row space, and unpenalised ones of smallest norm do, so
    a fit in these coordinates is the fit in all columns. `center` and `scale` are those of the
    coordinates, `columns` those of the data.

    Attributes
    ----------
    base : Design
        The columns in the units in which the penalty is isotropic.
    directions : ndarray of shape (r, n_columns)
        Products with the columns of `base` are the coordinates.
    of_columns : Design
        The usual design of the columns.
    weights : ndarray of shape (r,)
        Squared lengths of the directions.
    units : str
        Those in which the penalty is isotropic.
    """

    whitened: ClassVar[bool] = True

    base: Design = field(kw_only=True)
    of_columns: Design = field(kw_only=True)
    directions: np.ndarray = field(kw_only=True)
    weights: np.ndarray = field(kw_only=True)
    units: Units = field(kw_only=True)

    @property
    def n_varying(self) -> int:
        """Number of columns that vary."""
        return self.of_columns.n_varying

    @property
    def n_slopes(self) -> int:
        """Number of coordinates."""
        return len(self.weights)

    @property
    def groups(self) -> np.ndarray:
        """All 0: a coordinate mixes the columns."""
        return np.zeros(len(self.weights), dtype=int)

    def penalty(self, alpha: float | np.ndarray, *, units: Units = "spread") -> np.ndarray:
        """Return the ridge penalty (size,) of the coordinates.

        Its units are those that the row space was made for.
        """
        return np.concatenate([np.zeros(int(self.intercept)), alpha * self.weights])

    def matrix(self, X: Any, *, missing: bool = False) -> np.ndarray:
        """Return the design matrix (size, m) of rows X (m, n_features), in float64."""
        first = int(self.intercept)
        theta = np.zeros((self.size, self.base.size))
        theta[:first, :first] = 1.0
        theta[first:, first:] = self.directions
        sparse = self.base.sparse and sp.issparse(X)
        full: np.ndarray = theta @ (self.base.linear(X) if sparse else self.base.matrix(X))
        return full

    def to_input_units(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return slopes (..., n_columns) and intercepts (...) in input units."""
        return self.base.to_input_units(self._of_base(theta))

    def _of_base(self, theta: np.ndarray) -> np.ndarray:
        first = int(self.intercept)
        slopes = theta[..., first:] @ self.directions
        return np.concatenate([theta[..., :first], slopes], axis=-1)

    @property
    def plain(self) -> Design:
        """The usual design of the columns, with the number of directions."""
        return replace(self.of_columns, rank=len(self.weights))

    def to_plain(self, theta: np.ndarray) -> np.ndarray:
        """Return coefficients (..., size) as coefficients of the plain design."""
        of_base, first = self._of_base(theta), int(self.intercept)
        of_base[..., first:] *= self.plain.scale * self.base.inverse_scale
        return of_base

    def plain_penalty(self, penalty: np.ndarray) -> np.ndarray:
        """Return a penalty (size,) of the coordinates as that of the plain coefficients."""
        alpha = float(penalty[-1] / self.weights[-1])
        return self.plain.penalty(alpha, units=self.units)


def spans_few(rows: Passes, design: Design) -> bool:
    """Return whether the rows span few directions, in which a fit is cheaper."""
    n_columns = len(design.scale)
    return (
        n_columns > max(FEWEST_COLUMNS, rows.n_rows)
        and rows.n_rows <= MOST_ROWS
        and rows.n_rows * n_columns <= MOST_NUMBERS
        and design.basis is None
        and not design.missing
        and not rows.missing
    )


def row_space(rows: Passes, plain: Design, *, units: Units) -> Design:
    """Return a design in coordinates of the row space, or `plain` if all columns are constant.

    Directions are orthogonal in these units. They are z U √n / s² for scaled columns z and the
    eigenvectors U and eigenvalues s² of zᵀz.
    """
    base = plain.in_units(units)
    n, first = rows.n_rows, int(plain.intercept)
    kernel = np.empty((n, n))
    for start in range(0, n, CHUNK):
        unit = np.zeros((min(CHUNK, n - start), n))
        np.fill_diagonal(unit[:, start:], 1.0)
        kernel[start : start + CHUNK] = _scores(rows, base, _totals(rows, base, unit))
    values, vectors = np.linalg.eigh(0.5 * (kernel + kernel.T))
    kept = values > n * RANK_TOL * max(values[-1], 0.0)
    if not np.any(kept):
        return plain
    values = values[kept]
    directions = _totals(rows, base, np.sqrt(n) * (vectors[:, kept] / values).T)[:, first:]
    r = len(directions)
    return RowSpace(
        plain.columns,
        np.zeros(r),
        np.ones(r),
        plain.intercept,
        base=base,
        of_columns=plain,
        directions=directions,
        weights=np.sum(directions**2, axis=1),
        units=units,
    )


def _totals(rows: Passes, design: Design, values: np.ndarray) -> np.ndarray:
    """Return the products (k, size) of values (k, n) with all rows, without the intercept's."""
    total: np.ndarray = sum(values[:, here] @ matrix.T for here, matrix in rows.linear(design))
    total[:, : int(design.intercept)] = 0.0
    return total


def _scores(rows: Passes, design: Design, vectors: np.ndarray) -> np.ndarray:
    """Return the products (k, n) of vectors (k, size) with all rows."""
    return np.concatenate([vectors @ matrix for _, matrix in rows.linear(design)], axis=1)
