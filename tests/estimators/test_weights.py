"""Weights are frequencies; the order of rows does not matter."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn
from _two_regimes import Straight, assert_same_fit, data_for, soft_start, two_boundaries, two_lines
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.utils.class_weight import compute_sample_weight

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.gates import ConstantGate, SoftmaxGate

# Whether a fit converges is the matter of a few tests, which look for it; most compare two fits.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_weights_are_frequencies(model, form):
    """Weight 2 is the row twice, weight 0 the row removed."""
    X, y = data_for(model, n=150)
    X[np.abs(X) < 0.3] = 0
    weight = np.random.default_rng(2).integers(0, 4, len(y))
    y_label = y if sklearn.base.is_regressor(model) else np.array(["a", "b"])[y]
    ids = np.random.default_rng(3).permutation(np.repeat(np.arange(len(y)), weight))
    weighted = clone(model).fit(form(X), y_label, sample_weight=weight)
    repeated = clone(model).fit(form(X[ids]), y_label[ids])
    assert_same_fit(weighted, repeated, form(X))
    assert weighted.n_iter_ == repeated.n_iter_


@pytest.mark.parametrize("init", ["labels", "responsibilities", "clusterwise"])
def test_weights_are_frequencies_for_every_deterministic_start(default, init):
    X, y = data_for(default, n=150)
    start = {"labels": (X[:, 0] > 0).astype(int), "responsibilities": soft_start(len(y))}
    weight = np.random.default_rng(2).integers(0, 4, len(y))
    ids = np.random.default_rng(3).permutation(np.repeat(np.arange(len(y)), weight))
    given = start.get(init, init)
    weighted = clone(default).set_params(init=given).fit(X, y, sample_weight=weight)
    given = given if isinstance(given, str) else given[ids]
    repeated = clone(default).set_params(init=given).fit(X[ids], y[ids])
    assert_same_fit(weighted, repeated, X)


def test_copies_of_a_row_may_start_with_different_responsibilities():
    """Equal rows are merged; what they start from is averaged, as a sum over rows would do."""
    X, y = two_lines(n=100)
    start = soft_start(200)
    twice = MixtureOfExpertsRegressor(n_experts=2, init=start)
    twice.fit(np.vstack([X, X]), np.append(y, y))
    merged = MixtureOfExpertsRegressor(n_experts=2, init=(start[:100] + start[100:]) / 2)
    merged.fit(X, y, sample_weight=np.full(100, 2.0))
    assert_same_fit(twice, merged, X)


@pytest.mark.parametrize(
    "unpenalised",
    [
        MixtureOfExpertsRegressor(LinearRegression(), 2, gate=SoftmaxGate(0), random_state=0),
        MixtureOfExpertsRegressor(Straight(), 2, gate=ConstantGate(), n_init=2, random_state=0),
        MixtureOfExpertsClassifier(
            LogisticRegression(C=np.inf), 2, gate=ConstantGate(), random_state=0
        ),
    ],
    ids=str,
)
def test_a_common_factor_of_weights_changes_nothing_without_penalty(unpenalised):
    X, y = data_for(unpenalised)
    weight = np.random.default_rng(1).uniform(0.5, 2, len(y))
    model = clone(unpenalised).set_params(
        tol=1e-11, max_iter=5000
    )  # a penalised expert may have part in starts
    one = clone(model).fit(X, y, sample_weight=weight)
    seven = clone(model).fit(X, y, sample_weight=7 * weight)
    assert_same_fit(one, seven, X, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "penalised",
    [
        MixtureOfExpertsRegressor(Ridge(20.0), 2, n_init=3, random_state=0),
        MixtureOfExpertsClassifier(LogisticRegression(C=0.05), 2, n_init=3, random_state=0),
    ],
    ids=str,
)
def test_a_common_factor_of_weights_weakens_a_penalty(penalised):
    X, y = data_for(penalised)
    one = clone(penalised).fit(X, y)
    seven = clone(penalised).fit(X, y, sample_weight=np.full(len(y), 7.0))
    copies = clone(penalised).fit(np.tile(X, (7, 1)), np.tile(y, 7))
    assert_same_fit(seven, copies, X)
    assert np.abs(one.predict_experts(X) - seven.predict_experts(X)).max() > 0.01


def test_row_order_does_not_matter(model):
    X, y = data_for(model)
    order = np.random.default_rng(4).permutation(len(y))
    assert_same_fit(clone(model).fit(X, y), clone(model).fit(X[order], y[order]), X)


def test_row_order_does_not_matter_beyond_the_sketch():
    X, y = two_lines(n=9000)
    order = np.random.default_rng(4).permutation(len(y))
    model = MixtureOfExpertsRegressor(n_experts=2, n_init=3, random_state=0)
    assert_same_fit(clone(model).fit(X, y), clone(model).fit(X[order], y[order]), X)


@pytest.mark.parametrize("balanced", [False, True])
def test_class_weight_is_a_sample_weight(balanced):
    X, y = two_boundaries(n_classes=3)
    keep = (y > 0) | (np.arange(len(y)) % 4 == 0)
    X, y = X[keep], np.array(["p", "q", "r"])[y[keep]]
    class_weight = "balanced" if balanced else {"p": 3.0, "r": 0.5}
    model = MixtureOfExpertsClassifier(n_experts=2, random_state=0, n_init=3)
    by_class = clone(model).set_params(class_weight=class_weight).fit(X, y)
    by_row = clone(model).fit(X, y, sample_weight=compute_sample_weight(class_weight, y))
    assert_same_fit(by_class, by_row, X)
    without = clone(model).fit(X, y)
    assert np.abs(without.predict_proba(X) - by_row.predict_proba(X)).max() > 0.01


def test_class_weight_multiplies_sample_weight():
    """Balanced means balanced in total weight, so that weight 2 stays the row twice."""
    X, y = two_boundaries()
    keep = (y > 0) | (np.arange(len(y)) % 4 == 0)
    X, y = X[keep], y[keep]
    weight = np.random.default_rng(2).integers(0, 4, len(y))
    ids = np.repeat(np.arange(len(y)), weight)
    for class_weight in ("balanced", {0: 3.0}):
        model = MixtureOfExpertsClassifier(
            n_experts=2, random_state=0, class_weight=class_weight, n_init=2
        )
        weighted = clone(model).fit(X, y, sample_weight=weight)
        assert_same_fit(weighted, clone(model).fit(X[ids], y[ids]), X)


@pytest.mark.parametrize("decades", [20, 100])
def test_weights_of_many_decades(decades):
    """Differences of weights of such sizes leave lines of starts without a regular matrix."""
    for seed in range(4):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((150, 3))
        weight = 10.0 ** rng.uniform(-decades, decades, 150)
        model = MixtureOfExpertsRegressor(n_experts=2, n_init=2, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(X, X[:, 0], sample_weight=weight)
        assert np.all(np.isfinite(model.predict(X)))


@pytest.mark.parametrize("class_weight", [{"a": 2, "b": 1, "c": 3}, {"a": 1, "b": 1, "c": 0}])
def test_criteria_have_the_class_weights_of_the_fit(class_weight, rng):
    X = rng.standard_normal((160, 2))
    y = np.where((X[:, 0] > 0) ^ (X[:, 1] > 0), "b", "a")
    y[::7] = "c"
    given = rng.integers(1, 3, 160)
    weight = given * np.array([class_weight[label] for label in y])
    options = {"n_experts": 2, "n_init": 1, "random_state": 0}
    by_class = MixtureOfExpertsClassifier(**options, class_weight=class_weight).fit(X, y, given)
    by_row = MixtureOfExpertsClassifier(**options).fit(X, y, weight)
    for name in ("aic", "bic", "icl"):
        expected = getattr(by_row, name)(X, y, weight)
        assert_allclose(getattr(by_class, name)(X, y, given), expected, rtol=1e-8)
    printed = str(by_class.summary(X, y, given))
    assert f"AIC: {by_class.aic(X, y, given):.6g}" in printed
    assert f"BIC: {by_class.bic(X, y, given):.6g}" in printed
