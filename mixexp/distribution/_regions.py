"""Modes and highest-density regions of laws of one output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixexp.distribution._quadrature import in_order
from mixexp.distribution._search import bisect

if TYPE_CHECKING:
    from mixexp.distribution._mixture import MixtureDistribution

__all__ = ["modes", "regions"]

#: Log-densities that differ by less are equal: a peak must stand out from rounding.
SAME = 1e-9

#: Steps of golden sections: beyond, differences of densities are rounding.
N_GOLDEN = 45
GOLDEN = (np.sqrt(5) - 1) / 2

#: Steps in which the threshold of a region is sought, each second of which halves its range, and
#: the excess of probability at which there is no need for more.
N_STEPS = 80
EXACT = 1e-11


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
    with np.errstate(over="ignore"):
        heights = np.round(law.at("logpdf", points) / SAME)
    rows, first, last = _peaks(heights)
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


def _golden(law: MixtureDistribution, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the maxima of densities that rise and fall once between two points."""
    for _ in range(N_GOLDEN):
        step = GOLDEN * (high - low)
        first, second = high - step, low + step
        falls = law.logpdf(first) > law.logpdf(second)
        low, high = np.where(falls, low, first), np.where(falls, second, high)
    return low + (high - low) / 2


def regions(law: MixtureDistribution, level: float) -> np.ndarray:
    """Return the smallest sets with this probability, (n, n_intervals, 2) filled up by NaN."""
    points = in_order(law)
    points = np.sort(np.hstack([points, np.fmax(modes(law), points[:, :1])]), axis=1)
    heights = law.at("logpdf", points)
    top = heights.max(axis=1)
    bottom = np.where(np.isfinite(heights), heights, np.inf).min(axis=1)
    most, least = np.ones(len(law)), np.zeros(len(law))  # mass above these thresholds
    for step in range(N_STEPS):
        # secant and halving by turns: the one is fast, the other sure
        share = 0.5 if step % 2 else np.clip((most - level) / (most - least), 0.0, 1.0)
        middle = bottom + (top - bottom) * share
        rows, ends = _above(law, points, heights, middle)
        own, low, high = law[rows], ends[:, 0], ends[:, 1]
        before = own.cdf(low - 1) if law.family.discrete else own.cdf(low)
        mass = np.bincount(rows, own.cdf(high) - before, minlength=len(law))
        enough = mass >= level
        bottom, most = np.where(enough, middle, bottom), np.where(enough, mass, most)
        top, least = np.where(enough, top, middle), np.where(enough, least, mass)
        if np.all(most - level < EXACT):
            break
    return padded(*_above(law, points, heights, bottom), len(law), 1)


def _above(
    law: MixtureDistribution, points: np.ndarray, heights: np.ndarray, threshold: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and ends, (n_found, 2), of the intervals where the log-density is enough."""
    n_points = points.shape[1]
    inside = np.pad(heights >= threshold[:, None], ((0, 0), (1, 1)))
    rows, first = np.nonzero(inside[:, 1:-1] & ~inside[:, :-2])
    _, last = np.nonzero(inside[:, 1:-1] & ~inside[:, 2:])
    own, limit, discrete = law[rows], threshold[rows], law.family.discrete
    low = bisect(
        lambda y: own.logpdf(y) < limit,
        points[rows, np.maximum(first - 1, 0)],
        points[rows, first],
        discrete,
    )
    beyond = bisect(
        lambda y: own.logpdf(y) >= limit,
        points[rows, last],
        points[rows, np.minimum(last + 1, n_points - 1)],
        discrete,
    )
    if law.family.discrete:
        beyond = np.where(last == n_points - 1, beyond, beyond - 1)
    elif law.family.link == "log":
        low = np.where(first == 0, 0.0, low)
    return rows, np.stack([low, beyond], axis=1)
