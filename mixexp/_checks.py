"""What estimators check: conversions whose errors name owner, parameter and remedy; failed fits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets

__all__ = [
    "all_or_nothing",
    "as_numbers",
    "check_labels",
    "checked_rng",
    "is_dask",
    "kept_rows",
    "named_error",
    "refuse_dask",
    "short",
]

#: Most characters of a value that a message shows.
SHOWN = 60

#: Kinds of dtypes that convert silently to float but are rejected: complex, dates, timedeltas.
NO_NUMBERS = "cmM"

#: Packages whose collections these are; Dask is not imported to recognise them.
PACKAGES = ("dask", "dask_expr")


def short(value: Any) -> str:
    """Return a short description of a value for messages: the shape of an array."""
    if hasattr(value, "shape") and getattr(value, "ndim", 0) > 0:
        return f"an array of shape {value.shape}"
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


@contextmanager
def all_or_nothing(estimator: Any) -> Iterator[None]:
    """Restore an estimator's attributes if the block raises: a failed fit changes nothing."""
    before = estimator.__dict__.copy()
    try:
        yield
    except BaseException:
        estimator.__dict__ = before
        raise


@contextmanager
def named_error(owner: str, name: str, remedy: str) -> Iterator[None]:
    """Reraise errors of numpy, scipy and scikit-learn with the name of the parameter."""
    try:
        yield
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise ValueError(f"{owner}: {name}: {error} {remedy}") from error


def as_numbers(value: Any, name: str, owner: str, remedy: str) -> np.ndarray:
    """Return a value as a float64 array; raise if it is not numeric."""
    if sp.issparse(value):
        raise ValueError(f"{owner}: {name} is a sparse matrix. {remedy}")
    try:
        array = np.asarray(value)
        if array.dtype.kind in NO_NUMBERS:
            raise TypeError(f"it is of dtype {array.dtype}")
        return array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{owner}: {name}={short(value)} cannot be read as numbers ({error}). {remedy}"
        ) from error


def kept_rows(value: Any, kept: np.ndarray, n_rows: int, name: str, owner: str) -> Any:
    """Return some rows of a parameter with one entry per row; a scalar applies to all rows."""
    if value is None:
        return None
    if sp.issparse(value):
        raise ValueError(f"{owner}: {name} is a sparse matrix. Give an array.")
    with named_error(owner, name, f"Give one entry for each of {n_rows} rows."):
        array = np.asarray(value)
    if array.ndim == 0:
        return value
    if len(array) != n_rows:
        raise ValueError(
            f"{owner}: {name} has {len(array)} entries and there are {n_rows} rows. Give one for "
            "each row."
        )
    return array[kept]


def is_dask(*values: Any) -> bool:
    """Return whether some value is a Dask collection."""
    return any(
        type(value).__module__.partition(".")[0] in PACKAGES and hasattr(value, "__dask_graph__")
        for value in values
    )


def refuse_dask(owner: str, *values: Any) -> None:
    """Raise if some value is a Dask collection, which would be gathered."""
    if is_dask(*values):
        raise TypeError(
            f"{owner}: X or y is a Dask collection, and this method needs rows in memory. Give "
            "X.compute(), or call the method of one partition after another by `map_blocks` or "
            "`map_partitions`. fit, predict, predict_proba, gate_proba, route and log_density take "
            "Dask collections."
        )


def checked_rng(random_state: Any, owner: str) -> np.random.RandomState:
    """Return the generator of a seed."""
    try:
        return check_random_state(random_state)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{owner}: random_state={short(random_state)} must be None, a whole number from 0 to "
            "2**32 - 1 or a RandomState."
        ) from error


def check_labels(y: np.ndarray, owner: str) -> None:
    """Raise if targets are no class labels."""
    remedy = (
        "Give labels of one kind, text or whole numbers; numbers that vary are for a regressor."
    )
    with named_error(owner, "y", remedy):
        check_classification_targets(y)
