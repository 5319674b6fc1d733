"""Pictures of regions from data frames and pipelines."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from _regions import NAMES, fitted, show
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures, StandardScaler

from mixexp import MixtureOfExpertsRegressor


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
    assert_array_equal(show(search, X, features=(0, 1), grid_resolution=4).weights, display.weights)
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
