"""Tables with columns that are not numbers: text, categories, dates.

An expert or a gate that encodes such columns itself gets them as they are. The engine has a code
in their place, by which rows can be told apart and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Table", "as_numbers", "check_known_text", "nominal", "refuse_text", "text_hint"]

#: Kinds of numpy dtypes that are numbers; scikit-learn refuses the complex ones itself.
NUMERIC = "biufc"

#: Names of the dtypes of pandas and polars whose values have no order that counts.
CATEGORIES = ("category", "Categorical", "Enum")

#: Classes of what stands for a missing value beside None and NaN.
ABSENT = ("NAType", "NaTType")

#: Names of columns that a message lists.
MOST_NAMES = 5


class Table(NamedTuple):
    """A table as numbers.

    Attributes
    ----------
    X : object
        What was given where all columns are numbers; else the same with codes.
    frame : data frame, ndarray of objects, or None
        What estimators get that ask for column names, or encode columns; None if that is X.
    text : tuple of int
        Positions of the columns that are no numbers.
    """

    X: Any
    frame: Any
    text: tuple[int, ...]


def as_numbers(X: Any) -> Table:
    """Return a table as numbers; `X` itself if it is none, or needs no change."""
    if isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "OUS":
        columns: list = list(X.T)
    elif hasattr(X, "columns") and hasattr(X, "dtypes") and hasattr(X, "shape"):
        dtypes = list(X.dtypes)
        columns = [None if _numeric(own) else _column(X, j) for j, own in enumerate(dtypes)]
    else:
        return Table(X, None, ())
    found = {j: _codes(own) for j, own in enumerate(columns) if own is not None}
    codes = {j: own for j, own in found.items() if own is not None}
    is_frame = hasattr(X, "columns")
    if not codes:
        return Table(X, X if is_frame else None, ())
    if not is_frame and not all(_texts(columns[j]) for j in codes):
        return Table(X, None, ())  # scikit-learn says what is wrong with it
    return Table(_replaced(X, codes), X, tuple(codes))


def _numeric(dtype: Any) -> bool:
    """Return whether all values of a dtype of numpy, pandas or polars are numbers."""
    if hasattr(dtype, "is_numeric"):
        return bool(dtype.is_numeric()) or str(dtype) == "Boolean"
    return getattr(dtype, "kind", "O") in NUMERIC


def _column(frame: Any, j: int) -> np.ndarray:
    """Return the values of a column of a frame."""
    return np.asarray(frame.iloc[:, j] if hasattr(frame, "iloc") else frame.to_series(j))


def _absent(value: Any) -> bool:
    unequal = value is None or type(value).__name__ in ABSENT or value != value
    return bool(unequal) if isinstance(unequal, bool | np.bool_) else False


def _texts(values: np.ndarray) -> bool:
    return all(isinstance(v, str | bytes | bool | int | float) or _absent(v) for v in values)


def _codes(values: np.ndarray) -> np.ndarray | None:
    """Return a number in [1, 2) for each value, NaN where it is missing; None if they are numbers.

    The code is a hash of the value, so that it does not depend on which others there are: a row
    of weight 0 changes nothing. Text that can be read as numbers is numbers, as in scikit-learn.
    """
    if values.dtype.kind in NUMERIC:
        return None
    objects = values.astype(object)
    absent = np.array([_absent(value) for value in objects], dtype=bool)
    if values.dtype.kind in "OUS":
        try:
            objects[~absent].astype(np.float64)
        except (TypeError, ValueError):
            pass
        else:
            return None
    known: dict[tuple, float] = {}
    codes = np.full(len(objects), np.nan)
    for i in np.flatnonzero(~absent):
        key = isinstance(objects[i], str), str(objects[i])
        if key not in known:
            digest = blake2b(repr(key).encode("utf-8", "backslashreplace"), digest_size=6)
            known[key] = 1.0 + int.from_bytes(digest.digest(), "big") * 2.0**-48
        codes[i] = known[key]
    return codes


def _replaced(X: Any, codes: dict[int, np.ndarray]) -> Any:
    """Return a table of the same kind with some columns replaced."""
    if isinstance(X, np.ndarray):
        new: Any = X.astype(object)
        for j, own in codes.items():
            new[:, j] = own
    elif hasattr(X, "iloc"):
        new = X.copy(deep=False)
        for j, own in codes.items():
            new.isetitem(j, own)
    else:
        new = X.clone()
        for j, own in codes.items():
            column = X.to_series(j)
            new.replace_column(j, type(column)(column.name, own))
    return new


def nominal(frame: Any) -> tuple[int, ...]:
    """Return the columns of a frame whose numbers, if they are numbers, only name something."""
    if frame is None:
        return ()
    text = as_numbers(frame).text
    dtypes = [str(one).partition("(")[0] for one in getattr(frame, "dtypes", ())]
    return tuple(sorted({*text, *(j for j, own in enumerate(dtypes) if own in CATEGORIES)}))


def _described(frame: Any, columns: Iterable[int]) -> str:
    """Return what a message says of columns that are no numbers, with the first one's value."""
    columns = sorted(columns)
    labels = [str(name) for name in getattr(frame, "columns", ())]
    names = [repr(labels[j]) if labels else str(j) for j in columns]
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    first = frame[:, columns[0]] if isinstance(frame, np.ndarray) else _column(frame, columns[0])
    value = next((v for v in first.astype(object) if not _absent(v)), None)
    what = "column" if len(names) == 1 else "columns"
    verb = "is not a number" if len(names) == 1 else "are not numbers"
    return f"{what} {', '.join(names[:MOST_NAMES])}{more} of X {verb} (such as {value!r})"


def _seen(text: Iterable[int], columns: Any) -> list[int]:
    """Return those of the columns that a part sees: None for all, positions, or a list of them."""
    if columns is None:
        return sorted(text)
    if isinstance(columns, list):
        columns = np.concatenate(columns)
    return [j for j in text if j in columns]


def refuse_text(
    frame: Any, text: Iterable[int], who: str, columns: Any, owner: str, remedy: str
) -> None:
    """Raise where a part that needs numbers sees a column that is none."""
    seen = _seen(text, columns)
    if seen:
        raise ValueError(
            f"{owner}: {_described(frame, seen)}, and {who} takes numbers only. Encode in front of "
            f"the mixture, in a Pipeline with a ColumnTransformer; {remedy}."
        )


def text_hint(frame: Any, columns: Any) -> str:
    """Return what to add to an estimator's error where it sees columns that are no numbers."""
    seen = _seen(as_numbers(frame).text, columns) if frame is not None else []
    if not seen:
        return ""
    return (
        f" ({_described(frame, seen)}: encode in a Pipeline with a ColumnTransformer, as the "
        "expert or gate itself, or in front of the mixture.)"
    )


def check_known_text(now: Table, before: tuple[int, ...], owner: str) -> None:
    """Raise where a column that held numbers in `fit` does no longer."""
    new = [j for j in now.text if j not in before]
    if new:
        raise ValueError(
            f"{owner}: {_described(now.frame, new)}, and held numbers in fit. Give the columns "
            "that the mixture was fitted on."
        )
