"""Arguments of odd shapes and kinds: the message names class, parameter, value and remedy."""

import re

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import Ridge

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.gates import ConstantGate, EstimatorGate, NestedGate
from mixexp.partitions import FeatureGroups, FromEstimator, KMeansStart, NearestCenter

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N = 40

#: What is no array of N numbers, and why it is none.
NO_NUMBERS = {
    "word": "abc",
    "words": ["a"] * N,
    "object": object(),
    "dict": {"a": 1},
    "ragged": [[1], [1, 2]] * (N // 2),
    "complex": np.ones(N) * 1j,
    "dates": np.full(N, np.datetime64("2020-01-01")),
    "sparse": sp.csr_matrix(np.ones((N, 1))),
}

WRONG_SHAPE = {
    "short": np.ones(N - 1),
    "long": np.ones(N + 1),
    "empty": [],
    "row": np.ones((1, N)),
    "three axes": np.ones((N, 1, 1)),
}

NOT_FINITE = {"nan": np.full(N, np.nan), "inf": np.full(N, np.inf), "none": [None] * N}

ODD = {**NO_NUMBERS, **WRONG_SHAPE, **NOT_FINITE}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    X = rng.standard_normal((N, 2))
    return X, np.where(X[:, 0] > 0, X[:, 1], -X[:, 1]) + 0.1 * rng.standard_normal(N)


def mixture(kind=MixtureOfExpertsRegressor, **parameters):
    model = kind(n_experts=2, n_init=1, max_iter=2, random_state=0)
    return model.set_params(**parameters)


@pytest.fixture(scope="module")
def fitted(data):
    X, y = data
    model = mixture(max_iter=100, tol=1e-3, gate=ConstantGate())
    return model.fit(X, y, offset=np.zeros(N))


def named(name, owner="MixtureOfExpertsRegressor"):
    return pytest.raises(ValueError, match=f"(?s){owner}: {name}")


@pytest.mark.parametrize("odd", ODD)
def test_offsets(odd, data, fitted):
    X, y = data
    with named("offset"):
        mixture().fit(X, y, offset=ODD[odd])
    zero_first = np.where(np.arange(N) == 0, 0.0, 1.0)
    for call in (
        lambda: fitted.predict(X, offset=ODD[odd]),
        lambda: fitted.log_density(X, y, offset=ODD[odd]),
        lambda: fitted.aic(X, y, zero_first, offset=ODD[odd]),
    ):
        with named("offset"):
            call()


def test_an_offset_of_other_rows_says_how_many(data, fitted):
    X, _ = data
    with named(rf"offset has shape \({N},\), {N} values for 5 rows") as caught:
        fitted.predict(X[:5], offset=np.zeros(N))
    assert "NaN" not in str(caught.value)
    with named(r"offset holds nan in row 7, and 1 values") as caught:
        fitted.predict(X, offset=np.where(np.arange(N) == 7, np.nan, 0.0))


@pytest.mark.parametrize("odd", [name for name in ODD if name != "none"] + ["negative", "table"])
def test_weights(odd, data, fitted):
    X, y = data
    weight = {**ODD, "negative": -np.ones(N), "table": pd.DataFrame({"w": np.ones(N)})}[odd]
    for call in (
        lambda: mixture().fit(X, y, weight),
        lambda: fitted.score(X, y, weight),
        lambda: fitted.bic(X, y, weight),
    ):
        with named("sample_weight.*Give every row a finite number"):
            call()
    with named("sample_weight", "MixtureOfExpertsClassifier"):
        mixture(MixtureOfExpertsClassifier).fit(X, (y > 0).astype(int), weight)


@pytest.mark.parametrize("odd", ["word", "object", "dict", "ragged", "sparse", *WRONG_SHAPE])
def test_groups(odd, data, fitted):
    X, y = data
    zero_first = np.where(np.arange(N) == 0, 0.0, 1.0)
    for call in (
        lambda: mixture(gate=ConstantGate()).fit(X, y, groups=ODD[odd]),
        lambda: fitted.log_density(X, y, groups=ODD[odd]),
        lambda: fitted.icl(X, y, zero_first, groups=ODD[odd]),
    ):
        with named("groups"):
            call()


@pytest.mark.parametrize("odd", ODD)
def test_expert_labels_and_init(odd, data):
    X, y = data
    with named("expert_labels"):
        mixture().fit(X, y, expert_labels=ODD[odd])
    if odd in ("words", "dates", "complex"):  # labels, of one kind
        with named("init has 1 distinct labels"):
            mixture(init=ODD[odd]).fit(X, y)
        return
    with pytest.raises(ValueError, match=r"MixtureOfExpertsRegressor.*init|'init' parameter"):
        mixture(init=ODD[odd]).fit(X, y)


@pytest.mark.parametrize("odd", ["word", "words", "object", "dict", "ragged", "complex", "dates"])
def test_targets(odd, data, fitted):
    X, y = data
    with named("y=.* cannot be read as numbers.*Give a target for each"):
        fitted.log_density(X, ODD[odd])
    model = mixture(MixtureOfExpertsClassifier).fit(X, (y > 0).astype(int))
    with named("y.*", "MixtureOfExpertsClassifier"):
        model.log_density(X, ODD[odd])
    with named("y.*known are", "MixtureOfExpertsClassifier"):
        model.log_density(X, y[1:] > 0)


@pytest.mark.parametrize("when", ["fit", "predict"])
@pytest.mark.parametrize(
    "offset", [np.arange(1.0, N + 1) * 9, np.full(N, 700.0)], ids=["wide", "far"]
)
def test_exposures_instead_of_their_logarithms(when, offset, data):
    X, _ = data
    y = np.arange(N) % 4
    model = mixture(family="poisson", max_iter=50, tol=1e-2)
    with named(r"offset goes from .*give np\.log\(exposure\)"):
        if when == "fit":
            model.fit(X, y, offset=offset)
        else:
            model.fit(X, y, offset=np.zeros(N)).predict(X, offset=offset)


# ---------------------------------------------------------------- criteria


def test_one_offset_for_all_rows_and_a_row_without_weight(data, fitted):
    X, y = data
    weight = np.where(np.arange(N) % 5 == 0, 0.0, 2.0)
    kept = weight > 0
    for name in ("aic", "bic", "icl"):
        criterion = getattr(fitted, name)
        expected = criterion(X[kept], y[kept], weight[kept], offset=np.full(kept.sum(), 0.3))
        for offset in (0.3, np.float32(0.3), np.array(0.3), np.full(N, 0.3)):
            assert_allclose(criterion(X, y, weight, offset=offset), expected, rtol=1e-6)
    frame = pd.DataFrame({"y": y})["y"]
    frame.index = np.arange(N)[::-1]  # positions count, not labels
    assert_allclose(fitted.aic(X, frame, weight), fitted.aic(X, y, weight))


# ---------------------------------------------------------------- parameters of parts


@pytest.mark.parametrize(
    "parameters, error, match",
    [
        ({"init": NearestCenter("ab")}, ValueError, "NearestCenter: centers='ab' cannot be read"),
        ({"init": NearestCenter([1, 2])}, ValueError, "NearestCenter: centers: Expected 2D array"),
        ({"init": NearestCenter(np.ones((2, 2, 2)))}, ValueError, "NearestCenter: centers: "),
        ({"init": NearestCenter([[0, np.nan], [1, 1]])}, ValueError, "NearestCenter: centers: "),
        ({"init": NearestCenter(np.eye(2), np.ones(3))}, ValueError, "metric must be a name"),
        ({"init": NearestCenter(np.eye(2), "far")}, ValueError, "NearestCenter: metric='far': "),
        ({"init": NearestCenter(np.eye(2), scaled="yes")}, ValueError, "scaled must be True or"),
        ({"init": KMeansStart(np.ones(2))}, ValueError, "KMeansStart: on must be 'X' or 'Xy', got"),
        ({"init": FeatureGroups(3)}, ValueError, "FeatureGroups: groups must be a list"),
        ({"init": FeatureGroups("ab")}, ValueError, "FeatureGroups: groups must be a list"),
        ({"init": FromEstimator(Ridge())}, TypeError, "estimator must have fit_predict.*Ridge"),
        ({"init": FromEstimator([1])}, TypeError, r"estimator must have fit_predict.*got \[1\]"),
        ({"gate": EstimatorGate("tree")}, TypeError, "EstimatorGate: estimator must .*got 'tree'"),
        ({"gate": EstimatorGate(None)}, TypeError, "EstimatorGate: estimator must .*got None"),
        ({"gate": NestedGate([(0,), (1,)], [])}, ValueError, "NestedGate: paths must .* a dict"),
        ({"gate": NestedGate([(0,), (1,)], "a")}, ValueError, "NestedGate: paths must .* a dict"),
    ],
    ids=lambda value: re.sub(r"\W+", " ", str(value))[:40],
)
def test_parts(parameters, error, match, data):
    with pytest.raises(error, match=match):
        mixture(**parameters).fit(*data)


@pytest.mark.parametrize("level", [np.ones(2), "1", 1.0, True, 2, {}], ids=str)
def test_levels(level, data, fitted):
    with named("level="):
        fitted.gate_proba(data[0], level=level)


@pytest.mark.parametrize("growing", [False, True])
def test_underflow_is_no_error_whatever_the_caller_has_set(growing):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 2))
    y = np.where(X[:, 0] > 0, 1 + X[:, 1], -1 - X[:, 1]) + 0.01 * rng.standard_normal(80)
    model = MixtureOfExpertsRegressor(n_experts="auto" if growing else 2, random_state=0)
    expected = model.fit(X, y).predict(X)
    with np.errstate(all="raise"):
        assert_array_equal(model.fit(X, y).predict(X), expected)
        assert np.geterr()["under"] == "raise"


def test_underflow_is_no_error_of_criteria_and_quantiles():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((5000, 5))
    y = np.where(X[:, 0] > 0, X[:, 1], 3 - X[:, 2]) + 0.5 * rng.standard_normal(5000)
    model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    expected = [model.aic(X, y), model.bic(X, y), model.icl(X, y), str(model.summary(X, y))]
    quantiles = model.predict_quantile(X, 0.1)
    with np.errstate(all="raise"):
        found = [model.aic(X, y), model.bic(X, y), model.icl(X, y), str(model.summary(X, y))]
        assert_array_equal(model.predict_quantile(X, 0.1), quantiles)
    assert found == expected
