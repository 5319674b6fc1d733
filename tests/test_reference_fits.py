"""Unpenalised fits from the default starts reach the best log-likelihood known."""

import csv
import gzip
import json
from dataclasses import dataclass
from functools import cache
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import log_softmax, logsumexp
from scipy.stats import norm
from sklearn.linear_model import LinearRegression, LogisticRegression

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.datasets import load_ethanol, load_tone
from mixexp.gates import SoftmaxGate

DATA = Path(__file__).parent / "data"

#: Relative distance from the reference that counts as reached.
REACHED = 1e-6

# One number in place of a file where the table is bundled (see `data/README.md`).
TABLES = {
    "tone": (load_tone, 142.8480141417562),
    "ethanol": (load_ethanol, 123.62059074868364),
}

SIMULATED = ["syn_a_k3", "syn_c_binary_k2", "syn_e_multi_k2"]


@dataclass(frozen=True)
class Case:
    """Data, the mixture that fits them, and the best log-likelihood known."""

    X: np.ndarray
    y: np.ndarray
    n_experts: int
    log_likelihood: float
    facts: dict
    classes: bool

    def fit(self, seed):
        mixture = MixtureOfExpertsClassifier if self.classes else MixtureOfExpertsRegressor
        expert = LogisticRegression(C=np.inf) if self.classes else LinearRegression()
        return mixture(
            expert,
            n_experts=self.n_experts,
            gate=SoftmaxGate(alpha=0),
            tol=1e-9,
            max_iter=5000,
            random_state=seed,
        ).fit(self.X, self.y)


@cache
def case(name):
    if name in TABLES:
        load, log_likelihood = TABLES[name]
        X, y = load(return_X_y=True)
        return Case(X, y, 2, log_likelihood, {}, classes=False)
    facts = json.loads((DATA / f"{name}.json").read_text())
    with gzip.open(DATA / f"{name}.csv.gz", "rt", newline="") as file:
        header, *lines = csv.reader(file)
    table = dict(zip(header, np.array(lines, dtype=float).T, strict=True))
    X = np.column_stack([table[h] for h in header if h[:2] == "X:" and h != "X:(Intercept)"])
    if facts["family"] == "gaussian":
        y = table["y"]
    elif facts["family"] == "binomial":
        y = table["y_succ"].astype(int)
    else:
        y = np.stack([table[h] for h in header if h[:2] == "y_"]).argmax(axis=0)
    classes = facts["family"] != "gaussian"
    return Case(X, y, facts["n_experts"], facts["log_likelihood"], facts, classes)


def check_reached(name, seed):
    problem = case(name)
    model = problem.fit(seed)
    assert model.converged_
    log_likelihood = model.log_density(problem.X, problem.y).sum()
    # The maximum is attained and is the best known: nothing above it either.
    assert log_likelihood == pytest.approx(problem.log_likelihood, rel=REACHED)
    assert model.lower_bound_ * len(problem.y) == pytest.approx(log_likelihood, rel=1e-12)
    long_runs = [start for start in model.restarts_ if "long run" in start.events]
    assert [start.flags for start in long_runs] == [[]]
    return model


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", [*TABLES, *SIMULATED])
def test_default_starts_reach_the_reference(name, seed):
    check_reached(name, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 10))
@pytest.mark.parametrize("name", [*TABLES, *SIMULATED])
def test_every_seed_reaches_the_reference(name, seed):
    check_reached(name, seed)


def by_hand(problem):
    """Gate log-probabilities and log-densities (n, K) at the stored coefficients."""
    design = np.column_stack([np.ones(len(problem.y)), problem.X])
    log_gate = log_softmax(design @ np.array(problem.facts["gate_coef"]).T, axis=1)
    coef = np.array(problem.facts["expert_coef"])
    coef = coef.reshape(len(coef), design.shape[1], -1)
    means = np.einsum("ij,kjc->ikc", design, coef)
    if not problem.classes:
        return log_gate, norm.logpdf(
            problem.y[:, None], means[..., 0], np.array(problem.facts["dispersion"])
        )
    scores = np.concatenate([np.zeros_like(means[..., :1]), means], axis=2)
    return log_gate, log_softmax(scores, axis=2)[np.arange(len(problem.y)), :, problem.y]


@pytest.mark.parametrize("name", SIMULATED)
def test_parameters_are_those_of_the_reference(name):
    """Coefficients, in input units, of gate and experts; densities and responsibilities."""
    problem = case(name)
    log_gate, log_expert = by_hand(problem)
    joint = log_gate + log_expert
    log_likelihood = logsumexp(joint, axis=1)
    assert log_likelihood.sum() == pytest.approx(problem.log_likelihood, rel=1e-9)  # the reading

    model = check_reached(name, seed=0)
    assert_allclose(model.log_density(problem.X, problem.y), log_likelihood, atol=2e-3)
    gate = model.gate_proba(problem.X)
    order = min(
        permutations(range(problem.n_experts)),
        key=lambda order: np.abs(gate[:, order] - np.exp(log_gate)).max(),
    )
    assert_allclose(gate[:, order], np.exp(log_gate), atol=1e-3)
    resp = np.exp(joint - log_likelihood[:, None])
    assert_allclose(model.responsibilities(problem.X, problem.y)[:, order], resp, atol=1e-3)

    want = np.array(problem.facts["gate_coef"])
    want -= want.mean(axis=0)
    got = np.column_stack([model.gate_.intercept_, model.gate_.coef_])[list(order)]
    assert_allclose(got, want, atol=2e-3)
    experts = [model.experts_[k] for k in order]
    for expert, coef in zip(experts, np.array(problem.facts["expert_coef"]), strict=True):
        slopes, intercept = np.atleast_2d(expert.coef_), np.atleast_1d(expert.intercept_)
        if len(slopes) > 1:  # classes: relative to the first
            slopes, intercept = (slopes - slopes[0])[1:], (intercept - intercept[0])[1:]
        assert_allclose(np.column_stack([intercept, slopes]).T.squeeze(), coef, atol=2e-3)
    if not problem.classes:
        assert_allclose(model.dispersions_[list(order)], problem.facts["dispersion"], atol=1e-4)
