"""Experts: banks of K models of y given x."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import GammaRegressor, LogisticRegression, PoissonRegressor, Ridge

from mixexp._compat import validate_parameters
from mixexp._costs import by_products
from mixexp._newton import n_block_rows
from mixexp.experts._candidates import (
    ExpertPool,
    candidates_of,
    check_expert,
    check_single_output,
    named,
    with_params,
)
from mixexp.experts._component import ComponentBank
from mixexp.experts._estimator import EstimatorBank
from mixexp.experts._fallback import FallbackBank
from mixexp.experts._linear import LinearBank
from mixexp.experts._logistic import LogisticBank
from mixexp.experts._noise import NoiseBank
from mixexp.experts._shared import SharedBank, SharedLinearBank
from mixexp.experts._templates import LinearTerms, linear_terms, memorises
from mixexp.experts._training import Trainer
from mixexp.protocols import Design, Rows, Target, Units

__all__ = [
    "ExpertPool",
]

#: Penalty of the default expert, on columns scaled by their standard deviation.
DEFAULT_ALPHA = 0.3

#: Estimators that represent the default expert after fitting, by family, for a log link.
DEFAULT_EXPERT = {"poisson": PoissonRegressor, "gamma": GammaRegressor}


def has_bank(expert: Any, family: Any) -> bool:
    """Return whether an expert template is fitted by a bank in closed form or by Newton steps.

    `family` is None for classes.
    """
    return expert is None or linear_terms(expert, family) is not None


def linear_bank(
    expert: Any, rows: Rows, columns: Any, target: Target, *, tuned: bool = False
) -> Any:
    """Return a one-expert bank of linear or logistic models for a template that has one.

    Templates without a bank get the default expert's, which starts use as a substitute.
    `columns` is None, one set of columns for all experts, with or without a basis (`Based`), or a
    list of columns per expert. `tuned` has the penalty of the default expert of numbers set by its
    evidence.
    """
    classes, family = target.classes, target.family
    terms = None if expert is None else linear_terms(expert, family)
    template: BaseEstimator
    if terms is None:
        units: Units = "size" if tuned else "spread"
        terms = LinearTerms(DEFAULT_ALPHA, fit_intercept=True, units=units, tuned=tuned)
        if classes is not None:
            template = LogisticRegression()
        elif family.link == "logit":
            template = LogisticRegression(C=1 / DEFAULT_ALPHA)
        elif family.link == "identity":
            template = Ridge(DEFAULT_ALPHA)
        else:
            template = DEFAULT_EXPERT.get(family.name, PoissonRegressor)()
    else:
        validate_parameters(expert)
        template = clone(expert)
    union = np.unique(np.concatenate(columns)) if isinstance(columns, list) else columns
    design = rows.design(union, terms.fit_intercept)
    mask = _mask(design, columns) if isinstance(columns, list) else None
    if mask is None and not terms.lasso:
        design = rows.spanned(design, units=terms.units if terms.alpha > 0 else "spread")
    if classes is not None:
        return LogisticBank(
            template,
            design,
            classes=classes,
            terms=terms,
            cheaper_by_products=not terms.lasso
            and _by_products(rows, design, len(classes), exact=False),
            mask=mask,
        )
    if terms.per_weight:
        terms = replace(terms, alpha=terms.alpha * rows.total_weight)
    size = np.abs(rows.extremes).max(axis=1) if family.link == "identity" else np.ones(target.width)
    bank = LinearBank(
        template,
        design,
        terms=terms,
        family=family,
        floor=np.finfo(float).eps * np.where(size > 0, size, 1.0),
        by_products=not terms.lasso
        and _by_products(rows, design, target.width, exact=not family.curved),
        mask=mask,
    )
    if family.link == "identity":
        return bank.from_range(rows) if family.reweights else bank
    return bank.from_mean(rows) if terms.fit_intercept else bank


def _by_products(rows: Rows, design: Design, width: int, *, exact: bool) -> bool:
    """Return whether the M-step of an expert with this many outputs is cheaper by products."""
    n_weights = 1 if exact else n_block_rows(width)
    return by_products(
        rows,
        design,
        n_weights=n_weights,
        systems=n_weights,
        order=design.size,
        vectors=1 if width == 2 and not exact else width,
        exact=exact,
    )


def _mask(design: Design, columns: list) -> np.ndarray:
    """Return which rows of the design each expert sees, (K, n_design)."""
    slopes = [np.isin(design.columns, visible) for visible in columns]
    seen = np.array([np.append(slope, slope[design.indicators]) for slope in slopes])
    return np.hstack([np.ones((len(seen), int(design.intercept)), dtype=bool), seen])


def __dir__() -> list[str]:
    return __all__
