"""`MixedStart` takes all that `init` takes."""

import numpy as np
import pytest
import scipy.sparse as sp
from _problems import make_rows, softmax_gated
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.ensemble import IsolationForest
from test_partitions import context_of

from mixexp import MixtureOfExpertsRegressor
from mixexp._estimators.starts import ByContent
from mixexp.partitions import (
    PARTITIONS,
    FeatureGroups,
    FromEstimator,
    MixedStart,
    NearestCenter,
    TreeStart,
)


class Own:
    """A user's start without parameters, and without `random`."""

    def responsibilities(self, context, rng):
        resp = np.full((context.n_experts, context.rows.n_rows), 0.25)
        resp[0] += 0.5
        return resp


def problem(rng, n=150):
    X, y, _, _ = softmax_gated(rng, n, 2, 2)
    return X, y, (X[:, 0] > 0).astype(int)


def fit(init, X, y, **more):
    model = MixtureOfExpertsRegressor(
        n_experts=2, init=init, n_init=6, max_iter=100, tol=1e-4, random_state=0
    )
    return model.fit(X, y, **more)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_every_kind_of_start(kind, rng):
    X, y, z = problem(rng)
    starts = [
        *PARTITIONS,
        z,
        z.tolist(),
        np.where(z == 1, "one", "other"),
        np.eye(2)[z],
        0.5 + 0.3 * (2 * np.eye(2)[z] - 1),
        KMeans(2, n_init=1),
        IsolationForest(n_estimators=5),
        FromEstimator(KMeans(2, n_init=1, random_state=0)),
        TreeStart(),
        FeatureGroups([[0], [1]]),
        Own(),
        MixedStart(["random", z]),
    ]
    if kind == "dense":
        starts.append(NearestCenter([[-1.0, 0.0], [1.0, 0.0]]))
    X = X if kind == "dense" else sp.csr_matrix(X)
    alone = fit("random", X, y).lower_bound_
    for start in starts:
        model = fit(clone(MixedStart([start]), safe=False), X, y)
        assert np.isfinite(model.lower_bound_)
    model = fit(MixedStart(starts), X, y).set_params(n_init=len(starts)).fit(X, y)
    assert len(model.restarts_) == len(starts)
    assert model.lower_bound_ >= alone - 1e-3


def test_given_rows_are_found_again(rng):
    X, y, _ = problem(rng, 60)
    resp = rng.dirichlet(np.ones(3), 60).T
    rows = make_rows(X, y)
    start = ByContent(rows, resp)
    order = rng.permutation(60)[:40]
    where = context_of(make_rows(X[order], y[order]), 3)
    assert_allclose(start.responsibilities(where, rng), resp[:, order], rtol=1e-14)


def test_equal_rows_have_their_weighted_mean(rng):
    X, y = np.repeat(rng.standard_normal((2, 1)), [3, 1], axis=0), np.array([1.0, 1, 1, 2])
    resp = np.array([[1.0, 0.0, 0.0, 0.3], [0.0, 1.0, 1.0, 0.7]])
    start = ByContent(make_rows(X, y, np.array([1.0, 3.0, 0.0, 2.0])), resp)
    where = context_of(make_rows(X[[0, 3]], y[[0, 3]]), 2)
    assert_allclose(start.responsibilities(where, rng), [[0.25, 0.3], [0.75, 0.7]])


def test_merged_weighted_and_grouped_rows(rng):
    X, y, z = problem(rng, 60)
    X, y, z = (np.concatenate([one, one[:20]]) for one in (X, y, z))
    weight = rng.integers(0, 3, 80).astype(float)
    plain = fit(z, X, y, sample_weight=weight)
    mixed = fit(MixedStart([z]), X, y, sample_weight=weight)
    assert_allclose(mixed.lower_bound_, plain.lower_bound_, atol=1e-3)
    groups = np.arange(80) // 4
    X = X[::4][groups]
    assert np.isfinite(fit(MixedStart([z, "tree"]), X, y, groups=groups).lower_bound_)


@pytest.mark.parametrize(
    "starts, match",
    [
        ([], "starts must be a list of at least one start"),
        ("kmeans", "starts must be a list .* got 'kmeans'"),
        (TreeStart(), "starts must be a list .* got TreeStart"),
        (3.0, r"starts must be a list .* got 3\.0"),
        (["kmeans", "fast"], r"starts\[1\]='fast': .*'fast' is no start. Names are"),
        ([np.zeros(5)], r"starts\[0\]=an array of shape \(5,\): .*labels of shape \(60,\)"),
        ([np.zeros(60)], r"starts\[0\].*1 distinct labels and n_experts=2"),
        ([object()], r"starts\[0\]=.*Give what init takes"),
        ([None], r"starts\[0\]=None: "),
        ([[None] * 60], r"starts\[0\]"),
    ],
)
def test_wrong_starts_are_named(starts, match, rng):
    X, y, _ = problem(rng, 60)
    with pytest.raises(ValueError, match=f"(?s)MixedStart: {match}"):
        fit(MixedStart(starts), X, y)
