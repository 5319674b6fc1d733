"""What becomes of an expert that is left with next to no rows."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.tree import DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._engine import collapse
from mixexp.gates import ConstantGate, HierarchicalGate, SoftmaxGate


@pytest.fixture
def problem(rng):
    """Return two lines, and labels that leave the second expert one row."""
    X = rng.standard_normal((300, 2))
    y = np.where(X[:, 0] > 0, 2 * X[:, 0], -3 * X[:, 1] + 1) + 0.5 * rng.standard_normal(300)
    labels = np.zeros(300, dtype=int)
    labels[0] = 1
    return X, y, labels


def fitted(X, y, labels, expert=None, **options):
    """Return a mixture that starts from labels, and the messages of its warnings."""
    model = MixtureOfExpertsRegressor(
        Ridge(1.0) if expert is None else expert,
        n_experts=2,
        init=labels,
        **{"gate": SoftmaxGate(alpha=0.3)} | options,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, y)
    return model, [str(w.message) for w in caught if w.category is ConvergenceWarning]


def test_reinit_starts_the_expert_on_the_worst_rows(problem):
    X, y, labels = problem
    model, messages = fitted(X, y, labels)
    good, _ = fitted(X, y, (X[:, 0] > 0).astype(int))
    assert model.lower_bound_ > good.lower_bound_ - 1e-3
    assert min(model.usage_) > 0.3
    (message,) = [m for m in messages if "collapsed" in m]
    assert "expert 1 collapsed at EM iteration" in message
    assert "effective size is" in message
    assert "it was started again" in message
    assert "Lower n_experts" in message
    (record,) = model.restarts_
    assert len(record.events) == 2
    assert len(model.lower_bounds_) == model.n_iter_  # the last segment
    assert record.n_iter > model.n_iter_
    assert np.all(np.diff(model.lower_bounds_) >= -1e-9)


@pytest.mark.parametrize("seed", [0, 2, 4])
def test_penalties_set_at_a_bad_start_are_set_again(seed):
    """Those of an expert with one row switch the gate off; in seed 2 it ends on three rows."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((300, 2))
    y = np.where(X[:, 0] > 0, 2 * X[:, 0], -3 * X[:, 1] + 1) + 0.5 * rng.standard_normal(300)
    labels = np.append(1, np.zeros(299, dtype=int))
    model, messages = fitted(X, y, labels, gate=SoftmaxGate())
    good, _ = fitted(X, y, (X[:, 0] > 0).astype(int), gate=SoftmaxGate())
    assert any("spurious" in m if seed == 2 else "started again" in m for m in messages)
    assert model.lower_bound_ == pytest.approx(good.lower_bound_, abs=1e-5)
    np.testing.assert_allclose(model.gate_.strengths, good.gate_.strengths, rtol=1e-2)


def noisy_classes(**options):
    """Return a mixture of far too many logistic experts, and its rows."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 3))
    y = (X[:, 0] + rng.logistic(size=400) > 0).astype(int)
    return MixtureOfExpertsClassifier(n_experts=8, random_state=0, **options), X, y


def test_penalties_set_at_good_starts_stay_at_a_restart(monkeypatch):
    seen, restart = [], collapse._reinitialised

    def watched(setup, state, collapsed):
        new = restart(setup, state, collapsed)
        seen.append((state.gate, new.gate))
        return new

    monkeypatch.setattr(collapse, "_reinitialised", watched)
    model, X, y = noisy_classes()
    with pytest.warns(ConvergenceWarning, match="started again"):
        model.fit(X, y)
    for old, new in seen:
        np.testing.assert_array_equal(new.strengths, old.strengths)
        assert new.n_strengths == old.n_strengths > 0
        assert np.any(old.strengths != 0.3)


def test_the_nodes_of_a_tree_take_the_penalties_of_another():
    model, X, y = noisy_classes(gate=HierarchicalGate((2, 4)), max_iter=20)
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        gate = model.fit(X, y).gate_
    again = gate.loosened().penalised_as(gate)
    assert np.any(gate.strengths != gate.loosened().strengths)
    np.testing.assert_array_equal(again.strengths, gate.strengths)
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        smaller = model.set_params(gate=HierarchicalGate((4, 2))).fit(X, y).gate_
    assert smaller.penalised_as(gate) is smaller


def test_restarts_in_vain_come_to_an_end(monkeypatch):
    segments, run_em = [], collapse.run_or_recall

    def watched(*args):
        segments.append(run_em(*args))
        return segments[-1]

    monkeypatch.setattr(collapse, "run_or_recall", watched)
    model, X, y = noisy_classes()
    with pytest.warns(ConvergenceWarning, match="had hardly raised the bound"):
        model.fit(X, y)
    events = [e for record in model.restarts_ for e in record.events if "collapsed" in e]
    assert ["started again" in e for e in events] == [True] * (len(events) - 1) + [False]
    assert len(events) <= 4  # each of eight experts may begin anew twice
    *earlier, last = segments
    best = max(earlier, key=lambda run: run.bound)
    assert model.lower_bounds_.tolist() == best.bounds + last.bounds[len(best.bounds) :]
    assert model.n_iter_ == len(model.lower_bounds_) > len(best.bounds) > 1
    assert np.all(np.diff(model.lower_bounds_) >= -1e-9)
    assert model.lower_bound_ == max(model.lower_bounds_)
    assert model.converged_


def test_drop_leaves_one_expert_fewer(problem):
    X, y, labels = problem
    model, messages = fitted(X, y, labels, on_collapse="drop")
    assert len(model.experts_) == 1
    assert model.gate_proba(X).shape == (300, 1)
    assert model.usage_.shape == model.dispersions_.shape == (1,)
    assert any("it was dropped" in m for m in messages)
    np.testing.assert_allclose(
        model.predict(X), Ridge(1.0).fit(X, y).predict(X), rtol=1e-6, atol=1e-8
    )


def test_drop_keeps_what_belongs_to_the_others(rng):
    X = rng.standard_normal((200, 3))
    y = np.where(X[:, 2] > 0, X[:, 0], -X[:, 1]) + 0.1 * rng.standard_normal(200)
    labels = np.where(X[:, 2] > 0, 0, 2)
    labels[0] = 1
    columns = [[0], [2], [1]]
    model = MixtureOfExpertsRegressor(
        LinearRegression(),
        n_experts=3,
        expert_features=columns,
        gate_features=[2],
        init=labels,
        on_collapse="drop",
    )
    import pandas as pd

    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    with pytest.warns(ConvergenceWarning, match="expert 1 collapsed"):
        model.fit(frame, y)
    assert [list(e.feature_names_in_) for e in model.experts_] == [["a"], ["b"]]
    np.testing.assert_allclose([e.coef_[0] for e in model.experts_], [1, -1], atol=0.1)


def test_keep_leaves_it_as_it_is(problem):
    X, y, labels = problem
    model, messages = fitted(X, y, labels, on_collapse="keep")
    assert len(model.experts_) == 2
    assert model.usage_[1] < 0.01
    assert any("it was kept as it is" in m for m in messages)


def test_raise_says_which_and_what_to_do(problem):
    X, y, labels = problem
    model = MixtureOfExpertsRegressor(Ridge(), n_experts=2, init=labels, on_collapse="raise")
    with pytest.raises(
        ValueError, match=r"expert 1 collapsed .* effective size .* Lower n_experts"
    ):
        model.fit(X, y)
    assert not [name for name in vars(model) if name.endswith("_")]


@pytest.mark.parametrize("on_collapse", ["reinit", "drop", "raise"])
def test_a_collapse_in_the_last_iteration_is_told(problem, on_collapse):
    X, y, _ = problem
    resp = np.tile([0.999999, 1e-6], (300, 1))
    options = {"gate": ConstantGate(), "max_iter": 1, "on_collapse": on_collapse}
    if on_collapse == "raise":
        with pytest.raises(ValueError, match="expert 1 collapsed at EM iteration 1"):
            fitted(X, y, resp, **options)
        return
    model, messages = fitted(X, y, resp, **options)
    assert len(model.experts_) == 2
    assert any("expert 1 collapsed at EM iteration 1" in m and "kept" in m for m in messages)


def test_an_expert_is_not_started_again_for_ever(rng):
    X = rng.standard_normal((100, 1))
    y = X[:, 0] + 1e-9 * rng.standard_normal(100)  # one line explains all
    labels = np.arange(100) % 3
    model, messages = fitted(
        X, y, np.where(labels == 2, 1, labels), DecisionTreeRegressor(max_depth=1), max_iter=40
    )
    assert model.n_iter_ <= 40
    assert sum("started again" in m for m in messages) <= 4


@pytest.mark.parametrize("gate", [None, ConstantGate()])
@pytest.mark.parametrize("on_collapse", ["reinit", "drop", "keep"])
def test_with_estimators_noise_and_groups(problem, gate, on_collapse):
    X, y, labels = problem
    for options in ({}, {"noise_expert": True}):
        model, _ = fitted(
            X, y, labels, DecisionTreeRegressor(max_depth=2), gate=gate, on_collapse=on_collapse,
            max_iter=10, random_state=0, **options,
        )  # fmt: skip
        assert np.all(np.isfinite(model.predict(X)))
        np.testing.assert_allclose(model.route(X).sum(axis=1), 1.0)
        assert len(model.usage_) == len(model.experts_) + bool(options)


def test_a_small_expert_is_no_collapsed_expert(rng):
    X = rng.standard_normal((400, 1))
    rare = np.arange(400) < 12  # 3 %
    y = np.where(rare, 30 + X[:, 0], X[:, 0]) + 0.1 * rng.standard_normal(400)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = MixtureOfExpertsRegressor(
            n_experts=2, gate=ConstantGate(), random_state=0, on_collapse="raise"
        ).fit(X, y)
    np.testing.assert_allclose(np.min(model.usage_), 0.03, atol=1e-3)


def test_the_last_expert_is_not_dropped():
    """The noise explains all rows better than either tree."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((8, 2)), rng.standard_normal(8)
    model = MixtureOfExpertsRegressor(
        DecisionTreeRegressor(max_depth=3),
        n_experts=2,
        family="student_t",
        noise_expert=True,
        on_collapse="drop",
        init="split",
        n_init=2,
        max_iter=20,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", UserWarning)
        model.fit(X, y)
    assert len(model.experts_) == 1
    assert np.all(np.isfinite(model.predict(X)))


def test_experts_that_collapse_together_do_not_begin_anew_for_ever(rng):
    """Five gross errors: each restart ends in a collapse of some of the same experts."""
    r = np.random.default_rng(0)
    X = r.normal(size=(300, 4))
    y = X @ [1, 2, -1, 0] + r.normal(size=300)
    y[:5] += 1e4
    ids = np.random.RandomState(0).permutation(300)[120:]
    X, y = X[ids], y[ids]
    with pytest.warns(ConvergenceWarning, match="collapsed") as caught:
        model = MixtureOfExpertsRegressor(random_state=0).fit(X, y)
    assert model.converged_
    assert not any("did not converge" in str(each.message) for each in caught)
    assert max(len(record.events) for record in model.restarts_) < 60


def test_the_warning_begins_with_how_many_experts_are_left():
    X, y = load_iris(return_X_y=True)
    model = MixtureOfExpertsClassifier(random_state=0)
    with pytest.warns(ConvergenceWarning, match="experts are left with hardly any rows") as caught:
        model.fit(X, y)
    idle = int(np.sum(model.usage_ < 0.01 / 4))
    assert 1 <= idle <= 3
    assert f"Classifier: {idle} of 4 experts are left" in str(caught[0].message)
    assert f"set n_experts={4 - idle}, or 'auto'. What happened: expert " in str(caught[0].message)
