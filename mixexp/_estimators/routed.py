"""Routing of a fit: parts for training and prediction, frozen routes, the fallback expert."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mixexp._engine.assign import Hard, Soft
from mixexp._engine.sweep import State
from mixexp.experts import FallbackBank
from mixexp.protocols import Rows, evolve
from mixexp.routing import Even, Overlap, Queue, RoutedGate

__all__ = ["Routes"]


@dataclass(frozen=True)
class Routes:
    """The routing of a fit.

    Attributes
    ----------
    router : router of `mixexp.routing`
    n_experts : int
    noise : bool
        Whether gate and bank have a noise expert, outside of the routing.
    fallback : callable or None
        From rows to the fitted fallback, a bank of one expert, and its number of parameters.
    seed : int
    """

    router: Any
    n_experts: int
    noise: bool
    fallback: Callable[[Rows], tuple[Any, int | None]] | None
    seed: int
    _fallbacks: dict[int, tuple[Rows, Any, Any]] = field(default_factory=dict)

    @property
    def n_fixed(self) -> int:
        """Number of experts that routing adds."""
        return int(self.router.needs_fallback)

    @property
    def is_dense(self) -> bool:
        """Whether every row reaches every expert with its gate probability."""
        router = self.router
        everyone = router.k is not None and router.k >= self.n_experts and router.renormalise
        plain = router.temperature == 1 and not router.jitter and router.balance is None
        return bool(everyone and plain and not router.hard)

    @property
    def assigner(self) -> Any:
        """The assigner of the long run of a hard router, None otherwise."""
        router = self.router
        if not router.hard:
            return None
        limited = router.capacity_factor not in (None, np.inf)
        if limited or router.balance in ("bias", "assignment"):
            return Queue(router, self.noise)
        return Hard()  # plain classification EM

    @property
    def first_assigner(self) -> Any:
        """The assigner of the starts, which are dense."""
        return Even(self.noise) if self.router.balance in ("bias", "assignment") else Soft()

    def routed(self, state: State, rows: Rows) -> State:
        """Return a state for training: hard routers train the dense model."""
        gate, bank = state.gate, state.bank
        if gate is not None:
            n_experts = self.n_experts if bank is None else bank.n_experts
            router = self.router.started(n_experts)
            gate = self._changed(
                gate,
                lambda inner: RoutedGate(inner, router, seed=self.seed, dense=self.router.hard),
            )
        if bank is not None and self.router.needs_fallback:
            fallback, n_parameters = self._fallback_for(rows)
            bank = self._changed(bank, lambda inner: FallbackBank(inner, fallback, n_parameters))
        return State(gate, bank)

    def _changed(self, part: Any, change: Callable[[Any], Any]) -> Any:
        """Return a part after a change inside of the noise."""
        return evolve(part, inner=change(part.inner)) if self.noise else change(part)

    def _fallback_for(self, rows: Rows) -> tuple[Any, int | None]:
        """Return the fallback fitted to these rows, once."""
        assert self.fallback is not None
        if id(rows) not in self._fallbacks:
            self._fallbacks[id(rows)] = (rows, *self.fallback(rows))
        return self._fallbacks[id(rows)][1:]

    def moved(self, state: State, rows: Rows) -> State:
        """Return a trained state for other training rows: no routes, and the fallback of these."""
        gate = self._changed(state.gate, lambda inner: inner.thawed())
        bank = state.bank
        if self.router.needs_fallback:
            fallback, _ = self._fallback_for(rows)
            bank = self._changed(bank, lambda inner: evolve(inner, fallback=fallback))
        return State(gate, bank)

    def frozen(self, gate: Any, rows: Rows) -> tuple[Any, Any, np.ndarray] | None:
        """Return a gate with frozen routes, the assigner of its fit and responsibilities.

        None if the router is not hard.
        """
        if not self.router.hard:
            return None
        inner: RoutedGate = gate.inner if self.noise else gate
        fixed, extra = inner.freeze(rows)
        assert fixed.routes is not None
        resp = np.maximum(fixed.routes, extra)
        if self.noise:
            share = gate.noise_share_
            noise = np.full((1, resp.shape[1]), share)
            resp = np.concatenate([(1 - share) * resp, noise])
        new = evolve(gate, inner=fixed) if self.noise else fixed
        plain = not extra.any() and np.all((fixed.routes == 0) | (fixed.routes == 1))
        return new, Soft() if plain else Overlap(extra, fixed.routes), resp
