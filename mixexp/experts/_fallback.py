"""A bank with one more expert, fitted once to all rows, that stands behind the routed ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp.protocols import Block, Forward, Hidden, Rows, evolve, if_inner_can

__all__ = ["FallbackBank"]


class FallbackBank:
    """K experts and, as the last one, a fallback that no M-step changes.

    Parameters
    ----------
    inner : ExpertBank
    fallback : ExpertBank
        Of one expert, fitted to all rows.
    n_fallback_parameters : int or None
        Free parameters of the fallback, None if unknown.
    """

    def __init__(self, inner: Any, fallback: Any, n_fallback_parameters: int | None):
        self.inner = inner
        self.fallback = fallback
        self.n_fallback_parameters = n_fallback_parameters

    # training and fitted attributes are the experts' alone
    n_experts = Forward()
    fitted = Forward()
    n_gram_weights = Forward()
    design = Forward()
    expert_columns = Forward()
    log_prior = Forward()
    get_parameters = Forward()
    cross_fitted = Forward()
    family = Forward()
    parameters = Forward()
    deviance = Forward()
    floor = Forward()
    on_floor = Forward()
    n_coefficients = Forward()
    calibration = Forward()
    trainer = Forward()
    predicted_rows = Forward()

    # only used on the inner bank, before it is wrapped
    replicate = Hidden()
    merged = Hidden()

    def _with(self, inner: Any) -> FallbackBank:
        return evolve(self, inner=inner)

    @property
    def n_parameters(self) -> int:
        """Number of free parameters, if the experts' and the fallback's are known."""
        if self.n_fallback_parameters is None:
            raise AttributeError("the fallback has no number of parameters")
        return int(self.inner.n_parameters) + self.n_fallback_parameters

    @if_inner_can("gram_weights")
    def gram_weights(self, block: Block, resp: np.ndarray, out: np.ndarray) -> None:
        """Write the experts' weight rows."""
        self.inner.gram_weights(block, resp[:-1], out)

    @if_inner_can("select")
    def select(self, experts: np.ndarray) -> FallbackBank:
        """Return the bank of some experts, the fallback last among them."""
        return self._with(self.inner.select(experts[:-1]))

    @if_inner_can("toward")
    def toward(self, new: FallbackBank, t: float) -> FallbackBank:
        """Return the bank a share t of the way to `new`."""
        return evolve(new, inner=self.inner.toward(new.inner, t))

    @if_inner_can("bounded")
    def bounded(self) -> FallbackBank:
        """Return the bank with the experts' next step under a bound of the curvature."""
        return self._with(self.inner.bounded())

    @if_inner_can("damped")
    def damped(self, new: FallbackBank) -> FallbackBank:
        """Return the bank with a shorter next step of the experts than the one to `new`."""
        inner = self.inner.damped(new.inner)
        return self if inner is self.inner else self._with(inner)

    @if_inner_can("set_parameters")
    def set_parameters(self, vector: np.ndarray) -> FallbackBank:
        """Return the bank with these parameters of the experts."""
        return self._with(self.inner.set_parameters(vector))

    @if_inner_can("measured")
    def measured(self, rows: Rows) -> FallbackBank:
        """Return the bank for a pass over these rows."""
        return self._with(self.inner.measured(rows))

    @if_inner_can("matching")
    def matching(self, statistics: Any, rows: Rows) -> np.ndarray:
        """Return the region that each expert fits best; the fallback has none."""
        return self.inner.matching(statistics, rows)

    @if_inner_can("finished")
    def finished(self, rows: Rows) -> FallbackBank:
        """Return the bank as it predicts for new rows."""
        return self._with(self.inner.finished(rows))

    def trimmed(self) -> FallbackBank:
        """Return the bank without its caches of the training rows."""
        inner = self.inner.trimmed() if hasattr(self.inner, "trimmed") else self.inner
        return evolve(self, inner=inner, fallback=self.fallback.trimmed())

    @if_inner_can("with_floor")
    def with_floor(self, floor: np.ndarray) -> FallbackBank:
        """Return the bank with these smallest dispersions."""
        return self._with(self.inner.with_floor(floor))

    @property
    def monotone(self) -> bool:
        """Whether the inner bank is."""
        return bool(self.inner.monotone)

    def _of_fallback(self, block: Block) -> Block:
        """Return the block with the rows that reach the fallback."""
        if block.reached is None:
            return block
        return block.reaching(block.reached[[self.n_experts]])

    def predict(self, block: Block) -> np.ndarray:
        """Return means or class probabilities, the fallback's last, (K + 1, q, m)."""
        last = self._of_fallback(block)
        return np.concatenate([self.inner.predict(block), self.fallback.predict(last)])

    def log_prob(self, block: Block) -> np.ndarray:
        """Return log-densities, the fallback's last, (K + 1, m)."""
        last = self._of_fallback(block)
        return np.concatenate([self.inner.log_prob(block), self.fallback.log_prob(last)])

    def statistics(self, block: Block, resp: np.ndarray) -> Any:
        """Return the experts' statistics."""
        return self.inner.statistics(block, resp[:-1])

    def update(self, statistics: Any, rows: Rows) -> FallbackBank:
        """Return the bank after the experts' M-step."""
        return evolve(self, inner=self.inner.update(statistics, rows))
