"""BLAS and OpenMP threads: one inside the library, whatever the caller uses elsewhere."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

__all__ = ["single_thread"]


@cache
def _libraries(user_api: str) -> ThreadpoolController:
    return ThreadpoolController().select(user_api=user_api)


class _Limit:
    """A limit of one thread that lasts while it has users.

    The first one in sets it and the last one out takes it back, in whatever order they come and
    go: limits that each restore what they found leave the process at one thread as soon as two
    overlap, since the second one finds the first one's. Only what was changed is taken back, and
    only where nobody has changed it since.
    """

    def __init__(self, user_api: str):
        self._user_api = user_api
        self._changed: list[tuple[Any, int]] = []
        self.n_users = 0

    def enter(self) -> None:
        self.n_users += 1
        if self.n_users > 1:
            return
        before = [(own, own.num_threads) for own in _libraries(self._user_api).lib_controllers]
        for library, n_threads in before:
            if n_threads != 1:
                library.set_num_threads(1)
        # threadpoolctl may refuse, where a limit of the caller's in another thread holds
        self._changed = [(own, n) for own, n in before if n != 1 and own.num_threads == 1]

    def leave(self) -> None:
        self.n_users -= 1
        if self.n_users == 0:
            for library, n_threads in self._changed:
                if library.num_threads == 1:
                    library.set_num_threads(n_threads)
            self._changed = []

    def release(self) -> None:
        """Let other threads set limits again.

        From threadpoolctl 3.7 on the thread that sets a limit of OpenBLAS keeps all others from
        it, until it leaves such a block: this one changes nothing.
        """
        with _libraries(self._user_api).limit(limits=None):
            pass


class _OfThread(threading.local):
    """OpenMP's limit: it counts threads for each thread that calls it."""

    def __init__(self) -> None:
        self.openmp = _Limit("openmp")


_lock = threading.Lock()
_blas = _Limit("blas")
_own = _OfThread()


def _unlocked() -> None:
    """Make a new lock: a forked process may have got one that nobody there would release."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlocked)


@contextmanager
def single_thread() -> Iterator[None]:
    """Have BLAS and OpenMP use one thread in the block.

    Blocks are too small to gain from more, and on a busy machine more threads cost many times
    the work; sums also come out the same whatever the number of cores. BLAS has one setting for
    the process, which ends when nobody is in such a block any more; OpenMP has one for each
    calling thread, so tasks that run in threads of their own ask again.
    """
    openmp = _own.openmp
    with _lock:
        openmp.enter()
        _blas.enter()
    try:
        yield
    finally:
        with _lock:
            _blas.leave()
            openmp.leave()
            if openmp.n_users == 0:
                _blas.release()
