"""Mixtures of mixtures are used like any other; what an inner mixture cannot be."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from _nested import PAIR, four_lines, nested
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.families import Gaussian
from mixexp.gates import EstimatorGate, GaussianGate, HierarchicalGate, SoftmaxGate

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def data(rng):
    return four_lines(rng)


# ---------------------------------------------------------------- distribution


def test_distribution(data):
    X, y, _ = data
    model = nested(noise_expert=True).fit(X, y)
    found = model.predict_distribution(X)
    assert_allclose(found.mean(), model.predict(X), atol=1e-10)
    gate, mean, second = model.route(X), 0.0, 0.0
    for k, expert in enumerate(model.experts_):
        own = expert.gate_proba(X), expert.predict_experts(X)
        mean = mean + gate[:, k] * np.sum(own[0] * own[1], axis=1)
        second = second + gate[:, k] * np.sum(
            own[0] * (own[1] ** 2 + expert.dispersions_**2), axis=1
        )
    assert_allclose(found.variance(), second - mean**2, rtol=1e-8)
    drawn = model.sample_y(X[:3], 4000, random_state=0)
    assert drawn.shape == (3, 4000)
    error = np.sqrt(found.variance()[:3] / 4000)
    assert np.all(np.abs(drawn.mean(axis=1) - found.mean()[:3]) < 5 * error)


# ---------------------------------------------------------------- a scikit-learn citizen


def test_pickle_and_clone(data):
    X, y, _ = data
    model = nested(noise_expert=True).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    for method in ("predict", "gate_proba", "predict_experts", "route"):
        assert_array_equal(getattr(again, method)(X), getattr(model, method)(X))
    assert_array_equal(again.log_density(X, y), model.log_density(X, y))
    assert_array_equal(again.experts_[1].gate_proba(X), model.experts_[1].gate_proba(X))
    copy = clone(model)
    assert not hasattr(copy, "experts_") and not hasattr(copy, "_model")
    assert_array_equal(copy.fit(X, y).predict(X), model.predict(X))
    with pytest.raises(NotFittedError):
        clone(model).predict(X)


def test_families_that_are_objects(data):
    X, y, _ = data
    shared = Gaussian(shared=True)
    inner = MixtureOfExpertsRegressor(n_experts=2, family=shared)
    model = clone(nested(inner, family=shared)).fit(X, y)  # a copy has two families
    assert len({d for expert in model.experts_ for d in expert.dispersions_}) == 1
    with pytest.raises(ValueError, match=r"inner .* has family=Gaussian\(\)"):
        nested(inner.set_params(family=Gaussian()), family=shared).fit(X, y)


def test_grid_search(data):
    X, y, _ = data
    grid = {"expert__n_experts": [1, 2], "expert__gate__alpha": [0.1, 3.0]}
    model = nested(MixtureOfExpertsRegressor(n_experts=2, gate=SoftmaxGate()), max_iter=4)
    search = GridSearchCV(model, grid, cv=2, error_score="raise").fit(X, y)
    best = search.best_estimator_
    assert len(best.experts_[0].experts_) == search.best_params_["expert__n_experts"]
    named = nested([("a", clone(PAIR)), ("b", clone(PAIR))], max_iter=3)
    search = GridSearchCV(named, {"expert__a__n_experts": [1, 3]}, cv=2, error_score="raise")
    search.fit(X, y)
    assert len(search.best_estimator_.experts_[1].experts_) == 2


def test_frames_and_trees(data):
    X, y, _ = data
    frame = pd.DataFrame(X, columns=["a", "b"])
    inner = MixtureOfExpertsRegressor(DecisionTreeRegressor(max_depth=2), n_experts=2)
    model = nested(inner, max_iter=3)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="X ")
        model.fit(frame, y)
        for k, expert in enumerate(model.experts_):
            assert list(expert.feature_names_in_) == ["a", "b"]
            assert_allclose(expert.predict(frame), model.predict_experts(frame)[:, k], atol=1e-12)
            assert list(expert.experts_[0].feature_names_in_) == ["a", "b"]
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[["b", "a"]])


def test_sparse(data):
    X, y, _ = data
    dense, model = nested().fit(X, y), nested().fit(sp.csr_matrix(X), y)
    assert_allclose(model.predict(sp.csr_matrix(X)), dense.predict(X), atol=1e-8)
    assert_allclose(model.experts_[0].predict(sp.csr_matrix(X)), dense.experts_[0].predict(X))


def test_missing_values(data):
    X, y, _ = data
    tree = MixtureOfExpertsRegressor(DecisionTreeRegressor(max_depth=3), n_experts=2)
    holes = X.copy()
    holes[::7, 0] = np.nan
    model = nested(tree, max_iter=3).fit(holes, y)
    assert np.all(np.isfinite(model.predict(holes)))
    assert np.all(np.isfinite(model.experts_[0].predict(holes)))
    assert model.__sklearn_tags__().input_tags.allow_nan
    with pytest.raises(ValueError, match=r"NaN.*linear experts cannot take missing"):
        nested().fit(holes, y)


@pytest.mark.parametrize("expert", [None, DecisionTreeRegressor(max_depth=2, random_state=0)])
def test_jobs_change_nothing(data, expert):
    X, y, _ = data
    inner = MixtureOfExpertsRegressor(expert, n_experts=2)
    one, two = (nested(inner, max_iter=3, n_jobs=jobs).fit(X, y) for jobs in (None, 2))
    assert_array_equal(one.predict(X), two.predict(X))
    assert_array_equal(one.lower_bounds_, two.lower_bounds_)


# ---------------------------------------------------------------- errors


def inner(**options):
    return MixtureOfExpertsRegressor(**{"n_experts": 2, **options})


ERRORS = {
    "noise": (inner(noise_expert=True), {}, r"inner .* has noise_expert=True.*outer mixture"),
    "family": (inner(family="laplace"), {}, r"inner .* has family='laplace'.*outer mixture"),
    "family of the outer": (inner(), {"family": "student_t"}, r"has family='gaussian'"),
    "gate features": (inner(gate_features=[0]), {}, r"inner .* has gate_features=\[0\]"),
    "array": (inner(gate_features=np.array([0, 1])), {}, r"inner .* has gate_features=array"),
    "of each": (inner(), {"gate_features": [[0], [1]]}, r"gate_features gives columns to each .*"),
    "classifier": (inner(gate=LogisticRegression()), {}, r"gate LogisticRegression .*mixexp.gates"),
    "outer classifier": (inner(), {"gate": DecisionTreeClassifier()}, r"gate DecisionTreeClass"),
    "estimator gate": (inner(gate=EstimatorGate(LogisticRegression())), {}, r"gate EstimatorGate"),
    "columns": (inner(), {"expert_features": [0]}, r"expert_features=\[0\].*Set .* inner mixture"),
    "selections": (inner(expert_features=[[0]] * 3), {}, r"inner mixture has 3 selections.*=2"),
    "list": (inner(expert=[("a", Ridge())]), {}, r"a list of 1 experts, and n_experts=2"),
    "mixed": ([("a", inner()), ("b", Ridge())], {}, r"some inner experts are None.*Ridge\(\)"),
    "none": (inner(n_experts=0), {}, r"'n_experts' parameter of MixtureOfExpertsRegressor"),
    "auto": (inner(n_experts="auto"), {}, r"inner .* has n_experts='auto'.*as an integer"),
    "gate": (inner(gate=SoftmaxGate(-1.0)), {}, r"SoftmaxGate: alpha must be a number"),
    "branching": (inner(gate=HierarchicalGate()), {}, r"branching=\(2, 2\) has 4 leaves"),
    "nowhere": (inner(gate="softmax"), {}, r"'gate' parameter of MixtureOfExpertsRegressor"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_what_an_inner_mixture_cannot_be(data, name):
    X, y, _ = data
    expert, options, message = ERRORS[name]
    model = nested(expert, **options)
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)
    assert not hasattr(model, "experts_") and not hasattr(model, "_model")


def test_wrong_kinds(data):
    X, y, quadrant = data
    with pytest.raises(TypeError, match="expert must be a regressor"):
        nested(MixtureOfExpertsClassifier(n_experts=2)).fit(X, y)
    with pytest.raises(TypeError, match="expert must be a classifier"):
        nested(kind=MixtureOfExpertsClassifier).fit(X, quadrant)
    with pytest.raises(TypeError, match="gate must be an instance"):
        nested(inner(gate=SoftmaxGate)).fit(X, y)
    with pytest.raises(ValueError, match=r"has class_weight='balanced'.*outer"):
        nested(
            MixtureOfExpertsClassifier(n_experts=2, class_weight="balanced"),
            kind=MixtureOfExpertsClassifier,
        ).fit(X, quadrant)


def test_labels(data):
    X, y, quadrant = data
    with pytest.raises(
        ValueError, match=r"expert_labels, and an expert is a mixture.*Hierarchical"
    ):
        nested().fit(X, y, expert_labels=quadrant)
    plain, nothing = nested().fit(X, y), nested().fit(X, y, expert_labels=np.full(300, -1))
    assert_array_equal(nothing.predict(X), plain.predict(X))


@pytest.mark.parametrize(
    "setting", [{"assignment": "hard"}, {"cross_fit": True}, {"on_collapse": "drop"}], ids=str
)
def test_settings_of_the_one_em_are_those_of_the_outer_mixture(data, setting):
    X, y, _ = data
    (name,) = setting
    inner = MixtureOfExpertsRegressor(Ridge(), n_experts=2, **setting)
    with pytest.raises(ValueError, match=f"has {name}="):
        MixtureOfExpertsRegressor(inner, n_experts=2).fit(X, y)
    both = MixtureOfExpertsRegressor(inner, n_experts=2, n_init=1, max_iter=3, **setting)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert both.fit(X, y).n_iter_ <= 3


def test_a_gate_that_is_a_model_of_all_rows_stands_at_the_root_only(data):
    X, y, _ = data
    inner = MixtureOfExpertsRegressor(n_experts=2, gate=GaussianGate())
    with pytest.raises(ValueError, match=r"GaussianGate at node \(0,\)"):
        nested(inner).fit(X, y)
    model = nested(gate=GaussianGate(), max_iter=5).fit(X, y)
    assert hasattr(model.gate_, "means_")
    assert np.all(np.diff(model.lower_bounds_) > -1e-9)
