"""Online EM: the statistics of past rows are kept, discounted, and added to those of new ones.

Cappé & Moulines (2009), Online expectation-maximization algorithm for latent data models,
JRSS B 71.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from mixexp._engine.assign import Assigner
from mixexp._engine.em import m_step, shorter_steps
from mixexp._engine.guard import overshoots
from mixexp._engine.sweep import EStep, State, prepared, sweep
from mixexp.protocols import Block, Rows, can

__all__ = ["Online", "Schedule", "begun", "learnt", "part_without_memory"]

#: Nats a row that a step may cost the rows that it learns from, for the sake of those before them.
LARGEST_LOSS = 0.01

#: Rows of a batch that are enough to judge a step by: of fewer, an outlier would.
FEWEST_JUDGED = 200

#: Rows that are so many nats less likely than those before them have drifted: a border that was
#: steep may be elsewhere. Coefficients of the gate are multiplied by SOFTER while that helps, if it
#: makes up for this share of what is lost.
DRIFTED, SOFTER, MOVED = 0.1, 0.3, 0.5


@dataclass(frozen=True)
class Schedule:
    """How fast old rows are forgotten.

    Attributes
    ----------
    power : float in (0.5, 1]
        Rows of weight w, after rows of a total weight W including them, enter with a share of
        (w / W) to this power. 1 weighs all rows alike, however early they were assigned.
    window : float or None
        W is taken as no larger than this.
    """

    power: float
    window: float | None

    def limited(self, total: float) -> float:
        """Return a total weight, at most the window."""
        return total if self.window is None else min(total, self.window)

    def share(self, weight: float, total: float) -> float:
        """Return the share of new rows in the statistics."""
        return float(min(1.0, weight / total) ** self.power)


@dataclass(frozen=True)
class Online:
    """What online EM knows.

    Attributes
    ----------
    state : State
    sums : list
        Statistics of every part per unit of weight, at the coefficients of the state.
    mass : ndarray of shape (K,)
        Responsibilities of the experts per unit of weight.
    total : float
        Weight of the rows so far, at most the window.
    n_steps : int
    bound : float
        Log-likelihood per unit of weight of the last rows, before they were learnt from.
    """

    state: State
    sums: list
    mass: np.ndarray
    total: float
    n_steps: int = 0
    bound: float = -np.inf


def part_without_memory(state: State) -> Any:
    """Return a part whose statistics cannot be kept over time; None if there is none."""
    return next((part for part in state.parts if not can(part, "recentred")), None)


def begun(state: State, rows: Rows, assigner: Assigner, schedule: Schedule) -> Online:
    """Return what is known after a fit to the first rows: its state, and their statistics."""
    passed = sweep(rows, state, EStep(state, assigner, 0))
    weight = rows.total_weight
    return Online(
        state,
        [sums.scaled(1 / weight) for sums in passed.sums],
        passed.mass / weight,
        schedule.limited(weight),
    )


def learnt(online: Online, rows: Rows, assigner: Assigner, schedule: Schedule) -> Online:
    """Return what is known after one step of online EM on new rows.

    1. E-step of the new rows, and their statistics, at the current state. If they are far less
       likely than the rows before them, borders have moved, and first become less steep.
    2. Average with those of past rows: s ← (1 − ρ) s + ρ s_new. All are at the coefficients of the
       current state.
    3. M-step from the average, weighted as all rows so far: priors count once. A shorter one if it
       makes the new rows far less likely: where a border is steep, hardly a row speaks for its
       curvature, and a Newton step may end anywhere.
    4. Statistics move to the new coefficients by their quadratic model, as H θ + gradient of a row
       does not depend on where it was taken.
    """
    old = prepared(online.state, rows)
    e_step = partial(EStep, assigner=assigner, step=online.n_steps + 1)
    weight = rows.total_weight
    passed = sweep(rows, old, e_step(old))
    bound = passed.objective / weight
    kept = online.sums
    several = rows.n_rows >= FEWEST_JUDGED
    if several and can(old.gate, "softened") and bound < online.bound - DRIFTED:
        softer, gained = _softened(rows, old, e_step, passed.objective)
        if gained > MOVED * (online.bound * weight - passed.objective):
            old, kept = _recentred(softer, old, kept)
            passed = sweep(rows, old, e_step(old))
    total = schedule.limited(online.total + weight)
    share = schedule.share(weight, total)
    averages = [
        past.scaled(1 - share) + new.scaled(share / weight)
        for past, new in zip(kept, passed.sums, strict=True)
    ]
    counted = copy.copy(rows)
    counted.total_weight = total
    whole = [sums.scaled(total) for sums in averages]
    new = m_step(counted, old, whole)
    if several and any(overshoots(*each) for each in zip(old.parts, new.parts, strict=True)):
        least = passed.objective - LARGEST_LOSS * weight
        tries = chain([new], shorter_steps(counted, old, new, whole), [old])
        new = next(state for state in tries if _objective(rows, e_step(state)) >= least)
    return Online(
        *_recentred(new, old, averages),
        (1 - share) * online.mass + share * passed.mass / weight,
        total,
        online.n_steps + 1,
        bound,
    )


def _recentred(new: State, old: State, sums: list) -> tuple[State, list]:
    """Return a state ready for more rows, and the statistics of an old one at its coefficients."""
    moved = [
        part.recentred(each, before)
        for part, each, before in zip(new.parts, sums, old.parts, strict=True)
    ]
    state = new.apply(lambda part, ready: ready, [ready for ready, _ in moved])
    return state, [each for _, each in moved]


def _softened(rows: Rows, state: State, e_step: Any, objective: float) -> tuple[State, float]:
    """Return the state with the gate so soft that rows are as likely as it can make them.

    And what that gains.
    """
    gained = 0.0
    while True:
        gate: Any = state.gate
        softer = State(gate.softened(SOFTER), state.bank)
        gain = _objective(rows, e_step(softer)) - objective - gained
        if not gain > LARGEST_LOSS * rows.total_weight:
            return state, gained
        state, gained = softer, gained + gain


def _objective(rows: Rows, e_step: EStep) -> float:
    """Return the objective of rows at the state of an E-step."""
    total: float = rows.reduce(partial(_objective_of_block, e_step=e_step))
    return total


def _objective_of_block(block: Block, e_step: EStep) -> float:
    return e_step(block.fresh()).objective
