"""A mixture inside a Pipeline or a search is asked about the rows that reach it."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, PolynomialFeatures, StandardScaler

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.inspection import unwrap


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = 1000 + 10 * rng.normal(size=(120, 2))
    return X, np.abs(X[:, 0] - 1000) + 0.1 * rng.normal(size=120)


def mixture():
    return MixtureOfExpertsRegressor(n_experts=2, n_init=1, tol=1e-3, random_state=0)


def wrapped():
    """Return a Pipeline of several steps."""
    steps = StandardScaler(), PolynomialFeatures(2, include_bias=False), mixture()
    return make_pipeline(*steps)


GRID = {"mixtureofexpertsregressor__n_init": [1]}

WRAPPINGS = {
    "bare": mixture(),
    "one step": make_pipeline(mixture()),
    "pipeline": wrapped(),
    "passthrough": Pipeline([("none", "passthrough"), ("mixture", mixture())]),
    "pipeline in a pipeline": make_pipeline(StandardScaler(), wrapped()),
    "search of a pipeline": GridSearchCV(wrapped(), GRID, cv=2),
    "pipeline of a search": make_pipeline(
        StandardScaler(), GridSearchCV(mixture(), {"n_init": [1]}, cv=2)
    ),
}


@pytest.mark.parametrize("name", WRAPPINGS)
def test_the_mixture_agrees_with_what_is_around_it(name, data):
    X, y = data
    model = clone(WRAPPINGS[name]).fit(X, y)
    inner, X_inside = unwrap(model, X)
    assert isinstance(inner, MixtureOfExpertsRegressor)
    assert_array_equal(inner.predict(X_inside), model.predict(X))
    assert inner.score(X_inside, y) == model.score(X, y)
    assert_allclose(inner.gate_proba(X_inside).mean(axis=0), inner.usage_, rtol=1e-6)


def test_the_rows_that_reach_it_are_not_those_of_the_pipeline(data):
    X, y = data
    inner, X_inside = unwrap(wrapped().fit(X, y), X)
    assert X_inside.shape == (120, 5)
    scaled = make_pipeline(StandardScaler(), mixture()).fit(X, y)
    inner, X_inside = unwrap(scaled, X)
    assert_array_equal(X_inside, scaled[:-1].transform(X))
    wrong = inner.gate_proba(X)  # of no row that was fitted, and nothing can tell
    assert not np.allclose(wrong, inner.gate_proba(X_inside), atol=0.1)


def test_frames_stay_frames_where_steps_keep_them(data):
    X, y = data
    frame = pd.DataFrame(X, columns=["a", "b"])
    steps = StandardScaler().set_output(transform="pandas"), mixture()
    inner, X_inside = unwrap(make_pipeline(*steps).fit(frame, y), frame)
    assert list(X_inside.columns) == list(inner.feature_names_in_) == ["a", "b"]
    assert unwrap(mixture().fit(frame, y), frame)[1] is frame


def test_classes(data):
    X, y = data
    model = MixtureOfExpertsClassifier(n_experts=2, n_init=1, max_iter=200, tol=1e-2)
    pipeline = make_pipeline(StandardScaler(), model).fit(X, np.where(y > 7, "far", "near"))
    inner, X_inside = unwrap(pipeline, X)
    assert_array_equal(inner.predict_proba(X_inside), pipeline.predict_proba(X))


def test_nothing_to_unwrap(data):
    X, y = data
    with pytest.raises(TypeError, match=r"^unwrap: .*Ridge has no gate_proba"):
        unwrap(make_pipeline(StandardScaler(), Ridge()).fit(X, y), X)
    for model in (mixture(), wrapped(), GridSearchCV(wrapped(), GRID)):
        with pytest.raises(NotFittedError, match=r"^unwrap: .*not fitted|has no best_estimator_"):
            unwrap(model, X)


def test_errors_of_steps_are_their_own(data):
    X, y = data
    pipeline = make_pipeline(FunctionTransformer(np.log, validate=True), mixture()).fit(X, y)
    with pytest.raises(ValueError, match="FunctionTransformer is expecting 2 features"):
        unwrap(pipeline, X[:, :1])
