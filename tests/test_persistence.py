"""Every kind of mixture comes back from a file with the same bits; files say who wrote them."""

import copy
import importlib
import io
import pickle
import warnings
from functools import cache

import cloudpickle
import joblib
import numpy as np
import pytest
from _configurations import CONFIGURATIONS, numbers
from numpy.testing import assert_array_equal
from sklearn.base import clone, is_classifier
from sklearn.linear_model import GammaRegressor, PoissonRegressor
from sklearn.tree import DecisionTreeRegressor

import mixexp
from mixexp.callbacks import EarlyStopping
from mixexp.gates import HierarchicalGate
from mixexp.persistence import SKOPS_TYPES

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Cascade.*no row is accepted:UserWarning"),
]

skops = pytest.importorskip("skops.io")


def by_joblib(estimator):
    file = io.BytesIO()
    joblib.dump(estimator, file)
    file.seek(0)
    return joblib.load(file)


def by_skops(estimator):
    return through_skops(estimator)[0]


WAYS = {
    "pickle": lambda estimator: pickle.loads(pickle.dumps(estimator)),
    "joblib": by_joblib,
    "cloudpickle": lambda estimator: pickle.loads(cloudpickle.dumps(estimator)),
    "skops": by_skops,
}


def through_skops(estimator):
    """Return an estimator that was saved and loaded, and the types that had to be trusted."""
    saved = skops.dumps(estimator)
    types = set(skops.get_untrusted_types(data=saved))
    return skops.loads(saved, trusted=sorted(types)), types


@cache
def types_of_scikit_learn():
    """Return what skops asks for to save trees and log links, mixture or not."""
    guests = DecisionTreeRegressor(), PoissonRegressor(), GammaRegressor()
    fitted = [guest.fit([[0.0], [1.0]], [1.0, 2.0]) for guest in guests]
    return set().union(*(through_skops(guest)[1] for guest in fitted))


def answers(model, X, y):
    """Return all that a model says of rows, by the name of the method."""
    names = ["predict"]
    if is_classifier(model):
        names += ["predict_proba"]
    if hasattr(model, "gate_proba"):
        names += ["gate_proba", "route", "predict_experts"]
    found = {name: getattr(model, name)(X) for name in names}
    if hasattr(getattr(model, "gate_", None), "to_text"):
        found["to_text"] = model.gate_.to_text()
    for name in ("log_density", "responsibilities"):
        if hasattr(model, name):
            found[name] = getattr(model, name)(X, y)
    return found


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_configuration_comes_back(name):
    case = CONFIGURATIONS[name]
    X, y = case.problem()
    model = case.fitted()
    wanted = answers(model, X, y)
    for way, through in WAYS.items():
        again = through(model)
        assert repr(again) == repr(model), way
        for method, found in answers(again, X, y).items():
            assert_array_equal(found, wanted[method], err_msg=f"{way}, {method}")
    types = through_skops(model)[1]
    assert types - types_of_scikit_learn() <= set(SKOPS_TYPES)


def fitted_in_other_ways():
    """Yield mixtures that hold what an ordinary fit does not."""
    X, y = CONFIGURATIONS["softmax"].problem()
    classes = CONFIGURATIONS["classes"].problem()[1]
    tree = numbers(n_experts=4, gate=HierarchicalGate((2, 2), usage_prior=2.0)).estimator
    plain, classifier = (clone(CONFIGURATIONS[kind].estimator) for kind in ("softmax", "classes"))
    yield plain
    yield clone(plain).set_callbacks(EarlyStopping(X, y))
    yield clone(tree).set_params(warm_start=True).fit(X, y)
    yield clone(plain).partial_fit(X, y)
    yield clone(plain).partial_fit(np.tile(X, (60, 1)), np.tile(y, 60))
    yield clone(plain).fit(X, y).to_hard()
    yield classifier.fit(X, classes).to_hard()


def test_all_types_of_mixexp_are_listed():
    found = [through_skops(estimator)[1] for estimator in fitted_in_other_ways()]
    assert len(set().union(*found)) > 20
    assert set().union(*found) <= set(SKOPS_TYPES)


def test_what_is_listed_are_classes_of_mixexp():
    assert sorted(set(SKOPS_TYPES)) == list(SKOPS_TYPES)
    for full in SKOPS_TYPES:
        module, _, name = full.rpartition(".")
        assert module.startswith("mixexp.")
        assert isinstance(getattr(importlib.import_module(module), name), type)


@pytest.mark.parametrize("name", ["softmax", "classes", "cascade"])
@pytest.mark.parametrize("fit", [False, True], ids=["unfitted", "fitted"])
def test_another_version_and_none_warn(name, fit):
    model = CONFIGURATIONS[name].fitted() if fit else clone(CONFIGURATIONS[name].estimator)
    state = model.__getstate__()
    assert state["_mixexp_version"] == mixexp.__version__
    kind = type(model)
    for version, said in (("0.1.0", "mixexp 0.1.0"), (None, "a version that it does not name")):
        other = {**state, "_mixexp_version": version}
        if version is None:
            del other["_mixexp_version"]
        with pytest.warns(UserWarning, match=f"This {kind.__name__} was saved by .*{said}"):
            kind.__new__(kind).__setstate__(other)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        copy.deepcopy(model)  # a copy is no file


def test_a_file_of_another_version_says_so_from_skops_too():
    model = CONFIGURATIONS["softmax"].fitted()
    model._mixexp_version = "0.1.0"
    saved = skops.dumps(model)
    with pytest.warns(UserWarning, match=r"was saved by mixexp 0\.1\.0"):
        skops.loads(saved, trusted=SKOPS_TYPES)
