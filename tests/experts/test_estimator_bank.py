"""Banks of any estimator: one M-step of K experts equals K fits by scikit-learn."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from _bank_outputs import all_log_prob, all_predict
from _problems import (
    expected_log_prob,
    fit_part,
    make_rows,
    one_expert,
    random_resp,
    statistics_of,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm
from sklearn import config_context
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mixexp.experts import EstimatorBank, Trainer, check_expert
from mixexp.families import Gaussian


class MyRidge(Ridge):
    """A subclass may do anything."""


def estimator_bank(
    template, rows, k=3, *, classes=None, family=None, seed=0, n_jobs=None, columns=None, folds=0
):
    """Return an unfitted bank of K clones."""
    n_outputs = 1 if classes is not None else len(rows.y)
    family = None if classes is not None else family or Gaussian()
    candidates = [[("expert", template)]] * k
    trainer = Trainer(
        candidates, [columns] * k, classes=classes, family=family, n_outputs=n_outputs,
        n_jobs=n_jobs, seed=seed, owner="Mixture",
    )  # fmt: skip
    return EstimatorBank(trainer, folds)


def fit_bank(bank, rows, resp):
    """Return a bank of estimators after an M-step at fixed responsibilities, with its experts."""
    return fit_part(bank, rows, resp).finished(rows)


@pytest.mark.parametrize(
    "template",
    [
        DecisionTreeRegressor(max_depth=3, random_state=0),
        RandomForestRegressor(5, max_depth=3, random_state=0),
        Ridge(2.0),
        LinearRegression(),
        make_pipeline(StandardScaler(), Ridge()),
    ],
    ids=lambda e: type(e).__name__,
)
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_estimator_bank_equals_separate_fits(rng, template, n_outputs):
    X = rng.standard_normal((90, 2))
    weight = rng.exponential(size=90)
    rows = make_rows(X, rng.standard_normal((n_outputs, 90)), weight, block_rows=64)
    resp = random_resp(rng, 3, 90)
    bank = fit_bank(estimator_bank(template, rows), rows, resp)
    target = rows.y[0] if n_outputs == 1 else rows.y.T
    predicted, log_prob = all_predict(bank, rows), all_log_prob(bank, rows)
    for k, expert in enumerate(bank.fitted(None)):
        w = weight * resp[k]
        if isinstance(template, Pipeline):
            given = {f"{name}__sample_weight": w for name, _ in template.steps}
        else:
            given = {"sample_weight": w}
        oracle = clone(template).fit(X, target, **given)
        mean = oracle.predict(X)
        assert_allclose(expert.predict(X), mean, rtol=1e-12)
        assert_allclose(predicted[k].T, mean.reshape(90, -1), rtol=1e-12)
        square = w @ (target - mean).reshape(90, -1) ** 2
        last = oracle[-1] if isinstance(template, Pipeline) else oracle
        if type(last) is Ridge:
            square += last.alpha * np.sum(np.atleast_2d(last.coef_) ** 2, axis=1)
        dispersion = np.sqrt(square / w.sum())
        assert_allclose(bank.parameters[0][k], dispersion, rtol=1e-9)
        own = norm.logpdf(rows.y, predicted[k], dispersion[:, None]).sum(axis=0)
        assert_allclose(log_prob[k], own, rtol=1e-9)
    assert not hasattr(template, "n_features_in_")


@pytest.mark.parametrize(
    "template, n_classes",
    [(Ridge(2.0), None), (LinearRegression(), None), (LogisticRegression(C=0.5), 2)],
    ids=str,
)
def test_estimator_bank_equals_linear_bank(rng, template, n_classes):
    X = rng.standard_normal((120, 2))
    classes = None if n_classes is None else np.arange(n_classes)
    y = rng.standard_normal(120) if n_classes is None else rng.integers(n_classes, size=120)
    rows, resp = make_rows(X, y), random_resp(rng, 2, 120)
    banked = one_expert(template, rows, classes).replicate(2)
    banked = fit_part(banked, rows, resp, 12)
    if n_classes is not None:
        template = clone(template).set_params(tol=1e-12)
    other = fit_bank(estimator_bank(template, rows, 2, classes=classes), rows, resp)
    assert other.monotone
    assert_allclose(all_log_prob(other, rows), all_log_prob(banked, rows), atol=1e-6)
    assert_allclose(other.log_prior(), banked.log_prior(), rtol=1e-5, atol=1e-12)
    for a, b in zip(other.fitted(None), banked.fitted(None), strict=True):
        assert_allclose(a.coef_, b.coef_, atol=1e-6)


def test_new_rows_are_predicted_training_rows_remembered(rng):
    X = rng.standard_normal((90, 2))
    rows = make_rows(X, rng.standard_normal(90), block_rows=64)
    template = DecisionTreeRegressor(max_depth=4, random_state=0)
    bank = fit_bank(estimator_bank(template, rows), rows, random_resp(rng, 3, 90))
    new = make_rows(X[::-1], rows.y[:, ::-1], training=False)
    assert_allclose(all_predict(bank, new)[..., ::-1], all_predict(bank, rows), rtol=1e-12)
    assert_allclose(all_log_prob(bank, new)[:, ::-1], all_log_prob(bank, rows), rtol=1e-12)
    trimmed = bank.trimmed()
    assert trimmed._outputs is None and bank._outputs is not None
    assert_allclose(all_predict(trimmed, rows), all_predict(bank, rows), rtol=1e-12)
    assert not bank.monotone
    assert bank.log_prior() == 0.0


def test_update_of_estimators_leaves_the_old_bank_alone(rng):
    rows = make_rows(rng.standard_normal((60, 2)), rng.standard_normal(60))
    resp = random_resp(rng, 2, 60)
    bank = fit_bank(estimator_bank(MyRidge(), rows, 2), rows, resp)
    coef, outputs = [e.coef_.copy() for e in bank.experts], bank._outputs.copy()
    fit_bank(bank, rows, resp[::-1])
    assert_array_equal([e.coef_ for e in bank.experts], coef)
    assert_array_equal(bank._outputs, outputs)


def test_estimator_statistics_join(rng):
    rows = make_rows(rng.standard_normal((100, 2)), rng.standard_normal(100), block_rows=64)
    resp = random_resp(rng, 2, 100)
    bank = fit_bank(estimator_bank(Ridge(), rows, 2), rows, resp)
    statistics = statistics_of(bank, rows, resp)
    assert_array_equal(np.concatenate(statistics, axis=1), resp)


@pytest.mark.parametrize("k", [1, 4])
def test_n_jobs_does_not_change_experts(rng, k):
    rows = make_rows(rng.standard_normal((80, 3)), rng.standard_normal(80))
    resp = random_resp(rng, k, 80)
    template = RandomForestRegressor(5, max_depth=3)  # random states are left to the bank
    one, two = (
        fit_bank(estimator_bank(template, rows, k, n_jobs=n_jobs), rows, resp) for n_jobs in (1, 2)
    )
    assert_array_equal(all_predict(one, rows), all_predict(two, rows))


def test_random_states(rng):
    rows = make_rows(rng.standard_normal((40, 2)), rng.standard_normal(40))
    resp = np.full((2, 40), 0.5)
    template = make_pipeline(StandardScaler(), DecisionTreeRegressor(max_features=1))
    bank = estimator_bank(template, rows, 2, seed=3).with_floor(np.array([0.1]))
    bank = fit_bank(bank, rows, resp)
    states = [e.get_params()["decisiontreeregressor__random_state"] for e in bank.experts]
    assert len(set(states)) == 2  # by expert
    again = fit_bank(bank, rows, resp)  # not by iteration: the M-step is one fixed function
    assert [e.get_params()["decisiontreeregressor__random_state"] for e in again.experts] == states
    other = fit_bank(estimator_bank(template, rows, 2, seed=4), rows, resp)
    assert other.experts[0][-1].random_state != states[0]
    given = fit_bank(estimator_bank(DecisionTreeRegressor(random_state=7), rows, 2), rows, resp)
    assert [e.random_state for e in given.experts] == [7, 7]
    assert template[-1].random_state is None


class Spy(RegressorMixin, BaseEstimator):
    """Remembers what it was given."""

    def fit(self, X, y, sample_weight=None):
        self.X_, self.y_, self.weight_ = X, y, sample_weight
        return self

    def transform(self, X):
        return X

    def predict(self, X):
        return np.zeros(X.shape[0])


def test_negligible_rows_are_dropped(rng):
    X, y = rng.standard_normal((50, 2)), rng.standard_normal(50)
    rows = make_rows(X, y)
    resp = random_resp(rng, 2, 50)
    resp[0, :10] = 1e-11 * resp[0].max()
    resp[0, 10:20] = 1e-9 * resp[0].max()
    bank = fit_bank(estimator_bank(Spy(), rows, 2), rows, resp)
    first, second = bank.experts
    assert_array_equal(first.X_, X[10:])
    assert_array_equal(first.y_, y[10:])
    assert_array_equal(first.weight_, resp[0, 10:])  # not normalised
    assert_array_equal(second.weight_, resp[1])


def test_columns_and_frames_reach_the_experts(rng):
    X, y = rng.standard_normal((30, 3)), rng.standard_normal(30)
    rows = make_rows(X, y)
    bank = estimator_bank(Spy(), rows, 2, columns=np.array([2, 0]))
    expert = fit_bank(bank, rows, random_resp(rng, 2, 30)).experts[0]
    assert_array_equal(expert.X_, X[:, [2, 0]])
    rows.frame = pd.DataFrame(X, columns=list("abc"))
    expert = fit_bank(bank, rows, random_resp(rng, 2, 30)).experts[0]
    assert list(expert.X_.columns) == ["c", "a"]
    sparse = make_rows(sp.csr_array(X), y)
    expert = fit_bank(bank, sparse, random_resp(rng, 2, 30)).experts[0]
    assert sp.issparse(expert.X_)
    assert_array_equal(expert.X_.toarray(), X[:, [2, 0]])


@pytest.mark.parametrize("routing", [False, True])
def test_every_step_of_a_pipeline_gets_the_weights(rng, routing):
    X, y = rng.standard_normal((40, 2)), rng.standard_normal(40)
    rows, resp = make_rows(X, y), random_resp(rng, 2, 40)
    template = make_pipeline(FunctionTransformer(), Spy(), StandardScaler(), "passthrough", Spy())
    with config_context(enable_metadata_routing=routing):
        bank = fit_bank(estimator_bank(template, rows, 2), rows, resp)
    for expert, weight in zip(bank.experts, resp, strict=True):
        assert_array_equal(expert[1].weight_, weight)
        assert_array_equal(expert[-1].weight_, weight)
        assert_allclose(expert[2].mean_, np.average(X, axis=0, weights=weight))


def test_a_pipeline_inside_a_pipeline_gets_the_weights(rng):
    X, y = rng.standard_normal((40, 2)), rng.standard_normal(40)
    rows, resp = make_rows(X, y), random_resp(rng, 2, 40)
    template = make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), Spy()))
    check_expert(template, "Owner", classifier=False)
    bank = fit_bank(estimator_bank(template, rows, 2), rows, resp)
    for expert, weight in zip(bank.experts, resp, strict=True):
        assert_array_equal(expert[-1][-1].weight_, weight)


# -- classes
@pytest.fixture
def regions(rng):
    """Rows of three classes, and responsibilities: classes 0 and 2, only class 1, all."""
    y = np.arange(90) % 3
    resp = np.stack([y != 1, y == 1, np.ones(90)]) * rng.uniform(0.2, 1.0, 90)
    return make_rows(rng.standard_normal((90, 2)), y), resp


@pytest.mark.parametrize(
    "template",
    [
        DecisionTreeClassifier(max_depth=2, random_state=0),
        LogisticRegression(),
        make_pipeline(StandardScaler(), DecisionTreeClassifier(max_depth=2, random_state=0)),
    ],
    ids=lambda e: type(e).__name__,
)
def test_regions_that_lack_classes(regions, template):
    rows, resp = regions
    classes = np.array(["a", "b", "c"])
    bank = fit_bank(estimator_bank(template, rows, classes=classes), rows, resp)
    proba = all_predict(bank, rows)
    assert proba.shape == (3, 3, 90)
    assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-12)
    # the columns of the two classes it saw, in their places
    assert_array_equal(bank.experts[0].classes_, ["a", "c"])
    assert_array_equal(proba[0, 1], 0.0)
    assert_allclose(proba[0, [0, 2]].T, bank.experts[0].predict_proba(rows.X), rtol=1e-12)
    # one class only: a constant, smoothed by one row of the overall shares
    mass = resp[1].sum()
    expected = np.full(3, 1 / 3)
    expected[1] += mass
    assert_allclose(proba[1], np.tile(expected / (mass + 1), (90, 1)).T, rtol=1e-12)
    assert_array_equal(bank.experts[1].classes_, classes)
    assert_array_equal(bank.experts[1].predict(rows.X[:2]), ["b", "b"])
    # a class that an expert never saw is improbable, not impossible
    log_prob = all_log_prob(bank, rows)
    assert_allclose(log_prob[0, rows.y == 1], np.log(1e-6 / 3))
    assert_allclose(log_prob[2], np.log(np.maximum(proba[2, rows.y, np.arange(90)], 1e-6 / 3)))
    assert bank.parameters is None
    assert_array_equal(bank.on_floor, False)


def test_constant_expert_counts_weights(rng):
    y = np.array([0] * 10 + [1] * 30)
    weight = np.repeat([3.0, 1.0], [10, 30])
    rows = make_rows(rng.standard_normal((40, 2)), y, weight)
    resp = np.stack([y == 1, y >= 0]).astype(float)
    template = DecisionTreeClassifier(max_depth=1)
    bank = fit_bank(estimator_bank(template, rows, 2, classes=np.arange(2)), rows, resp)
    # 30 rows of class 1, one row with shares 30/60 and 30/60
    assert_allclose(bank.experts[0].predict_proba(rows.X[:1]), [[0.5 / 31, 30.5 / 31]])


# -- the guard
class Fickle(Ridge):
    """A ridge regression whose later fits go wrong."""

    fits = 0

    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight=sample_weight)
        type(self).fits += 1
        if type(self).fits > 2:
            self.coef_ = self.coef_ + 1.0
        return self


class FickleLogistic(LogisticRegression):
    """A logistic regression whose later fits go wrong."""

    fits = 0

    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight=sample_weight)
        type(self).fits += 1
        if type(self).fits > 2:
            self.coef_ = self.coef_ - 1.0
        return self


@pytest.mark.parametrize("template", [Fickle(1.0), FickleLogistic()], ids=str)
def test_guard_keeps_the_better_expert(rng, monkeypatch, template):
    monkeypatch.setattr(type(template), "fits", 0)
    X = rng.standard_normal((80, 2))
    logistic = isinstance(template, LogisticRegression)
    y = (X[:, 0] > 0).astype(int) if logistic else X[:, 0] + rng.standard_normal(80)
    rows, resp = make_rows(X, y), random_resp(rng, 2, 80)
    classes = np.arange(2) if logistic else None
    bank = fit_bank(estimator_bank(template, rows, 2, classes=classes), rows, resp)
    before = expected_log_prob(bank, rows, resp)
    new = fit_bank(bank, rows, resp)
    assert type(template).fits == 4
    assert new.experts[0] is bank.experts[0] and new.experts[1] is bank.experts[1]
    assert_array_equal(all_predict(new, rows), all_predict(bank, rows))
    assert_allclose(expected_log_prob(new, rows, resp), before, rtol=1e-12)
    # only the expert that got worse is kept: a change of responsibilities asks for another fit
    monkeypatch.setattr(type(template), "fits", -10)
    changed = fit_bank(bank, rows, resp[[1, 0]])
    assert changed.experts[0] is not bank.experts[0]
    assert expected_log_prob(changed, rows, resp[[1, 0]]) > expected_log_prob(
        bank, rows, resp[[1, 0]]
    )


def test_guard_is_for_likelihood_fits_only(rng):
    rows = make_rows(rng.standard_normal((60, 2)), rng.standard_normal(60))
    resp = random_resp(rng, 2, 60)
    bank = fit_bank(estimator_bank(DecisionTreeRegressor(max_depth=2), rows, 2), rows, resp)
    new = fit_bank(bank, rows, resp[::-1])
    assert not new.monotone
    assert new.experts[0] is not bank.experts[0]


def test_an_empty_estimator_keeps_its_fit(rng):
    rows = make_rows(rng.standard_normal((60, 2)), rng.standard_normal(60))
    resp = random_resp(rng, 2, 60)
    bank = fit_bank(estimator_bank(DecisionTreeRegressor(max_depth=2), rows, 2), rows, resp)
    resp[1] = 0.0
    new = fit_bank(bank, rows, resp)
    assert new.experts[1] is bank.experts[1]
    assert_array_equal(new.parameters[0][1], bank.parameters[0][1])
    # one that is empty from the start is fitted on all rows
    first = fit_bank(estimator_bank(Spy(), rows, 2), rows, resp)
    assert len(first.experts[1].X_) == 60


def test_estimator_floor(rng):
    rows = make_rows(rng.standard_normal((60, 2)), rng.standard_normal(60))
    bank = estimator_bank(DecisionTreeRegressor(), rows, 2).with_floor(np.array([0.25]))
    bank = fit_bank(bank, rows, random_resp(rng, 2, 60))
    assert_array_equal(bank.parameters[0], 0.25)
    assert_array_equal(bank.on_floor, True)
