"""Routing together with labels, the order of experts, and text columns."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import make_column_transformer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeRegressor

from mixexp import MixtureOfExpertsRegressor
from mixexp.routing import ExpertChoice, Switch, TopK

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RUN = {"n_experts": 4, "n_init": 2, "max_iter": 30, "tol": 1e-3, "random_state": 3}

SHARES = np.array([0.1, 0.4, 0.2, 0.3])


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(400, 1))
    piece = np.searchsorted(np.cumsum(SHARES)[:-1], X[:, 0])
    y = np.array([4.0, -2.0, 3.0, -5.0])[piece] * (1 + X[:, 0])
    return X, y + 0.05 * rng.normal(size=400), piece


@pytest.mark.parametrize("router", [TopK(1), TopK(2), Switch(2.0), ExpertChoice()])
def test_loads_are_in_the_order_of_the_experts(data, router):
    X, y, piece = data
    model = MixtureOfExpertsRegressor(routing=router, **RUN).fit(X, y)
    assert_array_equal(model.routing_.loads_, (model.route(X) > 0).sum(axis=0))
    loads = model.routing_.loads_.copy()
    model.align_experts((piece + 1) % 4, X, y)
    assert_array_equal(model.routing_.loads_, (model.route(X) > 0).sum(axis=0))
    assert_array_equal(np.sort(model.routing_.loads_), np.sort(loads))


@pytest.mark.parametrize(
    "router",
    [TopK(1), Switch(), Switch(balance="bias"), Switch(0.9, "fallback", fallback="mean")],
)
@pytest.mark.parametrize("share", [0.05, 0.5])
def test_labelled_rows_are_routed_to_their_expert(data, router, share):
    X, y, piece = data
    labels = np.full(len(y), -1)
    n = int(share * len(y))
    labels[:n] = piece[:n] if share < 0.5 else 0  # half of the rows exceed any capacity
    model = MixtureOfExpertsRegressor(routing=router, **RUN).fit(X, y, expert_labels=labels)
    assert np.isfinite(model.lower_bound_)
    assert np.all(model.routing_.loads_[:4] >= np.bincount(labels[labels >= 0], minlength=4))


def test_a_fallback_that_encodes_gets_its_columns(data):
    X, y, _ = data
    table = pd.DataFrame({"x": X[:, 0], "wood": np.where(np.arange(400) % 2, "oak", "elm")})
    y = y + 10.0 * (table["wood"] == "oak").to_numpy()
    encoder = make_column_transformer((OneHotEncoder(), ["wood"]), remainder="passthrough")
    router = TopK(1, renormalise=False, fallback=make_pipeline(encoder, Ridge()))
    columns = {"expert_features": ["x"], "gate_features": ["x"]}
    model = MixtureOfExpertsRegressor(routing=router, **columns, **RUN).fit(table, y)
    by_wood = model.fallback_.predict(table[:2])
    assert abs(by_wood[1] - by_wood[0]) > 8
    assert_array_equal(model.predict_experts(table)[:2, -1], by_wood)
    router.fallback = Ridge()
    with pytest.raises(ValueError, match=r"fallback Ridge.*column 'wood'"):
        MixtureOfExpertsRegressor(routing=router, **columns, **RUN).fit(table, y)


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("routing", [None, TopK(1), TopK(2)])
def test_a_warm_up_of_the_user_brings_gate_and_partition(data, routing, fitted):
    X, y, _ = data
    warm_up = MixtureOfExpertsRegressor(**RUN)
    warm_up = warm_up.fit(X, y) if fitted else warm_up
    tree = DecisionTreeRegressor(max_depth=3)
    model = MixtureOfExpertsRegressor(tree, 4, routing=routing, warm_up=warm_up, n_refits=2)
    model.set_params(random_state=0).fit(X, y)
    assert hasattr(warm_up, "experts_") == fitted
    (record,) = model.restarts_
    assert record.bound == model.lower_bound_ and record.n_iter == model.n_iter_ == 2
    by_hand = MixtureOfExpertsRegressor(**RUN).fit(X, y)
    own, other = model.gate_proba(X), by_hand.gate_proba(X)
    assert_allclose(own[:, model.usage_.argsort()], other[:, by_hand.usage_.argsort()])
    assert model.score(X, y) > 0.7
