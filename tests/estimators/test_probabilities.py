"""Probabilities: at most 1, as scikit-learn takes them, and checked where others give them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._estimators.nesting import NestedBank
from mixexp._probabilities import sound_proba
from mixexp.experts import ExpertPool
from mixexp.gates import HierarchicalGate

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Changed(ClassifierMixin, BaseEstimator):
    """A logistic regression whose probabilities are changed, from a call on."""

    def __init__(self, how="same", only_new=False):
        self.how = how
        self.only_new = only_new

    def fit(self, X, y, sample_weight=None):
        self.inner_ = LogisticRegression().fit(X, y, sample_weight)
        self.classes_ = self.inner_.classes_
        self.rows_ = np.asarray(X)
        return self

    def predict(self, X):
        return self.inner_.predict(X)

    def predict_proba(self, X):
        proba = self.inner_.predict_proba(X)
        if self.only_new and len(X) > 10:  # rows of the fit; new ones come in tens
            return proba
        return HOW[self.how](proba)


HOW = {
    "same": lambda p: p,
    "float32": lambda p: p.astype(np.float32),
    "twice": lambda p: 2 * p,
    "negative": lambda p: p * np.array([-1.0, *[1.0] * (p.shape[1] - 1)]) + 0.0,
    "nan": lambda p: np.where(p > p.max(axis=1, keepdims=True) - 1e-9, np.nan, p),
    "one column": lambda p: p[:, 0],
    "a column more": lambda p: np.c_[p, 0 * p[:, 0]],
    "a row less": lambda p: p[1:],
}

WRONG = [how for how in HOW if how not in ("same", "float32")]


def data(rng, n=80):
    X = rng.standard_normal((n, 2))
    return X, np.where(X[:, 0] > 0, X[:, 1], -X[:, 1]) + 0.2 * rng.standard_normal(n)


def mixture(where, estimator):
    common = {"n_experts": 2, "n_init": 1, "max_iter": 2, "random_state": 0}
    if where == "expert":
        return MixtureOfExpertsClassifier(estimator, cross_fit=False, **common)
    return MixtureOfExpertsRegressor(gate=estimator, cross_fit=False, **common)


NAMED = {"expert": r"expert \d \(.*Changed\)", "gate": "the gate's Changed"}


@pytest.mark.parametrize("how", WRONG)
@pytest.mark.parametrize("where", NAMED)
@pytest.mark.parametrize("when", ["fit", "predict"])
def test_wrong_probabilities_name_who_gave_them(how, where, when, rng):
    X, y = data(rng)
    y = (y > 0).astype(int) if where == "expert" else y
    model = mixture(where, Changed(how, only_new=when == "predict"))
    match = rf"(?s)MixtureOfExperts.*{NAMED[where]}.*predict_proba"
    if when == "fit":
        with pytest.raises(ValueError, match=match):
            model.fit(X, y)
        return
    model.fit(X, y)
    with pytest.raises(ValueError, match=match):
        model.predict(X[:5])


@pytest.mark.parametrize("where", NAMED)
def test_sound_probabilities_pass(where, rng):
    X, y = data(rng)
    y = (y > 0).astype(int) if where == "expert" else y
    found = [mixture(where, Changed(how)).fit(X, y).gate_proba(X) for how in ("same", "float32")]
    assert_allclose(found[1], found[0], atol=1e-3)


def test_labels_that_y_does_not_have(rng):
    class Renamed(Changed):
        def fit(self, X, y, sample_weight=None):
            super().fit(X, y, sample_weight)
            self.classes_ = np.array([5, 6])
            return self

    X, y = data(rng)
    with pytest.raises(ValueError, match=r"classes_ hold \[5, 6\].*no labels of y: \[0, 1\]"):
        mixture("expert", Renamed()).fit(X, (y > 0).astype(int))


def test_sound_proba_is_normalised(rng):
    class Given:
        classes_ = np.arange(3)

        def predict_proba(self, X):
            return self.proba

    given = Given()
    given.proba = np.float32(rng.dirichlet(np.ones(3), 50))
    given.proba[0] = [1 + 3e-6, -3e-6, 0.0]
    found = sound_proba(given, np.zeros((50, 1)))
    assert found.dtype == np.float64 and found.min() >= 0 and found.max() <= 1
    assert_allclose(found.sum(axis=1), 1.0, rtol=1e-15)
    assert_allclose(found, given.proba, atol=1e-5)


# ---------------------------------------------------------------- at most 1


def assert_probabilities(proba):
    assert proba.min() >= 0 and proba.max() <= 1
    assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_log_loss_takes_them(seed):
    rng = np.random.default_rng(seed)
    X = 3 * rng.standard_normal((1500, 3))
    y = (X[:, 0] * np.sign(X[:, 1]) + 0.1 * rng.standard_normal(1500) > 0).astype(int)
    model = MixtureOfExpertsClassifier(n_experts=4, n_init=1, max_iter=20, random_state=0)
    model.fit(X, y)
    far = 3 * X
    assert_probabilities(model.predict_proba(far))
    log_loss(y, model.predict_proba(far))
    assert model.predict_log_proba(far).max() <= 0
    assert model.log_density(far, y).max() <= 0
    for proba in (model.gate_proba(far), model.route(far), model.responsibilities(far, y)):
        assert_probabilities(proba)
    assert model.predict_experts(far).max() <= 1


def test_levels_and_inner_mixtures(rng):
    X, y = data(rng, 300)
    c = np.digitize(20 * X[:, 0] + y, [-3, 3])
    tree = MixtureOfExpertsClassifier(
        n_experts=4, gate=HierarchicalGate((2, 2)), n_init=1, max_iter=20, random_state=0
    ).fit(X, c)
    assert_probabilities(tree.gate_proba(5 * X, level=1))
    inner = MixtureOfExpertsClassifier(n_experts=2)
    nested = MixtureOfExpertsClassifier(inner, 2, n_init=1, max_iter=20, random_state=0).fit(X, c)
    for proba in (
        nested.predict_proba(5 * X),
        nested.responsibilities(5 * X, c),
        *nested.predict_experts(5 * X).transpose(1, 0, 2),
    ):
        assert_probabilities(proba)


def test_calibrated_probabilities(rng):
    X, y = data(rng, 200)
    model = MixtureOfExpertsClassifier(
        DecisionTreeClassifier(random_state=0), 2, n_init=1, max_iter=3, random_state=0
    ).fit(X, (y > 0).astype(int))
    assert model.cross_fitted_
    for proba in model.predict_experts(X).transpose(1, 0, 2):
        assert_probabilities(proba)


def test_a_pooling_that_rounds_is_normalised(rng):
    X, y = data(rng)

    def rounded(weights, outputs):
        return np.round(np.einsum("nk,nkc->nc", weights, outputs), 7) * (1 + 5e-7)

    model = MixtureOfExpertsClassifier(
        n_experts=2, n_init=1, max_iter=5, pooling=rounded, random_state=0
    )
    assert_probabilities(model.fit(X, (y > 0).astype(int)).predict_proba(9 * X))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, "a", 1j, None])
def test_a_pooling_that_gives_no_numbers(wrong, rng):
    X, y = data(rng)

    def pooling(weights, outputs):
        return np.full(len(weights), wrong)

    model = MixtureOfExpertsRegressor(n_experts=2, n_init=1, max_iter=5, random_state=0)
    model.set_params(pooling=pooling).fit(X, y)
    with pytest.raises(ValueError, match=r"MixtureOfExpertsRegressor: pooling=.*must return"):
        model.predict(X)


# ---------------------------------------------------------------- weights of classes


def test_a_class_of_weight_zero_is_no_class(rng):
    X, y = data(rng, 150)
    c = np.array(["a", "b", "c"])[np.digitize(y, [-0.4, 0.4])]
    model = MixtureOfExpertsClassifier(n_experts=2, n_init=1, max_iter=10, random_state=0)
    without = clone(model).fit(X[c != "b"], c[c != "b"])
    zero = clone(model).set_params(class_weight={"b": 0}).fit(X, c)
    assert_array_equal(zero.classes_, ["a", "c"])
    assert_allclose(zero.predict_proba(X), without.predict_proba(X), atol=1e-10)
    balanced = clone(model).set_params(class_weight="balanced")
    rows = np.where(c == "b", 0.0, 1.0)
    assert_allclose(
        balanced.fit(X, c, rows).predict_proba(X),
        clone(balanced).fit(X[c != "b"], c[c != "b"]).predict_proba(X),
        atol=1e-10,
    )
    with pytest.raises(ValueError, match=r"one class only, 'c' .*class_weight"):
        clone(model).set_params(class_weight={"a": 0, "b": 0}).fit(X, c)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, "2", None, [1.0], True, 1j])
def test_class_weights_that_are_none(value, rng):
    X, y = data(rng)
    model = MixtureOfExpertsClassifier(n_experts=2, class_weight={0: value})
    with pytest.raises(ValueError, match=r"MixtureOfExpertsClassifier: class_weight has .*class 0"):
        model.fit(X, (y > 0).astype(int))


# ---------------------------------------------------------------- what is no expert


@pytest.mark.parametrize(
    "estimator",
    [
        KMeans(2),
        make_pipeline(StandardScaler(), MiniBatchKMeans(2)),
        IsolationForest(),
        GaussianMixture(2),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
@pytest.mark.parametrize("kind", [MixtureOfExpertsRegressor, MixtureOfExpertsClassifier])
def test_what_does_not_learn_y_is_no_expert(kind, estimator, rng):
    X, y = data(rng)
    y = (y > 0).astype(int)
    for expert in (estimator, [("a", estimator), ("b", estimator)], ExpertPool([estimator] * 2)):
        with pytest.raises(TypeError, match=r"expert .* is an? .*does not learn y.*init="):
            kind(expert, n_experts=2).fit(X, y)


def test_sums_over_inner_experts_are_at_most_one():
    bank = NestedBank([None, None], [np.array([0, 1]), np.array([2])], 4, [])
    found = bank.merged(np.array([[1.0, 2.3e-16, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]]))
    assert_array_equal(found, [[1.0, 0.0, 0.0], [0.5, 0.25, 0.25]])
