"""Scores of gates and importances of columns, against loops and truths."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from scipy.special import entr
from scipy.stats import norm
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor, routing_report
from mixexp.gates import ConstantGate, HierarchicalGate
from mixexp.metrics import (
    effective_n_experts,
    expert_importance,
    gate_entropy,
    gate_importance,
    gate_regret,
    oracle_score,
)
from mixexp.routing import Switch, TopK

N = 300


@pytest.fixture
def data(rng):
    """Return X, of which column 0 decides and columns 1 and 2 predict, and y."""
    X = rng.uniform(-1, 1, (N, 4))
    y = np.where(X[:, 0] > 0.1, 4 + 3 * X[:, 1], -4 + 2 * X[:, 2])
    return X, y + 0.2 * rng.standard_normal(N)


@pytest.fixture
def model(data):
    return MixtureOfExpertsRegressor(LinearRegression(), 2, random_state=0).fit(*data)


def test_oracle_and_regret_are_those_of_the_formula(model, data, rng):
    X, y = data
    weight = rng.integers(0, 3, N)
    outputs = model.predict_experts(X)
    logs = norm.logpdf(y[:, None], outputs, model.dispersions_)
    best = np.average(logs.max(axis=1), weights=weight)
    assert_allclose(oracle_score(model, X, y, sample_weight=weight), best)
    mean = np.average(np.log(np.sum(model.gate_proba(X) * np.exp(logs), axis=1)), weights=weight)
    assert_allclose(gate_regret(model, X, y, sample_weight=weight), best - mean)
    nearest = outputs[np.arange(N), np.abs(outputs - y[:, None]).argmin(axis=1)]
    best = r2_score(y, nearest, sample_weight=weight)
    assert_allclose(oracle_score(model, X, y, scoring="r2", sample_weight=weight), best)
    assert_allclose(
        gate_regret(model, X, y, scoring="r2", sample_weight=weight),
        best - model.score(X, y, weight),
    )


@pytest.mark.parametrize(
    "options",
    [
        {"noise_expert": True},
        {"routing": TopK(1)},
        {"routing": Switch()},
        {"gate": HierarchicalGate((2, 2)), "n_experts": 4},
        {"family": "student_t"},
        {"expert": MixtureOfExpertsRegressor(n_experts=2)},
        {"expert": DecisionTreeRegressor(max_depth=2, random_state=0), "max_iter": 5},
        {"shared_expert": LinearRegression()},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_densities_of_experts_are_those_of_the_mixture(options, data):
    X, y = data
    options = {"n_experts": 2, "n_init": 1, "random_state": 0} | options
    model = MixtureOfExpertsRegressor(**options).fit(X, y)
    logs = model.log_density_experts(X, y)
    # Bayes: of reached experts, log r_k + log p = log g_k + log p_k
    proba = model.gate_proba(X) if model.routing is None else model.route(X)
    joint = np.log(np.where(proba > 0, proba, 1)) + logs
    joint[proba == 0] = -np.inf
    assert_allclose(np.logaddexp.reduce(joint, axis=1), model.log_density(X, y), rtol=1e-9)
    assert gate_regret(model, X, y) >= -1e-12


def test_several_outputs(rng):
    X = rng.uniform(-1, 1, (N, 2))
    y = np.where(X[:, :1] > 0, 1.0, -1.0) * [2, 5] + 0.2 * rng.standard_normal((N, 2))
    model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    outputs = model.predict_experts(X)
    loss = np.mean((outputs - y[:, None]) ** 2 / y.var(axis=0), axis=2)
    nearest = outputs[np.arange(N), loss.argmin(axis=1)]
    assert_allclose(oracle_score(model, X, y, scoring="r2"), r2_score(y, nearest))
    assert expert_importance(model, X, y, random_state=0).importances.shape == (2, 2, 5)


def test_classes(rng):
    X, y = load_iris(return_X_y=True)
    labels = np.array(["a", "b", "c"])[y]
    model = MixtureOfExpertsClassifier(n_experts=2, random_state=0).fit(X, labels)
    proba = model.predict_experts(X)
    own = np.take_along_axis(proba, y[:, None, None], axis=2)[..., 0]
    with np.errstate(divide="ignore"):
        assert_allclose(oracle_score(model, X, labels), np.log(own.max(axis=1)).mean(), atol=1e-9)
    right = (proba.argmax(axis=2) == y[:, None]).any(axis=1)
    assert_allclose(oracle_score(model, X, labels, scoring="accuracy"), right.mean())
    assert_allclose(
        gate_regret(model, X, labels, scoring="accuracy"), right.mean() - model.score(X, labels)
    )
    found = expert_importance(model, X, labels, random_state=0)
    assert np.nanmax(found.importances_mean) > 0.1


def test_entropies(model, data):
    X, y = data
    proba = model.gate_proba(X)
    entropy = entr(proba).sum(axis=1)
    assert_allclose(gate_entropy(model, X), entropy.mean())
    report = routing_report(model, X)
    assert_allclose(effective_n_experts(model, X), report.effective_experts)
    usage = proba.mean(axis=0)
    assert_allclose(
        effective_n_experts(model, X, of="usage"), np.exp(-np.sum(usage * np.log(usage)))
    )
    blind = MixtureOfExpertsRegressor(n_experts=2, gate=ConstantGate(), random_state=0).fit(X, y)
    both = [effective_n_experts(blind, X, of=of) for of in ("rows", "usage")]
    assert_allclose(*both)


def test_the_gate_needs_the_column_that_decides(model, data):
    X, _ = data
    found = gate_importance(model, X, random_state=0)
    assert found.importances.shape == (4, 5)
    mean = found.importances_mean
    assert mean[0] > 0.35
    assert mean[1:].max() < 0.1
    blind = MixtureOfExpertsRegressor(n_experts=2, gate=ConstantGate(), random_state=0).fit(*data)
    assert_array_equal(gate_importance(blind, X).importances, 0)


def test_total_variation_is_that_of_a_loop(model, data):
    X, _ = data
    found = gate_importance(model, X, n_repeats=1, random_state=3).importances[2, 0]
    seeds = np.random.RandomState(3).randint(np.iinfo(np.int32).max, size=4)
    moved = X.copy()
    moved[:, 2] = X[np.random.RandomState(seeds[2]).permutation(np.arange(N)), 2]
    change = np.abs(model.route(moved) - model.route(X)).sum(axis=1) / 2
    assert_allclose(found, change.mean())


def test_each_expert_needs_its_own_column(model, data):
    X, y = data
    found = expert_importance(model, X, y, n_repeats=30, random_state=0)
    high, low = np.argsort(-np.array([e.coef_[1] for e in model.experts_]))
    own = model.route(X).argmax(axis=1)
    assert_array_equal(found.n_rows, np.bincount(own, minlength=2))
    for k, j in [(high, 1), (low, 2)]:
        rows = own == k
        wanted = 2 * model.experts_[k].coef_[j] ** 2 * X[rows, j].var() / y[rows].var()
        assert_allclose(found.importances_mean[k, j], wanted, rtol=0.05)
        assert np.delete(found.importances_mean[k], j).max() < 0.05 * wanted


def test_results_do_not_depend_on_threads_or_on_rows_without_weight(model, data):
    X, y = data
    one = expert_importance(model, X, y, random_state=0)
    two = expert_importance(model, X, y, random_state=0, n_jobs=2)
    assert_array_equal(one.importances, two.importances)
    weight = np.append(np.ones(N), 0)
    more = expert_importance(
        model, np.vstack([X, X[:1]]), np.append(y, 50.0), random_state=0, sample_weight=weight
    )
    assert_array_equal(one.importances, more.importances)
    assert_array_equal(
        gate_importance(model, X, random_state=0).importances,
        gate_importance(model, X, random_state=0, n_jobs=2).importances,
    )


def test_a_pipeline_is_permuted_before_its_first_step(data):
    X, y = data
    frame = pd.DataFrame(X, columns=list("abcd"))
    pipeline = make_pipeline(
        StandardScaler(), MixtureOfExpertsRegressor(n_experts=2, random_state=0)
    )
    pipeline.fit(frame, y)
    inside = pipeline[-1], pipeline[0].transform(frame)
    assert_allclose(
        gate_importance(pipeline, frame, random_state=0).importances,
        gate_importance(*inside, random_state=0).importances,
        atol=1e-12,
    )
    assert_allclose(oracle_score(pipeline, frame, y), oracle_score(*inside, y))
    assert_allclose(gate_entropy(pipeline, frame), gate_entropy(*inside))


def test_an_offset_shifts_the_experts(rng):
    X, exposure = rng.uniform(-1, 1, (N, 1)), rng.uniform(1, 9, N)
    y = rng.poisson(exposure * np.exp(np.where(X[:, 0] > 0, 1.5, -0.5)))
    model = MixtureOfExpertsRegressor(n_experts=2, family="poisson", n_init=2, random_state=0)
    offset = np.log(exposure)
    model.fit(X, y, offset=offset)
    score = [oracle_score(model, X, y, offset=o, scoring="r2") for o in (offset, np.zeros(N))]
    assert score[0] > score[1]
    found = expert_importance(model, X, y, offset=offset, random_state=0)
    assert np.isfinite(found.importances_mean).all()


def test_experts_without_rows(model, data):
    X, y = data
    right = X[:, 0] > 0.5
    found = expert_importance(model, X[right], y[right], random_state=0)
    assert sorted(found.n_rows) == [0, right.sum()]
    assert np.isnan(found.importances[found.n_rows == 0]).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, X, y: oracle_score(m, X, y, scoring="accuracy"), "scoring='accuracy' is none"),
        (lambda m, X, y: oracle_score(m, X, y[:3], scoring="r2"), "y has shape"),
        (lambda m, X, y: oracle_score(m, X, 0 * y, scoring="r2"), "y is constant"),
        (lambda m, X, y: gate_regret(m, X, y, sample_weight=[1.0]), "sample_weight"),
        (lambda m, X, y: effective_n_experts(m, X, of="all"), "of='all' must be"),
        (lambda m, X, y: gate_importance(m, X, n_repeats=0), "n_repeats=0 must be"),
        (lambda m, X, y: expert_importance(m, X, y[:5]), "y has shape"),
        (lambda m, X, y: expert_importance(m, X, y, offset=[1.0]), "offset has shape"),
        (lambda m, X, y: oracle_score(m, X, y + np.nan, scoring="r2"), "y has missing or inf"),
        (lambda m, X, y: expert_importance(m, X, y * np.inf), "y has missing or inf"),
        (lambda m, X, y: gate_regret(m, X, y * 1e200), "no expert can give y of row 0"),
        (lambda m, X, y: oracle_score(m, X, None), "MixtureOfExpertsRegressor: y=None"),
        (lambda m, X, y: m.log_density(X, None), "MixtureOfExpertsRegressor: y=None"),
        (lambda m, X, y: m.responsibilities(X, None), "MixtureOfExpertsRegressor: y=None"),
        (lambda m, X, y: m.aic(X, None), "MixtureOfExpertsRegressor: y=None"),
    ],
)
def test_wrong_values(call, message, model, data):
    with pytest.raises(ValueError, match=message):
        call(model, *data)


def test_wrong_types(model, data):
    with pytest.raises(TypeError, match="sparse"):
        gate_importance(model, csr_array(data[0]))
    with pytest.raises(TypeError, match="no mixture of experts"):
        gate_entropy(LinearRegression(), data[0])
