"""Hashes of row content, and the bounded sketch of the data that starts run on.

The sketch holds the rows with the smallest content hashes, equal rows merged with summed weights.
Starts therefore depend neither on row order, nor on block boundaries, nor on whether a row has
weight 2 or occurs twice.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

__all__ = ["hashed_uniform", "row_hashes", "sketch", "smallest"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)

#: Rows that are hashed at once: all columns of a few rows, so that a memory map is read once.
HASHED_ROWS = 1 << 13


def _mix(bits: np.ndarray) -> np.ndarray:
    """Scramble 64-bit words (the finaliser of SplitMix64, Steele, Lea & Flood 2014)."""
    bits = bits ^ (bits >> np.uint64(30))
    bits = bits * np.uint64(0xBF58476D1CE4E5B9)
    bits = bits ^ (bits >> np.uint64(27))
    bits = bits * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _salt(*words: int) -> np.uint64:
    """Return one word from several."""
    total = np.zeros(1, dtype=np.uint64)
    for word in words:
        total = _mix(total + _GOLDEN + np.uint64(word))
    return total[0]


def _column_salts(seed: int, n_columns: int) -> np.ndarray:
    """Return `_salt(seed, j)` of every column j."""
    first = np.full(1, _salt(seed))
    salts: np.ndarray = _mix(first + _GOLDEN + np.arange(n_columns, dtype=np.uint64))
    return salts


def _column(values: np.ndarray, salt: Any) -> np.ndarray:
    """Hash one column; zeros hash to 0, which makes sparse and dense rows agree."""
    bits = np.ascontiguousarray(values, dtype=np.float64).view(np.uint64)
    return np.where(values != 0, _mix(bits ^ salt), np.uint64(0))


def row_hashes(X: Any, y: np.ndarray | None, seed: int) -> np.ndarray:
    """Return a 64-bit hash of the content of every row, (n,).

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n, n_features)
    y : ndarray of shape (n_outputs, n) or (n,), or None
    seed : int
    """
    salts = _column_salts(seed, X.shape[1])
    total = np.zeros(X.shape[0], dtype=np.uint64)
    if sp.issparse(X):
        coo = X.tocoo()
        np.add.at(total, coo.row, _column(coo.data, salts[coo.col]))
    else:
        for start in range(0, len(X), HASHED_ROWS):
            rows = np.ascontiguousarray(X[start : start + HASHED_ROWS].T, dtype=np.float64)
            for values, salt in zip(rows, salts, strict=True):
                total[start : start + HASHED_ROWS] += _column(values, salt)
    if y is not None:
        for j, target in enumerate(np.atleast_2d(y)):
            total += _column(target, _salt(seed, j, 1))
    return _mix(total)


def hashed_uniform(hashes: np.ndarray, *words: int) -> np.ndarray:
    """Return a uniform number in [0, 1) per row, depending on its content and the words."""
    return (_mix(hashes ^ _salt(*words)) >> np.uint64(11)) * 2.0**-53


def sketch(
    hashes: np.ndarray, weight: np.ndarray | None, size: int
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Choose the `size` distinct rows of smallest hash, in the order of their hashes.

    Returns
    -------
    ids : ndarray of int
        One representative per distinct row.
    merged : ndarray or None
        Summed weights; None if all are 1.
    inverse : ndarray of shape (n,) or None
        Index of each row's distinct row, in hash order; None if not all rows are in the sketch.
    """
    kept = smallest(hashes, size)
    of_kept = hashes if kept is None else hashes[kept]
    _, ids, inverse = np.unique(of_kept, return_index=True, return_inverse=True)
    inverse = inverse.ravel()
    of_weight = weight if kept is None or weight is None else weight[kept]
    merged = np.bincount(inverse, weights=of_weight)
    ids = ids if kept is None else kept[ids]
    return (
        ids,
        None if np.all(merged == 1) else merged.astype(float),
        inverse if kept is None else None,
    )


def smallest(hashes: np.ndarray, size: int) -> np.ndarray | None:
    """Return the rows (in order) with the `size` smallest distinct hashes; None for all rows."""
    found = np.zeros(0, dtype=np.uint64)
    exceeded = False
    for start in range(0, len(hashes), HASHED_ROWS):
        new = hashes[start : start + HASHED_ROWS]
        found = np.unique(np.concatenate([found, new[new < found[-1]] if exceeded else new]))
        exceeded = exceeded or len(found) > size
        found = found[:size]
    return np.flatnonzero(hashes <= found[-1]) if exceeded else None
