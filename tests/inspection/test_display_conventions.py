"""Displays keep to the conventions of scikit-learn, and errors say what to change."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from _regions import NAMES, legend_texts, show
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mixexp import MixtureOfExpertsRegressor
from mixexp.inspection import ExpertRegionsDisplay


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
    assert_allclose([gate.y1, gate.x0, gate.x1], [slot.y1, main.x0, main.x1])
    assert main.y0 >= slot.y0 and main.x1 <= slot.x1
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
    "nan in row": (
        {"at": [0.0, 1.0, np.nan], "features": (0, 1)},
        ValueError,
        "no finite number for feature 2",
    ),
    "text in row": (
        {"at": [0.0, 1.0, "x"], "features": (0, 1)},
        ValueError,
        "no finite number for feature 2",
    ),
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
