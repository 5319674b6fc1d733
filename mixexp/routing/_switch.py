"""Switch routing: one expert per row, with limited capacity in training."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp.routing._base import BaseRouter, largest

__all__ = ["Switch"]


class Switch(BaseRouter):
    """Each row reaches its most probable expert; in training, experts have a capacity.

    An expert takes rows, surest first, until its load reaches capacity_factor · Σw / n_experts.
    Capacity applies in `fit` only: the prediction of a row depends on no other row.

    Parameters
    ----------
    capacity_factor : float, default=1.25
        Capacity as a multiple of an equal share of the weight; rounded up to a whole number if all
        weights are whole. Below 1 some rows find no room anywhere, and
        ``overflow="fallback"`` is needed.
    overflow : {"next", "fallback"}, default="next"
        Where a row goes whose expert is full: to the most probable one that has room, or to the
        fallback expert.
    fallback : {"mean"}, estimator or None, default=None
        The fallback expert, fitted once to all rows; needed with ``overflow="fallback"`` only. It
        has the last column of `route`, which is 0 unless a row overflows, in training.
    balance, overlap, jitter, temperature
        As in `TopK`.

    Notes
    -----
    The dense mixture is trained first, then by classification EM under capacity: every E-step gives
    each row to one expert, and the objective is log g_k(x) + log p_k(y | x) of that expert.
    Capacity may lower it, and the best state is kept. At the end, rows are routed by the gate
    alone, under capacity, these routes are frozen, and the experts are fitted on their rows.

    References
    ----------
    Fedus, Zoph & Shazeer (2021), Switch transformers, arXiv 2101.03961, eq. 1-3. Riquelme et al.
    (2021), Scaling vision with sparse mixture of experts, arXiv 2106.05974 (order of the queue).

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import make_piecewise_linear
    >>> from mixexp.routing import Switch
    >>> X, y = make_piecewise_linear(random_state=0)
    >>> model = MixtureOfExpertsRegressor(n_experts=3, routing=Switch(), random_state=0)
    >>> round(model.fit(X, y).active_fraction_, 3)
    0.333
    """

    k = 1

    def __init__(
        self,
        capacity_factor: float = 1.25,
        overflow: str = "next",
        *,
        fallback: Any = None,
        balance: str | None = None,
        overlap: float = 0.0,
        jitter: float = 0.0,
        temperature: float = 1.0,
    ):
        self.capacity_factor = capacity_factor
        self.overflow = overflow
        self.fallback = fallback
        self.balance = balance
        self.overlap = overlap
        self.jitter = jitter
        self.temperature = temperature

    @property
    def hard(self) -> bool:
        """Whether training assigns rows to one expert each."""
        return True

    def check(self, n_experts: int, owner: str) -> None:
        """Raise if a parameter is invalid for this many experts."""
        self._check_number("capacity_factor", owner, 1e-6, np.inf, "Use inf for no limit.")
        self._check_number("overlap", owner, 0.0, 1.0, "Use 0 for none.")
        if self.overflow not in ("next", "fallback"):
            raise ValueError(
                f"{owner}: Switch: overflow must be 'next' or 'fallback', got {self.overflow!r}."
            )
        if self.capacity_factor < 1 and self.overflow == "next":
            raise ValueError(
                f"{owner}: Switch: capacity_factor={self.capacity_factor!r} leaves rows without an "
                'expert that has room. Set at least 1, or overflow="fallback" with a fallback.'
            )
        super().check(n_experts, owner)

    def chosen(self, scores: np.ndarray) -> np.ndarray:
        """Return a mask (K, m) of the experts that each row reaches, by their scores."""
        return largest(scores, 1)

    def kept_nodes(self, log_prob: np.ndarray) -> np.ndarray | None:
        """Return the most probable node of a level."""
        if self.looks_at_all or self.temperature != 1.0:
            return None
        return largest(log_prob, 1)
