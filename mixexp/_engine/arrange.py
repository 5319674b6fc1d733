"""Assignment of regions to the leaves of a tree, before the tree's gate takes over."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from mixexp._engine.context import Context, posteriors
from mixexp._engine.fixed import fit_at
from mixexp._engine.sweep import FixedStep, State
from mixexp.protocols import Block, Rows

__all__ = ["REARRANGED", "arranged", "rearranged"]

#: EM iterations with a flat gate, before a gate with non-exchangeable experts takes over.
FLAT_ITER = 24

#: Steps of a tree's gate after which orders of regions are compared.
ARRANGE_STEPS = 5

#: The event of a start whose regions have changed places after its long run.
REARRANGED = "its regions went to other leaves of the tree"

#: Nats per unit of weight by which a new order must separate regions better than the present one.
WORTH_A_RUN = 1e-3


def arranged(gate: Any, plain: Any, context: Context, resp: np.ndarray) -> np.ndarray:
    """Return regions (K, n) in the order that suits a tree best, after a run with a flat gate.

    Chooses the order, of those that the gate proposes, under which it predicts the regions best.
    `plain` is the gate without noise.
    """
    rows = context.rows
    resp = context.short_run(resp, FLAT_ITER).resp
    regions = [resp[order] for order in gate.arrangements(resp, rows)]
    if len(regions) == 1:
        return regions[0]
    return max(regions, key=partial(_separation, plain, rows))


def rearranged(
    gate: Any, plain: Any, rows: Rows, state: State, n_experts: int
) -> np.ndarray | None:
    """Return the regions (K, n) that a run ended with in a better order; None if they have it.

    Starts arrange what a few iterations have found, with borders that are still soft. Where two
    nodes cut at nearly the same place, the wrong one may come first, and no step leads from one
    tree to the other; sharp regions tell them apart. `gate` and `plain` are those of a start.
    """
    resp, _ = posteriors(state, rows)
    resp = resp[:n_experts]
    resp = resp / np.maximum(np.add.reduce(resp, axis=0), np.finfo(float).tiny)  # or all is noise
    present = _separation(plain, rows, resp)
    regions = [resp[order] for order in gate.arrangements(resp, rows)]
    found = [_separation(plain, rows, each) for each in regions]
    best = int(np.argmax(found))
    weight = rows.units.total_weight
    return regions[best] if found[best] > present + WORTH_A_RUN * weight else None


def _separation(gate: Any, rows: Rows, resp: np.ndarray) -> float:
    """Return the expected log-probability of regions (K, n) under a gate fitted to them."""
    gate = fit_at(State(gate, None), rows, resp, ARRANGE_STEPS).gate
    fixed = FixedStep(resp)

    def of_block(block: Block) -> float:
        unit = block.unit
        unit_resp = fixed(block).unit_resp
        weighted = unit_resp if unit.weight is None else unit_resp * unit.weight
        return float(np.sum(weighted * gate.log_prob(unit)))

    return rows.reduce(of_block)
