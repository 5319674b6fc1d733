"""Weights of rows, and means by them."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp._checks import as_numbers, short

__all__ = ["checked_weight", "weighted_mean"]


def weighted_mean(values: np.ndarray, weight: np.ndarray) -> float:
    """Return the weighted mean over rows, and outputs; rows without weight may be infinite."""
    rows = weight > 0
    means = values[rows].reshape(np.count_nonzero(rows), -1).mean(axis=1)
    return float(np.average(means, weights=weight[rows]))


def checked_weight(sample_weight: Any, n_rows: int, owner: str) -> np.ndarray:
    """Return weights of rows, of which some are positive."""
    if sample_weight is None:
        weight = np.ones(n_rows)
    else:
        weight = as_numbers(sample_weight, "sample_weight", owner, "Give one number a row.")
    if weight.shape != (n_rows,) or not np.all(np.isfinite(weight) & (weight >= 0)):
        raise ValueError(
            f"{owner}: sample_weight={short(weight)} must be {n_rows} finite numbers of at least "
            "0, one for each row."
        )
    if not np.any(weight > 0):
        raise ValueError(f"{owner}: there are no rows with weight. Give one row at least.")
    return weight
