"""Any classifier as a gate."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier, StackingClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import BernoulliNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, RadiusNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.gates import EstimatorGate
from mixexp.protocols import Rows


@pytest.fixture
def box(rng):
    """Return X, y of two lines, one of them inside a box: no linear gate can tell."""
    X = rng.uniform(-2, 2, (500, 2))
    inside = np.max(np.abs(X), axis=1) < 1.2
    y = np.where(inside, 5 + X[:, 0], -3 * X[:, 1]) + 0.2 * rng.standard_normal(500)
    return X, y, inside


def quiet(model, *data, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(*data, **options)


def started(estimator, rows, k, n_folds=0):
    return EstimatorGate(estimator).start(rows, k, None).with_fitting(n_folds, 0, None, "Mixture")


def all_log_prob(gate, rows):
    return np.concatenate([gate.log_prob(block) for block in rows.blocks()], axis=1)


@pytest.mark.parametrize(
    "estimator",
    [GaussianNB(), MultinomialNB(alpha=0.5), BernoulliNB(binarize=1.0), ComplementNB()],
    ids=lambda estimator: type(estimator).__name__,
)
@pytest.mark.parametrize("n_folds", [0, 3])
def test_naive_bayes_is_that_of_replicated_rows_without_copies(rng, estimator, n_folds):
    X, weight = rng.exponential(size=(90, 3)), rng.exponential(size=90)
    rows = Rows(X, None, weight, training=True)
    resp = rng.dirichlet(np.ones(3), 90).T * weight
    resp[1] = 0.0  # an expert without rows
    gate = started(estimator, rows, 3, n_folds)
    seen = []
    take = rows.take
    rows.take = lambda *ids: seen.append(take(*ids)) or seen[-1]
    gate = gate.update([resp], rows).finished(rows)
    assert max(len(X) for X in seen) == 90
    assert any(np.shares_memory(own, X) for own in seen)
    labels, ids = np.nonzero(resp)
    alone = clone(estimator).fit(X[ids], labels, sample_weight=resp[labels, ids])
    assert_allclose(gate.estimator_.predict_proba(X), alone.predict_proba(X), rtol=1e-6)
    assert_array_equal(gate.estimator_.classes_, [0, 2])
    assert_allclose(np.exp(all_log_prob(gate.trimmed(), Rows(X))).sum(axis=0), 1.0)


@pytest.mark.parametrize("n_folds", [0, 4])
def test_soft_labels_are_weighted_replication(rng, n_folds):
    X, y = rng.standard_normal((150, 2)), rng.standard_normal((1, 150))
    weight = rng.exponential(size=150)
    rows = Rows(X, y, weight, training=True)
    resp = rng.dirichlet(np.ones(3), 150).T * weight
    estimator = LogisticRegression(C=2.0, tol=1e-8)
    gate = started(estimator, rows, 3, n_folds).update([resp[:, :64], resp[:, 64:]], rows)
    alone = clone(estimator).fit(
        np.tile(X, (3, 1)), np.repeat(np.arange(3), 150), sample_weight=resp.ravel()
    )
    final = gate.finished(rows).trimmed()
    new = Rows(X[:20])
    assert_allclose(np.exp(all_log_prob(final, new)).T, alone.predict_proba(X[:20]), atol=1e-4)
    training = np.exp(all_log_prob(gate, rows)).T
    assert_allclose(training.sum(axis=1), 1.0, atol=1e-12)
    if n_folds == 0:
        assert_allclose(training, alone.predict_proba(X), atol=1e-4)
        assert not gate.cross_fitted
    else:
        assert gate.cross_fitted
        held_out = gate._folds == 1
        ids = np.tile(~held_out, 3)
        one = clone(estimator).fit(
            np.tile(X, (3, 1))[ids],
            np.repeat(np.arange(3), 150)[ids],
            sample_weight=resp.ravel()[ids],
        )
        assert_allclose(training[held_out], one.predict_proba(X[held_out]), atol=1e-4)


@pytest.mark.parametrize(
    "classifier",
    [
        DecisionTreeClassifier(min_samples_leaf=10),
        RandomForestClassifier(20, min_samples_leaf=5),
        KNeighborsClassifier(15),
        MLPClassifier(hidden_layer_sizes=(12,), max_iter=30, learning_rate_init=0.02),
    ],
    ids=lambda e: type(e).__name__,
)
def test_flexible_gates_find_regions_that_a_line_cannot(box, classifier):
    X, y, inside = box
    plain = quiet(MixtureOfExpertsRegressor(n_experts=2, random_state=0), X, y)
    model = MixtureOfExpertsRegressor(n_experts=2, gate=classifier, random_state=0, max_iter=10)
    quiet(model, X, y)
    assert model.cross_fitted_
    gate = model.gate_proba(X)
    assert_allclose(gate.sum(axis=1), 1.0, atol=1e-12)
    found = gate.argmax(axis=1) == inside
    assert max(found.mean(), 1 - found.mean()) > 0.9
    assert model.score(X, y) > plain.score(X, y) + 0.05
    assert isinstance(model.gate_, EstimatorGate)
    assert hasattr(model.gate_.estimator_, "classes_")
    assert not hasattr(classifier, "classes_")


@pytest.mark.slow
def test_with_estimator_experts_classes_noise_and_groups(box):
    X, y, _ = box
    tree = DecisionTreeClassifier(max_depth=3)
    for options in ({}, {"noise_expert": True}, {"assignment": "hard"}):
        model = MixtureOfExpertsRegressor(
            DecisionTreeRegressor(max_depth=3), 2, gate=tree, max_iter=4, random_state=0, **options
        )
        quiet(model, X, y)
        assert model.gate_proba(X).shape == (500, 3 if "noise_expert" in options else 2)
    labels = MixtureOfExpertsClassifier(n_experts=2, gate=tree, max_iter=4, random_state=0)
    assert quiet(labels, X, y > 2).score(X, y > 2) > 0.9
    groups = np.repeat(np.arange(125), 4)
    X = X.copy()
    X[:, 0] = X[::4, 0].repeat(4)
    quiet(
        MixtureOfExpertsRegressor(
            Ridge(), 2, gate=tree, gate_features=[0], max_iter=4, random_state=0
        ),
        X,
        y,
        groups=groups,
    )


def test_weights_and_order_do_not_matter(box, rng):
    X, y, _ = box
    weight = rng.integers(0, 3, 500)
    repeated = rng.permutation(np.repeat(np.arange(500), weight))
    tree = DecisionTreeClassifier(min_weight_fraction_leaf=0.05)
    options = {"n_experts": 2, "gate": tree, "max_iter": 6, "random_state": 0}
    one = quiet(MixtureOfExpertsRegressor(**options), X, y, sample_weight=weight)
    two = quiet(MixtureOfExpertsRegressor(**options), X[repeated], y[repeated])
    assert_array_equal(one.gate_proba(X), two.gate_proba(X))


def test_an_error_of_predict_names_the_gate(box):
    X, y, _ = box
    gate = RadiusNeighborsClassifier(radius=1e-3)
    with pytest.raises(ValueError, match=r"gate's RadiusNeighborsClassifier failed at EM iterat"):
        MixtureOfExpertsRegressor(n_experts=2, gate=gate, random_state=0).fit(X, y)


def test_nested_parameters(box):
    model = MixtureOfExpertsRegressor(gate=DecisionTreeClassifier())
    assert model.set_params(gate__max_depth=3).gate.max_depth == 3
    model = MixtureOfExpertsRegressor(gate=EstimatorGate(DecisionTreeClassifier()))
    assert model.set_params(gate__estimator__max_depth=3).gate.estimator.max_depth == 3


def test_one_region_is_a_constant(rng):
    X = rng.standard_normal((40, 2))
    rows = Rows(X, rng.standard_normal((1, 40)), training=True)
    resp = np.array([np.ones(40), np.zeros(40)])
    gate = started(DecisionTreeClassifier(), rows, 2).update([resp], rows).finished(rows)
    assert isinstance(gate.estimator_, DummyClassifier)
    proba = np.exp(all_log_prob(gate.trimmed(), Rows(X[:3])))
    assert_allclose(proba[0], 1.0, atol=1e-6)
    assert np.all(proba > 0)


class Renumbering(DummyClassifier):
    """A classifier that gives labels other than those that it was fitted to."""

    def fit(self, X, y, sample_weight=None):
        return super().fit(X, np.asarray(y) + 5, sample_weight)


def test_a_gate_has_to_keep_the_labels(box):
    X, y, _ = box
    message = r"the gate's Renumbering failed .* its classes_ \[5, 6\] are not .* labels 0 to 1"
    with pytest.raises(ValueError, match=message):
        MixtureOfExpertsRegressor(n_experts=2, gate=Renumbering()).fit(X, y)


def test_wrong_gates(box):
    X, y, _ = box
    for gate, message in [
        (
            LinearSVC(),
            "MixtureOfExpertsRegressor: gate .* a classifier with predict_proba, got LinearSVC. "
            "Wrap it in sklearn.calibration.CalibratedClassifierCV",
        ),
        (Ridge(), "a classifier with predict_proba, got Ridge"),
        (EstimatorGate(LinearSVC()), "must be a classifier with predict_proba"),
    ]:
        with pytest.raises(TypeError, match=message):
            MixtureOfExpertsRegressor(gate=gate).fit(X, y)
    with pytest.raises(ValueError, match="one set of columns for all experts"):
        MixtureOfExpertsRegressor(
            n_experts=2, gate=DecisionTreeClassifier(), gate_features=[[0], [1]]
        ).fit(X, y)

    class Bad(DecisionTreeClassifier):
        def fit(self, X, y, sample_weight=None):
            raise RuntimeError("no")

    with pytest.raises(
        ValueError, match=r"the gate's Bad failed at EM iteration 0.*of 500 rows: no"
    ):
        MixtureOfExpertsRegressor(n_experts=2, gate=Bad()).fit(X, y)


def test_a_stacking_that_has_no_final_estimator_yet_may_be_the_gate(rng):
    X = rng.standard_normal((60, 2))
    y = np.where(X[:, 0] > 0, X[:, 1], 1 - X[:, 1])
    gate = StackingClassifier([("logistic", LogisticRegression())], cv=2)
    model = MixtureOfExpertsRegressor(n_experts=2, gate=gate, init=(X[:, 0] > 0).astype(int))
    assert model.fit(X, y).score(X, y) > 0.5
