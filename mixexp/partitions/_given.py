"""A start that a user wrote."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import clone

from mixexp.protocols import StartContext, can, evolve

__all__ = ["GivenStart"]

#: By how much the responsibilities of a row may miss a sum of 1.
SUM_TOL = 1e-6


class GivenStart:
    """Any object with `responsibilities`, as a start whose result is checked.

    Parameters
    ----------
    start : object with responsibilities(context, rng)
        Cloned where it has `get_params`. Without an attribute `random` it counts as not random.
    owner : str
        Class of the mixture, for messages.
    """

    def __init__(self, start: Any, owner: str):
        self.start = clone(start) if hasattr(start, "get_params") else start
        self.owner = owner

    @property
    def random(self) -> bool:
        """Whether another seed gives another start."""
        return bool(getattr(self.start, "random", False))

    @property
    def numbered(self) -> bool:
        """Whether the user numbered the experts, so that labels do not renumber them."""
        return bool(getattr(self.start, "numbered", False))

    def bound(self, resolve: Callable[[Any], Any]) -> GivenStart:
        """Return the same with a start that is made of others ready for a fit."""
        if not can(self.start, "bound"):
            return self
        return evolve(self, start=self.start.bound(resolve))

    def responsibilities(self, context: StartContext, rng: np.random.Generator) -> np.ndarray:
        """Return responsibilities (K, n) of the context's rows."""
        given = self.start.responsibilities(context, rng)
        wanted = (context.n_experts, context.rows.n_rows)
        who = f"{self.owner}: init={type(self.start).__name__}: responsibilities(context, rng)"
        try:
            resp = np.array(given, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{who} must give numbers, got {given!r}.") from error
        if resp.shape != wanted:
            raise ValueError(
                f"{who} gave an array of shape {resp.shape}. Give (n_experts, n_rows) = {wanted}: "
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
