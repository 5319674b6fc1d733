"""Axes of a picture: numbers, logarithms, categories, and what is said about the other columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixexp.inspection._regions import MARGIN, axis_values

__all__ = ["Axis", "as_steps", "in_words", "jittered", "set_scale"]

#: A positive column is drawn on a logarithmic scale if its upper half, from the median to the 99th
#: percentile, is this many times as long as its lower half, and less skewed as a logarithm.
SKEWED, TAIL = 5.0, 0.01

#: Most categories along an axis, the most frequent ones.
MOST_CATEGORIES = 12

#: Width of a category, as a share of the distance of two.
FILLED = 0.8

#: Steps of the golden ratio spread points evenly, the same way in every picture. The step along
#: the second axis is √2 − 1, so that two axes of categories spread points evenly over an area.
STEPS = (0.6180339887498949, 0.41421356237309515)

#: Most columns that a note names, and digits of their values.
NAMED, DIGITS = 4, 4

#: Numbers of this size and above are written with an exponent.
LARGE = 1e8


@dataclass(frozen=True)
class Axis:
    """One axis: the positions of the rows, and how positions become values of the column.

    Attributes
    ----------
    positions : ndarray of shape (n,)
        The values of the rows; for categories their numbers, NaN for those that are left out.
    scale : "linear", "log" or list
        Categories are a list, at 0, 1, ...
    """

    positions: np.ndarray
    scale: Any = "linear"

    @classmethod
    def of(cls, column: np.ndarray, scale: Any = "auto") -> Axis:
        """Return the axis of a column: float64 if numeric, object otherwise."""
        if column.dtype.kind != "f":
            values, counts = np.unique(column.astype(str), return_counts=True)
            kept = np.sort(values[np.argsort(-counts, kind="stable")[:MOST_CATEGORIES]])
            first = {str(value): value for value in column[::-1]}
            places = {str(label): float(i) for i, label in enumerate(kept)}
            positions = np.array([places.get(str(value), np.nan) for value in column])
            return cls(positions, [first[str(label)] for label in kept])
        if scale == "auto":
            scale = "log" if is_skewed(column) else "linear"
        return cls(column, scale)

    @property
    def is_category(self) -> bool:
        """Whether positions are numbers of categories."""
        return not isinstance(self.scale, str)

    def values(self, resolution: int, margins: tuple[float, float]) -> np.ndarray:
        """Return positions along the axis, with margins as shares of its length."""
        if self.is_category:
            return np.arange(len(self.scale), dtype=np.float64)
        if self.scale == "linear":
            return axis_values(self.positions, resolution, margins)
        return np.exp(axis_values(np.log(self.positions), resolution, margins))

    def of_column(self, positions: np.ndarray) -> Any:
        """Return the values of the column at some positions: a list of categories, or numbers."""
        if not self.is_category:
            return positions
        return [self.scale[int(position)] for position in positions]


def is_skewed(column: np.ndarray) -> bool:
    """Return whether a column is positive, and so skewed that its logarithm is easier to see."""
    if not len(column) or column.min() <= 0:
        return False

    def skew(values: np.ndarray) -> float:
        low, middle, high = np.quantile(values, [TAIL, 0.5, 1 - TAIL])
        return float((high - middle) / max(middle - low, np.finfo(float).tiny))

    plain = skew(column)
    return plain > SKEWED and 1 / plain < skew(np.log(column)) < plain


def set_scale(axis: Any, scale: Any, size: float = 10.0) -> None:
    """Give a matplotlib axis a scale, and the names of categories as ticks of a font size."""
    from mixexp.inspection._room import letters_in, shortened, width_of

    if isinstance(scale, str):
        if scale == "log":
            axis.axes.set(**{f"{axis.axis_name}scale": "log"})
        return
    labels = [shortened(str(label), 16) for label in scale]
    room = min(60, letters_in(width_of(axis.axes), size))
    upright = axis.axis_name == "x" and sum(len(label) + 2 for label in labels) > room
    axis.set_ticks(
        range(len(scale)),
        labels,
        rotation=90 if upright else 0,
        parse_math=False,
    )


def as_steps(scale: Any, axis: np.ndarray, *values: np.ndarray) -> list[np.ndarray]:
    """Return an axis and values along it; for categories, a level piece for each and a gap."""
    if isinstance(scale, str):
        return [axis, *values]
    ends = np.array([-FILLED / 2, FILLED / 2, np.nan])
    steps = [(axis[:, None] + ends).ravel()[:-1]]
    return [*steps, *(np.repeat(value, 3, axis=0)[:-1] for value in values)]


def jittered(scale: Any, positions: np.ndarray, axis: int = 0) -> np.ndarray:
    """Return the positions of rows along an axis; among those of one category they are spread."""
    if isinstance(scale, str):
        return positions
    spread = np.arange(len(positions)) * STEPS[axis] % 1 - 0.5
    return positions + FILLED * 0.9 * spread


def in_words(held: dict[str, Any] | None, *, typical: bool) -> str:
    """Return where the columns that do not vary are held."""
    if not held:
        return ""
    words = [
        f"{name} = {number(value) if isinstance(value, float) else value}"
        for name, value in list(held.items())[:NAMED]
    ]
    more = len(held) - len(words)
    words += [f"{more} more"] if more else []
    where = " (typical values)" if typical else ""
    return f"held{where}: {', '.join(words)}"


def number(value: float) -> str:
    """Return a number with few digits, and without an exponent unless it is very large or small."""
    return f"{value:.0f}" if 10**DIGITS <= abs(value) < LARGE else f"{value:.{DIGITS}g}"


def margins_of(sides: Sequence[int], j: int) -> tuple[float, float]:
    """Return the margins of axis j, given the sides that have one."""
    below, above = (MARGIN if 2 * j + side in sides else 0.0 for side in (0, 1))
    return below, above
