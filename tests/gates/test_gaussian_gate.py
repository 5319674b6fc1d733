"""The gate of Gaussian clusters: its M-step, its priors, and what it refuses."""

from itertools import pairwise

import numpy as np
import pytest
from _clusters import (
    TYPES,
    as_matrices,
    joint_problem,
    log_clusters,
    log_prior,
    log_prob_of,
    marginal_of,
    scaling,
    slow_m_step,
)
from _problems import expected_log_prob, fit_part, make_rows, random_resp
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp, softmax
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.gates import GaussianGate
from mixexp.gates._covariances import _cholesky
from mixexp.protocols import Rows, can


@pytest.fixture(params=TYPES)
def kind(request):
    return request.param


# ---------------------------------------------------------------- the M-step


@pytest.mark.parametrize("weighted", [True, False])
def test_the_m_step_is_that_of_the_weighted_formulas(rng, kind, weighted):
    X, _, _ = joint_problem(rng, 150, 3)
    weight = rng.exponential(size=150) if weighted else None
    resp = random_resp(rng, 3, 150, 2.0)
    rows = make_rows(X, weight=weight, block_rows=64)
    gate = GaussianGate(kind, alpha=0.7, usage_prior=1.5).start(rows, 3, None)
    gate = fit_part(gate, rows, resp, 2)
    expected = slow_m_step(X, resp.T, kind, 0.7, 1.5, weight)
    assert_allclose(gate.weights_, expected[0], rtol=1e-12)
    assert_allclose(gate.means_, expected[1], rtol=1e-11)
    assert_allclose(as_matrices(gate), expected[2], rtol=1e-9, atol=1e-12)
    _, scale = scaling(X, weight)
    prior = log_prior(expected[0], expected[2], kind, 0.7, scale, 1.5)
    assert_allclose(gate.log_prior(), prior, rtol=1e-10)
    clusters = log_clusters(X, *expected)
    assert_allclose(marginal_of(gate, rows), logsumexp(clusters, axis=1), rtol=1e-10)
    assert_allclose(np.exp(log_prob_of(gate, rows)), softmax(clusters, axis=1).T, atol=1e-11)


def test_shapes_and_numbers_of_parameters(rng, kind):
    rows = make_rows(rng.standard_normal((80, 3)))
    gate = GaussianGate(kind).start(rows, 4, None)
    gate = fit_part(gate, rows, random_resp(rng, 4, 80))
    assert gate.weights_.shape == (4,) and gate.means_.shape == (4, 3)
    shapes = {"full": (4, 3, 3), "tied": (3, 3), "diag": (4, 3), "spherical": (4, 3)}
    assert gate.covariances_.shape == shapes[kind]
    free = {"full": 6, "tied": 0, "diag": 3, "spherical": 1}[kind]
    assert gate.n_parameters == 3 * (1 + 3 + free)  # log g_k − log g_l is quadratic, or linear
    vector = {"full": 4 * 6, "tied": 6, "diag": 4 * 3, "spherical": 4}[kind]
    assert len(gate.get_parameters()) == 4 + 4 * 3 + vector
    alone = GaussianGate(kind).start(rows, 1, None)
    assert alone.n_parameters == 0  # one expert: nothing of p(x) is in p(y | x)
    assert gate.monotone and not can(gate, "toward") and not can(gate, "bounded")


def test_constant_columns_are_left_out(rng, kind):
    X, _, _ = joint_problem(rng, 120)
    more = np.column_stack([X[:, 0], np.full(120, 3.0), X[:, 1]])
    resp = random_resp(rng, 3, 120, 2.0)
    rows, wide = make_rows(X), make_rows(more)
    narrow = fit_part(GaussianGate(kind).start(rows, 3, None), rows, resp)
    gate = fit_part(GaussianGate(kind).start(wide, 3, None), wide, resp)
    assert_allclose(log_prob_of(gate, wide), log_prob_of(narrow, rows), atol=1e-12)
    assert_allclose(marginal_of(gate, wide), marginal_of(narrow, rows), rtol=1e-12)
    assert gate.n_parameters == narrow.n_parameters
    assert_array_equal(gate.means_[:, 1], 3.0)
    covariances = as_matrices(gate)
    assert_array_equal(covariances[:, 1], 0.0)
    assert_array_equal(covariances[:, :, 1], 0.0)
    assert_allclose(covariances[:, [0, 2]][:, :, [0, 2]], as_matrices(narrow), rtol=1e-10)


def test_nothing_but_constant_columns(rng, kind):
    rows = make_rows(np.full((30, 2), 3.0))
    resp = random_resp(rng, 3, 30)
    gate = fit_part(GaussianGate(kind).start(rows, 3, None), rows, resp, 2)
    assert_allclose(np.exp(log_prob_of(gate, rows)), resp.mean(axis=1)[:, None] + np.zeros(30))
    assert_allclose(marginal_of(gate, rows), 0.0, atol=1e-15)
    assert gate.n_parameters == 2
    assert_allclose(gate.set_parameters(gate.get_parameters()).weights_, gate.weights_)


@pytest.mark.parametrize("width, tolerance", [(1e-2, 1e-10), (1e-4, 1e-6)])
def test_narrow_clusters_keep_their_digits(rng, kind, width, tolerance):
    # tied and spherical have one width for all, so here all clusters are narrow
    n = 400
    z = np.arange(n) % 4
    X = np.array([[-1.0, 2.0], [1.0, 1.0], [3.0, -1.0], [0.0, 5.0]])[z]
    X = X * [1.0, 100.0] + width * rng.standard_normal((n, 2)) * [1.0, 100.0] + [7.0, -300.0]
    resp = np.equal(z, np.arange(4)[:, None]).astype(float)
    rows = make_rows(X)
    gate = fit_part(GaussianGate(kind, alpha=1e-14).start(rows, 4, None), rows, resp, 2)
    expected = slow_m_step(X, resp.T, kind, 1e-14)
    assert_allclose(gate.means_, expected[1], rtol=1e-11)
    error = (as_matrices(gate) - expected[2]) / (width * np.outer([1.0, 100.0], [1.0, 100.0]))
    assert np.abs(error).max() < tolerance * width
    density = logsumexp(log_clusters(X, *expected), axis=1)
    assert_allclose(marginal_of(gate, rows), density, atol=tolerance)
    # and the objective does not fall for it
    bounds = [expected_log_prob(gate, rows, resp)]
    for _ in range(3):
        gate = fit_part(gate, rows, resp)
        bounds.append(expected_log_prob(gate, rows, resp))
    assert np.min(np.diff(bounds)) > -1e-9 * abs(bounds[0])


def test_collinear_columns_and_next_to_no_prior(rng, kind):
    x = rng.standard_normal(90)
    rows = make_rows(np.column_stack([x, 2 * x - 1, rng.standard_normal(90), 1e-3 * x]))
    resp = random_resp(rng, 3, 90, 3.0)
    for alpha in (1e-30, 1e-15, 1e-8):
        gate = GaussianGate(kind, alpha=alpha).start(rows, 3, None)
        gate = fit_part(gate, rows, resp, 3)
        assert np.all(np.isfinite(gate.get_parameters()))
        log_prob = log_prob_of(gate, rows)
        assert np.all(np.isfinite(log_prob))
        assert_allclose(np.exp(log_prob).sum(axis=0), 1.0, rtol=1e-12)


def test_clusters_of_copies_and_next_to_no_prior(rng, kind):
    # rounding leaves scatters on either side of 0
    for _ in range(10):
        z = rng.integers(4, size=80)
        rows = make_rows(rng.standard_normal((4, 2))[z] + 3.0)
        resp = np.equal(z, np.arange(4)[:, None]).astype(float)
        gate = fit_part(GaussianGate(kind, alpha=1e-25).start(rows, 4, None), rows, resp, 2)
        assert np.all(np.isfinite(gate.get_parameters()))
        assert_allclose(np.exp(log_prob_of(gate, rows)), resp, atol=1e-12)


def test_the_factor_of_a_matrix_that_rounding_left_without_a_rank(rng):
    direction = rng.standard_normal(4)
    for least in (1e-10, 1e-20):
        matrix = np.outer(direction, direction) - 1e-16 * np.eye(4)
        factor = _cholesky(matrix, least)
        assert_array_equal(factor, np.tril(factor))
        assert np.all(np.diagonal(factor) > 0)
        values = np.linalg.svd(factor, compute_uv=False) ** 2
        assert np.all(values > least * (1 - 1e-5))
        assert_allclose(values[1:], least, rtol=1e-5, atol=1e-14)  # rounding of the matrix
        assert_allclose(factor @ factor.T, matrix, atol=2 * least + 1e-14)


def test_an_expert_without_mass_keeps_its_cluster(rng, kind):
    X, _, _ = joint_problem(rng, 100)
    rows, resp = make_rows(X), random_resp(rng, 3, 100)
    before = fit_part(GaussianGate(kind).start(rows, 3, None), rows, resp)
    resp[1] = 0.0
    resp /= resp.sum(axis=0)
    gate = fit_part(before, rows, resp)
    assert gate.weights_[1] == 1e-300
    assert_array_equal(gate.means_[1], before.means_[1])
    if kind != "tied":
        assert_array_equal(as_matrices(gate)[1], as_matrices(before)[1])
    others = fit_part(GaussianGate(kind).start(rows, 2, None), rows, resp[[0, 2]])
    assert_allclose(gate.means_[[0, 2]], others.means_, rtol=1e-12)
    assert_allclose(as_matrices(gate)[[0, 2]], as_matrices(others), rtol=1e-12)
    assert_allclose(marginal_of(gate, rows), marginal_of(others, rows), rtol=1e-12)


def test_select(rng, kind):
    X, _, _ = joint_problem(rng, 100)
    rows = make_rows(X)
    gate = GaussianGate(kind).start(rows, 4, None)
    gate = fit_part(gate, rows, random_resp(rng, 4, 100, 2.0))
    part = gate.select(np.array([3, 1]))
    assert_allclose(part.weights_, gate.weights_[[3, 1]] / gate.weights_[[3, 1]].sum())
    assert_array_equal(part.means_, gate.means_[[3, 1]])
    assert_array_equal(as_matrices(part), as_matrices(gate)[[3, 1]])
    kept = log_prob_of(gate, rows)[[3, 1]]
    assert_allclose(log_prob_of(part, rows), kept - logsumexp(kept, axis=0), atol=1e-12)


def test_parameters_are_logarithms_means_and_factors(rng):
    rows = make_rows(rng.standard_normal((60, 2)))
    resp = random_resp(rng, 2, 60, 2.0)
    gate = fit_part(GaussianGate().start(rows, 2, None), rows, resp)
    logs, means, factors = np.split(gate.get_parameters(), [2, 6])
    assert_allclose(logs, np.log(gate.weights_) - np.log(gate.weights_).mean(), rtol=1e-12)
    center, scale = scaling(rows.X)
    assert_allclose(means.reshape(2, 2) * scale + center, gate.means_, rtol=1e-12)
    for own, covariance in zip(factors.reshape(2, 3), gate.covariances_, strict=True):
        lower = np.array([[np.exp(own[0]), 0.0], [own[1], np.exp(own[2])]])
        assert_allclose(lower @ lower.T * np.outer(scale, scale), covariance, rtol=1e-10)


# ---------------------------------------------------------------- priors


def test_a_stronger_prior_makes_wider_and_more_equal_clusters(rng, kind):
    X, _, _ = joint_problem(rng, 100)
    rows, resp = make_rows(X), random_resp(rng, 3, 100, 4.0)
    gates = [
        fit_part(GaussianGate(kind, alpha=a, usage_prior=a).start(rows, 3, None), rows, resp)
        for a in (1e-6, 1.0, 100.0)
    ]
    traces = [np.trace(as_matrices(gate), axis1=1, axis2=2) for gate in gates]
    assert all(np.all(after > before) for before, after in pairwise(traces))
    spreads = [np.ptp(gate.weights_) for gate in gates]
    assert spreads[0] > spreads[1] > spreads[2]


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "options, message",
    [
        ({"covariance_type": "round"}, r"covariance_type must be one of \['full', 't.*'round'"),
        ({"covariance_type": None}, "covariance_type must be one of .* got None"),
        ({"covariance_type": ["full"]}, "covariance_type must be one of"),
        ({"alpha": 0}, r"alpha must be a number in \(0, inf\), got 0. .* grows without bound"),
        ({"alpha": -1.0}, "alpha must be a number in .* got -1.0"),
        ({"alpha": np.nan}, "alpha must be"),
        ({"alpha": np.inf}, "alpha must be"),
        ({"alpha": "1"}, "alpha must be"),
        ({"usage_prior": -0.1}, r"usage_prior must be a number in \[0, inf\), got -0.1"),
        ({"usage_prior": np.nan}, "usage_prior must be"),
        ({"usage_prior": None}, "usage_prior must be"),
    ],
)
def test_wrong_parameters(rng, options, message):
    X, y = rng.standard_normal((20, 2)), rng.standard_normal(20)
    with pytest.raises(ValueError, match=f"GaussianGate: {message}"):
        MixtureOfExpertsRegressor(n_experts=2, gate=GaussianGate(**options)).fit(X, y)


def test_columns_for_each_expert_are_refused(rng):
    X, y = rng.standard_normal((40, 2)), rng.standard_normal(40)
    model = MixtureOfExpertsRegressor(
        n_experts=2, gate=GaussianGate(), gate_features=[[0], [1]], random_state=0
    )
    with pytest.raises(ValueError, match="GaussianGate: it has one set of columns for all experts"):
        model.fit(X, y)


def test_missing_values_are_refused_by_name(rng):
    X, y = rng.standard_normal((60, 2)), rng.standard_normal(60)
    X[3, 1] = np.nan
    boosted = HistGradientBoostingRegressor(max_iter=2)
    model = MixtureOfExpertsRegressor(boosted, 2, gate=GaussianGate("diag"), random_state=0)
    message = r"contains NaN.*gate GaussianGate\(covariance_type='diag'\) cannot take missing"
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)
    assert not model.__sklearn_tags__().input_tags.allow_nan
    assert model.set_params(gate=None).__sklearn_tags__().input_tags.allow_nan
    message = r"GaussianGate: columns \[1\] of the gate's input contain NaN"
    with pytest.raises(ValueError, match=message):
        GaussianGate().start(Rows(X, training=True, missing=True), 2, None)
    # columns that the gate does not see may hold NaN
    model.set_params(gate=GaussianGate(), gate_features=[0], max_iter=2, on_collapse="keep")
    with pytest.warns(ConvergenceWarning, match="max_iter=2"):
        model.fit(X, y)
    assert np.all(np.isfinite(model.predict(X)))
    X[4, 0] = np.nan
    with pytest.raises(ValueError, match=r"gate GaussianGate\(\) cannot take missing"):
        model.predict(X)


def test_logistic_experts_of_sklearn_and_usage(rng):
    # the default start of a classifier, and usage that adds up
    X, y, _ = joint_problem(rng, 200)
    model = MixtureOfExpertsClassifier(
        LogisticRegression(), 2, gate=GaussianGate(), n_init=2, random_state=0
    )
    model.fit(X, y > np.median(y))
    assert_allclose(model.usage_, model.gate_proba(X).mean(axis=0), rtol=1e-9)
    assert model.score(X, y > np.median(y)) > 0.8


def test_parameters_give_weights_up_to_a_constant(rng):
    X, _, _ = joint_problem(rng, 50)
    gate = GaussianGate().start(Rows(X, training=True), 2, None)
    vector = gate.get_parameters()
    vector[:2] += [1000.0, 1001.0]  # whose exponentials overflow
    assert_allclose(gate.set_parameters(vector).weights_, np.array([1, np.e]) / (1 + np.e))
