"""Rows: the data of one fit or one prediction, held in memory.

`Rows` splits into `Block`s, maps a function over them (`map`) or sums its results (`reduce`), and
gives batch parts rows by position. Rows that are read anew in every pass are `StreamedRows`.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
import scipy.sparse as sp

from mixexp._compat import rows_of, safe_indexing
from mixexp._guests import owned, read_only
from mixexp._rows.blocks import Block, Budget, PreparedDesigns, with_extra
from mixexp._rows.designs import Design
from mixexp._rows.maps import cache_doubles, is_mapped
from mixexp._rows.passes import Passes
from mixexp._rows.sparse import rows_between

__all__ = ["Rows", "rows_per_block"]

S = TypeVar("S")

#: Rows per block: enough to amortise numpy calls, few enough for the cache.
BLOCK_ROWS = 8192

#: Maximum number of doubles in a block's design; wide data get fewer rows per block.
BLOCK_ITEMS = 1 << 20

#: The same for sparse rows, which have as many stored entries to a block. It counts only where a
#: part fills them in after all.
SPARSE_BLOCK_ITEMS = 1 << 26


class Rows(Passes):
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
        The same rows as a data frame, for estimators that ask for column names.
    training : bool, default=False
        Whether parts may reuse cached values for these rows, and designs are cached.
    offset : ndarray of shape (n_outputs or n_classes or 1, n), optional
        Added to every expert's linear predictor.
    groups : ndarray of int of shape (n,), optional
        Codes 0, 1, ... in ascending order; rows of one group share one responsibility.
    metadata : dict of dict, optional
        Arguments for `fit` of each expert, by name.
    missing : bool, default=False
        Whether X may hold NaN.
    labels : ndarray of int of shape (n,), optional
        The expert of every row, −1 if unknown; constant within a group.
    n_threads : int, default=1
        Threads that evaluate blocks, where there are enough of them. Sums do not depend on it.
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
        n_threads: int = 1,
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
        self.n_threads = n_threads
        self.extra: np.ndarray | None = None
        self.starts: np.ndarray | None = None
        self.n_rows, self.n_features = X.shape
        self.total_weight = float(self.n_rows if weight is None else weight.sum())
        self.block_rows = _block_rows(X)
        self._designs: dict[Hashable, Design] = {}
        self._prepared: dict[tuple[int, int], PreparedDesigns] = {}
        self._budget = Budget(cache_doubles(not is_mapped(X)), self.n_rows)
        self._sliced: dict[tuple[int, int], Any] = {}
        self._linear: dict[Design, list] = {}
        self.principal_scores: dict[Design, np.ndarray] = {}  # shared by starts
        self._units: Rows | None = None  # never self: a cycle would keep blocks alive
        self._starts = np.zeros(0, dtype=int)
        if groups is not None:
            self._starts = np.flatnonzero(np.diff(groups, prepend=-1))
            self._units = Rows(
                X[self._starts],
                frame=None if frame is None else safe_indexing(frame, self._starts),
                training=training,
                missing=missing,
                labels=None if labels is None else labels[self._starts],
                n_threads=n_threads,
            )

    def __getstate__(self) -> dict:
        """Leave out what passes keep, which the receiver can rebuild: joblib may use processes."""
        kept: dict = {"_prepared": {}, "_sliced": {}, "_linear": {}, "principal_scores": {}}
        return vars(self) | kept

    def __copy__(self) -> Rows:
        """Return a shallow copy, which shares what passes keep."""
        rows = object.__new__(type(self))
        vars(rows).update(vars(self))
        return rows

    def attach(self, extra: np.ndarray | None, starts: np.ndarray) -> None:
        """Append columns (n, q) to X for designs only; `starts` are the columns that starts see.

        `X` and `take` do not change: only stand-ins for estimators need the new columns.
        """
        self.extra, self.starts = extra, starts
        self.missing = self.missing or (extra is not None and bool(np.isnan(extra).any()))
        if self._units is not None:
            self._units.attach(None if extra is None else extra[self._starts], starts)

    @property
    def numbers(self) -> Any:
        """The rows as seen by designs: X and the extra columns."""
        return with_extra(self.X, self.extra)

    @property
    def sparse(self) -> bool:
        """Whether the rows are sparse."""
        return bool(sp.issparse(self.X))

    @property
    def n_stored(self) -> int:
        """Number of stored entries of sparse rows."""
        return int(self.X.nnz)

    def _sparse_runs(self, columns: np.ndarray) -> Iterable[tuple[Any, np.ndarray | None]]:
        numbers = self.numbers
        every = np.array_equal(columns, np.arange(numbers.shape[1]))
        return [(numbers if every else numbers[:, columns], self.weight)]

    @property
    def extremes(self) -> np.ndarray:
        """Smallest and largest target of every output, (n_outputs, 2)."""
        return np.stack([self.y.min(axis=-1), self.y.max(axis=-1)], axis=-1)

    @property
    def mean_target(self) -> np.ndarray:
        """Weighted mean of every output, (n_outputs,)."""
        weight = np.ones(self.n_rows) if self.weight is None else self.weight
        mean: np.ndarray = (self.y @ weight) / self.total_weight
        return mean

    def head(self, n_rows: int) -> Rows:
        """Return the first rows, ungrouped, as rows of their own."""
        ids = np.arange(min(self.n_rows, self.block_rows, n_rows))
        return self.subset(ids, None if self.weight is None else self.weight[ids])

    @property
    def units(self) -> Rows:
        """The units of responsibility: the rows themselves, or one row per group."""
        return self if self._units is None else self._units

    def blocks(self) -> Iterator[Block]:
        """Yield new blocks in order; groups are never split."""
        if self.groups is None:
            for start in range(0, self.n_rows, self.block_rows):
                yield self._block(start, min(start + self.block_rows, self.n_rows))
            return
        ends = np.append(self._starts[1:], self.n_rows)
        first = 0
        while first < len(ends):
            start = int(self._starts[first])
            last = max(first + 1, int(np.searchsorted(ends, start + self.block_rows, "right")))
            unit = self.units._block(first, last)
            firsts = self._starts[first:last] - start
            yield self._block(start, int(ends[last - 1]), unit=unit, firsts=firsts)
            first = last

    def _block(self, start: int, stop: int, **of_groups: Any) -> Block:
        here = slice(start, stop)
        prepared = frame = None
        if self.training:
            prepared = self._prepared.setdefault((start, stop), PreparedDesigns(self._budget))
        elif self.frame is not None:
            frame = safe_indexing(self.frame, here)
        return Block(
            self._X_of(start, stop),
            start,
            y=None if self.y is None else self.y[..., here],
            weight=None if self.weight is None else self.weight[here],
            offset=None if self.offset is None else self.offset[:, here],
            labels=None if self.labels is None else self.labels[here],
            extra=None if self.extra is None else self.extra[here],
            frame=frame,
            training=self.training,
            missing=self.missing,
            prepared=prepared,
            **of_groups,
        )

    def _X_of(self, start: int, stop: int) -> Any:
        """Return the X of a block; the sparse rows of a fit are sliced only once."""
        if not sp.issparse(self.X):
            return self.X[start:stop]
        if (start, stop) not in self._sliced:
            X = rows_between(self.X, start, stop)
            if not self.training:
                return X
            self._sliced[start, stop] = X
        return self._sliced[start, stop]

    def linear(self, design: Design) -> Iterable[tuple[slice, Any]]:
        """Return the design matrix of every block, for products, with the rows it holds.

        Those of sparse rows are views, and kept.
        """
        if not (design.sparse and self.sparse):
            return super().linear(design)
        if design not in self._linear:
            self._linear[design] = [
                (slice(b.start, b.stop), b.linear(design)) for b in self.blocks()
            ]
        return self._linear[design]

    def take(self, ids: Any, columns: np.ndarray | None = None, own: bool = True) -> Any:
        """Return rows in their original form, for estimators: an array, CSR or a frame.

        The estimator may modify them in place; without `own` they may be a view.
        """
        X = safe_indexing(self.X if self.frame is None else self.frame, ids)
        if columns is not None:
            return safe_indexing(X, columns, axis=1)
        return owned(X) if own and isinstance(ids, slice) else X

    def subset(
        self, ids: np.ndarray, weight: np.ndarray | None, groups: np.ndarray | None = None
    ) -> Rows:
        """Return some of the rows as training rows with their own weights; designs are shared.

        Groups must be taken whole and contiguously. With `groups`, ungrouped rows become grouped.
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
                expert: {name: rows_of(value, ids, self.n_rows) for name, value in params.items()}
                for expert, params in self.metadata.items()
            },
            missing=self.missing,
            labels=None if self.labels is None else self.labels[ids],
            n_threads=self.n_threads,
        )
        if self.starts is not None:
            rows.attach(None if self.extra is None else self.extra[ids], self.starts)
        rows._designs = self._designs
        rows.units._designs = designs_of_units if groups is not None else self._designs
        return rows

    def reweighted(self, weight: np.ndarray) -> Rows:
        """Return the same rows with other weights; they may not be grouped."""
        rows = copy.copy(self)
        rows.weight = read_only(weight)
        rows.total_weight = float(weight.sum())
        return rows

    def shifted(self, shift: np.ndarray) -> Rows:
        """Return the same rows with a shift (n_outputs, n) added to the offset."""
        rows = copy.copy(self)
        rows.offset = read_only(shift if self.offset is None else self.offset + shift)
        return rows

    def retargeted(self, y: np.ndarray) -> Rows:
        """Return the same rows with other targets (n_outputs, n), and no offset."""
        rows = copy.copy(self)
        rows.y, rows.offset = read_only(y), None
        return rows

    def with_experts(self, experts: np.ndarray, n_experts: int) -> Rows:
        """Return the rows with labels renumbered for some of the experts.

        Rows of other experts become unlabelled.
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
        """Return responsibilities (K, n) averaged within groups."""
        if self.groups is None:
            return resp
        sizes = np.bincount(self.groups)
        return np.repeat(np.add.reduceat(resp, self._starts, axis=1) / sizes, sizes, axis=1)

    def spread(self, of_units: np.ndarray) -> np.ndarray:
        """Return what holds of units (K, n_units) for each of their rows, (K, n)."""
        if self.groups is None:
            return of_units
        return np.repeat(of_units, np.bincount(self.groups), axis=1)


def _block_rows(X: Any) -> int:
    """Return the number of rows per block."""
    return rows_per_block(X.shape[0], X.shape[1], X.nnz if sp.issparse(X) else None)


def rows_per_block(n_rows: int, n_features: int, n_stored: int | None = None) -> int:
    """Return the number of rows per block, given the number of stored entries of sparse rows."""
    items = BLOCK_ITEMS // max(1, n_features)
    if n_stored is not None:
        stored = BLOCK_ITEMS * n_rows // max(1, n_stored)
        items = max(items, min(stored, SPARSE_BLOCK_ITEMS // max(1, n_features)))
    return max(64, min(BLOCK_ROWS, items))
