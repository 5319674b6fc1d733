"""Held-out log-densities of a fitted mixture, by refits that go on from its responsibilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mixexp._engine.alone import knows_left_out, left_out_log_prob
from mixexp._engine.context import ROUND_TOL, START_STEPS, posteriors
from mixexp._engine.criteria import fitness
from mixexp._engine.em import Problem, run_em
from mixexp._engine.fixed import fit_at
from mixexp._engine.folds import split, unit_folds
from mixexp._engine.sweep import State
from mixexp._engine.tuning import tuned
from mixexp._guests import in_threads
from mixexp.protocols import Rows, can

if TYPE_CHECKING:
    from mixexp._engine.search import SearchProblem

__all__ = ["held_out"]

#: EM iterations of a refit without a fold, most of which it needs to forget the rows it is judged
#: by: of ten simulated problems of 1 or 3 experts, the number within one standard error of the best
#: is right for ten with 40 or 80 iterations, and for seven with 20.
WARM_ITER = 40

#: Rows for each column from which one expert is hardly worse without a third of them.
ROWS_PER_COLUMN = 20

#: Rows for each penalty of a gate from which refits keep those of the full fit.
ROWS_PER_STRENGTH = 20


def held_out(problem: SearchProblem, state: State, rows: Rows) -> np.ndarray:
    """Return log p(y | x) of every unit (n_units,), by a refit that has not seen it.

    Each refit sets out from the responsibilities that the full fit gives the rows outside of a
    fold, and takes some EM iterations. It therefore stays at the optimum of the full fit, and
    knows a little of the rows it is judged by; in exchange it costs a fraction of a fit, and all
    refits are of the same mixture. Refits from new starts may end elsewhere, and then say more
    about starts than about the number of experts.

    Penalties are those of the full fit unless they are many for the rows: as many choose the
    columns by which a border goes through noise, and are then set anew. Of one expert and few rows,
    densities without each row are known; without a third of them, it would be worse than it is.
    """
    bank: Any = state.bank
    if problem.n_experts == 1 and _are_few(bank, rows) and knows_left_out(bank, rows):
        return left_out_log_prob(bank, rows)
    resp = posteriors(state, rows)[0]
    folds = unit_folds(rows, problem.seed)
    units = rows.units.n_rows
    if folds.max(initial=0) == 0:  # one unit: nothing can be held out
        return fitness(state, rows).log_density
    calls = [(problem, state, rows, resp, folds == fold) for fold in range(folds.max() + 1)]
    found = np.empty(units)
    for call, density in zip(calls, in_threads(_of_fold, calls, problem.n_jobs), strict=True):
        found[call[-1]] = density
    return found


def _of_fold(
    problem: SearchProblem, state: State, rows: Rows, resp: np.ndarray, out: np.ndarray
) -> np.ndarray:
    """Return the log-densities of the units of a fold."""
    train, test, inside = split(rows, out)
    state = state.apply(_forgetful)
    if _sets_many(state.gate, rows) and _has_all(problem, state):
        anew = fit_at(State(problem.gate, state.bank), train, resp[:, inside], START_STEPS)
        state, _ = tuned(Problem(train, problem.assigner, WARM_ITER, ROUND_TOL), anew)
    refit = fit_at(state, train, resp[:, inside], START_STEPS)
    if all(can(part, "get_parameters") for part in state.parts):  # else every step costs a fit
        refit = run_em(Problem(train, problem.assigner, WARM_ITER, ROUND_TOL), refit).state
    refit = refit.apply(
        lambda part, view: part.finished(view) if can(part, "finished") else part,
        refit.views(train.units, train),
    )
    return fitness(refit, test).log_density


def _are_few(bank: Any, rows: Rows) -> bool:
    """Return whether one expert is worse without a third of the rows."""
    design = getattr(bank, "design", None)
    return design is not None and rows.n_rows < ROWS_PER_COLUMN * design.n_slopes


def _sets_many(gate: Any, rows: Rows) -> bool:
    """Return whether a gate has set more penalties than rows can be trusted with."""
    return can(gate, "tuned") and rows.units.n_rows < ROWS_PER_STRENGTH * len(gate.strengths)


def _has_all(problem: SearchProblem, state: State) -> bool:
    """Return whether a state is of the gate that its fit began with, and has all experts."""
    n_experts = problem.n_experts + (problem.noise is not None)
    bank: Any = state.bank
    return problem.batch_gate is None and bank.n_experts == n_experts


def _forgetful(part: Any) -> Any:
    """Return a part without predictions of its training rows, which a refit has others of."""
    return part if can(part, "get_parameters") or not can(part, "trimmed") else part.trimmed()
