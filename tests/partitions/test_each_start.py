"""What each start is for."""

import numpy as np
import pandas as pd
import pytest
from _problems import make_rows, softmax_gated
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator
from sklearn.metrics import pairwise_distances
from sklearn.model_selection import GridSearchCV
from test_partitions import context, context_of

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.gates import ConstantGate
from mixexp.partitions import (
    Clusterwise,
    FeatureGroups,
    KMeansStart,
    MixedStart,
    NearestCenter,
    Split,
    TreeStart,
)
from mixexp.protocols import evolve


def agreement(resp, truth):
    """Return the share of rows in the right group, each found group named after its majority."""
    codes = resp.argmax(axis=0)
    return sum(np.bincount(truth[codes == k]).max() for k in np.unique(codes)) / len(truth)


# ---------------------------------------------------------------- trees


def test_leaves_are_the_boxes(rng):
    X = rng.uniform(-1, 1, (400, 3))
    z = np.where(X[:, 1] > 0.3, 2, (X[:, 0] > -0.2).astype(int))
    y = np.array([0.0, 4.0, -6.0])[z] + 0.1 * rng.standard_normal(400)
    regression = context_of(make_rows(X, y), 3)
    classes = context_of(make_rows(X, z), 3, classes=np.arange(3))
    for where in (regression, classes):
        resp = TreeStart().responsibilities(where, rng)
        assert set(np.unique(resp)) == {0.0, 1.0}
        assert agreement(resp, z) == 1.0


def test_other_trees_differ(rng):
    where = context(rng, n=300, k=4)
    where.turn = 1
    trees = [TreeStart().responsibilities(where, np.random.default_rng(s)) for s in range(5)]
    assert len({tree.tobytes() for tree in trees}) == 5


@pytest.mark.parametrize("k", [2, 3, 5])
def test_too_few_leaves_are_halved(rng, k):
    X = rng.standard_normal((60, 2)) * [1.0, 3.0]
    where = context_of(make_rows(X, np.ones(60)), k)  # nothing to split
    resp = TreeStart().responsibilities(where, rng)
    sizes = np.sort(resp.sum(axis=1))
    assert sizes[0] >= 60 // 8 and sizes.sum() == 60
    if k == 2:
        wide = where.features[:, np.ptp(where.features, axis=0).argmax()]
        low, high = wide[resp[0] == 1], wide[resp[1] == 1]
        assert len(low) == len(high) == 30
        assert low.max() <= high.min()


def test_tree_weights_are_frequencies(rng):
    X, y, _, _ = softmax_gated(rng, 80, 2, 3)
    times = rng.integers(1, 4, 80)
    weighted = context_of(make_rows(X, y, times.astype(float)), 3)
    repeated = context_of(make_rows(np.repeat(X, times, axis=0), np.repeat(y, times)), 3)
    resp = TreeStart().responsibilities(weighted, np.random.default_rng(0))
    again = TreeStart().responsibilities(repeated, np.random.default_rng(0))
    assert_array_equal(np.repeat(resp, times, axis=1), again)


# ---------------------------------------------------------------- centres


@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "cosine"])
@pytest.mark.parametrize("scaled", [False, True])
def test_every_row_to_its_nearest_center(rng, metric, scaled):
    X = rng.standard_normal((100, 2)) * [1.0, 50.0]
    centers = np.array([[1.0, 0.0], [0.0, 20.0], [-1.0, -9.0]])
    weight = rng.exponential(size=100)
    start = NearestCenter(centers.tolist(), metric, scaled=scaled)
    where = context_of(make_rows(X, X[:, 0], weight), 3)
    resp = start.responsibilities(where, rng)
    if scaled:
        mean = weight @ X / weight.sum()
        spread = np.sqrt(weight @ (X - mean) ** 2 / weight.sum())
        X, centers = (X - mean) / spread, (centers - mean) / spread
    assert_array_equal(resp.argmax(axis=0), pairwise_distances(X, centers, metric).argmin(axis=1))
    assert_array_equal(resp.sum(axis=0), 1.0)


@pytest.mark.parametrize(
    ("centers", "message"),
    [
        ([[0.0, 1.0]] * 2, "NearestCenter: centers has 2 entries and n_experts=3"),
        ([[0.0]] * 3, "NearestCenter: centers have 1 features and X has 2"),
        ([[0.0, np.nan]] * 3, "centers contains NaN"),
        ([0.0, 1.0, 2.0], "Expected 2D array"),
    ],
)
def test_wrong_centers(rng, centers, message):
    with pytest.raises(ValueError, match=message):
        NearestCenter(centers).responsibilities(context(rng), rng)


def test_centers_keep_their_order(rng):
    X = np.concatenate([np.zeros(40), np.full(40, 10.0)])[:, None] + rng.uniform(size=(80, 1))
    y = np.where(X[:, 0] > 5, 3.0, -X[:, 0]) + 0.01 * rng.standard_normal(80)
    for order in ([0.0, 10.0], [10.0, 0.0]):
        start = NearestCenter(np.array(order)[:, None])
        model = MixtureOfExpertsRegressor(n_experts=2, init=start, max_iter=300).fit(X, y)
        assert_array_equal(model.gate_proba(np.array(order)[:, None]).argmax(axis=1), [0, 1])


# ---------------------------------------------------------------- groups of features


def two_groups(rng, n=400):
    X = rng.standard_normal((n, 5))
    z = rng.integers(2, size=n)
    y = np.where(z == 0, X[:, 0] - X[:, 1], 2 * X[:, 2] + X[:, 3])
    return X, y + 0.05 * rng.standard_normal(n), z


@pytest.mark.parametrize("groups", [[[0, 1], [2, 3]], [slice(0, 2), slice(2, 4)]])
def test_rows_go_to_the_group_that_predicts_them(rng, groups):
    X, y, z = two_groups(rng)
    start = FeatureGroups(groups)
    resp = start.responsibilities(context_of(make_rows(X, y), 2), rng)
    assert np.mean(resp.argmax(axis=0) == z) > 0.9  # in the order that was given
    other = FeatureGroups(groups[::-1])
    assert_array_equal(other.responsibilities(context_of(make_rows(X, y), 2), rng), resp[::-1])


def test_groups_by_name(rng):
    X, y, z = two_groups(rng)
    frame = pd.DataFrame(X, columns=list("abcde"))
    models = [
        MixtureOfExpertsRegressor(
            n_experts=2, gate=ConstantGate(), init=FeatureGroups(groups), random_state=0
        ).fit(data, y)
        for groups, data in (([list("ab"), list("cd")], frame), ([[0, 1], [2, 3]], X))
    ]
    assert models[0].lower_bound_ == models[1].lower_bound_
    assert np.mean(models[0].responsibilities(frame, y).argmax(axis=1) == z) > 0.9


def test_group_weights_are_frequencies(rng):
    X, y, _ = two_groups(rng, 100)
    y += rng.standard_normal(100)
    times = rng.choice([1, 2, 30], 100)
    start = FeatureGroups([[0, 1], [2, 3, 4]])
    resp = start.responsibilities(context_of(make_rows(X, y, times.astype(float)), 2), rng)
    rows = make_rows(np.repeat(X, times, axis=0), np.repeat(y, times))
    again = start.responsibilities(context_of(rows, 2), rng)
    assert_array_equal(np.repeat(resp, times, axis=1), again)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([[0], [1]], "FeatureGroups: groups has 2 entries and n_experts=3"),
        ([[0], [1], [7]], r"FeatureGroups: groups\[2\]=\[7\] selects no columns"),
        ([[0], [1], []], r"FeatureGroups: groups\[2\]=\[\] selects no columns"),
        ([[0], [1], ["a"]], r"FeatureGroups: groups\[2\]=\['a'\] selects no columns"),
    ],
)
def test_wrong_groups(rng, groups, message):
    with pytest.raises(ValueError, match=message):
        FeatureGroups(groups).responsibilities(context(rng), rng)


# ---------------------------------------------------------------- several kinds in turn


class Noted(BaseEstimator):
    """Notes its name and the turn it was given."""

    def __init__(self, name, random):
        self.name = name
        self.random = random

    def responsibilities(self, context, rng):
        return (self.name, context.turn)


def test_kinds_take_turns(rng):
    starts = MixedStart([Noted("a", True), Noted("b", False), Noted("c", True)])
    where = context(rng)
    given = [starts.responsibilities(evolve(where, turn=turn), rng) for turn in range(7)]
    assert given[:3] == [("a", 0), ("b", 0), ("c", 0)]
    assert given[3:] == [("a", 1), ("c", 1), ("a", 2), ("c", 2)]  # b would give the same again
    fixed = MixedStart([Noted("a", False)])
    assert fixed.responsibilities(evolve(where, turn=1), rng) == ("a", 1)


def test_the_default_has_one_of_each_kind(rng):
    where = context(rng)
    kinds = [Clusterwise(), Split(), KMeansStart(), TreeStart(), Clusterwise(), KMeansStart("Xy")]
    for turn, kind in enumerate(kinds):
        mixed, alone = (
            start.responsibilities(evolve(where, turn=at), np.random.default_rng(turn))
            for start, at in ((MixedStart(), turn), (kind, 0))
        )
        assert_array_equal(mixed, alone)
    assert not np.array_equal(
        MixedStart().responsibilities(evolve(where, turn=7), np.random.default_rng(1)),
        Split().responsibilities(where, np.random.default_rng(1)),
    )


# ---------------------------------------------------------------- a user's own start


class Halves(BaseEstimator):
    """Rows above and below a quantile of a feature."""

    random = False

    def __init__(self, share=0.5):
        self.share = share

    def responsibilities(self, context, rng):
        x = context.features[:, 0]
        above = x > np.quantile(x, self.share)
        return np.stack([~above, above])


class Plain:
    """Not an estimator, and without an attribute `random`."""

    def __init__(self, result):
        self.result = result

    def responsibilities(self, context, rng):
        return self.result(context)


def test_a_start_of_ones_own(rng):
    X, y, _, _ = softmax_gated(rng, 80, 2, 2)
    above = X[:, 0] > np.quantile(X[:, 0], 0.5)
    expected = MixtureOfExpertsRegressor(n_experts=2, init=above, max_iter=500).fit(X, y)
    start = Halves()
    plain = Plain(lambda context: Halves().responsibilities(context, None).tolist())
    for init in (start, plain):
        model = MixtureOfExpertsRegressor(n_experts=2, init=init, max_iter=500).fit(X, y)
        assert_allclose(model.lower_bound_, expected.lower_bound_, rtol=1e-6)
        assert len(model.restarts_) == 1
    search = GridSearchCV(
        MixtureOfExpertsRegressor(n_experts=2, init=start, max_iter=500, random_state=0),
        {"init__share": [0.3, 0.6]},
        cv=2,
    )
    assert search.fit(X, y).best_params_["init__share"] in (0.3, 0.6)
    assert start.share == 0.5


class Counting(Halves):
    """Notes which starts of a fit it was asked for."""

    random = True
    turns = []

    def responsibilities(self, context, rng):
        self.turns.append(context.turn)
        self.share = 0.3  # what a start does to itself stays in its clone
        return super().responsibilities(context, rng)


def test_starts_are_told_their_turn_and_cloned(rng):
    X, y, _, _ = softmax_gated(rng, 80, 2, 2)
    start = Counting()
    MixtureOfExpertsRegressor(n_experts=2, n_init=4, init=start, max_iter=500).fit(X, y)
    assert Counting.turns == [0, 1, 2, 3]
    assert start.share == 0.5


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda c: np.ones((3, c.rows.n_rows)) / 3, r"gave an array of shape \(3, 40\). Give"),
        (lambda c: np.full((2, c.rows.n_rows), np.nan), "finite, nonnegative"),
        (lambda c: np.ones((2, c.rows.n_rows)), "column sums go from 2 to 2"),
        (lambda c: np.tile([[2.0], [-1.0]], c.rows.n_rows), "smallest entry is -1"),
        (lambda c: "here", "must give numbers, got 'here'"),
        (lambda c: None, r"shape \(\)|numbers"),
    ],
)
@pytest.mark.parametrize("kind", [MixtureOfExpertsClassifier, MixtureOfExpertsRegressor])
def test_a_wrong_start_of_ones_own(rng, result, message, kind):
    X = rng.standard_normal((40, 2))
    y = (X[:, 0] > 0).astype(int)
    with pytest.raises(ValueError, match=message) as error:
        kind(n_experts=2, init=Plain(result)).fit(X, y)
    assert f"{kind.__name__}: init=Plain" in str(error.value)


def test_a_mixture_is_no_start(rng):
    X, y, _, _ = softmax_gated(rng, 60, 2, 2)
    model = MixtureOfExpertsRegressor(n_experts=2, random_state=0, max_iter=500).fit(X, y)
    with pytest.raises(TypeError, match=r"init=mixture.responsibilities\(X, y\)"):
        MixtureOfExpertsRegressor(n_experts=2, init=model).fit(X, y)
