"""The Gamma family."""

from __future__ import annotations

import numpy as np
from scipy.special import gammainc, gammaincc, gammaincinv
from sklearn.base import BaseEstimator

from mixexp.families._common import (
    LARGEST_ETA,
    LARGEST_SLOPE,
    SMALL_TAIL,
    FamilyDerivatives,
    LogLink,
    log_probability,
    nested_sum,
    over_outputs,
)
from mixexp.families._shape import (
    log_minus_digamma,
    shape_curvature,
    shape_from_gap,
    stirling_rest,
)

__all__ = ["Gamma"]

#: Largest log(y / mean): its exponential is inf, which makes the density 0.
LARGEST_LOG_RATIO = 1e3

#: Largest target, and 1 over the smallest: variances are squares of means.
LARGEST_VALUE = 1e153

#: Smallest y / mean − 1: at −1 the logarithm of the ratio would be lost.
SMALLEST_SCORE = -1 + 1e-15


class Gamma(LogLink, BaseEstimator):
    """Positive targets whose spread grows with the expert's prediction.

    The log of the mean is linear. The dispersion is the coefficient of variation, the standard
    deviation over the mean: 1 is the exponential distribution.

    Notes
    -----
    With shape a = 1 / dispersion², log p(y) = a log(a y / mean) − a y / mean − log y − log Γ(a).
    The expert's step is Fisher scoring, which needs no weights; the shape solves
    log a − ψ(a) = Σ r (y/mean − 1 − log(y/mean)) / Σ r.

    References
    ----------
    McCullagh & Nelder (1989), Generalized linear models, chapter 8. Jordan & Jacobs (1994),
    Hierarchical mixtures of experts and the EM algorithm, Neural Computation 6, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-2, 2, (300, 1))
    >>> y = rng.gamma(4.0, np.exp(np.abs(X[:, 0])) / 4.0)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, family="gamma", random_state=0).fit(X, y)
    >>> bool(model.predict(X).min() > 0)
    True
    """

    name = "gamma"
    parameter_names = ("dispersions",)

    def supports(self, y: np.ndarray) -> np.ndarray:
        """Return where y is positive."""
        return np.asarray(y) > 0

    def check(self, y: np.ndarray, owner: str) -> None:
        """Raise a ValueError if any y (n_outputs, n) is not positive."""
        bad = ~self.supports(y)
        if bad.any():
            raise ValueError(
                f"{owner}: family 'gamma' needs y above 0, got {float(y[bad][0])!r}. Leave these "
                "rows out or raise them to the smallest value that can be measured, or use "
                "family='poisson' for counts, family='gaussian' for y of both signs."
            )
        low, high = y.min(initial=1.0), y.max(initial=1.0)
        if low < 1 / LARGEST_VALUE or high > LARGEST_VALUE:
            raise ValueError(
                f"{owner}: y goes from {low:.3g} to {high:.3g}, and squares of such numbers leave "
                "float64. Multiply y by a constant, to have a mean of about 1."
            )

    def initial(self, n_experts: int, n_outputs: int) -> np.ndarray:
        """Return dispersions of 1, (1, K, n_outputs)."""
        return np.ones((1, n_experts, n_outputs))

    def evaluate(self, y: np.ndarray, eta: np.ndarray, parameters: np.ndarray) -> tuple:
        """Return log-densities (K, m), y/mean − 1 (K, n_outputs, m), None for a curvature 1."""
        shape = parameters[0] ** -2.0
        log_y = np.log(y)
        log_ratio = log_y - np.minimum(eta, LARGEST_ETA)
        np.minimum(log_ratio, LARGEST_LOG_RATIO, out=log_ratio)
        # −a (y/mean − 1 − log(y/mean)): these terms keep enough digits for a large shape
        with np.errstate(over="ignore"):
            score = np.expm1(log_ratio)
            log_prob = np.subtract(log_ratio, score, out=log_ratio)
            log_prob *= shape[..., None]
        log_prob = over_outputs(log_prob)
        log_prob += stirling_rest(shape).sum(axis=1)[:, None]
        log_prob -= log_y.sum(axis=0)
        np.clip(score, SMALLEST_SCORE, LARGEST_SLOPE, out=score)
        return log_prob, score, None

    def derivatives(
        self, y: np.ndarray, eta: np.ndarray, parameters: np.ndarray
    ) -> FamilyDerivatives:
        """Return first and second derivatives of log p by eta and log φ; the shape is a = φ⁻².

        With u = y/mean: log p = a log a − log Γ(a) + a (log u − u) − log y.
        """
        shape = (parameters[0] ** -2.0)[..., None]
        with np.errstate(over="ignore"):
            log_ratio = np.minimum(np.log(y) - np.minimum(eta, LARGEST_ETA), LARGEST_LOG_RATIO)
            excess = np.expm1(log_ratio)
            gap = shape * (log_minus_digamma(shape) + log_ratio - excess)  # a ∂ log p / ∂a
            slope = shape * excess
        return FamilyDerivatives(
            by_eta=slope,
            by_logs=(-2 * gap)[None],
            curvature=shape + slope,
            crossed=(2 * slope)[None],
            of_logs=4 * (shape_curvature(shape) - gap)[None, None],
        )

    def statistics(
        self, score: np.ndarray, curvature: None, resp: np.ndarray, weighted: np.ndarray
    ) -> np.ndarray:
        """Return the deviance Σ 2r (y/mean − 1 − log(y/mean)), (1, K, n_outputs)."""
        return 2 * np.einsum("km,kqm->kq", resp, score - np.log1p(score))[None]

    def update(
        self, statistics: np.ndarray, mass: np.ndarray, parameters: np.ndarray, floor: np.ndarray
    ) -> np.ndarray:
        """Return coefficients of variation (1, K, n_outputs), none below `floor` (n_outputs,)."""
        shape = shape_from_gap(statistics[0] / (2 * mass[:, None]))
        return np.maximum(shape**-0.5, floor)[None]

    def n_parameters(self, n_experts: int, n_outputs: int) -> int:
        """Return the number of dispersions."""
        return n_experts * n_outputs

    def variance(self, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return the variance of y, of the shape of `mean` (..., K[, n_outputs])."""
        with np.errstate(over="ignore"):
            return (parameters[0] * mean) ** 2

    def pdf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return the density of each output at y, 0 for y ≤ 0, which `fit` rejects."""
        with np.errstate(over="ignore"):
            return np.exp(self.logpdf(y, mean, parameters))

    def logpdf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return the log-density of each output at y, −inf for y ≤ 0, which `fit` rejects."""
        valid = self.supports(y) & (np.asarray(y) < np.inf)
        shape = parameters[0] ** -2.0
        log_y = np.log(np.where(valid, y, 1.0))
        log_ratio = np.minimum(log_y - np.log(mean), LARGEST_LOG_RATIO)
        with np.errstate(over="ignore"):
            log_pdf = stirling_rest(shape) + shape * (log_ratio - np.expm1(log_ratio)) - log_y
        return np.where(valid, log_pdf, -np.inf)

    def cdf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return P(Y ≤ y) of each output."""
        shape = parameters[0] ** -2.0
        with np.errstate(over="ignore"):
            return gammainc(shape, shape * (np.maximum(y, 0.0) / mean))

    def logcdf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return log P(Y ≤ y) of each output."""
        below = self.cdf(y, mean, parameters)
        log_below = log_probability(below, self.sf(y, mean, parameters))
        small = below < SMALL_TAIL
        if np.any(small):  # y p(y) / a (1 + x/(a + 1) + x²/((a + 1)(a + 2)) + …), x = a y/mean
            shape = parameters[0] ** -2.0
            least = np.nextafter(0.0, 1.0)
            ratio = np.clip(y, least, 0.999 * mean) / mean
            x, log_ratio = shape * ratio, np.log(np.maximum(ratio, least))
            series = nested_sum(lambda n: x / (shape + n + 1))
            tail = stirling_rest(shape) + shape * (log_ratio - np.expm1(log_ratio)) - np.log(shape)
            possible = np.asarray(y) > 0
            log_below = np.where(
                small, np.where(possible, tail + np.log(series), -np.inf), log_below
            )
        return log_below

    def sf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return P(Y > y) of each output."""
        shape = parameters[0] ** -2.0
        with np.errstate(over="ignore"):
            return gammaincc(shape, shape * (np.maximum(y, 0.0) / mean))

    def quantile(self, q: float, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return the q-quantile of each output."""
        shape = parameters[0] ** -2.0
        with np.errstate(over="ignore"):
            return mean * (gammaincinv(shape, q) / shape)

    def sample(
        self, mean: np.ndarray, parameters: np.ndarray, rng: np.random.RandomState
    ) -> np.ndarray:
        """Draw targets with these means; `parameters[0]` is of their shape."""
        shape = parameters[0] ** -2.0
        with np.errstate(over="ignore"):
            scale = np.minimum(mean / shape, np.finfo(float).max)
        return rng.gamma(shape, scale)
