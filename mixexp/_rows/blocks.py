"""Row blocks, which the engine passes to every part of the model in turn."""

from __future__ import annotations

import copy
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from mixexp._compat import safe_indexing
from mixexp._guests import owned
from mixexp._numerics import column_products, weighted_gram

if TYPE_CHECKING:
    from mixexp._rows.designs import Design

__all__ = ["Block", "Budget", "PreparedDesigns", "with_extra"]

#: Most design columns whose products are kept between passes: more are formed as fast as read.
KEPT_COLUMNS = 32


def with_extra(X: Any, extra: np.ndarray | None) -> Any:
    """Return rows with extra columns (m, q) appended."""
    if extra is None:
        return X
    stacked = [X, extra]
    return sp.hstack(stacked, format="csr") if sp.issparse(X) else np.hstack(stacked)


class Budget:
    """Doubles that blocks of the same rows may keep between passes: those of the first rows.

    What a block may keep does not depend on when it asks: products that are kept are summed
    otherwise than those formed anew, and blocks in threads ask in any order.
    """

    def __init__(self, n_doubles: float, n_rows: int, first: int = 0):
        self.n_doubles = n_doubles
        self.n_rows = n_rows
        self.first = first  # position of the first row among those of the source
        self._left = n_doubles
        self._ends: dict[Design, list[int]] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple:
        """Send a budget of which nothing is reserved: nothing that is kept is sent."""
        return Budget, (self.n_doubles, self.n_rows, self.first)

    def ends(self, design: Design, *sizes: int) -> list[int]:
        """Return up to which row each of several forms of a design may be kept.

        Forms, of these many doubles per row, follow each other: rows for which the first is too
        large get the second. The first block that asks reserves for all rows.
        """
        with self._lock:
            if design not in self._ends:
                end, ends = self.first, []
                for size in sizes:
                    n_rows = min(self.first + self.n_rows - end, int(self._left // max(1, size)))
                    self._left -= n_rows * size
                    end += n_rows
                    ends.append(end)
                self._ends[design] = ends
            return self._ends[design]


class PreparedDesigns:
    """Design matrices and column products of one block, cached between passes.

    Parameters
    ----------
    budget : Budget
    """

    def __init__(self, budget: Budget):
        self.budget = budget
        self.kept: dict[Design, tuple[np.ndarray, np.ndarray | None]] = {}
        self.linear: dict[Design, Any] = {}

    def prepare(self, design: Design, block: Block) -> tuple[np.ndarray, np.ndarray | None]:
        """Return design matrix and column products, None if not cached."""
        if design in self.kept:
            return self.kept[design]
        matrix = design.matrix(block.numbers, missing=block.missing)
        products = None
        sizes = [design.size]
        if design.size <= KEPT_COLUMNS:
            sizes = [design.size * (design.size + 1) // 2, design.size]
        *of_products, end = self.budget.ends(design, *sizes)
        if of_products and block.stop <= of_products[0]:
            products = column_products(matrix)
            if design.intercept:
                matrix = products[: design.size]
        elif block.stop > end:
            return matrix, None
        self.kept[design] = (matrix, products)
        return matrix, products


class Block:
    """Consecutive rows: plain arrays that can be sent, without their source.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (m, n_features)
        Features as numbers.
    start : int
        Position of the first row among all rows of the source.
    y : ndarray of shape (n_outputs, m) or (m,), or None
    weight : ndarray of shape (m,) or None
        Row weights; None means ones. A wrapper may pass a block on with other weights
        (`reweighted`); `row_weight` keeps the original.
    offset : ndarray of shape (n_outputs or n_classes or 1, m), or None
    labels : ndarray of int of shape (m,), or None
        Experts of the rows, −1 if unknown.
    extra : ndarray of shape (m, q), or None
        Columns that designs see after those of X (`Rows.attach`).
    frame : data frame or None
        The same rows as a data frame, for estimators that ask for column names.
    training : bool
        Whether these are rows of the fit.
    missing : bool
        Whether X may hold NaN.
    unit : Block or None
        One row per group, where rows are grouped.
    firsts : ndarray of int or None
        First row of each group in the block.
    prepared : PreparedDesigns or None
        Cache of the block between passes; it is not sent.

    Attributes
    ----------
    reached : ndarray of bool of shape (K, m), or None
        The experts that each row reaches; None means all.
    """

    def __init__(
        self,
        X: Any,
        start: int = 0,
        *,
        y: np.ndarray | None = None,
        weight: np.ndarray | None = None,
        offset: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        extra: np.ndarray | None = None,
        frame: Any = None,
        training: bool = False,
        missing: bool = False,
        unit: Block | None = None,
        firsts: Any = None,
        prepared: PreparedDesigns | None = None,
    ):
        self.X = X
        self.start, self.stop = start, start + X.shape[0]
        self.y: Any = y
        self.weight = self.row_weight = weight
        self.offset = offset
        self.labels = labels
        self.extra = extra
        self.frame = frame
        self.training = training
        self.missing = missing
        self.firsts = firsts
        self.reached: np.ndarray | None = None
        self._unit = unit
        self._prepared = prepared
        self._matrices: dict[Design, tuple[np.ndarray, np.ndarray | None]] = {}
        self._linear: dict[Design, Any] = {}
        self._scratch: dict[int, tuple[Any, Any]] = {}

    def __getstate__(self) -> dict:
        """Drop caches, which the receiver can rebuild."""
        return vars(self) | {"_prepared": None, "_matrices": {}, "_linear": {}, "_scratch": {}}

    def __copy__(self) -> Block:
        """Return a shallow copy, including the caches that `__getstate__` drops."""
        block = object.__new__(Block)
        vars(block).update(vars(self))
        return block

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.stop - self.start

    @property
    def numbers(self) -> Any:
        """The rows as seen by designs: X and the extra columns."""
        return with_extra(self.X, self.extra)

    @property
    def unit(self) -> Block:
        """The rows seen by the gate: the block itself, or one row per group."""
        return self if self._unit is None else self._unit

    def fresh(self) -> Block:
        """Return the block for another pass, without values kept in the last one."""
        block = copy.copy(self)
        block._scratch = {}
        block._unit = None if self._unit is None else self._unit.fresh()
        return block

    def reweighted(self, weight: np.ndarray | None) -> Block:
        """Return the block with other weights; caches are shared."""
        block = copy.copy(self)
        block.weight = weight
        return block

    def reaching(self, experts: np.ndarray) -> Block:
        """Return the block with the experts (K, m) that each row reaches; caches are shared.

        A bank may leave out the work of other experts, whose values do not matter.
        """
        block = copy.copy(self)
        block.reached = None if np.all(experts) else experts
        return block

    def rows_at(self, ids: np.ndarray) -> Block:
        """Return some of the rows as a block of its own, for predictions; designs are kept."""
        block = Block(
            self.X[ids],
            offset=None if self.offset is None else self.offset[:, ids],
            extra=None if self.extra is None else self.extra[ids],
            frame=None if self.frame is None else safe_indexing(self.frame, ids),
            missing=self.missing,
        )
        block._matrices = {
            design: (np.ascontiguousarray(matrix[:, ids]), None)
            for design, (matrix, _) in self._matrices.items()
        }
        return block

    def spread(self, of_units: np.ndarray) -> np.ndarray:
        """Return what holds of units (K, m) for each of their rows."""
        if self._unit is None:
            return of_units
        return np.repeat(of_units, np.diff(self.firsts, append=self.n_rows), axis=1)

    def shifted(self, shift: np.ndarray) -> Block:
        """Return the block with a shift (n_outputs, m) added to the offset; caches are shared."""
        block = copy.copy(self)
        block.offset = shift if self.offset is None else self.offset + shift
        return block

    def of_units(self, log_prob: np.ndarray) -> np.ndarray:
        """Return log-densities (K, m) summed over the rows of a group; weights are exponents."""
        if self._unit is None:
            return log_prob
        if self.weight is not None:
            log_prob = log_prob * self.weight
        return np.add.reduceat(log_prob, self.firsts, axis=1)

    def of_rows(self, resp: np.ndarray) -> np.ndarray:
        """Return every row's responsibilities (K, m) from those of the units, times weights."""
        resp = self.spread(resp)
        if self.weight is not None:
            resp *= self.weight
        return resp

    def take(self, columns: np.ndarray | None = None) -> Any:
        """Return the rows in their original form, for estimators: an array, CSR or a frame.

        The estimator may modify them in place.
        """
        X = self.X if self.frame is None else self.frame
        if columns is None and sp.issparse(X):
            return X.copy()  # a view of all rows
        return owned(X) if columns is None else safe_indexing(X, columns, axis=1)

    def matrix(self, design: Design) -> np.ndarray:
        """Return the design matrix (p, m)."""
        return self._prepare(design)[0]

    def linear(self, design: Design) -> Any:
        """Return the design matrix (p, m) for products from the left only.

        It is that of `matrix`, or a `SparseMatrix` where rows are sparse and stay so.
        """
        if not (design.sparse and sp.issparse(self.X)) or self.missing:
            return self.matrix(design)
        kept = self._linear if self._prepared is None else self._prepared.linear
        if design not in kept:
            kept[design] = design.linear(self.numbers)
        return kept[design]

    def products(self, design: Design) -> np.ndarray | None:
        """Return the products of the design's columns if cached."""
        return self._prepare(design)[1]

    def gram(self, weights: np.ndarray, design: Design) -> np.ndarray:
        """Return the Gram matrices of weight rows (q, m), as `weighted_gram`; q may be 0."""
        if not len(weights):  # parts that take products: the design is not even filled in
            return np.empty((0, 0))
        return weighted_gram(weights, self.matrix(design), self.products(design))

    def _prepare(self, design: Design) -> tuple[np.ndarray, np.ndarray | None]:
        if design not in self._matrices:
            self._matrices[design] = (
                (design.matrix(self.numbers, missing=self.missing), None)
                if self._prepared is None
                else self._prepared.prepare(design, self)
            )
        return self._matrices[design]

    def keep(self, part: Any, value: Any) -> None:
        """Keep a value from a part's `log_prob` for its `statistics` in the same pass."""
        self._scratch[id(part)] = part, value  # keep the part as well, to reserve its id

    def recall(self, part: Any) -> Any:
        """Return the value kept by a part's `log_prob`, evaluating that if needed."""
        if id(part) not in self._scratch:
            part.log_prob(self)
        return self._scratch[id(part)][1]
