"""The start that a value of `init` means."""

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
    """A start that is given: each row has the responsibilities of the rows that are equal to it.

    Starts work on a sketch of the rows, in an order of their own and with equal rows merged. A row
    is therefore looked up by a hash of its content; where equal rows were given different
    responsibilities, it has their weighted mean, as merging gives it.

    Parameters
    ----------
    rows : Rows
        All training rows, as they were given.
    resp : ndarray of shape (n_experts, n)
    """

    random = False

    def __init__(self, rows: Rows, resp: np.ndarray):
        self._hashes, codes = np.unique(row_hashes(rows.X, rows.y, 0), return_inverse=True)
        weight = np.ones(rows.n_rows) if rows.weight is None else rows.weight
        sums = np.array([np.bincount(codes.ravel(), weights=each * weight) for each in resp])
        total = sums.sum(axis=0)
        # rows without weight do not come back
        self._resp = sums / np.where(total > 0, total, 1.0)

    def responsibilities(self, context: StartContext, rng: np.random.Generator) -> np.ndarray:
        """Return responsibilities (K, n) of the context's rows."""
        hashes = row_hashes(context.rows.X, context.rows.y, 0)
        return self._resp[:, np.searchsorted(self._hashes, hashes)]


def start_of(init: Any, rows: Rows, n_experts: int, owner: str) -> Start:
    """Return the start that `init` means for a fit to all these rows, as they were given."""
    found = _partition(init, owner)
    if found is None:
        return FromResponsibilities(responsibilities_of(init, rows.n_rows, n_experts, owner))
    if can(found, "bound"):
        found = found.bound(partial(_one_of_several, rows=rows, n_experts=n_experts, owner=owner))
    return FromPartition(found)


def _partition(init: Any, owner: str) -> Any:
    """Return the partition that a value of `init` means; None where it is an array."""
    if isinstance(init, str):
        if init not in PARTITIONS:  # one of several: that of the mixture has been checked
            raise ValueError(f"{owner}: {init!r} is no start. Names are {list(PARTITIONS)}.")
        return PARTITIONS[init]()
    if hasattr(init, "fit_predict"):
        return FromEstimator(init, owner)
    if hasattr(init, "gate_proba"):  # its `responsibilities` are something else
        raise TypeError(
            f"{owner}: init is a mixture, {type(init).__name__}. To set out from it, give "
            "init=mixture.responsibilities(X, y)."
        )
    if hasattr(init, "responsibilities"):
        check_part(init, "start", owner, "init")
        return CheckedStart(init, owner)
    return None


def _one_of_several(init: Any, rows: Rows, n_experts: int, owner: str) -> Any:
    """Return the partition that an entry of a start made of others means."""
    found = _partition(init, owner)
    if found is None:
        return ByContent(rows, responsibilities_of(init, rows.n_rows, n_experts, owner))
    return found
