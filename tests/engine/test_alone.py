"""The penalty of one expert where rows are few: chosen by left-out rows."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._engine.alone import _log_density, lone, one_expert
from mixexp._engine.criteria import LEAST_LOG_DENSITY
from mixexp._engine.folds import scaled_folds, split, unit_folds
from mixexp.gates import HierarchicalGate, SoftmaxGate
from mixexp.protocols import Rows, evolve

pytestmark = pytest.mark.filterwarnings("ignore:.*collapsed", "ignore:.*did not converge")

ALPHAS = np.logspace(-4, 4, 9)


def nearly_separate(rng, n, n_columns=500):
    X = sp.random(n, n_columns, 0.02, random_state=rng.integers(1 << 30), format="csr")
    return X, (np.asarray(X[:, :20].sum(axis=1)).ravel() > 0.1).astype(int)


def of_all_columns(rng, slopes, n):
    X = rng.standard_normal((n, len(slopes)))
    return X, X @ slopes + 0.3 * rng.standard_normal(n)


def test_classes_are_predicted_as_by_logistic_regression_at_its_best_penalty(rng):
    (X, y), (X_test, y_test) = (nearly_separate(rng, n) for n in (600, 2000))
    scaler = StandardScaler(with_mean=False).fit(X)
    rivals = [LogisticRegression(C=1 / alpha).fit(scaler.transform(X), y) for alpha in ALPHAS]
    best = min(log_loss(y_test, r.predict_proba(scaler.transform(X_test))) for r in rivals)
    model = MixtureOfExpertsClassifier(n_experts=1).fit(X, y)
    assert log_loss(y_test, model.predict_proba(X_test)) < 1.05 * best


def test_numbers_are_predicted_nearly_as_by_cross_validated_ridge(rng):
    slopes = rng.standard_normal(150) / np.sqrt(150)
    (X, y), (X_test, y_test) = (of_all_columns(rng, slopes, n) for n in (200, 2000))
    model = MixtureOfExpertsRegressor(n_experts=1).fit(X, y)
    rival = RidgeCV(np.logspace(-2, 5, 15)).fit(X, y)
    errors = [np.std(each.predict(X_test) - y_test) for each in (model, rival)]
    assert errors[0] < 1.15 * errors[1]  # a dispersion is to be right, too
    best = -0.5 * np.log(2 * np.pi * np.e * errors[0] ** 2)
    assert model.log_density(X_test, y_test).mean() > best - 0.05


def test_four_experts_of_few_rows_are_no_worse_than_twice_one():
    """Penalties by evidence alone gave .111, one expert has .05."""
    X, y = load_wine(return_X_y=True)
    model = make_pipeline(StandardScaler(), MixtureOfExpertsClassifier(n_experts=4, random_state=0))
    folds = KFold(5, shuffle=True, random_state=0)
    assert log_loss(y, cross_val_predict(model, X, y, cv=folds, method="predict_proba")) < 0.1


@pytest.mark.parametrize(
    "gate", [SoftmaxGate(), pytest.param(HierarchicalGate((2, 2)), marks=pytest.mark.slow)]
)
def test_penalties_of_several_experts_stay_near_that_of_one(rng, gate):
    X, y = nearly_separate(rng, 600)
    one, four = (
        MixtureOfExpertsClassifier(n_experts=k, random_state=0, gate=each).fit(X, y)
        for k, each in [(1, SoftmaxGate()), (4, gate)]
    )
    chosen = one._model.bank.strength
    assert four._model.bank._chosen == chosen
    assert four._model.bank.strength >= chosen / 3 * (1 - 1e-12)
    assert np.all(four._model.gate.strengths <= 3 * chosen * (1 + 1e-12))


@pytest.mark.parametrize("classes", [False, True])
def test_order_and_copies_of_rows_do_not_matter(rng, classes):
    X = rng.standard_normal((60, 80))
    y = X[:, 0] + X[:, 1] + rng.standard_normal(60)
    y, kind = ((y > 0), MixtureOfExpertsClassifier) if classes else (y, MixtureOfExpertsRegressor)
    weight = rng.integers(1, 4, 60)
    order, copies = rng.permutation(60), np.repeat(np.arange(60), weight)
    fits = [
        kind(n_experts=1).fit(X, y),
        kind(n_experts=1).fit(X[order], y[order]),
        kind(n_experts=1).fit(X, y, sample_weight=weight),
        kind(n_experts=1).fit(X[copies], y[copies]),
    ]
    strengths = [model._model.bank.strength for model in fits]
    assert strengths[0] > 1
    assert_allclose(strengths[::2], strengths[1::2], rtol=1e-6)


@pytest.mark.parametrize("classes", [False, True])
def test_units_order_of_columns_and_names_do_not_matter(rng, classes):
    X = rng.standard_normal((120, 100))
    y, names = X[:, 0] + rng.standard_normal(120), np.array(["c", "a", "b"])
    kind, order = MixtureOfExpertsRegressor, rng.permutation(100)
    if classes:
        y, kind = (y > 0).astype(int) + (y > 1.5), MixtureOfExpertsClassifier
    strength = kind(n_experts=1).fit(X, y)._model.bank.strength
    for changed in (X * rng.uniform(0.1, 10, 100), X[:, order], X + 5.0, sp.csr_matrix(X)):
        model = kind(n_experts=1).fit(changed, y)
        assert model._model.bank.strength == pytest.approx(strength, rel=1e-6)
    for changed in [names[y]] if classes else [7 * y + 3, 1e-9 * y]:
        model = kind(n_experts=1).fit(X, changed)
        assert model._model.bank.strength == pytest.approx(strength, rel=1e-6)


def test_which_rows_share_a_fold_matters_little():
    """With one deal in place of four, strengths are from 57 to 304."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 400))
    y = X[:, 0] + X[:, 1] + 0.5 * rng.standard_normal(80) > 0
    strengths = []
    for i in range(6):
        rows = np.delete(np.arange(80), i)
        model = MixtureOfExpertsClassifier(n_experts=1).fit(X[rows], y[rows])
        strengths.append(model._model.bank.strength)
    assert max(strengths) < 3 * min(strengths)


def test_folds_are_dealt_class_by_class(rng):
    X, y = rng.standard_normal((60, 4)), np.repeat([0, 1, 2], [40, 13, 7])
    rows = Rows(X, y, training=True)
    for seed in (0, 1):
        folds = scaled_folds(rows, rows.design(None), 5, seed)
        assert np.bincount(folds).tolist() == [12] * 5
        for c in range(3):
            counts = np.bincount(folds[y == c], minlength=5)
            assert np.ptp(counts) <= 1
    assert np.any(folds != scaled_folds(rows, rows.design(None), 5, 0))
    groups = np.repeat(np.arange(20), 3)
    grouped = Rows(X, rng.standard_normal((1, 60)), groups=groups, training=True)
    assert np.bincount(scaled_folds(grouped, grouped.design(None), 5, 0)).tolist() == [4] * 5


def test_left_out_rows_count_by_their_weights(rng):
    """Rows without a weight to speak of, and with targets that are noise."""
    X = rng.standard_normal((260, 80))
    y = X[:, 0] + X[:, 1] + 0.2 * rng.standard_normal(260)
    y[60:] = 50 * rng.standard_normal(200)
    weight = np.where(np.arange(260) < 60, 1.0, 1e-9)
    bank = MixtureOfExpertsRegressor(n_experts=1).fit(X[:60], y[:60])._model.bank
    bank = evolve(bank.loosened(), prior_rows=None)
    without = one_expert(bank, Rows(X[:60], y[None, :60], training=True)).strength
    found = one_expert(bank, Rows(X, y[None], weight=weight, training=True)).strength
    assert 0.5 < found / without < 2.0


def test_one_row_goes_by_the_evidence(rng):
    X, y = rng.standard_normal((30, 60)), np.arange(30) % 2
    bank = MixtureOfExpertsClassifier(n_experts=1).fit(X, y)._model.bank.loosened()
    alone = one_expert(bank, Rows(X[:1], y[:1], training=True))
    assert alone._chosen == 0
    assert np.all(np.isfinite(alone.theta))


def test_a_density_that_is_no_number_is_very_small(rng):
    X, y = rng.standard_normal((20, 3)), np.arange(20) % 2
    bank = MixtureOfExpertsClassifier(n_experts=1).fit(X, y)._model.bank
    bank = evolve(bank, theta=np.full_like(bank.theta, np.nan))
    assert np.all(_log_density(bank, Rows(X, y)) == LEAST_LOG_DENSITY)


def test_the_floor_is_a_share_of_a_dispersion_that_allows_for_coefficients(rng):
    X, y = of_all_columns(rng, rng.standard_normal(150) / 12, 200)
    model = MixtureOfExpertsRegressor(n_experts=1).fit(X, y)
    bank = evolve(model._model.bank.loosened(), prior_rows=None)
    assert bank._chosen == 0
    bank = one_expert(bank, Rows(X, y[None], training=True))
    assert bank.prior_rows[0] > 20
    alone = lone(bank, Rows(X, y[None], training=True))
    assert_allclose(alone.parameters[0, 0], model.dispersions_, rtol=0.02)


def test_a_density_of_zero_is_no_nan(rng):
    """A left-out row of a class that no other row has, far out."""
    X = np.vstack([rng.standard_normal((30, 40)), 1e8 * np.ones((1, 40))])
    y = np.append(rng.integers(2, size=30), 2)
    model = MixtureOfExpertsClassifier(n_experts=1).fit(X, y)
    assert np.isfinite(model._model.bank.strength)
    assert np.all(np.isfinite(model.predict_proba(X)))


def test_rows_of_a_fold_are_whole_units(rng):
    X, y = np.repeat(rng.standard_normal((12, 2)), 3, axis=0), rng.standard_normal((1, 36))
    rows = Rows(X, y, groups=np.repeat(np.arange(12), 3), training=True)
    folds = unit_folds(rows, 0)
    assert np.bincount(folds).tolist() == [4] * 3
    train, test, inside = split(rows, folds == 1)
    assert train.n_rows == len(inside) == 24
    assert test.units.n_rows == 4
    assert not test.training


def test_enough_rows_leave_the_penalty_to_the_evidence(rng):
    X, y = rng.standard_normal((400, 3)), rng.integers(2, size=400)
    model = MixtureOfExpertsClassifier(n_experts=1).fit(X, y)
    bank = one_expert(model._model.bank.loosened(), Rows(X, y, training=True))
    assert bank.strength == 0.3
    assert bank._chosen == 0
