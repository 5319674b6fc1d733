"""The leaves of a linear model tree as a start."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.base import BaseEstimator

from mixexp.partitions._labels import one_hot, weights_of
from mixexp.partitions._tree import TreeStart, filled
from mixexp.protocols import StartContext

__all__ = ["ModelTreeStart"]

#: Borders that are tried for a feature: weighted quantiles of a leaf's rows.
N_BORDERS = 15

#: Leaves that are grown for each expert, before the weakest pairs are joined again.
GROWN = 2.0

#: Ridge penalty of the models in leaves, per unit of weight, for scaled features.
RIDGE = 1e-3

#: Least weight of a leaf for each coefficient of its model.
WEIGHT_PER_COEFFICIENT = 2.0

#: Most features: beyond, the leaves are those of a plain tree.
MOST_FEATURES = 64

#: Least variance of a leaf, of scaled targets: an exact line gains no more.
LEAST_VARIANCE = 1e-4

#: Keeps quotients finite, and a matrix of no rows regular.
TINY = 1e-12


@dataclass(eq=False)
class _Node:
    """A node: its rows, their moments, the loss of one linear model, and its best split."""

    rows: np.ndarray
    moments: np.ndarray
    loss: float
    gain: float = -np.inf
    upper: np.ndarray | None = None
    children: tuple[_Node, _Node] | None = None

    @property
    def leaves(self) -> list[_Node]:
        """The leaves below, from left to right."""
        if self.children is None:
            return [self]
        return [leaf for child in self.children for leaf in child.leaves]


class ModelTreeStart(BaseEstimator):
    """The leaves of a tree with a linear model in every leaf.

    The tree is grown best first: every leaf is tried at 15 borders of each feature, and the split
    whose two linear models gain most is made, up to twice as many leaves as experts. Then the pairs
    of sibling leaves that lose least are joined, until there is one leaf for every expert. A region
    of one line is not split, whatever its slope, so that it takes fewer leaves than a plain tree.
    With many experts it is by far the cheapest start.

    The first start uses all rows and features; others random halves of the features in each leaf,
    and rows reweighted at random. With more than 64 features it is the plain tree of `TreeStart`.

    References
    ----------
    Quinlan (1992), Learning with continuous classes, AI '92. Rubin (1981), The Bayesian bootstrap,
    Annals of Statistics 9.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import make_piecewise_linear
    >>> X, y = make_piecewise_linear(random_state=0)
    >>> model = MixtureOfExpertsRegressor(n_experts=3, init="model_tree", random_state=0).fit(X, y)
    >>> model.usage_.shape
    (3,)
    """

    random = True

    def responsibilities(self, context: StartContext, rng: np.random.Generator) -> np.ndarray:
        """Return responsibilities (K, n) of the context's rows."""
        k, features = context.n_experts, context.features
        n, d = features.shape
        if n < k or d == 0 or d > MOST_FEATURES:
            return TreeStart().responsibilities(context, rng)
        weight = weights_of(context.rows)
        first = context.turn == 0
        grown = weight if first else weight * rng.standard_exponential(n)
        table = np.column_stack([np.ones(n), features, context.targets])
        smallest = max(WEIGHT_PER_COEFFICIENT * (d + 1), weight.sum() / (10 * k))
        tree = _Growing(table, d + 1, grown, smallest, None if first else rng)
        root = tree.grown(int(np.ceil(GROWN * k)))
        _prune(root, k)
        codes = np.empty(n, dtype=int)
        for number, leaf in enumerate(root.leaves):
            codes[leaf.rows] = number
        return one_hot(filled(codes, features, weight, k), k)


class _Growing:
    """The growth of a tree: rows (n, p + q) of design columns and targets, with weights (n,)."""

    def __init__(
        self,
        table: np.ndarray,
        p: int,
        weight: np.ndarray,
        smallest: float,
        rng: np.random.Generator | None,
    ):
        self.table = table
        self.p = p
        self.weight = weight
        self.smallest = smallest
        self.rng = rng

    def grown(self, n_leaves: int) -> _Node:
        """Return the root of a tree of at most so many leaves."""
        everything = np.arange(len(self.table))
        root = self._node(everything, _moments(self.table, self.weight))
        leaves = [root]
        while len(leaves) < n_leaves:
            best = max(leaves, key=lambda leaf: leaf.gain)
            if best.upper is None or not best.gain > 0:
                break
            inside = best.rows[~best.upper], best.rows[best.upper]
            upper = _moments(self.table[inside[1]], self.weight[inside[1]])
            moments = best.moments - upper, upper
            best.children = self._node(inside[0], moments[0]), self._node(inside[1], moments[1])
            leaves.remove(best)
            leaves += best.children
        return root

    def _node(self, rows: np.ndarray, moments: np.ndarray) -> _Node:
        """Return a leaf with its best split."""
        node = _Node(rows, moments, float(losses(moments[None], self.p)[0]))
        if moments[0, 0] >= 2 * self.smallest:
            self._find_split(node)
        return node

    def _find_split(self, node: _Node) -> None:
        """Find the border whose two models gain most."""
        features = np.arange(1, self.p)
        if self.rng is not None:
            features = self.rng.permutation(features)[: max(1, self.p // 2)]
        table, weight = self.table[node.rows], self.weight[node.rows]
        for feature in features.tolist():
            x = table[:, feature]
            borders = _borders(x, weight)
            if not len(borders):
                continue
            bins = np.searchsorted(borders, x, side="left")  # x > border: a bin above
            order = np.argsort(bins, kind="stable")
            starts = np.searchsorted(bins[order], np.arange(len(borders) + 1))
            within = [
                _moments(table[order[a:b]], weight[order[a:b]])
                for a, b in zip(starts, np.append(starts[1:], len(order)), strict=True)
            ]
            lower = np.cumsum(within, axis=0)[:-1]
            upper = node.moments - lower
            enough = np.minimum(lower[:, 0, 0], upper[:, 0, 0]) >= self.smallest
            if not enough.any():
                continue
            gains = node.loss - losses(lower[enough], self.p) - losses(upper[enough], self.p)
            if gains.max() > node.gain:
                node.gain = float(gains.max())
                node.upper = x > borders[np.flatnonzero(enough)[gains.argmax()]]


def _borders(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return distinct weighted quantiles of x (m,), each below its largest value."""
    order = np.argsort(x, kind="stable")
    passed = np.cumsum(weight[order])
    shares = np.arange(1, N_BORDERS + 1) / (N_BORDERS + 1)
    at = np.searchsorted(passed, shares * passed[-1])
    borders: np.ndarray = np.unique(x[order[np.minimum(at, len(x) - 1)]])
    return borders[borders < x.max()]


def _moments(table: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return Σ w z zᵀ of rows z (m, p + q)."""
    product: np.ndarray = table.T @ (table * weight[:, None])
    return product


def losses(moments: np.ndarray, p: int) -> np.ndarray:
    """Return the losses of the linear models of some leaves: W log σ², summed over targets.

    That is twice the negative log-likelihood of gaussian experts, each with its own dispersion.

    Parameters
    ----------
    moments : ndarray of shape (m, p + q, p + q)
        Σ w z zᵀ of the leaves' rows, the intercept first.
    p : int
        Design columns.
    """
    mass = np.maximum(moments[:, 0, 0], TINY)
    penalty = np.diag(np.append(0.0, np.full(p - 1, RIDGE)))
    inner = moments[:, :p, :p] + mass[:, None, None] * (penalty + TINY * np.eye(p))
    cross, squares = moments[:, :p, p:], np.diagonal(moments[:, p:, p:], axis1=1, axis2=2)
    left = squares - np.sum(cross * np.linalg.solve(inner, cross), axis=1)
    variance = np.maximum(left / mass[:, None], LEAST_VARIANCE)
    found: np.ndarray = mass * np.log(variance).sum(axis=1)
    return found


def _prune(root: _Node, n_leaves: int) -> None:
    """Join the sibling leaves that lose least, until there are so many leaves."""
    while len(root.leaves) > n_leaves:
        weakest = min(_parents(root), key=lambda node: node.gain)
        weakest.children = None


def _parents(node: _Node) -> list[_Node]:
    """Return the nodes below whose children are leaves."""
    if node.children is None:
        return []
    below = [parent for child in node.children for parent in _parents(child)]
    return below or [node]
