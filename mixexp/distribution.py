"""The predictive distribution of a mixture of experts."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from mixexp._checks import as_numbers, short

__all__ = ["MixtureDistribution"]

#: Up to here doubles represent every count; beyond, all doubles are whole numbers.
LAST_COUNT = 2.0**53


class MixtureDistribution:
    """Distribution of y for each of n rows: Σ_k w_k p_k(y).

    Made by `MixtureOfExpertsRegressor.predict_distribution`. With several outputs, which are
    independent given the expert, `cdf`, `quantile` and `interval` refer to each output alone.

    Parameters
    ----------
    weights : ndarray of shape (n, n_experts)
        Rows sum to 1.
    means : ndarray of shape (n, n_experts) or (n, n_experts, n_outputs)
        The experts' predictions.
    parameters : ndarray of shape (n_parameters, n_experts[, n_outputs])
        One row per entry of the family's `parameter_names`.
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

    Several quantiles at once, along the first axis:

    >>> model.predict_distribution(X).quantile([0.05, 0.5, 0.95]).shape
    (3, 150)
    """

    def __init__(self, weights: np.ndarray, means: np.ndarray, parameters: np.ndarray, family: Any):
        self.weights = weights
        self.means = means
        self.parameters = parameters
        self.family = family

    def _weights(self) -> np.ndarray:
        """Return the weights, with an axis of outputs if the means have one."""
        return self.weights if self.means.ndim == 2 else self.weights[..., None]

    def _means(self) -> np.ndarray:
        """Return the means; 1, valid for any family, where an expert has no weight.

        Such an expert may predict inf, and inf − inf is NaN.
        """
        return np.where(self._weights() > 0, self.means, 1.0)

    def _mixed(self, values: np.ndarray) -> np.ndarray:
        """Return means over experts; values without weight add nothing, even if infinite."""
        weights = np.broadcast_to(self._weights(), values.shape)
        return np.multiply(weights, values, out=np.zeros(values.shape), where=weights > 0).sum(1)

    def _checked(self, y: Any) -> np.ndarray:
        """Return values of y with an axis of experts: (n, 1[, n_outputs])."""
        shape = (len(self.means), *self.means.shape[2:])
        y = as_numbers(y, "y", "MixtureDistribution", f"Give one number a row, shape {shape}.")
        if np.any(np.isnan(y)):
            raise ValueError("MixtureDistribution: y contains NaN. Leave these rows out.")
        try:
            y = np.broadcast_to(y, shape)
        except ValueError as error:
            raise ValueError(
                f"MixtureDistribution: y has shape {y.shape} and must fit {shape}, one value a "
                "row; call once for each value of a grid."
            ) from error
        return y[:, None]

    def mean(self) -> np.ndarray:
        """Return the mean, (n,) or (n, n_outputs)."""
        return self._mixed(self.means)

    def variance(self) -> np.ndarray:
        """Return the variance: the part within the experts plus the part between them.

        It is infinite if an expert with weight has Student-t errors with at most two degrees of
        freedom.
        """
        means = self._means()
        within = self.family.variance(means, self.parameters)
        with np.errstate(over="ignore"):
            between = (means - self.mean()[:, None]) ** 2
            return self._mixed(within + between)

    def pdf(self, y: Any) -> np.ndarray:
        """Return the joint density of all outputs at y, (n,).

        It is the exponential of `log_density`, and 0 outside the family's support.
        """
        density = self.family.pdf(self._checked(y), self._means(), self.parameters)
        if density.ndim == 2:
            joint = density
        else:  # products of many densities may leave the range of doubles
            with np.errstate(divide="ignore", over="ignore"):
                joint = np.exp(np.log(density).sum(axis=2))
        weighted = np.zeros(joint.shape)
        return np.multiply(self.weights, joint, out=weighted, where=self.weights > 0).sum(axis=1)

    def cdf(self, y: Any) -> np.ndarray:
        """Return P(Y ≤ y), (n,) or (n, n_outputs)."""
        below = self.family.cdf(self._checked(y), self._means(), self.parameters)
        return np.clip(self._mixed(below), 0.0, 1.0)

    def quantile(self, q: Any) -> np.ndarray:
        """Return the q-quantiles of y.

        For a discrete family this is the smallest count that y does not exceed with at least this
        probability. Found by bisection between the smallest and the largest quantile of the experts
        with weight.

        Parameters
        ----------
        q : float or array-like of float
            Between 0 and 1.

        Returns
        -------
        ndarray of shape (n,) or (n, n_outputs)
            If q is an array, its axes come first, as in `numpy.quantile`: three levels give
            (3, n) or (3, n, n_outputs).
        """
        levels = _probabilities(q, "q")
        quantiles = np.empty((levels.size, len(self.means), *self.means.shape[2:]))
        for level, out in zip(levels.ravel(), quantiles, strict=True):
            out[:] = self._quantile(float(level))
        return quantiles.reshape(*levels.shape, *quantiles.shape[1:])

    def _quantile(self, q: float) -> np.ndarray:
        """Return the quantile of one level."""
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

    def interval(self, level: Any = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Return the ends of the central interval that holds y with probability `level`.

        Parameters
        ----------
        level : float or array-like of float, default=0.9
            Between 0 and 1.

        Returns
        -------
        low, high : ndarray of shape (n,) or (n, n_outputs)
            If `level` is an array, its axes come first, as in `quantile`.
        """
        levels = _probabilities(level, "level")
        below_one = np.nextafter(1.0, 0.0)
        return (
            self.quantile((1 - levels) / 2),
            self.quantile(np.minimum((1 + levels) / 2, below_one)),
        )

    def sample(self, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """Draw values of y, (n, n_samples) or (n, n_outputs, n_samples)."""
        whole = isinstance(n_samples, Integral) and not isinstance(n_samples, bool | np.bool_)
        if not whole or n_samples < 1:
            raise ValueError(
                f"MixtureDistribution: n_samples={short(n_samples)} must be a whole number of at "
                "least 1, the number of draws per row."
            )
        try:
            rng = check_random_state(random_state)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"MixtureDistribution: random_state={short(random_state)} must be None, a whole "
                "number from 0 to 2**32 - 1 or a RandomState."
            ) from error
        below = np.cumsum(self.weights, axis=1)[:, :-1, None]
        chosen = (below <= rng.uniform(size=(len(below), 1, n_samples))).sum(axis=1)
        means = np.stack([row[k] for row, k in zip(self.means, chosen, strict=True)])
        draws = self.family.sample(means, self.parameters[:, chosen], rng)
        return draws if draws.ndim == 2 else draws.transpose(0, 2, 1)


def _probabilities(values: Any, name: str) -> np.ndarray:
    """Return levels as an array; raise if one is not between 0 and 1."""
    wanted = "one number between 0 and 1, or an array of them"
    levels = as_numbers(values, name, "MixtureDistribution", f"Give {wanted}.")
    valid = (levels > 0) & (levels < 1)
    if not np.all(valid):
        raise ValueError(
            f"MixtureDistribution: {name} must be {wanted}, both ends excluded; got "
            f"{float(levels[~valid].flat[0])!r}. For the ends ask for 1e-9 or 1 - 1e-9."
        )
    return levels


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


def __dir__() -> list[str]:
    return __all__
