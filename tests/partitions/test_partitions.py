"""Every start of `PARTITIONS` through the same tests; then labels of other estimators."""

import numpy as np
import pytest
import scipy.sparse as sp
from _problems import make_rows, one_expert, softmax_gated
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClusterMixin, clone
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.covariance import EllipticEnvelope
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._engine.context import Context
from mixexp._engine.fixed import fit_at
from mixexp._engine.sweep import State
from mixexp.gates import SoftmaxGate
from mixexp.partitions import PARTITIONS, STARTS, Clusterwise, FromEstimator, KMeansStart, one_hot


def context_of(rows, k, template=None, classes=None):
    """Return what a start may ask for, of these rows."""
    bank = one_expert(template, rows, classes)
    one = fit_at(State(None, bank), rows, np.ones((1, rows.n_rows)), 3).bank
    gate = SoftmaxGate(alpha=0.3)
    return Context(rows, k, one.replicate(k), gate.start(rows.units, k, None))


def context(rng, kind="regression", n=120, k=3, weight=None, X=None):
    """Return the context of three lines, of two outputs each, or of three classes."""
    X_own, y, _, _ = softmax_gated(rng, n, 2, k)
    X = X_own if X is None else X
    classes = None
    if kind == "classification":
        classes = np.arange(3)
        y = np.digitize(y, np.quantile(y, [0.3, 0.6]))
    if kind == "outputs":
        y = np.stack([y, rng.standard_normal(n)])
    return context_of(make_rows(X, y, weight), k, classes=classes)


# ---------------------------------------------------------------- every start


def assert_partition(resp, k, n):
    assert resp.shape == (k, n)
    assert resp.dtype == np.float64
    assert np.all(resp >= 0)
    assert_allclose(resp.sum(axis=0), 1.0, rtol=1e-12)


@pytest.mark.parametrize("start", STARTS, ids=repr)
@pytest.mark.parametrize("kind", ["regression", "outputs", "classification"])
@pytest.mark.parametrize("weighted", [True, False])
def test_every_start_gives_responsibilities(rng, start, kind, weighted):
    weight = rng.exponential(size=120) if weighted else None
    resp = start.responsibilities(context(rng, kind, weight=weight), rng)
    assert_partition(resp, 3, 120)
    assert np.all(resp.sum(axis=1) > 0)


@pytest.mark.parametrize("name", PARTITIONS)
@pytest.mark.parametrize("kind", ["regression", "classification"])
@pytest.mark.parametrize("k", [2, 7])
def test_any_number_of_experts(rng, name, kind, k):
    resp = PARTITIONS[name]().responsibilities(context(rng, kind, k=k), rng)
    assert_partition(resp, k, 120)


@pytest.mark.parametrize("start", STARTS, ids=repr)
def test_a_start_is_decided_by_its_seed(rng, start):
    where = context(rng)
    first, again, other = (
        start.responsibilities(where, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert_array_equal(first, again)
    where = context(rng)
    where.turn = 1
    other = start.responsibilities(where, np.random.default_rng(2))
    if start.random:
        assert not np.array_equal(first, other)


@pytest.mark.parametrize("start", STARTS, ids=repr)
def test_starts_are_cloned_and_left_alone(rng, start):
    before = repr(start)
    copy = clone(start)
    assert type(copy) is type(start) and repr(copy) == before
    start.responsibilities(context(rng), rng)
    assert repr(start) == before
    assert vars(start).keys() == vars(copy).keys()


@pytest.mark.parametrize("start", STARTS, ids=repr)
@pytest.mark.parametrize("n", [2, 3, 4])
def test_hardly_more_rows_than_experts(rng, start, n):
    assert_partition(start.responsibilities(context(rng, n=n), rng), 3, n)


@pytest.mark.parametrize("start", STARTS, ids=repr)
def test_every_start_takes_missing_and_constant_columns(rng, start):
    X, y, _, _ = softmax_gated(rng, 80, 2, 3)
    X[::7, 1] = np.nan
    if "NearestCenter" in repr(start):
        start = clone(start).set_params(scaled=True)
    rows = make_rows(X, y)
    rows.missing = True
    assert_partition(start.responsibilities(context_of(rows, 3), rng), 3, 80)
    rows = make_rows(np.column_stack([X[:, 0], np.ones(80)]), np.ones(80))
    assert_partition(start.responsibilities(context_of(rows, 3), rng), 3, 80)


@pytest.mark.parametrize("start", STARTS, ids=repr)
def test_every_start_is_an_init(rng, start):
    X, y, _, _ = softmax_gated(rng, 90, 2, 3)
    options = {"n_experts": 3, "n_init": 2, "max_iter": 300, "random_state": 0}
    model = MixtureOfExpertsRegressor(init=start, **options).fit(X, y)
    assert len(model.restarts_) == 1 + start.random
    named = [name for name, make in PARTITIONS.items() if repr(make()) == repr(start)]
    for name in named:
        again = MixtureOfExpertsRegressor(init=name, **options).fit(X, y)
        assert_allclose(again.lower_bound_, model.lower_bound_, rtol=1e-9)
    jobs = MixtureOfExpertsRegressor(init=start, n_jobs=2, **options).fit(X, y)
    assert jobs.lower_bound_ == model.lower_bound_
    groups = np.repeat(np.arange(45), 2)
    grouped = MixtureOfExpertsRegressor(gate_features=[0], init=start, **options)
    X[:, 0] = np.repeat(X[::2, 0], 2)
    assert np.isfinite(grouped.fit(X, y, groups=groups).lower_bound_)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("init", PARTITIONS)
def test_fewer_distinct_rows_than_experts(init):
    # equal rows are merged before the start: ten rows are two, and three experts are asked for
    X, y = np.repeat([[0.0], [1.0]], 5, axis=0), np.repeat([0.0, 1.0], 5)
    model = MixtureOfExpertsRegressor(n_experts=3, init=init, n_init=2, max_iter=5, random_state=0)
    assert np.all(np.isfinite(model.fit(X, y).predict(X)))
    classifier = MixtureOfExpertsClassifier(n_experts=3, init=init, n_init=2, random_state=0)
    classifier.set_params(max_iter=5)
    assert_allclose(classifier.fit(X, y > 0).predict_proba(X).sum(axis=1), 1.0)


@pytest.mark.parametrize("name", sorted(set(PARTITIONS) - {"random"}))
def test_starts_do_not_depend_on_units(rng, name):
    X, y, _, _ = softmax_gated(rng, 150, 2, 2)
    draws = []
    for factor, shift in ((1.0, 0.0), (2.0**17, 3e5)):
        rows = make_rows(X * [1.0, factor] + shift, 1024 * y + shift)
        where = context_of(rows, 2, LinearRegression())
        draws.append(PARTITIONS[name]().responsibilities(where, np.random.default_rng(0)))
    assert_allclose(*draws, atol=1e-6)


# ---------------------------------------------------------------- clusterwise


def test_clusterwise_finds_lines_that_do_not_overlap(rng):
    x = np.linspace(-1, 1, 200)
    y = np.where(x < 0, -3 * x, 5 * x + 1) + 0.01 * rng.standard_normal(200)
    rows = make_rows(x[:, None], y)
    where = context_of(rows, 2, LinearRegression())
    truth = one_hot((x > 0).astype(int), 2)
    right = 0
    for seed in range(10):
        resp = Clusterwise().responsibilities(where, np.random.default_rng(seed))
        assert set(np.unique(resp)) <= {0.0, 1.0}
        right += max(np.mean(resp == truth), np.mean(resp == truth[::-1])) > 0.98
    assert right >= 8


def test_clusterwise_gives_every_row_to_the_expert_that_fits_it_best(rng):
    # at the end few rows would gain by a change under the experts fitted on the partition
    where = context(rng, n=60, k=2)
    agree = []
    for seed in range(10):
        resp = Clusterwise().responsibilities(where, np.random.default_rng(seed))
        best = where.deviance(where.fit_experts(resp)).argmin(axis=0)
        agree.append(np.mean(best == resp.argmax(axis=0)))
    assert np.mean(agree) > 0.9


# ---------------------------------------------------------------- k-means


def test_kmeans_on_x_and_y_finds_what_x_does_not_say(rng):
    X = rng.standard_normal((200, 1))
    z = np.arange(200) % 2
    y = 20.0 * z + 0.1 * rng.standard_normal(200)
    where = context_of(make_rows(X, y), 2)
    for on, right in (("X", False), ("Xy", True)):
        resp = KMeansStart(on).responsibilities(where, rng)
        codes = resp.argmax(axis=0)
        assert (max(np.mean(codes == z), np.mean(codes != z)) == 1.0) == right
    with pytest.raises(ValueError, match="KMeansStart: on must be 'X' or 'Xy', got 'y'"):
        KMeansStart("y").responsibilities(where, rng)


# ---------------------------------------------------------------- labels of other estimators


def test_one_hot():
    assert_array_equal(one_hot(np.array([2, 0, 2]), 3), [[0, 1, 0], [0, 0, 0], [1, 0, 1]])


def test_from_clusterer(rng):
    where = context(rng)
    start = FromEstimator(KMeans(3, n_init=1), "Owner")
    resp = start.responsibilities(where, np.random.default_rng(0))
    assert_array_equal(resp.sum(axis=0), 1.0)
    assert start.random
    seeded = KMeans(3, n_init=1, random_state=5)
    start = FromEstimator(seeded, "Owner")
    assert not start.random
    labels = KMeans(3, n_init=1, random_state=5).fit_predict(where.rows.X)
    for seed in (0, 1):
        resp = start.responsibilities(where, np.random.default_rng(seed))
        assert_array_equal(resp, one_hot(labels, 3))
    assert not hasattr(seeded, "labels_")  # a clone is fitted


@pytest.mark.parametrize(
    "estimator",
    [
        make_pipeline(StandardScaler(), KMeans(3, n_init=1)),
        AgglomerativeClustering(n_clusters=3),
    ],
    ids=["pipeline", "agglomerative"],
)
def test_from_other_clusterers(rng, estimator):
    where = context(rng)
    start = FromEstimator(estimator, "Owner")
    assert start.random == ("pipeline" in str(type(estimator)))
    first = start.responsibilities(where, np.random.default_rng(3))
    assert_array_equal(first.sum(axis=0), 1.0)
    assert np.all(first.sum(axis=1) > 0)
    assert_array_equal(start.responsibilities(where, np.random.default_rng(3)), first)


@pytest.mark.parametrize(
    "detector",
    [
        IsolationForest(n_estimators=10, random_state=0),
        LocalOutlierFactor(n_neighbors=5),
        EllipticEnvelope(random_state=0),
    ],
    ids=["forest", "lof", "envelope"],
)
def test_from_outlier_detector(rng, detector):
    X = rng.standard_normal((120, 2))
    X[:6] += 30.0
    where = context(rng, k=2, X=X)
    resp = FromEstimator(detector).responsibilities(where, rng)
    inlier = clone(detector).fit_predict(X) == 1
    assert 0 < inlier.sum() < 120

    assert_array_equal(resp, [~inlier, inlier])
    y = np.where(inlier, X[:, 0], 5.0 - X[:, 1]) + 0.1 * rng.standard_normal(120)
    options = {"n_experts": 2, "random_state": 0, "max_iter": 500}
    models = [
        MixtureOfExpertsRegressor(init=init, **options).fit(X, y)
        for init in (detector, FromEstimator(detector), inlier)
    ]
    for model in models:
        assert_allclose(model.lower_bound_, models[-1].lower_bound_, rtol=1e-6)
    with pytest.raises(ValueError, match="gave 2 groups of 120 rows, and n_experts=3"):
        MixtureOfExpertsRegressor(n_experts=3, init=detector).fit(X, y)


def test_from_sparse_rows(rng):
    X = rng.standard_normal((120, 2))
    start = FromEstimator(KMeans(3, n_init=1, random_state=0), "Owner")
    dense = start.responsibilities(context(rng, X=X), rng)
    sparse = start.responsibilities(context(rng, X=sp.csr_array(X)), rng)
    assert_array_equal(sparse, dense)


class Labels(ClusterMixin, BaseEstimator):
    """Gives the labels it was told to."""

    def __init__(self, n_groups=4):
        self.n_groups = n_groups

    def fit_predict(self, X, y=None):
        return np.arange(len(X)) % self.n_groups


class Plain:
    """Not an estimator: it only has `fit_predict`."""

    def fit_predict(self, X):
        return np.array(["a", "b", "c"])[np.arange(len(X)) % 3]


@pytest.mark.parametrize("n_groups", [2, 4])
def test_wrong_number_of_groups(rng, n_groups):
    start = FromEstimator(Labels(n_groups), "MixtureOfExpertsRegressor")
    with pytest.raises(ValueError, match="MixtureOfExpertsRegressor: init=Labels") as error:
        start.responsibilities(context(rng, k=3), rng)
    assert f"gave {n_groups} groups" in str(error.value)
    assert "n_experts=3" in str(error.value)
    assert f"Set n_experts={n_groups}" in str(error.value)
    X, y, _, _ = softmax_gated(rng, 50, 2, 2)
    with pytest.raises(ValueError, match=f"n_experts={n_groups}"):
        MixtureOfExpertsRegressor(n_experts=3, init=Labels(n_groups)).fit(X, y)


def test_any_object_with_fit_predict(rng):
    start = FromEstimator(Plain(), "Owner")
    assert not start.random
    resp = start.responsibilities(context(rng), rng)
    assert_array_equal(resp, one_hot(np.arange(120) % 3, 3))
