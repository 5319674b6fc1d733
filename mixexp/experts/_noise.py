"""A bank with one extra expert, a uniform density that absorbs outliers."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp.experts._extended import ExtendedBank
from mixexp.protocols import Block, Forward, evolve, if_inner_can

__all__ = ["NoiseBank"]


class NoiseBank(ExtendedBank):
    """K experts and, as the last one, a fixed uniform density (Banfield & Raftery 1993).

    Parameters
    ----------
    inner : ExpertBank
    log_density : float
    low, high : ndarray of shape (n_outputs,)
        The density is 0 outside this range.
    """

    def __init__(self, inner: Any, log_density: float, low: np.ndarray, high: np.ndarray):
        super().__init__(inner)
        self.log_density = log_density
        self.low, self.high = low, high

    # predictions and parameters are the experts' alone
    predict = Forward()
    n_parameters = Forward()

    def over(self, log_density: float, low: np.ndarray, high: np.ndarray) -> NoiseBank:
        """Return the bank with noise of another range."""
        return evolve(self, log_density=log_density, low=low, high=high)

    @if_inner_can("trimmed")
    def trimmed(self) -> NoiseBank:
        """Return the bank without its caches of the training rows."""
        return self._with(self.inner.trimmed())

    def log_prob(self, block: Block) -> np.ndarray:
        """Return log-densities, the noise last, (K + 1, m)."""
        noise = np.full((1, block.n_rows), self.log_density)
        if block.y.ndim == 2:
            y = block.y
            outside = np.any((y < self.low[:, None]) | (y > self.high[:, None]), axis=0)
            noise[0, outside] = -np.inf
        return np.concatenate([self.inner.log_prob(block), noise])
