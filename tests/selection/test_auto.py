"""Fits with n_experts="auto"."""

import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
from _grown import candidate, two_lines
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._engine import growth
from mixexp._estimators.growing import _numbers
from mixexp.bases import QuantileBasis, SplineBasis
from mixexp.datasets import make_piecewise_linear, make_softmax_mixture
from mixexp.gates import GaussianGate, HierarchicalGate, SoftmaxGate
from mixexp.inference import bootstrap
from mixexp.routing import TopK
from mixexp.selection import select_n_experts


def auto(**options):
    return MixtureOfExpertsRegressor(**{"n_experts": "auto", "random_state": 0} | options)


def test_it_is_not_worse_than_a_fit_of_that_number():
    X, y = two_lines()
    model = auto().fit(X, y)
    k = model.n_experts_
    usual = clone(model).set_params(**model._settled()).fit(X, y)
    assert model.lower_bound_ >= usual.lower_bound_ - 1e-8
    assert len(model.experts_) == k == model.selection_.n_experts_
    assert model.n_experts == "auto" and model.selection_.best_estimator_ is None


def test_the_path_ends_where_the_criterion_rises():
    X, y = two_lines(noise=0.5)
    selection = auto().fit(X, y).selection_
    assert selection.criterion == "aic3"
    assert selection.n_experts[-1] == max(3, selection.n_experts_ + 1)
    assert selection.aic3.argmin() == selection.n_experts_ - 1


def test_one_line_is_one_expert(rng):
    X = rng.standard_normal((200, 2))
    y = X @ [1.0, -1.0] + rng.standard_normal(200)
    model = auto().fit(X, y)
    assert model.n_experts_ == 1
    assert_allclose(model.gate_proba(X), 1.0)


@pytest.mark.parametrize(
    ("most", "last"), [(1, [1]), (15, [14, 15]), (16, [15, 16]), (17, [16, 17]), (30, [28, 30])]
)
def test_above_sixteen_every_fourth_number_is_tried(most, last):
    numbers = _numbers(most)
    assert numbers[:16] == tuple(range(1, min(most, 16) + 1))
    assert list(numbers[-2:]) == last
    assert np.all(np.diff(numbers[15:-1]) == 4)


def test_experts_that_are_added_several_at_a_time_begin_at_the_penalties_before(monkeypatch):
    """At those with which a gate begins, many experts mix before the evidence is looked at."""
    begun, ended = [], []
    fitted = growth._fitted

    def watched(problem, growth_):
        mixture = fitted(problem, growth_)
        begun.append(problem.gate.strengths)
        ended.append(mixture.run.state.gate.strengths)
        return mixture

    monkeypatch.setattr(growth, "_fitted", watched)
    X, y = make_piecewise_linear(300, 2, 6, random_state=0)[:2]
    estimator = MixtureOfExpertsRegressor(gate=SoftmaxGate(alpha="auto"), random_state=0)
    select_n_experts(estimator, X, y, n_experts=[2, 3, 6], criterion="bic")
    assert_array_equal(begun[0], np.full(2, 0.3))
    assert_array_equal(begun[1], np.full(2, 0.3))  # one more
    assert_array_equal(begun[2], ended[1])
    assert np.all(ended[1] != 0.3)


def test_max_experts():
    X, y = two_lines()
    assert auto(max_experts=1).fit(X, y).n_experts_ == 1
    assert auto(max_experts=2).fit(X, y).selection_.n_experts.tolist() == [1, 2]
    with pytest.raises(ValueError, match="'max_experts' parameter"):
        auto(max_experts=0).fit(X, y)


def test_no_more_experts_than_rows():
    X, y = two_lines(3)
    assert auto().fit(X, y).selection_.n_experts[-1] <= 3


def test_weight_two_is_the_row_twice():
    X, y = two_lines()
    weight = np.ones(len(y))
    weight[:40] = 2
    weighted = auto().fit(X, y, sample_weight=weight)
    repeated = auto().fit(np.concatenate([X, X[:40]]), np.concatenate([y, y[:40]]))
    assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-8)
    assert_allclose(weighted.selection_.aic3, repeated.selection_.aic3, rtol=1e-10)


def test_it_fits_again_and_forgets():
    X, y = two_lines()
    model = auto().fit(X, y)
    before = model.predict(X)
    assert_array_equal(clone(model).fit(X, y).predict(X), before)
    assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), before)
    model.set_params(n_experts=2).fit(X, y)
    assert model.n_experts_ == 2 and not hasattr(model, "selection_")


def test_it_can_be_cross_validated_and_searched():
    X, y = two_lines()
    model = auto(max_experts=2)
    assert cross_val_score(model, X, y, cv=2).min() > 0.9
    search = GridSearchCV(model, {"n_experts": [1, "auto"]}, cv=2).fit(X, y)
    assert search.best_params_ == {"n_experts": "auto"}


def test_classes_with_class_weight():
    X, y = make_softmax_mixture(300, n_experts=2, task="classification", random_state=0)
    model = MixtureOfExpertsClassifier(
        n_experts="auto", class_weight={0: 1.0, 1: 3.0}, max_experts=3, random_state=0
    ).fit(X, y)
    weight = np.where(y == 1, 3.0, 1.0)
    plain = clone(model).set_params(class_weight=None).fit(X, y, sample_weight=weight)
    assert model.n_experts_ == plain.n_experts_ >= 2
    assert_allclose(model.predict_proba(X), plain.predict_proba(X))


def test_groups_and_offset():
    X, y = two_lines()
    X = np.repeat(X[:40], 3, axis=0)
    groups, offset = np.repeat(np.arange(40), 3), np.linspace(0, 1, 120)
    model = auto(max_experts=2).fit(X, y, groups=groups, offset=offset)
    assert model.log_density(X, y, groups=groups, offset=offset).shape == (40,)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_estimators_go_by_held_out_log_density():
    X, y = two_lines()
    model = auto(expert=DecisionTreeRegressor(max_depth=2), max_iter=3, max_experts=2).fit(X, y)
    assert model.selection_.criterion == "cv"
    assert np.all(np.isfinite(model.selection_.cv))


def test_a_failed_fit_changes_nothing():
    X, y = two_lines()
    model = auto(max_experts=2).fit(X, y)
    before = dict(model.__dict__)
    with pytest.raises(ValueError, match="expert_labels name the experts"):
        model.fit(X, y, expert_labels=np.zeros(len(y), dtype=int))
    assert model.__dict__ == before


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"init": np.full((120, 2), 0.5)}, "init=.* is a start for one number"),
        ({"expert": [("a", LinearRegression()), ("b", LinearRegression())]}, "expert is a list"),
        ({"routing": TopK(1)}, "routing=TopK"),
        (
            {"gate": HierarchicalGate((2, 2))},
            "gate=HierarchicalGate.* has a given number of leaves",
        ),
        ({"expert_features": [[0], [0]]}, "expert_features is a list of one selection"),
        ({"expert": MixtureOfExpertsRegressor(n_experts=2)}, "is a mixture itself"),
        (
            {"expert": DecisionTreeRegressor(), "warm_up": MixtureOfExpertsRegressor()},
            "warm_up is a mixture of a given number",
        ),
    ],
)
def test_what_cannot_grow(options, what):
    X, y = two_lines()
    with pytest.raises(ValueError, match=what):
        auto(**options).fit(X, y)


@pytest.mark.parametrize("seed", range(5))
def test_a_few_rows_of_noise_get_one_expert(seed):
    """With nearly as many parameters as rows, criteria for many rows take any number."""
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((10, 2)), rng.standard_normal(10)
    assert MixtureOfExpertsRegressor(n_experts="auto", random_state=0).fit(X, y).n_experts_ == 1


@pytest.fixture(scope="module")
def bent():
    """Two lines, divided at a point of a skewed column."""
    rng = np.random.RandomState(0)
    x, noise = np.exp(rng.normal(size=300)), 0.1 * rng.normal(size=300)
    return np.column_stack([x, rng.normal(size=300)]), np.where(x < 1, x, 5 - x) + noise


def test_the_gate_sets_itself_too(bent):
    X, y = bent
    model = auto(max_experts=3).fit(X, y)
    assert isinstance(model.gate_basis_, SplineBasis) and model.expert_basis_ is None
    assert np.ptp(model.gate_.alpha_) > 0
    assert model.gate is None and model.gate_basis == "auto"


@pytest.mark.parametrize(
    "options",
    [{"n_experts": 2}, {"gate_basis": "linear"}, {"gate": LogisticRegression()}],
    ids=["a given number", "linear", "a classifier as gate"],
)
def test_where_the_gate_is_linear(options, bent):
    X, y = bent
    assert auto(max_experts=2, **options).fit(X, y).gate_basis_ is None


def test_the_gate_is_linear_in_sparse_and_in_many_columns(bent):
    X, y = bent
    assert auto(max_experts=2).fit(sp.csr_array(X), y).gate_basis_ is None
    wide = np.hstack([X, np.random.RandomState(1).normal(size=(len(y), 49))])
    assert auto(max_experts=2).fit(wide, y).gate_basis_ is None
    model = auto(max_experts=2).fit(wide[:, :21], y)
    assert isinstance(model.gate_basis_, QuantileBasis)
    assert model._settled()["gate_basis"] == "quantile"


def test_a_given_gate_keeps_its_penalty(bent):
    X, y = bent
    gate = SoftmaxGate(alpha=0.7)
    assert auto(max_experts=2, gate=gate).fit(X, y).gate_.alpha_ == 0.7


def test_select_n_experts_compares_the_mixture_as_it_is(bent):
    X, y = bent
    found = select_n_experts(auto(n_experts=2), X, y, n_experts=[1, 2], criterion="bic")
    assert found.best_estimator_.gate_basis_ is None


def test_a_bootstrap_refits_the_mixture_that_was_found(bent):
    X, y = bent
    model = auto(max_experts=3).fit(X, y)
    refits = bootstrap(model, X, y, n_refits=2, random_state=0)
    assert np.isfinite(refits.samples).all() and refits.n_failed == 0
    assert "spline1(x0)" in refits.names
    again = clone(model).set_params(**model._settled()).fit(X, y)
    assert np.ptp(again.gate_.alpha_) > 0


@pytest.mark.filterwarnings("ignore:.*did not converge", "ignore:.*collapsed")
@pytest.mark.parametrize("classes", [False, True])
def test_estimators_that_are_kept_where_they_were_better_are_cross_validated(rng, classes):
    """Their refits on other rows began with predictions of all rows."""
    X = rng.standard_normal((120, 2))
    y = np.where(X[:, 0] > 0, 3 * X[:, 1], -3 * X[:, 1]) + 0.1 * rng.standard_normal(120)
    kind, last = MixtureOfExpertsRegressor, Ridge()
    if classes:
        y, kind, last = (y > 0).astype(int), MixtureOfExpertsClassifier, LogisticRegression()
    model = kind(make_pipeline(StandardScaler(), last), "auto", max_experts=2, random_state=0)
    model.fit(X, y)
    assert model.n_experts_ == 2
    assert np.all(np.isfinite(model.selection_.cv))


@pytest.mark.parametrize(
    ("scores", "tried"),
    [
        ([1.0, 1.05, 1.04, 1.2], 3),  # gains are small: the first that is worse is the last
        ([1.0, 1.5, 1.4, 2.0, 1.9, 1.8, 3.0], 6),  # steep: one that is worse may have failed
        ([1.0, 1.5, 1.55, 1.5, 3.0], 4),
    ],
)
@pytest.mark.parametrize("criterion", ["cv", "aic3"])
@pytest.mark.parametrize("n_before", [0, 7])
def test_a_long_path_that_climbs_steeply_goes_on_after_a_number_that_is_worse(
    scores, tried, criterion, n_before, monkeypatch
):
    n = 50
    scores = [*np.linspace(0, 0.9, n_before), *scores]
    assert growth.STEEP_FROM == 8
    if not n_before:  # few experts: the first number that is worse is the last
        tried = 1 + int(np.flatnonzero(np.diff(scores) < 0)[0]) + 1

    def fitted(k):
        total = n * scores[k - 1]
        return candidate(k, [scores[k - 1]] * n, n_parameters=0.0, log_likelihood=total)

    problem = SimpleNamespace(journal=None, single=None)
    monkeypatch.setattr(growth, "with_judge", lambda problem: problem)
    monkeypatch.setattr(growth, "replace", lambda problem, **changes: problem)
    stages = (np.ones((k, n)) for k in range(1, len(scores) + 1))
    monkeypatch.setattr(growth, "_rows_of_stages", lambda problem: None)
    monkeypatch.setattr(growth, "_stages", lambda *args: stages)
    monkeypatch.setattr(growth, "once", lambda journal, name, make: fitted(int(name.split()[0])))
    wanted = growth.Growth(tuple(range(1, len(scores) + 1)), criterion, patience=1)
    assert len(list(growth.grown(wanted, None, lambda k: problem))) == n_before + tried


@pytest.mark.parametrize(
    ("criterion", "flags", "wins"),
    [("aic3", [], True), ("bic", [], True), ("cv", [], False), ("aic3", ["spurious"], False)],
)
def test_the_end_of_a_path_and_a_usual_fit_are_compared_by_the_criterion(
    criterion, flags, wins, monkeypatch
):
    """Here the likelihood of the usual fit is higher, and its bound lower."""
    run = SimpleNamespace(bound=-2.0, state=None, rows=None)
    grown = replace(candidate(2, [-1.0] * 50, log_likelihood=-60.0), run=replace_bound(run, -1.0))
    usual = candidate(2, [-1.0] * 50, log_likelihood=-50.0)
    judge = SimpleNamespace(flags=lambda state, rows: flags)
    problem = SimpleNamespace(judge=judge, rows=None)
    monkeypatch.setattr(growth, "with_judge", lambda problem: problem)
    monkeypatch.setattr(growth, "search", lambda problem: (run, []))
    monkeypatch.setattr(growth, "fitness", lambda state, rows: usual.fitness)
    monkeypatch.setattr(growth, "counted", lambda state, rows: usual.count)
    monkeypatch.setattr(growth, "_is_cross_fitted", lambda state: False)
    monkeypatch.setattr(
        growth, "replace", lambda x, **new: problem if x is problem else replace(x, **new)
    )
    assert (growth.searched(grown, problem, criterion).run is run) == wins


def replace_bound(run, bound):
    return SimpleNamespace(**{**vars(run), "bound": bound})


def test_a_gaussian_gate_sees_the_columns_themselves(rng):
    """One of all splines has hundreds of covariances, and no criterion would pay for them."""
    X = rng.standard_normal((200, 3))
    y = np.where(X[:, 0] > 0, X[:, 1], -X[:, 1]) + 0.2 * rng.standard_normal(200)
    model = auto(gate=GaussianGate()).fit(X, y)
    assert model.gate_basis_ is None and model.n_experts_ > 1
    assert model._settled()["gate_basis"] == "linear"
