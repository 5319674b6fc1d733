"""What the softmax gate promises under an L1 penalty."""

import numpy as np
import pytest
from _problems import (
    expected_log_prob,
    fit_part,
    logistic,
    make_rows,
    random_resp,
    softmax_gated,
    statistics_of,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax
from sklearn import config_context
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV

from mixexp import MixtureOfExpertsRegressor
from mixexp.gates import SoftmaxGate
from mixexp.protocols import Rows, can

L1 = SoftmaxGate(8.0, l1_ratio=1.0)
ELASTIC = SoftmaxGate(8.0, l1_ratio=0.6)


def labelled(rng, n, d, k):
    """Return X and labels that a few of its columns separate, with noise."""
    X = rng.standard_normal((n, d))
    slopes = 2.0 * rng.standard_normal((k, d)) * (np.arange(d) < 2)
    return X, (X @ slopes.T + rng.gumbel(size=(n, k))).argmax(axis=1)


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("gate", [L1, ELASTIC], ids=str)
def test_fit_to_labels_is_scikit_learns(rng, gate, k):
    X, labels = labelled(rng, 150, 5, k)
    rows = make_rows(X * 10.0 ** np.arange(5) - 3.0)
    part = fit_part(gate.start(rows, k, None), rows, np.eye(k)[labels].T, 40)
    scaled = (X - X.mean(axis=0)) / X.std(axis=0)
    # a penalty on both of two classes: half of the single vector's coefficient each
    ridge = 8.0 * (1 - gate.l1_ratio) * (0.5 if k == 2 else 1.0)
    lasso = 8.0 * gate.l1_ratio
    alpha = ridge + lasso
    reference = logistic(alpha, lasso / alpha).fit(scaled, labels)
    proba = np.exp(part.log_prob(next(iter(rows.blocks())))).T
    assert_allclose(proba, reference.predict_proba(scaled), atol=1e-6)
    theta = part.theta[:, 1:]
    coef = theta if k > 2 else theta[1:] - theta[:1]
    assert_allclose(coef, reference.coef_, atol=1e-6)
    assert 0 < np.count_nonzero(coef) < coef.size


def test_a_share_of_zero_is_the_ridge_gate(rng):
    rows, resp = make_rows(rng.standard_normal((80, 3))), random_resp(rng, 3, 80, 2.0)
    parts = [
        fit_part(gate.start(rows, 3, None), rows, resp, 5)
        for gate in (SoftmaxGate(0.7), SoftmaxGate(0.7, l1_ratio=0), SoftmaxGate(0, l1_ratio=1.0))
    ]
    assert_array_equal(parts[0].theta, parts[1].theta)
    unpenalised = fit_part(SoftmaxGate(0).start(rows, 3, None), rows, resp, 5)
    assert_array_equal(parts[2].theta, unpenalised.theta)


@pytest.mark.parametrize("k, d", [(4, 3), (12, 45)], ids=["Hessian", "blocks"])
def test_every_step_climbs_and_bounded_steps_too(rng, k, d):
    rows, resp = make_rows(rng.standard_normal((150, d))), random_resp(rng, k, 150, 3.0)
    part = SoftmaxGate(3.0, l1_ratio=0.8).start(rows, k, None)
    assert part.curvature == ("newton" if k * (d + 1) <= 512 else "blocks")
    before = expected_log_prob(part, rows, resp)
    for _ in range(6):
        part = fit_part(part, rows, resp)
        after = expected_log_prob(part, rows, resp)
        assert after >= before - 1e-10 * abs(before)
        before = after
    assert np.any(part.theta[:, 1:] == 0)
    away = part.set_parameters(part.get_parameters() + 3 * rng.standard_normal(part.theta.size))
    before = expected_log_prob(away, rows, resp)
    for _ in range(3):
        away = away.bounded()
        away = away.update(statistics_of(away, rows, resp), rows)
        after = expected_log_prob(away, rows, resp)
        assert after >= before - 1e-12 * abs(before)
        before = after


def test_prior_parameters_and_zeros(rng):
    X, labels = labelled(rng, 150, 4, 3)
    rows = make_rows(X)
    part = fit_part(ELASTIC.start(rows, 3, None), rows, np.eye(3)[labels].T, 20)
    slopes = part.theta[:, 1:]
    penalty = 8.0 * (0.6 * np.abs(slopes).sum() + 0.2 * np.sum(slopes**2))
    assert_allclose(part.log_prior(), -penalty, rtol=1e-12)
    used = np.count_nonzero(slopes, axis=0)
    assert part.n_parameters == 2 + np.sum(np.minimum(used, 2))
    assert not can(part, "scores")
    assert can(SoftmaxGate().start(rows, 3, None), "scores")
    fewer = part.select([2, 0])
    assert_allclose(softmax(fewer.theta, axis=0), softmax(part.theta[[2, 0]], axis=0), rtol=1e-12)


def test_columns_of_ones_own(rng):
    X, labels = labelled(rng, 200, 4, 3)
    rows = make_rows(X)
    columns = [np.array([0, 1]), np.array([1, 3]), np.array([0, 1, 2])]
    part = fit_part(L1.start(rows, 3, columns), rows, np.eye(3)[labels].T, 30)
    seen = np.array([np.isin(np.arange(4), each) for each in columns])
    assert_array_equal(part.coef_[~seen], 0.0)
    assert np.any(part.coef_[seen] == 0) and np.any(part.coef_[seen] != 0)
    top = expected_log_prob(part, rows, np.eye(3)[labels].T)
    for _ in range(20):
        step = 0.02 * rng.standard_normal(part.theta.size)
        near = part.set_parameters(part.get_parameters() + step)
        assert expected_log_prob(near, rows, np.eye(3)[labels].T) < top


def test_unused_columns_are_named(rng):
    X, y, _, _ = softmax_gated(rng, 400, 2, 2)
    X = np.column_stack([rng.standard_normal(400), X, rng.standard_normal((400, 2))])
    gate = SoftmaxGate(20.0, l1_ratio=1.0)
    model = MixtureOfExpertsRegressor(Ridge(), n_experts=2, gate=gate, random_state=0).fit(X, y)
    unused = model.gate_.unused_features_
    assert_array_equal(unused, np.flatnonzero(~np.any(model.gate_.coef_, axis=0)))
    assert {0, 3, 4} <= set(unused) < set(range(5))
    text = model.gate_.to_text(list("abcde"))
    assert text.splitlines()[-1] == "used by none: " + ", ".join(np.array(list("abcde"))[unused])
    assert "used by none" not in model.set_params(gate=None).fit(X, y).gate_.to_text()
    assert len(model.unused_features_) == 0


def test_missing_values_use_a_column(rng):
    X = rng.standard_normal((300, 3))
    labels = (rng.random(300) < 0.5).astype(int)
    X[labels == 1, 1] = np.where(rng.random(np.sum(labels)) < 0.7, np.nan, 0.1)
    rows = Rows(X, training=True, missing=True)
    part = SoftmaxGate(20.0, l1_ratio=1.0).start(rows, 2, None)
    part = fit_part(part, rows, np.eye(2)[labels].T, 20)
    assert np.all(part.indicator_coef_ != 0) and np.all(part.coef_[:, [0, 2]] == 0)
    assert_array_equal(part.unused_features_, [0, 2])


def test_outputs_of_a_basis_are_named(rng):
    X = rng.standard_normal((300, 2))
    y = np.where(X[:, 0] ** 2 > 1, 3.0, -3.0) + 0.1 * rng.standard_normal(300)
    model = MixtureOfExpertsRegressor(
        Ridge(), 2, gate=SoftmaxGate(5.0, l1_ratio=1.0), gate_basis="quantile", random_state=0
    ).fit(X, y)
    unused = model.gate_.unused_features_
    assert_array_equal(unused, np.flatnonzero(~np.any(model.gate_.coef_, axis=0)))
    names = model.gate_basis_.get_feature_names_out(["a", "b"])
    last = model.gate_.to_text(["a", "b"]).splitlines()[-1]
    assert len(unused) and all(name in last for name in names[unused])


def test_search_over_the_share(rng):
    X, y, _, _ = softmax_gated(rng, 150, 2, 2)
    model = MixtureOfExpertsRegressor(gate=SoftmaxGate(), n_experts=2, n_init=1, random_state=0)
    grid = {"gate__l1_ratio": [0.0, 0.5, 1.0], "gate__alpha": [3.0]}
    search = GridSearchCV(model, grid, cv=2, error_score="raise").fit(X, y)
    assert len(set(search.cv_results_["mean_test_score"])) == 3


@pytest.mark.parametrize("value", [-0.1, 1.5, "1", True, np.nan, None])
def test_wrong_shares(rng, value):
    with pytest.raises(ValueError, match=r"SoftmaxGate: l1_ratio must be a number in \[0, 1\]"):
        SoftmaxGate(l1_ratio=value).start(make_rows(rng.standard_normal((9, 1))), 2, None)


def test_too_wide_for_gram_matrices(rng):
    rows = make_rows(rng.standard_normal((20, 300)))
    with config_context(working_memory=1), pytest.raises(ValueError, match="an L1 penalty needs"):
        L1.start(rows, 2, None)
    assert L1.start(rows, 2, None).curvature == "blocks"
