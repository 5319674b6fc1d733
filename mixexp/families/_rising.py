"""Sums over 0, 1, ..., y − 1 that the negative binomial family needs, with nothing to cancel."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

__all__ = ["Excess", "excess", "log_rising", "rising_slopes"]

#: Terms that are added one by one; of the rest the sum is an integral and three corrections by
#: Euler and Maclaurin, of which the first that is left out is below 1e-13.
N_TERMS = 32

#: Below this the functions of x that cancel are power series, of which 12 terms reach rounding.
SMALL = 0.05
N_POWERS = 12

#: B_2n / (2n)!, the weights of the first, third and fifth derivative at the ends.
CORRECTIONS = (1 / 12, -1 / 720, 1 / 30240)


class Excess(NamedTuple):
    """What a dispersion α adds to a Poisson count of mean μ, with x = α μ.

    Attributes
    ----------
    log_one : ndarray
        log(1 + x).
    per_alpha : ndarray
        log(1 + x) / α.
    slope : ndarray
        (log(1 + x) − x / (1 + x)) / α.
    """

    log_one: np.ndarray
    per_alpha: np.ndarray
    slope: np.ndarray


def _series(x: np.ndarray, coefficients: list[float]) -> np.ndarray:
    """Return a polynomial with these coefficients, of the lowest power first."""
    total = np.zeros_like(x)
    for coefficient in reversed(coefficients):
        total = coefficient + x * total
    return total


#: log(1 + x) − x / (1 + x) = x² Σ (−x)^n (n + 1) / (n + 2).
SLOPE_SERIES = [(-1.0) ** n * (n + 1) / (n + 2) for n in range(N_POWERS)]

#: x − log(1 + x) = x² Σ (−x)^n / (n + 2).
GAP_SERIES = [(-1.0) ** n / (n + 2) for n in range(N_POWERS)]

#: (1 + x) log(1 + x) − x = x² Σ (−x)^n / ((n + 1) (n + 2)).
LOG_SERIES = [(-1.0) ** n / ((n + 1) * (n + 2)) for n in range(N_POWERS)]


def _by_series(x: np.ndarray, coefficients: list[float], direct: np.ndarray) -> np.ndarray:
    """Return x² times a series where x is small, a formula that cancels there elsewhere."""
    small = np.minimum(x, SMALL)
    return np.where(x < SMALL, small * small * _series(small, coefficients), direct)


def excess(mean: np.ndarray, alpha: np.ndarray) -> Excess:
    """Return the functions of means and dispersions that densities are made of."""
    x = alpha * mean
    log_one = np.log1p(x)
    slope = _by_series(x, SLOPE_SERIES, log_one - x / (1 + x))
    return Excess(log_one, log_one / alpha, slope / alpha)


def log_rising(y: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Return Σ_{j<y} log(1 + α j) = log Γ(a + y) − log Γ(a) − y log a, with a = 1 / α.

    Parameters
    ----------
    y : ndarray of shape (..., m)
        Counts.
    alpha : ndarray of shape (..., 1) or (..., m)
        It broadcasts with y.

    Returns
    -------
    ndarray
    """

    def term(t: np.ndarray) -> np.ndarray:
        return np.log1p(alpha * t)

    def integral(t: np.ndarray) -> np.ndarray:
        x = alpha * t
        return _by_series(x, LOG_SERIES, (1 + x) * np.log1p(x) - x) / alpha

    def derivative(t: np.ndarray, n: int) -> np.ndarray:
        return _factorial(n - 1) * (alpha / (1 + alpha * t)) ** n

    return _summed(y, alpha, term, integral, derivative)


def rising_slopes(y: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and second derivative of `log_rising` by log α."""

    def first(t: np.ndarray) -> np.ndarray:
        return alpha * t / (1 + alpha * t)

    def of_first(t: np.ndarray) -> np.ndarray:
        x = alpha * t
        return _by_series(x, GAP_SERIES, x - np.log1p(x)) / alpha

    def by_first(t: np.ndarray, n: int) -> np.ndarray:
        u = 1 / (1 + alpha * t)
        return _factorial(n) * (alpha * u) ** n * u

    def second(t: np.ndarray) -> np.ndarray:
        return alpha * t / (1 + alpha * t) ** 2

    def of_second(t: np.ndarray) -> np.ndarray:
        x = alpha * t
        return _by_series(x, SLOPE_SERIES, np.log1p(x) - x / (1 + x)) / alpha

    def by_second(t: np.ndarray, n: int) -> np.ndarray:
        u = 1 / (1 + alpha * t)
        return _factorial(n) * (alpha * u) ** n * u * ((n + 1) * u - 1)

    return _summed(y, alpha, first, of_first, by_first), _summed(
        y, alpha, second, of_second, by_second
    )


def _factorial(n: int) -> float:
    return float(np.prod(np.arange(1.0, n + 1)))


def _summed(
    y: np.ndarray,
    alpha: np.ndarray,
    term: Callable[[np.ndarray], np.ndarray],
    integral: Callable[[np.ndarray], np.ndarray],
    derivative: Callable[[np.ndarray, int], np.ndarray],
) -> np.ndarray:
    """Return Σ_{j<y} term(j), given an integral of `term` and its derivatives of odd order."""
    total = _head(y, alpha, term)
    if not np.any(y > N_TERMS):
        return total
    start, end = np.array(float(N_TERMS)), np.maximum(y, N_TERMS)
    rest = integral(end) - integral(start) - (term(end) - term(start)) / 2
    for i, weight in enumerate(CORRECTIONS):
        rest = rest + weight * (derivative(end, 2 * i + 1) - derivative(start, 2 * i + 1))
    return total + np.where(y > N_TERMS, rest, 0.0)


def _head(y: np.ndarray, alpha: np.ndarray, term: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return the sum of the first `N_TERMS` terms, or y of them: all are positive but the first.

    Where all rows have one dispersion the sums are looked up in a table.
    """
    n_terms = min(N_TERMS, int(np.max(y, initial=0.0)))
    shape = np.broadcast_shapes(y.shape, alpha.shape)
    if alpha.shape[-1:] == (1,):
        sums = np.cumsum(
            np.broadcast_to(term(np.arange(n_terms + 1.0)), (*alpha.shape[:-1], n_terms + 1)),
            axis=-1,
        )
        sums = np.concatenate([np.zeros((*sums.shape[:-1], 1)), sums], axis=-1)
        counts = np.minimum(y, n_terms).astype(np.intp)
        sums = np.broadcast_to(sums, (*shape[:-1], n_terms + 2))
        return np.take_along_axis(sums, np.broadcast_to(counts, shape), axis=-1)
    total = np.zeros(shape)
    for j in range(1, n_terms):
        total += np.where(y > j, term(np.array(float(j))), 0.0)
    return total
