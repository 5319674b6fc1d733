"""Estimators of others are kept apart: from each other, the caller's data, and the process."""

import os
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.cluster import KMeans
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_info

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._guests import in_threads
from mixexp._warn import filters_kept, silence, silenced, warn
from mixexp.families import StudentT
from mixexp.gates import ConstantGate, EstimatorGate

pytestmark = pytest.mark.filterwarnings("ignore:MixtureOfExperts.* did not converge in max_iter")


def kink(n=120, seed=0):
    """Return rows around a kink at x = 5, far from the origin."""
    rng = np.random.default_rng(seed)
    X = rng.normal(5, 3, (n, 2))
    return X, np.abs(X[:, 0] - 5) * 2 + 0.1 * rng.normal(size=n)


def regressor(expert=None, **params):
    given = {"n_experts": 2, "n_init": 2, "max_iter": 8, "tol": 1e-2, "random_state": 0}
    return MixtureOfExpertsRegressor(expert, **{**given, **params})


class Shift(BaseEstimator):
    """A transformer that works in place, whatever it is given."""

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        if hasattr(X, "iloc"):
            for j in range(X.shape[1]):
                X.isetitem(j, X.iloc[:, j] - 100.0)
            X.iloc[:, :] = X.to_numpy() + 1.0
            return X
        X -= 99.0
        return X


class Greedy(RegressorMixin, BaseEstimator):
    """A regressor that raises `error`, in `fit` or in `predict`."""

    def __init__(self, error=None, where="fit"):
        self.error = error
        self.where = where

    def fit(self, X, y, sample_weight=None):
        if self.where == "fit":
            raise self.error
        return self

    def predict(self, X):
        raise self.error


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


# ----------------------------------------------------------------------------------- rows


@pytest.mark.parametrize("kind", ["array", "fortran", "pandas", "polars"])
def test_experts_that_work_in_place_are_as_those_that_do_not(untouched, kind):
    X, y = kink()
    given = {
        "array": X.copy(),
        "fortran": np.asfortranarray(X),
        "pandas": pd.DataFrame(X.copy(), columns=["a", "b"]),
        "polars": pl.DataFrame(X.copy(), schema=["a", "b"]),
    }[kind]
    plain = regressor(make_pipeline(StandardScaler(), Ridge())).fit(X, y)
    model = regressor(make_pipeline(StandardScaler(copy=False), Ridge())).fit(given, y)
    assert_allclose(model.predict_experts(given), plain.predict_experts(X), rtol=1e-9)
    assert_allclose(model.log_density(given, y), plain.log_density(X, y), rtol=1e-8)
    assert model.score(given, y) > 0.95
    assert_array_equal(np.asarray(given), X)


@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize("cross_fit", [False, 3])
@pytest.mark.parametrize("as_frame", [False, True])
def test_transformers_in_place_change_no_one_elses_rows(untouched, n_jobs, cross_fit, as_frame):
    X, y = kink()
    given = pd.DataFrame(X.copy(), columns=["a", "b"]) if as_frame else X.copy()
    model = regressor(make_pipeline(Shift(), Ridge()), cross_fit=cross_fit, n_jobs=n_jobs)
    target = y.copy()
    model.fit(given, target)
    assert model.score(given, y) > 0.95
    assert_array_equal(np.asarray(given), X)
    assert_array_equal(target, y)


def test_a_gate_in_place_and_a_clusterer_in_place(untouched):
    class InPlace(KMeans):
        def fit_predict(self, X, y=None, sample_weight=None):
            X *= 1e-3
            return super().fit_predict(X)

    X, y = kink()
    given = X.copy()
    gate = EstimatorGate(make_pipeline(Shift(), LogisticRegression()))
    start = InPlace(2, n_init=1, random_state=0)
    model = regressor(gate=gate, init=start, max_iter=3)
    model.fit(given, y)
    assert_array_equal(given, X)
    first = model.gate_proba(given)
    assert_array_equal(model.gate_proba(given), first)
    assert_array_equal(given, X)


def test_parts_of_a_users_own_cannot_change_the_rows(untouched):
    class Careless(ConstantGate):
        def log_prob(self, block):
            block.X[:] = 0.0
            return super().log_prob(block)

    X, y = kink()
    given = X.copy()
    with pytest.raises(ValueError, match="read-only"):
        regressor(gate=Careless()).fit(given, y)
    assert_array_equal(given, X)


def test_naive_bayes_may_see_a_view_and_read_only_data_are_fine(untouched):
    X, y = kink()
    X.flags.writeable = False
    y.flags.writeable = False
    model = regressor(make_pipeline(StandardScaler(copy=False), Ridge()), gate=GaussianNB())
    model.fit(X, y)
    assert np.isfinite(model.predict(X)).all()


# -------------------------------------------------------------------------------- threads


THREADS = """
import threading, warnings
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits
from mixexp import MixtureOfExpertsRegressor
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
    assert now() == start and list(warnings.filters) == filters
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


# -------------------------------------------------------------------------------- filters


@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize(
    "expert",
    [
        MLPRegressor(hidden_layer_sizes=(3,), max_iter=3),
        MLPRegressor(hidden_layer_sizes=(3,), max_iter=3, solver="lbfgs"),
        RandomForestRegressor(3),
        [
            make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(3,), max_iter=3)),
            RandomForestRegressor(3),
        ],
    ],
    ids=["adam", "lbfgs", "forest", "both"],
)
def test_filters_are_as_they_were(untouched, expert, n_jobs):
    X, y = kink()
    for _ in range(3):  # a race may be won
        model = regressor(expert, max_iter=2, tol=10.0, cross_fit=False, n_jobs=n_jobs)
        model.fit(X, y)


def test_filters_are_as_they_were_after_a_network_gate_and_an_error(untouched):
    X, y = kink()
    codes = (y > 3).astype(int)
    forest = RandomForestClassifier(2)
    MixtureOfExpertsClassifier(
        forest, 2, gate=forest, n_init=2, max_iter=2, tol=10.0, n_jobs=2, random_state=0
    ).fit(X, codes)
    with pytest.raises(ValueError, match="failed at EM iteration 0"):
        regressor([Greedy(RuntimeError("no")), RandomForestRegressor(2)], n_jobs=2).fit(X, y)


def test_only_networks_are_silenced():
    class Loud(Ridge):
        def fit(self, X, y, sample_weight=None):
            warnings.warn("not yet", ConvergenceWarning, stacklevel=1)
            return super().fit(X, y, sample_weight)

    X, y = kink()
    network = MLPRegressor(hidden_layer_sizes=(3,), max_iter=3)
    model = regressor([network, Loud()], max_iter=2, tol=10.0, cross_fit=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, y)
    said = {str(w.message) for w in caught}
    assert "not yet" in said
    assert all("not yet" in own or "MixtureOfExperts" in own for own in said), said


def test_what_is_silenced_in_overlapping_blocks_is_all_taken_out():
    before, own = list(warnings.filters), warnings.filters
    quiet = silence(UserWarning, "nothing")
    one, two = silenced(quiet), silenced(quiet)
    one.__enter__()
    two.__enter__()
    one.__exit__(None, None, None)
    warnings.warn("nothing to see", UserWarning, stacklevel=1)  # an error without the second one
    two.__exit__(None, None, None)
    assert list(warnings.filters) == before
    other = warnings.catch_warnings()
    with silenced(quiet):  # a user's block that begins inside and ends outside
        other.__enter__()
    other.__exit__(None, None, None)
    assert list(warnings.filters) == before
    assert warnings.filters is own


def test_filters_that_guests_leave_in_threads_are_put_back():
    before, own = list(warnings.filters), warnings.filters
    first, second = threading.Event(), threading.Event()

    def guest(i):  # enters first and leaves first: what the second restores is not what there was
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            (first if i == 0 else second).set()
            (second if i == 0 else first).wait(5)

    in_threads(guest, [(0,), (1,)], 2)
    assert warnings.filters is own
    assert list(warnings.filters) == before
    with filters_kept(2), filters_kept(2):
        warnings.simplefilter("ignore")
    assert list(warnings.filters) == before


def test_nothing_is_said_of_k_means_inside_of_a_start(untouched):
    rng = np.random.default_rng(0)
    y = np.r_[rng.normal(54.6, 5.9, 98), rng.normal(80.1, 5.9, 174)]
    for init in ("mixed", "kmeans_xy", "split"):
        regressor(gate=ConstantGate(), init=init, max_iter=200, n_init=6).fit(np.zeros((272, 1)), y)


# --------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize("where", ["fit", "predict"])
@pytest.mark.parametrize("kind", [MemoryError, KeyboardInterrupt, SystemExit, ConvergenceWarning])
def test_what_a_caller_waits_for_keeps_its_type(untouched, kind, where, n_jobs):
    X, y = kink()
    model = regressor(Greedy(kind("no room"), where), n_jobs=n_jobs, cross_fit=False)
    with pytest.raises(kind, match="no room") as caught:
        model.fit(X, y)
    assert any("expert 0 (greedy: Greedy) failed at EM it" in n for n in caught.value.__notes__)
    assert not hasattr(model, "experts_")


@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize("kind", [TypeError, ZeroDivisionError, RuntimeError, KeyError])
def test_other_errors_name_the_expert_and_have_their_cause(untouched, kind, n_jobs):
    X, y = kink()
    error = kind("odd")
    with pytest.raises(
        ValueError, match=r"expert 0 \(greedy: Greedy\).*iteration 0.*odd"
    ) as caught:
        regressor(Greedy(error), n_jobs=n_jobs).fit(X, y)
    assert type(caught.value.__cause__) is kind  # a clone's: it was copied
    assert caught.value.__cause__.args == ("odd",)


def test_an_error_in_prediction(untouched):
    class Broken(Ridge):
        broken = None

        def predict(self, X):
            if Broken.broken is not None:
                raise Broken.broken
            return super().predict(X)

    X, y = kink()
    model = regressor(Broken(), max_iter=2).fit(X, y)
    Broken.broken = MemoryError("full")
    with pytest.raises(MemoryError, match="full") as caught:
        model.predict(X)
    assert any("expert 0 (Broken) failed to predict 120 rows" in n for n in caught.value.__notes__)
    Broken.broken = RuntimeError("lost")
    with pytest.raises(ValueError, match=r"expert 0 \(Broken\) failed to predict 120 rows: lost"):
        model.predict(X)


def test_a_gate_that_fails_is_named_in_fit_and_in_prediction(untouched):
    class Fragile(ClassifierMixin, BaseEstimator):
        broken = False

        def fit(self, X, y, sample_weight=None):
            self.classes_ = np.unique(y)
            return self

        def predict_proba(self, X):
            if Fragile.broken:
                raise RuntimeError("lost")
            return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))

    X, y = kink()
    model = regressor(gate=Fragile(), max_iter=2, tol=10.0, cross_fit=False).fit(X, y)
    Fragile.broken = True
    with pytest.raises(ValueError, match=r"the gate's Fragile failed to predict 120 rows: lost"):
        model.predict(X)
    with pytest.raises(ValueError, match=r"the gate's Fragile failed at EM iteration 0"):
        clone(model).fit(X, y)


def test_the_first_error_is_raised_whatever_the_number_of_threads():
    ran = []

    def call(i):
        ran.append(i)
        if i in (1, 5):
            raise RuntimeError(i)
        return i

    for n_jobs in (1, 2):
        with pytest.raises(RuntimeError, match="1"):
            in_threads(call, [(i,) for i in range(8)], n_jobs)
    assert in_threads(call, [(0,), (2,)], 2) == [0, 2]
    ran.clear()
    with pytest.raises(RuntimeError, match="1"):
        in_threads(call, [(i,) for i in range(8)], 1)
    assert ran == [0, 1]  # what comes after the error is not begun


def test_threads_have_the_callers_configuration():
    with sklearn.config_context(enable_metadata_routing=True, working_memory=77):
        found = in_threads(lambda _: sklearn.get_config(), [(i,) for i in range(4)], 2)
    assert all(own["enable_metadata_routing"] and own["working_memory"] == 77 for own in found)


# ------------------------------------------------------------------------------- warnings


def lines_of(caught):
    return {(w.filename, w.category) for w in caught}


@pytest.mark.parametrize("how", ["plain", "search", "pipeline", "nested", "threads", "subclass"])
def test_warnings_point_at_the_users_line(how):
    class Own(MixtureOfExpertsRegressor):
        def fit(self, X, y):
            return super().fit(X, y)

    X, y = kink()
    model = regressor(max_iter=2, tol=0.0, n_init=1)
    jobs = {
        "plain": model,
        "search": GridSearchCV(model, {"n_experts": [2]}, cv=2),
        "pipeline": make_pipeline(StandardScaler(), model),
        "nested": regressor(regressor(n_init=1), max_iter=2, tol=0.0, n_init=1),
        "threads": regressor(max_iter=2, tol=0.0, n_jobs=2),
        "subclass": Own(n_experts=2, max_iter=2, tol=0.0, n_init=1, random_state=0),
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        jobs[how].fit(X, y)
    assert lines_of(caught) == {(__file__, ConvergenceWarning)}


def test_the_helper_counts_as_any_warning():
    def library():
        warn("once", UserWarning)

    with pytest.warns(UserWarning, match="once") as caught:
        library()
    assert caught[0].filename == __file__
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            warn("again and again")
    assert len(caught) == 1


# ------------------------------------------------------------------------ set_params later


def answers(model, X, y):
    own = [model.predict(X), model.gate_proba(X), model.predict_experts(X), model.log_density(X, y)]
    if hasattr(model, "predict_proba"):
        return [*own, model.predict_proba(X)]
    distribution = model.predict_distribution(X)
    return [*own, distribution.quantile(0.9), distribution.mean()]


@pytest.mark.parametrize(
    "expert", [None, Ridge(), RandomForestRegressor(2), regressor(n_init=1)], ids=type
)
def test_parameters_set_after_a_fit_wait_for_the_next(untouched, expert):
    X, y = kink()
    family = StudentT(df=4.0) if expert is None else "gaussian"
    model = regressor(expert, family=family, max_iter=4, tol=1.0).fit(X, y)
    before = answers(model, X, y)
    aic = model.aic(X, y) if expert is None else None
    nested = {"expert__alpha": 1e6} if isinstance(expert, Ridge) else {}
    if expert is None:
        nested["family__df"] = 50.0
    model.set_params(**nested)
    model.set_params(
        expert=None if expert is not None else RandomForestRegressor(),
        gate=ConstantGate(),
        pooling="argmax",
        family="laplace",
        n_experts=7,
        gate_features=[0],
        expert_features=[1],
        noise_expert=True,
        random_state=5,
    )
    for old, new in zip(before, answers(model, X, y), strict=True):
        assert_array_equal(old, new)
    assert aic is None or model.aic(X, y) == aic


def test_pooling_of_a_classifier_and_sparse_input_after_a_change(untouched):
    import scipy.sparse as sp

    rng = np.random.default_rng(0)
    X = sp.random(150, 4, 0.5, format="csr", random_state=0)
    y = (np.asarray(X.sum(axis=1)).ravel() + 0.3 * rng.normal(size=150) > 1).astype(int)
    model = MixtureOfExpertsClassifier(n_experts=2, n_init=2, tol=1e-2, random_state=0).fit(X, y)
    before = answers(model, X, y)
    model.set_params(pooling="argmax", expert=GaussianNB())
    for old, new in zip(before, answers(model, X, y), strict=True):
        assert_array_equal(old, new)
    model.set_params(expert=None).fit(X, y)
    gate, proba = model.gate_proba(X), model.predict_experts(X)
    assert_array_equal(model.predict_proba(X), proba[np.arange(150), gate.argmax(axis=1)])
