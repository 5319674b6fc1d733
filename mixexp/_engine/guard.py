"""What becomes of a step that went down: shorter ones, part by part.

Newton steps can overshoot. Whether one did is for the engine to see, from the lower bound or from
what a part's M-step climbs; which steps are tried then is said here, of parts alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mixexp.protocols import can

__all__ = ["FALL_TOL", "fallen", "overshoots", "retreats"]

#: A fall by more than this, relative to max(1, |bound|), is a failed step.
FALL_TOL = 1e-9

#: Shares of a failed step that are tried, of parts that cannot damp their step.
BACKTRACKS = (0.5, 0.25)

#: Steps that are tried with more and more damping, each about a quarter of the one before.
DAMPED_TRIES = 6


def fallen(value: float, before: float, weight: float = 1.0) -> bool:
    """Return whether an objective, a sum over this weight, fell by more than rounding can."""
    if before == -np.inf:
        return False
    return not value >= before - FALL_TOL * max(weight, abs(before))


def overshoots(old: Any, new: Any) -> bool:
    """Return whether the step from `old` to `new` is one that can be shortened."""
    if can(old, "damped") and old.damped(new) is not old:
        return True
    return can(old, "toward") and old.toward(new, BACKTRACKS[0]) is not new


def retreats(old: Any, new: Any, statistics: Any, rows: Any) -> Iterator[Any]:
    """Yield a part's next tries after its step from `old` to `new` went down.

    Damped steps come from the same statistics. Parts without damping go back a half and three
    quarters of the way; a step in closed form is kept, and nothing comes.
    """
    if can(old, "damped") and old.damped(new) is not old:
        for _ in range(DAMPED_TRIES):
            old = old.damped(new)
            new = old.update(statistics, rows)
            yield new
    elif overshoots(old, new):
        for share in BACKTRACKS:
            yield old.toward(new, share)
