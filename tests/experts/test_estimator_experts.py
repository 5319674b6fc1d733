"""Experts that are fitted one by one: cross-fitting, pools, lists, weights, failures."""

import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from scipy.stats import norm, poisson
from sklearn import config_context
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import BaggingRegressor
from sklearn.linear_model import (
    HuberRegressor,
    LassoCV,
    LinearRegression,
    LogisticRegression,
    RANSACRegressor,
    Ridge,
    RidgeCV,
    SGDRegressor,
)
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multioutput import MultiOutputRegressor
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR, LinearSVR
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._blocks import Rows
from mixexp._fitting import drawn_rows, effective_size, fit_estimator, folds_of, takes_weights
from mixexp.experts import ExpertPool, memorises
from mixexp.gates import ConstantGate, EstimatorGate

unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def step(rng):
    """Return X, y: a line on the left and a sine on the right."""
    X = rng.uniform(-2, 2, (240, 2))
    y = np.where(X[:, 0] < 0, 2 * X[:, 1] - 3, 2 * np.sin(3 * X[:, 1])) + 0.2 * rng.normal(size=240)
    return X, y


def quiet(model, X, y, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X, y, **options)


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
    outputs = model.predict_experts(X[400:])
    assert outputs.min() == 0.0
    log_joint = np.log(model.gate_proba(X[400:])) + poisson.logpmf(
        y[400:, None], np.maximum(outputs, 1e-3 * y[:400].mean())
    )
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
            expert, n_experts=2, gate=gate, max_iter=4, n_init=2, random_state=0
        )
        one, two = quiet(clone(model), X, y), quiet(clone(model).set_params(n_jobs=jobs), X, y)
        assert_array_equal(one.lower_bounds_, two.lower_bounds_)
        assert_array_equal(one.predict(X), two.predict(X))
        assert_array_equal(pickle.loads(pickle.dumps(one)).predict(X), one.predict(X))


# ---------------------------------------------------------------- pools and lists


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


# ---------------------------------------------------------------- weights


def test_rows_are_drawn_by_responsibility(rng):
    X, y = rng.standard_normal((4000, 2)), rng.standard_normal((1, 4000))
    resp = rng.dirichlet([2, 1, 1], 4000).T
    drawn = drawn_rows(resp, Rows(X, y), 3)
    assert_array_equal(np.sort(np.concatenate(drawn)), np.arange(4000))  # each row once
    for own, ids in zip(resp, drawn, strict=True):
        assert_allclose(len(ids), own.sum(), rtol=0.06)
        assert own[ids].mean() > own.mean() + 0.05
    again = drawn_rows(resp, Rows(X, y), 3)
    assert_array_equal(again[0], drawn[0])
    order = rng.permutation(4000)
    moved = drawn_rows(resp[:, order], Rows(X[order], y[:, order]), 3)
    assert_array_equal(np.sort(order[moved[1]]), drawn[1])


def test_drawn_rows_count_weights(rng):
    X, y = rng.standard_normal((500, 2)), rng.standard_normal((1, 500))
    weight = rng.integers(1, 5, 500).astype(float)
    ids = drawn_rows(np.ones((1, 500)) * weight, Rows(X, y, weight), 0)[0]
    assert_array_equal(np.bincount(ids, minlength=500), weight)
    small = weight / 1000
    ids = drawn_rows(np.ones((1, 500)) * small, Rows(X, y, small), 0)[0]
    assert_allclose(len(ids), 500, rtol=0.1)
    ids = drawn_rows(np.full((1, 500), 2000.0), Rows(X, y, np.full(500, 2000.0)), 0)[0]
    assert_array_equal(np.bincount(ids, minlength=500), 10)  # not two thousand copies
    few = drawn_rows(np.array([np.full(500, 1.0), np.zeros(500)]), Rows(X, y), 0)[1]
    assert len(few) == 5


@unconverged
def test_an_estimator_without_weights_is_announced(step):
    X, y = step
    with pytest.warns(UserWarning, match="expert KNeighborsRegressor does not take sample_weight"):
        model = MixtureOfExpertsRegressor(
            KNeighborsRegressor(), n_experts=2, max_iter=3, random_state=0
        ).fit(X, y)
    sizes = [expert.n_samples_fit_ for expert in model.experts_]
    assert sum(sizes) == 240
    with pytest.warns(UserWarning, match=r"Pipeline\(KNeighborsRegressor\)"):
        model.set_params(expert=make_pipeline(StandardScaler(), KNeighborsRegressor())).fit(X, y)


class Recorder(Ridge):
    """Keeps what `fit` was given."""

    def fit(self, X, y, sample_weight=None, note=None):
        self.given_ = {"sample_weight": sample_weight, "note": note, "rows": len(X)}
        return super().fit(X, y, sample_weight)


@unconverged
@pytest.mark.parametrize(
    ("wrap", "inner"),
    [
        (TransformedTargetRegressor, lambda e: e.regressor_),
        (lambda e: GridSearchCV(e, {"alpha": [1.0]}, cv=2), lambda e: e.best_estimator_),
        (lambda e: make_pipeline(StandardScaler(), e), lambda e: e[-1]),
        (
            lambda e: make_pipeline(
                StandardScaler(), TransformedTargetRegressor(make_pipeline(StandardScaler(), e))
            ),
            lambda e: e[-1].regressor_[-1],
        ),
    ],
    ids=["target", "search", "pipeline", "nested"],
)
@pytest.mark.parametrize("routing", [False, True])
def test_weights_reach_the_learner(step, wrap, inner, routing):
    X, y = step
    right = np.where(X[:, 0] > 0, 0.8, 0.2)
    resp = np.column_stack([right, 1 - right])
    model = MixtureOfExpertsRegressor(wrap(Recorder()), n_experts=2, init=resp, max_iter=2)
    with config_context(enable_metadata_routing=routing):
        model.fit(X, y)
    for expert in model.experts_:
        weight = inner(expert).given_["sample_weight"]
        assert weight is not None
        assert 0 < weight.min() < 0.5 < weight.max() <= 1


@unconverged
def test_metadata_are_routed_to_the_experts(step):
    X, y = step
    note = np.arange(240)
    with config_context(enable_metadata_routing=True):
        expert = Recorder().set_fit_request(note=True)
        model = MixtureOfExpertsRegressor(
            make_pipeline(StandardScaler(), expert), n_experts=2, max_iter=2, random_state=0
        )
        model.fit(X, y, note=note)
        given = model.experts_[0][-1].given_
        assert len(given["note"]) == given["rows"]
        row = np.flatnonzero(given["note"] == 17)
        assert len(row) <= 1
        scores = cross_val_score(model, X, y, cv=2, params={"note": note})
        assert len(scores) == 2
        with pytest.raises(TypeError, match="nothing"):
            model.fit(X, y, nothing=note)
    with pytest.raises(ValueError, match="enable_metadata_routing=True"):
        model.fit(X, y, note=note)


@pytest.mark.parametrize(
    ("estimator", "takes"),
    [
        (Ridge(), True),
        (KNeighborsRegressor(), False),
        (make_pipeline(StandardScaler(), Ridge()), True),
        (make_pipeline(StandardScaler(), KNeighborsRegressor()), False),
        (TransformedTargetRegressor(), True),
        (TransformedTargetRegressor(KNeighborsRegressor()), False),
        (GridSearchCV(KNeighborsRegressor(), {}), False),
        (MultiOutputRegressor(Ridge()), True),
        (MultiOutputRegressor(KNeighborsRegressor()), False),
        (RANSACRegressor(make_pipeline(StandardScaler(), Ridge())), False),
        (CalibratedClassifierCV(GaussianNB()), True),
        (CalibratedClassifierCV(KNeighborsClassifier()), False),
        (BaggingRegressor(KNeighborsRegressor()), True),
    ],
)
def test_weights_are_taken_where_the_learner_takes_them(estimator, takes):
    assert takes_weights(estimator) == takes


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        (LassoCV(), False),
        (HuberRegressor(), False),
        (LinearSVR(), False),
        (LogisticRegression(), False),
        (DummyClassifier(), False),
        (make_pipeline(StandardScaler(), RidgeCV()), False),
        (RANSACRegressor(), False),
        (RANSACRegressor(DecisionTreeRegressor()), True),
        (SVR(), True),
        (MLPRegressor(), True),
        (make_pipeline(StandardScaler(), KNeighborsRegressor()), True),
    ],
)
def test_linear_models_do_not_memorise(estimator, expected):
    assert memorises(estimator) == expected


# ---------------------------------------------------------------- neural experts


def test_neural_networks_go_on_from_their_weights(rng):
    X, y = rng.standard_normal((80, 2)), rng.standard_normal(80)
    fresh = MLPRegressor(hidden_layer_sizes=(5,), max_iter=3, random_state=0)
    first = fit_estimator(clone(fresh), X, y, None)
    second = fit_estimator(clone(fresh), X, y, None, previous=first)
    assert second.n_iter_ > first.n_iter_ or second.t_ > first.t_
    assert second.loss_ < first.loss_
    assert first.n_iter_ == 3  # the earlier state is as it was
    pipeline = make_pipeline(StandardScaler(), fresh)
    one = fit_estimator(clone(pipeline), X, y, None)
    two = fit_estimator(clone(pipeline), X, y, None, previous=one)
    assert two[-1].loss_ < one[-1].loss_
    labels = (y > 0).astype(int)
    network = MLPClassifier(hidden_layer_sizes=(5,), max_iter=3, random_state=0)
    one = fit_estimator(clone(network), X, labels, None)
    other = fit_estimator(clone(network), X, labels + 1, None, previous=one)
    assert_array_equal(other.classes_, [1, 2])  # other classes: from the beginning
    tree = DecisionTreeRegressor(max_depth=1)
    assert fit_estimator(clone(tree), X, y, None, previous=tree.fit(X, y)) is not tree


@pytest.mark.parametrize(
    "network",
    [
        MLPRegressor(hidden_layer_sizes=(5,), solver="lbfgs", max_iter=3, random_state=0),
        MLPRegressor(hidden_layer_sizes=(5,), early_stopping=True, max_iter=3, random_state=0),
        SGDRegressor(max_iter=3, tol=None, random_state=0),
    ],
)
def test_networks_without_partial_fit_go_on_too(rng, network):
    X, y = rng.standard_normal((80, 2)), rng.standard_normal(80)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = fit_estimator(clone(network), X, y, None)
        two = fit_estimator(clone(network), X, y, None, previous=one)
    start, later = one.score(X, y), two.score(X, y)
    assert two is not one
    assert later != start
    assert start == one.score(X, y)


def test_the_scaler_of_a_network_stays(rng):
    X, y = rng.standard_normal((80, 2)), rng.standard_normal(80)
    network = make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(3,), max_iter=2))
    one = fit_estimator(clone(network), X, y, None)
    two = fit_estimator(clone(network), 5 * X, y, None, previous=one)
    assert_array_equal(two[0].scale_, one[0].scale_)
    assert two[-1].t_ > one[-1].t_
    nested = fit_estimator(make_pipeline(StandardScaler(), clone(network)), X, y, None)
    again = fit_estimator(clone(nested), X, y, None, previous=nested)
    assert again[-1][-1].t_ > nested[-1][-1].t_


def test_cross_fitted_networks_are_trained_on_all_rows_as_long(step):
    X, y = step
    network = MLPRegressor(hidden_layer_sizes=(8,), max_iter=3, learning_rate_init=0.02)
    model = MixtureOfExpertsRegressor(
        make_pipeline(StandardScaler(), network), n_experts=2, max_iter=12, tol=0, random_state=0
    )
    quiet(model, X, y)
    assert model.cross_fitted_
    # out of fold and on all rows the networks are about as good
    assert model.log_density(X, y).mean() > model.lower_bound_ - 0.1


def test_neural_experts_improve_and_the_best_state_is_returned(step):
    X, y = step
    network = make_pipeline(
        StandardScaler(), MLPRegressor(hidden_layer_sizes=(8,), max_iter=5, learning_rate_init=0.01)
    )
    model = MixtureOfExpertsRegressor(
        network, n_experts=2, max_iter=25, tol=0, cross_fit=False, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*did not converge in max_iter=25 EM.*")
        warnings.filterwarnings("ignore", message=".*does not take sample_weight")  # before 1.7
        model.fit(X, y)  # and no ConvergenceWarning of the networks
    assert model.lower_bound_ == model.lower_bounds_.max()
    assert model.lower_bounds_[-1] > model.lower_bounds_[0] + 0.3


# ---------------------------------------------------------------- regions that lack classes


def test_single_class_regions_are_smoothed_constants(rng):
    X = rng.standard_normal((200, 2))
    y = np.where(X[:, 0] < 0, "a", np.where(X[:, 1] > 0, "b", "c"))
    for expert in (DecisionTreeClassifier(max_depth=2), LogisticRegression(C=0.5, tol=1e-3)):
        model = MixtureOfExpertsClassifier(
            make_pipeline(StandardScaler(), expert), n_experts=2, init=(X[:, 0] > 0).astype(int),
            assignment="hard", max_iter=2,
        )  # fmt: skip
        quiet(model, X, y)
        proba = model.predict_proba(X)
        assert proba.shape == (200, 3)
        assert_allclose(proba.sum(axis=1), 1.0)
        assert isinstance(model.experts_[0], DummyClassifier)
        constant = model.predict_experts(X)[:, 0]
        assert np.all(constant > 0)
        assert_array_equal(constant, np.repeat(constant[:1], 200, axis=0))
        assert constant[0, 0] > 0.95


# ---------------------------------------------------------------- failures


class Fragile(Ridge):
    """Fails after some fits, or predicts NaN."""

    fits = 0

    def __init__(self, after=5, how="raise"):
        super().__init__()
        self.after = after
        self.how = how

    def fit(self, X, y, sample_weight=None):
        Fragile.fits += 1
        if Fragile.fits > self.after and self.how == "raise":
            raise RuntimeError("the solver exploded")
        return super().fit(X, y, sample_weight)

    def predict(self, X):
        bad = Fragile.fits > self.after and self.how == "nan"
        return super().predict(X) * (np.nan if bad else 1.0)


@pytest.mark.parametrize(
    ("how", "message"), [("raise", "the solver exploded"), ("nan", "it predicts NaN or infinity")]
)
def test_a_failing_expert_is_named_and_nothing_changes(step, how, message):
    X, y = step
    model = MixtureOfExpertsRegressor(Ridge(2.0), n_experts=2, random_state=0).fit(X, y)
    before, expected = dict(vars(model)), model.predict(X)
    expert = Fragile(5, how)
    model.set_params(expert=expert)
    Fragile.fits = 0
    with pytest.raises(ValueError, match=message) as caught:
        model.fit(np.column_stack([X, X[:, 0]]), y)
    text = str(caught.value)
    assert "MixtureOfExpertsRegressor: expert 1 (fragile: Fragile) failed at EM iteration 2" in text
    assert "on an effective sample of" in text
    assert "of 240 rows" in text
    assert not hasattr(expert, "coef_")
    model.set_params(expert=before["expert"])
    assert vars(model) == before
    assert_array_equal(model.predict(X), expected)


def test_effective_size():
    assert effective_size(np.ones(7)) == 7
    assert effective_size(np.array([1.0, 0.0])) == 1
    assert_allclose(effective_size(1e-200 * np.array([1.0, 0.5])), 1.8)
    assert effective_size(np.zeros(3)) == 0
