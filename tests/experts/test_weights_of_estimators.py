"""Weights reach the learner inside an estimator, or rows are drawn."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import BaggingRegressor
from sklearn.linear_model import (
    HuberRegressor,
    LassoCV,
    LogisticRegression,
    RANSACRegressor,
    Ridge,
    RidgeCV,
)
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multioutput import MultiOutputRegressor
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR, LinearSVR
from sklearn.tree import DecisionTreeRegressor

from mixexp import MixtureOfExpertsRegressor
from mixexp._fitting import drawn_rows, takes_weights
from mixexp.experts import memorises
from mixexp.protocols import Rows

unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_rows_are_drawn_by_responsibility(rng):
    X, y = rng.standard_normal((4000, 2)), rng.standard_normal((1, 4000))
    resp = rng.dirichlet([2, 1, 1], 4000).T
    drawn = drawn_rows(resp, Rows(X, y), 3)
    assert_array_equal(np.sort(np.concatenate(drawn)), np.arange(4000))  # each row once
    for own, ids in zip(resp, drawn, strict=True):
        assert_allclose(len(ids), own.sum(), rtol=0.06)
        assert own[ids].mean() > own.mean() + 0.05
    again = drawn_rows(resp, Rows(X, y), 3)
    assert_array_equal(again[0], drawn[0])
    order = rng.permutation(4000)
    moved = drawn_rows(resp[:, order], Rows(X[order], y[:, order]), 3)
    assert_array_equal(np.sort(order[moved[1]]), drawn[1])


def test_drawn_rows_count_weights(rng):
    X, y = rng.standard_normal((500, 2)), rng.standard_normal((1, 500))
    weight = rng.integers(1, 5, 500).astype(float)
    ids = drawn_rows(np.ones((1, 500)) * weight, Rows(X, y, weight), 0)[0]
    assert_array_equal(np.bincount(ids, minlength=500), weight)
    small = weight / 1000
    ids = drawn_rows(np.ones((1, 500)) * small, Rows(X, y, small), 0)[0]
    assert_allclose(len(ids), 500, rtol=0.1)
    ids = drawn_rows(np.full((1, 500), 2000.0), Rows(X, y, np.full(500, 2000.0)), 0)[0]
    assert_array_equal(np.bincount(ids, minlength=500), 10)  # not two thousand copies
    few = drawn_rows(np.array([np.full(500, 1.0), np.zeros(500)]), Rows(X, y), 0)[1]
    assert len(few) == 5


@unconverged
def test_an_estimator_without_weights_is_announced(step):
    X, y = step
    with pytest.warns(UserWarning, match="expert KNeighborsRegressor does not take sample_weight"):
        model = MixtureOfExpertsRegressor(
            KNeighborsRegressor(), n_experts=2, max_iter=3, random_state=0
        ).fit(X, y)
    sizes = [expert.n_samples_fit_ for expert in model.experts_]
    assert sum(sizes) == 240
    with pytest.warns(UserWarning, match=r"Pipeline\(KNeighborsRegressor\)"):
        model.set_params(expert=make_pipeline(StandardScaler(), KNeighborsRegressor())).fit(X, y)


class Recorder(Ridge):
    """Keeps what `fit` was given."""

    def fit(self, X, y, sample_weight=None, note=None):
        self.given_ = {"sample_weight": sample_weight, "note": note, "rows": len(X)}
        return super().fit(X, y, sample_weight)


@unconverged
@pytest.mark.parametrize(
    ("wrap", "inner"),
    [
        (TransformedTargetRegressor, lambda e: e.regressor_),
        (lambda e: GridSearchCV(e, {"alpha": [1.0]}, cv=2), lambda e: e.best_estimator_),
        (lambda e: make_pipeline(StandardScaler(), e), lambda e: e[-1]),
        (
            lambda e: make_pipeline(
                StandardScaler(), TransformedTargetRegressor(make_pipeline(StandardScaler(), e))
            ),
            lambda e: e[-1].regressor_[-1],
        ),
    ],
    ids=["target", "search", "pipeline", "nested"],
)
@pytest.mark.parametrize("routing", [False, True])
def test_weights_reach_the_learner(step, wrap, inner, routing):
    X, y = step
    right = np.where(X[:, 0] > 0, 0.8, 0.2)
    resp = np.column_stack([right, 1 - right])
    model = MixtureOfExpertsRegressor(wrap(Recorder()), n_experts=2, init=resp, max_iter=2)
    with config_context(enable_metadata_routing=routing):
        model.fit(X, y)
    for expert in model.experts_:
        weight = inner(expert).given_["sample_weight"]
        assert weight is not None
        assert 0 < weight.min() < 0.5 < weight.max() <= 1


@unconverged
def test_metadata_are_routed_to_the_experts(step):
    X, y = step
    note = np.arange(240)
    with config_context(enable_metadata_routing=True):
        expert = Recorder().set_fit_request(note=True)
        model = MixtureOfExpertsRegressor(
            make_pipeline(StandardScaler(), expert), n_experts=2, max_iter=2, random_state=0
        )
        model.fit(X, y, note=note)
        given = model.experts_[0][-1].given_
        assert len(given["note"]) == given["rows"]
        row = np.flatnonzero(given["note"] == 17)
        assert len(row) <= 1
        scores = cross_val_score(model, X, y, cv=2, params={"note": note})
        assert len(scores) == 2
        with pytest.raises(TypeError, match="nothing"):
            model.fit(X, y, nothing=note)
    with pytest.raises(ValueError, match="enable_metadata_routing=True"):
        model.fit(X, y, note=note)


@unconverged
def test_metadata_are_routed_to_the_shared_expert(step):
    X, y = step
    note = np.arange(240)
    with config_context(enable_metadata_routing=True):
        shared = Recorder().set_fit_request(note=True)
        model = MixtureOfExpertsRegressor(
            n_experts=2, shared_expert=shared, n_init=1, max_iter=2, random_state=0
        )
        given = model.fit(X, y, note=note).shared_expert_.given_
        assert len(given["note"]) == given["rows"]


@pytest.mark.parametrize(
    ("estimator", "takes"),
    [
        (Ridge(), True),
        (KNeighborsRegressor(), False),
        (make_pipeline(StandardScaler(), Ridge()), True),
        (make_pipeline(StandardScaler(), KNeighborsRegressor()), False),
        (TransformedTargetRegressor(), True),
        (TransformedTargetRegressor(KNeighborsRegressor()), False),
        (GridSearchCV(KNeighborsRegressor(), {}), False),
        (MultiOutputRegressor(Ridge()), True),
        (MultiOutputRegressor(KNeighborsRegressor()), False),
        (RANSACRegressor(make_pipeline(StandardScaler(), Ridge())), False),
        (CalibratedClassifierCV(GaussianNB()), True),
        (CalibratedClassifierCV(KNeighborsClassifier()), False),
        (BaggingRegressor(KNeighborsRegressor()), True),
    ],
)
def test_weights_are_taken_where_the_learner_takes_them(estimator, takes):
    assert takes_weights(estimator) == takes


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        (LassoCV(), False),
        (HuberRegressor(), False),
        (LinearSVR(), False),
        (LogisticRegression(), False),
        (DummyClassifier(), False),
        (make_pipeline(StandardScaler(), RidgeCV()), False),
        (RANSACRegressor(), False),
        (RANSACRegressor(DecisionTreeRegressor()), True),
        (SVR(), True),
        (MLPRegressor(), True),
        (make_pipeline(StandardScaler(), KNeighborsRegressor()), True),
    ],
)
def test_linear_models_do_not_memorise(estimator, expected):
    assert memorises(estimator) == expected
