"""A table of counts by a formula, on which other libraries were run."""

import numpy as np


def count_table():
    """Return X (200, 2), over-dispersed counts, counts with more zeros, and an offset."""
    i = np.arange(200.0)
    X = np.column_stack([np.sin(i), np.cos(1.7 * i)])
    rate = np.exp(1 + X @ [0.5, -0.3])
    y = np.floor(rate * (0.1 + 3 * ((0.618034 * i) % 1) ** 2))
    zeroed = np.where((0.414214 * i) % 1 < 0.3, 0.0, y)
    return X, y, zeroed, 0.3 * np.cos(i)
