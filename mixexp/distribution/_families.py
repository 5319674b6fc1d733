"""What a family says of each component, with substitutes for optional methods; their mixtures.

Arrays have rows in the first axis and experts in the second; more axes may follow, of outputs or of
the points of a grid.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["component_values", "log_mixed", "mixed"]


def component_values(
    name: str, family: Any, y: np.ndarray | None, means: np.ndarray, parameters: np.ndarray
) -> np.ndarray:
    """Return what a method of a family says; if it is not there, what others say in its place."""
    method = getattr(family, name, None)
    if name == "expectation":
        return means if method is None else method(means, parameters)
    if method is not None:
        return method(y, means, parameters)
    if name == "sf":
        return 1 - family.cdf(y, means, parameters)
    with np.errstate(divide="ignore"):
        return np.log(getattr(family, name.removeprefix("log"))(y, means, parameters))


def _spread(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return weights (n, K) in the shape of values (n, K, ...)."""
    added = (1,) * (values.ndim - weights.ndim)
    return np.broadcast_to(weights.reshape(weights.shape + added), values.shape)


def mixed(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return means over experts; values without weight add nothing, even if infinite."""
    weights = _spread(weights, values)
    return np.multiply(weights, values, out=np.zeros(values.shape), where=weights > 0).sum(axis=1)


def log_mixed(weights: np.ndarray, logs: np.ndarray) -> np.ndarray:
    """Return log Σ_k w_k exp(logs_k) over experts; −inf where all terms are 0."""
    weights = _spread(weights, logs)
    with np.errstate(divide="ignore"):
        logs = np.where(weights > 0, logs, -np.inf) + np.log(weights)
    top = logs.max(axis=1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(logs - top).sum(axis=1)) + top[:, 0]
