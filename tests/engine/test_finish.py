"""The Newton finish: where it ends, when it begins, and what it leaves to EM."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from _problems import make_rows, one_expert
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.preprocessing import StandardScaler

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._engine import em, finish
from mixexp._engine.assign import Soft
from mixexp._engine.em import Problem, run_em
from mixexp._engine.finish import FIRST_DAMPING, NewtonFinish, _Reduced, trust_region_step
from mixexp._engine.fixed import fit_at
from mixexp._engine.information import Information
from mixexp._engine.sweep import State
from mixexp.datasets import load_tone
from mixexp.families import Gaussian
from mixexp.gates import ConstantGate, HierarchicalGate, SoftmaxGate
from mixexp.protocols import ParameterSpace


def quadratic(rng, lowest, p=6):
    """Return an information with this lowest eigenvalue in a metric, the metric and a gradient."""
    root = np.tril(rng.standard_normal((p, p))) + 3 * np.eye(p)
    turned, _ = np.linalg.qr(rng.standard_normal((p, p)))
    inner = turned @ np.diag(np.linspace(lowest, 1, p)) @ turned.T
    return root @ inner @ root.T, root @ root.T, rng.standard_normal(p)


@pytest.mark.parametrize("lowest", [0.5, 1e-3, 0.0, -0.3])
@pytest.mark.parametrize("radius", [1e-3, 0.3, 1e3])
@pytest.mark.parametrize("guess", [0.0, 1e-6, 0.3, 1e4])
def test_the_step_is_the_best_within_the_radius(rng, lowest, radius, guess):
    observed, metric, gradient = quadratic(rng, lowest)
    step, gain, length, damping = trust_region_step(observed, metric, gradient, radius, guess)
    if length < finish.NEAR[0] * radius:
        assert damping <= finish.NO_DAMPING
    assert length <= finish.NEAR[1] * radius
    assert_allclose(length, np.sqrt(step @ metric @ step))
    assert_allclose(gain, gradient @ step - 0.5 * step @ observed @ step)
    root = np.linalg.cholesky(metric)
    for _ in range(500):  # no other step of this length gains more
        other = rng.standard_normal(len(step))
        other *= length / np.linalg.norm(other)
        other = np.linalg.solve(root.T, other)
        assert gradient @ other - 0.5 * other @ observed @ other <= gain * (1 + 1e-9)
    if lowest > 0 and radius > 100 and (guess == 0 or length < finish.NEAR[0] * radius):
        assert_allclose(step, np.linalg.solve(observed, gradient), rtol=1e-6)


def test_where_nothing_bounds_it_the_step_is_as_long_as_the_radius(rng):
    """The number of factorisations is bounded: a few searches for the damping end short of it."""
    found = [trust_region_step(*quadratic(rng, -0.1), 3.0)[2] / 3.0 for _ in range(40)]
    assert max(found) <= finish.NEAR[1]
    assert np.mean(np.array(found) >= finish.NEAR[0]) > 0.9


def test_the_damping_of_the_last_step_saves_factorisations(rng, monkeypatch):
    factor, tried = finish._factor, []
    monkeypatch.setattr(finish, "_factor", lambda matrix: tried.append(1) or factor(matrix))
    counts = []
    for _ in range(20):
        problem, guess = quadratic(rng, -0.1), 0.0
        for radius in (3.0, 2.5):
            tried.clear()
            *_, guess = trust_region_step(*problem, radius, guess)
            counts.append(len(tried))
    assert np.mean(counts[1::2]) < np.mean(counts[::2]) / 2


@pytest.mark.parametrize(
    ("kept", "factor"), [(2 / 3, 1.0), (0.9, 1.826), (1.0, 2.0), (1.2, 2.0), (-1.0, 0.408)]
)
def test_the_next_radius_aims_at_two_thirds_of_the_promise(kept, factor):
    assert_allclose(finish._next_factor(kept), factor, atol=1e-3)
    assert finish._next_factor(-np.inf) == finish.SHRINK


def overlapping(rng, n=400, k=3):
    X = rng.standard_normal((n, 2))
    z = np.argmax(0.6 * X @ rng.standard_normal((2, k)) + rng.gumbel(size=(n, k)), axis=1)
    lines = rng.standard_normal((k, 2))
    return X, np.einsum("ij,ij->i", X, lines[z]) + 0.7 * z + 0.8 * rng.standard_normal(n), z


def runs(X, y, z, gate, template, family=None, weight=None):
    """Return the ends of plain EM and of EM with the finish from the same state."""
    rows = make_rows(X, y, weight)
    bank = one_expert(template, rows, family=family).replicate(3)
    state = fit_at(State(gate.start(rows, 3, None), bank), rows, np.eye(3)[z].T.copy(), 2)
    plain = run_em(Problem(rows, Soft(), 20_000, 1e-12), state)
    return plain, run_em(Problem(rows, Soft(), 500, 1e-12, accelerate=NewtonFinish(1e-12)), state)


@pytest.mark.parametrize(
    ("gate", "template", "family"),
    [
        (SoftmaxGate(), Ridge(0.3), None),
        (SoftmaxGate(temperature=3.0), LinearRegression(), None),
        (ConstantGate(), Ridge(0.3), None),
        (SoftmaxGate(), Ridge(0.3), Gaussian(shared=True)),
    ],
    ids=["softmax", "no penalty", "constant", "shared dispersion"],
)
def test_it_ends_where_em_does_in_fewer_passes(gate, template, family):
    X, y, z = overlapping(np.random.default_rng(5))
    plain, fast = runs(X, y, z, gate, template, family)
    assert plain.converged and fast.converged
    assert plain.n_passes > 100
    assert fast.n_passes < 0.5 * plain.n_passes
    assert_allclose(fast.bound, plain.bound, atol=1e-8)
    assert_allclose(
        fast.state.bank.get_parameters(), plain.state.bank.get_parameters(), rtol=1e-2, atol=1e-3
    )
    assert np.all(np.diff(fast.bounds) >= -1e-9)


def test_weights_count_like_repeated_rows():
    rng = np.random.default_rng(5)
    X, y, z = overlapping(rng)
    count = rng.integers(1, 3, len(y))
    _, weighted = runs(X, y, z, SoftmaxGate(), Ridge(0.3), weight=count * 1.0)
    X, y, z = (each.repeat(count, axis=0) for each in (X, y, z))
    _, repeated = runs(X, y, z, SoftmaxGate(), Ridge(0.3))
    assert_allclose(weighted.bound, repeated.bound, atol=1e-9)


@pytest.mark.parametrize(
    ("load", "options"),
    [
        (load_wine, {}),
        (load_breast_cancer, {}),
        (load_iris, {}),
        (load_diabetes, {"family": "student_t"}),
    ],
    ids=["wine", "breast cancer", "iris", "diabetes"],
)
def test_classic_tables_converge_at_the_defaults(load, options):
    kind = MixtureOfExpertsRegressor if load is load_diabetes else MixtureOfExpertsClassifier
    X, y = load(return_X_y=True)
    model = kind(**{"n_experts": 2, "n_init": 3, "random_state": 0, **options})
    model.fit(StandardScaler().fit_transform(X), y)  # a warning would be an error
    assert model.converged_


def test_without_acceleration_em_takes_its_own_steps():
    X, y = load_wine(return_X_y=True)
    options = {"n_experts": 2, "n_init": 1, "random_state": 0, "acceleration": None}
    options["gate"] = SoftmaxGate(alpha=0.3)
    with pytest.warns(ConvergenceWarning, match="acceleration='auto'"):
        model = MixtureOfExpertsClassifier(**options).fit(StandardScaler().fit_transform(X), y)
    assert model.n_iter_ == 200


def test_acceleration_is_checked():
    X, y = load_tone(return_X_y=True)
    with pytest.raises(ValueError, match="The 'acceleration' parameter"):
        MixtureOfExpertsRegressor(n_experts=2, acceleration="newton").fit(X, y)


@pytest.mark.parametrize(
    "options",
    [
        {"family": "laplace"},
        {"gate": HierarchicalGate((2,))},
        {"noise_expert": True},
        {"assignment": "hard"},
        {"gate": SoftmaxGate(usage_prior=2.0)},
    ],
    ids=["laplace", "tree", "noise", "hard", "usage"],
)
def test_what_has_no_derivatives_is_left_to_em(options):
    X, y = load_tone(return_X_y=True)
    bounds = []
    for acceleration in ("auto", None):
        model = MixtureOfExpertsRegressor(
            n_experts=2, n_init=2, random_state=0, acceleration=acceleration, **options
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            bounds.append(model.fit(X, y).lower_bounds_)
    assert_array_equal(*bounds)


def test_with_a_tolerance_of_0_all_iterations_are_run():
    X, y, _ = overlapping(np.random.default_rng(5))
    model = MixtureOfExpertsRegressor(n_experts=3, tol=0, max_iter=120, n_init=2, random_state=0)
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        model.fit(X, y)
    assert model.n_iter_ == 120
    assert np.all(np.diff(model.lower_bounds_) >= -1e-9)
    assert np.all(np.isfinite(model.predict(X)))


def test_a_dispersion_on_its_floor_stays_there():
    rng = np.random.default_rng(0)
    X, y, z = overlapping(rng)
    y = np.where(z == 0, 2 * X[:, 0], y)  # an exact line: its dispersion would go to 0
    rows = make_rows(X, y)
    bank = one_expert(LinearRegression(), rows).replicate(3).with_floor(np.array([0.05]))
    state = State(SoftmaxGate().start(rows, 3, None), bank)
    state = fit_at(state, rows, np.eye(3)[z].T.copy(), 2)
    run = run_em(Problem(rows, Soft(), 300, 1e-10, accelerate=NewtonFinish(1e-10)), state)
    assert run.converged
    assert run.state.bank.on_floor.tolist() == [True, False, False]
    plain = run_em(Problem(rows, Soft(), 20_000, 1e-12), state)
    assert_allclose(run.bound, plain.bound, atol=1e-7)


def test_it_waits_until_em_is_slow(monkeypatch):
    begun = []
    original = NewtonFinish._begins
    monkeypatch.setattr(
        NewtonFinish, "_begins", lambda self, run: begun.append(original(self, run)) or begun[-1]
    )
    X, y, z = overlapping(np.random.default_rng(5))
    plain, fast = runs(X, y, z, SoftmaxGate(), Ridge(0.3))
    first = begun.index(True)
    gains = np.diff(plain.bounds[:first]) / np.maximum(1, np.abs(plain.bounds[1:first]))
    assert first > 3 and np.all(gains[:-1] > finish.SLOW_GAIN) and gains[-1] <= finish.SLOW_GAIN
    assert_array_equal(plain.bounds[:first], fast.bounds[:first])


def test_leaps_that_fail_leave_the_run_to_em(monkeypatch):
    """A step the wrong way lowers the bound: it is refused, and after three EM goes on alone."""
    original, tried = finish.trust_region_step, []

    def backwards(observed, metric, gradient, radius, damping):
        step, gain, length, damping = original(observed, metric, gradient, radius, damping)
        em_length = np.sqrt(gradient @ np.linalg.solve(metric, gradient))
        fall = -gradient @ step - 0.5 * step @ observed @ step  # of the quadratic
        tried.append((radius, length, em_length, fall / gain))
        return -step, gain, length, damping

    X, y, z = overlapping(np.random.default_rng(5))
    monkeypatch.setattr(finish, "trust_region_step", backwards)
    plain, fast = runs(X, y, z, SoftmaxGate(), Ridge(0.3))
    assert np.all(np.diff(fast.bounds) >= -1e-9)
    same = min(len(fast.bounds), len(plain.bounds))
    assert_allclose(fast.bounds[:same], plain.bounds[:same], rtol=1e-9)
    assert fast.n_passes > len(fast.bounds) + 1
    # a radius comes from the step of EM, then it shrinks, but not far below the step of EM
    for i, (radius, _, em_length, _) in enumerate(tried):
        if i % finish.MOST_FAILURES == 0:
            assert_allclose(radius, finish.FIRST_RADIUS * em_length, rtol=1e-6)
            continue
        _, length, _, kept = tried[i - 1]
        shrunk = finish._next_factor(kept) * length  # by how far the bound fell
        assert shrunk < length
        assert_allclose(radius, max(shrunk, finish.SHRINK * em_length), rtol=0.3)
    assert len(tried) > finish.MOST_FAILURES


@pytest.mark.parametrize("bound", [np.nan, -np.inf])
def test_a_leap_without_a_bound_is_refused_like_any_other(monkeypatch, bound):
    """A radius that became NaN would stay so, and the run would count as settled."""
    X, y, z = overlapping(np.random.default_rng(5))
    evaluate, leapt, spoilt = em.evaluate, em._leapt, []

    def spoil(*args):
        if spoilt:
            return leapt(*args)
        spoilt.append(1)
        with monkeypatch.context() as patch:
            patch.setattr(em, "evaluate", lambda *each: replace(evaluate(*each), bound=bound))
            return leapt(*args)

    expected, _ = runs(X, y, z, SoftmaxGate(), Ridge(0.3))
    monkeypatch.setattr(em, "_leapt", spoil)
    rows = make_rows(X, y)
    bank = one_expert(Ridge(0.3), rows).replicate(3)
    state = fit_at(State(SoftmaxGate().start(rows, 3, None), bank), rows, np.eye(3)[z].T.copy(), 2)
    run = run_em(Problem(rows, Soft(), 500, 1e-12, accelerate=NewtonFinish(1e-12)), state)
    assert spoilt and run.converged and not np.isnan(run.refused)
    assert_allclose(run.bound, expected.bound, atol=1e-8)


def test_directions_in_which_nothing_changes(rng):
    redundant = np.array([[0, 2, 4], [1, 3, 5]])  # three classes, two columns
    scale = rng.uniform(1, 2, 6)
    found = finish._directions(redundant, np.arange(6), scale)
    expected = np.zeros((2, 6))
    expected[0, ::2], expected[1, 1::2] = scale[::2], scale[1::2]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert_allclose(found, expected, rtol=1e-12)
    held = np.array([0, -1, 1, 2, 3, 4])  # a coefficient that is held leaves its column as it is
    assert_allclose(
        finish._directions(redundant, held, scale[:5]) != 0, [[True, True, False, True, False]]
    )
    assert finish._directions(np.empty((0, 3), dtype=int), held, scale[:5]).shape == (0, 5)
    assert finish._directions(np.empty((1, 0), dtype=int), held, scale[:5]).shape == (0, 5)


def test_the_metric_is_definite_where_the_complete_information_is_not():
    none, infinite = np.empty((0, 0), dtype=int), np.full(2, np.inf)
    space = ParameterSpace(none, none, np.arange(2), none, -infinite, infinite)
    same = np.ones((2, 2))  # two copies of a column, without a penalty
    found = _Reduced.of(Information(np.zeros(2), same, same, 0 * same, space), np.zeros(2))
    assert_allclose(np.linalg.eigvalsh(found.complete), [FIRST_DAMPING, 2 + FIRST_DAMPING])
    bent = np.diag([1.0, -4.0])  # upwards in the second parameter, which is free all the same
    found = _Reduced.of(Information(np.ones(2), bent, bent, 0 * bent, space), np.zeros(2))
    assert_array_equal(found.ids, [0, 1])
    assert_allclose(found.scale, [1.0, 2.0])
    assert np.all(np.linalg.eigvalsh(found.complete) > 0.9)
    assert np.isfinite(found.em_length())


def test_student_t_does_not_settle_where_degrees_of_freedom_bend_the_other_way():
    """Their complete information is negative far from the maximum, and no step was found."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 2))
    y = np.where(X[:, 0] + rng.normal(size=400) * 0.7 > 0, 1 + X[:, 1], -1 - 0.3 * X[:, 1])
    y += rng.laplace(size=400) * 0.4
    options = {"n_experts": 2, "init": (X[:, 0] > 0).astype(int), "family": "student_t"}
    model = MixtureOfExpertsRegressor(random_state=0, **options).fit(X, y)
    plain = MixtureOfExpertsRegressor(
        random_state=0, acceleration=None, max_iter=3000, tol=1e-9, **options
    ).fit(X, y)
    assert model.converged_
    assert model.lower_bound_ == pytest.approx(plain.lower_bound_, abs=1e-4)
