"""Estimators of others are kept apart from each other and the caller's data; errors name them."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from _guests import Greedy, Shift, kink, regressor
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mixexp._guests import in_threads
from mixexp.gates import ConstantGate, EstimatorGate

pytestmark = pytest.mark.filterwarnings("ignore:MixtureOfExperts.* did not converge in max_iter")


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


def test_no_jobs_are_refused():
    with pytest.raises(ValueError, match=r"n_jobs is 0. Give 1 or more"):
        in_threads(len, [("a",)], 0)
