"""Backtracking: the shorter steps of a part to try when a step lowered its objective.

Newton steps can overshoot. The callers detect it, from the lower bound or from the value that a
part's M-step raises; this module only says which steps to try next.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mixexp.protocols import can

__all__ = ["FALL_TOL", "fallen", "overshoots", "retreats"]

#: A fall by more than this, relative to max(1, |bound|), is a failed step.
FALL_TOL = 1e-9

#: Shares of a failed step to try, for parts that cannot damp their step.
BACKTRACKS = (0.5, 0.25)

#: Steps to try with increasing damping, each about a quarter of the one before.
DAMPED_TRIES = 6


def fallen(value: float, before: float, weight: float = 1.0) -> bool:
    """Return whether an objective, a sum over this weight, fell by more than rounding can."""
    if before == -np.inf:
        return False
    return not value >= before - FALL_TOL * max(weight, abs(before))


def overshoots(old: Any, new: Any) -> bool:
    """Return whether the step from `old` to `new` can be shortened.

    A part with `damped` says so by that alone.
    """
    if can(old, "damped"):
        return old.damped(new) is not old
    return can(old, "toward") and old.toward(new, BACKTRACKS[0]) is not new


def retreats(old: Any, new: Any, statistics: Any, rows: Any) -> Iterator[Any]:
    """Yield shorter steps of a part whose step from `old` to `new` lowered the objective.

    Damped steps use the same statistics. Parts without damping go back a half and three quarters
    of the way; a step in closed form has no shorter ones.
    """
    if not overshoots(old, new):
        return
    if can(old, "damped"):
        for _ in range(DAMPED_TRIES):
            old = old.damped(new)
            new = old.update(statistics, rows)
            yield new
    else:
        for share in BACKTRACKS:
            yield old.toward(new, share)
