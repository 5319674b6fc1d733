"""Starts: several short EM runs on a sketch of the data, then one long run from the best.

Biernacki, Celeux & Govaert (2003), Choosing starting values for the EM algorithm for getting
the highest likelihood in multivariate Gaussian mixture models, CSDA 41.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from mixexp._assign import Assigner, Soft
from mixexp._blocks import Rows
from mixexp._collapse import LongRun, long_run
from mixexp._em import EStep, Problem, Run, State, fit_at, m_step, measured, run_em, sweep
from mixexp._guests import in_threads
from mixexp._known import with_labels
from mixexp._protocols import ShortRun, can

__all__ = ["Restart", "Search", "search"]

#: EM iterations of a start in a round; rounds at least, before starts are judged, and at most.
ROUND_ITER, MIN_ROUNDS, MAX_ROUNDS = 8, 2, 8

#: Multiplications that all short runs together may take: wide data get fewer rounds.
START_WORK = 5e11

#: Share of every row that starts give to the noise expert.
NOISE_SHARE = 0.05

#: Long runs at most, where they end with a dispersion on its floor.
MAX_LONG_RUNS = 3

#: A start is credited with at most this many times its last gain when it is judged.
MAX_CREDIT = 20.0

#: Starts that settle to within this of their limit leave the rounds early.
ROUND_TOL = 1e-6

#: M-steps at fixed responsibilities from which a run sets out: parts that take Newton steps
#: need more than one.
START_STEPS = 2

#: EM iterations with a flat gate before a gate whose experts are not exchangeable takes over.
FLAT_ITER = 24

#: Steps of a tree's gate in which orders of regions are told apart.
ARRANGE_STEPS = 5

#: Steps of the one-expert fit: one is exact for linear experts.
ONE_EXPERT_STEPS = 5


@dataclass
class Restart:
    """What became of one start.

    Attributes
    ----------
    seed : tuple of int
        Of the start's random numbers.
    bound : float
        Lower bound at its end: of the long run where there was one, else of the short run on
        the sketch.
    n_iter : int
        EM iterations, on the sketch and in the long run.
    events : list of str
        ``"long run"`` where the start was continued on all rows; what became of experts that
        collapsed in it.
    flags : list of str
        ``"dispersion on its floor"``: a spurious maximum of the likelihood.
    """

    seed: tuple[int, ...]
    bound: float
    n_iter: int
    events: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Search:
    """The inputs of a search.

    Attributes
    ----------
    rows : Rows
        All training rows.
    sketch : Rows
        The rows that starts see; may be `rows` itself.
    gate : Gate
        At its start.
    bank : ExpertBank
        A one-expert bank that starts use.
    batch_gate, batch_bank : Gate and ExpertBank, or None
        Those of the long run where they are not the ones that starts use.
    noise : callable or None
        Adds the noise expert to a bank; gates have it already.
    match : bool
        Whether experts of different kinds may be given each other's regions: not where each has
        columns of its own.
    arrange : bool
        Whether regions may change places for the sake of a tree: not where each expert has columns
        of its own, as the region was found with them.
    on_collapse : {"reinit", "drop", "keep", "raise"}
    owner : str
        Class of the mixture, for messages.
    start : Partition or ndarray (K, n)
        How to set out, or the responsibilities of `rows` to set out from.
    """

    rows: Rows
    sketch: Rows
    gate: Any
    bank: Any
    batch_gate: Any
    batch_bank: Any
    noise: Any
    match: bool
    arrange: bool
    on_collapse: str
    owner: str
    n_experts: int
    start: Any
    n_init: int
    assigner: Assigner
    max_iter: int
    tol: float
    seed: int
    n_jobs: int | None


@dataclass
class Context:
    """What a partition may ask for (`StartContext`)."""

    rows: Rows
    n_experts: int
    bank: Any
    gate: Any = None
    turn: int = 0

    @cached_property
    def features(self) -> np.ndarray:
        """Scaled features of the rows, (n, n_features)."""
        design = self.rows.design(self.rows.starts)
        return design.matrix(self.rows.numbers())[1:].T

    @cached_property
    def targets(self) -> np.ndarray:
        """Scaled targets or class indicators of the rows, (n, n_targets)."""
        y = self.rows.y
        if y.ndim == 1:
            return np.eye(int(y.max()) + 1)[y]
        spread = np.std(y, axis=1, keepdims=True)
        return ((y - y.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1.0)).T

    def fit_experts(self, resp: np.ndarray) -> Any:
        """Return the bank after one M-step at these responsibilities."""
        return fit_at(State(None, self.bank), self.rows, self.rows.shared(resp), 1).bank

    def deviance(self, bank: Any) -> np.ndarray:
        """Return every expert's misfit of every row, (K, n)."""
        return np.concatenate([bank.deviance(block) for block in self.rows.blocks()], axis=1)

    def short_run(self, resp: np.ndarray, n_iter: int) -> ShortRun:
        """Return the end of a short EM run of k experts, from responsibilities (k, n).

        Fewer than there are to be in the end are not yet those that labels speak of.
        """
        rows, own = self.rows, np.arange(len(resp))
        if len(resp) < self.n_experts:
            rows = rows.with_experts(own[:0], self.n_experts)
        if can(self.gate, "select"):
            gate = self.gate.select(own)
        else:
            gate = self.gate.start(rows.units, len(own), None)
        state = State(gate, self.bank.select(own))
        state = fit_at(state, rows, rows.shared(resp), START_STEPS)
        run = run_em(Problem(rows, Soft(), n_iter, ROUND_TOL), state)
        resp, log_density = _posterior(run.state, rows)
        return ShortRun(resp, run.bound, log_density, bool(_flags(run.state)))


def _posterior(state: State, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Return responsibilities (k, n) and log p(y | x) (n,), a group's divided among its rows."""
    resp, density = [], []
    for block in rows.blocks():
        log_joint = block.of_units(state.bank.log_prob(block)) + state.gate.log_prob(block.unit)
        total = np.logaddexp.reduce(log_joint, axis=0)
        resp.append(np.exp(log_joint - total))
        density.append(total)
    shares, values = np.concatenate(resp, axis=1), np.concatenate(density)
    if rows.groups is None:
        return shares, values
    sizes = np.bincount(rows.groups)
    return np.repeat(shares, sizes, axis=1), np.repeat(values / sizes, sizes)


def search(task: Search) -> tuple[Run, list[Restart]]:
    """Find a start, run EM from it to its end, and say what became of every start.

    1. Fit one expert: its dispersion sets the floor, its coefficients are where all begin.
    2. From each start, M-steps at its responsibilities and short runs on the sketch, in rounds.
       A start drops out when it has settled, or when what it may still gain does not take it
       above the best: after a few iterations alone, starts cannot be told apart.
    3. From the best one, a long run on all rows. If it ends with a dispersion on its floor, the
       next best is tried, up to three; a flagged run is returned only if all are.
    """
    ones = np.ones((1, task.sketch.n_rows))
    one = fit_at(State(None, task.bank), task.sketch, ones, ONE_EXPERT_STEPS).bank
    bank = one.replicate(task.n_experts)
    candidates = _candidates(task, bank)
    restarts = [candidate.record for candidate in candidates]
    chosen: Run | None = None
    for candidate in _ranked(candidates):
        record = candidate.record
        record.events.append("long run")
        run = long_run(_long_run(task), _handed_over(task, candidate.state), record.events)
        record.bound, record.n_iter = run.bound, record.n_iter + run.n_earlier + len(run.bounds)
        record.flags = _flags(run.state)
        if chosen is None or not record.flags or run.bound > chosen.bound:
            chosen = run
        if not record.flags or sum("long run" in r.events for r in restarts) == MAX_LONG_RUNS:
            break
    assert chosen is not None
    return chosen, restarts


def _long_run(task: Search) -> LongRun:
    gate = task.gate if task.batch_gate is None else task.batch_gate
    return LongRun(
        Problem(task.rows, task.assigner, task.max_iter, task.tol),
        gate,
        task.on_collapse,
        int(task.noise is not None),
        task.owner,
    )


def _with_noise(task: Search, bank: Any, resp: np.ndarray) -> tuple[Any, np.ndarray]:
    """Return bank and responsibilities with those of the noise expert, where there is one."""
    if task.noise is None:
        return bank, resp
    noise = np.full((1, resp.shape[1]), NOISE_SHARE)
    return task.noise(bank), np.concatenate([(1 - NOISE_SHARE) * resp, noise])


@dataclass
class _Candidate:
    """A start on its way."""

    state: State
    record: Restart
    settled: bool = False
    credit: float = np.inf

    def follow(self, run: Run) -> None:
        """Take over the end of a short run, and what more it may gain.

        The credit extrapolates the last gains as a geometric series (Aitken).
        """
        self.state, self.settled = run.state, run.converged
        self.record.bound = run.bound
        self.record.n_iter += len(run.bounds)
        self.record.flags = _flags(run.state)
        if len(run.bounds) >= 3:
            before, gain = np.diff(run.bounds[-3:])
            rate = gain / before if before > gain > 0 else 1.0
            self.credit = gain * min(MAX_CREDIT, rate / max(1 - rate, 1e-3)) if gain > 0 else 0.0


def _candidates(task: Search, bank: Any) -> list[_Candidate]:
    """Return the starts after their short runs."""
    if isinstance(task.start, np.ndarray):
        start = with_labels(task.start, task.rows.labels, None, match=False)
        bank, resp = _with_noise(task, bank, task.rows.shared(start))
        state = fit_at(State(task.gate, bank), task.rows, resp, START_STEPS)
        return [_Candidate(state, Restart((task.seed,), -np.inf, 0))]
    n_init = task.n_init if task.start.random and task.n_experts > 1 else 1
    context = Context(task.sketch, task.n_experts, bank, _plain_gate(task))
    starts = [(task, replace(context, turn=s), (task.seed, s)) for s in range(n_init)]
    candidates = in_threads(_one_start, starts, task.n_jobs)
    running = candidates if n_init > 1 else []
    for done in range(1, _rounds(task, bank) + 1):
        runs = in_threads(_short_run, [(task, c.state) for c in running], task.n_jobs)
        for candidate, run in zip(running, runs, strict=True):
            candidate.follow(run)
        running = [candidate for candidate in running if not candidate.settled]
        if done >= MIN_ROUNDS:
            best = _ranked(candidates)[0].record.bound
            running = [c for c in running if c.record.bound + c.credit > best]
            if len(running) == 1 and running[0].record.bound == best:
                break
    return candidates


def _plain_gate(task: Search) -> Any:
    """Return the gate of short runs: without noise, and flat.

    A tree can hardly undo where its first borders were drawn, and which regions go together shows
    only when they are known. So starts run with a flat gate first, and the regions are then
    arranged for the tree. Measured on trees of depth 3 with eight lines: of ten starts none to two
    find the planted tree when its gate is used from the beginning, four to eight in this way.
    """
    gate = _without_noise(task.gate)
    return gate.flat(task.sketch.units) if _is_tree(gate) else gate


def _without_noise(gate: Any) -> Any:
    return gate.without_noise() if can(gate, "without_noise") else gate


def _numbered(task: Search) -> bool:
    """Return whether the start numbers the experts as the user did."""
    return isinstance(task.start, np.ndarray) or getattr(task.start, "numbered", False)


def _is_tree(gate: Any) -> bool:
    return getattr(gate, "depth", 1) > 1


def _rounds(task: Search, bank: Any) -> int:
    """Return how many rounds of short runs the budget allows: one at least."""
    work = sum(
        part.n_gram_weights * task.sketch.n_rows * part.design.size**2
        for part in (task.gate, bank)
        if can(part, "gram_weights")
    )
    affordable = START_WORK / max(1.0, float(work) * task.n_init * ROUND_ITER)
    return int(np.clip(affordable, 1, MAX_ROUNDS))


@np.errstate(over="ignore", invalid="ignore")
def _one_start(task: Search, context: Context, seed: tuple[int, ...]) -> _Candidate:
    """Return the state after M-steps at the responsibilities of one start."""
    if task.n_experts == 1:
        resp = np.ones((1, context.rows.n_rows))
    else:
        resp = task.start.responsibilities(context, np.random.default_rng(seed))
    rows = context.rows
    free = not _numbered(task)
    resp = rows.shared(with_labels(resp, rows.labels, rows.weight, match=free))
    if task.arrange and free and _is_tree(task.gate) and rows.labels is None:
        resp = _arranged(task, context, resp)
    bank, resp = _with_noise(task, context.bank, resp)
    state = fit_at(State(task.gate, bank), context.rows, resp, START_STEPS)
    return _Candidate(state, Restart(seed, -np.inf, 0))


def _arranged(task: Search, context: Context, resp: np.ndarray) -> np.ndarray:
    """Return regions in the order that suits a tree best, after a run with a flat gate.

    Of the orders that the gate proposes, that in which it can say best which region is where.
    """
    rows = context.rows
    resp = context.short_run(resp, FLAT_ITER).resp
    regions = [resp[order] for order in task.gate.arrangements(resp, rows)]
    if len(regions) == 1:
        return regions[0]
    gate = _without_noise(task.gate)
    return max(regions, key=lambda own: _separation(gate, rows, own))


def _separation(gate: Any, rows: Rows, resp: np.ndarray) -> float:
    """Return the expected log-probability of regions (K, n) under a gate fitted to them."""
    gate = fit_at(State(gate, None), rows, resp, ARRANGE_STEPS).gate
    total = 0.0
    for block in rows.blocks():
        own = resp[:, block.start : block.stop]
        own = own if block.unit is block else own[:, block.firsts]
        weighted = own if block.unit.weight is None else own * block.unit.weight
        total += float(np.sum(weighted * gate.log_prob(block.unit)))
    return total


def _short_run(task: Search, state: State) -> Run:
    return run_em(Problem(task.sketch, Soft(), ROUND_ITER, ROUND_TOL), state)


def _ranked(candidates: list[_Candidate]) -> list[_Candidate]:
    """Return the best first, all flagged ones after the others."""
    return sorted(candidates, key=lambda c: (bool(c.record.flags), -c.record.bound))


def _handed_over(task: Search, state: State) -> State:
    """Return the state of the long run: the same, or batch parts trained at its E-step.

    Experts of different kinds are first matched to the regions that they fit best, unless the
    user said which region is whose.
    """
    gate, bank = task.batch_gate, task.batch_bank
    if gate is None and bank is None:
        return state
    given = isinstance(task.start, np.ndarray)
    if bank is not None:
        if can(state.bank, "floor") and can(bank, "with_floor"):
            bank = bank.with_floor(state.bank.floor)
        bank = bank if task.noise is None else task.noise(bank)
    batch = State(gate or state.gate, bank or state.bank)
    if given:
        start = with_labels(task.start, task.rows.labels, None, match=False)
        _, resp = _with_noise(task, state.bank, task.rows.shared(start))
        return fit_at(batch, task.rows, resp, 1)
    state, batch = measured(state, task.rows), measured(batch, task.rows)
    respond = EStep(state, task.assigner, 0)
    if task.match and not _numbered(task) and bank is not None and can(bank, "matching"):
        _, statistics = sweep(State(None, bank), task.rows, respond)
        order = bank.matching(statistics[0], task.rows)
        order = np.append(order, np.arange(len(order), len(order) + (task.noise is not None)))
        state = state.select(order)
        batch = measured(State(gate or state.gate, bank), task.rows)
        respond = EStep(state, task.assigner, 0)
    _, statistics = sweep(batch, task.rows, respond)
    return m_step(task.rows, batch, statistics)


def _flags(state: State) -> list[str]:
    on_floor = getattr(state.bank, "on_floor", np.zeros(1, dtype=bool))
    return ["dispersion on its floor"] if np.any(on_floor) else []
