"""Routing by a smallest probability."""

from __future__ import annotations

import numpy as np

from mixexp.routing._base import BaseRouter, largest

__all__ = ["Threshold"]


class Threshold(BaseRouter):
    """Each row reaches the experts of at least a given gate probability, or the most probable one.

    Parameters
    ----------
    min_proba : float, default=0.2
        Smallest gate probability, from 0 to 1.
    balance, jitter, temperature
        As in `TopK`.

    Notes
    -----
    Weights are renormalised over the routed experts. Training is as in `TopK` with k > 1. Under a
    tree of gates, nodes of a smaller probability are not followed.

    Examples
    --------
    >>> import numpy as np
    >>> from mixexp.routing import Threshold
    >>> proba = np.array([[0.4, 0.8], [0.35, 0.1], [0.25, 0.1]])
    >>> Threshold(0.3).weights(np.log(proba)).round(2)
    array([[0.53, 1.  ],
           [0.47, 0.  ],
           [0.  , 0.  ]])
    """

    fallback = None

    def __init__(
        self,
        min_proba: float = 0.2,
        *,
        balance: str | None = None,
        jitter: float = 0.0,
        temperature: float = 1.0,
    ):
        self.min_proba = min_proba
        self.balance = balance
        self.jitter = jitter
        self.temperature = temperature

    def check(self, n_experts: int, owner: str) -> None:
        """Raise if a parameter is invalid for this many experts."""
        self._check_number("min_proba", owner, 0.0, 1.0)
        super().check(n_experts, owner)

    def chosen(self, scores: np.ndarray) -> np.ndarray:
        """Return a mask (K, m) of the experts that each row reaches, by their scores."""
        return (scores >= self.min_proba) | largest(scores, 1)

    def kept_nodes(self, log_prob: np.ndarray) -> np.ndarray | None:
        """Return the nodes of a level that are probable enough, and the most probable one."""
        if self.looks_at_all or self.temperature != 1.0:
            return None
        return (np.exp(log_prob) >= self.min_proba) | largest(log_prob, 1)
