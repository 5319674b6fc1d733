"""Dense routing: every row reaches every expert."""

from __future__ import annotations

import numpy as np

from mixexp._numerics import softmax_in_place

__all__ = ["Dense"]


class Dense:
    """Weights are the gate probabilities, without the share of a noise expert."""

    def weights(self, log_gate: np.ndarray) -> np.ndarray:
        """Return the normalised gate probabilities (K, m); `log_gate` is overwritten."""
        softmax_in_place(log_gate)
        return log_gate
