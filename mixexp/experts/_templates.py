"""Which scikit-learn templates have a bank, and which are penalised likelihood fits."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import Pipeline

__all__ = ["LinearTerms", "linear_terms", "log_penalty"]


@dataclass(frozen=True)
class LinearTerms:
    """What a bank must know of a linear template."""

    alpha: float
    fit_intercept: bool
    input_units: bool = True


def _logistic_alpha(estimator: LogisticRegression) -> float | None:
    """Return 1/C of an L2-penalised or unpenalised logistic regression, else None."""
    penalty = getattr(estimator, "penalty", "deprecated")
    plain = (
        penalty in ("l2", None, "deprecated")
        and (penalty == "l2" or not estimator.l1_ratio)
        and estimator.class_weight is None
        and getattr(estimator, "multi_class", "deprecated") in ("auto", "deprecated", "multinomial")
    )
    if not plain:
        return None
    return 0.0 if penalty is None else 1.0 / estimator.C


def linear_terms(template: BaseEstimator) -> LinearTerms | None:
    """Return the terms of a template that has a bank, None for any other.

    Subclasses may do anything, so only the exact classes count.
    """
    kind = type(template)
    if kind is LinearRegression and not template.positive:
        return LinearTerms(0.0, bool(template.fit_intercept))
    if kind is Ridge and not template.positive and isinstance(template.alpha, Real):
        return LinearTerms(float(template.alpha), bool(template.fit_intercept))
    if kind is LogisticRegression and template.solver != "liblinear" and not template.dual:
        alpha = _logistic_alpha(template)
        return None if alpha is None else LinearTerms(alpha, bool(template.fit_intercept))
    return None


def log_penalty(estimator: BaseEstimator) -> np.ndarray | None:
    """Return a fitted estimator's penalty as it enters its likelihood, None where it has none.

    That of a Pipeline is its last step's. For Ridge the sum over features of α b² an output, in
    units of twice the squared dispersion;
    for logistic regression |b|² / (2C).
    """
    if isinstance(estimator, Pipeline):
        return log_penalty(estimator.steps[-1][1])
    if isinstance(estimator, LinearRegression) and not estimator.positive:
        return np.zeros(1)
    if isinstance(estimator, Ridge):
        return np.asarray(estimator.alpha) * np.sum(np.atleast_2d(estimator.coef_) ** 2, axis=1)
    chosen = isinstance(getattr(estimator, "C", None), Real)  # not so in LogisticRegressionCV
    if isinstance(estimator, LogisticRegression) and chosen and estimator.solver != "liblinear":
        alpha = _logistic_alpha(estimator)
        return None if alpha is None else np.array([0.5 * alpha * np.sum(estimator.coef_**2)])
    return None
