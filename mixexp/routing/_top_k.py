"""Top-k routing."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp.routing._base import BaseRouter, largest

__all__ = ["TopK"]


class TopK(BaseRouter):
    """Each row reaches its k most probable experts.

    Parameters
    ----------
    k : int, default=2
        Number of experts per row, without the fallback.
    renormalise : bool, default=True
        Whether weights are renormalised over the k experts. If not, they are the gate
        probabilities, and the rest goes to the fallback expert.
    fallback : {"mean"}, estimator or None, default=None
        The fallback expert, fitted once to all rows; needed with ``renormalise=False`` only. Its
        weight is the last column of `route`.
    balance : {"bias", "prior", "assignment"} or None, default=None
        How experts are kept equally busy. "bias" chooses by p_k + b_k and weights by p_k, with b
        adjusted to even loads. "prior" puts a prior on the gate's usage. "assignment" gives experts
        equal capacity: for k = 1 in a queue, otherwise by prices, factors of the probabilities
        by which experts are chosen. Bias and prices are those of the training rows, and
        predictions use them too.
    overlap : float, default=0.0
        With k = 1: share of its own rows by which each expert's training set is enlarged by the
        rows from other regions to which it is most probable, for smaller steps at borders.
    jitter : float, default=0.0
        In training, gate inputs are multiplied by random numbers from 1 − jitter to 1 + jitter.
    temperature : float, default=1.0
        Gate scores are divided by it: below 1, weights are more decided.

    Notes
    -----
    The mixture is p(y | x) = Σ_k w_k(x) p_k(y | x) with w = ``route(X)``. The dense mixture
    is trained first. For k > 1, EM then runs on the routed one: responsibilities are those of the
    routed experts, r_k ∝ w_k p_k, and the gate learns to choose between them. Routes change with
    the gate; steps that lower the bound are shortened, so with experts fitted by likelihood it
    climbs, unless a balance or jitter changes routes as well; then the best state is returned. For
    k = 1 all such responsibilities are 1, and EM would stand still: classification EM of the dense
    mixture follows instead, whose bound climbs; then routes are frozen and the experts fitted on
    the rows that the gate sends them, whose bound climbs too.

    References
    ----------
    Shazeer et al. (2017), Outrageously large neural networks, arXiv 1701.06538, eq. 3-5. Wang et
    al. (2024), Auxiliary-loss-free load balancing, arXiv 2408.15664 (bias). Lewis et al. (2021),
    BASE layers, arXiv 2103.16716 (assignment).

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import make_piecewise_linear
    >>> from mixexp.routing import TopK
    >>> X, y = make_piecewise_linear(random_state=0)
    >>> model = MixtureOfExpertsRegressor(n_experts=3, routing=TopK(2), random_state=0).fit(X, y)
    >>> int((model.route(X) > 0).sum(axis=1).max())
    2
    """

    def __init__(
        self,
        k: int = 2,
        renormalise: bool = True,
        *,
        fallback: Any = None,
        balance: str | None = None,
        overlap: float = 0.0,
        jitter: float = 0.0,
        temperature: float = 1.0,
    ):
        self.k = k
        self.renormalise = renormalise
        self.fallback = fallback
        self.balance = balance
        self.overlap = overlap
        self.jitter = jitter
        self.temperature = temperature

    @property
    def hard(self) -> bool:
        """Whether training assigns rows to one expert each."""
        return bool(self.k == 1 and self.renormalise)

    def check(self, n_experts: int, owner: str) -> None:
        """Raise if a parameter is invalid for this many experts."""
        self._check_k(n_experts, owner)
        if not isinstance(self.renormalise, bool | np.bool_):
            raise ValueError(
                f"{owner}: TopK: renormalise must be True or False, got {self.renormalise!r}."
            )
        self._check_number("overlap", owner, 0.0, 1.0, "Use 0 for none.")
        if self.overlap and not self.hard:
            raise ValueError(
                f"{owner}: {self!r}: overlap is for k=1 with renormalise=True; otherwise experts "
                "share rows anyway. Set overlap=0."
            )
        super().check(n_experts, owner)

    def chosen(self, scores: np.ndarray) -> np.ndarray:
        """Return a mask (K, m) of the experts that each row reaches, by their scores."""
        return largest(scores, self.k)

    def kept_nodes(self, log_prob: np.ndarray) -> np.ndarray | None:
        """Return the k most probable nodes of a level."""
        if self.looks_at_all or self.temperature != 1.0 or not self.renormalise:
            return None
        return largest(log_prob, self.k)
