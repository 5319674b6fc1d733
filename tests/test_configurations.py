"""The list of configurations leaves out no part."""

import importlib
from itertools import chain

import pytest
from _configurations import CONFIGURATIONS

from mixexp._engine.assign import ASSIGNERS
from mixexp.bases import BASES
from mixexp.families import FAMILIES
from mixexp.partitions import PARTITIONS
from mixexp.routing import BaseRouter
from mixexp.routing._pooling import POOLINGS

VALUES = list(
    chain.from_iterable(
        case.estimator.get_params(deep=True).values() for case in CONFIGURATIONS.values()
    )
)


@pytest.mark.parametrize(
    "names", [ASSIGNERS, BASES, FAMILIES, PARTITIONS, POOLINGS], ids=lambda names: next(iter(names))
)
def test_every_name_has_a_configuration(names):
    assert set(names) <= {value for value in VALUES if isinstance(value, str)}


@pytest.mark.parametrize("package", ["gates", "experts", "routing", "partitions"])
def test_every_class_has_a_configuration(package):
    module = importlib.import_module(f"mixexp.{package}")
    public = [getattr(module, name) for name in module.__all__]
    classes = {thing for thing in public if isinstance(thing, type)} - {BaseRouter}
    named = {type(make()) for make in PARTITIONS.values()}  # given by their names
    assert classes
    assert classes - named <= set(map(type, VALUES))


def test_both_estimators_and_both_cascades_are_there():
    kinds = {type(case.estimator).__name__ for case in CONFIGURATIONS.values()}
    mixtures = {f"MixtureOfExperts{kind}" for kind in ("Classifier", "Regressor")}
    assert kinds == mixtures | {"CascadeClassifier", "CascadeRegressor"}
    assert {case.estimator.get_params().get("n_experts") for case in CONFIGURATIONS.values()} >= {
        1,
        2,
        "auto",
    }
