"""Gate probabilities in a picture are those of `gate_proba`."""

import numpy as np
from _regions import fitted, legend_texts
from numpy.testing import assert_allclose

from mixexp import MixtureOfExpertsRegressor
from mixexp.inspection import GateProbabilitiesDisplay
from mixexp.inspection._palette import PALETTE

show = GateProbabilitiesDisplay.from_estimator


def test_panels_over_two_features(model, data, plt):
    X, _ = data
    display = show(model, X, features=(2, 0), grid_resolution=7)
    row = [display.grid[1][4], np.median(X[:, 1]), display.grid[0][2]]
    assert_allclose(display.probabilities[4, 2], model.gate_proba([row])[0])
    assert [panel.get_title() for panel in display.panels_] == [f"expert {k}" for k in range(3)]
    shade = display.maps_[1].get_array().reshape(7, 7, 3)
    from matplotlib.colors import to_rgb  # where matplotlib is missing, the tests are skipped

    color = np.array(to_rgb(PALETTE[1]))
    assert_allclose(shade, 1 - display.probabilities[..., 1:2] * (1 - color))
    assert display.note_.get_text().startswith("held (typical values): feature 1 = ")
    display.figure_.canvas.draw()
    boxes = [panel.get_window_extent() for panel in display.panels_]
    assert boxes[0].x1 < boxes[1].x0 and boxes[1].x1 < boxes[2].x0


def test_curves_over_one_feature_with_noise(data):
    X, y = data
    model = fitted(MixtureOfExpertsRegressor(n_experts=2, noise_expert=True), X, y)
    display = show(model, X, features=1, grid_resolution=5)
    assert legend_texts(display) == ["expert 0", "expert 1", "noise"]
    rows = np.tile(np.median(X, axis=0), (5, 1))
    rows[:, 1] = display.grid[0]
    drawn = np.column_stack([line.get_ydata() for line in display.lines_])
    assert_allclose(drawn, model.gate_proba(rows))
