"""Every mixture survives skops, which stores no code and takes only types it was told to trust."""

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import Lasso, LogisticRegression, PoissonRegressor, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mixexp import CascadeClassifier, CascadeRegressor
from mixexp import MixtureOfExpertsClassifier as Classifier
from mixexp import MixtureOfExpertsRegressor as Regressor
from mixexp.experts import ExpertPool
from mixexp.gates import ConstantGate, GaussianGate, HierarchicalGate, NestedGate, SoftmaxGate
from mixexp.routing import ExpertChoice, Switch, TopK

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

#: Runs that find something to save, and no more.
RUN = {"n_init": 1, "max_iter": 20, "tol": 1e-2, "random_state": 0}


def tree(**params):
    return HierarchicalGate((2, 2), **params)


def uneven():
    return NestedGate([(0,), (1, 0), (1, 1)], {(): None, (1,): ConstantGate()})


MIXTURES = {
    "softmax": Regressor(n_experts=2, **RUN),
    "constant": Regressor(n_experts=2, gate=ConstantGate(), **RUN),
    "gaussian": Regressor(n_experts=2, gate=GaussianGate(), **RUN),
    "classifier as gate": Regressor(n_experts=2, gate=LogisticRegression(), **RUN),
    "L1": Regressor(Lasso(0.1), n_experts=2, gate=SoftmaxGate(l1_ratio=1.0), **RUN),
    "usage prior": Regressor(n_experts=2, gate=SoftmaxGate(usage_prior=2.0), **RUN),
    "noise": Regressor(n_experts=2, noise_expert=True, **RUN),
    "one level": Regressor(n_experts=2, gate=HierarchicalGate((2,)), **RUN),
    "tree": Regressor(n_experts=4, gate=tree(), **RUN),
    "tree, usage prior": Regressor(n_experts=4, gate=tree(usage_prior=2.0), **RUN),
    "tree, noise": Regressor(n_experts=4, gate=tree(), noise_expert=True, **RUN),
    "tree of classes": Classifier(n_experts=4, gate=tree(), **RUN),
    "uneven tree": Regressor(n_experts=3, gate=uneven(), **RUN),
    "nested": Regressor(Regressor(n_experts=2), n_experts=2, **RUN),
    "nested, noise": Regressor(Regressor(n_experts=2), n_experts=2, noise_expert=True, **RUN),
    "nested classes": Classifier(Classifier(n_experts=2), n_experts=2, **RUN),
    "nested twice": Regressor(
        [("deep", Regressor(Regressor(n_experts=2), n_experts=2)), ("flat", Regressor())],
        n_experts=2,
        **RUN,
    ),
    "tree in a mixture": Regressor(Regressor(n_experts=4, gate=tree()), n_experts=2, **RUN),
    "ridge": Regressor(Ridge(), n_experts=2, **RUN),
    "pool": Regressor(ExpertPool([Ridge(), Ridge(10.0)]), n_experts=2, **RUN),
    "top 2": Regressor(n_experts=3, routing=TopK(2, balance="bias"), **RUN),
    "top 2 of a tree": Regressor(n_experts=4, gate=tree(), routing=TopK(2), **RUN),
    "rest to mean": Regressor(n_experts=2, routing=TopK(1, False, fallback="mean"), **RUN),
    "expert choice": Regressor(Ridge(), n_experts=2, routing=ExpertChoice(), **RUN),
    "switch of classes": Classifier(n_experts=2, routing=Switch(), **RUN),
    "shared": Regressor(n_experts=2, shared_expert=Ridge(), **RUN),
    "shared, in turn": Regressor(
        make_pipeline(StandardScaler(), Ridge()), n_experts=2, shared_expert=Ridge(), **RUN
    ),
    "shared component": Classifier(n_experts=2, shared_expert=LogisticRegression(), **RUN),
    "bases": Regressor(n_experts=2, gate_basis="quantile", expert_basis="spline", **RUN),
    "bases of classes": Classifier(
        n_experts=2, gate_basis="spline", expert_basis="quantile", **RUN
    ),
    "student": Regressor(n_experts=2, family="student_t", **RUN),
    "zeros": Regressor(n_experts=2, family="negative_binomial", zero_expert=True, **RUN),
    "binomial": Regressor(n_experts=2, family="binomial", **RUN),
}


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


@pytest.mark.parametrize("name", MIXTURES)
def test_a_fitted_mixture_comes_back(skops, data, name):
    X, y = data
    model = clone(MIXTURES[name])
    y = np.array(["ash", "oak"])[(y > 0.5).astype(int)] if hasattr(model, "predict_proba") else y
    if getattr(model, "family", None) in ("negative_binomial", "binomial"):
        y = (y > 0.5).astype(float)
    again, types = through(skops, model.fit(X, y))
    if getattr(model, "family", None) == "negative_binomial":  # its experts are scikit-learn's
        types = set(types) - set(through(skops, PoissonRegressor().fit(X, y))[1])
    assert all(own.startswith("mixexp.") for own in types), types
    assert repr(again) == repr(model)
    assert_array_equal(again.predict(X), model.predict(X))
    assert_array_equal(again.gate_proba(X), model.gate_proba(X))
    assert_array_equal(again.route(X), model.route(X))
    assert_array_equal(again.responsibilities(X, y), model.responsibilities(X, y))
    assert_array_equal(again.log_density(X, y), model.log_density(X, y))
    if hasattr(model.gate_, "to_text"):
        assert again.gate_.to_text() == model.gate_.to_text()


def test_unfitted_in_a_pipeline_and_a_search(skops, data):
    X, y = data
    pipeline = make_pipeline(StandardScaler(), MIXTURES["uneven tree"])
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
