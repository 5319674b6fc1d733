"""Memory maps: the same results as arrays, no copy, and a smaller cache."""

import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._estimators.new_rows import new_rows
from mixexp._rows.inputs import refuse_missing
from mixexp._rows.maps import MAPPED_CACHE, cache_doubles, is_mapped, kept_dtypes
from mixexp._rows.rows import Rows
from mixexp._rows.sketch import HASHED_ROWS, row_hashes, smallest

N_ROWS = 12_000


def mapped(path, values):
    """Return a read-only memory map that holds these values."""
    array = np.memmap(path / "x", values.dtype, "w+", shape=values.shape)
    array[:] = values
    array.flush()
    return np.memmap(path / "x", values.dtype, "r", shape=values.shape)


@pytest.fixture
def problem(rng):
    X = rng.standard_normal((N_ROWS, 4)).astype(np.float32)
    y = np.where(X[:, 0] > 0, 3 + X[:, 1], -2 * X[:, 1] - 3) + 0.1 * rng.standard_normal(N_ROWS)
    return X, y


def test_views_of_maps_are_maps(tmp_path, rng):
    X = rng.standard_normal((6, 2))
    m = mapped(tmp_path, X)
    assert all(is_mapped(view) for view in (m, m[1:], m[:, :1], np.asarray(m), m.view()))
    assert not any(is_mapped(other) for other in (X, X[1:], m + 0, m[[0, 1]].copy(), [1.0], None))


@pytest.mark.parametrize("dtype", [">f4", np.float16, np.int16, bool, np.uint64])
def test_maps_of_any_numbers_are_kept(tmp_path, dtype):
    assert kept_dtypes(mapped(tmp_path, np.ones((3, 2), dtype))) is None
    assert kept_dtypes(np.ones((3, 2), dtype)) == [np.float64, np.float32]


def test_the_cache_of_maps_is_bounded(tmp_path, rng):
    X = rng.standard_normal((6, 2))
    with config_context(working_memory=4096):
        assert Rows(X)._budget.n_doubles == 4096 * 2**17
        assert Rows(mapped(tmp_path, X))._budget.n_doubles == MAPPED_CACHE // 8
    with config_context(working_memory=16):
        assert cache_doubles(in_memory=False) == cache_doubles(in_memory=True) == 16 * 2**17


def test_a_fit_on_a_map_is_that_in_memory(tmp_path, problem):
    X, y = problem
    fits = [
        MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(data, y)
        for data in (X, mapped(tmp_path, X), np.asfortranarray(X))
    ]
    for other in fits[1:]:
        assert other.lower_bound_ == fits[0].lower_bound_
        assert_array_equal(other.predict(mapped(tmp_path, X)), fits[0].predict(X))


@pytest.mark.filterwarnings("ignore:.*did not converge")
def test_without_a_cache_one_iteration_is_the_same(tmp_path, problem, monkeypatch):
    X, y = problem
    labels = (X[:, 0] > 0).astype(int)
    options = {"n_experts": 2, "init": labels, "max_iter": 1, "random_state": 0}
    whole = MixtureOfExpertsRegressor(**options).fit(X, y)
    monkeypatch.setattr("mixexp._rows.maps.MAPPED_CACHE", 0)
    bare = MixtureOfExpertsRegressor(**options).fit(mapped(tmp_path, X), y)
    assert_allclose(bare.lower_bound_, whole.lower_bound_, rtol=1e-10)
    assert_allclose(bare.predict(X), whole.predict(X), rtol=1e-9)


def test_maps_of_whole_numbers_are_not_copied(tmp_path, rng):
    X = rng.integers(-50, 50, (N_ROWS, 8)).astype(np.int16)
    y = (X[:, 0] > 0).astype(int)
    options = {"n_experts": 2, "init": (X[:, 1] > 0).astype(int), "random_state": 0}
    model = MixtureOfExpertsClassifier(**options).fit(mapped(tmp_path, X), y)
    whole = MixtureOfExpertsClassifier(**options).fit(X, y)
    assert_array_equal(model.predict_proba(X), whole.predict_proba(X))
    tracemalloc.start()
    try:
        new_rows(model, mapped(tmp_path, X))
        assert tracemalloc.get_traced_memory()[1] < X.nbytes
    finally:
        tracemalloc.stop()


def test_missing_values_of_long_maps_are_found(tmp_path, rng):
    X = rng.standard_normal((100, 2))
    X[99, 1] = np.nan
    assert refuse_missing(mapped(tmp_path, X), [], "owner")


def test_hashes_and_smallest_do_not_depend_on_chunks(rng, monkeypatch):
    X = rng.integers(0, 3, (500, 3)).astype(float)
    hashes = row_hashes(X, None, 0)
    assert_array_equal(row_hashes(np.asfortranarray(X), None, 0), hashes)
    limit = np.unique(hashes)[9]
    wanted = np.flatnonzero(hashes <= limit)
    assert len(wanted) > 10
    for size in (HASHED_ROWS, 7, 501):
        monkeypatch.setattr("mixexp._rows.sketch.HASHED_ROWS", size)
        assert_array_equal(row_hashes(X, None, 0), hashes)
        assert_array_equal(smallest(hashes, 10), wanted)
        assert smallest(hashes, len(np.unique(hashes))) is None
