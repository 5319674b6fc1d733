"""The edge: targets that cannot be, and rows so far out that nothing can be said of them."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import scipy.sparse as sp

from mixexp._numerics import softmax_in_place

__all__ = ["bank_log_prob", "posterior_in_place", "refuse_far"]

#: A target that every family can have, to compute with in the place of one that it cannot.
POSSIBLE = 1.0


def bank_log_prob(bank: Any, block: Any) -> np.ndarray:
    """Return log p_k(y | x) (K, m) of a block, −inf where y is outside of the family's support.

    Families may rely on a y that `fit` would take: beyond, a formula may give NaN, or a number.
    """
    supports = getattr(bank.family, "supports", None)
    if supports is None:
        log_prob: np.ndarray = bank.log_prob(block)
        return log_prob
    possible = supports(block.y).all(axis=0)
    if np.all(possible):
        return bank.log_prob(block)
    block = copy.copy(block)
    block.y = np.where(possible, block.y, POSSIBLE)
    log_prob = bank.log_prob(block)
    log_prob[:, ~possible] = -np.inf
    return log_prob


def posterior_in_place(log_joint: np.ndarray, log_gate: np.ndarray) -> np.ndarray:
    """Turn log g_k p_k (K, m) into responsibilities; return log p(y | x) (m,).

    Where y is so far off that its density is 0 under all experts (a gaussian has no 1e160 in
    doubles), y says nothing of the expert: the responsibilities are the gate's.
    """
    nowhere = np.isneginf(np.maximum.reduce(log_joint, axis=0))
    if not np.any(nowhere):
        return softmax_in_place(log_joint)
    log_joint[:, nowhere] = log_gate[:, nowhere]
    log_density = softmax_in_place(log_joint)
    log_density[nowhere] = -np.inf
    return log_density


def refuse_far(outputs: np.ndarray, block: Any, owner: str) -> None:
    """Raise where an expert's outputs (K, q, m) for a block are not finite."""
    if np.all(np.isfinite(outputs)):
        return
    expert, _, i = (int(own[0]) for own in np.nonzero(~np.isfinite(outputs)))
    row = block.X[[i]]
    values = np.nan_to_num((row.toarray() if sp.issparse(row) else np.asarray(row))[0])
    column = int(np.abs(values).argmax())
    raise ValueError(
        f"{owner}: expert {expert} has no finite prediction for row {block.start + i} of X, which "
        f"has {values[column]:.4g} in column {column}. That is too far from the training data: "
        "leave the row out, or clip X to the range that the mixture was fitted on."
    )
