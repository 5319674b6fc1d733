"""Two runs from one start: which is returned, and what its record says."""

from __future__ import annotations

from functools import partial

import numpy as np

from mixexp._engine.em import Run
from mixexp._engine.progress import Watcher
from mixexp._engine.starts import Restart
from mixexp._engine.sweep import State, log_joint, posterior
from mixexp.protocols import Block, Rows

__all__ = ["ALIKE", "CLEARLY", "COMMON", "MATERIAL", "better_of", "gained", "mean_and_error"]

#: Standard errors by which one model of all rows must be better than experts of regions.
CLEARLY = 1.0

#: Nats a row, beside `CLEARLY`, by which one expert must explain the rows better than several.
MATERIAL = 0.02

#: The event of a start whose experts are one model.
COMMON = (
    "all experts are one model of all rows, which predicts them clearly better out of fold "
    "(n_refits=1 keeps one for each region)"
)

#: The event of a start that ended worse than one expert.
ALIKE = "the experts found explain the rows worse than one expert does, so that all are that one"


def better_of(
    progress: Watcher | None,
    first: tuple[Run, Restart],
    second: tuple[Run, Restart],
    better: bool,
    event: str,
) -> Run:
    """Return the second of two runs from a start if it is better and not flagged, else the first.

    The start's record then tells of the one that is returned, and of the iterations of both.
    """
    (run, record), (rival, spare) = first, second
    n_passes, record.n_iter = run.n_passes + rival.n_passes, spare.n_iter
    chosen = run
    if better and not spare.flags:
        chosen = rival
        record.bound, record.flags = spare.bound, spare.flags
        record.events += [event, *spare.events]
    elif progress is not None:
        progress.line(f"the run before is kept: bound {run.bound:.6g}")
    chosen.n_passes, chosen.stopped = n_passes, rival.stopped
    return chosen


def gained(rows: Rows, before: State, after: State) -> tuple[float, float]:
    """Return the mean gain in log-density from one state to another, and its standard error."""
    gain, weight = rows.map(partial(_gains, before=before, after=after), axis=1)
    return mean_and_error(gain, weight)


def mean_and_error(values: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """Return the mean of values (n,) by their weights, and its standard error."""
    mean = np.average(values, weights=weight)
    error = np.sqrt(np.average((values - mean) ** 2, weights=weight) / weight.sum())
    return float(mean), float(error)


def _gains(block: Block, before: State, after: State) -> np.ndarray:
    """Return the gain in log-density of the units, and their weights, (2, m)."""
    old, new = (
        posterior(log_joint(state.gate, state.bank, block.fresh()))[1] for state in (before, after)
    )
    weight = block.unit.weight
    return np.stack([new - old, np.ones_like(new) if weight is None else weight])
