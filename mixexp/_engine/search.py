"""The search: several short EM runs on a sketch of the data, then one long run from the best.

Biernacki, Celeux & Govaert (2003), Choosing starting values for the EM algorithm for getting
the highest likelihood in multivariate Gaussian mixture models, CSDA 41.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from mixexp._engine.accelerate import Finish
from mixexp._engine.alone import leaves_out, left_out_log_prob, lone, one_expert, outlying
from mixexp._engine.arrange import REARRANGED, rearranged
from mixexp._engine.assign import Assigner, Soft
from mixexp._engine.collapse import LongRun, long_run
from mixexp._engine.context import START_STEPS
from mixexp._engine.em import Problem, Run, evaluate, m_step
from mixexp._engine.fixed import fit_at
from mixexp._engine.held_out import held_out
from mixexp._engine.journal import Journal, once
from mixexp._engine.progress import Watcher
from mixexp._engine.race import raced, ranked
from mixexp._engine.regimes import Judge, raised, resolved, told_of, warn_of_few_rows
from mixexp._engine.rivals import (
    ALIKE,
    CLEARLY,
    COMMON,
    MATERIAL,
    better_of,
    gained,
    mean_and_error,
)
from mixexp._engine.routed import Routing, WarmUp, frozen, routed_from, warmed
from mixexp._engine.starts import (
    NOISE_SHARE,
    Candidate,
    FromState,
    Restart,
    Start,
    arranges,
    without_noise,
)
from mixexp._engine.sweep import EStep, State, measured, sweep
from mixexp._engine.tuning import tuned
from mixexp.protocols import Rows, can, evolve

__all__ = ["SearchProblem", "search", "with_judge"]

#: Most long runs if they end in spurious maxima: usually, and with batch experts.
MAX_LONG_RUNS, MAX_BATCH_RUNS = 10, 3

#: Nats per unit of weight that an expert through a few rows hardly explains: if a start in a
#: spurious maximum is better by more, it has found something else too.
TEMPTING = 1.0


@dataclass(frozen=True)
class SearchProblem:
    """The inputs of a search.

    Attributes
    ----------
    rows : Rows
        All training rows.
    sketch : Rows
        The rows that starts use; may be `rows` itself.
    gate : Gate
        The initial gate.
    bank : ExpertBank
        The one-expert bank of the starts.
    batch_gate, batch_bank : Gate and ExpertBank, or None
        The parts of the long run if they differ from those of the starts.
    noise : callable or None
        Adds the noise expert to a bank; gates already have it.
    match : bool
        Whether experts of different kinds may swap regions: not if experts differ in their
        columns.
    arrange : bool
        Whether regions may be reordered for a tree: not if experts differ in their columns, with
        which the regions were found.
    on_collapse : {"reinit", "drop", "keep", "raise"}
    owner : str
        Class name of the mixture, for messages.
    start : Start
    share : callable or None
        Adds the shared expert to a bank without noise.
    routing : Routing or None
    warm_up : WarmUp or None
    gate_columns : None, array or list of arrays
        The columns with which `gate` was started.
    progress : Watcher or None
        Told of starts and iterations; may stop a long run.
    journal : Journal or None
        Recalls the stages of a search that was broken off.
    accelerated : bool
        Whether the long run may finish with Newton steps.
    n_exact : int or None
        See `resolved`: the same for all mixtures that are compared.
    single : ExpertBank or None
        The fit of one expert, if it is known.
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
    start: Start
    n_init: int
    assigner: Assigner
    max_iter: int
    tol: float
    seed: int
    n_jobs: int | None
    judge: Judge = field(default_factory=Judge)
    share: Callable[[Any], Any] | None = None
    routing: Routing | None = None
    warm_up: WarmUp | None = None
    gate_columns: Any = None
    progress: Watcher | None = None
    journal: Journal | None = None
    accelerated: bool = False
    n_exact: int | None = None
    single: Any = None

    def with_noise(self, resp: np.ndarray, outside: np.ndarray | None = None) -> np.ndarray:
        """Return responsibilities (K, n) with the noise expert's appended, if there is one.

        It has a small share of every row, or its responsibilities (1, n) beside one expert.
        """
        if self.noise is None:
            return resp
        share = np.full((1, resp.shape[1]), NOISE_SHARE)
        share = share if outside is None else np.maximum(share, outside)
        return np.concatenate([(1 - share) * resp, share])

    def outside(self, rows: Rows) -> np.ndarray | None:
        """Return the responsibilities (1, n) of noise beside one expert, None if it has none."""
        if getattr(self.single, "ceiling", None) is None:
            return None
        outside = rows.spread(outlying(self.single, self.noise, rows))
        return outside if np.any(outside > 0.5) else None

    def state_at(
        self, rows: Rows, bank: Any, resp: np.ndarray, outside: np.ndarray | None = None
    ) -> State:
        """Return the state after M-steps at responsibilities (K, n) of the experts."""
        bank = bank if self.noise is None else self.noise(bank)
        resp = self.with_noise(resp, outside)
        return fit_at(State(self.gate, bank), rows, resp, START_STEPS)


def search(problem: SearchProblem) -> tuple[Run, list[Restart]]:
    """Choose a start and run EM from it to its end; return the run and the record of every start.

    1. Fit one expert: its dispersion sets the floor, and all experts begin at its coefficients,
       and, where rows are few, at its penalty (`one_expert`).
    2. From each start, M-steps at its responsibilities and short runs on the sketch, until the
       starts agree or are used up (`raced`).
    3. Penalties are set by their evidence where parts ask for it (`tuned`). From the best start, a
       long run on all rows. If it ends in a spurious maximum, the next best
       is tried, and so on; the best run that is not flagged is returned.
    4. If all are flagged, the best run goes on with the dispersions of its spurious experts
       bounded from below. So does a flagged start that is much better than the best run, and it is
       returned if it is still better.
    5. Under routing, the long run is a dense one and then a routed one (`_trained`). Under a hard
       router, routes are then frozen and the experts fitted to them.

    With a warm-up, this finds the partition only, with cheap experts (`warmed`).
    """
    if problem.warm_up is not None:
        return warmed(problem, search)
    warn_of_few_rows(problem.rows, problem.n_experts, problem.owner)
    problem = with_judge(problem)
    if problem.n_experts == 1:
        problem = replace(problem, single=lone(problem.single, problem.sketch))
    bank = resolved(problem.single.replicate(problem.n_experts), problem.sketch, problem.n_exact)
    if can(bank, "gate_limit") and can(problem.gate, "limited"):
        problem = replace(problem, gate=problem.gate.limited(bank.gate_limit(problem.rows)))
    ended = once(problem.journal, "starts", partial(raced, problem, bank))
    candidates = [candidate.copied() for candidate in ended]  # a journal keeps its records
    restarts = [candidate.record for candidate in candidates]
    if problem.progress is not None:
        problem.progress.starts(restarts)
    limit = MAX_LONG_RUNS if problem.batch_bank is None else MAX_BATCH_RUNS
    ends: list[tuple[Run, Restart]] = []
    for candidate in ranked(candidates)[:limit]:
        state = once(problem.journal, "handed over", partial(_handed_over, problem, candidate))
        candidate.record.events.append("long run")
        ends.append((_trained(problem, state, candidate.record), candidate.record))
        if ends[-1][0].stopped or not candidate.record.flags:
            break
    stopped = ends[-1][0].stopped
    run, record = max(ends, key=lambda end: (not end[1].flags, end[0].bound))
    if stopped:
        run.stopped = True
    elif record.flags:
        run = _spread(problem, run, record, ", and so did all other starts")
    else:
        run = _tempted(problem, run, candidates, ends)
    if not run.stopped:
        run = _or_alike(problem, bank, run, record)
    run = frozen(problem, run)
    rows = problem.rows if run.rows is None else run.rows
    views = run.state.views(rows.units, rows)
    counted = run.state.apply(
        lambda part, view: part.ranked(view) if can(part, "ranked") else part, views
    )
    run.best = replace(run.best, state=counted)
    return run, restarts


def _or_alike(problem: SearchProblem, bank: Any, run: Run, record: Restart) -> Run:
    """Return the run, or one expert several times if it explains the rows clearly better.

    Where rows are few for the coefficients of several experts, the bound of some that have learnt
    next to nothing may be higher than that of experts that are right, as strong penalties raise
    it. Where they are so few that several learn any targets by heart, rows are held out.

    Of classes, the density of training rows is no guide: one expert that nearly separates them
    has the highest. A user who gives the regions has decided.
    """
    special = (problem.routing, problem.batch_bank, problem.noise, problem.share)
    free = all(each is None for each in special)
    given = problem.start.given or problem.sketch.labels is not None
    if problem.n_experts == 1 or given or not free or problem.sketch.y.ndim == 1:
        return run
    few = leaves_out(bank, problem.sketch)
    alike = State(problem.gate, bank)
    if not (few or _clearly_better(problem.rows, run.state, alike)):
        return run
    if can(problem.single, "tuned"):  # the first fit, hardly penalised, has learnt noise by heart
        one = State(problem.gate.select(np.array([0])), lone(problem.single, problem.sketch))
        spare = replace(record, bounds=[], events=[], flags=[])
        quiet = replace(problem, n_experts=1, progress=None, journal=None)
        single: Any = _tuned(quiet, one, spare).state.bank
        experts = resolved(single.replicate(problem.n_experts), problem.sketch, problem.n_exact)
        alike = State(problem.gate, experts)
        if few:
            better = _held_out_better(problem, run.state, single)
        else:
            better = _clearly_better(problem.rows, run.state, alike)
        if not better:
            return run
    found = evaluate(_long_run(problem).problem, alike, 0)
    record.bound, record.flags = found.bound, []
    record.events.append(ALIKE)
    if problem.progress is not None:
        problem.progress.line(ALIKE)
    return Run(
        found, found, alike, [found.bound], run.n_passes + 1, converged=True, rows=problem.rows
    )


def _held_out_better(problem: SearchProblem, state: State, single: Any) -> bool:
    """Return whether one expert explains rows that it has not seen clearly better."""
    gain = left_out_log_prob(single, problem.sketch) - held_out(problem, state, problem.sketch)
    weight = problem.sketch.weight
    mean, error = mean_and_error(gain, np.ones(len(gain)) if weight is None else weight)
    return mean >= CLEARLY * error


def _clearly_better(rows: Rows, state: State, other: State) -> bool:
    """Return whether another state explains the rows clearly better."""
    gain, error = gained(rows, state, other)
    return bool(gain >= MATERIAL and gain >= CLEARLY * error)


def with_judge(problem: SearchProblem) -> SearchProblem:
    """Return the problem with the fit of one expert, and a judge of its mixtures by that."""
    single = problem.single
    if single is None:
        single = one_expert(problem.bank, problem.sketch, problem.noise)
    return replace(problem, judge=Judge.of(single), single=single)


def _tempted(
    problem: SearchProblem,
    run: Run,
    candidates: list[Candidate],
    ends: list[tuple[Run, Restart]],
) -> Run:
    """Return the run of a flagged start without its spurious experts if that is better.

    Beside noise it is not: with a wider dispersion they would still be of the outliers.
    """
    best = max(candidates, key=lambda candidate: candidate.record.bound)
    record = best.record
    # with batch experts its bound is that of others
    comparable = problem.batch_bank is None and not problem.judge.noisy
    if not (comparable and record.flags and record.bound > run.bound + TEMPTING):
        return run
    done = [other for other, known in ends if known is record]
    if not done:
        record.events.append("long run")
        state = once(problem.journal, "handed over", partial(_handed_over, problem, best))
        done = [_trained(problem, state, record)]
    other = _spread(problem, done[0], record)
    return other if not record.flags and other.bound > run.bound else run


def _trained(problem: SearchProblem, state: State, record: Restart) -> Run:
    """Return the long run; under routing, a dense one and then a routed one from its end.

    The dense one has even loads if the router balances them: a gate that gives nearly all rows to
    one expert would otherwise learn to go on so, before the router comes to choose. Routes are good
    only when experts are: measured on phoneme with top-2 of 16, starting them at
    once ends at a higher bound than masking a dense fit, but at 1 to 2 points less accuracy.
    """
    if problem.routing is None:
        run = _tuned_to_its_end(problem, state, record)
        return _or_common(problem, run, state, record)
    dense_problem = replace(problem, routing=None, assigner=problem.routing.first_assigner)
    dense = _tuned_to_its_end(dense_problem, state, record)
    if problem.routing.is_dense or dense.stopped:
        return routed_from(problem, dense)
    state = problem.routing.routed(dense.state, problem.rows)
    run = _to_its_end(problem, state, record)
    run.n_passes += dense.n_passes
    return run


def _or_common(problem: SearchProblem, run: Run, state: State, record: Restart) -> Run:
    """Return the run, or that of one model in the place of all experts if it is clearly better.

    The rows of a region are not always worth more than all rows: on concrete, two boostings out of
    fold are 8 % worse than one, on auto_mpg 5 % better, and the bounds say so. What is compared is
    the whole mixture, after gate and dispersions have followed: expert by expert, one wins where
    the starts have put rows that suit it. "Clearly" is by a standard error of the mean
    log-density. A user who gives the regions has decided.
    """
    bank: Any = state.bank
    if run.stopped or problem.start.given or not can(bank, "with_common"):
        return run
    common = once(problem.journal, "common", partial(bank.with_common, problem.rows))
    if common is None:
        return run
    spare = replace(record, events=[], flags=[])
    rival = _to_its_end(problem, State(state.gate, common), spare)
    gain, error = gained(problem.rows, run.state, rival.state)
    better = gain > CLEARLY * error
    return better_of(problem.progress, (run, record), (rival, spare), better, COMMON)


def _tuned_to_its_end(problem: SearchProblem, state: State, record: Restart) -> Run:
    """Return a long run at penalties that the evidence sets first, of regions in good order."""
    return _arranged_again(problem, _tuned(problem, state, record), record)


def _tuned(problem: SearchProblem, state: State, record: Restart, *, settle: bool = False) -> Run:
    """Return a long run at penalties that the evidence sets first; a given state has its own."""
    given = isinstance(problem.start, FromState) or problem.routing is not None
    em = _long_run(problem).problem
    stage = partial(tuple, [state, 0]) if given else partial(tuned, em, state, settle=settle)
    state, n_passes = once(problem.journal, "penalties", stage)
    run = _to_its_end(problem, state, record, tunes=not (given or record.bounds))
    run.n_passes += n_passes
    return run


def _arranged_again(problem: SearchProblem, run: Run, record: Restart) -> Run:
    """Return the run, or under a tree of gates one from its regions in a better order."""
    if run.stopped or problem.batch_bank is not None or not arranges(problem):
        return run
    state = once(problem.journal, "arrangement", partial(_in_order, problem, run.state))
    if state is None:
        return run
    spare = replace(record, events=[], flags=[])
    rival = _tuned(problem, state, spare)
    better = rival.bound > run.bound
    return better_of(problem.progress, (run, record), (rival, spare), better, REARRANGED)


def _in_order(problem: SearchProblem, state: State) -> State | None:
    """Return a state of the start's parts at the regions of another, in a better order, if any."""
    bank: Any = state.bank if problem.noise is None else state.bank.inner  # type: ignore[union-attr]
    if bank.n_experts < problem.n_experts:
        return None
    plain = without_noise(problem.gate)
    resp = rearranged(problem.gate, plain, problem.sketch, state, problem.n_experts)
    return None if resp is None else problem.state_at(problem.sketch, bank, resp)


def _to_its_end(problem: SearchProblem, state: State, record: Restart, tunes: bool = False) -> Run:
    """Return a long run, and enter its outcome in the record."""
    if problem.progress is not None:
        problem.progress.begin(record)
    run = long_run(replace(_long_run(problem), tunes=tunes), state, record.events)
    if problem.progress is not None:
        problem.progress.end(run)
    record.bound, record.n_iter = run.bound, record.n_iter + run.n_earlier + len(run.bounds)
    record.flags = problem.judge.flags(run.state, problem.rows)
    return run


def _spread(problem: SearchProblem, run: Run, record: Restart, others: str = "") -> Run:
    """Return a run without experts that go through a few rows; `others` tells of other starts.

    The rows do not support so many dispersions: each spurious expert goes on with a floor at a
    share of a single expert's dispersion, and thereby takes in other rows. Penalties are set again,
    as those of the gate held spurious regions together.
    """
    for _ in range(problem.n_experts):
        spurious = problem.judge.spurious(run.state, problem.rows)
        state = raised(run.state, spurious, problem.judge.unit)
        if not spurious or state is None or run.stopped:
            break
        record.events.append(told_of(spurious, others))
        more = _tuned(problem, _loosened(state), record, settle=True)
        more.n_passes += run.n_passes
        more.n_earlier += run.n_earlier + len(run.bounds)
        run = more
    return run


def _loosened(state: State) -> State:
    """Return the state with the gate's penalties no stronger than those it began with."""
    gate: Any = state.gate
    return replace(state, gate=gate.loosened()) if can(gate, "loosened") else state


def _long_run(problem: SearchProblem) -> LongRun:
    gate = problem.gate if problem.batch_gate is None else problem.batch_gate
    assigner, n_fixed = problem.assigner, int(problem.noise is not None)
    on_collapse = problem.on_collapse
    if problem.routing is not None:
        # an expert that few rows reach is one for the router's balance; all had rows before
        on_collapse = "keep" if on_collapse == "reinit" else on_collapse
        gate = problem.routing.routed(State(gate, None), problem.rows).gate
        assigner = problem.routing.assigner or assigner
        n_fixed += problem.routing.n_fixed
    return LongRun(
        Problem(
            problem.rows,
            assigner,
            problem.max_iter,
            problem.tol,
            accelerate=Finish(problem.tol, problem.max_iter)
            if problem.accelerated and can(assigner, "posterior")
            else None,
            observe=None if problem.progress is None else problem.progress.iteration,
        ),
        gate,
        on_collapse,
        n_fixed,
        problem.owner,
        problem.judge,
        problem.journal,
    )


def _shared(problem: SearchProblem, state: State) -> State:
    """Return the state of a start with the shared expert in its bank, inside of the noise."""
    if problem.share is None or problem.batch_bank is not None:
        return state
    bank: Any = state.bank
    if problem.noise is None:
        return replace(state, bank=problem.share(bank))
    return replace(state, bank=evolve(bank, inner=problem.share(bank.inner)))


def _handed_over(problem: SearchProblem, candidate: Candidate) -> State:
    """Return the state of the long run: the same, or with batch parts trained at its E-step.

    The gate's penalties are those that the evidence sets beside the linear stand-ins, as it can be
    trusted only where every step climbs. With the first ones borders stay soft: on two lines, the
    error of four BayesianRidge is four times as large.

    Experts of different kinds are first matched to the regions that they fit best, unless the
    user numbered the experts.
    """
    state, rows = _shared(problem, candidate.state), problem.rows
    gate, bank = problem.batch_gate, problem.batch_bank
    if gate is None and bank is None:
        if problem.share is None or can(state.bank, "gram_weights"):
            return state
        state = measured(state, rows)  # the shared expert has not been fitted yet
        sums = sweep(rows, State(None, state.bank), EStep(state, problem.assigner, 0)).sums
        return State(state.gate, m_step(rows, State(None, state.bank), sums).bank)
    if bank is not None:
        if can(state.bank, "floor") and can(bank, "with_floor"):
            bank = bank.with_floor(state.bank.floor)  # type: ignore[union-attr]
        if getattr(state.bank, "ceiling", None) is not None and can(bank, "with_ceiling"):
            bank = bank.with_ceiling(state.bank.ceiling)  # type: ignore[union-attr]
        bank = bank if problem.share is None else problem.share(bank)
        bank = bank if problem.noise is None else problem.noise(bank)
    if bank is not None and gate is None and candidate.resp is None and problem.routing is None:
        state, _ = tuned(Problem(problem.sketch, Soft(), problem.max_iter, problem.tol), state)
    batch = State(gate or state.gate, bank or state.bank)
    if candidate.resp is not None:
        return fit_at(batch, rows, candidate.resp, 1)
    state, batch = measured(state, rows), measured(batch, rows)
    e_step = EStep(state, problem.assigner, 0)
    if problem.match and not problem.start.numbered and bank is not None and can(bank, "matching"):
        order = bank.matching(sweep(rows, State(None, bank), e_step).sums[0], rows)
        order = np.append(order, np.arange(len(order), len(order) + (problem.noise is not None)))
        state = state.select(order)
        batch = measured(State(gate or state.gate, bank), rows)
        e_step = EStep(state, problem.assigner, 0)
    return m_step(rows, batch, sweep(rows, batch, e_step).sums)
