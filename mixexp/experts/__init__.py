"""Experts: banks of K models of y given x."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression, Ridge

from mixexp._blocks import Rows
from mixexp._compat import validate_parameters
from mixexp.experts._estimator import EstimatorBank, check_expert, takes_sparse
from mixexp.experts._linear import LinearBank
from mixexp.experts._logistic import LogisticBank
from mixexp.experts._templates import LinearTerms, linear_terms

__all__ = [
    "EstimatorBank",
    "LinearBank",
    "LogisticBank",
    "check_expert",
    "has_bank",
    "linear_bank",
    "takes_sparse",
]

#: Penalty of the default expert, on columns scaled by their standard deviation.
DEFAULT_ALPHA = 0.3


def has_bank(expert: BaseEstimator | None) -> bool:
    """Return whether an expert template is fitted by a bank in closed form or by Newton steps."""
    return expert is None or linear_terms(expert) is not None


def linear_bank(
    expert: BaseEstimator | None,
    rows: Rows,
    columns: np.ndarray | None,
    *,
    classes: Any,
    family: Any,
) -> Any:
    """Return a one-expert bank of linear or logistic models for a template that has one.

    Templates without a bank get that of the default expert: what starts use in their place.
    """
    terms = None if expert is None else linear_terms(expert)
    if terms is None:
        template = Ridge(DEFAULT_ALPHA) if classes is None else LogisticRegression()
        terms = LinearTerms(DEFAULT_ALPHA, fit_intercept=True, input_units=False)
    else:
        validate_parameters(expert)
        template = expert
    design = rows.design(columns, terms.fit_intercept)
    if classes is not None:
        return LogisticBank(
            template, design, classes=classes, alpha=terms.alpha, input_units=terms.input_units
        )
    size = np.abs(rows.y).max(axis=1)
    return LinearBank(
        template,
        design,
        alpha=terms.alpha,
        input_units=terms.input_units,
        family=family,
        floor=np.finfo(float).eps * np.where(size > 0, size, 1.0),
    )
