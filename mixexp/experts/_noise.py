"""A bank with one extra expert, a uniform density that absorbs outliers."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp.protocols import Block, Forward, Hidden, Rows, evolve, if_inner_can

__all__ = ["NoiseBank"]


class NoiseBank:
    """K experts and, as the last one, a fixed uniform density (Banfield & Raftery 1993).

    Parameters
    ----------
    inner : ExpertBank
    log_density : float
    low, high : ndarray of shape (n_outputs,)
        The density is 0 outside this range.
    """

    def __init__(self, inner: Any, log_density: float, low: np.ndarray, high: np.ndarray):
        self.inner = inner
        self.log_density = log_density
        self.low, self.high = low, high

    # predictions and parameters are the experts' alone
    n_experts = Forward()
    predict = Forward()
    fitted = Forward()
    n_gram_weights = Forward()
    design = Forward()
    expert_columns = Forward()
    log_prior = Forward()
    n_parameters = Forward()
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

    # only used on the inner bank, before it is wrapped or after it is unwrapped
    replicate = Hidden()
    merged = Hidden()

    def _with(self, inner: Any) -> NoiseBank:
        return evolve(self, inner=inner)

    @if_inner_can("gram_weights")
    def gram_weights(self, block: Block, resp: np.ndarray, out: np.ndarray) -> None:
        """Write the experts' weight rows."""
        self.inner.gram_weights(block, resp[:-1], out)

    @if_inner_can("select")
    def select(self, experts: np.ndarray) -> NoiseBank:
        """Return the bank of some experts, the noise last among them."""
        return self._with(self.inner.select(experts[:-1]))

    @if_inner_can("toward")
    def toward(self, new: NoiseBank, t: float) -> NoiseBank:
        """Return the bank a share t of the way to `new`."""
        inner = self.inner.toward(new.inner, t)
        return new if inner is new.inner else evolve(new, inner=inner)

    @if_inner_can("bounded")
    def bounded(self) -> NoiseBank:
        """Return the bank with the experts' next step under a bound of the curvature."""
        return self._with(self.inner.bounded())

    @if_inner_can("damped")
    def damped(self, new: NoiseBank) -> NoiseBank:
        """Return the bank with a shorter next step of the experts than the one to `new`."""
        inner = self.inner.damped(new.inner)
        return self if inner is self.inner else self._with(inner)

    @if_inner_can("set_parameters")
    def set_parameters(self, vector: np.ndarray) -> NoiseBank:
        """Return the bank with these parameters of the experts."""
        return self._with(self.inner.set_parameters(vector))

    @if_inner_can("measured")
    def measured(self, rows: Rows) -> NoiseBank:
        """Return the bank for a pass over these rows."""
        return self._with(self.inner.measured(rows))

    @if_inner_can("matching")
    def matching(self, statistics: Any, rows: Rows) -> np.ndarray:
        """Return the region that each expert fits best; the noise has none."""
        return self.inner.matching(statistics, rows)

    @if_inner_can("finished")
    def finished(self, rows: Rows) -> NoiseBank:
        """Return the bank as it predicts for new rows."""
        return self._with(self.inner.finished(rows))

    @if_inner_can("trimmed")
    def trimmed(self) -> NoiseBank:
        """Return the bank without its caches of the training rows."""
        return self._with(self.inner.trimmed())

    @if_inner_can("with_floor")
    def with_floor(self, floor: np.ndarray) -> NoiseBank:
        """Return the bank with these smallest dispersions."""
        return self._with(self.inner.with_floor(floor))

    @property
    def monotone(self) -> bool:
        """Whether the inner bank is."""
        return bool(self.inner.monotone)

    def log_prob(self, block: Block) -> np.ndarray:
        """Return log-densities, the noise last, (K + 1, m)."""
        noise = np.full((1, block.n_rows), self.log_density)
        if block.y.ndim == 2:
            y = block.y
            outside = np.any((y < self.low[:, None]) | (y > self.high[:, None]), axis=0)
            noise[0, outside] = -np.inf
        return np.concatenate([self.inner.log_prob(block), noise])

    def statistics(self, block: Block, resp: np.ndarray) -> Any:
        """Return the experts' statistics."""
        return self.inner.statistics(block, resp[:-1])

    def update(self, statistics: Any, rows: Rows) -> NoiseBank:
        """Return the bank after the experts' M-step."""
        return evolve(self, inner=self.inner.update(statistics, rows))
