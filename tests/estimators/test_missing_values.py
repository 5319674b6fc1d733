"""Missing values."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    Ridge,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.gates import SoftmaxGate
from mixexp.protocols import Rows


@pytest.fixture
def holes(rng):
    """Return X with 15 % missing values, not at random in column 0, and y."""
    X = rng.standard_normal((300, 3))
    y = np.where(X[:, 0] > 0, X[:, 1], 4 - X[:, 1]) + 0.1 * rng.standard_normal(300)
    holes = rng.random((300, 3)) < 0.15
    holes[:, 0] &= X[:, 0] > 0
    X[holes] = np.nan
    return X, y


@pytest.mark.slow
def test_boosted_experts_and_the_default_gate_take_nan(holes):
    X, y = holes
    expert = HistGradientBoostingRegressor(max_iter=20, random_state=0)
    model = MixtureOfExpertsRegressor(expert, n_experts=2, max_iter=5, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)
    assert np.all(np.isfinite(model.predict(X)))
    assert np.all(np.isfinite(model.log_density(X, y)))
    assert_allclose(model.gate_proba(X).sum(axis=1), 1.0, atol=1e-12)
    assert model.gate_.coef_.shape == (2, 3)
    assert_array_equal(model.gate_.indicator_features_, [0, 1, 2])
    known = np.where(np.isnan(X), np.nanmean(X, axis=0), X)
    scores = known @ model.gate_.coef_.T + np.isnan(X) @ model.gate_.indicator_coef_.T
    scores += model.gate_.intercept_
    expected = np.exp(scores - logsumexp(scores, axis=1, keepdims=True))
    assert_allclose(model.gate_proba(X), expected, rtol=1e-9)
    assert model.gate_.indicator_coef_.shape == (2, 3)
    assert model.score(X, y) > 0.5
    labels = MixtureOfExpertsClassifier(
        HistGradientBoostingClassifier(max_iter=5), n_experts=2, max_iter=2, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        proba = labels.fit(X, y > 2).predict_proba(X)
    assert_allclose(proba.sum(axis=1), 1.0)


def test_the_gate_is_that_of_imputed_columns_with_indicators(holes):
    X, y = holes
    unknown = np.isnan(X)
    means = np.nanmean(X, axis=0)
    filled = np.where(unknown, means, X)
    both = np.hstack([filled, unknown])
    fill = FunctionTransformer(lambda X: np.where(np.isnan(X), means, X))
    expert = make_pipeline(fill, LinearRegression())
    options = {"n_experts": 2, "init": (y > 2).astype(int), "max_iter": 30, "tol": 0}
    options["gate"] = SoftmaxGate(alpha=0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = MixtureOfExpertsRegressor(expert, **options).fit(X, y)
        two = MixtureOfExpertsRegressor(
            LinearRegression(), expert_features=[0, 1, 2], **options
        ).fit(both, y)
    assert_allclose(one.gate_.coef_, two.gate_.coef_[:, :3], rtol=1e-6)
    assert_allclose(one.gate_.indicator_coef_, two.gate_.coef_[:, 3:], rtol=1e-6)
    assert_allclose(one.gate_proba(X), two.gate_proba(both), rtol=1e-6)


def test_parts_that_refuse_nan_are_named(holes):
    X, y = holes
    with pytest.raises(ValueError, match=r"contains NaN.*linear experts cannot take missing"):
        MixtureOfExpertsRegressor(n_experts=2).fit(X, y)
    with pytest.raises(ValueError, match=r"contains NaN.*expert Ridge cannot"):
        MixtureOfExpertsRegressor(Ridge(), n_experts=2).fit(X, y)
    boosted = HistGradientBoostingRegressor(max_iter=2)
    with pytest.raises(ValueError, match="gate LogisticRegression cannot"):
        MixtureOfExpertsRegressor(boosted, n_experts=2, gate=LogisticRegression()).fit(X, y)
    with pytest.raises(ValueError, match=r"columns \[0, 1, 2\] of the gate's input contain NaN"):
        SoftmaxGate(missing="error").start(Rows(X, training=True, missing=True), 2, None)
    with pytest.raises(ValueError, match=r"gate SoftmaxGate\(missing='error'\) cannot take"):
        MixtureOfExpertsRegressor(boosted, 2, gate=SoftmaxGate(missing="error")).fit(X, y)
    with pytest.raises(ValueError, match="missing must be"):
        MixtureOfExpertsRegressor(boosted, 2, gate=SoftmaxGate(missing="drop")).fit(X, y)
    with pytest.raises(ValueError, match="infinity"):
        MixtureOfExpertsRegressor(boosted, 2).fit(np.where(np.isnan(X), np.inf, X), y)
    with pytest.raises(ValueError, match="dense X only"):
        MixtureOfExpertsRegressor(n_experts=2).fit(sp.csr_matrix(X), y)


def test_missing_values_in_prediction_only(holes):
    X, y = holes
    full = np.where(np.isnan(X), 0.0, X)
    boosted = HistGradientBoostingRegressor(max_iter=5, random_state=0)
    model = MixtureOfExpertsRegressor(boosted, n_experts=2, max_iter=2, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(full, y)
    mean = np.where(np.isnan(X), full.mean(axis=0), X)
    assert_allclose(model.gate_proba(X), model.gate_proba(mean), rtol=1e-9)  # counts as the mean
    assert np.all(np.isfinite(model.log_density(X, y)))
    strict = MixtureOfExpertsRegressor(
        boosted, n_experts=2, max_iter=2, gate=SoftmaxGate(missing="error"), random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        strict.fit(full, y)
    with pytest.raises(ValueError, match="missing='error'"):
        strict.predict(X)
    scaled = make_pipeline(FunctionTransformer(), Ridge())
    strict = MixtureOfExpertsRegressor(scaled, n_experts=2, random_state=0).fit(full, y)
    with pytest.raises(
        ValueError, match=r"expert 0 \(Pipeline\(Ridge\)\) failed to predict 300 ro"
    ):
        strict.predict(X)


def test_each_expert_is_asked_about_its_own_columns(holes):
    X, y = holes
    X = np.column_stack([np.where(np.isnan(X[:, 0]), 0.0, X[:, 0]), X[:, 1]])
    experts = [("line", Ridge()), ("trees", HistGradientBoostingRegressor(max_iter=5))]
    model = MixtureOfExpertsRegressor(
        experts, n_experts=2, expert_features=[[0], [1]], max_iter=2, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)
    assert np.all(np.isfinite(model.predict(X)))
    with pytest.raises(ValueError, match="expert Ridge cannot take missing values"):
        model.set_params(expert_features=[[1], [0]]).fit(X, y)


def test_experts_that_do_not_see_the_missing_columns(holes):
    X, y = holes
    X = X.copy()
    X[:, 1] = np.where(np.isnan(X[:, 1]), 0.0, X[:, 1])
    model = MixtureOfExpertsRegressor(Ridge(), n_experts=2, expert_features=[1], random_state=0)
    model.fit(X, y)
    assert np.all(np.isfinite(model.predict(X)))
    X[0, 1] = np.nan
    with pytest.raises(ValueError, match="expert Ridge cannot"):
        model.predict(X)
