"""The predictive distribution of a mixture of experts."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_random_state

__all__ = ["MixtureDistribution"]

#: Halvings of a quantile's bracket: more than a double can tell apart.
BISECTIONS = 64


class MixtureDistribution:
    """Distribution of y for each of n rows: Σ_k w_k p_k(y).

    Made by `MixtureOfExpertsRegressor.predict_distribution`. With several outputs, which are
    independent given the expert, `cdf`, `quantile` and `interval` are those of each output alone.

    Parameters
    ----------
    weights : ndarray of shape (n, n_experts)
        Rows sum to 1.
    means : ndarray of shape (n, n_experts) or (n, n_experts, n_outputs)
        What the experts predict.
    dispersions : ndarray of shape (n_experts,) or (n_experts, n_outputs)
    family : family of `mixexp.families`

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> X, y = load_tone(return_X_y=True)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    >>> low, high = model.predict_distribution(X).interval(0.9)
    >>> bool(((low <= y) & (y <= high)).mean() > 0.85)
    True
    """

    def __init__(
        self, weights: np.ndarray, means: np.ndarray, dispersions: np.ndarray, family: Any
    ):
        self.weights = weights
        self.means = means
        self.dispersions = dispersions
        self.family = family

    def _weights(self) -> np.ndarray:
        """Return the weights with an axis of outputs where the means have one."""
        return self.weights if self.means.ndim == 2 else self.weights[..., None]

    def _checked(self, y: Any) -> np.ndarray:
        """Return values of y with an axis of experts: (n, 1[, n_outputs])."""
        y = np.asarray(y, dtype=float)
        wanted = (len(self.means), *self.means.shape[2:])
        try:
            y = np.broadcast_to(y, wanted)
        except ValueError as error:
            raise ValueError(
                f"MixtureDistribution: y has shape {y.shape} and must fit {wanted}, one value a "
                "row; call once for each value of a grid."
            ) from error
        return y[:, None]

    def mean(self) -> np.ndarray:
        """Return the mean, (n,) or (n, n_outputs)."""
        return (self._weights() * self.means).sum(axis=1)

    def variance(self) -> np.ndarray:
        """Return the variance: that within the experts plus that between them."""
        within = self.family.variance(self.means, self.dispersions)
        between = (self.means - self.mean()[:, None]) ** 2
        return (self._weights() * (within + between)).sum(axis=1)

    def pdf(self, y: Any) -> np.ndarray:
        """Return the density at y, (n,); of all outputs jointly."""
        density = self.family.pdf(self._checked(y), self.means, self.dispersions)
        joint = density if density.ndim == 2 else density.prod(axis=2)
        return (self.weights * joint).sum(axis=1)

    def cdf(self, y: Any) -> np.ndarray:
        """Return P(Y ≤ y), (n,) or (n, n_outputs)."""
        below = self.family.cdf(self._checked(y), self.means, self.dispersions)
        return np.clip((self._weights() * below).sum(axis=1), 0.0, 1.0)

    def quantile(self, q: float) -> np.ndarray:
        """Return the value that y stays below with probability q, (n,) or (n, n_outputs).

        Between the smallest and the largest of the experts' quantiles, by bisection.
        """
        if not 0 < q < 1:
            raise ValueError(f"MixtureDistribution: q must lie between 0 and 1, got {q!r}.")
        single = self.family.quantile(q, self.means, self.dispersions)
        low, high = single.min(axis=1), single.max(axis=1)
        for _ in range(BISECTIONS):
            middle = 0.5 * (low + high)
            under = self.cdf(middle) < q
            low, high = np.where(under, middle, low), np.where(under, high, middle)
        return 0.5 * (low + high)

    def interval(self, level: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Return the central interval that holds y with probability `level`."""
        if not 0 < level < 1:
            raise ValueError(f"MixtureDistribution: level must lie between 0 and 1, got {level!r}.")
        return self.quantile((1 - level) / 2), self.quantile((1 + level) / 2)

    def sample(self, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """Draw values of y, (n, n_samples) or (n, n_outputs, n_samples)."""
        rng = check_random_state(random_state)
        below = np.cumsum(self.weights, axis=1)[:, :-1, None]
        chosen = (below <= rng.uniform(size=(len(below), 1, n_samples))).sum(axis=1)
        means = np.stack([row[k] for row, k in zip(self.means, chosen, strict=True)])
        draws = self.family.sample(means, self.dispersions[chosen], rng)
        return draws if draws.ndim == 2 else draws.transpose(0, 2, 1)
