"""Threads and processes of the user: at once, forked, spawned and killed."""

import multiprocessing
import os
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import joblib
import numpy as np
import pytest
from _faulty import Deadly, nothing_left, predictions_of
from _guests import kink, regressor
from joblib.externals.loky.process_executor import TerminatedWorkerError
from numpy.testing import assert_array_equal
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from mixexp import MixtureOfExpertsClassifier

pytestmark = pytest.mark.filterwarnings("ignore:MixtureOfExperts.* did not converge in max_iter")

#: Threads of the user.
N_THREADS = 8


def test_fits_and_predictions_of_one_estimator_at_once(untouched):
    X, y = kink()
    model = regressor(n_init=1)
    expected = [model.fit(X, target).predict(X) for target in (-y, y)]
    began = threading.Barrier(N_THREADS)

    def work(i):
        began.wait()
        if i < 2:
            for _ in range(3):
                model.fit(X, (-y, y)[i])
            return []
        return [model.predict(X) for _ in range(20)]

    with nothing_left(), ThreadPoolExecutor(N_THREADS) as pool:
        found = [own for of_thread in pool.map(work, range(N_THREADS)) for own in of_thread]
    for own in found:  # of one fit or the other, never of a state between
        assert any(np.array_equal(own, of) for of in expected)


def test_labels_are_those_of_the_fit_that_answers():
    # not `untouched`: scikit-learn looks at labels under a catch_warnings of its own, and where two
    # threads do so at once, the list of filters that is put back may be a copy
    X, y = kink()
    side = (y > np.median(y)).astype(int)
    targets = [np.array(names)[side] for names in (["ant", "bee"], ["dog", "cat"])]
    model = MixtureOfExpertsClassifier(n_experts=2, n_init=1, max_iter=5, random_state=0)
    expected = [model.fit(X, target).predict(X).tolist() for target in targets]
    over = threading.Event()

    def fits():
        for i in range(12):
            model.fit(X, targets[i % 2])
        over.set()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(1) as pool:
            done, found = pool.submit(fits), []
            while not over.is_set() and not done.done():
                found.append(model.predict(X).tolist())
            done.result()
    finally:
        sys.setswitchinterval(interval)
    assert found and all(own in expected for own in found)


def test_fits_of_several_estimators_at_once(untouched):
    X, y = kink()
    models = [regressor(n_init=1, random_state=i) for i in range(N_THREADS)]
    alone = [predictions_of(model, X, y) for model in models]
    with nothing_left(), ThreadPoolExecutor(N_THREADS) as pool:
        at_once = list(pool.map(lambda model: model.fit(X, y).predict(X), models))
    assert_array_equal(at_once, alone)


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_fits_in_processes_have_the_same_bits(untouched, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"{sys.platform} cannot {method}")
    X, y = kink()
    model = regressor(n_init=1, n_jobs=2)
    here = predictions_of(model, X, y)  # threads have run before the process forks
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        assert_array_equal(pool.submit(predictions_of, model, X, y).result(timeout=120), here)


@pytest.mark.slow  # workers import everything
def test_a_killed_worker_is_an_error_and_the_next_fit_is_well(untouched):
    X, y = kink()
    deadly = regressor(Deadly(os.getpid()), n_init=1, cross_fit=False, n_jobs=2)
    sound = regressor(make_pipeline(Ridge()), n_init=1, cross_fit=False, n_jobs=2)
    here = deadly.fit(X, y)  # in threads, where it is harmless
    before, expected = dict(vars(here)), here.predict(X)
    with joblib.parallel_config("loky", n_jobs=2):  # experts are now fitted in processes
        with pytest.raises(TerminatedWorkerError):
            here.fit(X, y)
        assert vars(here) == before
        two = sound.fit(X, y).predict(X)
    assert_array_equal(sound.fit(X, y).predict(X), two)
    assert_array_equal(here.predict(X), expected)
