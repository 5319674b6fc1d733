"""Nested parameters can be set of every part that is given, and of no other."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mixexp import MixtureOfExpertsClassifier as Classifier
from mixexp import MixtureOfExpertsRegressor as Regressor
from mixexp.experts import ExpertPool
from mixexp.families import StudentT
from mixexp.gates import HierarchicalGate, SoftmaxGate

#: What cannot be set, and the words that say what to write.
REFUSED = {
    "gate": (
        Regressor(),
        {"gate__alpha": 1.0},
        r"gate__alpha .* gate=None .* gate=SoftmaxGate\(\)",
    ),
    "gate of classes": (Classifier(), {"gate__alpha": 1.0}, r"gate=SoftmaxGate\(\)"),
    "expert": (Regressor(), {"expert__alpha": 1.0}, r"expert__alpha .* expert=None .*expert=Ridge"),
    "expert of classes": (Classifier(), {"expert__C": 1.0}, r"expert=LogisticRegression\(\)"),
    "family": (
        Regressor(family="student_t"),
        {"family__df": 4.0},
        r"family__df .* family='student_t' .* family=StudentT\(\)",
    ),
    "unknown family": (Regressor(family="cauchy"), {"family__df": 4.0}, "a whole value of family"),
    "init": (Regressor(), {"init__n_init": 3}, "init__n_init .* init='mixed'"),
    "a number": (Regressor(), {"n_experts__x": 3}, "n_experts__x .* n_experts=4"),
    "gate made None": (
        Regressor(gate=SoftmaxGate()),
        {"gate": None, "gate__alpha": 1.0},
        "gate=None",
    ),
    "inside": (Regressor(Regressor()), {"expert__gate__alpha": 1.0}, r"gate=SoftmaxGate\(\)"),
    "in a list": (
        Regressor([("one", Regressor()), ("two", Ridge())], n_experts=2),
        {"expert__one__gate__alpha": 1.0},
        r"gate=SoftmaxGate\(\)",
    ),
    "of no estimator": (
        Regressor([("one", None), ("two", Ridge())], n_experts=2),
        {"expert__one__alpha": 1.0},
        "one__alpha .* one is None",
    ),
    "of no estimator in a pool": (
        ExpertPool([("one", None), ("two", Ridge())]),
        {"one__alpha": 1.0},
        "ExpertPool: one__alpha .* one is None",
    ),
    "no parameter": (Regressor(), {"gait__alpha": 1.0}, "Invalid parameter 'gait'"),
    "no parameter of the gate": (
        Regressor(gate=SoftmaxGate()),
        {"gate__alpah": 1.0},
        "Invalid parameter 'alpah'",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_what_to_write(name):
    estimator, params, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        clone(estimator).set_params(**params)


@pytest.mark.parametrize("grid", [{"gate__alpha": [0.1]}, {"expert__alpha": [0.1]}])
@pytest.mark.parametrize("error_score", ["raise", np.nan])
def test_a_search_over_defaults_says_what_to_write(grid, error_score):
    X = np.random.default_rng(0).normal(size=(60, 2))
    pipeline = make_pipeline(StandardScaler(), Regressor(n_experts=2))
    grid = {f"mixtureofexpertsregressor__{key}": value for key, value in grid.items()}
    search = GridSearchCV(pipeline, grid, cv=2, error_score=error_score)
    with pytest.raises(ValueError, match=r"=None has no parameter 'alpha'\. Give"):
        search.fit(X, X[:, 0])


def test_refusing_changes_nothing():
    model = Regressor(n_experts=2)
    before = model.get_params()
    with pytest.raises(ValueError, match="gate=None"):
        model.set_params(n_experts=3, gate__alpha=1.0)
    assert model.get_params() == before


def test_parts_that_are_given_take_them():
    model = Regressor(Ridge(), gate=SoftmaxGate(), family=StudentT())
    model.set_params(expert__alpha=5.0, gate__alpha=7.0, family__df=9.0)
    assert (model.expert.alpha, model.gate.alpha, model.family.df) == (5.0, 7.0, 9.0)
    model = Classifier().set_params(expert=LogisticRegression(), expert__C=2.0)
    assert model.expert.C == 2.0
    # the value that is given with it counts, not the one that was there
    model.set_params(gate=HierarchicalGate((2, 2)), gate__alpha=0.5)
    assert model.gate.alpha == 0.5
    model = Regressor([("one", Ridge()), ("two", Ridge())], n_experts=2)
    assert model.set_params(expert__two__alpha=3.0).expert[1][1].alpha == 3.0


@pytest.mark.parametrize("make", [Regressor, Classifier])
def test_defaults_go_round(make):
    model = make()
    assert model.set_params(**model.get_params()).get_params() == make().get_params()
    assert model.gate is None and model.expert is None
