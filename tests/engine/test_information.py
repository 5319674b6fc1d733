"""The observed information against finite differences of the penalised log-likelihood."""

import numpy as np
import pytest
from _problems import make_rows, one_expert, random_resp
from numpy.testing import assert_allclose
from sklearn.linear_model import GammaRegressor, LogisticRegression, PoissonRegressor, Ridge

from mixexp import MixtureOfExpertsRegressor
from mixexp._engine.assign import Soft
from mixexp._engine.em import Problem, evaluate
from mixexp._engine.fixed import fit_at
from mixexp._engine.sweep import State
from mixexp.families import Gamma, Gaussian, NegativeBinomial, Poisson, StudentT
from mixexp.gates import ConstantGate, GaussianGate, SoftmaxGate
from mixexp.protocols import Rows, evolve

N = 90


def numbers(rng):
    X = rng.standard_normal((N, 2))
    return X, np.where(X[:, 0] > 0, 1 + X[:, 1], -X[:, 1]) + 0.5 * rng.standard_normal(N)


def moved(state, vector):
    """Return a state at any parameters, not centred and not clipped."""
    sizes = [part.get_parameters().size for part in state.parts]
    of_gate, of_bank = np.split(vector, [sizes[0]])
    gate, bank = state.gate, state.bank
    if hasattr(gate, "theta"):
        gate = evolve(gate, theta=of_gate.reshape(gate.theta.shape))
    else:
        gate = gate.set_parameters(of_gate)
    theta, logs = np.split(of_bank, [bank.theta.size])
    bank = evolve(bank, theta=theta.reshape(bank.theta.shape))
    if hasattr(bank, "parameters"):
        bank = evolve(bank, parameters=np.exp(logs).reshape(bank.parameters.shape))
    return State(gate, bank)


def check(rows, state, rng):
    """Assert gradient and information at a state off the optimum."""
    problem = Problem(rows, Soft(), 1, 0.0)
    vector = np.concatenate([part.get_parameters() for part in state.parts])
    vector += 0.1 * rng.standard_normal(vector.size)
    here = evaluate(problem, moved(state, vector), 0, informed=True).information
    free = here.space.tied >= 0
    weight = rows.units.total_weight

    def bound(at):
        return weight * evaluate(problem, moved(state, at), 0).bound

    def gradient(at):
        return evaluate(problem, moved(state, at), 0, informed=True).information.gradient

    steps = 1e-5 * np.eye(vector.size)
    by_bound = np.array([bound(vector + s) - bound(vector - s) for s in steps]) / 2e-5
    size = np.abs(here.gradient).max()
    assert_allclose(here.gradient[free], by_bound[free], atol=1e-5 * size, rtol=1e-5)
    hessian = np.array([gradient(vector + s) - gradient(vector - s) for s in steps]) / 2e-5
    both = np.ix_(free, free)
    size = np.abs(here.observed).max()
    assert_allclose(here.observed[both], -hessian[both], atol=1e-7 * size, rtol=1e-6)
    assert_allclose(here.observed, here.observed.T, atol=1e-12 * size)
    missing = here.complete - here.observed
    assert np.linalg.eigvalsh(missing).min() > -1e-10 * size  # a covariance


def state_of(rows, bank, k, rng, gate=None, columns=None):
    gate = (gate or SoftmaxGate()).start(rows, k, columns)
    groups = rows.groups
    resp = random_resp(rng, k, rows.n_rows if groups is None else groups.max() + 1, 2.0)
    resp = resp if groups is None else resp[:, groups]
    return fit_at(State(gate, bank.replicate(k)), rows, resp, 2)


@pytest.mark.parametrize(
    ("template", "family"),
    [
        (Ridge(0.7), Gaussian()),
        (Ridge(0.7), StudentT()),
        (Ridge(0.7), StudentT(df=3.0)),
        (PoissonRegressor(alpha=0.1), Poisson()),
        (PoissonRegressor(alpha=0.1), NegativeBinomial()),
        (GammaRegressor(alpha=0.1), Gamma()),
    ],
    ids=["gaussian", "student_t", "fixed df", "poisson", "negative_binomial", "gamma"],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_families(rng, template, family, weighted):
    X, y = numbers(rng)
    if family.discrete:
        y = rng.poisson(np.exp(0.5 * y) * rng.gamma(1.0, 1.0, N)) * 1.0
    elif family.name == "gamma":
        y = np.exp(y)
    rows = make_rows(X, y, rng.uniform(0.3, 2, N) if weighted else None, block_rows=32)
    check(rows, state_of(rows, one_expert(template, rows, family=family), 3, rng), rng)


@pytest.mark.parametrize("shared", [False, True])
def test_priors_of_dispersions(rng, shared):
    X, y = numbers(rng)
    rows = make_rows(X, np.stack([y, y**2]))
    bank = one_expert(Ridge(0.7), rows, family=Gaussian(shared=shared))
    state = state_of(rows, bank, 3, rng)
    squares = 2 * state.bank.parameters[0] ** 2 * rng.uniform(0.3, 3, (3, 2))
    bank = evolve(state.bank, prior_rows=rng.uniform(1, 4, 3), prior_squares=squares)
    check(rows, State(state.gate, bank), rng)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_classes(rng, n_classes):
    X, _ = numbers(rng)
    rows = make_rows(X, rng.integers(n_classes, size=N), rng.uniform(0.3, 2, N))
    bank = one_expert(LogisticRegression(C=2.0), rows, np.arange(n_classes))
    check(rows, state_of(rows, bank, 2, rng), rng)


@pytest.mark.parametrize(
    "gate", [SoftmaxGate(temperature=2.0), ConstantGate(), ConstantGate(usage_prior=3.0)]
)
def test_gates_and_several_outputs(rng, gate):
    X, y = numbers(rng)
    rows = make_rows(X, np.stack([y, y**2]))
    check(rows, state_of(rows, one_expert(Ridge(0.7), rows), 2, rng, gate), rng)


def test_groups_count_once_and_frequencies_inside_of_them(rng):
    X, y = numbers(rng)
    X[:, 0] = X[::3, 0].repeat(3)
    rows = Rows(X, y[None], rng.integers(1, 4, N) * 1.0, groups=np.arange(N) // 3, training=True)
    rows.block_rows = 30
    check(rows, state_of(rows, one_expert(Ridge(0.7), rows), 2, rng, columns=np.array([0])), rng)


def test_a_labelled_row_misses_nothing(rng):
    X, y = numbers(rng)
    rows = Rows(X, y[None], labels=np.where(np.arange(N) < 60, X[:, 0] > 0, -1), training=True)
    check(rows, state_of(rows, one_expert(Ridge(0.7), rows), 2, rng), rng)


def test_experts_and_gates_with_columns_of_their_own():
    rng = np.random.default_rng(3)
    X, y = numbers(rng)
    model = MixtureOfExpertsRegressor(
        Ridge(0.7),
        n_experts=2,
        gate_features=[[0], [0, 1]],
        expert_features=[[0, 1], [1]],
        max_iter=5,
        tol=0,
        n_init=1,
        random_state=0,
    )
    with pytest.warns(Warning, match="did not converge"):
        model.fit(X, y)
    found = model._model.information(Rows(X, y[None], training=True))
    assert np.sum(found.space.tied < 0) == 2  # a gate's and an expert's column


def test_blocks_and_repeated_rows_change_nothing(rng):
    X, y = numbers(rng)
    count = rng.integers(1, 4, N)
    rows = make_rows(X, y, count * 1.0, block_rows=16)
    state = state_of(rows, one_expert(Ridge(0.7), rows), 3, rng)
    repeated = make_rows(X.repeat(count, axis=0), y.repeat(count))
    one, other = (
        evaluate(Problem(r, Soft(), 1, 0.0), state, 0, informed=True).information
        for r in (rows, repeated)
    )
    assert_allclose(one.observed, other.observed, rtol=1e-9, atol=1e-9)
    assert_allclose(one.gradient, other.gradient, rtol=1e-9, atol=1e-9)


def test_a_part_without_derivatives_is_named(rng):
    X, y = numbers(rng)
    model = MixtureOfExpertsRegressor(n_experts=2, gate=GaussianGate(), n_init=1, random_state=0)
    model.fit(X, y)
    with pytest.raises(ValueError, match="which GaussianGate does not have"):
        model._model.information(Rows(X, y[None]))
