"""Drafts and full models that answer nonsense, in the fit or later."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.linear_model import BayesianRidge, LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import KFold

from mixexp import CascadeClassifier, CascadeRegressor


@pytest.fixture(scope="module")
def line():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 3))
    return X, X @ [1.0, 2.0, 3.0] + 0.1 * rng.standard_normal(120)


class Says(RegressorMixin, BaseEstimator):
    """Predicts what it was told to, of any shape."""

    def __init__(self, shape=None, value=0.0):
        self.shape = shape
        self.value = value

    def fit(self, X, y, sample_weight=None):
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X):
        return np.full(len(X) if self.shape is None else self.shape, self.value)


@pytest.mark.parametrize("role", ["draft", "full"])
@pytest.mark.parametrize(
    ("says", "message"),
    [
        (Says(value=np.nan), "it predicts NaN or infinity, 40 times for 40 rows"),
        (Says(shape=3), r"it predicts shape \(3,\) and should predict \(40,\)"),
        (Says(shape=(40, 2)), r"it predicts shape \(40, 2\) and should predict \(40,\)"),
    ],
)
def test_predictions_are_checked(line, role, says, message):
    models = {"draft": Ridge(), "full": Ridge()} | {role: says}
    with pytest.raises(ValueError, match=f"{role}=Says in fold 0 of cv: .*{message}"):
        CascadeRegressor(**models, cv=3).fit(*line)


class NoScore(ClassifierMixin, BaseEstimator):
    """Its decision function is NaN."""

    def fit(self, X, y, sample_weight=None):
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, X):
        return np.full(len(X), np.nan)

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


def test_scores_are_checked(line):
    X, y = line
    with pytest.raises(ValueError, match=r"full=NoScore.* NaN or infinity 40 times"):
        CascadeClassifier(LogisticRegression(), NoScore(), cv=3).fit(X, y > 0)


def test_parameters_set_after_a_fit_change_nothing(line):
    X, y = line
    for draft, other in ((BayesianRidge(), Ridge()), (Ridge(), BayesianRidge())):
        cascade = CascadeRegressor(draft, LinearRegression(), cv=3, max_disagreement=0.3)
        before = cascade.fit(X, y).predict(X)
        assert_array_equal(cascade.set_params(draft=other).predict(X), before)


def test_numbers_beyond_single_precision(line):
    """The model of differences asks for the order of numbers alone."""
    X, y = line
    params = {"cv": KFold(3), "max_disagreement": 0.3, "random_state": 0}
    usual = CascadeRegressor(Ridge(), LinearRegression(), **params).fit(X, y)
    with np.errstate(over="raise"):
        large = CascadeRegressor(Ridge(), LinearRegression(), **params).fit(X, y * 1e40)
        assert np.all(np.isfinite(large.predict(X)))
    assert large.threshold_ == pytest.approx(usual.threshold_, rel=1e-4)
    assert large.acceptance_rate_ == usual.acceptance_rate_


@pytest.mark.parametrize(
    ("cv", "message"),
    [
        ([(1, 2, 3)], "cv has .* in place of a fold"),
        ([1, 2], "cv has 1 in place of a fold"),
        ([([0.0, 1.0], [2.0])], "rows of type float64"),
        ([(np.arange(100), [])], "cv tests no row"),
    ],
)
def test_folds_are_checked(line, cv, message):
    with pytest.raises(ValueError, match=message):
        CascadeRegressor(Ridge(), Ridge(), cv=cv).fit(*line)


def test_a_draft_without_certainty(line):
    class Unsure(Says):
        def predict(self, X, return_std=False):
            mean = super().predict(X)
            return (mean, np.full(len(X), np.nan)) if return_std else mean

    with pytest.warns(UserWarning, match="standard deviations or scores are NaN"):
        CascadeRegressor(Unsure(), Ridge(), cv=3, max_disagreement=0.2).fit(*line)


def test_one_row(line):
    X, y = line
    with pytest.raises(ValueError, match="Give more rows"):
        CascadeRegressor(Ridge(), Ridge(), cv=3).fit(X[:1], y[:1])
