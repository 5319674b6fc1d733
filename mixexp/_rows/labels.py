"""Rows with known experts."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from mixexp._checks import named_error

__all__ = ["checked_labels", "reference_of", "with_labels"]

#: Code of a label that is not a whole number, and the limit of valid labels.
NO_LABEL, LARGEST_LABEL = -2, 2**62


def checked_labels(
    labels: Any,
    n_rows: int,
    codes: np.ndarray | None,
    weight: np.ndarray | None,
    n_experts: int,
    owner: str,
) -> np.ndarray | None:
    """Return the expert of every row, −1 if unknown; None if all are.

    `codes` are the rows' groups: a label holds for the whole group. Labels of rows without weight
    are ignored.
    """
    if labels is None:
        return None
    with named_error(owner, "expert_labels", "Give every row a whole number."):
        values = np.asarray(labels)
    if values.shape != (n_rows,):
        raise ValueError(
            f"{owner}: expert_labels has shape {values.shape}. Give every row the number of its "
            f"expert, or -1 where it is not known, in a 1d array of shape ({n_rows},)."
        )
    experts = (
        values
        if values.dtype.kind == "i"
        else np.array([_label(value) for value in values.tolist()])
    )
    wrong = (experts < -1) | (experts >= n_experts)
    if np.any(wrong):
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"{owner}: expert_labels holds {values.tolist()[row]!r} in row {row}. With n_experts="
            f"{n_experts} labels are whole numbers from 0 to {n_experts - 1}, or -1 where the "
            "expert is not known."
        )
    experts = experts.astype(int)
    if weight is not None:
        experts[weight == 0] = -1
    if codes is not None:
        experts = _of_groups(experts, codes, owner)
    return experts if np.any(experts >= 0) else None


def _label(value: Any) -> int:
    """Return a label as a whole number, or `NO_LABEL` if it is not one."""
    whole = isinstance(value, Real) and not isinstance(value, bool) and value == value // 1
    return int(value) if whole and abs(value) < LARGEST_LABEL else NO_LABEL


def _of_groups(labels: np.ndarray, codes: np.ndarray, owner: str) -> np.ndarray:
    """Return labels per row, shared within groups."""
    highest = np.full(int(codes.max()) + 1, -1)
    np.maximum.at(highest, codes, labels)
    differs = (labels >= 0) & (labels != highest[codes])
    if np.any(differs):
        row = int(np.flatnonzero(differs)[0])
        raise ValueError(
            f"{owner}: expert_labels gives rows of one group different experts, {labels[row]} in "
            f"row {row} and {highest[codes[row]]} elsewhere. Rows of a group come from one expert: "
            "give them one label."
        )
    return highest[codes]


def with_labels(
    resp: np.ndarray, labels: np.ndarray | None, weight: np.ndarray | None, *, match: bool
) -> np.ndarray:
    """Return responsibilities (K, n) that agree with the labels.

    With `match`, regions are first assigned to experts to agree with as much labelled weight as
    possible: region 0 of a start need not be the user's expert 0.
    """
    if labels is None:
        return resp
    labelled = np.flatnonzero(labels >= 0)
    sure = np.equal(labels[labelled], np.arange(len(resp))[:, None]).astype(float)
    if match:
        mass = sure if weight is None else sure * weight[labelled]
        region, expert = linear_sum_assignment(resp[:, labelled] @ mass.T, maximize=True)
        resp = resp[region[np.argsort(expert)]]
    resp = resp.copy()
    resp[:, labelled] = sure
    return resp


def reference_of(reference: Any, n_rows: int, n_experts: int, owner: str) -> np.ndarray:
    """Return responsibilities (n, K) from a reference: responsibilities, or expert indices."""
    with named_error(owner, "reference", "Give a fitted mixture, labels or responsibilities."):
        values = np.asarray(reference)
    if values.shape == (n_rows,):
        numbers = [_label(value) for value in values.tolist()]
        highest = max(n_experts, max(numbers) + 1)
        if min(numbers) < -1 or highest > n_rows + n_experts:
            row = int(np.argmin(numbers)) if min(numbers) < -1 else int(np.argmax(numbers))
            raise ValueError(
                f"{owner}: reference holds {values.tolist()[row]!r} in row {row}. Labels are the "
                "numbers of experts from 0, or -1 where the expert is open."
            )
        return np.equal.outer(numbers, np.arange(highest)).astype(float)
    matrix = values.ndim == 2 and len(values) == n_rows and values.dtype.kind in "fiub"
    if not matrix or values.size == 0 or not np.all(np.isfinite(values)) or values.min() < 0:
        raise ValueError(
            f"{owner}: reference must be a fitted mixture, labels ({n_rows},), or responsibilities "
            f"({n_rows}, n_reference) that are finite and nonnegative; got shape {values.shape} "
            f"of {values.dtype}."
        )
    return values.astype(float)
