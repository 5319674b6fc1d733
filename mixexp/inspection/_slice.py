"""A mixture over one or two features, with all others held."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixexp._columns import given_names, rows_at
from mixexp._wrapped import find_mixture, transformed
from mixexp.inspection._axes import Axis
from mixexp.inspection._domain import Grid, evaluate_on_grid, where_defined
from mixexp.inspection._inputs import (
    check_features,
    check_resolution,
    check_row,
    check_width,
    complete_rows,
    default_features,
    fill_table,
    refuse_missing,
    table_columns,
    table_names,
)
from mixexp.inspection._principal import PRINCIPAL, Projection
from mixexp.inspection._regions import held_values, region_grid
from mixexp.metrics import gate_importance

__all__ = ["Slice"]

#: Rows on which the columns are compared that the gate uses: which two are the largest hardly
#: depends on more.
ROWS = 300

SCALES = ("auto", "linear", "log")


@dataclass(frozen=True)
class Slice:
    """A fitted mixture, rows, and the one or two features that vary over them.

    Attributes
    ----------
    before, mixture : list, estimator
        The transformers before the mixture, and the mixture.
    X : table
        The rows, as the first transformer takes them.
    drawn : ndarray of int of shape (m,)
        Those that have a value in each column that varies.
    columns : list of ndarray
        Its columns.
    names : list of str
        Their names.
    row : list
        The values of columns that do not vary.
    varied : tuple of int
        Positions of those that vary.
    axes : tuple of Axis
        The axes: one for each of these, or two of a projection.
    projection : Projection or None
        The map from two principal axes to columns.
    typical : bool
        Whether `row` is made of medians and most frequent values.
    rest : tuple of int
        Positions of columns that do not vary, those first that the gate uses most.
    """

    before: list[Any]
    mixture: Any
    X: Any
    drawn: np.ndarray
    columns: list[np.ndarray]
    names: list[str]
    row: list[Any]
    varied: tuple[int, ...]
    axes: tuple[Axis, ...]
    projection: Projection | None
    typical: bool
    rest: tuple[int, ...]

    @classmethod
    def of(
        cls,
        estimator: Any,
        X: Any,
        *,
        features: Any,
        at: Any,
        scales: Any,
        owner: str,
        feature_names: Any = None,
        most: int = 2,
    ) -> Slice:
        """Return the slice; error messages begin with `owner`."""
        before, mixture = find_mixture(estimator, owner)
        columns = table_columns(X, owner)
        check_width(len(columns), estimator, owner)
        if feature_names is None:
            names = table_names(X, estimator)
        else:
            names = given_names(feature_names, len(columns), owner)
        refuse_missing(columns, names, lambda: mixture.route(transformed(before, X)), owner)
        chosen = _checked_scales(scales, owner)
        ranked, projection = _by_use(estimator, X, len(columns)), None
        if isinstance(features, str) and features == PRINCIPAL and features not in (names or []):
            numeric = default_features(columns)
            drawn = complete_rows(columns, numeric, names, owner)
            projection = Projection.of([column[drawn] for column in columns], names, owner)
            varied = projection.columns
        elif features is None:
            numeric = default_features(columns)
            varied = tuple(sorted([j for j in ranked if j in numeric][:most]))
        else:
            varied = check_features(features, names, columns, owner)
        row = held_values(columns) if at is None else check_row(at, names, columns, varied, owner)
        if projection is None:
            drawn = complete_rows(columns, varied, names, owner)
            axes = tuple(Axis.of(columns[j][drawn], chosen[i]) for i, j in enumerate(varied))
        else:
            axes = tuple(Axis(scores) for scores in projection.scores.T)
        return cls(
            before,
            mixture,
            X,
            drawn,
            columns,
            [f"feature {j}" for j in range(len(columns))] if names is None else names,
            row,
            varied,
            axes,
            projection,
            at is None,
            tuple(j for j in ranked if j not in varied),
        )

    @property
    def data(self) -> Any:
        """The rows that are drawn, as the mixture takes them."""
        rows = self.X if self.complete else rows_at(self.X, self.drawn)
        return transformed(self.before, rows)

    @property
    def complete(self) -> bool:
        """Whether all rows are drawn."""
        return len(self.drawn) == np.shape(self.X)[0]

    def targets(self, y: Any) -> Any:
        """Return the targets of the rows that are drawn."""
        if y is None or self.complete:
            return y
        return rows_at(y if hasattr(y, "shape") else np.asarray(y), self.drawn)

    @property
    def axis_names(self) -> list[str]:
        """Names of the axes."""
        if self.projection is not None:
            return self.projection.names
        return [self.names[j] for j in self.varied]

    @property
    def scales(self) -> list[Any]:
        """Scales of the axes."""
        return [axis.scale for axis in self.axes]

    @property
    def points(self) -> np.ndarray:
        """Positions of the rows that are drawn along the axes (n, 1 or 2)."""
        return np.column_stack([axis.positions for axis in self.axes])

    @property
    def held(self) -> dict[str, Any]:
        """The columns that do not vary, and their values; those first that the gate uses most."""
        return {self.names[j]: self.row[j] for j in self.rest}

    def deciders(self, y: Any) -> list[str]:
        """Return what decides the experts of rows besides the axes: other features, targets."""
        hidden = self.projection is not None and len(self.varied) > 2
        return ["other features"] * bool(self.rest or hidden) + ["y"] * (y is not None)

    def table(self, grid: Grid) -> Any:
        """Return the points of a grid as a table like X."""
        places = region_grid(grid)
        if self.projection is not None:
            coordinates = self.projection.to_columns(np.column_stack(places))
        else:
            values = [axis.of_column(at) for axis, at in zip(self.axes, places, strict=True)]
            coordinates = dict(zip(self.varied, values, strict=True))
        return fill_table(self.X, self.columns, self.row, coordinates)

    def evaluate(
        self, resolution: Any, function: Callable[[Any], dict[str, np.ndarray]], owner: str
    ) -> tuple[Grid, dict[str, np.ndarray]]:
        """Return a grid and the values of a function of the mixture's rows on it."""
        n_points = check_resolution(resolution, owner)

        def on(grid: Grid) -> dict[str, np.ndarray]:
            return where_defined(transformed(self.before, self.table(grid)), function)

        return evaluate_on_grid(self.axes, n_points, on)


def _checked_scales(scales: Any, owner: str) -> list[str]:
    """Return the scale of each axis."""
    chosen = [scales] * 2 if isinstance(scales, str) else list(scales)
    if not chosen or any(scale not in SCALES for scale in chosen):
        raise ValueError(
            f"{owner}: scales={scales!r} is not valid; give one of {', '.join(SCALES)}, or a list "
            "with one for each axis."
        )
    return [*chosen, chosen[-1]][:2]


def _by_use(estimator: Any, X: Any, n_columns: int) -> list[int]:
    """Return the positions of the columns, those first that the gate uses most."""
    in_order = list(range(n_columns))
    if n_columns < 2:
        return in_order
    table = X if hasattr(X, "columns") else np.asarray(X)
    rows = np.unique(np.linspace(0, len(table) - 1, ROWS).astype(int))
    try:
        with np.errstate(invalid="ignore", divide="ignore"):
            used = gate_importance(estimator, rows_at(table, rows), n_repeats=1, random_state=0)
    except ValueError:  # rows with a value of another row may be outside the domain of a step
        return in_order
    return sorted(in_order, key=lambda j: -used.importances_mean[j])
