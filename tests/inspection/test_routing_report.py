"""The report on routing agrees with sums over `route`, and scores with the experts themselves."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import accuracy_score, r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

import mixexp
from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor, routing_report
from mixexp.inspection import _routing_report
from mixexp.routing import Switch, TopK

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RUN = {"n_experts": 3, "n_init": 1, "max_iter": 10, "tol": 1e-2, "random_state": 0}


@pytest.fixture(scope="module")
def routed(data):
    return MixtureOfExpertsRegressor(routing=TopK(2), **RUN).fit(*data)


@pytest.fixture
def clock(monkeypatch):
    """Let time pass by one second for each row that an estimator predicts."""
    now = [0.0]
    monkeypatch.setattr(_routing_report, "perf_counter", lambda: now[0])
    return now


def test_numbers_are_sums_over_the_routes(routed, data):
    X, y = data
    weight = np.arange(len(X)) % 3
    report = routing_report(routed, X, y, weight)
    route, proba = routed.route(X), routed.gate_proba(X)
    load, importance = weight @ (route > 0), weight @ route
    assert report.names == ["expert 0", "expert 1", "expert 2"]
    assert_array_equal(report.load, load)
    assert_allclose(report.share, load / load.sum())
    assert_allclose(report.importance, importance)
    assert_allclose(report.mean_weight, importance / load)
    for k in range(3):
        rows = route[:, k] > 0
        own = routed.predict_experts(X[rows])[:, k]
        assert_allclose(report.score[k], r2_score(y[rows], own, sample_weight=weight[rows]))
    assert report.n_rows == len(X) and report.experts_per_row == 2.0
    assert_allclose(report.active_fraction, 2 / 3)
    assert_allclose(report.cv2_load, load.var() / load.mean() ** 2)
    assert_allclose(report.cv2_importance, importance.var() / importance.mean() ** 2)
    entropy = weight @ -np.sum(proba * np.log(np.maximum(proba, 1e-300)), axis=1) / weight.sum()
    assert_allclose(report.gate_entropy, entropy)
    assert_allclose(report.effective_experts, np.exp(entropy))
    share = load / load.sum()
    assert_allclose(report.balance_loss, 3 * share @ (weight @ proba) / weight.sum())
    assert np.isnan(report.overflow)


def test_weight_two_is_the_row_twice(routed, data):
    X, y = data
    one, two = routing_report(routed, X, y, np.full(len(y), 2.0)), np.repeat(np.arange(len(y)), 2)
    other = routing_report(routed, X[two], y[two])
    for name in ("load", "importance", "score"):
        assert_allclose(getattr(one, name), getattr(other, name))
    assert_allclose(one.gate_entropy, other.gate_entropy)


def test_a_dense_mixture_is_routed_everywhere(class_data):
    X, y = class_data
    model = MixtureOfExpertsClassifier(**RUN).fit(X, y)
    report = routing_report(model, X, y)
    assert_array_equal(report.load, len(X))
    assert (report.experts_per_row, report.active_fraction, report.cv2_load) == (3.0, 1.0, 0.0)
    assert_allclose(report.balance_loss, 1.0)
    classes = model.classes_[model.predict_experts(X).argmax(axis=2)]
    assert_allclose(report.score, [accuracy_score(y, column) for column in classes.T])
    assert report.router == "dense" and report.score_name == "accuracy"


def test_fallback_overflow_and_noise(data):
    X, y = data
    router = Switch(0.8, "fallback", fallback=Ridge())
    model = MixtureOfExpertsRegressor(routing=router, noise_expert=True, **RUN).fit(X, y)
    report = routing_report(model, X, y)
    assert_allclose(report.overflow, model.routing_.overflow_ / len(X))
    assert report.names[-1] == "fallback" and report.load[-1] == 0
    assert np.isnan([report.mean_weight[-1], report.score[-1], report.seconds_per_row[-1]]).all()
    proba = model.gate_proba(X)[:, :3] / model.gate_proba(X)[:, :3].sum(axis=1, keepdims=True)
    assert_allclose(report.balance_loss, 3 * report.share[:3] @ proba.mean(axis=0))
    router = TopK(1, renormalise=False, fallback="mean")
    report = routing_report(MixtureOfExpertsRegressor(routing=router, **RUN).fit(X, y), X, y)
    assert report.load[-1] == len(X) and report.experts_per_row == 1.0
    assert_allclose(report.score[-1], 0.0, atol=1e-12)
    assert_allclose(report.importance.sum(), len(X))


class Slow(DummyRegressor):
    """A constant that takes a second a row."""

    clock = [0.0]

    def predict(self, X):
        self.clock[0] += len(X)
        return super().predict(X)


def test_experts_are_called_and_timed(data, clock, monkeypatch):
    X, y = data
    monkeypatch.setattr(Slow, "clock", clock)
    start = (X[:, 0] > 0.5).astype(int) + (X[:, 0] > -0.5)
    model = MixtureOfExpertsRegressor(Slow(), routing=TopK(1), init=start, **RUN).fit(X, y)
    report = routing_report(model, X)
    assert report.seconds_active == len(X) and report.seconds_total == 3 * len(X)
    assert_array_equal(report.seconds_per_row[report.load > 0], 1.0)
    assert np.isnan(report.score).all()


def test_frames_with_text_and_columns_of_experts(data):
    X, y = data
    table = pd.DataFrame({"x": X[:, 0], "z": X[:, 1], "c": np.where(X[:, 2] > 0, "s", "t")})
    encoder = make_column_transformer((OneHotEncoder(), ["c"]), remainder="passthrough")
    expert = make_pipeline(encoder, Ridge())
    columns = {"expert_features": ["x", "c"], "gate_features": ["x", "z"]}
    model = MixtureOfExpertsRegressor(expert, routing=TopK(1), **columns, **RUN).fit(table, y)
    report = routing_report(model, table, y)
    rows = model.route(table)[:, 0] > 0
    own = model.predict_experts(table)[rows, 0]
    assert_allclose(report.score[0], r2_score(y[rows], own))
    model = MixtureOfExpertsRegressor(expert_features=[["x"], ["z"], ["x", "z"]], **RUN)
    model.set_params(gate_features=["z"]).fit(table, y)
    expected = [r2_score(y, column) for column in model.predict_experts(table).T]
    assert_allclose(routing_report(model, table, y).score, expected)


def test_offsets_outputs_and_classes_that_are_missing(data, class_data):
    X, y = data
    rng = np.random.default_rng(0)
    log = np.log(rng.uniform(0.5, 2, len(y)))
    counts = rng.poisson(np.exp(log + y / 4))
    model = MixtureOfExpertsRegressor(family="poisson", **RUN).fit(X, counts, offset=log)
    expected = [r2_score(counts, column) for column in model.predict_experts(X, offset=log).T]
    assert_allclose(routing_report(model, X, counts, offset=log).score, expected)
    two = np.column_stack([y, -y])
    model = MixtureOfExpertsRegressor(DecisionTreeRegressor(max_depth=2), **RUN).fit(X, two)
    assert_allclose(
        routing_report(model, X, two).score[0], r2_score(two, model.predict_experts(X)[:, 0])
    )
    X, labels = class_data
    tree = DecisionTreeClassifier(max_depth=2)
    start = (labels == "ash").astype(int) + (X[:, 0] > 0)
    model = MixtureOfExpertsClassifier(tree, init=start, routing=TopK(1), **RUN).fit(X, labels)
    report = routing_report(model, X, labels)
    rows = model.route(X)[:, 0] > 0
    own = model.experts_[0].predict(X[rows])
    assert_allclose(report.score[0], accuracy_score(labels[rows], own))


def test_inside_a_pipeline(data):
    X, y = data
    mixture = MixtureOfExpertsRegressor(routing=Switch(), **RUN)
    pipeline = make_pipeline(StandardScaler(), mixture).fit(X, y)
    report = routing_report(pipeline, X, y)
    assert_allclose(report.load, pipeline[-1].routing_.loads_, atol=0.3 * len(X))
    inner = routing_report(pipeline[-1], pipeline[:-1].transform(X), y)
    assert_array_equal(report.load, inner.load)


def test_print_and_frame(routed, data):
    report = routing_report(routed, *data)
    text = str(report)
    assert text == repr(report)
    assert text.startswith("Routing of 240 rows to 3 experts: TopK()\n")
    lines = text.splitlines()
    assert len({len(line) for line in lines[2:6]}) == 1
    for words in ("importance", "R²", "µs/row", "experts per row", "2.00 (active fraction 0.67)"):
        assert words in text
    assert "overflow in fit   –" in text
    assert report._repr_html_().startswith("<pre>Routing of")
    frame = report.to_frame()
    assert list(frame.index) == report.names
    assert_array_equal(frame["load"], report.load)
    assert list(frame.columns)[-2:] == ["score", "seconds_per_row"]


def test_it_is_at_the_top():
    assert mixexp.routing_report is routing_report


BAD = {
    "length of y": ({"y": np.ones(3)}, r"y has shape \(3,\), and X has 240 rows"),
    "y is one number": ({"y": 1.0}, r"y has shape \(\)"),
    "y is text": ({"y": ["a"] * 240}, "y does not hold numbers"),
    "y is missing": ({"y": np.full(240, np.nan)}, "y has missing or infinite"),
    "columns of y": ({"y": np.ones((240, 2))}, "y has 2 columns, and the experts predict 1"),
    "length of weight": ({"sample_weight": np.ones(3)}, "sample_weight has shape"),
    "negative weight": ({"sample_weight": -np.ones(240)}, "sample_weight must be finite and not"),
    "no weight": ({"sample_weight": np.zeros(240)}, "not all 0"),
    "weight is text": ({"sample_weight": ["a"] * 240}, "sample_weight=list does not hold numbers"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(routed, data, case):
    arguments, message = BAD[case]
    with pytest.raises(ValueError, match=f"^routing_report: .*{message}"):
        routing_report(routed, data[0], **arguments)


def test_estimators_that_are_no_fitted_mixtures(data):
    with pytest.raises(NotFittedError, match=r"^routing_report: estimator=.* not fitted"):
        routing_report(MixtureOfExpertsRegressor(), data[0])
    with pytest.raises(TypeError, match=r"^routing_report: .*no gate_proba"):
        routing_report(LinearRegression().fit(*data), data[0])


@pytest.mark.parametrize("expert", [None, DecisionTreeRegressor(max_depth=2)])
def test_scores_with_a_shared_expert(data, expert):
    """Experts predict what they add to it, and scores are those of the sums."""
    X, y = data
    model = MixtureOfExpertsRegressor(expert, shared_expert=Ridge(), routing=TopK(1), **RUN)
    y = y + 10 * X[:, 1]
    report = routing_report(model.fit(X, y), X, y)
    for k, rows in enumerate(model.route(X).T > 0):
        own = model.predict_experts(X[rows])[:, k]
        assert_allclose(report.score[k], r2_score(y[rows], own))
