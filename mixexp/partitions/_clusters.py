"""Starts from clusterers and outlier detectors, and random starts."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone

from mixexp._checks import short
from mixexp._columns import text_hint
from mixexp._guests import failures_named
from mixexp.partitions._labels import fitted_kmeans, one_hot
from mixexp.protocols import StartContext

__all__ = ["FromEstimator", "KMeansStart", "RandomStart"]


class KMeansStart(BaseEstimator):
    """k-means on scaled X, or on scaled X and y.

    Regions in X suit experts that divide up the feature space; regions in (X, y) also separate rows
    above and below each other. Each start is another run of k-means++. Weights count, but a weight
    of 2 and a repeated row need not give the same result.

    Parameters
    ----------
    on : {"X", "Xy"}, default="X"
        The data to cluster. Features and targets are scaled to unit variance; classes are
        indicators.

    References
    ----------
    Arthur & Vassilvitskii (2007), k-means++: the advantages of careful seeding, SODA.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> from mixexp.partitions import KMeansStart
    >>> X, y = load_tone(return_X_y=True)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, init=KMeansStart(on="Xy"), random_state=0)
    >>> model.fit(X, y).usage_.shape
    (2,)
    """

    random = True

    def __init__(self, on: str = "X"):
        self.on = on

    def responsibilities(self, context: StartContext, rng: np.random.Generator) -> np.ndarray:
        """Return responsibilities (K, n) of the context's rows."""
        if not (isinstance(self.on, str) and self.on in ("X", "Xy")):
            raise ValueError(f"KMeansStart: on must be 'X' or 'Xy', got {short(self.on)}.")
        if context.rows.n_rows < context.n_experts:
            return RandomStart().responsibilities(context, rng)
        points = context.features
        if self.on == "Xy":
            points = np.hstack([points, context.targets])
        model = fitted_kmeans(points, context.n_experts, context.rows.weight, rng)
        return one_hot(model.labels_, context.n_experts)


class RandomStart(BaseEstimator):
    """Responsibilities drawn uniformly from the simplex.

    All experts begin close to the fit of one expert, and EM drives them apart.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> from mixexp.partitions import RandomStart
    >>> X, y = load_tone(return_X_y=True)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, init=RandomStart(), random_state=0)
    >>> model.fit(X, y).usage_.shape
    (2,)
    """

    random = True

    def responsibilities(self, context: StartContext, rng: np.random.Generator) -> np.ndarray:
        """Return responsibilities (K, n) of the context's rows."""
        draw = rng.standard_exponential((context.n_experts, context.rows.n_rows))
        return draw / draw.sum(axis=0)


class FromEstimator(BaseEstimator):
    """The labels of any object with `fit_predict`, on the unscaled X.

    Either a clusterer, or an outlier detector, whose labels −1 and 1 make two experts, outliers
    first and inliers second. Every label is an expert, including the −1 of a clusterer's noise.
    Weights are ignored. The estimator may be passed as `init` directly; it is cloned before it is
    fitted.

    Parameters
    ----------
    estimator : object with fit_predict
        A clusterer or an outlier detector.
    owner : str, default="FromEstimator"
        Class name for messages.

    Examples
    --------
    Inliers against outliers:

    >>> from sklearn.ensemble import IsolationForest
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> from mixexp.partitions import FromEstimator
    >>> X, y = load_tone(return_X_y=True)
    >>> start = FromEstimator(IsolationForest(random_state=0))
    >>> model = MixtureOfExpertsRegressor(n_experts=2, init=start, random_state=0)
    >>> model.fit(X, y).usage_.shape
    (2,)
    """

    def __init__(self, estimator: Any, owner: str = "FromEstimator"):
        self.estimator = estimator
        self.owner = owner

    @property
    def random(self) -> bool:
        """Whether another seed gives another start: whether any random_state is None."""
        get_params = getattr(self.estimator, "get_params", dict)
        return any(
            name.split("__")[-1] == "random_state" and value is None
            for name, value in get_params().items()
        )

    def responsibilities(self, context: StartContext, rng: np.random.Generator) -> np.ndarray:
        """Return responsibilities (K, n) of the context's rows."""
        estimator = self.estimator
        if isinstance(estimator, type) or not hasattr(estimator, "fit_predict"):
            raise TypeError(
                f"{self.owner}: estimator must have fit_predict, as clusterers and outlier "
                f"detectors have, got {short(estimator)}."
            )
        if hasattr(estimator, "get_params"):
            estimator = clone(estimator)
            for name, value in sorted(estimator.get_params().items()):
                if name.split("__")[-1] == "random_state" and value is None:
                    estimator.set_params(**{name: int(rng.integers(2**31))})
        rows = context.rows
        who = f"{self.owner}: init={estimator!r} failed"
        with failures_named(lambda: who, lambda: text_hint(rows.frame, None)):
            labels = np.asarray(estimator.fit_predict(rows.take(slice(None))))
        groups, codes = np.unique(labels, return_inverse=True)
        if len(groups) != context.n_experts or len(labels) != context.rows.n_rows:
            raise ValueError(
                f"{self.owner}: init={estimator!r} gave {len(groups)} groups of "
                f"{len(labels)} rows, and n_experts={context.n_experts} experts need as many "
                f"groups. Set n_experts={len(groups)}, or change the estimator."
            )
        return one_hot(codes.ravel(), context.n_experts)
