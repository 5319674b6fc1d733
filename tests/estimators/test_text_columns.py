"""Text, categories and dates: who encodes them gets them, who cannot take them is named."""

import datetime
import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.compose import (
    TransformedTargetRegressor,
    make_column_selector,
    make_column_transformer,
)
from sklearn.ensemble import HistGradientBoostingRegressor, StackingRegressor
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, PolynomialFeatures, StandardScaler
from sklearn.svm import SVR

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._columns import as_numbers, nominal
from mixexp._estimators.stand_in import stand_in
from mixexp._rows.rows import Rows
from mixexp.experts import ExpertPool
from mixexp.gates import ConstantGate, HierarchicalGate
from mixexp.partitions import FeatureGroups, NearestCenter

pytestmark = pytest.mark.filterwarnings("ignore:MixtureOfExperts.* did not converge in max_iter")

NAMES = np.array(["ash", "birch", "cedar", "elm", "fir", "oak"])


def trees(n=240, seed=0):
    """Return x, a name, and a target with a step for each name, and two slopes."""
    rng = np.random.default_rng(seed)
    code = rng.permutation(len(NAMES))[np.arange(n) % len(NAMES)]
    x = rng.uniform(-1, 1, n)
    steps = rng.normal(0, 3, len(NAMES))
    y = steps[code] + np.where(x > 0, 4, -4) * x + 0.1 * rng.normal(size=n)
    return x, NAMES[code], y


def frame(kind, x, names):
    if kind == "object":
        return np.array([[a, b] for a, b in zip(x, names, strict=True)], dtype=object)
    if kind == "polars":
        return pl.DataFrame({"x": x, "c": names})
    if kind == "polars-enum":
        column = pl.Series("c", names, dtype=pl.Enum(NAMES.tolist()))
        return pl.DataFrame({"x": x, "c": column})
    table = pd.DataFrame({"x": x, "c": names})
    kinds = {"category": "category", "string": "string", "pandas": object}
    return table.astype({"c": kinds[kind]})


def encoding(*more, columns="c"):
    encoder = OneHotEncoder(handle_unknown="ignore")
    onehot = make_column_transformer((encoder, [columns]), remainder="passthrough")
    return make_pipeline(onehot, *more, Ridge(0.1))


def skip_where_it_fails_alone(estimator, X, y, **params):
    """Skip where this scikit-learn cannot fit the estimator on such a frame itself."""
    try:
        clone(estimator).fit(X, y, **params)
    except (AttributeError, TypeError, ValueError) as error:
        pytest.skip(f"scikit-learn alone: {error}")


def regressor(expert, **params):
    given = {"n_experts": 2, "n_init": 3, "max_iter": 20, "tol": 1e-4, "random_state": 0}
    return MixtureOfExpertsRegressor(expert, **{**given, **params})


# ------------------------------------------------------------------------------ it works


@pytest.mark.parametrize(
    "kind", ["pandas", "category", "string", "polars", "polars-enum", "object"]
)
def test_an_expert_that_encodes_gets_its_columns(kind):
    x, names, y = trees()
    X = frame(kind, x, names)
    before = X.copy() if hasattr(X, "copy") else X.clone()
    column, own = (1, [0]) if kind == "object" else ("c", ["x"])
    skip_where_it_fails_alone(encoding(columns=column), X, y)
    model = regressor(encoding(columns=column), gate_features=own).fit(X, y)
    assert model.score(X, y) > 0.99
    assert_array_equal(np.asarray(X, dtype=object), np.asarray(before, dtype=object))
    numbers = np.column_stack([x, np.equal.outer(names, NAMES)])
    outside = regressor(make_pipeline(StandardScaler(with_std=False), Ridge(0.1)))
    outside.set_params(gate_features=[0], init=(x > 0).astype(int)).fit(numbers, y)
    assert model.lower_bound_ > outside.lower_bound_ - 0.02
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.predict(X[:7]), model.predict(X[:7]))
    assert again.n_features_in_ == 2
    if kind != "object":
        assert list(again.feature_names_in_) == ["x", "c"]


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_a_gate_that_encodes_gets_its_columns(kind):
    x, names, y = trees()
    y = np.where(np.isin(names, ["ash", "oak", "elm"]), 3 * x, 5 - 2 * x)
    X = frame(kind, x, names)
    gate = make_pipeline(encoding()[:-1], LogisticRegression(C=100))
    skip_where_it_fails_alone(gate, X, names)
    model = regressor(None, gate=gate, expert_features=["x"], n_init=6, max_iter=60).fit(X, y)
    assert model.score(X, y) > 0.97
    classes = MixtureOfExpertsClassifier(
        make_pipeline(encoding()[:-1], LogisticRegression()),
        2,
        gate=gate,
        n_init=2,
        max_iter=5,
        tol=1e-2,
        random_state=0,
    ).fit(X, np.where(y > 2, "high", "low"))
    assert classes.score(X, np.where(y > 2, "high", "low")) > 0.9


def test_codes_as_numbers_are_encoded_inside_as_outside():
    x, names, y = trees()
    codes = np.searchsorted(NAMES, names)
    X = pd.DataFrame({"x": x, "c": codes})
    for given in (X, X.to_numpy()):
        expert = encoding(columns="c" if given is X else 1)
        model = regressor(expert).fit(given, y)
        from_truth = regressor(expert, init=(x > 0).astype(int)).fit(given, y)
        assert model.score(given, y) > 0.99
        assert model.lower_bound_ > from_truth.lower_bound_ - 0.02


@pytest.mark.parametrize(
    "expert",
    [
        TransformedTargetRegressor(encoding(), transformer=StandardScaler()),
        GridSearchCV(encoding(), {"ridge__alpha": [0.1, 1.0]}, cv=2),
        make_pipeline("passthrough", encoding()),
        ExpertPool([encoding(), make_pipeline(encoding()[:-1], SVR(C=30))]),
        [("a", encoding()), ("b", encoding(StandardScaler(with_mean=False)))],
        HistGradientBoostingRegressor(
            categorical_features="from_dtype", min_samples_leaf=4, max_iter=15
        ),
        StackingRegressor([("a", encoding())], final_estimator=Ridge(0.1), cv=2),
        regressor(encoding(), gate_features=["x"]),
    ],
    ids=["target", "search", "nested-pipeline", "pool", "list", "trees", "stack", "mixture"],
)
def test_however_the_encoder_is_wrapped(expert):
    x, names, y = trees()
    X = frame("category", x, names)
    if isinstance(expert, StackingRegressor):
        skip_where_it_fails_alone(expert, X, y, sample_weight=np.ones(len(y)))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not take sample_weight")
        warnings.filterwarnings("ignore", message=".*(collapsed|are one model of all rows)")
        model = regressor(expert, gate_features=["x"], max_iter=6, tol=1e-2, n_init=2)
        if isinstance(expert, MixtureOfExpertsRegressor):
            inner = clone(expert).set_params(gate_features=None, n_init=10, max_iter=200, tol=1e-6)
            model.set_params(expert=inner, max_iter=60, tol=1e-5, n_init=6)
        model.fit(X, y)
    assert model.score(X, y) > 0.9


@pytest.mark.slow
def test_missing_text_dates_and_several_columns():
    x, names, y = trees()
    day = datetime.date(2024, 1, 1)
    X = pd.DataFrame(
        {
            "c": [None if i % 40 == 0 else name for i, name in enumerate(names)],
            "day": pd.to_datetime([day + datetime.timedelta(int(i % 50)) for i in range(len(x))]),
            "x": x,
            "note": [f"{name} tree" for name in names],
        }
    )
    expert = make_pipeline(
        make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore"), ["c"]),
            (CountVectorizer(), "note"),
            ("passthrough", ["x"]),
        ),
        Ridge(0.1),
    )
    model = regressor(expert, gate_features=["x"]).fit(X, y)
    assert model.score(X, y) > 0.99
    groups = np.arange(len(x)) // 2
    regressor(expert, gate=ConstantGate()).fit(X, y, groups=groups)
    weight = np.where(np.arange(len(x)) < 40, 0.0, 1.0)
    some, all_ = X[40:].reset_index(drop=True), clone(model).fit(X, y, sample_weight=weight)
    assert_allclose(all_.predict(X), clone(model).fit(some, y[40:]).predict(X), rtol=1e-6)
    assert np.isfinite(all_.log_density(X, y)).all()


def test_the_order_of_rows_does_not_matter():
    x, names, y = trees()
    X = frame("pandas", x, names)
    order = np.random.default_rng(1).permutation(len(x))
    one = regressor(encoding(), gate_features=["x"]).fit(X, y)
    two = regressor(encoding(), gate_features=["x"]).fit(X.iloc[order], y[order])
    assert_allclose(two.predict(X), one.predict(X), rtol=1e-6)


def test_more_rows_than_starts_see(monkeypatch):
    import mixexp._rows.inputs as inputs

    monkeypatch.setattr(inputs, "SKETCH_ROWS", 90)
    x, names, y = trees(300)
    model = regressor(encoding(), gate_features=["x"]).fit(frame("pandas", x, names), y)
    assert model.score(frame("pandas", x, names), y) > 0.99
    groups = np.arange(300) // 2
    model = regressor(encoding(), gate=ConstantGate(), max_iter=60)
    model.fit(frame("pandas", x, names), y, groups=groups)
    assert np.isfinite(model.lower_bound_)


@pytest.mark.slow
def test_a_user_clusterer_and_a_search_outside():
    x, names, y = trees()
    X = frame("pandas", x, names)
    numbers = make_column_transformer(("passthrough", ["x"]))
    start = make_pipeline(numbers, KMeans(2, n_init=1, random_state=0))
    model = regressor(encoding(), gate_features=["x"], init=start).fit(X, y)
    assert model.score(X, y) > 0.99
    search = GridSearchCV(model, {"expert__ridge__alpha": [0.1, 1.0]}, cv=2).fit(X, y)
    assert search.best_score_ > 0.95


# ------------------------------------------------------------------------- who cannot take it


X_TEXT = frame("pandas", *trees()[:2])


@pytest.mark.parametrize(
    "model, message",
    [
        (
            regressor(None),
            r"column 'c' of X is not a number \(such as '.*'\), and the linear expert",
        ),
        (regressor(Ridge()), "column 'c' .* expert Ridge takes numbers only.*expert_features"),
        (regressor(encoding()), "column 'c' .*gate SoftmaxGate.*ncode.*gate_features"),
        (regressor(encoding(), gate=HierarchicalGate((2,))), "column 'c' .*gate Hierarchical"),
        (
            regressor(make_pipeline(StandardScaler(), Ridge()), gate_features=["x"]),
            "expert 0 .*Pipeline.*failed.*column 'c' of X is not a number.*ColumnTransformer",
        ),
        (
            regressor(None, expert_features=["x"], gate=LogisticRegression()),
            "the gate's LogisticRegression failed.*column 'c' of X is not a number.*ncode",
        ),
        (
            regressor(encoding(), gate_features=["x"], init=NearestCenter([[0, 0], [1, 1]])),
            "NearestCenter: column 'c' of X is not a number",
        ),
        (
            regressor(encoding(), gate_features=["x"], init=FeatureGroups([["x"], ["c"]])),
            r"FeatureGroups: column 'c' .*groups\[1\].*leave it out of the group",
        ),
        (
            regressor(encoding(), gate_features=["x"], init=KMeans(2, n_init=1)),
            "init=KMeans.*failed.*column 'c'",
        ),
    ],
)
def test_the_message_names_column_and_remedy(model, message):
    with pytest.raises(ValueError, match=message):
        model.fit(X_TEXT, trees()[2])


def test_columns_that_no_part_sees_may_be_anything():
    x, names, y = trees()
    X = frame("pandas", x, names)
    for init in ("mixed", FeatureGroups([["x"], ["x"]])):
        model = regressor(None, expert_features=["x"], gate_features=["x"], init=init, n_init=3)
        alone = clone(model).set_params(expert_features=None, gate_features=None).fit(X[["x"]], y)
        assert_allclose(model.fit(X, y).predict(X), alone.predict(X[["x"]]), rtol=0.2, atol=0.2)


def test_a_column_that_becomes_text_is_named_in_prediction():
    x, names, y = trees()
    X = pd.DataFrame({"x": x, "z": np.arange(len(x)), "c": names})
    model = regressor(encoding(), gate_features=["x"]).fit(X, y)
    with pytest.raises(
        ValueError, match=r"column 'z' of X is not a number \(such as 'many'\).*in fit"
    ):
        model.predict(X.assign(z="many"))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(X[["c", "x", "z"]])
    with pytest.raises(ValueError, match="feature names"):
        model.predict(X[["x", "z"]])
    unseen = X[:3].assign(c=["yew", None, "ash"])
    assert np.isfinite(model.predict(unseen)).all()


def test_what_is_no_text_is_refused_as_before():
    X = np.zeros((20, 2), dtype=object)
    X[0, 0] = {"a": 1}
    with pytest.raises(TypeError, match=r"argument must be .* string.* number"):
        regressor(None).fit(X, np.arange(20.0))
    X[0, 0] = "0.5"  # a number, as in scikit-learn
    regressor(None, n_experts=1).fit(X, np.arange(20.0))


# ------------------------------------------------------------------------------- functions


@pytest.mark.parametrize("kind", ["pandas", "category", "string", "polars", "object"])
def test_codes_are_of_the_value_alone(kind):
    x = np.arange(4.0)
    names = np.array(["a", "b", "a", "c"])
    one = as_numbers(frame(kind, x, names))
    two = as_numbers(frame(kind, x[1:], names[1:]))
    assert one.text == two.text == (1,)
    codes, fewer = np.asarray(one.X, dtype=float), np.asarray(two.X, dtype=float)
    assert_array_equal(codes[1:], fewer)
    assert_array_equal(codes[:, 0], x)
    assert codes[0, 1] == codes[2, 1]
    assert len(np.unique(codes[:, 1])) == 3
    assert one.frame is not one.X


def test_numbers_are_left_as_they_are():
    tables = [
        np.ones((3, 2)),
        [[1, 2], [3, 4]],
        pd.DataFrame({"a": [1, 2], "b": pd.array([1, None], dtype="Int64")}),
        pd.DataFrame({"a": pd.Categorical([3, 1]), "b": np.array(["1", "2.5"], dtype=object)}),
        pl.DataFrame({"a": [1, None], "b": [True, False]}),
    ]
    for table in tables:
        found = as_numbers(table)
        assert found.X is table
        assert found.text == ()
    assert nominal(tables[3]) == (0,)
    assert as_numbers(pd.DataFrame({"a": [1, "1", None]}, dtype=object)).text == ()
    mixed = as_numbers(pd.DataFrame({"a": [1, "1", "x", None, np.nan]}, dtype=object)).X["a"]
    assert mixed[0] != mixed[1]
    assert mixed.isna().tolist() == [False, False, False, True, True]


def seen_by(expert, X, columns=(None, None), **params):
    table = X if hasattr(X, "columns") else None
    rows = Rows(np.asarray(as_numbers(X).X, dtype=float), np.zeros((1, len(X))), frame=table)
    seen = stand_in(rows, rows, [[expert]], None, columns, as_numbers(X).text, 0, None)
    return rows, seen.experts


def test_what_stands_in_sees_the_output_of_the_steps():
    x, names, _ = trees(60)
    table = pd.DataFrame({"x": x, "c": names})
    rows, seen = seen_by(encoding(), table)
    design = rows.design(seen, False)
    assert_array_equal(seen, [0, *range(2, 2 + len(NAMES))])  # x itself, and indicators
    assert_array_equal(rows.numbers[:, 2:], np.equal.outer(names, NAMES))
    assert design.matrix(rows.numbers).shape == (1 + len(NAMES), 60)
    assert rows.take(slice(None)).shape == rows.X.shape == (60, 2)
    assert rows.subset(np.arange(9), None).numbers.shape == (9, 2 + len(NAMES))


def test_scaled_copies_are_the_columns_themselves():
    X = np.random.default_rng(0).normal(size=(50, 3))
    for steps in ([StandardScaler()], ["passthrough"], [StandardScaler(), "passthrough"]):
        rows, seen = seen_by(make_pipeline(*steps, Ridge()), X)
        assert seen is None
        assert rows.extra is None
    rows, seen = seen_by(make_pipeline(PolynomialFeatures(2, include_bias=False), Ridge()), X)
    assert_array_equal(seen, np.arange(9))
    rows, seen = seen_by(Ridge(), X)
    assert seen is None
    broken = make_pipeline(make_column_transformer((OneHotEncoder(), ["no"])), Ridge())
    assert seen_by(broken, X)[1] is None


def test_wide_output_is_projected():
    X = np.arange(400.0)[:, None]
    wide = make_pipeline(OneHotEncoder(), Ridge())
    rows, seen = seen_by(wide, X)
    assert rows.extra.shape == (400, 128)
    ordinal = make_pipeline(OrdinalEncoder(), Ridge())
    assert seen_by(ordinal, X)[1] is None


def test_estimators_that_take_categories_have_indicators_stand_in():
    x, names, _ = trees(60)
    table = pd.DataFrame({"x": x, "c": pd.Categorical(names)})
    rows, seen = seen_by(HistGradientBoostingRegressor(), table)
    assert_array_equal(seen, [0, *range(2, 2 + len(NAMES))])
    assert_array_equal(np.sort(rows.extra.sum(axis=0)), np.full(6, 10))
    selected = make_column_transformer(
        (OneHotEncoder(), make_column_selector(dtype_include="category"))
    )
    rows, seen = seen_by(make_pipeline(selected, Ridge()), table, (np.array([1]), None))
    assert len(seen) == 6
