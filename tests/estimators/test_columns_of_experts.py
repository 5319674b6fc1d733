"""Columns of its own for each expert and each of the gate's scores."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, logsumexp
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    Ridge,
)
from sklearn.tree import DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.gates import SoftmaxGate


@pytest.mark.slow
def test_the_right_columns_are_found_for_each_region():
    found = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((400, 3))
        z = rng.random(400) < 1 / (1 + np.exp(-3 * X[:, 2]))
        y = np.where(z, 2 * X[:, 0] - 1, 1.5 * X[:, 1] + 1) + 0.3 * rng.standard_normal(400)
        model = MixtureOfExpertsRegressor(
            n_experts=2, expert_features=[[0], [1]], gate_features=[2], random_state=seed
        ).fit(X, y)
        found += np.corrcoef(model.gate_proba(X)[:, 0], z)[0, 1] > 0.5
    assert found >= 38


def two_groups(rng, n=300):
    X = rng.standard_normal((n, 3))
    y = np.where(X[:, 2] > 0, 2 * X[:, 0] - 1, 1.5 * X[:, 1] + 1) + 0.3 * rng.standard_normal(n)
    return X, y


@pytest.mark.parametrize("expert", [None, Ridge(), DecisionTreeRegressor(max_depth=3)])
def test_experts_have_their_own_columns(rng, expert):
    X, y = two_groups(rng)
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    model = MixtureOfExpertsRegressor(
        expert, n_experts=2, expert_features=[["a"], ["b", "c"]], random_state=0
    ).fit(frame, y)
    assert [list(e.feature_names_in_) for e in model.experts_] == [["a"], ["b", "c"]]
    assert [e.n_features_in_ for e in model.experts_] == [1, 2]
    outputs = model.predict_experts(frame)
    assert_allclose(outputs[:, 0], model.experts_[0].predict(frame[["a"]]))
    assert_allclose(outputs[:, 1], model.experts_[1].predict(frame[["b", "c"]]))


def test_columns_of_classifiers_and_parameters(rng):
    X, y = two_groups(rng)
    model = MixtureOfExpertsClassifier(
        LogisticRegression(C=10), n_experts=2, expert_features=[[0], [1, 2]], random_state=0
    ).fit(X, y > 0)
    assert [e.coef_.shape for e in model.experts_] == [(1, 1), (1, 2)]
    outputs = model.predict_experts(X)
    odds = model.experts_[1].decision_function(X[:, 1:])
    assert_allclose(outputs[:, 1], expit(np.column_stack([-odds, odds])))
    bic = model.bic(X, y > 0)
    n_parameters = (bic + 2 * model.log_density(X, y > 0).sum()) / np.log(300)
    full = 4 + 2 + 3
    assert model._model.n_parameters("") == full
    assert full / 2 < n_parameters < full  # penalised ones count less


def test_a_column_for_all_and_none_for_one_is_a_constant(rng):
    X, y = two_groups(rng)
    one = MixtureOfExpertsRegressor(
        LinearRegression(), n_experts=2, expert_features=[[0, 1], [0, 1]], random_state=0
    ).fit(X, y)
    two = MixtureOfExpertsRegressor(
        LinearRegression(), n_experts=2, expert_features=[0, 1], random_state=0
    ).fit(X, y)
    assert_allclose(one.predict(X), two.predict(X), rtol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_gate_scores_with_columns_of_their_own(rng, seed):
    X, y = two_groups(rng)
    model = MixtureOfExpertsRegressor(
        n_experts=3, gate_features=[[2], [0, 2], [2]], gate=SoftmaxGate(alpha=0.1),
        random_state=seed, tol=1e-10, max_iter=1000,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)
    assert model.converged_
    coef = model.gate_.coef_
    assert coef.shape == (3, 2)  # columns 0 and 2
    assert_array_equal(coef[[0, 2], 0], 0.0)
    assert coef[1, 0] != 0
    assert_allclose(coef[:, 1].sum(), 0.0, atol=1e-9)
    assert np.all(np.diff(model.lower_bounds_) >= -1e-9)
    scores = X[:, [0, 2]] @ coef.T + model.gate_.intercept_
    expected = np.exp(scores - logsumexp(scores, axis=1, keepdims=True))
    assert_allclose(model.gate_proba(X), expected, rtol=1e-9)
    # the gradient of the penalised log-likelihood is zero in the free coefficients
    resp = model.responsibilities(X, y)
    scale = X[:, [0, 2]].std(axis=0)
    gradient = (resp - expected).T @ X[:, [0, 2]] - 0.1 * coef * scale**2
    assert abs(gradient[1, 0]) < 1e-2
    assert np.all(np.abs(gradient[:, 1]) < 1e-2)
    full = 15 + 2 + 1 + 2
    assert model._model.n_parameters("") == full
    bic = model.bic(X, y)
    n_parameters = (bic + 2 * model.log_density(X, y).sum()) / np.log(300)
    assert full / 2 < n_parameters < full  # penalised ones count less


def test_experts_of_different_kinds_keep_their_gate_columns(rng):
    A = rng.standard_normal((300, 2))
    y = np.where(A[:, 1] > 0, np.sin(4 * A[:, 0]) * 2 + 5, 3 * A[:, 0] - 5)
    experts = [("tree", DecisionTreeRegressor(min_samples_leaf=5)), ("line", Ridge())]
    model = MixtureOfExpertsRegressor(
        experts, n_experts=2, gate_features=[[0], [1]], random_state=0, n_init=3, max_iter=5
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(A, y)
    assert model.gate_.coef_[0, 1] == model.gate_.coef_[1, 0] == 0.0


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ([[0], [1], [2]], "one selection for each of 3 experts, and n_experts=2"),
        ([[0], []], r"expert_features\[1\]=\[\] selects no columns"),
        ([[0], [7]], r"expert_features\[1\]=\[7\] selects no columns"),
        ([[0], [1, 1]], r"expert_features\[1\]=\[1, 1\] selects a column twice"),
    ],
)
def test_wrong_columns(rng, selection, message):
    X, y = two_groups(rng)
    with pytest.raises(ValueError, match=message):
        MixtureOfExpertsRegressor(n_experts=2, expert_features=selection).fit(X, y)
