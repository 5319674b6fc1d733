"""`partial_fit`: online EM, which ends close to EM, and follows a drift."""

import pickle
import re

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.gates import ConstantGate, GaussianGate, HierarchicalGate, SoftmaxGate
from mixexp.routing import TopK

N_ROWS, BATCH = 24_000, 2000

#: Nats a row that online EM may end below EM on held-out rows.
NEAR = 0.01


@pytest.fixture(autouse=True)
def small_start(monkeypatch):
    monkeypatch.setattr("mixexp._estimators.streaming.START_ROWS", 4000)
    monkeypatch.setattr("mixexp._estimators.streaming.STEP_ROWS", 1000)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N_ROWS, 3))
    right = X[:, 0] > 0
    noise = rng.standard_normal(N_ROWS)
    return {
        "X": X,
        "numbers": np.where(right, 1 + X[:, 1], -2 * X[:, 1] - 1) + 0.5 * noise,
        "counts": rng.poisson(np.exp(np.where(right, 1 + 0.5 * X[:, 1], -0.5 * X[:, 1]))),
        "classes": np.where(np.where(right, X[:, 1], -X[:, 1]) + 0.5 * noise > 0, "yes", "no"),
        "positive": np.exp(np.where(right, 1 + X[:, 1], -X[:, 1]) + 0.3 * noise),
    }


def learnt(model, X, y, weight=None, batch=BATCH, **more):
    for start in range(0, X.shape[0], batch):
        here = slice(start, start + batch)
        w = None if weight is None else weight[here]
        model.partial_fit(X[here], y[here], w, **more)
        more = {}
    return model


def assert_near(model, X, y, **more):
    """Assert that online EM ends close to EM on held-out rows."""
    old, new = slice(0, -4000), slice(-4000, None)
    whole = clone(model).fit(X[old], y[old])
    online = learnt(clone(model), X[old], y[old], **more)
    gap = whole.log_density(X[new], y[new]).mean() - online.log_density(X[new], y[new]).mean()
    assert gap < NEAR
    return online


REGRESSORS = {
    "default": {},
    "power 1": {"online_step": 1.0},
    "gaussian": {"gate": GaussianGate()},
    "diag": {"gate": GaussianGate("diag")},
    "tree": {"gate": HierarchicalGate([2])},
    "noise": {"noise_expert": True},
    "hard": {"assignment": "hard"},
    "temperature": {"gate": SoftmaxGate(temperature=2.0)},
    "columns": {"gate_features": [0], "expert_features": [[1, 2], [0, 1]]},
    "student_t": {"family": "student_t"},
    "laplace": {"family": "laplace"},
}


@pytest.mark.filterwarnings("ignore:.*did not converge", "ignore:.*separates")
@pytest.mark.parametrize("options", REGRESSORS.values(), ids=REGRESSORS)
def test_numbers(data, options):
    options = {"n_experts": 2, "n_init": 3, "max_iter": 40, "random_state": 0, **options}
    model = assert_near(MixtureOfExpertsRegressor(**options), data["X"], data["numbers"])
    assert model.n_iter_ == 16
    assert len(model.usage_) == options["n_experts"] + options.get("noise_expert", False)
    assert_allclose(model.usage_.sum(), 1.0)
    assert_allclose(model.hard_loads_.sum(), N_ROWS - 4000)


@pytest.mark.filterwarnings("ignore:.*did not converge")
@pytest.mark.parametrize("family", ["poisson", "gamma"])
def test_families_with_a_log_link(data, family):
    y = data["counts" if family == "poisson" else "positive"]
    model = MixtureOfExpertsRegressor(n_experts=2, family=family, n_init=3, random_state=0)
    assert_near(model, data["X"], y)


@pytest.mark.filterwarnings("ignore:.*did not converge", "ignore:.*separates")
@pytest.mark.parametrize("n_classes", [2, 3])
def test_classes(data, n_classes):
    y = data["classes"].astype("U5")
    if n_classes == 3:
        y[data["X"][:, 2] > 1] = "maybe"
    model = MixtureOfExpertsClassifier(n_experts=2, n_init=3, random_state=0)
    online = assert_near(model, data["X"], y, classes=np.unique(y)[::-1])
    assert_array_equal(online.classes_, np.unique(y))


@pytest.mark.parametrize("gate", [ConstantGate(), GaussianGate()])
def test_all_rows_count_alike_where_statistics_are_sums(data, gate):
    """With one expert there is no E-step: online EM gives the fit to all rows."""
    X, y = data["X"], data["numbers"]
    weight = np.random.default_rng(1).integers(0, 3, N_ROWS).astype(float)
    expert = LinearRegression()  # penalties are in units of the columns of the start
    model = MixtureOfExpertsRegressor(expert, n_experts=1, gate=gate, online_step=1.0)
    whole = clone(model).fit(X, y, weight)
    online = learnt(clone(model), X, y, weight, batch=1500)
    assert_allclose(online.predict(X[:50]), whole.predict(X[:50]), rtol=1e-8)
    assert_allclose(online.dispersions_, whole.dispersions_, rtol=1e-8)


def test_a_drift_is_followed_with_forgetting(data):
    X, old, new = data["X"], slice(0, 8000), slice(20_000, None)
    y = data["numbers"] + 2 * X[:, 2]
    y[old] = data["numbers"][old]
    model = MixtureOfExpertsRegressor(n_experts=2, online_step=1.0, n_init=3, random_state=0)
    aware = clone(model).fit(X[8000:20_000], y[8000:20_000])
    loss = {}
    for window in (3e3, None):
        online = clone(model).set_params(online_forget=window)
        learnt(online, X[: new.start], y[: new.start])
        gap = aware.log_density(X[new], y[new]) - online.log_density(X[new], y[new])
        loss[window] = gap.mean()
    assert loss[3e3] < 0.05
    assert loss[None] > 0.5


def test_long_batches_take_several_steps(data):
    X, y = data["X"][:8000], data["numbers"][:8000]
    model = MixtureOfExpertsRegressor(n_experts=2, n_init=3, random_state=0)
    one = learnt(clone(model), X, y, batch=2000)
    other = clone(model).partial_fit(X[:2000], y[:2000]).partial_fit(X[2000:4000], y[2000:4000])
    other.partial_fit(X[4000:], y[4000:])
    assert one.n_iter_ == other.n_iter_ == 4
    assert_allclose(one.predict(X), other.predict(X), rtol=1e-10)
    with_threads = learnt(clone(model).set_params(n_jobs=2), X, y)
    assert_array_equal(one.predict(X), with_threads.predict(X))


def test_arrays_may_be_filled_again(data):
    X, y = data["X"][:100].copy(), data["numbers"][:100].copy()
    weight = np.ones(100)
    model = MixtureOfExpertsRegressor(n_experts=2, n_init=1, random_state=0)
    known = clone(model).fit(data["X"][:200], data["numbers"][:200])
    model.partial_fit(X, y, weight)
    X[:], y[:], weight[:] = data["X"][100:200], data["numbers"][100:200], 1.0
    model.partial_fit(X, y, weight)
    assert_allclose(model.predict(X), known.predict(X), rtol=1e-10)


@pytest.mark.parametrize(
    "change", [{"n_experts": 3}, {"family": "poisson"}, {"gate": SoftmaxGate()}]
)
def test_a_mixture_keeps_its_shape(data, change):
    X, y = data["X"][:100], data["numbers"][:100]
    model = MixtureOfExpertsRegressor(n_experts=2, n_init=1, random_state=0).partial_fit(X, y)
    model.set_params(n_jobs=1, online_forget=500.0).partial_fit(X, y)
    with pytest.raises(ValueError, match=f"{next(iter(change))}=.* in the first call"):
        model.set_params(**change).partial_fit(X, y)


def test_rows_are_collected_for_the_start(data):
    X, y = data["X"], data["numbers"]
    model = MixtureOfExpertsRegressor(n_experts=2, n_init=3, random_state=0)
    model.partial_fit(X[:5], y[:5])
    with pytest.raises(NotFittedError):
        model.predict(X)
    model.partial_fit(X[5:100], y[5:100])
    few = clone(model).fit(X[:100], y[:100])
    assert_array_equal(model.predict(X), few.predict(X))
    model.partial_fit(X[100:150], y[100:150])  # fewer than twice as many
    assert_array_equal(model.predict(X), few.predict(X))
    model.partial_fit(X[150:4000], y[150:4000])
    assert_array_equal(model.predict(X), clone(model).fit(X[:4000], y[:4000]).predict(X))
    assert not model._memory.batches
    again = pickle.loads(pickle.dumps(model))
    for each in (model, again):
        each.partial_fit(X[4000:6000], y[4000:6000])
    assert_array_equal(model.predict(X), again.predict(X))
    model.fit(X[:100], y[:100])
    assert_array_equal(model.predict(X), few.predict(X))
    assert not hasattr(model, "_memory")


def test_kinds_of_rows(data):
    X, y = data["X"][:6000], data["numbers"][:6000]
    model = MixtureOfExpertsRegressor(n_experts=2, n_init=3, random_state=0)
    dense = learnt(clone(model), X, y)
    thin = learnt(clone(model), sp.csr_array(X), y)
    assert_allclose(thin.predict(X), dense.predict(X), rtol=1e-8)
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    named = clone(model)
    for start in range(0, 6000, 2000):
        named.partial_fit(frame.iloc[start : start + 2000], y[start : start + 2000])
    assert_array_equal(named.feature_names_in_, ["a", "b", "c"])
    assert_array_equal(named.predict(frame), dense.predict(X))
    weighted = learnt(clone(model), X, y, np.ones(6000))
    assert_allclose(weighted.predict(X), dense.predict(X), rtol=1e-10)
    two = learnt(clone(model), X, np.stack([y, y + 1], axis=1))
    assert two.predict(X).shape == (6000, 2)
    with pytest.raises(ValueError, match=r"y has shape \(6000,\).*first batch was"):
        two.partial_fit(X, y)
    with pytest.raises(ValueError, match="features"):
        dense.partial_fit(X[:, :2], y)
    with pytest.raises(ValueError, match="NaN"):
        dense.partial_fit(np.where(X > 2, np.nan, X), y)


@pytest.mark.filterwarnings("ignore:.*did not converge")
def test_four_experts(data):
    X, rng = data["X"], np.random.default_rng(1)
    quarter = 2 * (X[:, 0] > 0) + (X[:, 1] > 0)
    slopes = np.array([[5, 1], [-5, -1], [10, 2], [-10, 0]])[quarter]
    y = slopes[:, 0] + slopes[:, 1] * X[:, 2] + 0.5 * rng.standard_normal(N_ROWS)
    assert_near(MixtureOfExpertsRegressor(n_experts=4, n_init=3, random_state=0), X, y)


def test_a_call_that_fails_changes_nothing(data):
    X, y = data["X"], data["numbers"]
    model = MixtureOfExpertsRegressor(n_experts=2, n_init=3, random_state=0)
    model.partial_fit(X[:1000], y[:1000])
    before = vars(model).copy()
    with pytest.raises(ValueError, match="infinity"):
        model.partial_fit(X[:1000], y[:1000] + np.inf)
    assert vars(model) == before
    assert model._memory.n_rows == 1000


def test_predictions_stay_within_the_range_of_all_rows(data):
    X, y = data["X"][:6000], data["numbers"][:6000].copy()
    y[5000] = 40.0
    model = MixtureOfExpertsRegressor(n_experts=2, gate_features=[0], n_init=3, random_state=0)
    model.set_params(bound_predictions=True)
    far = np.array([[1.0, 1e3, 0.0], [-1.0, 1e3, 0.0]])
    assert_allclose(learnt(clone(model), X, y).predict(far), [40.0, y.min()])


def test_what_classes_need(data):
    X, y = data["X"], data["classes"]
    model = MixtureOfExpertsClassifier(n_experts=2, n_init=3, random_state=0)
    with pytest.raises(ValueError, match="classes is None in the first call"):
        model.partial_fit(X, y)
    with pytest.raises(ValueError, match="classes has 1 label"):
        model.partial_fit(X, y, classes=["yes"])
    with pytest.raises(ValueError, match="were not seen"):
        model.partial_fit(X, y, classes=["yes", "maybe"])
    with pytest.raises(ValueError, match="class_weight='balanced' needs"):
        clone(model).set_params(class_weight="balanced").partial_fit(X, y, classes=["yes", "no"])
    only = y == "yes"
    model.partial_fit(X[only][:500], y[only][:500], classes=["yes", "no"])
    with pytest.raises(NotFittedError):
        model.predict(X)
    model.partial_fit(X[:500], y[:500])
    assert set(model.predict(X)) == {"yes", "no"}
    with pytest.raises(ValueError, match="differ from those of the first call"):
        model.partial_fit(X, y, classes=["yes", "maybe"])
    weights = {"yes": 2.0, "no": 1.0}
    given = clone(model).set_params(class_weight=weights)
    given.partial_fit(X[:900], y[:900], classes=["yes", "no"])
    weight = np.where(y[:900] == "yes", 2.0, 1.0)
    other = clone(model).partial_fit(X[:900], y[:900], weight, classes=["yes", "no"])
    assert_array_equal(given.predict_proba(X), other.predict_proba(X))


@pytest.mark.parametrize(
    ("options", "who"),
    [
        ({"expert": KNeighborsRegressor()}, "expert=KNeighborsRegressor"),
        ({"gate": LogisticRegression()}, "gate=LogisticRegression"),
        ({"gate": SoftmaxGate(usage_prior=2.0)}, "the usage_prior of gate=SoftmaxGate"),
        ({"shared_expert": Ridge()}, "shared_expert looks at all rows"),
        ({"routing": TopK(1)}, r"routing=TopK\(k=1\) is not fitted by likelihood. Use `fit`"),
    ],
)
def test_with_parts_that_need_all_rows_there_is_no_partial_fit(data, options, who):
    model = MixtureOfExpertsRegressor(n_experts=2, **{"expert": None, **options})
    assert not hasattr(model, "partial_fit")
    with pytest.raises(AttributeError, match="partial_fit") as raised:
        model.partial_fit(data["X"][:200], data["numbers"][:200])
    assert re.search(f"partial_fit keeps.*{who}", str(raised.value.__cause__))


@pytest.mark.parametrize("value", [0.5, 1.1, "slow"])
def test_parameters_are_checked(data, value):
    with pytest.raises(ValueError, match="online_step"):
        MixtureOfExpertsRegressor(online_step=value).partial_fit(data["X"], data["numbers"])
    with pytest.raises(ValueError, match="online_forget"):
        MixtureOfExpertsRegressor(online_forget=-1).partial_fit(data["X"], data["numbers"])


def test_a_bad_batch_is_refused_when_it_comes():
    """Collected, it would spoil every later batch until the next fit of them all."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((900, 2))
    y = np.round(np.exp(np.where(X[:, 0] > 0, 1 + X[:, 1], -X[:, 1])))
    for n_first in (1, 150):  # before and after the first fit; the bad rows ask for none
        model = MixtureOfExpertsRegressor(n_experts=2, family="poisson", n_init=1, random_state=0)
        model.partial_fit(X[:n_first], y[:n_first])
        bad = X[150:154].copy()
        bad[3, 1] = np.nan
        with pytest.raises(ValueError, match="Input X contains NaN"):
            model.partial_fit(bad, y[150:154])
        with pytest.raises(ValueError, match="needs counts"):
            model.partial_fit(X[150:154], -1.0 - y[150:154])
        good = clone(model).partial_fit(X[:n_first], y[:n_first])
        for start in range(300, 900, 150):
            model.partial_fit(X[start : start + 150], y[start : start + 150])
            good.partial_fit(X[start : start + 150], y[start : start + 150])
        assert_array_equal(model.predict(X), good.predict(X))
