"""The race of the starts: short runs on the sketch, until starts agree or are used up."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from mixexp._engine.assign import Soft
from mixexp._engine.context import ROUND_TOL, first_rows, posteriors
from mixexp._engine.em import Problem, Run, run_em
from mixexp._engine.journal import once
from mixexp._engine.starts import Candidate
from mixexp._guests import in_threads
from mixexp.protocols import Rows, can

if TYPE_CHECKING:
    from mixexp._engine.search import SearchProblem

__all__ = ["agreement", "raced", "ranked"]

#: EM iterations of a start per round; rounds before starts are compared; most rounds. On 91
#: simulated problems, comparing after 8 iterations and then every 4 takes 37 % fewer iterations
#: than comparing after 16 and then every 8, and loses the best start in one more of them.
ROUND_ITER, MIN_ROUNDS, MAX_ROUNDS = 4, 2, 16

#: Starts of numbers race on the first rows: at least so many, and so many for each coefficient of
#: the experts. Of 128 simulated fits of 8 000 to 20 000 rows, 5 end lower by .002 nats a row than
#: those that race on the whole sketch, and 4 higher; of classes, which say less a row, more do.
RACE_ROWS, ROWS_PER_COEFFICIENT = 4096, 40

#: Multiplications that all short runs together may take; wide data get fewer rounds.
START_WORK = 5e11

#: A start that is not expected to end higher than the best by more than this, relative to
#: max(1, |bound|), is not worth another iteration.
NEGLIGIBLE = 1e-4

#: Agreement, beyond chance, from which two starts count as one.
AGREED = 0.9


def raced(problem: SearchProblem, bank: Any) -> list[Candidate]:
    """Return the starts after short runs in rounds.

    Starts come in waves. No further wave is tried if the best start agrees with another one, as
    both are on their way to the same optimum; nor after a wave that brought no better one.

    A start drops out when it has converged, or when its expected gain does not take it clearly
    above the best: starts cannot be compared after a few iterations only.
    """
    n_init = problem.n_init if problem.n_experts > 1 else 1
    waves = problem.start.waves(n_init)
    if len(waves) > 1:
        problem = _on_fewer_rows(problem)
    candidates: list[Candidate] = []
    if problem.progress is not None:
        problem.progress.begin_starts(sum(map(len, waves)))
    n_rounds = _rounds(problem, bank)
    for turns in waves:
        n_earlier = len(candidates)
        begin = partial(problem.start.candidates, problem, bank, turns)
        candidates += once(problem.journal, "wave", begin)
        if len(candidates) == 1:
            break
        agreed = _race(problem, n_rounds, candidates, may_agree=len(waves) > 1)
        if agreed or _no_better(candidates, candidates[:n_earlier]):
            break
    return [replace(candidate, evaluation=None) for candidate in candidates]


def _on_fewer_rows(problem: SearchProblem) -> SearchProblem:
    """Return the problem with a smaller sketch, where that tells the starts apart."""
    rows = problem.sketch
    if rows.y.ndim == 1:
        return problem
    size = problem.n_experts * (rows.n_features + 1) * len(rows.y)
    return replace(problem, sketch=first_rows(rows, max(RACE_ROWS, ROWS_PER_COEFFICIENT * size)))


def _race(
    problem: SearchProblem, n_rounds: int, candidates: list[Candidate], may_agree: bool
) -> bool:
    """Continue candidates while more than one may still be the best; return whether two agree."""
    for _ in range(n_rounds):
        running = _contenders(candidates, n_rounds)
        if not running:
            break
        which = [i for i, c in enumerate(candidates) if any(c is other for other in running)]
        candidates[:] = once(
            problem.journal, "round", partial(_after_a_round, problem, list(candidates), which)
        )
        if problem.progress is not None:
            left = [candidates[i].record for i in which if candidates[i].settled]
            problem.progress.round([c.record for c in candidates], left)
        if may_agree and _agreed(problem.sketch, ranked(candidates)):
            return True
    return False


def _after_a_round(
    problem: SearchProblem, candidates: list[Candidate], which: list[int]
) -> list[Candidate]:
    """Return the candidates after a round of short runs of some of them, as new objects."""
    after = [candidate.copied() for candidate in candidates]
    runs = in_threads(_short_run, [(problem, after[i]) for i in which], problem.n_jobs)
    for i, run in zip(which, runs, strict=True):
        after[i].follow(run, problem.judge.flags(run.state, problem.sketch))
    return after


def _no_better(candidates: list[Candidate], earlier: list[Candidate]) -> bool:
    """Return whether the best of all candidates is hardly better than that of the earlier ones."""
    best = ranked(candidates)[0]
    like = [c.record.bound for c in earlier if bool(c.record.flags) == bool(best.record.flags)]
    return bool(like) and best.record.bound <= max(like) + _negligible(best.record.bound)


def _negligible(bound: float) -> float:
    return NEGLIGIBLE * max(1.0, abs(bound))


def _contenders(candidates: list[Candidate], n_rounds: int) -> list[Candidate]:
    """Return the candidates to continue; none if the best is the only one."""
    running = [c for c in candidates if not c.settled and c.n_rounds < n_rounds]
    if any(c.n_rounds < MIN_ROUNDS for c in running):
        return [c for c in running if c.n_rounds < MIN_ROUNDS]
    best = ranked(candidates)[0].record.bound
    enough = best + _negligible(best)
    running = [c for c in running if c.record.bound + c.credit > enough]
    return [] if len(running) == 1 and running[0].record.bound == best else running


def _agreed(rows: Rows, order: list[Candidate]) -> bool:
    """Return whether another candidate agrees with the best one, after some iterations of both."""
    sound = [c for c in order if not c.record.flags]
    if not sound or not _comparable(sound[0]):
        return False
    resp = posteriors(sound[0].state, rows)[0]
    return any(
        agreement(resp, posteriors(other.state, rows)[0], rows.weight) >= AGREED
        for other in sound[1:]
        if _comparable(other)
    )


def _comparable(candidate: Candidate) -> bool:
    return candidate.settled or candidate.n_rounds >= MIN_ROUNDS


def agreement(first: np.ndarray, second: np.ndarray, weight: np.ndarray | None) -> float:
    """Return how far two responsibilities (K, n) agree beyond chance, from 0 to 1.

    The probability that a row has the same expert if it is drawn by either, rescaled as in Cohen's
    kappa: 0 for unrelated draws. Experts are numbered so that it is largest. It is small, too,
    where the experts of a start overlap, even if the other start is the same: the likelihood is
    then flat, and starts that agree say little.
    """
    weight = np.ones(first.shape[1]) if weight is None else weight
    joint = (first * weight) @ second.T / weight.sum()
    own, matched = linear_sum_assignment(joint, maximize=True)
    same = joint[own, matched].sum()
    chance = joint.sum(axis=1)[own] @ joint.sum(axis=0)[matched]
    return float((same - chance) / (1 - chance)) if chance < 1 else 0.0


def _rounds(problem: SearchProblem, bank: Any) -> int:
    """Return the number of rounds of short runs within the budget, enough to compare starts."""
    work = sum(
        part.n_gram_weights * problem.sketch.n_rows * part.design.size**2
        for part in (problem.gate, bank)
        if can(part, "gram_weights")
    )
    affordable = START_WORK / max(1.0, float(work) * problem.n_init * ROUND_ITER)
    return int(np.clip(affordable, MIN_ROUNDS, MAX_ROUNDS))


def _short_run(problem: SearchProblem, candidate: Candidate) -> Run:
    assigner = Soft() if problem.routing is None else problem.routing.first_assigner
    setup = Problem(problem.sketch, assigner, ROUND_ITER, ROUND_TOL)
    return run_em(setup, candidate.state, candidate.evaluation)


def ranked(candidates: list[Candidate]) -> list[Candidate]:
    """Return candidates from best to worst, flagged ones last."""
    return sorted(candidates, key=lambda c: (bool(c.record.flags), -c.record.bound))
