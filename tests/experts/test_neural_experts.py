"""Neural networks go on from the weights they have."""

import warnings

import pytest
from _quiet import quiet
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import (
    SGDRegressor,
)
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from mixexp import MixtureOfExpertsRegressor
from mixexp._fitting import fit_estimator


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


@pytest.mark.slow
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
