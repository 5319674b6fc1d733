"""Lines with outliers, and counts."""

import numpy as np


def lines_with_outliers(rng, n=600, share=0.1):
    """Return X, y, the true mean, and which rows are gross outliers."""
    X = rng.standard_normal((n, 2))
    mean = np.where(X[:, 0] > 0, 2 + 3 * X[:, 1], -2 - X[:, 1])
    out = rng.random(n) < share
    y = mean + 0.3 * rng.standard_normal(n)
    y[out] = rng.uniform(-40, 40, out.sum())
    return X, y, mean, out
