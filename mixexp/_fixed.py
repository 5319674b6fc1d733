"""M-steps at fixed responsibilities: what a start begins with, guarded as EM is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixexp._blocks import Block, Rows
from mixexp._em import State, m_step, measured, sweep
from mixexp._guard import fallen, overshoots, retreats
from mixexp._protocols import can

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
    values = np.array([p.log_prior() if can(p, "log_prior") else 0.0 for p in state.parts])
    sums: list = [None] * len(values)

    def respond(block: Block) -> tuple[np.ndarray, np.ndarray, float]:
        unit_resp = resp[:, block.start : block.stop]
        if block.unit is not block:
            unit_resp = unit_resp[:, block.firsts]
        unit_resp = unit_resp.copy()
        own = block.of_rows(unit_resp)
        values[:] += _values(state.parts, state.views((block.unit, unit_resp), (block, own)))
        return own, unit_resp, 0.0

    if statistics:
        _, sums = sweep(state, rows, respond)
    else:
        for block in rows.blocks():
            respond(block)
    return [_Seen(*each) for each in zip(state.parts, values.tolist(), sums, strict=True)]


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
