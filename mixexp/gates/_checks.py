"""Checks of gate parameters."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

__all__ = [
    "USAGE_REMEDY",
    "check_missing",
    "check_number",
    "check_share",
    "check_strength",
    "check_temperature",
]

#: Lowest and highest temperature: borders are sharp, or probabilities equal, squares still finite.
COLDEST, HOTTEST = 1e-6, 1e6

#: Remedy for an invalid `usage_prior`.
USAGE_REMEDY = "Use 0 for no prior, or the number of rows that each expert is credited with."


def check_number(
    gate: Any,
    name: str,
    *,
    lowest: float = -np.inf,
    above: float = -np.inf,
    highest: float = np.inf,
    remedy: str,
) -> None:
    """Raise unless a number is finite, in [`lowest`, `highest`] and greater than `above`."""
    value = getattr(gate, name)
    number = isinstance(value, Real) and not isinstance(value, bool | np.bool_)
    if not (number and np.isfinite(value) and lowest <= value <= highest and value > above):
        left = f"({above:g}" if above > lowest else f"[{lowest:g}"
        right = f"{highest:g}]" if np.isfinite(highest) else "inf)"
        raise ValueError(
            f"{type(gate).__name__}: {name} must be a number in {left}, {right}, got {value!r}. "
            f"{remedy}"
        )


def check_strength(gate: Any) -> None:
    """Raise unless `alpha` is a number of at least 0, or "auto"."""
    if not (isinstance(gate.alpha, str) and gate.alpha == "auto"):
        remedy = "Use 0 for no penalty, or 'auto' to have it set by its evidence."
        check_number(gate, "alpha", lowest=0.0, remedy=remedy)


def check_temperature(gate: Any) -> None:
    """Raise unless `temperature` is a number above 0, and not too large."""
    remedy = "Use 1 for a plain softmax."
    check_number(gate, "temperature", lowest=COLDEST, highest=HOTTEST, remedy=remedy)


def check_missing(gate: Any) -> None:
    """Raise unless `missing` is 'indicator' or 'error'."""
    if not isinstance(gate.missing, str) or gate.missing not in ("indicator", "error"):
        raise ValueError(
            f"{type(gate).__name__}: missing must be 'indicator' or 'error', got {gate.missing!r}."
        )


def check_share(gate: Any, name: str, remedy: str) -> None:
    """Raise unless a parameter is a number in [0, 1]."""
    value = getattr(gate, name)
    number = isinstance(value, Real) and not isinstance(value, bool | np.bool_)
    if not (number and 0 <= value <= 1):
        raise ValueError(
            f"{type(gate).__name__}: {name} must be a number in [0, 1], got {value!r}. {remedy}"
        )
