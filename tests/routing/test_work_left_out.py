"""What sparse routing is for: experts see the rows routed to them, and gates below no others."""

import numpy as np
import pytest
from _routed import (
    CountingLogistic,
    CountingRidge,
    class_pieces,
    classifier,
    forget_calls,
    pieces,
    regressor,
)
from numpy.testing import assert_allclose, assert_array_equal

from mixexp import MixtureOfExpertsRegressor
from mixexp.gates import HierarchicalGate, NestedGate, SoftmaxGate
from mixexp.protocols import Rows
from mixexp.routing import ExpertChoice, Switch, Threshold, TopK, TopP

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ROUTERS = [
    TopK(1),
    TopK(2),
    TopK(1, balance="bias"),
    TopK(2, balance="assignment"),
    TopP(0.9),
    Switch(1.0),
    Switch(0.7, "fallback", fallback="mean"),
    ExpertChoice(),
    Threshold(0.3),
]


#: All of them run nightly.
SOME = [
    pytest.param(r, marks=pytest.mark.slow if i in (2, 3, 4, 8) else ())
    for i, r in enumerate(ROUTERS)
]


@pytest.mark.parametrize("router", SOME, ids=str)
def test_experts_are_fitted_to_the_rows_routed_to_them(router):
    X, y, _ = pieces()
    model = regressor(CountingRidge(), routing=router).fit(X, y)
    fitted = [expert.n_fitted_ for expert in model.experts_]
    assert_array_equal(fitted, model.routing_.loads_[:4])
    for expert in model.experts_:
        assert expert.weight_ is None or np.all(expert.weight_ > 0)
    if router.balance != "assignment" and not isinstance(router, Switch):
        for k, expert in enumerate(model.experts_):
            own = X[model.route(X)[:, k] > 0]
            assert_array_equal(np.sort(expert.X_fitted_, axis=0), np.sort(own, axis=0))


@pytest.mark.parametrize("router", [TopK(1), TopK(2), ExpertChoice()], ids=str)
def test_without_a_warm_up_no_row_of_weight_0_is_passed(router):
    X, y, _ = pieces()
    model = regressor(CountingRidge(), routing=router, warm_up=None, cross_fit=False).fit(X, y)
    assert all(np.all(expert.weight_ > 0) for expert in model.experts_)
    n_fitted = sum(expert.n_fitted_ for expert in model.experts_)
    assert len(X) <= n_fitted <= 2 * len(X)


def test_rows_of_the_fit_and_weights():
    X, y, _ = pieces()
    weight = np.random.default_rng(0).integers(1, 4, len(X)).astype(float)
    model = regressor(CountingRidge(), routing=TopK(1)).fit(X, y, weight)
    loads = [expert.weight_.sum() for expert in model.experts_]
    assert_allclose(loads, model.routing_.loads_)
    assert_allclose(sum(loads), weight.sum())


@pytest.mark.parametrize("router", SOME, ids=str)
def test_experts_are_called_once_on_the_rows_that_reach_them(router):
    X, y, _ = pieces()
    model = regressor(CountingRidge(), routing=router).fit(X, y)
    for method in (model.predict, model.predict_distribution):
        forget_calls(model)
        method(X[:50])
        reached = (model.route(X[:50]) > 0).sum(axis=0)
        for expert, n in zip(model.experts_, reached, strict=False):
            assert expert.calls_ == ([n] if n else [])
    one = X[:1]
    forget_calls(model)
    model.predict(one)
    called = [len(expert.calls_) for expert in model.experts_]
    assert_array_equal(called, model.route(one)[0, :4] > 0)


def test_classifiers_are_called_once():
    X, y = class_pieces(n_classes=3)
    model = classifier(CountingLogistic(), routing=TopK(1)).fit(X, y)
    assert_array_equal([e.n_fitted_ for e in model.experts_], model.routing_.loads_)
    forget_calls(model)
    model.predict(X)
    for expert, n in zip(model.experts_, (model.route(X) > 0).sum(axis=0), strict=True):
        assert expert.calls_ == [n]


def test_experts_are_called_once_for_many_rows():
    X, y, _ = pieces()
    model = regressor(CountingRidge(), routing=TopK(2), max_iter=2).fit(X, y)
    many = np.random.default_rng(0).uniform(-2, 2, (40_000, 2))
    forget_calls(model)
    predicted = model.predict(many)
    reached = (model.route(many) > 0).sum(axis=0)
    assert [expert.calls_ for expert in model.experts_] == [[n] for n in reached]
    assert_allclose(predicted[-100:], model.predict(many[-100:]), rtol=1e-12)


def test_the_fallback_is_called_on_its_rows():
    X, y, _ = pieces()
    router = TopK(1, False, fallback=CountingRidge())
    model = regressor(routing=router).fit(X, y)
    assert model.fallback_.n_fitted_ == len(X)
    model.fallback_.calls_.clear()
    model.predict(X)
    rest = model.route(X)[:, -1] > 0
    assert sum(model.fallback_.calls_) == rest.sum()
    model = regressor(routing=Switch(0.7, "fallback", fallback=CountingRidge())).fit(X, y)
    model.fallback_.calls_.clear()
    model.predict(X)
    assert model.fallback_.calls_ == []


def test_active_fraction():
    X, y, _ = pieces()
    assert regressor(routing=TopK(2)).fit(X, y).active_fraction_ == 0.5
    assert regressor(routing=Switch()).fit(X, y).active_fraction_ == 0.25
    assert regressor().fit(X, y).active_fraction_ == 1.0
    behind = TopK(1, renormalise=False, fallback="mean")  # which is not one of the experts
    assert regressor(routing=behind).fit(X, y).active_fraction_ == 0.25
    weight = np.r_[np.full(120, 3.0), np.ones(120)]
    model = regressor(routing=Threshold(0.3)).fit(X, y, weight)
    n_reached = (model.route(X) > 0).sum(axis=1)
    assert_allclose(model.active_fraction_, np.average(n_reached, weights=weight) / 4)


def count_rows(tree, monkeypatch):
    """Return a dict that counts the rows each node of a tree evaluates."""
    counts = dict.fromkeys(tree.nodes_, 0)
    names = {id(part): path for path, part in tree.nodes_.items()}
    log_prob = SoftmaxGate.log_prob

    def counting(self, block):
        if id(self) in names:
            counts[names[id(self)]] += block.n_rows
        return log_prob(self, block)

    monkeypatch.setattr(SoftmaxGate, "log_prob", counting)
    return counts


@pytest.fixture(scope="module")
def tree_of_eight():
    X, y, z = pieces(400, 8, noise=0.1)
    model = regressor(n_experts=8, gate=HierarchicalGate((2, 2, 2)), init=z, max_iter=3)
    return model.fit(X, y), X, y


@pytest.mark.parametrize("router", [TopK(1), TopK(2), Switch(), Threshold(0.2)], ids=str)
@pytest.mark.parametrize("usage_prior", [0.0, pytest.param(2.0, marks=pytest.mark.slow)])
def test_nodes_below_branches_that_were_not_chosen_are_not_evaluated(
    tree_of_eight, router, usage_prior, monkeypatch
):
    model, X, y = tree_of_eight
    gate = HierarchicalGate((2, 2, 2), usage_prior=usage_prior)
    model = regressor(n_experts=8, gate=gate, init=model.init, max_iter=2, routing=router).fit(X, y)
    full = {
        path: part.log_prob(next(Rows(X).blocks())) for path, part in model.gate_.nodes_.items()
    }
    counts = count_rows(model.gate_, monkeypatch)
    weights = model.route(X)
    expected = dict.fromkeys(counts, 0)
    reached = np.zeros((8, len(X)), dtype=bool)
    for i in range(len(X)):  # slowly, row by row
        level = {(): 0.0}
        while any(path in full for path in level):
            below = {}
            for path, log_prob in level.items():
                if path in full:
                    expected[path] += 1
                    for child, more in zip(
                        model.gate_.children(path), full[path][:, i], strict=True
                    ):
                        below[child] = log_prob + more
                else:
                    below[path] = log_prob
            ranked = sorted(below, key=below.get, reverse=True)
            if router.k is None:
                kept = [p for p in ranked if np.exp(below[p]) >= 0.2] or ranked[:1]
            else:
                kept = ranked[: router.k]
            level = {path: below[path] for path in below if path in kept}
        for path in level:
            reached[model.gate_.paths_.index(path), i] = True
    assert counts == expected
    assert_array_equal(weights.T > 0, reached)
    assert sum(counts.values()) < 7 * len(X) * (0.9 if router.k is None else 0.8)


def test_all_experts_of_a_tree_are_dense_routing(tree_of_eight):
    model, X, y = tree_of_eight
    model = regressor(
        n_experts=8, gate=model.gate, init=model.init, max_iter=2, routing=TopK(8)
    ).fit(X, y)
    assert_allclose(model.route(X), model.gate_proba(X), atol=1e-12)


@pytest.mark.parametrize("router", [TopK(2, temperature=0.5), TopP(0.9), TopK(2, balance="bias")])
def test_routers_that_need_all_nodes_get_them(tree_of_eight, router):
    model, X, y = tree_of_eight
    model = regressor(
        n_experts=8, gate=model.gate, init=model.init, max_iter=2, routing=router
    ).fit(X, y)
    with np.errstate(divide="ignore"):
        expected = model.routing_.weights(np.log(model.gate_proba(X)).T).T
    assert_allclose(model.route(X), expected, atol=1e-9)


def test_an_uneven_tree_descends():
    X, y, z = pieces(300, 3)
    gate = NestedGate([(0,), (1, 0), (1, 1)], {(): None, (1,): None})
    model = regressor(n_experts=3, gate=gate, init=z, routing=TopK(1)).fit(X, y)
    root = model.gate_proba(X, level=1)
    weights = model.route(X)
    assert_array_equal(weights[:, 0] == 1, root[:, 0] >= root[:, 1])
    assert_array_equal(weights.sum(axis=1), 1)


def test_labelled_rows_of_a_tree_reach_their_expert():
    """Even where descending would leave it out."""
    X, y, z = pieces(400, 8, noise=0.1)
    labels = np.where(np.arange(400) % 5 == 0, (z + 4) % 8, -1)
    gate = HierarchicalGate((2, 2, 2))
    for router in (TopK(2), TopK(1), Switch(1.0), Threshold(0.4)):
        model = regressor(n_experts=8, gate=gate, init=z, max_iter=3, routing=router)
        model.fit(X, y, expert_labels=labels)
        assert np.isfinite(model.lower_bound_)


def test_mixtures_of_mixtures_do_not_route():
    X, y, _ = pieces()
    inner = MixtureOfExpertsRegressor(n_experts=2)
    with pytest.raises(ValueError, match=r"routing=TopK\(k=1\).*expert is a mixture.*Hierarchical"):
        regressor(inner, n_experts=2, routing=TopK(1)).fit(X, y)
    inner = MixtureOfExpertsRegressor(n_experts=2, routing=TopK(1))
    with pytest.raises(ValueError, match=r"routing=TopK\(k=1\).*expert is a mixture.*Hierarchical"):
        regressor(inner, n_experts=2).fit(X, y)
    with pytest.raises(ValueError, match=r"(?s)warm_up=.*expert is a mixture"):
        regressor(
            MixtureOfExpertsRegressor(n_experts=2), n_experts=2, warm_up=regressor(n_experts=2)
        ).fit(X, y)
