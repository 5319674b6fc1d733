"""Bisection of doubles and of counts, exact to the last bit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["bisect"]

#: Up to here doubles represent every count; beyond, all doubles are whole numbers.
LAST_COUNT = 2.0**53


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
