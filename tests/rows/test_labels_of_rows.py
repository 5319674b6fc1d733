"""What becomes of rows whose expert is known: forms, weights, the sketch, routing."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from _known_experts import bound_with_labels, problem, quiet, some
from _problems import softmax_gated
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mixexp import MixtureOfExpertsRegressor
from mixexp._rows import inputs
from mixexp._rows.labels import with_labels

unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# ---------------------------------------------------------------- rows


@unconverged
def test_nothing_known_is_no_labels():
    X, y, region = problem()
    model = MixtureOfExpertsRegressor(n_experts=4, n_init=2, max_iter=20, random_state=0)
    plain = clone(model).fit(X, y)
    nothing = clone(model).fit(X, y, expert_labels=np.full(400, -1))
    assert_array_equal(nothing.gate_proba(X), plain.gate_proba(X))
    assert_array_equal(nothing.dispersions_, plain.dispersions_)
    assert np.all(np.diff(nothing.usage_) <= 0)  # the canonical order
    # of rows that are not there nothing is known either
    weight = np.ones(400)
    weight[:40] = 0.0
    labels = np.where(weight == 0, region, -1)
    without = clone(model).fit(X[40:], y[40:])
    gone = clone(model).fit(X, y, sample_weight=weight, expert_labels=labels)
    assert_array_equal(gone.gate_proba(X), without.gate_proba(X))


@unconverged
def test_rows_without_weight_are_not_there():
    X, y, region = problem()
    labels = some(region, 0.3)
    weight = (np.arange(400) % 3 > 0).astype(float)
    kept = weight > 0
    model = MixtureOfExpertsRegressor(n_experts=4, n_init=2, max_iter=20, random_state=0)
    a = clone(model).fit(X, y, sample_weight=weight, expert_labels=labels)
    b = model.fit(X[kept], y[kept], expert_labels=labels[kept])
    assert_allclose(a.gate_proba(X), b.gate_proba(X), atol=1e-10)


@unconverged
def test_equal_rows_with_different_labels_are_not_merged():
    X, y, region = problem(n=200)
    X, y, region = np.repeat(X, 3, axis=0), np.repeat(y, 3), np.repeat(region, 3)
    labels = np.where(np.arange(600) % 3 == 0, region, -1)
    labels[1::3] = np.where(np.arange(200) % 7 == 0, (region[1::3] + 1) % 4, -1)  # they disagree
    model = MixtureOfExpertsRegressor(n_experts=4, n_init=2, max_iter=15, tol=0.0, random_state=0)
    model.fit(X, y, expert_labels=labels)
    assert_allclose(model.lower_bound_, bound_with_labels(model, X, y, labels), rtol=1e-9)
    order = np.random.default_rng(0).permutation(600)
    again = clone(model).fit(X[order], y[order], expert_labels=labels[order])
    assert_allclose(again.gate_proba(X), model.gate_proba(X), atol=1e-8)


@unconverged
def test_weights_are_repetitions():
    X, y, region = problem(n=150)
    labels, weight = some(region, 0.3), np.random.default_rng(0).integers(0, 4, size=150)
    model = MixtureOfExpertsRegressor(n_experts=4, n_init=2, max_iter=10, random_state=0)
    a = clone(model).fit(X, y, sample_weight=weight, expert_labels=labels)
    b = model.fit(
        np.repeat(X, weight, axis=0),
        np.repeat(y, weight),
        expert_labels=np.repeat(labels, weight),
    )
    assert_allclose(a.gate_proba(X), b.gate_proba(X), atol=1e-8)


@unconverged
def test_data_larger_than_the_sketch(monkeypatch):
    monkeypatch.setattr(inputs, "SKETCH_ROWS", 100)
    X, y, region = problem(1)
    labels = some(region, 0.2)
    model = MixtureOfExpertsRegressor(n_experts=4, max_iter=30, random_state=0)
    model.fit(X, y, expert_labels=labels)
    assert_allclose(model.lower_bound_, bound_with_labels(model, X, y, labels), rtol=1e-9)
    assert np.mean(model.responsibilities(X, y).argmax(axis=1) == region) > 0.85


def test_regions_are_matched_to_labels():
    resp = np.array([[0.9, 0.8, 0.1, 0.0, 0.3], [0.1, 0.1, 0.2, 0.9, 0.3], [0, 0.1, 0.7, 0.1, 0.4]])
    labels = np.array([2, -1, 1, 0, -1])  # region 0 is expert 2, 1 is 0, and 2 is 1
    found = with_labels(resp, labels, None, match=True)
    assert_array_equal(found[:, [1, 4]], resp[[1, 2, 0]][:, [1, 4]])
    assert_array_equal(found[:, [0, 2, 3]], np.eye(3)[:, [2, 1, 0]])
    assert_array_equal(with_labels(resp, labels, None, match=False)[:, 1], resp[:, 1])
    assert with_labels(resp, None, None, match=True) is resp
    # weights decide where labels contradict each other
    resp = np.array([[1.0, 1.0, 0.5], [0.0, 0.0, 0.5]])
    for heavy, row in ((0, [0.5, 0.5]), (1, [0.5, 0.5])):
        weight = np.ones(3)
        weight[heavy] = 5.0
        found = with_labels(resp, np.array([0, 1, -1]), weight, match=True)
        assert_array_equal(found[:, 2], row)
        assert_array_equal(found[:, :2], np.eye(2))
    resp = np.array([[1.0, 1.0, 0.9], [0.0, 0.0, 0.1]])
    light = with_labels(resp, np.array([0, 1, -1]), np.array([5.0, 1, 1]), match=True)
    heavy = with_labels(resp, np.array([0, 1, -1]), np.array([1.0, 5, 1]), match=True)
    assert_array_equal(light[:, 2], [0.9, 0.1])
    assert_array_equal(heavy[:, 2], [0.1, 0.9])


# ---------------------------------------------------------------- what labels may be


def test_forms_of_labels():
    X, y, region = problem(n=120)
    labels = some(region, 0.5)
    model = MixtureOfExpertsRegressor(n_experts=4, n_init=1, max_iter=2, random_state=0)
    expected = quiet(clone(model), X, y, expert_labels=labels).gate_proba(X)
    forms = [
        labels.tolist(),
        labels.astype(float),
        labels.astype(np.int8),
        labels.astype(object),
        pd.Series(labels),
        pd.Series(labels, dtype="Int64"),
        pd.Series(labels, dtype="category"),
    ]
    for form in forms:
        before = pd.Series(form).copy()
        found = quiet(clone(model), X, y, expert_labels=form).gate_proba(X)
        assert_array_equal(found, expected)
        assert before.equals(pd.Series(form))


WRONG = {
    "too large": (4, r"holds 4 in row 7"),
    "too small": (-2, r"holds -2 in row 7"),
    "not whole": (0.5, r"holds 0\.5 in row 7"),
    "nan": (np.nan, r"holds nan in row 7"),
    "inf": (np.inf, r"holds inf in row 7"),
    "huge": (1e300, r"holds 1e\+300 in row 7"),
    "none": (None, r"holds None in row 7"),
    "na": (pd.NA, r"holds (<NA>|nan) in row 7"),
    "a string": ("1", r"holds '.*' in row"),
    "a truth value": (True, r"holds True in row 7"),
}


@pytest.mark.parametrize("name", WRONG)
def test_labels_that_are_none(name):
    X, y, region = problem(n=60)
    value, message = WRONG[name]
    labels = [int(label) for label in region]
    labels[7] = value
    if name == "na":
        labels = pd.Series(labels, dtype="Int64")
    elif name == "a truth value":
        labels = pd.Series(labels, dtype=object)
    model = MixtureOfExpertsRegressor(n_experts=4)
    with pytest.raises(ValueError, match=rf"Regressor: expert_labels {message}.*0 to 3, or -1"):
        model.fit(X, y, expert_labels=labels)
    assert not hasattr(model, "experts_")


@pytest.mark.parametrize("shape", [(59,), (60, 1), (60, 4), ()])
def test_labels_of_another_shape(shape):
    X, y, _ = problem(n=60)
    with pytest.raises(ValueError, match=r"expert_labels has shape .*shape \(60,\)"):
        MixtureOfExpertsRegressor(n_experts=4).fit(X, y, expert_labels=np.zeros(shape, dtype=int))


# ---------------------------------------------------------------- metadata routing


@unconverged
def test_metadata_routing():
    X, y, region = problem()
    labels = some(region, 0.5)
    with sklearn.config_context(enable_metadata_routing=True):
        model = MixtureOfExpertsRegressor(n_experts=4, n_init=1, max_iter=10, random_state=0)
        model.set_fit_request(expert_labels=True)
        pipe = make_pipeline(StandardScaler(), model).fit(X, y, expert_labels=labels)
        Z = StandardScaler().fit_transform(X)
        alone = clone(model).fit(Z, y, expert_labels=labels)
        assert_array_equal(pipe.predict(X), alone.predict(Z))
        without = clone(model).fit(Z, y)
        assert not np.array_equal(without.predict(Z), alone.predict(Z))
        found = cross_validate(
            pipe,
            X,
            y,
            cv=2,
            params={"expert_labels": labels},
            return_estimator=True,
            error_score="raise",
        )
        half = found["estimator"][0]
        Z = half[0].transform(X[200:])
        by_hand = clone(model).fit(Z, y[200:], expert_labels=labels[200:])
        assert_allclose(half.predict(X), by_hand.predict(half[0].transform(X)), rtol=1e-9)


@unconverged
def test_labels_of_one_fit_do_not_stay():
    X, y, region = problem()
    model = MixtureOfExpertsRegressor(n_experts=4, n_init=1, max_iter=10, random_state=0)
    plain = clone(model).fit(X, y).gate_proba(X)
    model.fit(X, y, expert_labels=region)
    assert_array_equal(model.fit(X, y).gate_proba(X), plain)


def test_a_softmax_gated_problem_with_one_known_row_an_expert(rng):
    X, y, proba, _ = softmax_gated(rng, 300, 2, 2, noise=0.3)
    labels = np.full(300, -1)
    labels[[proba[:, 0].argmax(), proba[:, 1].argmax()]] = [0, 1]
    flipped = np.where(labels >= 0, 1 - labels, -1)
    a = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y, expert_labels=labels)
    b = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y, expert_labels=flipped)
    assert_allclose(a.gate_proba(X), b.gate_proba(X)[:, ::-1], atol=1e-3)
    sure = a.gate_proba(X)[labels >= 0].argmax(axis=1)
    assert_array_equal(sure, labels[labels >= 0])
