"""`partial_fit` of rows that bring what those of the start had not: columns, ranges, values."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, PoissonRegressor, Ridge

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.gates import GaussianGate

N_ROWS, FIRST, BATCH = 12_000, 2500, 1000


@pytest.fixture(autouse=True)
def small_start(monkeypatch):
    monkeypatch.setattr("mixexp._estimators.streaming.START_ROWS", 2000)
    monkeypatch.setattr("mixexp._estimators.streaming.STEP_ROWS", 1000)


def learnt(model, X, y, **first):
    for start in range(0, len(y), BATCH):
        model.partial_fit(X[start : start + BATCH], y[start : start + BATCH], **first)
        first = {}
    return model


@pytest.fixture(scope="module")
def data():
    """Two lines, and a flag that is off in the first rows."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N_ROWS, 3))
    X[:, 2] = rng.random(N_ROWS) < 0.3
    X[:FIRST, 2] = 0.0
    lines = np.where(X[:, 0] > 0, 1 + X[:, 1], -2 * X[:, 1] - 1)
    return X, lines, rng.standard_normal(N_ROWS)


@pytest.mark.parametrize("make", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("center", [0.0, 2020.0])
def test_a_column_that_begins_to_vary_counts_as_if_it_always_had(data, make, center):
    X, lines, noise = data
    X = X + [0.0, 0.0, center]
    y = lines + 3 * X[:, 2] + noise
    one = MixtureOfExpertsRegressor(LinearRegression(), n_experts=1, online_step=1.0)
    whole = LinearRegression().fit(X, y)
    assert_allclose(learnt(one, make(X), y).predict(make(X)), whole.predict(X), rtol=1e-8)


@pytest.mark.parametrize("strength", [1.0, 500.0])
def test_its_penalty_is_that_of_the_others(data, strength):
    X, lines, noise = data
    y = lines + 3 * X[:, 2] + noise
    one = MixtureOfExpertsRegressor(Ridge(strength), n_experts=1, online_step=1.0)
    whole = Ridge(strength).fit(X, y)
    assert_allclose(learnt(one, X, y).predict(X), whole.predict(X), rtol=1e-8)


def test_counts_of_a_column_that_begins_to_vary(data):
    X, _, _ = data
    y = np.random.default_rng(1).poisson(np.exp(0.5 + 0.3 * X[:, 0] + X[:, 2]))
    expert = PoissonRegressor(alpha=0.0)
    one = MixtureOfExpertsRegressor(expert, n_experts=1, family="poisson", online_step=1.0)
    rates = expert.fit(X, y).predict(X)
    assert_allclose(learnt(one, X, y).predict(X), rates, rtol=0.1)  # past rows approximately


@pytest.mark.parametrize("basis", ["linear", "quantile"])
def test_a_gate_learns_a_column_that_begins_to_vary(data, basis):
    X, _, noise = data
    truth = np.where(X[:, 2] + X[:, 0] > 0.5, 3 + X[:, 1], -2 * X[:, 1] - 1)
    model = MixtureOfExpertsRegressor(n_experts=2, gate_basis=basis, n_init=3, random_state=0)
    left_out = np.mean((model.fit(X[:, :2], truth).predict(X[:, :2]) - truth) ** 2)
    online = learnt(model, np.tile(X, (3, 1)), np.tile(truth + 0.3 * noise, 3))
    assert np.mean((online.predict(X) - truth) ** 2) < 0.1 * left_out
    assert np.any(online.gate_.coef_[:, 2] != 0)


def test_a_steep_border_that_turns_is_found_again():
    """The gate had coefficients of 1e5, and no row to move them: it never did."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20_000, 3))
    border = np.where(np.arange(len(X)) < 10_000, X[:, 0], X[:, 0] + X[:, 2])
    truth = np.where(border > 0, 1 + X[:, 1], -2 * X[:, 1] - 1)
    y = truth + 0.3 * rng.standard_normal(len(X))
    model = MixtureOfExpertsRegressor(n_experts=2, n_init=3, online_forget=5000.0, random_state=0)
    learnt(model, X, y)
    assert np.mean((model.predict(X[-5000:]) - truth[-5000:]) ** 2) < 0.6  # 2.1 unless it softens


def test_classes_of_a_column_that_begins_to_vary(data):
    X, lines, noise = data
    y = np.where(lines + 3 * X[:, 2] + noise > 1, "yes", "no")
    model = MixtureOfExpertsClassifier(n_experts=2, n_init=3, random_state=0)
    whole = model.fit(X, y).score(X, y)
    assert learnt(model, X, y, classes=["yes", "no"]).score(X, y) > whole - 0.01


def test_a_gaussian_gate_says_which_columns_it_leaves_out(data):
    X, lines, noise = data
    model = MixtureOfExpertsRegressor(n_experts=2, gate=GaussianGate(), n_init=3, random_state=0)
    with pytest.warns(UserWarning, match=r"GaussianGate: columns \[2\] were constant in the first"):
        learnt(model, X, lines + 3 * X[:, 2] + 0.3 * noise)
    assert model.score(X, lines + 3 * X[:, 2]) > 0.85  # experts do not: .58 without the column


def test_later_outliers_are_noise(data):
    X, lines, noise = data
    y, rng = lines + 0.3 * noise, np.random.default_rng(1)
    late = np.flatnonzero((np.arange(N_ROWS) > FIRST) & (rng.random(N_ROWS) < 0.05))
    y[late] += 1000 * rng.standard_normal(len(late))
    model = MixtureOfExpertsRegressor(n_experts=2, noise_expert=True, n_init=3, random_state=0)
    error = learnt(model, X, y).predict(X) - lines
    assert np.sqrt(np.mean(error**2)) < 0.5
    assert_allclose(model.gate_.noise_share_, 0.05, atol=0.02)


@pytest.mark.parametrize("family", ["poisson", "negative_binomial", "gaussian", "student_t"])
def test_targets_that_are_all_the_same_at_first(family):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N_ROWS, 2))
    rate = np.exp(0.5 + 0.3 * X[:, 0])
    y = np.where(np.arange(N_ROWS) < FIRST, 0.0, rng.poisson(rate))
    model = MixtureOfExpertsRegressor(n_experts=2, family=family, n_init=1, random_state=0)
    for start in range(0, FIRST, 500):
        model.partial_fit(X[start : start + 500], y[start : start + 500])
    assert_allclose(model.predict(X), 0.0, atol=1e-6)
    model = learnt(model, X[FIRST:], y[FIRST:])
    assert np.corrcoef(model.predict(X), rate)[0, 1] > 0.9
    assert abs(np.log(model.predict(X).mean() / rate.mean())) < 0.2


def test_what_a_mixture_waits_for():
    X, y = np.zeros((30, 2)), np.repeat("a", 30)
    model = MixtureOfExpertsClassifier(n_experts=2).partial_fit(X, y, classes=["a", "b"])
    with pytest.raises(NotFittedError, match=r"30 rows.*waits for 10 rows and a second class\."):
        model.predict(X)
    few = MixtureOfExpertsRegressor(n_experts=2).partial_fit(X[:5], np.arange(5.0))
    with pytest.raises(NotFittedError, match=r"5 rows.*waits for 10 rows\."):
        few.predict(X)
    noise = MixtureOfExpertsRegressor(n_experts=2, noise_expert=True).partial_fit(X, np.ones(30))
    with pytest.raises(NotFittedError, match=r"waits for 10 rows and targets that differ\."):
        noise.predict(X)


@pytest.mark.parametrize("first", [1e-3, 1e-6])
def test_a_column_that_begins_with_dust_waits_for_its_scale(data, first):
    """Scaled by a single value of 1e-6, it made all predictions wild."""
    X, lines, noise = data
    X = X.copy()
    X[:, 2] = noise[::-1]
    X[: 3 * BATCH, 2] = 0.0  # the start, and a batch
    y = lines + 3 * X[:, 2] + 0.3 * noise
    model = MixtureOfExpertsRegressor(n_experts=2, n_init=3, random_state=0)
    model.set_params(bound_predictions=False)
    without = np.mean((learnt(clone(model), X, y).predict(X) - y) ** 2)
    X[FIRST, 2] = first
    assert np.mean((learnt(clone(model), X, y).predict(X) - y) ** 2) < 1.05 * without
