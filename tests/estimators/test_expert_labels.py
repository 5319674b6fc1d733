"""Rows whose expert the user knows."""

import numpy as np
import pytest
from _known_experts import bound_with_labels, problem, quiet, some
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._engine import sweep
from mixexp._engine.fixed import fit_at
from mixexp.gates import ConstantGate, EstimatorGate, HierarchicalGate, SoftmaxGate

unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def seen(monkeypatch):
    """Return a list that gets labels and responsibilities of every block of every E-step."""
    calls = []
    plain = sweep.EStep.__call__

    def spy(self, block):
        found = plain(self, block)
        calls.append((block.unit.labels, found.unit_resp.copy(), block.unit.weight))
        return found

    monkeypatch.setattr(sweep.EStep, "__call__", spy)
    return calls


# ---------------------------------------------------------------- in EM


@unconverged
@pytest.mark.parametrize("assignment", ["soft", "hard", "stochastic"])
@pytest.mark.parametrize("noise_expert", [False, True])
def test_known_rows_keep_their_responsibility(seen, assignment, noise_expert):
    X, y, region = problem()
    labels = some(region, 0.2)
    weight = np.random.default_rng(0).integers(1, 4, size=400).astype(float)
    model = MixtureOfExpertsRegressor(
        n_experts=4,
        assignment=assignment,
        noise_expert=noise_expert,
        init="clusterwise",  # a start that grows has runs of fewer experts
        n_init=2,
        max_iter=5,
        tol=0.0,
        random_state=0,
    )
    model.fit(X, y, sample_weight=weight, expert_labels=labels)
    assert seen
    unknown = 0
    for own, resp, block_weight in seen:
        known = np.flatnonzero(own >= 0)
        expected = np.zeros((len(resp), len(known)))
        expected[own[known], np.arange(len(known))] = 1.0
        assert_array_equal(resp[:, known] / block_weight[known], expected)
        unknown += np.sum(own < 0)
        assert len(resp) == 4 + noise_expert
    assert unknown > 0


@unconverged
@pytest.mark.parametrize("assignment", ["soft", "hard"])
@pytest.mark.parametrize("kind", ["regressor", "classifier"])
def test_bound_has_the_known_expert_of_known_rows(assignment, kind):
    X, y, region = problem()
    labels = some(region, 0.3)
    weight = np.random.default_rng(0).exponential(size=400)
    options = {"n_experts": 4, "assignment": assignment, "n_init": 2, "max_iter": 15, "tol": 0.0}
    if kind == "classifier":
        y = np.where(y > 0, "up", "down")
        model = MixtureOfExpertsClassifier(**options, random_state=0)
    else:
        model = MixtureOfExpertsRegressor(**options, random_state=0)
    model.fit(X, y, sample_weight=weight, expert_labels=labels)
    expected = bound_with_labels(model, X, y, labels, weight)
    assert_allclose(model.lower_bound_, expected, rtol=1e-9)
    assert np.all(np.diff(model.lower_bounds_) >= -1e-9 * np.abs(model.lower_bounds_[1:]))
    without = model.log_density(X, y) @ weight / weight.sum()
    assert abs(model.lower_bound_ - without) > 0.01  # so that labels matter here


@pytest.mark.parametrize("gate", [SoftmaxGate(0.3), HierarchicalGate((2, 2), 0.3)])
def test_all_labels_known_is_a_supervised_fit_of_each_part(gate):
    X, y, region = problem()
    model = MixtureOfExpertsRegressor(
        Ridge(2.0), n_experts=4, gate=gate, tol=1e-12, max_iter=2000, random_state=0
    )
    model.fit(X, y, expert_labels=region)
    for k, expert in enumerate(model.experts_):
        own = region == k
        alone = Ridge(2.0).fit(X[own], y[own])
        assert_allclose(expert.coef_, alone.coef_, rtol=1e-7)
        assert_allclose(expert.intercept_, alone.intercept_, atol=1e-7)
        error = y[own] - alone.predict(X[own])
        squares = np.sum(error**2) + 2.0 * np.sum(alone.coef_**2)
        assert_allclose(model.dispersions_[k], np.sqrt(squares / own.sum()), rtol=1e-6)
    if isinstance(gate, SoftmaxGate):
        Z = (X - X.mean(axis=0)) / X.std(axis=0)
        alone = LogisticRegression(C=1 / 0.3, tol=1e-12, max_iter=10_000).fit(Z, region)
        assert_allclose(model.gate_proba(X), alone.predict_proba(Z), atol=1e-6)
    assert_allclose(model.lower_bound_, bound_with_labels(model, X, y, region), rtol=1e-10)


def test_all_labels_known_for_a_classifier():
    X, y, region = problem()
    y = np.digitize(y, [-0.5, 0.5])
    model = MixtureOfExpertsClassifier(
        LogisticRegression(C=0.5),
        n_experts=4,
        gate=ConstantGate(),
        tol=1e-12,
        max_iter=2000,
        random_state=0,
    )
    model.fit(X, y, expert_labels=region)
    assert_allclose(model.gate_.proba_, np.bincount(region) / 400, rtol=1e-9)
    for k in range(4):
        own = region == k
        alone = LogisticRegression(C=0.5, tol=1e-12, max_iter=10_000).fit(X[own], y[own])
        assert_allclose(model.predict_experts(X)[:, k], alone.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("seed", [4, 12, 17, 19])
def test_a_few_labels_rescue_a_start_that_fails(seed):
    X, y, region = problem(seed)
    labels = some(region, 0.05, seed)
    assert np.sum(labels >= 0) == 20
    options = {"n_experts": 4, "gate": SoftmaxGate(alpha=0.3)}
    model = MixtureOfExpertsRegressor(init="random", n_init=1, random_state=0, **options)
    best = MixtureOfExpertsRegressor(init=region, **options).fit(X, y)
    without = quiet(clone(model), X, y)
    assert without.log_density(X, y).mean() < best.log_density(X, y).mean() - 0.03
    quiet(model, X, y, expert_labels=labels)
    assert model.log_density(X, y).mean() > best.log_density(X, y).mean() - 0.01
    found = model.responsibilities(X, y).argmax(axis=1)
    assert np.mean(found == region) > 0.9


@pytest.mark.parametrize("gate", [None, HierarchicalGate((2, 2))])
@pytest.mark.parametrize("seeds", [[0], pytest.param([1, 2, 3], marks=pytest.mark.slow)])
def test_experts_have_the_numbers_of_the_labels(gate, seeds):
    for seed in seeds:
        X, y, region = problem(seed)
        model = MixtureOfExpertsRegressor(n_experts=4, gate=gate, random_state=seed)
        model.fit(X, y, expert_labels=some(region, 0.1, seed))
        found = model.responsibilities(X, y).argmax(axis=1)
        assert np.mean(found == region) > 0.9, seed


# ---------------------------------------------------------------- rows


@unconverged
def test_what_is_known_of_a_row_holds_for_its_group(seen):
    X, y, region = problem()
    groups = np.array([f"g{i}" for i in np.random.default_rng(0).permutation(400) // 4])
    first = np.unique(groups, return_index=True)[1]
    X = X[first][np.unique(groups, return_inverse=True)[1]]
    labels = np.full(400, -1)
    labels[first[::3]] = region[first[::3]]
    model = MixtureOfExpertsRegressor(n_experts=4, init="clusterwise", random_state=0)
    model.set_params(n_init=2, max_iter=4).fit(X, y, groups=groups, expert_labels=labels)
    assert len(seen[-1][0]) == 100
    for own, resp, _ in seen:
        known = np.flatnonzero(own >= 0)
        assert len(known) == len(first[::3])
        assert_array_equal(resp[own[known], known], 1.0)
    of_all = np.array([labels[groups == g].max() for g in groups])
    again = clone(model).fit(X, y, groups=groups, expert_labels=of_all)
    assert_array_equal(again.gate_proba(X), model.gate_proba(X))
    labels[np.flatnonzero(groups == groups[first[0]])[:2]] = [0, 1]
    with pytest.raises(ValueError, match=r"Regressor: expert_labels .* one group .*give them one"):
        model.fit(X, y, groups=groups, expert_labels=labels)
    weight = np.ones(400)
    weight[np.flatnonzero(groups == groups[first[0]])[1]] = 0.0  # the row that disagrees
    model.fit(X, y, groups=groups, expert_labels=labels, sample_weight=weight)


# ---------------------------------------------------------------- with other options


@unconverged
@pytest.mark.parametrize("expert", [None, DecisionTreeRegressor(max_depth=2, random_state=0)])
def test_with_a_start_that_is_given(monkeypatch, expert):
    X, y, region = problem()
    labels = some(region, 0.3)
    wrong = (region + 1) % 4  # what is known goes first
    starts = []
    plain = fit_at

    def spy(state, rows, resp, n_steps):
        if state.gate is not None:
            starts.append((rows.labels, resp))
        return plain(state, rows, resp, n_steps)

    for module in ("search", "starts"):
        monkeypatch.setattr(f"mixexp._engine.{module}.fit_at", spy, raising=False)
    for init in (wrong, np.eye(4)[wrong]):
        model = MixtureOfExpertsRegressor(expert, n_experts=4, init=init, max_iter=3)
        model.fit(X, y, expert_labels=labels)
    assert len(starts) == (2 if expert is None else 4)
    for own, resp in starts:
        known = np.flatnonzero(own >= 0)
        assert_array_equal(resp[:, known], np.eye(4)[:, own[known]])
    options = {"n_experts": 4, "gate": SoftmaxGate(alpha=0.3)}
    model = MixtureOfExpertsRegressor(init=region, **options).fit(X, y, expert_labels=region)
    every = MixtureOfExpertsRegressor(**options).fit(X, y, expert_labels=region)
    assert_allclose(model.lower_bound_, every.lower_bound_, atol=1e-5)


@unconverged
@pytest.mark.parametrize(
    "gate", [None, EstimatorGate(DecisionTreeClassifier(max_depth=4, random_state=0))]
)
def test_with_experts_and_gates_that_are_estimators(seen, gate):
    X, y, region = problem()
    labels = some(region, 0.3)
    model = MixtureOfExpertsRegressor(
        DecisionTreeRegressor(max_depth=3, random_state=0),
        n_experts=4,
        gate=gate,
        init="clusterwise",
        n_init=2,
        max_iter=4,
        random_state=0,
    )
    model.fit(X, y, expert_labels=labels)
    for own, resp, _ in seen:
        known = np.flatnonzero(own >= 0)
        assert len(known) and np.all(resp[own[known], known] == 1.0)
    found = model.responsibilities(X, y).argmax(axis=1)
    assert np.mean(found == region) > 0.75


@unconverged
def test_different_experts_keep_the_regions_that_labels_give_them():
    X, y, region = problem(k=2)
    experts = [("line", LinearRegression()), ("tree", DecisionTreeRegressor(max_depth=4))]
    for labels in (region, 1 - region):
        model = MixtureOfExpertsRegressor(experts, n_experts=2, n_init=2, random_state=0)
        model.fit(X, y, expert_labels=np.where(np.arange(400) % 5 == 0, labels, -1))
        found = model.responsibilities(X, y).argmax(axis=1)
        assert np.mean(found == labels) > 0.85
        assert isinstance(model.experts_[0], LinearRegression)


def few_of_one(n=450):
    """Return X, y of two lines, and labels with one row for expert 1 of three."""
    rng = np.random.default_rng(3)
    X = rng.uniform(-1, 1, (n, 2))
    y = np.where(X[:, 0] > 0, 2 + X[:, 1], -2 - X[:, 1]) + 0.3 * rng.standard_normal(n)
    labels = np.where(X[:, 0] > 0, 2, 0)
    labels[0] = 1
    return X, y, labels


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("noise_expert", [False, True])
def test_an_expert_that_is_dropped_takes_its_number_along(grouped, noise_expert):
    X, y, labels = few_of_one()
    model = MixtureOfExpertsRegressor(
        n_experts=3, init=labels, on_collapse="drop", noise_expert=noise_expert
    )
    groups = np.arange(450) if grouped else None
    with pytest.warns(ConvergenceWarning, match="expert 1 collapsed.*dropped"):
        model.fit(X, y, expert_labels=labels, groups=groups)
    assert len(model.experts_) == 2
    # what was expert 2 is expert 1 now, also for the rows that were known to be its own
    found = model.responsibilities(X, y)[:, :2].argmax(axis=1)
    assert np.mean(found[1:] == (labels[1:] == 2)) > 0.98
    if not (grouped or noise_expert):
        renumbered = np.where(labels == 2, 1, labels)
        renumbered[0] = -1
        assert_allclose(model.lower_bound_, bound_with_labels(model, X, y, renumbered), rtol=1e-9)


@pytest.mark.parametrize("all_known", [False, True])
def test_an_expert_that_starts_again_takes_no_row_that_is_known(monkeypatch, all_known):
    X, y, labels = few_of_one()
    labels[0] = 0
    y[:10] += 8  # the worst rows; they are known
    known = labels if all_known else np.where(np.arange(450) < 225, labels, -1)
    init = np.where(np.arange(450) == 449, 1, labels)
    starts = []
    plain = fit_at
    monkeypatch.setattr(
        "mixexp._engine.collapse.fit_at", lambda *args: starts.append(args[1:3]) or plain(*args)
    )
    model = MixtureOfExpertsRegressor(
        n_experts=3, gate=SoftmaxGate(alpha=0.3), init=init, on_collapse="reinit"
    )
    if all_known:
        model.set_params(init=np.eye(3)[labels] * 0.98 + [0.0, 0.02, 0.0])
    with pytest.warns(ConvergenceWarning, match="expert 1 collapsed"):
        model.fit(X, y, expert_labels=known)
    assert starts
    for rows, resp in starts:
        here = np.flatnonzero(rows.labels >= 0)
        assert_array_equal(resp[rows.labels[here], here], 1.0)
        assert (resp[1] > 0).any() != all_known
    assert np.all(np.isfinite(model.predict(X)))
