"""The Student-t family."""

from __future__ import annotations

from numbers import Real

import numpy as np
from scipy.special import betaln, digamma, polygamma, stdtr, stdtrit
from sklearn.base import BaseEstimator

from mixexp.families._common import (
    SMALL_TAIL,
    FamilyDerivatives,
    IdentityLink,
    log_probability,
    nested_sum,
    over_outputs,
    root_mean_square,
    weighted_sum,
)
from mixexp.families._shape import log_minus_digamma, shape_from_gap

__all__ = ["StudentT"]

#: Initial degrees of freedom: tails that 10 000 rows can tell from normal ones.
INITIAL_DF = 10.0

#: Range of estimated degrees of freedom: below 1 the likelihood can grow without bound around
#: single rows, above 200 no sample can tell the family from a gaussian.
SMALLEST_DF, LARGEST_DF = 1.0, 200.0

#: Beyond this distance from the location, in scales, squares leave the range of doubles.
FAR = 1e100

#: Upper limit of squared residuals: beyond, weights would underflow to 0, and 0/0 is NaN.
LARGEST_SQUARE = 1e300

#: Below this level quantiles follow the tail's power law where they are farther than this many
#: degrees of freedom: its relative error is about the inverse square of that.
SMALL_QUANTILE, FAR_FOR_POWERS = 1e-100, 3e4


class StudentT(IdentityLink, BaseEstimator):
    """Student-t errors around the expert's prediction, robust to a few outliers.

    Parameters
    ----------
    df : float or None, default=None
        Degrees of freedom: a positive number, the same for all experts and outputs. None
        estimates one per expert and output, between 1 and 200.

    Notes
    -----
    The dispersion is the scale s, and the variance s² df / (df − 2), infinite for df ≤ 2. A row
    with residual e enters an expert's fit with weight u = (df + 1) / (df + e²/s²) times its
    responsibility. The scale's M-step is the mean of r u e²; degrees of freedom follow from the
    same weights (ECM).

    References
    ----------
    Peel & McLachlan (2000), Robust mixture modelling using the t distribution, Statistics and
    Computing 10, eqs. 26 to 32. Liu & Rubin (1995), ML estimation of the t distribution using
    EM and its extensions, ECM and ECME, Statistica Sinica 5.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> from mixexp.families import StudentT
    >>> X, y = load_tone(return_X_y=True)
    >>> family = StudentT(df=3)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, family=family, random_state=0).fit(X, y)
    >>> model.dispersions_.shape
    (2,)
    """

    name = "student_t"
    parameter_names = ("dispersions", "degrees_of_freedom")
    curved = True
    reweights = True

    def __init__(self, df: float | None = None):
        self.df = df

    def check(self, y: np.ndarray, owner: str) -> None:
        """Raise a ValueError if the parameters are invalid; any y (n_outputs, n) is accepted."""
        df = self.df
        number = isinstance(df, Real) and not isinstance(df, bool)
        if df is not None and not (number and 0 < df < np.inf):
            raise ValueError(
                f"StudentT: df must be None or a finite number above 0, got {df!r}. None estimates "
                "the degrees of freedom; family='gaussian' is the limit of infinitely many."
            )

    def initial(self, n_experts: int, n_outputs: int) -> np.ndarray:
        """Return scales of 1 and the first degrees of freedom, (2, K, n_outputs)."""
        parameters = np.ones((2, n_experts, n_outputs))
        parameters[1] = INITIAL_DF if self.df is None else self.df
        return parameters

    def evaluate(self, y: np.ndarray, eta: np.ndarray, parameters: np.ndarray) -> tuple:
        """Return log-densities (K, m), weighted residuals u e and weights u (K, n_outputs, m)."""
        scale, df = parameters
        with np.errstate(over="ignore"):
            score = y - eta
            log_prob = score / scale[..., None]
            log_prob *= log_prob
        np.minimum(log_prob, LARGEST_SQUARE, out=log_prob)
        weight = log_prob + df[..., None]
        np.divide((df + 1)[..., None], weight, out=weight)
        score *= weight
        log_prob /= df[..., None]
        np.log1p(log_prob, out=log_prob)
        log_prob *= (-0.5 * (df + 1))[..., None]
        log_prob = over_outputs(log_prob)
        # log Γ((ν+1)/2) − log Γ(ν/2) − ½ log π, without the cancellation at large ν
        log_prob -= (betaln(df / 2, 0.5) + 0.5 * np.log(df) + np.log(scale)).sum(axis=1)[:, None]
        return log_prob, score, weight

    def derivatives(
        self, y: np.ndarray, eta: np.ndarray, parameters: np.ndarray
    ) -> FamilyDerivatives:
        """Return first and second derivatives of log p by eta, log s and log ν."""
        scale, df = (each[..., None] for each in parameters)
        with np.errstate(over="ignore"):
            z = (y - eta) / scale
            square = np.minimum(z * z, LARGEST_SQUARE)
        total = df + square
        weight = (df + 1) / total
        bend = 2 * df * weight / total  # −∂ (u z²) / ∂ log s, divided by z²
        by_eta, by_scale = weight * z / scale, weight * square - 1
        curvature = weight * (df - square) / total / scale**2
        crossed, of_scale = bend * z / scale, bend * square
        tail = square / total
        constant = 0.5 * (digamma((df + 1) / 2) - digamma(df / 2) - 1 / df)
        first = constant - 0.5 * np.log1p(square / df) + 0.5 * (df + 1) * tail / df
        second = (
            0.25 * (polygamma(1, (df + 1) / 2) - polygamma(1, df / 2))
            + 0.5 / df**2
            + tail / df
            - 0.5 * (df + 1) * tail * (df + total) / (df**2 * total)
        )
        slide = df * (square - 1) / total  # ∂ u / ∂ log ν, times ν + z²
        of_both = -slide * tail
        return FamilyDerivatives(
            by_eta,
            np.stack([by_scale, df * first]),
            curvature,
            np.stack([crossed, -slide / total * z / scale]),
            np.stack(
                [
                    np.stack([of_scale, of_both]),
                    np.stack([of_both, -df * (first + df * second)]),
                ]
            ),
        )

    def statistics(
        self, score: np.ndarray, curvature: np.ndarray, resp: np.ndarray, weighted: np.ndarray
    ) -> np.ndarray:
        """Return Σ r u e² and, if degrees of freedom are estimated, Σ r (log u − u)."""
        squares = weighted_sum(weighted, score / curvature)
        if self.df is not None:
            return squares[None]
        logs = np.log(curvature)
        logs -= curvature
        return np.stack([squares, np.einsum("km,kqm->kq", resp, logs)])

    def update(
        self, statistics: np.ndarray, mass: np.ndarray, parameters: np.ndarray, floor: np.ndarray
    ) -> np.ndarray:
        """Return scales, none below `floor` (n_outputs,), and degrees of freedom."""
        scale = root_mean_square(statistics[0], mass, floor)
        if self.df is not None:
            df = np.full(scale.shape, float(self.df))
        else:
            # log(ν/2) − ψ(ν/2) + 1 + Σ r (log u − u) / Σ r + ψ((ν₀+1)/2) − log((ν₀+1)/2) = 0; the
            # left side falls in ν: the nearest end is best if the root is out of range
            gap = log_minus_digamma((parameters[1] + 1) / 2) - 1 - statistics[1] / mass[:, None]
            df = np.clip(2 * shape_from_gap(gap), SMALLEST_DF, LARGEST_DF)
        return np.stack([scale, df])

    def within(self, parameters: np.ndarray, floor: np.ndarray) -> np.ndarray:
        """Return scales raised to their floor, and degrees of freedom, fixed or in range."""
        parameters = super().within(parameters, floor)
        parameters[1] = self.df or np.clip(parameters[1], SMALLEST_DF, LARGEST_DF)
        return parameters

    def bounds(self, floor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the least and the largest parameters, (2, ...) over the shape of the floor."""
        free = self.df is None
        lower, upper = (SMALLEST_DF, LARGEST_DF) if free else (self.df, self.df)
        return (
            np.stack([floor, np.full_like(floor, lower)]),
            np.stack([np.full_like(floor, np.inf), np.full_like(floor, upper)]),
        )

    def n_parameters(self, n_experts: int, n_outputs: int) -> int:
        """Return the number of scales and estimated degrees of freedom."""
        return n_experts * n_outputs * (1 if self.df is not None else 2)

    def expectation(self, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return the mean of y, of the shape of `mean`; NaN up to df = 1, where there is none."""
        return np.where(parameters[1] > 1, mean, np.nan)

    def variance(self, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return the variance of y, of the shape of `mean`; infinite up to df = 2."""
        scale, df = parameters
        variance = scale**2 * np.where(df > 2, df / np.where(df > 2, df - 2, 1.0), np.inf)
        return np.broadcast_to(variance, mean.shape)

    def pdf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return the density of each output at y."""
        with np.errstate(over="ignore"):
            return np.exp(self.logpdf(y, mean, parameters))

    def logpdf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return the log-density of each output at y."""
        scale, df = parameters
        constant = -betaln(df / 2, 0.5) - 0.5 * np.log(df) - np.log(scale)
        return constant - 0.5 * (df + 1) * _log_growth(y, mean, scale, df)

    def cdf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return P(Y ≤ y) of each output."""
        scale, df = parameters
        with np.errstate(over="ignore"):
            z = (y - mean) / scale
        below = stdtr(df, z)
        far = np.abs(z) > FAR  # where stdtr ends too early
        if np.any(far):
            tail = np.exp(_log_tail(_log_growth(y, mean, scale, df), df))
            below = np.where(far, np.where(z < 0, tail, 1 - tail), below)
        return below

    def logcdf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return log P(Y ≤ y) of each output."""
        scale, df = parameters
        below = self.cdf(y, mean, parameters)
        log_below = log_probability(below, self.sf(y, mean, parameters))
        small = below < SMALL_TAIL
        if np.any(small):
            tail = _log_tail(_log_growth(y, mean, scale, df), df)
            log_below = np.where(small, tail, log_below)
        return log_below

    def sf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return P(Y > y) of each output."""
        return self.cdf(-y, -mean, parameters)

    def quantile(self, q: float, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return the q-quantile of each output."""
        standard = stdtrit(parameters[1], q)
        if np.any(np.asarray(q) < SMALL_QUANTILE):  # stdtrit has no digits there, or is +inf
            far = _far_quantile(q, parameters[1])
            holds = np.abs(far) > FAR_FOR_POWERS * parameters[1]
            standard = np.where((q < SMALL_QUANTILE) & holds, far, standard)
        # of old versions of scipy, stdtrit(df, 1) is NaN
        standard = np.where(np.equal(q, 1), np.inf, standard)
        return mean + parameters[0] * standard

    def sample(
        self, mean: np.ndarray, parameters: np.ndarray, rng: np.random.RandomState
    ) -> np.ndarray:
        """Draw targets around means; `parameters[i]` is of their shape."""
        return mean + parameters[0] * rng.standard_t(parameters[1], mean.shape)


def _far_quantile(q: float, df: np.ndarray) -> np.ndarray:
    """Return the quantile at a small q, where F(t) = ν^(ν/2 − 1) |t|^(−ν) / B(½, ν/2)."""
    with np.errstate(divide="ignore", over="ignore"):
        log_size = (0.5 * df - 1) * np.log(df) - betaln(0.5, 0.5 * df) - np.log(q)
        quantile: np.ndarray = -np.exp(log_size / df)
    return quantile


def _log_growth(y: np.ndarray, mean: np.ndarray, scale: np.ndarray, df: np.ndarray) -> np.ndarray:
    """Return log(1 + z²/ν) of z = (y − mean) / scale, of which the square may overflow."""
    with np.errstate(over="ignore", divide="ignore"):
        distance = np.abs(y - mean)
        z = distance / scale
        far = 2 * (np.log(distance) - np.log(scale)) - np.log(df)
    near = np.minimum(z, FAR)
    return np.where(z > FAR, far, np.log1p(near * near / df))


def _log_tail(log_growth: np.ndarray, df: np.ndarray) -> np.ndarray:
    """Return the logarithm of P(Z ≤ −|z|), for far z, from log(1 + z²/ν).

    With x = ν/(ν + z²) and a = ν/2 it is half of the incomplete beta function I_x(a, ½), which is
    x^a (1 − x)^½ / (a B(a, ½)) times a series.
    """
    a = df / 2
    x = np.exp(-np.maximum(log_growth, 1e-8))
    series = nested_sum(lambda n: x * ((a + n + 0.5) / (a + n + 1)))
    constant = np.log(0.5 / a) - betaln(a, 0.5)
    return constant - a * log_growth + 0.5 * np.log1p(-x) + np.log(series)
