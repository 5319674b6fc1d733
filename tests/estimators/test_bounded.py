"""Predictions within the range of the training targets."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, PoissonRegressor, Ridge

from mixexp import MixtureOfExpertsRegressor
from mixexp.gates import HierarchicalGate

OPTIONS = {"n_experts": 2, "n_init": 1, "random_state": 0}


@pytest.fixture
def data(rng):
    X = rng.standard_normal((200, 2))
    return X, np.where(X[:, 0] > 0, 3 * X[:, 1], -X[:, 1]) + 0.1 * rng.standard_normal(200)


def far(X):
    return 20 * X[:30]


def test_predictions_stay_within_the_range_and_distributions_do_not(data):
    X, y = data
    model = MixtureOfExpertsRegressor(**OPTIONS).fit(X, y)
    free = MixtureOfExpertsRegressor(bound_predictions=False, **OPTIONS).fit(X, y)
    predicted, unbounded = model.predict(far(X)), free.predict(far(X))
    assert unbounded.min() < y.min() and unbounded.max() > y.max()
    assert_array_equal(predicted, np.clip(unbounded, y.min(), y.max()))
    assert_array_equal(model.predict_distribution(far(X)).mean(), unbounded)
    assert_array_equal(model.log_density(X, y), free.log_density(X, y))
    assert_array_equal(model.to_hard().predict(far(X)).max(), y.max())


def test_rows_without_weight_do_not_count(data):
    X, y = data
    weight = np.ones(len(y))
    y = y.copy()
    y[7], weight[7] = 1e6, 0.0
    model = MixtureOfExpertsRegressor(**OPTIONS).fit(X, y, sample_weight=weight)
    assert model.predict(far(X)).max() == np.delete(y, 7).max()


def test_each_output_has_its_own_range(data):
    X, y = data
    Y = np.column_stack([y, 100 + 5 * y])
    predicted = MixtureOfExpertsRegressor(**OPTIONS).fit(X, Y).predict(far(X))
    assert_array_equal(predicted.min(axis=0), Y.min(axis=0))
    assert_array_equal(predicted.max(axis=0), Y.max(axis=0))


def test_a_single_expert_is_left_alone(data):
    X, y = data
    model = MixtureOfExpertsRegressor(LinearRegression(), **OPTIONS | {"n_experts": 1}).fit(X, y)
    assert_allclose(model.predict(far(X)), LinearRegression().fit(X, y).predict(far(X)), rtol=1e-8)


def test_an_offset_shifts_the_range(data):
    X, y = data
    offset = 50.0 * np.arange(len(y))
    model = MixtureOfExpertsRegressor(**OPTIONS).fit(X, y + offset, offset=offset)
    plain = MixtureOfExpertsRegressor(**OPTIONS).fit(X, y)
    shifted = model.predict(far(X), offset=offset[:30]) - offset[:30]
    assert_allclose(shifted.min(), y.min(), rtol=1e-9)
    assert_allclose(shifted.max(), y.max(), rtol=1e-9)
    assert_allclose(shifted, plain.predict(far(X)), atol=1e-4)


def test_rates_are_bounded_where_counts_have_an_exposure(rng):
    X = rng.standard_normal((300, 1))
    exposure = rng.uniform(1, 50, 300)
    counts = rng.poisson(exposure * np.exp(0.5 + np.abs(X[:, 0])))
    model = MixtureOfExpertsRegressor(PoissonRegressor(), family="poisson", **OPTIONS).fit(
        X, counts, offset=np.log(exposure)
    )
    rates = counts / exposure
    for years in (1.0, 1000.0):
        offset = np.full(30, np.log(years))
        predicted = model.predict(far(X), offset=offset) / years
        assert_allclose(predicted.max(), rates.max(), rtol=1e-9)
        assert predicted.min() >= rates.min() * (1 - 1e-9)


def test_of_mixtures_of_mixtures_only_the_outer_one_bounds_its_predictions(data):
    X, y = data
    inner = MixtureOfExpertsRegressor(Ridge(), n_experts=2)
    options = OPTIONS | {"gate": HierarchicalGate((2,)), "n_init": 3}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # two experts would do
        model = MixtureOfExpertsRegressor(inner, **options).fit(X, y)
        free = MixtureOfExpertsRegressor(inner, bound_predictions=False, **options).fit(X, y)
    unbounded = free.predict(far(X))
    assert unbounded.max() > y.max()
    assert_array_equal(model.predict(far(X)), np.clip(unbounded, y.min(), y.max()))
    assert max(expert.predict(far(X)).max() for expert in model.experts_) > y.max()


def test_it_is_checked(data):
    with pytest.raises(ValueError, match="'bound_predictions' parameter"):
        MixtureOfExpertsRegressor(bound_predictions="yes", **OPTIONS).fit(*data)
