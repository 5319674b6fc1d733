"""Generalised linear experts and robust families in a mixture."""

import warnings

import numpy as np
import pytest
from _outliers import lines_with_outliers
from numpy.testing import assert_allclose
from scipy.special import gammaln
from sklearn.linear_model import (
    GammaRegressor,
    PoissonRegressor,
    Ridge,
    TweedieRegressor,
)

from mixexp import MixtureOfExpertsRegressor
from mixexp.gates import SoftmaxGate


@pytest.mark.parametrize("alpha", [0.0, 0.3])
@pytest.mark.parametrize(
    ("expert", "family"),
    [
        (PoissonRegressor(), "poisson"),
        (TweedieRegressor(power=1, link="log"), "poisson"),
        (GammaRegressor(), "gamma"),
        (TweedieRegressor(power=2), "gamma"),
    ],
)
def test_one_glm_expert_is_the_glm(rng, expert, family, alpha):
    X = rng.standard_normal((200, 2)) * [1, 5] + [0, 3]
    weight = rng.integers(1, 4, 200)
    mean = np.exp(0.5 + X @ [0.4, 0.1])
    y = rng.poisson(mean) if family == "poisson" else rng.gamma(3, mean / 3)
    expert.set_params(alpha=alpha, max_iter=5000, tol=1e-10)
    alone = expert.fit(X, y, sample_weight=weight)
    model = MixtureOfExpertsRegressor(expert, n_experts=1, family=family, tol=1e-12)
    model.fit(X, y, sample_weight=weight)
    assert_allclose(model.experts_[0].coef_, alone.coef_, rtol=1e-4, atol=1e-6)
    assert_allclose(model.experts_[0].intercept_, alone.intercept_, rtol=1e-4, atol=1e-5)
    assert_allclose(model.predict(X), alone.predict(X), rtol=1e-4)
    assert_allclose(model.experts_[0].predict(X), model.predict(X), rtol=1e-12)
    if family == "poisson" and alpha == 0:
        log_density = y * np.log(model.predict(X)) - model.predict(X) - gammaln(y + 1)
        assert_allclose(model.log_density(X, y), log_density)


@pytest.mark.parametrize("family", ["student_t", "laplace", "poisson", "gamma"])
@pytest.mark.parametrize("seed", range(4))
def test_bounds_of_families_climb(family, seed):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((150, 2)) * 10.0 ** rng.uniform(-2, 2, 2)
    eta = np.where(X[:, 0] > 0, 1 + X[:, 1] / np.std(X[:, 1]), 2.5)
    if family == "poisson":
        y = rng.poisson(np.exp(eta)).astype(float)
    elif family == "gamma":
        y = rng.gamma(2, np.exp(eta))
    else:
        y = eta + rng.standard_t(2, 150)
    weight = rng.exponential(size=150)
    model = MixtureOfExpertsRegressor(
        n_experts=3, family=family, n_init=2, max_iter=40, tol=0, random_state=seed,
        on_collapse="keep",
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y, sample_weight=weight)
    bounds = model.lower_bounds_
    assert np.all(np.diff(bounds) >= -1e-9 * np.maximum(1, np.abs(bounds[1:])))
    prior = (model.gate_.log_prior() + model._model.bank.log_prior()) / weight.sum()
    mean = model.log_density(X, y) @ weight / weight.sum()
    assert_allclose(model.lower_bound_, mean + prior, rtol=1e-9)


class Unbanked(Ridge):
    """A subclass may do anything, and is fitted one by one."""


@pytest.mark.parametrize("family", ["student_t", "laplace"])
def test_outlying_rows_count_less_for_estimators_too(rng, family):
    X, y, _, _ = lines_with_outliers(rng, 300)
    options = {"n_experts": 2, "init": (X[:, 0] > 0).astype(int), "family": family}
    options |= {"max_iter": 3000, "tol": 1e-9, "gate": SoftmaxGate(alpha=0.3)}
    one = MixtureOfExpertsRegressor(Ridge(1.0), **options).fit(X, y)
    two = MixtureOfExpertsRegressor(Unbanked(1.0), **options).fit(X, y)
    assert not two.cross_fitted_
    assert_allclose(two.lower_bound_, one.lower_bound_, atol=1e-4)
    assert_allclose(two.predict(X), one.predict(X), atol=0.02)


def test_two_outputs_of_every_family(rng):
    X = rng.standard_normal((120, 2))
    Y = np.round(np.exp(1 + X @ rng.standard_normal((2, 2)) * 0.5) * 5 + 1)
    for family in ("gaussian", "student_t", "laplace", "poisson", "gamma"):
        model = MixtureOfExpertsRegressor(
            n_experts=2,
            family=family,
            bound_predictions=False,
            n_init=1,
            max_iter=10,
            random_state=0,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(X, Y)
        assert model.predict(X).shape == (120, 2)
        distribution = model.predict_distribution(X)
        assert_allclose(distribution.mean(), model.predict(X))
        assert_allclose(np.log(distribution.pdf(Y)), model.log_density(X, Y), rtol=1e-6)
        assert model.sample_y(X[:3], 5, random_state=0).shape == (3, 2, 5)
