"""Experts that lack classes, and experts whose fit fails."""

import numpy as np
import pytest
from _quiet import quiet
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import (
    LogisticRegression,
    Ridge,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._fitting import effective_size

# ---------------------------------------------------------------- regions that lack classes


def test_single_class_regions_are_smoothed_constants(rng):
    X = rng.standard_normal((200, 2))
    y = np.where(X[:, 0] < 0, "a", np.where(X[:, 1] > 0, "b", "c"))
    for expert in (DecisionTreeClassifier(max_depth=2), LogisticRegression(C=0.5, tol=1e-3)):
        model = MixtureOfExpertsClassifier(
            make_pipeline(StandardScaler(), expert), n_experts=2, init=(X[:, 0] > 0).astype(int),
            assignment="hard", max_iter=2,
        )  # fmt: skip
        quiet(model, X, y)
        proba = model.predict_proba(X)
        assert proba.shape == (200, 3)
        assert_allclose(proba.sum(axis=1), 1.0)
        assert isinstance(model.experts_[0], DummyClassifier)
        constant = model.predict_experts(X)[:, 0]
        assert np.all(constant > 0)
        assert_array_equal(constant, np.repeat(constant[:1], 200, axis=0))
        assert constant[0, 0] > 0.95


# ---------------------------------------------------------------- failures


class Fragile(Ridge):
    """Fails after some fits, or predicts NaN."""

    fits = 0

    def __init__(self, after=5, how="raise"):
        super().__init__()
        self.after = after
        self.how = how

    def fit(self, X, y, sample_weight=None):
        Fragile.fits += 1
        if Fragile.fits > self.after and self.how == "raise":
            raise RuntimeError("the solver exploded")
        return super().fit(X, y, sample_weight)

    def predict(self, X):
        bad = Fragile.fits > self.after and self.how == "nan"
        return super().predict(X) * (np.nan if bad else 1.0)


@pytest.mark.parametrize(
    ("how", "message"), [("raise", "the solver exploded"), ("nan", "it predicts NaN or infinity")]
)
def test_a_failing_expert_is_named_and_nothing_changes(step, how, message):
    X, y = step
    model = MixtureOfExpertsRegressor(Ridge(2.0), n_experts=2, random_state=0).fit(X, y)
    before, expected = dict(vars(model)), model.predict(X)
    expert = Fragile(5, how)
    model.set_params(expert=expert)
    Fragile.fits = 0
    with pytest.raises(ValueError, match=message) as caught:
        model.fit(np.column_stack([X, X[:, 0]]), y)
    text = str(caught.value)
    assert "MixtureOfExpertsRegressor: expert 1 (fragile: Fragile) failed at EM iteration 2" in text
    assert "on an effective sample of" in text
    assert "of 240 rows" in text
    assert not hasattr(expert, "coef_")
    model.set_params(expert=before["expert"])
    assert vars(model) == before
    assert_array_equal(model.predict(X), expected)


def test_effective_size():
    assert effective_size(np.ones(7)) == 7
    assert effective_size(np.array([1.0, 0.0])) == 1
    assert_allclose(effective_size(1e-200 * np.array([1.0, 0.5])), 1.8)
    assert effective_size(np.zeros(3)) == 0


class Says(Ridge):
    """Predicts what it is told."""

    def __init__(self, answer=None):
        super().__init__()
        self.answer = answer

    def predict(self, X):
        return self.answer


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "None"),
        (1.0, r"shape \(\)"),
        (np.zeros(0), r"shape \(0,\)"),
        ([[0.0]], r"shape \(1, 1\)"),
    ],
)
def test_a_prediction_that_is_none_of_all_rows_is_named(step, answer, said):
    model = MixtureOfExpertsRegressor(Says(answer), n_experts=2, cross_fit=False, random_state=0)
    X, y = step
    with pytest.raises(
        ValueError, match=rf"Says\) failed .* predicts {said} and should predict \("
    ):
        model.fit(X, y)
