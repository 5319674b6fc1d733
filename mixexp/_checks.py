"""What a user gave, as numbers: errors name the owner, the parameter and the remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import scipy.sparse as sp

__all__ = ["as_numbers", "kept_rows", "named_error", "short"]

#: Characters of a value that a message shows.
SHOWN = 60

#: Kinds of arrays that convert to numbers in silence, and are none: complex, dates, spans of time.
NO_NUMBERS = "cmM"


def short(value: Any) -> str:
    """Return a value as a message shows it: its shape where it is an array."""
    if hasattr(value, "shape") and getattr(value, "ndim", 0) > 0:
        return f"an array of shape {value.shape}"
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


@contextmanager
def named_error(owner: str, name: str, remedy: str) -> Iterator[None]:
    """Let errors of numpy, scipy and scikit-learn say which parameter they are about."""
    try:
        yield
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise ValueError(f"{owner}: {name}: {error} {remedy}") from error


def as_numbers(value: Any, name: str, owner: str, remedy: str) -> np.ndarray:
    """Return a value as an array of float64; raise where it is none."""
    if sp.issparse(value):
        raise ValueError(f"{owner}: {name} is a sparse matrix. {remedy}")
    try:
        given = np.asarray(value)
        if given.dtype.kind in NO_NUMBERS:
            raise TypeError(f"it is of dtype {given.dtype}")
        return given.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{owner}: {name}={short(value)} cannot be read as numbers ({error}). {remedy}"
        ) from error


def kept_rows(value: Any, kept: np.ndarray, n_rows: int, name: str, owner: str) -> Any:
    """Return some of the rows of a parameter with one entry a row; one number is for all rows."""
    if value is None:
        return None
    if sp.issparse(value):
        raise ValueError(f"{owner}: {name} is a sparse matrix. Give an array.")
    with named_error(owner, name, f"Give one entry for each of {n_rows} rows."):
        given = np.asarray(value)
    if given.ndim == 0:
        return value
    if len(given) != n_rows:
        raise ValueError(
            f"{owner}: {name} has {len(given)} entries and there are {n_rows} rows. Give one for "
            "each row."
        )
    return given[kept]
