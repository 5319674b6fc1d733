"""The gaussian family."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri
from sklearn.base import BaseEstimator

__all__ = ["Gaussian"]

_HALF_LOG_2PI = 0.5 * np.log(2 * np.pi)


class Gaussian(BaseEstimator):
    """Normal errors around the expert's prediction, independent between outputs.

    Parameters
    ----------
    shared : bool, default=False
        Whether all experts have one dispersion an output, instead of one each.

    Notes
    -----
    The dispersion is the standard deviation; its M-step is the responsibility-weighted mean of
    the squared residuals. Experts with a ridge penalty add it to the squares.

    References
    ----------
    Jacobs, Jordan, Nowlan & Hinton (1991), Adaptive mixtures of local experts, Neural
    Computation 3, eq. 1.3.

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

    def __init__(self, shared: bool = False):
        self.shared = shared

    def evaluate(self, y: np.ndarray, mean: np.ndarray, dispersion: np.ndarray) -> tuple:
        """Return log-densities (K, m) and residuals (K, n_outputs, m)."""
        residual = y - mean
        log_prob = residual * residual
        log_prob *= (-0.5 / dispersion**2)[..., None]
        log_prob = log_prob[:, 0] if log_prob.shape[1] == 1 else log_prob.sum(axis=1)
        log_prob -= (np.log(dispersion) + _HALF_LOG_2PI).sum(axis=1)[:, None]
        return log_prob, residual

    def scatter(self, score: np.ndarray, weighted: np.ndarray) -> np.ndarray:
        """Return Σ r e², (K, n_outputs), from residuals e and weighted residuals r e."""
        return np.einsum("kqm,kqm->kq", weighted, score)

    def dispersion(self, scatter: np.ndarray, mass: np.ndarray, floor: np.ndarray) -> np.ndarray:
        """Return standard deviations (K, n_outputs), none below `floor` (n_outputs,)."""
        if self.shared:
            scatter = np.broadcast_to(scatter.sum(axis=0), scatter.shape)
            mass = np.full(len(mass), mass.sum())
        return np.maximum(np.sqrt(scatter / mass[:, None]), floor)

    def n_parameters(self, n_experts: int, n_outputs: int) -> int:
        """Return the number of dispersions."""
        return n_outputs if self.shared else n_experts * n_outputs

    def variance(self, mean: np.ndarray, dispersion: np.ndarray) -> np.ndarray:
        """Return the variance of y, of the shape of `mean` (..., K[, n_outputs])."""
        return np.broadcast_to(dispersion**2, mean.shape)

    def pdf(self, y: np.ndarray, mean: np.ndarray, dispersion: np.ndarray) -> np.ndarray:
        """Return the density of each output at y."""
        z = (y - mean) / dispersion
        return np.exp(-0.5 * z * z - _HALF_LOG_2PI) / dispersion

    def cdf(self, y: np.ndarray, mean: np.ndarray, dispersion: np.ndarray) -> np.ndarray:
        """Return P(Y ≤ y) of each output."""
        return ndtr((y - mean) / dispersion)

    def quantile(self, q: float, mean: np.ndarray, dispersion: np.ndarray) -> np.ndarray:
        """Return the q-quantile of each output."""
        return mean + dispersion * ndtri(q)

    def sample(
        self, mean: np.ndarray, dispersion: np.ndarray, rng: np.random.RandomState
    ) -> np.ndarray:
        """Draw targets around means; `dispersion` is of their shape."""
        return mean + dispersion * rng.standard_normal(mean.shape)
