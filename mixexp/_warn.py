"""Warnings attributed to the user's line, and filters that are thread-safe."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import joblib
import numpy as np
import sklearn

__all__ = ["filters_kept", "silence", "silenced", "warn"]


@cache
def _libraries() -> tuple[str, ...]:
    """Return the folders of libraries that call `fit` for a user, and files that decorate it."""
    this = sys.modules[__name__.partition(".")[0]]
    folders = [Path(module.__file__ or "").parent for module in (this, sklearn, joblib, np)]
    # contextlib calls what `np.errstate` decorates with old versions of NumPy
    return (contextlib.__file__, *(str(folder) + os.sep for folder in folders))


def _users_frame() -> FrameType:
    """Return the innermost frame outside of these libraries, else the outermost."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename.startswith(_libraries()) and frame.f_back is not None:
        frame = frame.f_back
    return frame


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the user's line, however many calls lie between: a search, a Pipeline, a nested fit.

    A fixed `stacklevel` would point into scikit-learn in these cases. (Python 3.12 has
    `skip_file_prefixes` for this.)
    """
    frame = _users_frame()
    names = frame.f_globals
    warnings.warn_explicit(
        message,
        category,
        frame.f_code.co_filename,
        frame.f_lineno,
        module=names.get("__name__") or "<unknown>",
        registry=names.setdefault("__warningregistry__", {}),
    )


#: One entry of `warnings.filters`.
Filter = tuple[str, Any, type[Warning], Any, int]


def silence(category: type[Warning], message: str = "", modules: Sequence[str] = ()) -> Filter:
    """Return a filter that ignores warnings of a category, optionally only from some modules.

    `message` is a regular expression that matches the start of the text.
    """
    where = re.compile("|".join(rf"{re.escape(name)}\Z" for name in modules)) if modules else None
    return "ignore", re.compile(message, re.IGNORECASE) if message else None, category, where, 0


_lock = threading.Lock()


@contextmanager
def silenced(*filters: Filter) -> Iterator[None]:
    """Ignore some warnings in the block, in all threads.

    `warnings.catch_warnings` restores the state at entry: if two overlap in different threads, the
    filters of the first may stay in the process for good. Here every block removes exactly the
    filters it added.
    """
    here: Any = warnings.filters
    with _lock:
        here[:0] = filters
    try:
        yield
    finally:
        with _lock:
            now: Any = warnings.filters
            for entries in [here] if now is here else [here, now]:
                for entry in filters:
                    if entry in entries:
                        entries.remove(entry)


#: Attributes of `warnings` that `catch_warnings` sets and restores.
STATE = ("filters", "showwarning", "_showwarnmsg_impl")


class _Guard:
    """The state of `warnings`, restored by its last user."""

    def __init__(self) -> None:
        self.n_users = 0
        self.before: dict[str, Any] = {}


_guard = _Guard()


@contextmanager
def filters_kept() -> Iterator[None]:
    """Restore the warning filters after a block that runs estimators, possibly in threads.

    Many scikit-learn estimators use `warnings.catch_warnings` in `fit`; in overlapping threads it
    restores the wrong filters. Here they work on a copy. (`catch_warnings` itself would reset
    Python's record of warnings already shown.)
    """
    with _lock:
        if _guard.n_users == 0:
            module = vars(warnings)
            _guard.before = {name: module[name] for name in STATE if name in module}
            vars(warnings)["filters"] = list(warnings.filters)
        _guard.n_users += 1
    try:
        yield
    finally:
        with _lock:
            _guard.n_users -= 1
            if _guard.n_users == 0:
                vars(warnings).update(_guard.before)
