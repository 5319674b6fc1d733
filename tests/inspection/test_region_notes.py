"""What a picture of regions says about the columns and rows that its axes do not explain."""

import numpy as np
import pandas as pd
import pytest
from _regions import NAMES, fitted, show
from numpy.testing import assert_allclose, assert_array_equal

from mixexp import MixtureOfExpertsRegressor
from mixexp.gates import ConstantGate
from mixexp.inspection import ConditionalDensityDisplay, GateProbabilitiesDisplay
from mixexp.inspection._axes import Axis, in_words, is_skewed
from mixexp.inspection._principal import Projection
from mixexp.inspection._regions import innermost, strangers
from mixexp.metrics import gate_importance


def test_default_features_are_those_that_the_gate_uses_most(rng):
    X = rng.uniform(-1, 1, (150, 4))
    y = np.where(X[:, 1] + X[:, 3] > 0, 3.0, -3.0) + 0.1 * rng.normal(size=150)
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    model = MixtureOfExpertsRegressor(n_experts=2, n_init=5, max_iter=20, tol=1e-3, random_state=0)
    display = show(model.fit(frame, y), frame, grid_resolution=5)
    assert display.feature_names == ["b", "d"]
    assert set(display.held) == {"a", "c"}
    assert display.note_.get_text().startswith("held (typical values): ")
    decisive = show(model, frame, features=("a", "c"), grid_resolution=5)
    used = gate_importance(model, frame, n_repeats=1, random_state=0).importances_mean
    assert list(decisive.held) == (["b", "d"] if used[1] > used[3] else ["d", "b"])
    assert decisive.note_.get_text().endswith("region: other features decide too")
    with_targets = show(model, frame, y, features=("a", "c"), grid_resolution=5)
    assert with_targets.note_.get_text().endswith("region: other features, or y, decide too")


def test_held_columns_are_named_in_the_order_of_their_use(rng):
    X = rng.uniform(-1, 1, (150, 6))
    y = 4 * np.abs(X[:, 5]) + 0.1 * rng.normal(size=150)
    model = MixtureOfExpertsRegressor(n_experts=2, n_init=1, max_iter=200, tol=1e-3, random_state=0)
    model.fit(X, y)
    chosen = {"features": "a", "feature_names": list("abcdef"), "grid_resolution": 5}
    display = show(model, X, **chosen)
    assert next(iter(display.held)) == "f" and set(display.held) == set("bcdef")
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("a", "prediction")
    assert show(model, X, pd.Series(y, name="mpg"), **chosen).ax_.get_ylabel() == "mpg"
    gate = GateProbabilitiesDisplay.from_estimator(model, X, **chosen)
    chosen["feature"] = chosen.pop("features")
    density = ConditionalDensityDisplay.from_estimator(model, X, **chosen)
    assert gate.held == density.held == display.held
    with pytest.raises(ValueError, match=r"feature_names=.* is not a list of 6 names"):
        show(model, X, feature_names=["a"])


def test_rows_in_another_region_are_counted(model, data):
    X, y = data
    display = show(model, X, y, features=(0, 1))
    held = X.copy()
    held[:, 2] = np.median(X[:, 2])
    n = np.sum(model.route(held).argmax(axis=1) != model.responsibilities(X, y).argmax(axis=1))
    said = int(display.note_.get_text().split("\n")[-1].split(" of 240 rows")[0])
    assert abs(said - n) <= 3  # rows next to a border may lie in a cell of the other side
    grid = [np.array([0.0, 1.0]), np.array([0.0, 1.0, 2.0])]
    weights = np.zeros((3, 2, 2))
    weights[..., 0], weights[2, 1] = 1.0, [0.0, 1.0]
    points = np.array([[0.9, 1.6], [0.9, 1.4], [0.0, np.nan], [0.9, 1.9]])
    assert strangers(grid, weights, points, np.array([1, 1, 0, -1])) == (1, 2)


def test_a_gate_that_does_not_depend_on_x_says_so(data):
    X, y = data
    model = fitted(MixtureOfExpertsRegressor(n_experts=2, gate=ConstantGate()), X, y)
    note = show(model, X, features=(0, 2), grid_resolution=4).note_.get_text()
    assert "the gate does not depend on feature 0 and feature 2" in note


def test_skewed_and_category_axes():
    tail = np.exp(np.linspace(-3, 3, 50))
    assert is_skewed(tail) and not is_skewed(-tail) and not is_skewed(np.linspace(1, 2, 9))
    axis = Axis.of(tail)
    assert axis.scale == "log" and Axis.of(tail, "linear").scale == "linear"
    values = axis.values(5, (0.0, 0.0))
    assert_allclose(values[1:] / values[:-1], np.exp(1.5))
    words = Axis.of(np.array(["oak", "elm", "oak"], dtype=object))
    assert words.scale == ["elm", "oak"]
    assert_array_equal(words.positions, [1, 0, 1])
    assert words.of_column(words.values(9, (0.0, 0.0))) == ["elm", "oak"]
    many = Axis.of(np.array([f"{i % 20:02d}" for i in range(30)], dtype=object))
    assert len(many.scale) == 12 and np.isnan(many.positions).sum() == 8


def test_principal_axes_lead_back_to_the_rows(model, data):
    X, y = data
    flat = Projection.of(list((X[:, :2] * [1.0, 100.0]).T), NAMES[:2], "test")
    back = flat.to_columns(flat.scores)
    assert_allclose(np.column_stack([back[0], back[1]]), X[:, :2] * [1.0, 100.0], atol=1e-9)
    display = show(model, X, y, features="principal", grid_resolution=5)
    assert display.feature_names[0].startswith("principal axis 1 (")
    full = Projection.of(list(X.T), None, "test")
    at = np.array([[display.grid[0][3], display.grid[1][1]]])
    row = np.column_stack(list(full.to_columns(at).values()))
    assert_allclose(display.weights[1, 3], model.route(row)[0])
    with pytest.raises(ValueError, match="needs two columns of numbers"):
        Projection.of([X[:, 0]], None, "test")


def test_words_and_places():
    held = {"a": 20090.4, "b": 0.00123456, "wood": "oak", "c": 1.0, "d": 2.0}
    assert (
        in_words(held, typical=False) == "held: a = 20090, b = 0.001235, wood = oak, c = 1, 1 more"
    )
    mask = np.zeros((5, 7), dtype=bool)
    mask[1:4, 2:5] = True
    assert innermost(mask) == (2, 3)


def test_the_zero_experts_share_is_drawn(data):
    X, y = data
    y = np.where(X[:, 0] > 0, np.floor(np.abs(3 * y)), 0.0)
    model = MixtureOfExpertsRegressor(n_experts=2, family="poisson", zero_expert=True)
    display = show(fitted(model, X, y), X, y, features=0)
    rows = np.tile(np.median(X, axis=0), (100, 1))
    rows[:, 0] = display.grid[0]
    drawn = np.column_stack([line.get_ydata() for line in display.gate_lines_])
    assert_allclose(drawn, model.gate_proba(rows))
