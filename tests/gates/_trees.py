"""Trees of gates to begin with."""

import numpy as np
from _problems import (
    make_rows,
    random_resp,
    softmax_gated,
)
from scipy.special import log_softmax

from mixexp.gates import HierarchicalGate

BRANCHINGS = [(2, 2), (3, 2), (2, 3), (2, 2, 2), (4, 1), (1, 3)]


def all_log_prob(gate, rows):
    return np.concatenate([gate.log_prob(block) for block in rows.blocks()], axis=1)


def started(rng, branching, n=150, d=2, weight=None, far=True, **options):
    """Return rows, soft labels and a gate with random parameters, or at its start."""
    rows = make_rows(rng.standard_normal((n, d)) * 10.0 ** np.arange(d) + 1.0, weight=weight)
    k = int(np.prod(branching))
    gate = HierarchicalGate(branching, **options).start(rows, k, None)
    if far:
        gate = gate.set_parameters(rng.standard_normal(len(gate.get_parameters())))
    return rows, random_resp(rng, k, n, 2.0), gate


def products(gate, X):
    """Return log g (n, K) of a tree, by its definition, from `coef_` and `intercept_`."""
    out = np.zeros((len(X), len(gate.paths_)))
    for k, path in enumerate(gate.paths_):
        for depth, child in enumerate(path):
            node = path[:depth]
            if node not in gate.coef_:  # one child only, which has all
                assert child == 0
                continue
            scores = X @ gate.coef_[node].T + gate.intercept_[node]
            out[:, k] += log_softmax(scores, axis=1)[:, child]
    return out


def grouped(rng, n=240):
    """Return X, y and groups of two rows; the first feature, the gate's, is theirs."""
    X, y, _, _ = softmax_gated(rng, n, 2, 3)
    groups = np.arange(n) // 2
    X[:, 0] = X[groups * 2, 0]
    return X, y, groups
