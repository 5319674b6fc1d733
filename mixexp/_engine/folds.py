"""Folds of training rows, by their content."""

from __future__ import annotations

import numpy as np

from mixexp._rows.sketch import row_hashes
from mixexp.protocols import Design, Rows

__all__ = ["N_FOLDS", "scaled_folds", "split", "unit_folds"]

#: Folds of a usual cross-validation.
N_FOLDS = 3

#: Decimals of scaled sums by which rows are told apart: beyond them, rounding depends on units.
DIGITS = 9

#: Keeps a quotient of numbers that may both be 0 finite.
TINY = np.finfo(float).tiny


def unit_folds(rows: Rows, seed: int) -> np.ndarray:
    """Return the fold of every unit, dealt in the order of a hash of content, class by class.

    Equal rows have been merged, so that copies of a row share a fold.
    """
    order = np.lexsort((_hashes(rows, rows.y, seed), _strata(rows)))
    folds = np.empty(len(order), dtype=int)
    folds[order] = np.arange(len(order)) % N_FOLDS
    return folds


def scaled_folds(rows: Rows, design: Design, n_folds: int, seed: int) -> np.ndarray:
    """Return the fold of every unit, which units and order of columns do not change.

    Nor do the names of classes, each of which is dealt in turn. Rows are in the order of the sums
    of their scaled columns, and of a hash of content where these are equal, and then permuted.
    """
    ones = np.ones((1, design.size))
    sums = np.concatenate([(ones @ matrix)[0] for _, matrix in rows.linear(design)])
    sums = sums if rows.groups is None else np.bincount(rows.groups, sums)
    size = float(np.abs(sums).max())
    order = np.lexsort((_hashes(rows, None, 0), np.round(sums / max(size, TINY), DIGITS)))
    _, first, codes, counts = np.unique(
        _strata(rows)[order], return_index=True, return_inverse=True, return_counts=True
    )
    rng, folds = np.random.default_rng(seed), np.empty(len(order), dtype=int)
    dealt = 0
    for stratum in np.lexsort((first, counts)).tolist():
        members = rng.permutation(order[codes == stratum])
        folds[members] = (dealt + np.arange(len(members))) % n_folds
        dealt += len(members)
    return folds


def _hashes(rows: Rows, y: np.ndarray | None, seed: int) -> np.ndarray:
    """Return a hash of the content of every unit; of a group, the sum of its rows'."""
    hashes = row_hashes(rows.X, y, seed)
    if rows.groups is None:
        return hashes
    sums = np.zeros(rows.units.n_rows, dtype=np.uint64)
    np.add.at(sums, rows.groups, hashes)
    return sums


def _strata(rows: Rows) -> np.ndarray:
    """Return the class of every unit; all are of one stratum if they are groups or numbers."""
    if rows.groups is None and rows.y.ndim == 1:
        return rows.y
    return np.zeros(rows.units.n_rows, dtype=int)


def split(rows: Rows, out: np.ndarray) -> tuple[Rows, Rows, np.ndarray]:
    """Return the training rows outside of a fold, its rows as new ones, and ids of the former.

    `out` says which units (n_units,) are in the fold.
    """
    taken = rows.spread(out[None])[0]
    inside, outside = np.flatnonzero(~taken), np.flatnonzero(taken)
    weight = rows.weight
    train = rows.subset(inside, None if weight is None else weight[inside])
    test = rows.subset(outside, None if weight is None else weight[outside])
    test.training = test.units.training = False
    return train, test, inside
