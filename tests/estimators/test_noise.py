"""The noise expert."""

import numpy as np
import pytest
from _outliers import lines_with_outliers
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from scipy.stats import norm, poisson

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.gates import ConstantGate, SoftmaxGate


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
    gate = SoftmaxGate(alpha=0.3)  # as it is beside noise
    plain = MixtureOfExpertsRegressor(n_experts=2, gate=gate, random_state=0).fit(X, y)
    assert_allclose(model.predict(X), plain.predict(X), atol=0.05)


def test_noise_needs_a_range(rng):
    with pytest.raises(ValueError, match="noise_expert=True needs a range of targets"):
        MixtureOfExpertsRegressor(n_experts=2, noise_expert=True).fit(
            rng.standard_normal((20, 1)), np.ones(20)
        )
