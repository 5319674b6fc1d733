"""Models that were stored by this version and by earlier ones are loaded, or refused by name."""

import json
import pickle
import re
import warnings

import pytest
from _stored_models import STORED, data, models
from numpy.testing import assert_allclose
from sklearn.base import clone

import mixexp
from mixexp.persistence import SKOPS_TYPES

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # scikit-learn says so of its own classes, for every version
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.InconsistentVersionWarning"),
]

VERSIONS = sorted(folder.name for folder in STORED.iterdir())

#: Parameters whose default was another one.
DEFAULTS_OF = {"0.2.0": {"n_refits": 1}}

#: Predictions from the same numbers by another BLAS.
ROUNDING = 1e-9


def expected(version, name):
    return json.loads((STORED / version / f"{name}.json").read_text(encoding="utf-8"))


def assert_answers(model, version, name):
    X = data()[0]
    wanted = expected(version, name)
    if name == "classifier":
        assert model.predict(X).tolist() == wanted["predict"]
    else:
        assert_allclose(model.predict(X), wanted["predict"], rtol=ROUNDING)
    assert_allclose(model.gate_proba(X), wanted["gate_proba"], rtol=0, atol=ROUNDING)


def loaded(version, name, kind):
    """Return a stored model."""
    path = STORED / version / f"{name}.{kind}"
    if kind == "pickle":
        return pickle.loads(path.read_bytes())
    return pytest.importorskip("skops.io").load(path, trusted=SKOPS_TYPES)


def test_this_version_is_stored():
    assert mixexp.__version__ in VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", models())
@pytest.mark.parametrize("kind", ["pickle", "skops"])
def test_a_stored_model_answers_or_is_refused(version, name, kind):
    error = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = loaded(version, name, kind)
        except ValueError as refused:
            error = str(refused)
    if error is not None:
        assert version != mixexp.__version__ and version in error
        return
    said = [str(own.message) for own in caught if "was saved by mixexp" in str(own.message)]
    assert bool(said) == (version != mixexp.__version__)
    assert all(f"saved by mixexp {version}" in own for own in said)
    assert_answers(model, version, name)


@pytest.mark.filterwarnings("ignore:.*was written with:UserWarning")
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", models())
def test_a_stored_checkpoint_goes_on_or_is_refused(version, name):
    X, numbers, classes = data()
    model = clone(models()[name]).set_params(**DEFAULTS_OF.get(version, {}))
    y = classes if name == "classifier" else numbers
    path = STORED / version / f"{name}.checkpoint"
    if version == mixexp.__version__:
        assert_answers(model.fit(X, y, resume_from=path), version, name)
    else:
        with pytest.raises(ValueError, match=re.escape(f"written by mixexp {version}")):
            model.fit(X, y, resume_from=path)


def test_a_model_of_another_version_says_so(monkeypatch):
    """What a later version will see of today's files."""
    monkeypatch.setattr("mixexp._estimators.versioned.__version__", "9.9")
    for kind in ("pickle", "skops"):
        with pytest.warns(UserWarning, match=f"saved by mixexp {VERSIONS[-1]} and .* by 9.9"):
            model = loaded(VERSIONS[-1], "classifier", kind)
        assert_answers(model, VERSIONS[-1], "classifier")
