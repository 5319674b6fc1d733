"""Searches, pipelines, trees and cascades through skops; `test_persistence.py` has the rest."""

import copy
import pickle

import numpy as np
import pytest
from _configurations import CONFIGURATIONS, uneven
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mixexp import CascadeClassifier, CascadeRegressor
from mixexp import MixtureOfExpertsClassifier as Classifier
from mixexp import MixtureOfExpertsRegressor as Regressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RUN = {"n_init": 1, "max_iter": 20, "tol": 1e-2, "random_state": 0}


@pytest.fixture(scope="module")
def skops():
    pytest.importorskip("skops")
    import skops.io

    return skops.io


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (160, 2))
    return X, np.abs(X[:, 0]) + X[:, 1] + 0.1 * rng.normal(size=160)


def through(skops, estimator):
    """Return an estimator that was saved and loaded, and the types that had to be trusted."""
    saved = skops.dumps(estimator)
    types = skops.get_untrusted_types(data=saved)
    return skops.loads(saved, trusted=types), types


def test_unfitted_in_a_pipeline_and_a_search(skops, data):
    X, y = data
    pipeline = make_pipeline(StandardScaler(), CONFIGURATIONS["uneven tree"].estimator)
    again, _ = through(skops, pipeline)
    assert again[-1].gate.gates.keys() == {(), (1,)}
    assert repr(again) == repr(pipeline)
    grid = {"mixtureofexpertsregressor__gate__paths": [uneven().paths]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(X, y)
    again, _ = through(skops, search)
    assert_array_equal(again.predict(X), search.predict(X))
    assert_array_equal(again.fit(X, y).predict(X), search.predict(X))  # it can be fitted again


def test_copies_of_a_tree_have_dicts_by_path_of_their_own(data):
    gate = Regressor(n_experts=3, gate=uneven(), **RUN).fit(*data).gate_
    for other in (copy.copy(gate), copy.deepcopy(gate), pickle.loads(pickle.dumps(gate))):
        assert list(other.nodes_) == list(gate.nodes_)
        assert list(other.gates) == list(gate.gates)
        assert other.paths_ == gate.paths_
        assert vars(other).keys() == vars(gate).keys() - {"_known_plan"}
        other.nodes_.clear()
        assert len(gate.nodes_) == 2


@pytest.mark.parametrize(
    "cascade",
    [
        CascadeClassifier(
            LogisticRegression(), Classifier(n_experts=2, **RUN), max_disagreement=0.3, cv=2
        ),
        CascadeRegressor(
            Ridge(), Regressor(n_experts=2, **RUN), max_disagreement=0.3, tolerance=0.5, cv=2
        ),
    ],
    ids=["classes", "numbers"],
)
def test_a_cascade_comes_back(skops, data, cascade):
    X, y = data
    y = (y > 0.5).astype(int) if hasattr(cascade, "predict_proba") else y
    fitted = clone(cascade).set_params(random_state=0).fit(X, y)
    again, types = through(skops, fitted)
    trees = "sklearn.tree._tree.Tree"  # of the model of differences
    assert all(own.startswith("mixexp.") or own == trees for own in types), types
    answers, accepted = again.predict(X, return_accepted=True)
    assert accepted.any()
    assert_array_equal(answers, fitted.predict(X))
