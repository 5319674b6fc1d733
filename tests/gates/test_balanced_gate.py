"""A prior on usage, and the temperature: what tames a gate."""

import warnings
from functools import partial

import numpy as np
import pytest
from _problems import make_rows, numeric_gradient, one_expert, random_resp, softmax_gated
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import log_softmax, softmax
from sklearn.base import clone

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._engine.assign import Soft
from mixexp._engine.em import Problem, evaluate
from mixexp._engine.fixed import fit_at
from mixexp._engine.guard import FALL_TOL
from mixexp._engine.sweep import State
from mixexp._rows import inputs
from mixexp.gates import HierarchicalGate, SoftmaxGate
from mixexp.gates._balanced import BalancedGate
from mixexp.protocols import evolve

unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

GATES = {"softmax": SoftmaxGate, "tree": partial(HierarchicalGate, alpha=0.3)}


def lazy_problem(rng, n=400):
    """Return X and y of one line for all but 2 % of the rows: a second expert has little to do."""
    X = rng.uniform(-1, 1, (n, 2))
    y = 1 + 2 * X[:, 0] + 0.3 * rng.standard_normal(n)
    few = np.argsort(X[:, 1])[-n // 50 :]
    y[few] += 6
    return X, y


def lines(rng, n=200, k=4):
    X, y, _, _ = softmax_gated(rng, n, 2, k, noise=0.5)
    return X, y


def recomputed_bound(model, X, y, weight, strength):
    """Return the bound from what is public: density, coefficients and usage."""
    weight = np.ones(len(X)) if weight is None else weight
    total = model.log_density(X, y) @ weight + model._model.bank.log_prior()
    mean = np.average(X, axis=0, weights=weight)
    spread = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weight))
    coefs = model.gate_.coef_
    coefs = coefs.values() if isinstance(coefs, dict) else [coefs]
    total -= 0.5 * model.gate_.alpha * sum(np.sum((coef * spread) ** 2) for coef in coefs)
    proba = model.gate_proba(X)
    if model.noise_expert:  # of the experts, given that a row is not noise
        proba = proba[:, :-1] / proba[:, :-1].sum(axis=1, keepdims=True)
    usage = weight @ proba / weight.sum()
    return (total + strength * np.sum(np.log(usage))) / weight.sum()


# ---------------------------------------------------------------- the bound


@unconverged
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("strength", [0.5, 20.0, 1000.0])
def test_bounds_never_fall(gate, strength):
    for seed in range(6):
        rng = np.random.default_rng([seed, 3])
        X, y = lines(rng, 60 + 40 * seed)
        weight = 10.0 ** rng.uniform(-2, 2, len(X)) if seed % 2 else None
        kind = MixtureOfExpertsRegressor
        if seed == 4:
            kind, y = MixtureOfExpertsClassifier, (y > np.median(y)).astype(int)
        model = kind(
            n_experts=4,
            gate=GATES[gate](alpha=[0.3, 0.01][seed % 2], usage_prior=strength),
            init="random",
            n_init=1,
            noise_expert=seed in (2, 3),
            on_collapse="keep",
            max_iter=12,
            tol=0.0,
            random_state=seed,
        )
        model.fit(X, y, sample_weight=weight)
        bounds = model.lower_bounds_
        fall = FALL_TOL * np.maximum(1.0, np.abs(bounds[:-1]))
        assert len(bounds) == 12 and np.all(np.isfinite(bounds))
        assert np.all(np.diff(bounds) >= -fall), seed
        again = recomputed_bound(model, X, y, weight, strength)
        assert_allclose(model.lower_bound_, again, rtol=1e-9)


@unconverged
@pytest.mark.parametrize("gate", GATES)
def test_bounds_never_fall_with_groups(rng, gate):
    X, y = lines(rng, 240)
    groups = np.arange(240) // 3
    X[:, 0] = X[groups * 3, 0]
    model = MixtureOfExpertsRegressor(
        n_experts=4,
        gate=GATES[gate](usage_prior=10.0),
        gate_features=[0],
        init="random",
        n_init=1,
        on_collapse="keep",
        max_iter=12,
        tol=0.0,
        random_state=0,
    )
    model.fit(X, y, groups=groups)
    assert np.all(np.diff(model.lower_bounds_) >= -1e-9)
    proba = model.gate_proba(X[::3])  # of groups: each is one unit
    prior = model.gate_.log_prior() + model._model.bank.log_prior()
    prior += 10.0 * np.sum(np.log(proba.mean(axis=0)))
    bound = (model.log_density(X, y, groups=groups).sum() + prior) / 80
    assert_allclose(model.lower_bound_, bound, rtol=1e-10)


@unconverged
@pytest.mark.parametrize("gate", GATES)
def test_a_start_that_gives_an_expert_nothing(rng, gate):
    X, y = lines(rng)
    resp = np.zeros((200, 4))
    resp[:, 0] = 1 - 3e-9
    resp[:, 1:] = 1e-9
    model = MixtureOfExpertsRegressor(
        n_experts=4,
        gate=GATES[gate](usage_prior=5.0),
        init=resp,
        on_collapse="keep",
        max_iter=30,
        tol=0.0,
    )
    model.fit(X, y)
    assert np.all(np.diff(model.lower_bounds_) >= -1e-9 * np.abs(model.lower_bounds_[1:]))
    assert np.all(np.isfinite(model.gate_proba(X)))
    assert model.usage_.min() > 0.015  # c / (W + K c) at least, at a fixed point


@pytest.mark.parametrize("noise_expert", [False, True])
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("strength", [2.0, 50.0])
def test_converged_fits_are_stationary(rng, gate, strength, noise_expert):
    X = rng.uniform(-1, 1, (300, 2))
    scores = X @ np.array([[3.0, 0], [-3, 3], [0, -3], [0, 0]]).T
    proba = softmax(scores, axis=1)
    z = (proba.cumsum(axis=1) < rng.random((300, 1))).sum(axis=1)
    coef = np.array([[3.0, 1, 0], [-3, 0, 2], [0, -4, 1], [8, 1, 1]])
    y = np.einsum("ij,ij->i", np.column_stack([np.ones(300), X]), coef[z])
    y += 0.3 * rng.standard_normal(300)
    y[:40] = rng.uniform(-20, 20, 40)
    weight = rng.exponential(size=300)
    model = MixtureOfExpertsRegressor(
        n_experts=4,
        gate=GATES[gate](alpha=1.0, usage_prior=strength),
        noise_expert=noise_expert,
        init=proba,
        tol=1e-13,
        max_iter=5000,
    )
    model.fit(X, y, sample_weight=weight)
    assert model.converged_
    assert_allclose(model.lower_bound_, recomputed_bound(model, X, y, weight, strength), rtol=1e-12)
    problem = Problem(make_rows(X, y, weight), Soft(), 1, 0.0)
    if noise_expert:
        assert 0.05 < model.gate_.noise_share_ < 0.3
        inner = BalancedGate(model.gate_.inner, strength)
        state = State(evolve(model.gate_, inner=inner), model._model.bank)
    else:
        state = State(BalancedGate(model.gate_, strength), model._model.bank)
    sizes = [len(part.get_parameters()) for part in state.parts]

    def bound(vector):
        gate, bank = np.split(vector, sizes[:1])
        moved = State(state.gate.set_parameters(gate), state.bank.set_parameters(bank))
        return evaluate(problem, moved, 0).bound

    here = np.concatenate([part.get_parameters() for part in state.parts])
    assert_allclose(bound(here), model.lower_bound_, rtol=1e-12)
    assert_allclose(numeric_gradient(bound, here), 0.0, atol=2e-6)
    off = here.copy()
    off[0] += 0.1
    assert np.abs(numeric_gradient(bound, off)).max() > 1e-4


def test_the_m_step_against_rows_added_by_hand(rng):
    # c more rows of each expert, drawn from those it has: weights c g_k(x_i) / Σ g_k
    X = rng.standard_normal((120, 2))
    weight, resp = rng.exponential(size=120), random_resp(rng, 3, 120, 2.0)
    rows = make_rows(X, weight=weight)
    gate = SoftmaxGate(usage_prior=7.0).start(rows, 3, None)
    assert isinstance(gate, BalancedGate)
    gate = gate.set_parameters(0.5 * rng.standard_normal(9))
    own = softmax(X @ gate.coef_.T + gate.inner.intercept_, axis=1).T * weight
    added = 7.0 * own / own.sum(axis=1, keepdims=True)
    total = resp * weight + added
    by_hand = rows.subset(np.arange(120), total.sum(axis=0))
    plain = SoftmaxGate().start(by_hand, 3, None).set_parameters(gate.get_parameters())
    expected = fit_at(State(plain, None), by_hand, total / total.sum(axis=0), 1).gate
    found = fit_at(State(gate, None), rows, resp, 1).gate
    assert_allclose(found.get_parameters(), expected.get_parameters(), rtol=1e-7)
    bounded = fit_at(State(gate.bounded(), None), rows, resp, 1).gate
    expected = fit_at(State(plain.bounded(), None), by_hand, total / total.sum(axis=0), 1).gate
    assert_allclose(bounded.get_parameters(), expected.get_parameters(), rtol=1e-7)
    half = gate.toward(found, 0.5).get_parameters()
    assert_allclose(half, 0.5 * (gate.get_parameters() + found.get_parameters()), atol=1e-13)


def test_an_expert_that_no_row_has_left(rng):
    rows = make_rows(rng.standard_normal((50, 1)))
    gate = SoftmaxGate(alpha=0.3, usage_prior=2.0).start(rows, 3, None)
    gate = gate.set_parameters(np.array([500.0, 0, 500, 0, -1000, 0])).measured(rows)
    assert_allclose(gate.usage / gate.total, [0.5, 0.5, 1e-12])
    assert_allclose(gate.log_prior(), 2.0 * np.log([0.5, 0.5, 1e-12]).sum())
    new = fit_at(State(gate, None), rows, random_resp(rng, 3, 50), 1).gate
    assert np.all(np.isfinite(new.get_parameters()))


# ---------------------------------------------------------------- what it is for


@pytest.mark.parametrize("gate", GATES)
def test_a_strong_prior_gives_equal_usage(rng, gate):
    X, y = lines(rng, 150)
    model = MixtureOfExpertsRegressor(
        n_experts=4, gate=GATES[gate](usage_prior=1e6), n_init=2, random_state=0
    )
    model.fit(X, y)
    assert_allclose(model.usage_, 0.25, atol=1e-4)


def test_a_lazy_gate_keeps_its_experts(rng):
    X, y = lazy_problem(rng)
    shares = []
    for strength in (0.0, 20.0, 100.0):
        gate = SoftmaxGate(usage_prior=strength)
        model = MixtureOfExpertsRegressor(n_experts=2, gate=gate, random_state=0)
        shares.append(model.fit(X, y).usage_.min())
    assert shares[0] < 0.05
    assert shares[0] < shares[1] < shares[2]
    # each expert has c of W + 2 c rows at least
    assert shares[1] > 20 / 440 and shares[2] > 100 / 600


def test_weights_are_repetitions(rng):
    X, y = lines(rng, 100)
    weight = rng.integers(0, 4, size=100)
    model = MixtureOfExpertsRegressor(
        n_experts=4,
        gate=SoftmaxGate(usage_prior=10.0),
        n_init=2,
        max_iter=10,
        tol=0.0,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        a = clone(model).fit(X, y, sample_weight=weight)
        b = model.fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    assert_allclose(a.lower_bounds_, b.lower_bounds_, rtol=1e-9)
    assert_allclose(a.gate_proba(X), b.gate_proba(X), atol=1e-7)


@unconverged
@pytest.mark.parametrize("gate", GATES)
def test_data_larger_than_the_sketch(rng, gate, monkeypatch):
    monkeypatch.setattr(inputs, "SKETCH_ROWS", 150)
    X, y = lines(rng, 400)
    gate = GATES[gate](alpha=0.3, usage_prior=30.0)
    model = MixtureOfExpertsRegressor(
        n_experts=4, gate=gate, n_init=2, max_iter=10, tol=0.0, random_state=0
    )
    model.fit(X, y)
    assert np.all(np.diff(model.lower_bounds_) >= -1e-9)
    assert_allclose(model.lower_bound_, recomputed_bound(model, X, y, None, 30.0), rtol=1e-9)


@pytest.mark.parametrize("noise_expert", [False, True])
@pytest.mark.parametrize("gate", GATES)
def test_what_is_stored_is_the_gate_itself(rng, gate, noise_expert):
    X, y = lines(rng, 150)
    own = GATES[gate](usage_prior=5.0)
    model = MixtureOfExpertsRegressor(
        n_experts=4, gate=own, noise_expert=noise_expert, n_init=1, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)
    stored = model.gate_.inner if noise_expert else model.gate_
    assert type(stored) is type(own)
    assert stored.get_params() == own.get_params()
    assert not vars(own).keys() - own.get_params().keys()
    assert np.isfinite(model.aic(X, y))


def test_no_prior_is_no_wrapper(rng):
    rows = make_rows(rng.standard_normal((20, 2)))
    assert type(SoftmaxGate(usage_prior=0).start(rows, 3, None)) is SoftmaxGate
    assert type(HierarchicalGate(usage_prior=0.0).start(rows, 4, None)) is HierarchicalGate


def test_experts_that_are_dropped_under_the_prior(rng):
    # the prior is then on the usage of those that are left
    X, y = lines(rng, 200, 2)
    rows = make_rows(X, y)
    gate = SoftmaxGate(usage_prior=4.0).start(rows, 3, None)
    bank = one_expert(None, rows).replicate(3)
    state = fit_at(State(gate, bank), rows, random_resp(rng, 3, 200), 3)
    fewer = state.select(np.array([2, 0]))
    evaluation = evaluate(Problem(rows, Soft(), 1, 0.0), fewer, 0)
    usage = np.exp(log_softmax(X @ fewer.gate.coef_.T + fewer.gate.inner.intercept_, axis=1)).mean(
        axis=0
    )
    expected = fewer.gate.inner.log_prior() + 4.0 * np.sum(np.log(usage))
    assert_allclose(evaluation.state.gate.log_prior(), expected, rtol=1e-12)


def test_separable_regions_without_penalty(rng):
    X = np.sort(rng.uniform(-1, 1, (200, 1)), axis=0)
    y = np.where(X[:, 0] > 0, 5.0, -5.0) + 0.1 * rng.standard_normal(200)
    gate = SoftmaxGate(alpha=0.0, usage_prior=1.0)
    model = MixtureOfExpertsRegressor(n_experts=2, gate=gate, random_state=0)
    with pytest.warns(UserWarning, match="gate separates|did not converge"):
        model.fit(X, y)
    assert np.all(np.isfinite(model.gate_.coef_))


# ---------------------------------------------------------------- temperature


@unconverged
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("temperature", [0.3, 2.0])
def test_in_a_fit_the_temperature_acts_like_alpha(rng, gate, temperature):
    X, y = lines(rng)
    options = {"n_experts": 4, "n_init": 2, "max_iter": 10, "tol": 0.0, "random_state": 0}
    hot = GATES[gate](alpha=0.3, temperature=temperature)
    plain = GATES[gate](alpha=0.3 * temperature**2)
    a = MixtureOfExpertsRegressor(gate=hot, **options).fit(X, y)
    b = MixtureOfExpertsRegressor(gate=plain, **options).fit(X, y)
    assert_allclose(a.lower_bounds_, b.lower_bounds_, rtol=1e-7)
    assert_allclose(a.predict(X), b.predict(X), atol=1e-6)
    assert_allclose(a.gate_proba(X), b.gate_proba(X), atol=1e-6)
    coefs = a.gate_.coef_, b.gate_.coef_
    if gate == "tree":
        coefs = [coef[()] for coef in coefs]
    assert_allclose(coefs[0], temperature * coefs[1], rtol=1e-4, atol=1e-6)


def at_temperature(gate, X):
    """Return gate probabilities (n, K) from coefficients and temperature, by the formula."""
    out = np.zeros((len(X), 4))
    if isinstance(gate, SoftmaxGate):
        return softmax((X @ gate.coef_.T + gate.intercept_) / gate.temperature, axis=1)
    for k, path in enumerate(gate.paths_):
        for depth, child in enumerate(path):
            scores = X @ gate.coef_[path[:depth]].T + gate.intercept_[path[:depth]]
            out[:, k] += log_softmax(scores / gate.temperature, axis=1)[:, child]
    return np.exp(out)


@unconverged
@pytest.mark.parametrize("noise_expert", [False, True])
@pytest.mark.parametrize("gate", GATES)
def test_the_temperature_of_a_fitted_gate(rng, gate, noise_expert):
    X, y = lines(rng)
    own = GATES[gate](temperature=1.5)
    model = MixtureOfExpertsRegressor(
        n_experts=4, gate=own, n_init=1, max_iter=5, noise_expert=noise_expert, random_state=0
    )
    model.fit(X, y)
    before = model.route(X)
    stored = model.gate_.inner if noise_expert else model.gate_
    assert_allclose(before, at_temperature(stored, X), atol=1e-10)
    outputs = model.predict_experts(X)
    spread = []
    for temperature in (0.1, 1.5, 20.0):
        model.gate_.set_params(temperature=temperature)
        proba = model.route(X)
        assert_allclose(proba, at_temperature(stored, X), atol=1e-10)
        assert_allclose(model.predict(X), np.sum(proba * outputs, axis=1), atol=1e-10)
        spread.append(proba.max(axis=1).mean())
        if temperature == 1.5:
            assert_allclose(proba, before, atol=1e-12)
    assert spread[0] > spread[1] > spread[2]
    assert_array_equal(own.temperature, 1.5)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize(
    "name, value, left",
    [
        ("temperature", 0, r"\[1e-06, 1e\+06\]"),
        ("temperature", -1.0, r"\[1e-06, 1e\+06\]"),
        ("temperature", np.nan, r"\[1e-06, 1e\+06\]"),
        ("temperature", 1e155, r"\[1e-06, 1e\+06\]"),  # its square is not finite
        ("temperature", np.inf, r"\[1e-06, 1e\+06\]"),
        ("temperature", "1", r"\[1e-06, 1e\+06\]"),
        ("temperature", None, r"\[1e-06, 1e\+06\]"),
        ("usage_prior", -1e-3, r"\[0, inf\)"),
        ("usage_prior", np.nan, r"\[0, inf\)"),
        ("usage_prior", True, r"\[0, inf\)"),
        ("usage_prior", [1.0], r"\[0, inf\)"),
    ],
)
def test_bad_values(rng, gate, name, value, left):
    X, y = lines(rng, 60)
    model = MixtureOfExpertsRegressor(n_experts=4, gate=GATES[gate](**{name: value}))
    kind = type(model.gate).__name__
    with pytest.raises(ValueError, match=rf"{kind}: {name} must be a number in {left}, got .*Use"):
        model.fit(X, y)
