"""Rows of one group share one responsibility."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.tree import DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.gates import ConstantGate, SoftmaxGate

K = 2


@pytest.fixture
def panel(rng):
    """Return X (the group's feature, the row's), y and groups of 60 groups of 1 to 8 rows."""
    groups = np.repeat(np.arange(60), rng.integers(1, 9, 60))
    feature = rng.standard_normal(60)
    z = rng.random(60) < 1 / (1 + np.exp(-2 * feature))
    x = rng.standard_normal(len(groups))
    y = np.where(z[groups], 1 + x, -0.5 - x) + 0.7 * rng.standard_normal(len(groups))
    order = rng.permutation(len(groups))
    return np.column_stack([feature[groups], x])[order], y[order], groups[order]


def mixture(**options):
    options = {"gate_features": [0], "expert_features": [1], "random_state": 0, **options}
    return MixtureOfExpertsRegressor(LinearRegression(), n_experts=K, **options)


def slow_log_joint(model, X, y, groups, weight=None):
    """Return log g_k(x_g) + Σ w log p_k(y_i | x_i) of each group (n_groups, K), row by row."""
    found = np.unique(groups)
    log_gate = np.log(model.gate_proba(X))
    log_expert = norm.logpdf(y[:, None], model.predict_experts(X), model.dispersions_)
    weight = np.ones(len(y)) if weight is None else weight
    return np.array(
        [
            log_gate[groups == g][0] + np.sum((weight[:, None] * log_expert)[groups == g], axis=0)
            for g in found
        ]
    )


def test_densities_and_responsibilities_are_those_of_the_formula(panel):
    X, y, groups = panel
    model = mixture().fit(X, y, groups=groups)
    log_joint = slow_log_joint(model, X, y, groups)
    assert_allclose(model.log_density(X, y, groups=groups), logsumexp(log_joint, axis=1))
    resp = np.exp(log_joint - logsumexp(log_joint, axis=1, keepdims=True))
    assert_allclose(model.responsibilities(X, y, groups=groups), resp[groups], atol=1e-12)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_bound_is_per_group_and_climbs(panel):
    X, y, groups = panel
    model = mixture(gate=SoftmaxGate(alpha=0), tol=0, max_iter=30).fit(X, y, groups=groups)
    density = model.log_density(X, y, groups=groups)
    assert_allclose(model.lower_bound_, density.mean(), rtol=1e-12)
    assert np.all(np.diff(model.lower_bounds_) >= -1e-9)
    n_parameters = 2 + K * 3
    assert_allclose(model.bic(X, y, groups=groups), -2 * density.sum() + n_parameters * np.log(60))
    assert_allclose(model.aic(X, y, groups=groups), -2 * density.sum() + 2 * n_parameters)
    resp = model.responsibilities(X, y, groups=groups)[np.unique(groups, return_index=True)[1]]
    entropy = -np.sum(resp * np.log(resp))
    assert_allclose(model.icl(X, y, groups=groups), model.bic(X, y, groups=groups) + 2 * entropy)


def test_a_fixed_point_of_the_slow_grouped_em(panel, rng):
    X, y, groups = panel
    weight = rng.integers(1, 4, len(y)).astype(float)
    model = mixture(gate=ConstantGate(), tol=1e-13, max_iter=500)
    model.fit(X, y, sample_weight=weight, groups=groups)
    log_joint = slow_log_joint(model, X, y, groups, weight)
    resp = np.exp(log_joint - logsumexp(log_joint, axis=1, keepdims=True))
    assert_allclose(model.gate_.proba_, resp.mean(axis=0), atol=1e-6)  # a group counts once
    for k, expert in enumerate(model.experts_):
        w = resp[groups, k] * weight
        alone = LinearRegression().fit(X[:, [1]], y, sample_weight=w)
        assert_allclose(expert.coef_, alone.coef_, atol=1e-5)
        residual = y - alone.predict(X[:, [1]])
        assert_allclose(model.dispersions_[k] ** 2, w @ residual**2 / w.sum(), rtol=1e-5)


def test_singleton_groups_are_rows(panel):
    X, y, _ = panel
    plain = mixture().fit(X, y)
    grouped = mixture().fit(X, y, groups=np.arange(len(y)))
    assert_allclose(grouped.lower_bound_, plain.lower_bound_, rtol=1e-9)
    assert_allclose(grouped.predict(X), plain.predict(X), rtol=1e-6)


def test_weights_repeat_rows_of_a_group(panel, rng):
    X, y, groups = panel
    weight = rng.integers(0, 3, len(y))
    repeated = np.repeat(np.arange(len(y)), weight)
    one = mixture().fit(X, y, sample_weight=weight, groups=groups)
    two = mixture().fit(X[repeated], y[repeated], groups=groups[repeated])
    assert_allclose(one.lower_bound_, two.lower_bound_, rtol=1e-8)
    assert_allclose(one.predict(X), two.predict(X), rtol=1e-5, atol=1e-7)


def test_groups_without_weight_do_not_count(panel):
    X, y, groups = panel
    weight = np.where(groups < 15, 0.0, 1.0)
    model = mixture().fit(X, y, groups=groups, sample_weight=weight)
    kept = groups >= 15
    for criterion in (model.aic, model.bic, model.icl):
        assert_allclose(
            criterion(X, y, weight, groups=groups), criterion(X[kept], y[kept], groups=groups[kept])
        )


def test_names_and_order_of_groups_do_not_matter(panel, rng):
    X, y, groups = panel
    order = rng.permutation(len(y))
    names = np.array([f"shop {g}" for g in groups])
    one = mixture().fit(X, y, groups=groups)
    two = mixture().fit(X[order], y[order], groups=names[order])
    assert_array_equal(one.predict(X), two.predict(X))
    density = two.log_density(X, y, groups=names)
    by_name = dict(zip(np.unique(names), density, strict=True))
    for g, value in enumerate(one.log_density(X, y, groups=groups)):
        assert_allclose(by_name[f"shop {g}"], value)


def test_groups_larger_than_a_block(rng):
    groups = np.repeat([0, 1, 2], [2500, 10, 1])
    X = rng.standard_normal((len(groups), 1))
    y = np.where(groups == 0, X[:, 0], -X[:, 0]) + 0.1 * rng.standard_normal(len(groups))
    model = MixtureOfExpertsRegressor(
        n_experts=2, gate=ConstantGate(), random_state=0, on_collapse="keep"
    )
    model.fit(X, y, groups=groups)
    assert model.log_density(X, y, groups=groups).shape == (3,)
    resp = model.responsibilities(X, y, groups=groups)
    assert_array_equal(resp[:2500], np.repeat(resp[:1], 2500, axis=0))


def test_many_groups_start_on_a_sketch_of_whole_groups(rng):
    groups = np.repeat(np.arange(5000), 2)
    X = rng.standard_normal((10000, 1))
    z = rng.random(5000) < 0.5
    y = np.where(z[groups], 3 * X[:, 0], -X[:, 0]) + 0.3 * rng.standard_normal(10000)
    model = MixtureOfExpertsRegressor(
        LinearRegression(), n_experts=2, gate=ConstantGate(), n_init=2, random_state=0
    )
    model.fit(X, y, groups=groups)
    assert_allclose(np.sort([e.coef_[0] for e in model.experts_]), [-1, 3], atol=0.05)


def test_estimator_experts_get_shared_responsibilities(panel):
    X, y, groups = panel
    expert = DecisionTreeRegressor(max_depth=2, random_state=0)
    model = mixture(max_iter=10).set_params(expert=expert).fit(X, y, groups=groups)
    assert model.cross_fitted_
    assert np.isfinite(model.lower_bound_)


def test_classes(rng):
    groups = np.repeat(np.arange(50), 6)
    x = rng.standard_normal(300)
    z = rng.random(50) < 0.4
    y = rng.random(300) < 1 / (1 + np.exp(-np.where(z[groups], 4 * x + 2, -4 * x - 1)))
    model = MixtureOfExpertsClassifier(
        LogisticRegression(C=10), n_experts=2, gate=ConstantGate(), random_state=0
    )
    model.fit(x[:, None], y, groups=groups)
    resp = model.responsibilities(x[:, None], y, groups=groups)[::6]
    agree = np.mean((resp[:, 1] > 0.5) == z)
    assert max(agree, 1 - agree) > 0.95


def test_gate_features_must_be_constant_within_groups(panel):
    X, y, groups = panel
    with pytest.raises(
        ValueError, match=r"feature 1 of the gate differs within a group.*gate_feat"
    ):
        mixture(gate_features=None).fit(X, y, groups=groups)
    model = mixture().fit(X, y, groups=groups)
    X = X.copy()
    X[np.flatnonzero(groups == 7)[0], 0] += 1
    with pytest.raises(ValueError, match="feature 0 of the gate differs within a group"):
        model.log_density(X, y, groups=groups)
    model.set_params(gate=ConstantGate()).fit(X, y, groups=groups)  # sees no features


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: g[:-1], "groups has shape .* Give every row its group"),
        (lambda g: np.where(g == 3, np.nan, g), "groups holds nan in row"),
        (lambda g: pd.Series(g).astype("string").where(g != 3), "groups holds <NA> in row"),
        (lambda g: np.column_stack([g, g]), "groups has shape .*, 2.* in a 1d array"),
        (lambda g: np.array([None, *g[1:]], dtype=object), "groups holds None in row 0"),
        (lambda g: np.array([*g[:-1], "x"], dtype=object), "groups mixes kinds"),
    ],
)
def test_wrong_groups(panel, change, message):
    X, y, groups = panel
    with pytest.raises(ValueError, match=message):
        mixture().fit(X, y, groups=change(groups))


def test_more_experts_than_groups(panel):
    X, y, _ = panel
    with pytest.raises(ValueError, match="n_groups=1 groups with positive weight are fewer than"):
        mixture(gate=ConstantGate()).fit(X, y, groups=np.zeros(len(y)))
