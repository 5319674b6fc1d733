"""Starts from clusterers, outlier detectors and chance."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.cluster import KMeans

from mixexp._protocols import StartContext

__all__ = ["FromEstimator", "KMeansStart", "RandomStart", "one_hot"]


def one_hot(codes: np.ndarray, n_experts: int) -> np.ndarray:
    """Return indicator responsibilities (K, n) of expert numbers."""
    return np.equal(codes, np.arange(n_experts)[:, None]).astype(float)


class KMeansStart:
    """k-means on scaled X."""

    random = True

    def responsibilities(self, context: StartContext, rng: np.random.Generator) -> np.ndarray:
        """Return responsibilities (K, n) of the context's rows."""
        if context.rows.n_rows < context.n_experts:
            return RandomStart().responsibilities(context, rng)
        seed = int(rng.integers(2**31))
        model = KMeans(context.n_experts, n_init=1, random_state=seed)
        codes = model.fit_predict(context.features, sample_weight=context.rows.weight)
        return one_hot(codes, context.n_experts)


class RandomStart:
    """Responsibilities drawn uniformly from the simplex."""

    random = True

    def responsibilities(self, context: StartContext, rng: np.random.Generator) -> np.ndarray:
        """Return responsibilities (K, n) of the context's rows."""
        draw = rng.standard_exponential((context.n_experts, context.rows.n_rows))
        return draw / draw.sum(axis=0)


class FromEstimator:
    """The labels of any object with `fit_predict`, on X as it was given.

    Every label is an expert, an outlier detector's −1 and 1 too.

    Parameters
    ----------
    estimator : object with fit_predict
    owner : str
        Class of the mixture, for messages.
    """

    def __init__(self, estimator: Any, owner: str):
        self.estimator = estimator
        self.owner = owner

    @property
    def random(self) -> bool:
        """Whether another seed gives another start: whether a random state is left open."""
        get_params = getattr(self.estimator, "get_params", dict)
        return any(
            name.split("__")[-1] == "random_state" and value is None
            for name, value in get_params().items()
        )

    def responsibilities(self, context: StartContext, rng: np.random.Generator) -> np.ndarray:
        """Return responsibilities (K, n) of the context's rows."""
        estimator = self.estimator
        if hasattr(estimator, "get_params"):
            estimator = clone(estimator)
            for name, value in sorted(estimator.get_params().items()):
                if name.split("__")[-1] == "random_state" and value is None:
                    estimator.set_params(**{name: int(rng.integers(2**31))})
        labels = np.asarray(estimator.fit_predict(context.rows.take(slice(None))))
        found, codes = np.unique(labels, return_inverse=True)
        if len(found) != context.n_experts or len(labels) != context.rows.n_rows:
            raise ValueError(
                f"{self.owner}: init={estimator!r} gave {len(found)} groups of {len(labels)} rows, "
                f"and n_experts={context.n_experts} experts need as many groups. Set n_experts="
                f"{len(found)}, or change the estimator."
            )
        return one_hot(codes.ravel(), context.n_experts)
