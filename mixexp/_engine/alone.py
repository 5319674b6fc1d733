"""The fit of one expert to all rows, from which experts begin."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from scipy.special import softmax

from mixexp._engine.criteria import LEAST_LOG_DENSITY
from mixexp._engine.fixed import fit_at, statistics_at
from mixexp._engine.folds import split, unit_folds
from mixexp._engine.sweep import State
from mixexp._engine.tuning import MOST_ROUNDS, SMALL_CHANGE, largest_change, underdetermined
from mixexp.protocols import Rows, can

__all__ = ["one_expert"]

#: Steps of the fit; one is exact for linear experts. Those that weigh rows by their residuals take
#: so many again, at most so often, until dispersions change by less than this share.
ONE_EXPERT_STEPS, MOST_REPEATS, SETTLED = 5, 20, 1e-3

#: Steps at a strength from the end of the fit at a stronger one.
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
    if not underdetermined(bank, rows):
        return _fitted(bank, rows)
    if can(bank, "strength_path"):
        return _by_left_out_rows(bank, rows)
    return _by_evidence(_fitted(bank, rows), rows)


def _fitted(bank: Any, rows: Rows, n_steps: int = ONE_EXPERT_STEPS) -> Any:
    """Return the bank after so many steps, or more where steps weigh rows by their residuals."""
    step = partial(fit_at, rows=rows, resp=np.ones((1, rows.n_rows)), n_steps=n_steps)
    state = step(State(None, bank))
    reweights = getattr(getattr(bank, "family", None), "reweights", False)
    for _ in range(MOST_REPEATS if reweights else 0):
        before, state = state, step(state)
        old, new = (each.bank.parameters[0] for each in (before, state))  # type: ignore[union-attr]
        if np.all(np.abs(new - old) <= SETTLED * old):
            break
    return state.bank


def _by_evidence(bank: Any, rows: Rows) -> Any:
    """Return a fitted bank with the penalty that its evidence sets."""
    ones = np.ones((1, rows.n_rows))
    for _ in range(MOST_ROUNDS):
        before = State(None, bank)
        state = State(None, bank.tuned(*statistics_at(before, rows, ones), rows))
        bank = fit_at(state, rows, ones, ONE_EXPERT_STEPS).bank
        if largest_change(before, state) < SMALL_CHANGE:
            break
    return bank


def _by_left_out_rows(bank: Any, rows: Rows) -> Any:
    """Return the bank, fitted, with a penalty with which it predicts left-out rows well.

    It is the geometric mean of those on a path, in proportion to the likelihoods of left-out rows:
    with few rows, which one is best is a matter of chance.
    """
    n_units = rows.units.n_rows
    if n_units == 1:
        return _fitted(bank, rows)
    strengths = bank.strength_path(rows)
    n_deals = min(MOST_DEALS, -(-LEFT_OUT // n_units))
    parts = []
    for seed in range(n_deals):
        folds = unit_folds(rows, seed, STRENGTH_FOLDS)
        parts += [split(rows, folds == fold)[:2] for fold in range(folds.max() + 1)]
    tests = [test for _, test in parts]
    found: list[float] = []
    for fits in zip(*(_path(bank, train, strengths) for train, _ in parts), strict=True):
        found.append(sum(map(_log_likelihood, fits, tests)) / n_deals)
        if found[-1] < max(found) - HOPELESS:
            break
    share = softmax(found)
    strength = np.exp(share @ np.log(strengths[: len(share)]))
    return _dispersed(_fitted(bank.chosen_at(strength), rows), rows)


def _path(bank: Any, rows: Rows, strengths: np.ndarray) -> Iterator[Any]:
    """Yield fits at these strengths, each from the end of the one before."""
    for strength in strengths:
        bank = _dispersed(_fitted(bank.chosen_at(strength), rows, PATH_STEPS), rows)
        yield bank


def _dispersed(bank: Any, rows: Rows) -> Any:
    """Return a fitted bank with dispersions that allow for the errors of coefficients."""
    if not can(bank, "dispersed"):
        return bank
    (statistics,) = statistics_at(State(None, bank), rows, np.ones((1, rows.n_rows)))
    return _fitted(bank.dispersed(statistics, rows), rows, 1)


def _log_likelihood(bank: Any, rows: Rows) -> float:
    """Return the weighted log-likelihood of rows by one expert."""
    density, weight = rows.map(bank.log_prob, axis=1)[0], rows.weight
    density = np.maximum(np.nan_to_num(density, nan=-np.inf), LEAST_LOG_DENSITY)
    return float(density.sum() if weight is None else density @ weight)
