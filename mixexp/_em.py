"""The engine: one pass over row blocks, a sum, a small update, and again.

The gate and the experts are only known by the protocols of `_protocols`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mixexp._assign import Assigner
from mixexp._blocks import Block, Design, Rows
from mixexp._guard import FALL_TOL, fallen, retreats
from mixexp._numerics import weighted_gram
from mixexp._protocols import can

__all__ = [
    "EStep",
    "Problem",
    "Run",
    "State",
    "evaluate",
    "m_step",
    "measured",
    "run_em",
    "sweep",
]

#: Shares of a step that are compared where the bound cannot judge it, beside none and all.
SHARES = (1 / 16, 1 / 4, 1 / 2)

#: Iterations without a better bound after which a run without ascent ends.
PATIENCE = 10


@dataclass(frozen=True)
class State:
    """The parameters: a gate and a bank of experts. Parts are values, so a state is too.

    One of the two may be None where only the other is fitted.
    """

    gate: Any
    bank: Any

    @property
    def parts(self) -> list:
        """Gate and bank, as far as there are."""
        return [part for part in (self.gate, self.bank) if part is not None]

    def views(self, *gate_and_bank: Any) -> list:
        """Return what belongs to each of `parts`."""
        pairs = zip((self.gate, self.bank), gate_and_bank, strict=True)
        return [view for part, view in pairs if part is not None]

    def apply(self, change: Callable[..., Any], *others: Any) -> State:
        """Return the state with `change(part, ...)` in place of each part."""
        changed = iter([change(*each) for each in zip(self.parts, *others, strict=True)])
        return State(
            None if self.gate is None else next(changed),
            None if self.bank is None else next(changed),
        )

    def select(self, experts: np.ndarray) -> State:
        """Return the state of some experts, in this order."""
        return self.apply(lambda part: part.select(experts))


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

    @property
    def state(self) -> State:
        """The best state."""
        return self.best.state

    @property
    def bound(self) -> float:
        """The bound of the best state."""
        return self.best.bound


def sweep(
    state: State, rows: Rows, respond: Callable[[Block], tuple[np.ndarray, np.ndarray, float]]
) -> tuple[float, list]:
    """Pass over the blocks once; return the objective and each part's summed statistics.

    `respond` gives the responsibilities (K, m) of a block's rows, times their weights, those of
    its units (rows or groups, which the gate sees), and its share of the objective. It has the
    parts' `log_prob` evaluated for parts that build on it.
    """
    parts, plan = state.parts, _gram_plan(state.parts)
    objective = 0.0
    totals: list = []
    for block in rows.blocks():
        resp, unit_resp, value = respond(block)
        objective += value
        views = state.views((block.unit, unit_resp), (block, resp))
        sums = [part.statistics(*view) for part, view in zip(parts, views, strict=True)]
        for design, requests, size in plan:
            _add_grams(design, requests, size, parts, views, sums)
        if not totals:
            totals = sums
        else:
            for i, more in enumerate(sums):
                totals[i] += more
    return objective, totals


def _gram_plan(parts: list) -> list[tuple[Design, list, int]]:
    """Return per design the slices of stacked weight rows that parts ask for.

    Gate and experts have different designs where rows are grouped, as their rows differ then.
    """
    plan: dict[Design, list] = {}
    for i, part in enumerate(parts):
        if can(part, "gram_weights"):
            requests = plan.setdefault(part.design, [])
            start = requests[-1][2] if requests else 0
            requests.append((i, start, start + part.n_gram_weights))
    return [(design, requests, requests[-1][2]) for design, requests in plan.items()]


def _add_grams(
    design: Design, requests: list, size: int, parts: list, views: list, sums: list
) -> None:
    """Add the Gram matrices of one design to its parts' statistics, by one product."""
    block: Block = views[requests[0][0]][0]
    weights = np.empty((size, block.n_rows))
    for i, start, stop in requests:
        parts[i].gram_weights(*views[i], weights[start:stop])
    gram = weighted_gram(weights, block.matrix(design), block.products(design))
    for i, start, stop in requests:
        sums[i]["gram"] = gram[start:stop]


class EStep:
    """The E-step of a state, as `sweep` asks for it; sums up the experts' weight as it goes."""

    def __init__(self, state: State, assigner: Assigner, step: int):
        self.state, self.assigner, self.step = state, assigner, step
        self.mass: Any = 0.0

    def __call__(self, block: Block) -> tuple[np.ndarray, np.ndarray, float]:
        """Return responsibilities of rows and units, and the block's share of the objective."""
        unit = block.unit
        log_joint = block.of_units(self.state.bank.log_prob(block))
        log_joint += self.state.gate.log_prob(unit)
        if unit.labels is not None:
            _keep_known(log_joint, unit.labels)
        unit_resp, objective = self.assigner(log_joint, unit, self.step)
        if can(self.state.gate, "log_marginal"):  # p(x) is the same for all experts
            objective = objective + self.state.gate.log_marginal(unit)
        value = float(objective.sum() if unit.weight is None else objective @ unit.weight)
        resp = block.of_rows(unit_resp)
        self.mass += np.add.reduce(unit_resp, axis=1)
        return resp, unit_resp, value


def _keep_known(log_joint: np.ndarray, labels: np.ndarray) -> None:
    """Leave the units whose expert is known, one with a label of 0 or more, to that expert."""
    known = np.flatnonzero(labels >= 0)
    own = log_joint[labels[known], known]
    log_joint[:, known] = -np.inf
    log_joint[labels[known], known] = own


def measured(state: State, rows: Rows) -> State:
    """Return the state for a pass over these rows: with what its parts have to know before it."""
    return state.apply(
        lambda part, own: part.measured(own) if can(part, "measured") else part,
        state.views(rows.units, rows),
    )


def evaluate(problem: Problem, state: State, step: int) -> Evaluation:
    """Return the bound of a state and the statistics for its M-step: one pass.

    A bound that is not finite is −inf.
    """
    state = measured(state, problem.rows)
    e_step = EStep(state, problem.assigner, step)
    objective, statistics = sweep(state, problem.rows, e_step)
    priors = sum(part.log_prior() for part in state.parts if can(part, "log_prior"))
    bound = (objective + priors) / problem.rows.units.total_weight
    bound = bound if np.isfinite(bound) else -np.inf
    return Evaluation(state, bound, statistics, e_step.mass)


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
        lambda part, sums, own: part.update(sums, own), statistics, state.views(rows.units, rows)
    )


@np.errstate(over="ignore", invalid="ignore")  # the bound is looked at instead
def run_em(problem: Problem, state: State) -> Run:
    """Run EM from a state.

    1. Pass over the data: the bound of the state, and statistics (E-step).
    2. Update every part from its statistics (M-step).
    3. Pass again: the bound of the new state shows whether the step was good; if the bound
       fell, take a more cautious one (`_safeguarded`). Newton steps can overshoot.
    4. Stop where the gain, and the gain that Aitken's rule says is left, are below `tol`; or
       where an expert has collapsed, for the caller to deal with it.

    So the bound always belongs to the state that it is reported for. Where a part is not fitted
    by likelihood the bound may fall; the best state is returned then.
    """
    first = evaluate(problem, state, 0)
    _check_finite(first, 0)
    run = Run(first, first, state)
    climbs = problem.assigner.monotone and all(part.monotone for part in state.parts)
    for step in range(1, problem.max_iter + 1):
        proposal = m_step(problem.rows, run.current.state, run.current.statistics)
        if not climbs:
            proposal = _line_search(problem, run.current.state, proposal, step - 1)
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
        run.collapsed = _collapsed(problem, trial)
        if len(run.collapsed):
            break
        if _settled(run.bounds, problem.tol, climbs):
            run.converged = True
            break
    return run


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
    return old if fallen(trial.bound, old.bound) else trial


def _shorter(rows: Rows, old: Evaluation, new: State) -> Iterator[State]:
    """Yield states after more and more cautious steps, until no part has any left."""
    views = old.state.views(rows.units, rows)
    tries = [
        retreats(*each)
        for each in zip(old.state.parts, new.parts, old.statistics, views, strict=True)
    ]
    while True:
        parts = [next(own, None) for own in tries]
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
    gains = np.zeros((len(states), len(new.parts)))
    for i in looked:
        gains[:, i] = [
            s.parts[i].log_prior() if can(s.parts[i], "log_prior") else 0.0 for s in states
        ]
    e_step = EStep(old, problem.assigner, step)
    for block in problem.rows.blocks():
        resp, unit_resp, _ = e_step(block)
        views = new.views((block.unit, unit_resp), (block, resp))
        for i in looked:
            view, own = views[i]
            gains[:, i] += [float(np.sum(own * s.parts[i].log_prob(view))) for s in states]
    best = np.where(np.isfinite(gains), gains, -np.inf).argmax(axis=0)
    best[[i for i in range(len(best)) if i not in looked]] = len(states) - 1
    chosen = iter(best)
    return new.apply(lambda *versions: versions[1 + next(chosen)], *(s.parts for s in states))


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
