"""Entropies and scores of laws of one output that are integrals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixexp.distribution._quadrature import breakpoints, grid

if TYPE_CHECKING:
    from mixexp.distribution._mixture import MixtureDistribution

__all__ = ["crps", "entropy"]


def entropy(law: MixtureDistribution) -> np.ndarray:
    """Return −∫ p log p of each row."""
    points, weights = grid(law, breakpoints(law))
    logs = law.at("logpdf", points)
    with np.errstate(over="ignore"):
        density = np.exp(logs)
    inner = np.multiply(density, logs, out=np.zeros(logs.shape), where=density > 0)
    return -np.sum(weights * inner, axis=1)


def crps(law: MixtureDistribution, y: np.ndarray) -> np.ndarray:
    """Return ∫ (P(Y ≤ t) − [y ≤ t])² dt of each row; infinite where Y has no mean."""
    closed = getattr(law.family, "mixture_crps", None)
    if closed is not None:
        return closed(y, law.weights, law.means, law.parameters)
    breaks = breakpoints(law)
    # beyond the outer breaks the integrand is 1 on the side of y
    near = np.clip(y, breaks[:, 0], breaks[:, -1])
    whole = np.floor(near) if law.family.discrete else near
    points, weights = grid(law, np.sort(np.hstack([breaks, whole[:, None]]), axis=1))
    # 1 − P(Y ≤ t) is as good as P(Y > t) where it is squared and summed, at half the cost
    below = law.at("cdf", points)
    inner = np.where(points < whole[:, None], below, 1.0 - below) ** 2
    with np.errstate(over="ignore"):
        score = np.sum(weights * inner, axis=1) + np.abs(y - near)
    if law.family.discrete:  # the integrand changes inside of a step if y is no count
        score += (near - whole) * (law.cdf(whole) ** 2 - law.sf(whole) ** 2)
    return np.where(np.isnan(law.mean()), np.inf, score)
