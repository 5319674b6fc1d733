"""Isolation of third-party estimators from each other and from the process.

They run in threads, and may modify their input in place, warn or fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn import config_context, get_config

from mixexp._warn import Filter, filters_kept, silenced

__all__ = ["FitFailedError", "failures_named", "in_threads", "owned", "read_only"]


class FitFailedError(ValueError):
    """An estimator that failed, with its cause."""


@dataclass(frozen=True)
class _Failed:
    """The exception of a failed call."""

    error: BaseException


def in_threads(
    function: Callable, calls: Iterable[tuple], n_jobs: int | None, silent: Iterable[Filter] = ()
) -> list:
    """Return `function(*call)` of all calls, run in `n_jobs` threads.

    The filters in `silent` apply during the calls; warning filters are restored on return.
    Workers inherit the caller's scikit-learn configuration, which is thread-local: metadata routing
    would otherwise be off. The first failing call's exception is raised unchanged; joblib would
    replace its cause by a traceback.
    """
    if n_jobs == 0:
        raise ValueError("n_jobs is 0. Give 1 or more, -1 for all cores, or None for one.")
    config = get_config()
    failed: list[int] = []

    def run(i: int, call: tuple) -> Any:
        if any(earlier < i for earlier in failed):
            return None
        try:
            with config_context(**config):
                return function(*call)
        except BaseException as error:
            failed.append(i)
            return _Failed(error)

    with filters_kept(), silenced(*silent):
        done: list = Parallel(n_jobs=n_jobs, prefer="threads")(
            delayed(run)(i, call) for i, call in enumerate(calls)
        )
    for result in done:
        if isinstance(result, _Failed):
            raise result.error
    return done


@contextmanager
def failures_named(describe: Callable[[], str], hint: Callable[[], str] = str) -> Iterator[None]:
    """Reraise errors in the block as one that names the estimator, with their cause.

    `hint` returns a possible remedy to append.

    Exceptions that callers may handle are reraised with a note: MemoryError, interrupts, and
    warnings turned into errors by the user's filters.
    """
    try:
        yield
    except BaseException as error:
        if isinstance(error, MemoryError | Warning) or not isinstance(error, Exception):
            error.add_note(describe())
            raise
        message = str(error) or type(error).__name__
        raise FitFailedError(f"{describe()}: {message}{hint()}") from error


def owned(values: Any) -> Any:
    """Return a copy of a slice of rows, which an estimator may modify in place.

    A transformer with ``copy=False`` would otherwise modify the rows of the next expert and of the
    caller. A copy works for all; read-only arrays make some fail and others warn. Slices of
    sparse matrices and polars frames are already copies.
    """
    if isinstance(values, np.ndarray):
        return values.copy(order="K")
    return values.copy() if hasattr(values, "iloc") else values


def read_only(values: Any) -> Any:
    """Return a read-only view of an array; anything else unchanged.

    For custom gates, starts and families, which get the rows without a copy.
    """
    if not isinstance(values, np.ndarray):
        return values
    view = values.view()
    view.flags.writeable = False
    return view
