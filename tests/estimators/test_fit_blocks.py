"""`fit_blocks`: the fit of `fit`, from rows that are read anew in every pass."""

from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.gates import ConstantGate, GaussianGate, HierarchicalGate, SoftmaxGate
from mixexp.routing import ExpertChoice, Switch, TopK, TopP

HAS_DASK = find_spec("dask") is not None

N_ROWS = 9000
CUTS = (2000, 2001, 7000)


def factory_of(X, y, weight=None, cuts=CUTS):
    """Return a factory of runs that end at these rows."""

    def runs():
        ends = [0, *cuts, X.shape[0]]
        for start, stop in zip(ends[:-1], ends[1:], strict=True):
            here = slice(start, stop)
            x = X.iloc[here] if hasattr(X, "iloc") else X[here]
            yield (x, y[here]) if weight is None else (x, y[here], weight[here])

    return runs


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N_ROWS, 3))
    right = X[:, 0] > 0
    noise = rng.standard_normal(N_ROWS)
    return {
        "X": X,
        "numbers": np.where(right, 3 + X[:, 1], -2 * X[:, 1] - 3) + 0.3 * noise,
        "counts": rng.poisson(np.exp(np.where(right, 1 + 0.5 * X[:, 1], -0.5 * X[:, 1]))),
        "classes": np.where(np.where(right, X[:, 1], -X[:, 1]) + 0.3 * noise > 0, "yes", "no"),
        "positive": np.exp(np.where(right, 2 + X[:, 1], -X[:, 1]) + 0.1 * noise),
        "weight": rng.integers(0, 3, N_ROWS).astype(float),
    }


def fit_on_dask(model, X, y, weight=None):
    """Return the fit on Dask partitions of other lengths than runs and blocks."""
    import dask
    import dask.array as da

    chunks = (1700, *[1825] * 4)
    parts = [None if part is None else da.from_array(part) for part in (X, y, weight)]
    with dask.config.set(scheduler="synchronous"):
        return model.fit(*(part if part is None else part.rechunk({0: chunks}) for part in parts))


def assert_same_fit(model, X, y, weight=None, factory=None):
    whole = clone(model).fit(X, y, weight)
    parts = clone(model).fit_blocks(factory or factory_of(X, y, weight))
    fits = [parts]
    if HAS_DASK:
        fits.append(fit_on_dask(clone(model), X, y, weight))
    for fit in fits:
        assert fit.n_iter_ == whole.n_iter_
        assert_allclose(fit.lower_bounds_, whole.lower_bounds_, rtol=1e-10)
        assert_allclose(fit.usage_, whole.usage_, rtol=1e-8)
        assert_allclose(fit.hard_loads_, whole.hard_loads_)
        assert_allclose(fit.gate_proba(X[:50]), whole.gate_proba(X[:50]), rtol=1e-6, atol=1e-12)
        assert fit.n_features_in_ == whole.n_features_in_
    return whole, parts


REGRESSORS = {
    "default": {},
    "threads": {"n_jobs": 2},
    "student_t": {"family": "student_t", "max_iter": 5},
    "laplace": {"family": "laplace", "max_iter": 5},
    "constant": {"gate": ConstantGate()},
    "gaussian": {"gate": GaussianGate()},
    "tree": {"gate": HierarchicalGate([2]), "max_iter": 5},
    "usage": {"gate": SoftmaxGate(usage_prior=3.0)},
    "noise": {"noise_expert": True},
    "hard": {"assignment": "hard"},
    "stochastic": {"assignment": "stochastic", "max_iter": 5},
    "basis": {"gate_basis": "quantile"},
    "columns": {"gate_features": [0], "expert_features": [[1, 2], [0, 1]]},
    "routed": {"routing": TopP(0.9), "max_iter": 5},
    "emstep": {"acceleration": None, "max_iter": 3},
}


@pytest.mark.filterwarnings("ignore:.*did not converge")
@pytest.mark.parametrize("options", REGRESSORS.values(), ids=REGRESSORS)
def test_numbers(data, options):
    options = {"n_experts": 2, "n_init": 1, "random_state": 0, **options}
    whole, parts = assert_same_fit(
        MixtureOfExpertsRegressor(**options), data["X"], data["numbers"], data["weight"]
    )
    assert_allclose(parts.predict(data["X"][:50]), whole.predict(data["X"][:50]), rtol=1e-6)


@pytest.mark.filterwarnings("ignore:.*did not converge")
@pytest.mark.parametrize("family", ["poisson", "gamma"])
def test_families_with_a_log_link(data, family):
    y = data["counts" if family == "poisson" else "positive"]
    model = MixtureOfExpertsRegressor(
        n_experts=2, family=family, n_init=1, max_iter=5, random_state=0
    )
    assert_same_fit(model, data["X"], y)


@pytest.mark.parametrize("class_weight", [None, "balanced", {"yes": 2.0, "no": 0.5}])
@pytest.mark.parametrize("weighted", [False, True])
def test_classes(data, class_weight, weighted):
    model = MixtureOfExpertsClassifier(
        n_experts=2, class_weight=class_weight, n_init=1, random_state=0
    )
    weight = data["weight"] if weighted else None
    whole, parts = assert_same_fit(model, data["X"], data["classes"], weight)
    assert_array_equal(parts.classes_, whole.classes_)
    assert parts.classes_.dtype == whole.classes_.dtype
    assert_array_equal(parts.predict(data["X"]), whole.predict(data["X"]))


def test_classes_may_be_absent_from_runs_and_without_weight(data):
    y = np.where(data["X"][:, 1] > 0, 1, 0)
    y[5], order = 7, np.argsort(y, kind="stable")
    weight = np.ones(N_ROWS)
    weight[5] = 0.0
    X, y, weight = data["X"][order], y[order], weight[order]
    model = MixtureOfExpertsClassifier(n_experts=2, n_init=1, random_state=0)
    _, parts = assert_same_fit(model, X, y, weight)
    assert_array_equal(parts.classes_, [0, 1])


def test_kinds_of_runs(data):
    X, y = data["X"], data["numbers"]
    model = MixtureOfExpertsRegressor(n_experts=2, n_init=1, random_state=0)
    thin = sp.csr_array(np.where(np.abs(X) > 0.5, X, 0.0))
    whole = clone(model).fit(thin, y)
    parts = clone(model).fit_blocks(factory_of(thin, y))
    assert_allclose(parts.lower_bound_, whole.lower_bound_, rtol=1e-10)
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    parts = clone(model).set_params(gate_features=["a"]).fit_blocks(factory_of(frame, y))
    assert_array_equal(parts.feature_names_in_, ["a", "b", "c"])
    assert parts.predict(frame).shape == (N_ROWS,)
    two = np.stack([y, -y], axis=1)
    assert_same_fit(model, X.astype(np.float32), two)


@pytest.mark.filterwarnings("ignore:.*did not converge")
@pytest.mark.parametrize("n_columns", [60, 300])
@pytest.mark.parametrize("weighted", [False, True])
def test_wide_sparse_runs_are_not_filled_in(data, n_columns, weighted):
    rng = np.random.default_rng(2)
    y, weight = data["numbers"], data["weight"] if weighted else None
    X = sp.csr_array(rng.random((N_ROWS, n_columns)) * (rng.random((N_ROWS, n_columns)) < 0.02))
    X = sp.hstack([sp.csr_array(data["X"] * (rng.random((N_ROWS, 3)) < 0.3)), X], format="csr")
    model = MixtureOfExpertsRegressor(
        n_experts=2, init="kmeans", n_init=1, max_iter=2, random_state=0
    )
    whole = clone(model).fit(X, y, weight)
    parts = clone(model).fit_blocks(factory_of(X, y, weight))
    assert parts._model.bank.design.sparse
    assert_allclose(parts.lower_bounds_, whole.lower_bounds_, rtol=1e-10)


def test_missing_values_and_few_distinct_rows(data):
    rng = np.random.default_rng(1)
    X = np.round(data["X"])
    model = MixtureOfExpertsRegressor(n_experts=2, n_init=1, random_state=0)
    assert_same_fit(model, X, np.round(data["numbers"]))
    X = np.where(rng.random(X.shape) < 0.1, np.nan, data["X"])
    with pytest.raises(ValueError, match="contains NaN"):
        model.fit_blocks(factory_of(X, data["numbers"]))
    assert not hasattr(model, "experts_")


def test_relative_weights_are_rescaled_and_empty_runs_skipped(data):
    X, y, weight = data["X"], data["numbers"], data["weight"] / 10
    weight[: CUTS[0]] = 0.0  # a run without weight
    model = MixtureOfExpertsRegressor(n_experts=2, n_init=1, random_state=0)
    with pytest.warns(UserWarning, match="were rescaled"):
        parts = clone(model).fit_blocks(factory_of(X, y, weight, cuts=(0, *CUTS)))
    with pytest.warns(UserWarning, match="were rescaled"):
        whole = clone(model).fit(X, y, weight)
    assert_allclose(parts.lower_bound_, whole.lower_bound_, rtol=1e-10)


def test_results_do_not_depend_on_where_runs_end(data):
    X, y = data["X"], data["numbers"]
    model = MixtureOfExpertsRegressor(n_experts=2, n_init=1, random_state=0)
    one = clone(model).fit_blocks(factory_of(X, y))
    other = clone(model).fit_blocks(factory_of(X, y, cuts=range(500, N_ROWS, 500)))
    assert one.lower_bound_ == other.lower_bound_
    assert_array_equal(one.predict(X), other.predict(X))
    with config_context(working_memory=1):
        thin = clone(model).fit_blocks(factory_of(X, y))
    assert_allclose(thin.lower_bound_, one.lower_bound_, rtol=1e-10)


@pytest.mark.parametrize("later", [2, 5])
@pytest.mark.parametrize("how", ["value", "order", "fewer", "target"])
def test_other_rows_in_a_later_pass_are_refused(data, later, how):
    X, y = data["X"], data["numbers"]
    n_calls = 0

    def runs():
        nonlocal n_calls
        n_calls += 1
        x, t, n = X.copy(), y.copy(), N_ROWS
        if n_calls >= later:
            x[7, 1] += how == "value"
            t[7] += how == "target"
            n -= how == "fewer"
            if how == "order":
                x[[3, 4]] = x[[4, 3]]
        yield x[:n], t[:n]

    model = MixtureOfExpertsRegressor(n_experts=2, random_state=0)
    with pytest.raises(ValueError, match=r"factory\(\) yields other rows than in its first pass"):
        model.fit_blocks(runs)
    assert n_calls == later
    assert not hasattr(model, "experts_")


def test_a_generator_that_is_used_up_is_refused(data):
    runs = factory_of(data["X"], data["numbers"])()
    model = MixtureOfExpertsRegressor(n_experts=2)
    with pytest.raises(ValueError, match="other rows than in its first pass: 0 rows, then 9000"):
        model.fit_blocks(lambda: runs)
    with pytest.raises(TypeError, match="which cannot be called"):
        model.fit_blocks(runs)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (lambda X, y: (X[:, :2], y), "run 1 of factory.*2 features"),
        (lambda X, y: (X.astype(np.float32), y), "run 1 of factory.*float32.*float64"),
        (lambda X, y: (sp.csr_array(X), y), "sparse X of float64.*dense"),
        (lambda X, y: (X, y, np.ones(len(y))), "float64, y and weights.*no weights"),
        (lambda X, y: (X, np.stack([y, y], 1)), "2 outputs"),
        (lambda X, y: (X, y[1:]), "run 1 of factory.*inconsistent"),
        (lambda X, y: X, "run 1 of factory.*must be .X, y."),
        (lambda X, y: (X, y + np.inf), "run 1 of factory.*infinity"),
    ],
)
def test_runs_of_other_kinds_are_refused(data, second, message):
    X, y = data["X"], data["numbers"]
    model = MixtureOfExpertsRegressor(n_experts=2)
    with pytest.raises((ValueError, TypeError), match=message):
        model.fit_blocks(lambda: iter([(X, y), second(X, y)]))


def test_names_of_features_are_checked(data):
    frame = pd.DataFrame(data["X"], columns=["a", "b", "c"])
    runs = [(frame, data["numbers"]), (frame[["b", "a", "c"]], data["numbers"])]
    with pytest.raises(ValueError, match=r"run 1 of factory(.|\n)*same order"):
        MixtureOfExpertsRegressor(n_experts=2).fit_blocks(lambda: iter(runs))


@pytest.mark.parametrize("runs", [[], [(np.zeros((0, 2)), np.zeros(0))]])
@pytest.mark.parametrize("allow_gather", [False, True])
def test_no_rows_are_refused(runs, allow_gather):
    expert = KNeighborsRegressor() if allow_gather else None
    model = MixtureOfExpertsRegressor(expert, n_experts=2)
    with pytest.raises(ValueError, match="yielded no rows"):
        model.fit_blocks(lambda: runs, allow_gather=allow_gather)
    with pytest.raises(ValueError, match="zero for all rows"):
        MixtureOfExpertsRegressor().fit_blocks(lambda: [(np.eye(3), np.ones(3), np.zeros(3))])


@pytest.mark.parametrize(
    ("options", "who"),
    [
        ({"expert": KNeighborsRegressor()}, "expert=KNeighborsRegressor"),
        ({"gate": LogisticRegression()}, "gate=LogisticRegression"),
        ({"shared_expert": KNeighborsRegressor()}, "shared_expert is fitted"),
        ({"routing": Switch()}, "routing=Switch"),
        ({"routing": ExpertChoice()}, "routing=ExpertChoice"),
        ({"routing": TopK(1, balance="bias")}, "routing=TopK"),
        ({"init": np.arange(N_ROWS) % 2}, "init has a value for every row"),
    ],
)
def test_parts_that_need_all_rows_are_refused(data, options, who):
    model = MixtureOfExpertsRegressor(n_experts=2, **{"expert": None, **options})
    with pytest.raises(TypeError, match=f"{who}.*allow_gather=True"):
        model.fit_blocks(factory_of(data["X"], data["numbers"]))


def test_with_leave_all_rows_are_gathered(data):
    X, y = data["X"][:300], data["numbers"][:300]
    init = (X[:, 0] > 0).astype(int)
    model = MixtureOfExpertsRegressor(n_experts=2, init=init, random_state=0)
    weight = data["weight"][:300]
    whole = clone(model).fit(X, y, weight)
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    for kind in (X, frame):
        runs = factory_of(kind, y, weight, cuts=(100, 150))
        parts = clone(model).fit_blocks(runs, allow_gather=True)
        assert_array_equal(parts.predict(kind), whole.predict(X))
    thin = clone(model).fit_blocks(factory_of(sp.csr_array(X), y, cuts=(100,)), allow_gather=True)
    assert_allclose(thin.predict(X), clone(model).fit(X, y).predict(X), rtol=1e-6)


@pytest.mark.parametrize("allow_gather", [False, True])
def test_a_factory_without_yield_is_refused(allow_gather):
    with pytest.raises(TypeError, match=r"MixtureOfExpertsRegressor: factory\(\) returned None"):
        MixtureOfExpertsRegressor().fit_blocks(lambda: None, allow_gather=allow_gather)


@pytest.mark.filterwarnings("ignore:.*were rescaled to a mean of 1")
def test_relative_weights_of_classes_are_rescaled_over_all_runs(data):
    """All are below 1, as sums over the rows of a run and a class are not."""
    model = MixtureOfExpertsClassifier(n_experts=2, n_init=1, random_state=0)
    assert_same_fit(model, data["X"], data["classes"], 0.1 * data["weight"])


@pytest.mark.parametrize("names", [["0", "1"], ["no", "yes"]])
def test_labels_of_two_kinds_are_refused(data, names):
    X, numbers = data["X"], (data["numbers"] > 0).astype(int)
    runs = [(X, np.array(names)[numbers]), (X, numbers)]
    with pytest.raises(ValueError, match=r"labels of dtype .*Give labels of one kind"):
        MixtureOfExpertsClassifier(n_experts=2).fit_blocks(lambda: iter(runs))


def test_tiny_targets_are_judged_over_all_runs():
    """A run may vary by little, or not at all: what counts is the range of all."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 3))
    y = np.abs(X[:, 0])
    y[:50] = np.where(np.arange(50) % 2, 0, 1e-170)
    model = MixtureOfExpertsRegressor(n_experts=2, random_state=0, n_init=2)
    expected = model.fit(X, y).lower_bound_
    runs = [(X[:50], y[:50]), (X[50:], y[50:])]
    assert_allclose(model.fit_blocks(lambda: iter(runs)).lower_bound_, expected, rtol=1e-9)
    online = MixtureOfExpertsRegressor(n_experts=2, random_state=0, n_init=2)
    for start in range(550, -1, -50):
        online.partial_fit(X[start : start + 50], y[start : start + 50])
    assert np.all(np.isfinite(online.predict(X)))
    runs = [(X[:300], np.zeros(300)), (X[300:], np.full(300, 1e-160))]
    with pytest.raises(ValueError, match="y goes over a range of 1e-160"):
        model.fit_blocks(lambda: iter(runs))


def test_underflow_in_runs_is_no_error():
    rng = np.random.default_rng(0)
    X = rng.uniform(-3, 3, (400, 2))
    y = np.sin(2 * X[:, 0]) * 3 + 0.1 * rng.standard_normal(400)
    y[:60] = 0
    model = MixtureOfExpertsRegressor(n_experts=3, random_state=0, n_init=2, tol=1e-3)
    expected = model.fit_blocks(lambda: iter([(X, y)])).lower_bounds_
    with np.errstate(under="raise"):
        model.fit_blocks(lambda: iter([(X, y)]))
        assert np.geterr()["under"] == "raise"
    assert_array_equal(model.lower_bounds_, expected)
