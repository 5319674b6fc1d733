"""Experts that may memorise their rows predict them out of fold."""

import pickle

import numpy as np
import pytest
from _quiet import quiet
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from scipy.stats import norm, poisson
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import (
    LinearRegression,
    Ridge,
)
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mixexp import MixtureOfExpertsRegressor
from mixexp._fitting import folds_of
from mixexp.experts import ExpertPool
from mixexp.gates import ConstantGate, EstimatorGate
from mixexp.protocols import Rows

unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# ---------------------------------------------------------------- folds


def test_folds_depend_on_content_and_keep_copies_together(rng):
    X = rng.standard_normal((103, 2))
    X[50:60] = X[40:50]
    y = rng.standard_normal((1, 103))
    y[:, 50:60] = y[:, 40:50]
    fold = folds_of(Rows(X, y), 5, 7)
    assert_array_equal(fold[50:60], fold[40:50])
    counts = np.bincount(np.delete(fold, np.arange(50, 60)))
    assert len(counts) == 5
    assert np.ptp(counts) <= 1
    order = rng.permutation(103)
    assert_array_equal(folds_of(Rows(X[order], y[:, order]), 5, 7), fold[order])
    assert np.any(folds_of(Rows(X, y), 5, 8) != fold)


def test_folds_are_stratified_and_keep_groups_together(rng):
    X = rng.standard_normal((100, 2))
    y = np.where(np.arange(100) < 10, 1, 0)
    fold = folds_of(Rows(X, y), 5, 0)
    assert_array_equal(np.bincount(fold[:10]), [2] * 5)
    groups = np.arange(100) // 4
    fold = folds_of(Rows(X, y, groups=groups), 5, 0)
    assert_array_equal(fold, fold[::4].repeat(4))
    assert_array_equal(np.bincount(fold), [20] * 5)
    assert_array_equal(np.sort(folds_of(Rows(X[:3], y[:3]), 5, 0)), [0, 1, 2])
    assert folds_of(Rows(X[:1], y[:1]), 5, 0) is None


# ---------------------------------------------------------------- cross-fitting


class Memory(RegressorMixin, BaseEstimator):
    """Knows its own rows by heart, and the weighted mean for any other."""

    def fit(self, X, y, sample_weight=None):
        self.known_ = {row.tobytes(): value for row, value in zip(X, y, strict=True)}
        self.mean_ = np.average(y, weights=sample_weight)
        return self

    def predict(self, X):
        return np.array([self.known_.get(row.tobytes(), self.mean_) for row in X])


@unconverged
def test_out_of_fold_predictions_make_the_bound(step):
    X, y = step
    options = {"n_experts": 1, "max_iter": 3, "random_state": 0}
    model = MixtureOfExpertsRegressor(Memory(), **options).fit(X, y)
    assert model.cross_fitted_
    assert_allclose(model.predict(X), y)  # the expert itself has seen all rows
    assert_allclose(model.dispersions_, np.std(y), rtol=0.02)  # and is not believed
    expected = norm.logpdf(y, y.mean(), np.std(y)).mean()
    assert_allclose(model.lower_bound_, expected, atol=0.02)
    fooled = MixtureOfExpertsRegressor(Memory(), cross_fit=False, **options).fit(X, y)
    assert not fooled.cross_fitted_
    assert fooled.dispersions_[0] < 0.01 * np.std(y)


@unconverged
def test_a_leaf_of_zeros_is_not_a_proof(rng):
    X = rng.standard_normal((800, 2))
    y = rng.poisson(np.exp(np.where(X[:, 0] > 0, 1 + 0.5 * X[:, 1], -2.5)))
    tree = DecisionTreeRegressor(min_samples_leaf=5, random_state=0)
    model = MixtureOfExpertsRegressor(tree, n_experts=2, family="poisson", random_state=0)
    model.fit(X[:400], y[:400])
    leaves = np.column_stack([expert.predict(X[400:]) for expert in model.experts_])
    assert leaves.min() == 0.0
    outputs = model.predict_experts(X[400:])
    assert_allclose(outputs, np.maximum(leaves, 1e-3 * y[:400].mean()))
    log_joint = np.log(model.gate_proba(X[400:])) + poisson.logpmf(y[400:, None], outputs)
    assert_allclose(model.log_density(X[400:], y[400:]), logsumexp(log_joint, axis=1))
    assert model.log_density(X[400:], y[400:]).mean() > -1.5


@unconverged
def test_cross_fitting_by_hand(step):
    X, y = step
    labels = (X[:, 0] > 0).astype(int)
    tree = DecisionTreeRegressor(min_samples_leaf=5, random_state=0)
    model = MixtureOfExpertsRegressor(
        tree, n_experts=2, init=labels, cross_fit=3, max_iter=1, gate=ConstantGate(), tol=0
    )
    model.fit(X, y)
    # experts are fitted once more on all rows, with the responsibilities of the last M-step
    for expert in model.experts_:
        assert expert.get_n_leaves() > 2
        assert expert.tree_.weighted_n_node_samples[0] < 240


@pytest.mark.parametrize(
    ("expert", "expected"),
    [
        (None, False),
        (Ridge(), False),
        (make_pipeline(StandardScaler(), Ridge()), False),
        (TransformedTargetRegressor(Ridge()), False),
        (GridSearchCV(Ridge(), {"alpha": [1.0]}, cv=2), False),
        (DecisionTreeRegressor(max_depth=2), True),
        (make_pipeline(StandardScaler(), DecisionTreeRegressor(max_depth=2)), True),
        ([("a", Ridge()), ("b", DecisionTreeRegressor(max_depth=2))], True),
        (ExpertPool([Ridge(), LinearRegression()]), True),
    ],
)
@unconverged
def test_auto_cross_fits_what_may_memorise(step, expert, expected):
    X, y = step
    model = MixtureOfExpertsRegressor(expert, n_experts=2, max_iter=2, n_init=1, random_state=0)
    assert model.fit(X, y).cross_fitted_ == expected
    if expert is None:
        with pytest.raises(ValueError, match="cross_fit=True needs experts that are fitted one"):
            model.set_params(cross_fit=True).fit(X, y)
    elif not isinstance(expert, ExpertPool):
        assert model.set_params(cross_fit=2).fit(X, y).cross_fitted_
        assert not model.set_params(cross_fit=False).fit(X, y).cross_fitted_


@pytest.mark.parametrize("cross_fit", [1, 0, -3, "yes", 2.5])
def test_wrong_cross_fit(step, cross_fit):
    with pytest.raises(ValueError, match="'cross_fit' parameter"):
        MixtureOfExpertsRegressor(cross_fit=cross_fit).fit(*step)


@unconverged
def test_cross_fitted_weights_repeat(step, rng):
    X, y = step
    weight = rng.integers(0, 3, 240)
    repeated = np.repeat(np.arange(240), weight)
    tree = DecisionTreeRegressor(min_weight_fraction_leaf=0.05, random_state=0)
    options = {"n_experts": 2, "max_iter": 5, "random_state": 0}
    one = MixtureOfExpertsRegressor(tree, **options).fit(X, y, sample_weight=weight)
    two = MixtureOfExpertsRegressor(tree, **options).fit(X[repeated], y[repeated])
    assert_array_equal(one.predict(X), two.predict(X))


@unconverged
@pytest.mark.parametrize("jobs", [2])
def test_jobs_change_nothing(step, jobs):
    X, y = step
    for expert in (
        DecisionTreeRegressor(),
        ExpertPool([Ridge(), DecisionTreeRegressor(max_depth=3)]),
        [("a", Ridge()), ("b", KNeighborsRegressor())],
        make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(4,), max_iter=5)),
    ):
        gate = EstimatorGate(DecisionTreeClassifier(max_depth=3))
        model = MixtureOfExpertsRegressor(
            expert, n_experts=2, gate=gate, max_iter=2, n_init=2, random_state=0
        )
        one, two = quiet(clone(model), X, y), quiet(clone(model).set_params(n_jobs=jobs), X, y)
        assert_array_equal(one.lower_bounds_, two.lower_bounds_)
        assert_array_equal(one.predict(X), two.predict(X))
        assert_array_equal(pickle.loads(pickle.dumps(one)).predict(X), one.predict(X))
