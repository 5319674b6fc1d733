"""Warnings that name the user's line."""

from __future__ import annotations

import os
import sys
import warnings
from functools import cache
from pathlib import Path
from types import FrameType

import joblib
import sklearn

__all__ = ["warn"]


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
