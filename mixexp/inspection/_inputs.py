"""Check the input of a Display, and build tables of the same type."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np

from mixexp._columns import check_table, is_absent

__all__ = [
    "check_features",
    "check_resolution",
    "check_row",
    "check_width",
    "complete_rows",
    "default_features",
    "fill_table",
    "known_values",
    "refuse_missing",
    "table_columns",
    "table_names",
]


def _missing(owner: str, names: Sequence[str]) -> ValueError:
    return ValueError(
        f"{owner}: X has missing or infinite values in {', '.join(names[:5])}. Drop those rows or "
        "impute them first."
    )


def _column(series: Any) -> np.ndarray:
    """Return the values of a frame's column: float64 and NaN if numeric, else objects and None."""
    if hasattr(series, "is_null"):  # polars
        numeric, options = series.dtype.is_numeric(), {}
    else:
        numeric = series.dtype.kind in "iuf"
        options = {"dtype": np.float64, "na_value": np.nan}
    if numeric:
        return np.asarray(series.to_numpy(**options), dtype=np.float64)
    values = [None if is_absent(value) else value for value in series]
    return np.array([*values, None], dtype=object)[:-1]


def known_values(column: np.ndarray) -> np.ndarray:
    """Return a mask (n,) of the values of a column that are not missing."""
    if column.dtype.kind == "f":
        return ~np.isnan(column)
    return np.array([value is not None for value in column], dtype=bool)


def table_columns(X: Any, owner: str) -> list[np.ndarray]:
    """Return the columns of X, each (n,): float64 if numeric, object otherwise.

    Missing values are NaN and None. Raises ValueError or TypeError if X is not a table or is
    sparse.
    """
    check_table(X, owner)
    if _is_pandas(X) or _is_polars(X):
        return [_column(X.iloc[:, j] if _is_pandas(X) else X[:, j]) for j in range(X.shape[1])]
    try:
        return list(np.asarray(X, dtype=np.float64).T)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{owner}: X={type(X).__name__} does not hold numbers only: {error}. Give numbers, or "
            "a data frame."
        ) from error


def refuse_missing(
    columns: Sequence[np.ndarray], names: list[str] | None, answer: Callable[[], Any], owner: str
) -> None:
    """Raise ValueError if columns have infinite values, or missing ones and there is no answer.

    `answer` asks the estimator about the rows: an imputer of a Pipeline may fill them in.
    """
    infinite = [j for j, c in enumerate(columns) if c.dtype.kind == "f" and np.any(np.isinf(c))]
    missing = [j for j, column in enumerate(columns) if not known_values(column).all()]
    cause = None
    if not infinite:
        if not missing:
            return
        try:
            with warnings.catch_warnings():  # what is drawn warns too
                warnings.simplefilter("ignore")
                answer()
            return
        except (TypeError, ValueError) as error:
            cause = error
    bad = sorted({*infinite, *missing})
    raise _missing(owner, [f"feature {j}" if names is None else names[j] for j in bad]) from cause


def complete_rows(
    columns: Sequence[np.ndarray], drawn: Sequence[int], names: list[str] | None, owner: str
) -> np.ndarray:
    """Return the rows (m,) that have a value in every column that is drawn."""
    rows = np.flatnonzero(np.all([known_values(columns[j]) for j in drawn], axis=0))
    if not len(rows):
        raise _missing(owner, [f"feature {j}" if names is None else names[j] for j in drawn])
    return rows


def _is_pandas(X: Any) -> bool:
    return hasattr(X, "isetitem")


def _is_polars(X: Any) -> bool:
    return hasattr(X, "with_columns") and hasattr(X, "get_column")


def table_names(X: Any, estimator: Any) -> list[str] | None:
    """Return the column names of X, or else those of the fit; None if there are none."""
    names = getattr(X, "columns", None)
    if names is None:
        names = getattr(estimator, "feature_names_in_", None)
    if names is None or not all(isinstance(name, str) for name in names):
        return None
    return [str(name) for name in names]


def check_width(n_features: int, estimator: Any, owner: str) -> None:
    """Raise ValueError if the number of columns differs from that in fit."""
    expected = getattr(estimator, "n_features_in_", n_features)
    if n_features != expected:
        raise ValueError(
            f"{owner}: X has {n_features} columns, and estimator={type(estimator).__name__} was "
            f"fitted on {expected}. Give the same columns as in fit."
        )


def default_features(columns: Sequence[np.ndarray]) -> tuple[int, ...]:
    """Return the positions of the numeric columns; if there are none, of the first column."""
    return tuple(j for j, column in enumerate(columns) if column.dtype.kind == "f") or (0,)


def check_features(
    features: Any, names: list[str] | None, columns: Sequence[np.ndarray], owner: str
) -> tuple[int, ...]:
    """Return the positions of the one or two features that vary."""
    scalar = isinstance(features, (str, Integral))
    try:
        chosen = [features] if scalar else list(features)
    except TypeError:
        chosen = []
    if len(chosen) not in (1, 2):
        raise ValueError(
            f"{owner}: features={features!r} is not one or two features. Give an index or a column "
            "name, or two of them."
        )
    positions = tuple(_position(feature, names, len(columns), owner) for feature in chosen)
    if len(set(positions)) < len(positions):
        raise ValueError(
            f"{owner}: features={features!r} names the same feature twice. Give two different "
            "ones, or one alone for curves."
        )
    return positions


def _position(feature: Any, names: list[str] | None, n_features: int, owner: str) -> int:
    if isinstance(feature, str):
        if names is None:
            remedy = f"X has no column names. Give an index from 0 to {n_features - 1}."
        elif feature not in names:
            shown = ", ".join(map(repr, names[:10])) + (", ..." if len(names) > 10 else "")
            remedy = f"there is no such column. Columns are {shown}."
        else:
            return names.index(feature)
        raise ValueError(f"{owner}: features has {feature!r}, but {remedy}")
    whole = isinstance(feature, Integral) and not isinstance(feature, (bool, np.bool_))
    if not whole or not -n_features <= feature < n_features:
        raise ValueError(
            f"{owner}: features has {feature!r}, which is no column of an X with {n_features} "
            f"column{'s' * (n_features != 1)}. Give indices from 0 to {n_features - 1}, or names "
            "of columns; one feature alone gives curves."
        )
    return int(feature) % n_features


def check_resolution(grid_resolution: Any, owner: str) -> int:
    """Return the number of grid points along a feature."""
    whole = isinstance(grid_resolution, Integral) and not isinstance(grid_resolution, bool)
    if not whole or grid_resolution < 2:
        raise ValueError(
            f"{owner}: grid_resolution={grid_resolution!r} is not valid; give an integer of at "
            "least 2."
        )
    return int(grid_resolution)


def check_row(
    at: Any,
    names: list[str] | None,
    columns: Sequence[np.ndarray],
    varied: Sequence[int],
    owner: str,
) -> list[Any]:
    """Return a row as a list, with numbers as float and other values unchanged.

    A row of a frame is matched by name if it has the names of X. The values of features that vary
    are ignored.
    """
    row = _as_list(at, names, owner)
    if row is None or len(row) != len(columns):
        raise ValueError(
            f"{owner}: {_brief(at)} is not one row of {len(columns)} values. Give one value for "
            "each column of X, those of the features that vary too, such as X[0] or X.iloc[0]."
        )
    for j in set(range(len(columns))) - set(varied):
        label = f"feature {j}" if names is None else names[j]
        if columns[j].dtype.kind != "f":
            if not any(value == row[j] for value in columns[j]):
                raise ValueError(
                    f"{owner}: at has {row[j]!r} for {label}, which no row of X has. Give one of "
                    "the values of X."
                )
            continue
        try:
            row[j] = float(row[j])
        except (TypeError, ValueError):
            row[j] = np.nan
        if not np.isfinite(row[j]):
            raise ValueError(
                f"{owner}: {_brief(at)} has no finite number for {label}. Give one, or at=None "
                "for the medians of X."
            )
    return row


def _brief(at: Any) -> str:
    return f"at of shape {at.shape}" if hasattr(at, "shape") else f"at={at!r}"


def _as_list(at: Any, names: list[str] | None, owner: str) -> list[Any] | None:
    """Return the values of a row in the order of X, or None if `at` is not a row."""
    if _is_polars(at):
        at = at.row(0, named=True) if len(at) == 1 else None
    elif _is_pandas(at):
        at = at.iloc[0] if len(at) == 1 else None
    if isinstance(at, Mapping) or hasattr(at, "iloc"):
        named = dict(at.items())
        if names is not None and all(isinstance(name, str) for name in named):
            if set(named) != set(names):
                raise ValueError(
                    f"{owner}: at has values for {sorted(named)}, and X has the columns "
                    f"{sorted(names)}. Give a row with the columns of X."
                )
            return [named[name] for name in names]
        return list(named.values())
    return list(at) if not isinstance(at, str) and np.ndim(at) == 1 else None


def fill_table(
    X: Any, columns: Sequence[np.ndarray], row: Sequence[Any], varied: Mapping[int, Any]
) -> Any:
    """Return a table of the same type as X: one row repeated, with varying features filled in.

    Parameters
    ----------
    X : array-like or frame
    columns : list of ndarray
        The columns of X, from `table_columns`.
    row : list
        Values to repeat; a non-numeric one must occur in its column.
    varied : dict of int to array-like of shape (n,)
        Values of the varying features, by position; non-numeric ones must occur in their column.
    """
    n_rows = len(next(iter(varied.values())))
    filled: list[Any] = []
    for j, column in enumerate(columns):
        if j in varied and column.dtype.kind == "f":
            filled.append(varied[j])
        elif column.dtype.kind == "f":
            filled.append(np.full(n_rows, row[j]))
        else:  # taken from X to keep the dtype
            wanted = varied.get(j, [row[j]] * n_rows)
            places = {value: i for i, value in reversed(list(enumerate(column)))}
            rows = np.array([places[value] for value in wanted])
            filled.append(X.iloc[:, j].array.take(rows) if _is_pandas(X) else X[:, j][rows])
    if not (_is_pandas(X) or _is_polars(X)):
        return np.column_stack(filled)
    table = X[:1] if _is_polars(X) else X.iloc[np.zeros(n_rows, dtype=int)].reset_index(drop=True)
    if _is_polars(X):
        kind = type(X[:, 0])
        series = [kind(name, values) for name, values in zip(X.columns, filled, strict=True)]
        return type(X)(series)
    for j, values in enumerate(filled):
        table.isetitem(j, values)
    return table
