"""The only file that names a private or version-dependent symbol of scikit-learn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, _fit_context
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils._indexing import _get_column_indices
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, has_fit_parameter

__all__ = [
    "HasMethods",
    "Interval",
    "StrOptions",
    "check_weights",
    "column_indices",
    "fit_context",
    "fit_weighted_pipeline",
    "safe_indexing",
    "validate_parameters",
]

fit_context = _fit_context
safe_indexing = _safe_indexing


def column_indices(X: Any, key: Any) -> np.ndarray:
    """Return positions of the columns that ColumnTransformer would select by `key`."""
    return np.asarray(_get_column_indices(X, key), dtype=int)


def validate_parameters(estimator: BaseEstimator) -> None:
    """Check an estimator's parameters as its own `fit` would."""
    estimator._validate_params()


def fit_weighted_pipeline(
    pipeline: Pipeline, X: Any, y: np.ndarray, weight: np.ndarray
) -> Pipeline:
    """Fit a Pipeline with `sample_weight` for every step, nested ones too, that takes it."""
    steps = dict(_weighted_steps(pipeline))
    if not get_config()["enable_metadata_routing"]:
        return pipeline.fit(X, y, **{f"{name}__sample_weight": weight for name in steps})
    for step in steps.values():
        step.set_fit_request(sample_weight=True)
        if hasattr(step, "set_fit_transform_request"):
            step.set_fit_transform_request(sample_weight=True)
    return pipeline.fit(X, y, sample_weight=weight)


def _weighted_steps(pipeline: Pipeline) -> Iterator[tuple[str, BaseEstimator]]:
    """Yield name and estimator of the steps whose `fit` names `sample_weight`."""
    for name, step in pipeline.steps:
        if isinstance(step, Pipeline):
            for inner, estimator in _weighted_steps(step):
                yield f"{name}__{inner}", estimator
        elif step not in (None, "passthrough") and has_fit_parameter(step, "sample_weight"):
            yield name, step


def check_weights(sample_weight: Any, X: Any, owner: str) -> np.ndarray:
    """Return checked row weights in float64: finite, nonnegative, not all zero."""
    weight = _check_sample_weight(
        sample_weight, X, dtype=np.float64, ensure_non_negative=True
    ).astype(np.float64)
    if not weight.sum() > 0:
        raise ValueError(
            f"{owner}: sample_weight is zero for all {len(weight)} rows. Give at least one row a "
            "positive weight."
        )
    return weight
