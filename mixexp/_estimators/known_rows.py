"""Rows with targets: those of a fit, and as a fitted model looks at them."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data

from mixexp._checks import as_numbers, kept_rows
from mixexp._compat import check_weights, safe_indexing
from mixexp._estimators.part_inputs import takes_all_sparse
from mixexp._estimators.targets import refuse_missing_labels
from mixexp._rows.inputs import check_constant_in_groups, checked_groups, sorted_rows
from mixexp._rows.rows import Rows
from mixexp._rows.sparse import canonical
from mixexp._weights import as_counts

__all__ = ["grouped", "rows_of_fit", "validated", "weighted", "with_targets"]


def validated(
    mixture: Any,
    X: Any,
    y: Any,
    dtype: Any = (np.float64, np.float32),
    *,
    first: bool = True,
    numeric: bool = False,
) -> tuple[Any, np.ndarray]:
    """Return training rows as scikit-learn checks them; those after the first have its columns."""
    of_target = {}
    if numeric:
        of_target = {"multi_output": True, "y_numeric": True}
        _check_numbers(y, type(mixture).__name__)
    elif y is not None:
        refuse_missing_labels(y, type(mixture).__name__)
    X, y = validate_data(
        mixture,
        X,
        y,
        reset=first,
        accept_sparse="csr" if takes_all_sparse(mixture) else False,
        dtype=dtype if dtype is None else list(dtype),
        ensure_all_finite="allow-nan",
        **of_target,
    )
    return canonical(X), y


def _check_numbers(y: Any, owner: str) -> None:
    """Raise if the target is sparse, of dates, or of text; or has None among objects."""
    if y is None or (isinstance(y, np.ndarray) and y.dtype.kind in "biufc"):
        return
    numbers = as_numbers(y, "y", owner, "Give an array of numbers, or fit a classifier to labels.")
    if np.isnan(numbers).any():
        raise ValueError(f"{owner}: Input y contains NaN. Leave out rows without a target.")


def with_targets(
    estimator: Any, X: Any, y: Any, offset: Any, weight: np.ndarray | None = None
) -> Rows:
    """Return new data as checked rows; raise if there are no targets."""
    if y is None:
        raise ValueError(f"{type(estimator).__name__}: y=None. Give a target for each row of X.")
    rows: Rows = estimator._new_rows(X, y, offset, weight)
    return rows


def grouped(
    estimator: Any, X: Any, y: Any, weight: Any, offset: Any, groups: Any
) -> tuple[Rows, np.ndarray]:
    """Return rows sorted by group, and their order; weights are exponents of densities."""
    rows, owner = with_targets(estimator, X, y, offset, weight), type(estimator).__name__
    codes = checked_groups(groups, rows.X, owner)
    assert codes is not None
    if not getattr(estimator.gate_, "featureless", False):
        check_constant_in_groups(rows.X, codes, estimator._model.columns[1], owner)
    order = np.argsort(codes, kind="stable")
    return sorted_rows(rows, codes, order), order


def weighted(estimator: Any, X: Any, y: Any, sample_weight: Any, offset: Any, groups: Any) -> tuple:
    """Return the rows with positive weight, with checked weights or None."""
    if sample_weight is None:
        return X, y, None, offset, groups
    owner = type(estimator).__name__
    weight = as_counts(check_weights(sample_weight, X, owner), estimator)
    kept = np.flatnonzero(weight > 0)
    if len(kept) == len(weight):
        return X, y, weight, offset, groups
    y, offset, groups = (
        kept_rows(value, kept, len(weight), name, owner)
        for name, value in {"y": y, "offset": offset, "groups": groups}.items()
    )
    return safe_indexing(X, kept), y, weight[kept], offset, groups


def rows_of_fit(
    estimator: Any, X: Any, y: Any, sample_weight: Any, offset: Any, groups: Any, clusters: Any
) -> tuple[Rows, np.ndarray | None]:
    """Return the rows of the fit, checked and sorted by group, and every unit's cluster."""
    owner = type(estimator).__name__
    sample_weight = estimator._fit_weight(X, y, sample_weight)
    if clusters is not None:
        clusters = np.asarray(clusters)
        if sample_weight is not None:
            clusters = clusters[check_weights(sample_weight, X, owner) > 0]
        clusters = np.unique(clusters, return_inverse=True)[1]
    X, y, weight, offset, groups = weighted(estimator, X, y, sample_weight, offset, groups)
    if groups is None:
        return with_targets(estimator, X, y, offset, weight), clusters
    rows, order = grouped(estimator, X, y, weight, offset, groups)
    if clusters is None:
        return rows, None
    codes: Any = rows.groups
    of_groups = clusters[order][np.unique(codes, return_index=True)[1]]
    if np.any(of_groups[codes] != clusters[order]):
        raise ValueError(
            f"{owner}: rows of one group lie in several clusters. A group is one unit: give all "
            "its rows the same cluster."
        )
    return rows, of_groups
