"""Fitted mixtures to draw, and pyplot without windows."""

import numpy as np
import pytest
from _regions import fitted

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.datasets import make_softmax_mixture


@pytest.fixture(autouse=True)
def plt():
    """Pyplot on a backend without windows; figures are closed after each test."""
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


@pytest.fixture(scope="module")
def data():
    return make_softmax_mixture(240, n_features=3, n_experts=3, random_state=1)


@pytest.fixture(scope="module")
def model(data):
    return fitted(MixtureOfExpertsRegressor(n_experts=3), *data)


@pytest.fixture(scope="module")
def class_data():
    X, y = make_softmax_mixture(
        300, n_experts=2, task="classification", n_classes=3, sharpness=2, random_state=0
    )
    return X, np.array(["ash", "elm", "oak"])[y]


@pytest.fixture(scope="module")
def classifier(class_data):
    return fitted(MixtureOfExpertsClassifier(n_experts=2), *class_data)
