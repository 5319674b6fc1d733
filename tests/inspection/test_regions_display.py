"""Pictures of regions, over one feature and two, show what the mixture says."""

import numpy as np
import pandas as pd
import pytest
from _regions import fitted, legend_texts, show
from numpy.testing import assert_allclose, assert_array_equal

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.datasets import load_tone
from mixexp.gates import HierarchicalGate
from mixexp.inspection import ExpertRegionsDisplay
from mixexp.inspection._compute import expert_regions
from mixexp.inspection._regions import (
    curve_strength,
)
from mixexp.routing import TopK

# ---------------------------------------------------------------- two features


def test_grid_is_what_route_says_there(model, data):
    X, _ = data
    display = show(model, X, features=(2, 0), grid_resolution=7)
    assert display.weights.shape == (7, 7, 3)
    first, second = display.grid
    assert first[0] < X[:, 2].min() and first[-1] > X[:, 2].max()
    middle = np.median(X[:, 1])
    for i, j in [(0, 0), (6, 0), (2, 5), (3, 3)]:
        here = model.route([[second[i], middle, first[j]]])[0]
        assert_allclose(display.weights[i, j], here, rtol=1e-12)
    assert_array_equal(display.points, X[:, [2, 0]])
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("feature 2", "feature 0")


def test_colours_are_those_of_the_winners(model, data):
    X, y = data
    display = show(
        model, X, features=(0, 1), grid_resolution=9, colors=["#ff0000", "#00ff00", "#0000ff"]
    )
    surface = display.surface_.get_array().reshape(9, 9, -1)[..., :3]
    # The only channel that stays at 1 is the winner's.
    assert_array_equal(surface.argmax(axis=-1), display.weights.argmax(axis=-1))
    faces = display.scatter_[0].get_facecolors()[:, :3]
    assert_array_equal(faces.argmax(axis=1), model.route(X).argmax(axis=1))
    assert_allclose(display.scatter_[0].get_offsets(), X[:, :2])

    knowing = show(model, X, y, features=(0, 1)).point_experts
    assert_array_equal(knowing, model.responsibilities(X, y).argmax(axis=1))
    assert np.any(knowing != display.point_experts)


def test_lines_lie_where_two_experts_are_equally_probable(model, data):
    X, _ = data
    display = show(model, X, features=(0, 1), grid_resolution=60)
    rest = np.median(X[:, 2])
    vertices = np.concatenate(
        [path.vertices for lines in display.contours_ for path in lines.get_paths()]
    )
    assert len(display.contours_) == 2 and len(vertices) > 20
    weights = np.sort(model.route(np.column_stack([vertices, np.full(len(vertices), rest)])))
    log_ratio = np.log(weights[:, -1] / weights[:, -2])
    assert np.quantile(log_ratio, 0.9) < 0.02  # around a meeting of three the grid is coarse


class NearestTwo(MixtureOfExpertsRegressor):
    """Routes a row to two experts, with a weight that is not the gate probability."""

    def route(self, X):
        proba = self.gate_proba(X)
        weights = np.where(proba >= np.sort(proba)[:, -2:-1], proba[:, ::-1], 0)
        return weights / weights.sum(axis=1, keepdims=True)


def test_routing_is_what_is_drawn(data):
    X, y = data
    model = fitted(NearestTwo(n_experts=3), X, y)
    display = show(model, X, features=(0, 1), grid_resolution=20)
    assert np.all(np.count_nonzero(display.weights, axis=-1) == 2)
    assert_array_equal(display.point_experts, model.route(X).argmax(axis=1))
    rows = np.tile(np.median(X, axis=0), (20, 1))
    rows[:, 0] = display.grid[0]
    assert_allclose(show(model, X, features=0, grid_resolution=20).weights, model.route(rows))


def test_other_features_are_held_at_a_given_row(model, data):
    X, _ = data
    display = show(model, X, features=1, at=X[17], grid_resolution=5)
    rows = np.tile(X[17], (5, 1))
    rows[:, 1] = display.grid[0]
    assert_allclose(display.weights, model.route(rows), rtol=1e-12)
    # Values of features that vary are not looked at.
    at = [*X[17]]
    at[1] = np.nan
    assert_array_equal(
        expert_regions(model, X, features=[1], at=at)["grid"][0][0],
        X[:, 1].min() - 0.05 * np.ptp(X[:, 1]),
    )


def test_constant_feature_is_drawn(model, data):
    X = data[0].copy()
    X[:, 0] = 2.5
    display = show(model, X, features=(0, 1))
    low, high = display.ax_.get_xlim()
    assert low < 2 and high > 3
    display.figure_.canvas.draw()


def test_constant_gate_has_one_region_and_no_lines(data):
    from mixexp.gates import ConstantGate

    X, y = data
    model = fitted(MixtureOfExpertsRegressor(n_experts=2, gate=ConstantGate()), X, y)
    display = show(model, X)
    winner = model.usage_.argmax()
    assert display.contours_ == []
    assert legend_texts(display) == [f"expert {winner}"]


def test_one_expert(data):
    X, y = data
    model = fitted(MixtureOfExpertsRegressor(n_experts=1), X, y)
    assert show(model, X).contours_ == []
    assert len(show(model, X, y, features=0).lines_) == 1


def test_legend_names_experts_that_occur_and_classes(model, data, classifier, class_data):
    assert legend_texts(show(model, data[0])) == ["expert 0", "expert 1", "expert 2"]
    X, y = class_data
    tiny = X[classifier.route(X)[:, 1].argmax()] + 1e-3 * np.array([[0, 0], [0, 1], [1, 0]])
    assert legend_texts(show(classifier, tiny)) == ["expert 1"]
    texts = legend_texts(show(classifier, X, y))
    assert texts == ["expert 0", "expert 1", "class ash", "class elm", "class oak"]


def test_classes_have_markers(classifier, class_data):
    X, y = class_data
    display = show(classifier, X, y)
    assert len(display.scatter_) == 3
    for label, scatter in zip(classifier.classes_, display.scatter_, strict=True):
        assert_allclose(scatter.get_offsets(), X[y == label])
    shapes = [scatter.get_paths()[0].vertices for scatter in display.scatter_]
    assert shapes[0].shape != shapes[1].shape != shapes[2].shape
    assert len(show(classifier, X).scatter_) == 1


# ---------------------------------------------------------------- one feature


@pytest.mark.parametrize("features", [0, (0,), [0], np.int64(0), "stretch_ratio", -1])
def test_one_feature_of_a_regression(features, plt):
    X, y = load_tone(return_X_y=True, as_frame=True)
    model = fitted(MixtureOfExpertsRegressor(n_experts=2), X, y)
    display = show(model, X, y, features=features, grid_resolution=30)
    axis = display.grid[0]
    rows = pd.DataFrame({"stretch_ratio": axis})
    assert_allclose(display.weights, model.route(rows))
    assert_allclose(display.expert_values, model.predict_experts(rows))
    assert_allclose(display.pooled_line_.get_ydata(), model.predict(rows))
    assert_allclose(display.scatter_[0].get_offsets(), np.column_stack([X, y]))
    for k in range(2):
        assert_allclose(display.gate_lines_[k].get_ydata(), display.weights[:, k])
        start = [piece[0] for piece in display.lines_[k].get_segments()]
        assert_allclose(start, np.column_stack([axis, display.expert_values[:, k]])[:-1])
        strength = curve_strength(display.weights[:, k])
        assert_allclose(display.lines_[k].get_colors()[:, 3], strength[0])
        assert_allclose(display.lines_[k].get_linewidths(), strength[1])
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("stretch_ratio", "tuned")
    assert legend_texts(display) == ["expert 0", "expert 1", "mixture"]


def test_rows_without_target_are_not_drawn_over_one_feature(model, data):
    X, y = data
    assert show(model, X, features=0).scatter_ == []
    assert len(show(model, X, y, features=0).scatter_) == 1


def test_experts_that_only_colour_rows_are_named_where_rows_are_drawn():
    parts = {
        "grid": (np.linspace(0, 1, 3),),
        "weights": np.array([[0.9, 0.0, 0.1]] * 3),
        "feature_names": ["x"],
        "points": np.array([[0.5], [0.7]]),
        "point_experts": np.array([0, 1]),
        "expert_values": np.array([[0.0, 1.0, 2.0]] * 3),
        "pooled_values": np.full(3, 0.2),
    }
    drawn = ExpertRegionsDisplay(**parts, point_values=np.array([0.1, 0.9])).plot()
    assert legend_texts(drawn) == ["expert 0", "expert 1", "expert 2", "mixture"]
    display = ExpertRegionsDisplay(**parts).plot()
    assert legend_texts(display) == ["expert 0", "expert 2", "mixture"]
    assert [line.get_ydata()[0] for line in display.gate_lines_] == [0.9, 0.1]
    assert [line.get_segments()[0][0, 1] for line in display.lines_] == [0, 2]


def test_one_feature_of_a_classifier(classifier, class_data):
    X, y = class_data
    display = show(classifier, X, pd.Series(y, name="tree"), features=1, target="elm")
    rows = np.column_stack([np.full(100, np.median(X[:, 0])), display.grid[0]])
    assert_allclose(display.expert_values, classifier.predict_experts(rows)[:, :, 1])
    assert_allclose(display.pooled_values, classifier.predict_proba(rows)[:, 1])
    assert_array_equal(display.point_values, y == "elm")
    assert display.ax_.get_ylabel() == "P(tree = elm)"


def test_two_classes_show_the_second(class_data):
    X, y = class_data
    y = y == "oak"
    model = fitted(MixtureOfExpertsClassifier(n_experts=2), X, y)
    display = show(model, X, y, features=0)
    assert_array_equal(display.point_values, y)
    assert_array_equal(show(model, X, y, features=0, target=False).point_values, ~y)


def test_one_of_several_outputs(data):
    X, y = data
    both = np.column_stack([y, X[:, 0] - y])
    model = fitted(MixtureOfExpertsRegressor(n_experts=2), X, both)
    display = show(model, X, both, features=0, target=1)
    assert_array_equal(display.point_values, both[:, 1])
    assert display.expert_values.shape == (100, 2)
    rows = np.tile(np.median(X, axis=0), (100, 1))
    rows[:, 0] = display.grid[0]
    assert_allclose(display.pooled_values, model.predict(rows)[:, 1])
    assert display.ax_.get_ylabel() == "prediction[1]"


def test_a_curve_far_away_where_it_does_not_count_leaves_the_picture_as_it_is():
    axis = np.linspace(0, 1, 3)
    display = ExpertRegionsDisplay(
        grid=(axis,),
        weights=np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]),
        feature_names=["x"],
        expert_values=np.array([[0.0, 900.0], [1.0, 2.0], [-900.0, 3.0]]),
        pooled_values=np.array([0.0, 1.5, 3.0]),
    ).plot()
    low, high = display.ax_.get_ylim()
    assert -1 < low < 0 and 3 < high < 4
    assert display.scatter_ == []


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("level", [None, 1])
def test_one_feature_of_a_mixture_with_a_fallback(level):
    """The fallback has weights but no region and no curve."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 2))
    y = np.where(X[:, 0] > 0, 2 + X[:, 1], -X[:, 1]) + 0.3 * rng.standard_normal(300)
    routing = TopK(1, renormalise=False, fallback="mean")
    gate = HierarchicalGate((2, 2)) if level else None
    model = MixtureOfExpertsRegressor(
        n_experts=4, gate=gate, n_init=1, routing=routing, random_state=0, on_collapse="keep"
    ).fit(X, y)
    display = ExpertRegionsDisplay.from_estimator(model, X, features=[0], level=level)
    n_regions = 4 if level is None else 2
    assert display.expert_values.shape == (100, n_regions)
    assert display.weights.shape == (100, n_regions)
    assert np.all(np.isfinite(display.expert_values))
