"""Trees of gates: products along paths, and M-steps of every node."""

from itertools import product

import numpy as np
import pytest
from _problems import (
    expected_log_prob,
    fit_part,
    make_rows,
    numeric_gradient,
    random_resp,
    softmax_gated,
    statistics_of,
)
from _thin import thinned
from _trees import BRANCHINGS, all_log_prob, grouped, products, started
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.datasets import make_box_tree
from mixexp.gates import HierarchicalGate, SoftmaxGate
from mixexp.protocols import can

unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# ---------------------------------------------------------------- one level


OPTIONS = {
    "plain": {},
    "alpha auto": {"alpha": "auto"},
    "alpha 0": {"alpha": 0.0},
    "weights": {"weights": True},
    "groups": {"groups": True},
    "noise": {"noise_expert": True},
    "usage prior": {"usage_prior": 3.0},
    "usage prior, noise, weights": {"usage_prior": 3.0, "noise_expert": True, "weights": True},
    "temperature": {"temperature": 2.5},
}


@unconverged
@pytest.mark.parametrize(
    "name, kind",
    thinned(OPTIONS, [MixtureOfExpertsRegressor, MixtureOfExpertsClassifier], every=2),
)
def test_one_level_is_the_softmax_gate(rng, name, kind):
    options = {"alpha": 0.3, **OPTIONS[name]}
    X, y, groups = grouped(rng)
    groups = groups if options.pop("groups", False) else None
    weight = rng.exponential(size=len(X)) if options.pop("weights", False) else None
    of_mixture = {"noise_expert": options.pop("noise_expert", False)}
    if kind is MixtureOfExpertsClassifier:
        y = np.digitize(y, np.quantile(y, [0.3, 0.6]))
    if groups is not None:
        weight = None
        of_mixture |= {"gate_features": [0]}
    flat, tree = (
        kind(n_experts=3, gate=gate, n_init=2, max_iter=8, tol=0.0, random_state=0, **of_mixture)
        for gate in (SoftmaxGate(**options), HierarchicalGate((3,), **options))
    )
    for model in (flat, tree):
        model.fit(X, y, sample_weight=weight, groups=groups)
    assert_allclose(tree.lower_bounds_, flat.lower_bounds_, rtol=1e-8, atol=1e-8)
    assert_allclose(tree.predict_experts(X), flat.predict_experts(X), atol=1e-8)
    assert_allclose(tree.gate_proba(X), flat.gate_proba(X), atol=1e-8)
    assert_allclose(tree.gate_proba(X, level=1), flat.gate_proba(X), atol=1e-8)
    assert_allclose(tree.gate_.coef_[()], flat.gate_.coef_, atol=1e-8)
    assert_allclose(tree.gate_.intercept_[()], flat.gate_.intercept_, atol=1e-8)
    assert_allclose(tree.usage_, flat.usage_, atol=1e-8)
    assert_allclose(tree.log_density(X, y), flat.log_density(X, y), atol=1e-8)
    assert_allclose(
        tree.bic(X, y, weight, groups=groups), flat.bic(X, y, weight, groups=groups), rtol=1e-8
    )


# ---------------------------------------------------------------- formulas


@pytest.mark.parametrize("branching", [(2, 2, 2), (3, 2), (1, 3), (4, 1), (2, 3, 2)])
def test_gate_probabilities_are_products_along_paths(rng, branching):
    rows, _, gate = started(rng, branching)
    assert gate.paths_ == list(product(*map(range, branching)))
    assert_allclose(all_log_prob(gate, rows).T, products(gate, rows.X), atol=1e-10)
    assert_allclose(np.exp(all_log_prob(gate, rows)).sum(axis=0), 1.0, rtol=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_starts_with_equal_nodes(rng, temperature):
    rows = make_rows(rng.standard_normal((20, 2)))
    gate = HierarchicalGate((2, 3), temperature=temperature).start(rows, 6, None)
    assert_allclose(all_log_prob(gate, rows), -np.log(6), atol=1e-14)
    assert set(gate.nodes_) == {(), (0,), (1,)}


@unconverged
def test_levels_add_up(rng):
    X, y, _, _ = softmax_gated(rng, 200, 2, 4)
    gate = HierarchicalGate((2, 3, 2))
    model = MixtureOfExpertsRegressor(
        n_experts=12, gate=gate, init="random", n_init=1, max_iter=3, noise_expert=True
    )
    model.fit(X, y)
    proba = model.gate_proba(X)
    share = model.gate_.noise_share_
    assert_allclose(proba[:, :-1], (1 - share) * np.exp(products(model.gate_, X)), atol=1e-12)
    for level, shape in ((1, (2, 6)), (2, (6, 2)), (3, (12, 1))):
        own = proba[:, :-1].reshape(-1, *shape).sum(axis=2)
        found = model.gate_proba(X, level=level)
        assert_allclose(found[:, :-1], own, atol=1e-13)
        assert_allclose(found[:, -1], share, rtol=1e-12)
    for level in (0, 4, True, "1", 1.5):
        with pytest.raises(ValueError, match=r"MixtureOfExpertsRegressor: level=.*levels 1 to 3"):
            model.gate_proba(X, level=level)


def test_level_of_a_flat_gate(rng):
    X, y, _, _ = softmax_gated(rng, 100, 1, 2)
    model = MixtureOfExpertsRegressor(n_experts=2, n_init=1, random_state=0).fit(X, y)
    assert_array_equal(model.gate_proba(X, level=1), model.gate_proba(X))
    with pytest.raises(ValueError, match=r"level=2, and this gate has one level"):
        model.gate_proba(X, level=2)


def test_n_parameters(rng):
    for branching, n_free in (((2, 2), 3), ((3, 2), 2 + 3), ((2, 2, 2), 7), ((4, 1), 3)):
        _, _, gate = started(rng, branching, d=2)
        assert gate.n_parameters == n_free * 3


# ---------------------------------------------------------------- M-steps


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_a_node_is_a_softmax_gate_for_rows_weighted_by_the_mass_of_its_leaves(rng, alpha):
    # Jordan & Jacobs (1994), eq. 26
    weight = rng.exponential(size=150)
    rows, resp, tree = started(rng, (2, 3, 2), weight=weight, far=False, alpha=alpha)
    fitted = fit_part(tree, rows, resp, 4)
    leaves = np.arange(12).reshape(2, 3, 2)
    below = {(): leaves, (0,): leaves[0], (1,): leaves[1], (1, 2): leaves[1, 2]}
    for node, own in below.items():
        children = [resp[np.ravel(child)].sum(axis=0) for child in own]
        mass = np.sum(children, axis=0)
        alone = rows.subset(np.arange(150), weight * mass)  # with the same units of columns
        gate = SoftmaxGate(alpha).start(alone, len(own), None)
        gate = fit_part(gate, alone, np.array(children) / mass, 4)
        assert_allclose(
            fitted.nodes_[node].get_parameters(), gate.get_parameters(), rtol=1e-6, atol=1e-7
        )


@pytest.mark.parametrize("branching", [(2, 2, 2), (3, 2), (2, 3)])
def test_a_planted_tree_is_recovered_from_soft_labels(rng, branching):
    rows, _, planted = started(rng, branching, n=400)
    resp = np.exp(all_log_prob(planted, rows))
    gate = HierarchicalGate(branching, alpha=0.0).start(rows, len(resp), None)
    gate = fit_part(gate, rows, resp, 25)
    assert_allclose(np.exp(all_log_prob(gate, rows)), resp, atol=1e-8)
    for node, coef in planted.coef_.items():
        assert_allclose(gate.coef_[node], coef, rtol=1e-5, atol=1e-6)
        assert_allclose(gate.intercept_[node], planted.intercept_[node], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("branching", BRANCHINGS)
def test_steps_at_fixed_labels_climb_to_a_stationary_point(rng, branching):
    rows, resp, gate = started(rng, branching, weight=rng.exponential(size=150), far=False)
    before = expected_log_prob(gate, rows, resp)
    for _ in range(15):
        gate = fit_part(gate, rows, resp)
        after = expected_log_prob(gate, rows, resp)
        assert after >= before - 1e-10 * abs(before)
        before = after
    slope = numeric_gradient(
        lambda v: expected_log_prob(gate.set_parameters(v), rows, resp), gate.get_parameters()
    )
    assert_allclose(slope, 0.0, atol=1e-4)


def test_bounded_steps_and_shares_of_a_step(rng):
    rows, resp, old = started(rng, (2, 2, 2))
    new = fit_part(old, rows, resp)
    for t in (0.0, 0.25, 1.0):
        between = (1 - t) * old.get_parameters() + t * new.get_parameters()
        assert_allclose(old.toward(new, t).get_parameters(), between, atol=1e-13)
    for _ in range(20):
        far = old.set_parameters(4 * rng.standard_normal(len(old.get_parameters())))
        before = expected_log_prob(far, rows, resp)
        bounded = far.bounded()
        assert bounded.n_gram_weights == 7
        after = expected_log_prob(fit_part(bounded, rows, resp), rows, resp)
        assert after >= before - 1e-12 * abs(before)


def test_statistics_add_over_blocks(rng):
    rows, resp, gate = started(rng, (2, 3, 2), weight=rng.exponential(size=150))
    whole = statistics_of(gate, rows, resp)
    rows.block_rows = 64
    cut = statistics_of(gate, rows, resp)
    assert len(whole.sums) == len(gate.nodes_) == 9
    added = whole + cut
    for a, b, c in zip(whole.sums, cut.sums, added.sums, strict=True):
        assert set(a) == set(b) == {"gradient", "gram"}
        for name in a:
            size = np.abs(a[name]).max()
            assert_allclose(b[name], a[name], atol=1e-10 * size)
            assert_allclose(c[name], 2 * a[name], atol=1e-10 * size)


def test_weights_are_repetitions(rng):
    weight = rng.integers(1, 5, size=100)
    X, resp = rng.standard_normal((100, 2)), random_resp(rng, 6, 100, 3.0)
    weighted, repeated = make_rows(X, weight=weight.astype(float)), np.repeat(X, weight, axis=0)
    repeated = make_rows(repeated)
    gate = HierarchicalGate((3, 2))
    a = fit_part(gate.start(weighted, 6, None), weighted, resp, 6)
    b = fit_part(gate.start(repeated, 6, None), repeated, np.repeat(resp, weight, axis=1), 6)
    assert_allclose(a.get_parameters(), b.get_parameters(), atol=1e-10)
    assert_allclose(a.log_prior(), b.log_prior(), atol=1e-12)


@unconverged
def test_a_fit_on_weights_is_one_on_repeated_rows(rng):
    X, y, _, _ = softmax_gated(rng, 120, 2, 4, noise=0.5)
    weight = rng.integers(0, 4, size=120)
    model = MixtureOfExpertsRegressor(
        n_experts=4, gate=HierarchicalGate(), n_init=3, max_iter=10, random_state=0
    )
    a = clone(model).fit(X, y, sample_weight=weight)
    b = model.fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    assert_allclose(a.lower_bounds_, b.lower_bounds_, rtol=1e-9)
    assert_allclose(a.gate_proba(X), b.gate_proba(X), atol=1e-7)


# ---------------------------------------------------------------- the order of the leaves


def test_the_planted_tree_is_found_where_starts_had_another():
    X, y, truth = make_box_tree(800, random_state=2, return_truth=True)
    model = MixtureOfExpertsRegressor(
        n_experts=8, gate=HierarchicalGate((2, 2, 2)), n_init=2, random_state=0
    ).fit(X, y)
    assert any("other leaves" in event for start in model.restarts_ for event in start.events)
    planted = clone(model).set_params(init=np.clip(truth.gate_proba, 1e-9, 1.0)).fit(X, y)
    assert_allclose(model.lower_bound_, planted.lower_bound_, atol=1e-3)
    error = np.sqrt(np.mean((model.predict(X) - truth.mean) ** 2)) / y.std()
    assert error < 0.04


def test_only_a_single_node_has_parameters_of_its_experts(rng):
    rows = make_rows(rng.standard_normal((20, 2)))
    one, deep = HierarchicalGate((3,)).start(rows, 3, None), HierarchicalGate((2, 2))
    deep = deep.start(rows, 4, None)
    assert can(one, "scores", "parameter_space") and one.parameter_space.size == 9
    assert not can(deep, "scores") and not can(deep, "parameter_space")
    swapped = one.select(np.array([1, 0, 2]))
    assert can(swapped, "scores") == (swapped.paths_ == one.paths_)


def test_leaves_that_no_row_reaches_have_no_probability(rng):
    rows = make_rows(rng.standard_normal((1, 2)))
    gate = HierarchicalGate((2, 2)).start(rows, 4, None)
    gate = gate.set_parameters(rng.standard_normal(len(gate.get_parameters())))
    (block,) = rows.blocks()
    found = gate.descended(block, lambda reached: reached == reached.max(axis=0))
    assert np.isneginf(found).sum() == 3 and 0 < np.exp(found).sum() < 1
