"""The Poisson family."""

from __future__ import annotations

import numpy as np
from scipy.special import gammainc, gammaincc, gammaln, ndtri, pdtrik, xlogy
from sklearn.base import BaseEstimator

from mixexp.families._common import (
    LARGEST_ETA,
    LARGEST_SLOPE,
    SMALL_TAIL,
    FamilyDerivatives,
    log_probability,
    nested_sum,
    over_outputs,
)
from mixexp.families._counts import Counts, WithoutParameters
from mixexp.families._shape import deviance, stirling_rest

__all__ = ["Poisson"]

#: Upper limit of linear predictors: its exponential is inf, which makes the density 0, but 0
#: times it is 0, while 0 times inf would be NaN.
IMPOSSIBLE_ETA = 1e3

#: Upper limit of counts in the distribution function, about the largest that scipy supports.
LARGEST_ARGUMENT = 1e305

#: From here on log-probabilities are computed without log y!, of which the digits would cancel.
LARGE_COUNT = 100.0

#: Means above this are drawn from a normal distribution: numpy's generator is limited to 9e18.
LARGEST_DRAWN = 1e15

#: Means above this have quantiles from a normal distribution, as pdtrik then gives NaN.
LARGE_MEAN = 1e9


class Poisson(WithoutParameters, Counts, BaseEstimator):
    """Counts around the expert's prediction; the log of the mean is linear.

    Notes
    -----
    The variance is the mean: there is no dispersion to estimate. For rows observed over different
    times or populations, use counts as targets and the logarithm of the exposure as offset.

    References
    ----------
    Jordan & Jacobs (1994), Hierarchical mixtures of experts and the EM algorithm, Neural
    Computation 6, section 3 (experts that are generalized linear models). McCullagh & Nelder
    (1989), Generalized linear models, chapter 6.

    Examples
    --------
    >>> import numpy as np
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-2, 2, (300, 1))
    >>> y = rng.poisson(np.exp(1 + np.abs(X[:, 0])))
    >>> model = MixtureOfExpertsRegressor(n_experts=2, family="poisson", random_state=0).fit(X, y)
    >>> bool(model.predict(X).min() > 0)
    True
    """

    name = "poisson"

    def evaluate(self, y: np.ndarray, eta: np.ndarray, parameters: np.ndarray) -> tuple:
        """Return log-probabilities (K, m), y − mean and the mean, both (K, n_outputs, m)."""
        log_prob = np.clip(eta, -LARGEST_ETA, IMPOSSIBLE_ETA)
        with np.errstate(over="ignore"):
            mean = np.exp(log_prob)
            log_prob *= y
        log_prob -= mean
        log_prob = over_outputs(log_prob)
        log_prob -= gammaln(y + 1).sum(axis=0)
        np.minimum(mean, LARGEST_SLOPE, out=mean)
        return log_prob, y - mean, mean

    def derivatives(
        self, y: np.ndarray, eta: np.ndarray, parameters: np.ndarray
    ) -> FamilyDerivatives:
        """Return first and second derivatives of log p by eta; there are no parameters."""
        with np.errstate(over="ignore"):
            mean = np.exp(np.clip(eta, -LARGEST_ETA, LARGEST_ETA))
        return self.by_eta_alone(y - mean, mean)

    def without_offset(self, y: np.ndarray, offset: np.ndarray) -> tuple:
        """Return rates (n_outputs, n) and the exposure, which multiplies the weights."""
        exposure = np.exp(offset)
        return y / exposure, exposure

    def variance(self, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return the variance of y, the mean."""
        return mean

    def pdf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return the probability of each output's y, 0 if y is not a count."""
        return np.exp(self.logpdf(y, mean, parameters))

    def logpdf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return the log-probability of each output's y, −inf if y is not a count."""
        valid = self.supports(y)
        count = np.where(valid, y, 0.0)
        mean = np.minimum(mean, 1e300)  # inf − inf would be NaN
        small = xlogy(count, mean) - mean - gammaln(count + 1)
        # as the density of a Gamma, of terms that do not cancel
        large = np.maximum(count, LARGE_COUNT)
        stable = stirling_rest(large) - np.log(large) - deviance(large, mean)
        return np.where(valid, np.where(count < LARGE_COUNT, small, stable), -np.inf)

    def cdf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return P(Y ≤ y) of each output."""
        count = np.floor(np.clip(y, 0.0, LARGEST_ARGUMENT))
        below = gammaincc(count + 1, mean)
        return np.where(np.asarray(y) >= 0, below, 0.0)

    def logcdf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return log P(Y ≤ y) of each output."""
        below = self.cdf(y, mean, parameters)
        log_below = log_probability(below, self.sf(y, mean, parameters))
        small = below < SMALL_TAIL
        if np.any(small):  # p(y) (1 + y/mean + y (y − 1)/mean² + …)
            count = np.floor(np.minimum(np.maximum(y, 0.0), 0.999 * mean))
            series = nested_sum(lambda n: np.maximum(count - n, 0.0) / mean)
            tail = self.logpdf(count, mean, parameters) + np.log(series)
            log_below = np.where(small, np.where(np.asarray(y) >= 0, tail, -np.inf), log_below)
        return log_below

    def sf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return P(Y > y) of each output."""
        count = np.floor(np.clip(y, 0.0, LARGEST_ARGUMENT))
        return np.where(np.asarray(y) >= 0, gammainc(count + 1, mean), 1.0)

    def quantile(self, q: float, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return the smallest count of each output with P(Y ≤ y) ≥ q.

        Above a mean of 1e9 this is the rounded quantile of a normal distribution.
        """
        normal = np.maximum(np.floor(mean + np.sqrt(mean) * ndtri(q)), 0.0)
        count = np.ceil(pdtrik(q, mean))
        count = np.where((mean > LARGE_MEAN) | ~np.isfinite(count), normal, count)
        # pdtrik is the root of a smooth function, which rounding can move off a whole number
        count = np.where(self.cdf(count - 1, mean, parameters) >= q, count - 1, count)
        count = np.where(self.cdf(count, mean, parameters) < q, count + 1, count)
        return np.where(np.equal(q, 0), 0.0, np.maximum(count, 0.0))

    def sample(
        self, mean: np.ndarray, parameters: np.ndarray, rng: np.random.RandomState
    ) -> np.ndarray:
        """Draw counts, as floats of the shape of the means."""
        draws = rng.poisson(np.minimum(mean, LARGEST_DRAWN)).astype(float)
        large = mean > LARGEST_DRAWN
        if np.any(large):
            large_mean = mean[large]
            draws[large] = np.rint(
                large_mean + np.sqrt(large_mean) * rng.standard_normal(large_mean.shape)
            )
        return draws
