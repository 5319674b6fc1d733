"""The page of `report`: what it holds, what it escapes, what it leaves out and says."""

import html
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.sparse import csr_array
from sklearn.compose import make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import mixexp
from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.gates import ConstantGate, HierarchicalGate, SoftmaxGate
from mixexp.inspection._report._calibrated import reliability
from mixexp.routing import TopK

NAMES = [
    *("model", "warnings", "scores", "regions", "experts", "profiles", "summary", "loads"),
    *("calibration", "convergence", "reproduce"),
]

#: Tags without an end.
EMPTY = {"meta", "link", "img", "br"}

ATTACK = "<script>alert(1)</script>"


class Page(HTMLParser):
    """What a page holds; raises where tags do not match."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.images = [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag not in EMPTY:
            self.open.append(tag)
        if tag == "section":
            self.ids.append(attrs["id"])
        if tag == "a":
            self.links.append(attrs["href"])
        if tag == "img":
            self.images.append(attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def fit(X, y, kind=MixtureOfExpertsRegressor, **params):
    return kind(**({"n_experts": 2, "n_init": 1, "random_state": 0} | params)).fit(X, y)


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 2))
    return X, np.where(X[:, 0] > 0, 2 * X[:, 1], -X[:, 0]) + 0.3 * rng.normal(size=120)


@pytest.fixture(scope="module")
def model(problem):
    return MixtureOfExpertsRegressor(n_experts=2, n_init=1, random_state=0).fit(*problem)


@pytest.fixture(scope="module")
def page(model, problem):
    return mixexp.report(model, *problem, cv=2)


@pytest.fixture
def undrawn(monkeypatch):
    """Pictures are made but not rendered, which takes most of the time."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *args, **kwargs: None)


def test_page_stands_alone(page):
    found = Page(page.html)
    assert found.ids == NAMES
    assert found.links == [f"#{name}" for name in NAMES]
    assert len(found.images) == 5
    assert all(each["alt"] and each["src"].startswith("data:image/png") for each in found.images)
    assert "http:" not in page.html and "https:" not in page.html and "<script" not in page.html
    assert "prefers-color-scheme: dark" in page.html
    assert page.left_out == {} and page.warnings == []


def test_everything_is_escaped(problem, untouched):
    X, y = problem
    frame = pd.DataFrame(X, columns=[ATTACK, '"b"'])
    frame["kind"] = np.where(y > 0, "u", "<i>v</i>")
    columns = make_column_transformer((OneHotEncoder(), ["kind"]), remainder=StandardScaler())
    mixture = MixtureOfExpertsClassifier(n_experts=2, n_init=1, random_state=0)
    crossed = (X[:, 0] > 0) == (X[:, 1] > 0)  # two experts, and some rows that fit neither
    crossed[::10] = ~crossed[::10]
    labels = pd.Series(np.where(crossed, ATTACK, "b&c"), name="<b>y</b>")
    made = make_pipeline(columns, mixture).fit(frame, labels)
    page = mixexp.report(made, frame, labels, cv=None, title=ATTACK)
    Page(page.html)
    assert not re.search("<script|<b>|<i>", page.html)
    for name in (ATTACK, "<b>y</b>", '"b"', "b&c"):
        assert html.escape(name) in page.html
    assert {"scores", "calibration"} <= set(page.left_out)
    assert f"<h1>{html.escape(ATTACK)}</h1>" in page.html and page.title == ATTACK
    assert html.escape(page.html) in page._repr_html_()


def test_coefficients_behind_a_pipeline_have_names(problem, undrawn):
    X, y = problem
    frame = pd.DataFrame(X, columns=["age", "<b>"])
    pipeline = make_pipeline(
        StandardScaler(), MixtureOfExpertsRegressor(n_experts=2, n_init=1, random_state=0)
    )
    page = mixexp.report(pipeline.fit(frame, y), frame, y, cv=None)
    summary = page.html.partition('<section id="summary"')[2].partition("</section>")[0]
    assert "age, scaled" in summary and "&lt;b&gt;, scaled" in summary and "x0" not in summary


def test_scores_are_of_rows_that_fits_have_not_seen(page, problem):
    X, y = problem
    gains = []
    for train, test in KFold(2, shuffle=True, random_state=0).split(X):
        two, one = (
            MixtureOfExpertsRegressor(n_experts=k, n_init=1, random_state=0)
            .fit(X[train], y[train])
            .log_density(X[test], y[test])
            for k in (2, 1)
        )
        gains.append(two - one)
    gains = np.concatenate(gains)
    said = re.search(r"targets ([\d.]+) nats a row more .*standard error ([\d.]+)\)", page.html)
    error = gains.std() / np.sqrt(len(gains))
    assert_allclose([float(each) for each in said.groups()], [gains.mean(), error], rtol=5e-3)


def test_given_test_rows(model, problem, undrawn):
    X, y = problem
    page = mixexp.report(model, X, y, X_test=X[:40] + 0.01, y_test=y[:40])
    score = model.score(X[:40] + 0.01, y[:40])
    single = fit(X, y, n_experts=1).score(X[:40] + 0.01, y[:40])
    row = re.search(r"R²</th><td>([−\d.]+)</td><td>([−\d.]+)", page.html).groups()
    found = [float(each.replace("−", "-")) for each in row]
    assert_allclose(found, [score, single], atol=5e-4)
    assert "on 40 rows that were given as X_test" in page.html


def test_scores_of_classes(problem, undrawn):
    X, y = problem
    labels = np.where(y > 0, "up", "down")
    made = fit(X, labels, MixtureOfExpertsClassifier, routing=TopK(1))
    page = mixexp.report(made, X, labels, X_test=-X, y_test=labels)
    proba = made.predict_proba(-X)
    own = proba[np.arange(len(y)), (labels == "up").astype(int)]
    for name, value in {
        "accuracy": made.score(-X, labels),
        "log loss, nats a row": -np.log(own).mean(),
        "Brier score": 2 * ((1 - own) ** 2).mean(),
    }.items():
        said = re.search(f"{name}</th><td>([\\d.]+)</td>", page.html)[1]
        assert_allclose(float(said), value, rtol=5e-3)
    assert "It is sent to 1.00 experts on average" in page.html


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_what_cannot_be_given_says_why(problem, undrawn):
    X, y = problem
    mixture = MixtureOfExpertsRegressor(
        n_experts=4, gate=HierarchicalGate(), n_init=1, random_state=0
    ).fit(csr_array(X), np.column_stack([y, X[:, 0]]))
    page = mixexp.report(mixture, csr_array(X), np.column_stack([y, X[:, 0]]), cv=None)
    assert {"scores", "regions", "experts", "summary", "calibration"} == set(page.left_out)
    for reason in page.left_out.values():
        assert f"Left out. {html.escape(reason)}" in page.html
    assert Page(page.html).ids == NAMES


def test_code_makes_the_same_model(page, model, problem):
    X, y = problem
    code = html.unescape(re.search(r"<code>(.*?)</code>", page.html, re.DOTALL)[1])
    made = {"X": X, "y": y}
    exec(code, made)
    assert made["model"].get_params() == model.get_params()
    assert_allclose(made["model"].predict(X), model.predict(X))


def test_same_input_gives_the_same_page_and_leaves_nothing_behind(
    page, model, problem, plt, untouched
):
    import matplotlib

    with matplotlib.rc_context({"axes.facecolor": "black", "savefig.dpi": 30}):
        settings = dict(matplotlib.rcParams)
        again = mixexp.report(model, *problem, cv=2)
        assert dict(matplotlib.rcParams) == settings
    assert again.html == page.html
    assert plt.get_fignums() == []


def test_save_writes_all_or_nothing(page, tmp_path):
    path = tmp_path / "page.html"
    assert page.save(str(path)) == path
    assert path.read_text(encoding="utf-8") == page.html
    broken = mixexp.inspection._report._report.Report("t", "\ud800", [], {})  # cannot be encoded
    with pytest.raises(UnicodeEncodeError):
        broken.save(path)
    assert path.read_text(encoding="utf-8") == page.html
    assert [each.name for each in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "case, said",
    [
        ("short", ["did not converge within max_iter=1"]),
        ("constant", ["does not depend on the columns"]),
        ("exact", ["The dispersion of expert", "runs through its rows"]),
        ("few", ["rows for each. Below 10"]),
        ("separated", ["Some parameters are not determined"]),
        ("useless", ["no better than one expert"]),
    ],
)
def test_warnings_in_words(case, said, problem, undrawn):
    X, y = problem
    kind, params, cv = MixtureOfExpertsRegressor, {}, None
    if case == "short":
        params = {"max_iter": 1, "acceleration": None}
    elif case == "constant":
        params = {"gate": ConstantGate()}
    elif case == "exact":
        y, params = np.where(X[:, 0] > 0, X[:, 1], 3 - X[:, 0]), {"expert": LinearRegression()}
    elif case == "few":
        X, y = X[:40], y[:40]
    elif case == "separated":
        kind, y = MixtureOfExpertsClassifier, X[:, 0] > 0
        params = {"expert": LogisticRegression(C=1e9), "gate": SoftmaxGate(alpha=0)}
    else:
        y, cv = X[:, 0] + np.random.default_rng(1).normal(size=len(X)), 2
    page = mixexp.report(fit(X, y, kind, **params), X, y, cv=cv)
    for words in said:
        assert any(words in text for text in page.warnings), page.warnings


def test_reliability_in_bins_of_equal_weight():
    p, came = np.array([0.1, 0.2, 0.8, 0.9, 0.9]), np.array([False, True, True, True, False])
    weight = np.array([1.0, 1.0, 2.0, 0.5, 0.5])
    mean, share = reliability(p, came, weight, 2)
    assert_allclose(mean, [0.15, (1.6 + 0.9) / 3])
    assert_allclose(share, [0.5, 2.5 / 3])
    assert_allclose(reliability(p[3:], came[3:], weight[3:], 4), ([0.9], [0.5]))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"X_test": np.zeros((3, 2))}, "X_test was given without y_test"),
        ({"y_test": np.zeros(3)}, "y_test was given without X_test"),
        ({"random_state": None}, "random_state=None must be a whole number"),
        ({"sample_weight": [1.0]}, "sample_weight has shape"),
        ({"offset": [1.0]}, "offset has shape"),
        ({"offset": 0, "X_test": np.zeros((3, 2)), "y_test": np.zeros(3)}, "X_test has none"),
    ],
)
def test_wrong_input_is_named(options, message, model, problem):
    X, y = problem
    if np.ndim(options.get("offset")) == 0 and "offset" in options:
        options = options | {"offset": np.zeros(len(y))}
    with pytest.raises(ValueError, match=f"report: .*{message}"):
        mixexp.report(model, X, y, **options)


def test_other_estimators_are_refused(problem):
    with pytest.raises(TypeError, match="report: estimator=LinearRegression is no mixture"):
        mixexp.report(LinearRegression().fit(*problem), *problem)
    with pytest.raises(NotFittedError, match=r"report: .*is not fitted"):
        mixexp.report(MixtureOfExpertsRegressor(), *problem)
    with pytest.raises(ValueError, match="report: X has shape"):
        mixexp.report(fit(*problem), problem[0][:5], problem[1])
