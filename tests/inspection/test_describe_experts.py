"""Experts in words: planted borders are named, effects are in input units."""

import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestRegressor
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mixexp import (
    MixtureOfExpertsClassifier,
    MixtureOfExpertsRegressor,
    describe_experts,
    report,
)
from mixexp.datasets import load_auto_mpg
from mixexp.gates import ConstantGate, EstimatorGate, GaussianGate, HierarchicalGate, SoftmaxGate
from mixexp.inspection._conditions import border, rounded_rank
from mixexp.inspection._effects import _trend, expert_effects
from mixexp.inspection._rules import encoded, rules_of
from mixexp.inspection._table_columns import Column, described_columns, number
from mixexp.routing import Switch, TopK

N = 600

#: Planted borders, in input units: age, and income among the old.
AGE, INCOME = 45.0, 2000.0


def boxes(rng, n=N):
    """Return rows of (age, income, noise), targets of three boxes, and the labels of boxes."""
    X = np.column_stack([rng.uniform(18, 80, n), rng.uniform(500, 5000, n), rng.normal(0, 1, n)])
    box = np.where(X[:, 0] <= AGE, 0, np.where(X[:, 1] <= INCOME, 1, 2))
    slopes = np.array([[0.5, 0.0, 0.0], [-0.2, 0.01, 0.0], [0.0, -0.004, 3.0]])
    y = np.array([0.0, 40.0, -20.0])[box] + np.sum(slopes[box] * X, axis=1)
    return X, y + 0.3 * rng.standard_normal(n), box, slopes


NAMES = ["age", "income", "noise"]


@pytest.fixture
def planted(rng):
    X, y, box, slopes = boxes(rng)
    gate = EstimatorGate(DecisionTreeClassifier(min_samples_leaf=20, random_state=0))
    model = MixtureOfExpertsRegressor(
        LinearRegression(), 3, gate=gate, init=box, cross_fit=False, random_state=0
    )
    return model.fit(X, y), X, y, box, slopes


def borders(text, name):
    """Return the numbers next to a name in a text of rules."""
    found = re.findall(rf"([\d.]+) < {name}|{name} [≤>] ([\d.]+)", text)
    return [float(a or b) for a, b in found] + [
        float(b) for b in re.findall(rf"< {name} ≤ ([\d.]+)", text)
    ]


def gap(values, border):
    """Return the distance to the border of the nearest value on each side, the larger."""
    return max(border - values[values <= border].max(), values[values > border].min() - border)


def test_planted_borders_are_named(planted):
    model, X, y, box, _ = planted
    found = describe_experts(model, X, y, feature_names=NAMES)
    assert len(found) == 3
    for k in range(3):
        assert found[k].region.fidelity >= 0.98
        assert found[k].error < 0.5
        assert "noise" not in found[k].where
    named = [b for k in range(3) for b in borders(found[k].where, "age")]
    assert named
    assert_allclose(named, AGE, atol=2 * gap(X[:, 0], AGE))
    old = X[:, 0] > AGE
    named = [b for k in range(3) for b in borders(found[k].where, "income")]
    assert named
    assert_allclose(named, INCOME, atol=2 * gap(X[old, 1], INCOME))


@pytest.mark.parametrize("plant", ["slices", "quadrants"])
def test_fidelity_of_softmax_gates_on_axis_aligned_plants(plant, rng):
    X = rng.uniform(-1, 1, (1000, 3))
    if plant == "slices":
        box, gate = np.digitize(X[:, 0], [-0.4, 0.3]), SoftmaxGate()
    else:
        box, gate = 2 * (X[:, 0] > 0.2) + (X[:, 1] > -0.3), HierarchicalGate((2, 2))
    n_experts = box.max() + 1
    y = np.array([-4, 0, 4, 8])[box] + np.array([1, -2, 3, -4])[box] * X[:, 2]
    y = y + 0.1 * rng.standard_normal(len(X))
    found = describe_experts(
        MixtureOfExpertsRegressor(n_experts=n_experts, gate=gate, random_state=0).fit(X, y), X
    )
    assert min(expert.region.fidelity for expert in found.experts) >= 0.9
    assert all("x2" not in expert.where for expert in found.experts)


def test_effects_are_coefficients_in_input_units(planted):
    model, X, _, _, slopes = planted
    found = describe_experts(model, X, feature_names=NAMES)
    for k in range(3):
        slope = {effect.feature: effect.slope for effect in found[k].effects}
        assert_allclose([slope[name] for name in NAMES], model.experts_[k].coef_, rtol=1e-9)
        planted_slope = dict(zip(NAMES, slopes[k], strict=True))
        assert_allclose(slope["income"], planted_slope["income"], atol=1e-3)


def test_a_pipeline_is_described_in_units_before_its_first_step(rng):
    X, y, box, _ = boxes(rng)
    model = MixtureOfExpertsRegressor(LinearRegression(), 3, gate=SoftmaxGate(), random_state=0)
    pipeline = make_pipeline(StandardScaler(), model).fit(X, y)
    scale = pipeline[0].scale_
    found = describe_experts(pipeline, X, feature_names=NAMES)
    for k, expert in enumerate(pipeline[-1].experts_):
        slope = {effect.feature: effect.slope for effect in found[k].effects}
        assert_allclose([slope[name] for name in NAMES], expert.coef_ / scale, rtol=1e-8)
    assert max(borders("; ".join(e.where for e in found.experts), "age")) > 20


def test_weights_are_frequencies(planted, rng):
    model, X, *_ = planted
    counts = rng.integers(0, 4, len(X))
    weighted = describe_experts(model, X, sample_weight=counts, max_rows=10**6)
    repeated = describe_experts(model, np.repeat(X, counts, axis=0), max_rows=10**6)
    assert str(weighted).split("\n")[1:] == str(repeated).split("\n")[1:]


def test_frames_texts_and_html_agree(planted):
    model, X, y, *_ = planted
    found = describe_experts(model, X, y, feature_names=["a<b", "income", "noise"], max_effects=1)
    frame = found.to_frame()
    assert list(frame.index) == ["expert 0", "expert 1", "expert 2"]
    assert_allclose(frame["share"].sum(), 1)
    assert_allclose(frame["usage"].sum(), 1)
    assert frame["where"].tolist() == [found[k].where for k in range(3)]
    effects = found.effects_to_frame()
    assert len(effects) == 9
    assert (effects["size"] >= 0).all()
    text, html = str(found), found._repr_html_()
    assert repr(found) == text == found.to_text()
    assert "a&lt;b" in html and "a<b" not in html
    for k in range(3):
        assert f"Expert {k} answers" in text and f"Expert {k} answers" in html
        assert str(found[k].effects[0]) in text


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_categories(kind, rng):
    origin = np.array(["usa", "japan", "europe"])[rng.integers(0, 3, N)]
    x = rng.uniform(0, 10, N)
    y = np.where(origin == "japan", 3 + 2 * x, 20 - x + 2 * (origin == "usa"))
    y = y + 0.1 * rng.standard_normal(N)
    frame = {"pandas": pd.DataFrame, "polars": pl.DataFrame}[kind]({"origin": origin, "x": x})
    encoder = make_column_transformer((OneHotEncoder(), ["origin"]), remainder="passthrough")
    if kind == "polars":
        encoder = encoder.set_output(transform="polars").set_params(sparse_threshold=0)
        encoder.set_params(onehotencoder__sparse_output=False)
    model = make_pipeline(encoder, MixtureOfExpertsRegressor(n_experts=2, random_state=0))
    found = describe_experts(model.fit(frame, y), frame)
    where = sorted(e.where for e in found.experts)
    assert where == ["origin is japan", "origin is not japan"]
    other = next(e for e in found.experts if e.where == "origin is not japan")
    (effect,) = [e for e in other.effects if e.feature == "origin"]
    assert effect.trend == "differs"
    assert np.isnan(effect.slope)
    assert "highest for usa, lowest for europe, 2" in str(effect)


def test_of_two_categories_the_one_that_holds_is_named(rng):
    X = np.empty((N, 2), dtype=object)
    X[:, 0], X[:, 1] = np.where(rng.random(N) < 0.5, "high", "low"), rng.uniform(-1, 1, N)
    y = np.where(X[:, 0] == "low", 3 + X[:, 1], -3 - X[:, 1]).astype(float)
    encoder = make_column_transformer((OneHotEncoder(), [0]), remainder="passthrough")
    mixture = MixtureOfExpertsRegressor(n_experts=2, n_init=1, random_state=0)
    found = describe_experts(make_pipeline(encoder, mixture).fit(X, y + rng.normal(0, 0.1, N)), X)
    assert sorted(e.where for e in found.experts) == ["x0 is high", "x0 is low"]


def test_kinds_of_columns():
    frame = pd.DataFrame(
        {
            "whole": pd.array([1, 2, None], dtype="Int64"),
            "flag": [True, False, True],
            "text": ["b", None, "a"],
            "date": pd.to_datetime(["2020-01-01", "2020-01-02", None]),
            "number": [0.5, np.nan, 2],
        }
    )
    whole, flag, text, date, numbers = described_columns(frame, None, None, "test")
    assert_array_equal(whole.values, [1, 2, np.nan])
    assert whole.labels is numbers.labels is None
    assert flag.labels == ["False", "True"]
    assert text.labels == ["a", "b", "missing"]
    assert_array_equal(text.values, [1, 2, 0])
    assert date.labels[-1] == "missing"
    mixed = described_columns(np.array([[1, "a"], [2.5, "b"]], dtype=object), None, None, "test")
    assert_array_equal(mixed[0].values, [1, 2.5])
    assert [column.labels for column in mixed] == [None, ["a", "b"]]


def test_missing_values(rng):
    x = rng.uniform(0, 10, N)
    lost = rng.random(N) < 0.3
    x[lost] = np.nan
    X = np.column_stack([x, rng.uniform(-1, 1, N)])
    y = np.where(lost | (x <= 4), 5 + X[:, 1], -5 - X[:, 1]) + 0.1 * rng.standard_normal(N)
    tree = DecisionTreeClassifier(min_samples_leaf=10, random_state=0)
    model = MixtureOfExpertsRegressor(
        DecisionTreeRegressor(min_samples_leaf=10, random_state=0),
        2,
        gate=EstimatorGate(tree),
        init=(y < 0).astype(int),
        cross_fit=False,
        random_state=0,
    ).fit(X, y)
    found = describe_experts(model, X)
    texts = sorted(e.where for e in found.experts)
    assert texts[0].startswith("x0 > ") and "missing" not in texts[0]
    assert texts[1].startswith("x0 ≤ ") and texts[1].endswith(" or missing")
    assert min(e.region.fidelity for e in found.experts) > 0.98


def test_classes():
    X, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])
    model = MixtureOfExpertsClassifier(n_experts=2, random_state=0).fit(X, names[y])
    found = describe_experts(model, X, names[y])
    assert list(found[0].predictions) == [f"P({name})" for name in names]
    assert_allclose(sum(found[0].predictions.values()), 1)
    assert found.error_name == "error rate"
    assert "P(virginica), x" in str(found)
    two = MixtureOfExpertsClassifier(n_experts=2, random_state=0).fit(X[50:], names[y[50:]])
    assert list(describe_experts(two, X[50:])[0].predictions) == ["P(virginica)"]


def test_several_outputs(rng):
    X = rng.uniform(-1, 1, (N, 2))
    sign = np.where(X[:, :1] > 0.2, 1.0, -1.0)
    y = np.hstack([2 + X[:, 1:], 5 * X[:, 1:]]) * sign + 0.05 * rng.standard_normal((N, 2))
    model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    found = describe_experts(model, X, y)
    assert list(found[0].predictions) == ["y0", "y1"]
    assert {effect.output for effect in found[0].effects} == {"y0", "y1"}
    slopes = {(e.output, e.feature): e.slope for e in found[0].effects}
    assert_allclose(slopes["y1", "x1"], model.experts_[0].coef_[1, 1], rtol=1e-9)


@pytest.mark.parametrize(
    "options",
    [
        {"gate_basis": "quantile"},
        {"expert_basis": "spline"},
        {"routing": TopK(1)},
        {"routing": Switch()},
        {"noise_expert": True},
        {"gate": HierarchicalGate((2, 2)), "n_experts": 4},
        {"gate": GaussianGate()},
        {"family": "student_t"},
        {"family": "gamma"},
        {"expert": MixtureOfExpertsRegressor(n_experts=2)},
        {"shared_expert": LinearRegression()},
        {"expert": RandomForestRegressor(5, random_state=0), "max_iter": 5},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_every_kind_of_mixture(options, rng):
    X, y, *_ = boxes(rng, 300)
    y = y - y.min() + 1  # positive, for gamma
    model = MixtureOfExpertsRegressor(**{"n_experts": 2, "n_init": 2, "random_state": 0} | options)
    found = describe_experts(model.fit(X, y), X, y, max_rows=100)
    assert_allclose(sum(e.share for e in found.experts), 1)
    assert_allclose(sum(e.usage for e in found.experts), 1)
    assert np.isnan(found.noise) == ("noise_expert" not in options)
    assert ("Noise" in str(found)) == ("noise_expert" in options)
    assert ("(leaf 1.0)" in str(found)) == (options.get("n_experts") == 4)
    assert all(e.effects and np.isfinite(e.effects[0].size) for e in found.experts)


def test_a_gate_that_does_not_look_and_a_single_expert(rng):
    X, y, *_ = boxes(rng, 200)
    model = MixtureOfExpertsRegressor(n_experts=2, gate=ConstantGate(), random_state=0).fit(X, y)
    found = describe_experts(model, X)
    for k in range(2):
        assert found[k].region is None
        assert found[k].where == (
            f"everywhere with weight {model.usage_[k]:.2f}: the gate does not depend on X"
        )
    one = describe_experts(MixtureOfExpertsRegressor(n_experts=1).fit(X[:, :1], y), X[:, :1])
    assert one[0].where == "everywhere"
    assert one[0].share == 1


def test_rows_that_an_expert_does_not_answer(planted):
    model, X, y, *_ = planted
    young = X[:, 0] <= AGE - 5
    found = describe_experts(model, X[young], y[young])
    silent = [e for e in found.experts if e.share == 0]
    assert len(silent) == 2
    assert all(np.isnan(e.error) and np.isnan(e.certainty) for e in silent)
    assert "answers no row" in str(found)


def test_an_expert_that_no_column_moves(rng):
    X = rng.uniform(-1, 1, (N, 1))
    y = np.where(X[:, 0] > 0, 3.0, 7.0 + X[:, 0]) + 0.01 * rng.standard_normal(N)
    model = MixtureOfExpertsRegressor(
        DecisionTreeRegressor(max_leaf_nodes=2, min_samples_leaf=250),
        2,
        random_state=0,
        init=(X[:, 0] > 0).astype(int),
        cross_fit=False,
    ).fit(X, y)
    assert "moved by    no column" in str(describe_experts(model, X))


def test_a_search_and_names_of_a_frame():
    table = load_auto_mpg(as_frame=True)
    mixture = MixtureOfExpertsRegressor(n_init=1, random_state=0)
    search = GridSearchCV(mixture, {"n_experts": [2]}, cv=2).fit(table.data, table.target)
    text = str(describe_experts(search, table.data))
    assert "weight" in text and "x0" not in text


def test_the_sample_of_rows_is_seeded(planted):
    model, X, *_ = planted
    texts = [str(describe_experts(model, X, max_rows=20, random_state=seed)) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_depth_bounds_the_conditions(planted):
    model, X, *_ = planted
    found = describe_experts(model, X, max_depth=1)
    for expert in found.experts:
        assert all(len(rule.conditions) == 1 for rule in expert.region.rules)
    deep = describe_experts(model, X, max_depth=6)
    assert max(len(rule.conditions) for e in deep.experts for rule in e.region.rules) <= 3


def test_a_column_that_bends_a_prediction(rng):
    X = rng.uniform(-1, 1, (N, 2))
    y = np.where(X[:, 1] > 0, 5 * X[:, 0] ** 2, -9.0) + 0.01 * rng.standard_normal(N)
    model = MixtureOfExpertsRegressor(
        n_experts=2, expert_basis="spline", n_init=2, random_state=0
    ).fit(X, y)
    found = describe_experts(model, X)
    curved = max(found.experts, key=lambda expert: expert.effects[0].size)
    assert curved.effects[0].trend == "bends"
    values = curved.effects[0].values
    assert_allclose(values, np.quantile(X[X[:, 1] > 0, 0], [0.1, 0.3, 0.5, 0.7, 0.9]), atol=0.1)
    assert f"lowest near {number(values[2])}" in str(found)


@pytest.mark.parametrize(
    ("counts", "values"),
    [
        ({4: 44, 6: 2, 5: 2, 3: 1, 8: 1}, []),
        ({4: 45, 6: 3, 5: 1, 3: 1}, [4, 6]),
        ({0: 3, 1: 47}, [0, 1]),
        ({4: 44, 8: 6}, [4, 8]),
    ],
)
def test_a_discrete_column_is_not_extrapolated_to_single_rows(counts, values):
    column = Column("cylinders", np.repeat(list(counts), list(counts.values())).astype(float))
    rows = np.arange(50)
    for weight in (np.full(50, 1.0), np.full(50, 0.1)):
        found = expert_effects(
            lambda table: table, column.values[:, None], [column], rows, weight, [""]
        )
        assert [effect.values for effect in found] == ([values] if values else [])


def test_rare_categories_are_not_compared():
    column = Column("wood", np.repeat([0.0, 1.0, 2.0], [30, 19, 1]), ["elm", "oak", "yew"])
    (found,) = expert_effects(
        lambda table: table, column.values[:, None], [column], np.arange(50), np.ones(50), [""]
    )
    assert found.values == ["elm", "oak"]


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(1.0, 2.0, "1.5"), (44.95, 45.02, "45"), (-3.0, -2.9, "−3"), (0.1234, 0.1238, "0.1236")]
    + [(1e9, 1e9 + 1, "1000000000"), (7.0, 7.0, "7"), (0.0, 1e-7, "5e−08")],
)
def test_a_border_is_short_and_separates_the_same_rows(low, high, text):
    assert border(low, high) == text
    assert low <= float(text.replace("−", "-")) < high or low == high


def test_borders_of_many_values_are_round():
    distinct = np.sort(np.random.default_rng(0).uniform(0, 1, 5000))
    for rank in (100, 2500, 4998):
        near = rounded_rank(distinct, rank)
        assert abs(near - rank) <= 5
        assert (
            len(border(distinct[near], distinct[near + 1]))
            < len(border(distinct[rank], distinct[rank + 1]))
            or near == rank
        )
    assert rounded_rank(distinct[:900], 450) == 450
    for rank in (6993, 7003, 7006):  # 7000 is up to ten values away, on either side
        assert rounded_rank(np.arange(10000.0), rank) == 7000


@pytest.mark.parametrize(
    ("value", "text"),
    [(3.14159, "3.14"), (-0.00796, "−0.00796"), (2945.4, "2945"), (0, "0"), (71.0, "71")]
    + [(1.5e9, "1.5e+09"), (2e-7, "2e−07"), (100.04, "100"), (0.1, "0.1")],
)
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"max_depth": 0}, ValueError, "max_depth=0 must be a whole number"),
        ({"max_rows": 1.5}, ValueError, "max_rows=1.5 must be a whole number"),
        ({"feature_names": ["a"]}, ValueError, "not a list of 3 names"),
        ({"sample_weight": [1.0]}, ValueError, "sample_weight has shape"),
        ({"y": [1.0]}, ValueError, "y has shape"),
        ({"X": csr_array(np.eye(3))}, TypeError, "sparse"),
        ({"X": np.full((2, 3), np.inf)}, ValueError, "infinite values in x0"),
        ({"X": np.zeros((2, 4))}, ValueError, "4 columns"),
        ({"estimator": LogisticRegression()}, TypeError, "no mixture of experts"),
        ({"estimator": MixtureOfExpertsRegressor()}, NotFittedError, "not fitted"),
    ],
)
def test_wrong_arguments(change, error, message, planted):
    model, X, *_ = planted
    with pytest.raises(error, match=message):
        describe_experts(**{"estimator": model, "X": X} | change)


def test_targets_of_another_width_are_refused(rng):
    X = rng.standard_normal((60, 2))
    model = MixtureOfExpertsRegressor(n_experts=1).fit(X, X[:, 0])
    with pytest.raises(ValueError, match="y has 2 columns, and the experts predict 1"):
        describe_experts(model, X, X)


@pytest.mark.parametrize("scale", [2.0**-1000, 2.0**1000])
def test_only_ratios_of_weights_count(scale, rng):
    X = rng.standard_normal((80, 2))
    y = np.where(X[:, 0] > 0, X[:, 1], 3 - X[:, 1])
    model = MixtureOfExpertsRegressor(n_experts=2, n_init=2, random_state=0).fit(X, y)
    weight = rng.integers(1, 4, 80)
    found = describe_experts(model, X, y, sample_weight=scale * weight)
    assert str(found) == str(describe_experts(model, X, y, sample_weight=weight))


def zero_inflated(gate=None):
    """Return a mixture with a zero expert, its rows and its counts."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, (400, 2))
    mean = np.exp(np.where(X[:, 0] > 0, 2.0, 0.5 * X[:, 1]))
    y = rng.poisson(mean) * (rng.random(400) > 0.3)
    options = {"family": "poisson", "zero_expert": True, "max_iter": 20, "tol": 1e-3}
    model = MixtureOfExpertsRegressor(n_experts=2, gate=gate, random_state=0, **options)
    return model.fit(X, y), X, y


def test_zeros_are_not_called_noise():
    model, X, y = zero_inflated()
    found = describe_experts(model, X, y)
    assert np.isnan(found.noise)
    assert_allclose(found.zero, model.gate_.zero_share_)
    assert "Zero expert: probability" in str(found) and "oise" not in str(found)


def test_pictures_name_the_zero_expert():
    pytest.importorskip("matplotlib").use("Agg")
    from mixexp.inspection import ExpertRegionsDisplay, GateTreeDisplay

    model, X, y = zero_inflated()
    display = ExpertRegionsDisplay.from_estimator(model, X, y)
    texts = [text.get_text() for text in display.legend_.get_texts()]
    assert texts == ["expert 0", "expert 1", "zero"]
    tree = GateTreeDisplay.from_estimator(model)
    assert tree.names == ["root", "expert 0", "expert 1", "zero"]


@pytest.mark.parametrize("level", [-3.0, 0.0, 3.0])
def test_rounding_is_no_trend_whatever_the_sign(level):
    means = level * (1 + 1e-15 * np.array([1.0, 2.0, 4.0]))
    assert _trend(means, False) == _trend(means, True) == "none"
    assert _trend(level + np.arange(3.0), False) == "rises"


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_rules_of_a_depth_are_those_of_the_tree_of_that_depth(rng, depth):
    X, weight = rng.integers(0, 9, (400, 3)).astype(float), np.ones(400)
    member = (X[:, 0] > 2) & ((X[:, 1] > 3) | (X[:, 2] > 5))
    columns = described_columns(X, None, ["a", "b", "c"], "test")
    data = encoded(columns, weight)
    deep = DecisionTreeClassifier(max_depth=3, random_state=0).fit(data.matrix, member)
    cut = DecisionTreeClassifier(max_depth=depth, random_state=0).fit(data.matrix, member)
    found = np.zeros(400, dtype=bool)
    for rule in rules_of(deep, columns, data, depth):
        found |= np.all([one.holds(X[:, j]) for j, one in rule.items()], axis=0)
    assert_array_equal(found, cut.predict(data.matrix))


def test_a_region_may_be_where_a_value_is_missing(rng):
    X = rng.standard_normal((300, 2))
    gone = rng.random(300) < 0.3
    y = np.where(gone, 3 - X[:, 1], 2 * X[:, 1] + X[:, 0]) + 0.1 * rng.standard_normal(300)
    X[gone, 0] = np.nan
    expert = make_pipeline(SimpleImputer(keep_empty_features=True), LinearRegression())
    model = MixtureOfExpertsRegressor(expert, n_experts=2, random_state=0).fit(X, y)
    found = {each.where for each in describe_experts(model, X, y).experts}
    assert found == {"x0 is known", "x0 is missing"}


def test_errors_with_an_offset(rng):
    X = rng.standard_normal((200, 2))
    exposure = rng.uniform(1, 50, 200)
    y = rng.poisson(exposure * np.exp(np.where(X[:, 0] > 0, 0.5 + 0.3 * X[:, 1], -0.5)))
    offset, weight = np.log(exposure), rng.integers(0, 3, 200)
    model = MixtureOfExpertsRegressor(n_experts=2, family="poisson", random_state=0)
    model.fit(X, y, offset=offset)
    found = describe_experts(model, X, y, weight, offset=offset)
    answered = model.gate_proba(X).argmax(axis=1)
    for k in range(2):
        own = answered == k
        missed = y - model.predict_experts(X, offset=offset)[:, k]
        expected = np.sqrt(np.average(missed[own] ** 2, weights=weight[own]))
        assert_allclose(found[k].error, expected)
    message = "describe_experts: the MixtureOfExpertsRegressor was fitted with an offset, and"
    with pytest.raises(ValueError, match=message):
        describe_experts(model, X, y)
    with pytest.raises(ValueError, match="report: the MixtureOfExpertsRegressor was fitted with"):
        report(model, X, y)
    assert np.isnan(describe_experts(model, X)[0].error)
    plain = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    assert describe_experts(plain, X, y)[0].error > 0
