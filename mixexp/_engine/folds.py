"""Folds of training rows, by their content."""

from __future__ import annotations

import numpy as np

from mixexp._rows.sketch import row_hashes
from mixexp.protocols import Rows

__all__ = ["N_FOLDS", "split", "unit_folds"]

#: Folds of a usual cross-validation.
N_FOLDS = 3


def unit_folds(rows: Rows, seed: int, n_folds: int = N_FOLDS) -> np.ndarray:
    """Return the fold of every unit, dealt in the order of a hash of content, class by class.

    Equal rows have been merged, so that copies of a row share a fold.
    """
    hashes, n_units = row_hashes(rows.X, rows.y, seed), rows.units.n_rows
    strata = np.zeros(n_units, dtype=int)
    if rows.groups is not None:
        sums = np.zeros(n_units, dtype=np.uint64)
        np.add.at(sums, rows.groups, hashes)
        hashes = sums
    elif rows.y.ndim == 1:
        strata = rows.y
    order = np.lexsort((hashes, strata))
    folds = np.empty(n_units, dtype=int)
    folds[order] = np.arange(n_units) % n_folds
    return folds


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
