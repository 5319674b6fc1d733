"""Starts written by users."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import clone

from mixexp.protocols import StartContext, can, evolve

__all__ = ["CheckedStart"]

#: Largest difference from 1 of the sum of a row's responsibilities.
SUM_TOL = 1e-6


class CheckedStart:
    """A start whose responsibilities are checked.

    Parameters
    ----------
    start : object with responsibilities(context, rng)
        Cloned if it has `get_params`. Without an attribute `random` it counts as deterministic.
    owner : str
        Class name of the mixture, for messages.
    """

    def __init__(self, start: Any, owner: str):
        self.start = clone(start) if hasattr(start, "get_params") else start
        self.owner = owner

    @property
    def random(self) -> bool:
        """Whether another seed gives another start."""
        return bool(getattr(self.start, "random", False))

    @property
    def varied(self) -> bool:
        """Whether starts are of several kinds."""
        return bool(getattr(self.start, "varied", False))

    @property
    def numbered(self) -> bool:
        """Whether the user numbered the experts, which labels then do not change."""
        return bool(getattr(self.start, "numbered", False))

    def bound(self, resolve: Callable[[Any], Any]) -> CheckedStart:
        """Return the same with nested starts resolved for a fit."""
        if not can(self.start, "bound"):
            return self
        return evolve(self, start=self.start.bound(resolve))

    def responsibilities(self, context: StartContext, rng: np.random.Generator) -> np.ndarray:
        """Return responsibilities (K, n) of the context's rows."""
        result = self.start.responsibilities(context, rng)
        shape = (context.n_experts, context.rows.n_rows)
        who = f"{self.owner}: init={type(self.start).__name__}: responsibilities(context, rng)"
        try:
            resp = np.array(result, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{who} must give numbers, got {result!r}.") from error
        if resp.shape != shape:
            raise ValueError(
                f"{who} gave an array of shape {resp.shape}. Give (n_experts, n_rows) = {shape}: "
                "a row per expert, a column for each of context.rows."
            )
        total = resp.sum(axis=0)
        if not (np.all(resp >= 0) and np.all(np.abs(total - 1) <= SUM_TOL)):
            raise ValueError(
                f"{who} must give finite, nonnegative numbers whose columns sum to 1; column sums "
                f"go from {total.min():.6g} to {total.max():.6g}, the smallest entry is "
                f"{resp.min():.6g}. Divide each column by its sum."
            )
        return resp / total
