"""Whether a gate, which may be a user's own, keeps to the protocol."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp.protocols import Rows, check_part

__all__ = ["SUMS_TO_ONE", "check_gate_part", "refuse_sums"]

#: Gate probabilities may add up to a number that differs from 1 by this.
SUMS_TO_ONE = 1e-6


def check_gate_part(part: Any, rows: Rows, n_experts: int, owner: str) -> None:
    """Raise where what `start` of a gate returned is no part of these rows."""
    name = type(part).__name__
    if part is None:
        raise TypeError(
            f"{owner}: `start` of the gate returned None. It must return the part, an object with "
            "log_prob, statistics and update (docs/own_gate.md)."
        )
    check_part(part, "part", owner, "the gate")
    block = next(iter(rows.blocks()))
    found = part.log_prob(block)
    wanted = (n_experts, block.n_rows)
    if not isinstance(found, np.ndarray) or found.shape != wanted:
        shape = getattr(found, "shape", type(found).__name__)
        raise ValueError(
            f"{owner}: log_prob of the gate {name} returned {shape}. It must return an array of "
            f"shape {wanted}: log g_k(x), one row per expert, one column per row of data."
        )
    refuse_sums(part, np.exp(found).sum(axis=0), owner)


def refuse_sums(part: Any, sums: np.ndarray, owner: str) -> None:
    """Raise where gate probabilities do not add up to 1."""
    worst = float(sums[np.argmax(np.nan_to_num(np.abs(sums - 1), nan=np.inf))])
    if not abs(worst - 1) <= SUMS_TO_ONE:
        raise ValueError(
            f"{owner}: the gate {type(part).__name__} gives a row probabilities that add up to "
            f"{worst:.6g}. log_prob must return the logarithms of numbers that add up to 1 over "
            "the experts."
        )
