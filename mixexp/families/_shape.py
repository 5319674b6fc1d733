"""The equation log a − ψ(a) = c, to which both Gamma's shape and Student's ν lead."""

from __future__ import annotations

import numpy as np
from scipy.special import digamma, gammaln, polygamma

__all__ = ["deviance", "log_minus_digamma", "shape_curvature", "shape_from_gap", "stirling_rest"]

#: Above this shape the differences below are computed by series: the omitted terms are under 1e-18,
#: while rounding would cost the direct difference ever more digits.
LARGE_SHAPE = 1e3

#: Range of the gaps, for shapes from about 1e-12 to 5e23.
SMALLEST_GAP, LARGEST_GAP = 1e-24, 1e12

#: Newton steps on logarithms; the start is within 1.5 % and four steps reach rounding.
NEWTON_STEPS = 5


def log_minus_digamma(a: np.ndarray) -> np.ndarray:
    """Return log a − ψ(a), which falls from inf at a = 0 to 0."""
    series = (1 / 2 + (1 / 12 - 1 / (120 * a * a)) / a) / a
    return np.where(a > LARGE_SHAPE, series, np.log(a) - digamma(a))


def shape_curvature(a: np.ndarray) -> np.ndarray:
    """Return a (a ψ′(a) − 1), which falls from 1 at a = 0 to ½."""
    series = 1 / 2 + (1 / 6 - 1 / (30 * a * a)) / a
    return np.where(a > LARGE_SHAPE, series, a * (a * polygamma(1, a) - 1))


def stirling_rest(a: np.ndarray) -> np.ndarray:
    """Return a log a − a − log Γ(a): the log-density of a Gamma at its mean, without −log y."""
    series = 0.5 * np.log(a / (2 * np.pi)) - (1 / 12 - 1 / 360 / a / a) / a
    return np.where(a > LARGE_SHAPE, series, a * np.log(a) - a - gammaln(a))


def deviance(count: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return count log(count / mean) − count + mean, of terms that do not cancel; count > 0."""
    excess = (mean - count) / count
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        log_ratio = np.where(np.abs(excess) < 0.5, np.log1p(excess), np.log(mean / count))
        return count * (excess - log_ratio)


def shape_from_gap(gap: np.ndarray) -> np.ndarray:
    """Return a with log a − ψ(a) = gap, by Newton steps of log gap in log a, nearly linear.

    The start is the closed form of Minka (2002), Estimating a Gamma distribution.
    """
    gap = np.clip(gap, SMALLEST_GAP, LARGEST_GAP)
    a = (3 - gap + np.sqrt((gap - 3) ** 2 + 24 * gap)) / (12 * gap)
    for _ in range(NEWTON_STEPS):
        here = log_minus_digamma(a)
        series = -(1 / 2 + (1 / 6 - 1 / (30 * a * a)) / a) / a
        slope = np.where(a > LARGE_SHAPE, series, 1 - a * polygamma(1, a))
        a = a * np.exp(np.clip((np.log(gap) - np.log(here)) * here / slope, -2.0, 2.0))
    return a
