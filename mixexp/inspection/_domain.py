"""Grids end where an estimator is defined: a logarithm in front of a mixture knows no -1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.sparse import issparse

from mixexp.inspection._regions import MARGIN, axis_values

__all__ = ["Grid", "answers_on_grid", "transformed", "where_defined"]

#: Values of the features along the axes of a picture.
Grid = tuple[np.ndarray, ...]


def transformed(steps: Sequence[Any], rows: Any) -> Any:
    """Return rows as the fitted transformers before a mixture hand them to it."""
    for step in steps:
        rows = step.transform(rows)
    return rows


def answers_on_grid(
    columns: Sequence[np.ndarray], resolution: int, ask: Callable[[Grid], dict[str, np.ndarray]]
) -> tuple[Grid, dict[str, np.ndarray]]:
    """Return the grid over some columns, and what `ask` answers there.

    1. Go a little beyond the rows at both ends of every axis.
    2. Where there is no answer at some point, because `ask` raises ValueError or has NaN: find
       the ends beyond which there is one, trying each end alone.
    3. Go beyond the rows at these ends only; where that leaves points without an answer, nowhere.

    Parameters
    ----------
    columns : sequence of ndarray of shape (n,)
        Of the features that vary.
    resolution : int
        Points along each axis.
    ask : callable
        Takes a grid; gives arrays, of which NaN stands for "not defined".
    """
    sides = range(2 * len(columns))
    grid, found = _asked(columns, resolution, ask, sides)
    if found is not None:
        return grid, found
    open_sides = [s for s in sides if _asked(columns, resolution, ask, [s])[1] is not None]
    grid, found = _asked(columns, resolution, ask, open_sides)
    if found is not None:
        return grid, found
    grid = _grid(columns, resolution, [])
    with np.errstate(invalid="ignore", divide="ignore"):
        return grid, ask(grid)


def _grid(columns: Sequence[np.ndarray], resolution: int, sides: Sequence[int]) -> Grid:
    """Return a grid with a margin at some sides: 0 and 1 are the ends of the first axis."""
    margins = [MARGIN if side in sides else 0.0 for side in range(2 * len(columns))]
    return tuple(
        axis_values(column, resolution, (margins[2 * j], margins[2 * j + 1]))
        for j, column in enumerate(columns)
    )


def _asked(
    columns: Sequence[np.ndarray],
    resolution: int,
    ask: Callable[[Grid], dict[str, np.ndarray]],
    sides: Sequence[int],
) -> tuple[Grid, dict[str, np.ndarray] | None]:
    """Return a grid with a margin at some sides, and the answers: None if one is missing."""
    grid = _grid(columns, resolution, sides)
    try:
        with np.errstate(invalid="ignore", divide="ignore"):
            found = ask(grid)
    except ValueError:
        return grid, None
    missing = any(np.isnan(values).any() for values in found.values())
    return grid, None if missing else found


def where_defined(rows: Any, ask: Callable[[Any], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return what `ask` answers for rows, NaN for rows that hold NaN or infinite numbers.

    Where that is all of them, `ask` gets them all the same, to say what is wrong with them.
    """
    defined = finite_rows(rows)
    if defined.all() or not defined.any():
        return ask(rows)
    ids = np.flatnonzero(defined)
    found = ask(rows.iloc[ids] if hasattr(rows, "iloc") else rows[ids])
    answers = {}
    for name, values in found.items():
        answers[name] = np.full((len(defined), *values.shape[1:]), np.nan)
        answers[name][ids] = values
    return answers


def finite_rows(rows: Any) -> np.ndarray:
    """Return which rows of an array, matrix or frame hold finite numbers only, (n,).

    Columns of a frame that do not hold numbers count as finite.
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
