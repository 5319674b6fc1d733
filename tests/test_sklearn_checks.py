"""scikit-learn's own checks of an estimator, every generated one, with no expected failure."""

import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

from mixexp import (
    CascadeClassifier,
    CascadeRegressor,
    MixtureOfExpertsClassifier,
    MixtureOfExpertsRegressor,
)
from mixexp.gates import GaussianGate, HierarchicalGate
from mixexp.routing import Switch, TopK

# The checks fit tiny and meaningless data, on which a mixture rightly warns that it has not
# converged or that its gate separates, and on too few rows for a cascade to accept any; other
# warnings stay errors.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Cascade.*no row is accepted:UserWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning"),
]

DEFAULTS = [MixtureOfExpertsRegressor(), MixtureOfExpertsClassifier()]

REGRESSORS = [
    MixtureOfExpertsRegressor(n_experts=2, n_init=2, max_iter=10),
    MixtureOfExpertsRegressor(LinearRegression(), n_experts=2, n_init=2, max_iter=10),
    MixtureOfExpertsRegressor(
        DecisionTreeRegressor(max_depth=3), cross_fit=2, n_experts=2, n_init=2, max_iter=10
    ),
    MixtureOfExpertsRegressor(
        make_pipeline(StandardScaler(), Ridge()), n_experts=2, n_init=2, max_iter=10
    ),
    MixtureOfExpertsRegressor(gate=HierarchicalGate((2, 2)), init="kmeans", n_init=2, max_iter=10),
    MixtureOfExpertsRegressor(
        MixtureOfExpertsRegressor(n_experts=2), n_experts=2, n_init=1, max_iter=10
    ),
    MixtureOfExpertsRegressor(n_experts=3, n_init=2, max_iter=10, routing=TopK(2)),
    CascadeRegressor(Ridge(), MixtureOfExpertsRegressor(n_experts=2, n_init=2, max_iter=10), cv=3),
]

CLASSIFIERS = [
    MixtureOfExpertsClassifier(n_experts=2, n_init=2, max_iter=10),
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
    MixtureOfExpertsClassifier(n_experts=2, n_init=2, max_iter=10, routing=Switch()),
    CascadeClassifier(
        LogisticRegression(),
        MixtureOfExpertsClassifier(n_experts=2, n_init=2, max_iter=10),
        cv=3,
    ),
]


#: Of every estimator but the first of its list, every run makes one check in so many.
EVERY = 12

#: Checks of ten and more fits: in every run for the first of each list only.
LONG = ["check_estimator_sparse_array", "check_estimator_sparse_matrix", "check_classifiers_train"]


def parametrize(estimators):
    """Parametrise as scikit-learn does, with a list: pytest 9 wants no generator.

    The first estimator gets every check in every run; the others share the checks out, and get all
    of them in `.ci/nightly`.
    """
    cases = []
    for number, estimator in enumerate(estimators):
        mark = parametrize_with_checks([estimator]).mark
        names, checks = mark.args
        for place, (clone, check) in enumerate(checks):
            short = check.func.__name__ not in LONG
            fast = number == 0 or (short and (place + number) % EVERY == 0)
            cases.append(pytest.param(clone, check, marks=() if fast else pytest.mark.slow))
    return pytest.mark.parametrize(names, cases, **mark.kwargs)


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
