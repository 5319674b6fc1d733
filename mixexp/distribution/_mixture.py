"""The predictive distribution of a mixture of experts for numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp.distribution import _integrals, _regions
from mixexp.distribution._arguments import (
    checked_number,
    checked_rng,
    probabilities,
)
from mixexp.distribution._base import OWNER, BaseMixture
from mixexp.distribution._families import log_mixed, mixed
from mixexp.distribution._frame import summary
from mixexp.distribution._quadrature import as_wide
from mixexp.distribution._search import bisect

__all__ = ["MixtureDistribution"]


class MixtureDistribution(BaseMixture):
    """Distribution of y for each of n rows: Σ_k w_k p_k(y).

    Made by `MixtureOfExpertsRegressor.predict_distribution`. With several outputs, which are
    independent given the expert, `pdf` and `logpdf` are of all outputs jointly; every other method
    refers to each output alone.

    ``len(law)`` is n, and ``law[rows]`` the distribution of some rows, which are chosen as in an
    array: by number, slice, mask or indices.

    Parameters
    ----------
    weights : ndarray of shape (n, n_experts)
        Rows sum to 1.
    means : ndarray of shape (n, n_experts) or (n, n_experts, n_outputs)
        The experts' predictions.
    parameters : ndarray of shape (n_parameters, n_experts[, n_outputs])
        One row per entry of the family's `parameter_names`. Of (1, n, n_experts) for family
        "binomial": the numbers of trials; without them there is one.
    family : family of `mixexp.families`
        For a discrete one, `pdf` is the probability of y.

    Notes
    -----
    Student-t errors have no mean up to one degree of freedom, and no variance up to two. If an
    expert with weight has such errors, `mean` is NaN in the first case, and `variance` and `std`
    are NaN in the first and infinite in the second. Quantiles, densities and `entropy` exist.

    `entropy` and `crps` are integrals by Gauss-Legendre quadrature between quantiles of all
    experts; the crps of a gaussian mixture has a closed form. Scales far below the spacing of
    doubles around y cannot be resolved.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> X, y = load_tone(return_X_y=True)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    >>> law = model.predict_distribution(X)
    >>> low, high = law.interval(0.9)
    >>> bool(((low <= y) & (y <= high)).mean() > 0.85)
    True

    Several quantiles at once, along the first axis:

    >>> law.quantile([0.05, 0.5, 0.95]).shape
    (3, 150)

    Some rows, and one expert:

    >>> law[:10].component(0).std().shape
    (10,)
    """

    def mean(self) -> np.ndarray:
        """Return the mean, (n,) or (n, n_outputs); NaN where there is none."""
        return mixed(self.weights, self._each("expectation"))

    def variance(self) -> np.ndarray:
        """Return the variance: the part within the experts plus the part between them.

        Of Student-t errors it is infinite with one to two degrees of freedom, NaN below.
        """
        with np.errstate(over="ignore"):
            within = self.family.variance(self._finite_means(), self.parameters)
            between = (self._each("expectation") - self.mean()[:, None]) ** 2
            return mixed(self.weights, within + between)

    def std(self) -> np.ndarray:
        """Return the standard deviation, the root of `variance`."""
        return np.sqrt(self.variance())

    def median(self) -> np.ndarray:
        """Return the median, the quantile of 0.5."""
        return self.quantile(0.5)

    def pdf(self, y: Any) -> np.ndarray:
        """Return the joint density of all outputs at y, (n,), 0 outside the family's support."""
        if self.means.ndim > 2:  # products of many densities may leave the range of doubles
            with np.errstate(over="ignore"):
                return np.exp(self.logpdf(y))
        return mixed(self.weights, self._each("pdf", self._checked(y)[:, None]))

    def logpdf(self, y: Any) -> np.ndarray:
        """Return the logarithm of `pdf`, (n,), also where that is too small for doubles.

        It equals `log_density` of the estimator, except with a noise expert or groups, and where
        the only expert that allows y has a gate probability too small for doubles.
        """
        logs = self._each("logpdf", self._checked(y)[:, None])
        return log_mixed(self.weights, logs if logs.ndim == 2 else logs.sum(axis=2))

    def cdf(self, y: Any) -> np.ndarray:
        """Return P(Y ≤ y), (n,) or (n, n_outputs)."""
        return np.clip(mixed(self.weights, self._each("cdf", self._checked(y)[:, None])), 0.0, 1.0)

    def logcdf(self, y: Any) -> np.ndarray:
        """Return log P(Y ≤ y), (n,) or (n, n_outputs), also where that is too small for doubles."""
        logs = self._each("logcdf", self._checked(y)[:, None])
        return np.minimum(log_mixed(self.weights, logs), 0.0)

    def sf(self, y: Any) -> np.ndarray:
        """Return P(Y > y), (n,) or (n, n_outputs), exact where it is small."""
        return np.clip(mixed(self.weights, self._each("sf", self._checked(y)[:, None])), 0.0, 1.0)

    def quantile(self, q: Any) -> np.ndarray:
        """Return the q-quantiles of y.

        For a discrete family this is the smallest count that y does not exceed with at least this
        probability. Found by bisection between the smallest and the largest quantile of the experts
        with weight.

        Parameters
        ----------
        q : float or array-like of float
            From 0 to 1, the ends of the support.

        Returns
        -------
        ndarray of shape (n,) or (n, n_outputs)
            If q is an array, its axes come first, as in `numpy.quantile`: three levels give
            (3, n) or (3, n, n_outputs).
        """
        levels = probabilities(q, "q", OWNER, ends=True)
        quantiles = np.empty((levels.size, len(self.means), *self.means.shape[2:]))
        for level, out in zip(levels.ravel(), quantiles, strict=True):
            out[:] = self._quantile(float(level))
        return quantiles.reshape(*levels.shape, *quantiles.shape[1:])

    def _quantile(self, q: float) -> np.ndarray:
        """Return the quantile of one level."""
        single = self.family.quantile(q, self._finite_means(), self.parameters)
        weights = self.weights.reshape(*self.weights.shape, *(1,) * (single.ndim - 2))
        low = np.where(weights > 0, single, np.inf).min(axis=1)
        high = np.where(weights > 0, single, -np.inf).max(axis=1)
        return bisect(lambda y: self.cdf(y) < q, low, high, self.family.discrete)

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
        levels = probabilities(level, "level", OWNER)
        below_one = np.nextafter(1.0, 0.0)
        return (
            self.quantile((1 - levels) / 2),
            self.quantile(np.minimum((1 + levels) / 2, below_one)),
        )

    def highest_density_region(self, level: Any = 0.9) -> np.ndarray:
        """Return the smallest set that holds y with probability `level`, a union of intervals.

        Its points are all denser than those outside. For counts it is a union of runs of counts,
        both ends included, of which the probability may be more than `level`.

        Parameters
        ----------
        level : float or array-like of float, default=0.9
            Between 0 and 1.

        Returns
        -------
        ndarray of shape (n, n_intervals, 2) or (n, n_outputs, n_intervals, 2)
            Low and high ends of the intervals from left to right; a row with fewer intervals than
            others is filled up with NaN. If `level` is an array, its axes come first.
        """
        levels = probabilities(level, "level", OWNER)
        found = [
            self._by_output(lambda law, level=float(each): _regions.regions(law, level))
            for each in levels.ravel()
        ]
        if not found:
            return np.empty((*levels.shape, len(self), *self.means.shape[2:], 0, 2))
        stacked = np.stack(as_wide(found, axis=-2))
        return stacked.reshape(*levels.shape, *stacked.shape[1:])

    def mode(self) -> np.ndarray:
        """Return where the density is highest, (n,) or (n, n_outputs)."""
        return self.modes()[..., 0]

    def modes(self) -> np.ndarray:
        """Return the local maxima of the density, the highest first.

        Returns
        -------
        ndarray of shape (n, n_modes) or (n, n_outputs, n_modes)
            Rows with fewer modes than others are filled up with NaN. Of equally probable
            neighbouring counts the first is the mode; 0 is one where a gamma density falls from
            there on.
        """
        return self._by_output(_regions.modes)

    def entropy(self) -> np.ndarray:
        """Return the entropy −E log p(Y) in nats, (n,) or (n, n_outputs).

        Of a density it is the differential entropy, which depends on the unit of y.
        """
        return self._by_output(_integrals.entropy)

    def crps(self, y: Any) -> np.ndarray:
        """Return the continuous ranked probability score of y, (n,) or (n, n_outputs).

        ∫ (P(Y ≤ t) − [y ≤ t])² dt, in units of y, which is ``E|Y − y| − E|Y − Y'|/2`` where there
        is a mean; taken as infinite where there is none. `mixexp.metrics.crps` averages it.
        """
        return self._by_output(_integrals.crps, self._checked(y))

    def sample(self, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """Draw values of y, (n, n_samples) or (n, n_outputs, n_samples)."""
        n_samples = checked_number(n_samples, OWNER)
        rng = checked_rng(random_state, OWNER)
        below = np.cumsum(self.weights, axis=1)[:, :-1, None]
        chosen = (below <= rng.uniform(size=(len(below), 1, n_samples))).sum(axis=1)
        rows = np.arange(len(self))[:, None]
        own = (rows, chosen) if self._by_row else (chosen,)
        draws = self.family.sample(self.means[rows, chosen], self.parameters[:, *own], rng)
        return draws if draws.ndim == 2 else draws.transpose(0, 2, 1)

    def to_frame(self, quantiles: Any = (0.05, 0.5, 0.95), *, index: Any = None) -> Any:
        """Return mean, standard deviation, mode and quantiles as a pandas data frame.

        Parameters
        ----------
        quantiles : array-like of float, default=(0.05, 0.5, 0.95)
            Levels, one column ``q0.05`` for each.
        index : array-like of shape (n,), default=None
            Row labels; None means 0, 1, ...

        Returns
        -------
        pandas.DataFrame
            One line per row; with several outputs the columns have two levels, of which the first
            is the number of the output.
        """
        return summary(self, np.atleast_1d(probabilities(quantiles, "quantiles", OWNER)), index)
