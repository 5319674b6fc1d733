"""The only file that names a private or version-dependent symbol of scikit-learn."""

from __future__ import annotations

from inspect import signature
from numbers import Integral
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, _fit_context
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils import _safe_indexing
from sklearn.utils._indexing import _get_column_indices
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.metadata_routing import _raise_for_params
from sklearn.utils.validation import (
    _check_feature_names_in,
    _check_sample_weight,
    has_fit_parameter,
)

try:
    from sklearn.utils._repr_html.estimator import _VisualBlock
except ImportError:  # scikit-learn < 1.7
    from sklearn.utils._estimator_html_repr import _VisualBlock

from mixexp._checks import as_numbers, named_error

__all__ = [
    "JOBS",
    "BaseSearchCV",
    "HasMethods",
    "Interval",
    "StrOptions",
    "VisualBlock",
    "check_weights",
    "checked_feature_names",
    "column_indices",
    "fit_context",
    "finish_glm",
    "raise_for_params",
    "request_weights",
    "routing_enabled",
    "rows_of",
    "safe_indexing",
    "validate_parameters",
]

#: What `n_jobs` may be: 0 means nothing.
JOBS = [
    Interval(Integral, None, -1, closed="right"),
    Interval(Integral, 1, None, closed="left"),
    None,
]

VisualBlock = _VisualBlock
fit_context = _fit_context
raise_for_params = _raise_for_params
safe_indexing = _safe_indexing
checked_feature_names = _check_feature_names_in


def rows_of(value: Any, ids: Any, n_rows: int) -> Any:
    """Return the rows of values with one entry per row, and other values unchanged."""
    if value is None or isinstance(value, str) or not hasattr(value, "__len__"):
        return value
    if hasattr(value, "tocsr"):  # other sparse formats have no rows to take
        value = value.tocsr()
    shape = getattr(value, "shape", None)  # neither sparse matrices nor 0-d arrays have a length
    if (len(value) if shape is None else shape[:1]) not in (n_rows, (n_rows,)):
        return value
    return _safe_indexing(value, ids)


def column_indices(X: Any, key: Any) -> np.ndarray:
    """Return positions of the columns selected by `key`, as in ColumnTransformer."""
    return np.asarray(_get_column_indices(X, key), dtype=int)


def validate_parameters(estimator: BaseEstimator) -> None:
    """Check an estimator's parameters as in its `fit`."""
    estimator._validate_params()


def routing_enabled() -> bool:
    """Return whether metadata routing is on."""
    return bool(get_config()["enable_metadata_routing"])


def request_weights(estimator: Any) -> None:
    """Make all nested estimators that take `sample_weight` in `fit` request it."""
    inside = [estimator, *estimator.get_params(deep=True).values()]
    for nested in inside:
        if hasattr(nested, "set_fit_request") and has_fit_parameter(nested, "sample_weight"):
            nested.set_fit_request(sample_weight=True)
            if hasattr(nested, "set_fit_transform_request"):
                nested.set_fit_transform_request(sample_weight=True)
            if hasattr(nested, "set_score_request") and has_parameter(
                nested.score, "sample_weight"
            ):
                nested.set_score_request(sample_weight=True)


def has_parameter(method: Any, name: str) -> bool:
    """Return whether a method names a parameter."""
    return name in signature(method).parameters


def finish_glm(estimator: Any) -> None:
    """Set the attributes that `predict` of a GLM needs besides its coefficients."""
    estimator._base_loss = estimator._get_loss()


def check_weights(sample_weight: Any, X: Any, owner: str) -> np.ndarray:
    """Return checked row weights in float64: finite, nonnegative, not all zero."""
    remedy = "Give every row a finite number of at least 0."
    if sample_weight is not None:
        sample_weight = as_numbers(sample_weight, "sample_weight", owner, remedy)
        if sample_weight.ndim == 0:  # one number for all rows
            sample_weight = float(sample_weight)
    with named_error(owner, "sample_weight", remedy):
        weight = _check_sample_weight(
            sample_weight, X, dtype=np.float64, ensure_non_negative=True
        ).astype(np.float64)
    if not weight.sum() > 0:
        raise ValueError(
            f"{owner}: sample_weight is zero for all {len(weight)} rows. Give at least one row a "
            "positive weight."
        )
    return weight
