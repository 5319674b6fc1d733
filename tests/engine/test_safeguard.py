"""One pass, and what is done where a step was no ascent."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from _problems import (
    make_rows,
    one_expert,
    random_resp,
    statistics_of,
)
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.tree import DecisionTreeRegressor

from mixexp import MixtureOfExpertsRegressor
from mixexp._engine.assign import Hard, Soft
from mixexp._engine.em import Problem, evaluate, run_em
from mixexp._engine.guard import FALL_TOL
from mixexp._engine.sweep import FixedStep, State, sweep
from mixexp.gates import SoftmaxGate
from mixexp.protocols import Sums, can, evolve

unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


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

    def e_step(block):
        return replace(FixedStep(resp)(block), objective=1.5)

    total = sweep(rows, State(gate, bank), e_step)
    assert total.objective == 3.0  # of two blocks
    assert_allclose(total.mass, resp @ rows.weight)
    for part, sums in zip((gate, bank), total.sums, strict=True):
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
    # such a run is at its end, and has not converged: no step of a likelihood falls everywhere
    assert run.bounds == [run.bound]
    assert run.stuck > 1e-3 and not run.converged


def test_an_update_that_is_no_m_step_is_told(rng):
    class Reversed(SoftmaxGate):
        def update(self, statistics, rows):
            new = super().update(statistics, rows)
            return evolve(new, theta=new.theta[::-1])

        def damped(self, new):
            return self

        def toward(self, new, t):
            return new

        def bounded(self):
            return self

    X = rng.standard_normal((200, 1))
    y = np.where(X[:, 0] > 0, 2.0, -1.0) * X[:, 0] + 0.1 * rng.standard_normal(200)
    model = MixtureOfExpertsRegressor(n_experts=2, gate=Reversed(), init=(X[:, 0] > 0).astype(int))
    with pytest.warns(ConvergenceWarning, match=r"every step lowers the bound.*The gate Reversed"):
        model.fit(X, y)
    assert not model.converged_


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


def test_a_closed_form_keeps_its_step_where_another_part_is_searched(rng):
    class Gate(Newton):
        """A gate of one expert, with a log-prior, in a run whose bound need not climb."""

        monotone = False

        def log_prob(self, block):
            return np.zeros((1, block.n_rows))

        def log_prior(self):
            return -5000.0 * (self.theta - 1.0) ** 2

        def statistics(self, block, resp):
            return Sums(total=float(resp.sum()), mass=float(resp.sum()))

    y = rng.standard_normal(50) + 3.0
    state = State(Gate(0.0, 4.0), Overshooting(0.0, 1.0))
    run = run_em(Problem(make_rows(y[:, None], y), Soft(), 1, 0.0), state)
    assert_allclose(run.state.gate.theta, 1.0)  # a quarter of a step to 4
    assert_allclose(run.state.bank.theta, y.mean(), rtol=1e-12)


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
