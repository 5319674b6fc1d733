"""Folds of a cascade's calibration: every row is tested at most once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from mixexp._rows.sketch import row_hashes

__all__ = ["DEFAULT_FOLDS", "Data", "Fold", "check_classes", "folds_by_content", "folds_given"]

#: Folds where `cv` is None.
DEFAULT_FOLDS = 5


class Fold(NamedTuple):
    """Ids of the rows that models are fitted on, and of those that they answer."""

    train: np.ndarray
    test: np.ndarray


class Data(NamedTuple):
    """Checked rows of a fit, those of weight 0 left out.

    Attributes
    ----------
    X : object
        What estimators get: an array, sparse matrix, data frame or list.
    numbers : ndarray or CSR matrix of shape (n, n_features)
        X as numbers, text as codes.
    y : ndarray of shape (n,) or (n, n_outputs)
        Targets as estimators get them.
    codes : ndarray of shape (n,) or (n_outputs, n)
        Class codes, as integers, or numbers.
    weight : ndarray of shape (n,)
        Row weights.
    weighted : bool
        Whether weights were given that are not all 1.
    kept : ndarray of int of shape (n,)
        Number of every row in the data given by the user, who had `n_given` of them.
    n_given : int
    """

    X: Any
    numbers: Any
    y: np.ndarray
    codes: np.ndarray
    weight: np.ndarray
    weighted: bool
    kept: np.ndarray
    n_given: int

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.kept)

    @property
    def of_classes(self) -> bool:
        """Whether the targets are classes."""
        return self.codes.dtype.kind == "i"


def folds_by_content(
    data: Data, n_folds: int, groups: np.ndarray | None, seed: int, owner: str
) -> list[Fold]:
    """Return folds by a hash of the rows' content.

    Rows are dealt in the order of their hashes, class by class. Equal rows share a fold, and so do
    rows of a group (classes are then not looked at): a model is not asked about rows it has seen.
    """
    _check_number(data, n_folds, groups, owner)
    hashes = row_hashes(data.numbers, data.codes, seed)
    strata = data.codes if data.of_classes and groups is None else np.zeros(data.n_rows, dtype=int)
    if groups is not None:
        _, codes = np.unique(groups, return_inverse=True)
        sums = np.zeros(int(codes.max()) + 1, dtype=np.uint64)
        np.add.at(sums, codes.ravel(), hashes)
        hashes = sums[codes.ravel()]
    fold, dealt = np.empty(data.n_rows, dtype=int), 0
    for stratum in np.unique(strata):
        ids = np.flatnonzero(strata == stratum)
        distinct, ranks = np.unique(hashes[ids], return_inverse=True)
        fold[ids] = (ranks.ravel() + dealt) % n_folds
        dealt += len(distinct)
    used = np.unique(fold)
    if len(used) < 2:
        raise ValueError(
            f"{owner}: all {data.n_rows} rows are equal, and equal rows share a fold of the "
            "calibration. Give distinct rows."
        )
    return [Fold(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in used]


def _check_number(data: Data, n_folds: int, groups: np.ndarray | None, owner: str) -> None:
    """Raise if there are more folds than rows, than rows of every class, or than groups."""
    if groups is not None:
        most, what = len(np.unique(groups)), "groups"
    elif data.of_classes:
        most, what = int(np.bincount(data.codes).max()), "rows in the largest class"
    else:
        most, what = data.n_rows, "rows"
    if n_folds > most:
        raise ValueError(
            f"{owner}: cv={n_folds} folds, and there are {most} {what} (n_samples={data.n_rows} of "
            f"positive weight). {f'Lower cv to at most {most}, or give' if most > 1 else 'Give'} "
            f"more {what}."
        )


def folds_given(cv: Any, data: Data, split_params: dict, owner: str) -> list[Fold]:
    """Return the folds of a splitter, or of an iterable with ids of the rows as given."""
    if hasattr(cv, "split"):
        found = list(cv.split(data.X, data.y, **split_params))
    else:
        found = [_pair(fold, data, owner) for fold in cv]
    found = [Fold(*(np.asarray(ids, dtype=int) for ids in pair)) for pair in found]
    _check_folds(found, data, owner)
    return found


def _pair(fold: Any, data: Data, owner: str) -> tuple[np.ndarray, ...]:
    """Return what a fold trains on and tests, of the rows of positive weight."""
    if not (isinstance(fold, tuple | list) and len(fold) == 2):
        raise ValueError(
            f"{owner}: cv has {fold!r} in place of a fold. Give pairs (train, test) of row numbers."
        )
    return tuple(_known(ids, data, owner) for ids in fold)


def _known(ids: Iterable[int], data: Data, owner: str) -> np.ndarray:
    """Return ids among the rows of positive weight, of ids (or a mask) among all rows."""
    ids = np.asarray(ids)
    ids = np.flatnonzero(ids) if ids.dtype == bool else ids
    ids = ids if ids.size else ids.astype(int)
    if ids.dtype.kind not in "iu" or ids.ndim != 1:
        raise ValueError(
            f"{owner}: cv has rows of type {ids.dtype} and shape {ids.shape}. Give row numbers, "
            "integers from 0."
        )
    if ids.size and (ids.min() < 0 or ids.max() >= data.n_given):
        raise ValueError(
            f"{owner}: cv has row {int(ids.max() if ids.min() >= 0 else ids.min())}, and rows go "
            f"from 0 to {data.n_given - 1}. Give folds of the rows of X."
        )
    place = np.full(data.n_given, -1)
    place[data.kept] = np.arange(data.n_rows)
    return place[ids][place[ids] >= 0]


def _check_folds(found: list[Fold], data: Data, owner: str) -> None:
    """Raise if no row is tested, a row is tested twice, or models see the rows they answer."""
    tested = np.concatenate([fold.test for fold in found]) if found else np.zeros(0, dtype=int)
    if not len(tested):
        raise ValueError(f"{owner}: cv tests no row. Give it at least one fold with rows to test.")
    if len(np.unique(tested)) < len(tested):
        raise ValueError(
            f"{owner}: cv tests {len(tested) - len(np.unique(tested))} rows more than once, and "
            "the bound counts every row once. Use a splitter without repeats, such as KFold."
        )
    for number, fold in enumerate(found):
        if not len(fold.train) or np.any(np.isin(fold.test, fold.train)):
            raise ValueError(
                f"{owner}: fold {number} of cv fits models on {len(fold.train)} rows, "
                f"{int(np.isin(fold.test, fold.train).sum())} of which it also tests. Give folds "
                "with rows to fit on that are not tested."
            )


def check_classes(found: list[Fold], data: Data, classes: np.ndarray, owner: str) -> None:
    """Raise if models of a fold would be fitted on a single class."""
    for number, fold in enumerate(found):
        if len(np.unique(data.codes[fold.train])) < 2:
            counts = np.bincount(data.codes)
            rare = int(counts.argmin())
            raise ValueError(
                f"{owner}: fold {number} of cv leaves one class to fit on. The rarest class, "
                f"{classes.tolist()[rare]!r}, has n_samples={counts[rare]} of positive weight: "
                "give at least two distinct rows of every class, or other folds."
            )
