"""Experts merged into the nodes of one level of a gate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mixexp.inspection._gate_tree import dotted
from mixexp.inspection._regions import most_probable

__all__ = ["Level"]


@dataclass(frozen=True)
class Level:
    """The assignment of experts to regions.

    Attributes
    ----------
    members : ndarray of shape (n_experts, n_regions)
        1 where an expert belongs to a region, else 0.
    names : list of str or None
        Names of the regions; None if every expert is a region of its own.
    """

    members: np.ndarray
    names: list[str] | None

    @classmethod
    def of(cls, mixture: Any, level: int | None, rows: Any, n_experts: int) -> Level:
        """Return the nodes of a level, or the experts for None.

        `rows` are any valid input of the mixture, whose `gate_proba` checks the level.
        """
        if level is None:
            return cls(np.eye(n_experts), None)
        mixture.gate_proba(rows[:1], level=level)
        gate, experts = mixture.gate_, range(n_experts)
        flat = not hasattr(gate, "leaves_at")
        nodes = [[k] for k in experts] if flat else gate.leaves_at(level)
        paths = [(k,) for k in experts] if flat else gate.paths_
        members = np.zeros((n_experts, len(nodes)))
        for node, below in enumerate(nodes):
            members[below, node] = 1.0
        names = [
            f"expert {below[0]}" if len(below) == 1 else f"node {dotted(paths[below[0]][:level])}"
            for below in nodes
        ]
        return cls(members, names)

    @property
    def experts(self) -> np.ndarray:
        """The expert whose colour each region has, its first one (n_regions,)."""
        return self.members.argmax(axis=0)

    def weights(self, weights: np.ndarray) -> np.ndarray:
        """Return the weights of the regions (n, n_regions), without a column for the noise."""
        summed: np.ndarray = weights[:, : len(self.members)] @ self.members
        return summed

    def most_probable(self, weights: np.ndarray) -> np.ndarray:
        """Return the most probable region of every row (n,), -1 for the noise or zeros."""
        noise = weights[:, len(self.members) :]
        found = most_probable(np.hstack([self.weights(weights), noise]))
        return np.where(found < self.members.shape[1], found, -1)

    def values(self, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return each region's prediction, the weighted mean of its experts' predictions.

        If all weights of a region are 0, its experts count equally.

        Parameters
        ----------
        values : ndarray of shape (n, n_experts)
        weights : ndarray of shape (n, n_experts) or (n, n_experts + 1)
            With a column for the noise or a fallback, which has no region.

        Returns
        -------
        ndarray of shape (n, n_regions)
        """
        if self.names is None:
            return values
        weights = weights[:, : len(self.members)]
        nothing = (self.weights(weights) == 0) @ self.members.T
        shares = np.where(nothing > 0, 1.0, weights)
        mean: np.ndarray = self.weights(shares * values) / self.weights(shares)
        return mean
