"""Rows whose expert the user knows."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

__all__ = ["checked_labels", "with_labels"]


def checked_labels(
    labels: Any, X: Any, codes: np.ndarray | None, n_experts: int, owner: str
) -> np.ndarray | None:
    """Return the expert of every row, −1 where it is not known; None where none is.

    `codes` are the rows' groups: what is known of one row holds for its group.
    """
    if labels is None:
        return None
    given = np.asarray(labels)
    if given.shape != (X.shape[0],):
        raise ValueError(
            f"{owner}: expert_labels has shape {given.shape}. Give every row the number of its "
            f"expert, or -1 where it is not known, in a 1d array of shape ({X.shape[0]},)."
        )
    try:
        numbers = given.astype(float)
        known = numbers.astype(int)
        wrong = numbers != known
    except (TypeError, ValueError):
        numbers, known = given, np.zeros(len(given), dtype=int)
        wrong = np.ones(len(given), dtype=bool)
    wrong |= (known < -1) | (known >= n_experts)
    if np.any(wrong):
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"{owner}: expert_labels holds {given.tolist()[row]!r} in row {row}. With n_experts="
            f"{n_experts} labels are whole numbers from 0 to {n_experts - 1}, or -1 where the "
            "expert is not known."
        )
    if codes is not None:
        known = _of_groups(known, codes, owner)
    return known if np.any(known >= 0) else None


def _of_groups(known: np.ndarray, codes: np.ndarray, owner: str) -> np.ndarray:
    """Return the labels with every row's that of its group."""
    highest = np.full(int(codes.max()) + 1, -1)
    np.maximum.at(highest, codes, known)
    differs = (known >= 0) & (known != highest[codes])
    if np.any(differs):
        row = int(np.flatnonzero(differs)[0])
        raise ValueError(
            f"{owner}: expert_labels gives rows of one group different experts, {known[row]} in "
            f"row {row} and {highest[codes[row]]} elsewhere. Rows of a group come from one expert: "
            "give them one label."
        )
    return highest[codes]


def with_labels(
    resp: np.ndarray, labels: np.ndarray | None, weight: np.ndarray | None, *, match: bool
) -> np.ndarray:
    """Return responsibilities (K, n) that agree with what is known.

    With `match` the regions are first given to the experts so that as much weight as can be
    agrees: what a start calls region 0 need not be the user's expert 0.
    """
    if labels is None:
        return resp
    known = np.flatnonzero(labels >= 0)
    sure = np.equal(labels[known], np.arange(len(resp))[:, None]).astype(float)
    if match:
        mass = sure if weight is None else sure * weight[known]
        region, expert = linear_sum_assignment(resp[:, known] @ mass.T, maximize=True)
        resp = resp[region[np.argsort(expert)]]
    resp = resp.copy()
    resp[:, known] = sure
    return resp
