"""Problems and candidates that the tests of the selection share."""

import numpy as np

from mixexp._engine.criteria import Count, Fitness
from mixexp._engine.growth import Grown


def two_lines(n=120, seed=0, noise=0.1):
    """Two lines, one on either side of 0."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2, 2, (n, 1))
    y = np.where(X[:, 0] < 0, 2.0 + X[:, 0], 1.0 - 3.0 * X[:, 0])
    return X, y + noise * rng.standard_normal(n)


def candidate(k, held_out, *, flags=(), n_parameters=3.0, log_likelihood=0.0):
    """A mixture on the path with these held-out log-densities, without a run."""
    held_out = np.asarray(held_out, dtype=float)
    density = np.full(len(held_out), log_likelihood / len(held_out))
    fit = Fitness(density, np.ones(len(held_out)), 0.0)
    count = Count(n_parameters, "exact")
    return Grown(k, None, [], fit, count, held_out=held_out, flags=list(flags))
