"""Tables with non-numeric columns: text, categories, dates.

Experts and gates that encode such columns themselves get them unchanged. The engine replaces them
by codes, which only tell rows apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse

__all__ = [
    "Table",
    "as_numbers",
    "check_known_text",
    "check_table",
    "given_names",
    "is_absent",
    "nominal",
    "refuse_text",
    "rows_at",
    "text_hint",
    "with_column",
]

#: Kinds of numeric numpy dtypes; scikit-learn itself rejects complex ones.
NUMERIC = "biufc"

#: Names of pandas and polars dtypes with nominal values.
CATEGORIES = ("category", "Categorical", "Enum")

#: Class names of missing values other than None and NaN.
ABSENT = ("NAType", "NaTType")

#: Most column names that a message lists.
MOST_NAMES = 5


class Table(NamedTuple):
    """A table as numbers.

    Attributes
    ----------
    X : object
        The input, with non-numeric columns replaced by codes.
    frame : data frame, ndarray of objects, or None
        The input for estimators that need column names or encode columns; None if that is X.
    text : tuple of int
        Indices of the non-numeric columns.
    """

    X: Any
    frame: Any
    text: tuple[int, ...]


def as_numbers(X: Any) -> Table:
    """Return a table as numbers; `X` itself if it is not a table or needs no change."""
    if isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "OUS":
        columns: list = list(X.T)
    elif hasattr(X, "columns") and hasattr(X, "dtypes") and hasattr(X, "shape"):
        _refuse_same_names(list(X.columns))
        dtypes = list(X.dtypes)
        columns = [None if _numeric(dtype) else _column(X, j) for j, dtype in enumerate(dtypes)]
    else:
        return Table(X, None, ())
    coded = {j: _codes(values) for j, values in enumerate(columns) if values is not None}
    codes = {j: values for j, values in coded.items() if values is not None}
    is_frame = hasattr(X, "columns")
    if not codes:
        return Table(X, X if is_frame else None, ())
    if not is_frame and not all(_texts(columns[j]) for j in codes):
        return Table(X, None, ())  # left to the checks of scikit-learn
    return Table(_replaced(X, codes), X, tuple(codes))


def _refuse_same_names(names: list) -> None:
    """Raise if two columns of a frame have one name."""
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if len(names) != len(set(names)) and twice:
        raise ValueError(
            f"X has several columns of the name {twice[0]!r}. Rename them: columns are told apart "
            "by their names."
        )


def _numeric(dtype: Any) -> bool:
    """Return whether a numpy, pandas or polars dtype is numeric."""
    if hasattr(dtype, "is_numeric"):
        return bool(dtype.is_numeric()) or str(dtype) == "Boolean"
    return getattr(dtype, "kind", "O") in NUMERIC


def _column(frame: Any, j: int) -> np.ndarray:
    """Return the values of a column of a frame."""
    return np.asarray(frame.iloc[:, j] if hasattr(frame, "iloc") else frame.to_series(j))


def is_absent(value: Any) -> bool:
    """Return whether a value is a missing one, of any library."""
    unequal = value is None or type(value).__name__ in ABSENT or value != value
    return bool(unequal) if isinstance(unequal, bool | np.bool_) else False


def _texts(values: np.ndarray) -> bool:
    return all(isinstance(v, str | bytes | bool | int | float) or is_absent(v) for v in values)


def _codes(values: np.ndarray) -> np.ndarray | None:
    """Return a code in [1, 2) per value, NaN for missing ones; None if they are numbers.

    The code is a hash of the value, independent of the other values: a row of weight 0 changes
    nothing. Text that parses as numbers counts as numbers, as in scikit-learn.
    """
    if values.dtype.kind in NUMERIC:
        return None
    objects = values.astype(object)
    absent = np.array([is_absent(value) for value in objects], dtype=bool)
    if values.dtype.kind in "OUS":
        try:
            objects[~absent].astype(np.float64)
        except (TypeError, ValueError):
            pass
        else:
            return None
    code_of: dict[tuple, float] = {}
    codes = np.full(len(objects), np.nan)
    for i in np.flatnonzero(~absent):
        key = isinstance(objects[i], str), str(objects[i])
        if key not in code_of:
            digest = blake2b(repr(key).encode("utf-8", "backslashreplace"), digest_size=6)
            code_of[key] = 1.0 + int.from_bytes(digest.digest(), "big") * 2.0**-48
        codes[i] = code_of[key]
    return codes


def _replaced(X: Any, codes: dict[int, np.ndarray]) -> Any:
    """Return a table of the same kind with some columns replaced."""
    if isinstance(X, np.ndarray):
        new: Any = X.astype(object)
        for j, values in codes.items():
            new[:, j] = values
    elif hasattr(X, "iloc"):
        new = X.copy(deep=False)
        for j, values in codes.items():
            new.isetitem(j, values)
    else:
        new = X.clone()
        for j, values in codes.items():
            column = X.to_series(j)
            new.replace_column(j, type(column)(column.name, values))
    return new


def nominal(frame: Any) -> tuple[int, ...]:
    """Return the columns of a frame that are nominal, even if they hold numbers."""
    if frame is None:
        return ()
    text = as_numbers(frame).text
    dtypes = [str(dtype).partition("(")[0] for dtype in getattr(frame, "dtypes", ())]
    return tuple(sorted({*text, *(j for j, dtype in enumerate(dtypes) if dtype in CATEGORIES)}))


def _described(frame: Any, columns: Iterable[int]) -> str:
    """Return a message's description of non-numeric columns, with a sample value."""
    columns = sorted(columns)
    labels = [str(name) for name in getattr(frame, "columns", ())]
    names = [repr(labels[j]) if labels else str(j) for j in columns]
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    first = frame[:, columns[0]] if isinstance(frame, np.ndarray) else _column(frame, columns[0])
    value = next((v for v in first.astype(object) if not is_absent(v)), None)
    noun = "column" if len(names) == 1 else "columns"
    verb = "is not a number" if len(names) == 1 else "are not numbers"
    return f"{noun} {', '.join(names[:MOST_NAMES])}{more} of X {verb} (such as {value!r})"


def _seen(text: Iterable[int], columns: Any) -> list[int]:
    """Return the text columns among `columns`: None for all, indices, or a list of indices."""
    if columns is None:
        return sorted(text)
    if isinstance(columns, list):
        columns = np.concatenate(columns)
    return [j for j in text if j in columns]


def refuse_text(
    frame: Any, text: Iterable[int], who: str, columns: Any, owner: str, remedy: str
) -> None:
    """Raise if a part that needs numbers sees a non-numeric column."""
    seen = _seen(text, columns)
    if seen:
        raise ValueError(
            f"{owner}: {_described(frame, seen)}, and {who} takes numbers only. Encode in front of "
            f"the mixture, in a Pipeline with a ColumnTransformer; {remedy}."
        )


def text_hint(frame: Any, columns: Any) -> str:
    """Return a hint for an estimator's error message if it sees non-numeric columns."""
    seen = _seen(as_numbers(frame).text, columns) if frame is not None else []
    if not seen:
        return ""
    return (
        f" ({_described(frame, seen)}: encode in a Pipeline with a ColumnTransformer, as the "
        "expert or gate itself, or in front of the mixture.)"
    )


def check_known_text(now: Table, before: tuple[int, ...], owner: str) -> None:
    """Raise if a column that was numeric in `fit` no longer is."""
    new = [j for j in now.text if j not in before]
    if new:
        raise ValueError(
            f"{owner}: {_described(now.frame, new)}, and held numbers in fit. Give the columns "
            "that the mixture was fitted on."
        )


def check_table(X: Any, owner: str) -> None:
    """Raise if X is sparse, no table, or empty."""
    if issparse(X):
        raise TypeError(
            f"{owner}: X is a sparse {type(X).__name__} of shape {X.shape}. Give a dense array: "
            "X.toarray(), of a sample of rows if it is large."
        )
    if np.ndim(X) != 2 or 0 in np.shape(X):
        raise ValueError(
            f"{owner}: X has shape {np.shape(X)}. Give a table of shape (n_samples, n_features) "
            "with at least one row and one column."
        )


def given_names(feature_names: Any, n_features: int, owner: str) -> list[str]:
    """Return names that a user gives for the columns of X; raise unless there is one for each."""
    names = [] if isinstance(feature_names, str) else [str(name) for name in feature_names]
    if len(names) != n_features:
        raise ValueError(
            f"{owner}: feature_names={feature_names!r} is not a list of {n_features} names. Give "
            "one for each column of X, or None."
        )
    return names


def rows_at(X: Any, rows: np.ndarray) -> Any:
    """Return some rows of an array or data frame."""
    return X.iloc[rows] if hasattr(X, "iloc") else X[rows]


def with_column(X: Any, rows: np.ndarray, j: int, sources: np.ndarray) -> Any:
    """Return some rows of a table, whose column j has the values of other rows of it.

    Parameters
    ----------
    X : ndarray or data frame
        The table, which is not changed.
    rows, sources : ndarray of int of shape (m,)
        Indices of rows: of all columns but j, and of column j.
    j : int
        Position of the column.

    Returns
    -------
    ndarray or data frame of m rows, of the kind of X
    """
    if not hasattr(X, "columns"):
        new = np.asarray(X)[rows]
        new[:, j] = np.asarray(X)[sources, j]
    elif hasattr(X, "iloc"):
        new = X.iloc[rows].reset_index(drop=True)
        new.isetitem(j, X.iloc[:, j].array.take(sources))
    else:
        new = X[rows].clone()
        new.replace_column(j, X.to_series(j)[sources])
    return new
