"""The EM loop: a pass over the rows, an update of every part, and so on.

Gate and experts are used through the protocols of `mixexp.protocols` only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np

from mixexp._engine.assign import Assigner
from mixexp._engine.guard import FALL_TOL, fallen, retreats
from mixexp._engine.information import Information, information_of
from mixexp._engine.sweep import (
    Assigned,
    State,
    climbed,
    e_step_of,
    measured,
    prepared,
    sweep,
)
from mixexp.protocols import Block, Rows, can

__all__ = [
    "Accelerator",
    "Evaluation",
    "Observer",
    "Problem",
    "Run",
    "evaluate",
    "log_prior",
    "m_step",
    "run_em",
    "shorter_steps",
]

#: A fall by more than this, relative to max(1, |bound|), is more than rounding: if even the
#: most cautious step ends in one, an update is not an M-step.
ROUNDING = 1e-6

#: Shares of a step that are compared, besides none and all, where the bound cannot judge it.
SHARES = (1 / 16, 1 / 4, 1 / 2)

#: Iterations without a better bound after which a run without ascent ends.
PATIENCE = 10


class Accelerator(Protocol):
    """Proposes a state further ahead than the M-step.

    Optional members: `informed`, whether evaluations are to come with the observed information;
    ``settled(run)``, whether the run has settled, or None for the usual rule; ``begun(state)``, the
    accelerator of a new run, for one that has a memory.
    """

    def __call__(self, run: Run) -> State | None:
        """Return a state to try in place of the state after the M-step, or None.

        If its bound is lower than the last one, or an expert collapses, the M-step is taken.
        """


class Observer(Protocol):
    """Watches a run, and may stop it after any iteration."""

    def __call__(self, run: Run) -> bool:
        """Return whether to stop the run here."""


@dataclass(frozen=True)
class Problem:
    """The inputs of a run.

    An expert with less than `smallest_share` of an equal share of the weight has collapsed and
    ends the run; with 0 the run goes on. The last `n_fixed` experts cannot collapse. `n_earlier`
    iterations were done in runs that this one goes on from.
    """

    rows: Rows
    assigner: Assigner
    max_iter: int
    tol: float
    smallest_share: float = 0.0
    n_fixed: int = 0
    n_earlier: int = 0
    accelerate: Accelerator | None = None
    observe: Observer | None = None

    def climbs(self, state: State) -> bool:
        """Return whether an iteration from this state cannot lower the bound."""
        return self.assigner.monotone and all(part.monotone for part in state.parts)


@dataclass(frozen=True)
class Evaluation:
    """A state, its lower bound, the statistics of an M-step from it, the experts' weight (K,).

    The information is there if it was asked for.
    """

    state: State
    bound: float
    statistics: list
    mass: np.ndarray
    information: Information | None = None


@dataclass
class Run:
    """The progress of a run, and its result."""

    current: Evaluation
    best: Evaluation
    previous: State
    bounds: list[float] = field(default_factory=list)
    n_passes: int = 1
    converged: bool = False
    collapsed: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=int))
    n_earlier: int = 0  # iterations of segments before this one
    rows: Rows | None = None  # with labels renumbered if experts were dropped
    stuck: float = 0.0  # least fall, beyond rounding, of the steps tried at the end
    turned_back: bool = False  # iterations after this state ended lower or in a spurious maximum
    stopped: bool = False  # by the observer
    accelerate: Accelerator | None = None  # with its memory of this run
    refused: float = np.nan  # bound of the last state that it proposed in vain

    @property
    def state(self) -> State:
        """The best state."""
        return self.best.state

    @property
    def bound(self) -> float:
        """The bound of the best state."""
        return self.best.bound


def evaluate(problem: Problem, state: State, step: int, informed: bool = False) -> Evaluation:
    """Return the bound of a state and the statistics for its M-step: one pass.

    A bound that is not finite is −inf. An assigner that needs all rows at once takes a second pass.
    If `informed`, the observed information comes with it, at two to four times the work.
    """
    state = prepared(state, problem.rows)
    e_step = e_step_of(state, problem.rows, problem.assigner, step)
    total = sweep(problem.rows, state, e_step, informed)
    bound = (total.objective + log_prior(state)) / problem.rows.units.total_weight
    bound = bound if np.isfinite(bound) else -np.inf
    information = information_of(state, total.sums.pop()) if informed else None
    return Evaluation(state, bound, total.sums, total.mass, information)


def log_prior(state: State) -> float:
    """Return the log-prior of the parts that have one."""
    return float(sum(part.log_prior() for part in state.parts if can(part, "log_prior")))


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


@np.errstate(over="ignore", invalid="ignore")  # the bound is checked instead
def run_em(
    problem: Problem, state: State, first: Evaluation | None = None, resumed: Run | None = None
) -> Run:
    """Run EM from a state; `first` is its evaluation if the caller has it.

    Or go on with a run that was broken off after an iteration, `resumed`: the numbers are those of
    a run that was not.

    1. Pass over the data for the bound of the state and the statistics (E-step).
    2. Update every part from its statistics (M-step); an accelerator may step further ahead.
    3. Pass again: the bound of the new state shows whether the step was good; if it fell,
       take a more cautious one (`_safeguarded`). Newton steps can overshoot.
    4. Stop when the gain, and the remaining gain by Aitken's rule, are below `tol`; when an expert
       has collapsed, which the caller handles; when every step lowers the bound by more than
       rounding can; or when an observer says so.

    The bound thus always belongs to the state it is reported for. If a part is not fitted by
    likelihood, the bound may fall; the best state is then returned.
    """
    run = _begun(problem, state, first) if resumed is None else resumed
    for step in range(len(run.bounds) + 1, problem.max_iter + 1):
        trial, climbs = _next(problem, run, step)
        _check_finite(trial, step)
        run.previous, run.current = run.current.state, trial
        run.bounds.append(trial.bound)
        if trial.bound >= run.best.bound or step == 1:
            run.best = trial
        run.collapsed = _collapsed(problem, trial)
        if len(run.collapsed) or run.stuck:
            break
        if _done(problem, run, climbs):
            run.converged = True
            break
        if problem.observe is not None and problem.observe(run):
            run.stopped = True
            break
    return run


def _begun(problem: Problem, state: State, first: Evaluation | None) -> Run:
    """Return a run before its first iteration."""
    accelerate = problem.accelerate
    if can(accelerate, "begun"):
        accelerate = accelerate.begun(state)  # type: ignore[union-attr]
    if first is None:
        first = evaluate(problem, state, 0)
        _check_finite(first, 0)
    rows, n_earlier = problem.rows, problem.n_earlier
    return Run(first, first, state, n_earlier=n_earlier, rows=rows, accelerate=accelerate)


def _next(problem: Problem, run: Run, step: int) -> tuple[Evaluation, bool]:
    """Return the evaluation after an iteration, and whether its bound was sure not to fall."""
    old, informed = run.current, False
    if run.accelerate is not None:
        leap = run.accelerate(run)
        informed = getattr(run.accelerate, "informed", False)
        ahead = None if leap is None else _leapt(problem, run, leap, step, informed)
        if ahead is not None:
            return ahead, problem.climbs(ahead.state)
    proposal = m_step(problem.rows, old.state, old.statistics)
    if not problem.climbs(old.state):
        proposal = _line_search(problem, old.state, proposal, step - 1)
    trial = evaluate(problem, proposal, step, informed)
    run.n_passes += 1
    climbs = problem.climbs(proposal)
    return _safeguarded(problem, run, trial, step) if climbs else trial, climbs


def _leapt(problem: Problem, run: Run, leap: State, step: int, informed: bool) -> Evaluation | None:
    """Return the evaluation of a state further ahead, None if the bound fell or an expert did."""
    trial = evaluate(problem, leap, step, informed)
    run.n_passes += 1
    if trial.bound >= run.current.bound and not len(_collapsed(problem, trial)):
        return trial
    run.refused = trial.bound if trial.bound > -np.inf else -np.inf  # NaN is lower than any
    return None


def _collapsed(problem: Problem, trial: Evaluation) -> np.ndarray:
    """Return the experts with too little weight."""
    mass = trial.mass[: len(trial.mass) - problem.n_fixed]
    equal = problem.rows.units.total_weight / len(mass)
    return np.flatnonzero(mass < problem.smallest_share * equal)


def _safeguarded(problem: Problem, run: Run, trial: Evaluation, step: int) -> Evaluation:
    """Return an evaluation whose bound has not fallen.

    Tried in turn: the full step; the `retreats` of all parts at once; the step under a bound of the
    curvature, whose statistics need another pass at the old state; and the old state, when even
    that step is lost in rounding.
    """
    old = run.current
    if not fallen(trial.bound, old.bound):
        return trial
    for state in shorter_steps(problem.rows, old.state, trial.state, old.statistics):
        trial = evaluate(problem, state, step)
        run.n_passes += 1
        if not fallen(trial.bound, old.bound):
            return trial
    bounded = old.state.apply(lambda part: part.bounded() if can(part, "bounded") else part)
    evaluation = evaluate(problem, bounded, step)
    trial = evaluate(problem, m_step(problem.rows, bounded, evaluation.statistics), step)
    run.n_passes += 2
    if not fallen(trial.bound, old.bound):
        return trial
    fall = old.bound - trial.bound
    run.stuck = float(fall) if fall > ROUNDING * max(1.0, abs(old.bound)) else 0.0
    return old


def shorter_steps(rows: Rows, old: State, new: State, statistics: list) -> Iterator[State]:
    """Yield states after ever more cautious steps than to `new`, until no part has one left."""
    views = old.views(rows.units, rows)
    tries = [retreats(*each) for each in zip(old.parts, new.parts, statistics, views, strict=True)]
    while True:
        parts = [next(each, None) for each in tries]
        if all(part is None for part in parts):
            return
        new = new.apply(lambda last, part: last if part is None else part, parts)
        yield new


def _line_search(problem: Problem, old: State, new: State, step: int) -> State:
    """Return the state in which each Newton-type part has taken the best share of its step.

    A bound that may fall cannot show whether a step was good; the part's expected log-likelihood
    at the responsibilities it was fitted to can.
    """
    states = [old, *(old.apply(_share(t), new.parts) for t in SHARES), new]
    searched = [
        i
        for i, (part, half) in enumerate(zip(new.parts, states[-2].parts, strict=True))
        if can(part, "toward") and half is not part
    ]
    if not searched:
        return new
    states = [measured(state, problem.rows) for state in states]
    e_step = e_step_of(old, problem.rows, problem.assigner, step)
    gains = problem.rows.reduce(
        partial(_gains, states=states, searched=searched, old=old, e_step=e_step)
    )
    for i in searched:
        priors = [s.parts[i].log_prior() if can(s.parts[i], "log_prior") else 0.0 for s in states]
        gains[:, i] += priors
    best = np.where(np.isfinite(gains), gains, -np.inf).argmax(axis=0)
    best[[i for i in range(len(best)) if i not in searched]] = len(states) - 1
    chosen = iter(best)
    return new.apply(lambda *versions: versions[1 + next(chosen)], *(s.parts for s in states))


def _gains(
    block: Block,
    states: list[State],
    searched: list[int],
    old: State,
    e_step: Callable[[Block], Assigned],
) -> np.ndarray:
    """Return the expected log-likelihoods (n_states, n_parts) of some parts on a block."""
    block = block.fresh()
    assigned = e_step(block)
    views = old.views((block.unit, assigned.unit_resp), (block, assigned.resp))
    gains = np.zeros((len(states), len(views)))
    for i in searched:
        view, resp = views[i]
        gains[:, i] = [float(np.sum(resp * climbed(s.parts[i], view, resp))) for s in states]
    return gains


def _share(t: float) -> Callable[..., Any]:
    return lambda part, new: part.toward(new, t) if can(part, "toward") else new


def _done(problem: Problem, run: Run, climbs: bool) -> bool:
    """Return whether the run has settled; an accelerator knows better how much is to come."""
    known = None
    if can(run.accelerate, "settled"):
        known = run.accelerate.settled(run)  # type: ignore[union-attr]
    if known is None:
        return _settled(run.bounds, problem.tol, climbs)
    return problem.tol > 0 and bool(known)


def _settled(bounds: list[float], tol: float, climbs: bool) -> bool:
    """Return whether the last gain and the remaining gain by Aitken's rule are both below `tol`.

    Successive gains of EM eventually shrink by a constant rate c, which leaves d c / (1 − c) to
    come after a gain d (Böhning et al. 1994). `tol` is relative to max(1, |bound|); with
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
