"""Trees of gates to draw."""

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.linear_model import LinearRegression

from mixexp import MixtureOfExpertsRegressor
from mixexp.gates import HierarchicalGate

#: Enough iterations for nodes that differ; what they are does not matter.
SHORT = {"n_init": 1, "max_iter": 5, "random_state": 0, "on_collapse": "keep"}


def tree(branching, data, **params):
    model = MixtureOfExpertsRegressor(
        n_experts=int(np.prod(branching)), gate=HierarchicalGate(branching), **SHORT, **params
    )
    return model.fit(*data)


class Ragged:
    """A gate of experts 0, 1, 3 and 7 of a binary tree of depth 3, the others having collapsed."""

    paths_ = [(0, 0, 0), (0, 0, 1), (0, 1, 1), (1, 1, 1)]
    depth = 3

    def __init__(self, n_features):
        self.nodes_ = dict.fromkeys([(), (0,), (0, 0)], self)
        self.n_features = n_features

    def children(self, node):
        return {(): [(0,), (1, 1, 1)], (0,): [(0, 0), (0, 1, 1)]}.get(node, self.paths_[:2])

    def split_texts(self, feature_names=None, *, decimals, max_terms):
        return ["x0 > 0", "otherwise"]


class FakeMixture(BaseEstimator):
    """A mixture that has only what a picture of its tree asks for."""

    def __init__(self, gate, usage):
        self.gate_, self.usage_ = gate, np.asarray(usage)
        self.experts_ = [LinearRegression() for _ in gate.paths_]
        self.n_features_in_ = 2

    def fit(self):
        return self

    def gate_proba(self, X):
        return np.tile(self.usage_, (len(X), 1))
