"""Several experts that explain the rows worse than one: all are that one, and a warning says so."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._engine import search
from mixexp._engine.rivals import ALIKE
from mixexp.routing import TopK


def few_rows(rng, n=100, p=50):
    """Return rows of one line with hardly any noise, too few for the coefficients of four."""
    X, coef = rng.standard_normal((n, p)), rng.standard_normal(p)
    new = rng.standard_normal((500, p))
    return X, X @ coef + 0.1 * rng.standard_normal(n), new, new @ coef


@pytest.mark.parametrize("params", [{}, {"on_collapse": "keep"}, {"gate_features": [0, 1]}])
def test_all_experts_are_the_one_that_is_better(params, rng):
    X, y, new, truth = few_rows(rng)
    model = MixtureOfExpertsRegressor(n_experts=4, random_state=0, **params)
    with pytest.warns(ConvergenceWarning, match=ALIKE):
        model.fit(X, y)
    one = MixtureOfExpertsRegressor(n_experts=1, random_state=0).fit(X, y)
    errors = [np.sqrt(np.mean((each.predict(new) - truth) ** 2)) for each in (model, one)]
    assert errors[0] < 1.5 * errors[1]  # of experts that have learnt nothing: 4 to 39
    assert model.log_density(X, y).mean() > one.log_density(X, y).mean() - 0.02
    assert_allclose(model.predict_experts(new), model.predict(new)[:, None].repeat(4, 1))
    assert_allclose(model.gate_proba(new), 0.25)
    assert model.converged_ and model.lower_bound_ == model.lower_bounds_[-1]
    assert sum(ALIKE in record.events for record in model.restarts_) == 1


def test_whoever_gives_the_regions_has_decided(rng):
    X, y, _, _ = few_rows(rng)
    model = MixtureOfExpertsRegressor(n_experts=4, init=np.arange(100) % 4, random_state=0)
    with pytest.warns(ConvergenceWarning) as caught:
        model.fit(X, y)
    assert not any(ALIKE in str(each.message) for each in caught)


def test_regions_that_are_there_are_kept(rng):
    X = rng.standard_normal((300, 3))
    y = np.where(X[:, 0] > 0, X[:, 1], -X[:, 1]) + 0.1 * rng.standard_normal(300)
    for model, target in (
        (MixtureOfExpertsRegressor(n_experts=2, random_state=0), y),
        (MixtureOfExpertsClassifier(n_experts=2, random_state=0), y > 0),
    ):
        events = [e for record in model.fit(X, target).restarts_ for e in record.events]
        assert ALIKE not in events
        assert np.ptp(model.gate_proba(X), axis=0).max() > 0.9


@pytest.mark.parametrize("params", [{}, {"noise_expert": True}, {"routing": TopK(1)}])
def test_classes_and_special_experts_are_left_alone(params, rng, monkeypatch):
    """One expert that nearly separates noise has the higher density, on these rows only."""
    monkeypatch.setattr(search, "gained", lambda rows, before, after: (1.0, 0.1))
    X, y = rng.standard_normal((120, 2)), rng.integers(0, 2, 120)
    options = {"n_experts": 2, "random_state": 0, "max_iter": 5}
    for model in (MixtureOfExpertsClassifier(**options), MixtureOfExpertsRegressor(**options)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.set_params(**params).fit(X, y)
        events = [event for record in model.restarts_ for event in record.events]
        assert (ALIKE in events) == (not params and isinstance(model, MixtureOfExpertsRegressor))


@pytest.mark.parametrize("shape", [(100, 60), (40, 8)])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_few_rows_of_noise_have_one_expert(shape, rng):
    """Four learn it by heart, as rows that they were fitted to cannot tell."""
    X, y = rng.standard_normal(shape), rng.standard_normal(shape[0])
    for k in (4, "auto"):
        model = MixtureOfExpertsRegressor(n_experts=k, random_state=0).fit(X, y)
        assert np.ptp(model.predict_experts(X), axis=1).max() < 1e-9


@pytest.mark.parametrize("shape", [(100, 60), (40, 8)])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_few_rows_of_regions_have_several(shape, rng):
    """Criteria that count parameters would want three times as many rows as there are."""
    X, new = rng.standard_normal(shape), rng.standard_normal((500, shape[1]))
    y, truth = (12.0 * (x[:, 0] > 0) + 0.3 * x[:, 1] for x in (X, new))
    y = y + 0.1 * rng.standard_normal(len(y))
    for k in (2, "auto"):
        model = MixtureOfExpertsRegressor(n_experts=k, random_state=0).fit(X, y)
        assert model.n_experts_ >= 2
        assert model.score(new, truth) > 0.7  # of one expert .3 to .6


def test_summary_of_experts_that_are_one_says_so(rng):
    X, y, _, _ = few_rows(rng)
    with pytest.warns(ConvergenceWarning, match=ALIKE):
        model = MixtureOfExpertsRegressor(n_experts=4, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match=r"all 4 experts are one model.*n_experts=1"):
        model.summary(X, y)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_warm_start_from_experts_that_are_one_begins_anew(rng):
    """Several equal experts went on with the dispersion of rows they had learnt by heart."""
    X, y = rng.standard_normal((300, 60)), rng.standard_normal(300)
    model = MixtureOfExpertsRegressor(n_experts=2, random_state=0, warm_start=True)
    before = model.fit(X[:40], y[:40]).log_density(X[40:], y[40:])
    assert any(ALIKE in record.events for record in model.restarts_)
    assert_allclose(model.fit(X[:40], y[:40]).log_density(X[40:], y[40:]), before)


@pytest.mark.parametrize("classes", [False, True])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_few_rows_and_columns_of_each_expert(classes, rng):
    X = rng.standard_normal((60, 60))
    y = X[:, 0] + rng.standard_normal(60)
    kind = MixtureOfExpertsClassifier if classes else MixtureOfExpertsRegressor
    columns = [list(range(30)), list(range(30, 60))]
    model = kind(n_experts=2, expert_features=columns, random_state=0)
    assert model.fit(X, y > 0 if classes else y).score(X, y > 0 if classes else y) > 0
