"""Fitting again, copies, pickles, searches and routing of metadata."""

import pickle

import numpy as np
import pytest
import sklearn
from _two_regimes import (
    CLASSIFIERS,
    FRAMES,
    REGRESSORS,
    assert_same_fit,
    data_for,
    outputs_of,
    two_boundaries,
    two_lines,
)
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.gates import SoftmaxGate

# Whether a fit converges is the matter of a few tests, which look for it; most compare two fits.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_pickle(fitted):
    model, X, y = fitted
    again = pickle.loads(pickle.dumps(model))
    for a, b in zip(outputs_of(model, X), outputs_of(again, X), strict=True):
        assert_array_equal(a, b)
    assert_array_equal(again.responsibilities(X, y), model.responsibilities(X, y))
    assert len(pickle.dumps(model)) < 40_000  # no training rows inside


def test_a_pickle_of_another_version_warns():
    X, y = two_lines()
    model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    model._mixexp_version = "0.0.0"
    with pytest.warns(UserWarning, match="was saved by mixexp 0.0.0"):
        again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.predict(X), model.predict(X))


def test_a_second_fit_is_a_first_fit(default):
    """Nothing of an earlier fit is left, whatever has changed."""
    X, y = data_for(default)
    frame = FRAMES["pandas"](X)
    default.set_params(max_iter=5000)
    twice = clone(default).set_params(n_experts=3).fit(frame, y)
    twice.set_params(n_experts=2).fit(X[:, :2], y)
    once = clone(default).fit(X[:, :2], y)
    assert_same_fit(once, twice, X[:, :2], rtol=0, atol=0)
    assert sorted(vars(once)) == sorted(vars(twice))
    assert len(twice.experts_) == len(twice.usage_) == twice.gate_.coef_.shape[0] == 2


def test_classes_follow_the_last_fit():
    X, y = two_boundaries(n_classes=3)
    model = MixtureOfExpertsClassifier(n_experts=2, random_state=0, n_init=2).fit(X, y)
    keep = y > 0
    model.fit(X[keep], y[keep])
    assert_array_equal(model.classes_, [1, 2])
    assert model.predict_proba(X).shape == (len(y), 2)
    weight = (y > 0).astype(float)
    weighted = clone(model).fit(X, y, sample_weight=weight)
    assert_array_equal(weighted.classes_, [1, 2])  # a class without weight is not there
    assert_same_fit(model, weighted, X)


def test_nothing_is_set_by_init_and_parameters_nest():
    gate, expert = SoftmaxGate(), Ridge()
    model = MixtureOfExpertsRegressor(expert, gate=gate)
    assert model.gate is gate and model.expert is expert
    model.set_params(gate__alpha=3.0, expert__alpha=2.0)
    assert gate.alpha == 3.0 and expert.alpha == 2.0
    copy = clone(model)
    assert copy.gate is not gate and copy.gate.alpha == 3.0
    X, y = two_lines()
    model.fit(X, y)
    assert not hasattr(gate, "theta")
    with pytest.raises(NotFittedError):
        copy.predict(X)
    with pytest.raises(ValueError, match="Invalid parameter"):
        model.set_params(gate__beta=1)


@pytest.mark.parametrize("kind", ["regressor", "classifier"])
def test_grid_search_in_a_pipeline(kind):
    if kind == "regressor":
        (X, y), model = two_lines(), MixtureOfExpertsRegressor(Ridge(), n_init=2, random_state=0)
        strength = {"alpha": [1e-2, 1e4]}
    else:
        X, y = two_boundaries()
        model = MixtureOfExpertsClassifier(LogisticRegression(), n_init=2, random_state=0)
        strength = {"C": [1e-6, 1.0]}
    name = type(model).__name__.lower()
    grid = {f"{name}__expert__{key}": values for key, values in strength.items()}
    grid |= {f"{name}__n_experts": [1, 2], f"{name}__gate__alpha": [0.1, 1e5]}
    model.set_params(gate=SoftmaxGate(), max_iter=40)
    search = GridSearchCV(make_pipeline(StandardScaler(), model), grid, cv=3, error_score="raise")
    search.fit(X, y)
    best = search.best_params_
    assert best[f"{name}__n_experts"] == 2
    assert best[f"{name}__gate__alpha"] == 0.1
    assert best[f"{name}__expert__{next(iter(strength))}"] != 1e4
    assert (
        search.best_score_
        > cross_val_score(
            clone(search.estimator).set_params(**{f"{name}__n_experts": 1}), X, y, cv=3
        ).mean()
    )


def test_metadata_routing(default):
    X, y = data_for(default)
    weight = np.linspace(0, 2, len(y))
    wanted = clone(default).fit(X, y, sample_weight=weight)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = make_pipeline("passthrough", clone(default).set_fit_request(sample_weight=True))
        routed.fit(X, y, sample_weight=weight)
        assert_same_fit(wanted, routed[-1], X, rtol=0, atol=0)


@pytest.mark.parametrize("models", [REGRESSORS, CLASSIFIERS], ids=["regressor", "classifier"])
def test_pipeline_experts_do_not_depend_on_metadata_routing(models):
    model = models["pipeline"]
    X, y = data_for(model)
    weight = np.linspace(0, 2, len(y))
    wanted = clone(model).fit(X, y, sample_weight=weight)
    with sklearn.config_context(enable_metadata_routing=True):
        assert_same_fit(wanted, clone(model).fit(X, y, sample_weight=weight), X, rtol=0, atol=0)
