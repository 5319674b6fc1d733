"""The engine: one pass over row blocks, a sum, a small update, and again.

The gate and the experts are only known by the protocols of `_protocols`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mixexp._assign import Assigner
from mixexp._blocks import Block, Design, Rows
from mixexp._numerics import weighted_gram
from mixexp._protocols import can

__all__ = ["Problem", "Run", "State", "evaluate", "m_step", "run_em", "sweep"]

#: A fall of the bound by more than this, relative to max(1, |bound|), is a failed step.
FALL_TOL = 1e-9

#: Shares of a failed step that are tried before the step under a bound of the curvature.
BACKTRACKS = (0.5, 0.25)

#: Iterations without a better bound after which a run without ascent ends.
PATIENCE = 10


@dataclass(frozen=True)
class State:
    """The parameters: a gate and a bank of experts. Parts are values, so a state is too."""

    gate: Any
    bank: Any

    @property
    def parts(self) -> tuple[Any, Any]:
        """Gate and bank."""
        return self.gate, self.bank

    def apply(self, change: Callable[..., Any], *others: Any) -> State:
        """Return the state with `change(part, ...)` in place of each part."""
        return State(*map(change, self.parts, *others))


@dataclass(frozen=True)
class Problem:
    """The inputs of a run."""

    rows: Rows
    assigner: Assigner
    max_iter: int
    tol: float


@dataclass(frozen=True)
class Evaluation:
    """A state, its lower bound, and the statistics of an M-step from it."""

    state: State
    bound: float
    statistics: list


@dataclass
class Run:
    """What a run changes as it goes, and what it returns."""

    current: Evaluation
    best: Evaluation
    previous: State
    bounds: list[float] = field(default_factory=list)
    n_passes: int = 1
    converged: bool = False

    @property
    def state(self) -> State:
        """The best state."""
        return self.best.state

    @property
    def bound(self) -> float:
        """The bound of the best state."""
        return self.best.bound


def sweep(
    parts: tuple, rows: Rows, respond: Callable[[Block], tuple[np.ndarray, float]]
) -> tuple[float, list]:
    """Pass over the blocks once; return the objective and each part's summed statistics.

    `respond` gives the responsibilities (K, m) of a block, times the row weights, and its share
    of the objective. It has the parts' `log_prob` evaluated for parts that build on it.
    """
    plan = _gram_plan(parts)
    objective = 0.0
    totals: list = []
    for block in rows.blocks():
        resp, value = respond(block)
        objective += value
        sums = [part.statistics(block, resp) for part in parts]
        for design, requests, size in plan:
            _add_grams(block, resp, design, requests, size, parts, sums)
        if not totals:
            totals = sums
        else:
            for i, more in enumerate(sums):
                totals[i] += more
    return objective, totals


def _gram_plan(parts: tuple) -> list[tuple[Design, list, int]]:
    """Return per design the slices of stacked weight rows that parts ask for."""
    plan: dict[Design, list] = {}
    for i, part in enumerate(parts):
        if can(part, "gram_weights"):
            requests = plan.setdefault(part.design, [])
            start = requests[-1][2] if requests else 0
            requests.append((i, start, start + part.n_gram_weights))
    return [(design, requests, requests[-1][2]) for design, requests in plan.items()]


def _add_grams(
    block: Block,
    resp: np.ndarray,
    design: Design,
    requests: list,
    size: int,
    parts: tuple,
    sums: list,
) -> None:
    """Add the Gram matrices of one design to its parts' statistics, by one product."""
    weights = np.empty((size, block.n_rows))
    for i, start, stop in requests:
        parts[i].gram_weights(block, resp, weights[start:stop])
    gram = weighted_gram(weights, block.matrix(design), block.products(design))
    for i, start, stop in requests:
        sums[i]["gram"] = gram[start:stop]


def e_step(state: State, assigner: Assigner, step: int) -> Callable[[Block], tuple]:
    """Return the E-step of a state, as `sweep` asks for it."""

    def respond(block: Block) -> tuple[np.ndarray, float]:
        log_joint = state.bank.log_prob(block)
        log_joint += state.gate.log_prob(block)
        resp, objective = assigner(log_joint, block, step)
        if block.weight is None:
            return resp, float(objective.sum())
        resp *= block.weight
        return resp, float(objective @ block.weight)

    return respond


def evaluate(problem: Problem, state: State, step: int) -> Evaluation:
    """Return the bound of a state and the statistics for its M-step: one pass.

    A bound that is not finite is −inf.
    """
    objective, statistics = sweep(state.parts, problem.rows, e_step(state, problem.assigner, step))
    priors = sum(part.log_prior() for part in state.parts if can(part, "log_prior"))
    bound = (objective + priors) / problem.rows.total_weight
    return Evaluation(state, bound if np.isfinite(bound) else -np.inf, statistics)


def _check_finite(evaluation: Evaluation, step: int) -> None:
    if evaluation.bound == -np.inf:
        raise ValueError(
            f"The log-likelihood is not finite at EM iteration {step}: X or y is too large or too "
            "small for float64, or an expert predicts NaN. Rescale the data, or look at what the "
            "experts predict."
        )


def m_step(rows: Rows, state: State, statistics: list) -> State:
    """Return the state after each part's update."""
    return state.apply(lambda part, sums: part.update(sums, rows), statistics)


@np.errstate(over="ignore", invalid="ignore")  # the bound is looked at instead
def run_em(problem: Problem, state: State) -> Run:
    """Run EM from a state.

    1. Pass over the data: the bound of the state, and statistics (E-step).
    2. Update every part from its statistics (M-step).
    3. Pass again: the bound of the new state shows whether the step was good; if the bound
       fell, go back part of the way (`_safeguarded`). Newton steps can overshoot.
    4. Stop where the gain, and the gain that Aitken's rule says is left, are below `tol`.

    So the bound always belongs to the state that it is reported for. Where a part is not fitted
    by likelihood the bound may fall; the best state is returned then.
    """
    first = evaluate(problem, state, 0)
    _check_finite(first, 0)
    run = Run(first, first, state)
    climbs = problem.assigner.monotone and all(part.monotone for part in state.parts)
    for step in range(1, problem.max_iter + 1):
        proposal = m_step(problem.rows, run.current.state, run.current.statistics)
        trial = evaluate(problem, proposal, step)
        run.n_passes += 1
        climbs = problem.assigner.monotone and all(part.monotone for part in proposal.parts)
        if climbs:
            trial = _safeguarded(problem, run, trial, step)
        _check_finite(trial, step)
        run.previous = run.current.state
        run.current = trial
        run.bounds.append(trial.bound)
        if trial.bound >= run.best.bound or step == 1:
            run.best = trial
        if _settled(run.bounds, problem.tol, climbs):
            run.converged = True
            break
    return run


def _safeguarded(problem: Problem, run: Run, trial: Evaluation, step: int) -> Evaluation:
    """Return an evaluation whose bound has not fallen.

    The full step; a half and a quarter of the Newton steps; the step under a bound of the
    curvature, which needs other statistics of the old state and so a pass of its own; and if
    rounding hides even that, the old state.
    """
    old = run.current
    lowest = old.bound - FALL_TOL * max(1.0, abs(old.bound))
    if trial.bound >= lowest:
        return trial
    proposal = trial.state
    for t in BACKTRACKS:
        state = old.state.apply(
            lambda part, new, t=t: part.toward(new, t) if can(part, "toward") else new,
            proposal.parts,
        )
        trial = evaluate(problem, state, step)
        run.n_passes += 1
        if trial.bound >= lowest:
            return trial
    bounded = old.state.apply(lambda part: part.bounded() if can(part, "bounded") else part)
    again = evaluate(problem, bounded, step)
    trial = evaluate(problem, m_step(problem.rows, bounded, again.statistics), step)
    run.n_passes += 2
    return trial if trial.bound >= lowest else old


def _settled(bounds: list[float], tol: float, climbs: bool) -> bool:
    """Return whether the last gain and what Aitken's rule says is left are both below `tol`.

    Successive gains of EM shrink by a constant rate c in the end, so a gain d leaves
    d c / (1 − c) to come (Böhning et al. 1994). `tol` is relative to max(1, |bound|); with
    `tol` 0 a run never settles.
    """
    if tol == 0 or len(bounds) < 3:
        return False
    small = tol * max(1.0, abs(bounds[-1]))
    if not climbs and len(bounds) > PATIENCE:
        return max(bounds[-PATIENCE:]) <= max(bounds[:-PATIENCE]) + small
    before, gain = bounds[-2] - bounds[-3], bounds[-1] - bounds[-2]
    if abs(gain) >= small:
        return False
    if abs(gain) <= FALL_TOL * small or not 0 < gain < before:
        return abs(gain) <= small * 1e-2
    rate = gain / before
    return gain * rate / (1 - rate) < small
