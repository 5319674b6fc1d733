"""The binomial family."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, gammaln, logit
from sklearn.base import BaseEstimator

from mixexp.families._common import FamilyDerivatives, Link
from mixexp.families._counts import TOO_LARGE, WithoutParameters

__all__ = ["Binomial"]

#: Probabilities are kept as far from 0 and 1 where they are turned into log-odds.
SMALLEST_PROBABILITY = 1e-15

#: Log-odds are clipped to ± this: probabilities stay above 0 and differences finite.
LARGEST_LOGIT = 700.0


class Binomial(WithoutParameters, Link, BaseEstimator):
    """Successes among a known number of trials; the log-odds of a success are linear.

    y has two columns, the numbers of successes and of failures, as in R's ``glm`` and in
    statsmodels; the sum of a row is its number of trials. One column of 0 and 1 is one trial a
    row. All methods that take y take it in this form, so that trials are known wherever densities
    are. `predict` gives the probability of a success, and `predict_distribution`,
    `predict_quantile` and `sample_y` are of the successes in one trial. `score` is R² of the share
    of successes, with rows weighted by their trials.

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
    >>> y = np.column_stack([won, 10 - won])
    >>> model = MixtureOfExpertsRegressor(n_experts=2, family="binomial", random_state=0).fit(X, y)
    >>> model.predict(X).shape
    (300,)
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

    def pooled_mean(self, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Return the share of successes in all rows of (2, n), (1,)."""
        won, trials = y @ weight
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

    def variance(self, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return the variance of one trial, p (1 − p)."""
        return mean * (1 - mean)

    def pdf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return the probability of y in one trial."""
        return np.where(y == 1, mean, np.where(np.equal(y, 0), 1 - mean, 0.0))

    def logpdf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return the log-probability of y in one trial, −inf if that is impossible."""
        with np.errstate(divide="ignore"):
            return np.where(
                y == 1, np.log(mean), np.where(np.equal(y, 0), np.log1p(-mean), -np.inf)
            )

    def cdf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return P(Y ≤ y) in one trial."""
        return 1 - self.sf(y, mean, parameters)

    def sf(self, y: np.ndarray, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return P(Y > y) in one trial."""
        return np.where(np.asarray(y) < 0, 1.0, np.where(np.asarray(y) < 1, mean, 0.0))

    def quantile(self, q: float, mean: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return the smaller of 0 and 1 with P(Y ≤ y) ≥ q."""
        return np.where(1 - mean >= q, 0.0, 1.0)

    def sample(
        self, mean: np.ndarray, parameters: np.ndarray, rng: np.random.RandomState
    ) -> np.ndarray:
        """Draw single trials, as floats of the shape of the means."""
        return (rng.uniform(size=mean.shape) < mean).astype(float)
