"""What a report is about: the estimator, its parts, and the rows in the form of each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import is_classifier

from mixexp._columns import rows_at
from mixexp._wrapped import find_mixture, transformed
from mixexp.inspection._gate_tree import mixture_names
from mixexp.inspection._routing import checked_weight

__all__ = ["OWNER", "Rows", "Subject", "rows_of", "some_rows", "subject_of"]

OWNER = "report"


@dataclass(frozen=True)
class Rows:
    """Rows as a user gave them.

    Attributes
    ----------
    X : table or sparse matrix of shape (n, n_features)
    y : ndarray of shape (n,) or (n, n_outputs)
    weight : ndarray of shape (n,)
    weighted : bool
        Whether weights were given.
    offset : ndarray of shape (n,) or None
    """

    X: Any
    y: np.ndarray
    weight: np.ndarray
    weighted: bool
    offset: np.ndarray | None

    def __len__(self) -> int:
        return len(self.weight)

    def at(self, rows: np.ndarray) -> Rows:
        """Return some of the rows."""
        offset = None if self.offset is None else self.offset[rows]
        X = rows_at(self.X, rows)
        return Rows(X, self.y[rows], self.weight[rows], self.weighted, offset)

    @property
    def fit_arguments(self) -> dict[str, Any]:
        """Arguments of `fit` beside X and y."""
        weight = {"sample_weight": self.weight} if self.weighted else {}
        return weight | self.offset_argument

    @property
    def offset_argument(self) -> dict[str, Any]:
        """The offset as an argument, if there is one."""
        return {} if self.offset is None else {"offset": self.offset}


@dataclass(frozen=True)
class Subject:
    """A fitted estimator, and the rows of the report.

    Attributes
    ----------
    estimator : estimator
        As given.
    before : list
        Fitted transformers before the mixture.
    mixture : estimator
        The fitted mixture.
    rows : Rows
        As given.
    inside : table or sparse matrix
        X as it reaches the mixture.
    target : str
        Name of the target.
    """

    estimator: Any
    before: list[Any]
    mixture: Any
    rows: Rows
    inside: Any
    target: str

    @property
    def classes(self) -> bool:
        """Whether targets are classes."""
        return bool(is_classifier(self.mixture))

    @cached_property
    def summary(self) -> Any:
        """Coefficients with standard errors; raises ValueError where there are none."""
        names = mixture_names(self.before, self.mixture)
        given = self.rows.fit_arguments
        return self.mixture.summary(self.inside, self.rows.y, feature_names=names, **given)

    @cached_property
    def routed(self) -> np.ndarray:
        """Routing weights (n, n_experts), or with a fallback one more."""
        return np.asarray(self.mixture.route(self.inside))

    @property
    def expert_names(self) -> list[str]:
        """Names of the experts."""
        return [f"expert {k}" for k in range(len(self.mixture.experts_))]


def rows_of(X: Any, y: Any, sample_weight: Any, offset: Any) -> Rows:
    """Return checked rows."""
    if issparse(X):
        X = X.tocsr()
    elif not hasattr(X, "columns"):
        X = np.asarray(X)
    target = np.asarray(y)
    if np.ndim(X) != 2 or target.ndim == 0 or X.shape[0] != len(target):
        raise ValueError(
            f"{OWNER}: X has shape {np.shape(X)} and y has shape {target.shape}. Give a table, and "
            "a target for each of its rows."
        )
    weight = checked_weight(sample_weight, len(target), OWNER)
    if offset is not None:
        offset = np.asarray(offset, dtype=np.float64)
        if offset.shape != (len(target),):
            raise ValueError(
                f"{OWNER}: offset has shape {offset.shape}, and X has {len(target)} rows. Give one "
                "number for each."
            )
    return Rows(X, target, weight, sample_weight is not None, offset)


def subject_of(estimator: Any, rows: Rows, target: str) -> Subject:
    """Return the parts of a fitted estimator, and the rows as they reach its mixture."""
    before, mixture = find_mixture(estimator, OWNER)
    return Subject(estimator, before, mixture, rows, transformed(before, rows.X), target)


def some_rows(rows: Rows, largest: int, seed: int) -> Rows:
    """Return rows for a picture: all, or a random sample of them in their order."""
    if len(rows) <= largest:
        return rows
    chosen = np.random.default_rng(seed).choice(len(rows), largest, replace=False)
    return rows.at(np.sort(chosen))
