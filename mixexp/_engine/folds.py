"""Folds of training rows, by their content."""

from __future__ import annotations

import numpy as np

from mixexp._rows.sketch import row_hashes
from mixexp.protocols import Design, Rows

__all__ = ["N_FOLDS", "dealt", "split", "unit_folds"]

#: Folds of a usual cross-validation.
N_FOLDS = 3

#: Decimals of scaled sums by which rows are told apart: beyond them, rounding depends on units.
DIGITS = 9


def unit_folds(rows: Rows, seed: int) -> np.ndarray:
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
    folds[order] = np.arange(n_units) % N_FOLDS
    return folds


def dealt(rows: Rows, design: Design, n_folds: int, seed: int) -> np.ndarray:
    """Return the fold of every unit, by an order that units and order of columns do not change.

    Nor do the names of classes, each of which is dealt in turn. The order is that of the sums of
    scaled columns, and of a hash of content where these are equal, permuted.
    """
    ones = np.ones((1, design.size))
    sums = np.concatenate([(ones @ matrix)[0] for _, matrix in rows.linear(design)])
    hashes, n_units = row_hashes(rows.X, None, 0), rows.units.n_rows
    strata = np.zeros(n_units, dtype=int)
    if rows.groups is not None:
        sums = np.bincount(rows.groups, sums)
        totals = np.zeros(n_units, dtype=np.uint64)
        np.add.at(totals, rows.groups, hashes)
        hashes = totals
    elif rows.y.ndim == 1:
        strata = rows.y
    size = float(np.abs(sums).max(initial=0.0))
    order = np.lexsort((hashes, np.round(sums / size if size > 0 else sums, DIGITS)))
    rng, folds = np.random.default_rng(seed), np.empty(n_units, dtype=int)
    counts, start = np.bincount(strata[order]), 0
    first = {int(c): i for i, c in reversed(list(enumerate(strata[order])))}
    for c in sorted(first, key=lambda c: (counts[c], first[c])):
        of_class = order[strata[order] == c]
        folds[rng.permutation(of_class)] = (start + np.arange(len(of_class))) % n_folds
        start += len(of_class)
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
