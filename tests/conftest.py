"""What the tests share. Helpers that are no fixtures are in `_problems.py`, next to this file."""

import sys
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

HERE = str(Path(__file__).parent)
if HERE not in sys.path:  # so that `import _problems` works in every import mode of pytest
    sys.path.append(HERE)


@pytest.fixture
def rng():
    """Random numbers, the same in every run and for every test."""
    return np.random.default_rng(20240607)


@pytest.fixture(scope="session", autouse=True)
def _one_blas_thread():
    """Tests call parts without the limit that `fit` sets; small products are slow on threads."""
    with threadpool_limits(1, user_api="blas"):
        yield
