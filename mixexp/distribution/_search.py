"""Bisection of doubles and of counts, exact to the last bit; roots of smooth functions, faster."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["bisect", "root"]

#: Up to here doubles represent every count; beyond, all doubles are whole numbers.
LAST_COUNT = 2.0**53


#: Evaluations after which a root is as good as found: each halves the bracket, or does better.
MOST_STEPS = 200

#: A bracket this many times the spacing of doubles is closed.
CLOSED = 4 * np.finfo(float).eps


def root(
    function: Callable[[np.ndarray, np.ndarray], np.ndarray],
    inside: np.ndarray,
    outside: np.ndarray,
    at_inside: np.ndarray,
    at_outside: np.ndarray,
    exact: float = 0.0,
) -> np.ndarray:
    """Return roots of continuous functions, one for each bracket; no further in than `inside`.

    Inverse quadratic interpolation where it is safe, and halving otherwise (Chandrupatla 1997, A
    new hybrid quadratic/bisection algorithm). Entries that are found are not evaluated again.

    Parameters
    ----------
    function : callable
        ``function(which, x)``: the values of the functions `which` (indices) at x.
    inside, outside : ndarray of shape (n,)
        Ends of the brackets.
    at_inside, at_outside : ndarray of shape (n,)
        Values there, at least 0 and less than 0. Infinite ones are allowed.
    exact : float, default=0.0
        A value as small as this counts as 0.

    Returns
    -------
    ndarray of shape (n,)
        Where no value is as small as `exact`, the last point with a value of at least 0.
    """
    found = np.array(inside, dtype=float)
    which = np.flatnonzero((at_inside > exact) & (inside != outside))
    x1, f1 = inside[which], at_inside[which]
    x2, f2 = outside[which], at_outside[which]
    share = np.full(len(which), 0.5)
    for _ in range(MOST_STEPS):
        if not len(which):
            break
        x = x1 + share * (x2 - x1)
        f = function(which, x)
        same = (f >= 0) == (f1 >= 0)
        x3, f3 = np.where(same, x1, x2), np.where(same, f1, f2)
        x2, f2 = np.where(same, x2, x1), np.where(same, f2, f1)
        x1, f1 = x, f
        found[which] = np.where((f1 >= 0) | (np.abs(f1) <= exact), x1, x2)
        width = np.abs(x2 - x1)
        least = CLOSED * np.maximum(np.abs(x1), np.abs(x2))
        left = (np.abs(f1) > exact) & (width > least)
        which, x1, x2, x3, f1, f2, f3, least, width = (
            values[left] for values in (which, x1, x2, x3, f1, f2, f3, least, width)
        )
        share = _share(x1, x2, x3, f1, f2, f3)
        lowest = np.minimum(least / (2 * width), 0.5)
        share = np.clip(share, lowest, 1 - lowest)
    return found


def _share(
    x1: np.ndarray, x2: np.ndarray, x3: np.ndarray, f1: np.ndarray, f2: np.ndarray, f3: np.ndarray
) -> np.ndarray:
    """Return how far from x1 to x2 to go: by inverse quadratic interpolation, or half way."""
    with np.errstate(all="ignore"):
        xi, phi = (x1 - x2) / (x3 - x2), (f1 - f2) / (f3 - f2)
        safe = (phi**2 < xi) & ((1 - phi) ** 2 < 1 - xi)
        share = f1 / (f2 - f1) * f3 / (f2 - f3)
        share += (x3 - x1) / (x2 - x1) * f1 / (f3 - f1) * f2 / (f3 - f2)
    return np.where(safe & np.isfinite(share), share, 0.5)


def bisect(
    under: Callable[[np.ndarray], np.ndarray], low: np.ndarray, high: np.ndarray, discrete: bool
) -> np.ndarray:
    """Return the smallest values from `low` on at which `under` is False, none above `high`.

    `under` is True up to some value, which may differ between entries, and False from there on.
    """
    to_key, from_key = (_count, _counted) if discrete else (_place, _value)
    below, above = to_key(low), to_key(high)
    while np.any(below < above):  # at most 64 times: keys have that many bits
        # the mean of two keys without overflow
        middle = (below & above) + ((below ^ above) >> 1)
        is_under = under(from_key(middle))
        below = np.where(is_under & (below < above), middle + 1, below)
        above = np.where(is_under, above, middle)
    return from_key(above)


def _place(values: np.ndarray) -> np.ndarray:
    """Return the index of doubles in the order of all doubles.

    Bisection of indices takes at most 64 steps, however far apart the ends are: with a log link, an
    expert with hardly any weight can be off by many powers of ten.
    """
    bits = np.ascontiguousarray(values + 0.0).view(np.int64)  # + 0.0 leaves one zero, the positive
    return np.where(bits < 0, bits ^ np.iinfo(np.int64).max, bits)


def _value(places: np.ndarray) -> np.ndarray:
    """Return the doubles at these indices, the inverse of `_place`."""
    bits = np.where(places < 0, places ^ np.iinfo(np.int64).max, places)
    return np.ascontiguousarray(bits).view(float)


def _count(values: np.ndarray) -> np.ndarray:
    """Return counts as integers in the same order, with no gaps between representable counts."""
    beyond = np.maximum(_place(values) - _place(np.full(1, LAST_COUNT)), 0)
    return np.minimum(values, LAST_COUNT).astype(np.int64) + beyond


def _counted(counts: np.ndarray) -> np.ndarray:
    """Return counts as doubles, the inverse of `_count`."""
    last = int(LAST_COUNT)
    beyond = _value(np.maximum(counts - last, 0) + _place(np.full(1, LAST_COUNT)))
    return np.where(counts > last, beyond, counts.astype(float))
