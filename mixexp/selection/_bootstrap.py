"""A parametric bootstrap test of a number of experts against one more."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from mixexp._checks import checked_rng, short
from mixexp._drawn import drawn_targets
from mixexp._engine.growth import Growth
from mixexp._guests import in_threads
from mixexp._warn import silence, silenced
from mixexp.selection._select import check_grows, fit_path

__all__ = ["BootstrapTest", "bootstrap_lrt"]


@dataclass(frozen=True)
class BootstrapTest:
    """A likelihood-ratio test, and what it was compared with.

    Made by `bootstrap_lrt`.

    Attributes
    ----------
    n_experts : int
        The number of experts under the null hypothesis; the alternative has one more.
    statistic : float
        Twice the difference of the log-likelihoods.
    resampled : ndarray of shape (n_resamples,)
        The same of targets drawn from the fit under the null hypothesis; NaN where a fit failed.
    p_value : float
        Share of larger ones, the observed one counted among them.
    """

    n_experts: int
    statistic: float
    resampled: np.ndarray
    p_value: float


def bootstrap_lrt(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    n_experts: int,
    n_resamples: int = 99,
    offset: Any = None,
    random_state: Any = None,
    n_jobs: int | None = None,
) -> BootstrapTest:
    """Test a number of experts against one more by a parametric bootstrap of the likelihood ratio.

    The likelihood ratio of mixtures has no chi-squared distribution: under the null hypothesis the
    additional expert could be anywhere. Targets are therefore drawn from the fit with `n_experts`
    at the same X, and both mixtures are fitted to them as they were to the data: along one growing
    path each.

    Parameters
    ----------
    estimator : MixtureOfExpertsRegressor or MixtureOfExpertsClassifier
        Its own `n_experts` is ignored. It is cloned, not fitted.
    X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
        Input data.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Targets: numbers, or class labels.
    n_experts : int
        The number under the null hypothesis.
    n_resamples : int, default=99
        Samples of targets; the smallest possible p-value is 1 / (n_resamples + 1).
    offset : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
        As in `fit`.
    random_state : int, RandomState instance or None, default=None
        Seeds the samples.
    n_jobs : int or None, default=None
        Threads. The result does not depend on it.

    Returns
    -------
    BootstrapTest

    Raises
    ------
    ValueError
        If a parameter is invalid, if a mixture cannot grow, or if every resample fails.

    References
    ----------
    McLachlan (1987), On bootstrapping the likelihood ratio test statistic for the number of
    components in a normal mixture, JRSS C 36.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> from mixexp.selection import bootstrap_lrt
    >>> X, y = load_tone(return_X_y=True)
    >>> mixture = MixtureOfExpertsRegressor(random_state=0)
    >>> test = bootstrap_lrt(mixture, X, y, n_experts=1, n_resamples=9, random_state=0)
    >>> test.p_value
    0.1
    """
    check_grows(estimator, "bootstrap_lrt")
    for name, value in {"n_experts": n_experts, "n_resamples": n_resamples}.items():
        if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
            raise ValueError(
                f"bootstrap_lrt: {name} must be an integer of at least 1, got {value!r}."
            )
    if estimator.noise_expert:
        raise ValueError(
            "bootstrap_lrt: estimator has noise_expert=True, and targets cannot be drawn from "
            "noise. Set noise_expert=False."
        )
    if getattr(estimator, "class_weight", None) is not None:
        raise ValueError(
            f"bootstrap_lrt: estimator has class_weight={short(estimator.class_weight)}, and "
            "classes drawn from a fit with weighted shares would be weighted twice. Set "
            "class_weight=None."
        )
    k = int(n_experts)
    mixture = clone(estimator)
    rng = checked_rng(random_state, "bootstrap_lrt")
    seeds = rng.randint(2**31 - 1, size=n_resamples)
    if not isinstance(mixture.random_state, Integral):
        mixture.set_params(random_state=int(rng.randint(2**31 - 1)))
    with silenced(silence(ConvergenceWarning)):
        null = fit_path(clone(mixture), X, y, Growth((k,), "bic"), offset=offset)
        statistic = _statistic(mixture, X, y, k, offset)
    calls = [(mixture, null, X, y, k, offset, int(seed)) for seed in seeds]
    resampled = np.array(in_threads(_resampled, calls, n_jobs, [silence(ConvergenceWarning)]))
    known = resampled[np.isfinite(resampled)]
    if not (len(known) and np.isfinite(statistic)):
        raise ValueError(
            f"bootstrap_lrt: {k + 1} experts could not be fitted to the data, or not to targets "
            f"drawn from {k}. Penalise gate and experts more, or lower n_experts."
        )
    p_value = (1 + int(np.sum(known >= statistic))) / (1 + len(known))
    return BootstrapTest(k, statistic, resampled, p_value)


def _statistic(mixture: Any, X: Any, y: Any, k: int, offset: Any) -> float:
    """Return twice the gain in log-likelihood by one more expert, NaN if there is no path to it."""
    growth = Growth((k, k + 1), "bic", searched=False)
    found = fit_path(clone(mixture), X, y, growth, offset=offset).selection_
    if len(found.n_experts) < 2:
        return np.nan
    return float(2 * np.diff(found.log_likelihood)[0])


def _resampled(mixture: Any, null: Any, X: Any, y: Any, k: int, offset: Any, seed: int) -> float:
    """Return the statistic of targets drawn under the null hypothesis; NaN if a fit fails."""
    rng = np.random.RandomState(seed)
    given = {} if offset is None else {"offset": offset}
    try:
        return _statistic(mixture, X, drawn_targets(null, X, y, rng, **given), k, offset)
    except ValueError:  # such as a sample of one class
        return np.nan
