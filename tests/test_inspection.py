"""Pictures show what the mixture says: at the grid, at the rows, and in the right colours."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures, StandardScaler

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.datasets import load_tone, make_softmax_mixture
from mixexp.inspection import ExpertRegionsDisplay
from mixexp.inspection._compute import expert_regions
from mixexp.inspection._regions import (
    PALETTE,
    axis_values,
    curve_strength,
    held_values,
    region_grid,
    region_margins,
    shade,
    shown_experts,
    visible_range,
)

NAMES = ["width", "height", "depth"]
show = ExpertRegionsDisplay.from_estimator


@pytest.fixture(autouse=True)
def plt():
    """Pyplot on a backend without windows; figures are closed after each test."""
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


def fitted(model, X, y):
    return model.set_params(n_init=2, max_iter=300, tol=1e-4, random_state=0).fit(X, y)


@pytest.fixture(scope="module")
def data():
    return make_softmax_mixture(240, n_features=3, n_experts=3, random_state=1)


@pytest.fixture(scope="module")
def model(data):
    return fitted(MixtureOfExpertsRegressor(n_experts=3), *data)


@pytest.fixture(scope="module")
def class_data():
    X, y = make_softmax_mixture(
        300, n_experts=2, task="classification", n_classes=3, sharpness=2, random_state=0
    )
    return X, np.array(["ash", "elm", "oak"])[y]


@pytest.fixture(scope="module")
def classifier(class_data):
    return fitted(MixtureOfExpertsClassifier(n_experts=2), *class_data)


def legend_texts(display):
    return [text.get_text() for text in display.legend_.get_texts()]


# ---------------------------------------------------------------- functions of arrays


def test_axis_values_reach_beyond_the_rows():
    assert_allclose(axis_values(np.array([3.0, -1.0, 0.0]), 5), [-1.2, -0.1, 1.0, 2.1, 3.2])


@pytest.mark.parametrize("value", [0.0, 7.0, -1e300, 1e-300, 1.7e18])
def test_axis_of_a_constant_feature_does_not_collapse(value):
    axis = axis_values(np.full(4, value), 50)
    assert np.all(np.diff(axis) > 0)
    assert axis[0] < value < axis[-1]


def test_axis_of_large_values_with_a_small_spread_keeps_to_them():
    axis = axis_values(1.7e9 + np.array([0.0, 1.0]), 3)
    assert_allclose(axis - 1.7e9, [-0.05, 0.5, 1.05], atol=1e-5)


def test_region_grid_runs_fastest_over_the_first_feature():
    first, second = region_grid([np.array([1.0, 2.0]), np.array([10.0, 20.0, 30.0])])
    assert_array_equal(first, [1, 2, 1, 2, 1, 2])
    assert_array_equal(second, [10, 10, 20, 20, 30, 30])
    assert_array_equal(region_grid([np.array([1.0, 2.0])])[0], [1, 2])


def test_held_values_are_medians_and_most_frequent_values():
    columns = [np.array([1.0, 9.0, 2.0, 4.0]), np.array(["b", "a", "a", "b"], dtype=object)]
    assert held_values(columns) == [3.0, "b"]


def test_shade_is_monotone_in_the_probability_of_the_winner():
    top = np.linspace(0.4, 1, 30)
    weights = np.column_stack([top, 0.6 * (1 - top), 0.4 * (1 - top)])
    colors = np.array([[0.2, 0.4, 0.6], [1, 0, 0], [0, 1, 0]])
    whiteness = shade(weights, colors)
    assert np.all(np.diff(whiteness, axis=0) < 0)
    # A blend: each channel has gone the same share of the way from white to the colour.
    assert_allclose(np.ptp((1 - whiteness) / (1 - colors[0]), axis=1), 0, atol=1e-12)
    assert np.all((whiteness >= colors[0]) & (whiteness <= 1))


def test_shade_at_both_ends():
    colors = np.array([[0.0, 0.5, 1.0], [1.0, 0.0, 0.0]])
    ends = shade([[0.5, 0.5], [0.0, 1.0]], colors, lightest=0.1, darkest=0.7)
    assert_allclose(ends, [[0.9, 0.95, 1.0], [1.0, 0.3, 0.3]])
    assert_allclose(shade([[1.0]], colors[:1], darkest=0.7), [[0.3, 0.65, 1.0]])


def test_margins_are_positive_in_the_region_of_an_expert_only():
    weights = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.4, 0.4, 0.2], [0.0, 0.0, 1.0]])
    margins = region_margins(weights)
    assert_array_equal(margins > 0, np.eye(3, dtype=bool)[[0, 2, 0, 2]])
    assert np.all(margins != 0) and np.all(np.isfinite(margins))
    assert_allclose(margins[0], np.log([5 / 3, 3 / 5, 2 / 5]))


def test_margins_of_a_sharp_softmax_are_linear():
    x = np.linspace(-3, 3, 7)
    score = 40 * (x - 0.3)
    margins = region_margins(np.column_stack([1 / (1 + np.exp(score)), 1 / (1 + np.exp(-score))]))
    assert_allclose(margins[:, 1], score, rtol=1e-3, atol=1)


def test_shown_experts_are_those_that_win_or_colour_a_row():
    weights = np.array([[0.6, 0.39, 0.01, 0.0], [0.3, 0.69, 0.01, 0.0]])
    assert_array_equal(shown_experts(weights[:1], None, regions=True), [0])
    assert_array_equal(shown_experts(weights, None, regions=True), [0, 1])
    assert_array_equal(shown_experts(weights[:1], None, regions=False), [0, 1])
    assert_array_equal(shown_experts(weights[:1], np.array([3, 3]), regions=True), [0, 3])
    equal = np.full((5, 80), 1 / 80)
    assert len(shown_experts(equal, None, regions=False)) == 80


def test_curves_are_stronger_where_the_weight_is_higher():
    alpha, width = curve_strength(np.linspace(0, 1, 11))
    assert alpha.shape == width.shape == (10,)
    assert np.all(np.diff(alpha) > 0) and np.all(np.diff(width) > 0)
    assert alpha[0] > 0.1 and alpha[-1] <= 1


def test_visible_range_leaves_out_where_the_gate_gives_nothing():
    values = np.array([[0.0, 900.0], [1.0, 2.0], [-900.0, 3.0]])
    weights = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    assert visible_range(values, weights) == (0.0, 3.0)


def test_palette_is_told_apart_by_colour_blind_readers():
    # Machado, Oliveira & Fernandes (2009), severity 1, on linear RGB; difference in CIELAB.
    simulations = {
        "normal": np.eye(3),
        "protan": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
        "deutan": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    }
    rgb = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in PALETTE])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.434, 0.376, 0.190], [0.213, 0.715, 0.072], [0.018, 0.109, 0.873]]
    for matrix in simulations.values():
        xyz = np.clip(linear @ np.transpose(matrix), 0, 1) @ np.transpose(to_xyz)
        f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
        lab = np.column_stack(
            [116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])]
        )
        distance = np.linalg.norm(lab[:, None] - lab, axis=2) + 1e9 * np.eye(12)
        assert distance[:6, :6].min() > 30
        assert distance.min() > 15


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
    display = show(model, X, grid_resolution=9, colors=["#ff0000", "#00ff00", "#0000ff"])
    surface = display.surface_.get_array().reshape(9, 9, -1)[..., :3]
    # The only channel that stays at 1 is the winner's.
    assert_array_equal(surface.argmax(axis=-1), display.weights.argmax(axis=-1))
    faces = display.scatter_[0].get_facecolors()[:, :3]
    assert_array_equal(faces.argmax(axis=1), model.route(X).argmax(axis=1))
    assert_allclose(display.scatter_[0].get_offsets(), X[:, :2])

    knowing = show(model, X, y).point_experts
    assert_array_equal(knowing, model.responsibilities(X, y).argmax(axis=1))
    assert np.any(knowing != display.point_experts)


def test_lines_lie_where_two_experts_are_equally_probable(model, data):
    X, _ = data
    display = show(model, X, grid_resolution=60)
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
    display = show(model, X, grid_resolution=20)
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
    display = show(model, X)
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
    assert display.ax_.get_ylabel() == "y[1]"


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


# ---------------------------------------------------------------- tables


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_frames(frame, data):
    X, y = data
    table = frame({name: X[:, j] for j, name in enumerate(NAMES)})
    model = fitted(MixtureOfExpertsRegressor(n_experts=3), table, y)
    display = show(model, table, features=("depth", "width"), grid_resolution=6)
    by_index = show(model, table, features=(2, 0), grid_resolution=6)
    assert_array_equal(display.weights, by_index.weights)
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("depth", "width")
    rows = np.column_stack(
        [display.grid[1][[0, 5]], np.full(2, np.median(X[:, 1])), display.grid[0][[0, 5]]]
    )
    assert_allclose(
        display.weights[[0, 5], [0, 5]],
        model.route(frame(rows, NAMES) if frame is pl.DataFrame else frame(rows, columns=NAMES)),
    )

    row = table[5] if frame is pl.DataFrame else table.iloc[5]
    shuffled = dict(zip(NAMES[::-1], X[5, ::-1], strict=True))
    one_row = table[5:6]
    wanted = show(model, table, features="width", at=X[5]).weights
    for at in (row, shuffled, one_row, tuple(X[5]), pd.Series(shuffled)):
        assert_array_equal(show(model, table, features="width", at=at).weights, wanted)


def test_names_of_the_fit_serve_for_an_array(data):
    X, y = data
    model = fitted(MixtureOfExpertsRegressor(n_experts=2), pd.DataFrame(X, columns=NAMES), y)
    with pytest.warns(UserWarning, match="valid feature names"):
        display = show(model, X, features="depth")
    assert display.ax_.get_xlabel() == "depth"


def test_whole_numbers_of_a_frame_vary_on_a_fine_grid(data):
    X, y = data
    table = pd.DataFrame({"a": np.round(3 * X[:, 0]).astype(int), "b": X[:, 1]})
    table["b"] = table["b"].astype("Float64")
    model = fitted(MixtureOfExpertsRegressor(n_experts=2), table, y)
    display = show(model, table)
    assert np.all(np.diff(display.weights[50, :, 0]) != 0)


@pytest.fixture(scope="module", params=[pd.DataFrame, pl.DataFrame])
def mixed(request, data):
    X, y = data
    wood = np.where(X[:, 2] > 0.3, "oak", "elm")
    table = request.param({"wood": wood, "width": X[:, 0], "height": X[:, 1]})
    encoder = ColumnTransformer(
        [("code", OneHotEncoder(sparse_output=False), ["wood"])], remainder=StandardScaler()
    )
    pipeline = make_pipeline(encoder, MixtureOfExpertsRegressor(n_experts=2, random_state=0))
    return pipeline.fit(table, y), table, y


@pytest.mark.parametrize("at", [None, ["oak", 0.0, 0.5]])
def test_pipeline_with_a_column_of_text(mixed, at):
    pipeline, table, y = mixed
    display = show(pipeline, table, y, features=("height", "width"), at=at, grid_resolution=5)
    wood = "elm" if at is None else "oak"
    first, second = display.grid
    rows = type(table)({"wood": [wood] * 2, "width": second[[1, 3]], "height": first[[2, 4]]})
    inside = pipeline[:-1].transform(rows)
    assert_allclose(display.weights[[1, 3], [2, 4]], pipeline[-1].route(inside))
    inside = pipeline[:-1].transform(table)
    assert_array_equal(display.point_experts, pipeline[-1].responsibilities(inside, y).argmax(1))


def test_type_of_a_held_column_is_kept(mixed):
    _, table, y = mixed
    if isinstance(table, pl.DataFrame):
        table = table.with_columns(table["wood"].cast(pl.Categorical))
        kind = table["wood"].dtype
    else:
        table = table.astype({"wood": "category"})
        kind = table["wood"].dtype
    from mixexp.inspection._inputs import fill_table, table_columns

    columns = table_columns(table, "test")
    filled = fill_table(table, columns, ["oak", 1.0, 2.0], {1: np.array([5.0, 6.0, 7.0])})
    assert filled["wood"].dtype == kind
    assert list(filled["wood"]) == ["oak"] * 3
    assert list(filled["width"]) == [5, 6, 7]
    assert list(filled["height"]) == [2, 2, 2]


def test_pipeline_search_and_both(data):
    X, y = data
    mixture = MixtureOfExpertsRegressor(n_experts=2, n_init=1, random_state=0, tol=1e-3)
    pipeline = make_pipeline(StandardScaler(), PolynomialFeatures(include_bias=False), mixture)
    pipeline.fit(X, y)
    display = show(pipeline, X, features=(0, 1), grid_resolution=4)
    rows = [[display.grid[0][3], display.grid[1][1], np.median(X[:, 2])]]
    wanted = pipeline[-1].route(pipeline[1].transform(pipeline[0].transform(rows)))[0]
    assert_allclose(display.weights[1, 3], wanted)

    search = GridSearchCV(pipeline, {"mixtureofexpertsregressor__n_experts": [2]}, cv=2).fit(X, y)
    assert_array_equal(show(search, X, grid_resolution=4).weights, display.weights)
    inner = make_pipeline(StandardScaler(), GridSearchCV(mixture, {"n_experts": [2]}, cv=2))
    inner.fit(X, y)
    assert show(inner, X, grid_resolution=4).weights.shape == (4, 4, 2)
    alone = make_pipeline(mixture).fit(X, y)
    assert show(alone, X).weights.shape == (100, 100, 2)


def test_input_is_not_changed(data, model):
    X, y = data
    before = X.copy(), y.copy()
    show(model, X, y)
    show(model, X, y, features=0)
    assert_array_equal(X, before[0])
    assert_array_equal(y, before[1])


# ---------------------------------------------------------------- conventions of Displays


@pytest.mark.parametrize("features", [(0, 1), 0])
def test_given_axes_are_drawn_on(model, data, plt, features):
    X, y = data
    figure, axes = plt.subplots(1, 2)
    display = show(model, X, y, features=features, ax=axes[1])
    assert display.ax_ is axes[1] and display.figure_ is figure
    assert len(plt.get_fignums()) == 1
    assert not axes[0].collections and axes[1].collections


@pytest.mark.parametrize("features", [(0, 1), 0])
def test_plot_draws_again_what_is_stored(model, data, plt, features):
    display = show(model, *data, features=features)
    first, state = display.ax_, dict(vars(display))
    assert display.plot() is display
    assert display.ax_ is not first
    for name in ("grid", "weights", "points", "point_experts", "expert_values"):
        assert getattr(display, name) is state[name]


def test_init_only_stores():
    parameters = {
        name: object()
        for name in ExpertRegionsDisplay.__init__.__code__.co_varnames
        if name != "self"
    }
    assert vars(ExpertRegionsDisplay(**parameters)) == parameters


def test_labels_that_are_there_stay(model, data, plt):
    _, ax = plt.subplots()
    ax.set(xlabel="mine", ylabel="own")
    display = show(model, data[0], ax=ax)
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("mine", "own")


@pytest.mark.parametrize("layout", [None, "tight", "constrained"])
def test_gate_axes_stay_in_the_slot_and_titles_above_them(model, data, plt, layout):
    figure, axes = plt.subplots(2, 2, layout=layout)
    axes[1, 0].set_title("below")
    display = show(model, *data, features=0, ax=axes[1, 0])
    display.plot(axes[1, 0])  # a second time the axes do not shrink again
    figure.canvas.draw()
    gate, main = display.gate_ax_.get_position(), display.ax_.get_position()
    slot = axes[1, 0].get_position(original=True)
    assert main.y1 < gate.y0
    assert_allclose([gate.y1, main.y0, gate.x0, gate.x1], [slot.y1, slot.y0, main.x0, main.x1])
    title = axes[1, 0].title.get_window_extent().transformed(figure.transFigure.inverted())
    assert title.y0 > gate.y1
    assert display.gate_ax_.get_xlim() == display.ax_.get_xlim()


def test_styles_go_to_the_artists(model, data):
    X, y = data
    display = show(
        model,
        X,
        scatter_kwargs={"marker": "x", "c": "red", "s": 3},
        surface_kwargs={"alpha": 0.4},
        contour_kwargs={"colors": "lime", "linewidths": 3},
        legend_kwargs={"title": "who", "loc": "lower left"},
    )
    assert display.surface_.get_alpha() == 0.4
    assert_allclose(display.contours_[0].get_edgecolor()[0], [0, 1, 0, 1])
    assert_allclose(display.contours_[0].get_linewidth(), 3)
    assert_array_equal(display.scatter_[0].get_sizes(), [3])
    assert_allclose(display.scatter_[0].get_facecolors()[0], [1, 0, 0, 1])
    assert display.legend_.get_title().get_text() == "who"
    display = show(
        model,
        X,
        y,
        features=0,
        line_kwargs={"lw": 5},
        pooled_kwargs={"ls": ":", "label": "all"},
        gate_kwargs={"lw": 4},
        scatter_kwargs={"color": "red"},
    )
    assert_array_equal(display.lines_[0].get_linewidths(), [5])
    assert display.pooled_line_.get_linestyle() == ":"
    assert display.gate_lines_[0].get_linewidth() == 4
    assert legend_texts(display)[-1] == "all"


def test_colours_start_again_where_there_are_too_few(model, data):
    display = show(model, data[0], colors=["red", "blue"], grid_resolution=5)
    faces = [patch.get_facecolor()[:3] for patch in display.legend_.get_patches()]
    assert faces == [(1, 0, 0), (0, 0, 1), (1, 0, 0)]


def test_import_does_not_import_matplotlib():
    code = "import sys, mixexp.inspection; sys.exit('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ, check=False)
    assert done.returncode == 0


# ---------------------------------------------------------------- errors


def with_nan(X):
    return np.where(np.arange(X.size).reshape(X.shape) == 4, np.nan, X)


BAD = {
    "index": ({"features": (0, 3)}, ValueError, r"features has 3, .*3 columns.* 0 to 2"),
    "negative": ({"features": (0, -4)}, ValueError, "features has -4"),
    "bool": ({"features": True}, ValueError, "features has True"),
    "float": ({"features": (0.0, 1)}, ValueError, "features has 0.0"),
    "no names": ({"features": "width"}, ValueError, "'width', but X has no column names"),
    "three": ({"features": (0, 1, 2)}, ValueError, r"features=\(0, 1, 2\) is not one or two"),
    "none": ({"features": ()}, ValueError, r"features=\(\) is not one or two"),
    "no list": ({"features": 1.5}, ValueError, "features=1.5 is not one or two"),
    "twice": ({"features": (1, 1)}, ValueError, "same feature twice"),
    "twice by sign": ({"features": (1, -2)}, ValueError, "same feature twice"),
    "resolution 1": ({"grid_resolution": 1}, ValueError, "grid_resolution=1 .* at least 2"),
    "resolution 9.5": ({"grid_resolution": 9.5}, ValueError, "grid_resolution=9.5"),
    "resolution True": ({"grid_resolution": True}, ValueError, "grid_resolution=True"),
    "short row": ({"at": [0.0, 1.0]}, ValueError, r"at=\[0.0, 1.0\] is not one row of 3"),
    "table as row": (
        {"at": np.zeros((2, 3))},
        ValueError,
        r"at of shape \(2, 3\) is not one row of 3",
    ),
    "number as row": ({"at": 3.0}, ValueError, "at=3.0 is not one row of 3"),
    "text as row": ({"at": "abc"}, ValueError, "at='abc' is not one row of 3"),
    "nan in row": ({"at": [0.0, 1.0, np.nan]}, ValueError, "no finite number for feature 2"),
    "text in row": ({"at": [0.0, 1.0, "x"]}, ValueError, "no finite number for feature 2"),
    "target": ({"target": 1}, ValueError, "target=1 has no meaning for two features"),
    "output": ({"features": 0, "target": 1}, ValueError, "target=1 is no output .*n_outputs=1"),
    "colors": ({"colors": []}, ValueError, r"colors=\[\] is not valid"),
    "color": ({"colors": "red"}, ValueError, "colors='red' is not valid"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_parameters(model, data, plt, case):
    parameters, kind, message = BAD[case]
    with pytest.raises(kind, match=r"^ExpertRegionsDisplay: .*" + message):
        show(model, data[0], **parameters)
    assert plt.get_fignums() == []


BAD_X = {
    "columns": (lambda X: X[:, :2], ValueError, "X has 2 columns, .*fitted on 3"),
    "nan": (with_nan, ValueError, "missing or infinite values in feature 1"),
    "infinite": (lambda X: X / np.zeros(3), ValueError, "missing or infinite"),
    "sparse": (csr_matrix, TypeError, r"X is a sparse csr_matrix .*X.toarray\(\)"),
    "vector": (lambda X: X[:, 0], ValueError, r"X has shape \(240,\)"),
    "empty": (lambda X: X[:0], ValueError, r"X has shape \(0, 3\)"),
    "text": (lambda X: X.astype(str).astype(object) + "a", ValueError, "not hold numbers only"),
    "frame with nan": (
        lambda X: pd.DataFrame(with_nan(X), columns=NAMES),
        ValueError,
        "missing or infinite values in height",
    ),
    "polars with null": (
        lambda X: pl.DataFrame({"a": [None, 1.0], "b": ["x", None], "c": [1, 2]}),
        ValueError,
        "missing or infinite values in a, b",
    ),
    "pandas with NA": (
        lambda X: pd.DataFrame({"a": pd.array([None, 1]), "b": ["x", None], "c": [1, 2]}),
        ValueError,
        "missing or infinite values in a, b",
    ),
}


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("case", BAD_X)
def test_bad_tables(model, data, case):
    make, kind, message = BAD_X[case]
    with pytest.raises(kind, match=r"^ExpertRegionsDisplay: .*" + message):
        show(model, make(data[0]))


def test_bad_names_and_rows_of_frames(mixed):
    pipeline, table, _ = mixed
    with pytest.raises(ValueError, match=r"features has 'size', .*'wood', 'width', 'height'"):
        show(pipeline, table, features=("width", "size"))
    with pytest.raises(ValueError, match="column 'wood' of X does not hold numbers"):
        show(pipeline, table, features=("wood", "width"))
    with pytest.raises(ValueError, match="column 0 of X does not hold numbers"):
        show(pipeline, table, features=(0, 1))
    with pytest.raises(ValueError, match="at has 'fir' for wood, which no row of X has"):
        show(pipeline, table, features="width", at=["fir", 0.0, 0.0])
    with pytest.raises(ValueError, match=r"at has values for .*'length'"):
        show(pipeline, table, features="width", at={"wood": "oak", "width": 0, "length": 0})
    with pytest.raises(ValueError, match="is not one row of 3"):
        show(pipeline, table, features="width", at=table)


def test_unknown_class_or_none_of_several(classifier, class_data):
    X, y = class_data
    for target in (None, "fir"):
        with pytest.raises(ValueError, match=f"target={target!r} is no class .*ash, elm, oak"):
            show(classifier, X, y, features=0, target=target)
    with pytest.raises(ValueError, match="not seen in fit"):
        show(classifier, X, np.where(y == "oak", "fir", y))


def test_targets_of_another_length(model, data):
    X, y = data
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        show(model, X, y[:-1])


def test_estimators_that_are_not_fitted(model, data):
    X, _ = data
    new = clone(model)
    for estimator, name in [
        (new, "MixtureOfExpertsRegressor"),
        (make_pipeline(StandardScaler(), new), "MixtureOfExpertsRegressor"),
        (GridSearchCV(new, {"n_experts": [2]}), "GridSearchCV"),
    ]:
        with pytest.raises(NotFittedError, match=f"^ExpertRegionsDisplay: estimator={name}"):
            show(estimator, X)


def test_estimators_without_gate(data):
    X, y = data
    for estimator in (LinearRegression(), make_pipeline(StandardScaler(), LinearRegression())):
        with pytest.raises(
            TypeError, match=r"^ExpertRegionsDisplay: .*LinearRegression has no gate_proba"
        ):
            show(estimator.fit(X, y), X)
    with pytest.raises(TypeError, match=r"estimator=str .* gate_proba"):
        show("model", X)
