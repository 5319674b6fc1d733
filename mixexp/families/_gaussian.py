"""The gaussian family."""

from __future__ import annotations

import numpy as np
from scipy.special import log_ndtr, ndtr, ndtri
from sklearn.base import BaseEstimator

from mixexp.families._common import FamilyDerivatives, IdentityLink, root_mean_square, weighted_sum

__all__ = ["Gaussian"]

_HALF_LOG_2PI = 0.5 * np.log(2 * np.pi)


class Gaussian(IdentityLink, BaseEstimator):
    """Normal errors around the expert's prediction, independent between outputs.

    Parameters
    ----------
    shared : bool, default=False
        Whether all experts share one dispersion per output.

    Notes
    -----
    The dispersion is the standard deviation; its M-step is the responsibility-weighted mean of
    the squared residuals. Experts with a ridge penalty add it to the squares. Where the penalty
    sets itself, as of default experts, the weight is less the number of coefficients that the rows
    determine (MacKay 1992, Bayesian interpolation, Neural Computation 4).

    References
    ----------
    Jacobs, Jordan, Nowlan & Hinton (1991), Adaptive mixtures of local experts, Neural
    Computation 3, eq. 1.3. Grimit, Gneiting, Berrocal & Johnson (2006), The continuous ranked
    probability score for circular variables and its application to mesoscale forecast ensemble
    verification, Q. J. R. Meteorol. Soc. 132 (the score of mixtures).

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> from mixexp.families import Gaussian
    >>> X, y = load_tone(return_X_y=True)
    >>> family = Gaussian(shared=True)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, family=family, random_state=0).fit(X, y)
    >>> bool(model.dispersions_[0] == model.dispersions_[1])
    True
    """

    name = "gaussian"
    parameter_names = ("dispersions",)

    def __init__(self, shared: bool = False):
        self.shared = shared

    def check(self, y: np.ndarray, owner: str) -> None:
        """Raise a ValueError if the parameters are invalid; any y (n_outputs, n) is accepted."""
        if not isinstance(self.shared, (bool, np.bool_)):
            raise ValueError(
                f"Gaussian: shared must be True or False, got {self.shared!r}. True gives all "
                "experts one dispersion, False one each."
            )

    def initial(self, n_experts: int, n_outputs: int) -> np.ndarray:
        """Return dispersions of 1, (1, K, n_outputs)."""
        return np.ones((1, n_experts, n_outputs))

    def evaluate(self, y: np.ndarray, eta: np.ndarray, parameters: np.ndarray) -> tuple:
        """Return log-densities (K, m), residuals (K, n_outputs, m), and None for a curvature 1."""
        dispersion = parameters[0]
        with np.errstate(over="ignore"):
            residual = y - eta
            log_prob = residual * residual
        log_prob *= (-0.5 / dispersion**2)[..., None]
        log_prob = log_prob[:, 0] if log_prob.shape[1] == 1 else log_prob.sum(axis=1)
        log_prob -= (np.log(dispersion) + _HALF_LOG_2PI).sum(axis=1)[:, None]
        return log_prob, residual, None

    def derivatives(
        self, y: np.ndarray, eta: np.ndarray, parameters: np.ndarray
    ) -> FamilyDerivatives:
        """Return first and second derivatives of log p by eta and log σ."""
        z = (y - eta) / parameters[0][..., None]
        inverse = 1 / parameters[0][..., None]
        squares = z * z
        return FamilyDerivatives(
            by_eta=z * inverse,
            by_logs=(squares - 1)[None],
            curvature=np.broadcast_to(inverse**2, z.shape),
            crossed=(2 * z * inverse)[None],
            of_logs=(2 * squares)[None, None],
        )

    def statistics(
        self, score: np.ndarray, curvature: None, resp: np.ndarray, weighted: np.ndarray
    ) -> np.ndarray:
        """Return Σ r e², (1, K, n_outputs), from residuals e and weighted residuals r e."""
        return weighted_sum(weighted, score)[None]

    def update(
        self, statistics: np.ndarray, mass: np.ndarray, parameters: np.ndarray, floor: np.ndarray
    ) -> np.ndarray:
        """Return standard deviations (1, K, n_outputs), none below `floor` ([K, ]n_outputs)."""
        total = statistics[0]
        if self.shared:
            total = np.broadcast_to(total.sum(axis=0), total.shape)
            mass = np.full(len(mass), mass.sum())
            floor = np.atleast_2d(floor).max(axis=0)
        return root_mean_square(total, mass, floor)[None]

    def within(self, parameters: np.ndarray, floor: np.ndarray) -> np.ndarray:
        """Return standard deviations raised to their floor, shared ones after pooling."""
        if self.shared:
            parameters = np.sqrt(np.mean(parameters**2, axis=1, keepdims=True)) + 0 * parameters
        return super().within(parameters, floor)

    def n_parameters(self, n_experts: int, n_outputs: int) -> int:
        """Return the number of dispersions."""
        return n_outputs if self.shared else n_experts * n_outputs

    def variance(self, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return the variance of y, of the shape of `mean` (..., K[, n_outputs])."""
        return np.broadcast_to(parameters[0] ** 2, mean.shape)

    def pdf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return the density of each output at y."""
        with np.errstate(over="ignore"):
            z = (y - mean) / parameters[0]
            return np.exp(-0.5 * z * z - _HALF_LOG_2PI) / parameters[0]

    def cdf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return P(Y ≤ y) of each output."""
        with np.errstate(over="ignore"):
            return ndtr((y - mean) / parameters[0])

    def logpdf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return the log-density of each output at y."""
        with np.errstate(over="ignore"):
            z = (y - mean) / parameters[0]
            return -0.5 * z * z - _HALF_LOG_2PI - np.log(parameters[0])

    def logcdf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return log P(Y ≤ y) of each output."""
        with np.errstate(over="ignore"):
            return log_ndtr((y - mean) / parameters[0])

    def sf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return P(Y > y) of each output."""
        with np.errstate(over="ignore"):
            return ndtr((mean - y) / parameters[0])

    def quantile(self, q: float, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return the q-quantile of each output."""
        return mean + parameters[0] * ndtri(q)

    def mixture_crps(
        self, y: np.ndarray, weights: np.ndarray, means: np.ndarray, parameters: np.ndarray
    ) -> np.ndarray:
        """Return the continuous ranked probability score of mixtures at y (n,).

        It is ``E|Y − y| − E|Y − Y'|/2``; differences of normal variables are normal
        (Grimit et al. 2006).
        """
        means = np.where(weights > 0, means, 0.0)
        scales = np.broadcast_to(parameters[0], means.shape)
        score = _mean_distance(y[:, None] - means, scales)
        score = np.sum(weights * np.where(weights > 0, score, 0.0), axis=1)
        for k in range(means.shape[1]):
            pairs = _mean_distance(means[:, [k]] - means, np.hypot(scales[:, [k]], scales))
            score -= 0.5 * weights[:, k] * np.sum(weights * pairs, axis=1)
        return score

    def sample(
        self, mean: np.ndarray, parameters: np.ndarray, rng: np.random.RandomState
    ) -> np.ndarray:
        """Draw targets around means; `parameters[0]` is of their shape."""
        return mean + parameters[0] * rng.standard_normal(mean.shape)


def _mean_distance(mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return ``E|Z|`` of a normal variable."""
    with np.errstate(over="ignore"):
        z = np.abs(mean) / scale
        density = np.exp(-0.5 * z * z - _HALF_LOG_2PI)
    return np.abs(mean) * (1 - 2 * ndtr(-z)) + 2 * scale * density
