"""The picture of a calibration shows what the function computes."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.inspection import CalibrationDisplay
from mixexp.metrics import calibration


def test_bars_are_the_histogram(rng, plt):
    X = rng.normal(size=(200, 2))
    y = np.abs(X[:, 0]) + 0.1 * rng.normal(size=200)
    model = make_pipeline(
        StandardScaler(), MixtureOfExpertsRegressor(n_experts=2, n_init=1, random_state=0)
    ).fit(X, y)
    law = model[-1].predict_distribution(model[:-1].transform(X))
    _, ax = plt.subplots()
    display = CalibrationDisplay.from_estimator(model, X, y, n_bins=5, ax=ax)
    assert display.ax_ is ax and display.figure_ is ax.figure
    found = calibration(y, law, n_bins=5)
    for name, values in found.items():
        assert_array_equal(getattr(display, name), values)
    assert_allclose([bar.get_height() for bar in display.bars_], found.densities)
    assert_array_equal(display.even_line_.get_ydata(), 1.0)
    other = CalibrationDisplay.from_distribution(law, y, bar_kwargs={"color": "red"})
    assert other.ax_ is not ax


def test_classes_are_refused(rng):
    X = rng.normal(size=(50, 1))
    model = MixtureOfExpertsClassifier(n_experts=1).fit(X, X[:, 0] + rng.normal(size=50) > 0)
    with pytest.raises(TypeError, match=r"CalibrationDisplay: .* predicts classes"):
        CalibrationDisplay.from_estimator(model, X, X[:, 0] > 0)
