"""Blocks in threads: order, bits, errors, and that nothing is left behind."""

import os
import signal
import threading
import time

import joblib
import numpy as np
import pytest
import sklearn
from _problems import make_rows
from numpy.testing import assert_array_equal
from sklearn import config_context

from mixexp._rows import passes as rows_module
from mixexp._rows.in_order import AHEAD, allowed_threads, in_order


def block_threads():
    """Return the threads that evaluate blocks."""
    return [t for t in threading.enumerate() if t.name.startswith("mixexp-blocks")]


@pytest.fixture(autouse=True)
def _no_thread_stays():
    assert not block_threads()
    yield
    assert not block_threads()


def results(function, n_items, n_threads):
    return list(in_order(function, range(n_items), n_threads))


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_results_come_in_order(n_threads):
    def slow_first(i):
        time.sleep(0.002 * (i % 3 == 0))
        return i

    assert results(slow_first, 20, n_threads) == list(range(20))
    assert results(slow_first, 0, n_threads) == []


def test_items_are_taken_in_the_callers_thread_and_not_far_ahead():
    taken, yielded = [], []

    def items():
        for i in range(30):
            assert threading.current_thread() is threading.main_thread()
            taken.append(i)
            assert len(taken) - len(yielded) <= AHEAD * 2 + 1
            yield i

    yielded.extend(in_order(abs, items(), 2))  # it appends one by one
    assert yielded == list(range(30))


def test_work_is_done_by_threads_of_its_own():
    def name(_):
        time.sleep(0.002)
        return threading.current_thread().name

    assert set(results(name, 20, 1)) == {threading.current_thread().name}
    assert len(set(results(name, 20, 3))) == 3


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, MemoryError])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_the_first_error_in_order_is_raised_and_the_rest_is_given_up(n_threads, error):
    begun = []

    def function(i):
        begun.append(i)
        if i == 2:
            time.sleep(0.01)
        if i >= 2:
            raise error(f"item {i}")
        return i

    stream = in_order(function, range(100), n_threads)
    assert [next(stream), next(stream)] == [0, 1]
    with pytest.raises(error, match="item 2"):
        next(stream)
    assert not block_threads()
    assert len(begun) <= 3 + AHEAD * n_threads + 1


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_an_interrupt_ends_the_threads():
    begun = []

    def function(i):
        begun.append(i)
        if i == 3:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.001)

    # a shell starts background jobs with this signal ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            results(function, 5000, 2)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not block_threads()
    n_begun = len(begun)
    assert n_begun < 5000
    time.sleep(0.01)
    assert len(begun) == n_begun


def test_a_caller_who_stops_ends_the_threads():
    stream = in_order(abs, range(100), 2)
    assert next(stream) == 0
    assert block_threads()
    stream.close()
    assert not block_threads()


def test_threads_have_the_state_of_their_caller():
    seen = []

    def call(kind, flag):
        seen.append(kind)

    def state(_):
        return np.geterr(), np.geterrcall(), sklearn.get_config()

    before = state(0)
    with np.errstate(over="ignore", divide="call", call=call), config_context(working_memory=77):
        here = state(0)
        assert all(there == here for there in results(state, 8, 2))
        results(lambda i: np.ones(2) / np.zeros(2), 4, 2)
    assert seen == ["divide by zero"] * 4
    assert state(0) == before
    assert all(there == before for there in results(state, 8, 2))


def test_threads_may_overflow_where_the_caller_may_not_know_it():
    with np.errstate(all="raise"), pytest.raises(FloatingPointError, match="overflow"):
        results(lambda i: np.exp(np.full(2, 1e3)), 4, 2)


# ---------------------------------------------------------------- how many threads


def test_no_more_threads_than_cores(monkeypatch):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 3)
    given = {None: 1, -1: 8}
    monkeypatch.setattr(joblib, "effective_n_jobs", lambda n_jobs: given.get(n_jobs, n_jobs))
    assert [allowed_threads(n) for n in (None, 1, 2, 3, 4, 100, -1)] == [1, 1, 2, 3, 3, 3, 3]


def test_none_is_one_unless_joblib_is_told_otherwise(monkeypatch):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 3)
    assert allowed_threads(None) == 1
    with joblib.parallel_backend("threading", n_jobs=2):
        assert allowed_threads(None) == 2


def test_one_thread_inside_of_a_worker_of_joblib(monkeypatch):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 3)
    with joblib.Parallel(n_jobs=2, prefer="threads") as parallel:
        assert parallel(joblib.delayed(allowed_threads)(2) for _ in range(4)) == [1] * 4
    with joblib.Parallel(n_jobs=1) as parallel:  # no other worker
        assert parallel(joblib.delayed(allowed_threads)(2) for _ in range(2)) == [2] * 2


@pytest.fixture
def rows(rng):
    rows = make_rows(rng.standard_normal((64 * 12, 3)), block_rows=64)
    rows.n_threads = 3
    return rows


def used(rows):
    """Return the names of the threads in which the rows evaluate blocks."""
    names = []

    def name(block):
        time.sleep(0.002)
        names.append(threading.current_thread().name)
        return np.zeros(1)

    rows.reduce(name)
    return set(names)


def test_few_blocks_are_evaluated_in_the_callers_thread(rows):
    per_thread = rows_module.BLOCKS_PER_THREAD
    for n_blocks, n_threads in ((3 * per_thread, 3), (3 * per_thread - 1, 2)):
        rows.block_rows = rows.n_rows // n_blocks
        assert len(used(rows)) == n_threads
    rows.block_rows = rows.n_rows // (2 * per_thread) + 1
    assert used(rows) == {threading.current_thread().name}


def test_starts_that_share_the_cores_have_one_thread_each(rows):
    with joblib.Parallel(n_jobs=2, prefer="threads") as parallel:
        for names in parallel(joblib.delayed(used)(rows) for _ in range(4)):
            assert len(names) == 1 and not next(iter(names)).startswith("mixexp")


def test_sums_and_joined_results_have_the_same_bits(rows, rng):
    values = 10.0 ** rng.uniform(-8, 8, rows.n_rows)

    def total(block):
        return np.array([values[block.start : block.stop].sum()])

    def each(block):
        return values[block.start : block.stop] ** 2

    found = []
    for n_threads in (1, 2, 3):
        rows.n_threads = n_threads
        found.append((rows.reduce(total), rows.map(each)))
    for sums, joined in found[1:]:
        assert_array_equal(sums, found[0][0])
        assert_array_equal(joined, found[0][1])


def test_rows_made_from_rows_have_their_threads(rows):
    ids = np.arange(50)
    made = [
        rows.subset(ids, None),
        rows.subset(ids, None, np.arange(50) // 2).units,
        rows.reweighted(np.ones(rows.n_rows)),
        rows.shifted(np.zeros((1, rows.n_rows))),
    ]
    assert [each.n_threads for each in made] == [3] * 4


def test_results_that_do_not_add_end_the_threads(rows):
    with pytest.raises(TypeError):
        rows.reduce(lambda block: object())
    assert not block_threads()
