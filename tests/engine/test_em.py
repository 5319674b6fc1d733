"""The engine: ascent, safeguard, stopping, and equality with EM written out slowly."""

from dataclasses import dataclass

import numpy as np
import pytest
from _problems import (
    log_mixture,
    make_rows,
    numeric_gradient,
    one_expert,
    random_problem,
    random_resp,
    softmax_gated,
    statistics_of,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import log_softmax, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.tree import DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._assign import Hard, Soft
from mixexp._em import FALL_TOL, PATIENCE, Problem, State, _settled, evaluate, run_em, sweep
from mixexp._protocols import Sums, can, evolve
from mixexp._search import START_STEPS
from mixexp.gates import ConstantGate, SoftmaxGate

unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# ---------------------------------------------------------------- ascent


def recomputed_bound(model, X, y, weight):
    """Return mean log-density plus log-priors of a fitted model, from its public methods."""
    weight = np.ones(len(X)) if weight is None else weight
    if model.assignment == "hard":
        rows = model._new_rows(X, y)
        best = [
            (model._bank.log_prob(b) + model.gate_.log_prob(b)).max(axis=0) for b in rows.blocks()
        ]
        total = np.concatenate(best) @ weight
    else:
        total = model.log_density(X, y) @ weight
    return (total + model.gate_.log_prior() + model._bank.log_prior()) / weight.sum()


@unconverged
@pytest.mark.parametrize("first", range(0, 200, 20))
def test_bounds_never_fall(first):
    for seed in range(first, first + 20):
        model, X, y, weight = random_problem(seed)
        model.set_params(on_collapse="keep").fit(X, y, sample_weight=weight)
        bounds = model.lower_bounds_
        assert len(bounds) == model.n_iter_ == model.max_iter, seed
        assert np.all(np.isfinite(bounds)), seed
        fall = FALL_TOL * np.maximum(1.0, np.abs(bounds[:-1]))
        assert np.all(np.diff(bounds) >= -fall), seed
        assert model.lower_bound_ == bounds.max(), seed
        again = recomputed_bound(model, X, y, weight)
        assert_allclose(model.lower_bound_, again, rtol=1e-10, atol=1e-10, err_msg=str(seed))
        assert model.n_passes_ >= model.n_iter_ + 1
        closed = isinstance(model.gate, ConstantGate) and hasattr(model, "dispersions_")
        if closed:  # steps in closed form never need the safeguard
            assert model.n_passes_ == model.n_iter_ + 1, seed


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
    state = State(model.gate_, model._bank)
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


# ---------------------------------------------------------------- one pass


@pytest.mark.parametrize("d", [2, 60])
@pytest.mark.parametrize("same_design", [True, False])
def test_stacked_gram_products_are_those_of_each_part(rng, d, same_design):
    X, y = rng.standard_normal((100, d)), rng.standard_normal(100)
    rows = make_rows(X, y, rng.exponential(size=100), block_rows=64)
    resp = random_resp(rng, 3, 100)
    bank = one_expert(Ridge(fit_intercept=same_design), rows).replicate(3)
    gate = SoftmaxGate().start(rows, 3, None)
    assert (gate.design is bank.design) == same_design

    def respond(block):
        for part in (gate, bank):
            part.log_prob(block)
        here = resp[:, block.start : block.stop] * block.weight
        return here, here, 1.5

    objective, both = sweep(State(gate, bank), rows, respond)
    assert objective == 3.0  # of two blocks
    for part, sums in zip((gate, bank), both, strict=True):
        alone = statistics_of(part, rows, resp)
        for name, value in alone.items():
            assert_allclose(sums[name], value, rtol=1e-12, atol=1e-12)


@unconverged
@pytest.mark.parametrize(
    "options",
    [
        {"expert_features": [0, 1]},
        {"expert": DecisionTreeRegressor(max_depth=2)},
        {"expert": DecisionTreeRegressor(max_depth=2), "n_experts": 1},
        {"expert_features": [0], "n_experts": 1},
    ],
    ids=["K=4", "tree, K=4", "tree, K=1", "K=1"],
)
def test_wide_gates_that_ask_for_no_hessian(rng, options):
    # above PACKED_COLUMNS, a gate of its own design in an iteration without a new Hessian
    X, y = rng.standard_normal((80, 60)), rng.standard_normal(80)
    options = {"n_experts": 4, "n_init": 1, "max_iter": 6, "random_state": 0} | options
    model = MixtureOfExpertsRegressor(**options).fit(X, y)
    assert np.all(np.isfinite(model.predict(X)))


# ---------------------------------------------------------------- the safeguard


@dataclass(frozen=True)
class Lone:
    """The gate of one expert."""

    monotone = True

    def log_prob(self, block):
        return np.zeros((1, block.n_rows))

    def statistics(self, block, resp):
        return Sums(mass=resp.sum(axis=1))

    def update(self, statistics, rows):
        return self


class Overshooting:
    """One expert, y ~ N(theta, 1), whose step is `factor` times that of the M-step.

    The M-step is to the mean; a step with a factor above 2 lowers the bound.
    """

    monotone = True

    def __init__(self, theta, factor):
        self.theta, self.factor, self.once = theta, factor, factor

    def log_prob(self, block):
        return -0.5 * (block.y - self.theta) ** 2

    def statistics(self, block, resp):
        return Sums(total=float(np.sum(resp * block.y)), mass=float(resp.sum()))

    def update(self, statistics, rows):
        step = statistics["total"] / statistics["mass"] - self.theta
        return evolve(self, theta=self.theta + self.once * step, once=self.factor)


class Newton(Overshooting):
    """With the two capabilities that the safeguard asks for."""

    def toward(self, new, t):
        return evolve(new, theta=self.theta + t * (new.theta - self.theta))

    def bounded(self):
        return evolve(self, once=1.0)


def run_fake(part, y, max_iter=1, tol=0.0):
    return run_em(Problem(make_rows(y[:, None], y), Soft(), max_iter, tol), State(Lone(), part))


@pytest.mark.parametrize(
    "factor, taken, passes",
    [
        (1.0, 1.0, 1),
        (1.9, 1.9, 1),  # overshoots, but not below
        (3.0, 1.5, 2),  # half of it
        (5.0, 1.25, 3),  # a quarter
        (20.0, 1.0, 5),  # the step under the bound, which needs statistics of its own
        (-1.0, 1.0, 5),  # not even a direction of ascent
    ],
)
def test_safeguard_backtracks(rng, factor, taken, passes):
    y = rng.standard_normal(50) + 3.0
    run = run_fake(Newton(0.0, factor), y)
    assert_allclose(run.state.bank.theta, taken * y.mean(), rtol=1e-12)
    assert run.n_passes == 1 + passes
    expected = np.mean(-0.5 * (y - run.state.bank.theta) ** 2)
    assert_allclose(run.bound, expected, rtol=1e-12)
    assert run.bounds == [run.bound]
    assert run.previous.bank.theta == 0.0


@pytest.mark.parametrize("factor", [3.0, 5.0, 20.0, 1e6])
def test_safeguard_climbs_at_every_step(rng, factor):
    y = rng.standard_normal(50)
    run = run_fake(Newton(4.0, factor), y, max_iter=60)
    assert len(run.bounds) == 60
    assert np.all(np.diff(run.bounds) >= -FALL_TOL)
    assert_allclose(run.state.bank.theta, y.mean(), atol=1e-4)


def test_safeguard_keeps_the_old_state_if_nothing_helps(rng):
    y = rng.standard_normal(50) + 3.0
    run = run_fake(Overshooting(0.0, 3.0), y, max_iter=4)
    assert run.state.bank.theta == 0.0
    assert run.bounds == [run.bound] * 4
    # and such a run has come to its end
    assert run_fake(Overshooting(0.0, 3.0), y, max_iter=50, tol=1e-6).converged


def test_a_closed_form_keeps_its_step_when_another_part_goes_back(rng):
    class Closed(Overshooting):
        """In closed form: no `toward`."""

    class Gate(Newton):
        """A gate of one expert with a Gaussian log-prior far from its place."""

        def log_prob(self, block):
            return np.zeros((1, block.n_rows))

        def log_prior(self):
            return -5000.0 * (self.theta - 1.0) ** 2

        def statistics(self, block, resp):
            return Sums(total=float(resp.sum()), mass=float(resp.sum()))

    y = rng.standard_normal(50) + 3.0
    state = State(Gate(0.0, 3.0), Closed(0.0, 1.0))
    run = run_em(Problem(make_rows(y[:, None], y), Soft(), 1, 0.0), state)
    assert_allclose(run.state.bank.theta, y.mean(), rtol=1e-12)
    assert_allclose(run.state.gate.theta, 1.5)
    assert run.n_passes == 3
    assert not can(Closed(0.0, 1.0), "toward")


def test_newton_steps_are_searched_where_no_ascent_is_claimed(rng):
    y = rng.standard_normal(50) + 3.0

    class Free(Newton):
        """In a run whose bound need not climb."""

        monotone = False

    run = run_fake(Free(0.0, 3.0), y, max_iter=2)
    assert run.n_passes == 3
    # of the shares 0, 1/16, 1/4, 1/2 and 1 of a step to 3m, a quarter ends nearest to m; then the
    # step is to 1.5m, and again a quarter of it ends nearest
    expected = [-0.5 * np.mean((y - t * y.mean()) ** 2) for t in (0.75, 0.9375)]
    assert_allclose(run.bounds, expected, rtol=1e-12)
    assert_allclose(run.state.bank.theta, 0.9375 * y.mean())


def test_a_step_that_is_no_ascent_is_not_taken_where_no_ascent_is_claimed(rng):
    class Free(Newton):
        """In a run whose bound need not climb; its step goes down."""

        monotone = False

    y = rng.standard_normal(50) + 3.0
    run = run_fake(Free(0.0, -1.0), y, max_iter=3)
    assert run.state.bank.theta == 0.0


def test_rounding_is_not_a_fall(rng):
    # a fall within FALL_TOL is accepted without backtracking, and the best state is returned
    y = rng.standard_normal(50)
    start = Newton(y.mean(), 1.0)
    run = run_fake(start, y)
    assert run.n_passes == 2

    class Drifts(Newton):
        """Steps off the maximum by so little that the bound hardly falls."""

        def update(self, statistics, rows):
            return evolve(self, theta=self.theta + 1e-6)

    run = run_fake(Drifts(y.mean(), 1.0), y, max_iter=3)
    assert run.n_passes == 4
    assert run.bound == max(run.bounds)


def test_the_bound_is_per_unit_of_weight_and_has_priors(rng):
    y, weight = rng.standard_normal(40), rng.exponential(size=40)

    class Prior(Newton):
        """With a log-prior."""

        def log_prior(self):
            return -7.0

    state = State(Lone(), Prior(0.5, 1.0))
    result = evaluate(Problem(make_rows(y[:, None], y, weight), Soft(), 1, 0.0), state, 0)
    expected = (-0.5 * weight @ (y - 0.5) ** 2 - 7.0) / weight.sum()
    assert_allclose(result.bound, expected, rtol=1e-12)
    assert_allclose(result.statistics[1]["total"], weight @ y)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_bound_that_is_no_number(value):
    y = np.zeros(10)

    class Broken(Newton):
        """Its density is no number."""

        def log_prob(self, block):
            return np.full((1, block.n_rows), value)

    problem = Problem(make_rows(y[:, None], y), Hard(), 1, 0.0)
    with pytest.raises(ValueError, match=r"log-likelihood is .* at EM iteration 0"):
        run_em(problem, State(Lone(), Broken(0.0, 1.0)))


# ---------------------------------------------------------------- stopping


@pytest.mark.parametrize("max_iter", [1, 2, 17])
@pytest.mark.parametrize("kind", [MixtureOfExpertsRegressor, MixtureOfExpertsClassifier])
@pytest.mark.parametrize("n_experts", [1, 2])
def test_tol_zero_runs_all_iterations(rng, max_iter, kind, n_experts):
    X = rng.standard_normal((40, 2))
    y = (X[:, 0] > 0).astype(int)
    model = kind(n_experts=n_experts, tol=0, max_iter=max_iter, n_init=1, random_state=0)
    with pytest.warns(ConvergenceWarning, match=f"max_iter={max_iter}"):
        model.fit(X, y)
    assert model.n_iter_ == len(model.lower_bounds_) == max_iter
    assert not model.converged_


def geometric(rate, n, first=1.0, limit=-3.0):
    """Return bounds that climb to a limit with gains that shrink by a rate."""
    return limit - first * rate ** np.arange(n) / (1 - rate)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9, 0.99, 0.999])
@pytest.mark.parametrize("tol", [1e-3, 1e-6])
@pytest.mark.parametrize("limit", [-3.0, 0.2, 500.0])
def test_a_run_settles_when_what_is_left_is_small(rate, tol, limit):
    bounds = geometric(rate, 40_000 if rate > 0.99 else 3000, limit=limit)
    small = tol * max(1.0, abs(limit))
    settled = [n for n in range(3, len(bounds)) if limit - bounds[n] > 1e-9 * abs(limit)]
    end = next(n for n in settled if _settled(list(bounds[n - 3 : n]), tol, True))
    left, gain = limit - bounds[end - 1], bounds[end - 1] - bounds[end - 2]
    assert left < small * 1.01 and gain < small
    # and not later than that
    before = limit - bounds[end - 2], bounds[end - 2] - bounds[end - 3]
    assert max(before) >= small * 0.99


def test_a_run_never_settles_at_tol_zero_or_before_three_bounds():
    assert not _settled([1.0] * 50, 0.0, True)
    assert not _settled([1.0, 1.0], 1e-6, True)
    assert _settled([1.0, 1.0, 1.0], 1e-6, True)


@pytest.mark.parametrize(
    "bounds, tol, settled",
    [
        ([0.0, 1.0, 1.0], 1e-6, True),  # no gain at all
        ([0.0, 1.0, 1.0 - 1e-16], 1e-6, True),  # a fall that is rounding
        ([0.0, 1e-7, 3e-7], 1e-6, False),  # gains that grow
        ([0.0, 1e-9, 3e-9], 1e-6, True),  # but are far below tol
        ([0.0, 2e-5, 3e-5], 1e-6, False),  # a gain above tol
        ([0.0, 1.01e-7, 2e-7], 1.5e-7, False),  # at this rate 50 times as much is left
        ([0.0, 1.8e-7, 2e-7], 1.5e-7, True),  # at this one a tenth
        ([-100.0, -100.0 + 9e-5, -100.0 + 10e-5], 1e-6, True),  # tol is relative
    ],
)
def test_settled(bounds, tol, settled):
    assert _settled(bounds, tol, True) == settled


def test_without_ascent_a_run_ends_when_it_has_stopped_improving():
    rising = list(np.arange(30.0))
    assert not _settled(rising, 1e-6, False)
    noisy = [0.0, 5.0, *[4.0, 3.0] * (PATIENCE // 2)]
    assert _settled(noisy, 1e-6, False)
    assert not _settled(noisy[:-1], 1e-6, False)
    assert not _settled([*noisy[:-1], 5.1], 1e-6, False)


def test_tighter_tolerance_ends_closer_to_the_limit(three_lines):
    X, y, resp = three_lines
    bounds = {}
    for tol in (1e-4, 1e-6, 1e-8, 1e-12):
        model = MixtureOfExpertsRegressor(
            LinearRegression(), n_experts=3, init=resp, tol=tol, max_iter=3000
        )
        bounds[tol] = model.fit(X, y).lower_bound_
        assert model.converged_
    for tol in (1e-4, 1e-6, 1e-8):
        left = bounds[1e-12] - bounds[tol]
        assert -1e-12 < left < 3 * tol * max(1.0, abs(bounds[tol]))


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
