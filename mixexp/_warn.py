"""Warnings that name the user's line, and quiet ones that leave no filter behind."""

from __future__ import annotations

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
import sklearn

__all__ = ["filters_kept", "silence", "silenced", "warn"]


@cache
def _libraries() -> tuple[str, ...]:
    """Return the folders whose code calls `fit` on a user's behalf."""
    own = sys.modules[__name__.partition(".")[0]]
    return tuple(str(Path(m.__file__ or "").parent) + os.sep for m in (own, sklearn, joblib))


def _users_frame() -> FrameType:
    """Return the innermost frame outside of mixexp, scikit-learn and joblib, else the outermost."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename.startswith(_libraries()) and frame.f_back is not None:
        frame = frame.f_back
    return frame


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the user's line, however many calls lie between: a search, a Pipeline, a nested fit.

    A fixed `stacklevel` points into scikit-learn as soon as one of them is there. (Python 3.12 has
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
    """Return the filter that ignores warnings of a category, from these modules if any are given.

    `message` is a regular expression for how they begin.
    """
    where = re.compile("|".join(rf"{re.escape(name)}\Z" for name in modules)) if modules else None
    return "ignore", re.compile(message, re.IGNORECASE) if message else None, category, where, 0


_lock = threading.Lock()


@contextmanager
def silenced(*filters: Filter) -> Iterator[None]:
    """Ignore some warnings in the block, whichever thread gives them.

    `warnings.catch_warnings` restores what it found, so of two that overlap in different threads
    the second one leaves the first one's filters in the process for good. Here every block takes
    out what it put in, and nothing else.
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
                for own in filters:
                    if own in entries:
                        entries.remove(own)


#: What `warnings.catch_warnings` sets and restores.
STATE = ("filters", "showwarning", "_showwarnmsg_impl")


class _Guard:
    """The state of `warnings`, put back by the last one out."""

    def __init__(self) -> None:
        self.n_users = 0
        self.before: dict[str, Any] = {}


_guard = _Guard()


@contextmanager
def filters_kept() -> Iterator[None]:
    """Put the warning filters back after a block that runs estimators, ours or theirs in threads.

    Many of scikit-learn's use `warnings.catch_warnings` in their `fit`; in threads that come and
    go in any order what they restore is not what there was. They work on a copy of the filters.
    (`catch_warnings` itself would make Python forget, here, which warnings were shown before.)
    """
    with _lock:
        if _guard.n_users == 0:
            own = vars(warnings)
            _guard.before = {name: own[name] for name in STATE if name in own}
            vars(warnings)["filters"] = list(warnings.filters)
        _guard.n_users += 1
    try:
        yield
    finally:
        with _lock:
            _guard.n_users -= 1
            if _guard.n_users == 0:
                vars(warnings).update(_guard.before)
