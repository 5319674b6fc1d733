"""Modes and highest-density regions of laws of one output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixexp.distribution._quadrature import SMALLEST_BREAK, in_order
from mixexp.distribution._search import bisect, root

if TYPE_CHECKING:
    from mixexp.distribution._mixture import MixtureDistribution

__all__ = ["modes", "regions"]

#: Log-densities that differ by less are equal: a peak must stand out from rounding.
SAME = 1e-9

#: Steps of golden sections: beyond, differences of densities are rounding.
N_GOLDEN = 45
GOLDEN = (np.sqrt(5) - 1) / 2

#: Probability by which a region may exceed its level, of a density.
EXACT = 1e-11

#: Halvings in which the threshold of a region of counts is sought, and the relative width of its
#: range below which it is found.
N_STEPS = 80
FOUND = 1e-14


def padded(rows: np.ndarray, values: np.ndarray, n_rows: int, least: int = 0) -> np.ndarray:
    """Return values, of ascending rows, as one line per row that is filled up with NaN."""
    counts = np.bincount(rows, minlength=n_rows)
    table = np.full((n_rows, max(counts.max(initial=0), least), *values.shape[1:]), np.nan)
    places = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    table[rows, places] = values
    return table


def modes(law: MixtureDistribution) -> np.ndarray:
    """Return the local maxima of the density, the highest first, (n, n_modes) filled up by NaN."""
    points = in_order(law)
    return _modes(law, points, law.at("logpdf", points))


def _modes(law: MixtureDistribution, points: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Return the local maxima of densities that have these logarithms at these points."""
    with np.errstate(over="ignore"):
        rows, first, last = _peaks(np.round(heights / SAME))
    own = law[rows]
    low = points[rows, np.maximum(first - 1, 0)]
    high = points[rows, np.minimum(last + 1, points.shape[1] - 1)]
    if law.family.discrete:
        found = bisect(lambda y: own.logpdf(y + 1) > own.logpdf(y), low, high, discrete=True)
    else:
        found = _golden(own, low, high)
        best = points[rows, first]
        found = np.where(own.logpdf(best) >= own.logpdf(found), best, found)
    order = np.lexsort((-own.logpdf(found), rows))
    if law.family.link == "log" and not law.family.discrete:  # a density that falls from 0 on
        found = np.where(first == 0, 0.0, found)
    return padded(rows, found[order], len(law), 1)


def _peaks(heights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows of local maxima, and the first and the last point of each.

    A plateau is one maximum; the ends of a line count as falling outwards.
    """
    n_points = heights.shape[1]
    heights = np.where(np.isneginf(heights), -np.finfo(float).max, heights)
    steps = np.sign(np.diff(heights, axis=1, prepend=-np.inf, append=-np.inf))
    places = np.where(steps != 0, np.arange(n_points + 1), -1)
    last = np.maximum.accumulate(places, axis=1)[:, :-1]  # of a change, up to each point
    rising = np.take_along_axis(steps, last, axis=1) > 0
    rows, ends = np.nonzero(rising & (steps[:, 1:] < 0))
    return rows, last[rows, ends], ends


def _golden(
    law: MixtureDistribution, low: np.ndarray, high: np.ndarray, sign: float = 1.0
) -> np.ndarray:
    """Return the maxima of densities that rise and fall once between two points.

    With a sign of −1 the minima of densities that fall and rise.
    """
    for _ in range(N_GOLDEN):
        step = GOLDEN * (high - low)
        first, second = high - step, low + step
        falls = sign * law.logpdf(first) > sign * law.logpdf(second)
        low, high = np.where(falls, low, first), np.where(falls, second, high)
    return low + (high - low) / 2


def regions(law: MixtureDistribution, level: float) -> np.ndarray:
    """Return the smallest sets with this probability, (n, n_intervals, 2) filled up by NaN.

    A set is where the log-density reaches a threshold. Between extrema the density is monotone, so
    that ends are roots; the probability of the set falls with the threshold, which is a root too.
    """
    points = in_order(law)
    heights = law.at("logpdf", points)
    added = [_modes(law, points, heights)]
    if not law.family.discrete:
        added.append(_gaps(law, points, heights))
    # the first point stands for all of the line to its left: a mode at 0 is no point of its own
    extrema = np.fmax(np.hstack(added), points[:, :1])
    points, heights = np.hstack([points, extrema]), np.hstack([heights, law.at("logpdf", extrema)])
    order = np.argsort(points, axis=1, kind="stable")
    points, heights = (np.take_along_axis(values, order, axis=1) for values in (points, heights))
    find = _threshold_of_counts if law.family.discrete else _threshold
    threshold = find(law, points, heights, level)
    return padded(*_above(law, points, heights, threshold), len(law), 1)


def _gaps(law: MixtureDistribution, points: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Return the local minima of the density between modes, (n, n_minima) filled up by NaN.

    Without them a set would keep a gap that lies between two neighbouring points.
    """
    with np.errstate(over="ignore"):
        rows, first, last = _peaks(-np.round(heights / SAME))
    inner = (first > 0) & (last < points.shape[1] - 1)
    rows, first, last = rows[inner], first[inner], last[inner]
    found = _golden(law[rows], points[rows, first - 1], points[rows, last + 1], -1.0)
    return padded(rows, found, len(law), 1)


def _threshold(
    law: MixtureDistribution, points: np.ndarray, heights: np.ndarray, level: float
) -> np.ndarray:
    """Return the log-densities above which there is as much probability as the level."""
    aim = level + EXACT / 2

    def excess(which: np.ndarray, threshold: np.ndarray) -> np.ndarray:
        some = law[which]
        rows, ends = _above(some, points[which], heights[which], threshold, exact=False)
        own = some[rows]
        mass = own.cdf(ends[:, 1]) - own.cdf(ends[:, 0])
        return np.bincount(rows, mass, minlength=len(which)) - aim

    low = np.where(np.isfinite(heights), heights, np.inf).min(axis=1)
    high = np.where(np.isfinite(heights), heights, -np.inf).max(axis=1)
    everything, nothing = np.full(len(law), 1 - aim), np.full(len(law), -aim)
    return root(excess, low, high, everything, nothing, EXACT / 2)


def _threshold_of_counts(
    law: MixtureDistribution, points: np.ndarray, heights: np.ndarray, level: float
) -> np.ndarray:
    """Return thresholds of the smallest sets of counts with at least this probability.

    A row is done once one count alone is in the set that is enough and not in one that is not.
    """
    top = heights.max(axis=1)
    bottom = np.where(np.isfinite(heights), heights, np.inf).min(axis=1)
    most, least = np.full(len(law), np.inf), np.zeros(len(law))  # counts in these sets
    which = np.arange(len(law))
    for _ in range(N_STEPS):
        middle = bottom[which] + (top[which] - bottom[which]) / 2
        some = law[which]
        rows, ends = _above(some, points[which], heights[which], middle)
        own = some[rows]
        mass = np.bincount(rows, own.cdf(ends[:, 1]) - own.cdf(ends[:, 0] - 1), len(which))
        size = np.bincount(rows, ends[:, 1] - ends[:, 0] + 1, len(which))
        enough = mass >= level
        bottom[which] = np.where(enough, middle, bottom[which])
        top[which] = np.where(enough, top[which], middle)
        most[which] = np.where(enough, size, most[which])
        least[which] = np.where(enough, least[which], size)
        open_ = top - bottom > FOUND * np.maximum(1.0, np.abs(bottom))
        which = np.flatnonzero(open_ & (most - least > 1))
        if not len(which):
            break
    return bottom


def _above(
    law: MixtureDistribution,
    points: np.ndarray,
    heights: np.ndarray,
    threshold: np.ndarray,
    *,
    exact: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and ends, (n_found, 2), of the intervals where the log-density is enough.

    Ends are exact to the last bit, or, which is faster, to a few of them.
    """
    n_points, discrete = points.shape[1], law.family.discrete
    inside = np.pad(heights >= threshold[:, None], ((0, 0), (1, 1)))
    rows, first = np.nonzero(inside[:, 1:-1] & ~inside[:, :-2])
    _, last = np.nonzero(inside[:, 1:-1] & ~inside[:, 2:])
    before, after = np.maximum(first - 1, 0), np.minimum(last + 1, n_points - 1)
    own, limit = law[rows], threshold[rows]
    if exact:
        low = bisect(
            lambda y: own.logpdf(y) < limit, points[rows, before], points[rows, first], discrete
        )
        high = bisect(
            lambda y: own.logpdf(y) >= limit, points[rows, last], points[rows, after], discrete
        )
    else:
        low = _crossing(own, limit, points, heights, rows, first, before)
        high = _crossing(own, limit, points, heights, rows, last, after)
    if discrete:
        high = np.where(last == n_points - 1, high, high - 1)
    elif law.family.link == "log":
        low = np.where(first == 0, 0.0, low)
    return rows, np.stack([low, high], axis=1)


def _crossing(
    own: MixtureDistribution,
    limit: np.ndarray,
    points: np.ndarray,
    heights: np.ndarray,
    rows: np.ndarray,
    inside: np.ndarray,
    outside: np.ndarray,
) -> np.ndarray:
    """Return where log-densities pass a limit, between two points of each row."""
    near, far = points[rows, inside], points[rows, outside]
    positive = own.family.link == "log"  # points may be powers of ten apart
    if positive:
        near, far = (np.log(np.maximum(ends, SMALLEST_BREAK)) for ends in (near, far))

    def over(which: np.ndarray, x: np.ndarray) -> np.ndarray:
        return own[which].logpdf(np.exp(x) if positive else x) - limit[which]

    at_near, at_far = heights[rows, inside] - limit, heights[rows, outside] - limit
    found = root(over, near, far, at_near, at_far)
    return np.exp(found) if positive else found
