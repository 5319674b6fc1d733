"""Columns of a table as they are described: numbers, or the labels of categories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixexp._columns import given_names, is_absent
from mixexp.inspection._inputs import table_names

__all__ = [
    "Column",
    "described_columns",
    "number",
    "weighted_quantiles",
]

#: Digits of the numbers in a description.
DIGITS = 3

#: Sizes between which a number is written without an exponent.
PLAIN = (1e-4, 1e7)

#: The label of a missing category.
MISSING = "missing"


@dataclass(frozen=True)
class Column:
    """A column of the input.

    Attributes
    ----------
    name : str
    values : ndarray of shape (n,)
        Numbers, NaN where missing; of categories, the index of the label.
    labels : list of str, or None
        The categories in order; None for numbers.
    """

    name: str
    values: np.ndarray
    labels: list[str] | None = None


def described_columns(X: Any, estimator: Any, feature_names: Any, owner: str) -> list[Column]:
    """Return the columns of a table; raise if it has infinite numbers."""
    n_features = np.shape(X)[1]
    names = _names(X, estimator, feature_names, n_features, owner)
    return [_column(_values(X, j), name, owner) for j, name in enumerate(names)]


def _names(X: Any, estimator: Any, feature_names: Any, n_features: int, owner: str) -> list[str]:
    if feature_names is None:
        known = table_names(X, estimator)
        return [f"x{j}" for j in range(n_features)] if known is None else known
    return given_names(feature_names, n_features, owner)


def _values(X: Any, j: int) -> np.ndarray:
    if not hasattr(X, "columns"):
        return np.asarray(X)[:, j]
    return np.asarray(X.iloc[:, j] if hasattr(X, "iloc") else X.to_series(j))


def _column(values: np.ndarray, name: str, owner: str) -> Column:
    """Return a column; what cannot be read as numbers is taken for categories."""
    found = _as_floats(values)
    if found is None:
        labels = [MISSING if is_absent(value) else str(value) for value in values.tolist()]
        distinct, codes = np.unique(np.array(labels, dtype=str), return_inverse=True)
        return Column(name, codes.astype(np.float64), distinct.tolist())
    if np.any(np.isinf(found)):
        raise ValueError(
            f"{owner}: X has infinite values in {name}. Leave those rows out, or impute them."
        )
    return Column(name, found)


def _as_floats(values: np.ndarray) -> np.ndarray | None:
    """Return numbers, NaN where missing; None for what are no numbers, dates and truth values."""
    if values.dtype.kind in "iuf":
        return values.astype(np.float64)
    if values.dtype.kind != "O" or any(isinstance(value, bool | str) for value in values):
        return None
    try:
        return np.array([np.nan if is_absent(v) else v for v in values], dtype=np.float64)
    except (TypeError, ValueError):
        return None


def number(value: float) -> str:
    """Return a number with three digits, or all digits of a whole one; a minus sign is one."""
    size = abs(value)
    if size != 0 and not PLAIN[0] <= size < PLAIN[1]:
        text = f"{value:.{DIGITS}g}"
    elif size >= 10 ** (DIGITS - 1):
        text = f"{value:.0f}"
    else:
        text = f"{float(f'{value:.{DIGITS}g}'):.10f}".rstrip("0").rstrip(".")
    return text.replace("-", "−")


def weighted_quantiles(values: np.ndarray, weight: np.ndarray, levels: Sequence[float]) -> Any:
    """Return indices of values at quantiles: the inverse of the weighted distribution function.

    They are values of the data, so that weight 2 is the same as two rows.
    """
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weight[order])
    return order[np.searchsorted(below, np.asarray(levels) * below[-1])]
