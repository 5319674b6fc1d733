"""The bootstrap agrees with standard errors, and keeps the numbers of experts."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import LinearRegression

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._drawn import drawn_targets
from mixexp.gates import ConstantGate, GaussianGate
from mixexp.inference import bootstrap
from mixexp.selection import bootstrap_lrt


@pytest.fixture(scope="module")
def lines():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((250, 1))
    z = rng.random(250) < 0.4
    y = np.where(z, 4 + X[:, 0], -2 * X[:, 0]) + 0.5 * rng.standard_normal(250)
    options = {"n_experts": 2, "gate": ConstantGate(), "n_init": 2, "random_state": 0}
    return X, y, MixtureOfExpertsRegressor(LinearRegression(), **options).fit(X, y)


@pytest.mark.parametrize("kind", ["case", "parametric"])
def test_standard_errors_agree(lines, kind):
    X, y, model = lines
    refits = bootstrap(model, X, y, n_refits=60, kind=kind, random_state=0)
    found = model.summary(X, y).estimates
    assert refits.names == found.names and refits.parts == found.parts
    assert_allclose(refits.estimates, found.estimates)
    assert refits.n_failed == 0
    experts = [i for i, part in enumerate(found.parts) if part.startswith("expert")]
    assert_allclose(refits.std_errors[experts], found.std_errors[experts], rtol=0.35)
    ends = np.quantile(refits.samples, [0.1, 0.9], axis=0)
    assert_allclose(refits.intervals(0.8), ends.T)
    low, high = refits.intervals(0.99).T
    assert np.all((low < found.estimates) & (found.estimates < high))


def test_threads_and_the_caller_change_nothing(lines):
    X, y, model = lines
    before = model.predict(X)
    one = bootstrap(model, X, y, n_refits=4, random_state=0)
    two = bootstrap(model, X, y, n_refits=4, random_state=0, n_jobs=2, feature_names=["age"])
    assert_array_equal(one.samples, two.samples)
    assert two.names == [name.replace("x0", "age") for name in one.names] != one.names
    assert_array_equal(model.predict(X), before)


@pytest.mark.parametrize("kind", ["case", "parametric"])
def test_classes(rng, kind):
    X = rng.standard_normal((200, 2))
    y = np.array(["a", "b"])[(X[:, 0] * np.sign(X[:, 1]) + 0.5 * rng.standard_normal(200) > 0) * 1]
    model = MixtureOfExpertsClassifier(n_experts=2, n_init=2, random_state=0).fit(X, y)
    refits = bootstrap(model, X, y, n_refits=5, kind=kind, random_state=0)
    assert refits.samples.shape == (5, 12)
    assert np.all(np.isfinite(refits.samples))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "wild"}, "kind must be 'case' or 'parametric', got 'wild'"),
        ({"n_refits": 1}, "n_refits must be an integer of at least 2, got 1"),
    ],
)
def test_parameters_are_checked(lines, options, message):
    X, y, model = lines
    with pytest.raises(ValueError, match=message):
        bootstrap(model, X, y, **options)
    with pytest.raises(ValueError, match="level must be between 0 and 1"):
        bootstrap(model, X, y, n_refits=2, random_state=0).intervals(2)


def test_trials_are_those_of_the_fit(rng):
    X, trials = rng.normal(size=(60, 1)), rng.integers(1, 6, 60)
    won = rng.binomial(trials, 0.4)
    model = MixtureOfExpertsRegressor(n_experts=1, family="binomial").fit(X, won, trials=trials)
    by_trials = bootstrap(model, X, won, trials=trials, n_refits=3, random_state=0)
    both = np.column_stack([won, trials - won])
    assert_array_equal(
        by_trials.samples, bootstrap(model, X, both, n_refits=3, random_state=0).samples
    )
    gaussian = MixtureOfExpertsRegressor(n_experts=1).fit(X, won)
    with pytest.raises(ValueError, match=r"trials=.* family 'gaussian' has no trials"):
        bootstrap(gaussian, X, won, trials=trials)


def test_drawn_trials_are_won_or_lost(rng):
    X, trials = rng.normal(size=(400, 1)), rng.integers(1, 30, 400)
    won = rng.binomial(trials, 1 / (1 + np.exp(-X[:, 0])))
    model = MixtureOfExpertsRegressor(n_experts=1, family="binomial").fit(X, won, trials=trials)
    y = np.column_stack([won, trials - won])
    drawn = drawn_targets(model, X, y, np.random.RandomState(0))
    assert_array_equal(drawn.sum(axis=1), trials)
    expected, chance = trials * model.predict(X), model.predict(X)
    z = (drawn[:, 0] - expected) / np.sqrt(expected * (1 - chance))
    assert abs(z.mean()) < 4 / 20 and 0.8 < z.std() < 1.2


def test_parts_without_named_parameters_are_refused(lines):
    X, y, _ = lines
    model = MixtureOfExpertsRegressor(n_experts=2, gate=GaussianGate(), n_init=1).fit(X, y)
    with pytest.raises(ValueError, match=r"this mixture has gate=GaussianGate"):
        bootstrap(model, X, y, n_refits=2)


@pytest.mark.parametrize("name", ["sample_weight", "groups", "offset"])
def test_fits_with_more_than_X_and_y_are_refused(name, rng):
    X = rng.uniform(-1, 1, (30, 1)).repeat(2, axis=0)
    y = rng.poisson(np.exp(X[:, 0])).astype(float)
    values = np.arange(60) // 2 if name == "groups" else np.full(60, 2.0)
    model = MixtureOfExpertsRegressor(n_experts=1, family="poisson").fit(X, y, **{name: values})
    with pytest.raises(ValueError, match=f"was fitted with {name}.*fit without"):
        bootstrap(model, X, y, n_refits=2)
    assert bootstrap(model.fit(X, y), X, y, n_refits=2, random_state=0).n_failed == 0


def test_what_a_fit_was_given_is_forgotten_by_the_next(lines):
    X, y, model = lines
    weight = np.full(len(y), 2.0)
    model = clone(model).fit(X, y, sample_weight=weight)
    model.fit_blocks(lambda: iter([(X, y)]))
    assert bootstrap(model, X, y, n_refits=2, random_state=0).n_failed == 0
    model.fit_blocks(lambda: iter([(X, y, weight)]))
    with pytest.raises(ValueError, match="was fitted with sample_weight"):
        bootstrap(model, X, y, n_refits=2)
    assert bootstrap(model.fit(X, y), X, y, n_refits=2, random_state=0).n_failed == 0


def test_weights_of_classes_are_parameters_that_refits_have(rng):
    X = rng.normal(size=(120, 2))
    y = X[:, 0] + 0.5 * rng.normal(size=120) > 0.5
    model = MixtureOfExpertsClassifier(n_experts=1, class_weight="balanced").fit(X, y)
    assert bootstrap(model, X, y, n_refits=2, random_state=0).n_failed == 0


def test_classes_are_not_weighted_twice(rng):
    X = rng.standard_normal((300, 1))
    y = rng.random(300) < 1 / (1 + np.exp(-X[:, 0]))
    options = {"n_experts": 1, "class_weight": {False: 1, True: 10}, "random_state": 0}
    model = MixtureOfExpertsClassifier(**options).fit(X, y)
    with pytest.raises(ValueError, match=r"parametric' with class_weight=.*Use kind='case'"):
        bootstrap(model, X, y, kind="parametric", n_refits=2)
    refits = bootstrap(model, X, y, n_refits=30, random_state=0)
    off = refits.samples.mean(axis=0) - refits.estimates
    assert np.all(np.abs(off) < refits.std_errors)
    with pytest.raises(ValueError, match="bootstrap_lrt: estimator has class_weight="):
        bootstrap_lrt(model, X, y, n_experts=1, n_resamples=2)


def test_rows_of_another_fit_are_refused(rng):
    """Errors of 100 rows would stand beside the estimates of all."""
    X = rng.uniform(-2, 2, (200, 2))
    y = X[:, 0] + 0.3 * rng.standard_normal(200)
    model = MixtureOfExpertsRegressor(n_experts=1, random_state=0).fit(X, y)
    for rows in ((X[:100], y[:100]), (X, y + 100)):
        with pytest.raises(ValueError, match=r"^bootstrap: the rows have a penalised"):
            bootstrap(model, *rows, n_refits=2)


@pytest.mark.parametrize("call", [bootstrap, bootstrap_lrt])
def test_a_seed_that_is_none_is_named(call, rng):
    X, y = rng.standard_normal((60, 2)), rng.standard_normal(60)
    model = MixtureOfExpertsRegressor(n_experts=1, random_state=0).fit(X, y)
    more = {"n_experts": 1} if call is bootstrap_lrt else {}
    with pytest.raises(ValueError, match=f"^{call.__name__}: random_state='x'"):
        call(model, X, y, random_state="x", **more)


def test_resampled_targets_of_a_test_have_the_trials_of_the_data(rng, monkeypatch):
    X, won = rng.standard_normal((60, 1)), rng.binomial(200, 0.1, size=60)
    y = np.column_stack([won, 200 - won])
    seen = []

    def spy(*args, **given):
        seen.append(drawn_targets(*args, **given))
        return seen[-1]

    monkeypatch.setattr("mixexp.selection._bootstrap.drawn_targets", spy)
    model = MixtureOfExpertsRegressor(family="binomial", gate=ConstantGate(), random_state=0)
    bootstrap_lrt(model, X, y, n_experts=1, n_resamples=2, random_state=0)
    assert len(seen) == 2
    for drawn in seen:
        assert np.all(drawn.sum(axis=1) == 200)
        assert 10 < drawn[:, 0].mean() < 30
