"""Responsibilities that were given for the training rows, found again by what is in a row."""

from __future__ import annotations

import numpy as np

from mixexp._blocks import Rows
from mixexp._protocols import StartContext
from mixexp._sketch import row_hashes
from mixexp.partitions._labels import weights_of

__all__ = ["ByContent"]


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
        weight = weights_of(rows)
        sums = np.array([np.bincount(codes.ravel(), weights=own * weight) for own in resp])
        total = sums.sum(axis=0)
        # rows without weight do not come back
        self._resp = sums / np.where(total > 0, total, 1.0)

    def responsibilities(self, context: StartContext, rng: np.random.Generator) -> np.ndarray:
        """Return responsibilities (K, n) of the context's rows."""
        hashes = row_hashes(context.rows.X, context.rows.y, 0)
        return self._resp[:, np.searchsorted(self._hashes, hashes)]
