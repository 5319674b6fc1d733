"""Routes of fitted mixtures: their weights, ties, dense routing as a special case, batches."""

import numpy as np
import pytest
from _routed import class_pieces, classifier, pieces, regressor
from _thin import thinned
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import Ridge
from sklearn.tree import DecisionTreeRegressor

from mixexp.gates import ConstantGate, GaussianGate, HierarchicalGate, SoftmaxGate
from mixexp.routing import ExpertChoice, Switch, Threshold, TopK, TopP

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ROUTERS = {
    "top 1": TopK(1),
    "top 2": TopK(2),
    "top 2, bias": TopK(2, balance="bias"),
    "top 2, rest to mean": TopK(2, False, fallback="mean"),
    "top p": TopP(0.8),
    "switch": Switch(),
    "switch, fallback": Switch(0.7, "fallback", fallback=Ridge()),
    "expert choice": ExpertChoice(),
    "threshold": Threshold(0.3),
    "jitter": TopK(2, jitter=0.1),
}
GATES = {
    "softmax": SoftmaxGate(),
    "gaussian": GaussianGate(),
    "tree": HierarchicalGate((2, 2)),
}


@pytest.fixture(scope="module")
def data():
    return pieces()


@pytest.mark.parametrize("name", ROUTERS)
def test_weights_sum_to_one_and_are_those_of_the_router(data, name):
    X, y, _ = data
    model = regressor(routing=ROUTERS[name]).fit(X, y)
    weights = model.route(X)
    assert weights.shape == (len(X), 4 + ROUTERS[name].needs_fallback)
    assert np.all(weights >= 0)
    assert_allclose(weights.sum(axis=1), 1.0, rtol=0, atol=1e-12)
    if ROUTERS[name].k is not None:
        assert_array_equal((weights[:, :4] > 0).sum(axis=1), ROUTERS[name].k)
    with np.errstate(divide="ignore"):
        by_hand = model.routing_.weights(np.log(model.gate_proba(X)).T).T
    assert_allclose(weights, by_hand, rtol=0, atol=1e-10)
    outputs = model.predict_experts(X)
    assert_allclose(model.predict(X), (weights * outputs).sum(axis=1), rtol=1e-9, atol=1e-9)
    log_parts = np.log(model.predict_distribution(X).pdf(y))
    assert_allclose(model.log_density(X, y), log_parts, rtol=1e-7, atol=1e-9)
    resp = model.responsibilities(X, y)
    assert np.all(resp[weights == 0] == 0)
    assert_allclose(resp.sum(axis=1), 1.0, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "batch"),
    thinned([*ROUTERS, "tree, top 2", "tree, top 1", "tree, threshold"], [False, True], every=2),
)
def test_a_row_alone_is_predicted_as_among_all(data, name, batch):
    X, y, _ = data
    params = {"expert": DecisionTreeRegressor(max_depth=2)} if batch else {}
    if name.startswith("tree"):
        name, params["gate"] = name.removeprefix("tree, "), HierarchicalGate((2, 2))
    model = regressor(routing=ROUTERS[name], **params).fit(X, y)
    few = [0, 7, 100, 239]
    for method in (model.predict, model.route):
        alone = np.concatenate([method(X[[i]]) for i in few])
        assert_allclose(alone, method(X)[few], rtol=1e-12, atol=1e-12)
    alone = [model.log_density(X[[i]], y[[i]])[0] for i in few]
    assert_allclose(alone, model.log_density(X, y)[few], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("gate", "kind"), thinned(GATES, ["regressor", "classifier"], every=2))
def test_all_experts_are_dense_routing(gate, kind):
    make = regressor if kind == "regressor" else classifier
    X, y = pieces()[:2] if kind == "regressor" else class_pieces(n_classes=3)
    dense = make(gate=GATES[gate]).fit(X, y)
    routed = make(gate=GATES[gate], routing=TopK(4)).fit(X, y)
    assert_allclose(routed.route(X), routed.gate_proba(X), rtol=0, atol=1e-12)
    assert routed.active_fraction_ == dense.active_fraction_ == 1.0
    weights, outputs = routed.gate_proba(X), routed.predict_experts(X)
    if kind == "regressor":
        assert_allclose(routed.predict(X), (weights * outputs).sum(axis=1), atol=1e-12)
    else:
        pooled = np.einsum("nk,nkc->nc", weights, outputs)
        assert_allclose(routed.predict_proba(X), pooled, atol=1e-12)
    assert routed.lower_bound_ > dense.lower_bound_ - 0.02  # its start went on for longer


@pytest.mark.parametrize("gate", GATES)
def test_one_fitted_model_with_and_without_router(data, gate):
    X, y, _ = data
    model = regressor(gate=GATES[gate], routing=TopK(4)).fit(X, y)
    density = model.log_density(X, y)
    model._model = type(model._model)(
        model._model.dense_gate,
        *(getattr(model._model, n) for n in ("bank", "target")),
        *(getattr(model._model, n) for n in ("columns", "pooling")),
    )
    assert_allclose(model.log_density(X, y), density, rtol=1e-12, atol=1e-12)


def test_ties_go_to_the_first_experts(data):
    X, y, _ = data
    model = regressor(gate=ConstantGate(), routing=TopK(2), init=np.arange(240) % 4).fit(X, y)
    weights = model.route(X)
    assert_array_equal(weights, weights[[0] * 240])
    assert_array_equal(weights, model.route(X[::-1]))


@pytest.mark.parametrize("router", [Switch(1.0), TopK(1), TopK(2), ExpertChoice()])
def test_the_order_of_rows_does_not_matter(router):
    X, y, _ = pieces(n=120)
    X = np.round(X)  # many rows have the same x, and other y
    order = np.random.default_rng(0).permutation(len(X))
    params = {"routing": router, "init": "kmeans", "n_init": 1, "max_iter": 5}
    one, two = regressor(**params).fit(X, y), regressor(**params).fit(X[order], y[order])
    assert_allclose(one.routing_.loads_, two.routing_.loads_)
    assert_allclose(one.predict(X), two.predict(X), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["top 1", "top 2", "switch", "switch, fallback", "expert choice"])
def test_loads_are_in_the_order_of_the_experts(data, name):
    X, y, _ = data
    X, y = X[X[:, 0] < 1.3], y[X[:, 0] < 1.3]  # uneven pieces
    model = regressor(routing=ROUTERS[name]).fit(X, y)
    loads = model.routing_.loads_.copy()
    assert len(loads) == 4 + ROUTERS[name].needs_fallback
    reached = (model.route(X) > 0).sum(axis=0)
    if name == "switch, fallback":
        assert np.all(loads[:4] <= model.routing_.capacity_)
        assert loads.sum() == len(X)
        assert model.routing_.overflow_ == loads[4]
    elif name == "switch":
        assert np.abs(loads - reached).sum() <= 2 * model.routing_.overflow_
    else:
        assert_array_equal(loads, reached)
    fewest = np.argsort(loads[:4])
    other = model.route(X)[:, fewest]
    model.align_experts(other / other.sum(axis=1, keepdims=True).clip(1e-9), X, y)
    assert_array_equal(model.routing_.loads_[:4], loads[fewest])


def test_temperature_and_bias_are_those_of_the_fit(data):
    X, y, _ = data
    cold = regressor(routing=TopK(4, temperature=0.2), init=data[2]).fit(X, y)
    proba = cold.gate_proba(X) ** 5
    assert_allclose(cold.route(X), proba / proba.sum(axis=1, keepdims=True), atol=1e-10)
    model = regressor(routing=TopK(1, balance="bias"), init=data[2]).fit(X, y)
    chosen = (model.gate_proba(X) + model.routing_.bias_).argmax(axis=1)
    assert_array_equal(model.route(X).argmax(axis=1), chosen)


@pytest.mark.parametrize("router", [TopK(2, jitter=0.3), Switch(jitter=0.3), TopK(1, jitter=0.3)])
def test_jitter_changes_training_and_not_predictions(data, router):
    X, y, z = data
    plain = type(router)(**{**router.get_params(), "jitter": 0.0})
    params = {"init": z, "max_iter": 4}
    one, two = (regressor(routing=r, **params).fit(X, y) for r in (router, plain))
    assert np.abs(one.gate_proba(X) - two.gate_proba(X)).max() > 1e-4
    assert_array_equal(one.predict(X), one.predict(X))
    again = regressor(routing=router, **params).fit(X, y)
    assert_array_equal(again.predict(X), one.predict(X))
    order = np.random.default_rng(1).permutation(len(X))
    moved = regressor(routing=router, max_iter=4, init=z[order]).fit(X[order], y[order])
    assert_allclose(moved.predict(X), one.predict(X), rtol=1e-6, atol=1e-6)
