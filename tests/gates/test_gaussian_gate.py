"""The Gaussian gate: its M-step, the joint bound, and what a generative gate changes."""

import pickle
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
from _problems import expected_log_prob, fit_part, make_rows, numeric_gradient, random_resp
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp, softmax
from scipy.stats import multivariate_normal, norm
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.mixture import GaussianMixture

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._assign import Soft
from mixexp._blocks import Rows
from mixexp._em import FALL_TOL, Problem, State, evaluate, run_em
from mixexp._protocols import Sums, can
from mixexp._search import START_STEPS
from mixexp.gates import ConstantGate, GaussianGate, NoiseGate, SoftmaxGate
from mixexp.gates._covariances import _cholesky

TYPES = ["full", "tied", "diag", "spherical"]

unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(params=TYPES)
def kind(request):
    return request.param


# ---------------------------------------------------------------- slow formulas


def scaling(X, weight=None):
    """Return weighted means and standard deviations of the columns."""
    center = np.average(X, axis=0, weights=weight)
    return center, np.sqrt(np.average((X - center) ** 2, axis=0, weights=weight))


def slow_m_step(X, r, kind, alpha, c=0.0, weight=None):
    """Return a_k, means and covariances (K, d, d) in input units; r is (n, K), weights apart.

    Loops over experts and rows, from columns scaled by their standard deviation.
    """
    weight = np.ones(len(X)) if weight is None else weight
    center, scale = scaling(X, weight)
    Z, r = (X - center) / scale, r * weight[:, None]
    d, mass = X.shape[1], r.sum(axis=0)
    means = np.array([sum(ri * z for ri, z in zip(rk, Z, strict=True)) / rk.sum() for rk in r.T])
    scatter = [
        sum(ri * np.outer(z - mean, z - mean) for ri, z in zip(rk, Z, strict=True))
        for rk, mean in zip(r.T, means, strict=True)
    ]
    eye = np.eye(d)
    if kind == "tied":
        covariances = [(sum(scatter) + alpha * eye) / mass.sum()] * len(mass)
    else:
        shape = {
            "full": lambda s: s + alpha * eye,
            "diag": lambda s: np.diag(np.diag(s)) + alpha * eye,
            "spherical": lambda s: (np.trace(s) + alpha * d) / d * eye,
        }[kind]
        covariances = [shape(s) / n for s, n in zip(scatter, mass, strict=True)]
    weights = (mass + c) / (mass.sum() + len(mass) * c)
    return weights, center + scale * means, np.array(covariances) * np.outer(scale, scale)


def as_matrices(gate):
    """Return the covariances (K, d, d) that `covariances_` stands for."""
    k, found = len(gate.weights_), gate.covariances_
    if gate.covariance_type == "tied":
        return np.repeat(found[None], k, axis=0)
    return found if found.ndim == 3 else np.array([np.diag(v) for v in found])


def log_clusters(X, weights, means, covariances):
    """Return log a_k N(x; μ_k, Σ_k), (n, K), by scipy."""
    each = zip(weights, means, covariances, strict=True)
    columns = [np.log(a) + multivariate_normal(m, s, True).logpdf(X) for a, m, s in each]
    return np.column_stack([np.atleast_1d(column) for column in columns])


def log_prior(weights, covariances, kind, alpha, scale, c=0.0):
    """Return the log-prior from covariances in input units."""
    traces = [np.trace(np.linalg.inv(s / np.outer(scale, scale))) for s in covariances]
    return -0.5 * alpha * (traces[0] if kind == "tied" else sum(traces)) + c * np.log(weights).sum()


def fitted_clusters(model):
    """Return the clusters of a fitted mixture, from public attributes."""
    gate = model.gate_
    return gate.weights_, gate.means_, as_matrices(gate)


def joint_problem(rng, n=200, d=2, k=3):
    """Return X, y and the cluster of each row, of clusters that overlap and lines."""
    centers = 2.0 * rng.standard_normal((k, d))
    z = rng.integers(k, size=n)
    X = (centers[z] + rng.standard_normal((n, d))) * 10.0 ** np.arange(d) + 5.0
    slopes = rng.standard_normal((k, d)) / 10.0 ** np.arange(d)
    y = np.einsum("nd,nd->n", X, slopes[z]) + 2.0 * z + 0.3 * rng.standard_normal(n)
    return X, y, z


def log_prob_of(gate, rows):
    return np.concatenate([gate.log_prob(block) for block in rows.blocks()], axis=1)


def marginal_of(gate, rows):
    """Return log p(x) of all rows."""
    found = []
    for block in rows.blocks():
        gate.log_prob(block)
        found.append(gate.log_marginal(block))
    return np.concatenate(found)


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


# ---------------------------------------------------------------- a second, slow EM


class SlowEM:
    """EM of the joint model of linear experts and Gaussian clusters, from the formulas.

    With `noise` the last expert is a uniform density of y; its rows are drawn from p(x).
    """

    def __init__(self, X, y, kind, alpha, noise=False):
        self.X, self.y, self.kind, self.alpha, self.noise = X, y, kind, alpha, noise
        self.X1 = np.column_stack([np.ones(len(X)), X])
        self.share = 0.05  # of the noise, before its first M-step
        self.proba = None

    def m_step(self, resp):
        own = resp[:, :-1] if self.noise else resp
        self.lines, self.sigma = [], []
        for r in own.T:
            root = np.sqrt(r)
            line = np.linalg.lstsq(self.X1 * root[:, None], self.y * root, rcond=None)[0]
            self.lines.append(line)
            self.sigma.append(np.sqrt(r @ (self.y - self.X1 @ line) ** 2 / r.sum()))
        if self.noise:
            self.share = resp[:, -1].mean()
            proba = np.full(own.shape, 1 / own.shape[1]) if self.proba is None else self.proba
            own = own + resp[:, -1:] * proba
        self.clusters = slow_m_step(self.X, own, self.kind, self.alpha)
        self.proba = softmax(log_clusters(self.X, *self.clusters), axis=1)

    def e_step(self):
        log_joint = log_clusters(self.X, *self.clusters)
        marginal = logsumexp(log_joint, axis=1)
        log_joint = log_joint + norm.logpdf(
            self.y[:, None], self.X1 @ np.array(self.lines).T, self.sigma
        )
        if self.noise:
            noise = np.log(self.share / np.ptp(self.y)) + marginal
            log_joint = np.column_stack([log_joint + np.log1p(-self.share), noise])
        density = logsumexp(log_joint, axis=1)
        _, scale = scaling(self.X)
        prior = log_prior(self.clusters[0], self.clusters[2], self.kind, self.alpha, scale)
        return density.mean() + prior / len(self.X), np.exp(log_joint - density[:, None])

    def run(self, resp, n_start, n_iter):
        for _ in range(n_start):
            self.m_step(resp)
        bounds = []
        for _ in range(n_iter):
            self.m_step(self.e_step()[1])
            bounds.append(self.e_step()[0])
        return bounds


@unconverged
@pytest.mark.parametrize("noise", [False, True])
def test_five_iterations_equal_those_of_slow_em(rng, kind, noise):
    X, y, z = joint_problem(rng)
    y[:10] += rng.uniform(-20, 20, 10)
    start = 0.6 * np.eye(3)[z] + 0.4 * random_resp(rng, 3, 200).T
    resp = np.column_stack([0.95 * start, np.full(200, 0.05)]) if noise else start
    slow = SlowEM(X, y, kind, 0.4, noise)
    expected = slow.run(resp, START_STEPS, 5)
    model = MixtureOfExpertsRegressor(
        LinearRegression(),
        n_experts=3,
        gate=GaussianGate(kind, alpha=0.4),
        init=start,
        tol=0.0,
        max_iter=5,
        noise_expert=noise,
    )
    model.fit(X, y)
    assert_allclose(model.lower_bounds_, expected, rtol=1e-9)
    weights, means, covariances = fitted_clusters(model)
    assert_allclose(weights, slow.clusters[0], rtol=1e-8)
    assert_allclose(means, slow.clusters[1], rtol=1e-8)
    assert_allclose(covariances, slow.clusters[2], rtol=1e-7, atol=1e-9)
    assert_allclose(model.dispersions_, slow.sigma, rtol=1e-8)
    if noise:
        assert_allclose(model.gate_.noise_share_, slow.share, rtol=1e-8)
    _, final = slow.e_step()
    assert_allclose(model.responsibilities(X, y), final, atol=1e-8)


# ---------------------------------------------------------------- the joint bound


@dataclass(frozen=True)
class Same:
    """A bank of experts that all predict the same."""

    n_experts: int
    monotone = True

    def log_prob(self, block):
        return np.zeros((self.n_experts, block.n_rows))

    def statistics(self, block, resp):
        return Sums()

    def update(self, statistics, rows):
        return self


@unconverged
@pytest.mark.parametrize("n_iter", [1, 12])
def test_with_equal_experts_it_is_a_gaussian_mixture(rng, kind, n_iter):
    X, _, z = joint_problem(rng, 300)
    X = (X - X.mean(axis=0)) / X.std(axis=0)  # as its spherical clusters are in input units
    resp = 0.5 * np.eye(3)[z] + 0.5 * random_resp(rng, 3, 300).T
    rows = make_rows(X)
    gate = GaussianGate(kind, alpha=1e-10).start(rows, 3, None)
    gate = fit_part(gate, rows, resp.T)
    run = run_em(Problem(rows, Soft(), n_iter, 0.0), State(gate, Same(3)))
    weights, means, matrices = slow_m_step(X, resp, kind, 0.0)
    precisions = np.linalg.inv(matrices)
    own = {
        "full": precisions,
        "tied": precisions[0],
        "diag": np.diagonal(precisions, axis1=1, axis2=2),
        "spherical": precisions[:, 0, 0],
    }[kind]
    oracle = GaussianMixture(
        3,
        covariance_type=kind,
        weights_init=weights,
        means_init=means,
        precisions_init=own,
        reg_covar=0.0,
        max_iter=n_iter,
        tol=0.0,
    ).fit(X)
    assert len(run.bounds) == n_iter
    assert_allclose(run.bound, oracle.score(X), rtol=1e-8)
    assert_allclose(np.exp(log_prob_of(run.state.gate, rows)).T, oracle.predict_proba(X), atol=1e-6)
    assert_allclose(run.state.gate.means_, oracle.means_, atol=1e-6)
    found = run.state.gate.covariances_
    found = found[:, 0] if kind == "spherical" else found
    assert_allclose(found, oracle.covariances_, atol=1e-6)


@unconverged
@pytest.mark.parametrize("assignment", ["soft", "hard"])
@pytest.mark.parametrize("noise", [False, True])
def test_the_bound_is_the_joint_one_in_input_units(rng, kind, assignment, noise):
    X, y, z = joint_problem(rng, 150)
    weight = rng.exponential(size=150)
    gate = GaussianGate(kind, alpha=0.8, usage_prior=2.0)
    model = MixtureOfExpertsRegressor(
        LinearRegression(),
        n_experts=3,
        gate=gate,
        init=z,
        assignment=assignment,
        noise_expert=noise,
        max_iter=8,
        tol=0.0,
    )
    model.fit(X, y, sample_weight=weight)
    clusters = log_clusters(X, *fitted_clusters(model))
    marginal = logsumexp(clusters, axis=1)
    proba = softmax(clusters, axis=1)
    if noise:
        share = model.gate_.noise_share_
        proba = np.column_stack([(1 - share) * proba, np.full(150, share)])
    assert_allclose(model.gate_proba(X), proba, atol=1e-11)
    experts = norm.logpdf(y[:, None], model.predict_experts(X), model.dispersions_)
    if noise:
        experts = np.column_stack([experts, np.full(150, -np.log(np.ptp(y)))])
    log_joint = np.log(proba) + experts
    density = logsumexp(log_joint, axis=1)
    assert_allclose(model.log_density(X, y), density, rtol=1e-9, atol=1e-9)  # of y given x
    n_parameters = model.gate_.n_parameters + 3 * 4
    assert_allclose(model.aic(X, y), -2 * density.sum() + 2 * n_parameters)
    score = density if assignment == "soft" else log_joint.max(axis=1)
    _, scale = scaling(X, weight)
    weights, _, covariances = fitted_clusters(model)
    prior = log_prior(weights, covariances, kind, 0.8, scale, 2.0)
    expected = ((score + marginal) @ weight + prior) / weight.sum()
    assert_allclose(model.lower_bound_, expected, rtol=1e-10)


@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("classes", [False, True])
def test_converged_fits_are_stationary(rng, kind, noise, classes):
    X, y, z = joint_problem(rng, 150)
    weight = rng.exponential(size=150)
    if classes:
        y = (rng.random(150) < 1 / (1 + np.exp(-2 * (X[:, 0] - 5) * (1 - z)))).astype(int)
    else:
        y[:15] += rng.uniform(-30, 30, 15)
    mixture = MixtureOfExpertsClassifier if classes else MixtureOfExpertsRegressor
    model = mixture(
        n_experts=3,
        gate=GaussianGate(kind, usage_prior=0.5),
        init=z,
        noise_expert=noise,
        tol=1e-13,
        max_iter=5000,
        on_collapse="keep",
    )
    model.fit(X, y, sample_weight=weight)
    assert model.converged_
    problem = Problem(make_rows(X, y, weight), Soft(), 1, 0.0)
    state = State(model.gate_, model._bank)
    assert_allclose(evaluate(problem, state, 0).bound, model.lower_bound_, rtol=1e-11)
    size = len(state.gate.get_parameters())

    def bound(vector):
        gate, bank = np.split(vector, [size])
        moved = State(state.gate.set_parameters(gate), state.bank.set_parameters(bank))
        return evaluate(problem, moved, 0).bound

    here = np.concatenate([part.get_parameters() for part in state.parts])
    slope = numeric_gradient(bound, here)
    if noise and model.gate_.noise_share_ < 1e-8:
        slope[size - 1] = 0.0  # at its bound
    assert_allclose(slope, 0.0, atol=5e-6)


def awkward_problem(seed):
    """Return X, y, groups and weights: collinear and constant columns, copies, narrow clusters."""
    rng = np.random.default_rng([seed, 5])
    n, d, k = int(rng.integers(30, 150)), int(rng.integers(1, 4)), int(rng.integers(2, 5))
    X, y, z = joint_problem(rng, n, d, k)
    if seed % 3 == 0:
        X = np.column_stack([X, 2 * X[:, 0] - 1, np.full(n, 3.0)])
    if seed % 4 == 1:
        again = rng.integers(n // 2, size=n - n // 2)
        X[n // 2 :], y[n // 2 :] = X[again], y[again]
    if seed % 5 == 2:
        X[z == 0] = X[0] + 1e-5 * rng.standard_normal(X[z == 0].shape)
    y[: n // 20] += rng.uniform(-20, 20, n // 20)
    weight = 10.0 ** rng.uniform(-2, 2, n) if seed % 2 else None
    groups = np.repeat(np.arange(n), 1 + np.arange(n) % 3)[:n] if seed % 7 > 3 else None
    if groups is not None:
        X = X[np.unique(groups, return_index=True)[1]][groups]
    return X, y, weight, groups, k


@unconverged
@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("mixture", [MixtureOfExpertsRegressor, MixtureOfExpertsClassifier])
def test_the_bound_never_falls(kind, noise, mixture):
    for seed in range(14):
        X, y, weight, groups, k = awkward_problem(seed)
        if mixture is MixtureOfExpertsClassifier:
            y = np.digitize(y, np.quantile(y, [0.4, 0.7]))
        gate = GaussianGate(kind, alpha=[0.3, 1e-3, 5.0][seed % 3], usage_prior=seed % 2)
        model = mixture(
            LinearRegression() if mixture is MixtureOfExpertsRegressor else None,
            n_experts=k,
            gate=gate,
            noise_expert=noise,
            assignment="hard" if seed % 6 == 5 else "soft",
            init=["random", "clusterwise", "kmeans"][seed % 3],
            n_init=1,
            max_iter=12,
            tol=0.0,
            on_collapse="keep",
            random_state=seed,
        )
        model.fit(X, y, sample_weight=weight, groups=groups)
        bounds = model.lower_bounds_
        assert len(bounds) == 12 and np.all(np.isfinite(bounds)), seed
        fall = FALL_TOL * np.maximum(1.0, np.abs(bounds[:-1]))
        assert np.all(np.diff(bounds) >= -fall), seed
        assert model.lower_bound_ == bounds.max(), seed
        if mixture is MixtureOfExpertsRegressor:  # all in closed form: no step was taken back
            assert model.n_passes_ == 13, seed


@unconverged
def test_groups_have_one_density_of_x_each(rng):
    X, y, _ = joint_problem(rng, 120, 2, 2)
    groups = np.repeat(np.arange(40), 3)
    X[:, 0] = X[::3, 0].repeat(3)
    model = MixtureOfExpertsRegressor(
        LinearRegression(), 2, gate=GaussianGate(), gate_features=[0], max_iter=10, random_state=0
    )
    model.fit(X, y, groups=groups)
    clusters = log_clusters(X[::3, :1], *fitted_clusters(model))
    density = model.log_density(X, y, groups=groups)
    expected = density.mean() + logsumexp(clusters, axis=1).mean() + model.gate_.log_prior() / 40
    assert_allclose(model.lower_bound_, expected, rtol=1e-10)


# ---------------------------------------------------------------- in a mixture


@pytest.fixture
def separated():
    """Return X and gate probabilities of three clusters of different shape, well apart."""
    rng = np.random.default_rng(3)
    weights = np.array([0.5, 0.3, 0.2])
    means = np.array([[0.0, 0.0], [5.0, 1.0], [-1.0, 6.0]])
    covariances = np.array([[[1.0, 0.5], [0.5, 1.0]], [[0.5, 0.0], [0.0, 2.0]], [[2, -1], [-1, 1]]])
    z = rng.choice(3, size=3000, p=weights)
    X = np.array([rng.multivariate_normal(means[k], covariances[k]) for k in z])
    return X, weights, means, covariances


def test_a_planted_gate_is_recovered_from_soft_labels(separated, rng):
    X, weights, means, covariances = separated
    proba = softmax(log_clusters(X, weights, means, covariances), axis=1)
    model = MixtureOfExpertsRegressor(n_experts=3, gate=GaussianGate(), init=proba)
    model.fit(X, rng.standard_normal(3000))  # about y the experts know nothing
    assert_allclose(model.gate_.weights_, weights, atol=0.03)
    assert_allclose(model.gate_.means_, means, atol=0.15)
    assert_allclose(model.gate_.covariances_, covariances, atol=0.25)
    error = np.abs(model.gate_proba(X) - proba)
    assert error.mean() < 0.005 and np.quantile(error, 0.99) < 0.05


def test_a_tied_gate_is_linear(rng):
    X, y, z = joint_problem(rng, 200, 3)
    model = MixtureOfExpertsRegressor(n_experts=3, gate=GaussianGate("tied"), init=z).fit(X, y)
    coef = np.linalg.solve(model.gate_.covariances_, model.gate_.means_.T).T
    level = np.log(model.gate_.weights_) - 0.5 * np.sum(coef * model.gate_.means_, axis=1)
    for size in (1.0, 1e2, 1e3, 1e4, 1e8, 1e12, 1e90):  # on both sides of FAR
        new = model.gate_.means_[0] + size * rng.standard_normal((60, 3)) * X.std(axis=0)
        log_gate = np.concatenate([model.gate_.log_prob(b) for b in Rows(new).blocks()], axis=1)
        scores = new @ coef.T + level
        expected = (scores - logsumexp(scores, axis=1, keepdims=True)).T
        assert_allclose(log_gate, expected, rtol=1e-8, atol=1e-8)
        if size <= 1e12:
            density = logsumexp(log_clusters(new, *fitted_clusters(model)), axis=1)
            assert_allclose(marginal_of(model.gate_, Rows(new)), density, rtol=1e-10)


@pytest.mark.parametrize("size", [1e6, 1e20, 1e99, 1e101, 1e150, 1e200])
def test_far_from_the_data(rng, kind, size):
    X, y, z = joint_problem(rng, 200)
    model = MixtureOfExpertsRegressor(n_experts=3, gate=GaussianGate(kind), init=z).fit(X, y)
    rays = np.vstack([rng.standard_normal((50, 2)), np.eye(2), -np.eye(2)]) * X.std(axis=0)
    proba = model.gate_proba(size * rays)
    assert not np.any(np.isnan(proba))
    assert_allclose(proba.sum(axis=1), 1.0, atol=1e-12)
    assert np.all(np.isfinite(model.gate_.log_prob(next(Rows(size * rays).blocks()))))
    assert_allclose(model.route(size * rays).sum(axis=1), 1.0, atol=1e-12)
    assert np.all(np.isfinite(model.predict(size * rays)))
    # the gate has reached its limit along a ray: that of the smallest quadratic form
    whitened = [np.linalg.solve(np.linalg.cholesky(s), rays.T) for s in as_matrices(model.gate_)]
    forms = np.array([np.sum(w**2, axis=0) for w in whitened])
    if kind != "tied":
        assert_allclose(proba, np.eye(3)[forms.argmin(axis=0)], atol=1e-12)


def test_a_start_is_equal_everywhere(rng, kind):
    rows = make_rows(rng.standard_normal((100, 3)))
    gate = GaussianGate(kind).start(rows, 3, None)
    for size in (1.0, 1e3, 1e10, 1e150):
        new = Rows(size * rng.standard_normal((50, 3)))
        assert_allclose(log_prob_of(gate, new), -np.log(3), atol=1e-15)


@pytest.mark.parametrize("noise", [False, True])
def test_weights_are_repetitions(rng, kind, noise):
    X, y, _ = joint_problem(rng, 120, 2, 2)
    weight = rng.integers(0, 4, 120)
    again = rng.permutation(np.repeat(np.arange(120), weight))
    model = MixtureOfExpertsRegressor(
        n_experts=2, gate=GaussianGate(kind), noise_expert=noise, n_init=3, random_state=0
    )
    one = clone(model).fit(X, y, sample_weight=weight)
    two = clone(model).fit(X[again], y[again])
    assert_allclose(one.lower_bounds_, two.lower_bounds_, rtol=1e-9)
    assert_allclose(one.gate_proba(X), two.gate_proba(X), atol=1e-7)
    assert_allclose(one.gate_.means_, two.gate_.means_, rtol=1e-7)


def test_gate_features(rng, kind):
    X, y, z = joint_problem(rng, 150, 4)
    init = 0.8 * np.eye(3)[z] + 0.2 / 3
    model = MixtureOfExpertsRegressor(
        n_experts=3, gate=GaussianGate(kind), gate_features=[2, 0], init=init, max_iter=300
    )
    model.fit(X, y)
    assert model.gate_.means_.shape == (3, 2)
    other = X.copy()
    other[:, [1, 3]] = rng.standard_normal((150, 2))
    assert_array_equal(model.gate_proba(other), model.gate_proba(X))
    clusters = log_clusters(X[:, [2, 0]], *fitted_clusters(model))
    assert_allclose(model.gate_proba(X), softmax(clusters, axis=1), atol=1e-11)


@unconverged
def test_sparse_and_single_precision(rng, kind):
    X, y, z = joint_problem(rng, 150, 3)
    X[X < 5] = 0.0
    options = {"n_experts": 3, "init": z, "max_iter": 20, "gate": GaussianGate(kind)}
    dense = MixtureOfExpertsRegressor(**options).fit(X, y)
    sparse = MixtureOfExpertsRegressor(**options).fit(sp.csr_array(X), y)
    assert_allclose(sparse.gate_proba(sp.csr_array(X)), dense.gate_proba(X), atol=1e-9)
    single = MixtureOfExpertsRegressor(**options).fit(X.astype(np.float32), y)
    assert single.gate_proba(X.astype(np.float32)).dtype == np.float64
    same = MixtureOfExpertsRegressor(**options).fit(X.astype(np.float32).astype(float), y)
    assert_allclose(single.lower_bounds_, same.lower_bounds_, rtol=1e-9)


def test_a_fitted_mixture_is_copied_whole(rng, kind):
    X, y, z = joint_problem(rng, 100)
    gate = GaussianGate(kind, alpha=0.5, usage_prior=0.1)
    model = MixtureOfExpertsClassifier(n_experts=3, gate=gate, init=z).fit(X, y > 4)
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    assert not hasattr(gate, "weights_") and not hasattr(clone(model.gate_), "means_")
    assert clone(model).get_params()["gate__alpha"] == 0.5
    word = "" if kind == "full" else f"covariance_type='{kind}', "
    assert repr(gate) == f"GaussianGate(alpha=0.5, {word}usage_prior=0.1)"


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


@unconverged
@pytest.mark.parametrize("gate", [ConstantGate, GaussianGate])
@pytest.mark.parametrize("noise", [False, True])
def test_usage_prior_is_part_of_the_bound(rng, gate, noise):
    X, y, _ = joint_problem(rng, 100)
    start = np.column_stack([np.full(100, 0.9), np.full(100, 0.07), np.full(100, 0.03)])
    start = 0.5 * start + 0.5 * random_resp(rng, 3, 100).T * start / start.mean(axis=0)
    start /= start.sum(axis=1, keepdims=True)
    model = MixtureOfExpertsRegressor(
        n_experts=3,
        gate=gate(usage_prior=30.0),
        noise_expert=noise,
        init=start,
        max_iter=40,
        tol=0.0,
        on_collapse="raise",
    )
    model.fit(X, y)
    assert np.all(np.diff(model.lower_bounds_) >= -1e-9 * np.abs(model.lower_bounds_[1:]))
    own = model.gate_.weights_ if gate is GaussianGate else model.gate_.proba_
    assert own.min() > 30.0 / 190.0  # what it is credited with


# ---------------------------------------------------------------- noise


def test_noise_asks_a_generative_gate_for_all_rows(rng):
    X, y, _ = joint_problem(rng, 60)
    rows, resp = make_rows(X), random_resp(rng, 4, 60)
    inner = fit_part(GaussianGate("diag").start(rows, 3, None), rows, resp[:3] / resp[:3].sum(0))
    proba = np.exp(log_prob_of(inner, rows))
    gate = fit_part(NoiseGate(inner, 0.1), rows, resp)
    alone = fit_part(inner, rows, resp[:3] + resp[3] * proba)
    assert_allclose(gate.inner.get_parameters(), alone.get_parameters(), atol=1e-12)
    assert_allclose(gate.noise_share_, resp[3].mean())
    # a gate that is no model of x sees the rest of each row
    softmax_gate = SoftmaxGate().start(rows, 3, None)
    gate = fit_part(NoiseGate(softmax_gate, 0.1), rows, resp)
    own = make_rows(X, weight=resp[:3].sum(axis=0))
    own._designs = rows._designs
    alone = fit_part(softmax_gate, own, resp[:3] / resp[:3].sum(axis=0))
    assert_allclose(gate.inner.get_parameters(), alone.get_parameters(), atol=1e-12)


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
