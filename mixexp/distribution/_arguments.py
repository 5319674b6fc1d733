"""Checks of what methods of distributions are given."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np

from mixexp._checks import as_numbers, checked_rng, short

__all__ = ["checked_index", "checked_number", "checked_rng", "probabilities"]


def probabilities(values: Any, name: str, owner: str, *, ends: bool = False) -> np.ndarray:
    """Return levels as an array; raise if one is not between 0 and 1."""
    wanted = "one number between 0 and 1, or an array of them"
    levels = as_numbers(values, name, owner, f"Give {wanted}.")
    valid = (levels >= 0) & (levels <= 1) if ends else (levels > 0) & (levels < 1)
    boolean = np.asarray(values).dtype.kind == "b"
    if boolean or not np.all(valid):
        shown = float(levels.flat[0] if boolean else levels[~valid].flat[0])
        raise ValueError(
            f"{owner}: {name} must be {wanted}"
            f"{'' if ends else ', both ends excluded'}; got {shown!r}"
            + (" (a bool)." if boolean else ".")
            + ("" if ends else " For the ends ask for 1e-9 or 1 - 1e-9.")
        )
    return levels


def checked_number(n_samples: Any, owner: str) -> int:
    """Return the number of draws; raise if it is none."""
    whole = isinstance(n_samples, Integral) and not isinstance(n_samples, bool | np.bool_)
    if not whole or n_samples < 1:
        raise ValueError(
            f"{owner}: n_samples={short(n_samples)} must be a whole number of at least 1, the "
            "number of draws per row."
        )
    return int(n_samples)


def checked_index(k: Any, n_components: int, owner: str) -> int:
    """Return the index of a component; raise if there is none of that number."""
    whole = isinstance(k, Integral) and not isinstance(k, bool | np.bool_)
    if not whole or not -n_components <= k < n_components:
        raise ValueError(
            f"{owner}: k={short(k)} must be a whole number from 0 to {n_components - 1}, the index "
            "of a component, as in the columns of `weights`."
        )
    return int(k) % n_components
