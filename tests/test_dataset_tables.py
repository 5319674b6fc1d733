"""The loaders give the tables as shipped."""

import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mixexp.datasets import (
    load_auto_mpg,
    load_concrete,
    load_ethanol,
    load_tone,
)

# loader, rows, features, target, sum of all features, sum of the target, first row of features
TABLES = [
    (
        load_auto_mpg,
        392,
        "cylinders displacement horsepower weight acceleration year origin_europe origin_japan",
        "mpg",
        1322542.7,
        9190.8,
        [8, 307, 130, 3504, 12, 70, 0, 0],
    ),
    (
        load_concrete,
        1030,
        "cement blast_furnace_slag fly_ash water superplasticizer coarse_aggregate "
        "fine_aggregate age",
        "compressive_strength",
        2460861.1,
        36892.5,
        [540, 0, 0, 162, 2.5, 1040, 676, 28],
    ),
    (load_tone, 150, "stretch_ratio", "tuned", 324.78, 310.832, [1.35]),
    (load_ethanol, 88, "nox", "equivalence", 172.249, 81.53, [3.741]),
]
LOADERS = [table[0] for table in TABLES]


@pytest.mark.parametrize("load, n, features, target, data_sum, target_sum, first", TABLES)
def test_tables_hold_the_known_numbers(load, n, features, target, data_sum, target_sum, first):
    table = load()
    assert table.feature_names == features.split()
    assert table.target_names == [target]
    assert table.data.shape == (n, len(table.feature_names))
    assert table.target.shape == (n,)
    assert table.data.dtype == table.target.dtype == np.float64
    assert table.data.flags.c_contiguous
    assert_allclose(table.data.sum(), data_sum, rtol=1e-12)
    assert_allclose(table.target.sum(), target_sum, rtol=1e-12)
    assert_array_equal(table.data[0], first)
    assert table.frame is None
    assert table.data_module == "mixexp._data"
    assert table.filename == f"{load.__name__.removeprefix('load_')}.csv"


@pytest.mark.parametrize("load", LOADERS)
def test_loaders_return_X_y(load):
    table = load()
    X, y = load(return_X_y=True)
    assert_array_equal(X, table.data)
    assert_array_equal(y, table.target)
    X[:] = 0
    assert_array_equal(load().data, table.data)


@pytest.mark.parametrize("load", LOADERS)
def test_loaders_as_frame(load):
    pd = pytest.importorskip("pandas")
    plain, table = load(), load(as_frame=True)
    assert isinstance(table.data, pd.DataFrame) and isinstance(table.target, pd.Series)
    assert table.data.columns.tolist() == table.feature_names == plain.feature_names
    assert table.target.name == table.target_names[0]
    assert table.frame.columns.tolist() == table.feature_names + table.target_names
    assert all(dtype == np.float64 for dtype in table.frame.dtypes)
    assert_array_equal(table.data.to_numpy(), plain.data)
    assert_array_equal(table.target.to_numpy(), plain.target)
    assert_array_equal(table.frame.iloc[:, :-1].to_numpy(), plain.data)
    X, y = load(return_X_y=True, as_frame=True)
    pd.testing.assert_frame_equal(X, table.data)
    pd.testing.assert_series_equal(y, table.target)


@pytest.mark.parametrize("load", LOADERS)
def test_as_frame_without_pandas_says_what_to_do(load, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert load().frame is None
    with pytest.raises(ImportError, match=f"{load.__name__}: as_frame=True needs pandas"):
        load(as_frame=True)


@pytest.mark.parametrize(
    "load, words",
    [
        (load_auto_mpg, ["Quinlan", "CC BY 4.0", "origin_europe", "car_names"]),
        (load_concrete, ["Yeh", "CC BY 4.0"]),
        (load_tone, ["Cohen", "no licence claimed; not under this package's licence"]),
        (load_ethanol, ["Brinkman", "no licence claimed; not under this package's licence"]),
    ],
)
def test_descriptions_give_origin_and_licence(load, words):
    table = load()
    for word in [*words, *table.feature_names, *table.target_names]:
        assert word in table.DESCR


@pytest.mark.parametrize("as_frame", [False, True])
def test_auto_mpg_names_and_origins(as_frame):
    if as_frame:
        pytest.importorskip("pandas")
    cars = load_auto_mpg(as_frame=as_frame)
    assert cars.car_names.shape == (392,)
    assert cars.car_names[0] == "chevrolet chevelle malibu"
    europe, japan = np.asarray(cars.data)[:, 6:].T
    assert (europe.sum(), japan.sum(), (europe * japan).sum()) == (68, 79, 0)
    makers = np.array([name.split()[0] for name in cars.car_names])
    assert_array_equal(europe[makers == "volkswagen"], 1)
    assert_array_equal(japan[makers == "toyota"], 1)
    assert_array_equal((europe + japan)[makers == "chevrolet"], 0)


def test_auto_mpg_with_a_column_of_categories():
    pytest.importorskip("pandas")
    table, plain = load_auto_mpg(as_frame=True, categorical=True), load_auto_mpg()
    assert table.feature_names == [*plain.feature_names[:6], "origin"]
    assert table.data.columns.tolist() == table.feature_names
    assert table.data["origin"].cat.categories.tolist() == ["europe", "japan", "usa"]
    assert_array_equal(table.data.iloc[:, :6].to_numpy(), plain.data[:, :6])
    for region, indicator in zip(["europe", "japan"], plain.data[:, 6:].T, strict=True):
        assert_array_equal(table.data["origin"] == region, indicator)
    with pytest.raises(ValueError, match="categorical=True with as_frame=False"):
        load_auto_mpg(categorical=True)


@pytest.mark.parametrize("load, expected", [(load_auto_mpg, 3.374), (load_concrete, 10.47)])
def test_ridge_has_the_known_error(load, expected):
    """The figures that came with the tables; origins coded 1, 2, 3 would give 3.396."""
    X, y = load(return_X_y=True)
    model = make_pipeline(StandardScaler(), RidgeCV())
    folds = KFold(5, shuffle=True, random_state=0)
    error = -cross_val_score(model, X, y, cv=folds, scoring="neg_root_mean_squared_error").mean()
    assert_allclose(error, expected, atol=0.005)
