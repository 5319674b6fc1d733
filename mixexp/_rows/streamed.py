"""Rows that are read anew from their source in every pass, and their sketch."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from mixexp._guests import read_only
from mixexp._rows.blocks import Block, Budget, PreparedDesigns
from mixexp._rows.designs import Design
from mixexp._rows.maps import cache_doubles
from mixexp._rows.passes import Passes
from mixexp._rows.rows import Rows, rows_per_block
from mixexp._rows.sketch import row_hashes
from mixexp._rows.source import RowSource, Run, recut

__all__ = ["Sketch", "StreamedRows", "Survey"]


@dataclass(frozen=True)
class Survey:
    """What a first pass over a source finds.

    Attributes
    ----------
    n_rows, n_features : int
    total_weight : float
    extremes : ndarray of shape (n_outputs, 2)
        Smallest and largest target of every output; of classes, of their codes.
    mean_target : ndarray of shape (n_outputs,)
    missing, sparse, weighted : bool
    n_stored : int
        Stored entries of sparse rows.
    """

    n_rows: int
    n_features: int
    total_weight: float
    extremes: np.ndarray
    mean_target: np.ndarray
    missing: bool
    sparse: bool
    weighted: bool
    n_stored: int


class StreamedRows(Passes):
    """The rows of a fit that are read anew in every pass.

    It stands for `Rows` where all parts are additive: there are no groups, labels, offsets or
    frames, and no `take`. Blocks are cut as those of `Rows` are, so that results agree.

    Parameters
    ----------
    source : RowSource
    survey : Survey
    n_threads : int, default=1
        Threads that evaluate blocks. Rows are read in one.
    """

    frame = offset = groups = labels = extra = None

    def __init__(self, source: RowSource, survey: Survey, n_threads: int = 1):
        self.source = source
        self.survey = survey
        self.n_threads = n_threads
        self.n_rows, self.n_features = survey.n_rows, survey.n_features
        self.total_weight, self.missing = survey.total_weight, survey.missing
        stored = survey.n_stored if survey.sparse else None
        self.block_rows = rows_per_block(self.n_rows, self.n_features, stored)
        self.training = True
        self.metadata: dict = {}
        self.starts: np.ndarray | None = None
        self._designs: dict[Hashable, Design] = {}
        self._prepared: dict[tuple[int, int], PreparedDesigns] = {}
        self._budget = Budget(cache_doubles(in_memory=False), self.n_rows)

    @property
    def units(self) -> StreamedRows:
        """The rows themselves, which have no groups."""
        return self

    @property
    def extremes(self) -> np.ndarray:
        """Smallest and largest target of every output, (n_outputs, 2)."""
        return self.survey.extremes

    @property
    def mean_target(self) -> np.ndarray:
        """Weighted mean of every output, (n_outputs,)."""
        return self.survey.mean_target

    @property
    def sparse(self) -> bool:
        """Whether the rows are sparse."""
        return self.survey.sparse

    @property
    def n_stored(self) -> int:
        """Number of stored entries of sparse rows."""
        return self.survey.n_stored

    @property
    def weight(self) -> np.ndarray | None:
        """The weights (n,), read in a pass of their own; None means ones."""
        if not self.survey.weighted:
            return None
        return np.concatenate([run.weight for run in self.source.runs()])

    def blocks(self) -> Iterator[Block]:
        """Yield new blocks in order."""
        start = 0
        for run in recut(self.source.runs(), self.block_rows):
            stop = start + run.X.shape[0]
            prepared = None
            if self.training:
                new = PreparedDesigns(self._budget)
                prepared = self._prepared.setdefault((start, stop), new)
            yield Block(
                read_only(run.X),
                start,
                y=read_only(run.y),
                weight=read_only(run.weight),
                training=self.training,
                missing=self.missing,
                prepared=prepared,
            )
            start = stop

    def _sparse_runs(self, columns: np.ndarray) -> Iterable[tuple[Any, np.ndarray | None]]:
        every = np.array_equal(columns, np.arange(self.n_features))
        return ((run.X if every else run.X[:, columns], run.weight) for run in self.source.runs())

    def head(self, n_rows: int) -> Rows:
        """Return the first rows as rows of their own."""
        runs = self.source.runs()
        first = next(recut(runs, min(self.block_rows, n_rows)))
        return Rows(first.X, first.y, first.weight, training=True, missing=self.missing)

    def share_designs(self, sketch: Rows) -> None:
        """Have a sketch use designs with the moments of all rows, as `Rows.subset` does."""
        sketch._designs = self._designs

    def attach(self, extra: None, starts: np.ndarray) -> None:
        """Note the columns that starts see; there are no others for additive parts."""
        self.starts = starts

    def with_experts(self, experts: np.ndarray, n_experts: int) -> StreamedRows:
        """Return itself: there are no labels."""
        return self

    def shared(self, resp: np.ndarray) -> np.ndarray:
        """Return responsibilities unchanged: there are no groups."""
        return resp

    spread = shared


class Sketch:
    """The rows of smallest hash of all runs so far, equal ones merged.

    Parameters
    ----------
    size : int
        Most rows.
    seed : int
        Of the hashes.

    Attributes
    ----------
    whole : bool
        Whether no distinct row has been left out.
    """

    def __init__(self, size: int, seed: int):
        self.size = size
        self.seed = seed
        self.whole = True
        self._hashes = np.zeros(0, dtype=np.uint64)
        self._kept: Run | None = None

    def add(self, run: Run) -> None:
        """Take in a run.

        A row that is left out has a larger hash than all that are kept, and so have its equals:
        weights are complete.
        """
        hashes = row_hashes(run.X, run.y, self.seed)
        if not self.whole:
            ids = np.flatnonzero(hashes <= self._hashes[-1])
            run, hashes = _taken(run, ids), hashes[ids]
        weight = np.ones(len(hashes)) if run.weight is None else run.weight
        new = Run(run.X, run.y, weight)
        if self._kept is not None:
            hashes = np.concatenate([self._hashes, hashes])
            new = _stacked(self._kept, new)
        distinct, ids, codes = np.unique(hashes, return_index=True, return_inverse=True)
        merged = np.bincount(codes.ravel(), weights=new.weight)[: self.size]
        self.whole = self.whole and len(distinct) <= self.size
        self._hashes, ids = distinct[: self.size], ids[: self.size]
        self._kept = _taken(new, ids)._replace(weight=merged)

    def __iadd__(self, other: Sketch) -> Sketch:
        """Take in the sketch of other rows: what it has left out has larger hashes than all of it.

        Those are left out here as well, as it is full of smaller ones.
        """
        if other._kept is not None:
            self.add(other._kept)
        self.whole = self.whole and other.whole
        return self

    def rows(self, missing: bool, n_threads: int = 1) -> Rows:
        """Return the sketch as training rows, in the order of their hashes."""
        assert self._kept is not None
        X, y, weight = self._kept
        ones = weight is None or np.all(weight == 1)
        return Rows(
            X, y, None if ones else weight, training=True, missing=missing, n_threads=n_threads
        )


def _taken(run: Run, ids: np.ndarray) -> Run:
    """Return some of the rows, as a copy."""
    return Run(run.X[ids], run.y[..., ids], None if run.weight is None else run.weight[ids])


def _stacked(first: Run, second: Run) -> Run:
    """Return two runs with weights as one."""
    X: list[Any] = [first.X, second.X]
    return Run(
        sp.vstack(X, format="csr") if sp.issparse(first.X) else np.concatenate(X),
        np.concatenate([first.y, second.y], axis=-1),
        np.concatenate([first.weight, second.weight]),
    )
