"""Every regressor and classifier of scikit-learn works as an expert, or is refused clearly."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.isotonic import IsotonicRegression
from sklearn.utils import all_estimators

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor

try:
    from sklearn.utils._test_common.instance_generator import _construct_instances
except ImportError:  # pragma: no cover
    _construct_instances = None

SEVERAL = "is made for several outputs, and y has one"
NO_PROBA = "has no predict_proba, which the density of a class needs"

#: What is refused on the problem below, and the sentence that says so. docs/experts.md has them.
REFUSED = {
    "ClassifierChain": SEVERAL,
    "IsotonicRegression": "failed at EM iteration 0, .* 2d array with 1 feature",
    "LinearSVC": NO_PROBA,
    "MultiOutputClassifier": SEVERAL,
    "MultiOutputRegressor": SEVERAL,
    "MultiTaskElasticNet": SEVERAL,
    "MultiTaskElasticNetCV": SEVERAL,
    "MultiTaskLasso": SEVERAL,
    "MultiTaskLassoCV": SEVERAL,
    "NuSVC": NO_PROBA,
    "OneVsOneClassifier": NO_PROBA,
    "OutputCodeClassifier": NO_PROBA,
    "PassiveAggressiveClassifier": NO_PROBA,
    "Perceptron": NO_PROBA,
    "RadiusNeighborsClassifier": "failed at EM iteration 0, .* No neighbors found",
    "RadiusNeighborsRegressor": "failed at EM iteration 0, .* it predicts NaN",
    "RegressorChain": SEVERAL,
    "RidgeClassifier": NO_PROBA,
    "RidgeClassifierCV": NO_PROBA,
    "SGDClassifier": NO_PROBA,
    "SVC": NO_PROBA,
    "SelfTrainingClassifier": "failed at EM iteration 0, .* y has dtype string",
    "VotingClassifier": NO_PROBA,
}

#: What makes some faster, or fit for regions with few rows.
SETTINGS = {
    "CategoricalNB": {"min_categories": 10},
    "ElasticNetCV": {"cv": 2},
    "LassoCV": {"cv": 2},
    "LogisticRegressionCV": {"Cs": 3, "cv": 2},
    "MLPClassifier": {"max_iter": 20},
    "MLPRegressor": {"max_iter": 100},
    "QuadraticDiscriminantAnalysis": {"reg_param": 0.1},
    "TunedThresholdClassifierCV": {"cv": 2, "thresholds": 10},
}


def instance(cls):
    """Return an instance as scikit-learn's own tests make it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated classes
        estimator = next(iter(_construct_instances(cls)))
    return estimator.set_params(**SETTINGS.get(cls.__name__, {}))


def every(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [pytest.param(cls, id=name) for name, cls in all_estimators(type_filter=kind)]


@pytest.fixture(scope="module")
def problem():
    """Return positive X, positive y, and string labels of 100 rows from two regimes."""
    rng = np.random.default_rng(0)
    X = np.abs(rng.standard_normal((100, 3))) + 0.1
    y = np.abs(2 * X[:, 0] + np.where(X[:, 1] > 0.8, 3, 0) + 0.1 * rng.standard_normal(100)) + 0.1
    labels = np.where(X[:, 0] + rng.standard_normal(100) > 0.8, "b", "a")
    return X, y, labels


def fitted(mixture, X, y):
    """Fit a mixture without its warnings; return it, or None where it is refused as it should."""
    name = type(mixture.expert).__name__
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = clone(mixture.expert).get_params()
        if name in REFUSED:
            with pytest.raises((TypeError, ValueError), match=REFUSED[name]) as caught:
                mixture.fit(X, y)
            assert name in str(caught.value)
            return None
        mixture.fit(X, y)
    after = mixture.expert.get_params()
    assert {k: repr(v) for k, v in after.items()} == {k: repr(v) for k, v in before.items()}
    return mixture


@pytest.mark.skipif(_construct_instances is None, reason="scikit-learn builds them elsewhere")
@pytest.mark.parametrize("cls", every("regressor"))
def test_regressors(problem, cls):
    X, y, _ = problem
    mixture = MixtureOfExpertsRegressor(
        instance(cls),
        n_experts=2,
        bound_predictions=False,  # distributions are not bounded either
        max_iter=2,
        n_init=1,
        cross_fit=2,
        random_state=0,
    )
    if fitted(mixture, X, y) is None:
        return
    assert mixture.predict_experts(X).shape == (100, 2)
    assert np.all(np.isfinite(mixture.log_density(X, y)))
    assert_allclose(mixture.predict_distribution(X).mean(), mixture.predict(X))
    assert mixture.score(X, y) > -0.1
    assert all(hasattr(expert, "predict") for expert in mixture.experts_)


@pytest.mark.skipif(_construct_instances is None, reason="scikit-learn builds them elsewhere")
@pytest.mark.parametrize("cls", every("classifier"))
def test_classifiers(problem, cls):
    X, _, y = problem
    mixture = MixtureOfExpertsClassifier(
        instance(cls), n_experts=2, max_iter=2, n_init=1, cross_fit=2, random_state=0
    )
    if fitted(mixture, X, y) is None:
        return
    proba = mixture.predict_proba(X)
    assert proba.shape == (100, 2)
    assert_allclose(proba.sum(axis=1), 1.0)
    assert np.all(np.isfinite(mixture.log_density(X, y)))
    assert mixture.score(X, y) > 0.5


def test_the_docs_list_what_is_refused():
    page = Path(__file__).parents[2] / "docs" / "experts.md"
    if not page.exists():
        pytest.skip("the docs are not part of this copy")
    listed = re.findall(r"^\| `(\w+)` \|", page.read_text(), flags=re.MULTILINE)
    assert sorted(set(listed) & set(dict(all_estimators()))) == sorted(
        set(REFUSED) & set(dict(all_estimators()))
    )


def test_one_column_makes_isotonic_regression_an_expert(problem):
    X, y, _ = problem
    expert = IsotonicRegression(out_of_bounds="clip")
    mixture = MixtureOfExpertsRegressor(
        expert, n_experts=2, expert_features=[0], max_iter=2, n_init=1, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mixture.fit(X, y)
    assert np.all(np.isfinite(mixture.predict(X)))
