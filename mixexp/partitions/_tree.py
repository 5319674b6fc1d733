"""The leaves of a tree as a start."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mixexp.partitions._clusters import RandomStart
from mixexp.partitions._labels import one_hot, weights_of
from mixexp.protocols import StartContext

__all__ = ["TreeStart", "filled"]

#: Least weight of a leaf, as a share of an equal share: smaller leaves hold outliers.
SMALLEST_SHARE = 0.1


class TreeStart(BaseEstimator):
    """The leaves of a small decision tree of y on X: regions with borders parallel to the axes.

    A tree with as many leaves as experts is grown best first, by squared error or Gini impurity.
    The first start takes the best splits. The others are grown on rows reweighted at random
    (weights times independent exponential numbers), with the best of random splits. If the
    tree has nothing more to split, as with pure leaves, the heaviest leaf is halved at the median
    of the feature that varies most in it.

    References
    ----------
    Breiman, Friedman, Olshen & Stone (1984), Classification and regression trees. Rubin (1981),
    The Bayesian bootstrap, Annals of Statistics 9.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import make_piecewise_linear
    >>> X, y = make_piecewise_linear(random_state=0)
    >>> model = MixtureOfExpertsRegressor(n_experts=3, init="tree", random_state=0).fit(X, y)
    >>> model.usage_.shape
    (3,)
    """

    random = True

    def responsibilities(self, context: StartContext, rng: np.random.Generator) -> np.ndarray:
        """Return responsibilities (K, n) of the context's rows."""
        k, rows = context.n_experts, context.rows
        if rows.n_rows < k:
            return RandomStart().responsibilities(context, rng)
        weight, features = weights_of(rows), context.features
        first = context.turn == 0
        grown = weight if first else weight * rng.standard_exponential(len(weight))
        classes = rows.y.ndim == 1
        kind = DecisionTreeClassifier if classes else DecisionTreeRegressor
        tree = kind(
            max_leaf_nodes=max(k, 2),
            min_weight_fraction_leaf=SMALLEST_SHARE / k,
            splitter="best" if first else "random",
            random_state=int(rng.integers(2**31)),
        )
        tree.fit(features, rows.y if classes else context.targets, sample_weight=grown)
        codes = np.unique(tree.apply(features), return_inverse=True)[1]
        return one_hot(filled(codes, features, weight, k), k)


def filled(codes: np.ndarray, features: np.ndarray, weight: np.ndarray, k: int) -> np.ndarray:
    """Return leaf numbers (n,), with heavy leaves halved until there are k or nothing to halve."""
    codes = codes.copy()
    for new in range(codes.max() + 1, k):
        sizes = np.bincount(codes, weights=weight)
        sizes[np.bincount(codes) < 2] = -1.0
        members = np.flatnonzero(codes == sizes.argmax())
        x = features[members, np.ptp(features[members], axis=0).argmax()]
        order = np.argsort(x, kind="stable")
        passed = np.cumsum(weight[members[order]])
        median = x[order[np.searchsorted(passed, 0.5 * passed[-1])]]
        upper = x > median if median < x.max() else x == median
        if np.all(upper):  # rows with the same features
            upper = np.arange(len(members)) >= len(members) // 2
        codes[members[upper]] = new
    return codes
