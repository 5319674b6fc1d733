"""The Laplace family."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator

from mixexp.families._common import (
    IdentityLink,
    over_outputs,
    root_mean_square,
    weighted_sum,
)

__all__ = ["Laplace"]

#: Residuals below this share of the scale b are raised to it in the weights, which are infinite
#: at 0. There the log-density is replaced by the matching parabola, which keeps each step
#: monotone; this changes log-densities by less than 1e-6 and integrals by 1e-12.
DELTA = 1e-6


class Laplace(IdentityLink, BaseEstimator):
    """Two-sided exponential errors: experts fit medians, by least absolute deviations.

    Notes
    -----
    The dispersion is the scale b, the mean absolute residual; the variance is 2 b². A row with
    residual e enters an expert's fit with weight ``u = b / |e|`` times its responsibility, because
    ``|z| ≤ (z²/w + w) / 2`` with equality at ``w = |z|`` (a majorise-minimise step). The same bound
    gives the step of the scale: b² becomes the mean of r u e², which halves the distance to the
    optimum in log b.

    References
    ----------
    Song, Yao & Xing (2014), Robust mixture regression model fitting by Laplace distribution,
    Computational Statistics & Data Analysis 71. Hunter & Lange (2000), Quantile regression via an
    MM algorithm, Journal of Computational and Graphical Statistics 9.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> X, y = load_tone(return_X_y=True)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, family="laplace", random_state=0).fit(X, y)
    >>> model.dispersions_.shape
    (2,)
    """

    name = "laplace"
    parameter_names = ("dispersions",)
    curved = True
    reweights = True

    def check(self, y: np.ndarray, owner: str) -> None:
        """Accept any y (n_outputs, n)."""

    def initial(self, n_experts: int, n_outputs: int) -> np.ndarray:
        """Return dispersions of 1, (1, K, n_outputs)."""
        return np.ones((1, n_experts, n_outputs))

    def evaluate(self, y: np.ndarray, eta: np.ndarray, parameters: np.ndarray) -> tuple:
        """Return log-densities (K, m), weighted residuals u e and weights u (K, n_outputs, m)."""
        scale = parameters[0]
        residual = y - eta
        size = np.abs(residual)
        np.maximum(size, (DELTA * scale)[..., None], out=size)
        weight = scale[..., None] / size
        score = weight * residual
        # |z| is (z²/w + w) / 2 where w = |z|, and the parabola where w is larger
        with np.errstate(over="ignore"):
            residual *= score
            residual /= scale[..., None]
            residual += size
            residual *= (-0.5 / scale)[..., None]
        log_prob = over_outputs(residual)
        log_prob -= np.log(2 * scale).sum(axis=1)[:, None]
        return log_prob, score, weight

    def statistics(
        self, score: np.ndarray, curvature: np.ndarray, resp: np.ndarray, weighted: np.ndarray
    ) -> np.ndarray:
        """Return Σ r u e², (1, K, n_outputs), from scores u e, weights u and r u e."""
        return weighted_sum(weighted, score / curvature)[None]

    def update(
        self, statistics: np.ndarray, mass: np.ndarray, parameters: np.ndarray, floor: np.ndarray
    ) -> np.ndarray:
        """Return scales (1, K, n_outputs), none below `floor` (n_outputs,).

        With ``w = |e|/b`` of the old parameters the bound is −M log b − Σ r e²/w / 2b² + constants,
        and Σ r e²/w the statistic. A bound linear in 1/b would reach the mean absolute
        residual at once if nothing else moved, but not the optimum under a ridge penalty, which is
        divided by 2b² like the squares here.
        """
        return root_mean_square(statistics[0], mass, floor)[None]

    def n_parameters(self, n_experts: int, n_outputs: int) -> int:
        """Return the number of dispersions."""
        return n_experts * n_outputs

    def variance(self, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return the variance of y, of the shape of `mean` (..., K[, n_outputs])."""
        return np.broadcast_to(2 * parameters[0] ** 2, mean.shape)

    def pdf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return the density of each output at y; near the median, from the parabola."""
        scale = parameters[0]
        with np.errstate(over="ignore"):
            z = np.abs(y - mean) / scale
            near = 0.5 * (np.minimum(z, DELTA) ** 2 / DELTA + DELTA)
            return np.exp(-np.where(z < DELTA, near, z)) / (2 * scale)

    def logpdf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return the log-density of each output at y; near the median, from the parabola."""
        scale = parameters[0]
        with np.errstate(over="ignore"):
            z = np.abs(y - mean) / scale
        near = 0.5 * (np.minimum(z, DELTA) ** 2 / DELTA + DELTA)
        return -np.where(z < DELTA, near, z) - np.log(2 * scale)

    def cdf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return P(Y ≤ y) of each output."""
        with np.errstate(over="ignore"):
            z = (y - mean) / parameters[0]
        tail = 0.5 * np.exp(-np.abs(z))
        return np.where(z < 0, tail, 1 - tail)

    def logcdf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return log P(Y ≤ y) of each output."""
        with np.errstate(over="ignore"):
            z = (y - mean) / parameters[0]
        return np.where(z < 0, z - np.log(2), np.log1p(-0.5 * np.exp(-np.abs(z))))

    def sf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return P(Y > y) of each output."""
        return self.cdf(-y, -mean, parameters)

    def quantile(self, q: float, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return the q-quantile of each output."""
        with np.errstate(divide="ignore"):
            distance = np.log(2 * np.minimum(q, np.subtract(1, q)))
        return mean - parameters[0] * np.sign(np.subtract(q, 0.5)) * distance

    def sample(
        self, mean: np.ndarray, parameters: np.ndarray, rng: np.random.RandomState
    ) -> np.ndarray:
        """Draw targets around means; `parameters[0]` is of their shape."""
        return rng.laplace(mean, parameters[0])
