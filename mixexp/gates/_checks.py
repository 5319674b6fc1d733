"""Checks of the parameters of gates."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

__all__ = ["USAGE_REMEDY", "check_missing", "check_number"]

#: What to do about a bad `usage_prior`.
USAGE_REMEDY = "Use 0 for no prior, or the number of rows that each expert is credited with."


def check_number(
    gate: Any, name: str, *, lowest: float = -np.inf, above: float = -np.inf, remedy: str
) -> None:
    """Raise where a parameter is not a finite number, at least `lowest` and more than `above`."""
    value = getattr(gate, name)
    number = isinstance(value, Real) and not isinstance(value, bool | np.bool_)
    if not (number and np.isfinite(value) and value >= lowest and value > above):
        left = f"({above:g}" if above > lowest else f"[{lowest:g}"
        raise ValueError(
            f"{type(gate).__name__}: {name} must be a number in {left}, inf), got {value!r}. "
            f"{remedy}"
        )


def check_missing(gate: Any) -> None:
    """Raise where `missing` is not what a gate may do about NaN."""
    if not isinstance(gate.missing, str) or gate.missing not in ("indicator", "error"):
        raise ValueError(
            f"{type(gate).__name__}: missing must be 'indicator' or 'error', got {gate.missing!r}."
        )
