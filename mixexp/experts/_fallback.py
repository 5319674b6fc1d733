"""A bank with one more expert, fitted once to all rows, that stands behind the routed ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp.experts._extended import ExtendedBank
from mixexp.protocols import Block, evolve

__all__ = ["FallbackBank"]


class FallbackBank(ExtendedBank):
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
        super().__init__(inner)
        self.fallback = fallback
        self.n_fallback_parameters = n_fallback_parameters

    @property
    def n_parameters(self) -> int:
        """Number of free parameters, if the experts' and the fallback's are known."""
        if self.n_fallback_parameters is None:
            raise AttributeError("the fallback has no number of parameters")
        return int(self.inner.n_parameters) + self.n_fallback_parameters

    def trimmed(self) -> FallbackBank:
        """Return the bank without its caches of the training rows."""
        inner = self.inner.trimmed() if hasattr(self.inner, "trimmed") else self.inner
        return evolve(self, inner=inner, fallback=self.fallback.trimmed())

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
