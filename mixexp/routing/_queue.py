"""Queues at experts of limited capacity."""

from __future__ import annotations

import numpy as np

__all__ = ["capacity_of", "placed"]


def capacity_of(weight: np.ndarray | None, n_rows: int, n_experts: int, factor: float) -> float:
    """Return the load that an expert takes: factor · Σw / K, rounded up for whole weights."""
    total = float(n_rows if weight is None else weight.sum())
    capacity = factor * total / n_experts
    whole = weight is None or bool(np.all(weight == np.floor(weight)))
    return float(np.ceil(capacity * (1 - 1e-12))) if whole else capacity


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
