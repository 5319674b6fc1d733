"""Blocks in threads: results come in the order of the blocks, for any number of threads.

NumPy and BLAS release the interpreter's lock, so that threads share the work of a pass; its sums,
added in order, have the same bits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import joblib
import numpy as np
from joblib.parallel import get_active_backend
from sklearn import get_config, set_config

from mixexp._threads import limit_this_thread

__all__ = ["allowed_threads", "in_joblib_worker", "in_order"]

S = TypeVar("S")
T = TypeVar("T")

#: Items per thread that may be evaluated ahead of the one that is waited for: it bounds memory.
AHEAD = 2


def in_joblib_worker() -> bool:
    """Return whether joblib runs this thread or process, among others that use the other cores."""
    backend, _ = get_active_backend()
    return bool(backend.nesting_level)


def allowed_threads(n_jobs: int | None) -> int:
    """Return the number of threads that `n_jobs` stands for here.

    None is 1, unless a `joblib.parallel_config` says otherwise, and −1 is all cores. There are
    never more threads than cores that this process may use, and one in a worker of joblib.
    """
    if in_joblib_worker():
        return 1
    wanted = int(joblib.effective_n_jobs(n_jobs))
    return wanted if wanted == 1 else max(1, min(wanted, joblib.cpu_count()))


def in_order(
    function: Callable[[T], S], items: Iterable[T], n_threads: int
) -> Generator[S, None, None]:
    """Yield `function(item)` of all items in their order, evaluated in threads.

    Threads have the caller's NumPy error handling and scikit-learn configuration, and end with the
    generator, which is to be closed. The error of the first item that fails is raised. Items
    not begun by then are given up, and those in progress are waited for.
    """
    if n_threads == 1:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(
        n_threads,
        thread_name_prefix="mixexp-blocks",
        initializer=_begin_thread,
        initargs=(np.geterr(), np.geterrcall(), get_config()),
    )
    pending: deque[Future[S]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > AHEAD * n_threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin_thread(errors: Any, call: Any, config: dict[str, Any]) -> None:
    """Give a new thread the state that is kept per thread."""
    limit_this_thread()
    np.seterr(**errors)
    np.seterrcall(call)
    set_config(**config)
