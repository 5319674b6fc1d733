"""The predictive distribution of a mixture of experts."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_random_state

__all__ = ["MixtureDistribution"]

#: Largest count among the candidates for a quantile: up to here doubles tell counts apart.
LARGEST_COUNT = 2.0**53


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
    parameters : ndarray of shape (n_parameters, n_experts[, n_outputs])
        One row for each of the family's `parameter_names`.
    family : family of `mixexp.families`
        For a discrete one, `pdf` is the probability of y.

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

    def __init__(self, weights: np.ndarray, means: np.ndarray, parameters: np.ndarray, family: Any):
        self.weights = weights
        self.means = means
        self.parameters = parameters
        self.family = family

    def _weights(self) -> np.ndarray:
        """Return the weights with an axis of outputs where the means have one."""
        return self.weights if self.means.ndim == 2 else self.weights[..., None]

    def _mixed(self, values: np.ndarray) -> np.ndarray:
        """Return means over experts; one without weight adds nothing, even where it is inf."""
        weights = np.broadcast_to(self._weights(), values.shape)
        return np.multiply(weights, values, out=np.zeros(values.shape), where=weights > 0).sum(1)

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
        return self._mixed(self.means)

    def variance(self) -> np.ndarray:
        """Return the variance: that within the experts plus that between them.

        It is infinite where an expert of weight has Student-t errors with up to two degrees of
        freedom.
        """
        within = self.family.variance(self.means, self.parameters)
        between = (self.means - self.mean()[:, None]) ** 2
        return self._mixed(within + between)

    def pdf(self, y: Any) -> np.ndarray:
        """Return the density at y, (n,); of all outputs jointly."""
        density = self.family.pdf(self._checked(y), self.means, self.parameters)
        joint = density if density.ndim == 2 else density.prod(axis=2)
        return (self.weights * joint).sum(axis=1)

    def cdf(self, y: Any) -> np.ndarray:
        """Return P(Y ≤ y), (n,) or (n, n_outputs)."""
        below = self.family.cdf(self._checked(y), self.means, self.parameters)
        return np.clip((self._weights() * below).sum(axis=1), 0.0, 1.0)

    def quantile(self, q: float) -> np.ndarray:
        """Return the value that y stays below with probability q, (n,) or (n, n_outputs).

        For a discrete family it is the smallest count that y does not exceed with at least this
        probability. Found by bisection between the smallest and the largest quantile of experts
        that have weight.
        """
        if not 0 < q < 1:
            raise ValueError(f"MixtureDistribution: q must lie between 0 and 1, got {q!r}.")
        to_key, from_key = (_count, _counted) if self.family.discrete else (_place, _value)
        single = self.family.quantile(q, self.means, self.parameters)
        weighty = np.broadcast_to(self._weights() > 0, single.shape)
        low = to_key(np.where(weighty, single, np.inf).min(axis=1))
        high = to_key(np.where(weighty, single, -np.inf).max(axis=1))
        while np.any(low < high):  # at most 64 times: keys have that many bits
            middle = (low & high) + ((low ^ high) >> 1)  # the mean of two keys without overflow
            under = self.cdf(from_key(middle)) < q
            low = np.where(under & (low < high), middle + 1, low)
            high = np.where(under, high, middle)
        return from_key(high)

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
        draws = self.family.sample(means, self.parameters[:, chosen], rng)
        return draws if draws.ndim == 2 else draws.transpose(0, 2, 1)


def _place(values: np.ndarray) -> np.ndarray:
    """Return the place of doubles in the order of all doubles.

    Halving a range of places needs 64 steps however far its ends are apart: with a log link an
    expert that hardly counts here can be many powers of ten off.
    """
    bits = np.ascontiguousarray(values + 0.0).view(np.int64)  # + 0.0 leaves one zero, the positive
    return np.where(bits < 0, bits ^ np.iinfo(np.int64).max, bits)


def _value(places: np.ndarray) -> np.ndarray:
    """Return the doubles at places that `_place` gave."""
    bits = np.where(places < 0, places ^ np.iinfo(np.int64).max, places)
    return np.ascontiguousarray(bits).view(float)


def _count(values: np.ndarray) -> np.ndarray:
    """Return counts as integers."""
    return np.minimum(values, LARGEST_COUNT).astype(np.int64)


def _counted(counts: np.ndarray) -> np.ndarray:
    """Return integers as doubles."""
    return counts.astype(float)


def __dir__() -> list[str]:
    return __all__
