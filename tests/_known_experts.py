"""Stripes whose experts a user knows."""

import warnings

import numpy as np
from _problems import LOG_2PI
from sklearn.exceptions import ConvergenceWarning

from mixexp import MixtureOfExpertsClassifier


def problem(seed=0, n=400, k=4):
    """Return X, y of one line a stripe, and the numbers that the user gives the stripes.

    Stripes next to each other are siblings in a tree.
    """
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, 2))
    stripe = np.digitize(X[:, 0], np.linspace(-1, 1, k + 1)[1:-1])
    lines = np.array([[0.0, 1, 3], [0, 1, -3], [0, -1, 3], [0, -1, -3]])[rng.permutation(4)]
    y = np.einsum("ij,ij->i", np.column_stack([np.ones(n), X]), lines[stripe])
    y += 0.2 * rng.standard_normal(n)
    return X, y, np.array([[2, 3, 1, 0], [1, 0, 2, 3], [3, 2, 0, 1]][seed % 3])[stripe] % k


def some(region, share=0.05, seed=0):
    """Return labels of a share of the rows, -1 for the others."""
    labels = np.full(len(region), -1)
    n_known = int(share * len(region))
    chosen = np.random.default_rng(seed + 100).choice(len(region), n_known, replace=False)
    labels[chosen] = region[chosen]
    return labels


def quiet(model, *data, **more):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(*data, **more)


def bound_with_labels(model, X, y, labels, weight=None):
    """Return the bound: log g_k p_k where k is known, the log-density elsewhere; and priors."""
    with np.errstate(divide="ignore"):
        log_gate = np.log(model.gate_proba(X))
    outputs = model.predict_experts(X)
    if isinstance(model, MixtureOfExpertsClassifier):
        codes = np.searchsorted(model.classes_, y)
        log_prob = np.log(outputs[np.arange(len(y)), :, codes])
    else:
        error = (y[:, None] - outputs) / model.dispersions_
        log_prob = -0.5 * error**2 - np.log(model.dispersions_) - 0.5 * LOG_2PI
    known = labels >= 0
    total = model.log_density(X, y)
    k = labels[known]
    total[known] = log_gate[known, k] + log_prob[known, k]
    if model.assignment == "hard":
        total[~known] = (log_gate + log_prob)[~known].max(axis=1)
    weight = np.ones(len(X)) if weight is None else weight
    prior = model.gate_.log_prior() + model._model.bank.log_prior()
    return (total @ weight + prior) / weight.sum()
