"""Mixtures with a Gaussian gate climb the joint density of x and y."""

from dataclasses import dataclass

import numpy as np
import pytest
from _clusters import (
    TYPES,
    fitted_clusters,
    joint_problem,
    log_clusters,
    log_prior,
    log_prob_of,
    scaling,
    slow_m_step,
)
from _passes import check_passes, watched_runs
from _problems import fit_part, make_rows, numeric_gradient, random_resp
from numpy.testing import assert_allclose
from scipy.special import logsumexp, softmax
from scipy.stats import norm
from sklearn.linear_model import LinearRegression
from sklearn.mixture import GaussianMixture

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._engine.assign import Soft
from mixexp._engine.context import START_STEPS
from mixexp._engine.em import Problem, evaluate, run_em
from mixexp._engine.guard import FALL_TOL
from mixexp._engine.sweep import State
from mixexp.gates import GaussianGate
from mixexp.protocols import Sums

unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(params=TYPES)
def kind(request):
    return request.param


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


def outlying(X, y, share=0.05):
    """Return the responsibilities of a uniform density beside one line, by EM."""
    X1 = np.column_stack([np.ones(len(X)), X])
    own, sigma, found = np.ones(len(X)), 0.0, share
    while True:
        line = np.linalg.lstsq(X1 * np.sqrt(own)[:, None], y * np.sqrt(own), rcond=None)[0]
        before, sigma = sigma, np.sqrt(np.average((y - X1 @ line) ** 2, weights=own))
        if abs(sigma - before) <= 1e-3 * before:
            found = share
        uniform, normal = found / np.ptp(y), (1 - found) * norm.pdf(y, X1 @ line, sigma)
        resp = uniform / (uniform + normal)
        if abs(sigma - before) <= 1e-3 * before:
            return resp
        found, own = resp.mean(), 1 - resp


@unconverged
@pytest.mark.parametrize("noise", [False, True])
def test_five_iterations_equal_those_of_slow_em(rng, kind, noise):
    X, y, z = joint_problem(rng)
    y[:10] += rng.uniform(-20, 20, 10)
    start = 0.6 * np.eye(3)[z] + 0.4 * random_resp(rng, 3, 200).T
    resps = [start]
    if noise:
        shares = [np.full((200, 1), 0.05), np.maximum(0.05, outlying(X, y))[:, None]]
        resps = [np.hstack([(1 - share) * start, share]) for share in shares]

    def begun(resp):
        slow = SlowEM(X, y, kind, 0.4, noise)
        slow.run(resp, START_STEPS, 0)
        return slow.e_step()[0]

    slow = SlowEM(X, y, kind, 0.4, noise)
    expected = slow.run(max(resps, key=begun), START_STEPS, 5)
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
    state = State(model.gate_, model._model.bank)
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
@pytest.mark.parametrize("seeds", [range(7), pytest.param(range(7, 14), marks=pytest.mark.slow)])
@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("mixture", [MixtureOfExpertsRegressor, MixtureOfExpertsClassifier])
def test_the_bound_never_falls(kind, noise, mixture, seeds):
    for seed in seeds:
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
        with watched_runs() as runs:
            model.fit(X, y, sample_weight=weight, groups=groups)
        bounds = model.lower_bounds_
        assert len(bounds) == 12 and np.all(np.isfinite(bounds)), seed
        fall = FALL_TOL * np.maximum(1.0, np.abs(bounds[:-1]))
        assert np.all(np.diff(bounds) >= -fall), seed
        assert model.lower_bound_ == bounds.max(), seed
        assert all(run.n_iter == 12 for run in runs)
        check_passes(model, runs, closed=mixture is MixtureOfExpertsRegressor)


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
