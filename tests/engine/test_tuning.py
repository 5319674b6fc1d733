"""Penalties set by their evidence: the fixed point, its bounds, and what it is for."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from _problems import make_rows, statistics_of
from numpy.testing import assert_allclose
from scipy.special import softmax
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import BayesianRidge, LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._engine import em, search, tuning
from mixexp._engine.fixed import fit_at, statistics_at
from mixexp._engine.sweep import State
from mixexp._evidence import LARGEST_CHANGE, determined, strength_ratio, strongest
from mixexp._newton import block_products, n_block_rows
from mixexp._numerics import n_pairs, pair_products
from mixexp.datasets import make_piecewise_linear
from mixexp.experts._logistic import _determined_by_grams
from mixexp.families import Gaussian
from mixexp.gates import HierarchicalGate, SoftmaxGate
from mixexp.gates._noise import NoiseGate
from mixexp.protocols import Rows, can, evolve


def test_determined_counts_eigenvalues(rng):
    root = rng.standard_normal((5, 5))
    hessian = root @ root.T
    values = np.linalg.eigvalsh(hessian)
    found = determined(hessian, np.full(5, 2.0))
    assert_allclose(found.sum(), np.sum(values / (values + 2)), rtol=1e-8)


def test_coefficients_without_a_penalty_do_not_count(rng):
    """What an unpenalised coefficient explains is taken out of the others: a Schur complement."""
    root = rng.standard_normal((4, 4))
    hessian = root @ root.T
    inner = hessian[1:, 1:] - np.outer(hessian[1:, 0], hessian[0, 1:]) / hessian[0, 0]
    values = np.linalg.eigvalsh(inner)
    found = determined(hessian, np.array([0.0, 0.5, 0.5, 0.5]))
    assert found[0] == 0
    assert_allclose(found.sum(), np.sum(values / (values + 0.5)), rtol=1e-6)


def test_a_direction_that_nothing_determines_does_not_count():
    hessian = np.diag([3.0, 0.0])
    assert_allclose(determined(hessian, np.array([1.0, 1.0])), [0.75, 0], rtol=1e-8, atol=1e-9)
    assert_allclose(determined(hessian, np.array([1.0, 0.0])), [0.75, 0], rtol=1e-8)


def test_a_large_hessian_with_a_direction_that_it_leaves_open():
    """A penalty may be far below the rounding of the Hessian."""
    hessian = 1e9 * np.array([[1.0, -1.0], [-1.0, 1.0]])
    assert_allclose(determined(hessian, np.full(2, 1e-6)).sum(), 1.0, rtol=1e-6)


def test_strengths_are_bounded():
    gamma, squares = np.array([3.0, 3.0, 1e-9, 1.0]), np.array([1.5, 0.0, 1.0, 1e-9])
    ratio = strength_ratio(gamma, squares, np.array([0.5, 0.5, 0.5, 20.0]), 0.1, 30.0)
    assert_allclose(ratio, [2.0, LARGEST_CHANGE, 0.2, 1.5])


@pytest.mark.parametrize("k", [2, 3])
def test_a_strength_counts_in_the_constant_of_the_prior(rng, k):
    """It is a density of (K − 1) d free slopes, and intercepts that it leaves alone."""
    gate = SoftmaxGate("auto").start(make_rows(rng.standard_normal((30, 4))), k, None)
    gate = gate.set_parameters(rng.standard_normal(gate.theta.size))
    alphas = np.array([0.5, 0.5, 3.0, 1.0]), np.array([2.0, 0.5, 1.0, 4.0])
    first, second = (evolve(gate, _strength=alpha)._with_penalty().log_prior() for alpha in alphas)
    constants = [0.5 * (k - 1) * np.sum(np.log(alpha / (alpha + 30))) for alpha in alphas]
    squares = 0.5 * (alphas[1] - alphas[0]) @ np.sum(gate.theta[:, 1:] ** 2, axis=0)
    assert_allclose(second - first, constants[1] - constants[0] - squares)


def test_one_expert_is_at_the_fixed_point():
    """α = γ σ² / |b|², with γ of the ridge regression itself."""
    X, y = load_diabetes(return_X_y=True)
    Z = StandardScaler().fit_transform(X)
    model = MixtureOfExpertsRegressor(n_experts=1, gate=SoftmaxGate(alpha="auto")).fit(Z, y)
    strength = float(model._model.bank.strength)
    assert 0.3 < strength < strongest(1, len(y))
    expected = Ridge(strength).fit(Z, y)
    assert_allclose(model.experts_[0].coef_, expected.coef_, rtol=1e-8)
    values = np.linalg.eigvalsh(Z.T @ Z)
    gamma = np.sum(values / (values + strength))
    squares = np.sum(expected.coef_**2)
    # it stops where its logarithm changes by less than 0.1
    assert abs(np.log(gamma * model.dispersions_[0] ** 2 / squares / strength)) < 0.1


def test_the_dispersion_of_one_expert_has_its_degrees_of_freedom():
    """As the residual variance of a regression: over n less the coefficients, here γ + 1."""
    X, y = load_diabetes(return_X_y=True)
    Z = StandardScaler().fit_transform(X)
    model = MixtureOfExpertsRegressor(n_experts=1).fit(Z, y)
    bank, (expert,) = model._model.bank, model.experts_
    values = np.linalg.eigvalsh(Z.T @ Z)
    taken = 1 + np.sum(values / (values + bank.strength))
    assert_allclose(bank.prior_rows, taken, rtol=0.02)  # a round behind
    squares = np.sum((y - model.predict(Z)) ** 2) + bank.strength * np.sum(expert.coef_**2)
    assert_allclose(model.dispersions_, np.sqrt(squares / (len(y) - taken)), rtol=1e-3)
    n_parameters = 0.5 * model.aic(Z, y) + model.log_density(Z, y).sum()
    assert_allclose(n_parameters, taken + 1, rtol=0.01)  # the dispersion counts in full
    given = MixtureOfExpertsRegressor(Ridge(bank.strength), n_experts=1).fit(Z, y)
    assert_allclose(given.dispersions_, np.sqrt(squares / len(y)), rtol=1e-6)


def two_noisy_lines(seed, n=80):
    """Return two lines in ten columns with errors of variance 1, and the line of each row."""
    rng = np.random.default_rng([seed, n])
    coef = 0.4 * np.random.default_rng(seed).standard_normal((2, 10))
    X = rng.standard_normal((n, 10))
    line = (X[:, 0] > 0).astype(int)
    return X, np.sum(X * coef[line], axis=1) + rng.standard_normal(n), line


def test_new_rows_miss_by_the_dispersions():
    """Without degrees of freedom squares of new errors are 1.3 times the dispersions'."""
    miss = []
    for seed in range(100):
        X, y, line = two_noisy_lines(seed)
        model = MixtureOfExpertsRegressor(n_experts=1).fit(X[line == 0], y[line == 0])
        new, y_new, line = two_noisy_lines(seed, 4000)
        errors = (y_new - model.predict(new))[line == 0] / model.dispersions_
        miss.append(np.mean(errors**2))
    assert abs(np.mean(miss) - 1.0) < 0.1


def test_coefficients_of_an_output_are_taken_from_its_dispersion():
    X, y, _ = two_noisy_lines(0)
    one = MixtureOfExpertsRegressor(n_experts=1).fit(X, y)
    two = MixtureOfExpertsRegressor(n_experts=1).fit(X, np.column_stack([y, y]))
    assert_allclose(two._model.bank.prior_rows, one._model.bank.prior_rows, rtol=1e-6)
    assert_allclose(two.dispersions_, np.repeat(one.dispersions_[:, None], 2, axis=1), rtol=1e-6)


def test_an_expert_without_rows_keeps_its_dispersion():
    X, y, line = two_noisy_lines(0)
    bank = MixtureOfExpertsRegressor(n_experts=2, init=line).fit(X, y)._model.bank
    rows, resp = make_rows(X, y), np.stack([np.ones(80), np.zeros(80)])
    tuned_bank = bank.tuned(statistics_of(bank, rows, resp), rows)
    assert tuned_bank.prior_rows[0] > 1 and tuned_bank.prior_rows[1] == 0
    assert_allclose(tuned_bank.prior_squares[1], 2 * bank.parameters[0, 1] ** 2)
    assert abs(tuned_bank.log_prior()) < 100


def test_coefficients_take_half_of_the_rows_at_most():
    X, *_ = two_noisy_lines(0, 18)
    bank = MixtureOfExpertsRegressor(n_experts=1).fit(X, X @ np.arange(10.0))._model.bank
    assert_allclose(bank.prior_rows, 9.0)
    assert_allclose(bank.parameters[0] ** 2, bank.prior_squares / 2, rtol=0.05)


@pytest.mark.parametrize("shared", [False, True])
def test_every_iteration_still_raises_the_bound(shared):
    X, y, _ = two_noisy_lines(1)
    model = MixtureOfExpertsRegressor(
        n_experts=3, family=Gaussian(shared=shared), acceleration=None, random_state=0, tol=1e-9
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y)
    assert np.max(model._model.bank.prior_rows) > 1
    assert np.all(np.diff(model.lower_bounds_) > -1e-12)
    prior = model.gate_.log_prior() + model._model.bank.log_prior()
    assert_allclose(model.lower_bound_, model.log_density(X, y).mean() + prior / len(y))


def of_classes(rng, n_classes, n=400):
    """Return rows of a softmax model of the classes."""
    X = rng.standard_normal((n, 4))
    scores = X @ rng.standard_normal((4, n_classes)) + rng.gumbel(size=(n, n_classes))
    return X, scores.argmax(axis=1)


def full_hessian(Z, proba):
    """Return Σ (diag(p) − p pᵀ) ⊗ z zᵀ."""
    weights = np.einsum("nc,cd->ncd", proba, np.eye(proba.shape[1]))
    weights -= proba[:, :, None] * proba[:, None]
    size = proba.shape[1] * Z.shape[1]
    return np.einsum("ncd,ni,nj->cidj", weights, Z, Z).reshape(size, size)


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_one_expert_of_classes_is_at_the_fixed_point(rng, n_classes):
    """α = γ / |b|², with γ by the Hessian of the multinomial model itself."""
    X, y = of_classes(rng, n_classes)
    Z = StandardScaler().fit_transform(X)
    model = MixtureOfExpertsClassifier(n_experts=1, tol=1e-9).fit(Z, y)
    bank = model._model.bank
    assert 0.3 < bank.strength < strongest(1, len(y))
    expected = LogisticRegression(C=1 / bank.strength, tol=1e-10, max_iter=10_000).fit(Z, y)
    assert_allclose(model.predict_proba(Z), expected.predict_proba(Z), atol=1e-4)
    hessian = full_hessian(np.column_stack([np.ones(len(Z)), Z]), expected.predict_proba(Z))
    double = 2.0 if n_classes == 2 else 1.0  # one vector has half of the square of two
    penalty = np.tile([0.0] + 4 * [double * bank.strength], n_classes)
    held = penalty * np.diag(np.linalg.pinv(hessian + np.diag(penalty)))
    gamma = np.sum(1 - held[penalty > 0])
    squares = penalty[1] * np.sum(bank.theta[0, :, 1:] ** 2)
    assert abs(np.log(gamma / squares)) < 0.1


@pytest.mark.parametrize("n_classes", [2, 3])
def test_blocks_determine_about_as_much_as_the_hessian(rng, n_classes):
    """Of two classes they are the Hessian along centred coefficients, of more a part of it."""
    X, y = of_classes(rng, n_classes)
    proba = softmax(2 * LogisticRegression().fit(X, y).predict_log_proba(X), axis=1)  # surer
    Z, penalty = np.column_stack([np.ones(len(X)), X]), np.array([0.0, 40, 40, 40, 40])
    found = {}
    for curvature, products in {"newton": pair_products, "blocks": block_products}.items():
        n_weights = {"newton": n_pairs(n_classes), "blocks": n_block_rows(n_classes)}[curvature]
        weights = np.empty((n_weights, len(X)))
        products(proba.T, weights)
        gram = np.einsum("wn,ni,nj->wij", weights, Z, Z)
        found[curvature] = _determined_by_grams(curvature, gram, penalty, n_classes)
    assert_allclose(found["blocks"], found["newton"], rtol=1e-8 if n_classes == 2 else 0.2)
    assert 1 < found["newton"] < 2.5 * (n_classes - 1)


def test_nearly_separate_classes_do_not_ask_for_a_strong_penalty(rng):
    """Few rows are open, so that few coefficients are determined, whatever the Hessian says."""
    centres = 3.0 * rng.standard_normal((6, 30))
    y = rng.integers(6, size=300)
    X = centres[y] + rng.standard_normal((300, 30))
    model = MixtureOfExpertsClassifier(n_experts=1).fit(X[:200], y[:200])
    assert model.log_density(X[200:], y[200:]).mean() > -0.05
    bank, rows = model._model.bank.loosened(), Rows(X[:200], y[:200], training=True)
    ones = np.ones((1, 200))
    state = fit_at(State(None, bank), rows, ones, 10)
    assert state.bank.tuned(*statistics_at(state, rows, ones), rows).strength == 0.3
    gram = np.zeros((15, 3, 3))
    gram[:] = 1e-4 * np.eye(3)  # Σ p_c p_d of each pair
    assert _determined_by_grams("newton", gram, np.full(3, 1e-9), 6) == pytest.approx(2 * 15e-4)


@pytest.mark.parametrize("seed", [2, 5])
def test_few_rows_for_the_columns_get_a_strong_penalty(seed):
    """At a weak one they are separated, and none of them would be open."""
    rng = np.random.default_rng(seed)
    slopes = 0.1 * rng.standard_normal((2, 100))
    X = rng.standard_normal((1200, 100))
    y = np.argmax(X @ slopes.T + rng.gumbel(size=(1200, 2)), axis=1)
    model = MixtureOfExpertsClassifier(n_experts=1).fit(X[:200], y[:200])
    assert model._model.bank.strength > 30
    assert model.log_density(X[200:], y[200:]).mean() > -0.75


@pytest.mark.parametrize("max_iter", [1, 5, 9])
def test_penalties_take_no_more_iterations_than_the_fit_may(rng, max_iter):
    X, y, _ = of_two_lines(rng)
    model = MixtureOfExpertsRegressor(n_experts=2, n_init=1, max_iter=max_iter, tol=0)
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        model.fit(X, y)
    assert model.n_iter_ == max_iter
    assert model.n_passes_ <= 4 * max_iter + 8  # a round is of four iterations and a pass


def test_rounds_end_where_the_bound_hardly_changes(rng, monkeypatch):
    """Columns without use go on to be switched off, which changes nothing."""
    X = rng.standard_normal((4000, 6))
    y = np.where(X[:, 0] > 0, X[:, 1], -X[:, 1]) + 0.5 * rng.standard_normal(4000)
    n_passes = []
    for small in (1e-2, 0.0):
        monkeypatch.setattr(tuning, "SMALL_GAIN", small)
        model = MixtureOfExpertsRegressor(n_experts=3, n_init=1, random_state=0).fit(X, y)
        n_passes.append(model.n_passes_)
    assert n_passes[0] < n_passes[1]


def test_a_stream_begins_with_weak_penalties(rng):
    """What the first rows do not need, later ones may."""
    X, y, _ = boxes(rng, 12_000)
    X = np.column_stack([X, rng.standard_normal(12_000)])
    model = MixtureOfExpertsRegressor(n_experts=2, n_init=2, random_state=0)
    model.partial_fit(X, y)
    assert model.gate_.alpha_.max() > 100  # the third column
    online = model._memory.online.state
    assert online.gate.strengths.max() <= 0.3 and online.bank.strengths == 0.3
    tree = MixtureOfExpertsRegressor(
        n_experts=4, gate=HierarchicalGate((2, 2)), n_init=2, random_state=0
    ).partial_fit(X, y)
    assert tree._memory.online.state.gate.strengths.max() <= 0.3


def test_sharp_borders_have_standard_errors():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1500, 4))
    y = np.where(X[:, 0] > 0, 3 + 2 * X[:, 1], X[:, 2] - X[:, 3]) + rng.standard_normal(1500)
    for model, targets in (
        (MixtureOfExpertsRegressor(n_experts=2, random_state=0), y),
        (MixtureOfExpertsClassifier(n_experts=2, random_state=0), np.digitize(y, [0, 2])),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            summary = model.fit(X, targets).summary(X, targets)
        assert np.all(np.isfinite(summary.estimates.covariance))


def test_wrapped_gates_keep_their_wrappers(rng):
    rows = make_rows(rng.standard_normal((50, 2)))
    gates = [NoiseGate(SoftmaxGate().start(rows, 3, None), 0.1)]
    gates.append(SoftmaxGate(usage_prior=2.0).start(rows, 3, None))
    for gate in gates:
        assert not any(can(gate, name) for name in ("tuned", "with_strengths", "loosened"))


def test_experts_of_noise_are_no_worse_than_one_model(rng):
    """A fixed penalty of .3 lets four experts learn 20 columns of noise by heart."""
    X = rng.standard_normal((900, 20))
    y = rng.random(900) < 1 / (1 + np.exp(-X[:, 0]))
    densities = {}
    for alpha in (0.3, "auto"):
        model = MixtureOfExpertsClassifier(gate=SoftmaxGate(alpha), random_state=0)
        densities[alpha] = model.fit(X[:500], y[:500]).log_density(X[500:], y[500:]).mean()
    one = LogisticRegression().fit(X[:500], y[:500])
    alone = -log_loss(y[500:], one.predict_proba(X[500:]))
    assert densities["auto"] > alone - 0.02 > densities[0.3] + 0.1


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_bound_of_classes_has_the_priors_normalisers(rng, n_classes):
    X, y = of_classes(rng, n_classes)
    model = MixtureOfExpertsClassifier(n_experts=2, random_state=0).fit(X, y)
    gate, bank = model.gate_, model._model.bank
    scale = X.std(axis=0)
    prior = -0.5 * np.sum(gate.alpha_ * (gate.coef_ * scale) ** 2)
    prior += 0.5 * np.sum(np.log(gate.alpha_ / (gate.alpha_ + len(X)) * (0.3 + len(X)) / 0.3))
    double = 2.0 if n_classes == 2 else 1.0
    prior -= 0.5 * bank.strength * double * np.sum(bank.theta[:, :, 1:] ** 2)
    prior += 0.5 * 2 * 4 * (n_classes - 1) * np.log(bank.strength / 0.3)
    expected = (model.log_density(X, y).sum() + prior) / len(X)
    assert_allclose(model.lower_bound_, expected, rtol=1e-9)


def test_columns_that_an_expert_of_classes_does_not_see_are_not_determined(rng):
    X = rng.standard_normal((600, 3))
    side = (X[:, 0] > 0).astype(int)
    y = rng.random(600) < 1 / (1 + np.exp(-1.5 * np.where(side, X[:, 1], -X[:, 2])))
    columns = {"expert_features": [[2], [1]], "gate_features": [0]}
    model = MixtureOfExpertsClassifier(n_experts=2, init=side, **columns).fit(X, y)
    strength, resp = model._model.bank.strength, model.responsibilities(X, y)
    assert 0.3 < strength < strongest(2, len(y))
    gamma, squares = 0.0, 0.0
    for k, expert in enumerate(model.experts_):
        column = X[:, columns["expert_features"][k]]
        Z = np.column_stack([np.ones(600), column / column.std()])
        p = expert.predict_proba(column)[:, 1]
        hessian = (Z * (resp[:, k] * p * (1 - p))[:, None]).T @ Z + np.diag([0.0, strength])
        gamma += 1 - strength * np.linalg.inv(hessian)[1, 1]
        squares += (expert.coef_[0, 0] * column.std()) ** 2
    assert abs(np.log(gamma / squares / strength)) < 0.1


def of_two_lines(rng):
    """Return rows on two lines through one column each, and the line of every row."""
    X = rng.standard_normal((300, 3))
    line = (X[:, 0] > 0).astype(int)
    y = np.where(line, X[:, 1], -X[:, 2]) + 0.5 * rng.standard_normal(300)
    return X, y, line


def test_columns_that_an_expert_does_not_see_are_not_determined(rng):
    X, y, line = of_two_lines(rng)
    gate, columns = SoftmaxGate(alpha="auto"), {"expert_features": [[2], [1]], "gate_features": [0]}
    model = MixtureOfExpertsRegressor(n_experts=2, gate=gate, init=line, **columns).fit(X, y)
    bank, resp = model._model.bank, model.responsibilities(X, y)
    squares, gamma = 0.0, 0.0
    for k, expert in enumerate(model.experts_):
        column = X[:, columns["expert_features"][k][0]]
        z = column - np.average(column, weights=resp[:, k])
        curvature = np.sum(resp[:, k] * z**2) / column.var()
        gamma += curvature / (curvature + bank.strength)
        squares += expert.coef_[0] ** 2 * column.var() / model.dispersions_[k] ** 2
    assert abs(np.log(gamma / squares / bank.strength)) < 0.1


def test_columns_that_a_score_does_not_see_are_not_determined(rng):
    X = rng.standard_normal((600, 4))
    third = np.argmax(X[:, :3] + 0.8 * rng.gumbel(size=(600, 3)), axis=1)
    y = 5.0 * third + 0.5 * rng.standard_normal(600)
    seen = [[0], [1], [2, 3]]
    gate = SoftmaxGate(alpha="auto")
    model = MixtureOfExpertsRegressor(n_experts=3, gate=gate, gate_features=seen, init=third)
    gate, proba = model.fit(X, y).gate_, model.gate_proba(X)
    scores = [(k, column) for k, columns in enumerate(seen) for column in [-1, *columns]]
    Z = np.column_stack([X / X.std(axis=0), np.ones(600)])
    slopes = np.array([column >= 0 for _, column in scores])
    hessian = np.array(
        [
            [np.sum(Z[:, i] * Z[:, j] * proba[:, k] * ((k == m) - proba[:, m])) for m, j in scores]
            for k, i in scores
        ]
    )
    columns = np.array([column for _, column in scores])
    alpha = np.where(slopes, gate.alpha_[columns], 0.0)
    held = alpha * np.diag(np.linalg.pinv(hessian + np.diag(alpha)))
    squares = np.sum((gate.coef_ * X.std(axis=0)) ** 2, axis=0)
    gamma = np.bincount(columns[slopes], 1 - held[slopes])
    assert np.all(gate.alpha_[:3] < 10) and gate.alpha_[3] == pytest.approx(600)  # not a border
    assert np.all(np.abs(np.log(gamma / squares / gate.alpha_))[:3] < 0.1)


def test_a_template_keeps_its_penalty():
    X, y = load_diabetes(return_X_y=True)
    gate = SoftmaxGate(alpha="auto")
    model = MixtureOfExpertsRegressor(Ridge(1.0), n_experts=1, gate=gate).fit(X, y)
    assert_allclose(model.experts_[0].coef_, Ridge(1.0).fit(X, y).coef_, rtol=1e-8)


def test_the_bound_has_the_priors_normalisers():
    X, y = make_piecewise_linear(n_samples=400, n_features=2, random_state=1)
    model = MixtureOfExpertsRegressor(n_experts=3, gate=SoftmaxGate(alpha="auto"), random_state=0)
    model.fit(X, y)
    gate, bank = model.gate_, model._model.bank
    assert not np.any(gate.alpha_ == 0.3)
    prior = -0.5 * np.sum(gate.alpha_ * (gate.coef_ * X.std(axis=0)) ** 2)
    prior += 0.5 * 2 * np.sum(np.log(gate.alpha_ / (gate.alpha_ + len(X)) * (0.3 + len(X)) / 0.3))
    slopes = np.array([expert.coef_ for expert in model.experts_]) * X.std(axis=0)
    squares = np.sum(slopes**2, axis=1) / model.dispersions_**2
    prior += -0.5 * bank.strength * squares.sum() + 0.5 * 3 * 2 * np.log(bank.strength / 0.3)
    expected = (model.log_density(X, y).sum() + prior) / len(X)
    assert_allclose(model.lower_bound_, expected, rtol=1e-9)
    assert np.all(np.diff(model.lower_bounds_) >= -1e-12)


def boxes(rng, n):
    """Return rows of a tree of axis-aligned boxes, their targets and the targets' means."""
    X = rng.uniform(-1, 1, (n, 2))
    box = 2 * (X[:, 0] > 0.2) + np.where(X[:, 0] > 0.2, X[:, 1] > -0.1, X[:, 1] > 0.3)
    lines = np.array([[0, 1, 0], [3, -1, 1], [-2, 0, 1], [1, 2, -1]])
    mean = lines[box, 0] + np.einsum("ij,ij->i", X, lines[box, 1:])
    return X, mean + 0.1 * rng.standard_normal(n), mean


def test_sharp_borders_become_sharp(rng):
    """A fixed penalty blurs them, however many rows there are."""
    X, y, mean = boxes(rng, 2000)
    errors = {}
    for alpha in (0.3, "auto"):
        gate = HierarchicalGate((2, 2), alpha=alpha)
        model = MixtureOfExpertsRegressor(n_experts=4, gate=gate, random_state=0).fit(X, y)
        errors[alpha] = np.sqrt(np.mean((model.predict(X) - mean) ** 2)) / y.std()
    assert errors["auto"] < errors[0.3] / 2
    nodes = [model.gate_.nodes_[path].alpha_ for path in [(), (0,), (1,)]]
    assert all(sorted(alpha)[0] < 0.1 and sorted(alpha)[1] > 10 for alpha in nodes)
    assert np.argmin(nodes[0]) == 0 and np.argmin(nodes[1]) == np.argmin(nodes[2]) == 1


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # no second expert
@pytest.mark.parametrize("classes", [False, True])
def test_a_border_that_does_not_exist_is_penalised(rng, classes):
    X = rng.standard_normal((300, 6))
    y = rng.standard_normal(300)
    cls = MixtureOfExpertsClassifier if classes else MixtureOfExpertsRegressor
    model = cls(n_experts=2, gate=SoftmaxGate(alpha="auto"), random_state=0)
    model.fit(X, y > 0 if classes else y)
    assert np.all(model.gate_.alpha_ > 0.5)


def test_columns_that_no_border_needs_are_switched_off(rng):
    """One strength for all would leave each of them a share of the noise."""
    X = rng.standard_normal((500, 8))
    y = np.where(X[:, 0] > 0, X[:, 1], -X[:, 1]) + 0.1 * rng.standard_normal(500)
    gate = SoftmaxGate(alpha="auto")
    model = MixtureOfExpertsRegressor(n_experts=2, gate=gate, random_state=0).fit(X, y)
    coef, alpha = np.abs(model.gate_.coef_[0]), model.gate_.alpha_
    assert alpha.shape == (8,) and alpha[0] < 1 and np.median(alpha[1:]) == pytest.approx(500)
    assert coef[0] > 30 * coef[1:].max()
    assert 0.5 < model.gate_.n_strengths < 3
    aic = model.aic(X, y)
    gate = model._model.gate
    model._model = replace(model._model, gate=evolve(gate, n_strengths=0.0))
    assert_allclose(aic - model.aic(X, y), 2 * gate.n_strengths)


def test_outputs_of_one_column_have_one_strength(rng):
    X = rng.standard_normal((300, 3))
    X[:, 2] = np.arange(300) % 2
    y = np.where(np.abs(X[:, 0]) > 1, 3.0, 0.0) + 0.3 * rng.standard_normal(300)
    model = MixtureOfExpertsRegressor(
        n_experts=2, gate=SoftmaxGate(alpha="auto"), gate_basis="spline", random_state=0
    ).fit(X, y)
    sources = model.gate_basis_.sources_
    assert sources.tolist() == [0] * 5 + [1] * 5 + [2]
    strengths = [set(model.gate_.alpha_[sources == column]) for column in range(3)]
    assert [len(each) for each in strengths] == [1, 1, 1] and min(strengths[0]) < 10 < min(
        strengths[1]
    )


class WithSquares(PolynomialFeatures):
    """A transformer that means something else by the name."""

    sources_ = [[0], [1], [0], [0, 1], [1]]


def test_each_output_of_other_transformers_has_a_strength(rng):
    X = rng.standard_normal((200, 2))
    y = np.where(X[:, 0] > 0, X[:, 1], -X[:, 1]) + 0.1 * rng.standard_normal(200)
    gate = SoftmaxGate(alpha="auto")
    model = MixtureOfExpertsRegressor(
        n_experts=2, gate=gate, gate_basis=WithSquares(include_bias=False), random_state=0
    )
    assert len(set(model.fit(X, y).gate_.alpha_[:2])) == 2


def test_the_evidence_makes_up_for_a_temperature(rng):
    X = rng.standard_normal((200, 3))
    y = np.where(X[:, 0] > 0, X[:, 1], -X[:, 1]) + 0.2 * rng.standard_normal(200)
    plain, cold = (
        MixtureOfExpertsRegressor(
            n_experts=2, gate=SoftmaxGate("auto", temperature=t), random_state=0
        ).fit(X, y)
        for t in (1.0, 0.01)
    )
    assert_allclose(cold.gate_.alpha_ * 1e-4, plain.gate_.alpha_, rtol=0.3)
    assert_allclose(cold.predict(X), plain.predict(X), atol=0.05)
    assert_allclose(cold.lower_bound_, plain.lower_bound_, atol=1e-3)


def test_many_more_columns_than_rows_have_one_strength(rng):
    X = rng.standard_normal((30, 300))
    y = np.where(X[:, 0] > 0, 5.0, -5.0) + 0.1 * rng.standard_normal(30)
    model = MixtureOfExpertsRegressor(n_experts=2, gate=SoftmaxGate(alpha="auto"), random_state=0)
    alpha = model.fit(X, y).gate_.alpha_
    assert alpha.shape == (300,) and len(set(alpha)) == 1 and alpha[0] != 0.3


def test_it_is_a_parameter_like_any(rng):
    X, y = make_piecewise_linear(n_samples=200, random_state=0)
    grid = {"gate__alpha": [0.3, "auto"]}
    model = MixtureOfExpertsRegressor(n_experts=2, gate=SoftmaxGate(), n_init=1, random_state=0)
    search = GridSearchCV(model, grid, cv=2).fit(X, y)
    assert search.best_params_["gate__alpha"] in (0.3, "auto")


@pytest.mark.parametrize("alpha", ["evidence", -1.0, None, np.array([0.1, 0.2])])
def test_other_values_are_refused(alpha):
    X, y = make_piecewise_linear(n_samples=50, random_state=0)
    for gate in (SoftmaxGate(alpha=alpha), HierarchicalGate((2,), alpha=alpha)):
        with pytest.raises(ValueError, match=r"alpha must be a number.*'auto'"):
            MixtureOfExpertsRegressor(n_experts=2, gate=gate).fit(X, y)


def test_weights_count_like_repeated_rows(rng):
    X, y, _ = boxes(rng, 300)
    weight = rng.integers(1, 3, len(X))
    options = {"n_experts": 3, "gate": SoftmaxGate(alpha="auto"), "random_state": 0, "tol": 1e-9}
    once = MixtureOfExpertsRegressor(**options).fit(X, y, sample_weight=weight)
    again = MixtureOfExpertsRegressor(**options).fit(np.repeat(X, weight, 0), np.repeat(y, weight))
    assert_allclose(once.gate_.alpha_, again.gate_.alpha_, rtol=1e-6)
    assert_allclose(once.predict(X), again.predict(X), rtol=1e-5, atol=1e-6)


def test_it_sets_ridge_penalties_only():
    X, y = make_piecewise_linear(n_samples=100, random_state=0)
    auto, number = (
        MixtureOfExpertsRegressor(
            n_experts=2, gate=SoftmaxGate(alpha, l1_ratio=0.5), random_state=0
        ).fit(X, y)
        for alpha in ("auto", 0.3)
    )
    assert np.all(auto.gate_.alpha_ == 0.3)
    assert_allclose(auto.predict(X), number.predict(X), rtol=1e-12)


def test_passes_of_the_tuning_are_counted(monkeypatch):
    made, evaluate, tuned = [], em.evaluate, tuning.tuned
    told = []

    def counted(*args):
        made.append(1)
        return evaluate(*args)

    def watched(*args, **options):
        before = len(made)
        state, n_passes = tuned(*args, **options)
        told.append((n_passes, len(made) - before))
        return state, n_passes

    X, y = make_piecewise_linear(200, random_state=0)
    monkeypatch.setattr(em, "evaluate", counted)
    monkeypatch.setattr(search, "tuned", watched)
    gate = SoftmaxGate(alpha="auto")
    MixtureOfExpertsRegressor(n_experts=2, gate=gate, n_init=1, random_state=0).fit(X, y)
    assert told and all(said == passes > 0 for said, passes in told)


def test_hardly_a_penalty_is_left_of_one_expert_without_noise(rng):
    """A penalty of 0.3 would be most of the error of a line, and of powers of one column."""
    x = rng.uniform(-1, 1, (150, 1))
    X, y = np.hstack([x**k for k in range(1, 7)]), np.sin(3 * x[:, 0])
    noisy = y + 0.02 * rng.standard_normal(150)
    one = MixtureOfExpertsRegressor(n_experts=1).fit(X, noisy)
    line = LinearRegression().fit(X, noisy)
    errors = [np.sqrt(np.mean((model.predict(X) - y) ** 2)) for model in (one, line)]
    assert errors[0] < 1.2 * errors[1]
    assert 0 < one._model.bank.strength < 0.01
    auto = MixtureOfExpertsRegressor(n_experts="auto", random_state=0).fit(X, noisy)
    assert auto.n_experts_ == 1


def test_a_gate_beside_experts_fitted_one_by_one_has_the_penalties_of_linear_ones():
    """At those with which it begins the borders are soft, and R2 is .95."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 3))
    y = np.where(X[:, 0] > 0, 3 + 2 * X[:, 1], -3 - X[:, 2]) + 0.05 * rng.standard_normal(600)
    scores = {}
    for alpha in ("auto", 0.3):
        model = MixtureOfExpertsRegressor(
            BayesianRidge(), n_experts=2, gate=SoftmaxGate(alpha), random_state=0
        )
        scores[alpha] = model.fit(X[:400], y[:400]).score(X[400:], y[400:])
    assert scores["auto"] > 0.995
    assert scores[0.3] < 0.97
