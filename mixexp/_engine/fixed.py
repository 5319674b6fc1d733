"""M-steps at fixed responsibilities: what a start begins with, guarded as EM is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from mixexp._engine.em import m_step
from mixexp._engine.guard import fallen, overshoots, retreats
from mixexp._engine.sweep import FixedStep, State, measured, statistics_of
from mixexp.protocols import Block, Rows, can

__all__ = ["fit_at"]


@np.errstate(over="ignore", invalid="ignore")  # the values are looked at instead
def fit_at(state: State, rows: Rows, resp: np.ndarray, n_steps: int) -> State:
    """Return a state after M-steps at fixed responsibilities (K, n), equal within groups.

    1. Pass over the data: each part's value, which its M-step climbs, and its statistics.
    2. Update every part from its statistics.
    3. Pass again. A part whose value fell takes a more cautious step (`_guarded`). The pass after
       the last step needs no statistics, and only the parts whose steps can overshoot.
    """
    seen = _look(state, rows, resp)
    for step in range(1, n_steps + 1):
        state = state.apply(lambda _, one: one.part, seen)
        proposal = m_step(rows, state, [one.statistics for one in seen])
        last = step == n_steps
        new = _unseen(proposal) if last else _look(proposal, rows, resp)
        views = state.views(rows.units, rows)
        seen = [
            _guarded(*each, _looker(i, state, rows, resp, not last))
            for i, each in enumerate(zip(seen, new, views, strict=True))
        ]
    return state.apply(lambda _, one: one.part, seen)


@dataclass(frozen=True)
class _Seen:
    """A part, what its M-step climbs (None where nobody has looked), and its statistics."""

    part: Any
    value: Any = None
    statistics: Any = None


def _unseen(state: State) -> list[_Seen]:
    return [_Seen(part) for part in state.parts]


def _look(state: State, rows: Rows, resp: np.ndarray, statistics: bool = True) -> list[_Seen]:
    """Return what a pass at fixed responsibilities tells of each part."""
    state = measured(state, rows)
    step = FixedStep(resp)
    total = rows.reduce(partial(_glance, state=state, step=step, statistics=statistics))
    priors = [part.log_prior() if can(part, "log_prior") else 0.0 for part in state.parts]
    values = (total.values + priors).tolist()
    sums = total.sums if statistics else [None] * len(values)
    return [_Seen(*each) for each in zip(state.parts, values, sums, strict=True)]


@dataclass
class _Glance:
    """Each part's value Σ r log p, and its statistics where they are asked for; they add."""

    values: np.ndarray
    sums: list

    def __iadd__(self, other: _Glance) -> _Glance:
        self.values = self.values + other.values
        for i, more in enumerate(other.sums):
            self.sums[i] += more
        return self


def _glance(block: Block, state: State, step: FixedStep, statistics: bool) -> _Glance:
    """Return a block's share."""
    block = block.fresh()
    assigned = step(block)
    views = state.views((block.unit, assigned.unit_resp), (block, assigned.resp))
    values = np.array(_values(state.parts, views))
    return _Glance(values, statistics_of(state.parts, views) if statistics else [])


def _values(parts: list, views: list) -> list[float]:
    """Return Σ r log p of the rows of a block, for each part; 0 for batch parts, still unfitted."""
    values = []
    for part, (block, resp) in zip(parts, views, strict=True):
        value = 0.0
        if can(part, "get_parameters"):
            log_prob = part.log_prob(block)
            if can(part, "log_marginal"):
                log_prob = log_prob + part.log_marginal(block)
            value = float(np.vdot(resp, log_prob))
            if np.isnan(value):  # 0 times the logarithm of 0
                value = float(np.sum(resp * log_prob, where=resp > 0))
        values.append(value)
    return values


def _looker(
    i: int, state: State, rows: Rows, resp: np.ndarray, statistics: bool
) -> Callable[..., _Seen]:
    """Return a function that looks at another version of part `i`, alone."""

    def look(part: Any, statistics: bool = statistics) -> _Seen:
        of_gate = state.gate is not None and i == 0
        alone = State(part, None) if of_gate else State(None, part)
        return _look(alone, rows, resp, statistics)[0]

    return look


def _guarded(old: _Seen, new: _Seen, rows: Rows, look: Callable[..., _Seen]) -> _Seen:
    """Return a part after a step that did not take its value down.

    The full step; those that `retreats` says; the step under a bound of the curvature, which
    needs other statistics of the old part; and if rounding hides even that, the old part.
    """

    def fell(found: _Seen) -> bool:
        return fallen(found.value, old.value, rows.total_weight)

    if not (old.part.monotone and overshoots(old.part, new.part)):
        return new
    new = look(new.part) if new.value is None else new
    if not fell(new):
        return new
    for part in retreats(old.part, new.part, old.statistics, rows):
        found = look(part)
        if not fell(found):
            return found
    if can(old.part, "bounded"):
        bounded = look(old.part.bounded(), True)
        found = look(bounded.part.update(bounded.statistics, rows))
        if not fell(found):
            return found
    return old
