"""Trees and texts behind transformers speak of the input, or of what the column is."""

import re

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    PolynomialFeatures,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from mixexp import MixtureOfExpertsRegressor
from mixexp.inspection import ExpertProfilesDisplay, GateTreeDisplay, column_names
from mixexp.inspection._units import names_in_input_units

FAST = {"n_experts": 2, "n_init": 1, "max_iter": 500, "tol": 1e-2, "random_state": 0}


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    wood = rng.choice(["elm", "oak"], 120)
    return pd.DataFrame(
        {"income": np.exp(rng.normal(9, 1, 120)), "age": rng.uniform(18, 80, 120), "wood": wood}
    )


def fitted(step, X, y):
    return make_pipeline(step, MixtureOfExpertsRegressor(**FAST)).fit(X, y)


def border(model):
    """Return what the tree says of the first expert, and its inequality as numbers."""
    words = GateTreeDisplay.from_estimator(model, decimals=8, max_terms=5).splits[1]
    return re.fullmatch(r"(.*) ([<>]) (\S+)", words).groups()


SCALERS = [
    StandardScaler(),
    StandardScaler(with_mean=False),
    MinMaxScaler((-1, 3)),
    MaxAbsScaler(),
    RobustScaler(),
    make_pipeline(SimpleImputer(), MinMaxScaler(), StandardScaler().set_output(transform="pandas")),
]


@pytest.mark.parametrize("scaler", SCALERS, ids=lambda s: type(s).__name__)
def test_borders_behind_scalers_are_in_units_of_the_input(table, scaler):
    X = table[["age"]]
    model = fitted(scaler, X, np.where(X["age"] > 50, 3.0, -3.0) + np.sin(X["age"]))
    name, sign, value = border(model)
    at = pd.DataFrame({"age": [float(value) - 1e-6, float(value) + 1e-6]})
    proba = model[-1].gate_proba(model[:-1].transform(at))
    assert name == "age"
    assert_allclose(proba, 0.5, atol=1e-4)
    assert (proba[1, 0] > proba[0, 0]) == (sign == ">")


@pytest.mark.parametrize(
    "outer", [QuantileTransformer(n_quantiles=20), FunctionTransformer(np.log)]
)
def test_borders_behind_increasing_functions_are_of_the_input(table, outer):
    X = table[["income"]]
    model = fitted(make_pipeline(outer, StandardScaler()), X, np.abs(np.log(X["income"]) - 9))
    name, _, value = border(model)
    proba = model[-1].gate_proba(model[:-1].transform(pd.DataFrame({"income": [float(value)]})))
    assert name == "income"
    assert_allclose(proba, 0.5, atol=1e-5)


def test_sums_name_what_is_in_them(table):
    X = table[["income", "age"]]
    log = make_pipeline(FunctionTransformer(np.log), StandardScaler())
    y = np.where(np.log(X["income"]) + X["age"] / 20 > 11.5, 4.0, -4.0) + np.cos(X["age"])
    model = fitted(ColumnTransformer([("log", log, ["income"])], remainder=MinMaxScaler()), X, y)
    words, sign, value = border(model)
    assert "log income" in words and "age" in words and "scaled" not in words
    score = eval(
        re.sub(r"([\d.]) ", r"\1*", words.replace("log income", "np.log(X['income'])")).replace(
            "age", "X['age']"
        )
    )
    first = model[-1].gate_proba(model[:-1].transform(X))[:, 0] > 0.5
    assert np.mean((score > float(value)) == (first == (sign == ">"))) > 0.98
    assert column_names(model) == ["log income, scaled", "age, scaled"]
    text = model[-1].gate_.to_text(column_names(model))
    assert "log income" in text and "scaled" not in text


def test_no_changed_column_has_the_name_of_an_input(table):
    X = table[["age", "income"]]
    for step in (PolynomialFeatures(include_bias=False), FunctionTransformer(np.tanh)):
        if isinstance(step, FunctionTransformer):
            step.set_params(feature_names_out="one-to-one")
        names = names_in_input_units([step.fit(X)], None, step.transform(X).shape[1])
        assert not {"age", "income"} & set(names)
    encoder = ColumnTransformer(
        [("wood", OneHotEncoder(sparse_output=False), ["wood"]), ("drop", "drop", [1])],
        remainder="passthrough",
    )
    names = names_in_input_units([encoder.fit(table)], None, 3)
    assert names == ["wood_elm", "wood_oak", "income"]
    nameless = FunctionTransformer(lambda X: X[:, :1]).fit(X.to_numpy())
    assert names_in_input_units([nameless], None, 1) == ["column 0 of FunctionTransformer"]


def test_profiles_per_standard_deviation_are_of_the_input(table):
    X = table[["age"]]
    model = fitted(StandardScaler(), X, np.abs(X["age"] - 50))
    assert ExpertProfilesDisplay.from_estimator(model, X).names == ["age"]
    plain = ExpertProfilesDisplay.from_estimator(model, X, standardize=False)
    assert plain.names == ["age, scaled"]


def test_the_gate_knows_the_names_of_its_fit(table):
    X = table[["income", "age"]]
    model = MixtureOfExpertsRegressor(**FAST, noise_expert=True).fit(X, np.sin(X["age"] / 9))
    assert model.gate_.to_text() == model.gate_.to_text(["income", "age"])
    assert "x0" in model.fit(X.to_numpy(), np.sin(X["age"] / 9)).gate_.to_text(max_terms=2)
