"""Routing by probability mass."""

from __future__ import annotations

import numpy as np

from mixexp.routing._base import BaseRouter

__all__ = ["TopP"]

#: A sum of probabilities that lacks this share of the mass has it.
ROUNDING = 1e-12


class TopP(BaseRouter):
    """Each row reaches as few experts as hold a given share of the gate's probability.

    Rows well inside a region need one expert, rows near borders several.

    Parameters
    ----------
    mass : float, default=0.9
        Share of the probability, above 0 and at most 1.
    balance, jitter, temperature
        As in `TopK`.

    Notes
    -----
    Weights are renormalised over the routed experts. Training is as in `TopK` with k > 1. Under a
    tree of gates all nodes are evaluated.

    References
    ----------
    Holtzman et al. (2020), The curious case of neural text degeneration, arXiv 1904.09751, sec.
    3.1 (nucleus). Huang et al. (2024), Harder tasks need more experts, arXiv 2403.07652.

    Examples
    --------
    >>> import numpy as np
    >>> from mixexp.routing import TopP
    >>> proba = np.array([[0.95, 0.50], [0.03, 0.45], [0.02, 0.05]])
    >>> TopP(0.9).weights(np.log(proba)).round(2)
    array([[1.  , 0.53],
           [0.  , 0.47],
           [0.  , 0.  ]])
    """

    fallback = None

    def __init__(
        self,
        mass: float = 0.9,
        *,
        balance: str | None = None,
        jitter: float = 0.0,
        temperature: float = 1.0,
    ):
        self.mass = mass
        self.balance = balance
        self.jitter = jitter
        self.temperature = temperature

    def check(self, n_experts: int, owner: str) -> None:
        """Raise if a parameter is invalid for this many experts."""
        self._check_number("mass", owner, 1e-12, 1.0, "Use 1 for all experts.")
        super().check(n_experts, owner)

    def chosen(self, scores: np.ndarray) -> np.ndarray:
        """Return a mask (K, m) of the experts that each row reaches, by their scores."""
        if self.mass == 1.0:
            return np.ones(scores.shape, dtype=bool)
        order = np.argsort(-scores, axis=0, kind="stable")
        ranked = np.maximum(np.take_along_axis(scores, order, axis=0), 0.0)
        ranked /= np.maximum(ranked.sum(axis=0), np.finfo(float).tiny)
        before = np.cumsum(ranked, axis=0) - ranked
        enough = self.mass * (1 - ROUNDING)
        mask = np.empty(scores.shape, dtype=bool)
        np.put_along_axis(mask, order, before < enough, axis=0)
        return mask
