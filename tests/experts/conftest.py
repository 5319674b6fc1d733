"""Data that several files here share."""

import numpy as np
import pytest


@pytest.fixture
def step(rng):
    """Return X, y: a line on the left and a sine on the right."""
    X = rng.uniform(-2, 2, (240, 2))
    y = np.where(X[:, 0] < 0, 2 * X[:, 1] - 3, 2 * np.sin(3 * X[:, 1])) + 0.2 * rng.normal(size=240)
    return X, y
