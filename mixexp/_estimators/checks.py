"""Checks of gates, which may be custom, and of predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from mixexp.protocols import Block, Rows, check_part

__all__ = ["SUMS_TO_ONE", "check_gate_part", "refuse_far", "refuse_sums"]

#: Tolerance for the sum of gate probabilities.
SUMS_TO_ONE = 1e-6


def check_gate_part(part: Any, rows: Rows, n_experts: int, owner: str) -> None:
    """Raise if `start` of a gate did not return a valid part for these rows."""
    name = type(part).__name__
    if part is None:
        raise TypeError(
            f"{owner}: `start` of the gate returned None. It must return the part, an object with "
            "log_prob, statistics and update (docs/own_gate.md)."
        )
    check_part(part, "part", owner, "the gate")
    block = next(iter(rows.blocks()))
    log_gate = part.log_prob(block)
    wanted = (n_experts, block.n_rows)
    if not isinstance(log_gate, np.ndarray) or log_gate.shape != wanted:
        shape = getattr(log_gate, "shape", type(log_gate).__name__)
        raise ValueError(
            f"{owner}: log_prob of the gate {name} returned {shape}. It must return an array of "
            f"shape {wanted}: log g_k(x), one row per expert, one column per row of data."
        )
    refuse_sums(part, np.exp(log_gate).sum(axis=0), owner)


def refuse_sums(part: Any, sums: np.ndarray, owner: str) -> None:
    """Raise if gate probabilities do not add up to 1."""
    worst = float(sums[np.argmax(np.nan_to_num(np.abs(sums - 1), nan=np.inf))])
    if not abs(worst - 1) <= SUMS_TO_ONE:
        raise ValueError(
            f"{owner}: the gate {type(part).__name__} gives a row probabilities that add up to "
            f"{worst:.6g}. log_prob must return the logarithms of numbers that add up to 1 over "
            "the experts."
        )


def refuse_far(outputs: np.ndarray, block: Block, owner: str) -> None:
    """Raise if an expert's outputs (K, q, m) for a block are not finite."""
    if np.all(np.isfinite(outputs)):
        return
    expert, _, i = (int(axis[0]) for axis in np.nonzero(~np.isfinite(outputs)))
    row = block.X[[i]]
    values = np.nan_to_num((row.toarray() if sp.issparse(row) else np.asarray(row))[0])
    column = int(np.abs(values).argmax())
    raise ValueError(
        f"{owner}: expert {expert} has no finite prediction for row {block.start + i} of X, which "
        f"has {values[column]:.4g} in column {column}. That is too far from the training data: "
        "leave the row out, or clip X to the range that the mixture was fitted on."
    )
