"""One pass over the rows: the computation per block, and the sum over blocks.

`run_block` is a pure function of a block whose results add up, so a source of rows may evaluate
it anywhere, as long as it adds in a fixed order (`Rows.reduce`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from mixexp._engine.assign import Assigner
from mixexp._engine.information import information_sums
from mixexp.protocols import Block, Design, ExpertBank, Gate, Rows, can

__all__ = [
    "Assigned",
    "EStep",
    "FixedStep",
    "Partial",
    "State",
    "climbed",
    "log_joint",
    "e_step_of",
    "measured",
    "posterior",
    "prepared",
    "run_block",
    "statistics_of",
    "sweep",
]


@dataclass(frozen=True)
class State:
    """The parameters: a gate and a bank of experts. Parts are values, so a state is too.

    One of the two may be None where only the other is fitted.
    """

    gate: Gate | None
    bank: ExpertBank | None

    @property
    def parts(self) -> list[Any]:
        """Gate and bank, without those that are None."""
        return [part for part in (self.gate, self.bank) if part is not None]

    @property
    def parameters(self) -> np.ndarray:
        """The parameters of gate and bank as one vector (P,), where both have them."""
        return np.concatenate([part.get_parameters() for part in self.parts])

    def moved(self, change: np.ndarray) -> State:
        """Return the state with a change (P,) of the parameters."""
        vectors = [part.get_parameters() for part in self.parts]
        changes = np.split(change, np.cumsum([len(vector) for vector in vectors])[:-1])
        return self.apply(
            lambda part, vector, more: part.set_parameters(vector + more), vectors, changes
        )

    def views(self, *gate_and_bank: Any) -> list:
        """Return the arguments that belong to `parts`, in the same order."""
        pairs = zip((self.gate, self.bank), gate_and_bank, strict=True)
        return [view for part, view in pairs if part is not None]

    def apply(self, change: Callable[..., Any], *others: Any) -> State:
        """Return the state with `change(part, ...)` in place of each part."""
        changed = iter([change(*each) for each in zip(self.parts, *others, strict=True)])
        return State(
            None if self.gate is None else next(changed),
            None if self.bank is None else next(changed),
        )

    def select(self, experts: np.ndarray) -> State:
        """Return the state of some experts, in this order."""
        return self.apply(lambda part: part.select(experts))


def log_joint(gate: Any, bank: Any, block: Block) -> np.ndarray:
    """Return log g_k(x) + log p_k(y | x) of the units of a block, (K, m).

    Under routing, experts that a row does not reach need not be evaluated: they have weight 0.
    """
    log_gate = gate.log_prob(block.unit)
    if can(gate, "without_routing"):
        block = block.reaching(block.spread(log_gate > -np.inf))
    joint = block.of_units(bank.log_prob(block))
    joint += log_gate
    return joint


def posterior(joint: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return responsibilities (K, m) and log p(y | x) (m,) from a log-joint (K, m)."""
    density = np.logaddexp.reduce(joint, axis=0)
    return np.exp(joint - density), density


@dataclass(frozen=True)
class Assigned:
    """The result of an E-step: responsibilities times weights, of rows and of units.

    `objective` is the block's share of the objective.
    """

    resp: np.ndarray
    unit_resp: np.ndarray
    objective: float


@dataclass(frozen=True)
class EStep:
    """The E-step of a state: its log-joint, assigned."""

    state: State
    assigner: Assigner
    step: int

    def __call__(self, block: Block) -> Assigned:
        """Return the responsibilities of a block, with labelled rows kept by their experts."""
        unit, gate = block.unit, self.state.gate
        joint = log_joint(gate, self.state.bank, block)
        if unit.labels is not None:
            _keep_labelled(joint, unit.labels)
        unit_resp, objective = self.assigner(joint, unit, self.step)
        if can(gate, "log_marginal"):  # p(x) is the same for all experts
            objective = objective + gate.log_marginal(unit)  # type: ignore[union-attr]
        value = float(objective.sum() if unit.weight is None else objective @ unit.weight)
        return Assigned(block.of_rows(unit_resp), unit_resp, value)


def _keep_labelled(joint: np.ndarray, labels: np.ndarray) -> None:
    """Keep labelled units, those with a label of 0 or more, with their expert."""
    labelled = np.flatnonzero(labels >= 0)
    kept = joint[labels[labelled], labelled]
    joint[:, labelled] = -np.inf
    joint[labels[labelled], labelled] = kept


@dataclass(frozen=True)
class FixedStep:
    """Fixed responsibilities of all rows (K, n), equal within groups, in place of an E-step.

    `objective` holds each unit's share of the objective, None for 0.
    """

    resp: np.ndarray
    objective: np.ndarray | None = None

    def __call__(self, block: Block) -> Assigned:
        """Return the block's share of the responsibilities and the objective."""
        unit_resp = self.resp[:, block.start : block.stop]
        if block.firsts is not None:
            unit_resp = unit_resp[:, block.firsts]
        unit_resp = unit_resp.copy()
        value, unit = 0.0, block.unit
        if self.objective is not None:
            objective = self.objective[unit.start : unit.stop]
            value = float(objective.sum() if unit.weight is None else objective @ unit.weight)
        return Assigned(block.of_rows(unit_resp), unit_resp, value)


def e_step_of(state: State, rows: Rows, assigner: Any, step: int) -> EStep | FixedStep:
    """Return the E-step of a state; an assigner that needs all rows at once is run here.

    It takes a pass of its own, and keeps the log-joint (K, n) of all units meanwhile.
    """
    if not can(assigner, "assign_all"):
        return EStep(state, assigner, step)
    found = rows.map(partial(_joint_and_marginal, state=state), axis=1)
    resp, objective = assigner.assign_all(found[:-1], rows.units)
    return FixedStep(rows.spread(resp), objective + found[-1])


def _joint_and_marginal(block: Block, state: State) -> np.ndarray:
    """Return the log-joint of labelled units with their experts, and log p(x): (K + 1, m)."""
    block = block.fresh()
    unit, gate = block.unit, state.gate
    joint = log_joint(gate, state.bank, block)
    if unit.labels is not None:
        _keep_labelled(joint, unit.labels)
    marginal = gate.log_marginal(unit) if can(gate, "log_marginal") else np.zeros(unit.n_rows)  # type: ignore[union-attr]
    return np.vstack([joint, marginal])


@dataclass
class Partial:
    """The sums of a pass so far.

    Attributes
    ----------
    objective : float
    mass : ndarray of shape (K,)
        Responsibilities of the units.
    sums : list
        Statistics of each part.
    """

    objective: float
    mass: np.ndarray
    sums: list

    def __iadd__(self, other: Partial) -> Partial:
        self.objective += other.objective
        self.mass = self.mass + other.mass
        for i, more in enumerate(other.sums):
            self.sums[i] += more
        return self


def run_block(
    block: Block, state: State, e_step: Callable[[Block], Assigned], informed: bool = False
) -> Partial:
    """Return a block's share of the objective, the experts' weight and each part's statistics.

    `e_step` gives the responsibilities; usually it is the E-step of `state`. If `informed`, a last
    entry of the statistics holds what the observed information needs.
    """
    block = block.fresh()
    assigned = e_step(block)
    parts = state.parts
    views = state.views((block.unit, assigned.unit_resp), (block, assigned.resp))
    sums = statistics_of(parts, views)
    if informed:
        sums.append(information_sums(state, block, assigned.unit_resp, assigned.resp))
    return Partial(assigned.objective, np.add.reduce(assigned.unit_resp, axis=1), sums)


def statistics_of(parts: list, views: list) -> list:
    """Return each part's statistics of a block and its responsibilities, Gram matrices included."""
    sums = [part.statistics(*view) for part, view in zip(parts, views, strict=True)]
    for design, requests, size in _gram_plan(parts):
        _add_grams(design, requests, size, parts, views, sums)
    return sums


def sweep(
    rows: Rows, state: State, e_step: Callable[[Block], Assigned], informed: bool = False
) -> Partial:
    """Pass over the rows once."""
    return rows.reduce(partial(run_block, state=state, e_step=e_step, informed=informed))


def _gram_plan(parts: list) -> list[tuple[Design, list, int]]:
    """Return per design the slices of stacked weight rows that its parts request.

    With grouped rows, gate and experts have different designs, as their rows differ.
    """
    plan: dict[Design, list] = {}
    for i, part in enumerate(parts):
        if can(part, "gram_weights"):
            requests = plan.setdefault(part.design, [])
            start = requests[-1][2] if requests else 0
            requests.append((i, start, start + part.n_gram_weights))
    return [(design, requests, requests[-1][2]) for design, requests in plan.items()]


def _add_grams(
    design: Design, requests: list, size: int, parts: list, views: list, sums: list
) -> None:
    """Add the Gram matrices of one design to its parts' statistics, by one product."""
    block: Block = views[requests[0][0]][0]
    weights = np.empty((size, block.n_rows))
    for i, start, stop in requests:
        parts[i].gram_weights(*views[i], weights[start:stop])
    gram = block.gram(weights, design)
    for i, start, stop in requests:
        sums[i]["gram"] = gram[start:stop]


def measured(state: State, rows: Rows) -> State:
    """Return the state after its parts have taken the measurements a pass over these rows needs."""
    return state.apply(
        lambda part, view: part.measured(view) if can(part, "measured") else part,
        state.views(rows.units, rows),
    )


def prepared(state: State, rows: Rows) -> State:
    """Return the state ready for an E-step: measured, and with what routers saw of all rows."""
    state = measured(state, rows)
    return state.apply(
        lambda part, view: part.surveyed(view) if can(part, "surveyed") else part,
        state.views(rows.units, rows),
    )


def climbed(part: Any, block: Block, resp: np.ndarray) -> np.ndarray:
    """Return the log-probabilities (K, m) whose sum Σ r log p the M-step of a part raises."""
    log_prob: np.ndarray = (
        part.climbed(block, resp) if can(part, "climbed") else part.log_prob(block)
    )
    return log_prob
