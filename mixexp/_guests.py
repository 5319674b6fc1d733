"""What keeps estimators that are not mixexp's apart from each other, and from the process.

They run in threads, may change the rows they are given, warn, and fail.
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

__all__ = ["failures_named", "in_threads", "owned", "read_only"]


@dataclass(frozen=True)
class _Failed:
    """What a call raised."""

    error: BaseException


def in_threads(
    function: Callable, calls: Iterable[tuple], n_jobs: int | None, silent: Iterable[Filter] = ()
) -> list:
    """Return `function(*call)` of all calls, run in `n_jobs` threads.

    Warning filters are as before when it returns; in the meantime those in `silent` hold.
    Workers have the caller's scikit-learn configuration, which is a thread's own: metadata routing
    would be off in them otherwise. What the first failing call raised is raised here as it was;
    joblib would put a traceback in the place of its cause.
    """
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
    """Have what an estimator raises in the block name it: a ValueError from the original error.

    `hint` is what to add where something may be done about it.

    What the caller may be waiting for passes as it is, with a note: no memory, an interrupt, a
    warning that the user's filters made an error.
    """
    try:
        yield
    except BaseException as error:
        if isinstance(error, MemoryError | Warning) or not isinstance(error, Exception):
            error.add_note(describe())
            raise
        what = str(error) or type(error).__name__
        raise ValueError(f"{describe()}: {what}{hint()}") from error


def owned(values: Any) -> Any:
    """Return a slice of rows as an estimator may change it: a copy.

    A transformer with ``copy=False`` would otherwise change the rows of the next expert, and the
    caller's. A copy is right for all; what is read-only makes some fail and others warn. Slices
    of sparse matrices and of polars frames are copies already.
    """
    if isinstance(values, np.ndarray):
        return values.copy(order="K")
    return values.copy() if hasattr(values, "iloc") else values


def read_only(values: Any) -> Any:
    """Return a view of an array that cannot be changed; anything else as it is.

    For gates, starts and families of a user's own, which see the rows themselves.
    """
    if not isinstance(values, np.ndarray):
        return values
    view = values.view()
    view.flags.writeable = False
    return view
