"""Which templates have a bank, and which are no experts at all."""

import numpy as np
import pytest
from _problems import logistic
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import (
    ElasticNet,
    GammaRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._fitting import takes_sparse, takes_weights
from mixexp.experts import check_expert, has_bank
from mixexp.experts._templates import linear_terms, log_penalty
from mixexp.families import Gaussian


@pytest.mark.parametrize(
    "template, alpha",
    [
        (LinearRegression(), 0.0),
        (Ridge(3.0), 3.0),
        (Ridge(0), 0.0),
        (LogisticRegression(), 1.0),
        (LogisticRegression(C=4.0, solver="newton-cg"), 0.25),
        (LogisticRegression(C=np.inf), 0.0),
    ],
    ids=str,
)
@pytest.mark.parametrize("intercept", [True, False])
def test_templates_with_a_bank(template, alpha, intercept):
    classifies = isinstance(template, LogisticRegression)
    family, other = (None, Gaussian()) if classifies else (Gaussian(), None)
    template = clone(template).set_params(fit_intercept=intercept)
    terms = linear_terms(template, family)
    assert terms.alpha == alpha
    assert terms.fit_intercept == intercept
    assert terms.units == "input"
    assert not terms.per_weight
    assert has_bank(template, family) and has_bank(None, family)
    assert linear_terms(template, other) is None


class MyRidge(Ridge):
    """A subclass may do anything."""


@pytest.mark.parametrize(
    "template",
    [
        Ridge(positive=True),
        Ridge([1.0, 2.0]),
        LinearRegression(positive=True),
        ElasticNet(positive=True),
        Lasso(precompute=np.eye(2)),
        logistic(l1_ratio=0.5).set_params(solver="lbfgs"),
        LogisticRegression(class_weight="balanced"),
        LogisticRegression(solver="liblinear"),
        MyRidge(),
        DecisionTreeRegressor(),
        make_pipeline(StandardScaler(), Ridge()),
    ],
    ids=str,
)
@pytest.mark.parametrize("family", [Gaussian(), None], ids=["gaussian", "classes"])
def test_templates_without_a_bank(template, family):
    assert linear_terms(template, family) is None
    assert not has_bank(template, family)


def test_log_penalty_of_fitted_estimators(rng):
    X, Y = rng.standard_normal((40, 2)), rng.standard_normal((40, 2))
    ridge = Ridge(2.0).fit(X, Y)
    assert_allclose(log_penalty(ridge, Gaussian()), 2 * np.sum(ridge.coef_**2, axis=1))
    ridge = MyRidge(np.array([1.0, 3.0])).fit(X, Y)
    assert_allclose(log_penalty(ridge, Gaussian()), [1, 3] * np.sum(ridge.coef_**2, axis=1))
    assert_array_equal(log_penalty(LinearRegression().fit(X, Y[:, 0]), Gaussian()), 0.0)
    logistic = LogisticRegression(C=0.5).fit(X, Y[:, 0] > 0)
    assert_allclose(log_penalty(logistic, None), np.sum(logistic.coef_**2))
    assert log_penalty(DecisionTreeRegressor().fit(X, Y), Gaussian()) is None
    balanced = LogisticRegression(class_weight="balanced").fit(X, Y[:, 0] > 0)
    assert log_penalty(balanced, None) is None


@pytest.mark.parametrize(
    "expert, classifier, message",
    [
        (Ridge, False, "must be a scikit-learn estimator"),
        (object(), False, "must be a scikit-learn estimator"),
        (LogisticRegression(), False, r"must be a regressor such as Ridge\(\), got Logistic"),
        (Ridge(), True, "must be a classifier"),
        (LinearSVC(), True, "LinearSVC has no predict_proba"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_wrong_experts(expert, classifier, message):
    with pytest.raises(TypeError, match=message) as error:
        check_expert(expert, "Owner", classifier=classifier)
    assert str(error.value).startswith("Owner: expert")


def test_right_experts():
    check_expert(make_pipeline(StandardScaler(), Ridge()), "Owner", classifier=False)
    check_expert(DecisionTreeClassifier(), "Owner", classifier=True)
    plain = KNeighborsRegressor()
    for expert in (plain, make_pipeline(StandardScaler(), plain)):  # rows are drawn for them
        check_expert(expert, "Owner", classifier=False)
        assert not takes_weights(expert)
    assert takes_weights(make_pipeline(StandardScaler(), Ridge()))
    assert takes_sparse(Ridge())
    assert not takes_sparse(GaussianNB())


@pytest.mark.parametrize(
    ("template", "family", "name"),
    [
        (LogisticRegression(C=0), None, "C"),
        (LogisticRegression(C=None), None, "C"),
        (LogisticRegression(C="1"), None, "C"),
        (PoissonRegressor(alpha=None), "poisson", "alpha"),
        (PoissonRegressor(alpha="1"), "poisson", "alpha"),
        (GammaRegressor(alpha=[1.0]), "gamma", "alpha"),
    ],
)
def test_bad_penalties_are_named_by_the_estimator(rng, template, family, name):
    X = rng.standard_normal((60, 2))
    if family is None:
        model, y = MixtureOfExpertsClassifier(template, n_experts=2), X[:, 0] > 0
    else:
        model, y = MixtureOfExpertsRegressor(template, 2, family=family), 1.0 + (X[:, 0] > 0)
    kind = type(template).__name__
    with pytest.raises(ValueError, match=f"The '{name}' parameter of {kind} must be"):
        model.fit(X, y)
