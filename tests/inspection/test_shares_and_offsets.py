"""Pictures and descriptions of shares, offsets, categories, classes, and rows that say little."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

import mixexp
from mixexp import (
    MixtureOfExpertsClassifier,
    MixtureOfExpertsRegressor,
    describe_experts,
    routing_report,
)
from mixexp.inspection import (
    ConditionalDensityDisplay,
    ExpertProfilesDisplay,
    ExpertRegionsDisplay,
    GateProbabilitiesDisplay,
    column_names,
)
from mixexp.inspection._axes import jittered

N = 200
RUN = {"n_experts": 2, "random_state": 0, "max_iter": 50, "tol": 1e-3}
TOWNS = [f"town {i}" for i in range(10)]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# Shares of trials


@pytest.fixture(scope="module")
def trials():
    rng = np.random.default_rng(0)
    X, n = rng.uniform(-2, 2, (N, 1)), rng.integers(5, 40, N)
    won = rng.binomial(n, 1 / (1 + np.exp(-2 * X[:, 0])))
    y = np.column_stack([won, n - won])
    return MixtureOfExpertsRegressor(family="binomial", **RUN).fit(X, y), X, y


@pytest.mark.parametrize("form", [np.asarray, lambda y: pd.DataFrame(y, columns=["won", "lost"])])
def test_counts_of_trials_are_drawn_as_shares(trials, form):
    model, X, y = trials
    share = y[:, 0] / y.sum(axis=1)
    density = ConditionalDensityDisplay.from_estimator(model, X, form(y), grid_resolution=20)
    assert_allclose(density.point_values, share)
    assert_array_equal(density.y_grid, [0, 1])
    assert density.value_name == "share of successes; density of one trial"
    regions = ExpertRegionsDisplay.from_estimator(model, X, form(y), grid_resolution=20)
    assert_allclose(regions.point_values, share)
    assert regions.value_name == "share of successes"
    alone = ConditionalDensityDisplay.from_estimator(model, X, grid_resolution=20)
    assert alone.point_values is None
    assert alone.value_name == "y"


def test_counts_that_are_none_are_refused(trials):
    model, X, y = trials
    wrong = y.copy()
    wrong[3] = 0
    with pytest.raises(ValueError, match=r"ConditionalDensityDisplay: row 3 of y has 0 successes"):
        ConditionalDensityDisplay.from_estimator(model, X, wrong, grid_resolution=20)


# Offsets


@pytest.fixture(scope="module")
def exposed():
    rng = np.random.default_rng(0)
    X, offset = rng.uniform(-1, 1, (N, 1)), np.log(rng.uniform(1, 9, N))
    y = rng.poisson(np.exp(offset + np.where(X[:, 0] > 0, 1.5, -0.5)))
    model = MixtureOfExpertsRegressor(family="poisson", **RUN)
    return model.fit(X, y, offset=offset), X, y, offset


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (routing_report, "routing_report"),
        (ConditionalDensityDisplay.from_estimator, "ConditionalDensityDisplay"),
        (ExpertRegionsDisplay.from_estimator, "ExpertRegionsDisplay"),
    ],
)
def test_targets_are_not_compared_with_rates(exposed, call, name):
    model, X, y, _ = exposed
    with pytest.raises(ValueError, match=f"{name}: the Mixture.* fitted with an offset.*y out"):
        call(model, X, y)
    call(model, X)  # compares nothing


def test_importances_in_a_picture_need_the_offset(exposed):
    model, X, y, _ = exposed
    message = "ExpertProfilesDisplay: the Mixture.*expert_importance with the offset"
    with pytest.raises(ValueError, match=message):
        ExpertProfilesDisplay.from_estimator(model, X, y, kind="importance")


def test_a_report_with_an_offset_draws_no_targets(exposed):
    model, X, y, offset = exposed
    page = mixexp.report(model, X, y, offset=offset)
    assert "has none" not in page.html


# Profiles of two classes, of bases, and with weights


@pytest.fixture(scope="module")
def two_classes():
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, (N, 2))
    score = X[:, 0] * np.where(X[:, 1] > 0, 1, -1) + rng.standard_normal(N)
    y = np.where(score > 0, "yes", "no")
    return MixtureOfExpertsClassifier(**RUN).fit(X, y), X, y


@pytest.mark.parametrize("known", [False, True])
def test_two_classes_have_opposite_coefficients(two_classes, known):
    model, X, y = two_classes
    y = y if known else None

    def show(target):
        return ExpertProfilesDisplay.from_estimator(model, X, y, target=target, standardize=False)

    first, second, default = show("no"), show("yes"), show(None)
    assert_array_equal(default.values, second.values)
    assert_array_equal(first.values, -second.values)
    assert_allclose(second.values, [expert.coef_[0] for expert in model.experts_], rtol=1e-6)
    assert (first.value_name, second.value_name) == ("coefficient, no", "coefficient, yes")
    assert default.value_name == "coefficient, yes"
    if second.low is not None:
        assert_array_equal(first.low, -second.high)
        assert_array_equal(first.high, -second.low)
    with pytest.raises(ValueError, match=r"target='banana' is no class .*one of: no, yes"):
        show("banana")


def test_weights_of_a_profile_need_no_targets(two_classes):
    model, X, _ = two_classes
    weight = np.arange(1.0, N + 1)
    found = ExpertProfilesDisplay.from_estimator(model, X, sample_weight=weight).values
    mean = np.average(X, axis=0, weights=weight)
    scale = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weight))
    assert_allclose(found, [expert.coef_[0] * scale for expert in model.experts_])
    with pytest.raises(ValueError, match="ExpertProfilesDisplay: sample_weight has shape"):
        ExpertProfilesDisplay.from_estimator(model, X, sample_weight=weight[:3])


def test_terms_of_a_basis_have_the_names_of_the_input(rng):
    table = pd.DataFrame(rng.uniform(-2, 2, (N, 1)), columns=["income"])
    y = np.where(table.income > 0, np.sin(2 * table.income), -table.income)
    y = y + 0.3 * rng.standard_normal(N)
    mixture = MixtureOfExpertsRegressor(n_experts=1, expert_basis="spline")
    model = make_pipeline(StandardScaler(), mixture).fit(table, y)
    found = ExpertProfilesDisplay.from_estimator(model, table, y)
    assert found.low is not None
    names = (
        model[-1]
        .summary(model[:-1].transform(table), y, feature_names=column_names(model))
        .estimates.names
    )
    assert set(found.names) <= set(names)
    assert found.names[0] == "spline1(income, scaled)"


# Categories


@pytest.fixture(scope="module")
def towns():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "town": rng.choice(TOWNS, N),
            "age": rng.uniform(0, 90, N),
            "sex": rng.choice(["f", "m"], N),
        }
    )
    y = np.where(table.town > "town 4", table.age, -table.age) / 20 + rng.standard_normal(N)
    steps = make_column_transformer((OneHotEncoder(), ["town", "sex"]), (StandardScaler(), ["age"]))
    return make_pipeline(steps, MixtureOfExpertsRegressor(**RUN)).fit(table, y), table, y


@pytest.mark.parametrize("features", [["town", "age"], ["age", "town"]])
def test_panels_name_every_category(towns, features):
    model, table, _ = towns
    display = GateProbabilitiesDisplay.from_estimator(
        model, table, features=features, grid_resolution=10
    )
    first = display.panels_[0]
    axis = first.xaxis if features[0] == "town" else first.yaxis
    display.figure_.canvas.draw()
    assert [label.get_text() for label in axis.get_ticklabels()] == TOWNS
    other = first.yaxis if features[0] == "town" else first.xaxis
    assert len(other.get_ticklocs()) <= 6


def test_names_of_categories_do_not_meet_in_a_panel(towns, plt):
    model, table, _ = towns
    display = GateProbabilitiesDisplay.from_estimator(
        model, table, features=["town", "age"], grid_resolution=10
    )
    display.figure_.canvas.draw()
    boxes = [label.get_window_extent() for label in display.panels_[0].get_xticklabels()]
    assert all(a.x1 <= b.x0 for a, b in zip(boxes[:-1], boxes[1:], strict=True))


def test_rows_of_two_categories_fill_their_cell():
    categories, positions = ["a", "b"], np.zeros(400)
    places = np.column_stack([jittered(categories, positions, j) for j in (0, 1)])
    assert abs(np.corrcoef(places.T)[0, 1]) < 0.05
    counts, *_ = np.histogram2d(*places.T, bins=4)
    assert counts.min() > 15
    assert np.abs(places).max() < 0.5
    assert_array_equal(jittered("linear", positions, 1), positions)


def test_rows_of_categories_are_spread_in_pictures(towns):
    model, table, y = towns
    regions = ExpertRegionsDisplay.from_estimator(
        model, table, y, features=["sex", "town"], grid_resolution=10
    )
    maps = GateProbabilitiesDisplay.from_estimator(
        model, table, features=["sex", "town"], grid_resolution=10
    )
    gate = maps.panels_[0].collections[-1]
    for scatter in (regions.scatter_[0], gate):
        away = np.asarray(scatter.get_offsets())
        away = away - np.round(away)
        assert away.std(axis=0).min() > 0.1
        assert abs(np.corrcoef(away.T)[0, 1]) < 0.2
    curves = GateProbabilitiesDisplay.from_estimator(
        model, table, features="town", grid_resolution=10
    )
    rug = curves.ax_.lines[-1].get_xdata()
    assert len(np.unique(rug)) == N


# Descriptions


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_effects_of_rounding_are_no_findings(rng):
    X = rng.uniform(-2, 2, (N, 2))
    score = np.where(X[:, 0] > 0, X[:, 1], -X[:, 1])
    y = np.array(["lo", "mid", "hi"])[np.digitize(score, [-0.5, 0.5])]
    model = MixtureOfExpertsClassifier(n_experts=3, n_init=2, random_state=0).fit(X, y)
    found = describe_experts(model, X, y)
    tiny = [e for k in range(3) for e in found[k].effects if e.size < 1e-4]
    assert {effect.trend for effect in tiny} == {"none"}
    texts = [each.effects_by_trend(3).values() for each in found.experts]
    assert "e−" not in str([list(text) for text in texts])


def test_effects_are_judged_in_units_of_the_target(rng):
    X = rng.uniform(-1, 1, (N, 2))
    y = 1e-9 * (X[:, 0] + 1e-9 * X[:, 1])  # both are above rounding
    model = MixtureOfExpertsRegressor(n_experts=1).fit(X, y)
    large, small = describe_experts(model, X)[0].effects
    assert (large.feature, large.trend) == ("x0", "rises")
    assert (small.feature, small.trend) == ("x1", "none")


@pytest.mark.parametrize("call", [describe_experts, routing_report])
def test_labels_that_the_fit_never_saw_are_refused(two_classes, call):
    model, X, y = two_classes
    wrong = np.where(np.arange(N) == 4, "perhaps", y.astype(object))
    message = rf"{call.__name__}: y has labels that were not seen in fit: \['perhaps'\]"
    with pytest.raises(ValueError, match=message):
        call(model, X, wrong)
    with pytest.raises(ValueError, match=f"{call.__name__}: y has labels .*not seen"):
        call(model, X[:3], ["a", "b", "c"])


def test_rows_that_are_alike_do_not_say_what_the_gate_depends_on(two_classes):
    model, X, y = two_classes
    for rows in (slice(0, 1), [0, 0, 0]):
        found = describe_experts(model, X[rows], y[rows])
        assert "does not depend" not in str(found)
        assert "everywhere" not in str(found)
        (here,) = [each for each in found.experts if each.share]
        assert here.where == "in all of these rows, which are alike: they do not tell where else"
    alone = MixtureOfExpertsClassifier(n_experts=1).fit(X, y)
    assert describe_experts(alone, X[:1], y[:1])[0].where == "everywhere"


def test_a_bad_seed_is_named(two_classes):
    model, X, _ = two_classes
    with pytest.raises(ValueError, match=r"describe_experts: random_state='x' must be None, a wh"):
        describe_experts(model, X, random_state="x")


# Missing values


@pytest.mark.parametrize("kind", ["array", "pandas", "polars"])
def test_rows_that_miss_a_drawn_feature_are_left_out(rng, kind):
    X = rng.uniform(-2, 2, (N, 3))
    y = np.where(X[:, 0] > 0, X[:, 1], -X[:, 1]) + 0.1 * rng.standard_normal(N)
    X[:5, 0], X[3:9, 1], X[20:30, 2] = np.nan, np.nan, np.nan
    names = ["a", "b", "c"]
    table = {
        "array": lambda: X,
        "pandas": lambda: pd.DataFrame(X, columns=names),
        "polars": lambda: pytest.importorskip("polars").DataFrame(X, schema=names),
    }[kind]()
    model = make_pipeline(SimpleImputer(), MixtureOfExpertsRegressor(**RUN)).fit(table, y)
    options = {"grid_resolution": 10}
    regions = ExpertRegionsDisplay.from_estimator(model, table, y, features=(0, 1), **options)
    assert_array_equal(regions.points, X[9:, :2])
    own = model[-1].responsibilities(model[:-1].transform(table), y).argmax(axis=1)
    assert_array_equal(regions.point_experts, own[9:])
    assert_allclose(list(regions.held.values()), np.nanmedian(X[:, 2]))
    maps = GateProbabilitiesDisplay.from_estimator(model, table, features=(0, 2), **options)
    assert len(maps.points) == N - 15
    density = ConditionalDensityDisplay.from_estimator(model, table, y, feature=0, **options)
    assert_array_equal(density.points, X[5:, 0])
    assert_array_equal(density.point_values, y[5:])
    plane = ExpertRegionsDisplay.from_estimator(model, table, features="principal", **options)
    assert len(plane.points) == N - 19
    with pytest.raises(ValueError, match=r"Display: X has missing or infinite values in (a|feat)"):
        ExpertRegionsDisplay.from_estimator(model, table[:5], features=0)


def test_rows_that_miss_a_category_are_left_out(rng):
    kinds = np.where(np.arange(N) < 7, None, rng.choice(["f", "m"], N))
    table = pd.DataFrame({"kind": kinds, "age": rng.uniform(0, 9, N)})
    y = np.where(table.kind == "f", table.age, -table.age) + rng.standard_normal(N)
    steps = make_column_transformer((OneHotEncoder(), ["kind"]), remainder="passthrough")
    model = make_pipeline(steps, MixtureOfExpertsRegressor(**RUN)).fit(table, y)
    display = ExpertRegionsDisplay.from_estimator(model, table, y, features="kind")
    assert display.scales[0] == ["f", "m"]
    assert_array_equal(display.point_values, y[7:])
    other = ExpertRegionsDisplay.from_estimator(model, table, y, features="age")
    assert other.held["kind"] in ("f", "m")
    assert len(other.points) == N


# Names and code


@pytest.mark.parametrize("inner", [False, True])
def test_names_are_known_behind_a_step_that_passes_all(rng, inner):
    table = pd.DataFrame(rng.uniform(0, 9, (60, 2)), columns=["income", "age"])
    y = table.income + rng.standard_normal(60)
    first = make_pipeline("passthrough", "passthrough") if inner else "passthrough"
    mixture = MixtureOfExpertsRegressor(n_experts=1)
    scaled = make_pipeline(first, StandardScaler(), mixture).fit(table, y)
    assert column_names(scaled) == ["income, scaled", "age, scaled"]
    plain = make_pipeline(first, mixture).fit(table, y)
    assert column_names(plain) == ["income", "age"]


def halved(X):
    return X / 2


def test_a_report_writes_functions_of_numpy_and_names_the_others(rng):
    X = rng.uniform(1, 9, (60, 1))
    y = X[:, 0] + rng.standard_normal(60)
    steps = FunctionTransformer(np.log1p), FunctionTransformer(halved)
    model = make_pipeline(*steps, MixtureOfExpertsRegressor(n_experts=1)).fit(X, y)
    page = mixexp.report(model, X, y).html
    assert "FunctionTransformer(func=np.log1p)" in page
    assert "import numpy as np" in page
    assert "Angle brackets are no code: write your own in place of &lt;function halved" in page
    plain = mixexp.report(MixtureOfExpertsRegressor(n_experts=1).fit(X, y), X, y).html
    assert "Angle brackets" not in plain
    assert "import numpy as np" not in plain
