"""Fits of wide and sparse rows: the same results as with full matrices, at the cost of products."""

import pickle
import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeCV,
)
from sklearn.metrics import log_loss
from sklearn.preprocessing import MaxAbsScaler, StandardScaler

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._engine.fixed import statistics_at
from mixexp._engine.sweep import State
from mixexp.gates import SoftmaxGate
from mixexp.protocols import Rows, evolve

pytestmark = pytest.mark.filterwarnings("ignore:.*did not converge")

#: Cost of a product with which the model chooses products always or never.
ALWAYS, NEVER = 0, 1e12


@pytest.fixture
def force(monkeypatch):
    """Return a function that makes all M-steps exact, by products always or never.

    The iterations are then the same one by one: EM amplifies what is left of a truncated step.
    """
    for name in ("NEWTON_TOL", "EXACT_TOL"):
        monkeypatch.setattr(f"mixexp._conjugate.{name}", 1e-11)
    for name in ("MOST_NEWTON", "MOST_EXACT"):
        monkeypatch.setattr(f"mixexp._conjugate.{name}", 1000)
    # damping is in units of the coordinates, which may differ
    monkeypatch.setattr("mixexp._newton.LARGEST_PROMISE", 1e6)
    monkeypatch.setattr("mixexp._newton.OVERSHOT", 1e6)

    def forced(products):
        for name in ("FEWEST_COLUMNS", "FEWEST_WHITENED"):
            monkeypatch.setattr(f"mixexp._costs.{name}", 20)
        for name in ("NEWTON_PRODUCTS", "EXACT_PRODUCTS"):
            monkeypatch.setattr(f"mixexp._costs.{name}", products)
        for module in ("mixexp.gates._softmax", "mixexp.experts._logistic"):
            most = 30 if products == ALWAYS else 1_000_000
            monkeypatch.setattr(f"{module}.NEWTON_COEFFICIENTS", most)

    return forced


@pytest.fixture
def unrotated(monkeypatch):
    """Keep wide rows in their columns."""
    monkeypatch.setattr("mixexp._rows.passes.spans_few", lambda rows, design: False)


def two_halves(rng, n, p, filled=0.1, classes=True):
    """Return sparse rows whose target depends on other columns in either half, and the halves."""
    S = sp.random(n, p, filled, format="csr", random_state=rng.integers(1 << 30))
    S.data += 0.5
    half = (np.asarray(S[:, : p // 2].sum(axis=1)) > np.asarray(S[:, p // 2 :].sum(axis=1))).ravel()
    a, b = S @ rng.standard_normal(p), S @ rng.standard_normal(p)
    signal = np.where(half, a, b) + 2.0 * rng.standard_normal(n)
    return S, (signal > 0).astype(int) if classes else signal, half.astype(int)


def fitted(S, y, half, expert, weight=None, **params):
    kind = (
        MixtureOfExpertsClassifier
        if isinstance(expert, LogisticRegression)
        else MixtureOfExpertsRegressor
    )
    settings = {"n_experts": 2, "gate": SoftmaxGate(5.0), "init": half, "random_state": 0}
    settings |= {"tol": 1e-13, "max_iter": 6} | params
    return kind(expert, **settings).fit(S, y, sample_weight=weight)


def answers(model, S):
    proba = hasattr(model, "predict_proba")
    return model.predict_proba(S) if proba else model.predict(S)


def assert_same(one, other, S, atol=1e-6):
    assert one.lower_bound_ == pytest.approx(other.lower_bound_, abs=1e-9)
    assert_allclose(answers(one, S), answers(other, S), atol=atol)
    assert_allclose(one.gate_.coef_, other.gate_.coef_, atol=atol)
    for mine, theirs in zip(one.experts_, other.experts_, strict=True):
        assert_allclose(mine.coef_, theirs.coef_, atol=atol)
        assert_allclose(mine.intercept_, theirs.intercept_, atol=atol)


EXPERTS = [
    LogisticRegression(C=0.05),
    LogisticRegression(C=0.05, fit_intercept=False),
    Ridge(20.0),
    PoissonRegressor(alpha=0.1),
]


@pytest.mark.parametrize("expert", EXPERTS, ids=repr)
def test_both_ways_give_the_same_fit(rng, force, expert):
    S, y, half = two_halves(rng, 150, 40, classes=isinstance(expert, LogisticRegression))
    params = {}
    if isinstance(expert, PoissonRegressor):
        y, params = rng.poisson(np.exp(0.3 * np.clip(y, -2, 2))), {"family": "poisson"}
    models = []
    for products in (NEVER, ALWAYS):
        force(products)
        models.append(fitted(S, y, half, expert, **params))
    assert_same(*models, S)


def test_three_classes_and_experts(rng, force):
    S, y, half = two_halves(rng, 240, 50)
    y, half = y + (S[:, 0].toarray().ravel() > 0), np.arange(240) % 3
    models = []
    for products in (NEVER, ALWAYS):
        force(products)
        models.append(fitted(S, y, half, LogisticRegression(C=0.1), n_experts=3))
    assert_allclose(answers(models[0], S), answers(models[1], S), atol=1e-5)


def test_separate_columns_of_experts_and_gate(rng, force):
    S, y, half = two_halves(rng, 200, 80)
    columns = {"expert_features": [slice(0, 50), slice(30, 80)], "gate_features": slice(0, 60)}
    models = []
    for products in (NEVER, ALWAYS):
        force(products)
        models.append(fitted(S, y, half, LogisticRegression(C=0.05), **columns))
    assert_same(*models, S)


@pytest.mark.parametrize("shape", [(120, 300), (300, 300), (400, 300)], ids=str)
@pytest.mark.parametrize("expert", [LogisticRegression(C=0.05), Ridge(20.0)], ids=repr)
def test_sparse_equals_dense(rng, force, shape, expert):
    force(ALWAYS)
    S, y, half = two_halves(rng, *shape, 0.03, classes=isinstance(expert, LogisticRegression))
    assert_same(fitted(S, y, half, expert), fitted(S.toarray(), y, half, expert), S)


@pytest.mark.parametrize("expert", [LogisticRegression(C=0.05), Ridge(20.0)], ids=repr)
@pytest.mark.parametrize("filled", [0.03, 0.5])
def test_the_row_space_changes_nothing(rng, request, force, expert, filled):
    force(ALWAYS)
    S, y, half = two_halves(rng, 80, 300, filled, classes=isinstance(expert, LogisticRegression))
    weight = rng.uniform(0.5, 2.0, 80)
    rotated = fitted(S, y, half, expert, weight)
    request.getfixturevalue("unrotated")
    plain = fitted(S, y, half, expert, weight)
    assert_same(rotated, plain, S)
    assert rotated.gate_.n_parameters == plain.gate_.n_parameters


def test_a_fitted_model_has_forgotten_the_row_space(rng):
    S, y, half = two_halves(rng, 60, 2000, 0.02)
    model = fitted(S, y, half, LogisticRegression(), max_iter=20)
    assert model.gate_.coef_.shape == (2, 2000)
    stored = pickle.dumps(model)
    assert len(stored) < 5e5  # the directions alone would be a megabyte
    assert_array_equal(pickle.loads(stored).predict_proba(S), model.predict_proba(S))
    new = sp.random(50, 2000, 0.02, format="csr", random_state=1)
    assert_allclose(model.predict_proba(new), model.predict_proba(new.toarray()), atol=1e-10)


@pytest.mark.parametrize("shape", [(100, 400), (600, 300)], ids=str)
def test_one_expert_is_the_estimator(rng, shape):
    S, y, _ = two_halves(rng, *shape, 0.05)
    params = {"n_experts": 1, "tol": 1e-14, "max_iter": 500, "random_state": 0}
    one = MixtureOfExpertsClassifier(LogisticRegression(C=0.5), **params).fit(S, y)
    alone = LogisticRegression(C=0.5, tol=1e-10, max_iter=10_000).fit(S, y)
    assert_allclose(one.experts_[0].coef_, alone.coef_, atol=1e-6)
    assert_allclose(one.predict_proba(S), alone.predict_proba(S), atol=1e-6)
    target = S @ rng.standard_normal(shape[1])
    ridge = MixtureOfExpertsRegressor(Ridge(2.0), **params).fit(S, target)
    expected = Ridge(2.0).fit(S.toarray(), target)
    assert_allclose(ridge.experts_[0].coef_, expected.coef_, atol=1e-7)
    assert_allclose(ridge.predict(S), expected.predict(S), atol=1e-7)


@pytest.mark.filterwarnings("ignore:.*every step lowers the bound")
def test_unpenalised_wide_experts_interpolate(rng, request):
    S, y, _ = two_halves(rng, 60, 300, 0.1, classes=False)
    params = {"n_experts": 1, "random_state": 0, "max_iter": 20}
    rotated = MixtureOfExpertsRegressor(LinearRegression(), **params).fit(S, y)
    assert_allclose(rotated.predict(S), y, atol=1e-6)
    request.getfixturevalue("unrotated")
    plain = MixtureOfExpertsRegressor(LinearRegression(), **params).fit(S, y)
    assert_allclose(rotated.experts_[0].coef_, plain.experts_[0].coef_, atol=1e-6)


def hostile(S):
    """Return versions of the same sparse rows that must not matter."""
    wide = S.copy()
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    zeros = S.copy()
    zeros.data = np.append(zeros.data, 0.0)
    zeros.indices = np.append(zeros.indices, (S.indices[S.indptr[-2] :].max() + 1) % S.shape[1])
    zeros.indptr = np.append(zeros.indptr[:-1], zeros.indptr[-1] + 1)
    halved = sp.csr_matrix(
        (np.repeat(S.data / 2, 2), np.repeat(S.indices, 2), 2 * S.indptr), shape=S.shape
    )
    return {
        "int64": wide,
        "explicit zero": zeros,
        "duplicates": halved,
        "csc": S.tocsc(),
        "coo": S.tocoo(),
        "array": sp.csr_array(S),
    }


@pytest.mark.parametrize("shape", [(90, 300), (500, 290)], ids=str)
@pytest.mark.parametrize(
    "form", ["int64", "explicit zero", "duplicates", "csc", "coo", "array"], ids=str
)
def test_forms_of_sparse_rows(rng, shape, form):
    S, y, half = two_halves(rng, *shape, 0.03)
    params = {"max_iter": 10}
    expected = fitted(S, y, half, LogisticRegression(), **params)
    given = hostile(S)[form]
    before = given.copy()
    model = fitted(given, y, half, LogisticRegression(), **params)
    assert_allclose(model.predict_proba(S), expected.predict_proba(S), atol=1e-8)
    assert_array_equal(given.toarray(), before.toarray())
    assert given.nnz == before.nnz


def test_float32_columns_of_zeros_and_constants(rng):
    S, y, half = two_halves(rng, 400, 290, 0.03)
    odd = sp.hstack([S, sp.csr_matrix((400, 3)), np.full((400, 2), 7.0)], format="csr")
    plain = fitted(S, y, half, LogisticRegression(), max_iter=20)
    model = fitted(odd, y, half, LogisticRegression(), max_iter=20)
    assert_allclose(model.predict_proba(odd), plain.predict_proba(S), atol=1e-8)
    assert_array_equal(model.gate_.coef_[:, 290:], 0.0)
    single = fitted(odd.astype(np.float32), y, half, LogisticRegression(), max_iter=20)
    assert_allclose(single.predict_proba(odd), plain.predict_proba(S), atol=1e-3)


def test_one_row_and_equal_rows():
    row = sp.random(1, 500, 0.1, format="csr", random_state=0)
    model = MixtureOfExpertsRegressor(n_experts=1).fit(row, [2.0])
    assert_allclose(model.predict(row), 2.0)
    rows = sp.vstack([row] * 6, format="csr")
    model = MixtureOfExpertsRegressor(n_experts=1).fit(rows, np.arange(6.0))
    assert_allclose(model.predict(row), 2.5)


def test_row_order_and_weights(rng):
    S, y, half = two_halves(rng, 90, 300, 0.03)
    order = rng.permutation(90)
    model = fitted(S, y, half, LogisticRegression(C=0.05))
    again = fitted(S[order], y[order], half[order], LogisticRegression(C=0.05))
    assert_allclose(again.predict_proba(S), model.predict_proba(S), atol=1e-8)
    twice = np.append(np.arange(90), np.arange(30))
    weight = np.where(np.arange(90) < 30, 2.0, 1.0)
    weighted = fitted(S, y, half, LogisticRegression(C=0.05), weight)
    repeated = fitted(S[twice], y[twice], half[twice], LogisticRegression(C=0.05))
    assert_allclose(weighted.predict_proba(S), repeated.predict_proba(S), atol=1e-6)


def test_groups_noise_and_usage_prior(rng, force):
    S, y, half = two_halves(rng, 200, 60, classes=False)
    groups = np.arange(200) // 2
    S = S[2 * groups]
    half = half[2 * groups]
    models = []
    for products in (NEVER, ALWAYS):
        force(products)
        model = MixtureOfExpertsRegressor(
            Ridge(20.0),
            n_experts=2,
            gate=SoftmaxGate(5.0, usage_prior=2.0),
            noise_expert=True,
            init=half,
            tol=1e-13,
            max_iter=6,
            random_state=0,
        )
        models.append(model.fit(S, y, groups=groups))
    assert_allclose(models[0].predict(S), models[1].predict(S), atol=1e-5)


def test_the_bound_does_not_fall(rng):
    S, y, half = two_halves(rng, 500, 400, 0.02)
    gate = SoftmaxGate(alpha=0.3)
    model = fitted(S, y, half, LogisticRegression(), gate=gate, max_iter=60, tol=0)
    assert np.diff(model.lower_bounds_).min() > -1e-9


def test_memory_grows_with_the_columns_not_with_their_square(rng):
    n, p = 3000, 6000
    S = sp.random(n, p, 0.003, format="csr", random_state=0)
    y = np.arange(n) % 2
    model = MixtureOfExpertsClassifier(
        LogisticRegression(), n_experts=4, n_init=1, max_iter=2, random_state=0
    )
    tracemalloc.start()
    try:
        model.fit(S, y)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * n * p / 2  # half of the rows filled in; a square of columns is twice that


def test_shared_experts_still_say_what_does_not_fit(rng):
    S = sp.random(100, 20_000, 0.01, format="csr", random_state=0)
    model = MixtureOfExpertsRegressor(n_experts=2, shared_expert=Ridge(), random_state=0)
    with pytest.raises(ValueError, match=r"20000 features.*Gram matrices"):
        model.fit(S, np.arange(100.0))


@pytest.mark.parametrize("filled", [0.03, 1.0])
def test_one_expert_of_wide_rows_is_no_worse_than_a_linear_model(rng, filled):
    """A penalty of 0.3 would learn them by heart, and take its predictions for certain."""
    n, p = 200, 500
    X = sp.csr_matrix(rng.standard_normal((2 * n, p)) * (rng.random((2 * n, p)) < filled))
    X = StandardScaler(with_mean=False).fit_transform(X)
    signal = np.asarray(X[:, :5].sum(axis=1)).ravel()
    train, test = slice(0, n), slice(n, 2 * n)

    y = signal > np.median(signal)
    model = MixtureOfExpertsClassifier(n_experts=1).fit(X[train], y[train])
    rivals = [LogisticRegression(C=C, max_iter=1000).fit(X[train], y[train]) for C in (0.01, 3.3)]
    losses = [log_loss(y[test], each.predict_proba(X[test])) for each in (model, *rivals)]
    assert losses[0] < min(losses[1] + 0.05, losses[2])

    y = signal + signal.std() * rng.standard_normal(2 * n)
    model = MixtureOfExpertsRegressor(n_experts=1).fit(X[train], y[train])
    rival = RidgeCV(np.logspace(-1, 4, 11)).fit(X[train].toarray(), y[train])
    errors = [np.std(each.predict(X[test]) - y[test]) for each in (model, rival)]
    assert errors[0] < 1.1 * errors[1]
    normal = -0.5 * np.log(2 * np.pi * np.e * y[train].var())
    assert model.log_density(X[test], y[test]).mean() > normal - 0.5


def of_many_columns(rng):
    X = rng.standard_normal((120, 1500))
    return X, X[:, :5].sum(axis=1) / np.sqrt(5) + 0.5 * rng.standard_normal(120)


def test_one_expert_does_not_take_many_columns_for_certain(rng):
    """Where columns are nearly orthogonal their evidence is flat, and stays where it begins."""
    X, y = of_many_columns(rng)
    model = MixtureOfExpertsRegressor(n_experts=1).fit(X[:60], y[:60])
    normal = -0.5 * np.log(2 * np.pi * y[:60].var()) - 0.5 * np.mean((y[60:] - y[:60].mean()) ** 2)
    assert model.log_density(X[60:], y[60:]).mean() > normal - 0.2


@pytest.mark.parametrize("classes", [False, True])
def test_weights_of_wide_rows_do_not_say_that_there_is_no_noise(rng, classes):
    X, y = of_many_columns(rng)
    y = y > 0 if classes else y
    kind = MixtureOfExpertsClassifier if classes else MixtureOfExpertsRegressor
    densities = []
    for weight in (None, np.full(60, 3.0), rng.integers(1, 4, 60)):
        model = kind(n_experts=1).fit(X[:60], y[:60], sample_weight=weight)
        densities.append(model.log_density(X[60:], y[60:]).mean())
    assert densities[1] == pytest.approx(densities[0], abs=0.02)
    assert densities[2] > densities[0] - 2.0  # it would be off by hundreds of nats for numbers


def of_words(rng, n, probabilities):
    """Return shares of words in texts, and the subject of each."""
    subject = rng.integers(len(probabilities), size=n)
    counts = [rng.multinomial(50, probabilities[each]) for each in subject]
    return sp.csr_matrix(np.array(counts) / 50), subject


@pytest.mark.filterwarnings("ignore:.*collapsed")  # one expert is enough
@pytest.mark.parametrize("n_experts", [1, 2])
def test_rare_words_do_not_weigh_as_much_as_common_ones(rng, n_experts):
    """Scaled by their spreads they would: most of them occur in a text or two."""
    base = 1 / np.arange(1, 2001)
    probabilities = base * np.exp(0.4 * rng.standard_normal((3, 2000)))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    (X, y), (X_test, y_test) = (of_words(rng, n, probabilities) for n in (300, 1000))
    rival = LogisticRegression(C=10).fit(MaxAbsScaler().fit_transform(X), y)
    model = MixtureOfExpertsClassifier(n_experts=n_experts, random_state=0).fit(X, y)
    by_spread = MixtureOfExpertsClassifier(n_experts=1, gate=SoftmaxGate(0.3)).fit(X, y)
    accuracy = model.score(X_test, y_test)
    assert accuracy > rival.score(MaxAbsScaler().fit(X).transform(X_test), y_test) - 0.02
    assert accuracy > by_spread.score(X_test, y_test) + 0.05


@pytest.mark.parametrize("classes", [False, True])
def test_criteria_after_the_fit_are_those_of_the_selection(rng, classes):
    X = rng.standard_normal((120, 300))
    y = 2 * X[:, 0] + np.abs(X[:, 1]) + 0.1 * rng.standard_normal(120)
    kind = MixtureOfExpertsRegressor
    if classes:
        y, kind = (y > 0).astype(int) + (y > 2.0), MixtureOfExpertsClassifier
    model = kind(n_experts="auto", max_experts=2, random_state=0).fit(X, y)
    table, chosen = model.selection_, len(model.experts_) - 1
    assert table.n_parameters[chosen] < len(y)
    found = [model.aic(X, y), model.bic(X, y)]
    assert_allclose(found, [table.aic[chosen], table.bic[chosen]], rtol=1e-6)


def test_summary_of_wide_rows_knows_the_training_rows(rng):
    X = rng.standard_normal((120, 300))
    X[:, :3] *= 5
    y = 10.0 * (X[:, 0] > 0) + 0.1 * rng.standard_normal(120)
    model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    assert "effective parameters" in str(model.summary(X, y))


@pytest.mark.filterwarnings("ignore:.*collapsed")  # one expert is enough
@pytest.mark.parametrize("classes", [False, True])
def test_experts_begin_at_the_penalty_of_one(rng, classes):
    """At a weak one each would explain any rows, and starts would be as good as random."""
    X = sp.random(150, 400, 0.05, random_state=rng.integers(1 << 30), format="csr")
    y = np.asarray(X[:, :20].sum(axis=1)).ravel()
    y = y > np.median(y) if classes else y + y.std() * rng.standard_normal(150)
    kind = MixtureOfExpertsClassifier if classes else MixtureOfExpertsRegressor
    one, two = (kind(n_experts=k, random_state=0).fit(X, y) for k in (1, 2))
    assert one._model.bank.strength > 30
    assert two._model.bank.strength > 30
    if classes:
        assert np.all(two.gate_.alpha_ > 0.3)
    else:  # one explains rows that it has not seen better, so that both are that one
        assert np.ptp(two.predict_experts(X), axis=1).max() < 1e-9
    given = kind(n_experts=1, gate=SoftmaxGate(0.3)).fit(X, y)
    assert given._model.bank.strength == 0.3


def test_a_wide_gate_has_one_strength_in_units_of_the_sizes(rng):
    X = sp.random(700, 600, 0.05, random_state=rng.integers(1 << 30), format="csr")
    left = np.asarray(X[:, :80].sum(axis=1)).ravel() > 2.0
    y = np.where(left, 3.0, -3.0) + 0.3 * rng.standard_normal(700)
    model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    gate, alpha = model._model.gate, model.gate_.alpha_
    assert gate._usual_curvature == "products"
    assert alpha[0] != 0.3
    assert_allclose(alpha, alpha[0])
    assert_allclose(gate._penalty, gate.design.penalty(alpha[0], units="size"))
    assert np.ptp(gate._penalty[1:]) > 0


@pytest.mark.filterwarnings("ignore:.*collapsed")  # one expert is enough
def test_a_gate_that_learnt_rows_by_heart_does_not_keep_its_weak_penalty():
    """It raises the bound, but not the evidence."""
    X = sp.random(5000, 2000, 0.01, format="csr", random_state=0)
    total = np.asarray(X[:, :20].sum(axis=1)).ravel()
    model = MixtureOfExpertsClassifier(n_experts=2, random_state=0).fit(X, total > np.median(total))
    assert model.gate_.alpha_[0] > 100


def test_rows_of_a_settled_class_determine_no_coefficients(rng):
    """As of Gram matrices: the posterior is far from a gaussian one."""
    X = sp.random(600, 400, 0.05, format="csr", random_state=rng.integers(1 << 30))
    y = np.asarray(X[:, :20].sum(axis=1)).ravel() > 0.5
    bank = MixtureOfExpertsClassifier(n_experts=1).fit(X, y)._model.bank
    assert bank._usual_curvature == "products"
    bank, rows = evolve(bank, theta=20 * bank.theta), Rows(X, y.astype(int), training=True)
    (sums,) = statistics_at(State(None, bank), rows, np.ones((1, 600)))
    n_open = 2 * sums["rows"].values.sum()
    penalty = 1e-6 * (np.arange(bank.design.size) > 0)
    assert bank._n_determined(sums, penalty, rows) == pytest.approx(n_open)
    assert n_open < 200
