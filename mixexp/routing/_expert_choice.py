"""Expert choice: experts choose rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp.protocols import evolve
from mixexp.routing._base import BaseRouter, largest
from mixexp.routing._queue import capacity_of

__all__ = ["ExpertChoice"]

#: Thresholds are lower by this share than the last probability, which is rounded otherwise in
#: another batch.
ROUNDING = 1e-9


class ExpertChoice(BaseRouter):
    """Each expert takes the rows to which it is most probable, up to its capacity.

    A row may reach several experts, and reaches its most probable one in any case. For predictions,
    `fit` stores the smallest gate probability that each expert admitted.

    Parameters
    ----------
    capacity_factor : float, default=1.25
        Mean number of experts per row: an expert takes rows until their weight reaches
        capacity_factor · Σw / n_experts. At most n_experts.
    jitter, temperature
        As in `TopK`.

    Attributes
    ----------
    thresholds_ : ndarray of shape (n_experts,)
        Smallest admitted gate probability of each expert, in the `routing_` of a fitted mixture.

    Notes
    -----
    Weights are renormalised over the routed experts. Training is as in `TopK` with k > 1, with
    thresholds set anew in every pass. Rows of the same probability are admitted together. But for
    these, and rows that only their most probable expert keeps, loads are equal by construction, so
    there is no `balance`.

    References
    ----------
    Zhou et al. (2022), Mixture-of-experts with expert choice routing, arXiv 2202.09368.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import make_piecewise_linear
    >>> from mixexp.routing import ExpertChoice
    >>> X, y = make_piecewise_linear(random_state=0)
    >>> model = MixtureOfExpertsRegressor(n_experts=3, routing=ExpertChoice(), random_state=0)
    >>> model.fit(X, y).routing_.thresholds_.shape
    (3,)
    """

    fallback = None
    balance = None

    def __init__(
        self, capacity_factor: float = 1.25, *, jitter: float = 0.0, temperature: float = 1.0
    ):
        self.capacity_factor = capacity_factor
        self.jitter = jitter
        self.temperature = temperature

    def check(self, n_experts: int, owner: str) -> None:
        """Raise if a parameter is invalid for this many experts."""
        self._check_number(
            "capacity_factor",
            owner,
            1e-6,
            float(n_experts),
            "It is the mean number of experts per row.",
        )
        super().check(n_experts, owner)

    def started(self, n_experts: int) -> Any:
        """Return a copy to be fitted, which admits all rows everywhere."""
        router = super().started(n_experts)
        router.thresholds_ = np.zeros(n_experts)
        return router

    @property
    def looks_at_all(self) -> bool:
        """Whether `surveyed` needs the gate probabilities of all rows."""
        return True

    def surveyed(self, log_gate: np.ndarray, weight: np.ndarray | None) -> Any:
        """Return the router with the thresholds of these rows."""
        proba = self.probabilities(log_gate)
        n_experts, n = proba.shape
        capacity = capacity_of(weight, n, n_experts, self.capacity_factor)
        thresholds = np.empty(n_experts)
        for k, column in enumerate(proba):
            order = np.argsort(-column, kind="stable")
            ordered = np.ones(n) if weight is None else weight[order]
            before = np.cumsum(ordered) - ordered
            last = column[order[np.count_nonzero(before < capacity) - 1]]
            thresholds[k] = last * (1 - ROUNDING)
        return evolve(self, thresholds_=thresholds)

    def chosen(self, scores: np.ndarray) -> np.ndarray:
        """Return a mask (K, m) of the experts that each row reaches, by their scores."""
        return (scores >= self.thresholds_[:, None]) | largest(scores, 1)
