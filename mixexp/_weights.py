"""Sample weights: frequencies, which count rows, and relative weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from mixexp._warn import warn
from mixexp.protocols import can

__all__ = ["as_counts", "check_total", "count_scale", "responsibilities_as_weights"]

#: Weights that sum to less than this share of the number of rows are small, by intent or mistake;
#: otherwise it is the rows that are few.
SMALL_SHARE = 0.5

#: Weights with mean 1 have a maximum of at least 1; this leaves room for rounding.
ONE = 1 - 1e-12

#: Whether the weights of a fit are responsibilities: the mixture is part of another's expert.
_of_an_expert: ContextVar[bool] = ContextVar("_of_an_expert", default=False)


@contextmanager
def responsibilities_as_weights() -> Iterator[None]:
    """Context in which weights are responsibilities, which may all be below 1."""
    token = _of_an_expert.set(True)
    try:
        yield
    finally:
        _of_an_expert.reset(token)


def as_counts(weight: np.ndarray, model: Any) -> np.ndarray:
    """Return weights unchanged, or rescaled to mean 1 if they cannot be counts of rows.

    A row counts at least once, so if all positive weights are below 1 they are relative (survey
    weights, boosting) and only their ratios matter. Taken as counts, weights that sum to 1 would
    be a single row, dominated by the penalties. Rows of weight 0 are ignored.
    """
    positive = weight[weight > 0]
    largest = float(positive.max())
    if not _relative(len(positive), float(positive.sum()), largest, model):
        return weight
    # divided by the largest first: the inverse of tiny weights would overflow
    scaled = weight / largest
    return scaled / (scaled.sum() / len(positive))


def count_scale(n_positive: int, total: float, largest: float, model: Any) -> float:
    """Return the factor by which `as_counts` multiplies weights of this sum and maximum."""
    return n_positive / total if _relative(n_positive, total, largest, model) else 1.0


def _relative(n_positive: int, total: float, largest: float, model: Any) -> bool:
    """Return whether weights are relative, and warn that they are rescaled."""
    if largest >= ONE or _of_an_expert.get():
        return False
    times = "" if getattr(model, "class_weight", None) is None else ", times class_weight,"
    warn(
        f"{type(model).__name__}: all {n_positive} positive sample weights{times} are below 1 "
        f"(their sum is {total:.6g}), so they cannot count rows. They were rescaled to a "
        "mean of 1. Weights are frequencies: scale them to sum to the number of rows they "
        "represent."
    )
    return True


def check_total(rows: Any, gate: Any, bank: Any, n_experts: int, owner: str) -> None:
    """Warn if weights add up to less than the number of parameters.

    `bank` has one expert. There is no warning for few rows of weight 1.
    """
    if _of_an_expert.get() or not (can(gate, "n_parameters") and can(bank, "n_parameters")):
        return
    n_parameters = gate.n_parameters + bank.replicate(n_experts).n_parameters
    total, n_rows = rows.total_weight, rows.n_rows
    if total < min(n_parameters, SMALL_SHARE * n_rows):
        warn(
            f"{owner}: sample_weight adds up to {total:.6g} over {n_rows} rows, and {n_experts} "
            f"experts with their gate have about {n_parameters} parameters, so penalties may "
            "outweigh the data. Weights are frequencies: scale them to sum to the number of rows "
            "they represent, or lower n_experts."
        )
