"""Row blocks: how parts see the data.

`Rows` holds the data of one fit or one prediction. A `Block` is a run of its rows, handed to
every part of the model in turn. A `Design` says which columns a part works on and how they are
centred and scaled; parts that share a design share its matrix and its column products.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn import get_config

from mixexp._compat import safe_indexing
from mixexp._numerics import PACKED_COLUMNS, column_products

__all__ = ["Block", "Design", "Rows"]

#: Rows of a block: enough to hide the cost of a numpy call, few enough for the cache.
BLOCK_ROWS = 1024

#: Doubles of one block's design at most, so that wide data take fewer rows at a time.
BLOCK_ITEMS = 1 << 20

#: A column whose spread is below this share of its size is constant: the rest is rounding.
CONSTANT_TOL = 1e-13


@dataclass(frozen=True, eq=False)
class Design:
    """The columns a part works on, centred and scaled, below a row of ones.

    Attributes
    ----------
    columns : ndarray of int
        Of the data's features.
    center, scale : ndarray of shape (n_columns,)
        Weighted mean and standard deviation; a constant column has `scale` 0 and is left out.
        Without an intercept nothing is centred, and `scale` is the root mean square.
    intercept : bool
    """

    columns: np.ndarray
    center: np.ndarray
    scale: np.ndarray
    intercept: bool

    @property
    def size(self) -> int:
        """Number of rows of a block's design matrix."""
        return len(self.columns) + self.intercept

    @property
    def inverse_scale(self) -> np.ndarray:
        """1/scale, 0 for a constant column."""
        return np.divide(1.0, self.scale, out=np.zeros_like(self.scale), where=self.scale > 0)

    def penalty(self, alpha: float, *, input_units: bool = False) -> np.ndarray:
        """Return the ridge penalty (size,) of scaled coefficients; none on the intercept.

        With `input_units` the penalty is alpha times the squared coefficients of the columns as
        they were given. Constant columns get 1, which holds their coefficient at zero.
        """
        weights = self.inverse_scale**2 if input_units else np.ones(len(self.columns))
        slopes = np.where(self.scale > 0, alpha * weights, 1.0)
        return np.concatenate([np.zeros(int(self.intercept)), slopes])

    def matrix(self, X: Any) -> np.ndarray:
        """Return the design matrix (size, m) of rows X (m, n_features), in float64."""
        if len(self.columns) != X.shape[1] or not np.array_equal(
            self.columns, np.arange(X.shape[1])
        ):
            X = X[:, self.columns]
        if sp.issparse(X):
            X = X.toarray()
        out = np.empty((self.size, X.shape[0]))
        out[: int(self.intercept)] = 1.0
        slopes = out[int(self.intercept) :]
        np.subtract(X.T, self.center[:, None], out=slopes)
        slopes *= self.inverse_scale[:, None]
        return out

    def to_input_units(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return slopes (..., n_columns) and intercepts (...) on the columns as given."""
        slopes = theta[..., int(self.intercept) :] * self.inverse_scale
        if not self.intercept:
            return slopes, np.zeros(theta.shape[:-1])
        return slopes, theta[..., 0] - slopes @ self.center


class Rows:
    """The rows of one fit or one prediction.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n, n_features)
        Numbers, in the precision the caller has; blocks are converted to float64.
    y : ndarray, optional
        Targets (n_outputs, n) or class codes (n,).
    weight : ndarray of shape (n,), optional
        None means ones.
    frame : data frame, optional
        The same rows as the caller gave them, for estimators that ask for column names.
    training : bool, default=False
        Whether parts may reuse what they know of these rows, and designs are kept.
    """

    def __init__(
        self,
        X: Any,
        y: Any = None,
        weight: np.ndarray | None = None,
        *,
        frame: Any = None,
        training: bool = False,
    ):
        self.X = X
        self.y = y
        self.weight = weight
        self.frame = frame
        self.training = training
        self.n_rows = X.shape[0]
        self.total_weight = float(self.n_rows if weight is None else weight.sum())
        self._designs: dict[Hashable, Design] = {}
        self._kept: dict[tuple[Design, int], tuple[np.ndarray, np.ndarray | None]] = {}
        self.block_rows = max(64, min(BLOCK_ROWS, BLOCK_ITEMS // max(1, X.shape[1])))
        self._room = get_config()["working_memory"] * 2**20 // 8 if training else 0

    def blocks(self) -> Iterator[Block]:
        """Yield the blocks in order."""
        for start in range(0, self.n_rows, self.block_rows):
            yield Block(self, start, min(start + self.block_rows, self.n_rows))

    def take(self, ids: Any, columns: np.ndarray | None = None) -> Any:
        """Return rows in the form that was given, for estimators: an array, CSR or a frame."""
        X = safe_indexing(self.X if self.frame is None else self.frame, ids)
        return X if columns is None else safe_indexing(X, columns, axis=1)

    def subset(self, ids: np.ndarray, weight: np.ndarray | None) -> Rows:
        """Return some of the rows as training rows with their own weights; designs are shared."""
        rows = Rows(
            self.X[ids],
            None if self.y is None else self.y[..., ids],
            weight,
            frame=None if self.frame is None else safe_indexing(self.frame, ids),
            training=self.training,
        )
        rows._designs = self._designs
        return rows

    def design(self, columns: np.ndarray | None, intercept: bool = True) -> Design:
        """Return the design of these columns, the same object for the same question."""
        columns = np.arange(self.X.shape[1]) if columns is None else columns
        key = (tuple(columns.tolist()), intercept)
        if key not in self._designs:
            center, scale = self._moments(columns, intercept)
            self._designs[key] = Design(columns, center, scale, intercept)
        return self._designs[key]

    def _moments(self, columns: np.ndarray, centred: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return weighted means and standard deviations of columns, in two passes.

        Columns are divided by their largest absolute value, so that no square overflows.
        """
        plain = Design(columns, np.zeros(len(columns)), np.ones(len(columns)), False)
        size = np.zeros(len(columns))
        for block in self.blocks():
            np.maximum(size, np.abs(plain.matrix(block.X)).max(axis=1), out=size)
        unit = np.where(size > 0, size, 1.0)
        center = np.zeros(len(columns))
        if centred:
            for block in self.blocks():
                part = plain.matrix(block.X) / unit[:, None]
                center += part.sum(axis=1) if block.weight is None else part @ block.weight
            center /= self.total_weight
        second = np.zeros(len(columns))
        for block in self.blocks():
            part = plain.matrix(block.X) / unit[:, None] - center[:, None]
            part *= part
            second += part.sum(axis=1) if block.weight is None else part @ block.weight
        spread = np.sqrt(second / self.total_weight)
        scale = np.where(spread > CONSTANT_TOL, spread, 0.0) * unit
        scale[scale < np.finfo(float).tiny] = 0.0  # its inverse would overflow
        return center * unit, scale

    def _prepared(self, design: Design, start: int, stop: int) -> tuple[np.ndarray, Any]:
        """Return design matrix and column products (None where not kept) of a block."""
        key = (design, start)
        if key in self._kept:
            return self._kept[key]
        matrix = design.matrix(self.X[start:stop])
        if not self.training:
            return matrix, None
        products = None
        packed = design.size * (design.size + 1) // 2
        if design.size <= PACKED_COLUMNS and packed * (stop - start) <= self._room:
            products = column_products(matrix)
            self._room -= products.size
            if design.intercept:
                matrix = products[: design.size]
        elif matrix.size <= self._room:
            self._room -= matrix.size
        else:
            return matrix, None
        self._kept[key] = (matrix, products)
        return matrix, products


class Block:
    """A run of rows.

    Attributes
    ----------
    rows : Rows
    start, stop : int
    y : ndarray (n_outputs, m) or (m,), or None
    weight : ndarray (m,) or None
    """

    def __init__(self, rows: Rows, start: int, stop: int):
        self.rows = rows
        self.start, self.stop = start, stop
        here = slice(start, stop)
        self.y: Any = None if rows.y is None else rows.y[..., here]
        self.weight = None if rows.weight is None else rows.weight[here]
        self._scratch: dict[int, Any] = {}
        self._prepared: dict[Design, tuple[np.ndarray, Any]] = {}

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.stop - self.start

    @property
    def X(self) -> Any:
        """The rows' features as numbers."""
        return self.rows.X[self.start : self.stop]

    @property
    def training(self) -> bool:
        """Whether these are the rows of the fit."""
        return self.rows.training

    def matrix(self, design: Design) -> np.ndarray:
        """Return the design matrix (p, m)."""
        return self._prepare(design)[0]

    def products(self, design: Design) -> np.ndarray | None:
        """Return the products of the design's columns where they are kept."""
        return self._prepare(design)[1]

    def _prepare(self, design: Design) -> tuple[np.ndarray, Any]:
        if design not in self._prepared:
            self._prepared[design] = self.rows._prepared(design, self.start, self.stop)
        return self._prepared[design]

    def keep(self, part: Any, value: Any) -> None:
        """Keep what `log_prob` of a part computed, for its `statistics`."""
        self._scratch[id(part)] = value

    def recall(self, part: Any) -> Any:
        """Return what a part kept."""
        return self._scratch[id(part)]
