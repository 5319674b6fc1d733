"""The picture of a fit's bounds shows what the fit holds."""

import numpy as np
from _regions import legend_texts
from numpy.testing import assert_array_equal
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mixexp import MixtureOfExpertsRegressor
from mixexp.inspection import ConvergenceDisplay


def test_bounds_are_those_of_the_fit(data):
    X, y = data
    model = MixtureOfExpertsRegressor(n_experts=2, n_init=3, random_state=0)
    display = ConvergenceDisplay.from_estimator(make_pipeline(StandardScaler(), model).fit(X, y))
    assert_array_equal(display.bounds, model.lower_bounds_)
    assert_array_equal(display.line_.get_ydata(), model.lower_bounds_)
    assert len(display.start_lines_) == len(model.restarts_) == 3
    for line, record in zip(display.start_lines_, model.restarts_, strict=True):
        assert_array_equal(line.get_ydata(), record.bounds)
        assert len(record.bounds) <= record.n_iter
    chosen = model.restarts_[display.chosen]
    assert chosen.bound == model.lower_bound_ and "long run" in chosen.events
    assert display.line_.get_xdata()[0] == len(chosen.bounds) + 1
    assert ("did not converge" in display.note_.get_text()) is not model.converged_


def test_first_steps_do_not_squeeze_the_rest():
    display = ConvergenceDisplay(
        bounds=np.array([1.0, 1.1, 1.2]),
        start_bounds=[np.array([-1e6, 0.9]), np.array([])],
        flagged=[True, False],
        chosen=1,
        converged=False,
    ).plot()
    assert display.ax_.get_ylim()[0] > -10
    assert legend_texts(display) == ["long run", "spurious"]
    assert "did not converge" in display.note_.get_text()
