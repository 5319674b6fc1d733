"""Ways to give every expert an equal load: a bias on the choice, or a price."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["bias_steps", "log_prices", "priced"]

#: Smallest log-price.
LOWEST_LOG = float(np.log(np.finfo(float).tiny))

#: Steps of the bias per pass, and the largest and smallest step: probabilities are at most 1.
BIAS_STEPS, LARGEST_STEP, SMALLEST_STEP = 40, 0.3, 1e-4

#: Loads within this share of the mean are balanced.
BALANCED = 0.02

#: Steps of the prices, and the least share of the mean load that they assume.
PRICE_STEPS, LEAST_LOAD = 50, 1e-6


def loads(mask: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Return the weight of the rows that reach each expert, (K,)."""
    total: np.ndarray = mask.sum(axis=1) if weight is None else mask @ weight
    return total


def bias_steps(
    proba: np.ndarray,
    bias: np.ndarray,
    weight: np.ndarray | None,
    chosen: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Return the bias (K,) after steps towards equal loads.

    Loss-free balancing: b_k grows by a step where an expert has less than the mean load, and falls
    where it has more (Wang et al. 2024, arXiv 2408.15664, alg. 1). Steps shrink, and the bias with
    the most even loads is returned.

    Parameters
    ----------
    proba : ndarray of shape (K, n)
    bias : ndarray of shape (K,)
    weight : ndarray of shape (n,) or None
    chosen : callable
        From scores (K, n) to the mask of routed experts.
    """
    best, least = bias, np.inf
    for step in np.geomspace(LARGEST_STEP, SMALLEST_STEP, BIAS_STEPS):
        load = loads(chosen(proba + bias[:, None]), weight)
        short = 1.0 - load / load.mean()
        if np.abs(short).max() < least:
            best, least = bias, np.abs(short).max()
        if least <= BALANCED:
            break
        bias = bias + step * np.clip(short, -1.0, 1.0)
    return best - best.mean()


def log_prices(proba: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Return log-factors c (K,) at which Σ_i w_i softmax_k(log p_ik + c_k) is equal for all k.

    One side of Sinkhorn's iteration (Cuturi 2013, Sinkhorn distances, NeurIPS): the dual of a
    balanced soft assignment.
    """
    logs = np.zeros(len(proba))
    for _ in range(PRICE_STEPS):
        shares = priced(proba, logs)
        shares /= np.maximum(shares.sum(axis=0), np.finfo(float).tiny)
        load = loads(shares, weight)
        relative = load / max(load.mean(), np.finfo(float).tiny)
        logs = logs - np.log(np.maximum(relative, LEAST_LOAD))
        logs = np.maximum(logs - logs.max(), LOWEST_LOG)
        if np.abs(relative - 1.0).max() <= BALANCED:
            break
    return logs


def priced(proba: np.ndarray, log_prices: np.ndarray) -> np.ndarray:
    """Return probabilities (K, m) times prices, of which the largest is 1.

    A column that underflows, as all its experts are cheap, is scaled to a maximum of 1.
    """
    log_prices = (log_prices - log_prices.max())[:, None]
    found = proba * np.exp(log_prices)
    lost = ~np.any(found > 0, axis=0)
    if np.any(lost):
        with np.errstate(divide="ignore"):
            logs = np.log(proba[:, lost]) + log_prices
        found[:, lost] = np.exp(logs - logs.max(axis=0))
    return found
