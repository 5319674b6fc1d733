"""Predictions, densities and fitted experts agree with each other."""

import pickle
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import sklearn
from _two_regimes import (
    CLASSIFIERS,
    calibrated,
    data_for,
    fit_once,
    outputs_of,
    two_boundaries,
    two_lines,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.base import BaseEstimator, clone
from sklearn.metrics import accuracy_score, r2_score

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor

# Whether a fit converges is the matter of a few tests, which look for it; most compare two fits.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def middle(weights, outputs):
    """A pooling that is neither: the mean of the weighted and the most probable."""
    weighted = np.einsum("nk,nk...->n...", weights, outputs)
    return (weighted + outputs[np.arange(len(weights)), weights.argmax(axis=1)]) / 2


@pytest.mark.parametrize("n_outputs", [None, 2])
def test_pooling_of_regressions(n_outputs):
    X, y = two_lines(n_outputs=n_outputs)
    model = MixtureOfExpertsRegressor(
        n_experts=3, bound_predictions=False, random_state=0, n_init=2
    ).fit(X, y)
    gate, means = model.route(X), model.predict_experts(X)
    assert_array_equal(gate, model.gate_proba(X))
    weighted = np.sum(gate.reshape(gate.shape + (1,) * (means.ndim - 2)) * means, axis=1)
    assert_allclose(model.predict(X), weighted)
    first = np.stack([means[i, k] for i, k in enumerate(gate.argmax(axis=1))])
    assert_allclose(model.set_params(pooling="argmax").fit(X, y).predict(X), first)
    assert_allclose(model.set_params(pooling=middle).fit(X, y).predict(X), (weighted + first) / 2)


@cache
def named_fit(kind, n_classes, pooling):
    X, y = two_boundaries(n_classes=n_classes)
    model = clone(CLASSIFIERS[kind]).set_params(pooling=pooling)
    return model.fit(X, np.array(["x", "k", "b"])[y])


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.parametrize(
    "pooling", ["weighted", "argmax", middle], ids=["weighted", "argmax", "callable"]
)
def test_pooling_of_classifications(kind, pooling, n_classes):
    X, y = two_boundaries(n_classes=n_classes)
    labels = np.array(["x", "k", "b"])[y]
    model = named_fit(kind, n_classes, pooling)
    gate, proba = model.gate_proba(X), model.predict_experts(X)
    weighted = np.einsum("ik,ikc->ic", gate, proba)
    first = np.stack([proba[i, k] for i, k in enumerate(gate.argmax(axis=1))])
    wanted = {"weighted": weighted, "argmax": first}.get(pooling, (weighted + first) / 2)
    assert_allclose(model.predict_proba(X), wanted)
    assert_allclose(model.predict_proba(X).sum(axis=1), 1)
    assert_array_equal(model.predict(X), model.classes_[model.predict_proba(X).argmax(axis=1)])
    with np.errstate(divide="ignore"):
        assert_allclose(model.predict_log_proba(X), np.log(model.predict_proba(X)))
    assert model.score(X, labels) == accuracy_score(labels, model.predict(X))


@pytest.mark.parametrize(
    "pooling", ["weighted", "argmax", middle], ids=["weighted", "argmax", "callable"]
)
def test_a_prediction_does_not_depend_on_its_batch(fitted, pooling):
    model, X, y = fitted
    model._model = replace(model._model, pooling=pooling)  # without another fit
    together = outputs_of(model, X)
    order = np.random.default_rng(5).permutation(len(y))[:20]
    for whole, some in zip(together, outputs_of(model, X[order]), strict=True):
        if whole.dtype.kind == "f":
            assert_allclose(some, whole[order], rtol=1e-12)
        else:
            assert_array_equal(some, whole[order])
    alone = [
        np.concatenate(rows)
        for rows in zip(*(outputs_of(model, X[i : i + 1]) for i in order), strict=True)
    ]
    for whole, single in zip(together, alone, strict=True):
        if whole.dtype.kind == "f":
            assert_allclose(single, whole[order], rtol=1e-12)


def test_many_rows_are_predicted_as_few():
    X, y = two_lines()
    model = MixtureOfExpertsRegressor(n_experts=3, random_state=0, n_init=2).fit(X, y)
    many = np.tile(X, (200, 1))
    assert_allclose(model.predict(many), np.tile(model.predict(X), 200), rtol=1e-12)
    assert_allclose(model.gate_proba(many), np.tile(model.gate_proba(X), (200, 1)), rtol=1e-12)


@pytest.mark.parametrize("far", [1e4, 1e5, 1e6, 1e100])
def test_predictions_are_finite_far_from_the_data(fitted, far):
    model, X, _ = fitted
    for row_factor in (far, -far):
        X_far = row_factor * X
        if "tree" in str(model.expert).lower() and far > 1e38:
            pytest.skip("trees hold X in float32")
        for output in outputs_of(model, X_far):
            assert output.dtype.kind != "f" or np.all(np.isfinite(output))
        assert_allclose(model.gate_proba(X_far).sum(axis=1), 1)
        if sklearn.base.is_classifier(model):
            assert_allclose(model.predict_proba(X_far).sum(axis=1), 1)


def test_identities(fitted):
    model, X, y = fitted
    gate, outputs = model.gate_proba(X), model.predict_experts(X)
    if sklearn.base.is_classifier(model):
        smallest = 5e-7 if "tree" in str(model.expert).lower() else 0
        log_expert = np.log(outputs[np.arange(len(y)), :, y].clip(smallest))
    else:
        log_expert = norm.logpdf(y[:, None], outputs, model.dispersions_)
    log_joint = np.log(gate) + log_expert
    log_density = logsumexp(log_joint, axis=1)
    assert_allclose(model.log_density(X, y), log_density, rtol=1e-9, atol=1e-12)
    assert_allclose(model.responsibilities(X, y), np.exp(log_joint - log_density[:, None]))
    assert_allclose(gate.sum(axis=1), 1)
    assert_allclose(model.usage_, gate.mean(axis=0), rtol=1e-9)


def test_usage_is_weighted(default):
    X, y = data_for(default)
    weight = np.random.default_rng(1).uniform(0, 2, len(y))
    model = default.fit(X, y, sample_weight=weight)
    assert_allclose(model.usage_, np.average(model.gate_proba(X), axis=0, weights=weight))


def test_densities_integrate_to_one():
    X, y = two_lines()
    model = MixtureOfExpertsRegressor(n_experts=3, random_state=0, n_init=2).fit(X, y)
    x = X[:1]
    total, _ = quad(
        lambda t: np.exp(model.log_density(x, [t])[0]),
        -30,
        30,
        limit=200,
        points=model.predict_experts(x)[0],
    )
    assert total == pytest.approx(1, abs=1e-6)
    mean, _ = quad(
        lambda t: t * np.exp(model.log_density(x, [t])[0]),
        -30,
        30,
        limit=200,
        points=model.predict_experts(x)[0],
    )
    assert mean == pytest.approx(model.predict(x)[0], abs=1e-6)


@pytest.mark.parametrize("kind", ["default", "logistic", "pipeline"])
def test_class_densities_are_the_probabilities(kind):
    X, y = two_boundaries(n_classes=3)
    model = fit_once(f"{kind}-classifier", n_classes=3)
    density = np.exp([model.log_density(X, np.full(len(y), c)) for c in range(3)]).T
    assert_allclose(density, model.predict_proba(X), rtol=1e-9, atol=1e-6)  # floored at 1e-6


def test_experts_are_scikit_learn_estimators(fitted):
    model, X, y = fitted
    assert len(model.experts_) == 2
    for k, expert in enumerate(model.experts_):
        assert isinstance(expert, BaseEstimator)
        assert expert.n_features_in_ == 3
        if sklearn.base.is_classifier(model):
            proba = expert.predict_proba(X)
            if model.cross_fitted_:
                proba = calibrated(model, k, proba, y)
            assert_allclose(proba, model.predict_experts(X)[:, k], atol=1e-12)
            assert set(expert.predict(X)) <= {0, 1}
        else:
            assert_allclose(
                expert.predict(X), model.predict_experts(X)[:, k], rtol=1e-9, atol=1e-12
            )
        template = model.expert
        if template is not None:
            assert type(expert) is type(template)
        again = pickle.loads(pickle.dumps(expert))
        assert_array_equal(again.predict(X), expert.predict(X))
        clone(expert).fit(X, y)


def test_score_takes_weights(default):
    X, y = data_for(default)
    weight = np.linspace(0, 1, len(y))
    default.fit(X, y)
    score = accuracy_score if sklearn.base.is_classifier(default) else r2_score
    wanted = score(y, default.predict(X), sample_weight=weight)
    assert default.score(X, y, sample_weight=weight) == pytest.approx(wanted)


@pytest.mark.parametrize("kind", [MixtureOfExpertsRegressor, MixtureOfExpertsClassifier])
def test_a_subclass_whose_predict_takes_rows_only_can_be_scored(kind):
    class Plain(kind):
        def predict(self, X):
            return super().predict(X)

    X = np.random.default_rng(0).standard_normal((80, 2))
    y = X[:, 0] if kind is MixtureOfExpertsRegressor else X[:, 0] > 0
    assert Plain(n_experts=2, random_state=0, tol=1e-3).fit(X, y).score(X, y) > 0.9
