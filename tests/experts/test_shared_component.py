"""A shared expert of classes and counts: a component in every expert's distribution."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import make_classification
from sklearn.linear_model import GammaRegressor, LogisticRegression, PoissonRegressor
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.gates import ConstantGate
from mixexp.inspection import routing_report
from mixexp.routing import Switch, TopK

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FEW = {"n_experts": 3, "n_init": 1, "max_iter": 8, "random_state": 0}
TREE = DecisionTreeClassifier(max_depth=3, min_samples_leaf=5)


@pytest.fixture(scope="module")
def classes():
    X, y = make_classification(
        300, 5, n_informative=4, n_redundant=0, n_classes=3, n_clusters_per_class=2, random_state=0
    )
    return X, np.array(["ash", "elm", "oak"])[y]


@pytest.fixture(scope="module")
def counts():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 2))
    return X, rng.poisson(np.exp(0.5 * X[:, 0] + np.where(X[:, 1] > 0, 1, -0.5)))


def classifier(expert=None, **params):
    return MixtureOfExpertsClassifier(expert, **{**FEW, **params})


def regressor(expert=None, **params):
    return MixtureOfExpertsRegressor(expert, **{**FEW, **params})


@pytest.mark.parametrize("routing", [None, TopK(2), Switch()], ids=["dense", "top 2", "switch"])
def test_probabilities_are_mixed_with_the_shared_ones(classes, routing):
    """The slow reference: the parts, put together by the definition."""
    X, y = classes
    model = classifier(
        LogisticRegression(), shared_expert=GaussianNB(), routing=routing, cross_fit=False
    ).fit(X, y)
    s = model.shared_share_
    assert 1e-3 < s < 0.999
    shared = model.shared_expert_.predict_proba(X)
    alone = np.stack([expert.predict_proba(X) for expert in model.experts_], axis=1)
    reached = model.route(X)
    each = (1 - s) * alone + s * shared[:, None]
    mixed = (1 - s) * np.einsum("nk,nkc->nc", reached, alone) + s * shared
    assert_allclose(model.predict_proba(X), mixed, atol=1e-12)
    assert_allclose(model.predict_experts(X), each, atol=1e-12)
    codes = np.searchsorted(model.classes_, y)
    rows = np.arange(len(y))
    floored = (1 - s) * alone[rows, :, codes]
    floored += s * np.maximum(shared[rows, codes], 1e-6 / 3)[:, None]  # documented
    of_expert = reached * floored
    assert_allclose(model.log_density(X, y), np.log(of_expert.sum(axis=1)), atol=1e-9)
    found = model.responsibilities(X, y)
    assert_allclose(found, of_expert / of_expert.sum(axis=1, keepdims=True), atol=1e-9)


def test_it_is_fitted_to_what_is_its_own(classes):
    """One iteration by hand, from the responsibilities and shares at the fit before."""
    X, y = classes
    params = {"tol": 0, "cross_fit": False, "shared_expert": GaussianNB()}
    model = classifier(LogisticRegression(), **params).fit(X, y)
    s, code = model.shared_share_, np.searchsorted(model.classes_, y)
    rows = np.arange(len(y))
    shared = s * model.shared_expert_.predict_proba(X)[rows, code]
    each = model.predict_experts(X)[rows, :, code]
    common = (model.responsibilities(X, y) * (shared[:, None] / each)).sum(axis=1)
    again = GaussianNB().fit(X, y, common)
    later = clone(model).set_params(max_iter=9).fit(X, y)
    assert_allclose(later.shared_expert_.theta_, again.theta_, rtol=1e-6)


def test_the_share_is_a_maximum(classes):
    X, y = classes
    model = classifier(
        LogisticRegression(), shared_expert=TREE, cross_fit=False, max_iter=60, tol=1e-9
    ).fit(X, y)
    s, rows, code = model.shared_share_, np.arange(len(y)), np.searchsorted(model.classes_, y)
    shared = model.shared_expert_.predict_proba(X)[rows, code]
    mixed = model.predict_proba(X)[rows, code]
    own = (mixed - s * shared) / (1 - s)
    loss = [-np.log((1 - t) * own + t * shared).mean() for t in (s - 0.01, s, s + 0.01)]
    assert loss[1] < min(loss[0], loss[2])


@pytest.mark.parametrize(
    ("expert", "shared", "family"),
    [
        (None, PoissonRegressor(), "poisson"),
        (DecisionTreeRegressor(max_depth=3), PoissonRegressor(), "poisson"),
        (GammaRegressor(), DecisionTreeRegressor(max_depth=3), "gamma"),
    ],
)
@pytest.mark.parametrize(
    "router",
    [None, TopK(2), TopK(2, renormalise=False, fallback="mean")],
    ids=["dense", "top 2", "fallback"],
)
def test_density_and_distribution_agree(counts, expert, shared, family, router):
    X, y = counts
    y = y + 0.5 if family == "gamma" else y
    offset = 0.1 * X[:, 0]
    model = regressor(expert, shared_expert=shared, family=family, routing=router)
    model.fit(X, y, offset=offset)
    law = model.predict_distribution(X, offset=offset)
    assert_allclose(np.log(law.pdf(y)), model.log_density(X, y, offset=offset), atol=1e-10)
    assert_allclose(law.mean(), model.predict(X, offset=offset), rtol=1e-10)
    assert law.sample(4, 0).shape == (300, 4)


def test_likelihood_fits_climb(classes, counts):
    X, y = classes
    model = classifier(LogisticRegression(), shared_expert=LogisticRegression(), max_iter=30)
    assert np.all(np.diff(model.fit(X, y).lower_bounds_) > -1e-6)
    X, y = counts
    model = regressor(PoissonRegressor(), shared_expert=PoissonRegressor(), family="poisson")
    assert np.all(np.diff(model.fit(X, y).lower_bounds_) > -1e-6)


def test_the_bound_is_likelihood_and_penalties(classes):
    X, y = classes
    model = classifier(LogisticRegression(), shared_expert=LogisticRegression(), max_iter=1)
    model.set_params(gate=ConstantGate(), cross_fit=False).fit(X, y)
    penalty = sum(0.5 * np.sum(e.coef_**2) for e in (*model.experts_, model.shared_expert_))
    bound = (model.log_density(X, y).sum() - penalty) / len(y)
    assert_allclose(model.lower_bound_, bound, atol=1e-9)


def test_experts_that_memorise_are_cross_fitted_after_a_warm_up_too(classes):
    X, y = classes
    tree = DecisionTreeClassifier(random_state=0)
    model = classifier(tree, routing=TopK(1), shared_expert=LogisticRegression()).fit(X, y)
    assert model.cross_fitted_ and model.shared_share_ > 0.1
    assert not classifier(tree, routing=TopK(1)).fit(X, y).cross_fitted_


def test_it_helps_routed_trees(classes):
    X, y = classes
    bound = {
        shared: classifier(TREE, routing=TopK(1), shared_expert=shared).fit(X[::2], y[::2])
        for shared in (None, LogisticRegression())
    }
    without, having = (m.log_density(X[1::2], y[1::2]).mean() for m in bound.values())
    assert having > without


class Counting(ClassifierMixin, BaseEstimator):
    """Counts the rows that it predicts."""

    def fit(self, X, y, sample_weight=None):
        self.model_ = LogisticRegression().fit(X, y, sample_weight)
        self.classes_, self.seen_ = self.model_.classes_, []
        return self

    def predict_proba(self, X):
        self.seen_.append(len(X))
        return self.model_.predict_proba(X)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def test_every_row_reaches_it_and_experts_see_theirs(classes):
    X, y = classes
    model = classifier(Counting(), shared_expert=Counting(), routing=TopK(1)).fit(X, y)
    for estimator in (*model.experts_, model.shared_expert_):
        estimator.seen_.clear()
    model.predict(X)
    assert model.shared_expert_.seen_ == [len(X)]
    loads = np.count_nonzero(model.route(X), axis=0).tolist()
    assert [sum(expert.seen_) for expert in model.experts_] == loads


def test_weights_noise_and_missing_experts(classes):
    X, y = classes
    weight = np.random.default_rng(0).integers(0, 3, len(y))
    params = {"shared_expert": GaussianNB(), "cross_fit": False}
    model = classifier(LogisticRegression(), **params).fit(X, y, sample_weight=weight)
    again = classifier(LogisticRegression(), **params)
    again.fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    assert_allclose(model.predict_proba(X), again.predict_proba(X), atol=1e-6)
    noisy = classifier(LogisticRegression(), noise_expert=True, **params).fit(X, y)
    assert noisy.gate_proba(X).shape == (len(X), 4)
    assert_allclose(noisy.predict_proba(X).sum(axis=1), 1)
    fewer = classifier(
        LogisticRegression(), n_experts=20, on_collapse="drop", routing=TopK(2), **params
    ).fit(X[:60], y[:60])
    assert fewer.predict_experts(X).shape == (len(X), len(fewer.experts_), 3)


def test_in_what_users_put_it(classes):
    X, y = classes
    model = classifier(TREE, shared_expert=LogisticRegression(), routing=TopK(2), max_iter=3)
    pipeline = make_pipeline(StandardScaler(), model)
    grid = {"mixtureofexpertsclassifier__shared_expert__C": [0.1, 1.0]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(X, y)
    assert_allclose(
        pickle.loads(pickle.dumps(search)).predict_proba(X), search.predict_proba(X), atol=0
    )
    fitted = model.fit(X, y)
    hard = fitted.to_hard()
    assert hard.shared_share_ == fitted.shared_share_
    assert_array_equal(hard.predict(X).shape, y.shape)
    report = routing_report(fitted, X, y)
    assert np.all(np.isfinite(report.score))
    assert not hasattr(fitted.set_params(shared_expert=None).fit(X, y), "shared_share_")


@pytest.mark.filterwarnings("ignore:.*does not take sample_weight:UserWarning")
def test_a_share_of_nothing(classes):
    """A shared expert that is hardly needed keeps its last fit on enough rows."""
    X, y = classes
    y = X @ [1.0, 1.0, 0.0, 0.0, 0.0] > 0
    model = classifier(shared_expert=KNeighborsClassifier(), max_iter=100).fit(X, y)
    assert model.shared_share_ < 0.05
    assert model.shared_expert_.n_samples_fit_ >= 10


def test_bic_does_not_know_its_parameters(classes):
    X, y = classes
    model = classifier(LogisticRegression(), shared_expert=GaussianNB()).fit(X, y)
    with pytest.raises(ValueError, match="number of parameters"):
        model.bic(X, y)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: classifier(shared_expert=PoissonRegressor()), "shared_expert"),
        (lambda: classifier(shared_expert=LogisticRegression), "must be an instance"),
        (lambda: regressor(shared_expert=GaussianNB(), family="poisson"), "shared_expert"),
    ],
)
def test_refusals(counts, make, message):
    X, y = counts
    with pytest.raises((TypeError, ValueError), match=message):
        make().fit(X, np.minimum(y, 2))
