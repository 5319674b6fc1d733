"""Row blocks: how parts see the data.

`Rows` holds the data of one fit or one prediction. A `Block` is a run of its rows, handed to
every part of the model in turn. A `Design` says which columns a part works on and how they are
centred and scaled; parts that share a design share its matrix and its column products.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn import get_config

from mixexp._compat import rows_of, safe_indexing
from mixexp._guests import owned, read_only
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

    A column with missing values is followed, after all others, by its indicator: 1 where the
    value is missing. The value itself is then taken as the mean; with the indicator next to it
    any other constant would give the same model.

    Attributes
    ----------
    columns : ndarray of int
        Of the data's features.
    center, scale : ndarray of shape (n_columns + n_indicators,)
        Weighted mean and standard deviation; a constant column has `scale` 0 and is left out.
        Without an intercept nothing is centred, and `scale` is the root mean square.
    intercept : bool
    indicators : ndarray of int
        Positions in `columns` of those with missing values in the training rows.
    missing : bool
        Whether rows may hold NaN at all.
    """

    columns: np.ndarray
    center: np.ndarray
    scale: np.ndarray
    intercept: bool
    indicators: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=int))
    missing: bool = False

    @property
    def size(self) -> int:
        """Number of rows of a block's design matrix."""
        return len(self.scale) + self.intercept

    @property
    def inverse_scale(self) -> np.ndarray:
        """1/scale, 0 for a constant column."""
        return np.divide(1.0, self.scale, out=np.zeros_like(self.scale), where=self.scale > 0)

    def penalty(self, alpha: float, *, input_units: bool = False) -> np.ndarray:
        """Return the ridge penalty (size,) of scaled coefficients; none on the intercept.

        With `input_units` the penalty is alpha times the squared coefficients of the columns as
        they were given. Constant columns get 1, which holds their coefficient at zero.
        """
        weights = self.inverse_scale**2 if input_units else np.ones(len(self.scale))
        slopes = np.where(self.scale > 0, alpha * weights, 1.0)
        return np.concatenate([np.zeros(int(self.intercept)), slopes])

    def matrix(self, X: Any, *, missing: bool = False) -> np.ndarray:
        """Return the design matrix (size, m) of rows X (m, n_features), in float64.

        With `missing`, NaN is possible also where the training rows had none.
        """
        if len(self.columns) != X.shape[1] or not np.array_equal(
            self.columns, np.arange(X.shape[1])
        ):
            X = X[:, self.columns]
        if sp.issparse(X):
            X = X.toarray()
        out = np.empty((self.size, X.shape[0]))
        out[: int(self.intercept)] = 1.0
        slopes = out[int(self.intercept) :]
        n_columns = len(self.columns)
        np.subtract(X.T, self.center[:n_columns, None], out=slopes[:n_columns])
        if self.missing or missing:
            unknown = np.isnan(slopes[:n_columns])
            slopes[:n_columns][unknown] = 0.0
            slopes[n_columns:] = unknown[self.indicators] - self.center[n_columns:, None]
        slopes *= self.inverse_scale[:, None]
        return out

    def to_input_units(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return slopes (..., n_columns + n_indicators) and intercepts (...) in input units."""
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
    offset : ndarray of shape (n_outputs or n_classes or 1, n), optional
        What is added to every expert's linear predictor.
    groups : ndarray of int of shape (n,), optional
        Codes 0, 1, ... in ascending order; rows of one group share one responsibility.
    metadata : dict of dict, optional
        What the caller wants `fit` to get, of each expert by name.
    missing : bool, default=False
        Whether X may hold NaN.
    labels : ndarray of int of shape (n,), optional
        The expert of every row, −1 where it is not known; the same within a group.
    """

    def __init__(
        self,
        X: Any,
        y: Any = None,
        weight: np.ndarray | None = None,
        *,
        frame: Any = None,
        training: bool = False,
        offset: np.ndarray | None = None,
        groups: np.ndarray | None = None,
        metadata: dict[str, dict[str, Any]] | None = None,
        missing: bool = False,
        labels: np.ndarray | None = None,
    ):
        self.X = read_only(X)
        self.y = read_only(y)
        self.weight = read_only(weight)
        self.frame = frame
        self.training = training
        self.offset = read_only(offset)
        self.groups = groups
        self.metadata = metadata or {}
        self.missing = missing
        self.labels = labels
        self.extra: np.ndarray | None = None
        self.starts: np.ndarray | None = None
        self.n_rows = X.shape[0]
        self.total_weight = float(self.n_rows if weight is None else weight.sum())
        self.block_rows = max(64, min(BLOCK_ROWS, BLOCK_ITEMS // max(1, X.shape[1])))
        self._designs: dict[Hashable, Design] = {}
        self._kept: dict[tuple[Design, int], tuple[np.ndarray, np.ndarray | None]] = {}
        self._room = get_config()["working_memory"] * 2**20 // 8 if training else 0
        self._units: Rows | None = None  # not itself: a cycle would keep blocks alive
        self._starts = np.zeros(0, dtype=int)
        if groups is not None:
            self._starts = np.flatnonzero(np.diff(groups, prepend=-1))
            self._units = Rows(
                X[self._starts],
                frame=None if frame is None else safe_indexing(frame, self._starts),
                training=training,
                missing=missing,
                labels=None if labels is None else labels[self._starts],
            )

    def attach(self, extra: np.ndarray | None, starts: np.ndarray) -> None:
        """Add columns (n, q) behind those of X, for designs alone; `starts` are what starts see.

        `X` and `take` stay as they are: nothing but what stands in for an estimator needs them.
        """
        self.extra, self.starts = extra, starts
        self.missing = self.missing or (extra is not None and bool(np.isnan(extra).any()))
        if self._units is not None:
            self._units.attach(None if extra is None else extra[self._starts], starts)

    def numbers(self, here: slice = slice(None)) -> Any:
        """Return rows as designs see them: X, and the columns that were added."""
        X = self.X[here]
        if self.extra is None:
            return X
        both = [X, self.extra[here]]
        return sp.hstack(both, format="csr") if sp.issparse(X) else np.hstack(both)

    @property
    def units(self) -> Rows:
        """What has one responsibility each: the rows themselves, or one row a group."""
        return self if self._units is None else self._units

    def blocks(self) -> Iterator[Block]:
        """Yield the blocks in order; a group is never cut."""
        if self.groups is None:
            for start in range(0, self.n_rows, self.block_rows):
                yield Block(self, start, min(start + self.block_rows, self.n_rows))
            return
        ends = np.append(self._starts[1:], self.n_rows)
        first = 0
        while first < len(ends):
            start = int(self._starts[first])
            last = max(first + 1, int(np.searchsorted(ends, start + self.block_rows, "right")))
            yield Block(self, start, int(ends[last - 1]), (first, last))
            first = last

    def take(self, ids: Any, columns: np.ndarray | None = None, own: bool = True) -> Any:
        """Return rows in the form that was given, for estimators: an array, CSR or a frame.

        They are the estimator's own, which may change them; without `own` they may be a view.
        """
        X = safe_indexing(self.X if self.frame is None else self.frame, ids)
        if columns is not None:
            return safe_indexing(X, columns, axis=1)
        return owned(X) if own and isinstance(ids, slice) else X

    def subset(
        self, ids: np.ndarray, weight: np.ndarray | None, groups: np.ndarray | None = None
    ) -> Rows:
        """Return some of the rows as training rows with their own weights; designs are shared.

        Of a group all rows must be taken, one after the other. With `groups` the rows are given
        groups that they did not have.
        """
        designs_of_units = self.units._designs
        if groups is not None:
            designs_of_units = {}
        elif self.groups is not None:
            groups = np.cumsum(np.diff(self.groups[ids], prepend=self.groups[ids[0]]) != 0)
        rows = Rows(
            self.X[ids],
            None if self.y is None else self.y[..., ids],
            weight,
            frame=None if self.frame is None else safe_indexing(self.frame, ids),
            training=self.training,
            offset=None if self.offset is None else self.offset[:, ids],
            groups=groups,
            metadata={
                owner: {name: rows_of(value, ids, self.n_rows) for name, value in own.items()}
                for owner, own in self.metadata.items()
            },
            missing=self.missing,
            labels=None if self.labels is None else self.labels[ids],
        )
        if self.starts is not None:
            rows.attach(None if self.extra is None else self.extra[ids], self.starts)
        rows._designs = self._designs
        rows.units._designs = designs_of_units if groups is not None else self._designs
        return rows

    def with_experts(self, experts: np.ndarray, n_experts: int) -> Rows:
        """Return the rows as they are for some of the experts: labels are their new numbers.

        Nothing is known any more of rows whose expert is not among them.
        """
        if self.labels is None:
            return self
        numbers = np.full(n_experts, -1)
        numbers[experts] = np.arange(len(experts))
        rows = copy.copy(self)
        rows.labels = np.where(self.labels < 0, -1, numbers[self.labels])
        rows._units = None if self._units is None else self._units.with_experts(experts, n_experts)
        return rows

    def shared(self, resp: np.ndarray) -> np.ndarray:
        """Return responsibilities (K, n) that are the same, their mean, in every group."""
        if self.groups is None:
            return resp
        sizes = np.bincount(self.groups)
        return np.repeat(np.add.reduceat(resp, self._starts, axis=1) / sizes, sizes, axis=1)

    def design(self, columns: np.ndarray | None, intercept: bool = True) -> Design:
        """Return the design of these columns, the same object for the same question."""
        columns = np.arange(self.X.shape[1]) if columns is None else columns
        key = (tuple(columns.tolist()), intercept)
        if key not in self._designs:
            self._designs[key] = self._measured(columns, intercept)
        return self._designs[key]

    def _measured(self, columns: np.ndarray, centred: bool) -> Design:
        """Return the design with weighted means and standard deviations, from three passes.

        Columns are divided by their largest absolute value, so that no square overflows. A
        missing value counts as the mean of its column.
        """
        n_columns = len(columns)
        plain = Design(columns, np.zeros(n_columns), np.ones(n_columns), False)
        size, known = np.zeros(n_columns), np.full(n_columns, self.total_weight)
        for block in self.blocks():
            part = np.abs(plain.matrix(block.numbers))
            if self.missing:
                known -= _weighted_sum(np.isnan(part), block.weight)
            np.fmax(size, np.fmax.reduce(part, axis=1), out=size)
        unit = np.where(size > 0, size, 1.0)
        center = np.zeros(n_columns)
        if centred:
            for block in self.blocks():
                center += _weighted_sum(self._units_of(plain, block, unit), block.weight)
            center /= np.where(known > 0, known, 1.0)
        second = np.zeros(n_columns)
        for block in self.blocks():
            part = self._units_of(plain, block, unit, center)
            part *= part
            second += _weighted_sum(part, block.weight)
        spread = np.sqrt(second / self.total_weight)
        scale = np.where(spread > CONSTANT_TOL, spread, 0.0) * unit
        scale[scale < np.finfo(float).tiny] = 0.0  # its inverse would overflow
        if not self.missing:
            return Design(columns, center * unit, scale, centred)
        absent = 1 - known / self.total_weight
        indicators = np.flatnonzero(absent > CONSTANT_TOL)
        share = absent[indicators]
        return Design(
            columns,
            np.append(center * unit, share if centred else 0 * share),
            np.append(scale, np.sqrt(share * (1 - share) if centred else share)),
            centred,
            indicators,
            missing=True,
        )

    def _units_of(
        self, plain: Design, block: Block, unit: np.ndarray, center: np.ndarray | float = 0.0
    ) -> np.ndarray:
        """Return the columns of a block in these units, centred; 0 for a missing value."""
        part = plain.matrix(block.numbers) / unit[:, None]
        part -= center[:, None] if isinstance(center, np.ndarray) else center
        if self.missing:
            part[np.isnan(part)] = 0.0
        return part

    def _prepared(self, design: Design, start: int, stop: int) -> tuple[np.ndarray, Any]:
        """Return design matrix and column products (None where not kept) of a block."""
        key = (design, start)
        if key in self._kept:
            return self._kept[key]
        matrix = design.matrix(self.numbers(slice(start, stop)), missing=self.missing)
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


def _weighted_sum(values: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Return the sums of rows (p, m) over m."""
    return values.sum(axis=1) if weight is None else values @ weight


class Block:
    """A run of rows.

    Attributes
    ----------
    rows : Rows
    start, stop : int
    y : ndarray (n_outputs, m) or (m,), or None
    weight : ndarray (m,) or None
    offset : ndarray (n_outputs or n_classes or 1, m), or None
    labels : ndarray of int (m,), or None
    firsts : ndarray of int
        Where each group starts in the block.
    """

    def __init__(self, rows: Rows, start: int, stop: int, groups: tuple[int, int] | None = None):
        self.rows = rows
        self.start, self.stop = start, stop
        here = slice(start, stop)
        self.y: Any = None if rows.y is None else rows.y[..., here]
        self.weight = None if rows.weight is None else rows.weight[here]
        self.offset = None if rows.offset is None else rows.offset[:, here]
        self.labels = None if rows.labels is None else rows.labels[here]
        self._scratch: dict[int, Any] = {}
        self._prepared: dict[Design, tuple[np.ndarray, Any]] = {}
        self._unit: Block | None = None
        if groups is not None:
            self._unit = Block(rows.units, *groups)
            self.firsts = rows._starts[slice(*groups)] - start

    @property
    def unit(self) -> Block:
        """The rows that the gate sees: the block itself, or one row a group."""
        return self if self._unit is None else self._unit

    def reweighted(self, weight: np.ndarray) -> Block:
        """Return the block with other weights; what parts keep of it is shared."""
        block = copy.copy(self)
        block.weight = weight
        return block

    def of_units(self, log_prob: np.ndarray) -> np.ndarray:
        """Return log-densities (K, m) summed over the rows of a group; weights are exponents."""
        if self.unit is self:
            return log_prob
        if self.weight is not None:
            log_prob = log_prob * self.weight
        return np.add.reduceat(log_prob, self.firsts, axis=1)

    def of_rows(self, resp: np.ndarray) -> np.ndarray:
        """Return every row's responsibilities (K, m) from those of the units, times weights."""
        if self.unit is not self:
            resp = np.repeat(resp, np.diff(self.firsts, append=self.n_rows), axis=1)
        if self.weight is not None:
            resp *= self.weight
        return resp

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.stop - self.start

    @property
    def X(self) -> Any:
        """The rows' features as numbers."""
        return self.rows.X[self.start : self.stop]

    @property
    def numbers(self) -> Any:
        """The rows as designs see them."""
        return self.rows.numbers(slice(self.start, self.stop))

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
