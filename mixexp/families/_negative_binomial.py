"""The negative binomial family."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import betainc, betaincc, digamma, gammaln, nbdtrik
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
from mixexp.families._counts import TOO_LARGE, Counts
from mixexp.families._poisson import LARGE_COUNT, LARGEST_ARGUMENT, Poisson
from mixexp.families._rising import excess, log_rising, rising_slopes
from mixexp.families._shape import stirling_rest

__all__ = ["NegativeBinomial"]

#: Range of dispersions. At the lower end the law is Poisson's: log-probabilities differ by about
#: 1e-8 times the mean. At the upper end nearly all of y is 0.
SMALLEST_ALPHA, LARGEST_ALPHA = 1e-8, 1e4

#: Largest mean of a log link: times the largest dispersion it is in the range of doubles.
LARGEST_MEAN = 1.1e304

#: Largest change of log α in a step; beyond it the curvature is no guide.
LONGEST_STEP = 2.0

#: From this count on, the sums of logarithms of `evaluate` cancel: at 1e6 they err by 1e-8.
HUGE_COUNT = 1e6

#: From this count on, and where α y exceeds 1, the derivative by log α is formed from what the sums
#: over j < y lack to y: the sums themselves, of the order of y, leave no digits of it.
MANY_COUNTS = 1e8

#: Steps of bisection: of the exponent, then of the 53 bits of a double.
N_HALVINGS = 128


class NegativeBinomial(Counts, BaseEstimator):
    """Counts with more spread than Poisson's; the log of the mean μ is linear.

    The dispersion is the α of the variance μ + α μ² ("NB2"), from 1e-8 to 1e4. Counts without
    over-dispersion end at the lower bound, where the family is Poisson's; it is not an error, and
    α is then treated as fixed in `summary`.

    Notes
    -----
    With a = 1 / α, y is Poisson with mean μ λ and λ a Gamma variable of mean 1 and shape a:

        log p(y) = Σ_{j<y} log(1 + α j) − log y! + y log μ − (y + a) log(1 + α μ)

    The expert's step is Fisher scoring: score (y − μ) / (1 + α μ), curvature μ / (1 + α μ). That of
    β = log α is Newton's at the present means, on Σ r log p with the derivative

        ∂ log p / ∂β = Σ_{j<y} α j / (1 + α j) − y α μ / (1 + α μ)
                       + (log(1 + α μ) − α μ / (1 + α μ)) / α

    whose every term is of the order of α, so that no digits are lost as α goes to 0. The curvature
    is the observed one, and at least Σ r (α μ / (1 + α μ))² / 2, about the expected one, which is
    above 0: the step points uphill everywhere, and the same safeguard that shortens the experts'
    steps shortens it where it overshoots. The closed form that treats λ as missing would never
    overshoot, but creeps where there is little over-dispersion: the rate of that EM is
    1 − (α μ / (1 + α μ))². Without over-dispersion the derivative is below 0 down to α = 0, and
    α falls by a factor of e in a step, to its bound.

    References
    ----------
    Hilbe (2011), Negative binomial regression, 2nd edition. Lawless (1987), Negative binomial and
    mixed Poisson regression, Canadian Journal of Statistics 15.

    Examples
    --------
    >>> import numpy as np
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-2, 2, (500, 1))
    >>> y = rng.poisson(rng.gamma(2.0, np.exp(1 + np.abs(X[:, 0])) / 2.0))
    >>> model = MixtureOfExpertsRegressor(
    ...     n_experts=2, family="negative_binomial", random_state=0
    ... ).fit(X, y)
    >>> bool(np.all(np.abs(model.dispersions_ - 0.5) < 0.2))
    True
    """

    name = "negative_binomial"
    scaled = False

    def evaluate(self, y: np.ndarray, eta: np.ndarray, parameters: np.ndarray) -> tuple:
        """Return log-probabilities (K, m), score and expected curvature (K, n_outputs, m)."""
        alpha = parameters[0][..., None]
        eta = np.clip(eta, -LARGEST_ETA, LARGEST_ETA)
        mean = np.exp(eta)
        with np.errstate(over="ignore"):
            above = excess(mean, alpha)
            log_prob = log_rising(y, alpha) + y * (eta - above.log_one) - above.per_alpha
        log_prob -= gammaln(y + 1)
        huge = y >= HUGE_COUNT
        if huge.any():
            log_prob = np.where(huge, self.logpdf(y, mean, parameters[..., None]), log_prob)
        log_prob = over_outputs(log_prob)
        share = 1 / (1 + alpha * mean)
        curvature = np.minimum(mean * share, LARGEST_SLOPE)
        return log_prob, y * share - curvature, curvature

    def derivatives(
        self, y: np.ndarray, eta: np.ndarray, parameters: np.ndarray
    ) -> FamilyDerivatives:
        """Return first and second derivatives of log p by eta and log α."""
        alpha = parameters[0][..., None]
        mean = np.exp(np.clip(eta, -LARGEST_ETA, LARGEST_ETA))
        first, second = _by_log_alpha(y, mean, alpha)
        share = 1 / (1 + alpha * mean)
        score = (y - mean) * share
        return FamilyDerivatives(
            by_eta=score,
            by_logs=first[None],
            curvature=mean * share * (1 + alpha * y) * share,
            crossed=(score * (alpha * mean * share))[None],
            of_logs=-second[None, None],
        )

    def parameter_sums(
        self, y: np.ndarray, eta: np.ndarray, parameters: np.ndarray, resp: np.ndarray
    ) -> np.ndarray:
        """Return slope, observed and about the expected curvature by log α, (3, K, n_outputs)."""
        alpha = parameters[0][..., None]
        mean = np.exp(np.clip(eta, -LARGEST_ETA, LARGEST_ETA))
        first, second = _by_log_alpha(y, mean, alpha)
        expected = 0.5 * (alpha * mean / (1 + alpha * mean)) ** 2
        return np.stack([np.einsum("km,kqm->kq", resp, v) for v in (first, -second, expected)])

    def statistics(
        self, score: np.ndarray, curvature: Any, resp: np.ndarray, weighted: np.ndarray
    ) -> np.ndarray:
        """Return nothing, (0, K, n_outputs): `parameter_sums` takes this method's place."""
        return np.empty((0, *score.shape[:2]))

    def update(
        self, statistics: np.ndarray, mass: np.ndarray, parameters: np.ndarray, floor: np.ndarray
    ) -> np.ndarray:
        """Return dispersions after a step; the floor of scales means nothing to them."""
        if not len(statistics):
            return parameters
        slope, observed, expected = statistics
        curvature = np.maximum(np.maximum(observed, expected), np.finfo(float).tiny)
        step = np.clip(slope / curvature, -LONGEST_STEP, LONGEST_STEP)
        return self.within(parameters * np.exp(step), floor)

    def within(self, parameters: np.ndarray, floor: np.ndarray) -> np.ndarray:
        """Return dispersions moved into their range."""
        return np.clip(parameters, SMALLEST_ALPHA, LARGEST_ALPHA)

    def bounds(self, floor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the least and the largest parameters, (1, ...) over the shape of the floor."""
        return (
            np.full((1, *floor.shape), SMALLEST_ALPHA),
            np.full((1, *floor.shape), LARGEST_ALPHA),
        )

    def without_offset(self, y: np.ndarray, offset: np.ndarray) -> tuple:
        """Return rates (n_outputs, n) and the exposure, which multiplies the weights."""
        exposure = np.exp(offset)
        return y / exposure, exposure

    def variance(self, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return the variance of y, μ + α μ²."""
        with np.errstate(over="ignore"):
            return mean + mean * (parameters[0] * mean)

    def pdf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return the probability of each output's y, 0 if y is not a count."""
        return np.exp(self.logpdf(y, mean, parameters))

    def logpdf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return the log-probability of each output's y, −inf if y is not a count."""
        valid = self.supports(y)
        count = np.where(valid, y, 0.0)
        mean, alpha = np.clip(mean, np.finfo(float).tiny, 1e300), parameters[0]
        above = excess(mean, alpha)
        few = np.minimum(count, LARGE_COUNT)
        small = few * (np.log(mean) - above.log_one) - above.per_alpha
        small = small + log_rising(few, alpha) - gammaln(few + 1)
        # the log-probability at μ = y, less half the deviance
        large, size = np.maximum(count, LARGE_COUNT), 1 / alpha
        top = stirling_rest(large) - np.log(large) + stirling_rest(size)
        top = top - stirling_rest(large + size)
        stable = top - _half_deviance_of_counts(large, mean, size)
        return np.where(valid, np.where(count < LARGE_COUNT, small, stable), -np.inf)

    def cdf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return P(Y ≤ y) of each output."""
        return np.where(np.asarray(y) >= 0, _tail(y, mean, parameters, below=True), 0.0)

    def logcdf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return log P(Y ≤ y) of each output."""
        below = self.cdf(y, mean, parameters)
        log_below = log_probability(below, self.sf(y, mean, parameters))
        small = below < SMALL_TAIL
        if np.any(small):  # p(y) (1 + p(y − 1) / p(y) (1 + …))
            count = np.floor(np.minimum(np.maximum(y, 0.0), 0.999 * mean))
            size, x = 1 / parameters[0], parameters[0] * np.minimum(mean, LARGEST_MEAN)
            share = x / (1 + x)
            series = nested_sum(lambda n: _falling(np.maximum(count - n, 0.0), size, share))
            tail = self.logpdf(count, mean, parameters) + np.log(series)
            log_below = np.where(small, np.where(np.asarray(y) >= 0, tail, -np.inf), log_below)
        return log_below

    def sf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return P(Y > y) of each output."""
        return np.where(np.asarray(y) >= 0, _tail(y, mean, parameters, below=False), 1.0)

    def quantile(self, q: float, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return the smallest count of each output with P(Y ≤ y) ≥ q, at most 1e305 for q < 1."""
        size = np.broadcast_to(1 / parameters[0], mean.shape)
        count = np.ceil(nbdtrik(q, size, 1 / (1 + parameters[0] * mean)))
        count = np.where(np.isfinite(count) & (count < TOO_LARGE), np.maximum(count, 0.0), 0.0)
        count = np.where(self.cdf(count, mean, parameters) < q, count + 1, count)
        over = (count > 0) & (self.cdf(count - 1, mean, parameters) >= q)
        if np.any(over | (self.cdf(count, mean, parameters) < q)):
            count = self._searched(q, mean, parameters)
        return np.where(np.equal(q, 1), np.inf, np.where(np.equal(q, 0), 0.0, count))

    def _searched(self, q: float, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return quantiles by bisection, of their logarithms while the ends are far apart."""
        low, high = np.full(mean.shape, -1.0), np.full(mean.shape, LARGEST_ARGUMENT)
        for _ in range(N_HALVINGS):
            far = high > 4 * np.maximum(low, 1.0)
            middle = np.where(
                far, np.sqrt(np.maximum(low, 1.0)) * np.sqrt(high), low / 2 + high / 2
            )
            middle = np.floor(np.where(high <= 1, 0.0, middle))
            enough = self.cdf(middle, mean, parameters) >= q
            inside = high - low > 1
            high = np.where(inside & enough, middle, high)
            low = np.where(inside & ~enough, middle, low)
        return high

    def sample(
        self, mean: np.ndarray, parameters: np.ndarray, rng: np.random.RandomState
    ) -> np.ndarray:
        """Draw counts, as floats of the shape of the means."""
        alpha = parameters[0]
        with np.errstate(over="ignore"):
            rate = np.minimum(mean * (alpha * rng.gamma(1 / alpha, size=mean.shape)), TOO_LARGE)
        return Poisson().sample(rate, parameters[:0], rng)


def _by_log_alpha(
    y: np.ndarray, mean: np.ndarray, alpha: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and second derivative of log p by log α."""
    rising, bend = rising_slopes(y, alpha)
    x = alpha * mean
    share = x / (1 + x)
    slope = excess(mean, alpha).slope
    rest = rising - y * share
    many = (alpha * y > 1) & (y > MANY_COUNTS)
    if np.any(many):
        size = 1 / alpha
        other = y / (1 + x) - size * (digamma(y + size) - digamma(size))
        rest = np.where(many, other, rest)
    return rest + slope, bend - slope + share * (mean - y) / (1 + x)


def _tail(y: np.ndarray, mean: np.ndarray, parameters: np.ndarray, *, below: bool) -> np.ndarray:
    """Return P(Y ≤ y) or P(Y > y) of counts.

    The incomplete beta function is evaluated at the smaller of x / (1 + x) and 1 / (1 + x), with
    x = α μ: one less a small number would lose the digits of it, near Poisson's law or Gamma's.
    """
    count, size = np.floor(np.clip(y, 0.0, LARGEST_ARGUMENT)), 1 / parameters[0]
    x = parameters[0] * np.minimum(mean, LARGEST_MEAN)
    small, large = (betaincc, betainc) if below else (betainc, betaincc)
    count, size, x = np.broadcast_arrays(count, size, x)
    tail, near = np.empty(x.shape), x < 1
    far = ~near  # one of the two functions takes ten times as long as the other
    tail[near] = small(count[near] + 1, size[near], x[near] / (1 + x[near]))
    tail[far] = large(size[far], count[far] + 1, 1 / (1 + x[far]))
    return tail


def _falling(count: np.ndarray, size: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return p(y − 1) / p(y), below 1 under the mode."""
    ratio = count / ((np.maximum(count, 1.0) - 1 + size) * np.maximum(share, 1e-300))
    return np.minimum(ratio, 1 - 1e-9)


def _half_deviance_of_counts(count: np.ndarray, mean: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return half the deviance of counts y from means μ, of terms that do not cancel.

    With a = 1 / α it is d(y, μ) − d(y + a, μ + a), d that of Poisson counts. The second is at most
    half of the first while a is above y and μ. Below, both are of the size of y or μ, the
    difference is of that of a, and

        −y log(1 + a (μ − y) / (y (μ + a))) − a log((y + a) / (μ + a))

    has no larger terms than it.
    """
    poisson = _half_deviance(count, mean) - _half_deviance(count + size, mean + size)
    part = size / (mean + size) * ((mean - count) / count)
    log_ratio = np.log((count + size) / (mean + size))
    with np.errstate(invalid="ignore", divide="ignore"):
        log_part = np.where(
            np.abs(part) < 0.5, np.log1p(part), np.log(mean) - np.log(count) + log_ratio
        )
    over_dispersed = -count * log_part - size * log_ratio
    return np.where(size > np.maximum(count, mean), poisson, over_dispersed)


def _half_deviance(value: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return x log(x / m) + m − x, of terms that do not cancel near x = m."""
    part = (mean - value) / value
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        log_ratio = np.where(np.abs(part) < 0.5, np.log1p(part), np.log(mean / value))
        return value * (part - log_ratio)
