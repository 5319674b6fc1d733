"""Designs: the columns a part works on, centred and scaled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import scipy.sparse as sp

from mixexp._rows.basis import Based, Basis
from mixexp._rows.sparse import SparseMatrix, SparseRuns, sparse_moments, stays_sparse

if TYPE_CHECKING:
    from mixexp._rows.blocks import Block

__all__ = ["Design", "Units", "measured_design"]

#: Units in which a penalty is the same for all slopes: those of the spreads of columns, of the
#: input, or of the largest values of sparse columns (`Design.penalty`).
Units = Literal["spread", "input", "size"]

#: A column with a smaller spread relative to its size is constant up to rounding.
CONSTANT_TOL = 1e-13

#: Penalties in units of the input count a scale as no smaller than the inverse of this.
LARGEST = 1e150


@dataclass(frozen=True, eq=False)
class Design:
    """The columns a part works on, centred and scaled, below a row of ones.

    A column with missing values is followed, after all others, by its indicator: 1 where the
    value is missing. The value itself is replaced by the mean; given the indicator, any constant
    would give the same model.

    With a basis, its outputs take the place of the columns; indicators remain those of columns.

    Attributes
    ----------
    columns : ndarray of int
        Indices of the data's features.
    center, scale : ndarray of shape (n_values + n_indicators,)
        Weighted mean and standard deviation; a constant column has `scale` 0 and is left out.
        Without an intercept nothing is centred, and `scale` is the root mean square.
    intercept : bool
    indicators : ndarray of int
        Positions in `columns` with missing values in the training rows.
    missing : bool
        Whether rows may hold NaN at all.
    sparse : bool
        Whether products with sparse rows are taken as they are stored (`linear`).
    basis : Basis or None
        The map from the columns to the values that are centred and scaled; None is the identity.
    sizes : ndarray of shape (n_values,) or None
        The largest absolute values of sparse columns.
    rank : int or None
        The number of directions that the training rows span, if it is known and columns are more.
    """

    columns: np.ndarray
    center: np.ndarray
    scale: np.ndarray
    intercept: bool
    indicators: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=int))
    missing: bool = False
    sparse: bool = False
    basis: Basis | None = None
    sizes: np.ndarray | None = None
    rank: int | None = None

    #: Whether columns are uncorrelated but for the weights of experts.
    whitened: ClassVar[bool] = False

    @property
    def size(self) -> int:
        """Number of rows of a block's design matrix."""
        return len(self.scale) + self.intercept

    @property
    def varies(self) -> np.ndarray:
        """Which rows of the design matrix have coefficients, (size,): not constant columns."""
        return np.append(np.ones(int(self.intercept), dtype=bool), self.scale > 0)

    @property
    def n_varying(self) -> int:
        """Number of values of a row that vary, each of which has a coefficient."""
        return int(np.count_nonzero(self.scale))

    @property
    def n_slopes(self) -> int:
        """Number of coefficients that the training rows can tell apart, without an intercept."""
        return self.n_varying if self.rank is None else self.rank

    @property
    def n_values(self) -> int:
        """Number of values of a row before the indicators: of columns, or outputs of the basis."""
        return len(self.columns) if self.basis is None else self.basis.width

    @property
    def selection(self) -> np.ndarray | Based:
        """The columns and their basis, for a design of other rows."""
        return self.columns if self.basis is None else Based(self.columns, self.basis)

    def names(self, feature_names: Any) -> list[str]:
        """Return the names of the values of a row, given those of all features."""
        columns = [str(feature_names[j]) for j in self.columns]
        return columns if self.basis is None else self.basis.names(columns)

    @property
    def groups(self) -> np.ndarray:
        """The number of the column that each slope belongs to, (n_values + n_indicators,).

        Outputs of a basis belong to one column where they come from it alone; an indicator is a
        column of its own.
        """
        sources = np.arange(len(self.columns)) if self.basis is None else self.basis.sources
        n_sources = int(sources.max(initial=-1)) + 1
        return np.append(sources, n_sources + np.arange(len(self.indicators)))

    @cached_property
    def inverse_scale(self) -> np.ndarray:
        """1/scale, 0 for a constant column."""
        return np.divide(1.0, self.scale, out=np.zeros_like(self.scale), where=self.scale > 0)

    def seen_columns(self, mask: np.ndarray | None, n_experts: int) -> list[np.ndarray]:
        """Return the columns that each expert sees, by a mask (n_experts, size); None is all."""
        if mask is None:
            return [self.columns] * n_experts
        first = int(self.intercept)
        return [self.columns[seen[first : first + len(self.columns)]] for seen in mask]

    def penalty(self, alpha: float | np.ndarray, *, units: Units = "spread") -> np.ndarray:
        """Return the ridge penalty (size,) of scaled coefficients; none on the intercept.

        `alpha` is a number, or one for each slope. Constant columns get 1, which holds their
        coefficient at zero.

        In units of the spreads the penalty is alpha times the squared coefficients of the scaled
        columns, in those of the input, of the unscaled ones. Where columns are sparse, a spread is
        the smaller the fewer entries a column has, and the same penalty for all would let rare
        entries weigh as much as common ones. In units of the sizes it is that of columns over their
        largest values, times a factor with which the prior variance of predictors is as in units of
        the spreads; dense columns have no sizes, and keep their spreads.
        """
        slopes = np.where(self.scale > 0, alpha * self._penalty_weights(units), 1.0)
        return np.concatenate([np.zeros(int(self.intercept)), slopes])

    def _penalty_weights(self, units: Units) -> np.ndarray:
        """Return the weights of the squared coefficients of scaled columns in a penalty."""
        if units == "input":
            return np.minimum(self.inverse_scale, LARGEST) ** 2
        if units == "spread" or self.sizes is None:
            return np.ones(len(self.scale))
        shares = np.divide(self.scale, self.sizes, out=np.ones_like(self.scale)) ** 2
        varies = self.scale > 0
        mean = shares[varies].mean() if varies.any() else 1.0
        return mean / np.where(varies, shares, 1.0)

    def units_of(self, units: Units) -> Units:
        """Return the units, those of the spreads where sizes are not known."""
        return "spread" if units == "size" and self.sizes is None else units

    def in_units(self, units: Units) -> Design:
        """Return the design with columns scaled so that a penalty in these units is the same."""
        if self.units_of(units) == "spread":
            return self
        root = 1.0 if units == "input" else self.scale * np.sqrt(self._penalty_weights(units))
        scale = np.where(self.scale > 0, root, 0.0)
        return Design(self.columns, self.center, scale, self.intercept, sparse=self.sparse)

    @property
    def plain(self) -> Design:
        """The design of the columns themselves: of a row space another one."""
        return self

    def to_plain(self, theta: np.ndarray) -> np.ndarray:
        """Return coefficients (..., size) as coefficients of the plain design."""
        return theta

    def plain_penalty(self, penalty: np.ndarray) -> np.ndarray:
        """Return a penalty (size,) as that of the plain coefficients."""
        return penalty

    def begun(self, rows: Any) -> Design:
        """Return the design with the constant columns that vary in rows of its kind, or itself.

        Their centre stays, so that the design matrix of earlier rows does: 0. Their scale is that
        of the new rows about it.
        """
        asleep = np.flatnonzero(self.scale[: self.n_values] == 0)
        if not len(asleep):
            return self
        if self.basis is None:
            here, of = rows.design(self.columns[asleep]), np.arange(len(asleep))
        else:
            here, of = rows.design(self.selection), asleep
        moved = here.center[of] - self.center[asleep]
        size = np.maximum(np.abs(here.center[of]), np.abs(self.center[asleep]))
        scale = np.hypot(here.scale[of], np.where(np.abs(moved) > CONSTANT_TOL * size, moved, 0.0))
        if not scale.any():
            return self
        scales = self.scale.copy()
        scales[asleep] = scale
        sizes = self.sizes
        if sizes is not None:
            sizes = sizes.copy()
            sizes[asleep] = scale if here.sizes is None else here.sizes[of]
        return replace(self, scale=scales, sizes=sizes)

    def _selected(self, X: Any) -> Any:
        """Return the columns of the design, unscaled."""
        first_ones = self._are_first and len(self.columns) == X.shape[1]
        return X if first_ones else X[:, self.columns]

    @cached_property
    def _are_first(self) -> bool:
        """Whether the columns are the first ones of the data, in their order."""
        return np.array_equal(self.columns, np.arange(len(self.columns)))

    def linear(self, X: Any) -> SparseMatrix:
        """Return the design matrix of sparse rows without missing values, for products only."""
        return SparseMatrix(self._selected(X), self.center, self.inverse_scale, self.intercept)

    def matrix(self, X: Any, *, missing: bool = False) -> np.ndarray:
        """Return the design matrix (size, m) of rows X (m, n_features), in float64.

        With `missing`, NaN may occur even in columns without NaN in training.
        """
        X = self._selected(X)
        if sp.issparse(X) and (self.basis is None or len(self.indicators)):
            X = X.toarray()
        values = X if self.basis is None else self.basis.outputs(X)
        out = np.empty((self.size, X.shape[0]))
        out[: int(self.intercept)] = 1.0
        slopes, n_values = out[int(self.intercept) :], self.n_values
        with np.errstate(over="ignore"):  # new rows may overflow; `linear_scores` handles it
            np.subtract(values.T, self.center[:n_values, None], out=slopes[:n_values])
            if self.missing or missing:
                unknown = np.isnan(slopes[:n_values])
                slopes[:n_values][unknown] = 0.0
                absent = unknown[self.indicators] if self.basis is None else self._absent(X)
                slopes[n_values:] = absent - self.center[n_values:, None]
            slopes *= self.inverse_scale[:, None]
        return out

    def _absent(self, X: Any) -> np.ndarray:
        """Return where the columns with an indicator are missing, given all columns."""
        if not len(self.indicators):
            return np.zeros((0, X.shape[0]))
        return np.isnan(X.T[self.indicators])

    def to_input_units(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return slopes (..., n_values + n_indicators) and intercepts (...) in input units."""
        slopes = theta[..., int(self.intercept) :] * self.inverse_scale
        if not self.intercept:
            return slopes, np.zeros(theta.shape[:-1])
        return slopes, theta[..., 0] - slopes @ self.center


def measured_design(
    reduce: Callable[[Callable[[Block], Any]], Any],
    columns: np.ndarray,
    centred: bool,
    total_weight: float,
    missing: bool,
    sparse: SparseRuns | None = None,
    basis: Basis | None = None,
) -> Design:
    """Return the design of columns with their weighted moments, from three passes over blocks.

    `reduce` sums a function over blocks (`Passes.reduce`), wherever they are. `sparse` yields all
    rows of these columns if they are sparse and without missing values: then nothing is filled in.

    Columns are divided by their largest absolute value to prevent squares from overflowing.
    Missing values count as the mean of their column.
    """
    if sparse is not None:
        unit, center, spread, filled = sparse_moments(sparse, len(columns), total_weight, centred)
        scale = _scale(spread, unit)
        center = center * unit
        stays = stays_sparse(filled, center, scale)
        return Design(columns, center, scale, centred, sparse=stays, sizes=unit if stays else None)
    n_values = len(columns) if basis is None else basis.width
    plain = Design(columns, np.zeros(n_values), np.ones(n_values), False, basis=basis)
    extent: _Extent = reduce(partial(_extent, plain=plain, missing=missing))
    size, present = np.fmax(extent.size, 0.0), total_weight - extent.absent
    if basis is not None and not np.all(np.isfinite(size)):
        raise ValueError(
            f"{basis.name} gives infinite values. Use a transformer that stays within the numbers."
        )
    unit = np.where(size > 0, size, 1.0)
    center = np.zeros(n_values)
    if centred:
        center = reduce(partial(_first_moment, plain=plain, unit=unit, missing=missing))
        center /= np.where(present > 0, present, 1.0)
    squares = partial(_second_moment, plain=plain, unit=unit, missing=missing, center=center)
    spread = np.sqrt(reduce(squares) / total_weight)
    scale = _scale(spread, unit)
    if not missing:
        return Design(columns, center * unit, scale, centred, basis=basis)
    absent = 1 - present / total_weight
    if basis is not None:
        of_columns = Design(columns, np.zeros(len(columns)), np.ones(len(columns)), False)
        absent = reduce(partial(_absent_weight, plain=of_columns)) / total_weight
    indicators = np.flatnonzero(absent > CONSTANT_TOL)
    share = absent[indicators]
    return Design(
        columns,
        np.append(center * unit, share if centred else 0 * share),
        np.append(scale, np.sqrt(share * (1 - share) if centred else share)),
        centred,
        indicators,
        missing=True,
        basis=basis,
    )


@dataclass
class _Extent:
    """Largest absolute values of columns, NaN where all are missing, and weight that is missing."""

    size: np.ndarray
    absent: np.ndarray

    def __iadd__(self, other: _Extent) -> _Extent:
        self.size = np.fmax(self.size, other.size)
        self.absent = self.absent + other.absent
        return self


def _extent(block: Block, plain: Design, missing: bool) -> _Extent:
    """Return the extent of a block's columns."""
    part = np.abs(plain.matrix(block.numbers))
    absent = np.zeros(len(part))
    if missing:
        absent = _weighted_sum(np.isnan(part), block.weight)
    return _Extent(np.fmax.reduce(part, axis=1), absent)


def _first_moment(block: Block, plain: Design, unit: np.ndarray, missing: bool) -> np.ndarray:
    """Return the sums of a block's columns in these units."""
    return _weighted_sum(_in_units(plain, block, unit, missing), block.weight)


def _second_moment(
    block: Block, plain: Design, unit: np.ndarray, missing: bool, center: np.ndarray
) -> np.ndarray:
    """Return the sums of squares of a block's columns in these units, centred."""
    part = _in_units(plain, block, unit, missing, center)
    part *= part
    return _weighted_sum(part, block.weight)


def _absent_weight(block: Block, plain: Design) -> np.ndarray:
    """Return the weight of the rows of a block with a missing value in each column."""
    return _weighted_sum(np.isnan(plain.matrix(block.numbers)), block.weight)


def _scale(spread: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Return the scales of columns from their spreads in these units; 0 for a constant one."""
    scale = np.where(spread > CONSTANT_TOL, spread, 0.0) * unit
    scale[scale < np.finfo(float).tiny] = 0.0  # its inverse would overflow
    return scale


def _in_units(
    plain: Design,
    block: Block,
    unit: np.ndarray,
    missing: bool,
    center: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Return the columns of a block in these units, centred; 0 for a missing value."""
    part = plain.matrix(block.numbers) / unit[:, None]
    part -= center[:, None] if isinstance(center, np.ndarray) else center
    if missing:
        part[np.isnan(part)] = 0.0
    return part


def _weighted_sum(values: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Return the sums of rows (p, m) over m."""
    return values.sum(axis=1) if weight is None else values @ weight
