"""The noise expert, offsets, missing values, and columns of its own for each expert."""

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import gammaln, logsumexp
from scipy.stats import norm, poisson
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import (
    GammaRegressor,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    TweedieRegressor,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._blocks import Rows
from mixexp.gates import ConstantGate, SoftmaxGate

# ---------------------------------------------------------------- noise


def lines_with_outliers(rng, n=600, share=0.1):
    """Return X, y, the true mean, and which rows are gross outliers."""
    X = rng.standard_normal((n, 2))
    mean = np.where(X[:, 0] > 0, 2 + 3 * X[:, 1], -2 - X[:, 1])
    out = rng.random(n) < share
    y = mean + 0.3 * rng.standard_normal(n)
    y[out] = rng.uniform(-40, 40, out.sum())
    return X, y, mean, out


def test_noise_expert_takes_the_outliers(rng):
    X, y, mean, out = lines_with_outliers(rng)
    plain = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    model = MixtureOfExpertsRegressor(n_experts=2, noise_expert=True, random_state=0).fit(X, y)
    far = out & (np.abs(y - mean) > 3)
    resp = model.responsibilities(X, y)
    assert resp.shape == (600, 3)
    assert resp[far, 2].mean() > 0.95
    assert resp[~out, 2].mean() < 0.02
    assert_allclose(model.usage_[2], out.mean(), atol=0.02)
    inside = np.abs(X[:, 0]) > 0.3  # of a region
    error = [np.sqrt(np.mean((m.predict(X) - mean)[inside] ** 2)) for m in (model, plain)]
    assert error[0] < error[1] / 2
    assert_allclose(np.sort(model.dispersions_), 0.3, atol=0.1)


def test_noise_density_and_routing(rng):
    X, y, _, _ = lines_with_outliers(rng)
    model = MixtureOfExpertsRegressor(n_experts=2, noise_expert=True, random_state=0).fit(X, y)
    gate = model.gate_proba(X)
    assert gate.shape == (600, 3)
    assert_allclose(gate.sum(axis=1), 1.0, atol=1e-12)
    assert_allclose(gate[:, 2], model.responsibilities(X, y)[:, 2].mean(), rtol=1e-3)
    assert_allclose(model.route(X), gate[:, :2] / gate[:, :2].sum(axis=1, keepdims=True))
    outputs = model.predict_experts(X)
    assert outputs.shape == (600, 2)
    assert len(model.experts_) == 2
    assert_allclose(model.predict(X), np.sum(model.route(X) * outputs, axis=1))
    log_expert = norm.logpdf(y[:, None], outputs, model.dispersions_)
    noise = np.full((600, 1), -np.log(np.ptp(y)))
    expected = logsumexp(np.log(gate) + np.hstack([log_expert, noise]), axis=1)
    assert_allclose(model.log_density(X, y), expected)
    beyond = np.full(600, y.max() + 1.0)  # the noise has density 0 there
    log_expert = norm.logpdf(beyond[:, None], outputs, model.dispersions_)
    expected = logsumexp(np.log(gate[:, :2]) + log_expert, axis=1)
    assert_allclose(model.log_density(X, beyond), expected)


def test_noise_of_classes_and_counts(rng):
    X = rng.standard_normal((400, 1))
    labels = np.where(X[:, 0] > 0, "yes", "no").astype(object)
    wrong = rng.random(400) < 0.15
    labels[wrong] = rng.choice(["yes", "no"], wrong.sum())
    model = MixtureOfExpertsClassifier(n_experts=1, noise_expert=True, random_state=0)
    model.fit(X, labels)
    gate = model.gate_proba(X)
    codes = (labels == "yes").astype(int)
    own = model.predict_experts(X)[np.arange(400), 0, codes]
    assert_allclose(model.log_density(X, labels), np.log(gate[:, 0] * own + gate[:, 1] * 0.5))
    assert_allclose(model.predict_proba(X).sum(axis=1), 1.0)

    y = rng.poisson(np.exp(1 + X[:, 0]))
    y[:20] = 60
    model = MixtureOfExpertsRegressor(
        n_experts=1, noise_expert=True, family="poisson", gate=ConstantGate(), random_state=0
    ).fit(X, y)
    expected = np.logaddexp(
        np.log1p(-model.gate_.noise_share_) + poisson.logpmf(y, model.predict(X)),
        np.log(model.gate_.noise_share_) - np.log(y.max() - y.min() + 1),
    )
    assert_allclose(model.log_density(X, y), expected)
    assert_allclose(model.experts_[0].coef_, [1.0], atol=0.1)


def test_noise_bound_climbs_and_weights_repeat(rng):
    X, y, _, _ = lines_with_outliers(rng, 200)
    weight = rng.integers(0, 3, 200)
    repeated = np.repeat(np.arange(200), weight)
    options = {"n_experts": 2, "noise_expert": True, "random_state": 0}
    one = MixtureOfExpertsRegressor(**options).fit(X, y, sample_weight=weight)
    two = MixtureOfExpertsRegressor(**options).fit(X[repeated], y[repeated])
    assert_array_equal(one.predict(X), two.predict(X))
    assert np.all(np.diff(one.lower_bounds_) >= -1e-9)


def test_noise_that_nobody_needs_has_not_collapsed(rng):
    X, y, _, _ = lines_with_outliers(rng, 300, 0.0)
    model = MixtureOfExpertsRegressor(
        n_experts=2, noise_expert=True, on_collapse="raise", random_state=0
    ).fit(X, y)
    assert model.usage_[2] < 0.005
    plain = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    assert_allclose(model.predict(X), plain.predict(X), atol=0.05)


def test_noise_needs_a_range(rng):
    with pytest.raises(ValueError, match="noise_expert=True needs a range of targets"):
        MixtureOfExpertsRegressor(n_experts=2, noise_expert=True).fit(
            rng.standard_normal((20, 1)), np.ones(20)
        )


# ---------------------------------------------------------------- offset


def counts(rng, n=500):
    """Return X, counts, exposure and the two rates of a mixture of Poisson regressions."""
    X = rng.standard_normal((n, 1))
    exposure = rng.uniform(1, 20, n)
    rate = np.exp(np.where(rng.random(n) < 0.5, 1 + 0.5 * X[:, 0], -1.5 - 0.5 * X[:, 0]))
    return X, rng.poisson(exposure * rate), exposure


@pytest.mark.parametrize("expert", [None, PoissonRegressor(alpha=0)])
def test_offset_enters_the_density(rng, expert):
    X, y, exposure = counts(rng)
    model = MixtureOfExpertsRegressor(
        expert, n_experts=2, family="poisson", gate=ConstantGate(), random_state=0
    )
    model.fit(X, y, offset=np.log(exposure))
    rates = model.predict_experts(X)
    assert_allclose(
        model.predict_experts(X, offset=np.log(exposure)), rates * exposure[:, None], rtol=1e-10
    )
    assert_allclose(rates[:, 0], model.experts_[0].predict(X))
    log_joint = np.log(model.gate_.proba_) + poisson.logpmf(y[:, None], rates * exposure[:, None])
    density = logsumexp(log_joint, axis=1)
    offset = np.log(exposure)
    assert_allclose(model.log_density(X, y, offset=offset), density)
    assert_allclose(
        model.responsibilities(X, y, offset=offset), np.exp(log_joint - density[:, None]), atol=1e-9
    )
    assert_allclose(
        model.predict_distribution(X, offset=offset).mean(), model.predict(X, offset=offset)
    )
    assert model.score(X, y, offset=offset) > model.score(X, y)
    assert_allclose(model.aic(X, y, offset=offset), -2 * density.sum() + 2 * 5)
    draws = model.sample_y(X, 200, random_state=0, offset=offset)
    assert_allclose(draws.mean(), model.predict(X, offset=offset).mean(), rtol=0.05)
    intercepts = np.sort([e.intercept_ for e in model.experts_])
    assert_allclose(intercepts, [-1.5, 1.0], atol=0.25)


@pytest.mark.parametrize("shift", [-40.0, 30.0, 50.0, 300.0])
def test_a_constant_offset_is_an_intercept(rng, shift):
    X, y, exposure = counts(rng)
    options = {"n_experts": 2, "family": "poisson", "gate": ConstantGate(), "random_state": 0}
    one = MixtureOfExpertsRegressor(**options).fit(X, y, offset=np.log(exposure))
    two = MixtureOfExpertsRegressor(**options).fit(X, y, offset=np.log(exposure) + shift)
    assert_allclose(two.lower_bound_, one.lower_bound_, atol=1e-5)
    one_two = [np.sort([e.intercept_ for e in model.experts_]) for model in (one, two)]
    assert_allclose(one_two[0] - one_two[1], shift, atol=0.05)
    assert_allclose(two.predict(X, offset=shift), one.predict(X, offset=0.0), rtol=0.05)


def test_an_offset_moves_a_gaussian_as_its_subtraction_does(rng):
    X, y, _, _ = lines_with_outliers(rng, 200, 0.0)
    offset = rng.standard_normal(200)
    for expert in (LinearRegression(), DecisionTreeRegressor(max_depth=2, random_state=0)):
        options = {"n_experts": 2, "init": (X[:, 0] > 0).astype(int), "max_iter": 5, "tol": 0}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            one = MixtureOfExpertsRegressor(expert, **options).fit(X, y + offset, offset=offset)
            two = MixtureOfExpertsRegressor(expert, **options).fit(X, y)
        if expert.__class__ is LinearRegression:  # folds are drawn by content, offset included
            assert_allclose(one.predict(X), two.predict(X), rtol=1e-6)
        assert_allclose(one.predict(X, offset=offset), one.predict(X) + offset)


def test_offset_of_estimator_experts_with_a_log_link(rng):
    X, y, exposure = counts(rng)
    offset = np.log(exposure)
    tree = DecisionTreeRegressor(max_depth=2, criterion="poisson", random_state=0)
    model = MixtureOfExpertsRegressor(
        tree, n_experts=1, family="poisson", cross_fit=False, max_iter=2, init=np.zeros(500)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y, offset=offset)
    # one GLM or tree: rates weighted by exposure
    alone = DecisionTreeRegressor(max_depth=2, criterion="poisson", random_state=0)
    order = np.lexsort((y, X[:, 0]))
    alone.fit(X[order], (y / exposure)[order], sample_weight=exposure[order])
    assert_allclose(model.predict(X), alone.predict(X), rtol=1e-9)
    assert_allclose(model.predict(X, offset=offset), alone.predict(X) * exposure, rtol=1e-9)


def test_offset_of_classes(rng):
    X = rng.standard_normal((400, 1))
    offset = rng.standard_normal(400)
    y = rng.random(400) < 1 / (1 + np.exp(-(X[:, 0] + 2 * offset)))
    expert = LogisticRegression(C=1e6)
    model = MixtureOfExpertsClassifier(expert, n_experts=1).fit(X, y, offset=2 * offset)
    plain = model.experts_[0].predict_proba(X)
    log_odds = np.log(plain[:, 1] / plain[:, 0]) + 2 * offset
    assert_allclose(
        model.predict_proba(X, offset=2 * offset)[:, 1], 1 / (1 + np.exp(-log_odds)), rtol=1e-9
    )
    assert_allclose(model.experts_[0].coef_, [[1.0]], atol=0.35)
    assert model.score(X, y, offset=2 * offset) > model.score(X, y)
    three = MixtureOfExpertsClassifier(expert, n_experts=1).fit(
        X, np.arange(400) % 3, offset=np.zeros((400, 3))
    )
    shifted = three.predict_proba(X, offset=np.tile([0.0, 0.0, 1.0], (400, 1)))
    expected = three.predict_proba(X) * [1, 1, np.e]
    assert_allclose(shifted, expected / expected.sum(axis=1, keepdims=True), rtol=1e-9)


def test_wrong_offsets(rng):
    X, y, exposure = counts(rng)
    model = MixtureOfExpertsRegressor(n_experts=2, family="poisson", random_state=0)
    with pytest.raises(ValueError, match=r"offset has shape \(500, 3\)"):
        model.fit(X, y, offset=np.zeros((500, 3)))
    with pytest.raises(ValueError, match=r"offset has shape \(10,\).* each of 500 rows"):
        model.fit(X, y, offset=np.zeros(10))
    with pytest.raises(ValueError, match="500 values that are NaN or infinite"):
        model.fit(X, y, offset=np.full(500, np.nan))
    with pytest.raises(ValueError, match=r"offset goes from .* scale of the log link: give np.log"):
        model.fit(X, y, offset=100 * exposure)
    with pytest.raises(ValueError, match=r"offset=np.log"):
        model.fit(X, y / exposure)
    with pytest.raises(ValueError, match="offset is added to the linear predictor of logistic"):
        MixtureOfExpertsClassifier(DecisionTreeClassifier(), n_experts=2).fit(
            X, y > 3, offset=np.zeros(500)
        )


# ---------------------------------------------------------------- generalised linear experts


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
    prior = (model.gate_.log_prior() + model._bank.log_prior()) / weight.sum()
    mean = model.log_density(X, y) @ weight / weight.sum()
    assert_allclose(model.lower_bound_, mean + prior, rtol=1e-9)


class Unbanked(Ridge):
    """A subclass may do anything, and is fitted one by one."""


@pytest.mark.parametrize("family", ["student_t", "laplace"])
def test_outlying_rows_count_less_for_estimators_too(rng, family):
    X, y, _, _ = lines_with_outliers(rng, 300)
    options = {"n_experts": 2, "init": (X[:, 0] > 0).astype(int), "family": family}
    options |= {"max_iter": 3000, "tol": 1e-9}
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
            n_experts=2, family=family, n_init=1, max_iter=10, random_state=0
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(X, Y)
        assert model.predict(X).shape == (120, 2)
        distribution = model.predict_distribution(X)
        assert_allclose(distribution.mean(), model.predict(X))
        assert_allclose(np.log(distribution.pdf(Y)), model.log_density(X, Y), rtol=1e-6)
        assert model.sample_y(X[:3], 5, random_state=0).shape == (3, 2, 5)


# ---------------------------------------------------------------- missing values


@pytest.fixture
def holes(rng):
    """Return X with 15 % missing values, not at random in column 0, and y."""
    X = rng.standard_normal((300, 3))
    y = np.where(X[:, 0] > 0, X[:, 1], 4 - X[:, 1]) + 0.1 * rng.standard_normal(300)
    holes = rng.random((300, 3)) < 0.15
    holes[:, 0] &= X[:, 0] > 0
    X[holes] = np.nan
    return X, y


def test_boosted_experts_and_the_default_gate_take_nan(holes):
    X, y = holes
    expert = HistGradientBoostingRegressor(max_iter=20, random_state=0)
    model = MixtureOfExpertsRegressor(expert, n_experts=2, max_iter=5, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)
    assert np.all(np.isfinite(model.predict(X)))
    assert np.all(np.isfinite(model.log_density(X, y)))
    assert_allclose(model.gate_proba(X).sum(axis=1), 1.0, atol=1e-12)
    assert model.gate_.coef_.shape == (2, 3)
    assert_array_equal(model.gate_.indicator_features_, [0, 1, 2])
    known = np.where(np.isnan(X), np.nanmean(X, axis=0), X)
    scores = known @ model.gate_.coef_.T + np.isnan(X) @ model.gate_.indicator_coef_.T
    scores += model.gate_.intercept_
    expected = np.exp(scores - logsumexp(scores, axis=1, keepdims=True))
    assert_allclose(model.gate_proba(X), expected, rtol=1e-9)
    assert model.gate_.indicator_coef_.shape == (2, 3)
    assert model.score(X, y) > 0.5
    labels = MixtureOfExpertsClassifier(
        HistGradientBoostingClassifier(max_iter=5), n_experts=2, max_iter=2, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        proba = labels.fit(X, y > 2).predict_proba(X)
    assert_allclose(proba.sum(axis=1), 1.0)


def test_the_gate_is_that_of_imputed_columns_with_indicators(holes):
    X, y = holes
    unknown = np.isnan(X)
    means = np.nanmean(X, axis=0)
    filled = np.where(unknown, means, X)
    both = np.hstack([filled, unknown])
    fill = FunctionTransformer(lambda X: np.where(np.isnan(X), means, X))
    expert = make_pipeline(fill, LinearRegression())
    options = {"n_experts": 2, "init": (y > 2).astype(int), "max_iter": 30, "tol": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = MixtureOfExpertsRegressor(expert, **options).fit(X, y)
        two = MixtureOfExpertsRegressor(
            LinearRegression(), expert_features=[0, 1, 2], **options
        ).fit(both, y)
    assert_allclose(one.gate_.coef_, two.gate_.coef_[:, :3], rtol=1e-6)
    assert_allclose(one.gate_.indicator_coef_, two.gate_.coef_[:, 3:], rtol=1e-6)
    assert_allclose(one.gate_proba(X), two.gate_proba(both), rtol=1e-6)


def test_parts_that_refuse_nan_are_named(holes):
    X, y = holes
    with pytest.raises(ValueError, match=r"contains NaN.*linear experts cannot take missing"):
        MixtureOfExpertsRegressor(n_experts=2).fit(X, y)
    with pytest.raises(ValueError, match=r"contains NaN.*expert Ridge cannot"):
        MixtureOfExpertsRegressor(Ridge(), n_experts=2).fit(X, y)
    boosted = HistGradientBoostingRegressor(max_iter=2)
    with pytest.raises(ValueError, match="gate LogisticRegression cannot"):
        MixtureOfExpertsRegressor(boosted, n_experts=2, gate=LogisticRegression()).fit(X, y)
    with pytest.raises(ValueError, match=r"columns \[0, 1, 2\] of the gate's input contain NaN"):
        SoftmaxGate(missing="error").start(Rows(X, training=True, missing=True), 2, None)
    with pytest.raises(ValueError, match=r"gate SoftmaxGate\(missing='error'\) cannot take"):
        MixtureOfExpertsRegressor(boosted, 2, gate=SoftmaxGate(missing="error")).fit(X, y)
    with pytest.raises(ValueError, match="missing must be"):
        MixtureOfExpertsRegressor(boosted, 2, gate=SoftmaxGate(missing="drop")).fit(X, y)
    with pytest.raises(ValueError, match="infinity"):
        MixtureOfExpertsRegressor(boosted, 2).fit(np.where(np.isnan(X), np.inf, X), y)
    with pytest.raises(ValueError, match="dense X only"):
        MixtureOfExpertsRegressor(n_experts=2).fit(sp.csr_matrix(X), y)


def test_missing_values_in_prediction_only(holes):
    X, y = holes
    full = np.where(np.isnan(X), 0.0, X)
    boosted = HistGradientBoostingRegressor(max_iter=5, random_state=0)
    model = MixtureOfExpertsRegressor(boosted, n_experts=2, max_iter=2, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(full, y)
    mean = np.where(np.isnan(X), full.mean(axis=0), X)
    assert_allclose(model.gate_proba(X), model.gate_proba(mean), rtol=1e-9)  # counts as the mean
    assert np.all(np.isfinite(model.log_density(X, y)))
    strict = MixtureOfExpertsRegressor(
        boosted, n_experts=2, max_iter=2, gate=SoftmaxGate(missing="error"), random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        strict.fit(full, y)
    with pytest.raises(ValueError, match="missing='error'"):
        strict.predict(X)
    scaled = make_pipeline(FunctionTransformer(), Ridge())
    strict = MixtureOfExpertsRegressor(scaled, n_experts=2, random_state=0).fit(full, y)
    with pytest.raises(
        ValueError, match=r"expert 0 \(Pipeline\(Ridge\)\) failed to predict 300 ro"
    ):
        strict.predict(X)


def test_each_expert_is_asked_about_its_own_columns(holes):
    X, y = holes
    X = np.column_stack([np.where(np.isnan(X[:, 0]), 0.0, X[:, 0]), X[:, 1]])
    experts = [("line", Ridge()), ("trees", HistGradientBoostingRegressor(max_iter=5))]
    model = MixtureOfExpertsRegressor(
        experts, n_experts=2, expert_features=[[0], [1]], max_iter=2, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)
    assert np.all(np.isfinite(model.predict(X)))
    with pytest.raises(ValueError, match="expert Ridge cannot take missing values"):
        model.set_params(expert_features=[[1], [0]]).fit(X, y)


def test_experts_that_do_not_see_the_missing_columns(holes):
    X, y = holes
    X = X.copy()
    X[:, 1] = np.where(np.isnan(X[:, 1]), 0.0, X[:, 1])
    model = MixtureOfExpertsRegressor(Ridge(), n_experts=2, expert_features=[1], random_state=0)
    model.fit(X, y)
    assert np.all(np.isfinite(model.predict(X)))
    X[0, 1] = np.nan
    with pytest.raises(ValueError, match="expert Ridge cannot"):
        model.predict(X)


# ---------------------------------------------------------------- columns for each expert


@pytest.mark.slow
def test_the_right_columns_are_found_for_each_region():
    found = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((400, 3))
        z = rng.random(400) < 1 / (1 + np.exp(-3 * X[:, 2]))
        y = np.where(z, 2 * X[:, 0] - 1, 1.5 * X[:, 1] + 1) + 0.3 * rng.standard_normal(400)
        model = MixtureOfExpertsRegressor(
            n_experts=2, expert_features=[[0], [1]], gate_features=[2], random_state=seed
        ).fit(X, y)
        found += np.corrcoef(model.gate_proba(X)[:, 0], z)[0, 1] > 0.5
    assert found >= 38


def two_groups(rng, n=300):
    X = rng.standard_normal((n, 3))
    y = np.where(X[:, 2] > 0, 2 * X[:, 0] - 1, 1.5 * X[:, 1] + 1) + 0.3 * rng.standard_normal(n)
    return X, y


@pytest.mark.parametrize("expert", [None, Ridge(), DecisionTreeRegressor(max_depth=3)])
def test_experts_have_their_own_columns(rng, expert):
    X, y = two_groups(rng)
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    model = MixtureOfExpertsRegressor(
        expert, n_experts=2, expert_features=[["a"], ["b", "c"]], random_state=0
    ).fit(frame, y)
    assert [list(e.feature_names_in_) for e in model.experts_] == [["a"], ["b", "c"]]
    assert [e.n_features_in_ for e in model.experts_] == [1, 2]
    outputs = model.predict_experts(frame)
    assert_allclose(outputs[:, 0], model.experts_[0].predict(frame[["a"]]))
    assert_allclose(outputs[:, 1], model.experts_[1].predict(frame[["b", "c"]]))


def test_columns_of_classifiers_and_parameters(rng):
    X, y = two_groups(rng)
    model = MixtureOfExpertsClassifier(
        LogisticRegression(C=10), n_experts=2, expert_features=[[0], [1, 2]], random_state=0
    ).fit(X, y > 0)
    assert [e.coef_.shape for e in model.experts_] == [(1, 1), (1, 2)]
    outputs = model.predict_experts(X)
    assert_allclose(outputs[:, 1], model.experts_[1].predict_proba(X[:, 1:]))
    bic = model.bic(X, y > 0)
    n_parameters = (bic + 2 * model.log_density(X, y > 0).sum()) / np.log(300)
    assert_allclose(n_parameters, 4 + 2 + 3)


def test_a_column_for_all_and_none_for_one_is_a_constant(rng):
    X, y = two_groups(rng)
    one = MixtureOfExpertsRegressor(
        LinearRegression(), n_experts=2, expert_features=[[0, 1], [0, 1]], random_state=0
    ).fit(X, y)
    two = MixtureOfExpertsRegressor(
        LinearRegression(), n_experts=2, expert_features=[0, 1], random_state=0
    ).fit(X, y)
    assert_allclose(one.predict(X), two.predict(X), rtol=1e-9)


def test_gate_scores_with_columns_of_their_own(rng):
    X, y = two_groups(rng)
    model = MixtureOfExpertsRegressor(
        n_experts=3, gate_features=[[2], [0, 2], [2]], gate=SoftmaxGate(alpha=0.1), random_state=0,
        tol=1e-10, max_iter=1000,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)
    coef = model.gate_.coef_
    assert coef.shape == (3, 2)  # columns 0 and 2
    assert_array_equal(coef[[0, 2], 0], 0.0)
    assert coef[1, 0] != 0
    assert_allclose(coef[:, 1].sum(), 0.0, atol=1e-9)
    assert np.all(np.diff(model.lower_bounds_) >= -1e-9)
    scores = X[:, [0, 2]] @ coef.T + model.gate_.intercept_
    expected = np.exp(scores - logsumexp(scores, axis=1, keepdims=True))
    assert_allclose(model.gate_proba(X), expected, rtol=1e-9)
    # the gradient of the penalised log-likelihood is zero in the free coefficients
    resp = model.responsibilities(X, y)
    scale = X[:, [0, 2]].std(axis=0)
    gradient = (resp - expected).T @ X[:, [0, 2]] - 0.1 * coef * scale**2
    assert abs(gradient[1, 0]) < 1e-2
    assert np.all(np.abs(gradient[:, 1]) < 1e-2)
    assert_allclose(
        model.bic(X, y) + 2 * model.log_density(X, y).sum(), np.log(300) * (15 + 2 + 1 + 2)
    )


def test_experts_of_different_kinds_keep_their_gate_columns(rng):
    A = rng.standard_normal((300, 2))
    y = np.where(A[:, 1] > 0, np.sin(4 * A[:, 0]) * 2 + 5, 3 * A[:, 0] - 5)
    experts = [("tree", DecisionTreeRegressor(min_samples_leaf=5)), ("line", Ridge())]
    model = MixtureOfExpertsRegressor(
        experts, n_experts=2, gate_features=[[0], [1]], random_state=0, n_init=3, max_iter=5
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(A, y)
    assert model.gate_.coef_[0, 1] == model.gate_.coef_[1, 0] == 0.0


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ([[0], [1], [2]], "one selection for each of 3 experts, and n_experts=2"),
        ([[0], []], r"expert_features\[1\]=\[\] selects no columns"),
        ([[0], [7]], r"expert_features\[1\]=\[7\] selects no columns"),
        ([[0], [1, 1]], r"expert_features\[1\]=\[1, 1\] selects a column twice"),
    ],
)
def test_wrong_columns(rng, selection, message):
    X, y = two_groups(rng)
    with pytest.raises(ValueError, match=message):
        MixtureOfExpertsRegressor(n_experts=2, expert_features=selection).fit(X, y)
