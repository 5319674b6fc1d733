"""Warnings name the user's line, and a fit leaves no filter behind."""

import threading
import warnings

import numpy as np
import pytest
from _guests import Greedy, kink, regressor
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._guests import in_threads
from mixexp._warn import filters_kept, silence, silenced, warn
from mixexp.gates import ConstantGate

pytestmark = [
    pytest.mark.filterwarnings("ignore:MixtureOfExperts.* did not converge in max_iter"),
    # networks take weights from scikit-learn 1.7 on
    pytest.mark.filterwarnings("ignore:.*does not take sample_weight"),
]


@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize(
    "expert",
    [
        MLPRegressor(hidden_layer_sizes=(3,), max_iter=3),
        MLPRegressor(hidden_layer_sizes=(3,), max_iter=3, solver="lbfgs"),
        RandomForestRegressor(3),
        RandomForestRegressor(12, n_jobs=3),
        [
            make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(3,), max_iter=3)),
            RandomForestRegressor(3),
        ],
    ],
    ids=["adam", "lbfgs", "forest", "own-threads", "both"],
)
def test_filters_are_as_they_were(untouched, expert, n_jobs):
    X, y = kink()
    for _ in range(3):  # a race may be won
        model = regressor(expert, max_iter=2, tol=10.0, cross_fit=False, n_jobs=n_jobs)
        model.fit(X, y)


def test_filters_are_as_they_were_after_a_network_gate_and_an_error(untouched):
    X, y = kink()
    codes = (y > 3).astype(int)
    forest = RandomForestClassifier(2, random_state=0)
    options = {"n_init": 2, "max_iter": 2, "tol": 10.0, "cross_fit": False, "random_state": 0}
    MixtureOfExpertsClassifier(forest, 2, gate=forest, n_jobs=2, **options).fit(X, codes)
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
    with filters_kept(), filters_kept():
        warnings.simplefilter("ignore")
    assert list(warnings.filters) == before


def test_nothing_is_said_of_k_means_inside_of_a_start(untouched):
    rng = np.random.default_rng(0)
    y = np.r_[rng.normal(54.6, 5.9, 98), rng.normal(80.1, 5.9, 174)]
    for init in ("mixed", "kmeans_xy", "split"):
        regressor(gate=ConstantGate(), init=init, max_iter=200, n_init=6).fit(np.zeros((272, 1)), y)


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
