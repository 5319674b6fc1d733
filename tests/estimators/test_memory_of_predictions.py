"""Predictions hold the outputs of all experts for a block of rows, never for all rows."""

import tracemalloc

import numpy as np
import pytest
from sklearn.tree import DecisionTreeClassifier

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._estimators import new_rows
from mixexp._rows import passes

pytestmark = pytest.mark.filterwarnings("ignore:MixtureOfExperts.* did not converge in max_iter")

N_ROWS, N_EXPERTS, N_CLASSES, BLOCK = 8_000, 8, 20, 128

#: Bytes of what must not be held, of a column for each class, and of a block's outputs.
ALL = 8 * N_ROWS * N_EXPERTS * N_CLASSES
ANSWER = ALL // N_EXPERTS
OF_BLOCK = ALL * BLOCK // N_ROWS


def peak(function, *args):
    """Return the largest number of bytes that a call held."""
    tracemalloc.start()
    try:
        function(*args)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def options(rng):
    return {
        "n_experts": N_EXPERTS,
        "init": rng.integers(N_EXPERTS, size=400),
        "max_iter": 1,
        "random_state": 0,
    }


@pytest.fixture(params=[1, 2])
def of_blocks(monkeypatch, request):
    monkeypatch.setattr(new_rows, "PREDICTION_ROWS", BLOCK)
    monkeypatch.setattr(new_rows, "allowed_threads", lambda n_jobs: request.param)
    monkeypatch.setattr(passes, "BLOCKS_PER_THREAD", 1)


@pytest.mark.parametrize("expert", [None, DecisionTreeClassifier(max_depth=2, random_state=0)])
def test_classes(rng, of_blocks, expert):
    X, codes = rng.standard_normal((400, 3)), np.arange(400) % N_CLASSES
    model = MixtureOfExpertsClassifier(
        expert, **options(rng), cross_fit=False, on_collapse="keep"
    ).fit(X, codes)
    X, codes = np.tile(X, (N_ROWS // 400, 1)), np.tile(codes, N_ROWS // 400)
    # beside the answer: outputs and what they are made from, for the blocks in progress
    room = 8 * OF_BLOCK + 8 * 8 * N_ROWS
    assert room < ALL / 4
    assert peak(model.predict, X) < room
    assert peak(model.log_density, X, codes) < room
    assert peak(model.predict_proba, X) < 2 * ANSWER + room
    most = model.classes_[model.predict_proba(X[:1000]).argmax(axis=1)]
    np.testing.assert_array_equal(model.predict(X[:1000]), most)


def test_numbers(rng, of_blocks):
    X, y = rng.standard_normal((400, 3)), rng.standard_normal((400, N_CLASSES))
    model = MixtureOfExpertsRegressor(**options(rng), on_collapse="keep").fit(X, y)
    X, y = np.tile(X, (N_ROWS // 400, 1)), np.tile(y, (N_ROWS // 400, 1))
    room = 12 * OF_BLOCK + 8 * 8 * N_ROWS
    assert room < ALL / 2
    assert peak(model.predict, X) < 2 * ANSWER + room
    assert peak(model.log_density, X, y) < ANSWER + room
