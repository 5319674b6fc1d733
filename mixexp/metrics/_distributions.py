"""Scores and calibration of predictive distributions."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils import Bunch

from mixexp._checks import as_numbers, checked_rng, short
from mixexp._wrapped import law_and_target
from mixexp.metrics._weights import checked_weight, weighted_mean

__all__ = [
    "calibration",
    "crps",
    "log_score",
    "log_score_scorer",
    "neg_crps_scorer",
    "pit",
]

#: Coverages of the central intervals in a calibration.
COVERAGES = (0.5, 0.8, 0.95)


def log_score(y_true: Any, distribution: Any, *, sample_weight: Any = None) -> float:
    """Return the mean log-density of targets; higher is better.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_outputs)
        The targets that came.
    distribution : MixtureDistribution
        Of the same rows.
    sample_weight : array-like of shape (n_samples,), default=None
        Row weights; None means 1 for every row.

    Returns
    -------
    float
        In nats, for several outputs of all jointly; −inf if a target is impossible.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> from mixexp.metrics import log_score
    >>> X, y = load_tone(return_X_y=True)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    >>> log_score(y, model.predict_distribution(X)) > 0.5
    True
    """
    distribution = _checked_law(distribution, "log_score")
    weight = checked_weight(sample_weight, len(distribution), "log_score")
    return weighted_mean(distribution.logpdf(y_true), weight)


def crps(y_true: Any, distribution: Any, *, sample_weight: Any = None) -> float:
    """Return the mean continuous ranked probability score of targets; lower is better.

    ∫ (P(Y ≤ t) − [y ≤ t])² dt is in units of y, and the absolute error where a distribution is a
    single point. `MixtureDistribution.crps` returns it for every row.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_outputs)
        The targets that came.
    distribution : MixtureDistribution
        Of the same rows.
    sample_weight : array-like of shape (n_samples,), default=None
        Row weights; None means 1 for every row.

    Returns
    -------
    float
        The mean over rows and outputs; infinite if a row's distribution has no mean, as Student-t
        errors with at most one degree of freedom.

    References
    ----------
    Gneiting & Raftery (2007), Strictly proper scoring rules, prediction, and estimation, Journal of
    the American Statistical Association 102.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> from mixexp.metrics import crps
    >>> X, y = load_tone(return_X_y=True)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    >>> crps(y, model.predict_distribution(X)) < 0.1
    True
    """
    distribution = _checked_law(distribution, "crps")
    weight = checked_weight(sample_weight, len(distribution), "crps")
    return weighted_mean(distribution.crps(y_true), weight)


def log_score_scorer(estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
    """Score a fitted estimator by `log_score`, as ``scoring=`` of scikit-learn.

    Parameters
    ----------
    estimator : estimator
        With `predict_distribution`, or a Pipeline that ends in one, or a search over one of these.
    X : array-like of shape (n_samples, n_features)
        Rows as the estimator takes them.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Their targets; of family binomial also successes and failures.
    sample_weight : array-like of shape (n_samples,), default=None
        Row weights; None means 1 for every row.

    Returns
    -------
    float
        Higher is better.

    Examples
    --------
    >>> from sklearn.model_selection import cross_val_score
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> from mixexp.metrics import log_score_scorer
    >>> X, y = load_tone(return_X_y=True)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, random_state=0)
    >>> cross_val_score(model, X, y, scoring=log_score_scorer, cv=2).shape
    (2,)
    """
    law, y = _judged(estimator, X, y, "log_score_scorer")
    return log_score(y, law, sample_weight=sample_weight)


def neg_crps_scorer(estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
    """Score a fitted estimator by minus `crps`, as ``scoring=`` of scikit-learn.

    Parameters
    ----------
    estimator : estimator
        With `predict_distribution`, or a Pipeline that ends in one, or a search over one of these.
    X : array-like of shape (n_samples, n_features)
        Rows as the estimator takes them.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Their targets; of family binomial also successes and failures.
    sample_weight : array-like of shape (n_samples,), default=None
        Row weights; None means 1 for every row.

    Returns
    -------
    float
        Higher is better, 0 is best.

    Examples
    --------
    >>> from sklearn.model_selection import cross_val_score
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> from mixexp.metrics import neg_crps_scorer
    >>> X, y = load_tone(return_X_y=True)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, random_state=0)
    >>> bool(cross_val_score(model, X, y, scoring=neg_crps_scorer, cv=2).max() < 0)
    True
    """
    law, y = _judged(estimator, X, y, "neg_crps_scorer")
    return -crps(y, law, sample_weight=sample_weight)


def pit(y_true: Any, distribution: Any, *, random_state: Any = None) -> np.ndarray:
    """Return the probability integral transform P(Y ≤ y) of targets.

    If the distributions are right, it is uniform between 0 and 1. For counts it is randomised: a
    uniform draw between P(Y < y) and P(Y ≤ y).

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_outputs)
        The targets that came.
    distribution : MixtureDistribution
        Of the same rows.
    random_state : int, RandomState instance or None, default=None
        Seeds the draws for counts.

    Returns
    -------
    ndarray of shape (n_samples,) or (n_samples, n_outputs)

    References
    ----------
    Czado, Gneiting & Held (2009), Predictive model assessment for count data, Biometrics 65.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> from mixexp.metrics import pit
    >>> X, y = load_tone(return_X_y=True)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    >>> values = pit(y, model.predict_distribution(X))
    >>> bool((values > 0).all() and (values < 1).all())
    True
    """
    rng = checked_rng(random_state, "pit")
    upper = _checked_law(distribution, "pit").cdf(y_true)
    if not distribution.family.discrete:
        return upper
    lower = distribution.cdf(np.asarray(y_true, dtype=float) - 1)
    return lower + rng.uniform(size=upper.shape) * (upper - lower)


def calibration(
    y_true: Any,
    distribution: Any,
    *,
    n_bins: int = 10,
    coverages: Any = COVERAGES,
    sample_weight: Any = None,
    random_state: Any = None,
) -> Bunch:
    """Return how often targets are where their distributions say.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_outputs)
        The targets that came; several outputs are counted together.
    distribution : MixtureDistribution
        Of the same rows.
    n_bins : int, default=10
        Bins of the histogram.
    coverages : array-like of float, default=(0.5, 0.8, 0.95)
        Probabilities of central intervals, between 0 and 1.
    sample_weight : array-like of shape (n_samples,), default=None
        Row weights; None means 1 for every row.
    random_state : int, RandomState instance or None, default=None
        Seeds the draws for counts.

    Returns
    -------
    Bunch
        With `bin_edges` (n_bins + 1,); `densities` (n_bins,), the share of targets in each bin of
        the `pit` over its width, 1 if calibrated; `coverages` and `observed` (n_coverages,), the
        probabilities and the shares of targets in those intervals, for counts by the randomised
        `pit`, as intervals of counts hold more than they need.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> from mixexp.metrics import calibration
    >>> X, y = load_tone(return_X_y=True)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    >>> found = calibration(y, model.predict_distribution(X))
    >>> bool(abs(found.observed - found.coverages).max() < 0.2)
    True
    """
    wanted = "one number between 0 and 1, or an array of them"
    levels = np.atleast_1d(as_numbers(coverages, "coverages", "calibration", f"Give {wanted}."))
    wrong = ~((levels > 0) & (levels < 1))
    if np.any(wrong):
        raise ValueError(
            f"calibration: coverages must be {wanted}, both ends excluded; got "
            f"{float(levels[wrong][0])!r}. Leave it out."
        )
    if not isinstance(n_bins, int | np.integer) or isinstance(n_bins, bool) or n_bins < 1:
        raise ValueError(
            f"calibration: n_bins={short(n_bins)} must be a whole number of at least 1. Use 10."
        )
    rng = checked_rng(random_state, "calibration")
    distribution = _checked_law(distribution, "calibration")
    weight = checked_weight(sample_weight, len(distribution), "calibration")
    values = pit(y_true, distribution, random_state=rng)
    weight = np.broadcast_to(weight.reshape(-1, *(1,) * (values.ndim - 1)), values.shape)
    share = weight / weight.sum()
    densities, bin_edges = np.histogram(values, n_bins, (0.0, 1.0), weights=share)
    distance = np.abs(2 * values - 1)
    observed = np.array([share[distance <= level].sum() for level in levels])
    return Bunch(
        bin_edges=bin_edges, densities=densities * n_bins, coverages=levels, observed=observed
    )


def _judged(estimator: Any, X: Any, y: Any, owner: str) -> tuple[Any, Any]:
    """Return the laws of an estimator, found inside Pipelines and searches, and their targets."""
    while not hasattr(estimator, "predict_distribution"):
        if isinstance(estimator, Pipeline) and len(estimator.steps) > 1:
            X, estimator = estimator[:-1].transform(X), estimator.steps[-1][1]
        elif isinstance(estimator, Pipeline):
            estimator = estimator.steps[-1][1]
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        else:
            raise TypeError(
                f"{owner}: {type(estimator).__name__} has no predict_distribution. Give a "
                "MixtureOfExpertsRegressor, a Pipeline that ends in one, or a search over one."
            )
    if is_classifier(estimator):
        raise TypeError(
            f"{owner}: {type(estimator).__name__} predicts classes. Use scoring='neg_log_loss'."
        )
    return law_and_target(estimator, X, y, owner)


def _checked_law(distribution: Any, owner: str) -> Any:
    """Return a distribution of numbers; raise if it is none."""
    if not hasattr(distribution, "logpdf") or not hasattr(distribution, "crps"):
        raise TypeError(
            f"{owner}: distribution={short(distribution)} is no distribution of numbers. Give what "
            "predict_distribution of a regressor returns."
        )
    return distribution
