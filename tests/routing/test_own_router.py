"""A router that a user writes."""

import pickle

import numpy as np
import pytest
from _routed import class_pieces, classifier, pieces, regressor
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, clone
from sklearn.tree import DecisionTreeRegressor

from mixexp.gates import HierarchicalGate
from mixexp.routing import BaseRouter

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Best(BaseRouter):
    """The best expert, and the second best if it is nearly as good."""

    def __init__(self, ratio=0.5):
        self.ratio = ratio

    def chosen(self, scores):
        return scores >= self.ratio * scores.max(axis=0)


class Pair(BaseRouter):
    """The best expert and the next one in the list."""

    def chosen(self, scores):
        best = scores.argmax(axis=0)
        mask = np.zeros(scores.shape, dtype=bool)
        mask[best, np.arange(scores.shape[1])] = True
        return mask | np.roll(mask, 1, axis=0)


@pytest.mark.parametrize("router", [Best(), Pair()], ids=str)
@pytest.mark.parametrize("params", [{}, {"gate": HierarchicalGate((2, 2))}, {"noise_expert": True}])
def test_with_chosen_alone(router, params):
    X, y, z = pieces()
    model = regressor(routing=router, init=z, **params).fit(X, y)
    proba = model.gate_proba(X)[:, :4]
    mask = router.chosen(proba.T).T
    assert_array_equal(model.route(X) > 0, mask)
    kept = np.where(mask, proba, 0.0)
    assert_allclose(model.route(X), kept / kept.sum(axis=1, keepdims=True), atol=1e-9)
    assert_array_equal(model.routing_.loads_, mask.sum(axis=0))
    assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))
    assert_array_equal(clone(model).fit(X, y).predict(X), model.predict(X))


def test_with_estimators_and_classes():
    X, y, _ = pieces()
    tree = regressor(DecisionTreeRegressor(max_depth=2), routing=Best()).fit(X, y)
    assert np.isfinite(tree.lower_bound_)
    x, y = class_pieces(n_classes=3)
    model = classifier(routing=Best()).fit(x, y)
    assert_allclose(model.predict_proba(x).sum(axis=1), 1.0)


class Half(BaseEstimator):
    """Has what validation asks for first, and no more."""

    def check(self, n_experts, owner):
        pass

    def weights(self, log_gate):
        return np.exp(log_gate)


def test_missing_members_are_named():
    X, y, _ = pieces(60)
    with pytest.raises(TypeError, match=r"routing Half has no surveyed and no select.*BaseRouter"):
        regressor(routing=Half()).fit(X, y)


class Nobody(BaseRouter):
    pass


def test_without_chosen():
    X, y, _ = pieces(60)
    with pytest.raises(TypeError, match="Nobody has no chosen"):
        regressor(routing=Nobody()).fit(X, y)


class Wrong(BaseRouter):
    def __init__(self, returned, hard=False):
        self.returned = returned
        self.several = not hard

    @property
    def hard(self):
        return not self.several

    def chosen(self, scores):
        return self.returned(scores)


@pytest.mark.parametrize(
    ("router", "message"),
    [
        (Wrong(lambda s: None), "returned None. It must return a boolean array of shape"),
        (Wrong(lambda s: s > 2), "returned a column without any True"),
        (Wrong(lambda s: s.T > 0), r"returned an array of shape \(16, 4\)"),
        (Wrong(lambda s: s[:1] > 0), r"returned an array of shape \(1, 16\)"),
        (Wrong(lambda s: np.nan * s), r"returned an array of shape \(4, 16\)"),
        (
            Wrong(lambda s: s > 0, hard=True),
            "returned a column with 4 True.*one True in each column",
        ),
    ],
    ids=["none", "nobody", "turned", "one row", "NaN", "several"],
)
def test_what_chosen_must_not_return(router, message):
    X, y, _ = pieces(60)
    with pytest.raises(ValueError, match=f"chosen of the router Wrong {message}.*own_router.md"):
        regressor(routing=router).fit(X, y)
