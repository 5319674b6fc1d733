"""Shades, grids and ranges of a picture of expert regions, as functions of plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt

__all__ = [
    "axis_values",
    "curve_strength",
    "depends_on_grid",
    "held_values",
    "innermost",
    "most_probable",
    "region_grid",
    "region_margins",
    "shade",
    "shown_experts",
    "strangers",
    "visible_range",
]

#: Margin at both ends of an axis, as a share of the feature's range: no row lies on the frame.
MARGIN = 0.05

#: Share of an expert's colour in its region, the rest being white, when all experts are equally
#: probable and when it is certain. Rows in full colour stay visible on both.
LIGHTEST, DARKEST = 0.08, 0.5

#: Weights that vary by less than this do so by rounding.
CONSTANT = 1e-9

#: An expert whose weight never exceeds this is left out of a picture of curves; with very many
#: experts the threshold is half of an equal share.
SEEN = 0.02


def axis_values(
    column: np.ndarray, resolution: int, margins: tuple[float, float] = (MARGIN, MARGIN)
) -> np.ndarray:
    """Return evenly spaced values that cover a column and a margin on both sides.

    Parameters
    ----------
    column : ndarray of shape (n,)
    resolution : int
    margins : tuple of float
        Margins below and above, as shares of the range. The axis of a constant column always
        extends on both sides of its value.

    Returns
    -------
    ndarray of shape (resolution,)
        Strictly increasing, even for a constant column.
    """
    low, high = float(column.min()), float(column.max())
    largest = max(abs(low), abs(high))
    if high - low > 1e-12 * largest:
        below, above = ((high - low) * margin for margin in margins)
    else:
        below = above = 0.5 * largest if largest > 0 else 0.5
    return np.linspace(low - below, high + above, resolution)


def region_grid(axes: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the coordinates of all grid points, with the first axis varying fastest.

    Parameters
    ----------
    axes : sequence of one or two ndarrays

    Returns
    -------
    list of ndarray of shape (n_points,)
        One for each axis. Values at the points can be reshaped to ``(len(axes[1]), len(axes[0]))``,
        as matplotlib expects, or ``(len(axes[0]),)``.
    """
    return [mesh.ravel() for mesh in np.meshgrid(*axes)]


def held_values(columns: Sequence[np.ndarray]) -> list[Any]:
    """Return the median of each numeric column and the most frequent value of each other one.

    Missing values, NaN and None, do not count, unless there are no others.

    Parameters
    ----------
    columns : sequence of ndarray of shape (n,)
        float64 if numeric, object otherwise.

    Returns
    -------
    list
    """
    held: list[Any] = []
    for column in columns:
        if column.dtype.kind == "f":
            known = column[~np.isnan(column)]
            held.append(float(np.median(known)) if len(known) else np.nan)
        else:
            counts: dict[Any, int] = {}
            for value in [value for value in column if value is not None] or [None]:
                counts[value] = counts.get(value, 0) + 1
            held.append(max(counts, key=counts.__getitem__))  # the first one, in a tie
    return held


def most_probable(weights: np.ndarray) -> np.ndarray:
    """Return the expert with the largest weight, the first one in a tie: (..., K) to (...)."""
    return np.asarray(weights).argmax(axis=-1)


def shade(
    weights: np.ndarray,
    colors: np.ndarray,
    *,
    lightest: float = LIGHTEST,
    darkest: float = DARKEST,
) -> np.ndarray:
    """Blend the colour of the most probable expert with white according to its weight.

    Parameters
    ----------
    weights : ndarray of shape (..., n_experts)
        Rows sum to 1, or are NaN for white.
    colors : ndarray of shape (n_experts, 3)
        Red, green and blue in [0, 1].
    lightest, darkest : float
        Share of the colour when the largest weight is 1 / n_experts and when it is 1; linear in
        between.

    Returns
    -------
    ndarray of shape (..., 3)
    """
    weights = np.asarray(weights)
    least = 1 / weights.shape[-1]
    top = weights.max(axis=-1)
    surety = np.clip((top - least) / (1 - least), 0, 1) if least < 1 else np.ones_like(top)
    share = np.where(np.isnan(top), 0.0, lightest + (darkest - lightest) * surety)
    return 1 - share[..., None] * (1 - np.asarray(colors)[most_probable(weights)])


def innermost(mask: np.ndarray) -> tuple[int, int]:
    """Return the row and column of the point of an area that lies furthest from its border.

    Parameters
    ----------
    mask : ndarray of bool of shape (n_1, n_0)
        The points of the area; there are some.
    """
    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(row), int(column)


def region_margins(weights: np.ndarray) -> np.ndarray:
    """Return log w_k - log max_{j≠k} w_j: positive in the region of expert k, negative outside.

    The margin of a softmax gate is linear, so its zero contour is exact under interpolation
    however sharp the gate is.

    Parameters
    ----------
    weights : ndarray of shape (..., n_experts)
        At least two experts.

    Returns
    -------
    ndarray of shape (..., n_experts)
        Never zero: in a tie, the first expert has the smallest positive margin.
    """
    log_weights = np.log(np.maximum(weights, np.finfo(float).tiny))
    last_two = np.partition(log_weights, -2, axis=-1)[..., -2:]
    second, first = last_two[..., :1], last_two[..., 1:]
    winner = np.arange(log_weights.shape[-1]) == most_probable(weights)[..., None]
    smallest = np.finfo(float).eps
    return np.where(
        winner,
        np.maximum(log_weights - second, smallest),
        np.minimum(log_weights - first, -smallest),
    )


def depends_on_grid(weights: np.ndarray) -> bool:
    """Return whether weights (..., n_experts) differ anywhere on a grid, by more than rounding."""
    flat = weights.reshape(-1, weights.shape[-1])
    return bool(np.ptp(flat[~np.isnan(flat).any(axis=1)], axis=0).max(initial=0.0) > CONSTANT)


def strangers(
    grid: Sequence[np.ndarray], weights: np.ndarray, points: np.ndarray, experts: np.ndarray
) -> tuple[int, int]:
    """Return how many rows lie in the region of another expert than theirs, and of how many.

    Parameters
    ----------
    grid : sequence of two ndarrays
    weights : ndarray of shape (n_1, n_0, n_experts)
    points : ndarray of shape (n, 2)
        Rows with NaN are not in the picture.
    experts : ndarray of int of shape (n,)
        Negative for the noise, which has no region.
    """
    seen = (experts >= 0) & ~np.isnan(points).any(axis=1)
    if not seen.any():
        return 0, 0
    cells = [
        np.searchsorted((axis[1:] + axis[:-1]) / 2, points[seen, j]) for j, axis in enumerate(grid)
    ]
    below = most_probable(weights)[cells[1], cells[0]]
    return int(np.sum(below != experts[seen])), int(seen.sum())


def _seen(n_experts: int) -> float:
    return min(SEEN, 0.5 / n_experts)


def shown_experts(
    weights: np.ndarray, point_experts: np.ndarray | None, *, regions: bool
) -> np.ndarray:
    """Return the experts that occur in a picture, in increasing order.

    Parameters
    ----------
    weights : ndarray of shape (..., n_experts)
        Weights on the grid, NaN outside the domain.
    point_experts : ndarray of int of shape (n,) or None
        The expert of each row; negative for the noise.
    regions : bool
        If True the picture shows regions, and an expert occurs if it is the most probable one at
        some point. If False it shows curves, and an expert occurs if its weight is not negligible
        everywhere.

    Returns
    -------
    ndarray of int
    """
    n_experts = weights.shape[-1]
    weights = weights.reshape(-1, n_experts)
    weights = weights[~np.isnan(weights).any(axis=1)]
    if regions:
        occurs = np.bincount(most_probable(weights), minlength=n_experts) > 0
    else:
        occurs = weights.max(axis=0) > _seen(n_experts)
    if point_experts is not None:
        occurs |= np.bincount(point_experts[point_experts >= 0], minlength=n_experts) > 0
    return np.flatnonzero(occurs)


def curve_strength(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return opacity and line width, in points, of the pieces of an expert's curve.

    Parameters
    ----------
    weight : ndarray of shape (n,)
        Gate probability at the points of the curve; NaN counts as 0.

    Returns
    -------
    alpha, width : ndarrays of shape (n - 1,)
        Increasing in the mean weight at the two ends of a piece.
    """
    middle = np.nan_to_num(np.clip((weight[1:] + weight[:-1]) / 2, 0, 1))
    return 0.12 + 0.88 * middle, 0.8 + 2.4 * middle


def visible_range(values: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Return the range of the experts' values at points with non-negligible weight.

    Where the gate ignores an expert its curve extrapolates freely and may leave the picture.

    Parameters
    ----------
    values, weights : ndarrays of shape (n, n_experts)
        Of all experts; weights sum to 1.

    Returns
    -------
    low, high : float
    """
    counted = values[weights > _seen(weights.shape[1])]
    return float(np.nanmin(counted)), float(np.nanmax(counted))
