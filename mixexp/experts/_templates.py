"""Scikit-learn templates that have a bank or are penalised likelihood fits."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import (
    ElasticNet,
    GammaRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    RANSACRegressor,
    Ridge,
    TweedieRegressor,
)
from sklearn.pipeline import Pipeline
from sklearn.svm import LinearSVR

from mixexp._fitting import innermost
from mixexp.protocols import Units

__all__ = ["LinearTerms", "linear_terms", "log_penalty", "memorises"]


#: Modules of linear models: fitted by (penalised) likelihood or a similar loss, with few
#: parameters, they do not memorise their rows.
LINEAR_MODULES = ("sklearn.linear_model.", "sklearn.dummy")
ALSO_LINEAR = (LinearDiscriminantAnalysis, LinearSVR)


#: Families without a template of their own, by the family whose template has their predictor.
SAME_EXPERT = {"poisson": "negative_binomial"}


@dataclass(frozen=True)
class LinearTerms:
    """Parameters of a linear template that its bank needs.

    With `per_weight` the penalty is alpha times the weight of an expert's rows, as in
    `PoissonRegressor`; banks use W / K for that weight, which keeps the objective fixed. A `tuned`
    penalty begins at alpha and is set by its evidence. `units` are those in which it is the same
    for all columns. `l1_ratio` is the share of the L1 penalty in alpha.
    """

    alpha: float
    fit_intercept: bool
    units: Units = "input"
    per_weight: bool = False
    tuned: bool = False
    l1_ratio: float = 0.0

    @property
    def ridge(self) -> float:
        """Strength of the ridge penalty."""
        return self.alpha * (1 - self.l1_ratio)

    @property
    def lasso(self) -> float:
        """Strength of the L1 penalty."""
        return self.alpha * self.l1_ratio


def memorises(template: BaseEstimator) -> bool:
    """Return whether an estimator's in-sample predictions may be too optimistic."""
    learner = innermost(template)
    if isinstance(learner, RANSACRegressor):
        return learner.estimator is not None and memorises(learner.estimator)
    kinds = [kind.__module__ for kind in type(learner).__mro__]
    linear = any(module.startswith(LINEAR_MODULES) for module in kinds)
    return not (linear or isinstance(learner, ALSO_LINEAR))


def _logistic_terms(estimator: LogisticRegression) -> LinearTerms | None:
    """Return the terms of a logistic regression: its penalty is 1/C, shared by `l1_ratio`.

    None for what a bank does not know. Only "saga" takes an L1 penalty and leaves the intercept
    alone.
    """
    penalty = getattr(estimator, "penalty", "deprecated")
    shares = {"l2": 0.0, None: 0.0, "l1": 1.0, "elasticnet": estimator.l1_ratio}
    shares["deprecated"] = estimator.l1_ratio or 0.0
    l1_ratio: Any = shares.get(penalty)
    plain = (
        isinstance(l1_ratio, int | float)
        and 0 <= l1_ratio <= 1
        and (estimator.solver == "saga" or (l1_ratio == 0 and penalty != "elasticnet"))
        and estimator.class_weight is None
        and getattr(estimator, "multi_class", "deprecated") in ("auto", "deprecated", "multinomial")
    )
    if not (plain and isinstance(estimator.C, Real) and float(estimator.C) > 0):
        return None
    alpha = 0.0 if penalty is None else 1.0 / float(estimator.C)
    return LinearTerms(alpha, bool(estimator.fit_intercept), l1_ratio=float(l1_ratio))


def _elastic_net_terms(estimator: ElasticNet) -> LinearTerms | None:
    """Return the terms of an elastic net or a lasso, None for options that a bank does not know.

    Both divide the sum of squares by twice the weight of the rows.
    """
    known = (
        not estimator.positive
        and isinstance(estimator.precompute, bool | np.bool_)
        and isinstance(estimator.alpha, Real)
        and isinstance(estimator.l1_ratio, Real)
    )
    if not known:
        return None
    return LinearTerms(
        float(estimator.alpha),
        bool(estimator.fit_intercept),
        per_weight=estimator.alpha > 0,
        l1_ratio=float(estimator.l1_ratio),
    )


def linear_terms(template: Any, family: Any) -> LinearTerms | None:
    """Return the terms of a template that has a bank for this family, else None.

    Only exact classes count: a subclass may behave differently. `family` is None for classes.
    """
    kind = type(template)
    if family is None or family.link == "logit":
        if kind is not LogisticRegression or template.solver == "liblinear" or template.dual:
            return None
        return _logistic_terms(template)
    if family.link == "identity":
        if kind is LinearRegression and not template.positive:
            return LinearTerms(0.0, bool(template.fit_intercept))
        if kind is Ridge and not template.positive and isinstance(template.alpha, Real):
            return LinearTerms(float(template.alpha), bool(template.fit_intercept))
        return _elastic_net_terms(template) if kind in (Lasso, ElasticNet) else None
    own = _glm_family(template)
    if own is None or not isinstance(template.alpha, Real):
        return None
    strength = float(template.alpha)
    if family.name in (own, SAME_EXPERT.get(own)):
        return LinearTerms(strength, bool(template.fit_intercept), per_weight=strength > 0)
    return None


def _glm_family(template: BaseEstimator) -> str | None:
    """Return the family of a generalised linear model with a log link."""
    kind = type(template)
    if kind is PoissonRegressor:
        return "poisson"
    if kind is GammaRegressor:
        return "gamma"
    if kind is TweedieRegressor and template.link in ("auto", "log"):
        return {1: "poisson", 2: "gamma"}.get(template.power)
    return None


def log_penalty(estimator: Any, family: Any) -> np.ndarray | None:
    """Return the penalty in a fitted estimator's likelihood, None if there is none.

    None also if `fit` is not an M-step of the family (None for classes). A Pipeline has its last
    step's penalty. For Ridge it is Σ α b² over features, per output, in units of twice the squared
    dispersion; for logistic regression that of b: |b|² / (2C), or an elastic net's.
    """
    if isinstance(estimator, Pipeline):
        return log_penalty(estimator.steps[-1][1], family)
    if family is not None:
        if family.link == "log":
            unpenalised = _glm_family(estimator) == family.name and estimator.alpha == 0
            return np.zeros(1) if unpenalised else None
        if isinstance(estimator, LinearRegression) and not estimator.positive:
            return np.zeros(1)
        if isinstance(estimator, Ridge):
            return np.asarray(estimator.alpha) * np.sum(np.atleast_2d(estimator.coef_) ** 2, axis=1)
        return None
    fixed = isinstance(getattr(estimator, "C", None), Real)  # LogisticRegressionCV has no C
    if isinstance(estimator, LogisticRegression) and fixed and estimator.solver != "liblinear":
        terms = _logistic_terms(estimator)
        if terms is not None:
            coef = estimator.coef_
            return np.array(
                [0.5 * terms.ridge * np.sum(coef**2) + terms.lasso * np.abs(coef).sum()]
            )
    return None
