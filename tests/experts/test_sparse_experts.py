"""Lasso, elastic net and L1-penalised logistic regression as experts."""

import pickle

import numpy as np
import pytest
from _problems import fit_part, logistic, make_rows, one_expert, softmax_gated
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, LogisticRegression, Ridge

from mixexp import (
    MixtureOfExpertsClassifier,
    MixtureOfExpertsRegressor,
    describe_experts,
    inference,
)
from mixexp._engine.guard import FALL_TOL
from mixexp.experts import has_bank
from mixexp.experts._templates import linear_terms, log_penalty
from mixexp.families import Gaussian, Laplace, Poisson, StudentT
from mixexp.gates import EstimatorGate, GaussianGate, SoftmaxGate
from mixexp.protocols import can

EXACT = {"tol": 1e-14, "max_iter": 10**6}

GATE = SoftmaxGate(5.0, l1_ratio=1.0)


def sparse_line(rng, n=120, d=6):
    """Return X on several scales, and y that depends on two of its columns."""
    X = rng.standard_normal((n, d)) * 10.0 ** np.linspace(-1, 1, d) + 2.0
    scaled = X / X.std(axis=0)
    return X, 2 * scaled[:, 0] - scaled[:, 3] + 0.5 * rng.standard_normal(n)


def two_lines(rng, n=250, d=5):
    """Return X, y of two regimes that two of its columns tell apart and predict."""
    X = rng.standard_normal((n, d))
    y = np.where(X[:, 0] > 0, 2 * X[:, 1], 1 - 2 * X[:, 1]) + 0.3 * rng.standard_normal(n)
    return X, y


@pytest.mark.parametrize("template, l1_ratio", [
    (Lasso(0.3), 1.0),
    (ElasticNet(0.3), 0.5),
    (ElasticNet(0.3, l1_ratio=0.0), 0.0),
    (Lasso(0.3, precompute=True, selection="random", warm_start=True), 1.0),
], ids=str)  # fmt: skip
def test_lines_with_a_bank(template, l1_ratio):
    for family in (Gaussian(), StudentT(), Laplace()):
        terms = linear_terms(template, family)
        assert (terms.alpha, terms.l1_ratio, terms.per_weight) == (0.3, l1_ratio, True)
        assert_allclose([terms.ridge, terms.lasso], [0.3 * (1 - l1_ratio), 0.3 * l1_ratio])
    assert not has_bank(template, Poisson()) and not has_bank(template, None)


def test_logistic_templates_with_a_bank():
    terms = linear_terms(logistic(4.0, 0.25), None)
    assert (terms.alpha, terms.l1_ratio, terms.per_weight) == (4.0, 0.25, False)
    spelled = LogisticRegression(penalty="l1", C=0.25, solver="saga")
    assert linear_terms(spelled, None).lasso == 4.0
    for solver in ("liblinear", "lbfgs"):  # the first penalises the intercept
        assert linear_terms(clone(spelled).set_params(solver=solver), None) is None
    mixed = LogisticRegression(penalty="elasticnet", l1_ratio=None, solver="saga")
    assert linear_terms(mixed, None) is None


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("template", [Lasso(0.2), ElasticNet(0.2, l1_ratio=0.4)], ids=str)
def test_one_line_is_scikit_learns(rng, template, intercept, weighted):
    X, y = sparse_line(rng)
    weight = rng.integers(1, 4, len(X)).astype(float) if weighted else None
    template = clone(template).set_params(fit_intercept=intercept, **EXACT)
    model = MixtureOfExpertsRegressor(template, n_experts=1).fit(X, y, sample_weight=weight)
    (expert,), reference = model.experts_, template.fit(X, y, sample_weight=weight)
    assert type(expert) is type(template)
    assert_allclose(expert.coef_, reference.coef_, atol=1e-6)
    assert_allclose(expert.intercept_, reference.intercept_, atol=1e-6)
    assert_array_equal(expert.coef_ == 0, reference.coef_ == 0)
    assert np.any(expert.coef_ == 0) and np.any(expert.coef_ != 0)
    assert_allclose(expert.sparse_coef_.toarray()[0], expert.coef_)
    # the residual variance of the penalised fit, and its bound
    weight = np.ones(len(X)) if weight is None else weight
    total, l1_ratio = weight.sum(), template.l1_ratio if type(template) is ElasticNet else 1.0
    squares = weight @ (y - reference.predict(X)) ** 2
    penalty = l1_ratio * np.abs(reference.coef_).sum()
    penalty += 0.5 * (1 - l1_ratio) * np.sum(reference.coef_**2)
    variance = (squares + 2 * 0.2 * total * penalty) / total
    assert_allclose(model.dispersions_**2, variance, rtol=1e-6)
    assert_allclose(model.lower_bound_, -0.5 * np.log(2 * np.pi * variance) - 0.5, rtol=1e-6)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("l1_ratio", [1.0, 0.6])
@pytest.mark.parametrize("intercept", [True, False])
def test_one_logistic_expert_is_scikit_learns(rng, n_classes, l1_ratio, intercept):
    X = rng.standard_normal((150, 5)) * [0.5, 1.0, 1.0, 2.0, 1.0]
    scores = X[:, :n_classes] + 0.3 * np.arange(n_classes) + rng.gumbel(size=(150, n_classes))
    template = logistic(10.0, l1_ratio).set_params(fit_intercept=intercept)
    model = MixtureOfExpertsClassifier(template, n_experts=1, tol=1e-13, max_iter=100)
    (expert,) = model.fit(X, scores.argmax(axis=1)).experts_
    reference = template.fit(X, scores.argmax(axis=1))
    assert_allclose(expert.coef_, reference.coef_, atol=1e-6)
    assert_allclose(np.diff(expert.intercept_), np.diff(reference.intercept_), atol=1e-6)
    assert_allclose(model.predict_proba(X), reference.predict_proba(X), atol=1e-6)
    assert np.any(expert.coef_ == 0) and np.any(expert.coef_ != 0)


MIXTURES = {
    "lasso": MixtureOfExpertsRegressor(Lasso(0.1), 2, gate=GATE, random_state=0),
    "elastic net": MixtureOfExpertsRegressor(ElasticNet(0.1), 2, random_state=0),
    "student_t": MixtureOfExpertsRegressor(
        Lasso(0.1), 2, gate=GATE, family=StudentT(df=4.0), random_state=0
    ),
    "laplace": MixtureOfExpertsRegressor(Lasso(0.1), 2, family="laplace", random_state=0),
    "two classes": MixtureOfExpertsClassifier(logistic(2.0, 1.0), 2, gate=GATE, random_state=0),
    "three classes": MixtureOfExpertsClassifier(logistic(2.0, 0.5), 2, gate=GATE, random_state=0),
}


def problem(name, rng):
    """Return a mixture without its last digits, X and y."""
    X, y = two_lines(rng)
    if "classes" in name:
        y = np.digitize(y, np.quantile(y, [0.5] if name.startswith("two") else [0.3, 0.7]))
    return clone(MIXTURES[name]).set_params(n_init=1, max_iter=30, tol=1e-5), X, y


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", MIXTURES)
def test_every_step_climbs(rng, name):
    model, X, y = problem(name, rng)
    bounds = model.set_params(tol=0.0, max_iter=15).fit(X, y).lower_bounds_
    assert np.all(np.diff(bounds) >= -FALL_TOL * np.maximum(1.0, np.abs(bounds[1:])))
    assert bounds[-1] > bounds[0]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", MIXTURES)
def test_weights_order_blocks_and_files(rng, name):
    model, X, y = problem(name, rng)
    weight = rng.integers(1, 4, len(X))
    again = np.repeat(np.arange(len(X)), weight)
    shuffled = rng.permutation(len(X))
    found = clone(model).fit(X, y, sample_weight=weight.astype(float))
    fits = {
        "repeated": clone(model).fit(X[again], y[again]),
        "shuffled": clone(model).fit(
            X[shuffled], y[shuffled], sample_weight=1.0 * weight[shuffled]
        ),
        "from a file": pickle.loads(pickle.dumps(found)),
    }
    for fit in fits.values():
        assert_allclose(fit.lower_bound_, found.lower_bound_, rtol=1e-9)
        pairs = zip(fit.experts_, found.experts_, strict=True)
        assert all(np.array_equal(a.coef_ == 0, b.coef_ == 0) for a, b in pairs)
        assert_allclose(fit.predict_experts(X[:5]), found.predict_experts(X[:5]), atol=1e-6)


def test_blocks_do_not_matter(rng):
    X, y = two_lines(rng)
    thetas = []
    for size in (37, 1000):
        rows = make_rows(X, y, block_rows=size)
        bank = one_expert(Lasso(0.1), rows).replicate(2)
        resp = np.stack([X[:, 0] > 0, X[:, 0] <= 0]).astype(float)
        thetas.append(fit_part(bank, rows, resp, 3).theta)
    assert_allclose(thetas[0], thetas[1], atol=1e-10)
    assert_array_equal(thetas[0] == 0, thetas[1] == 0)


def test_the_penalty_is_that_of_an_equal_share_of_the_rows(rng):
    X, y = two_lines(rng)
    rows = make_rows(X, y)
    one = one_expert(Lasso(0.1), rows)
    four = one.replicate(4)
    assert_allclose(one.l1, 4 * four.l1)
    assert_allclose(one.l1[1:], 0.1 * len(X) / X.std(axis=0))


@pytest.mark.parametrize("name", ["lasso", "two classes", "three classes"])
def test_zeros_are_no_parameters(rng, name):
    model, X, y = problem(name, rng)
    model.set_params(tol=1e-4, max_iter=200).fit(X, y)
    state = model._model
    if name == "lasso":
        slopes = sum(np.count_nonzero(expert.coef_) for expert in model.experts_)
        bank = slopes + 2 + 2  # intercepts and dispersions
    elif name == "two classes":
        bank = sum(1 + np.count_nonzero(expert.coef_) for expert in model.experts_)
    else:
        used = [np.count_nonzero(expert.coef_, axis=0) for expert in model.experts_]
        bank = sum(2 + np.sum(np.minimum(each, 2)) for each in used)
    assert state.bank.n_parameters == bank
    gate = 1 + np.count_nonzero(model.gate_.coef_[0])
    assert state.gate.n_parameters == gate
    log_likelihood = model.log_density(X, y).sum()
    assert_allclose(model.aic(X, y), 2 * (bank + gate) - 2 * log_likelihood)
    assert_allclose(model.bic(X, y), np.log(len(X)) * (bank + gate) - 2 * log_likelihood)


def test_noise_columns_vanish_and_are_named(rng):
    X, y = two_lines(rng, n=400, d=8)
    model = MixtureOfExpertsRegressor(
        Lasso(0.15), 2, gate=SoftmaxGate(15.0, l1_ratio=1.0), random_state=0
    ).fit(X, y)
    assert_array_equal(model.unused_features_, np.arange(2, 8))
    assert_array_equal(model.gate_.unused_features_, np.arange(1, 8))
    found = describe_experts(model, X, y)
    assert found.unused == [f"x{j}" for j in range(2, 8)]
    assert found.to_text().splitlines()[-1] == "Used by none: x2, x3, x4, x5, x6, x7"
    assert "Used by none" in found._repr_html_()
    ridge = MixtureOfExpertsRegressor(Ridge(), 2, random_state=0).fit(X, y)
    assert len(ridge.unused_features_) == 0
    assert "Used by none" not in str(describe_experts(ridge, X, y))


@pytest.mark.parametrize("part", ["gate", "experts"])
def test_no_standard_errors(rng, part):
    X, y = two_lines(rng)
    options = {"gate": GATE} if part == "gate" else {"expert": Lasso(0.1)}
    model = MixtureOfExpertsRegressor(n_experts=2, random_state=0, **options).fit(X, y)
    for call in (model.summary, lambda X, y: inference.bootstrap(model, X, y, n_refits=2)):
        with pytest.raises(ValueError, match=f"an L1 penalty of the {part}, under which"):
            call(X, y)
    bank = model._model.bank
    assert can(bank, "scores") == (part == "gate")


def test_too_wide_for_gram_matrices(rng):
    X, y = rng.standard_normal((30, 300)), rng.standard_normal(30)
    with config_context(working_memory=1):
        with pytest.raises(ValueError, match="Lasso: an L1 penalty needs Gram matrices"):
            MixtureOfExpertsRegressor(Lasso(0.1), n_experts=2).fit(X, y)
        with pytest.raises(ValueError, match="LogisticRegression: an L1 penalty needs Gram"):
            MixtureOfExpertsClassifier(logistic(1.0, 1.0), n_experts=2).fit(X, y > 0)


def test_wide_rows_are_not_turned_into_principal_directions(rng):
    X = rng.standard_normal((60, 90))
    y = 3 * X[:, 4] + 0.3 * rng.standard_normal(60)
    model = MixtureOfExpertsRegressor(Lasso(0.3, **EXACT), n_experts=1).fit(X, y)
    reference = Lasso(0.3, **EXACT).fit(X, y)
    assert_allclose(model.experts_[0].coef_, reference.coef_, atol=1e-6)
    assert np.count_nonzero(reference.coef_) < 20


@pytest.mark.parametrize("shared", [Lasso(0.1), Ridge(1.0)], ids=str)
def test_beside_a_shared_expert(rng, shared):
    X, y = two_lines(rng)
    expert = Lasso(0.2) if isinstance(shared, Ridge) else LinearRegression()
    model = MixtureOfExpertsRegressor(
        expert, 2, shared_expert=shared, n_init=1, random_state=0
    ).fit(X, y)
    assert model.score(X, y) > 0.8
    lasso = model.shared_expert_ if isinstance(shared, Lasso) else model.experts_[0]
    assert type(lasso) is Lasso and np.any(lasso.coef_ == 0)


def test_penalty_of_a_fitted_logistic_regression(rng):
    X = rng.standard_normal((60, 3))
    fitted = logistic(2.0, 0.25).fit(X, X[:, 0] + rng.standard_normal(60) > 0)
    size = np.abs(fitted.coef_)
    penalty = 2.0 * (0.25 * size.sum() + 0.375 * np.sum(size**2))
    assert_allclose(log_penalty(fitted, None), penalty)
    assert log_penalty(Lasso(0.1).fit(X, X[:, 0]), Gaussian()) is None


def test_columns_of_ones_own(rng):
    X, y, _, _ = softmax_gated(rng, 200, 4, 2)
    model = MixtureOfExpertsRegressor(
        Lasso(0.05), 2, expert_features=[[0, 1], [1, 2, 3]], n_init=1, random_state=0
    ).fit(X, y)
    assert [len(expert.coef_) for expert in model.experts_] == [2, 3]
    bounds = model.lower_bounds_
    assert np.all(np.diff(bounds) >= -FALL_TOL * np.maximum(1.0, np.abs(bounds[1:])))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_classes_by_columns_of_ones_own(rng, n_classes):
    X, y = two_lines(rng, d=4)
    y = np.digitize(y, np.quantile(y, np.arange(1, n_classes) / n_classes))
    model = MixtureOfExpertsClassifier(
        logistic(5.0, 1.0),
        2,
        gate=SoftmaxGate(alpha=0.3),
        expert_features=[[0, 1], [1, 2, 3]],
        n_init=1,
        random_state=0,
    ).fit(X, y)
    assert [expert.coef_.shape[1] for expert in model.experts_] == [2, 3]
    assert all(np.any(expert.coef_ == 0) for expert in model.experts_)
    bounds = model.lower_bounds_
    assert np.all(np.diff(bounds) >= -FALL_TOL * np.maximum(1.0, np.abs(bounds[1:])))


@pytest.mark.parametrize("name", ["lasso", "three classes"])
def test_sparse_rows_are_full_ones(rng, name):
    model, X, y = problem(name, rng)
    X = np.where(np.abs(X) < 0.8, 0.0, X)
    model.set_params(max_iter=200, gate=GATE)
    full, sparse = (clone(model).fit(rows, y) for rows in (X, csr_array(X)))
    assert_allclose(sparse.lower_bound_, full.lower_bound_, rtol=1e-10)
    assert_allclose(sparse.experts_[0].coef_, full.experts_[0].coef_, atol=1e-8)


@pytest.mark.parametrize("gate", [GaussianGate(), EstimatorGate(LogisticRegression())])
def test_a_gate_without_coefficients_uses_the_columns_it_sees(rng, gate):
    X, y = two_lines(rng, n=200, d=5)
    model = MixtureOfExpertsRegressor(
        Ridge(), 2, gate=gate, gate_features=[0, 3], expert_features=[1], random_state=0
    ).fit(X, y)
    assert_array_equal(model.unused_features_, [2, 4])
