"""What the tests share. Helpers that are no fixtures are in `_problems.py`, next to this file."""

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import sklearn
from threadpoolctl import threadpool_info, threadpool_limits

HERE = str(Path(__file__).parent)
if HERE not in sys.path:  # so that `import _problems` works in every import mode of pytest
    sys.path.append(HERE)

#: Node ids of costly cases, which only `.ci/nightly slow-tests` runs.
SLOW_CASES = {
    line
    for line in (Path(HERE) / "slow_cases.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
}


@pytest.hookimpl(tryfirst=True)  # before `-m "not slow"` is looked at
def pytest_collection_modifyitems(items):
    for item in items:
        if item.nodeid in SLOW_CASES:
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(tryfirst=True)  # before the fixtures of a module or a session are made
def pytest_runtest_setup(item):
    """Estimators without a random_state draw from numpy's global state: the same in every run."""
    np.random.seed(20240607)  # noqa: NPY002


@pytest.fixture
def rng():
    """Random numbers, the same in every run and for every test."""
    return np.random.default_rng(20240607)


@pytest.fixture(scope="session", autouse=True)
def _one_blas_thread():
    """Tests call parts without the limit that `fit` sets; small products are slow on threads."""
    with threadpool_limits(1, user_api="blas"):
        yield


@pytest.fixture
def untouched():
    """Look at what belongs to the process, before and after."""

    def look():
        blas = [i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"]
        state = np.random.get_state()  # noqa: NPY002
        return list(warnings.filters), warnings.showwarning, blas, state[1].tolist(), state[2]

    before, own = look(), warnings.filters
    yield
    assert look() == before
    assert warnings.filters is own
    assert sklearn.get_config()["enable_metadata_routing"] is False
