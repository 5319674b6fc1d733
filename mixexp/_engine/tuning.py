"""Penalties set by their evidence, before the long run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from mixexp._engine.em import Evaluation, Problem, Run, log_prior, run_em
from mixexp._engine.fixed import fit_at, statistics_at
from mixexp._engine.sweep import State
from mixexp.protocols import Rows, can

__all__ = ["penalised_as", "tuned", "tuned_alone"]

#: EM iterations between two changes of the penalties, and most changes.
ROUND_ITER, MOST_ROUNDS = 4, 15

#: Most EM iterations in which a state settles: evidence is no guide to regions that are on their
#: way from a few rows.
SETTLE_ITER = 64

#: Change of the logarithm of a penalty at which it has settled, and change of the bound, in nats a
#: row, at which they all have.
SMALL_CHANGE, SMALL_GAIN = 0.1, 1e-5


def tuned(problem: Problem, state: State, *, settle: bool = False) -> tuple[State, int]:
    """Return a state with penalties set by their evidence, and the passes that it took.

    1. A few EM iterations; first more, if it is to settle.
    2. Each part that can sets its penalty by the statistics (MacKay 1992).
    3. Again, until penalties hardly change, or that hardly changes the bound, with no more
       iterations than the run may take.
    4. If the bound is lower than at the first penalties, these stay; not where rows are few for the
       coefficients of a part, as a bound that weak penalties raise is that of rows learnt by heart.

    In the long run that follows, penalties are fixed, so that every iteration raises the bound.
    """
    if not any(can(part, "tuned") for part in state.parts) or not problem.climbs(state):
        return state, 0
    first: Run | None = None
    last: Run | None = None
    begin, n_passes = None, 0
    short = replace(problem, max_iter=min(ROUND_ITER, problem.max_iter), accelerate=None)
    usual = replace(short, observe=None)
    settling = replace(short, max_iter=min(SETTLE_ITER, problem.max_iter), observe=_hardly_climbs)
    for _ in range(min(MOST_ROUNDS, -(-problem.max_iter // ROUND_ITER))):
        run = run_em(settling if settle and last is None else usual, state, begin)
        n_passes += run.n_passes - (begin is not None)
        before, last = last, run
        first = run if first is None else first
        begin = _with_penalties(problem, run.best)
        state = begin.state
        if before is not None and abs(run.bound - before.bound) < SMALL_GAIN:
            break
        if _largest_change(run.best.state, state) < SMALL_CHANGE:
            break
    by_heart = any(_underdetermined(part, problem.rows) for part in state.parts)
    if first is not None and last is not None and last.bound < first.bound and not by_heart:
        state = first.state
    return state, n_passes


def _hardly_climbs(run: Run) -> bool:
    """Return whether the bound has hardly changed over the last iterations, in any unit of y."""
    last = run.bounds[-1 - ROUND_ITER :]
    return len(last) > ROUND_ITER and abs(last[-1] - last[0]) < SMALL_GAIN


def tuned_alone(bank: Any, rows: Rows, n_steps: int) -> Any:
    """Return a fitted bank of one expert with the penalty that its evidence sets.

    Only where rows are few for the coefficients of one expert: a weak penalty would let each of
    several explain any rows, and starts would be as good as random.
    """
    if not _underdetermined(bank, rows):
        return bank
    ones = np.ones((1, rows.n_rows))
    for _ in range(MOST_ROUNDS):
        before = State(None, bank)
        state = State(None, bank.tuned(*statistics_at(before, rows, ones), rows))
        bank = fit_at(state, rows, ones, n_steps).bank
        if _largest_change(before, state) < SMALL_CHANGE:
            break
    return bank


def penalised_as(gate: Any, other: Any) -> Any:
    """Return a gate that begins anew, with the penalties that its evidence has set for another."""
    both = can(gate, "penalised_as") and can(other, "penalised_as")
    return gate.penalised_as(other) if both else gate


def _underdetermined(part: Any, rows: Rows) -> bool:
    return can(part, "underdetermined") and part.underdetermined(rows)


def _with_penalties(problem: Problem, here: Evaluation) -> Evaluation:
    """Return an evaluation with the penalties that its statistics ask for.

    The statistics are those of the likelihood, and stay what they are.
    """
    rows = problem.rows
    state = here.state.apply(
        lambda part, sums, view: part.tuned(sums, view) if can(part, "tuned") else part,
        here.statistics,
        here.state.views(rows.units, rows),
    )
    gain = (log_prior(state) - log_prior(here.state)) / rows.units.total_weight
    return replace(here, state=state, bound=here.bound + gain)


def _largest_change(old: State, new: State) -> float:
    """Return the largest change of the logarithm of a strength."""
    changes = [
        np.abs(np.log(after.strengths / before.strengths))
        for before, after in zip(old.parts, new.parts, strict=True)
        if can(before, "tuned")
    ]
    return float(np.max(np.concatenate(changes)))
