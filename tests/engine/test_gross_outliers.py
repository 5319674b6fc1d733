"""Gross outliers beside a noise expert: they are noise, and nothing else of the fit sees them."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import BayesianRidge

from mixexp import MixtureOfExpertsRegressor
from mixexp._engine.alone import WIDEST, one_expert, outlying
from mixexp._estimators.streaming import START_ROWS
from mixexp.datasets import load_tone
from mixexp.gates import ConstantGate
from mixexp.protocols import evolve

N_OUTLIERS = 15


def two_lines(seed, size, n=300):
    """Return rows of two lines, some of which are off by this size, and the targets without."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 3))
    clean = np.where(X[:, 0] > 0, 3 + 2 * X[:, 1], -3 - X[:, 2]) + 0.3 * rng.standard_normal(n)
    y = clean.copy()
    y[:N_OUTLIERS] += size * rng.standard_t(3, N_OUTLIERS)
    return X, y, clean


def fitted(X, y, n_experts=2, **params):
    return MixtureOfExpertsRegressor(
        n_experts=n_experts, noise_expert=True, random_state=0, **params
    ).fit(X, y)


@pytest.mark.parametrize("size", [1e3, 1e6])
@pytest.mark.parametrize("n_experts", [2, 3, "auto"])
def test_predictions_are_those_of_the_other_rows(n_experts, size):
    for seed in range(2):
        X, y, clean = two_lines(seed, size)
        model = fitted(X, y, n_experts)
        assert model.score(X[N_OUTLIERS:], clean[N_OUTLIERS:]) > 0.92
        assert model.gate_.noise_share_ == pytest.approx(N_OUTLIERS / len(y), rel=0.25)


def test_dispersions_are_not_on_a_floor_that_outliers_set():
    """The floor is a share of the dispersion of one expert, which they inflate."""
    X, y, _ = two_lines(0, 1e6)
    given = (X[:, 0] > 0).astype(int)
    for params in ({}, {"init": given}, {"family": "laplace"}):
        model = fitted(X, y, **params)
        assert np.all((model.dispersions_ > 0.15) & (model.dispersions_ < 0.4))
    one = fitted(X, X[:, 1] + np.where(np.arange(300) < 9, 1e6, 0.3) * X[:, 2], 1)
    assert one.dispersions_.max() < 0.4


def test_experts_that_are_fitted_one_by_one_have_the_same_ceiling():
    X, y, clean = two_lines(0, 1e5)
    model = fitted(X, y, expert=BayesianRidge())
    assert model.dispersions_.max() < 1.0
    assert model.score(X[N_OUTLIERS:], clean[N_OUTLIERS:]) > 0.9


def test_whole_groups_can_be_outliers():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(100), 5)
    second = rng.integers(0, 2, 100)[groups]
    X = rng.standard_normal((500, 2))
    y = np.where(second, 2 * X[:, 1], -3 * X[:, 0]) + 0.2 * rng.standard_normal(500)
    y[groups == 7] += 1e4
    y[groups == 33] -= 3e5
    model = MixtureOfExpertsRegressor(
        n_experts=2, noise_expert=True, gate=ConstantGate(), random_state=0
    ).fit(X, y, groups=groups)
    assert model.gate_.noise_share_ == pytest.approx(0.02, rel=0.05)
    assert np.all((model.dispersions_ > 0.15) & (model.dispersions_ < 0.25))


@pytest.mark.parametrize("spread", [5.0, 20.0])
def test_a_region_of_large_errors_is_no_noise(spread):
    """A third of the rows, which x tells from the others, has an expert of its own."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 3))
    wide = X[:, 0] > 0.5
    mean = np.where(wide, 2 * spread * X[:, 1], -X[:, 2])
    y = mean + np.where(wide, spread, 0.1) * rng.standard_normal(600)
    model = fitted(X, y)
    assert model.score(X, mean) > 0.9
    assert model.gate_.noise_share_ < 0.02
    assert model.dispersions_.max() == pytest.approx(spread, rel=0.2)


@pytest.mark.parametrize("n_experts", [2, 3, 4])
@pytest.mark.parametrize("value", [-999.0, -20.0])
def test_a_code_for_missing_values_is_noise(n_experts, value):
    """An expert of these rows alone is exact, and its likelihood is the highest."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        X = rng.uniform(-2, 2, (300, 2))
        mean = np.where(X[:, 0] > 0, 3 * X[:, 0] + 1, -2 * X[:, 0] - 1)
        y = mean + 0.3 * rng.standard_normal(300)
        y[rng.random(300) < 0.1] = value
        with warnings.catch_warnings():  # two experts are enough, and others may collapse
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = fitted(X, y, n_experts)
        assert model.score(X, mean) > 0.95


def test_a_stream_forgets_the_ceiling_of_its_first_rows(rng):
    """Later rows may be others: with it, one that goes on with larger errors would be noise."""
    X = rng.standard_normal((START_ROWS, 2))
    y = np.where(X[:, 0] > 0, X[:, 1], 3.0) + 0.1 * rng.standard_normal(len(X))
    model = MixtureOfExpertsRegressor(n_experts=2, noise_expert=True, random_state=0)
    assert model.fit(X, y)._model.bank.ceiling is not None
    model = model.partial_fit(X, y)
    assert model._memory.online.state.bank.ceiling is None


def test_a_second_regime_of_few_rows_is_no_noise():
    """A fifth of the tones are tuned to the stretched octave, far from the line of the others."""
    X, y = load_tone(return_X_y=True)
    for n_experts in (2, "auto"):
        model = fitted(X, y, n_experts)
        assert model.gate_.noise_share_ < 0.15
        slopes = sorted(float(expert.coef_.ravel()[0]) for expert in model.experts_)
        assert slopes[-1] == pytest.approx(1.0, abs=0.1)
        assert np.min(np.abs(slopes)) < 0.1


def test_one_expert_beside_noise_says_which_rows_are_outliers():
    X, y, _ = two_lines(0, 1e5)
    model = fitted(X, y)
    problem_noise = model._model.bank._with  # the noise expert around another bank
    single = evolve(model._model.bank.inner.select(np.arange(1)), ceiling=None)
    rows = model._new_rows(X, y)
    beside = one_expert(single.with_floor(np.full(1, 1e-9)), rows, problem_noise)
    outside = outlying(beside, problem_noise, rows)[0]
    assert np.all(outside[:N_OUTLIERS] > 0.5)
    assert np.count_nonzero(outside > 0.5) <= N_OUTLIERS + 2  # of one line for two
    assert beside.ceiling == pytest.approx(WIDEST * beside.parameters[0, 0])


@pytest.mark.parametrize("family", ["gamma", "gaussian"])
def test_dispersions_that_are_no_distances_and_labels_are_left_alone(family):
    """A coefficient of variation says nothing of outliers; a labelled row is no noise."""
    X, y, _ = two_lines(0, 1e4)
    labels = None if family == "gamma" else np.where(np.arange(len(y)) < 50, 0, -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = MixtureOfExpertsRegressor(
            n_experts=2, noise_expert=True, family=family, random_state=0
        ).fit(X, np.exp(np.clip(y, -5, 9)), expert_labels=labels)
    assert model._model.bank.ceiling is None


@pytest.mark.parametrize("family", ["gaussian", "student_t"])
def test_an_expert_of_outliers_is_warned_of(family):
    """Its mean is a share of every prediction: the error was 80 to 270 times that of one line."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 3))
    y = X @ [1.0, 2.0, 3.0] + rng.standard_normal(600)
    y[:12] += 1000 * rng.standard_normal(12)
    model = MixtureOfExpertsRegressor(n_experts=2, family=family, random_state=0)
    with pytest.warns(UserWarning, match="times as wide as most others.*noise_expert=True"):
        model.fit(X, y)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.set_params(noise_expert=True, family="gaussian").fit(X, y)
    assert not any("most others" in str(each.message) for each in caught)
    assert np.std(model.predict(X) - X @ [1.0, 2.0, 3.0]) < 0.3


def test_wide_regions_are_no_outliers():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((800, 2))
    y = X[:, 1] + np.where(X[:, 0] > 1.5, 50, 1) * rng.standard_normal(800)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    assert model.dispersions_.max() > 20 * model.dispersions_.min()
