"""EM climbs, equals EM written out slowly, and is reproducible."""

import numpy as np
import pytest
from _passes import check_passes, watched_runs
from _problems import (
    log_mixture,
    make_rows,
    numeric_gradient,
    random_problem,
    random_resp,
    softmax_gated,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.tree import DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._engine.assign import Soft
from mixexp._engine.context import START_STEPS
from mixexp._engine.em import Problem, evaluate
from mixexp._engine.guard import FALL_TOL
from mixexp._engine.sweep import State, log_joint
from mixexp.gates import ConstantGate, SoftmaxGate

unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# ---------------------------------------------------------------- ascent


def recomputed_bound(model, X, y, weight):
    """Return mean log-density plus log-priors of a fitted model, from its public methods."""
    weight = np.ones(len(X)) if weight is None else weight
    if model.assignment == "hard":
        rows = model._new_rows(X, y)
        best = [
            log_joint(model.gate_, model._model.bank, block).max(axis=0) for block in rows.blocks()
        ]
        total = np.concatenate(best) @ weight
    else:
        total = model.log_density(X, y) @ weight
    return (total + model.gate_.log_prior() + model._model.bank.log_prior()) / weight.sum()


@unconverged
@pytest.mark.parametrize(
    "first",
    [pytest.param(i, marks=pytest.mark.slow if i >= 100 else ()) for i in range(0, 200, 20)],
)
def test_bounds_never_fall(first):
    for seed in range(first, first + 20):
        model, X, y, weight = random_problem(seed)
        model.set_params(on_collapse="keep")
        with watched_runs() as runs:
            model.fit(X, y, sample_weight=weight)
        bounds = model.lower_bounds_
        assert len(bounds) == model.n_iter_ == model.max_iter, seed
        assert np.all(np.isfinite(bounds)), seed
        fall = FALL_TOL * np.maximum(1.0, np.abs(bounds[:-1]))
        assert np.all(np.diff(bounds) >= -fall), seed
        assert model.lower_bound_ == bounds.max(), seed
        again = recomputed_bound(model, X, y, weight)
        assert_allclose(model.lower_bound_, again, rtol=1e-10, atol=1e-10, err_msg=str(seed))
        closed = isinstance(model.gate, ConstantGate) and hasattr(model, "dispersions_")
        check_passes(model, runs, closed)


def test_bound_from_the_published_formulas(rng):
    # penalties written out, from fitted attributes only
    X, y, proba, _ = softmax_gated(rng, 150, 2, 2, noise=1.0)
    weight = rng.exponential(size=150)
    model = MixtureOfExpertsRegressor(
        Ridge(3.0), n_experts=2, gate=SoftmaxGate(0.7), init=proba, tol=1e-4
    )
    model.fit(X, y, sample_weight=weight)
    lines = np.array([np.r_[e.intercept_, e.coef_] for e in model.experts_])
    gate, sigma = model.gate_, model.dispersions_
    log_density, resp = log_mixture(X, y, gate.coef_, gate.intercept_, lines, sigma)
    assert_allclose(model.log_density(X, y), log_density, rtol=1e-9, atol=1e-9)
    assert_allclose(model.responsibilities(X, y), resp, atol=1e-9)
    mean = np.average(X, axis=0, weights=weight)
    spread = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weight))
    prior = -0.5 * 0.7 * np.sum((gate.coef_ * spread) ** 2)
    prior -= 0.5 * np.sum(3.0 * np.sum(lines[:, 1:] ** 2, axis=1) / sigma**2)
    assert_allclose(model.lower_bound_, (log_density @ weight + prior) / weight.sum(), rtol=1e-10)
    usage = weight @ softmax(X @ gate.coef_.T + gate.intercept_, axis=1) / weight.sum()
    assert_allclose(model.usage_, usage, rtol=1e-9)


CONVERGED = {
    "linear": (None, SoftmaxGate(), False),
    "linear, unpenalised": (LinearRegression(), SoftmaxGate(0), False),
    "linear, constant gate": (Ridge(2.0), ConstantGate(), False),
    "logistic": (None, SoftmaxGate(), True),
    "logistic, C=0.3": (LogisticRegression(C=0.3), SoftmaxGate(1.0), True),
}


@pytest.mark.parametrize("name", CONVERGED)
def test_converged_fits_are_stationary(rng, name):
    # every partial derivative of the bound, by finite differences, in gate and experts
    expert, gate, classes = CONVERGED[name]
    X, y, proba, _ = softmax_gated(rng, 250, 2, 2, noise=1.0, slope=1.0)
    weight = rng.exponential(size=250)
    if classes:
        z = (proba[:, 0] < rng.random(250)).astype(int)
        y = (rng.random(250) < 1 / (1 + np.exp(-3 * X[:, 0] * (1 - 2 * z)))).astype(int)
    kind = MixtureOfExpertsClassifier if classes else MixtureOfExpertsRegressor
    model = kind(expert, n_experts=2, gate=gate, init=proba, tol=1e-13, max_iter=5000)
    model.fit(X, y, sample_weight=weight)
    assert model.converged_
    rows = make_rows(X, y.astype(float) if not classes else y, weight)
    problem = Problem(rows, Soft(), 1, 0.0)
    state = State(model.gate_, model._model.bank)
    assert_allclose(evaluate(problem, state, 0).bound, model.lower_bound_, rtol=1e-12)
    sizes = [len(part.get_parameters()) for part in state.parts]

    def bound(vector):
        gate, bank = np.split(vector, sizes[:1])
        moved = State(state.gate.set_parameters(gate), state.bank.set_parameters(bank))
        return evaluate(problem, moved, 0).bound

    here = np.concatenate([part.get_parameters() for part in state.parts])
    assert_allclose(numeric_gradient(bound, here), 0.0, atol=2e-6)


@unconverged
@pytest.mark.parametrize("assignment", ["soft", "hard"])
def test_estimators_that_are_likelihood_fits_climb(rng, assignment):
    X, y, _, _ = softmax_gated(rng, 120, 2, 3, noise=0.5)

    class Mine(Ridge):
        """Not banked: a subclass."""

    model = MixtureOfExpertsRegressor(
        Mine(0.5), n_experts=3, assignment=assignment, n_init=1, max_iter=25, tol=0.0
    )
    model.fit(X, y)
    assert np.all(np.diff(model.lower_bounds_) >= -1e-9 * np.abs(model.lower_bounds_[1:]))
    assert_allclose(recomputed_bound(model, X, y, None), model.lower_bound_, rtol=1e-10)


@unconverged
@pytest.mark.parametrize(
    "options",
    [
        {"assignment": "stochastic"},
        {"expert": DecisionTreeRegressor(max_depth=5), "cross_fit": False},
    ],
    ids=["stochastic", "tree"],
)
def test_without_ascent_the_best_state_is_returned(rng, options):
    X, y, _, _ = softmax_gated(rng, 150, 2, 3, noise=0.5)
    model = MixtureOfExpertsRegressor(
        **options, n_experts=3, n_init=1, max_iter=30, tol=0.0, random_state=2
    )
    model.fit(X, y)
    assert model.n_iter_ == 30
    assert model.n_passes_ == 31
    assert model.lower_bounds_.argmax() < 29  # so that there is something to test
    assert model.lower_bound_ == model.lower_bounds_.max()
    assert_allclose(recomputed_bound(model, X, y, None), model.lower_bound_, rtol=1e-10)


# ---------------------------------------------------------------- a second, slow EM


class SlowEM:
    """EM of K linear experts with a softmax gate, straight from the formulas.

    Jordan & Jacobs (1994): weighted least squares for the experts, one Newton step with the full
    Hessian for the gate, whose last expert is fixed at zero.
    """

    def __init__(self, X, y, k):
        self.X, self.y, self.k = np.column_stack([np.ones(len(X)), X]), y, k
        self.gate = np.zeros((k, self.X.shape[1]))
        self.lines, self.sigma = None, None

    def m_step(self, resp):
        lines, sigma = [], []
        for r in resp.T:
            root = np.sqrt(r)
            line = np.linalg.lstsq(self.X * root[:, None], self.y * root, rcond=None)[0]
            lines.append(line)
            sigma.append(np.sqrt(r @ (self.y - self.X @ line) ** 2 / r.sum()))
        self.lines, self.sigma = np.array(lines), np.array(sigma)
        free = self.k - 1
        p = self.X.shape[1]
        gradient, hessian = np.zeros(free * p), np.zeros((free * p, free * p))
        proba = softmax(self.X @ self.gate.T, axis=1)
        for k in range(free):
            mine = slice(k * p, (k + 1) * p)
            gradient[mine] = self.X.T @ (resp[:, k] - proba[:, k])
            for j in range(free):
                curvature = proba[:, k] * ((k == j) - proba[:, j])
                hessian[mine, j * p : (j + 1) * p] = self.X.T @ (self.X * curvature[:, None])
        self.gate[:free] += np.linalg.solve(hessian, gradient).reshape(free, p)

    def e_step(self):
        log_gate = log_softmax(self.X @ self.gate.T, axis=1)
        error = (self.y[:, None] - self.X @ self.lines.T) / self.sigma
        log_joint = log_gate - 0.5 * error**2 - np.log(self.sigma * np.sqrt(2 * np.pi))
        log_density = np.logaddexp.reduce(log_joint, axis=1)
        return log_density.mean(), np.exp(log_joint - log_density[:, None])

    def run(self, resp, n_start, n_iter):
        for _ in range(n_start):
            self.m_step(resp)
        bounds = []
        for _ in range(n_iter):
            self.m_step(self.e_step()[1])
            bounds.append(self.e_step()[0])
        return bounds


@pytest.fixture
def three_lines(rng):
    """X, y and responsibilities to start from: an identified problem."""
    X, y, proba, _ = softmax_gated(np.random.default_rng(4), 300, 2, 3, noise=0.5, slope=1.0)
    return X, y, 0.5 * proba + 0.5 * random_resp(rng, 3, 300).T


@unconverged
def test_five_iterations_equal_those_of_slow_em(three_lines):
    X, y, resp = three_lines
    slow = SlowEM(X, y, 3)
    expected = slow.run(resp, START_STEPS, 5)
    model = MixtureOfExpertsRegressor(
        LinearRegression(), n_experts=3, gate=SoftmaxGate(0), init=resp, n_init=1, tol=0.0
    )
    model.set_params(max_iter=5).fit(X, y)
    assert_allclose(model.lower_bounds_, expected, rtol=1e-8)
    lines = [np.r_[e.intercept_, e.coef_] for e in model.experts_]
    assert_allclose(lines, slow.lines, atol=1e-7)
    assert_allclose(model.dispersions_, slow.sigma, rtol=1e-7)
    gate = np.column_stack([model.gate_.intercept_, model.gate_.coef_])
    assert_allclose(gate - gate[-1], slow.gate, atol=1e-6)


def test_converged_fit_equals_slow_em(three_lines):
    X, y, resp = three_lines
    slow = SlowEM(X, y, 3)
    expected = slow.run(resp, 1, 200)[-1]
    model = MixtureOfExpertsRegressor(
        LinearRegression(), n_experts=3, gate=SoftmaxGate(0), init=resp, n_init=1, tol=1e-13
    )
    model.set_params(max_iter=2000).fit(X, y)
    assert_allclose(model.lower_bound_, expected, rtol=1e-9)
    lines = [np.r_[e.intercept_, e.coef_] for e in model.experts_]
    assert_allclose(lines, slow.lines, atol=1e-6)
    assert_allclose(model.dispersions_, slow.sigma, atol=1e-6)
    gate = np.column_stack([model.gate_.intercept_, model.gate_.coef_])
    assert_allclose(gate - gate[-1], slow.gate, atol=1e-5)


# ---------------------------------------------------------------- reproducible


@unconverged
@pytest.mark.parametrize("kind", [MixtureOfExpertsRegressor, MixtureOfExpertsClassifier])
@pytest.mark.parametrize("assignment", ["soft", "stochastic"])
def test_a_fit_does_not_depend_on_n_jobs_or_on_the_order_of_rows(rng, kind, assignment):
    X, y, _, _ = softmax_gated(rng, 200, 2, 3)
    y = y if kind is MixtureOfExpertsRegressor else np.digitize(y, np.quantile(y, [0.5]))
    model = kind(n_experts=3, n_init=4, max_iter=15, assignment=assignment, random_state=0)
    first = model.fit(X, y).lower_bounds_
    assert_array_equal(model.set_params(n_jobs=2).fit(X, y).lower_bounds_, first)
    order = rng.permutation(200)
    assert_array_equal(model.set_params(n_jobs=None).fit(X[order], y[order]).lower_bounds_, first)
    model.set_params(init="random", n_init=1)  # starts of which each is another
    first, other = (model.set_params(random_state=s).fit(X, y).lower_bounds_ for s in (0, 1))
    assert not np.array_equal(first, other)
