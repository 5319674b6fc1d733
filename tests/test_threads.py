"""A fit leaves the numbers of threads of the process as they were."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from _guests import kink, regressor
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPRegressor
from sklearn.tree import DecisionTreeRegressor

from mixexp import MixtureOfExpertsRegressor
from mixexp._threads import single_thread

pytestmark = [
    pytest.mark.filterwarnings("ignore:MixtureOfExperts.* did not converge in max_iter"),
    # networks take weights from scikit-learn 1.7 on
    pytest.mark.filterwarnings("ignore:.*does not take sample_weight"),
]


THREADS = """
import threading, warnings
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits
from mixexp import MixtureOfExpertsRegressor
from mixexp._rows.in_order import in_order
from mixexp._threads import single_thread

def now(api="blas"):
    found = threadpool_info()
    return {own["filepath"]: own["num_threads"] for own in found if own["user_api"] == api}

start, openmp = now(), now("openmp")
if 1 in start.values():  # one core, or another BLAS
    raise SystemExit

# in one thread, out of order, as generators may be
one, two = single_thread(), single_thread()
one.__enter__(), two.__enter__(), one.__exit__(None, None, None)
assert set(now().values()) == {1}
two.__exit__(None, None, None)
assert now() == start and now("openmp") == openmp

# in two threads: the first one in is the first one out, and not the last
entered, joined, left = threading.Event(), threading.Event(), threading.Event()
found = []

def first():
    with single_thread():
        entered.set(), joined.wait()
    left.set()

def second():
    entered.wait()
    with single_thread():
        joined.set(), left.wait()
        found.append(set(now().values()))
    found.append(now())

for _ in range(3):
    for event in (entered, joined, left):
        event.clear()
    both = [threading.Thread(target=target) for target in (first, second)]
    [own.start() for own in both], [own.join() for own in both]
    assert now() == start and found == [{1}, start], found
    found.clear()

# errors, and nested blocks, in threads that live on
def work(i):
    try:
        with single_thread(), single_thread():
            assert set(now().values()) == {1} and set(now("openmp").values()) <= {1}
            1 / (i % 3)
    except ZeroDivisionError:
        pass

with ThreadPoolExecutor(4) as pool:
    list(pool.map(work, range(40)))
    assert now() == start
    # nobody is kept from setting a limit afterwards
    with threadpool_limits(2):
        assert set(now().values()) == {2}
    def limited(_):
        with threadpool_limits(2, user_api="blas"):
            return set(now().values())
    assert pool.submit(limited, 0).result() == {2}
    assert now() == start

    # threads made inside of a limit have it
    with single_thread():
        found = in_order(lambda api: set(now(api).values()), ["blas", "openmp"] * 8, 2)
        assert set().union(*found) == {1}
    found = []
    assert now() == start and now("openmp") == openmp

    # fits in several threads at once, some of which fail
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    y = abs(X[:, 0]) + 0.1 * rng.normal(size=60)
    warnings.simplefilter("ignore")
    filters = list(warnings.filters)
    def fit(i):
        model = MixtureOfExpertsRegressor(n_experts=2, n_init=1, max_iter=2 + i, random_state=i)
        try:
            model.fit(X, y if i % 3 else y[:5])
        except ValueError:
            return None
        return model.predict(X)
    list(pool.map(fit, range(8)))
    assert now() == start
    # check_array of scikit-learn sets this one filter for a conversion; its threads alone leave it
    others = ("error", None, np.exceptions.ComplexWarning, None, 0)
    assert [f for f in warnings.filters if f != others] == filters
    # a limit of the caller's own comes back as it was
    with threadpool_limits(2, user_api="blas"):
        fit(1)
        assert set(now().values()) == {2}
    assert now() == start
"""


def test_limits_on_threads_count_their_users():
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "3", "OMP_NUM_THREADS": "3"}
    done = subprocess.run(
        [sys.executable, "-c", THREADS], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_fits_in_several_threads_of_the_user(untouched):
    X, y = kink()
    network = MLPRegressor(hidden_layer_sizes=(2,), max_iter=2, random_state=0)
    forest = RandomForestRegressor(2, random_state=0)
    models = [
        regressor(network, cross_fit=False, max_iter=3, tol=1.0),
        regressor(forest, max_iter=3, tol=1.0, n_jobs=2),
    ] * 2
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda model: clone(model).fit(X, y), models))


@pytest.mark.parametrize(
    ("params", "n_rows", "limited"),
    [
        ({}, 1, False),
        ({}, 600, True),
        ({"expert": DecisionTreeRegressor(max_depth=2)}, 1, True),
        ({"gate": GaussianNB()}, 1, True),
    ],
)
def test_predictions_of_a_few_rows_need_no_limit(monkeypatch, params, n_rows, limited):
    """BLAS begins no threads for so few products; an estimator may begin some for one row."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 2))
    y = np.abs(X[:, 0])
    fit = MixtureOfExpertsRegressor(n_experts=2, random_state=0, **params).fit(X, y)
    expected, entered = fit.predict(X), []

    @contextmanager
    def counted():
        entered.append(1)
        with single_thread():
            yield

    monkeypatch.setattr("mixexp._estimators.model.single_thread", counted)
    assert_allclose(fit.predict(X[:n_rows]), expected[:n_rows], rtol=1e-10)
    assert bool(entered) == limited


def test_products_with_all_outputs_count_as_work():
    """BLAS may begin threads for a thousand outputs of two rows."""
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((40, 5)), rng.standard_normal((40, 200))
    few, many = (
        MixtureOfExpertsRegressor(LinearRegression(), n_experts=1).fit(X, y) for y in (Y[:, :2], Y)
    )
    assert few._model._is_small(few._new_rows(X[:2]))
    assert not many._model._is_small(many._new_rows(X[:2]))
