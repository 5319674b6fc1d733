"""Evaluate an estimator on a grid without leaving the domain of its transformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.sparse import issparse

from mixexp.inspection._axes import Axis, margins_of

__all__ = ["Grid", "evaluate_on_grid", "where_defined"]

#: Values of the features along the axes of a picture.
Grid = tuple[np.ndarray, ...]


def evaluate_on_grid(
    axes: Sequence[Axis],
    resolution: int,
    evaluate: Callable[[Grid], dict[str, np.ndarray]],
) -> tuple[Grid, dict[str, np.ndarray]]:
    """Return a grid over some axes and the values of a function on it.

    1. Add a margin at both ends of every axis.
    2. If the function fails with ValueError or returns NaN there, as a logarithm does left of 0,
       try a margin at each end alone and keep those that work.
    3. If they do not work together either, use no margin at all.

    Parameters
    ----------
    axes : sequence of Axis
        Of the features that vary.
    resolution : int
        Points along each axis.
    evaluate : callable
        Takes a grid and returns a dict of arrays, with NaN where a point is outside the domain.
    """
    sides = range(2 * len(axes))
    grid, values = _try_margins(axes, resolution, evaluate, sides)
    if values is not None:
        return grid, values
    open_sides = [s for s in sides if _try_margins(axes, resolution, evaluate, [s])[1] is not None]
    grid, values = _try_margins(axes, resolution, evaluate, open_sides)
    if values is not None:
        return grid, values
    grid = _grid(axes, resolution, [])
    with np.errstate(invalid="ignore", divide="ignore"):
        return grid, evaluate(grid)


def _grid(axes: Sequence[Axis], resolution: int, sides: Sequence[int]) -> Grid:
    """Return a grid with margins at some sides; 0 and 1 are the two ends of the first axis."""
    return tuple(axis.values(resolution, margins_of(sides, j)) for j, axis in enumerate(axes))


def _try_margins(
    axes: Sequence[Axis],
    resolution: int,
    evaluate: Callable[[Grid], dict[str, np.ndarray]],
    sides: Sequence[int],
) -> tuple[Grid, dict[str, np.ndarray] | None]:
    """Return a grid with a margin at some sides, and the values on it, or None if any is NaN."""
    grid = _grid(axes, resolution, sides)
    try:
        with np.errstate(invalid="ignore", divide="ignore"):
            values = evaluate(grid)
    except ValueError:
        return grid, None
    missing = any(np.isnan(array).any() for array in values.values())
    return grid, None if missing else values


def where_defined(
    rows: Any, evaluate: Callable[[Any], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Return the values of a function of rows, with NaN for rows that are not finite.

    If no row is finite, the function is called with all of them, so that its own error is raised.
    """
    defined = finite_rows(rows)
    if defined.all() or not defined.any():
        return evaluate(rows)
    ids = np.flatnonzero(defined)
    values = evaluate(rows.iloc[ids] if hasattr(rows, "iloc") else rows[ids])
    filled = {}
    for name, array in values.items():
        filled[name] = np.full((len(defined), *array.shape[1:]), np.nan)
        filled[name][ids] = array
    return filled


def finite_rows(rows: Any) -> np.ndarray:
    """Return a mask (n,) of the rows of an array, matrix or frame that are finite.

    Non-numeric columns of a frame count as finite.
    """
    if issparse(rows):
        finite = rows.copy()
        finite.data = ~np.isfinite(finite.data)
        return np.asarray(finite.sum(axis=1)).ravel() == 0
    if not hasattr(rows, "columns"):
        values = np.asarray(rows)
        number = values.dtype.kind == "f"
        return np.isfinite(values).all(axis=1) if number else np.ones(len(values), dtype=bool)
    finite = np.ones(len(rows), dtype=bool)
    for j in range(len(rows.columns)):  # names may occur twice
        values = np.asarray(rows.iloc[:, j] if hasattr(rows, "iloc") else rows[:, j])
        if values.dtype.kind == "f":
            finite &= np.isfinite(values)
    return finite
