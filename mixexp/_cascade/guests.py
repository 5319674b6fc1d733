"""Fits of draft and full model, in every fold and on all rows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from joblib import effective_n_jobs

from mixexp._cascade.folds import Data, Fold
from mixexp._compat import rows_of, safe_indexing
from mixexp._fitting import fit_weighted, name_of, seeded, takes_weights
from mixexp._guests import failures_named, in_threads, owned
from mixexp._threads import single_thread
from mixexp._warn import warn

__all__ = ["Guest", "fit_all", "own_rows", "taken", "warn_of_weights"]


@dataclass(frozen=True)
class Guest:
    """Draft or full model, before the fit.

    Attributes
    ----------
    role : str
        "draft" or "full", the name of the parameter.
    template : estimator
        What the user gave.
    seed : tuple of int
        Seeds random states of None.
    metadata : dict
        Arguments for `fit`, for the rows as the user gave them.
    """

    role: str
    template: Any
    seed: tuple[int, ...]
    metadata: dict

    def describe(self, owner: str, where: str = "") -> str:
        """Return the start of an error message."""
        return f"{owner}: {self.role}={name_of(self.template)}{where}"

    def fitted(self, data: Data, ids: np.ndarray) -> Any:
        """Return a clone fitted on some rows, with weights if there are any and it takes them."""
        weight = data.weight[ids] if data.weighted and takes_weights(self.template) else None
        given = data.kept[ids]
        metadata = {k: rows_of(v, given, data.n_given) for k, v in self.metadata.items()}
        return fit_weighted(
            seeded(self.template, *self.seed),
            taken(data.X, ids),
            data.y[ids],
            weight,
            metadata,
        )


def fit_all(
    guests: list[Guest],
    data: Data,
    folds: list[Fold],
    answer: Callable[[str, Any, Any], tuple],
    n_jobs: int | None,
    owner: str,
) -> tuple[list[list[tuple]], list[Any]]:
    """Return the guests' answers out of fold, and the guests fitted on all rows.

    `answer(role, estimator, X)` is called on the tested rows of each fold. The answers of guest i
    in fold f are ``answers[i][f]``.
    """
    alone = effective_n_jobs(n_jobs) == 1

    def run(guest: Guest, number: int | None) -> Any:
        everywhere = number is None
        where = " fitted on all rows" if everywhere else f" in fold {number} of cv"
        with (
            nullcontext() if alone else single_thread(),
            failures_named(lambda: guest.describe(owner, where)),
        ):
            if number is None:
                return guest.fitted(data, np.arange(data.n_rows))
            estimator = guest.fitted(data, folds[number].train)
            return answer(guest.role, estimator, taken(data.X, folds[number].test))

    numbers = [*range(len(folds)), None]
    done = in_threads(run, [(guest, number) for guest in guests for number in numbers], n_jobs)
    parts = [done[i : i + len(numbers)] for i in range(0, len(done), len(numbers))]
    return [part[:-1] for part in parts], [part[-1] for part in parts]


def taken(X: Any, ids: np.ndarray) -> Any:
    """Return some rows of X, which an estimator may change; pandas' `take` may share memory."""
    rows = safe_indexing(X, ids)
    return rows.copy() if hasattr(rows, "iloc") else rows


def own_rows(X: Any) -> Any:
    """Return a copy of X, which an estimator may change."""
    return X.copy() if sp.issparse(X) else owned(X)


def warn_of_weights(guests: list[Guest], owner: str) -> None:
    """Warn of the guests that do not take row weights."""
    names = [guest for guest in guests if not takes_weights(guest.template)]
    if names:
        listed = " and ".join(f"{g.role}={name_of(g.template)}" for g in names)
        warn(
            f"{owner}: {listed} cannot take sample_weight. The weights count in the calibration, "
            "but the fit takes all rows of positive weight alike. Use an estimator with "
            "sample_weight, or repeat rows by their weight."
        )
