"""scikit-learn's own checks of every kind of mixture, with no expected failure.

Also those that scikit-learn has and makes of its own estimators only.
"""

import re
from functools import partial

import numpy as np
import pytest
from _configurations import CONFIGURATIONS, STARTS
from sklearn.base import clone
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    check_param_validation,
    check_regressor_multioutput,
    check_regressors_train,
    parametrize_with_checks,
)

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor

# The checks fit tiny and meaningless data, on which a mixture rightly warns that it has not
# converged or that its gate separates, and on too few rows for a cascade to accept any; other
# warnings stay errors.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Cascade.*no row is accepted:UserWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning"),
]

DEFAULTS = {
    "regressor": MixtureOfExpertsRegressor(),
    "classifier": MixtureOfExpertsClassifier(),
}

#: A start is nothing that a check could see; `test_contract.py` has each with each gate.
CHECKED = {
    name: case.estimator
    for name, case in CONFIGURATIONS.items()
    if name not in STARTS and case.unchecked is None
}

#: What scikit-learn generates no checks of, but makes of its own estimators.
MORE = [check_dataframe_column_names_consistency, check_param_validation]

#: Estimators that get every check in every run.
ALWAYS = ["softmax", "classes"]

#: Of every other estimator, every run makes one check in so many.
EVERY = 50

#: Checks of ten and more fits: in every run for those of `ALWAYS` only.
LONG = ["check_estimator_sparse_array", "check_estimator_sparse_matrix", "check_classifiers_train"]


def parametrize(estimators):
    """Parametrise as scikit-learn does, with a list: pytest 9 wants no generator.

    Estimators of `ALWAYS` get every check in every run; the others share the checks out, and get
    all of them in `.ci/nightly`.
    """
    cases = []
    for number, (name, estimator) in enumerate(estimators.items()):
        for place, (copy, check) in enumerate(checks_of(estimator)):
            short = check.func.__name__ not in LONG
            fast = name in ALWAYS or (short and (place + 7 * number) % EVERY == 0)
            marks = () if fast else pytest.mark.slow
            cases.append(pytest.param(copy, check, id=f"{name}-{described(check)}", marks=marks))
    return pytest.mark.parametrize("estimator, check", cases)


def checks_of(estimator):
    """Yield the generated checks, and those of `MORE`, each with a clone."""
    name, tags = type(estimator).__name__, get_tags(estimator)
    for copy, check in parametrize_with_checks([estimator]).mark.args[1]:
        signed = check.func is check_regressor_multioutput and tags.target_tags.positive_only
        yield copy, partial(check_positive_multioutput, name) if signed else check
    for check in MORE:
        yield clone(estimator), partial(check, name)


def check_positive_multioutput(name, estimator):
    """As `check_regressor_multioutput`, which alone ignores that targets are to be above 0."""
    rng = np.random.default_rng(42)
    X, y = rng.normal(size=(11, 10)), np.exp(rng.normal(size=(11, 5)))
    predicted = estimator.fit(X, y).predict(X)
    assert predicted.dtype == np.float64, name
    assert predicted.shape == y.shape, name


def described(check):
    """Return the name of a check, with its options."""
    options = [f"{key}={value}" for key, value in check.keywords.items()]
    return ",".join([check.func.__name__, *options])


@parametrize(CHECKED)
def test_every_configuration(estimator, check):
    check(estimator)


#: Targets of most checks are numbers, and some tables have a single column.
PARTLY = {
    name: case.estimator
    for name, case in CONFIGURATIONS.items()
    if name not in STARTS and case.unchecked is not None
}

#: How a mixture says by name that it cannot take the targets or the table of a check.
REFUSED = re.compile(r"family '\w+' needs|expert_features.* columns?|must be at most")


def reasons(error):
    """Yield the texts of an error, and of those that led to it."""
    while error is not None:
        yield str(error)
        error = error.__cause__ or error.__context__


@parametrize(PARTLY)
def test_other_configurations_pass_or_refuse_by_name(estimator, check):
    if check.func is check_regressors_train and estimator.expert_features is not None:
        pytest.skip("its score is of ten columns, and these experts see two")
    try:
        check(estimator)
    except (ValueError, AssertionError) as error:
        if not any(map(REFUSED.search, reasons(error))):
            raise


@pytest.mark.slow
@parametrize(DEFAULTS)
def test_defaults(estimator, check):
    """With as many starts and iterations as a user gets."""
    check(estimator)
