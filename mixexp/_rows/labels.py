"""Rows whose expert the user knows."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from mixexp._checks import named_error

__all__ = ["checked_labels", "reference_of", "with_labels"]

#: What stands for a label that is not a whole number, and where numbers end that can be one.
NO_LABEL, LARGEST_LABEL = -2, 2**62


def checked_labels(
    labels: Any,
    n_rows: int,
    codes: np.ndarray | None,
    weight: np.ndarray | None,
    n_experts: int,
    owner: str,
) -> np.ndarray | None:
    """Return the expert of every row, −1 where it is not known; None where none is.

    `codes` are the rows' groups: what is known of one row holds for its group. Nothing is known
    of a row without weight, as it is not there.
    """
    if labels is None:
        return None
    with named_error(owner, "expert_labels", "Give every row a whole number."):
        given = np.asarray(labels)
    if given.shape != (n_rows,):
        raise ValueError(
            f"{owner}: expert_labels has shape {given.shape}. Give every row the number of its "
            f"expert, or -1 where it is not known, in a 1d array of shape ({n_rows},)."
        )
    known = given if given.dtype.kind == "i" else np.array([_label(one) for one in given.tolist()])
    wrong = (known < -1) | (known >= n_experts)
    if np.any(wrong):
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"{owner}: expert_labels holds {given.tolist()[row]!r} in row {row}. With n_experts="
            f"{n_experts} labels are whole numbers from 0 to {n_experts - 1}, or -1 where the "
            "expert is not known."
        )
    known = known.astype(int)
    if weight is not None:
        known[weight == 0] = -1
    if codes is not None:
        known = _of_groups(known, codes, owner)
    return known if np.any(known >= 0) else None


def _label(value: Any) -> int:
    """Return a label as a whole number, or one that is wrong where it is none."""
    whole = isinstance(value, Real) and not isinstance(value, bool) and value == value // 1
    return int(value) if whole and abs(value) < LARGEST_LABEL else NO_LABEL


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


def reference_of(reference: Any, n_rows: int, n_experts: int, owner: str) -> np.ndarray:
    """Return responsibilities (n, K) of a reference: responsibilities, or experts' numbers."""
    with named_error(owner, "reference", "Give a fitted mixture, labels or responsibilities."):
        given = np.asarray(reference)
    if given.shape == (n_rows,):
        numbers = [_label(one) for one in given.tolist()]
        highest = max(n_experts, max(numbers) + 1)
        if min(numbers) < -1 or highest > n_rows + n_experts:
            row = int(np.argmin(numbers)) if min(numbers) < -1 else int(np.argmax(numbers))
            raise ValueError(
                f"{owner}: reference holds {given.tolist()[row]!r} in row {row}. Labels are the "
                "numbers of experts from 0, or -1 where the expert is open."
            )
        return np.equal.outer(numbers, np.arange(highest)).astype(float)
    sound = given.ndim == 2 and len(given) == n_rows and given.dtype.kind in "fiub"
    if not sound or given.size == 0 or not np.all(np.isfinite(given)) or given.min() < 0:
        raise ValueError(
            f"{owner}: reference must be a fitted mixture, labels ({n_rows},), or responsibilities "
            f"({n_rows}, n_reference) that are finite and nonnegative; got shape {given.shape} "
            f"of {given.dtype}."
        )
    return given.astype(float)
