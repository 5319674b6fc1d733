"""Mixtures under a tree: bounds climb, and planted trees are found."""

import warnings

import numpy as np
import pytest
from _problems import (
    make_rows,
    numeric_gradient,
    softmax_gated,
)
from _trees import BRANCHINGS, all_log_prob
from numpy.testing import assert_allclose
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._engine.assign import Soft
from mixexp._engine.em import Problem, evaluate
from mixexp._engine.guard import FALL_TOL
from mixexp._engine.sweep import State
from mixexp.gates import HierarchicalGate, SoftmaxGate

unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


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
    state = State(model.gate_, model._model.bank)
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


@pytest.mark.slow
def test_a_planted_tree_is_found():
    assert error_ratio(0) < 1.05


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
