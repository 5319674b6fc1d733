"""BLAS and OpenMP threads: one inside the library, whatever the caller uses elsewhere."""

from __future__ import annotations

from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

__all__ = ["single_thread"]


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def single_thread() -> Any:
    """Return a context in which BLAS and OpenMP use one thread.

    Blocks are too small to gain from more, and on a busy machine more threads cost many times
    the work; sums also come out the same whatever the number of cores. OpenMP counts threads for
    each calling thread, so tasks that run in threads of their own ask again.
    """
    return _controller().limit(limits=1)
