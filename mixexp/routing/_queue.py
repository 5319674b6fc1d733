"""Queues at experts of limited capacity."""

from __future__ import annotations

import numpy as np

__all__ = ["capacity_of", "placed", "shared_out"]


def capacity_of(weight: np.ndarray | None, n_rows: int, n_experts: int, factor: float) -> float:
    """Return the load that an expert takes: factor · Σw / K, rounded up for whole weights."""
    total = float(n_rows if weight is None else weight.sum())
    capacity = factor * total / n_experts
    return float(np.ceil(capacity * (1 - 1e-12))) if _are_whole(weight) else capacity


def _are_whole(weight: np.ndarray | None) -> bool:
    """Return whether weights are numbers of equal rows."""
    return weight is None or bool(np.all(weight == np.floor(weight)))


def shared_out(
    scores: np.ndarray,
    order: np.ndarray,
    groups: np.ndarray,
    weight: np.ndarray | None,
    capacity: float,
    next_best: bool,
    labels: np.ndarray | None = None,
) -> np.ndarray:
    """Return the shares (K + 1, n) of every row that experts take, the last of those without room.

    As `placed`, but rows of one of the `groups` (n,), which have equal scores, stand in the queue
    as one. The last that an expert takes is split where it is of several rows, or of a weight that
    counts equal ones: each of its rows goes to the experts in the same shares. Which rows of a
    group are taken would otherwise be a matter of their order, or of their targets.
    """
    n_experts, n = scores.shape
    weight, whole = np.ones(n) if weight is None else weight, _are_whole(weight)
    shares = np.zeros((n_experts + 1, n))
    free = np.ones(n, dtype=bool) if labels is None else labels < 0
    if labels is not None:
        shares[labels[~free], ~free] = 1.0
    load = shares[:n_experts] @ weight
    waiting = order[free[order]]
    _, first, codes = np.unique(groups[waiting], return_index=True, return_inverse=True)
    of_group = waiting[first]  # a row of each
    left = np.bincount(codes, weights=weight[waiting])
    total, may_split = left.copy(), whole | (np.bincount(codes) > 1)
    taken = np.zeros((n_experts + 1, len(first)))
    queue = np.argsort(first)
    while len(queue):
        room = np.flatnonzero(load < capacity) if next_best else np.arange(n_experts)
        if len(room) == 0:
            best = scores[:, of_group[queue]].argmax(axis=0)
            taken[best, queue] += left[queue]
            break
        choice = room[scores[np.ix_(room, of_group[queue])].argmax(axis=0)]
        for k in np.unique(choice):
            asking = queue[choice == k]
            before = load[k] + np.cumsum(left[asking]) - left[asking]
            most = np.where(may_split[asking], capacity - before, np.inf)
            here = np.where(before < capacity, np.minimum(left[asking], most), 0.0)
            taken[k, asking] += here
            left[asking] -= here
            load[k] += here.sum()
        queue = queue[left[queue] > 0]
        if not next_best:
            taken[n_experts, queue] += left[queue]
            break
    shares[:, waiting] = (taken / total)[:, codes]
    return shares


def placed(
    scores: np.ndarray,
    order: np.ndarray,
    weight: np.ndarray | None,
    capacity: float,
    next_best: bool,
    labels: np.ndarray | None = None,
) -> np.ndarray:
    """Return the expert (n,) of every row, K where none has room.

    Rows ask for their best expert in `order`, and each is taken while the load of those before it
    is below the capacity. With `next_best`, those left out ask for the best expert that still has
    room, again in `order`, and so on: first choices go before second ones. If rounding fills all
    experts too early, the last rows go to their best one. Labelled rows go to their expert before
    all others, whether it has room or not.

    Parameters
    ----------
    scores : ndarray of shape (K, n)
        Of equal scores, the first expert is better.
    order : ndarray of int of shape (n,)
    weight : ndarray of shape (n,) or None
    capacity : float
    next_best : bool
    labels : ndarray of int of shape (n,) or None
        Experts of the rows, −1 if unknown.
    """
    n_experts, n = scores.shape
    weight = np.ones(n) if weight is None else weight
    expert = np.full(n, n_experts)
    load = np.zeros(n_experts)
    waiting = order
    if labels is not None:
        known = labels >= 0
        expert[known] = labels[known]
        load += np.bincount(labels[known], weights=weight[known], minlength=n_experts)
        waiting = order[~known[order]]
    while len(waiting):
        room = np.flatnonzero(load < capacity) if next_best else np.arange(n_experts)
        if len(room) == 0:
            expert[waiting] = scores[:, waiting].argmax(axis=0)
            break
        choice = room[scores[np.ix_(room, waiting)].argmax(axis=0)]
        left = []
        for k in np.unique(choice):
            asking = waiting[choice == k]
            before = load[k] + np.cumsum(weight[asking]) - weight[asking]
            taken = before < capacity
            expert[asking[taken]] = k
            load[k] += weight[asking[taken]].sum()
            left.append(asking[~taken])
        refused = np.concatenate(left)
        if not next_best:
            break
        waiting = waiting[np.isin(waiting, refused)]
    return expert
