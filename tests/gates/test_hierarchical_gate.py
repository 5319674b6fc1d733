"""The hierarchical gate: published formulas, EM on a tree of softmax nodes, pruning."""

import copy
import pickle
import warnings
from itertools import combinations, product

import numpy as np
import pytest
from _problems import (
    LOG_2PI,
    expected_log_prob,
    fit_part,
    make_rows,
    numeric_gradient,
    random_resp,
    softmax_gated,
    statistics_of,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, log_softmax
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._assign import Soft
from mixexp._em import FALL_TOL, Problem, State, evaluate
from mixexp.gates import HierarchicalGate, SoftmaxGate

unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

BRANCHINGS = [(2, 2), (3, 2), (2, 3), (2, 2, 2), (4, 1), (1, 3)]


def all_log_prob(gate, rows):
    return np.concatenate([gate.log_prob(block) for block in rows.blocks()], axis=1)


def started(rng, branching, n=150, d=2, weight=None, far=True, **options):
    """Return rows, soft labels and a gate with random parameters, or at its start."""
    rows = make_rows(rng.standard_normal((n, d)) * 10.0 ** np.arange(d) + 1.0, weight=weight)
    k = int(np.prod(branching))
    gate = HierarchicalGate(branching, **options).start(rows, k, None)
    if far:
        gate = gate.set_parameters(rng.standard_normal(len(gate.get_parameters())))
    return rows, random_resp(rng, k, n, 2.0), gate


def products(gate, X):
    """Return log g (n, K) of a tree, by its definition, from `coef_` and `intercept_`."""
    out = np.zeros((len(X), len(gate.paths_)))
    for k, path in enumerate(gate.paths_):
        for depth, child in enumerate(path):
            node = path[:depth]
            if node not in gate.coef_:  # one child only, which has all
                assert child == 0
                continue
            scores = X @ gate.coef_[node].T + gate.intercept_[node]
            out[:, k] += log_softmax(scores, axis=1)[:, child]
    return out


# ---------------------------------------------------------------- one level


def grouped(rng, n=240):
    """Return X, y and groups of two rows; the first feature, the gate's, is theirs."""
    X, y, _, _ = softmax_gated(rng, n, 2, 3)
    groups = np.arange(n) // 2
    X[:, 0] = X[groups * 2, 0]
    return X, y, groups


OPTIONS = {
    "plain": {},
    "alpha 0": {"alpha": 0.0},
    "weights": {"weights": True},
    "groups": {"groups": True},
    "noise": {"noise_expert": True},
    "usage prior": {"usage_prior": 3.0},
    "usage prior, noise, weights": {"usage_prior": 3.0, "noise_expert": True, "weights": True},
    "temperature": {"temperature": 2.5},
}


@unconverged
@pytest.mark.parametrize("kind", [MixtureOfExpertsRegressor, MixtureOfExpertsClassifier])
@pytest.mark.parametrize("name", OPTIONS)
def test_one_level_is_the_softmax_gate(rng, kind, name):
    options = dict(OPTIONS[name])
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
    rows._kept.clear()
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


# ---------------------------------------------------------------- fits


@unconverged
@pytest.mark.parametrize("branching", BRANCHINGS)
def test_bounds_never_fall(branching):
    k = int(np.prod(branching))
    for seed in range(6):
        rng = np.random.default_rng([seed, 5])
        X, y, _, _ = softmax_gated(rng, 40 + 30 * seed, 2, k, noise=[0.01, 0.3, 1.0][seed % 3])
        weight = 10.0 ** rng.uniform(-2, 2, len(X)) if seed % 2 else None
        kind = MixtureOfExpertsRegressor
        if seed % 3 == 2:
            kind, y = MixtureOfExpertsClassifier, (y > np.median(y)).astype(int)
        gate = HierarchicalGate(branching, alpha=[0.3, 0.0][seed % 2])
        model = kind(
            n_experts=k,
            gate=gate,
            init="random",
            n_init=1,
            on_collapse="keep",
            assignment="hard" if seed == 4 else "soft",
            max_iter=12,
            tol=0.0,
            random_state=seed,
        )
        model.fit(X, y, sample_weight=weight)
        bounds = model.lower_bounds_
        assert len(bounds) == 12
        fall = FALL_TOL * np.maximum(1.0, np.abs(bounds[:-1]))
        assert np.all(np.diff(bounds) >= -fall), seed


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_converged_fits_are_stationary(rng, alpha):
    # every partial derivative of the bound, by finite differences, in gate and experts
    X = rng.uniform(-1, 1, (400, 2))
    rows = make_rows(X)
    planted = HierarchicalGate((2, 2)).start(rows, 4, None)
    planted = planted.set_parameters(1.5 * rng.standard_normal(len(planted.get_parameters())))
    proba = np.exp(all_log_prob(planted, rows)).T
    z = (proba.cumsum(axis=1) < rng.random((400, 1))).sum(axis=1)
    lines = np.array([[3.0, 1, 0], [-3, 0, 2], [0, -4, 1], [8, 1, 1]])
    y = np.einsum("ij,ij->i", np.column_stack([np.ones(400), X]), lines[z])
    y += 0.3 * rng.standard_normal(400)
    weight = rng.exponential(size=400)
    model = MixtureOfExpertsRegressor(
        n_experts=4, gate=HierarchicalGate(alpha=alpha), init=proba, tol=1e-13, max_iter=5000
    )
    model.fit(X, y, sample_weight=weight)
    assert model.converged_
    problem = Problem(make_rows(X, y, weight), Soft(), 1, 0.0)
    state = State(model.gate_, model._bank)
    assert_allclose(evaluate(problem, state, 0).bound, model.lower_bound_, rtol=1e-12)
    sizes = [len(part.get_parameters()) for part in state.parts]

    def bound(vector):
        gate, bank = np.split(vector, sizes[:1])
        moved = State(state.gate.set_parameters(gate), state.bank.set_parameters(bank))
        return evaluate(problem, moved, 0).bound

    here = np.concatenate([part.get_parameters() for part in state.parts])
    assert_allclose(numeric_gradient(bound, here), 0.0, atol=2e-6)
    prior = (
        -0.5 * alpha * sum(np.sum(node.theta[:, 1:] ** 2) for node in state.gate.nodes_.values())
    )
    assert_allclose(state.gate.log_prior(), prior, rtol=1e-12)


def planted_problem(seed, depth=3, n=3000):
    """Return X, y, the true gate probabilities (n, K), and E(y | x) of a planted tree."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, 3))
    proba = np.ones((n, 1))
    for level in range(depth):
        parts = []
        for node in range(2**level):
            direction = rng.standard_normal(3)
            direction /= np.linalg.norm(direction)
            score = X @ direction
            own = proba.argmax(axis=1) == node
            right = expit(12 * (score - np.median(score[own])))
            parts += [proba[:, node] * (1 - right), proba[:, node] * right]
        proba = np.column_stack(parts)
    lines = 2 * rng.standard_normal((2**depth, 4))
    z = (proba.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    means = np.column_stack([np.ones(n), X]) @ lines.T
    y = means[np.arange(n), np.minimum(z, 2**depth - 1)] + 0.3 * rng.standard_normal(n)
    return X, y, proba, np.sum(proba * means, axis=1)


def error_ratio(seed, **options):
    """Return the error of a fit of a planted tree over that of a fit from the truth."""
    X, y, proba, truth = planted_problem(seed)
    gate = HierarchicalGate((2, 2, 2))
    errors = []
    for own in ({"init": proba}, options):
        model = MixtureOfExpertsRegressor(n_experts=8, gate=gate, random_state=seed, **own)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X, y)
        errors.append(np.sqrt(np.mean((model.predict(X) - truth) ** 2)))
    return errors[1] / errors[0]


@pytest.mark.parametrize("seed", [0, 1])
def test_a_planted_tree_is_found(seed):
    assert error_ratio(seed) < 1.05


@pytest.mark.slow
def test_planted_trees_are_found():
    ratios = [error_ratio(seed) for seed in range(10)]
    assert np.sum(np.array(ratios) < 1.05) >= 9, ratios


@pytest.mark.parametrize("gate", [SoftmaxGate(0.0), HierarchicalGate(alpha=0.0)])
def test_separable_regions_without_penalty(rng, gate):
    X = rng.uniform(-1, 1, (300, 2))
    quadrant = 2 * (X[:, 0] > 0) + (X[:, 1] > 0)
    X += 0.1 * np.sign(X)
    lines = np.array([[5.0, 1, 0], [-5, 0, 2], [0, -4, 1], [10, 1, 1]])
    y = np.einsum("ij,ij->i", np.column_stack([np.ones(300), X]), lines[quadrant])
    y += 0.1 * rng.standard_normal(300)
    model = MixtureOfExpertsRegressor(n_experts=4, gate=gate, random_state=0)
    with pytest.warns(ConvergenceWarning, match=r"gate separates|did not converge"):
        model.fit(X, y)
    coef, intercept = model.gate_.coef_, model.gate_.intercept_
    for values in (
        [coef, intercept]
        if isinstance(gate, SoftmaxGate)
        else [
            *coef.values(),
            *intercept.values(),
        ]
    ):
        assert np.all(np.isfinite(values))
    assert model.score(X, y) > 0.99
    assert np.all(np.isfinite(model.gate_proba(1e6 * X)))


# ---------------------------------------------------------------- fewer experts, another order


def pruned(tree, X, kept):
    """Return g (n, len(kept)) where nodes divide up their rows among the children that remain."""
    below = {path[:d] for path in (tree.paths_[k] for k in kept) for d in range(len(path) + 1)}
    out = np.ones((len(X), len(kept)))
    for j, k in enumerate(kept):
        path = tree.paths_[k]
        for depth, child in enumerate(path):
            node = path[:depth]
            if node not in tree.coef_:
                continue
            proba = np.exp(log_softmax(X @ tree.coef_[node].T + tree.intercept_[node], axis=1))
            here = [c for c in range(proba.shape[1]) if (*node, c) in below]
            out[:, j] *= proba[:, child] / proba[:, here].sum(axis=1)
    return out


@pytest.mark.parametrize("branching", [(2, 2, 2), (3, 2), (2, 3), (4, 1)])
def test_some_of_the_experts(rng, branching):
    rows, _, tree = started(rng, branching, n=15)
    k = len(tree.paths_)
    for size in range(1, k + 1):
        for chosen in combinations(range(k), size):
            kept = rng.permutation(chosen)
            part = tree.select(kept)
            expected = pruned(tree, rows.X, kept)
            assert_allclose(np.exp(all_log_prob(part, rows)).T, expected, atol=1e-12)
            assert part.paths_ == [tree.paths_[j] for j in kept]
            assert part.monotone and part.n_parameters >= 0
            again = part.set_parameters(part.get_parameters())
            assert_allclose(all_log_prob(again, rows), all_log_prob(part, rows), atol=1e-12)


def test_ragged_trees_go_on_learning_and_lose_more(rng):
    rows, resp, tree = started(rng, (2, 2, 2), far=False)
    first = tree.select(np.array([5, 0, 1, 2, 7]))  # (1, 0) and (1, 1) have one leaf each
    assert set(first.nodes_) == {(), (0,), (0, 0), (1,)}
    shares = resp[:5] / resp[:5].sum(axis=0)
    part = fit_part(first, rows, shares, 20)
    slope = numeric_gradient(
        lambda v: expected_log_prob(part.set_parameters(v), rows, shares), part.get_parameters()
    )
    assert_allclose(slope, 0.0, atol=1e-4)
    assert [own.tolist() for own in part.leaves_at(1)] == [[1, 2, 3], [0, 4]]
    assert [own.tolist() for own in part.leaves_at(2)] == [[1, 2], [3], [0], [4]]
    both = part.select(np.array([4, 1, 3]))
    at_once = part.select(np.array([0, 1, 3, 4])).select(np.array([3, 1, 2]))
    assert_allclose(all_log_prob(both, rows), all_log_prob(at_once, rows), atol=1e-12)
    alone = part.select(np.array([2]))
    assert_allclose(all_log_prob(alone, rows), 0.0, atol=1e-14)


def test_permutations(rng):
    rows, _, tree = started(rng, (3, 2))
    known = all_log_prob(tree, rows)
    for _ in range(5):
        order = rng.permutation(6)
        part = tree.select(order)
        assert_allclose(all_log_prob(part, rows), known[order], atol=1e-13)
        assert_allclose(products(part, rows.X).T, known[order], atol=1e-10)
    assert_array_equal(all_log_prob(tree, rows), known)


def quadrants(rng, n=400):
    """Return X, y of four lines, one a quadrant, and the quadrants."""
    X = rng.uniform(-1, 1, (n, 2))
    quadrant = 2 * (X[:, 0] > 0) + (X[:, 1] > 0)
    lines = np.array([[4.0, 1, 0], [-4, 0, 2], [0, -4, 1], [9, 1, 1]])
    y = np.einsum("ij,ij->i", np.column_stack([np.ones(n), X]), lines[quadrant])
    return X, y + 0.2 * rng.standard_normal(n), quadrant


def test_experts_that_are_dropped(rng):
    X, y, labels = quadrants(rng)
    labels[np.flatnonzero(labels == 3)] = 2  # expert 3 is left with two rows
    labels[:2] = 3
    right = X[:, 0] > 0
    y[right] = X[right, 0] + 3 + 0.2 * rng.standard_normal(right.sum())
    model = MixtureOfExpertsRegressor(
        LinearRegression(),
        n_experts=4,
        gate=HierarchicalGate((2, 2)),
        init=labels,
        on_collapse="drop",
    )
    with pytest.warns(ConvergenceWarning, match="expert 3 collapsed"):
        model.fit(X, y)
    assert len(model.experts_) == 3
    assert model.gate_.paths_ == [(0, 0), (0, 1), (1, 0)]
    assert set(model.gate_.nodes_) == set(model.gate_.coef_) == {(), (0,)}
    assert_allclose(model.gate_proba(X).sum(axis=1), 1.0, rtol=1e-12)
    at_1 = model.gate_proba(X, level=1)
    assert_allclose(at_1[:, 1], model.gate_proba(X)[:, 2])
    for expert, own in zip(model.experts_, [labels == 0, labels == 1, labels == 2], strict=True):
        alone = LinearRegression().fit(X[own], y[own])
        assert_allclose(expert.coef_, alone.coef_, atol=0.15)
        assert_allclose(expert.intercept_, alone.intercept_, atol=0.15)
    assert np.isfinite(model.bic(X, y))
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.gate_proba(X), model.gate_proba(X))
    assert not hasattr(clone(model.gate_), "nodes_")


# ---------------------------------------------------------------- a scikit-learn citizen


def test_parameters_round_trip(rng):
    rows, resp, part = started(rng, (2, 3))
    vector, known = part.get_parameters().copy(), all_log_prob(part, rows)
    assert vector.shape == (3 * (2 + 3 + 3),)
    again = HierarchicalGate((2, 3)).start(rows, 6, None).set_parameters(vector)
    assert_allclose(all_log_prob(again, rows), known, atol=1e-12)
    new = fit_part(part, rows, resp)
    assert new is not part and not np.array_equal(new.get_parameters(), vector)
    assert_array_equal(part.get_parameters(), vector)
    assert_array_equal(all_log_prob(part, rows), known)
    for other in (pickle.loads(pickle.dumps(part)), copy.deepcopy(part)):
        assert_array_equal(all_log_prob(other, rows), known)
    assert clone(part).get_params() == HierarchicalGate((2, 3)).get_params()
    assert not hasattr(clone(part), "nodes_")


@unconverged
def test_grid_search_over_branchings(rng):
    X, y, _ = quadrants(rng, 160)
    model = MixtureOfExpertsRegressor(
        n_experts=4, gate=HierarchicalGate(), n_init=1, max_iter=5, random_state=0
    )
    grid = {"gate__branching": [(2, 2), (4,), (1, 4)], "gate__alpha": [0.1, 1.0]}
    search = GridSearchCV(model, grid, cv=2, error_score="raise").fit(X, y)
    assert search.best_params_["gate__branching"] in grid["gate__branching"]
    assert search.best_estimator_.gate_.get_params()["alpha"] in (0.1, 1.0)
    assert search.best_estimator_.gate.__dict__.keys() == HierarchicalGate().__dict__.keys()


@pytest.mark.parametrize("branching", [(1,), (1, 1), 1])
def test_one_expert(rng, branching):
    X, y, _, _ = softmax_gated(rng, 80, 2, 2)
    model = MixtureOfExpertsRegressor(
        LinearRegression(), n_experts=1, gate=HierarchicalGate(branching)
    )
    model.fit(X, y)
    alone = LinearRegression().fit(X, y)
    assert_allclose(model.predict(X), alone.predict(X), rtol=1e-9)
    assert model.gate_.n_parameters == 0
    error = y - alone.predict(X)
    bound = -0.5 * (np.log(np.mean(error**2)) + 1 + LOG_2PI)
    assert_allclose(model.lower_bound_, bound, rtol=1e-9)


def test_whole_numbers_of_numpy(rng):
    X, y, _ = quadrants(rng, 200)
    model = MixtureOfExpertsRegressor(
        n_experts=4, gate=HierarchicalGate((2, 2)), n_init=1, random_state=0
    )
    model.fit(X, y)
    assert np.any(np.diff(model.usage_) > 0)  # leaves are not put in order of usage
    for branching in ([2, 2], np.array([2, 2]), (np.int64(2), 2)):
        other = clone(model).set_params(gate__branching=branching).fit(X, y)
        assert_array_equal(other.gate_proba(X), model.gate_proba(X))
        assert other.gate_.paths_ == model.gate_.paths_


@pytest.mark.parametrize(
    "branching", [(), 0, (2, 0), (2, -1), (2, 2.0), "22", None, (True, 4), 2.5]
)
def test_branchings_that_are_none(rng, branching):
    X, y, _, _ = softmax_gated(rng, 60, 1, 2)
    model = MixtureOfExpertsRegressor(n_experts=4, gate=HierarchicalGate(branching))
    with pytest.raises(ValueError, match=r"HierarchicalGate: branching must be .* got .*Give"):
        model.fit(X, y)


def test_other_bad_parameters(rng):
    X, y, _, _ = softmax_gated(rng, 60, 2, 2)

    def fit(gate, n_experts=4, **options):
        MixtureOfExpertsRegressor(n_experts=n_experts, gate=gate, **options).fit(X, y)

    with pytest.raises(ValueError, match=r"HierarchicalGate: branching=\(2, 3\) has 6 leaves.*=4"):
        fit(HierarchicalGate((2, 3)))
    for name, value in (("alpha", -1), ("temperature", 0), ("usage_prior", -0.1), ("alpha", "a")):
        with pytest.raises(ValueError, match=rf"HierarchicalGate: {name} must be a number"):
            fit(HierarchicalGate(**{name: value}))
    with pytest.raises(ValueError, match=r"HierarchicalGate: missing must be .* got 'no'"):
        fit(HierarchicalGate(missing="no"))
    with pytest.raises(ValueError, match=r"HierarchicalGate: gate_features gives columns to each"):
        fit(HierarchicalGate(), gate_features=[[0], [1], [0], [1]])


@unconverged
def test_missing_values_have_indicators_at_every_node(rng):
    X, y, _ = quadrants(rng, 200)
    X[::5, 1] = np.nan
    y[::5] = 3.0
    model = MixtureOfExpertsRegressor(
        n_experts=4, gate=HierarchicalGate(), n_init=1, max_iter=5, expert_features=[0]
    )
    model.fit(X, y)
    for node in model.gate_.nodes_.values():
        assert node.indicator_coef_.shape == (2, 1)
    assert np.all(np.isfinite(model.gate_proba(X)))
    with pytest.raises(ValueError, match=r"NaN.*HierarchicalGate"):
        model.set_params(gate__missing="error").fit(X, y)
