"""Usage of experts: shares of the weight, with a prior that keeps them above 0."""

from __future__ import annotations

import numpy as np

__all__ = ["SMALLEST", "log_usage_prior", "shares"]

#: Smallest share: its logarithm stays finite for an expert that has no rows.
SMALLEST = 1e-300


def shares(mass: np.ndarray, prior: float = 0.0) -> np.ndarray:
    """Return (N_k + c) / (N + K c), which maximises Σ_k (N_k + c) log a_k; no less than SMALLEST.

    Parameters
    ----------
    mass : (K,)
        Weight N_k per expert.
    prior : float
        c.

    Returns
    -------
    (K,)
    """
    credited = mass + prior
    return np.maximum(credited / credited.sum(), SMALLEST)


def log_usage_prior(proba: np.ndarray, prior: float) -> float:
    """Return c Σ_k log a_k, or 0 without a prior."""
    return prior * float(np.log(proba).sum()) if prior else 0.0
