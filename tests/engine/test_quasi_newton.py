"""The quasi-Newton finish for many coefficients: its gradient, its steps, where it ends."""

import numpy as np
import pytest
import scipy.sparse as sp
from _problems import make_rows, one_expert
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression

from mixexp import MixtureOfExpertsClassifier
from mixexp._engine import accelerate, finish, quasi_newton
from mixexp._engine.accelerate import Finish
from mixexp._engine.assign import Soft
from mixexp._engine.em import Problem, evaluate, run_em
from mixexp._engine.finish import NewtonFinish
from mixexp._engine.fixed import fit_at
from mixexp._engine.quasi_newton import QuasiNewtonFinish, quasi_newton_step
from mixexp._engine.sweep import State
from mixexp.gates import SoftmaxGate
from mixexp.protocols import evolve


def of_kind(part, curvature):
    return evolve(part, curvature=curvature, _usual_curvature=curvature, _last=None)


def by_products(part):
    return of_kind(part, "products")


def overlapping(rng, k, n_classes, n=200, p=6):
    """Return rows with weights, and a state of K experts after a few M-steps, by products."""
    X = rng.standard_normal((n, p))
    z = np.argmax(0.3 * X @ rng.standard_normal((p, k)) + rng.gumbel(size=(n, k)), axis=1)
    slopes = 0.7 * rng.standard_normal((k, p, n_classes))
    y = np.argmax(np.einsum("ij,ijc->ic", X, slopes[z]) + rng.gumbel(size=(n, n_classes)), axis=1)
    rows = make_rows(X, y, rng.uniform(0.5, 2, n), block_rows=64)
    bank = one_expert(LogisticRegression(), rows, classes=np.arange(n_classes)).replicate(k)
    state = State(SoftmaxGate(temperature=1.5).start(rows, k, None), bank)
    resp = np.where(np.arange(k)[:, None] == z, 0.8, 0.2 / max(k - 1, 1))
    state = fit_at(state, rows, rows.shared(resp), 2)
    return rows, state.apply(by_products)


@pytest.mark.parametrize("curvature", ["products", "newton", "blocks"])
@pytest.mark.parametrize(("k", "n_classes"), [(2, 2), (3, 2), (2, 3), (3, 4)])
def test_the_slope_is_the_gradient_of_the_bound(rng, k, n_classes, curvature):
    rows, state = overlapping(rng, k, n_classes)
    state = state.apply(lambda part: of_kind(part, curvature))
    problem = Problem(rows, Soft(), 1, 0.0)

    def bound(state):
        return evaluate(problem, state, 0).bound * rows.total_weight

    gradient, scale = quasi_newton._slope(evaluate(problem, state, 0))
    assert np.all(scale > 0)
    for _ in range(5):
        change = 1e-4 * rng.standard_normal(len(gradient))
        moved = state.moved(change), state.moved(-change)
        taken = 0.5 * (moved[0].parameters - moved[1].parameters)  # centred
        assert_allclose(0.5 * (bound(moved[0]) - bound(moved[1])), gradient @ taken, rtol=1e-5)


def test_columns_of_experts_have_no_slope_elsewhere(rng):
    rows, state = overlapping(rng, 3, 2)
    mask = rng.random(state.bank.theta[:, 0].shape) < 0.6
    mask[:, 0] = True
    bank = evolve(state.bank, mask=mask, theta=state.bank.theta * mask[:, None])
    seen = rng.random(state.gate.theta.shape) < 0.6
    seen[:, 0] = True
    gate = evolve(state.gate, _seen=seen).set_parameters(state.gate.get_parameters())
    problem = Problem(rows, Soft(), 1, 0.0)
    masked = State(by_products(gate), by_products(bank))
    gradient, _ = quasi_newton._slope(evaluate(problem, masked, 0))
    of_gate, of_bank = np.split(gradient, [gate.theta.size])
    assert not of_gate[~seen.ravel()].any() and of_gate[seen.ravel()].all()
    assert not of_bank.reshape(bank.theta.shape)[~np.repeat(mask[:, None], 2, axis=1)].any()


def test_priors_with_edges_and_steps_under_a_bound_have_no_slope(rng):
    rows, state = overlapping(rng, 2, 2)
    problem = Problem(rows, Soft(), 1, 0.0)
    lasso = State(evolve(state.gate, _l1=np.ones(state.gate.design.size)), state.bank)
    bounded = state.apply(lambda part: part.bounded())
    for each in (lasso, bounded):
        assert quasi_newton._slope(evaluate(problem, each, 0)) is None


@pytest.mark.parametrize("n_pairs", [0, 1, 4])
def test_the_step_is_that_of_bfgs(rng, n_pairs):
    """The matrix of BFGS is formed in full: B⁻¹ ← (1 − ρ s yᵀ) B⁻¹ (1 − ρ y sᵀ) + ρ s sᵀ."""
    p = 6
    root = rng.standard_normal((p, p))
    hessian = root @ root.T + np.eye(p)
    scale, gradient = rng.uniform(1, 3, p), rng.standard_normal(p)
    moves = rng.standard_normal((n_pairs, p))
    pairs = [(moved, hessian @ moved) for moved in moves]
    inverse = np.diag(1 / scale)
    if pairs:
        moved, fell = pairs[-1]
        inverse *= (moved @ fell) / (fell @ (fell / scale))
    for moved, fell in pairs:
        rho = 1 / (moved @ fell)
        left = np.eye(p) - rho * np.outer(moved, fell)
        inverse = left @ inverse @ left.T + rho * np.outer(moved, moved)
    assert_allclose(quasi_newton_step(pairs, gradient, scale), inverse @ gradient, rtol=1e-9)


@pytest.mark.parametrize("curvature", ["products", "newton"])
@pytest.mark.parametrize(("k", "n_classes"), [(2, 2), (3, 2), (3, 3)])
def test_it_ends_where_em_does_in_fewer_passes(k, n_classes, curvature):
    rows, state = overlapping(np.random.default_rng(2), k, n_classes)
    state = state.apply(lambda part: of_kind(part, curvature))
    plain = run_em(Problem(rows, Soft(), 20_000, 1e-11), state)
    fast = run_em(Problem(rows, Soft(), 600, 1e-12, accelerate=QuasiNewtonFinish(1e-12)), state)
    assert plain.converged and fast.converged
    assert abs(fast.bound - plain.bound) < 1e-6
    # EM needs more iterations where its M-steps are by conjugate gradients
    assert fast.n_passes < plain.n_passes / (2 if curvature == "products" else 1)
    assert np.all(np.diff(fast.bounds) >= -1e-12)


def test_steps_that_fail_leave_the_run_to_em(monkeypatch):
    rows, state = overlapping(np.random.default_rng(2), 2, 2)
    original = quasi_newton.quasi_newton_step
    tried = []

    def backwards(*args):
        tried.append(1)
        return -original(*args)

    monkeypatch.setattr(quasi_newton, "quasi_newton_step", backwards)
    plain = run_em(Problem(rows, Soft(), 40, 0.0), state)
    fast = run_em(Problem(rows, Soft(), 40, 0.0, accelerate=QuasiNewtonFinish(0.0)), state)
    slow = np.diff(plain.bounds) <= finish.SLOW_GAIN * np.abs(plain.bounds[1:]).clip(1)
    alone = quasi_newton.PAUSE - 2  # iterations between two turns of failures
    assert 0 < len(tried) <= quasi_newton.MOST_FAILURES * (1 + slow.sum() // alone)
    assert_array_equal(fast.bounds, plain.bounds)
    assert fast.n_passes == plain.n_passes + len(tried)


def test_the_number_of_parameters_decides(rng, monkeypatch):
    _, state = overlapping(rng, 2, 2)
    assert isinstance(Finish(1e-6, 100).begun(state), NewtonFinish)
    monkeypatch.setattr(accelerate, "MOST_PARAMETERS", 10)
    assert isinstance(Finish(1e-6, 100).begun(state), QuasiNewtonFinish)


def test_wide_classes_converge_within_the_usual_iterations():
    """Plain EM is still gaining after 200 iterations, and 4e-4 nats a row lower."""
    n, p = 1000, 1000
    rng = np.random.default_rng(0)  # scipy's own draws differ between versions
    X = sp.csr_matrix(rng.random((n, p)) * (rng.random((n, p)) < 0.03))
    score = np.asarray(X[:, :10].sum(axis=1)).ravel()
    y = score > np.median(score)
    gate = SoftmaxGate(alpha=0.3)
    model = MixtureOfExpertsClassifier(n_experts=2, gate=gate, init="kmeans", random_state=0)
    assert model.fit(X, y).converged_
    assert np.all(np.diff(model.lower_bounds_) >= -1e-9)
