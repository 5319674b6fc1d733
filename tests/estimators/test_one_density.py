"""`log_density` and `predict_distribution` are one density, for every pair of expert and family."""

import re

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import (
    GammaRegressor,
    LinearRegression,
    PoissonRegressor,
    Ridge,
    TweedieRegressor,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from mixexp import MixtureOfExpertsRegressor
from mixexp.distribution import MixtureDistribution
from mixexp.families import FAMILIES, Gaussian, Laplace, Poisson, StudentT

N = 90

#: Binomial has targets of another form, and linear experts only.
NAMES = [name for name in FAMILIES if name != "binomial"]

FAMILY_OPTIONS = [*NAMES, Gaussian(shared=True), StudentT(df=1.5)]

#: The kinds of `docs/families.md`: banked and one by one, in the family's own and in another one.
EXPERTS = {
    "default": None,
    "ridge": Ridge(),
    "scaled least squares": make_pipeline(StandardScaler(), LinearRegression()),
    "list": [("a", Ridge()), ("b", DecisionTreeRegressor(max_depth=3, random_state=0))],
    "boosting": HistGradientBoostingRegressor(max_iter=3),
    "tree": DecisionTreeRegressor(min_samples_leaf=3, random_state=0),
}

OWN_FAMILY = {
    "poisson": [PoissonRegressor(), TweedieRegressor(power=1), make_pipeline(PoissonRegressor())],
    "gamma": [GammaRegressor(), TweedieRegressor(power=2), make_pipeline(GammaRegressor())],
}

PAIRS = [(family, expert) for family in FAMILY_OPTIONS for expert in EXPERTS.values()] + [
    (family, expert) for family, own in OWN_FAMILY.items() for expert in own
]


def counts_or_numbers(family, rng, n_outputs=1):
    """Return X and y such that least squares predicts less than 0 for some rows."""
    X = rng.uniform(-3, 3, (N, 1))
    eta = np.where(X > 0, 1.5 * X, -X) - 1 + np.zeros(n_outputs)
    name = family if isinstance(family, str) else family.name
    if name in ("poisson", "negative_binomial"):
        y = rng.poisson(np.exp(eta)).astype(float)
    elif name == "gamma":
        y = rng.gamma(2.0, np.exp(eta) / 2)
    else:
        y = eta + 0.3 * rng.standard_normal(eta.shape)
    return X, (y[:, 0] if n_outputs == 1 else y)


def around(y, law):
    """Return targets to ask for: those of the rows, the means, quantiles and wild ones."""
    shape = law.mean().shape
    asked = [y, law.mean(), *law.quantile([0.001, 0.5, 0.999])]
    asked += [np.full(shape, v) for v in (0.0, 1.0, 2.5, 40.0, 1e12, -1.0, -1e200, 1e200)]
    return np.array(asked)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:.*does not take sample_weight")
@pytest.mark.parametrize("family, expert", PAIRS, ids=str)
def test_density_and_distribution_agree(family, expert, rng):
    X, y = counts_or_numbers(family, rng)
    offset = rng.uniform(-1, 1, N) if isinstance(family, str) else None
    model = MixtureOfExpertsRegressor(
        expert, n_experts=2, family=family, n_init=1, max_iter=4, random_state=0
    )
    model.fit(X, y, offset=offset)
    law = model.predict_distribution(X, offset=offset)
    assert_allclose(law.mean(), model.predict(X, offset=offset), rtol=1e-10)
    assert np.all(law.variance() > 0)
    asked = around(y, law)
    for values in asked:
        log_density = model.log_density(X, values, offset=offset)
        density = law.pdf(values)
        assert not np.any(np.isnan(log_density)) and not np.any(np.isnan(density))
        assert_array_equal(density[log_density < -800], 0.0)
        here = log_density > -600
        assert_allclose(np.log(density[here]), log_density[here], rtol=1e-8, atol=1e-8)
    below = np.array([law.cdf(values) for values in np.sort(asked, axis=0)])
    assert not np.any(np.isnan(below))
    assert np.all((below >= 0) & (below <= 1))
    assert np.all(np.diff(below, axis=0) >= -1e-12)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("family", NAMES)
def test_several_outputs_agree(family, rng):
    X, y = counts_or_numbers(family, rng, n_outputs=2)
    model = MixtureOfExpertsRegressor(
        DecisionTreeRegressor(max_depth=3, random_state=0),
        n_experts=2,
        family=family,
        n_init=1,
        max_iter=5,
        random_state=0,
    ).fit(X, y)
    law = model.predict_distribution(X)
    for values in around(y, law):
        log_density = model.log_density(X, values)
        here = log_density > -600
        found = np.log(law.pdf(values)[here])
        assert_allclose(found, log_density[here], rtol=1e-8, atol=1e-8)
    assert law.interval([0.5, 0.9])[0].shape == (2, N, 2)


IMPOSSIBLE = {"poisson": [-1.0, 0.5, 1e301], "gamma": [0.0, -1.0, -1e300]}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("noise_expert", [False, True])
@pytest.mark.parametrize("expert", [None, DecisionTreeRegressor(max_depth=3, random_state=0)])
@pytest.mark.parametrize(
    "family, value", [(family, value) for family, own in IMPOSSIBLE.items() for value in own]
)
def test_impossible_targets(family, value, expert, noise_expert, rng):
    X, y = counts_or_numbers(family, rng)
    model = MixtureOfExpertsRegressor(
        expert,
        n_experts=2,
        family=family,
        noise_expert=noise_expert,
        n_init=1,
        max_iter=5,
        random_state=0,
    ).fit(X, y)
    wrong = y.copy()
    wrong[3] = value
    known = np.delete(np.arange(N), 3)
    log_density = model.log_density(X, wrong)
    assert log_density[3] == -np.inf
    assert_array_equal(log_density[known], model.log_density(X, y)[known])
    if not noise_expert:
        assert model.predict_distribution(X).pdf(wrong)[3] == 0.0
    with pytest.raises(ValueError, match=re.escape(f"got {value}")):
        model.responsibilities(X, wrong)
    if expert is None:
        assert model.bic(X, wrong) == np.inf
        assert model.aic(X, wrong, np.where(np.arange(N) == 3, 0.0, 1.0)) < np.inf


def test_impossible_targets_in_groups(rng):
    X, y = counts_or_numbers("poisson", rng)
    groups = np.repeat(np.arange(N // 3), 3)
    X = X[::3][groups]
    model = MixtureOfExpertsRegressor(
        n_experts=2, family="poisson", n_init=1, tol=1e-4, random_state=0
    )
    model.fit(X, y, groups=groups)
    before = model.log_density(X, y, groups=groups)
    y[4] = 0.5
    after = model.log_density(X, y, groups=groups)
    assert after[1] == -np.inf
    assert_array_equal(np.delete(after, 1), np.delete(before, 1))


@pytest.mark.parametrize("family", [Gaussian(), Laplace(), StudentT(df=3)], ids=str)
def test_targets_far_off_leave_the_gate(family, rng):
    X, y = counts_or_numbers(family, rng)
    model = MixtureOfExpertsRegressor(
        n_experts=2, family=family, n_init=1, max_iter=50, tol=1e-3, random_state=0
    ).fit(X, y)
    far = np.full(N, 1e160)
    log_density, resp = model.log_density(X, far), model.responsibilities(X, far)
    assert not np.any(np.isnan(log_density))
    assert_allclose(resp.sum(axis=1), 1.0)
    if family.name == "gaussian":  # 0 in doubles under every expert
        assert_array_equal(log_density, -np.inf)
        assert_allclose(resp, model.gate_proba(X), rtol=1e-12)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("expert", [None, make_pipeline(StandardScaler(), LinearRegression())])
def test_small_units_have_the_density_of_large_ones(rng, expert):
    # the floor under the means of a log link knows no unit
    X, y = counts_or_numbers("gamma", rng)
    found = []
    for unit in (1.0, 1e-12):
        model = MixtureOfExpertsRegressor(
            expert, n_experts=2, family="gamma", max_iter=5, init=(X[:, 0] > 0).astype(int)
        ).fit(X, y * unit)
        found.append(model.log_density(X, y * unit) + np.log(unit))
    assert_allclose(found[1], found[0], rtol=1e-6, atol=1e-6)


def test_the_floor_of_means_is_a_rate_where_rows_have_an_exposure(rng):
    X = rng.uniform(-1, 1, (N, 1))
    exposure = rng.uniform(1e4, 2e4, N)
    y = rng.poisson(0.01 * exposure)
    model = MixtureOfExpertsRegressor(
        make_pipeline(StandardScaler(), Ridge()),
        n_experts=2,
        family="poisson",
        n_init=1,
        max_iter=200,
        tol=1e-3,
        random_state=0,
    ).fit(X, y, offset=np.log(exposure))
    # without an offset a prediction is for an exposure of 1, far below the counts
    assert_allclose(model.predict(X), 0.01, rtol=0.2)
    assert_allclose(model.predict_distribution(X).mean(), model.predict(X))


def test_counts_beyond_whole_doubles():
    weights, means = np.full((2, 2), 0.5), np.array([[1e18, 1e20], [3.0, 1e17]])
    law = MixtureDistribution(weights, means, np.empty((0, 2)), Poisson())
    assert_allclose(law.quantile([0.2, 0.8])[:, 0], [1e18, 1e20], rtol=1e-6)
    assert_allclose(law.quantile(0.8)[1], 1e17, rtol=1e-6)
    assert law.quantile(0.2)[1] < 10
    draws = law.sample(400, random_state=0)
    assert np.all(np.isfinite(draws)) and draws[0].max() > 9e19
