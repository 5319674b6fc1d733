"""Gaussian clusters from the formulas, slowly."""

import numpy as np
from scipy.stats import multivariate_normal

TYPES = ["full", "tied", "diag", "spherical"]


def scaling(X, weight=None):
    """Return weighted means and standard deviations of the columns."""
    center = np.average(X, axis=0, weights=weight)
    return center, np.sqrt(np.average((X - center) ** 2, axis=0, weights=weight))


def slow_m_step(X, r, kind, alpha, c=0.0, weight=None):
    """Return a_k, means and covariances (K, d, d) in input units; r is (n, K), weights apart.

    Loops over experts and rows, from columns scaled by their standard deviation.
    """
    weight = np.ones(len(X)) if weight is None else weight
    center, scale = scaling(X, weight)
    Z, r = (X - center) / scale, r * weight[:, None]
    d, mass = X.shape[1], r.sum(axis=0)
    means = np.array([sum(ri * z for ri, z in zip(rk, Z, strict=True)) / rk.sum() for rk in r.T])
    scatter = [
        sum(ri * np.outer(z - mean, z - mean) for ri, z in zip(rk, Z, strict=True))
        for rk, mean in zip(r.T, means, strict=True)
    ]
    eye = np.eye(d)
    if kind == "tied":
        covariances = [(sum(scatter) + alpha * eye) / mass.sum()] * len(mass)
    else:
        shape = {
            "full": lambda s: s + alpha * eye,
            "diag": lambda s: np.diag(np.diag(s)) + alpha * eye,
            "spherical": lambda s: (np.trace(s) + alpha * d) / d * eye,
        }[kind]
        covariances = [shape(s) / n for s, n in zip(scatter, mass, strict=True)]
    weights = (mass + c) / (mass.sum() + len(mass) * c)
    return weights, center + scale * means, np.array(covariances) * np.outer(scale, scale)


def as_matrices(gate):
    """Return the covariances (K, d, d) that `covariances_` stands for."""
    k, found = len(gate.weights_), gate.covariances_
    if gate.covariance_type == "tied":
        return np.repeat(found[None], k, axis=0)
    return found if found.ndim == 3 else np.array([np.diag(v) for v in found])


def log_clusters(X, weights, means, covariances):
    """Return log a_k N(x; μ_k, Σ_k), (n, K), by scipy."""
    each = zip(weights, means, covariances, strict=True)
    columns = [np.log(a) + multivariate_normal(m, s, True).logpdf(X) for a, m, s in each]
    return np.column_stack([np.atleast_1d(column) for column in columns])


def log_prior(weights, covariances, kind, alpha, scale, c=0.0):
    """Return the log-prior from covariances in input units."""
    traces = [np.trace(np.linalg.inv(s / np.outer(scale, scale))) for s in covariances]
    return -0.5 * alpha * (traces[0] if kind == "tied" else sum(traces)) + c * np.log(weights).sum()


def fitted_clusters(model):
    """Return the clusters of a fitted mixture, from public attributes."""
    gate = model.gate_
    return gate.weights_, gate.means_, as_matrices(gate)


def joint_problem(rng, n=200, d=2, k=3):
    """Return X, y and the cluster of each row, of clusters that overlap and lines."""
    centers = 2.0 * rng.standard_normal((k, d))
    z = rng.integers(k, size=n)
    X = (centers[z] + rng.standard_normal((n, d))) * 10.0 ** np.arange(d) + 5.0
    slopes = rng.standard_normal((k, d)) / 10.0 ** np.arange(d)
    y = np.einsum("nd,nd->n", X, slopes[z]) + 2.0 * z + 0.3 * rng.standard_normal(n)
    return X, y, z


def log_prob_of(gate, rows):
    return np.concatenate([gate.log_prob(block) for block in rows.blocks()], axis=1)


def marginal_of(gate, rows):
    """Return log p(x) of all rows."""
    found = []
    for block in rows.blocks():
        gate.log_prob(block)
        found.append(gate.log_marginal(block))
    return np.concatenate(found)
