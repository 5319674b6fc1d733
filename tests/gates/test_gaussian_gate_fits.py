"""A Gaussian gate in a mixture: what it recovers, usage priors, noise."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from _clusters import (
    TYPES,
    as_matrices,
    fitted_clusters,
    joint_problem,
    log_clusters,
    log_prob_of,
    marginal_of,
)
from _problems import fit_part, make_rows, random_resp
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp, softmax
from sklearn.base import clone

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.gates import ConstantGate, GaussianGate, NoiseGate, SoftmaxGate
from mixexp.protocols import Rows

unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(params=TYPES)
def kind(request):
    return request.param


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
