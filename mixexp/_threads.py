"""BLAS threads: one inside the library, whatever the caller uses elsewhere."""

from __future__ import annotations

from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

__all__ = ["single_blas_thread"]


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def single_blas_thread() -> Any:
    """Return a context in which BLAS uses one thread.

    Blocks are too small to gain from more, and on a busy machine more threads cost several
    times the work; sums also come out the same whatever the number of cores.
    """
    return _controller().limit(limits=1, user_api="blas")
