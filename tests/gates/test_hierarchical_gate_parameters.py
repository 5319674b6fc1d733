"""Trees with fewer experts or in another order, parameters, errors."""

import copy
import pickle
from itertools import combinations

import numpy as np
import pytest
from _problems import (
    LOG_2PI,
    expected_log_prob,
    fit_part,
    numeric_gradient,
    softmax_gated,
)
from _trees import all_log_prob, products, started
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV

from mixexp import MixtureOfExpertsRegressor
from mixexp.gates import HierarchicalGate

unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


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
