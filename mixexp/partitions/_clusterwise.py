"""Clusterwise regression as a start."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator

from mixexp.partitions._clusters import RandomStart
from mixexp.protocols import StartContext

__all__ = ["Clusterwise"]

#: Rounds of reassigning each row to the expert that fits it best.
ROUNDS = 5

#: Size of a neighbourhood, as a share of the average number of rows per expert.
SHARE = 0.5


class Clusterwise(BaseEstimator):
    """Experts fitted to small random neighbourhoods, then each row to the expert that fits best.

    Neighbourhoods are in X for half of the starts, which finds regions, and in (X, y) for the other
    half, which finds crossing lines. For a classifier the other half are random responsibilities
    instead: classes say little about the expert that a row fits, and many neighbourhoods lead to
    the same partition.

    References
    ----------
    Späth (1979), Algorithm 39: clusterwise linear regression, Computing 22.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> from mixexp.partitions import Clusterwise
    >>> X, y = load_tone(return_X_y=True)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, init=Clusterwise(), random_state=0)
    >>> model.fit(X, y).usage_.shape
    (2,)
    """

    random = True

    def responsibilities(self, context: StartContext, rng: np.random.Generator) -> np.ndarray:
        """Return responsibilities (K, n) of the context's rows."""
        k, points = context.n_experts, context.features
        if len(points) < k:
            return RandomStart().responsibilities(context, rng)
        if rng.random() < 0.5:
            if context.rows.y.ndim == 1:
                return RandomStart().responsibilities(context, rng)
            points = np.hstack([points, context.targets])
        n = len(points)
        size = min(n, max(3 * (context.features.shape[1] + 1), int(SHARE * n / k)))
        resp = np.zeros((k, n))
        for row, center in zip(resp, rng.choice(n, k, replace=False), strict=True):
            distance = np.sum((points - points[center]) ** 2, axis=1)
            row[np.argpartition(distance, size - 1)[:size]] = 1.0
        for _ in range(ROUNDS):
            bank = context.fit_experts(resp)
            best = context.deviance(bank).argmin(axis=0)
            again = np.equal(best, np.arange(k)[:, None]).astype(float)
            if np.array_equal(again, resp):
                break
            resp = again
        return resp
