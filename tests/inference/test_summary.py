"""Standard errors against closed forms, invariances, and what is refused."""

import re
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._engine import em
from mixexp.families import StudentT
from mixexp.gates import ConstantGate, GaussianGate, SoftmaxGate
from mixexp.inference import summarize
from mixexp.inspection import column_names
from mixexp.routing import TopK

UNPENALISED = SoftmaxGate(alpha=0.0)
TIGHT = {"tol": 1e-10, "max_iter": 1000, "random_state": 0}


def two_lines(rng, n=600):
    X = rng.standard_normal((n, 2))
    first = rng.random(n) < 1 / (1 + np.exp(1 - 2 * X[:, 0]))
    y = np.where(first, 3 + 2 * X[:, 0] - X[:, 1], -2 * X[:, 0] + X[:, 1])
    return X, y + 0.5 * rng.standard_normal(n)


def two_experts(expert=None, **options):
    options = {"n_experts": 2, "gate": UNPENALISED, "n_init": 2, **TIGHT, **options}
    return MixtureOfExpertsRegressor(LinearRegression() if expert is None else expert, **options)


@pytest.fixture(scope="module")
def lines():
    X, y = two_lines(np.random.default_rng(3))
    return X, y, two_experts().fit(X, y)


def with_ones(X):
    return np.column_stack([np.ones(len(X)), X])


# ---------------------------------------------------------------- one expert: closed forms


def test_least_squares(rng):
    X = rng.standard_normal((80, 3)) * [1, 10, 1e-3] + [0, 5, 1]
    y = X @ [1.0, -0.2, 300.0] + rng.standard_normal(80)
    model = MixtureOfExpertsRegressor(LinearRegression(), n_experts=1).fit(X, y)
    A = with_ones(X)
    coef, rest, *_ = np.linalg.lstsq(A, y, rcond=None)
    inverse = np.linalg.inv(A.T @ A)
    usual = np.sqrt(inverse.diagonal() * rest[0] / (80 - 4))
    found = model.summary(X, y).estimates
    assert found.names == ["intercept", "x0", "x1", "x2", "dispersion"]
    assert_allclose(found.estimates[:4], coef, rtol=1e-6)
    assert_allclose(found.std_errors[:4] * np.sqrt(80 / 76), usual, rtol=1e-6)
    assert_allclose(found.std_errors[4], np.sqrt(rest[0] / 80) / np.sqrt(160), rtol=1e-6)
    error = y - A @ coef  # White's HC0
    white = inverse @ (A.T * error**2) @ A @ inverse
    robust = model.summary(X, y, cov_type="sandwich").estimates
    assert_allclose(robust.std_errors[:4], np.sqrt(white.diagonal()), rtol=1e-6)
    clusters = np.arange(80) // 5
    sums = np.stack([(A * error[:, None])[clusters == c].sum(axis=0) for c in range(16)])
    summary = model.summary(X, y, cov_type="sandwich", clusters=clusters)
    assert "sandwich, 16 clusters" in str(summary)
    robust = summary.estimates
    expected = np.sqrt((inverse @ sums.T @ sums @ inverse).diagonal())
    assert_allclose(robust.std_errors[:4], expected, rtol=1e-6)


def test_logistic_and_poisson(rng):
    X = rng.standard_normal((200, 2))
    A = with_ones(X)
    y = rng.random(200) < 1 / (1 + np.exp(-A @ [0.3, 1.0, -1.0]))
    model = MixtureOfExpertsClassifier(LogisticRegression(C=np.inf), n_experts=1, **TIGHT)
    found = model.fit(X, y).summary(X, y).estimates
    p = model.predict_proba(X)[:, 1]
    expected = np.sqrt(np.linalg.inv((A.T * (p * (1 - p))) @ A).diagonal())
    assert_allclose(found.std_errors, expected, rtol=1e-6)
    assert_allclose(found.estimates[1:], model.experts_[0].coef_[0])
    counts = rng.poisson(np.exp(A @ [0.5, 0.4, -0.2]))
    model = MixtureOfExpertsRegressor(
        PoissonRegressor(alpha=0), n_experts=1, family="poisson", **TIGHT
    )
    found = model.fit(X, counts).summary(X, counts).estimates
    expected = np.sqrt(np.linalg.inv((A.T * np.exp(A @ found.estimates)) @ A).diagonal())
    assert_allclose(found.std_errors, expected, rtol=1e-6)


# ---------------------------------------------------------------- two experts


def test_it_is_the_inverse_of_the_curvature(lines):
    """The profile of the log-likelihood along a coefficient falls by half at a standard error."""
    X, y, model = lines
    found = model.summary(X, y).estimates
    for place in (1, 5):  # a slope of either expert
        part, column = int(found.parts[place].split()[1]), int(found.names[place][1:])
        step = 0.2 * found.std_errors[place]
        falls = []
        for sign in (-1, 1):
            fixed = found.estimates[place] + sign * step
            target = y - 0.0
            resp = None
            for _ in range(2):  # the others adapt to a slope that is held, by plain EM
                resp = _held(X, target, model, part, column, fixed)
            falls.append(model.log_density(X, y).sum() - resp)
        assert_allclose(np.mean(falls), 0.5 * 0.2**2, rtol=0.02)


def _held(X, y, model, part, column, value):
    """Return the largest log-likelihood with a slope held, by EM from a model's parameters."""
    A = with_ones(X)
    coef = np.array([[e.intercept_, *e.coef_] for e in model.experts_])
    scale = model.dispersions_.copy()
    v = np.column_stack([model.gate_.intercept_, model.gate_.coef_])[1]
    v = v - np.column_stack([model.gate_.intercept_, model.gate_.coef_])[0]
    coef[part, column + 1] = value
    bound = -np.inf
    for _ in range(3000):
        second = 1 / (1 + np.exp(-A @ v))
        log_p = -0.5 * ((y[:, None] - A @ coef.T) / scale) ** 2 - np.log(scale)
        joint = log_p + np.log(np.column_stack([1 - second, second])) - 0.5 * np.log(2 * np.pi)
        total = np.logaddexp.reduce(joint, axis=1)
        resp = np.exp(joint - total[:, None])
        before, bound = bound, total.sum()
        if bound - before < 1e-11 * abs(bound):
            break
        for k in range(2):
            free = np.delete(np.arange(A.shape[1]), column + 1) if k == part else slice(None)
            rest = y - A[:, column + 1] * value if k == part else y
            B = A[:, free]
            w = resp[:, k]
            solved = np.linalg.solve((B.T * w) @ B, B.T @ (w * rest))
            coef[k, free] = solved
            scale[k] = np.sqrt(w @ (y - A @ coef[k]) ** 2 / w.sum())
        weight = second * (1 - second)
        v = v + np.linalg.solve((A.T * weight) @ A, A.T @ (resp[:, 1] - second))
    return bound


def test_gate_coefficients_are_centred_contrasts(lines):
    X, y, model = lines
    found = model.summary(X, y).estimates
    first = [i for i, part in enumerate(found.parts) if part == "gate 0"]
    second = [i for i, part in enumerate(found.parts) if part == "gate 1"]
    assert_allclose(found.estimates[first], -found.estimates[second], rtol=1e-8)
    assert_allclose(found.std_errors[first], found.std_errors[second], rtol=1e-8)
    joint = found.covariance[np.ix_(first, second)]
    assert_allclose(joint, -found.covariance[np.ix_(first, first)], rtol=1e-6)
    test = found.wald_test([*first, *second])
    assert test.df == len(first) and test.pvalue < 1e-6


def test_names_of_columns(rng):
    frame = pd.DataFrame({"age": rng.uniform(20, 60, 80), "income": rng.exponential(900, 80)})
    y = frame["age"] + 0.01 * frame["income"] + rng.standard_normal(80)
    mixture = MixtureOfExpertsRegressor(LinearRegression(), n_experts=1)
    pipeline = make_pipeline(StandardScaler(), mixture).fit(frame, y)
    inside = pipeline[:-1].transform(frame)
    found = pipeline[-1].summary(inside, y, feature_names=column_names(pipeline))
    assert found.estimates.names[:3] == ["intercept", "age, scaled", "income, scaled"]
    with pytest.raises(ValueError, match=r"feature_names=.* is not a list of 2 names"):
        pipeline[-1].summary(inside, y, feature_names=["age"])


def test_units_of_the_columns_do_not_matter(lines):
    X, y, model = lines
    moved = two_experts().fit(X * [1e3, 1e-2] + [5, 0], 10 * y)
    one, other = model.summary(X, y).estimates, moved.summary(X * [1e3, 1e-2] + [5, 0], 10 * y)
    slopes = [i for i, name in enumerate(one.names) if name.startswith("x")]
    assert_allclose(one.z_values[slopes], other.estimates.z_values[slopes], rtol=1e-4)


def test_frequencies_are_repeated_rows(lines):
    X, y, _ = lines
    count = np.random.default_rng(0).integers(0, 3, len(y))
    weighted = two_experts().fit(X, y, sample_weight=count)
    one = weighted.summary(X, y, sample_weight=count)
    X, y = X.repeat(count, axis=0), y.repeat(count)
    other = two_experts().fit(X, y).summary(X, y)
    assert one.facts["observations"] == other.facts["observations"] == str(count.sum())
    assert_allclose(one.estimates.std_errors, other.estimates.std_errors, rtol=1e-4)
    for clusters in (None, np.arange(len(count))):
        robust = weighted.summary(
            *lines[:2], sample_weight=count, cov_type="sandwich", clusters=clusters
        )
        assert np.all(robust.estimates.std_errors > 0)


def test_groups_of_one_row_are_rows_and_clusters_of_one_are_none(lines):
    X, y, model = lines
    grouped = two_experts().fit(X, y, groups=np.arange(len(y)))
    for cov_type in ("observed", "sandwich"):
        one = model.summary(X, y, cov_type=cov_type).estimates
        other = grouped.summary(X, y, groups=np.arange(len(y)), cov_type=cov_type).estimates
        assert_allclose(one.std_errors, other.std_errors, rtol=1e-4)
    clustered = model.summary(X, y, cov_type="sandwich", clusters=np.arange(len(y))).estimates
    assert_allclose(clustered.std_errors, one.std_errors, rtol=1e-9)


def test_groups_are_units_and_lie_in_one_cluster(rng):
    X, y = two_lines(rng, 400)
    groups = np.arange(400) // 2
    model = two_experts(gate=ConstantGate()).fit(X, y, groups=groups)
    summary = model.summary(X, y, groups=groups)
    assert summary.facts["groups"] == "200"
    model.summary(X, y, groups=groups, cov_type="sandwich", clusters=groups // 3)
    with pytest.raises(ValueError, match="same cluster"):
        model.summary(X, y, groups=groups, cov_type="sandwich", clusters=np.arange(400) // 3)


def test_a_penalty_shrinks_estimates_and_errors(lines):
    X, y, model = lines
    penalised = two_experts(Ridge(1.0), gate=SoftmaxGate(alpha=10.0)).fit(X, y)
    one, other = (m.summary(X, y).estimates for m in (model, penalised))
    slopes = [
        i for i, part in enumerate(one.parts) if part[:4] == "gate" and one.names[i][0] == "x"
    ]
    assert np.all(other.std_errors[slopes] < one.std_errors[slopes])


# ---------------------------------------------------------------- names and tables


def test_names_of_columns_missing_values_and_classes(rng):
    frame = pd.DataFrame(rng.standard_normal((300, 2)), columns=["age", "dose_mg"])
    y = np.array(["no", "so", "yes"])[rng.integers(3, size=300)]
    model = MixtureOfExpertsClassifier(LogisticRegression(C=1.0), n_experts=1).fit(frame, y)
    found = model.summary(frame, y).estimates
    assert found.outputs == ["no"] * 3 + ["so"] * 3 + ["yes"] * 3
    assert found.names == ["intercept", "age", "dose_mg"] * 3
    text = model.summary(frame, y).to_latex()
    assert r"dose\_mg" in text and text.count(r"\begin{tabular}") == 1


def test_columns_of_each_expert_and_constant_columns(rng):
    X, y = two_lines(rng)
    X = np.column_stack([X, np.ones(len(X))])
    model = two_experts(expert_features=[[0, 1, 2], [0]]).fit(X, y)
    found = model.summary(X, y).estimates
    names = [n for part, n in zip(found.parts, found.names, strict=True) if part == "expert 1"]
    assert names == ["intercept", "x0", "dispersion"]
    assert "x2" not in found.names


def test_columns_of_bases_have_names_of_their_own(lines):
    X, y, _ = lines
    model = two_experts(gate=SoftmaxGate(alpha=1.0), gate_basis="quantile").fit(X, y)
    found = model.summary(X, y).estimates
    gate = [name for part, name in zip(found.parts, found.names, strict=True) if part == "gate 0"]
    assert gate == ["intercept", *model.gate_basis_.get_feature_names_out()]
    assert found.names[:3] == ["intercept", "x0", "x1"]


def test_tables_say_the_same_in_all_forms(lines):
    X, y, model = lines
    summary = model.summary(X, y, level=0.9)
    frame = summary.to_frame()
    assert frame.index.names == ["part", "output", "name"]
    assert_array_equal(frame["std_error"], summary.estimates.std_errors)
    assert_allclose(frame["p_value"].iloc[1], summary.estimates.p_values[1])
    low, high = summary.estimates.intervals(0.9)[1]
    for text in (str(summary), summary.to_latex(), summary._repr_html_()):
        assert f"{low:.4g}" in text and f"{high:.4g}" in text
        assert "expert 1" in text and "gate" in text and "0.05" in text
    assert str(summary).startswith("MixtureOfExpertsRegressor, 2 experts\nobservations: 600")
    table = re.findall(r"^(?:intercept|x\d|---).*$", str(summary), re.MULTILINE)
    assert len(table) > 6 and len(set(map(len, table))) == 1
    assert_array_equal(summarize(model, X, y).estimates.estimates, summary.estimates.estimates)


def test_names_are_escaped_in_html(rng):
    frame = pd.DataFrame({"<b>": rng.standard_normal(50)})
    y = frame["<b>"] + rng.standard_normal(50)
    html = MixtureOfExpertsRegressor(n_experts=1).fit(frame, y).summary(frame, y)._repr_html_()
    assert "&lt;b&gt;" in html and "<b>" not in html


def test_held_parameters_have_no_error(lines):
    X, y, _ = lines
    model = two_experts(family=StudentT(df=4.0)).fit(X, y)
    found = model.summary(X, y).estimates
    held = [i for i, name in enumerate(found.names) if name == "degrees of freedom"]
    assert_allclose(found.estimates[held], 4.0)
    assert np.all(np.isnan(found.std_errors[held]))
    assert np.all(np.isnan(found.intervals()[held]))
    with pytest.raises(ValueError, match="no standard errors"):
        found.wald_test(held)


# ---------------------------------------------------------------- what is refused


def test_collinear_columns_and_experts_without_rows(lines):
    X, y, _ = lines
    doubled = np.column_stack([X, X[:, 0]])
    model = two_experts().fit(doubled, y)
    with pytest.raises(ValueError, match="near-singular"):
        model.summary(doubled, y)


@pytest.mark.parametrize(
    "change",
    [
        lambda X, y: (X[:300], y[:300]),
        lambda X, y: (X[1:], y[1:]),
        lambda X, y: (X, y + 0.001),
        lambda X, y: (np.vstack([X, X[:5]]), np.append(y, y[:5])),
    ],
)
def test_other_rows(lines, change):
    X, y, model = lines
    with pytest.raises(ValueError, match="and the fit has lower_bound_"):
        model.summary(*change(X, y))


def test_impossible_targets_are_refused_without_a_warning(rng):
    X, won = rng.normal(size=(60, 1)), rng.binomial(5, 0.4, 60)
    model = MixtureOfExpertsRegressor(n_experts=1, family="binomial").fit(X, won, trials=5)
    with pytest.raises(ValueError, match="needs whole numbers of successes"):
        model.summary(X, won)


def test_another_objective(lines):
    X, y, _ = lines
    labelled = two_experts().fit(X, y, expert_labels=np.where(np.arange(len(y)) < 50, 0, -1))
    hard = two_experts(assignment="hard").fit(X, y)
    for model in (labelled, hard):
        with pytest.raises(ValueError, match="has another objective"):
            model.summary(X, y)


def test_class_weights_are_those_of_the_fit(rng):
    X = rng.standard_normal((200, 2))
    y = (X[:, 0] + rng.logistic(size=200) > 0).astype(int)
    options = {"n_experts": 1, "tol": 1e-10}
    weighted = MixtureOfExpertsClassifier(
        LogisticRegression(), class_weight={0: 2, 1: 3}, **options
    ).fit(X, y)
    weight = np.where(y == 1, 3, 2)
    other = MixtureOfExpertsClassifier(LogisticRegression(), **options).fit(X, y, weight)
    expected = other.summary(X, y, weight).estimates.std_errors
    assert_allclose(weighted.summary(X, y).estimates.std_errors, expected, rtol=1e-6)


def test_separation_is_refused(rng):
    X = rng.standard_normal((300, 2))
    y = np.where(X[:, 0] > 0, 5 + X[:, 1], -5.0) + 0.1 * rng.standard_normal(300)
    for tol in (1e-6, 1e-9):
        model = two_experts(tol=tol)
        with pytest.warns(ConvergenceWarning, match="separates"):
            model.fit(X, y)
        with pytest.raises(ValueError, match="separates"):
            model.summary(X, y)


def test_too_many_parameters_are_refused_at_once(rng):
    X = sp.random(200, 1600, 0.01, format="csr", random_state=0)
    y = X @ rng.standard_normal(1600)
    model = MixtureOfExpertsRegressor(Ridge(), n_experts=2, n_init=1, max_iter=2, random_state=0)
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        model.fit(X, y)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"has \d+ parameters"):
        model.summary(X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    n_parameters = model._model.state.parameters.size
    assert peak < 8 * n_parameters**2 / 10  # no matrix of all pairs of parameters


def test_clusters_must_be_more_than_parameters(lines):
    X, y, model = lines
    for clusters in (np.zeros(600), np.arange(600) % 10):
        with pytest.raises(ValueError, match=r"clusters for 11 free parameters"):
            model.summary(X, y, cov_type="sandwich", clusters=clusters)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_parts_without_derivatives(lines):
    X, y, _ = lines
    for options in ({"family": "laplace"}, {"gate": GaussianGate()}):
        model = two_experts(**{**options, "tol": 1e-4, "max_iter": 200}).fit(X, y)
        with pytest.raises(ValueError, match=r"this mixture has (gate|family)="):
            model.summary(X, y)
    for options, reason in (
        ({"noise_expert": True}, "noise_expert=True"),
        ({"routing": TopK(1)}, r"routing=TopK\(k=1\)"),
        ({"expert": DecisionTreeRegressor(max_depth=2)}, "estimators as experts"),
    ):
        model = two_experts(**{**options, "tol": 1e-2, "n_init": 1}).fit(X, y)
        with pytest.raises(ValueError, match=f"this mixture has {reason}"):
            model.summary(X, y)
    pipeline = make_pipeline(StandardScaler(), two_experts()).fit(X, y)
    with pytest.raises(TypeError, match="got Pipeline"):
        summarize(pipeline, X, y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cov_type": "HC3"}, "cov_type must be one of 'observed', 'sandwich', got 'HC3'"),
        ({"clusters": np.zeros(600)}, "Set cov_type='sandwich'"),
        ({"clusters": np.zeros(5), "cov_type": "sandwich"}, r"shape \(600,\), got \(5,\)"),
        ({"clusters": 3, "cov_type": "sandwich"}, r"got \(\)"),
        ({"clusters": [None] * 600, "cov_type": "sandwich"}, "600 missing values"),
        ({"clusters": np.full(600, np.nan), "cov_type": "sandwich"}, "600 missing values"),
        ({"level": 1.5}, "level must be between 0 and 1, got 1.5"),
    ],
)
def test_parameters_are_checked(lines, options, message):
    X, y, model = lines
    with pytest.raises(ValueError, match=message):
        model.summary(X, y, **options)


def test_a_mixture_must_be_fitted(lines):
    X, y, _ = lines
    with pytest.raises(NotFittedError):
        MixtureOfExpertsRegressor().summary(X, y)


def test_intervals_of_positive_parameters_are_those_of_their_logarithms(lines):
    X, y, model = lines
    found = model.summary(X, y).estimates
    assert 0 < np.sum(found.positive) < len(found.positive)
    reach = 1.6448536269514722 * found.std_errors  # of the normal law, 0.95
    estimates, low_high = found.estimates[:, None], found.intervals(0.9)
    plain = estimates + reach[:, None] * [-1, 1]
    of_logs = estimates * np.exp((reach / found.estimates)[:, None] * [-1, 1])
    assert_allclose(low_high, np.where(found.positive[:, None], of_logs, plain), rtol=1e-9)


def test_wald_tests_do_not_depend_on_units():
    X, y = two_lines(np.random.default_rng(3))
    tests = []
    for scale in (1.0, 1e4):
        Z = X * [1 / scale, scale]
        tests.append(two_experts().fit(Z, y).summary(Z, y).estimates.wald_test([1, 2]))
    assert tests[0].df == tests[1].df == 2
    assert_allclose(tests[0].statistic, tests[1].statistic, rtol=1e-3)


def test_constraints_are_checked(lines):
    X, y, model = lines
    found = model.summary(X, y).estimates
    for constraints, message in (
        (np.ones((2, 3)), "one column a parameter"),
        ([99], r"name the positions \[99\]"),
        ([], "one column a parameter"),
        ([True, False], "one column a parameter"),
    ):
        with pytest.raises(ValueError, match=message):
            found.wald_test(constraints)
    for level in ("a", [0.5, 0.9], 1):
        with pytest.raises(ValueError, match=r"level must be between 0 and 1, got .*one number"):
            found.intervals(level)
    both = [found.parts.index("gate 0"), found.parts.index("gate 1")]  # they sum to 0
    assert found.wald_test(both, [0.5, -0.5]).df == 1
    with pytest.raises(ValueError, match="contradict"):
        found.wald_test(both, [1.0, 5.0])
    size = len(found.estimates)
    backwards = found.wald_test(np.arange(size)[::-1])
    assert_allclose(backwards.statistic, found.wald_test(np.eye(size)).statistic, rtol=1e-6)
    one = found.wald_test([1])
    assert_allclose(one.statistic, found.z_values[1] ** 2)
    assert_allclose(one.pvalue, found.p_values[1], atol=1e-300)
    mask = np.array(found.parts) == "expert 0"
    assert found.wald_test(mask) == found.wald_test(np.flatnonzero(mask))


def test_each_of_two_outputs_is_named(rng):
    X = rng.standard_normal((60, 1))
    Y = np.column_stack([X[:, 0], -X[:, 0]]) + 0.1 * rng.standard_normal((60, 2))
    model = MixtureOfExpertsRegressor(LinearRegression(), 1).fit(X, Y)
    assert set(model.summary(X, Y).estimates.outputs) == {"y0", "y1"}


def test_one_row_without_a_cluster_is_refused(lines):
    X, y, model = lines
    clusters = np.where(np.arange(len(y)) == 3, np.nan, np.arange(len(y)) // 5)
    with pytest.raises(ValueError, match="clusters has 1 missing values"):
        model.summary(X, y, cov_type="sandwich", clusters=clusters)


def test_criteria_are_those_of_the_mixture():
    X, y = two_lines(np.random.default_rng(1))
    model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    facts = model.summary(X, y).facts
    most = float(facts["parameters"]) + model.gate_.n_strengths
    assert 5 < float(facts["effective parameters"]) < most
    assert_allclose(float(facts["AIC"]), model.aic(X, y), rtol=1e-5)
    assert_allclose(float(facts["BIC"]), model.bic(X, y), rtol=1e-5)


def test_a_summary_takes_one_pass_for_the_information(lines, monkeypatch):
    passes, plain = [], em.sweep

    def counted(rows, state, e_step, informed=False):
        passes.append(informed)
        return plain(rows, state, e_step, informed)

    monkeypatch.setattr(em, "sweep", counted)
    X, y, _ = lines
    model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    passes.clear()
    model.summary(X, y)
    assert passes == [True]


def test_a_dispersion_on_its_way_to_zero_has_no_error(rng):
    """EM stops somewhere on the way; the error by the logarithm was 55 times too small there."""
    X = rng.uniform(-2, 2, (400, 1))
    y = rng.poisson(np.exp(1 + 0.3 * X[:, 0]))
    errors = []
    for seed in range(6):
        y = np.random.default_rng(seed).poisson(np.exp(1 + 0.3 * X[:, 0]))
        model = MixtureOfExpertsRegressor(
            PoissonRegressor(alpha=0), family="negative_binomial", n_experts=1, random_state=0
        ).fit(X, y)
        errors.append(model.summary(X, y).estimates.std_errors[-1])
    known = np.isfinite(errors)
    assert 0 < known.sum() < 6
    assert np.all(np.array(errors)[known] > 0.02)  # that of the information at 0 is .023


def test_odd_clusters_and_hypotheses_are_named(rng):
    X = rng.standard_normal((60, 2))
    model = MixtureOfExpertsRegressor(n_experts=1, random_state=0).fit(X, X[:, 0])
    odd = np.array([1, "a"] * 30, dtype=object)
    with pytest.raises(ValueError, match="clusters has values of several kinds"):
        model.summary(X, X[:, 0], cov_type="sandwich", clusters=odd)
    estimates = model.summary(X, X[:, 0] + 0.0).estimates
    for values in ([0, 0, 0], np.nan, ["a", "b"]):
        with pytest.raises(ValueError, match="wald_test: values="):
            estimates.wald_test([1, 2], values)
    with pytest.raises(ValueError, match="wald_test: constraints has values"):
        estimates.wald_test(np.full((1, len(estimates.estimates)), np.nan))
