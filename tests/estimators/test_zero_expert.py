"""The zero expert: zero-inflated counts."""

import numpy as np
import pytest
from _count_table import count_table
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.optimize import minimize
from sklearn.base import clone
from sklearn.linear_model import PoissonRegressor
from sklearn.tree import DecisionTreeRegressor

from mixexp import MixtureOfExpertsRegressor
from mixexp.gates import ConstantGate
from mixexp.routing import TopK

#: Log-likelihood, log-odds of the zeros and coefficients of statsmodels 0.15.0 on the counts with
#: more zeros of `count_table`, by `ZeroInflatedPoisson(z, X)` and `ZeroInflatedNegativeBinomialP`,
#: with a constant as `exog_infl`, ``fit(method="bfgs", gtol=1e-9)``.
OF_STATSMODELS = {
    "poisson": (-367.0706570187716, -0.1171066, [1.2029089, 0.4457607, -0.2875134]),
    "negative_binomial": (-348.7702145470619, -0.4033918, [1.0713969, 0.5120405, -0.3512052]),
}


def single(family, **options):
    """Return a zero-inflated regression without penalty."""
    options = {"tol": 1e-13, "max_iter": 5000, **options}
    return MixtureOfExpertsRegressor(
        PoissonRegressor(alpha=0), n_experts=1, family=family, zero_expert=True, **options
    )


def regimes(rng, n=1500):
    """Return X and counts of two regimes, of which 30 % are 0 whatever the regime says."""
    X = rng.uniform(-2, 2, (n, 1))
    y = rng.poisson(np.exp(1 + np.abs(X[:, 0]))).astype(float)
    return X, np.where(rng.random(n) < 0.3, 0.0, y)


@pytest.mark.parametrize("family", OF_STATSMODELS)
def test_one_expert_is_that_of_statsmodels(family):
    X, _, z, _ = count_table()
    likelihood, odds, coefficients = OF_STATSMODELS[family]
    model = single(family).fit(X, z)
    assert_allclose(model.log_density(X, z).sum(), likelihood, atol=1e-6)
    share = model.gate_.zero_share_
    assert_allclose(np.log(share / (1 - share)), odds, atol=1e-5)
    expert = model.experts_[0]
    assert_allclose([expert.intercept_, *expert.coef_], coefficients, atol=1e-5)


def test_one_expert_is_at_the_maximum_with_offset_and_weights():
    X, _, z, offset = count_table()
    weight = 1.0 + np.arange(200) % 2

    def loss(theta):
        density = stats.poisson.pmf(z, np.exp(offset + theta[0] + X @ theta[1:3]))
        share = 1 / (1 + np.exp(-theta[3]))
        return -weight @ np.log(share * (z == 0) + (1 - share) * density + 1e-300)

    best = minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-7})
    model = single("poisson").fit(X, z, weight, offset=offset)
    assert_allclose(weight @ model.log_density(X, z, offset=offset), -best.fun, atol=1e-6)
    copies = np.repeat(np.arange(200), weight.astype(int))
    again = single("poisson").fit(X[copies], z[copies], offset=offset[copies])
    assert_allclose(again.gate_.zero_share_, model.gate_.zero_share_, rtol=1e-6)


@pytest.mark.parametrize("family", OF_STATSMODELS)
def test_columns_and_predictions(rng, family):
    X, y = regimes(rng)
    model = MixtureOfExpertsRegressor(
        n_experts=2, family=family, zero_expert=True, random_state=0
    ).fit(X, y)
    share = model.gate_.zero_share_
    assert_allclose(share, 0.3, atol=0.05)
    assert np.diff(model.lower_bounds_).min() > -1e-9
    gate, resp = model.gate_proba(X), model.responsibilities(X, y)
    assert gate.shape == resp.shape == (1500, 3) and model.usage_.shape == (3,)
    assert_allclose(gate[:, 2], share)
    assert_array_equal(resp[y > 0, 2], 0.0)
    assert len(model.experts_) == model.predict_experts(X).shape[1] == 2
    pooled = np.sum(model.route(X) * model.predict_experts(X), axis=1)
    assert_allclose(model.predict(X), (1 - share) * pooled)
    law = model.predict_distribution(X)
    assert_allclose(law.mean(), model.predict(X))
    assert_allclose(law.logpdf(y), model.log_density(X, y), atol=1e-10)
    assert np.all(law.pdf(np.zeros(1500)) >= share)
    counts = np.arange(400.0)
    pmf = np.array([law[:5].pdf(np.full(5, c)) for c in counts])
    assert_allclose(pmf.sum(axis=0), 1.0, atol=1e-9)
    variance = np.sum(pmf * (counts[:, None] - law.mean()[:5]) ** 2, axis=0)
    assert_allclose(law.variance()[:5], variance, rtol=1e-8)
    assert_allclose(
        np.mean(model.sample_y(X, 200, random_state=0) == 0), np.mean(y == 0), atol=0.03
    )
    assert_array_equal(law.quantile(share / 2), 0.0)
    chosen = model.predict_experts(X)[np.arange(1500), gate[:, :2].argmax(axis=1)]
    assert_allclose(model.to_hard().predict(X), (1 - share) * chosen)
    assert f"zero: a share of {share:.2g}" in model.gate_.to_text()


def test_several_outputs_are_zero_together(rng):
    X, y = regimes(rng, 400)
    both = np.column_stack([y, np.where(y > 0, rng.poisson(3.0, 400), 0)])
    model = MixtureOfExpertsRegressor(
        n_experts=1, family="poisson", zero_expert=True, gate=ConstantGate()
    ).fit(X, both)
    law = model.predict_distribution(X)
    assert_allclose(law.logpdf(both), model.log_density(X, both), atol=1e-10)


@pytest.mark.parametrize(
    "options",
    [
        {"expert": DecisionTreeRegressor(max_depth=3, random_state=0)},
        {"routing": TopK(1)},
        {"pooling": "argmax", "bound_predictions": False},
    ],
    ids=["trees", "routing", "argmax"],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_with_other_parts(rng, options):
    X, y = regimes(rng, 400)
    model = MixtureOfExpertsRegressor(
        n_experts=2, family="poisson", zero_expert=True, n_init=2, random_state=0, **options
    ).fit(X, y)
    assert_allclose(model.gate_.zero_share_, 0.3, atol=0.12)
    assert model.responsibilities(X, y).shape == (400, 3)
    if "pooling" not in options:
        law = model.predict_distribution(X)
        assert_allclose(law.mean(), model.predict(X), rtol=1e-9)


def test_mixture_of_mixtures(rng):
    X, y = regimes(rng, 400)
    inner = MixtureOfExpertsRegressor(n_experts=2, family="poisson")
    model = MixtureOfExpertsRegressor(
        inner, n_experts=2, family="poisson", zero_expert=True, n_init=1, tol=1e-3, random_state=0
    ).fit(X, y)
    assert model.gate_proba(X).shape == (400, 3)
    assert_allclose(model.predict_distribution(X).mean(), model.predict(X), rtol=1e-9)
    with pytest.raises(ValueError, match="zero_expert"):
        MixtureOfExpertsRegressor(
            clone(inner).set_params(zero_expert=True), n_experts=2, family="poisson"
        ).fit(X, y)


def test_refused_combinations():
    X, _, z, _ = count_table()
    with pytest.raises(ValueError, match=r"zero_expert=True needs a family of counts, got .*gamma"):
        MixtureOfExpertsRegressor(family="gamma", zero_expert=True).fit(X, z + 1)
    with pytest.raises(ValueError, match=r"noise_expert=True and zero_expert=True .* Set"):
        MixtureOfExpertsRegressor(family="poisson", zero_expert=True, noise_expert=True).fit(X, z)
    model = single("poisson").fit(X, z)
    with pytest.raises(ValueError, match="zero_expert=True"):
        model.summary(X, z)
    with pytest.raises(ValueError, match="warm_up has a zero expert"):
        MixtureOfExpertsRegressor(
            DecisionTreeRegressor(), n_experts=1, family="poisson", warm_up=single("poisson")
        ).fit(X, z)
