"""Pictures stay where the estimator is defined, and have sensible defaults."""

from functools import partial

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    PowerTransformer,
    SplineTransformer,
    StandardScaler,
)

from mixexp import MixtureOfExpertsClassifier as Classifier
from mixexp import MixtureOfExpertsRegressor as Regressor
from mixexp.inspection import ExpertRegionsDisplay
from mixexp.inspection._axes import Axis
from mixexp.inspection._domain import evaluate_on_grid, finite_rows, where_defined
from mixexp.inspection._regions import MARGIN, axis_values, shade, shown_experts, visible_range

show = partial(ExpertRegionsDisplay.from_estimator, scales="linear")
RUN = {"n_experts": 2, "n_init": 2, "max_iter": 300, "tol": 1e-4, "random_state": 0}


@pytest.fixture(autouse=True)
def plt():
    """Pyplot on a backend without windows; figures are closed after each test."""
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = np.exp(rng.normal(size=(200, 2)))
    return X, np.abs(np.log(X[:, 0])) + 0.05 * rng.normal(size=200)


def drawn(display):
    """Return a display after matplotlib has drawn it."""
    display.figure_.canvas.draw()
    return display


# ---------------------------------------------------------------- what is shown by default


@pytest.mark.parametrize("table", [np.asarray, pd.DataFrame, pl.DataFrame])
def test_one_column_is_drawn_as_curves(data, table):
    X, y = data
    X = table(X[:, :1])
    model = Regressor(**RUN).fit(X, y)
    display = drawn(show(model, X, y))
    assert len(display.grid) == 1
    assert_array_equal(display.weights, show(model, X, y, features=0).weights)


def test_one_column_of_classes(data):
    X, y = data
    model = Classifier(**RUN).fit(X[:, :1], np.where(y > 0.5, "far", "near"))
    assert drawn(show(model, X[:, :1])).ax_.get_ylabel() == "P(y = near)"


@pytest.mark.parametrize("table", [pd.DataFrame, pl.DataFrame])
def test_columns_that_are_no_numbers_are_passed_over(data, table):
    X, y = data
    wood = np.where(X[:, 1] > 1, "elm", "oak")
    frame = table({"wood": wood, "a": X[:, 0], "kind": wood, "b": X[:, 1]})
    code = OneHotEncoder(sparse_output=False)
    encoder = ColumnTransformer([("code", code, ["wood", "kind"])], remainder="passthrough")
    pipeline = make_pipeline(encoder, Regressor(**RUN)).fit(frame, y)
    assert list(show(pipeline, frame).feature_names) == ["a", "b"]
    few = frame[["wood", "kind", "b"]]
    pipeline.fit(few, y)
    assert list(show(pipeline, few).feature_names) == ["b"]
    none = frame[["wood", "kind"]]
    pipeline.fit(none, y)
    display = drawn(show(pipeline, none, y))
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == ["elm", "oak"]


# ---------------------------------------------------------------- domains of what comes before


def log_of_first(X):
    return np.column_stack([np.log(X[:, 0]), X[:, 1]])


DOMAINS = {
    "log": FunctionTransformer(np.log),
    "log to a frame": FunctionTransformer(np.log, feature_names_out="one-to-one").set_output(
        transform="pandas"
    ),
    "log, then sparse": make_pipeline(FunctionTransformer(np.log), FunctionTransformer(csr_matrix)),
    "box-cox": PowerTransformer("box-cox"),
    "splines": SplineTransformer(n_knots=3, extrapolation="error"),
}


@pytest.mark.parametrize("features", [None, 0, (1, 0)])
@pytest.mark.parametrize("name", DOMAINS)
def test_axes_end_with_the_rows_where_a_step_is_not_defined_beyond(data, name, features):
    X, y = data
    pipeline = make_pipeline(DOMAINS[name], Regressor(**RUN)).fit(X, y)
    display = drawn(show(pipeline, X, features=features, grid_resolution=20))
    assert np.all(np.isfinite(display.weights))
    chosen = np.atleast_1d([0, 1] if features is None else features)
    above = 0.0 if name == "splines" else MARGIN
    for axis, j in zip(display.grid, chosen, strict=True):
        assert_array_equal(axis, axis_values(X[:, j], 20, (0.0, above)))


def test_the_other_axis_keeps_both_margins(data):
    X, y = data
    pipeline = make_pipeline(FunctionTransformer(log_of_first), Regressor(**RUN)).fit(X, y)
    display = show(pipeline, X, grid_resolution=20)
    assert_array_equal(display.grid[0], axis_values(X[:, 0], 20, (0.0, MARGIN)))
    assert_array_equal(display.grid[1], axis_values(X[:, 1], 20))
    search = GridSearchCV(pipeline, {"mixtureofexpertsregressor__n_init": [1]}, cv=2).fit(X, y)
    assert_array_equal(show(search, X, grid_resolution=20).grid[0], display.grid[0])


def test_a_logarithm_inside_the_expert_counts_too(data):
    X, y = data
    expert = make_pipeline(FunctionTransformer(np.log), Ridge())
    model = Regressor(expert, **RUN).fit(X, y)
    display = drawn(show(model, X, y, features=0))
    assert_array_equal(display.grid[0], axis_values(X[:, 0], 100, (0.0, MARGIN)))
    # regions ask the gate only, which is defined everywhere
    assert_allclose(show(model, X).grid[0], axis_values(X[:, 0], 100))


def difference(X):
    return np.log(X[:, :1] - X[:, 1:])


@pytest.mark.parametrize("features", [(0, 1), 0])
def test_points_without_an_answer_are_left_blank(data, features):
    X, y = data
    X = np.column_stack([X.sum(axis=1), X[:, 1]])  # the first is larger than the second
    pipeline = make_pipeline(FunctionTransformer(difference), Regressor(**RUN)).fit(X, y)
    display = drawn(show(pipeline, X, y, features=features, grid_resolution=30))
    first = display.grid[0]
    other = display.grid[1][:, None] if features == (0, 1) else np.median(X[:, 1])
    defined = np.broadcast_to(first > other, display.weights.shape[:-1])
    assert 0 < np.count_nonzero(defined) < defined.size
    assert_array_equal(np.isfinite(display.weights).all(axis=-1), defined)
    if features == 0:
        assert_array_equal(np.isfinite(display.pooled_values), defined)
        assert np.all(np.isfinite(display.ax_.get_ylim()))
    else:
        surface = display.surface_.get_array().reshape(30, 30, -1)[..., :3]
        assert_array_equal((surface == 1).all(axis=-1), ~defined)


def test_an_estimator_that_fails_everywhere_says_why(data):
    X, y = data

    def broken(X):
        if len(X) != len(y):
            raise ValueError("not today")
        return X

    pipeline = make_pipeline(FunctionTransformer(broken), Regressor(**RUN)).fit(X, y)
    with pytest.raises(ValueError, match="not today"):
        show(pipeline, X)


def test_margins_stay_in_a_pipeline_that_is_defined_everywhere(data):
    X, y = data
    pipeline = make_pipeline(StandardScaler(), Regressor(**RUN)).fit(X, y)
    display = show(pipeline, X, grid_resolution=9)
    for j in range(2):
        assert_array_equal(display.grid[j], axis_values(X[:, j], 9))


# ---------------------------------------------------------------- functions of arrays


def test_evaluate_on_grid_takes_the_widest_axes_that_have_answers():
    axes = [Axis(np.array([0.0, 1.0])), Axis(np.array([2.0, 4.0]))]
    asked = []

    def ask(grid):
        asked.append([axis[0] for axis in grid])
        return {"values": np.sqrt(np.array([grid[0][0], 1.0]))}

    grid, found = evaluate_on_grid(axes, 3, ask)
    assert_allclose(grid[0], [0.0, 0.525, 1.05])
    assert_allclose(grid[1], [1.9, 3.0, 4.1])
    assert_array_equal(found["values"], [0.0, 1.0])
    assert len(asked) == 6  # all ends, each alone, the three that are left


def test_evaluate_on_grid_ends_with_the_rows_where_two_ends_are_defined_alone_only():
    axes = [Axis(np.array([0.0, 1.0])), Axis(np.array([0.0, 1.0]))]

    def ask(grid):
        widest = np.ptp(grid[0]) * np.ptp(grid[1])
        return {"values": np.array([np.nan if widest > 1.06 else widest])}

    grid, found = evaluate_on_grid(axes, 3, ask)
    assert_array_equal(grid, [[0.0, 0.5, 1.0]] * 2)
    assert_array_equal(found["values"], [1.0])


def test_where_defined_leaves_out_rows_and_keeps_their_places():
    rows = np.array([[1.0, 2.0], [np.nan, 1.0], [3.0, np.inf], [4.0, 5.0]])
    found = where_defined(rows, lambda rows: {"sum": rows.sum(axis=1), "rows": rows})
    assert_array_equal(found["sum"], [3.0, np.nan, np.nan, 9.0])
    assert_array_equal(found["rows"][[0, 3]], rows[[0, 3]])
    assert np.isnan(found["rows"][1:3]).all()


def test_finite_rows_of_every_kind_of_table():
    rows = np.array([[1.0, 0.0], [np.nan, 1.0], [0.0, np.inf]])
    wanted = [True, False, False]
    frame = pd.DataFrame(rows, columns=["a", "a"]).assign(b="text")
    for table in (rows, csr_matrix(rows), frame, pl.DataFrame(rows).with_columns(b=pl.lit("x"))):
        assert_array_equal(finite_rows(table), wanted)
    assert_array_equal(finite_rows(np.array([["x", None]], dtype=object)), [True])


def test_blank_points_take_no_part():
    weights = np.array([[np.nan, np.nan], [0.1, 0.9]])
    assert_array_equal(shade(weights, np.zeros((2, 3)))[0], [1.0, 1.0, 1.0])
    assert_array_equal(shown_experts(weights, None, regions=True), [1])
    assert_array_equal(shown_experts(weights, None, regions=False), [0, 1])
    values = np.array([[np.nan, np.nan], [1.0, 2.0]])
    assert visible_range(values, weights) == (1.0, 2.0)


# ---------------------------------------------------------------- labels, colours, limits


def test_rows_of_the_noise_are_grey(data, plt):
    rng = np.random.default_rng(1)
    X = rng.uniform(-1, 1, (200, 2))
    y = np.abs(X[:, 0]) + 0.05 * rng.normal(size=200)
    y[:8] += 5
    model = Regressor(**RUN, noise_expert=True).fit(X, y)
    wanted = model.responsibilities(X, y).argmax(axis=1)
    assert np.all(wanted[:8] == 2)
    for features in (None, 0):
        display = drawn(show(model, X, y, features=features))
        assert_array_equal(display.point_experts, np.where(wanted == 2, -1, wanted))
        faces = display.scatter_[0].get_facecolors()[:, :3]
        grey = np.ptp(faces, axis=1) == 0
        assert_array_equal(grey, wanted == 2)
        texts = [text.get_text() for text in display.legend_.get_texts()]
        assert texts[:3] == ["expert 0", "expert 1", "noise"]
    # from x alone no row is the noise's, and then it is not named
    assert show(model, X).point_experts.min() == 0
    assert "noise" not in [text.get_text() for text in show(model, X).legend_.get_texts()]


def test_names_are_not_read_as_formulas(data):
    X, y = data
    frame = pd.DataFrame(X, columns=["$_$", "cost $^$"])
    labels = np.array(["$_$", "oak"])[(y > 0.5).astype(int)]
    model = Classifier(**RUN).fit(frame, labels)
    drawn(show(model, frame, labels))
    display = drawn(show(model, frame, pd.Series(labels, name="$_$"), features="$_$", target="$_$"))
    assert display.ax_.get_xlabel() == "$_$"
    assert display.ax_.get_ylabel() == "P($_$ = $_$)"


@pytest.mark.parametrize("with_rows", [True, False])
def test_curves_reach_from_end_to_end(data, with_rows):
    X, y = data
    model = Regressor(**RUN).fit(X[:, :1], y)
    display = drawn(show(model, X[:, :1], y if with_rows else None))
    assert_allclose(display.ax_.get_xlim(), display.grid[0][[0, -1]])
    assert_allclose(display.gate_ax_.get_xlim(), display.grid[0][[0, -1]])


def test_long_numbers_below_an_axis_do_not_meet(data):
    X, y = data
    X = 1e12 + 1e9 * np.linspace(-1, 1, len(y))[:, None]  # 0.99900, 0.99925, ...
    display = drawn(show(Regressor(**RUN).fit(X, y), X, y))
    boxes = [label.get_window_extent() for label in display.ax_.get_xticklabels()]
    low, high = display.ax_.get_window_extent().intervalx
    inside = [box for box in boxes if low <= (box.x0 + box.x1) / 2 <= high]
    assert len(inside) > 2
    assert all(one.x1 < two.x0 for one, two in zip(inside, inside[1:], strict=False))
