"""Routing as the search sees it, and costly experts fitted to a partition found by cheap ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mixexp._engine.assign import Soft
from mixexp._engine.em import Problem, Run, evaluate
from mixexp._engine.fixed import fit_at
from mixexp._engine.journal import once, run_or_recall
from mixexp._engine.starts import Restart
from mixexp._engine.sweep import Assigned, State, e_step_of, prepared
from mixexp._rows.sketch import row_hashes
from mixexp.protocols import Block, Rows, can

if TYPE_CHECKING:
    from mixexp._engine.search import SearchProblem

__all__ = ["Routing", "WarmUp", "ended_here", "frozen", "routed_from", "warmed"]


#: Rows that find the partition of a warm-up: at least so many, and so many per coefficient.
FEWEST_ROWS, ROWS_PER_COEFFICIENT = 1024, 32


#: Starts, iterations and tolerance of a warm-up: costly experts correct what is left.
MOST_STARTS, MOST_ITER, TOL = 3, 100, 1e-4


class Routing(Protocol):
    """How the search routes rows."""

    @property
    def n_fixed(self) -> int:
        """Number of experts that routing adds, behind the others: the fallback."""

    @property
    def is_dense(self) -> bool:
        """Whether every row reaches every expert, so that the dense mixture is the model."""

    @property
    def assigner(self) -> Any:
        """Assigner of the long run, None for the problem's."""

    @property
    def first_assigner(self) -> Any:
        """Assigner of the short runs from starts."""

    def routed(self, state: State, rows: Rows) -> State:
        """Return a state of gate and experts, either of which may be None, for training."""

    def moved(self, state: State, rows: Rows) -> State:
        """Return a trained state for other training rows: without the routes of the former."""

    def frozen(self, gate: Any, rows: Rows) -> tuple[Any, Any, np.ndarray] | None:
        """Return a gate with frozen routes if the router is hard, else None.

        Also the assigner to fit experts with, and the responsibilities (K', n) of the units.
        """


@dataclass(frozen=True)
class WarmUp:
    """A partition found with cheap experts, before costly ones are fitted to it.

    Attributes
    ----------
    n_refits : int
        How often each costly expert is fitted.
    exchangeable : bool
        Whether experts differ in nothing, so that any may be dropped.
    given : callable or None
        Returns the user's fitted gate, and responsibilities (K', n) of all rows. None means that
        the banked experts of the starts find the partition, on the sketch.
    """

    n_refits: int
    exchangeable: bool = True
    given: Callable[[], tuple[Any, np.ndarray]] | None = None


def frozen(problem: SearchProblem, run: Run) -> Run:
    """Return the run that fits experts to frozen routes, after a run with a hard router."""
    if problem.routing is None:
        return run
    rows = problem.rows if run.rows is None else run.rows
    fixed = problem.routing.frozen(run.state.gate, rows.units)
    if fixed is None:
        return run
    gate, assigner, _ = fixed
    additive = can(run.state.bank, "gram_weights")
    limit = problem.max_iter if additive else 1
    progress = problem.progress
    observe = None if progress is None else progress.iteration
    em = Problem(rows, assigner, limit, problem.tol, observe=observe)
    if progress is not None:
        progress.goes_on(run)
    last = run_or_recall(problem.journal, em, State(gate, run.state.bank))
    if progress is not None:
        progress.end(last)
    last.n_passes += run.n_passes
    last.stopped |= run.stopped
    last.converged = run.converged and (last.converged or not additive)
    return last


def ended_here(problem: SearchProblem, run: Run) -> Run:
    """Return the run that a search would end with if a run in progress were stopped now.

    Under routing, the dense stage is followed by a look at the routed mixture, and both stages of a
    hard router by that of frozen routes. `problem` has no watcher and no journal.
    """
    if problem.routing is None:
        return run
    gate: Any = run.state.gate if problem.noise is None else run.state.gate.inner  # type: ignore[union-attr]
    if getattr(gate, "router", None) is None:
        run = routed_from(problem, replace(run))
    return run if getattr(gate, "frozen", False) else frozen(problem, run)


def routed_from(problem: SearchProblem, dense: Run) -> Run:
    """Return a run of the dense stage with the routed state at its end, which has no iterations."""
    assert problem.routing is not None
    state = problem.routing.routed(dense.state, problem.rows)
    em = Problem(problem.rows, problem.routing.assigner or problem.assigner, 1, problem.tol)
    dense.best = dense.current = evaluate(em, state, 0)
    return dense


def warmed(problem: SearchProblem, search: Callable[..., Any]) -> tuple[Run, list[Restart]]:
    """Find a partition with cheap experts, and fit the costly ones to it.

    1. Search with the banked experts of the starts, on the sketch; or take the user's partition.
    2. Hand over responsibilities of all rows, and the gate; hard routes are frozen.
    3. Fit every expert to its rows, `n_refits` times; the gate stays as it is.
    """
    rows = problem.rows
    found = _partition(problem, search)
    state, resp = found.state, found.resp
    bank: Any = problem.batch_bank
    classifier: Any = problem.batch_gate
    if state.bank is not None and state.bank.n_experts < bank.n_experts:  # some have collapsed
        n_fixed = 0 if problem.routing is None else problem.routing.n_fixed
        bank = bank.select(np.arange(state.bank.n_experts))
        if classifier is not None:  # it may have a column for noise
            classifier = classifier.select(np.arange(len(resp) - n_fixed))
    if classifier is not None:
        gate = _routed(problem, State(classifier, None)).gate
        state = State(fit_at(State(gate, None), rows, resp, 1).gate, state.bank)
    gate, assigner = prepared(State(state.gate, None), rows).gate, problem.assigner
    fixed = None if problem.routing is None else problem.routing.frozen(gate, rows.units)
    if fixed is not None:
        gate, assigner, of_units = fixed
        resp = rows.spread(of_units)
    elif problem.routing is not None:
        if problem.routing.n_fixed and problem.warm_up.given is not None:  # type: ignore[union-attr]
            resp = _with_fallback(gate, rows, resp, problem.n_experts)
        resp = _within_routes(gate, rows, resp)
    if state.bank is not None and can(state.bank, "floor"):
        bank = bank.with_floor(state.bank.floor)  # type: ignore[attr-defined]
    run = _refitted(problem, State(gate, bank), assigner, resp, soft=fixed is None)
    run.n_passes += found.n_passes
    run.converged = found.converged
    if not np.isfinite(found.restarts[0].bound):  # there was no search
        found.restarts[0].bound, found.restarts[0].n_iter = run.bound, len(run.bounds)
    return run, found.restarts


@dataclass(frozen=True)
class _Partition:
    """A gate and responsibilities (K', n) of all rows, and how they were found."""

    state: State
    resp: np.ndarray
    restarts: list[Restart]
    converged: bool
    n_passes: int


def _partition(problem: SearchProblem, search: Callable[..., Any]) -> _Partition:
    """Return the user's partition, or that of a search with cheap experts on the sketch."""
    assert problem.warm_up is not None
    if problem.warm_up.given is not None:
        gate, resp = problem.warm_up.given()
        state = _routed(problem, State(gate, None))
        record = Restart((problem.seed,), -np.inf, 0, ["long run"])
        return _Partition(state, resp, [record], True, 0)
    sketch = _smaller(problem)
    cheap = replace(
        problem,
        rows=sketch,
        sketch=sketch,
        batch_bank=None,
        batch_gate=None,
        warm_up=None,
        share=None,
        n_init=min(problem.n_init, MOST_STARTS),
        max_iter=min(problem.max_iter, MOST_ITER),
        tol=max(problem.tol, TOL),
        on_collapse=_of_cheap(problem),
    )
    run, restarts = search(cheap)
    converged = run.converged or problem.max_iter > MOST_ITER
    state = run.state
    state = state if problem.routing is None else problem.routing.moved(state, problem.rows)
    resp = _responsibilities(problem, state)
    return _Partition(state, resp, restarts, converged, run.n_passes)


def _of_cheap(problem: SearchProblem) -> str:
    """Return how cheap experts collapse: those that stand for different experts are kept."""
    assert problem.warm_up is not None
    kept = problem.on_collapse == "drop" and not problem.warm_up.exchangeable
    return "keep" if kept else problem.on_collapse


def _smaller(problem: SearchProblem) -> Rows:
    """Return the rows that find the partition: enough for linear experts, and no more."""
    sketch = problem.sketch
    size = max(FEWEST_ROWS, ROWS_PER_COEFFICIENT * problem.n_experts * (sketch.X.shape[1] + 1))
    if problem.start.whole or sketch.groups is not None or size >= sketch.n_rows:
        return sketch
    hashes = row_hashes(sketch.X, sketch.y, problem.seed)
    ids = np.sort(np.argsort(hashes, kind="stable")[:size])
    return sketch.subset(ids, None if sketch.weight is None else sketch.weight[ids])


def _known(rows: Rows, bank: Any) -> Rows:
    """Return the rows with weights of 0 where no expert predicted."""
    known = bank.predicted_rows if can(bank, "predicted_rows") else None
    if known is None:
        return rows
    weight = np.ones(rows.n_rows) if rows.weight is None else rows.weight
    return rows.reweighted(np.where(known, weight, 0.0))


def _routed(problem: SearchProblem, state: State) -> State:
    if problem.routing is None:
        return state
    return problem.routing.routed(state, problem.rows)


def _responsibilities(problem: SearchProblem, state: State) -> np.ndarray:
    """Return responsibilities (K', n) of all rows under a state found on the sketch."""
    rows = problem.rows
    bank = state.bank
    state = prepared(State(state.gate, bank), rows)
    e_step = e_step_of(state, rows, Soft(), 0)
    return rows.spread(rows.map(_unit_resp_of(e_step), axis=1))


def _unit_resp_of(e_step: Callable[[Block], Assigned]) -> Callable[[Block], np.ndarray]:
    def unit_resp(block: Block) -> np.ndarray:
        resp, weight = e_step(block.fresh()).unit_resp, block.unit.weight
        return resp if weight is None else resp / weight

    return unit_resp


def _with_fallback(gate: Any, rows: Rows, resp: np.ndarray, n_experts: int) -> np.ndarray:
    """Return responsibilities (K', n) with the fallback's behind the experts': its weight."""
    weights = rows.spread(np.exp(rows.units.map(gate.log_prob, axis=1)))[: n_experts + 1]
    share = weights[n_experts] / weights.sum(axis=0)
    experts, noise = np.split(resp, [n_experts])
    left = share * experts.sum(axis=0)
    return np.concatenate([(1 - share) * experts, left[None], noise])


def _within_routes(gate: Any, rows: Rows, resp: np.ndarray) -> np.ndarray:
    """Return responsibilities (K', n) of the routed experts only."""
    of_units, labels = np.exp(rows.units.map(gate.log_prob, axis=1)), rows.units.labels
    if labels is not None:
        labelled = np.flatnonzero(labels >= 0)
        of_units[:, labelled] = 0.0
        of_units[labels[labelled], labelled] = 1.0
    weights = rows.spread(of_units)
    inside = np.where(weights > 0, np.maximum(resp, np.finfo(float).tiny), 0.0)
    total = inside.sum(axis=0)
    return inside / total


def _bank_at(bank: Any, rows: Rows, resp: np.ndarray) -> Any:
    return fit_at(State(None, bank), rows, resp, 1).bank


def _refitted(
    problem: SearchProblem, state: State, assigner: Any, resp: np.ndarray, soft: bool
) -> Run:
    """Return a run in which the experts are fitted to responsibilities, and to theirs again.

    `state` has the final gate, and the experts without noise, shared expert and fallback.
    """
    assert problem.warm_up is not None
    rows = problem.rows
    gate, bank = state.parts
    bank = bank if problem.share is None else problem.share(bank)
    bank = bank if problem.noise is None else problem.noise(bank)
    bank = _routed(problem, State(None, bank)).bank
    run: Run | None = None
    for step in range(1, problem.warm_up.n_refits + 1):
        bank = once(problem.journal, "refit", partial(_bank_at, bank, rows, resp))
        if problem.progress is not None:
            problem.progress.line(f"experts fitted {step} of {problem.warm_up.n_refits} times")
        em = Problem(_known(rows, bank), assigner, 1, problem.tol)
        found = evaluate(em, State(gate, bank), step)
        if run is None:
            run = Run(found, found, found.state)
        run.current = found
        run.bounds.append(found.bound)
        run.best = found if found.bound >= run.best.bound else run.best
        if step < problem.warm_up.n_refits:
            e_step = e_step_of(found.state, rows, assigner, step)
            resp = rows.spread(rows.map(_unit_resp_of(e_step), axis=1))
            if soft and problem.routing is not None:  # rows of least responsibility are routed too
                resp = _within_routes(gate, rows, resp)
    assert run is not None
    return run
