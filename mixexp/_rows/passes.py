"""Passes over rows, whatever their source: maps and sums over blocks, moments of columns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
from contextlib import closing
from functools import partial
from typing import Any, TypeVar

import numpy as np

from mixexp._numerics import RANK_TOL
from mixexp._rows.basis import Based
from mixexp._rows.blocks import Block
from mixexp._rows.designs import Design, Units, measured_design
from mixexp._rows.in_order import in_joblib_worker, in_order
from mixexp._rows.row_space import row_space, spans_few
from mixexp._rows.sparse import FEWEST_COLUMNS

__all__ = ["Passes"]

S = TypeVar("S")

#: Most columns of a design whose rank is found.
MOST_RANKED = 2000

#: Fewest blocks for each thread: below, starting and ending threads costs what they gain.
BLOCKS_PER_THREAD = 4


class Passes(ABC):
    """What the engine does with rows by blocks: all that additive parts need.

    Attributes
    ----------
    n_rows, n_features : int
    block_rows : int
        Most rows of a block.
    total_weight : float
    missing : bool
        Whether rows may hold NaN.
    n_threads : int
    """

    n_rows: int
    n_features: int
    block_rows: int
    total_weight: float
    missing: bool
    n_threads: int
    _designs: dict[Hashable, Design]

    @property
    @abstractmethod
    def sparse(self) -> bool:
        """Whether the rows are sparse."""

    @abstractmethod
    def blocks(self) -> Iterator[Block]:
        """Yield new blocks in order."""

    def linear(self, design: Design) -> Iterable[tuple[slice, Any]]:
        """Return the design matrix of every block, for products, with the rows it holds."""
        return ((slice(b.start, b.stop), b.linear(design)) for b in self.blocks())

    @abstractmethod
    def _sparse_runs(self, columns: np.ndarray) -> Iterable[tuple[Any, np.ndarray | None]]:
        """Return these columns of all rows, which are sparse, in runs, with their weights."""

    def reduce(self, function: Callable[[Block], S]) -> S:
        """Return the sum of `function(block)` over the blocks, added in their order.

        The function must be pure and its results must add (`+=`). A source may evaluate it
        anywhere, as long as results are added in this order.
        """
        with closing(self._results(function)) as results:
            total = next(results)
            for result in results:
                total += result  # type: ignore[operator]
        return total

    def map(self, function: Callable[[Block], np.ndarray], axis: int = 0) -> np.ndarray:
        """Return `function(block)` of all blocks, joined along an axis."""
        with closing(self._results(function)) as results:
            return np.concatenate(list(results), axis=axis)

    def _results(self, function: Callable[[Block], S]) -> Generator[S, None, None]:
        """Yield `function(block)` of all blocks in order; in threads where that pays.

        A start that shares the cores with others, in a thread of joblib, has one.
        """
        n_threads = min(self.n_threads, self.n_rows // (BLOCKS_PER_THREAD * self.block_rows))
        if n_threads > 1 and in_joblib_worker():
            n_threads = 1
        return in_order(function, self.blocks(), max(1, n_threads))

    def design(self, columns: np.ndarray | Based | None, intercept: bool = True) -> Design:
        """Return the design of these columns, cached per argument."""
        columns, basis = columns if isinstance(columns, Based) else (columns, None)
        columns = np.arange(self.n_features) if columns is None else columns
        key = (tuple(columns.tolist()), intercept, basis)
        if key not in self._designs:
            fills = self.missing or basis is not None or len(columns) <= FEWEST_COLUMNS
            stays = self.sparse and not fills
            self._designs[key] = measured_design(
                self.reduce,
                columns,
                intercept,
                self.total_weight,
                self.missing,
                partial(self._sparse_runs, columns) if stays else None,
                basis,
            )
        return self._designs[key]

    def spanned(self, design: Design, *, units: Units = "spread") -> Design:
        """Return the design in coordinates of the row space where that is cheaper, else itself.

        Its coordinates suit a penalty in these units.
        """
        if not spans_few(self, design):
            return design
        units = design.units_of(units)
        key = (design, units)
        if key not in self._designs:
            self._designs[key] = row_space(self, design, units=units)
        return self._designs[key]

    def begun(self, design: Design) -> Design:
        """Return a design of earlier rows with its constant columns that vary in these rows.

        Parts that share a design share the new one.
        """
        if design.n_varying == len(design.scale):
            return design
        key = (design, "begun")
        if key not in self._designs:
            self._designs[key] = design.begun(self)
        return self._designs[key]

    def rank(self, design: Design, masks: np.ndarray | None = None) -> np.ndarray | None:
        """Return how many columns of a design are linearly independent over the rows, (1,).

        Of the columns that each expert sees, (K,), by masks (K, size). It takes a pass and a Gram
        matrix; None for more than `MOST_RANKED` columns.
        """
        if design.size > MOST_RANKED:
            return None
        gram = self.reduce(partial(_gram, design=design))
        masks = design.varies[None] if masks is None else masks * design.varies
        return np.array([_rank(gram[np.ix_(seen, seen)]) for seen in masks.astype(bool)])


def _gram(block: Block, design: Design) -> np.ndarray:
    matrix = block.matrix(design)
    weighted = matrix if block.weight is None else matrix * block.weight
    return np.asarray(weighted @ matrix.T)


def _rank(gram: np.ndarray) -> int:
    """Return the rank of a Gram matrix, up to rounding; columns may have any units."""
    size = np.sqrt(gram.diagonal())
    values = np.linalg.eigvalsh(gram / np.multiply.outer(size, size))
    return int(np.count_nonzero(values > len(gram) * RANK_TOL * values.max(initial=0.0)))
