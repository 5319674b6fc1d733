"""Dask collections: fits and answers of the same estimators, without a cluster and with one."""

import os
import pickle
import signal

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._engine import em
from mixexp._rows import cluster
from mixexp.gates import SoftmaxGate
from mixexp.routing import Switch

dask = pytest.importorskip("dask", reason="needs mixexp[dask]")
distributed = pytest.importorskip("distributed", reason="needs mixexp[dask]")
da = pytest.importorskip("dask.array", reason="needs mixexp[dask]")
dd = pytest.importorskip("dask.dataframe", reason="needs mixexp[dask]")

N_ROWS, N_PARTITIONS = 12_000, 6

#: Bytes that may come to the client at a time: the sketch and the first rows, not the data.
LIMIT = 600_000


def made(i, n_rows=N_ROWS // N_PARTITIONS):
    """The rows of a partition, with the targets in the last column."""
    rng = np.random.default_rng(i)
    X = rng.standard_normal((n_rows, 3))
    y = np.where(X[:, 0] > 0, 3 + X[:, 1], -2 * X[:, 1] - 3) + 0.3 * rng.standard_normal(n_rows)
    return np.column_stack([X, y])


def lazy(n_rows=N_ROWS // N_PARTITIONS, function=made):
    """X and y as Dask arrays."""
    one = dask.delayed(function, pure=True)
    parts = [da.from_delayed(one(i, n_rows), (n_rows, 4), float) for i in range(N_PARTITIONS)]
    rows = da.concatenate(parts)
    return rows[:, :3], rows[:, 3]


def regressor(**options):
    return MixtureOfExpertsRegressor(n_experts=2, random_state=0, **{"n_init": 2, **options})


@pytest.fixture(scope="module")
def data():
    table = np.concatenate([made(i) for i in range(N_PARTITIONS)])
    return table[:, :3].copy(), table[:, 3].copy()


@pytest.fixture(scope="module")
def fitted(data):
    return regressor().fit(*data)


@pytest.fixture(autouse=True)
def one_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


def test_answers_are_lazy_and_those_in_memory(fitted, data):
    (X, y), (lazy_X, lazy_y) = data, lazy()
    answers = {
        "predict": fitted.predict(lazy_X),
        "gate_proba": fitted.gate_proba(lazy_X, level=1),
        "route": fitted.route(lazy_X),
        "log_density": fitted.log_density(lazy_X, lazy_y),
    }
    for name, answer in answers.items():
        assert isinstance(answer, da.Array)
        whole = getattr(fitted, name)(*((X, y) if name == "log_density" else (X,)))
        assert answer.shape == whole.shape and answer.dtype == whole.dtype
        assert_allclose(answer.compute(), whole, rtol=1e-12, atol=1e-15)
    assert_allclose(fitted.log_density(lazy_X, y=lazy_y)[:5].compute(), whole[:5])
    with pytest.raises(NotFittedError):
        regressor().predict(lazy_X)


def test_frames(data):
    X, y = data
    frame = pd.DataFrame(X, columns=["a", "b", "c"]).assign(y=y, w=np.arange(N_ROWS) % 3)
    parts = dd.from_pandas(frame, npartitions=4)
    columns = ["a", "b", "c"]
    parts = parts[(parts.w != 1) | (parts.a > 9)]  # partitions of unknown length
    parts = dd.concat([parts[parts.a > 99], parts])  # the first ones are empty
    model = regressor(gate_features=["a"]).fit(parts[columns], parts["y"], parts["w"])
    whole = regressor(gate_features=[0]).fit(X, y, np.where(frame.w == 1, 0, frame.w))
    assert_allclose(model.lower_bounds_, whole.lower_bounds_, rtol=1e-10)
    assert_array_equal(model.feature_names_in_, columns)
    proba = model.gate_proba(parts[columns]).compute()
    assert_allclose(proba, whole.gate_proba(X[frame.w != 1]), rtol=1e-6, atol=1e-12)


def test_classes_of_frames(data):
    frame = pd.DataFrame(data[0], columns=["a", "b", "c"])
    frame["y"] = np.where(frame.a * frame.b + 0.1 * data[1] > 0, "yes", "no")
    parts = dd.from_pandas(frame.sort_values("y", ignore_index=True), npartitions=3)
    model = MixtureOfExpertsClassifier(
        n_experts=2, class_weight="balanced", n_init=1, max_iter=3, random_state=0, tol=0
    )
    with pytest.warns(match="did not converge"):
        one = clone(model).fit(parts[["a", "b", "c"]], parts["y"])
    with pytest.warns(match="did not converge"):
        whole = clone(model).fit(frame[["a", "b", "c"]], frame["y"])
    assert_allclose(one.lower_bounds_, whole.lower_bounds_, rtol=1e-10)
    for name in ("predict", "predict_proba", "predict_log_proba"):
        answer = getattr(one, name)(parts[["a", "b", "c"]])
        inside = getattr(one, name)(parts[["a", "b", "c"]].compute())
        assert answer.dtype == inside.dtype
        assert_array_equal(answer.compute(), inside)


def test_few_distinct_rows_and_differing_chunks(data):
    X, y = np.round(data[0][:600]), np.round(data[1][:600])
    parts = da.from_array(X, chunks=(200, 2)), da.from_array(y, chunks=130)
    assert_allclose(regressor().fit(*parts).lower_bound_, regressor().fit(X, y).lower_bound_)


@pytest.mark.parametrize(
    ("options", "arguments", "who"),
    [
        ({"expert": KNeighborsRegressor()}, {}, "expert=KNeighborsRegressor"),
        ({"routing": Switch()}, {}, "routing=Switch"),
        ({"n_experts": "auto"}, {}, "n_experts='auto'"),
        ({}, {"groups": np.arange(N_ROWS)}, "groups of `fit`"),
    ],
)
def test_what_needs_all_rows_is_refused(options, arguments, who):
    model = regressor().set_params(**options)
    with pytest.raises(TypeError, match=f"X is a Dask.*{who}.*allow_gather=True"):
        model.fit(*lazy(), **arguments)


def test_with_leave_all_rows_are_gathered(data):
    X, y = data[0][:300], data[1][:300]
    parts = da.from_array(X, chunks=(100, 3)), da.from_array(y, chunks=100)
    model = regressor(expert=DecisionTreeRegressor(max_depth=2), max_iter=3, tol=0)
    with pytest.warns(match="did not converge"):
        whole = clone(model).fit(X, y)
    with pytest.warns(match="did not converge"):
        gathered = clone(model).fit(*parts, allow_gather=True)
    assert_array_equal(gathered.predict(parts[0]).compute(), whole.predict(X))


def bad_inputs():
    X, y = lazy()
    table = np.concatenate([made(i) for i in range(2)])
    infinite = X.map_blocks(lambda x: np.where(x > 3.5, np.inf, x))
    return {
        "array": (lambda m: m.fit(X, table[:, 3]), TypeError, "y is an array of shape"),
        "y_lazy": (lambda m: m.fit(table[:, :3], y), TypeError, "X is an array of shape"),
        "emptied": (
            lambda m: m.fit(X[da.arange(N_ROWS, chunks=2000) >= 2000], y[y > -np.inf]),
            ValueError,
            "partition 0 of X has no rows, and that of y has 2000",
        ),
        "no_y": (lambda m: m.fit(X, None), ValueError, "y=None"),
        "y_only": (lambda m: m.fit(table[:, :3], y), TypeError, "X is an array of shape"),
        "bag": (lambda m: m.fit(X, dask.delayed(3)), TypeError, "y is a Delayed"),
        "sparse": (lambda m: m.fit(X.map_blocks(sp.csr_array), y), TypeError, "X is sparse"),
        "infinity": (lambda m: m.fit(infinite, y), ValueError, "partition .* of X.*infinity"),
        "nothing": (lambda m: m.fit(X[:0], y[:0]), ValueError, "X has no rows"),
        "batch": (lambda m: m.partial_fit(X, y), TypeError, "needs rows in memory"),
        "number": (
            lambda m: m.fit(dd.from_dask_array(X), dd.from_dask_array(y).partitions[:2]),
            ValueError,
            "y has 2 partitions, and X 6",
        ),
    }


@pytest.mark.parametrize("case", sorted(bad_inputs()))
def test_bad_input_is_refused(case):
    call, error, message = bad_inputs()[case]
    model = regressor()
    with pytest.raises(error, match=message):
        call(model)
    assert not hasattr(model, "experts_")


def test_bad_calls_after_a_fit_are_refused(fitted):
    X, y = lazy()
    calls = {
        "needs rows in memory": lambda: fitted.predict_interval(X),
        "return_std=True asks for two": lambda: fitted.predict(X, return_std=True),
        "offset has a value for every row": lambda: fitted.predict(X, offset=np.zeros(N_ROWS)),
    }
    for message, call in calls.items():
        with pytest.raises(TypeError, match=message):
            call()


def test_a_graph_that_gives_other_rows_is_refused():
    n_calls = 0

    def changing(i, n_rows):
        nonlocal n_calls
        n_calls += 1
        return made(i, n_rows) + 1e-9 * (n_calls > 4 * N_PARTITIONS)

    with pytest.raises(ValueError, match=r"partition \d of X has other rows"):
        regressor().fit(*lazy(function=changing))


@pytest.fixture(scope="module")
def client():
    """A client of two workers, which are processes of their own."""
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with distributed.LocalCluster(**options) as local, distributed.Client(local) as client:
        yield client


@pytest.fixture
def few_bytes(client, monkeypatch):
    """A client that cannot hold more than `LIMIT` bytes of a result."""
    gather = distributed.Client.gather

    def limited(self, *args, **options):
        found = gather(self, *args, **options)
        if not isinstance(found, list):
            return found
        if len(pickle.dumps(found)) > LIMIT:
            raise MemoryError("more than the client holds")
        return found

    with dask.config.set(scheduler=client), monkeypatch.context() as patch:
        patch.setattr(distributed.Client, "gather", limited)
        yield client


def made_on_worker(i, n_rows, client_pid):
    assert os.getpid() != client_pid
    return made(i, n_rows)


def plain_em():
    return regressor(gate=SoftmaxGate(alpha=0.3), acceleration=None)


@pytest.fixture(scope="module")
def undisturbed(client):
    with dask.config.set(scheduler=client):
        return plain_em().fit(*lazy(5000))


def test_rows_stay_on_workers(few_bytes):
    """Together they are more than the client holds."""
    pid = os.getpid()
    X, y = lazy(5000, lambda i, n_rows: made_on_worker(i, n_rows, pid))
    with pytest.raises(MemoryError):
        few_bytes.gather([few_bytes.compute(X)])
    model = regressor().fit(X, y)
    table = np.concatenate([made(i, 5000) for i in range(N_PARTITIONS)])
    whole = regressor().fit(table[:, :3], table[:, 3])
    assert_allclose(model.lower_bounds_, whole.lower_bounds_, rtol=1e-10)
    density = model.log_density(X, y).mean()
    assert_allclose(density.compute(), whole.log_density(table[:, :3], table[:, 3]).mean())
    assert_allclose(model.predict(X)[-50:].compute(), whole.predict(table[-50:, :3]), rtol=1e-6)


@pytest.mark.skipif(
    int(distributed.__version__.partition(".")[0]) < 2026,
    reason="a local cluster of Dask 2025.1 does not close after a worker was killed",
)
def test_a_worker_that_dies_changes_nothing(client, undisturbed, monkeypatch):
    n_passes, evaluate = 0, em.evaluate

    def deadly(problem, *args):
        nonlocal n_passes
        if isinstance(problem.rows, cluster.DaskRows):
            n_passes += 1
            if n_passes == 3:
                os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
        return evaluate(problem, *args)

    monkeypatch.setattr(em, "evaluate", deadly)
    with dask.config.set(scheduler=client):
        model = plain_em().fit(*lazy(5000))
    assert n_passes > 3
    assert_array_equal(model.lower_bounds_, undisturbed.lower_bounds_)
    assert_array_equal(model.gate_.coef_, undisturbed.gate_.coef_)


def test_estimators_and_starts_run_on_joblibs_backend(client, data):
    X, y = data[0][:600], data[1][:600]
    model = regressor(n_jobs=2)
    trees = regressor(
        expert=DecisionTreeRegressor(max_depth=2), max_iter=3, tol=1.0, n_init=1, n_jobs=2
    )
    with joblib.parallel_backend("dask"):
        ours = [clone(each).fit(X, y) for each in (model, trees)]
    for fit, each in zip(ours, (model, trees), strict=True):
        assert_allclose(fit.predict(X), clone(each).fit(X, y).predict(X), rtol=1e-10)
