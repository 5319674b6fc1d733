"""The loop: pass over the rows, update every part, and again.

Gate and experts are known by the protocols of `mixexp.protocols` only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np

from mixexp._engine.assign import Assigner
from mixexp._engine.guard import FALL_TOL, fallen, retreats
from mixexp._engine.sweep import EStep, State, measured, sweep
from mixexp.protocols import Block, Rows, can

__all__ = [
    "Accelerator",
    "Evaluation",
    "Observer",
    "Problem",
    "Run",
    "evaluate",
    "m_step",
    "run_em",
]

#: A fall by more than this, relative to max(1, |bound|), is no rounding: where the most cautious
#: step ends in one, an update is no M-step.
ROUNDING = 1e-6

#: Shares of a step that are compared where the bound cannot judge it, beside none and all.
SHARES = (1 / 16, 1 / 4, 1 / 2)

#: Iterations without a better bound after which a run without ascent ends.
PATIENCE = 10


class Accelerator(Protocol):
    """Proposes a state further ahead than the M-step."""

    def __call__(self, run: Run, proposal: State) -> State:
        """Return a state to try in place of `proposal`, the one after the M-step, or that itself.

        Where its bound is lower than the last one, `proposal` is taken.
        """


class Observer(Protocol):
    """Looks at a run after every iteration."""

    def __call__(self, run: Run) -> bool:
        """Return whether the run is to stop here."""


@dataclass(frozen=True)
class Problem:
    """The inputs of a run.

    An expert with less than `smallest_share` of the weight of an equal share has collapsed, and
    ends the run; 0 lets it go on. The last `n_fixed` responsibilities are not of experts that can
    collapse.
    """

    rows: Rows
    assigner: Assigner
    max_iter: int
    tol: float
    smallest_share: float = 0.0
    n_fixed: int = 0
    accelerate: Accelerator | None = None
    observe: Observer | None = None

    def climbs(self, state: State) -> bool:
        """Return whether an iteration from this state cannot lower the bound."""
        return self.assigner.monotone and all(part.monotone for part in state.parts)


@dataclass(frozen=True)
class Evaluation:
    """A state, its lower bound, the statistics of an M-step from it, the experts' weight (K,)."""

    state: State
    bound: float
    statistics: list
    mass: np.ndarray


@dataclass
class Run:
    """What a run changes as it goes, and what it returns."""

    current: Evaluation
    best: Evaluation
    previous: State
    bounds: list[float] = field(default_factory=list)
    n_passes: int = 1
    converged: bool = False
    collapsed: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=int))
    n_earlier: int = 0  # iterations of segments before this one
    stuck: float = 0.0  # by how much every step at the end lowers the bound, beyond rounding

    @property
    def state(self) -> State:
        """The best state."""
        return self.best.state

    @property
    def bound(self) -> float:
        """The bound of the best state."""
        return self.best.bound


def evaluate(problem: Problem, state: State, step: int) -> Evaluation:
    """Return the bound of a state and the statistics for its M-step: one pass.

    A bound that is not finite is −inf.
    """
    state = measured(state, problem.rows)
    total = sweep(problem.rows, state, EStep(state, problem.assigner, step))
    priors = sum(part.log_prior() for part in state.parts if can(part, "log_prior"))
    bound = (total.objective + priors) / problem.rows.units.total_weight
    bound = bound if np.isfinite(bound) else -np.inf
    return Evaluation(state, bound, total.sums, total.mass)


def _check_finite(evaluation: Evaluation, step: int) -> None:
    if evaluation.bound == -np.inf:
        raise ValueError(
            f"The log-likelihood is not finite at EM iteration {step}: X or y is too large or too "
            "small for float64, or an expert or the gate gives NaN. Rescale the data, or look at "
            "what the experts predict and at the gate's probabilities."
        )


def m_step(rows: Rows, state: State, statistics: list) -> State:
    """Return the state after each part's update."""
    return state.apply(
        lambda part, sums, view: part.update(sums, view), statistics, state.views(rows.units, rows)
    )


@np.errstate(over="ignore", invalid="ignore")  # the bound is looked at instead
def run_em(problem: Problem, state: State) -> Run:
    """Run EM from a state.

    1. Pass over the data: the bound of the state, and statistics (E-step).
    2. Update every part from its statistics (M-step); an accelerator may look further ahead.
    3. Pass again: the bound of the new state shows whether the step was good; if the bound
       fell, take a more cautious one (`_safeguarded`). Newton steps can overshoot.
    4. Stop where the gain, and the gain that Aitken's rule says is left, are below `tol`; where an
       expert has collapsed, for the caller to deal with it; where every step lowers the bound by
       more than rounding can; or where an observer says so.

    So the bound always belongs to the state that it is reported for. Where a part is not fitted
    by likelihood the bound may fall; the best state is returned then.
    """
    first = evaluate(problem, state, 0)
    _check_finite(first, 0)
    run = Run(first, first, state)
    for step in range(1, problem.max_iter + 1):
        trial, climbs = _next(problem, run, step)
        _check_finite(trial, step)
        run.previous, run.current = run.current.state, trial
        run.bounds.append(trial.bound)
        if trial.bound >= run.best.bound or step == 1:
            run.best = trial
        run.collapsed = _collapsed(problem, trial)
        if len(run.collapsed) or run.stuck:
            break
        if _settled(run.bounds, problem.tol, climbs):
            run.converged = True
            break
        if problem.observe is not None and problem.observe(run):
            break
    return run


def _next(problem: Problem, run: Run, step: int) -> tuple[Evaluation, bool]:
    """Return the evaluation after one iteration, and whether it could not lower the bound."""
    old = run.current
    proposal = m_step(problem.rows, old.state, old.statistics)
    if not problem.climbs(old.state):
        proposal = _line_search(problem, old.state, proposal, step - 1)
    if problem.accelerate is not None:
        leap = problem.accelerate(run, proposal)
        if leap is not proposal:
            trial = evaluate(problem, leap, step)
            run.n_passes += 1
            if trial.bound >= old.bound:
                return trial, problem.climbs(leap)
    trial = evaluate(problem, proposal, step)
    run.n_passes += 1
    climbs = problem.climbs(proposal)
    return _safeguarded(problem, run, trial, step) if climbs else trial, climbs


def _collapsed(problem: Problem, trial: Evaluation) -> np.ndarray:
    """Return the experts that have too little weight."""
    mass = trial.mass[: len(trial.mass) - problem.n_fixed]
    equal = problem.rows.units.total_weight / len(mass)
    return np.flatnonzero(mass < problem.smallest_share * equal)


def _safeguarded(problem: Problem, run: Run, trial: Evaluation, step: int) -> Evaluation:
    """Return an evaluation whose bound has not fallen.

    The full step; those that `retreats` says, of all parts at once; the step under a bound of the
    curvature, which needs other statistics of the old state and so a pass of its own; and if
    rounding hides even that, the old state.
    """
    old = run.current
    if not fallen(trial.bound, old.bound):
        return trial
    for state in _shorter(problem.rows, old, trial.state):
        trial = evaluate(problem, state, step)
        run.n_passes += 1
        if not fallen(trial.bound, old.bound):
            return trial
    bounded = old.state.apply(lambda part: part.bounded() if can(part, "bounded") else part)
    again = evaluate(problem, bounded, step)
    trial = evaluate(problem, m_step(problem.rows, bounded, again.statistics), step)
    run.n_passes += 2
    if not fallen(trial.bound, old.bound):
        return trial
    fall = old.bound - trial.bound
    run.stuck = float(fall) if fall > ROUNDING * max(1.0, abs(old.bound)) else 0.0
    return old


def _shorter(rows: Rows, old: Evaluation, new: State) -> Iterator[State]:
    """Yield states after more and more cautious steps, until no part has any left."""
    views = old.state.views(rows.units, rows)
    tries = [
        retreats(*each)
        for each in zip(old.state.parts, new.parts, old.statistics, views, strict=True)
    ]
    while True:
        parts = [next(each, None) for each in tries]
        if all(part is None for part in parts):
            return
        new = new.apply(lambda last, part: last if part is None else part, parts)
        yield new


def _line_search(problem: Problem, old: State, new: State, step: int) -> State:
    """Return the state in which each Newton-type part has taken the best share of its step.

    Where the bound need not climb it cannot show whether a step was good; the part's own
    expected log-likelihood, at the responsibilities it was fitted to, does.
    """
    states = [old, *(old.apply(_share(t), new.parts) for t in SHARES), new]
    looked = [
        i
        for i, (part, half) in enumerate(zip(new.parts, states[-2].parts, strict=True))
        if can(part, "toward") and half is not part
    ]
    if not looked:
        return new
    states = [measured(state, problem.rows) for state in states]
    e_step = EStep(old, problem.assigner, step)
    gains = problem.rows.reduce(partial(_gains, states=states, looked=looked, e_step=e_step))
    for i in looked:
        priors = [s.parts[i].log_prior() if can(s.parts[i], "log_prior") else 0.0 for s in states]
        gains[:, i] += priors
    best = np.where(np.isfinite(gains), gains, -np.inf).argmax(axis=0)
    best[[i for i in range(len(best)) if i not in looked]] = len(states) - 1
    chosen = iter(best)
    return new.apply(lambda *versions: versions[1 + next(chosen)], *(s.parts for s in states))


def _gains(block: Block, states: list[State], looked: list[int], e_step: EStep) -> np.ndarray:
    """Return the expected log-likelihoods (n_states, n_parts) of some parts on a block."""
    block = block.fresh()
    assigned = e_step(block)
    views = e_step.state.views((block.unit, assigned.unit_resp), (block, assigned.resp))
    gains = np.zeros((len(states), len(views)))
    for i in looked:
        view, resp = views[i]
        gains[:, i] = [float(np.sum(resp * s.parts[i].log_prob(view))) for s in states]
    return gains


def _share(t: float) -> Callable[..., Any]:
    return lambda part, new: part.toward(new, t) if can(part, "toward") else new


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
