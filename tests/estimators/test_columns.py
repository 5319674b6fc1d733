"""Which columns gate and experts see."""

import numpy as np
import pandas as pd
import pytest
from _two_regimes import FRAMES, MODELS, assert_same_fit, data_for, soft_start, two_lines
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.compose import make_column_selector
from sklearn.dummy import DummyRegressor

from mixexp import MixtureOfExpertsRegressor
from mixexp.gates import ConstantGate

# Whether a fit converges is the matter of a few tests, which look for it; most compare two fits.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SELECTIONS = {
    "indices": [0, 2],
    "negative": [0, -1],
    "slice": slice(0, 3, 2),
    "mask": [True, False, True],
    "mask array": np.array([True, False, True]),
    "callable": lambda X: [0, 2],
}
NAME_SELECTIONS = {
    "names": ["a", "c"],
    "index": pd.Index(["a", "c"]),
    "selector": make_column_selector(pattern="a|c"),
    "callable": lambda frame: [name for name in frame.columns if name != "b"],
}


@pytest.mark.parametrize("key", SELECTIONS)
@pytest.mark.parametrize("kind", ["default-regressor", "tree-regressor", "default-classifier"])
def test_feature_selection_is_the_fit_on_those_columns(kind, key):
    X, y = data_for(MODELS[kind])
    start = soft_start(len(y))
    # folds depend on the whole rows, also on the columns that are left out
    model = clone(MODELS[kind]).set_params(init=start, max_iter=8, cross_fit=False)
    columns = SELECTIONS[key]
    chosen = clone(model).set_params(expert_features=columns, gate_features=columns).fit(X, y)
    assert_same_fit(chosen, clone(model).fit(X[:, [0, 2]], y), X, X[:, [0, 2]])
    assert chosen.n_features_in_ == 3


@pytest.mark.parametrize("key", [*NAME_SELECTIONS, "indices", "mask"])
@pytest.mark.parametrize("kind", ["default-regressor", "tree-regressor"])
def test_feature_selection_from_frames(kind, key, library):
    if library == "polars" and key in ("index", "selector"):
        pytest.skip("pandas only")
    X, y = data_for(MODELS[kind])
    frame, start = FRAMES[library](X), soft_start(len(y))
    model = clone(MODELS[kind]).set_params(init=start, max_iter=8, cross_fit=False)
    columns = {**SELECTIONS, **NAME_SELECTIONS}[key]
    chosen = clone(model).set_params(expert_features=columns, gate_features=columns)
    chosen.fit(frame, y)
    assert_same_fit(chosen, clone(model).fit(X[:, [0, 2]], y), frame, X[:, [0, 2]])
    for expert in chosen.experts_:
        assert_array_equal(expert.feature_names_in_, ["a", "c"])


def test_experts_alone_on_some_columns():
    X, y = two_lines()
    model = MixtureOfExpertsRegressor(n_experts=2, gate=ConstantGate(), init=soft_start(len(y)))
    chosen = clone(model).set_params(expert_features=[2, 0]).fit(X, y)
    assert_same_fit(chosen, clone(model).fit(X[:, [2, 0]], y), X, X[:, [2, 0]])
    assert chosen.experts_[0].coef_.shape == (2,)
    assert_allclose(chosen.experts_[1].predict(X[:, [2, 0]]), chosen.predict_experts(X)[:, 1])


@pytest.mark.slow
def test_gate_alone_on_some_columns():
    X, y = two_lines()
    model = MixtureOfExpertsRegressor(DummyRegressor(), 2, init=soft_start(len(y)), max_iter=500)
    chosen = clone(model).set_params(gate_features=[1]).fit(X, y)
    assert_same_fit(chosen, clone(model).fit(X[:, [1]], y), X, X[:, [1]])
    assert chosen.gate_.coef_.shape == (2, 1)


def test_gate_and_experts_on_different_columns():
    X, y = two_lines()
    model = MixtureOfExpertsRegressor(
        n_experts=2, expert_features=[1, 2], gate_features=[0], random_state=0
    ).fit(X, y)
    other = X.copy()
    other[:, 0] += 1
    assert_array_equal(model.predict_experts(X), model.predict_experts(other))
    assert np.abs(model.gate_proba(X) - model.gate_proba(other)).max() > 0.1
    other = X.copy()
    other[:, 1:] += 1
    assert_array_equal(model.gate_proba(X), model.gate_proba(other))
