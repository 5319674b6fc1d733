"""The long run, and the handling of experts that are left with almost no rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from mixexp._engine.em import Problem, Run
from mixexp._engine.fixed import fit_at
from mixexp._engine.journal import Journal, once, run_or_recall
from mixexp._engine.regimes import Judge, raised, told_of
from mixexp._engine.sweep import Assigned, State, e_step_of, log_joint, posterior
from mixexp._engine.tuning import penalised_as, tuned
from mixexp.protocols import Block

__all__ = ["ON_COLLAPSE", "LongRun", "long_run"]

#: The ways to handle an expert that collapsed.
ON_COLLAPSE = ("reinit", "drop", "keep", "raise")

#: An expert has collapsed with less weight than this share of an equal share.
SMALLEST_SHARE = 0.01

#: An expert is restarted at most this often; after that it is kept.
MOST_RESTARTS = 2

#: A restarted expert gets the worst explained rows: this share of an equal share.
WORST_SHARE = 0.5

#: A restart that ends in another collapse has been in vain if the bound is not higher than before
#: by more than this, relative to max(1, |bound|). With a tenth of it, 228 simulated fits end no
#: higher, and one of 16 experts for 100 000 sparse rows begins anew four times and not once.
LEAST_GAIN = 1e-3

#: An earlier segment is returned if its bound is higher by more than this, relative to
#: max(1, |bound|).
BETTER = 1e-9

#: M-steps at fixed responsibilities after which EM goes on.
REINIT_STEPS = 2


@dataclass(frozen=True)
class LongRun:
    """The inputs of a long run.

    Attributes
    ----------
    problem : Problem
    gate : Gate
        The initial gate: after a collapse, the gate is fitted anew.
    on_collapse : {"reinit", "drop", "keep", "raise"}
    n_fixed : int
        Number of experts without parameters (noise); they come last.
    owner : str
    judge : Judge
        Finds the spurious experts of a state, which is then not chosen.
    journal : Journal or None
    tunes : bool
        Whether the gate's penalties are set again after a restart, rather than kept: those of
        regions that have not been in the race of the starts are no guide.
    """

    problem: Problem
    gate: Any
    on_collapse: str
    n_fixed: int
    owner: str
    judge: Judge
    journal: Journal | None = None
    tunes: bool = False


def long_run(setup: LongRun, state: State, events: list[str]) -> Run:
    """Run EM to its end; if an expert collapses, handle it and begin a new segment.

    Returns the best segment that is not flagged, with the passes of all segments; dropping an
    expert makes another model, so earlier segments no longer count. A segment that ended in a
    collapse goes on from its end, with the expert kept, and with dispersions that cannot be small
    where it would end in a spurious maximum. Every action is appended to `events`.
    """
    watch = setup.on_collapse != "keep"
    problem = replace(
        setup.problem, smallest_share=SMALLEST_SHARE if watch else 0.0, n_fixed=setup.n_fixed
    )
    restarted: dict[int, int] = {}
    segments: list[Run] = []
    resumed: Run | None = None
    n_passes = n_iter = 0
    while True:
        left = setup.problem.max_iter - n_iter
        segment = replace(problem, max_iter=left, n_earlier=n_iter)
        run = run_or_recall(setup.journal, segment, state)
        n_iter += len(run.bounds)
        run.n_passes = n_passes = n_passes + run.n_passes
        segments.append(run)
        if not len(run.collapsed):
            break
        last = n_iter == setup.problem.max_iter
        if setup.on_collapse == "drop":
            run.collapsed = _without_last(setup, run)
            if not len(run.collapsed):
                problem, state = replace(problem, smallest_share=0.0), run.current.state
                if last:
                    break
                continue
        action, resumed = _action(setup, segments, restarted, last)
        sizes = run.current.mass[run.collapsed]
        for k, size in zip(run.collapsed.tolist(), sizes, strict=True):
            _report(setup, events, action, k, float(size), n_iter)
            restarted[k] = restarted.get(k, 0) + 1
        if last:
            break
        if action == "keep":
            problem = replace(problem, smallest_share=0.0)
            state = run.current.state if resumed is None else resumed.state
        elif action == "drop":
            n_experts = len(run.current.mass)
            kept = np.setdiff1d(np.arange(n_experts), run.collapsed)
            state = run.current.state.select(kept)
            problem = replace(problem, rows=problem.rows.with_experts(kept, n_experts))
            segments = []
        else:
            state, n_more = _started_again(setup, run, setup.problem.max_iter - n_iter)
            n_passes += n_more
    if not watch:
        for k in np.flatnonzero(_small(setup, run)).tolist():
            _report(setup, events, "keep", k, float(run.best.mass[k]), n_iter)
    best = _best(setup, problem, segments, events)
    if resumed is not None and best is segments[-1]:
        step = resumed.n_earlier + len(resumed.bounds)
        events.append(
            f"EM went on from the fit as it was at EM iteration {step}, as starting experts again "
            "had hardly raised the bound"
        )
        best.bounds = resumed.bounds + best.bounds
        best.n_earlier = n_iter - len(best.bounds)
    best.rows = problem.rows
    return best


def _action(
    setup: LongRun, segments: list[Run], restarted: dict[int, int], last: bool
) -> tuple[str, Run | None]:
    """Return how a collapse is handled, and the segment to go on from if restarts were in vain.

    An expert is kept where the iterations are used up, where it has been started again often
    enough, and where starting experts again has hardly raised the bound.
    """
    action, collapsed = setup.on_collapse, segments[-1].collapsed
    if last and action != "raise":
        return "keep", None
    if action != "reinit":
        return action, None
    if all(restarted.get(k, 0) >= MOST_RESTARTS for k in collapsed):
        return "keep", None
    best = _best_in_vain(setup, segments)
    return ("reinit" if best is None else "keep"), best


def _started_again(setup: LongRun, run: Run, left: int) -> tuple[State, int]:
    """Return the state after a restart of collapsed experts, and the passes of its penalties."""
    state = _reinitialised(setup, run.current.state, run.collapsed)
    if not setup.tunes:
        return state, 0
    stage = partial(tuned, replace(setup.problem, max_iter=left), state, settle=True)
    state, n_passes = once(setup.journal, "penalties", stage)
    return state, n_passes


def _best_in_vain(setup: LongRun, segments: list[Run]) -> Run | None:
    """Return the best unflagged segment if the last one, after a restart, hardly gained."""
    last, rows = segments[-1], setup.problem.rows
    unflagged = [run for run in segments if not setup.judge.spurious(run.state, rows)]
    bounds = [run.bound for run in unflagged if run is not last]
    if not bounds or last.bound > max(bounds) + LEAST_GAIN * max(1.0, abs(max(bounds))):
        return None
    return max(unflagged, key=lambda run: run.bound)


def _best(setup: LongRun, problem: Problem, segments: list[Run], events: list[str]) -> Run:
    """Return the best unflagged segment, run to its end; the last one if all are flagged.

    Where an observer has said stop, that is about the last one.
    """
    last = segments[-1]
    if len(segments) == 1 or last.stopped:
        return last
    rows, margin = problem.rows, BETTER * max(1.0, abs(last.bound))
    flagged = bool(setup.judge.spurious(last.state, rows))
    lowest = -np.inf if flagged else last.bound + margin
    for run in sorted(segments[:-1], key=lambda run: -run.bound):
        if run.bound <= lowest:
            return last
        if not setup.judge.spurious(run.state, rows):
            return _continued(setup, problem, run, last, lowest, events)
    return last


def _continued(
    setup: LongRun, problem: Problem, run: Run, last: Run, lowest: float, events: list[str]
) -> Run:
    """Return a segment after the remaining iterations; collapsed experts are kept.

    If these iterations end in a spurious maximum, they are done again with the dispersions of its
    spurious experts bounded from below; the bound may then be lower, but not below `lowest`. If
    they end lower, or the iterations are used up, the segment is returned as it was.
    """
    done, n_passes, kept = last.n_earlier + len(last.bounds), last.n_passes, run
    bounded: dict[int, str] = {}
    state: State | None = run.state
    while state is not None and done < problem.max_iter:
        left = problem.max_iter - done
        rest = replace(problem, max_iter=left, smallest_share=0.0, n_earlier=done)
        more = run_or_recall(setup.journal, rest, state)
        n_passes, done = n_passes + more.n_passes, done + len(more.bounds)
        spurious = setup.judge.spurious(more.state, problem.rows)
        if not spurious:
            kept = more if more.bound >= (lowest if bounded else run.bound) else run
        if more.stopped or not spurious:
            kept.stopped = more.stopped
            break
        bounded |= spurious
        state = raised(run.state, bounded, setup.judge.unit)
    step = run.n_earlier + len(run.bounds)
    in_vain = lowest == -np.inf or (bounded and kept is run)
    later = f"as later iterations ended {'in a spurious maximum' if in_vain else 'lower'}"
    if kept is run:
        events.append(f"the fit as it was at EM iteration {step} is returned, {later}")
        run.turned_back = n_passes > last.n_passes
    else:
        events.append(f"EM went on from the fit as it was at EM iteration {step}, {later}")
        if bounded:
            events.append(told_of(bounded))
        else:
            kept.bounds = run.bounds + kept.bounds
    kept.n_passes, kept.n_earlier = n_passes, done - len(kept.bounds)
    return kept


def _small(setup: LongRun, run: Run) -> np.ndarray:
    mass = run.best.mass[: len(run.best.mass) - setup.n_fixed]
    return mass < SMALLEST_SHARE * setup.problem.rows.units.total_weight / len(mass)


def _report(setup: LongRun, events: list[str], action: str, k: int, size: float, step: int) -> None:
    """Record how a collapsed expert is handled, or raise."""
    total = setup.problem.rows.units.total_weight
    event = (
        f"expert {k} collapsed at EM iteration {step}: its effective size is {size:.3g} of a total "
        f"weight of {total:.6g}"
    )
    if action == "raise":
        raise ValueError(
            f"{setup.owner}: {event}. Lower n_experts, penalise the gate more, or set "
            "on_collapse='reinit' or 'drop'."
        )
    done = {
        "reinit": "it was started again on the worst explained rows",
        "drop": "it was dropped, and the experts after it moved up",
        "keep": "it was kept as it is",
    }
    events.append(f"{event}; {done[action]}")


def _without_last(setup: LongRun, run: Run) -> np.ndarray:
    """Return the collapsed experts that can be dropped: all but the largest of all experts."""
    mass = run.current.mass[: len(run.current.mass) - setup.n_fixed]
    return np.setdiff1d(run.collapsed, [mass.argmax()])


def _reinitialised(setup: LongRun, state: State, collapsed: np.ndarray) -> State:
    """Return a state in which the collapsed experts have the worst explained rows.

    Each gets its share of the rows (or groups) with the lowest log-density, in turn; the others
    keep their responsibilities, and labelled rows stay with their expert. The gate is fitted
    anew, as its coefficients for a collapsed expert are at their limit. Needs the responsibilities
    (K, n) of all rows at once.
    """
    rows = setup.problem.rows
    e_step = e_step_of(state, rows, setup.problem.assigner, 0)
    explained = rows.map(partial(_explained, state=state, e_step=e_step), axis=1)
    resp, worst = np.ascontiguousarray(explained[:-1]), np.argsort(explained[-1])
    weight, labels = rows.units.weight, rows.units.labels
    if labels is not None:
        worst = worst[labels[worst] < 0]
    cumulated = np.cumsum(np.ones(len(worst)) if weight is None else weight[worst])
    share = WORST_SHARE * np.max(cumulated, initial=0.0) / (len(resp) - setup.n_fixed)
    n_worst = max(len(collapsed), int(np.searchsorted(cumulated, share * len(collapsed))))
    for i, k in enumerate(collapsed):
        ids = worst[i : n_worst : len(collapsed)]
        resp[:, ids] = 0.0
        resp[k, ids] = 1.0
    if rows.groups is not None:
        resp = np.repeat(resp, np.bincount(rows.groups), axis=1)
    gate = setup.gate if setup.tunes else penalised_as(setup.gate, state.gate)
    return fit_at(State(gate, state.bank), rows, resp, REINIT_STEPS)


def _explained(block: Block, state: State, e_step: Callable[[Block], Assigned]) -> np.ndarray:
    """Return the units' responsibilities and, in a last row, log p(y | x): (K + 1, m)."""
    block = block.fresh()
    resp, weight = e_step(block).unit_resp, block.unit.weight
    resp = resp if weight is None else resp / weight
    density = posterior(log_joint(state.gate, state.bank, block))[1]
    return np.vstack([resp, density])
