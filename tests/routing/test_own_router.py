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


class Odd(BaseRouter):
    """Two experts a row, with one thing wrong."""

    fallback = balance = None

    def __init__(self, jitter=0.0, temperature=1.0):
        self.jitter, self.temperature = jitter, temperature

    def chosen(self, scores):
        return scores >= np.sort(scores, axis=0)[-2]


def none(self, scores):
    return None


def nobody(self, scores):
    return np.zeros(scores.shape, dtype=bool)


def indices(self, scores):
    return scores.argmax(axis=0)


def transposed(self, scores):
    return (scores > 0.2).T


def overwriting(self, scores):
    scores[:] = 1.0
    return scores > 0


def of_the_batch(self, scores):
    return scores >= min(scores.max(axis=0).min(), np.median(scores[0]))


FAULTS = {
    "none": ({"chosen": none}, "`chosen` returned None"),
    "nobody": ({"chosen": nobody}, "at least one expert of each column"),
    "indices": ({"chosen": indices}, "`chosen` returned int64"),
    "transposed": ({"chosen": transposed}, "not a mask of shape"),
    "overwriting": ({"chosen": overwriting}, "leave these alone"),
    "of the batch": ({"chosen": of_the_batch}, "other weights on its own"),
    "hard": ({"hard": True}, "chose more than one expert"),
    "surveyed nothing": (
        {"looks_at_all": True, "surveyed": lambda self, log_gate, weight: None},
        "`surveyed` of routing=Wrong returned NoneType",
    ),
    "surveyed itself": (
        {
            "looks_at_all": True,
            "surveyed": lambda self, log_gate, weight: self.set_params(temperature=2.0 + 1e-9),
        },
        "changed the router itself",
    ),
    "select": ({"select": lambda self, experts: None}, "NoneType"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_router_is_named_before_the_fit(fault):
    changes, message = FAULTS[fault]
    router = type("Wrong", (Odd,), changes)()
    X, y, _ = pieces(60)
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        regressor(routing=router).fit(X, y)
    assert "MixtureOfExpertsRegressor" in str(caught.value) and "Wrong" in str(caught.value)


def test_a_right_router_of_that_kind_works():
    X, y, _ = pieces(60)
    assert_array_equal((regressor(routing=Odd()).fit(X, y).route(X) > 0).sum(axis=1), 2)
