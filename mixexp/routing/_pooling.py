"""Pooling of the experts' outputs into one prediction."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["POOLINGS", "argmax_pooling", "weighted_pooling"]


def weighted_pooling(weights: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Return Σ_k w_k o_k; an expert with weight 0 adds nothing, whatever its output.

    Parameters
    ----------
    weights : ndarray of shape (n, n_experts)
        Routing weights; rows sum to 1.
    outputs : ndarray of shape (n, n_experts) or (n, n_experts, n_outputs)
        The experts' predictions.

    Returns
    -------
    ndarray of shape (n,) or (n, n_outputs)

    Examples
    --------
    >>> import numpy as np
    >>> from mixexp.routing import weighted_pooling
    >>> weighted_pooling(np.array([[0.25, 0.75]]), np.array([[0.0, 4.0]]))
    array([3.])
    """
    with np.errstate(over="ignore", invalid="ignore"):
        pooled: np.ndarray = np.einsum("nk,nk...->n...", weights, outputs)
    if not np.all(np.isfinite(pooled)):  # 0 times inf is NaN
        weighty = weights.reshape(*weights.shape, *[1] * (outputs.ndim - 2)) > 0
        pooled = np.einsum("nk,nk...->n...", weights, np.where(weighty, outputs, 0.0))
    return pooled


def argmax_pooling(weights: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Return the output of the expert with the largest weight; the first one in case of ties.

    Parameters
    ----------
    weights : ndarray of shape (n, n_experts)
        Routing weights; rows sum to 1.
    outputs : ndarray of shape (n, n_experts) or (n, n_experts, n_outputs)
        The experts' predictions.

    Returns
    -------
    ndarray of shape (n,) or (n, n_outputs)

    Examples
    --------
    >>> import numpy as np
    >>> from mixexp.routing import argmax_pooling
    >>> argmax_pooling(np.array([[0.25, 0.75]]), np.array([[0.0, 4.0]]))
    array([4.])
    """
    return outputs[np.arange(len(weights)), weights.argmax(axis=1)]


#: The poolings that a mixture accepts by name.
POOLINGS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "weighted": weighted_pooling,
    "argmax": argmax_pooling,
}
