"""A bank with one more expert, a uniform density that takes the outliers."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp._blocks import Block, Rows
from mixexp._protocols import evolve

__all__ = ["NoiseBank", "uniform_log_density"]


def uniform_log_density(y: np.ndarray, family: Any, n_classes: int, owner: str) -> tuple:
    """Return the log-density of the noise expert, and where it is not 0: low and high (n_outputs,).

    1/C for C classes; for numbers uniform over the range of the training targets (n_outputs, n),
    for counts over the whole numbers in it.
    """
    if y.ndim == 1:
        return -np.log(n_classes), np.array([-np.inf]), np.array([np.inf])
    low, high = y.min(axis=1), y.max(axis=1)
    width = high - low + (1.0 if family.discrete else 0.0)
    if not np.all(width > 0):
        raise ValueError(
            f"{owner}: noise_expert=True needs a range of targets, and y is constant at "
            f"{low[width <= 0][0]:.6g}. Set noise_expert=False."
        )
    return -float(np.log(width).sum()), low, high


class NoiseBank:
    """K experts and, as the last one, a fixed uniform density (Banfield & Raftery 1993).

    All that is not about the noise is asked of the inner bank.

    Parameters
    ----------
    inner : ExpertBank
    log_density : float
    low, high : ndarray of shape (n_outputs,)
        Outside of them the density is 0.
    """

    def __init__(self, inner: Any, log_density: float, low: np.ndarray, high: np.ndarray):
        self.inner = inner
        self.log_density = log_density
        self.low, self.high = low, high

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "inner":
            raise AttributeError(name)
        found = getattr(self.inner, name)
        if name == "gram_weights":
            return lambda block, resp, out: found(block, resp[:-1], out)
        if name == "select":
            return lambda experts: evolve(self, inner=found(experts[:-1]))
        return self._wrapped(found) if name in _RETURN_BANKS else found

    def _wrapped(self, method: Any) -> Any:
        def call(*args: Any) -> NoiseBank:
            plain = [arg.inner if isinstance(arg, NoiseBank) else arg for arg in args]
            inner = method(*plain)
            return self if inner is self.inner else evolve(self, inner=inner)

        return call

    @property
    def monotone(self) -> bool:
        """Whether the inner bank is."""
        return bool(self.inner.monotone)

    def log_prob(self, block: Block) -> np.ndarray:
        """Return log-densities with those of the noise last, (K + 1, m)."""
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


#: Methods of the inner bank that return a bank.
_RETURN_BANKS = (
    "bounded",
    "damped",
    "finished",
    "set_parameters",
    "toward",
    "trimmed",
    "with_floor",
)
