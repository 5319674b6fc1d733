"""Profiles show the coefficients, intervals and importances that are computed elsewhere."""

import numpy as np
import pytest
from _regions import NAMES, legend_texts
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from mixexp import MixtureOfExpertsRegressor
from mixexp.inspection import ExpertProfilesDisplay
from mixexp.metrics import expert_importance

show = ExpertProfilesDisplay.from_estimator


@pytest.fixture(scope="module")
def settled(data):
    return MixtureOfExpertsRegressor(n_experts=3, n_init=2, random_state=0).fit(*data)


def test_coefficients_have_the_intervals_of_the_summary(settled, data):
    X, y = data
    display = show(settled, X, y, standardize=False, level=0.8)
    table = settled.summary(X, y, level=0.8).to_frame()
    for k in range(3):
        rows = table.loc[(f"expert {k}", "", [f"x{j}" for j in range(3)]), :]
        assert_array_equal(display.values[k], rows["estimate"])
        assert_array_equal([display.low[k], display.high[k]], rows[["low", "high"]].T)
        assert_allclose(display.values[k], settled.experts_[k].coef_, rtol=1e-6)
    assert display.note_.get_text() == "lines: 80 % intervals"
    scaled = show(settled, X, y, level=0.8)
    assert_allclose(scaled.low, display.low * X.std(axis=0))
    assert "standard deviation" in scaled.ax_.get_xlabel()
    first = scaled.containers_[1].lines[0].get_xdata()
    assert_array_equal(first, scaled.values[1, scaled.columns_])


def test_columns_are_ordered_and_counted():
    values = np.array([[0.1, -3.0, 1.0], [0.2, np.nan, -2.0]])
    display = ExpertProfilesDisplay(values=values, names=NAMES).plot(max_columns=2)
    assert_array_equal(display.columns_, [1, 2])
    ticks = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert ticks == ["height", "depth"]
    assert display.note_.get_text() == "1 more column with smaller values"
    assert legend_texts(display) == ["expert 0", "expert 1"]


def test_without_targets_there_are_no_intervals(settled, data):
    display = show(settled, data[0], standardize=False)
    assert display.low is None
    assert_array_equal(display.values, [expert.coef_ for expert in settled.experts_])


def test_estimators_show_importances(data):
    X, y = data[0][:80], data[1][:80]
    halves = (X[:, 0] > 0).astype(int)  # one start, as trees are fitted one by one
    trees = MixtureOfExpertsRegressor(
        DecisionTreeRegressor(max_depth=2), n_experts=2, init=halves, tol=0.1, random_state=0
    )
    pipeline = make_pipeline(StandardScaler(), trees).fit(X, y)
    display = show(pipeline, X, y, random_state=0, n_repeats=2)
    found = expert_importance(pipeline, X, y, random_state=0, n_repeats=2)
    assert_array_equal(display.values, found.importances_mean)
    assert "R²" in display.value_name
    with pytest.raises(ValueError, match=r"ExpertProfilesDisplay: .*no coefficients"):
        show(pipeline, X, y, kind="coefficients")
    with pytest.raises(ValueError, match="y=None"):
        show(pipeline, X)


def test_one_of_several_classes(classifier, class_data):
    X, y = class_data
    with pytest.raises(ValueError, match=r"target=None is no output or class .*ash, elm, oak"):
        show(classifier, X)
    display = show(classifier, X, target="oak", standardize=False)
    assert_array_equal(display.values, [expert.coef_[2] for expert in classifier.experts_])
    assert display.value_name == "coefficient, oak"
