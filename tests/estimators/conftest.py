"""Mixtures that several files here run on."""

import copy
import warnings

import numpy as np
import pytest
import sklearn
from _two_regimes import FRAMES, MODELS, data_for, fit_once
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler


@pytest.fixture(params=MODELS)
def model(request):
    return clone(MODELS[request.param])


@pytest.fixture(params=MODELS)
def fitted(request):
    """A fitted model that a test may not fit again, and its data."""
    model = copy.copy(fit_once(request.param))
    return model, *data_for(model)


@pytest.fixture(params=["default-regressor", "default-classifier"])
def default(request):
    return clone(MODELS[request.param])


@pytest.fixture(params=FRAMES)
def library(request):
    """A data frame library whose column names the installed scikit-learn can read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        known = hasattr(StandardScaler().fit(FRAMES[request.param](np.eye(3))), "feature_names_in_")
    if not known:
        pytest.skip(f"scikit-learn {sklearn.__version__} does not know this {request.param}")
    return request.param
