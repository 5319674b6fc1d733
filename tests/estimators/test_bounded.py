"""Predictions within the range of the training targets."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, PoissonRegressor, Ridge

from mixexp import MixtureOfExpertsRegressor
from mixexp.gates import HierarchicalGate

OPTIONS = {"n_experts": 2, "n_init": 1, "random_state": 0, "bound_predictions": True}


@pytest.fixture
def data(rng):
    X = rng.standard_normal((200, 2))
    return X, np.where(X[:, 0] > 0, 3 * X[:, 1], -X[:, 1]) + 0.1 * rng.standard_normal(200)


def far(X):
    return 20 * X[:30]


def test_predictions_stay_within_the_range_and_distributions_do_not(data):
    X, y = data
    model = MixtureOfExpertsRegressor(**OPTIONS).fit(X, y)
    free = MixtureOfExpertsRegressor(**OPTIONS | {"bound_predictions": False}).fit(X, y)
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
        free = MixtureOfExpertsRegressor(inner, **options | {"bound_predictions": False}).fit(X, y)
    unbounded = free.predict(far(X))
    assert unbounded.max() > y.max()
    assert_array_equal(model.predict(far(X)), np.clip(unbounded, y.min(), y.max()))
    assert max(expert.predict(far(X)).max() for expert in model.experts_) > y.max()


@pytest.mark.parametrize(("shift", "ends"), [(0, (-0.25, 1.25)), (1e3, (-0.25, 1.25))])
def test_by_default_the_range_is_longer_at_both_ends(data, shift, ends):
    X, y = data
    model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y + shift)
    predicted = (model.predict(far(X)) - shift - y.min()) / np.ptp(y)
    assert_allclose([predicted.min(), predicted.max()], ends, rtol=1e-9)


def test_by_default_the_range_does_not_go_beyond_zero(data):
    X, y = data
    above = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y - y.min())
    assert above.predict(far(X)).min() == 0.0
    below = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y - y.max() - 0.1)
    assert below.predict(far(X)).max() == 0.0


def test_shares_of_successes_have_their_own_range(rng):
    X = rng.standard_normal((300, 1))
    y = 1 / (1 + np.exp(-2 * X[:, 0])) > rng.random(300)
    model = MixtureOfExpertsRegressor(n_experts=2, family="binomial", random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        predicted = model.fit(X, y.astype(float)).predict(far(X))
    assert predicted.min() >= 0 and predicted.max() <= 1


def test_online_fits_follow_the_range(data):
    X, y = data
    model = MixtureOfExpertsRegressor(n_experts=2, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for factor in [1] * 30 + [2] * 30:  # online from some thousand rows on
            model.partial_fit(X, factor * y)
    low, high = 2 * y.min(), 2 * y.max()
    predicted = model.predict(1e3 * X)
    margin = 0.25 * (high - low)
    assert_allclose([predicted.min(), predicted.max()], [low - margin, high + margin])


def test_it_is_checked(data):
    with pytest.raises(ValueError, match="'bound_predictions' parameter"):
        MixtureOfExpertsRegressor(**OPTIONS | {"bound_predictions": "yes"}).fit(*data)
