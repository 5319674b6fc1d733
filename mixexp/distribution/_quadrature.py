"""Integrals over y of functions of a mixture, for many rows at once.

The line is cut into panels at quantiles of all experts, so that narrow and wide components are both
resolved. Each panel has 16 Gauss-Legendre nodes: in y, or, where the panel is far from the centre
in terms of its length, in the logarithm of the distance from there, since tails may be powers.
Counts are summed one by one in short panels, and by Simpson's rule for sums in long ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["SMALLEST_BREAK", "as_wide", "breakpoints", "by_blocks", "grid", "in_order"]

#: Levels of the quantiles at which the line is cut; beyond the first and the last there is less
#: mass than rounding. Upper ones are 1 minus these, as far as doubles near 1 go.
LOWER = (1e-17, 1e-13, 1e-10, 1e-7, 1e-5, 1e-3, 0.01, 0.05, 0.15, 0.3)
UPPER = (0.3, 0.15, 0.05, 0.01, 1e-3, 1e-5, 1e-7, 1e-10, 1e-13, 1.2e-16)
LEVELS = (*LOWER, 0.5, *(1 - level for level in UPPER))

#: Smallest break of a density of positive y: the logarithm of 0 does not exist.
SMALLEST_BREAK = 1e-300

#: A panel whose far end is more than this times as far from the centre as its near end is long.
LONG = 2.0

#: Gauss-Legendre nodes and weights on (0, 1).
NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)
NODES, WEIGHTS = 0.5 + 0.5 * NODES, 0.5 * WEIGHTS

#: Cells of a long panel of counts. Simpson's rule then errs by some 1e-9 of a standard deviation.
N_CELLS = 32

#: Doubles in the largest array of a block of rows.
BLOCK_DOUBLES = 1 << 20


def by_blocks(law: Any, function: Callable[..., np.ndarray], *arrays: np.ndarray) -> np.ndarray:
    """Return the function of a law, and of arrays with an entry per row, over blocks of rows."""
    n_points = len(LEVELS) * law.weights.shape[1] * len(NODES)
    step = max(1, BLOCK_DOUBLES // (n_points * law.weights.shape[1]))
    starts = range(0, max(len(law), 1), step)
    cuts = [slice(start, start + step) for start in starts]
    found = [function(law[cut], *(array[cut] for array in arrays)) for cut in cuts]
    return np.concatenate(as_wide(found))


def as_wide(arrays: list[np.ndarray], axis: int = 1) -> list[np.ndarray]:
    """Return arrays that differ in the length of one axis, if they have it, filled up with NaN."""
    if arrays[0].ndim < 2:
        return arrays
    width = max(array.shape[axis] for array in arrays)
    return [_filled(array, width, axis % array.ndim) for array in arrays]


def _filled(array: np.ndarray, width: int, axis: int) -> np.ndarray:
    added = [(0, width - array.shape[axis] if i == axis else 0) for i in range(array.ndim)]
    return np.pad(array, added, constant_values=np.nan)


def _flat(array: np.ndarray) -> np.ndarray:
    """Return an array with one line per row, of which there may be none."""
    return array.reshape(len(array), math.prod(array.shape[1:]))


def breakpoints(law: Any) -> np.ndarray:
    """Return where to cut the line for each row of a law of one output, (n, n_breaks)."""
    weighty = law.weights > 0
    cuts = np.stack([law.family.quantile(q, law.means, law.parameters) for q in LEVELS], axis=2)
    heaviest = np.take_along_axis(cuts, law.weights.argmax(axis=1)[:, None, None], axis=1)
    cuts = _flat(np.where(weighty[..., None], cuts, heaviest))
    if law.family.discrete:
        ends = cuts.max(axis=1, keepdims=True, initial=0.0) + 1
        cuts = np.hstack([np.maximum(np.floor(cuts), 0.0), ends])
    elif law.family.link == "log":
        cuts = np.maximum(cuts, SMALLEST_BREAK)
    return np.sort(cuts, axis=1)


def grid(law: Any, breaks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights, (n, n_nodes), of integrals, or sums, between the breaks."""
    if law.family.discrete:
        return _counts(breaks)
    near, far = breaks[:, :-1], breaks[:, 1:]
    if law.family.link == "log":
        centers = np.zeros((len(law), 1))
    else:
        medians = law.family.quantile(0.5, law.means, law.parameters)
        centers = np.where(law.weights > 0, medians, np.nan)
    return _panels(near, far, centers)


def _panels(left: np.ndarray, right: np.ndarray, centers: np.ndarray) -> tuple:
    """Return Gauss-Legendre nodes and weights of panels; no center is inside a panel."""
    shape = left.shape
    side, near, far = np.ones(shape), np.full(shape, np.inf), np.full(shape, np.inf)
    with np.errstate(over="ignore", invalid="ignore"):
        for center in centers.T[:, :, None]:
            for sign, start, end in ((1, left, right), (-1, right, left)):
                distance = sign * (start - center)
                closer = (distance >= 0) & (distance < near)
                side = np.where(closer, sign, side)
                near = np.where(closer, distance, near)
                far = np.where(closer, sign * (end - center), far)
    is_long = (near > 0) & np.isfinite(far) & (far > LONG * near)
    near, far = np.where(is_long, near, 1.0)[..., None], np.where(is_long, far, 1.0)[..., None]
    # from the end that is near to the centre, wherever that is
    start = np.where(side > 0, left, right)[..., None]
    log_ratio = np.log(far / near)
    moved = near * np.expm1(log_ratio * NODES)
    straight = (right - left)[..., None]
    is_long = is_long[..., None]
    nodes = start + side[..., None] * np.where(is_long, moved, straight * NODES)
    weights = WEIGHTS * np.where(is_long, (near + moved) * log_ratio, straight)
    return _flat(nodes), _flat(weights)


def _counts(breaks: np.ndarray) -> tuple:
    """Return counts and weights such that Σ weights f(counts) is the sum of f over all counts.

    A cell of n = 2h + 1 counts has the sum n f₁ + n (h + 1) / 6h (f₀ − 2 f₁ + f₂) of the parabola
    through its ends and its middle; a cell of an even number has its last count for itself.
    """
    start, n_counts = breaks[:, :-1, None], np.diff(breaks, axis=1)[..., None]
    cell = np.maximum(np.ceil(n_counts / N_CELLS), 1.0)
    first = np.arange(N_CELLS) * cell
    size = np.clip(n_counts - first, 0.0, cell)
    even = (size > 0) & (size % 2 == 0)
    odd = size - even
    half = np.maximum(odd - 1, 0.0) / 2
    bend = np.where(half > 0, (half + 1) / (6 * np.maximum(half, 1.0)), 0.0)
    first = start + first
    nodes = np.stack([first, first + half, first + 2 * half, first + size - 1], axis=-1)
    weights = np.stack([odd * bend, odd * (1 - 2 * bend), odd * bend, even.astype(float)], axis=-1)
    nodes, weights = _flat(nodes), _flat(weights)
    # to the front what counts: rows differ in the panels that are empty
    unused = weights <= 0
    width = int((~unused).sum(axis=1).max(initial=0))
    order = np.argsort(unused, axis=1, kind="stable")[:, :width]
    nodes, weights = (np.take_along_axis(each, order, axis=1) for each in (nodes, weights))
    return np.where(weights > 0, nodes, breaks[:, :1]), weights


def in_order(law: Any) -> np.ndarray:
    """Return nodes and breaks of a law of one output, (n, n_points), in ascending order."""
    breaks = breakpoints(law)
    return np.sort(np.hstack([grid(law, breaks)[0], breaks]), axis=1)
