"""Data, parts and slow reference formulas that several test files use."""

import numpy as np
from scipy.special import log_softmax, softmax
from sklearn.linear_model import ElasticNet, LinearRegression, LogisticRegression, Ridge

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._engine.fixed import fit_at
from mixexp._engine.sweep import FixedStep, State, sweep
from mixexp._estimators.targets import Classes, Numbers
from mixexp.experts import linear_bank
from mixexp.families import Gaussian
from mixexp.gates import ConstantGate, SoftmaxGate
from mixexp.protocols import Rows, can

LOG_2PI = np.log(2 * np.pi)


def make_rows(X, y=None, weight=None, *, block_rows=None, training=True):
    """Return training rows; `y` is (n,), (n_outputs, n) or class codes."""
    if y is not None and np.issubdtype(np.asarray(y).dtype, np.floating):
        y = np.atleast_2d(y)
    rows = Rows(X, y, weight, training=training)
    if block_rows is not None:
        rows.block_rows = block_rows
    return rows


def random_resp(rng, k, n, sharpness=1.0):
    """Return responsibilities (K, n), columns summing to one."""
    return softmax(sharpness * rng.standard_normal((k, n)), axis=0)


def softmax_gated(rng, n, d, k, noise=0.3, slope=2.0):
    """Return X, y, gate probabilities (n, K) and lines of a mixture of linear experts."""
    X = rng.standard_normal((n, d))
    gate = slope * rng.standard_normal((k, d + 1))
    lines = 2.0 * rng.standard_normal((k, d + 1))
    X1 = np.column_stack([np.ones(n), X])
    proba = softmax(X1 @ gate.T, axis=1)
    z = (proba.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    y = np.einsum("ij,ij->i", X1, lines[z]) + noise * rng.standard_normal(n)
    return X, y, proba, lines


def one_expert(template, rows, classes=None, family=None):
    """Return the bank of one expert at zero that a template has."""
    target = Numbers(family or Gaussian(), ()) if classes is None else Classes(classes)
    return linear_bank(template, rows, None, target)


def logistic(alpha=1.0, l1_ratio=0.0):
    """Return a logistic regression with an elastic net, as old and new scikit-learn spell it."""
    expert = LogisticRegression(C=np.inf if alpha == 0 else 1 / alpha)
    if l1_ratio:
        expert.set_params(l1_ratio=l1_ratio, solver="saga", tol=1e-12, max_iter=100_000)
        if expert.penalty != "deprecated":
            expert.set_params(penalty="elasticnet")
    return expert


def banks(
    rng, n=150, d=3, k=3, *, alpha=1.0, n_classes=None, n_outputs=1, intercept=True, l1_ratio=0.0
):
    """Return rows, a bank of K linear or logistic experts at zero, and responsibilities."""
    X = rng.standard_normal((n, d)) * 10.0 ** np.arange(d) + 1.0
    if n_classes is None:
        y = rng.standard_normal((n_outputs, n)) + X[:, 0]
        classes = None
        expert = LinearRegression() if alpha == 0 else Ridge(alpha)
        expert = ElasticNet(alpha, l1_ratio=l1_ratio) if l1_ratio else expert
    else:
        y = rng.integers(n_classes, size=n)
        classes = np.arange(n_classes)
        expert = logistic(alpha, l1_ratio)
    expert.set_params(fit_intercept=intercept)
    rows = make_rows(X, y)
    bank = one_expert(expert, rows, classes).replicate(k)
    return rows, bank, random_resp(rng, k, n)


def statistics_of(part, rows, resp):
    """Return a part's summed statistics at fixed responsibilities (K, n), times row weights."""

    return sweep(rows, State(part, None), FixedStep(resp)).sums[0]


def expected_log_prob(part, rows, resp):
    """Return Σ_i w_i Σ_k r_ik log p_k(i) + log prior: what an M-step of a part climbs.

    That of a generative gate climbs the joint density: log p(x) is added.
    """
    total = part.log_prior()
    for block in rows.blocks():
        here = resp[:, block.start : block.stop]
        here = here if block.weight is None else here * block.weight
        total += float(np.sum(here * part.log_prob(block)))
        if can(part, "log_marginal"):
            total += float(np.sum(here * part.log_marginal(block)))
    return total


def fit_part(part, rows, resp, n_steps=1):
    """Return a part after M-steps at fixed responsibilities (K, n)."""
    return fit_at(State(part, None), rows, resp, n_steps).gate


def numeric_gradient(function, vector, step=1e-5):
    """Return the gradient of a function of a vector by central differences."""
    gradient = np.empty_like(vector)
    for i in range(len(vector)):
        shift = np.zeros_like(vector)
        shift[i] = step * max(1.0, abs(vector[i]))
        gradient[i] = (function(vector + shift) - function(vector - shift)) / (2 * shift[i])
    return gradient


def log_mixture(X, y, gate_coef, gate_intercept, lines, sigma):
    """Return log p(y | x) and responsibilities (n, K) of linear experts, from the formulas."""
    X1 = np.column_stack([np.ones(len(X)), X])
    log_gate = log_softmax(X @ gate_coef.T + gate_intercept, axis=1)
    error = y[:, None] - X1 @ lines.T
    log_joint = log_gate - 0.5 * (error / sigma) ** 2 - np.log(sigma) - 0.5 * LOG_2PI
    top = log_joint.max(axis=1, keepdims=True)
    log_density = top[:, 0] + np.log(np.exp(log_joint - top).sum(axis=1))
    return log_density, np.exp(log_joint - log_density[:, None])


def _awkward(rng, seed, n, d, k):
    """Return X and the regions of a problem with what makes EM stumble."""
    X = rng.standard_normal((n, d)) * 10.0 ** rng.uniform(-3, 3, d) + rng.choice([0.0, 100.0])
    if seed % 3 == 0 and d > 1:
        X[:, -1] = 2 * X[:, 0] - 1  # collinear
    if seed % 7 == 0:
        X = np.column_stack([X, np.full(n, 3.0)])
    order = np.argsort(X[:, 0])
    regions = np.empty(n, dtype=int)
    regions[order] = np.arange(n) * k // n  # a gate can separate them
    if seed % 5 == 0:
        regions[:] = 0
        regions[order[: 2 * (k - 1)]] = np.repeat(np.arange(1, k), 2)  # two rows an expert
    if seed % 4 == 1:
        again = rng.integers(n // 3, size=n - n // 3)
        X[n // 3 :], regions[n // 3 :] = X[again], regions[again]
    return X, regions


def random_problem(seed):
    """Return an estimator with random options, and X, y, weights to fit it on.

    Among the problems are collinear and constant columns, duplicated rows, groups of two rows,
    regions that a gate separates without noise, experts without penalty, several outputs, and
    weights that span six decades.
    """
    rng = np.random.default_rng([seed, 77])
    n, d, k = int(rng.integers(20, 200)), int(rng.integers(1, 5)), int(rng.integers(2, 6))
    X, regions = _awkward(rng, seed, n, d, k)
    spread = np.maximum(X.std(axis=0), 1e-12)
    slopes = 2 * rng.standard_normal((k, X.shape[1])) / spread
    y = np.einsum("nd,nd->n", X - X.mean(axis=0), slopes[regions])
    y += rng.choice([1e-3, 0.1, 1.0]) * rng.standard_normal(n) + 5.0 * regions
    weight = 10.0 ** rng.uniform(-3, 3, n) if seed % 11 == 0 else None
    gate = [SoftmaxGate(0), SoftmaxGate(0), SoftmaxGate(0.1), ConstantGate()][rng.integers(4)]
    options = {
        "n_experts": k,
        "gate": gate,
        "init": [regions, "random", "kmeans", "clusterwise"][rng.integers(4)],
        "assignment": "hard" if seed % 6 == 5 else "soft",
        "n_init": 1 + seed % 2,
        "max_iter": 12,
        "tol": 0.0,
        "random_state": seed,
    }
    if isinstance(options["init"], np.ndarray) and len(np.unique(regions)) < k:
        options["init"] = "random"
    if seed % 2:
        y = np.digitize(y, np.quantile(y, [0.4, 0.7] if seed % 4 == 1 else [0.5]))
        expert = [None, LogisticRegression(C=np.inf), LogisticRegression()][rng.integers(3)]
        return MixtureOfExpertsClassifier(expert, **options), X, y, weight
    if seed % 10 == 4:
        y = np.column_stack([y, X[:, 0] / spread[0] + rng.standard_normal(n)])
    family = Gaussian(shared=True) if seed % 8 == 6 else "gaussian"
    expert = [None, LinearRegression(), LinearRegression(), Ridge()][rng.integers(4)]
    return MixtureOfExpertsRegressor(expert, family=family, **options), X, y, weight
