"""The start for a value of `init`."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from mixexp._engine.starts import FromPartition, FromResponsibilities, Start
from mixexp._rows.inputs import responsibilities_of
from mixexp._rows.rows import Rows
from mixexp._rows.sketch import row_hashes
from mixexp.partitions import PARTITIONS, CheckedStart, FromEstimator
from mixexp.protocols import StartContext, can, check_part

__all__ = ["ByContent", "start_of"]


class ByContent:
    """A start from given responsibilities, looked up by row content.

    Starts work on a sketch of the rows, reordered and with equal rows merged, so rows are looked
    up by a hash of their content. Equal rows with different responsibilities get the weighted
    mean, as in merging.

    Parameters
    ----------
    rows : Rows
        All training rows, before merging.
    resp : ndarray of shape (n_experts, n)
    """

    random = False

    def __init__(self, rows: Rows, resp: np.ndarray):
        self._hashes, codes = np.unique(row_hashes(rows.X, rows.y, 0), return_inverse=True)
        weight = np.ones(rows.n_rows) if rows.weight is None else rows.weight
        sums = np.array([np.bincount(codes.ravel(), weights=row * weight) for row in resp])
        total = sums.sum(axis=0)
        # rows without weight are never looked up
        self._resp = sums / np.where(total > 0, total, 1.0)

    def responsibilities(self, context: StartContext, rng: np.random.Generator) -> np.ndarray:
        """Return responsibilities (K, n) of the context's rows."""
        hashes = row_hashes(context.rows.X, context.rows.y, 0)
        return self._resp[:, np.searchsorted(self._hashes, hashes)]


def start_of(init: Any, rows: Rows, n_experts: int, owner: str) -> Start:
    """Return the start for `init` and these rows, before merging."""
    partition = _partition(init, owner)
    if partition is None:
        return FromResponsibilities(responsibilities_of(init, rows.n_rows, n_experts, owner))
    if can(partition, "bound"):
        partition = partition.bound(
            partial(_one_of_several, rows=rows, n_experts=n_experts, owner=owner)
        )
    return FromPartition(partition)


def _partition(init: Any, owner: str) -> Any:
    """Return the partition for a value of `init`; None for an array."""
    if isinstance(init, str):
        if init not in PARTITIONS:  # nested in another start; a mixture's `init` has been checked
            raise ValueError(f"{owner}: {init!r} is no start. Names are {list(PARTITIONS)}.")
        return PARTITIONS[init]()
    if hasattr(init, "fit_predict"):
        return FromEstimator(init, owner)
    if hasattr(init, "gate_proba"):  # a mixture's `responsibilities` need data
        raise TypeError(
            f"{owner}: init is a mixture, {type(init).__name__}. To set out from it, give "
            "init=mixture.responsibilities(X, y)."
        )
    if hasattr(init, "responsibilities"):
        check_part(init, "start", owner, "init")
        return CheckedStart(init, owner)
    return None


def _one_of_several(init: Any, rows: Rows, n_experts: int, owner: str) -> Any:
    """Return the partition for an entry of a compound start."""
    partition = _partition(init, owner)
    if partition is None:
        return ByContent(rows, responsibilities_of(init, rows.n_rows, n_experts, owner))
    return partition
