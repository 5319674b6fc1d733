"""M-steps at fixed responsibilities, with which a start begins; guarded like EM."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from mixexp._engine.em import m_step
from mixexp._engine.guard import fallen, overshoots, retreats
from mixexp._engine.sweep import FixedStep, State, climbed, measured, statistics_of
from mixexp.protocols import Block, Rows, can

__all__ = ["fit_at", "statistics_at"]


@np.errstate(over="ignore", invalid="ignore")  # the values are checked instead
def fit_at(state: State, rows: Rows, resp: np.ndarray, n_steps: int) -> State:
    """Return a state after M-steps at fixed responsibilities (K, n), equal within groups.

    1. Pass over the data for each part's value, which its M-step raises, and its statistics.
    2. Update every part from its statistics.
    3. Pass again. A part whose value fell takes a more cautious step (`_guarded`). The pass after
       the last step needs no statistics, and covers only parts whose steps can overshoot.
    """
    versions = _look(state, rows, resp)
    for step in range(1, n_steps + 1):
        state = state.apply(lambda _, version: version.part, versions)
        proposal = m_step(rows, state, [version.statistics for version in versions])
        last = step == n_steps
        new = _unevaluated(proposal) if last else _look(proposal, rows, resp)
        views = state.views(rows.units, rows)
        versions = [
            _guarded(*each, _looker(i, state, rows, resp, not last))
            for i, each in enumerate(zip(versions, new, views, strict=True))
        ]
    return state.apply(lambda _, version: version.part, versions)


@np.errstate(over="ignore", invalid="ignore")
def statistics_at(state: State, rows: Rows, resp: np.ndarray) -> list:
    """Return the statistics of each part's M-step at fixed responsibilities (K, n): one pass."""
    return [version.statistics for version in _look(state, rows, resp)]


@dataclass(frozen=True)
class _Version:
    """A part, the value its M-step raises (None if not computed), and its statistics."""

    part: Any
    value: Any = None
    statistics: Any = None


def _unevaluated(state: State) -> list[_Version]:
    return [_Version(part) for part in state.parts]


def _look(state: State, rows: Rows, resp: np.ndarray, statistics: bool = True) -> list[_Version]:
    """Return each part with its value and statistics: one pass at fixed responsibilities."""
    state = measured(state, rows)
    step = FixedStep(resp)
    total = rows.reduce(partial(_block_totals, state=state, step=step, statistics=statistics))
    priors = [part.log_prior() if can(part, "log_prior") else 0.0 for part in state.parts]
    values = (total.values + priors).tolist()
    sums = total.sums if statistics else [None] * len(values)
    return [_Version(*each) for each in zip(state.parts, values, sums, strict=True)]


@dataclass
class _Totals:
    """Each part's value Σ r log p and, if requested, its statistics; blocks add up."""

    values: np.ndarray
    sums: list

    def __iadd__(self, other: _Totals) -> _Totals:
        self.values = self.values + other.values
        for i, more in enumerate(other.sums):
            self.sums[i] += more
        return self


def _block_totals(block: Block, state: State, step: FixedStep, statistics: bool) -> _Totals:
    """Return a block's share of the totals."""
    block = block.fresh()
    assigned = step(block)
    views = state.views((block.unit, assigned.unit_resp), (block, assigned.resp))
    values = np.array(_values(state.parts, views))
    return _Totals(values, statistics_of(state.parts, views) if statistics else [])


def _values(parts: list, views: list) -> list[float]:
    """Return Σ r log p of a block's rows, per part; 0 for batch parts, which are not fitted yet."""
    values = []
    for part, (block, resp) in zip(parts, views, strict=True):
        value = 0.0
        if can(part, "get_parameters"):
            log_prob = climbed(part, block, resp)
            if can(part, "log_marginal"):
                log_prob = log_prob + part.log_marginal(block)
            value = float(np.vdot(resp, log_prob))
            if np.isnan(value):  # 0 times the logarithm of 0
                value = float(np.sum(resp * log_prob, where=resp > 0))
        values.append(value)
    return values


def _looker(
    i: int, state: State, rows: Rows, resp: np.ndarray, statistics: bool
) -> Callable[..., _Version]:
    """Return a function that evaluates another version of part `i`, on its own."""

    def look(part: Any, statistics: bool = statistics) -> _Version:
        is_gate = state.gate is not None and i == 0
        single_part = State(part, None) if is_gate else State(None, part)
        return _look(single_part, rows, resp, statistics)[0]

    return look


def _guarded(old: _Version, new: _Version, rows: Rows, look: Callable[..., _Version]) -> _Version:
    """Return a part after a step that did not lower its value.

    Tried in turn: the full step; its `retreats`; the step under a bound of the curvature, which
    needs other statistics of the old part; and the old part, when even that is lost in rounding.
    """

    def fell(version: _Version) -> bool:
        return fallen(version.value, old.value, rows.total_weight)

    if not (old.part.monotone and overshoots(old.part, new.part)):
        return new
    new = look(new.part) if new.value is None else new
    if not fell(new):
        return new
    for part in retreats(old.part, new.part, old.statistics, rows):
        shorter = look(part)
        if not fell(shorter):
            return shorter
    if can(old.part, "bounded"):
        bounded = look(old.part.bounded(), True)
        cautious = look(bounded.part.update(bounded.statistics, rows))
        if not fell(cautious):
            return cautious
    return old
