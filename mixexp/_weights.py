"""Sample weights as frequencies: what counts rows, and what only says how they compare."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from mixexp._warn import warn
from mixexp.protocols import can

__all__ = ["as_counts", "check_total", "responsibilities_as_weights"]

#: Weights that add up to less than this share of the number of rows are small on purpose, or by
#: mistake; with more it is the rows that are few.
SMALL_SHARE = 0.5

#: Weights that were rescaled to a mean of 1 have a largest one of 1, up to rounding.
ONE = 1 - 1e-12

#: Whether the weights of a fit are responsibilities: the mixture is inside of another's expert.
_of_an_expert: ContextVar[bool] = ContextVar("_of_an_expert", default=False)


@contextmanager
def responsibilities_as_weights() -> Iterator[None]:
    """Fit an expert in the block: its weights are shares of rows, and none need reach 1."""
    token = _of_an_expert.set(True)
    try:
        yield
    finally:
        _of_an_expert.reset(token)


def as_counts(weight: np.ndarray, model: Any) -> np.ndarray:
    """Return weights as they are, or with mean 1 where they cannot be counts of rows.

    A row that is there counts at least once, so where every positive weight is below 1 they are
    shares (survey weights, boosting): only their ratios mean something. Taken as counts, weights
    that sum to 1 would be a single row, and the penalties would be all there is. Rows of weight 0
    are not there, and do not enter the mean.
    """
    positive = weight[weight > 0]
    largest = float(positive.max())
    if largest >= ONE or _of_an_expert.get():
        return weight
    # divided by the largest first: weights may be so small that they have no inverse
    scaled = weight / largest
    times = "" if getattr(model, "class_weight", None) is None else ", times class_weight,"
    warn(
        f"{type(model).__name__}: all {len(positive)} positive sample weights{times} are below 1 "
        f"(their sum is {positive.sum():.6g}), so they cannot count rows. They were rescaled to a "
        "mean of 1. Weights are frequencies: multiply them so that their sum is the number of rows "
        "that they stand for."
    )
    return scaled / (scaled.sum() / len(positive))


def check_total(rows: Any, gate: Any, bank: Any, n_experts: int, owner: str) -> None:
    """Warn where weights add up to less than there are parameters.

    `bank` is of one expert. With few rows of weight 1 nothing is said: they are what there is.
    """
    if _of_an_expert.get() or not (can(gate, "n_parameters") and can(bank, "n_parameters")):
        return
    n_parameters = gate.n_parameters + bank.replicate(n_experts).n_parameters
    total, n_rows = rows.total_weight, rows.n_rows
    if total < min(n_parameters, SMALL_SHARE * n_rows):
        warn(
            f"{owner}: sample_weight adds up to {total:.6g} over {n_rows} rows, and {n_experts} "
            f"experts with their gate have about {n_parameters} parameters, so penalties may "
            "outweigh the data. Weights are frequencies: multiply them so that they add up to the "
            "number of rows that they stand for, or lower n_experts."
        )
