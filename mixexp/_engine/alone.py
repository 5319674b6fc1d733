"""The fit of one expert to all rows, from which experts begin."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from scipy.special import softmax

from mixexp._engine.criteria import LEAST_LOG_DENSITY
from mixexp._engine.fixed import fit_at, statistics_at
from mixexp._engine.folds import scaled_folds
from mixexp._engine.sweep import State
from mixexp._engine.tuning import MOST_ROUNDS, SMALL_CHANGE, largest_change, underdetermined
from mixexp.protocols import Rows, can

__all__ = ["by_evidence", "one_expert"]

#: Steps of the fit; one is exact for linear experts. Those that weigh rows by their residuals take
#: so many again, at most so often, until dispersions change by less than this share.
ONE_EXPERT_STEPS, MOST_REPEATS, SETTLED = 5, 20, 1e-3

#: Steps at a strength from the end of the fit at a stronger one; one is exact for normal errors.
PATH_STEPS = 3

#: Folds by which a strength is chosen, and most cross-validations: as many as have LEFT_OUT rows in
#: all, as which rows share a fold matters where they are few.
STRENGTH_FOLDS, MOST_DEALS, LEFT_OUT = 5, 4, 1000

#: A strength with a log-likelihood of left-out rows so many nats below the best has hardly a share
#: in the choice, and weaker ones are not tried.
HOPELESS = 5.0


def one_expert(bank: Any, rows: Rows) -> Any:
    """Return a bank of one expert fitted to rows, with its penalty where rows are few.

    A weak penalty would let each of several experts explain any rows, and starts would be as good
    as random. They begin at that of one, which its evidence sets, or left-out rows choose.
    """
    ones = np.ones((1, rows.n_rows))
    if not underdetermined(bank, rows):
        return _fitted(bank, rows, ones)
    if can(bank, "strength_path") and rows.units.n_rows > 1:
        bank = bank.chosen_at(_by_left_out_rows(bank, rows))
        return _dispersed(_fitted(bank, rows, ones), rows, ones)
    return by_evidence(_fitted(bank, rows, ones), rows)


def _fitted(bank: Any, rows: Rows, resp: np.ndarray, n_steps: int = ONE_EXPERT_STEPS) -> Any:
    """Return the bank after so many steps, or more where steps weigh rows by their residuals."""
    step = partial(fit_at, rows=rows, resp=resp, n_steps=n_steps)
    state = step(State(None, bank))
    reweights = getattr(getattr(bank, "family", None), "reweights", False)
    for _ in range(MOST_REPEATS if reweights else 0):
        before, state = state, step(state)
        old, new = (each.bank.parameters[0] for each in (before, state))  # type: ignore[union-attr]
        if np.all(np.abs(new - old) <= SETTLED * old):
            break
    return state.bank


def by_evidence(bank: Any, rows: Rows) -> Any:
    """Return a fitted bank with the penalty that its evidence sets."""
    ones = np.ones((1, rows.n_rows))
    for _ in range(MOST_ROUNDS):
        before = State(None, bank)
        state = State(None, bank.tuned(*statistics_at(before, rows, ones), rows))
        bank = fit_at(state, rows, ones, ONE_EXPERT_STEPS).bank
        if largest_change(before, state) < SMALL_CHANGE:
            break
    return bank


def _by_left_out_rows(bank: Any, rows: Rows) -> float:
    """Return a strength of the penalty with which one expert predicts left-out rows well.

    The evidence rests on a normal posterior: where rows are few, classes are nearly separate, and
    it has several fixed points, some of which predict badly. This is the geometric mean of the
    strengths on a path, in proportion to the likelihoods of left-out rows: which one is best is a
    matter of chance. The fits without each fold are the experts of one bank, which goes down the
    path.
    """
    strengths, design = bank.strength_path(rows), bank.design.plain
    n_deals = min(MOST_DEALS, -(-LEFT_OUT // rows.units.n_rows))
    deals = [scaled_folds(rows, design, STRENGTH_FOLDS, seed) for seed in range(n_deals)]
    left_out = [folds == fold for folds in deals for fold in range(folds.max() + 1)]
    out = rows.spread(np.array(left_out, dtype=float))
    inside, weight = 1.0 - out, out if rows.weight is None else out * rows.weight
    fits = bank.replicate(len(out))
    if can(bank, "floor"):
        fits = fits.with_floor(bank.floor)
    n_steps = 1 if can(bank, "dispersed") else PATH_STEPS
    found: list[float] = []
    for strength in strengths:
        fits = _fitted(fits.chosen_at(strength), rows, inside, n_steps)
        fits = _dispersed(fits, rows, inside)
        found.append(float(np.vdot(weight, _log_density(fits, rows))) / n_deals)
        if found[-1] < max(found) - HOPELESS:
            break
    return float(np.exp(softmax(found) @ np.log(strengths[: len(found)])))


def _dispersed(bank: Any, rows: Rows, resp: np.ndarray) -> Any:
    """Return a fitted bank with dispersions that allow for the errors of coefficients."""
    if not can(bank, "dispersed"):
        return bank
    (statistics,) = statistics_at(State(None, bank), rows, resp)
    return _fitted(bank.dispersed(statistics, rows), rows, resp, 1)


def _log_density(bank: Any, rows: Rows) -> np.ndarray:
    """Return the log-densities of all rows by each expert, (K, n)."""
    density = rows.map(bank.log_prob, axis=1)
    return np.maximum(np.nan_to_num(density, nan=-np.inf), LEAST_LOG_DENSITY)
