"""The context that starts are given, and short runs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from mixexp._engine.assign import Soft
from mixexp._engine.em import Problem, Run, run_em
from mixexp._engine.fixed import fit_at
from mixexp._engine.regimes import Judge
from mixexp._engine.sweep import State, log_joint, posterior
from mixexp._rows.principal import MOST_FEATURES, principal_scores
from mixexp.protocols import Block, Rows, ShortRun, can

__all__ = ["ROUND_TOL", "START_STEPS", "Context", "first_rows", "posteriors"]

#: Starts that converge to within this tolerance leave the rounds early.
ROUND_TOL = 1e-6

#: M-steps at fixed responsibilities before a run: parts that take Newton steps need several.
START_STEPS = 2

#: The same before short runs of classes: of 192 simulated fits as many end higher with one step as
#: with two. For numbers, the second one sharpens the gate: of 30 planted trees two are missed
#: without it.
SHORT_STEPS_OF_CLASSES = 1

#: The best of several short runs is expected to gain at most this multiple of its last gain.
CREDIT = 4.0


@dataclass
class Context:
    """The implementation of `StartContext` that partitions are given.

    `columns` are those of the gate, for one that is started again with fewer experts.
    """

    rows: Rows
    n_experts: int
    bank: Any
    gate: Any = None
    columns: Any = None
    turn: int = 0
    judge: Judge = field(default_factory=Judge)

    @cached_property
    def features(self) -> np.ndarray:
        """Scaled features of the rows, (n, n_features); of wide rows, principal scores."""
        design = self.rows.design(self.rows.starts)
        if len(design.scale) > MOST_FEATURES:
            if design not in self.rows.principal_scores:
                self.rows.principal_scores[design] = principal_scores(self.rows, design)
            return self.rows.principal_scores[design]
        return design.matrix(self.rows.numbers)[1:].T

    @cached_property
    def targets(self) -> np.ndarray:
        """Scaled targets or class indicators of the rows, (n, n_targets)."""
        y = self.rows.y
        if y.ndim == 1:
            return np.eye(int(y.max()) + 1)[y]
        family: Any = getattr(self.bank, "family", None)
        if can(family, "shares"):  # trials are no part of what is to be predicted
            y = family.shares(y)
        spread = np.std(y, axis=1, keepdims=True)
        return ((y - y.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1.0)).T

    def fit_experts(self, resp: np.ndarray) -> Any:
        """Return the bank after one M-step at these responsibilities."""
        return fit_at(State(None, self.bank), self.rows, self.rows.shared(resp), 1).bank

    def deviance(self, bank: Any) -> np.ndarray:
        """Return every expert's misfit of every row, (K, n)."""
        return self.rows.map(bank.deviance, axis=1)

    def short_run(self, resp: np.ndarray, n_iter: int) -> ShortRun:
        """Return the end of a short EM run of k experts, from responsibilities (k, n).

        Labels are ignored while there are fewer experts than the final number.
        """
        problem, state = self._begun(resp, n_iter)
        return self._ended(problem, run_em(problem, state))

    def best_run(
        self, starts: list[np.ndarray], n_compared: int, n_iter: int, least: float = -np.inf
    ) -> ShortRun:
        """Return the best of several short runs, in which flagged ones come last.

        The worse half ends after one iteration: M-steps at their responsibilities precede it. The
        others are compared after `n_compared`, and the best goes on to `n_iter`, unless its bound
        is not expected to come to `least`.
        """
        begun = [self._begun(resp, 1) for resp in starts]
        runs = [(problem, run_em(problem, state)) for problem, state in begun]
        better = sorted(runs, key=self._rank)[: (len(runs) + 1) // 2]
        n_more = n_compared - 1
        compared = [(_continued(*each, n_more), each[1].bound) for each in better]
        (problem, run), before = min(compared, key=lambda each: self._rank(each[0]))
        if run.bound + CREDIT * (run.bound - before) / max(n_more, 1) > least:
            problem, run = _continued(problem, run, n_iter - n_compared)
        return self._ended(problem, run)

    def _rank(self, tried: tuple[Problem, Run]) -> tuple[bool, float]:
        problem, run = tried
        return bool(self.judge.spurious(run.state, problem.rows)), -run.bound

    def _begun(self, resp: np.ndarray, n_iter: int) -> tuple[Problem, State]:
        """Return a short run of k experts, and the state after M-steps at responsibilities."""
        rows, experts = self.rows, np.arange(len(resp))
        if len(resp) < self.n_experts:
            rows = rows.with_experts(experts[:0], self.n_experts)
        if can(self.gate, "select"):
            gate = self.gate.select(experts)
        else:
            each = isinstance(self.columns, list)
            columns = self.columns[: len(experts)] if each else self.columns
            gate = self.gate.start(rows.units, len(experts), columns)
        start = State(gate, self.bank.select(experts))
        n_steps = SHORT_STEPS_OF_CLASSES if rows.y.ndim == 1 else START_STEPS
        state = fit_at(start, rows, rows.shared(resp), n_steps)
        return Problem(rows, Soft(), n_iter, ROUND_TOL), state

    def _ended(self, problem: Problem, run: Run) -> ShortRun:
        flagged = bool(self.judge.spurious(run.state, problem.rows))
        resp, log_density = posteriors(run.state, problem.rows)
        return ShortRun(resp, run.bound, log_density, flagged, run.state)

    def first_rows(self, n_rows: int) -> Context:
        """Return the context of the first rows, whose order is by hash: a random sample.

        Groups are taken whole, so that there may be more.
        """
        rows = first_rows(self.rows, n_rows)
        return self if rows is self.rows else replace(self, rows=rows)

    def posteriors(self, run: ShortRun) -> np.ndarray:
        """Return the responsibilities (k, n) of all rows at the end of a run on the first ones."""
        return posteriors(run.state, self.rows)[0]


def _continued(problem: Problem, run: Run, n_iter: int) -> tuple[Problem, Run]:
    """Return a run after so many further iterations."""
    return problem, run_em(replace(problem, max_iter=n_iter), run.state, run.best)


def first_rows(rows: Rows, n_rows: int) -> Rows:
    """Return the first rows, with the rest of the last group."""
    if rows.n_rows <= n_rows:
        return rows
    if rows.groups is not None:
        n_rows = int(np.searchsorted(rows.groups, rows.groups[n_rows - 1], "right"))
    ids = np.arange(n_rows)
    return rows.subset(ids, None if rows.weight is None else rows.weight[ids])


def posteriors(state: State, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Return responsibilities (k, n) and log p(y | x) (n,), a group's shared among its rows."""

    def of_block(block: Block) -> np.ndarray:
        resp, density = posterior(log_joint(state.gate, state.bank, block))
        return np.vstack([resp, density])

    stacked = rows.map(of_block, axis=1)
    resp, density = np.ascontiguousarray(stacked[:-1]), stacked[-1]
    if rows.groups is None:
        return resp, density
    sizes = np.bincount(rows.groups)
    return np.repeat(resp, sizes, axis=1), np.repeat(density / sizes, sizes)
