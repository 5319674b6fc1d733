"""Starts that a user gives: names, labels, clusterers."""

import numpy as np
import pytest
from _two_regimes import FRAMES, assert_same_fit, data_for
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.ensemble import IsolationForest

from mixexp.gates import SoftmaxGate

# Whether a fit converges is the matter of a few tests, which look for it; most compare two fits.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Halves:
    """The least that can be an `init`: no estimator, only `fit_predict`."""

    def __init__(self, column=0):
        self.column = column

    def fit_predict(self, X):
        values = X[self.column] if isinstance(self.column, str) else np.asarray(X)[:, self.column]
        return np.where(np.asarray(values) > 0, "high", "low")


def test_a_clusterer_is_its_labels(default):
    X, y = data_for(default)
    by_object = clone(default).set_params(init=Halves()).fit(X, y)
    by_labels = clone(default).set_params(init=np.where(X[:, 0] > 0, "high", "low")).fit(X, y)
    by_codes = clone(default).set_params(init=(X[:, 0] < 0).astype(int)).fit(X, y)
    indicator = np.column_stack([X[:, 0] > 0, X[:, 0] <= 0]).astype(float)
    by_resp = clone(default).set_params(init=indicator).fit(X, y)
    for other in (by_labels, by_resp):
        assert_same_fit(by_object, other, X)
    assert_same_fit(by_object, by_codes, X)
    assert len(by_object.restarts_) == len(by_labels.restarts_) == 1
    frame = FRAMES["pandas"](X)
    assert_same_fit(by_object, clone(default).set_params(init=Halves("a")).fit(frame, y), X, frame)


def test_starts_from_scikit_learn_objects(default):
    rng = np.random.default_rng(0)
    X, y = data_for(default)
    X[:, 1] += 10 * (rng.random(len(y)) < 0.4)  # two clear clusters
    clusters = (X[:, 1] > 5).astype(int)
    by_labels = clone(default).set_params(init=clusters).fit(X, y)
    by_means = clone(default).set_params(init=KMeans(2, n_init=1, random_state=0)).fit(X, y)
    assert sorted(by_means.usage_) == pytest.approx(sorted(by_labels.usage_), rel=1e-6)
    assert by_means.lower_bound_ == pytest.approx(by_labels.lower_bound_, rel=1e-9)
    assert len(by_means.restarts_) == 1
    # no seed of its own: every start is another one
    several = clone(default).set_params(init=KMeans(2), n_init=3).fit(X, y)
    assert len(several.restarts_) == 3
    assert not hasattr(several.init, "labels_")


def test_outlier_detectors_split_off_the_odd_rows(default):
    X, y = data_for(default)
    X[:12] += 20
    model = default.set_params(
        init=IsolationForest(random_state=0), gate=SoftmaxGate(alpha=0.3), max_iter=1
    ).fit(X, y)
    assert len(model.restarts_) == 1
    odd = model.gate_proba(X[:12]).argmax(axis=1)
    rest = model.gate_proba(X[12:]).argmax(axis=1)
    assert len(set(odd)) == 1
    assert np.mean(rest != odd[0]) > 0.9


@pytest.mark.parametrize("init", ["clusterwise", "kmeans", "random"])
def test_named_starts(default, init):
    X, y = data_for(default)
    model = default.set_params(init=init, n_init=3).fit(X, y)
    assert len(model.restarts_) == 3
    assert len({start.seed for start in model.restarts_}) == 3
    best = clone(default).set_params(init="clusterwise", n_init=10).fit(X, y)
    assert model.lower_bound_ > best.lower_bound_ - 0.05
