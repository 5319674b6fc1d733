"""Newton steps are guarded: in starts, at fixed responsibilities, in EM, from anywhere."""

import warnings

import numpy as np
import pytest
from _problems import (
    banks,
    expected_log_prob,
    fit_part,
    make_rows,
    one_expert,
    random_resp,
    statistics_of,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import GammaRegressor, LogisticRegression, PoissonRegressor, Ridge
from sklearn.metrics import log_loss
from sklearn.tree import DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._engine import fixed
from mixexp._engine.assign import Soft
from mixexp._engine.em import Problem, run_em
from mixexp._engine.fixed import fit_at
from mixexp._engine.guard import FALL_TOL, fallen, overshoots, retreats
from mixexp._engine.sweep import State
from mixexp._estimators.targets import Classes, Numbers
from mixexp._newton import (
    OVERSHOT,
    SMALLEST_SLOPE,
    NewtonStep,
    block_products,
    first_trial,
    multinomial_block_step,
    multinomial_newton_step,
    n_block_rows,
    trusted_step,
    trusted_steps,
)
from mixexp._numerics import softmax_in_place, unpack_symmetric, weighted_gram
from mixexp.experts import NoiseBank, linear_bank
from mixexp.families import Gamma, Gaussian, Poisson, StudentT
from mixexp.gates import (
    ConstantGate,
    GaussianGate,
    HierarchicalGate,
    NestedGate,
    NoiseGate,
    SoftmaxGate,
    _softmax,
)
from mixexp.gates._balanced import BalancedGate
from mixexp.gates._tree import NodeSums, TreeGate
from mixexp.protocols import Sums, can, evolve

unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def standardised(X):
    return (X - X.mean(axis=0)) / (X.std(axis=0) + 1e-12)


def seven_kinds(rng, n=900, d=12):
    """Return a table of seven classes, far apart on skewed columns and some of them hardly."""
    y = rng.integers(7, size=n)
    X = 3.0 * rng.standard_normal((7, d))[y] + rng.standard_normal((n, d))
    X[:, :4] = np.exp(X[:, :4])
    X[y == 3] = X[rng.choice(np.flatnonzero(y == 2), np.sum(y == 3))]
    X[y == 3, 5] += 0.5
    return standardised(X), y


# ---------------------------------------------------------------- one expert is its model


@pytest.mark.parametrize("c", [1.0, 17.0, 1e4])
@pytest.mark.parametrize("seed", range(4))
def test_one_logistic_expert_ends_where_its_model_does(seed, c):
    X, y = seven_kinds(np.random.default_rng(seed))
    own = MixtureOfExpertsClassifier(LogisticRegression(C=c), n_experts=1, random_state=0).fit(X, y)
    one = LogisticRegression(C=c, solver="newton-cholesky", tol=1e-8, max_iter=500).fit(X, y)
    assert_allclose(log_loss(y, own.predict_proba(X)), log_loss(y, one.predict_proba(X)), atol=2e-3)
    assert own.converged_


@pytest.mark.parametrize("c", [0.01, 1.0, 1e4])
@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("table", [load_iris, load_wine, load_breast_cancer, load_digits])
def test_one_logistic_expert_on_tables(table, scaled, c):
    X, y = table(return_X_y=True)
    X = standardised(X) if scaled else X
    own = MixtureOfExpertsClassifier(LogisticRegression(C=c), n_experts=1, random_state=0).fit(X, y)
    one = LogisticRegression(C=c, solver="newton-cholesky", tol=1e-6, max_iter=500).fit(X, y)
    codes = np.searchsorted(one.classes_, y)

    def objective(model, proba):
        lowest = np.finfo(float).tiny
        likelihood = np.log(np.maximum(proba[np.arange(len(y)), codes], lowest)).sum()
        return (likelihood - np.sum(model.coef_**2) / (2 * c)) / len(y)

    found = objective(own.experts_[0], own.predict_proba(X))
    assert found >= objective(one, one.predict_proba(X)) - 2e-6
    assert own.converged_


@pytest.mark.parametrize("scale", [1.0, 1e4, 1e8])
@pytest.mark.parametrize("family", ["poisson", "gamma"])
def test_one_expert_with_a_log_link(rng, family, scale):
    # at the maximum the score equations hold; scikit-learn's line searches fail at large counts
    X = rng.standard_normal((400, 3))
    mean = scale * np.exp(X @ [1.0, -0.5, 2.0])
    y = rng.poisson(mean).astype(float) if family == "poisson" else rng.gamma(4.0, mean / 4.0)
    template = PoissonRegressor(alpha=0) if family == "poisson" else GammaRegressor(alpha=0)
    own = MixtureOfExpertsRegressor(
        template, n_experts=1, family=family, random_state=0, tol=1e-9
    ).fit(X, y)
    assert own.n_passes_ < 30
    found = own.predict(X)
    weight = np.ones(400) if family == "poisson" else 1 / found
    X1 = np.column_stack([np.ones(400), X])
    score, size = X1.T @ (weight * (y - found)), np.abs(X1).T @ (weight * y)
    assert_allclose(score / size, 0.0, atol=1e-5)
    assert np.all(np.diff(own.lower_bounds_) >= -FALL_TOL * np.abs(own.lower_bounds_[1:]))


# ---------------------------------------------------------------- at fixed responsibilities


def parts(rng, kind):
    """Return rows, a part whose steps can overshoot, far from its maximum, responsibilities."""
    if kind == "logistic":
        rows, bank, resp = banks(rng, n=60, d=2, n_classes=4, alpha=0.0)
        return rows, bank.set_parameters(6 * rng.standard_normal(bank.theta.size)), resp
    if kind in ("poisson", "gamma"):
        family = Poisson() if kind == "poisson" else Gamma()
        X = rng.standard_normal((60, 2))
        y = np.ceil(np.exp(3 * X[:, 0] + rng.standard_normal(60)))
        template = PoissonRegressor(alpha=0.0) if kind == "poisson" else GammaRegressor(alpha=0.0)
        rows = make_rows(X, y)
        bank = linear_bank(template, rows, None, Numbers(family, ())).replicate(2)
        theta = 2 * rng.standard_normal(bank.theta.shape)
        return rows, evolve(bank, theta=theta), random_resp(rng, 2, 60)
    rows = make_rows(rng.standard_normal((60, 2)), weight=rng.exponential(size=60))
    gates = {
        "softmax": SoftmaxGate(0.0),
        "usage": SoftmaxGate(0.1, usage_prior=2.0),
        "tree": HierarchicalGate((2, 2), alpha=0.0),
        "mixed tree": NestedGate(
            [(0,), (1, 0), (1, 1), (1, 2)], {(): ConstantGate(), (1,): SoftmaxGate(0.0)}
        ),
    }
    gate = gates[kind].start(rows, 4, None)
    far = gate.set_parameters(6 * rng.standard_normal(len(gate.get_parameters())))
    return rows, far, random_resp(rng, 4, 60, 3.0)


KINDS = ["logistic", "poisson", "gamma", "softmax", "usage", "tree", "mixed tree"]


@pytest.mark.parametrize("kind", KINDS)
def test_no_step_at_fixed_responsibilities_goes_down(rng, kind):
    plain_fell = 0
    for _ in range(25):
        rows, part, resp = parts(rng, kind)
        part = part.measured(rows) if hasattr(part, "measured") else part
        value = expected_log_prob(part, rows, resp)
        plain = part.update(statistics_of(part, rows, resp), rows)
        plain = plain.measured(rows) if hasattr(plain, "measured") else plain
        plain_fell += not expected_log_prob(plain, rows, resp) >= value
        for _ in range(6):
            part = fit_part(part, rows, resp)
            part = part.measured(rows) if hasattr(part, "measured") else part
            after = expected_log_prob(part, rows, resp)
            assert after >= value - 1e-9 * max(rows.total_weight, abs(value))
            value = after
    if kind in ("poisson", "tree"):
        assert plain_fell > 0  # so that the guard has something to do


def test_several_steps_are_those_one_by_one(rng):
    rows, part, resp = parts(rng, "softmax")
    at_once = fit_part(part, rows, resp, 3)
    for _ in range(3):
        part = fit_part(part, rows, resp)
    assert_allclose(at_once.theta, part.theta, rtol=1e-12)


def test_a_part_is_guarded_by_itself(rng):
    # the gate overshoots, the bank does not: its step is the one that it takes alone, up to the
    # rounding of products that both share
    rows, gate, resp = parts(rng, "softmax")
    y = rng.standard_normal((1, 60))
    rows = make_rows(rows.X, y[0], rows.weight)
    bank = one_expert(Ridge(1.0), rows).replicate(4)
    gate = evolve(SoftmaxGate(0.0).start(rows, 4, None), theta=gate.theta)
    both = fit_at(State(gate, bank), rows, resp, 2)
    gate_alone = fit_at(State(gate, None), rows, resp, 2).gate
    assert_allclose(both.gate.theta, gate_alone.theta, rtol=1e-12, atol=1e-12)
    alone = fit_at(State(None, bank), rows, resp, 2).bank
    assert_allclose(both.bank.get_parameters(), alone.get_parameters(), rtol=1e-12, atol=1e-12)


def test_a_pass_is_made_only_where_a_step_can_overshoot(rng, monkeypatch):
    rows, bank, resp = banks(rng)
    passes = []
    monkeypatch.setattr("mixexp._engine.fixed._look", spy(passes))
    fit_at(State(ConstantGate().start(rows, 3, None), bank), rows, resp, 2)
    assert len(passes) == 2
    passes.clear()
    fit_at(State(SoftmaxGate().start(rows, 3, None), bank), rows, resp, 2)
    assert [statistics for _, statistics in passes] == [True, True, False]
    assert passes[-1][0].bank is None


def closed_gates(rows):
    """Return gates of four experts and a noise expert whose M-steps are in closed form."""
    constant, gaussian = (gate.start(rows, 4, None) for gate in (ConstantGate(), GaussianGate()))
    nodes = {(): ConstantGate(), (1,): ConstantGate()}
    tree = NestedGate([(0,), (1, 0), (1, 1), (1, 2)], nodes).start(rows, 4, None)
    gates = [constant, gaussian, tree, BalancedGate(tree, 2.0)]
    return [NoiseGate(gate, 0.1) for gate in gates]


@pytest.mark.parametrize("gate", range(4))
@pytest.mark.parametrize("family", [Gaussian(), StudentT()], ids=repr)
def test_closed_forms_in_a_wrapper_need_no_further_pass(rng, monkeypatch, gate, family):
    rows = make_rows(rng.standard_normal((60, 2)), rng.standard_normal(60))
    bank = one_expert(Ridge(), rows, family=family).replicate(4)
    bank = NoiseBank(bank, -1.0, np.array([-9.0]), np.array([9.0]))
    gate, resp = closed_gates(rows)[gate], random_resp(rng, 5, 60)
    passes = []
    monkeypatch.setattr("mixexp._engine.fixed._look", spy(passes))
    new = fit_at(State(gate, bank), rows, resp, 2)
    assert [statistics for _, statistics in passes] == [True, True]
    assert not overshoots(gate, new.gate) and not overshoots(bank, new.bank)
    assert bank.toward(new.bank, 0.5) is new.bank
    assert list(retreats(bank, new.bank, None, rows)) == []


def spy(passes):

    plain = fixed._look

    def look(state, rows, resp, statistics=True):
        passes.append((state, statistics))
        return plain(state, rows, resp, statistics)

    return look


def test_what_counts_as_a_fall():
    assert fallen(-1.1, -1.0)
    assert not fallen(-1.0 - 1e-12, -1.0)
    assert not fallen(-1.0 - 1e-7, -1.0, 1000.0)
    assert fallen(np.nan, -1.0)
    assert not fallen(np.nan, -np.inf)
    assert fallen(-np.inf, -1.0)


class HalfAtMost:
    """A part of one's own, with `toward` alone, that always goes three times too far."""

    monotone = True

    def __init__(self, theta):
        self.theta = theta

    def get_parameters(self):
        return np.array([self.theta])

    def log_prob(self, block):
        return np.full((1, block.n_rows), -((self.theta - 1.0) ** 2))

    def statistics(self, block, resp):
        return Sums(mass=float(resp.sum()))

    def update(self, statistics, rows):
        return HalfAtMost(self.theta + 3 * (1.0 - self.theta))

    def toward(self, new, t):
        return HalfAtMost(self.theta + t * (new.theta - self.theta))


def test_a_part_without_damping_goes_back_part_of_the_way(rng):
    rows = make_rows(rng.standard_normal((20, 1)))
    found = fit_part(HalfAtMost(0.0), rows, np.ones((1, 20)))
    assert found.theta == 1.5
    tried = retreats(HalfAtMost(0.0), HalfAtMost(3.0), None, rows)
    assert [part.theta for part in tried] == [1.5, 0.75]


class Backwards(HalfAtMost):
    """Its step goes down."""

    def update(self, statistics, rows):
        return evolve(self, theta=self.theta - 3.0)

    def toward(self, new, t):
        return evolve(new, theta=self.theta + t * (new.theta - self.theta))


class Heuristic(Backwards):
    """Its step is no M-step, and says so."""

    monotone = False


def test_a_part_stays_where_even_short_steps_fall_unless_it_claims_no_ascent(rng):
    rows = make_rows(rng.standard_normal((20, 1)))
    start = Backwards(0.0)
    assert fit_part(start, rows, np.ones((1, 20)), 2) is start
    assert fit_part(Heuristic(0.0), rows, np.ones((1, 20)), 2).theta == -6.0


@pytest.mark.parametrize("size, end", [(1.0, 1.5), (1e-7, 3.0)])
def test_a_fall_counts_with_the_prior_and_by_the_weight(rng, size, end):
    class Prior(HalfAtMost):
        """All of its value is a log-prior."""

        def log_prob(self, block):
            return np.zeros((1, block.n_rows))

        def log_prior(self):
            return -size * (self.theta - 1.0) ** 2

        def update(self, statistics, rows):
            return Prior(self.theta + 3 * (1.0 - self.theta))

        def toward(self, new, t):
            return Prior(self.theta + t * (new.theta - self.theta))

    rows = make_rows(rng.standard_normal((1000, 1)))
    # the step to 3 lowers the value by 3 size: of a thousand rows, 3e-7 is rounding
    assert fit_part(Prior(0.0), rows, np.ones((1, 1000))).theta == end


@pytest.mark.parametrize("other", [None, SoftmaxGate(0.0), ConstantGate()], ids=repr)
def test_a_tree_goes_back_with_its_nodes_that_have_no_damping(rng, other):
    rows = make_rows(rng.standard_normal((60, 2)))
    paths, node = [(0,), (1, 0), (1, 1)], SoftmaxGate(0.0).start(rows, 2, None)
    below = HalfAtMost(0.0) if other is None else other.start(rows, 2, None)
    old = TreeGate(paths, {(): HalfAtMost(0.0), (1,): below})
    statistics = NodeSums([Sums(mass=1.0), statistics_of(below, rows, random_resp(rng, 2, 60))], [])
    new = old.update(statistics, rows)
    assert not can(old, "damped") and overshoots(old, new)
    tried = list(retreats(old, new, statistics, rows))
    assert [tree.nodes_[()].theta for tree in tried] == [1.5, 0.75]
    if isinstance(other, ConstantGate):
        assert all(tree.nodes_[(1,)] is new.nodes_[(1,)] for tree in tried)
    # no node of the one can be shortened, all of the other can be damped
    closed = ConstantGate().start(rows, 2, None)
    tree = TreeGate(paths, {(): closed, (1,): closed})
    assert not can(tree, "toward") and not can(tree, "damped") and not can(tree, "bounded")
    tree = TreeGate(paths, {(): closed, (1,): node})
    assert can(tree, "toward") and can(tree, "damped") and can(tree, "bounded")


def test_closed_forms_have_no_retreat(rng):
    for family in (Gaussian(), StudentT()):
        rows = make_rows(rng.standard_normal((20, 1)), rng.standard_normal(20))
        bank = one_expert(Ridge(), rows, family=family)
        assert bank.damped(bank) is bank
        assert list(retreats(bank, bank, None, rows)) == []


# ---------------------------------------------------------------- damping


@pytest.mark.parametrize("kind", ["logistic", "poisson", "gamma", "softmax", "tree"])
def test_damped_steps_are_shorter_and_turn_to_the_gradient(rng, kind):
    rows, part, resp = parts(rng, kind)
    statistics = statistics_of(part, rows, resp)
    here = part.get_parameters()
    new = part.update(statistics, rows)
    lengths = [np.linalg.norm(new.get_parameters() - here)]
    values = []
    for tried in retreats(part, new, statistics, rows):
        lengths.append(np.linalg.norm(tried.get_parameters() - here))
        values.append(expected_log_prob(tried, rows, resp))
    assert len(lengths) == 7
    if kind in ("logistic", "softmax"):  # where no dispersion is part of the vector
        assert np.all(np.diff(lengths) < 0)
        assert lengths[-1] < 0.02 * lengths[0]
    assert max(values) > expected_log_prob(part, rows, resp)


def test_damping_is_remembered_and_fades(rng):
    rows, resp = make_rows(rng.standard_normal((200, 2))), random_resp(rng, 3, 200)
    gate = SoftmaxGate().start(rows, 3, None)
    rest = gate.damping
    gate = evolve(gate, damping=0.5)
    seen = []
    for _ in range(20):
        gate = fit_part(gate, rows, resp)
        seen.append(gate.damping)
    assert_allclose(seen[:3], [0.125, 0.03125, 0.0078125])
    assert gate.damping == rest
    plain = fit_part(SoftmaxGate().start(rows, 3, None), rows, resp, 20)
    assert_allclose(gate.theta, plain.theta, atol=1e-9)


def test_a_step_that_promises_too_much_is_damped():
    # the curvature is nearly 0, and the model says that 5e5 nats a row are to be gained
    taken = trusted_step(lambda own: np.array([[1.0 / (1e-6 + own)]]), np.ones((1, 1)), 1.0, 1e-9)
    assert taken.slope <= 4.0
    assert taken.damping > 0.2
    # a step that promises little is left alone
    taken = trusted_step(lambda own: np.array([[0.1 / (1.0 + own)]]), np.array([[0.1]]), 1.0, 1e-9)
    assert_allclose(taken.step, 0.1, rtol=1e-8)
    assert taken.damping == 1e-9


@pytest.mark.parametrize("size", [1.0, 1.8])
def test_a_step_that_went_too_far_damps_the_next(size):
    last = trusted_step(lambda own: np.array([[size]]), np.array([[size]]), 1.0, 1e-9)
    for residual, damps in [(0.3, False), (-0.4, False), (-0.6, True)]:
        here = size * np.array([[residual]])
        taken = trusted_step(lambda own, here=here: here / (1 + own), here, 1.0, 1e-9, last)
        assert (taken.damping > 1e-9) == damps


# ---------------------------------------------------------------- steps with blocks


@pytest.mark.parametrize("k", [2, 3, 6])
def test_blocks_bound_the_hessian(rng, k):
    for sharpness in (0.1, 1.0, 3.0, 10.0):
        proba = softmax(sharpness * rng.standard_normal((k, 200)), axis=0)
        weights = block_products(proba, np.empty((n_block_rows(k), 200)))
        weights = np.broadcast_to(weights, (k, 200))
        smaller = np.where(proba.max(axis=0) <= 0.5, proba, 2 * proba * (1 - proba))
        assert_allclose(weights, smaller, atol=1e-15)  # of two bounds
        v = rng.standard_normal((k, 200))
        variance = np.sum(proba * (v - np.sum(proba * v, axis=0)) ** 2, axis=0)
        assert np.all(np.sum(weights * (v - v.mean(axis=0)) ** 2, axis=0) >= variance - 1e-14)
        if k == 2:
            assert_allclose(np.sum(weights * (v - v.mean(axis=0)) ** 2, axis=0), variance)


def test_for_two_classes_blocks_give_the_newton_step(rng):
    design = np.concatenate([np.ones((1, 80)), rng.standard_normal((3, 80))])
    theta = rng.standard_normal((2, 4))
    theta -= theta.mean(axis=0)
    proba = theta @ design
    softmax_in_place(proba)
    error = np.eye(2)[rng.integers(2, size=80)].T - proba
    gradient, penalty = error @ design.T, np.array([0.0, 1.0, 1.0, 2.0])

    def gram(weights):
        return unpack_symmetric(weighted_gram(weights, design), 4)

    newton = multinomial_newton_step(
        gram(proba[:1] * proba[1:]), gradient, theta, penalty, 80.0, None, 1e-3
    )
    out = block_products(proba, np.empty((1, 80)))
    blocks = multinomial_block_step(gram(out), gradient, theta, penalty, 80.0, None, 1e-3)
    assert_allclose(blocks, newton, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("own", [False, True])
def test_gates_of_many_coefficients_reach_the_newton_maximum(rng, monkeypatch, own):
    rows, resp = make_rows(rng.standard_normal((300, 4))), random_resp(rng, 5, 300, 2.0)
    columns = [np.arange(4)[: 2 + k % 3] for k in range(5)] if own else None
    newton = fit_part(SoftmaxGate().start(rows, 5, columns), rows, resp, 20)
    monkeypatch.setattr(_softmax, "NEWTON_COEFFICIENTS", 10)
    gate = SoftmaxGate().start(rows, 5, columns)
    assert gate.curvature == "blocks"
    assert_allclose(fit_part(gate, rows, resp, 80).theta, newton.theta, atol=1e-6)


# ---------------------------------------------------------------- many experts


@pytest.mark.slow
@unconverged
def test_more_experts_from_finer_leaves_end_no_lower():
    rng = np.random.default_rng(0)
    X = np.exp(rng.normal(size=(1500, 6)))
    X = np.c_[X, X.argsort(axis=0).argsort(axis=0) / 1500]
    y = np.sin(3 * X[:, 6]) * np.where(X[:, 7] > 0.5, 1, -1) + X[:, 8] * X[:, 9]
    y += 0.05 * rng.normal(size=1500)
    Z = standardised(X)
    bounds = []
    for k in (8, 16, 32, 48):
        tree = DecisionTreeRegressor(max_leaf_nodes=k, min_samples_leaf=20, random_state=0)
        leaf = np.unique(tree.fit(X, y).apply(X), return_inverse=True)[1]
        model = MixtureOfExpertsRegressor(
            n_experts=k, init=leaf, max_iter=30, expert_features=list(range(6)), random_state=0
        ).fit(Z, y)
        assert np.all(np.diff(model.lower_bounds_) >= -FALL_TOL)
        bounds.append(model.lower_bound_)
    assert np.all(np.diff(bounds) > -0.01), bounds


@pytest.mark.parametrize("k", [16, 24, 32, 64])
def test_gates_of_many_experts_learn_given_regions(k):
    # a grid of regions on skewed columns, each a few units wide: separable, so that steps are long
    rng = np.random.default_rng(k)
    X = np.exp(rng.normal(size=(2000, 6)))
    tree = DecisionTreeRegressor(max_leaf_nodes=k, min_samples_leaf=15, random_state=0)
    leaf = tree.fit(X, X[:, 0] * X[:, 1] + X[:, 2]).apply(X)
    resp = np.eye(k)[np.unique(leaf, return_inverse=True)[1]].T.copy()
    rows = make_rows(standardised(np.log(X)))
    gate, values = SoftmaxGate(alpha=0.3).start(rows, k, None), [-2000 * np.log(k)]
    for _ in range(12):
        gate = fit_part(gate, rows, resp)
        values.append(expected_log_prob(gate, rows, resp))
    assert np.all(np.diff(values) > 0)
    plain = LogisticRegression(C=1 / 0.3, solver="newton-cg", max_iter=15)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        plain.fit(standardised(np.log(X)), resp.argmax(axis=0))
    there = log_loss(resp.argmax(axis=0), plain.predict_proba(standardised(np.log(X))))
    there += 0.15 * np.sum(plain.coef_**2) / 2000
    assert values[-1] / 2000 > -there - 0.05


# ---------------------------------------------------------------- EM, from far away


@pytest.mark.parametrize("size", [10.0, 1e3])
def test_em_comes_back_from_a_state_gone_astray(rng, size):
    X, y = seven_kinds(rng)
    rows = make_rows(X, y)
    template = LogisticRegression(C=1.0)
    bank = linear_bank(template, rows, None, Classes(np.arange(7)))
    far = bank.set_parameters(size * rng.standard_normal(bank.theta.size))
    gate = ConstantGate().start(rows, 1, None)
    run = run_em(Problem(rows, Soft(), 200, 1e-8), State(gate, far))
    assert np.all(np.diff(run.bounds) >= -FALL_TOL * np.maximum(1, np.abs(run.bounds[1:])))
    near = run_em(Problem(rows, Soft(), 200, 1e-8), State(gate, bank))
    assert_allclose(run.bound, near.bound, atol=1e-3)


# ---------------------------------------------------------------- vectors of parameters


def logistic_with_masks(rng):
    rows = make_rows(rng.standard_normal((120, 3)), rng.integers(3, size=120))
    columns = [np.array([0, 1]), np.array([1, 2])]
    bank = linear_bank(LogisticRegression(), rows, columns, Classes(np.arange(3)))
    return rows, bank.replicate(2), random_resp(rng, 2, 120)


def test_logistic_coefficients_stay_centred(rng):
    for rows, bank, resp in (banks(rng, n_classes=4), logistic_with_masks(rng)):
        shifted = bank.set_parameters(5 + rng.standard_normal(bank.theta.size))
        new = fit_part(shifted, rows, resp, 3)
        k = bank.n_experts
        for part in (shifted, new, shifted.toward(new, 0.3), new.select(np.arange(k)[::-1])):
            assert_allclose(part.theta.sum(axis=1), 0.0, atol=1e-12)
            if part.mask is not None:
                assert not np.any(part.theta[~np.repeat(part.mask[:, None], 3, axis=1)])


def test_a_gate_with_columns_for_each_expert_keeps_the_others_at_zero(rng):
    rows = make_rows(rng.standard_normal((50, 3)))
    gate = SoftmaxGate().start(rows, 3, [np.array([0, 1]), np.array([1]), np.array([1, 2])])
    moved = gate.set_parameters(rng.standard_normal(gate.theta.size))
    assert not np.any(moved.theta[~moved._seen])
    assert_allclose(moved.theta[:, [0, 2]].sum(axis=0), 0.0, atol=1e-12)  # intercept, column 1


@pytest.mark.parametrize("family", [Gaussian(), StudentT(), StudentT(df=4.0), Gamma()], ids=repr)
def test_linear_parameters_stay_within_their_bounds(rng, family):
    y = np.exp(rng.standard_normal(80))
    rows = make_rows(rng.standard_normal((80, 2)), y)
    template = GammaRegressor() if family.link == "log" else Ridge()
    bank = linear_bank(template, rows, None, Numbers(family, ()))
    bank = fit_part(bank, rows, np.ones((1, 80)), 2).replicate(3)
    for size in (-1e4, -3.0, 0.0, 3.0, 1e4):
        moved = bank.set_parameters(bank.get_parameters() + size)
        assert np.all(np.isfinite(moved.parameters))
        assert np.all(moved.parameters[0] >= bank.floor)
        if isinstance(family, StudentT) and family.df is None:
            assert np.all((moved.parameters[1] >= 1.0) & (moved.parameters[1] <= 200.0))
        if isinstance(family, StudentT) and family.df is not None:
            assert_array_equal(moved.parameters[1], 4.0)
    same = bank.set_parameters(bank.get_parameters())
    assert_allclose(same.parameters, bank.parameters, rtol=1e-12)


def test_what_a_step_says_of_itself_is_per_unit_of_weight():
    residual, mass = np.array([2.0, 1.0]), 50.0
    (step,) = trusted_steps(lambda damping, _: [residual / (3.0 * mass)], [residual], [mass], [0.0])
    assert_allclose(step.slope, residual @ residual / 150.0)
    assert_allclose(step.curvature, 3.0)


@pytest.mark.parametrize(("share", "damped"), [(0.8, False), (1.2, True)])
def test_a_slope_of_rounding_is_no_overshoot(share, damped):
    mass = 1e4
    last = NewtonStep(np.array([1.0]), 0.0, 0.01, 1.0, 1.0, False)
    end = -share * OVERSHOT * SMALLEST_SLOPE * mass
    assert (first_trial(np.array([end]), mass, 0.01, last)[0] > 0.01) == damped
