"""scikit-learn's own checks of an estimator, every generated one, with no expected failure."""

import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.gates import GaussianGate, HierarchicalGate

# The checks fit tiny and meaningless data, on which a mixture rightly warns that it has not
# converged or that its gate separates; other warnings stay errors.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning"),
]

DEFAULTS = [MixtureOfExpertsRegressor(), MixtureOfExpertsClassifier()]

REGRESSORS = [
    MixtureOfExpertsRegressor(n_init=2, max_iter=10),
    MixtureOfExpertsRegressor(LinearRegression(), n_experts=2, n_init=2, max_iter=10),
    MixtureOfExpertsRegressor(
        DecisionTreeRegressor(max_depth=3), cross_fit=2, n_experts=2, n_init=2, max_iter=10
    ),
    MixtureOfExpertsRegressor(
        make_pipeline(StandardScaler(), Ridge()), n_experts=2, n_init=2, max_iter=10
    ),
    MixtureOfExpertsRegressor(gate=HierarchicalGate((2, 2)), init="split", n_init=2, max_iter=10),
    MixtureOfExpertsRegressor(
        MixtureOfExpertsRegressor(n_experts=2), n_experts=2, n_init=2, max_iter=10
    ),
]

CLASSIFIERS = [
    MixtureOfExpertsClassifier(n_init=2, max_iter=10),
    MixtureOfExpertsClassifier(LogisticRegression(), n_experts=2, n_init=2, max_iter=10),
    MixtureOfExpertsClassifier(
        DecisionTreeClassifier(max_depth=3, min_weight_fraction_leaf=0.01),
        cross_fit=2,
        n_experts=2,
        n_init=2,
        max_iter=10,
    ),
    MixtureOfExpertsClassifier(
        make_pipeline(StandardScaler(), LogisticRegression()), n_experts=2, n_init=2, max_iter=10
    ),
    MixtureOfExpertsClassifier(gate=GaussianGate(), n_experts=2, n_init=2, max_iter=10),
]


def parametrize(estimators):
    """Parametrise as scikit-learn does, with a list: pytest 9 wants no generator."""
    mark = parametrize_with_checks(estimators).mark
    names, checks = mark.args
    return pytest.mark.parametrize(names, list(checks), **mark.kwargs)


@parametrize(REGRESSORS)
def test_regressor(estimator, check):
    check(estimator)


@parametrize(CLASSIFIERS)
def test_classifier(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize(DEFAULTS)
def test_defaults(estimator, check):
    """The same as the first of each list, with as many starts and iterations as a user gets."""
    check(estimator)
