"""Penalties set by their evidence, before the long run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from mixexp._engine.em import Evaluation, Problem, Run, log_prior, run_em
from mixexp._engine.sweep import State
from mixexp.protocols import Rows, can

__all__ = ["largest_change", "penalised_as", "tuned", "underdetermined"]

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
        if largest_change(run.best.state, state) < SMALL_CHANGE:
            break
    by_heart = any(underdetermined(part, problem.rows) for part in state.parts)
    if first is not None and last is not None and last.bound < first.bound and not by_heart:
        state = first.state
    return state, n_passes


def _hardly_climbs(run: Run) -> bool:
    """Return whether the bound has hardly changed over the last iterations, in any unit of y."""
    last = run.bounds[-1 - ROUND_ITER :]
    return len(last) > ROUND_ITER and abs(last[-1] - last[0]) < SMALL_GAIN


def penalised_as(gate: Any, other: Any) -> Any:
    """Return a gate that begins anew, with the penalties that its evidence has set for another."""
    both = can(gate, "penalised_as") and can(other, "penalised_as")
    return gate.penalised_as(other) if both else gate


def underdetermined(part: Any, rows: Rows) -> bool:
    """Return whether a part whose penalty sets itself says that rows are few for it."""
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


def largest_change(old: State, new: State) -> float:
    """Return the largest change of the logarithm of a strength."""
    changes = [
        np.abs(np.log(after.strengths / before.strengths))
        for before, after in zip(old.parts, new.parts, strict=True)
        if can(before, "tuned")
    ]
    return float(np.max(np.concatenate(changes)))
