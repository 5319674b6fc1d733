"""E-steps of hard routers: every row to one expert, under capacity or even loads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mixexp._rows.sketch import row_hashes
from mixexp.protocols import Block, Rows
from mixexp.routing._balance import log_prices, priced
from mixexp.routing._queue import capacity_of, placed

__all__ = ["Even", "Overlap", "Queue"]

#: Capacity factor of a balanced assignment.
EVEN = 1.0


@dataclass(frozen=True)
class Queue:
    """Gives every row to one expert, with capacity and balance; it looks at all rows at once.

    The objective is log g_k(x) + log p_k(y | x) of that expert. Rows queue in the order of their
    largest responsibility, equal ones in that of their content. Rows that the noise expert explains
    best are its own, and do not queue.

    Parameters
    ----------
    router : router of `mixexp.routing`
    noise : bool
        Whether the last expert is noise, after the fallback.
    """

    router: Any
    noise: bool
    monotone = False

    def assign_all(self, log_joint: np.ndarray, units: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Return responsibilities (K', n) and objective (n,) from the log-joint (K', n)."""
        n_experts = len(log_joint) - self.router.needs_fallback - self.noise
        joint = log_joint[:n_experts]
        chosen = np.full(joint.shape[1], len(log_joint) - 1)
        ids = np.arange(joint.shape[1])
        if self.noise:
            ids = np.flatnonzero(joint.max(axis=0) >= log_joint[-1])
        weight, labels = (None if a is None else a[ids] for a in (units.weight, units.labels))
        hashes = row_hashes(units.X, units.y, 0)[ids]
        chosen[ids] = self._experts(joint[:, ids], hashes, weight, labels)
        assigned = np.zeros(log_joint.shape)
        everyone = np.arange(joint.shape[1])
        assigned[chosen, everyone] = 1.0
        return assigned, log_joint[chosen, everyone]

    def _experts(
        self,
        joint: np.ndarray,
        hashes: np.ndarray,
        weight: np.ndarray | None,
        labels: np.ndarray | None,
    ) -> np.ndarray:
        """Return the expert (n,) of each row, K for the fallback."""
        n_experts, n = joint.shape
        router = self.router.started(n_experts)
        resp = np.exp(joint - np.logaddexp.reduce(joint, axis=0))
        if router.balance in ("bias", "assignment"):
            with np.errstate(divide="ignore"):
                router = router.surveyed(router.temperature * np.log(resp), weight)
        scores = router.scores(resp)
        factor = EVEN if router.balance == "assignment" else router.capacity_factor
        order = np.lexsort((hashes, -resp.max(axis=0)))
        capacity = np.inf if factor is None else capacity_of(weight, n, n_experts, factor)
        return placed(scores, order, weight, capacity, router.overflow == "next", labels)


@dataclass(frozen=True)
class Even:
    """Soft assignment with even loads, for the starts of routers that balance them.

    Responsibilities are multiplied by a price per expert, at which experts have equal weight. A
    gate that gives nearly all rows to one expert would otherwise learn to go on so, before the
    router comes to choose.

    Parameters
    ----------
    noise : bool
        Whether the last expert is noise, which keeps its responsibilities.
    """

    noise: bool
    monotone = False

    def assign_all(self, log_joint: np.ndarray, units: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Return responsibilities (K', n) and log p(y | x) (n,) from the log-joint (K', n)."""
        density = np.logaddexp.reduce(log_joint, axis=0)
        resp = np.exp(log_joint - density)
        experts = resp[: len(resp) - self.noise]
        share = experts.sum(axis=0)
        experts /= np.maximum(share, np.finfo(float).tiny)
        weight = share if units.weight is None else share * units.weight
        experts[:] = priced(experts, log_prices(experts, weight))
        experts *= share / np.maximum(experts.sum(axis=0), np.finfo(float).tiny)
        return resp, density


@dataclass(frozen=True)
class Overlap:
    """Soft assignment along routes, with rows near borders given to the experts on both sides.

    Parameters
    ----------
    extra : ndarray of bool of shape (K', n)
        Experts that learn a row without being routed to.
    routes : ndarray of shape (K', n)
        The shares of a row that experts learn, whatever its target.
    """

    extra: np.ndarray
    routes: np.ndarray
    monotone = False

    def __call__(self, log_joint: np.ndarray, block: Block, step: int) -> tuple:
        """Return responsibilities (K', m), which may add up to more than 1, and the objective."""
        routes = self.routes[:, block.start : block.stop]
        with np.errstate(divide="ignore", invalid="ignore"):
            density = np.where(routes > 0, log_joint[: len(routes)] - np.log(routes), 0.0)
        shared = np.sum(routes * density, axis=0)  # each expert's own loss: shares are no mixture
        rest = log_joint[len(routes) :]
        objective = np.logaddexp.reduce(np.concatenate([shared[None], rest]), axis=0)
        resp = np.concatenate([routes * np.exp(shared - objective), np.exp(rest - objective)])
        extra = self.extra[:, block.start : block.stop]
        resp[: len(extra)][extra] = 1.0
        return resp, objective
