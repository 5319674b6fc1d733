"""Limits BLAS and OpenMP to one thread inside the library."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

__all__ = ["limit_this_thread", "single_thread"]


@cache
def _libraries(user_api: str) -> ThreadpoolController:
    return ThreadpoolController().select(user_api=user_api)


class _Limit:
    """A limit of one thread that lasts while it has users.

    The first user sets it and the last one lifts it, in any order of entry and exit. If each user
    restored the state at entry, two that overlap could leave the process at one thread, since
    the second would find the first one's limit. Only libraries that were changed, and not changed
    again since, are restored.
    """

    def __init__(self, user_api: str):
        self._user_api = user_api
        self._changed: list[tuple[Any, int]] = []
        self.n_users = 0

    def enter(self) -> None:
        self.n_users += 1
        if self.n_users > 1:
            return
        before = [
            (library, library.num_threads) for library in _libraries(self._user_api).lib_controllers
        ]
        for library, n_threads in before:
            if n_threads != 1:
                library.set_num_threads(1)
        # threadpoolctl may refuse if the caller holds a limit in another thread
        self._changed = [
            (library, n) for library, n in before if n != 1 and library.num_threads == 1
        ]

    def leave(self) -> None:
        self.n_users -= 1
        if self.n_users == 0:
            for library, n_threads in self._changed:
                if library.num_threads == 1:
                    library.set_num_threads(n_threads)
            self._changed = []

    def release(self) -> None:
        """Let other threads set limits again.

        Since threadpoolctl 3.7, the thread that limits OpenBLAS locks out all others until it
        leaves a `limit` block; this block changes nothing.
        """
        with _libraries(self._user_api).limit(limits=None):
            pass


class _OfThread(threading.local):
    """OpenMP's limit, which is per calling thread."""

    def __init__(self) -> None:
        self.openmp = _Limit("openmp")


_lock = threading.Lock()
_blas = _Limit("blas")
_local = _OfThread()


def _unlocked() -> None:
    """Replace the lock: a forked process may inherit one held by a thread it lacks."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlocked)


@contextmanager
def single_thread() -> Iterator[None]:
    """Have BLAS and OpenMP use one thread in the block.

    Blocks of rows are too small to gain from more, and oversubscription is many times slower; sums
    also become independent of the number of cores. The BLAS limit is per process and lasts until
    the last user leaves; the OpenMP limit is per calling thread, and tasks in other threads must
    ask again.
    """
    openmp = _local.openmp
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


def limit_this_thread() -> None:
    """Have OpenMP use one thread whenever the calling thread asks it, to the end of that thread.

    For threads that are made for a task inside of `single_thread`, which limits BLAS for them too.
    """
    with _lock:
        _local.openmp.enter()
