"""Assignment of regions to the leaves of a tree, before the tree's gate takes over."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from mixexp._engine.context import Context
from mixexp._engine.fixed import fit_at
from mixexp._engine.sweep import FixedStep, State
from mixexp.protocols import Block, Rows

__all__ = ["arranged"]

#: EM iterations with a flat gate, before a gate with non-exchangeable experts takes over.
FLAT_ITER = 24

#: Steps of a tree's gate after which orders of regions are compared.
ARRANGE_STEPS = 5


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
