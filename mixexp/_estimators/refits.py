"""How often experts are fitted: folds of the E-step, and M-steps with a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixexp._fitting import learns_by_steps
from mixexp.protocols import Rows, Target

if TYPE_CHECKING:
    from mixexp._estimators.base import BaseMixtureOfExperts
    from mixexp.experts import EstimatorBank

__all__ = ["are_drawn", "check_n_refits", "n_folds_of", "n_refits_of", "tol_of"]

#: Default numbers of folds, usually and with many rows.
FOLDS, FEW_FOLDS = 5, 2

#: Smallest `tol` of runs with experts that are held: out of fold, the bound is not known better.
HELD_TOL = 1e-4

#: From so many rows (or groups) on, if there are so many for each expert, there are few folds.
MANY_ROWS, MANY_ROWS_EACH = 4000, 1000

#: The same for rows that are drawn in place of weights. An estimator may take several times as long
#: with weights: two boostings of 800 rows of friedman1 took 57 times one, with drawn rows 12 times,
#: at the same error and density.
DRAWN_ROWS, DRAWN_ROWS_EACH = 500, 250


def n_folds_of(mixture: BaseMixtureOfExperts, rows: Rows, flexible: bool) -> int:
    """Return the number of folds for `cross_fit`; 0 for none."""
    cross_fit = mixture.cross_fit
    if cross_fit is False or (cross_fit == "auto" and not flexible):
        return 0
    if not isinstance(cross_fit, bool | str):
        return int(cross_fit)
    return FEW_FOLDS if _are_many(mixture, rows, MANY_ROWS, MANY_ROWS_EACH) else FOLDS


def are_drawn(mixture: BaseMixtureOfExperts, rows: Rows) -> bool:
    """Return whether rows are drawn by responsibility in place of weights."""
    whole = rows.weight is None or bool(np.all(rows.weight == np.floor(rows.weight)))
    return whole and _are_many(mixture, rows, DRAWN_ROWS, DRAWN_ROWS_EACH)


def _are_many(mixture: BaseMixtureOfExperts, rows: Rows, in_all: int, each: int) -> bool:
    return rows.units.n_rows >= max(in_all, each * mixture.n_experts)


def check_n_refits(mixture: BaseMixtureOfExperts, batch: bool, warm: bool) -> None:
    """Raise if a number of fits cannot be kept to."""
    if mixture.n_refits == "auto" or warm:
        return
    why = ""
    if not batch:
        why = "is for experts that are fitted one by one, and these are fitted all at once"
    elif mixture.routing is not None:
        why = "is for fits with a warm-up or without routing: experts follow their routes"
    elif mixture.shared_expert is not None:
        why = "and a shared expert need a warm-up: it and the experts are fitted in turn"
    if why:
        raise ValueError(
            f"{type(mixture).__name__}: n_refits={mixture.n_refits} {why}. Set n_refits='auto'"
            f"{', or warm_up to a mixture' if batch else ''}."
        )


def n_refits_of(
    mixture: BaseMixtureOfExperts, target: Target, templates: list, n_folds: int, pool: bool
) -> int | None:
    """Return how often an expert without warm-up is fitted in EM; None for every iteration.

    Out of fold, a fit costs many times one expert, and the bound need not rise: the experts are
    fitted to the partition of the starts, and gate and dispersions go on. Row weights of robust
    families come from residuals, so there is a second fit. Networks learn on from one iteration to
    the next; a shared expert and routes change what the experts are for; pools choose anew.
    """
    on_the_move = mixture.routing is not None or mixture.shared_expert is not None
    if not n_folds and mixture.n_refits != "auto":
        raise ValueError(
            f"{type(mixture).__name__}: n_refits={mixture.n_refits} is for experts that are "
            "cross-fitted or have a warm-up: others are fitted in every iteration. Set "
            "n_refits='auto', or cross_fit to a number of folds."
        )
    if not n_folds or on_the_move:
        return None
    if mixture.n_refits != "auto":
        return int(mixture.n_refits)
    if pool or any(learns_by_steps(e) for e in templates):
        return None
    return 2 if getattr(target.family, "reweights", False) else 1


def tol_of(mixture: BaseMixtureOfExperts, bank: EstimatorBank | None) -> float:
    """Return the tolerance of the run with this bank of experts fitted one by one, if it is one."""
    tol = float(mixture.tol)
    held = bank is not None and bank.n_refits is not None
    return max(tol, HELD_TOL) if held and tol > 0 else tol
