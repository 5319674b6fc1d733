"""The binomial family."""

from __future__ import annotations

import numpy as np
from scipy.special import betainc, betaincc, expit, gammaln, logit, xlog1py, xlogy
from sklearn.base import BaseEstimator

from mixexp.families._common import (
    SMALL_TAIL,
    FamilyDerivatives,
    Link,
    log_probability,
    nested_sum,
)
from mixexp.families._counts import TOO_LARGE, WithoutParameters
from mixexp.families._shape import deviance, stirling_rest

__all__ = ["Binomial"]

#: Probabilities are kept as far from 0 and 1 where they are turned into log-odds.
SMALLEST_PROBABILITY = 1e-15

#: Log-odds are clipped to ± this: probabilities stay above 0 and differences finite.
LARGEST_LOGIT = 700.0


class Binomial(WithoutParameters, Link, BaseEstimator):
    """Successes among a known number of trials; the log-odds of a success are linear.

    y is the number of successes, with ``trials=`` in `fit` and all methods that take y; or it has
    two columns, the numbers of successes and of failures, as in R's ``glm`` and in statsmodels.
    One column without trials is 0 or 1, one trial a row. `predict` gives the probability of a
    success. `predict_distribution`, `predict_quantile`, `predict_interval` and `sample_y` are of
    the successes in as many ``trials=`` as they are given, one if none. `score` is R² of the
    share of successes, with rows weighted by their trials.

    Experts are linear: None, or a `LogisticRegression` for its penalty, as which `experts_` are
    returned.

    Notes
    -----
    With n trials and log-odds η:

        log p(y) = log C(n, y) + y η − n log(1 + exp(η))

    The expert's step is Newton's, with score y − n p and curvature n p (1 − p). There is no
    dispersion. A row counts as a whole: its responsibilities are those of all of its trials
    together, which rows of single trials, each with an expert of its own, do not give.

    References
    ----------
    McCullagh & Nelder (1989), Generalized linear models, chapter 4. Grün & Leisch (2008),
    Identifiability of finite mixtures of multinomial logit models, Journal of Classification 25:
    one trial a row does not identify a mixture with a constant gate.

    Examples
    --------
    >>> import numpy as np
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-2, 2, (300, 1))
    >>> won = rng.binomial(10, 1 / (1 + np.exp(-2 * np.abs(X[:, 0]) + 1)))
    >>> model = MixtureOfExpertsRegressor(n_experts=2, family="binomial", random_state=0)
    >>> model = model.fit(X, won, trials=np.full(300, 10))
    >>> law = model.predict_distribution(X, trials=np.full(300, 10))
    >>> bool(np.allclose(law.mean(), 10 * model.predict(X)))
    True
    """

    name = "binomial"
    link = "logit"
    discrete = True
    curved = True

    def supports(self, y: np.ndarray) -> np.ndarray:
        """Return where y is possible in one trial."""
        return (y == 0) | (y == 1)

    def possible(self, y: np.ndarray) -> np.ndarray:
        """Return which rows (m,) of successes and trials (2, m) are possible."""
        won, trials = y
        whole = (won == np.floor(won)) & (trials == np.floor(trials)) & (trials < TOO_LARGE)
        return whole & (won >= 0) & (won <= trials) & (trials > 0)

    def mean(self, eta: np.ndarray) -> np.ndarray:
        """Return the probability of a success."""
        return expit(np.clip(eta, -LARGEST_LOGIT, LARGEST_LOGIT))

    def eta(self, mean: np.ndarray) -> np.ndarray:
        """Return the log-odds of a probability, moved off 0 and 1."""
        return logit(np.clip(mean, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY))

    def pooled_mean(self, mean_target: np.ndarray) -> np.ndarray:
        """Return the share of successes of all rows, (1,), from mean successes and trials, (2,)."""
        won, trials = mean_target
        return np.array([won / trials])

    def shares(self, y: np.ndarray) -> np.ndarray:
        """Return the share of successes (1, n), which starts see in place of y (2, n)."""
        return y[:1] / y[1:]

    def without_offset(self, y: np.ndarray, offset: np.ndarray) -> tuple:
        """Return the targets; no estimator is fitted without the offset."""
        return y, None

    def evaluate(self, y: np.ndarray, eta: np.ndarray, parameters: np.ndarray) -> tuple:
        """Return log-probabilities (K, m), score and curvature (K, 1, m)."""
        won, trials = y
        eta = np.clip(eta, -LARGEST_LOGIT, LARGEST_LOGIT)
        chance = expit(eta)
        log_prob = won * eta[:, 0] - trials * np.logaddexp(0.0, eta[:, 0])
        log_prob += gammaln(trials + 1) - gammaln(won + 1) - gammaln(trials - won + 1)
        return log_prob, won - trials * chance, trials * chance * expit(-eta)

    def derivatives(
        self, y: np.ndarray, eta: np.ndarray, parameters: np.ndarray
    ) -> FamilyDerivatives:
        """Return first and second derivatives of log p by eta; there are no parameters."""
        _, score, curvature = self.evaluate(y, eta, parameters)
        return self.by_eta_alone(score, curvature)

    # ---------------------------------------------------------------- laws of all trials
    #
    # Parameters of these are one line, the numbers of trials, or none: then there is one trial.

    def expectation(self, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return the expected number of successes, n p, of probabilities p."""
        return trials_of(parameters) * mean

    def variance(self, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return the variance of the number of successes, n p (1 − p)."""
        return trials_of(parameters) * mean * (1 - mean)

    def pdf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return the probability of y successes."""
        return np.exp(self.logpdf(y, mean, parameters))

    def logpdf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return the log-probability of y successes, −inf if that is impossible.

        In the form of Loader (2000), Fast and accurate computation of binomial probabilities.
        """
        trials = trials_of(parameters)
        valid = (y >= 0) & (y == np.floor(y)) & (y <= trials)
        won = np.where(valid, y, 0.0)
        lost = trials - won
        at_ends = xlogy(won, mean) + xlog1py(lost, -mean)
        inner = (won > 0) & (lost > 0)
        won, lost = np.where(inner, won, 1.0), np.where(inner, lost, 1.0)
        trials = won + lost
        between = stirling_rest(won) + stirling_rest(lost) - stirling_rest(trials)
        between -= np.log(won) + np.log(lost / trials)
        misfit = deviance(won, trials * mean) + deviance(lost, trials * (1 - mean))
        return np.where(valid, np.where(inner, between - misfit, at_ends), -np.inf)

    def cdf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return P(Y ≤ y)."""
        trials = trials_of(parameters)
        won = np.floor(np.clip(y, 0.0, trials))
        below = betaincc(won + 1, np.maximum(trials - won, 1.0), mean)
        return np.where(np.asarray(y) < 0, 0.0, np.where(won < trials, below, 1.0))

    def logcdf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return log P(Y ≤ y), also where that is too small for doubles."""
        below = self.cdf(y, mean, parameters)
        log_below = log_probability(below, self.sf(y, mean, parameters))
        small = below < SMALL_TAIL
        if np.any(small):  # p(y) (1 + r(0) (1 + r(1) (1 + …))), the ratios of p(y − n − 1)
            trials = trials_of(parameters)
            won = np.floor(np.clip(y, 0.0, np.minimum(trials, 0.999 * trials * mean)))
            odds = (1 - mean) / np.maximum(mean, SMALLEST_PROBABILITY)
            series = nested_sum(
                lambda n: np.minimum(
                    np.maximum(won - n, 0.0) / (trials - won + n + 1) * odds, 0.999
                )
            )
            tail = self.logpdf(won, mean, parameters) + np.log(series)
            log_below = np.where(small, np.where(np.asarray(y) >= 0, tail, -np.inf), log_below)
        return log_below

    def sf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return P(Y > y)."""
        trials = trials_of(parameters)
        won = np.floor(np.clip(y, 0.0, trials))
        above = betainc(won + 1, np.maximum(trials - won, 1.0), mean)
        return np.where(np.asarray(y) < 0, 1.0, np.where(won < trials, above, 0.0))

    def quantile(self, q: float, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return the smallest number of successes with P(Y ≤ y) ≥ q, by bisection."""
        trials = np.broadcast_to(trials_of(parameters), mean.shape)
        last = np.where(mean > 0, trials, 0.0)
        low, high = np.where(np.equal(q, 1), last, 0.0), last
        while np.any(low < high):  # as often as a number of trials has bits
            middle = np.floor((low + high) / 2)
            under = self.cdf(middle, mean, parameters) < q
            low, high = np.where(under, middle + 1, low), np.where(under, high, middle)
        return low

    def sample(
        self, mean: np.ndarray, parameters: np.ndarray, rng: np.random.RandomState
    ) -> np.ndarray:
        """Draw numbers of successes, as floats of the shape of the means."""
        if not len(parameters):
            return (rng.uniform(size=mean.shape) < mean).astype(float)
        return rng.binomial(trials_of(parameters).astype(np.int64), mean).astype(float)


def trials_of(parameters: np.ndarray) -> np.ndarray:
    """Return the numbers of trials of a law, one if it has no such parameter."""
    return parameters[0] if len(parameters) else np.ones(())
