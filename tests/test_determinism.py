"""The same seed gives the same bits, for any number of threads, for every kind of mixture.

`estimators/test_block_threads.py` looks closer at passes over many blocks.
"""

from copy import deepcopy

import numpy as np
import pytest
from _configurations import CONFIGURATIONS, shared_out
from numpy.testing import assert_allclose
from sklearn.base import is_classifier
from threadpoolctl import threadpool_limits

from mixexp._estimators import assembly, new_rows
from mixexp._rows import passes
from mixexp._rows import rows as rows_module

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Cascade.*no row is accepted:UserWarning"),
]

#: Rows of a block: several blocks of the few rows here, the last of them shorter.
SMALL, LARGE = 48, 1024

#: Parts that have sums over rows, of which each block's can be taken alone.
ADDITIVE = {name: case for name, case in CONFIGURATIONS.items() if case.additive}

#: What one iteration may differ by between blocks of two sizes: sums in another order, of a few
#: hundred terms, through one solve.
ROUNDING = 1e-10


@pytest.fixture
def many_blocks(monkeypatch):
    """Have `n_jobs` mean threads on any machine, and few rows many blocks."""
    for module in (assembly, new_rows):
        monkeypatch.setattr(module, "allowed_threads", lambda n_jobs: n_jobs or 1)
    monkeypatch.setattr(rows_module, "BLOCK_ROWS", SMALL)
    monkeypatch.setattr(passes, "BLOCKS_PER_THREAD", 1)
    monkeypatch.setattr(new_rows, "PREDICTION_ROWS", SMALL)


def outputs(model, X):
    """Return predictions and what the gate says."""
    found = [model.predict_proba(X) if is_classifier(model) else model.predict(X)]
    if hasattr(model, "gate_proba"):
        found += [model.gate_proba(X), model.lower_bounds_]
    return found


@pytest.mark.parametrize("name", shared_out(CONFIGURATIONS, 4))
def test_threads_do_not_change_a_bit(name, many_blocks, untouched):
    case = CONFIGURATIONS[name]
    X, _ = case.problem()
    threads = "full__n_jobs" if "cascade" in name else "n_jobs"
    found = []
    for n_threads in (1, 3):
        with threadpool_limits(n_threads, user_api="blas"):
            model = case.fitted(**{threads: n_threads})
            found.append([each.tobytes() for each in outputs(model, X)])
    assert found[0] == found[1]


@pytest.mark.parametrize("name", shared_out(ADDITIVE, 4))
def test_blocks_change_rounding_only(name, monkeypatch):
    """One iteration from one state, which `warm_start` takes over."""
    case = ADDITIVE[name]
    X, y = case.problem()
    start = case.fitted(max_iter=3, warm_start=True)
    found = []
    for block_rows in (SMALL, LARGE):
        monkeypatch.setattr(rows_module, "BLOCK_ROWS", block_rows)
        model = deepcopy(start).set_params(max_iter=1)
        found.append(outputs(model.fit(X, y), X))
    for one, other in zip(*found, strict=True):
        assert_allclose(one, other, rtol=ROUNDING, atol=ROUNDING * np.abs(other).max())
