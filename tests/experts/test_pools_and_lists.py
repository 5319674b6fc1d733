"""Experts of different kinds: lists, and pools that choose a kind for each region."""

import numpy as np
import pytest
from _quiet import quiet
from sklearn.base import clone
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    Ridge,
)
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from sklearn.tree import DecisionTreeRegressor

from mixexp import MixtureOfExpertsRegressor
from mixexp.experts import ExpertPool

unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@unconverged
def test_each_region_takes_the_kind_that_fits_it(step):
    X, y = step
    pool = ExpertPool([LinearRegression(), SVR(C=10)])
    model = quiet(MixtureOfExpertsRegressor(pool, n_experts=2, max_iter=20, random_state=0), X, y)
    kinds = {type(expert).__name__ for expert in model.experts_}
    assert kinds == {"LinearRegression", "SVR"}
    linear = [type(e).__name__ for e in model.experts_].index("LinearRegression")
    assert np.mean(model.gate_proba(X)[X[:, 0] < -0.3, linear]) > 0.9


class Counted(LinearRegression):
    """Counts its fits."""

    fits = 0

    def fit(self, X, y, sample_weight=None):
        Counted.fits += 1
        return super().fit(X, y, sample_weight)


@unconverged
def test_a_settled_choice_is_not_made_again(rng):
    X = rng.standard_normal((120, 1))
    y = np.sin(3 * X[:, 0]) + 0.1 * rng.standard_normal(120)
    pool = ExpertPool([SVR(C=10), Counted()])  # no line will do
    Counted.fits = 0
    model = MixtureOfExpertsRegressor(
        pool, n_experts=1, cross_fit=2, max_iter=12, tol=0, init=np.zeros(120)
    )
    quiet(model, X, y)
    assert type(model.experts_[0]) is SVR
    assert 4 <= Counted.fits <= 8  # two folds in three iterations or four


@unconverged
@pytest.mark.slow
def test_named_experts_are_matched_to_the_regions_they_fit(step):
    X, y = step
    for experts in (
        [("line", LinearRegression()), ("curve", SVR(C=10))],
        [("curve", SVR(C=10)), ("line", LinearRegression())],
    ):
        model = MixtureOfExpertsRegressor(experts, n_experts=2, max_iter=20, random_state=0)
        quiet(model, X, y)
        line = [name for name, _ in experts].index("line")
        assert type(model.experts_[line]) is LinearRegression  # the user's order
        assert np.mean(model.gate_proba(X)[X[:, 0] < -0.3, line]) > 0.9


def test_labels_say_which_expert_has_which_region(step):
    X, y = step
    experts = [("curve", SVR(C=10)), ("line", LinearRegression())]
    model = MixtureOfExpertsRegressor(experts, n_experts=2, init=X[:, 0] > 0, max_iter=1)
    quiet(model, X, y)
    assert np.mean(model.gate_proba(X)[X[:, 0] < -0.3, 0]) > 0.5


def test_parameters_of_lists_and_pools(step):
    X, y = step
    listed = MixtureOfExpertsRegressor([("a", Ridge()), Ridge(), Ridge()], n_experts=3)
    params = listed.get_params()
    assert params["expert__a__alpha"] == params["expert__ridge__alpha"] == 1.0
    assert "expert__ridge-2" in params
    copy = clone(listed).set_params(expert__a__alpha=3.0, n_experts=3)
    assert copy.expert[0][1].alpha == 3.0
    assert listed.expert[0][1].alpha == 1.0
    copy.set_params(**{"expert__a": LinearRegression()})
    assert type(copy.expert[0][1]) is LinearRegression
    with pytest.raises(ValueError, match=r"Invalid parameter 'b__alpha'.*named \['a', "):
        copy.set_params(expert__b__alpha=1)
    pool = MixtureOfExpertsRegressor(ExpertPool([Ridge(), ("t", DecisionTreeRegressor())]))
    assert pool.get_params()["expert__t__max_depth"] is None
    search = GridSearchCV(
        MixtureOfExpertsRegressor(
            [("a", Ridge()), ("b", DecisionTreeRegressor())],
            2,
            max_iter=1,
            n_init=1,
            random_state=0,
        ),
        {"expert__b__max_depth": [1, 4]},
        cv=2,
    )
    quiet(search, X, y)
    assert search.best_params_ == {"expert__b__max_depth": 4}


@pytest.mark.parametrize(
    ("expert", "error", "message"),
    [
        ([], TypeError, "expert must be a list of estimators"),
        ([("a", Ridge())], ValueError, "list of 1 experts, and n_experts=2"),
        ([("a", Ridge()), ("a", Ridge())], ValueError, "the name 'a'"),
        ([("a__b", Ridge()), Ridge()], ValueError, "the name 'a__b'"),
        ([Ridge, Ridge()], TypeError, "expert must be a scikit-learn estimator"),
        ([Ridge(), LogisticRegression()], TypeError, "must be a regressor"),
        (ExpertPool([Ridge()]), ValueError, "has 1 candidates and needs two or more"),
        (ExpertPool(Ridge()), TypeError, "ExpertPool.candidates must be a list"),
        ("ridge", ValueError, "'expert' parameter"),
        (StandardScaler(), TypeError, "StandardScaler has no predict"),
    ],
)
def test_wrong_experts(step, expert, error, message):
    with pytest.raises(error, match=message):
        MixtureOfExpertsRegressor(expert, n_experts=2).fit(*step)


def test_a_pool_needs_folds(step):
    pool = ExpertPool([Ridge(), DecisionTreeRegressor()])
    with pytest.raises(ValueError, match="an ExpertPool chooses by out-of-fold predictions"):
        MixtureOfExpertsRegressor(pool, n_experts=2, cross_fit=False).fit(*step)
