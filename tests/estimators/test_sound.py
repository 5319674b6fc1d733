"""A gate of the user's own that does not keep to the protocol is told what is wrong."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.linear_model import Ridge
from sklearn.tree import DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.gates import HierarchicalGate, NestedGate, SoftmaxGate
from mixexp.partitions import NearestCenter
from mixexp.protocols import Sums, evolve


class Halves(BaseEstimator):
    """A sound gate without optional methods: a table for two halves of the first column."""

    monotone = True

    def start(self, rows, n_experts, columns):
        return evolve(self, table=np.full((n_experts, 2), 1 / n_experts))

    def codes(self, block):
        return (block.X[:, 0] > 0).astype(int)

    def log_prob(self, block):
        return np.log(self.table)[:, self.codes(block)]

    def statistics(self, block, resp):
        return Sums(mass=np.stack([np.bincount(self.codes(block), r, minlength=2) for r in resp]))

    def update(self, statistics, rows):
        mass = statistics["mass"] + 1e-9
        return evolve(self, table=mass / mass.sum(axis=0))


class NoPart(Halves):
    def start(self, rows, n_experts, columns):
        return None


class NoUpdate(Halves):
    update = None


class Transposed(Halves):
    def log_prob(self, block):
        return super().log_prob(block).T


class Probabilities(Halves):
    def log_prob(self, block):
        return np.exp(super().log_prob(block))


class Nothing(Halves):
    def log_prob(self, block):
        return None


class Unknown(Halves):
    def log_prob(self, block):
        return super().log_prob(block) * np.nan


class Later(Halves):
    """Its table adds up to 1 at the start only."""

    def update(self, statistics, rows):
        return evolve(self, table=1.5 * super().update(statistics, rows).table)


@pytest.fixture
def lines(rng):
    X = rng.normal(size=(120, 2))
    return X, np.where(X[:, 0] > 0, 2, -1) * X[:, 1] + 0.2 * rng.normal(size=120)


@pytest.mark.parametrize(
    "gate, kind, match",
    [
        (NoPart(), TypeError, "`start` of the gate returned None"),
        (NoUpdate(), TypeError, "gate NoUpdate has no update"),
        (Transposed(), ValueError, r"Transposed returned \(120, 2\).*shape \(2, 120\)"),
        (Nothing(), ValueError, "Nothing returned NoneType"),
        (
            Probabilities(),
            ValueError,
            "Probabilities gives .* that add up to 3.29",
        ),
        (Unknown(), ValueError, "Unknown gives a row probabilities that add up to nan"),
        (Later(), ValueError, "Later returned logarithms of probabilities that add up to 1.5"),
    ],
    ids=lambda gate: type(gate).__name__,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_mistakes(lines, gate, kind, match):
    with pytest.raises(kind, match=match):
        MixtureOfExpertsRegressor(n_experts=2, gate=gate, n_init=1, max_iter=3).fit(*lines)


def test_a_gate_without_optional_methods_works_but_cannot_drop(lines):
    model = MixtureOfExpertsRegressor(n_experts=2, gate=Halves(), random_state=0).fit(*lines)
    assert model.gate_.table.max(axis=0).min() > 0.9
    with pytest.raises(
        ValueError, match=r"on_collapse='drop' needs a gate.*Halves has no `select`"
    ):
        model.set_params(on_collapse="drop").fit(*lines)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", [MixtureOfExpertsRegressor, MixtureOfExpertsClassifier])
def test_growing_with_labels(lines, kind):
    X, y = lines
    y = y if kind is MixtureOfExpertsRegressor else y > 0
    known = np.where(X[:, 0] > 0.5, 2, -1)
    model = kind(n_experts=3, init="split", max_iter=5, random_state=0)
    assert model.fit(X, y, expert_labels=known).gate_proba(X)[known == 2, 2].mean() > 0.5


def test_labels_leave_centers_that_they_say_nothing_of(lines):
    X, y = lines
    centers = np.array([[1.5, 0], [-1.5, 0], [0, 0]])
    near = np.sum((X[:, None] - centers) ** 2, axis=2).argmin(axis=1)
    known = np.full(len(X), -1)
    known[np.flatnonzero(near == 0)[:5]] = 2
    options = {"n_experts": 3, "tol": 1e3, "random_state": 0}  # where EM starts
    model = MixtureOfExpertsRegressor(init=NearestCenter(centers), **options)
    given = MixtureOfExpertsRegressor(init=near, **options)
    proba = [m.fit(X, y, expert_labels=known).gate_proba(X) for m in (model, given)]
    assert np.mean(proba[0].argmax(axis=1) == proba[1].argmax(axis=1)) > 0.95


def test_weights_are_repetitions_also_in_groups(rng):
    X = np.repeat(rng.normal(size=(40, 2)), 3, axis=0)
    y, groups = rng.normal(size=120), np.repeat(np.arange(40), 3)
    weight = rng.integers(1, 4, 120)
    rows = np.repeat(np.arange(120), weight)
    model = MixtureOfExpertsRegressor(n_experts=3, max_iter=3, tol=0, random_state=0)
    with pytest.warns(match="did not converge"):
        one = model.fit(X, y, weight, groups=groups).lower_bounds_
    with pytest.warns(match="did not converge"):
        two = model.fit(X[rows], y[rows], groups=groups[rows]).lower_bounds_
    np.testing.assert_allclose(one, two, rtol=1e-12)


@pytest.mark.parametrize(
    "gate",
    [
        SoftmaxGate(0),
        HierarchicalGate((2,), 0),
        NestedGate([(0,), (1,)], {(): SoftmaxGate(0)}),
        NestedGate([[0], [1]], {(): SoftmaxGate(0)}),
    ],
    ids=str,
)
def test_separated_gates_are_told_of(gate):
    x = np.linspace(-1, 1, 200)[:, None]
    y = np.where(x[:, 0] > 0, 5 + x[:, 0], -5 - x[:, 0])
    y += 0.01 * np.random.default_rng(0).normal(size=200)
    with pytest.warns(match="separates"):
        model = MixtureOfExpertsRegressor(n_experts=2, gate=gate, random_state=0).fit(x, y)
    assert np.all(np.isfinite(model.gate_.get_parameters()))


@pytest.mark.parametrize(
    "paths, gates",
    [([0, 1], {(): None}), ([(0,), (1,)], None), ([(0,), (1,)], {(): "softmax"})],
)
def test_trees_that_are_none(lines, paths, gates):
    with pytest.raises(ValueError, match=r"NestedGate: (paths must|gates has)"):
        MixtureOfExpertsRegressor(n_experts=2, gate=NestedGate(paths, gates)).fit(*lines)


def test_a_new_gate_has_no_part_in_predictions_before_the_next_fit(lines):
    from mixexp.gates import GaussianGate

    X, y = lines
    X = X.copy()
    X[::7, 0] = np.nan
    model = MixtureOfExpertsRegressor(n_experts=2, expert_features=[1], random_state=0)
    model.set_params(n_init=2, max_iter=200).fit(X, y)
    before = model.predict(X)
    np.testing.assert_array_equal(model.set_params(gate=GaussianGate()).predict(X), before)


def test_the_gate_with_noise_says_what_it_is(lines):
    model = MixtureOfExpertsRegressor(n_experts=2, noise_expert=True, random_state=0).fit(*lines)
    assert repr(model.gate_).startswith("NoiseGate(SoftmaxGate(), ")
    assert not hasattr(model.gate_, "get_params")


def test_equal_rows_of_a_group_start_from_their_weighted_mean(rng):
    X = np.repeat(rng.normal(size=(40, 2)), 3, axis=0)
    y, groups = np.repeat(rng.normal(size=60), 2), np.repeat(np.arange(40), 3)
    weight, start = rng.integers(1, 4, 120), rng.dirichlet(np.ones(2), 120)
    rows = np.repeat(np.arange(120), weight)
    model = MixtureOfExpertsRegressor(n_experts=2, max_iter=3, tol=0)
    with pytest.warns(match="did not converge"):
        one = model.set_params(init=start).fit(X, y, weight, groups=groups).lower_bounds_
    with pytest.warns(match="did not converge"):
        two = model.set_params(init=start[rows]).fit(X[rows], y[rows], groups=groups[rows])
    np.testing.assert_allclose(one, two.lower_bounds_, rtol=1e-12)


def test_centers_keep_their_leaves_and_experts(lines):
    # 0 and 3 are neighbours, and so are 1 and 2: an arrangement would put them together
    centers = np.array([[-1.5, 0], [1.5, 0], [0.5, 0], [-0.5, 0]])
    X, _ = lines
    near = np.sum((X[:, None] - centers) ** 2, axis=2).argmin(axis=1)
    y = np.array([4.0, -4.0, 0.0, 8.0])[near] + 0.1 * np.random.default_rng(0).normal(size=120)
    tree = HierarchicalGate((2, 2))
    kinds = [Ridge(), Ridge(2.0), DecisionTreeRegressor(max_depth=1), Ridge(3.0)]
    for options in ({"gate": tree}, {"expert": kinds, "cross_fit": False}):
        model = MixtureOfExpertsRegressor(n_experts=4, **options, max_iter=2, tol=0)
        with pytest.warns(match="did not converge"):
            found = model.set_params(init=NearestCenter(centers)).fit(X, y).gate_proba(X)
        with pytest.warns(match="did not converge"):
            given = model.set_params(init=near).fit(X, y).gate_proba(X)
        assert np.mean(found.argmax(axis=1) == given.argmax(axis=1)) > 0.95
