"""What several starts need."""

from __future__ import annotations

import numpy as np

from mixexp._blocks import Rows

__all__ = ["check_one_each", "one_hot", "weights_of"]


def one_hot(codes: np.ndarray, n_experts: int) -> np.ndarray:
    """Return indicator responsibilities (K, n) of expert numbers."""
    return np.equal(codes, np.arange(n_experts)[:, None]).astype(float)


def weights_of(rows: Rows) -> np.ndarray:
    """Return the weights of rows, ones where they have none."""
    return np.ones(rows.n_rows) if rows.weight is None else rows.weight


def check_one_each(owner: str, name: str, n_given: int, n_experts: int) -> None:
    """Raise where a start was not given one thing for each expert."""
    if n_given != n_experts:
        raise ValueError(
            f"{owner}: {name} has {n_given} entries and n_experts={n_experts}. Give one for each "
            f"expert, or set n_experts={n_given}."
        )
