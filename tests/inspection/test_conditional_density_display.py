"""The density in a picture is that of `predict_distribution`."""

import numpy as np
import pytest
from _regions import fitted, legend_texts
from numpy.testing import assert_allclose, assert_array_equal

from mixexp import MixtureOfExpertsRegressor
from mixexp.inspection import ConditionalDensityDisplay

show = ConditionalDensityDisplay.from_estimator


def test_density_means_and_intervals(model, data):
    X, y = data
    display = show(model, X, y, feature=1, level=0.8, grid_resolution=30)
    rows = np.tile(np.median(X, axis=0), (30, 1))
    rows[:, 1] = display.grid
    law = model.predict_distribution(rows)
    for j in (0, 13, 29):
        assert_allclose(display.density[j], law.pdf(np.full(30, display.y_grid[j])))
    assert_allclose(display.means, model.predict_experts(rows))
    assert_allclose([display.low, display.high], law.interval(0.8))
    assert_array_equal(display.scatter_.get_offsets(), np.column_stack([X[:, 1], y]))
    mass = display.density.sum(axis=0) * (display.y_grid[1] - display.y_grid[0])
    assert_allclose(mass, 1, atol=0.1)  # narrow experts on a grid of 30 points
    assert legend_texts(display)[-1] == "80 % interval"
    assert "dots: rows with other values" in display.note_.get_text()


def test_counts_have_all_their_values(data):
    X, y = data
    y = np.floor(np.abs(3 * y))
    model = fitted(MixtureOfExpertsRegressor(n_experts=2, family="poisson"), X, y)
    display = show(model, X, feature=0, grid_resolution=8)
    assert_array_equal(np.diff(display.y_grid), 1)
    assert_allclose(display.density.sum(axis=0), 1, atol=0.02)
    assert display.scatter_ is None


def test_classes_have_no_density(classifier, class_data):
    with pytest.raises(TypeError, match=r"ConditionalDensityDisplay: .*no density of numbers"):
        show(classifier, class_data[0])


def test_one_feature_and_a_level(model, data):
    with pytest.raises(ValueError, match=r"feature=\(0, 1\) is not one feature"):
        show(model, data[0], feature=(0, 1))
    with pytest.raises(ValueError, match="level=1 must be between 0 and 1"):
        show(model, data[0], level=1)
