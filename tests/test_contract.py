"""Every gate with every start, for regressor and classifier: what all of them promise."""

import numpy as np
import pytest
from _thin import thinned
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.cluster import Birch, KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._engine.guard import FALL_TOL
from mixexp.gates import GATES, ConstantGate, EstimatorGate, GaussianGate, SoftmaxGate
from mixexp.partitions import PARTITIONS

K = 4

ALL_GATES = {
    **{gate.__name__: gate() for gate in GATES},
    "softmax, unpenalised": SoftmaxGate(0.0),
    "softmax, L1": SoftmaxGate(1.0, l1_ratio=1.0),
    "softmax, usage prior": SoftmaxGate(usage_prior=3.0, temperature=2.0),
    "constant, usage prior": ConstantGate(usage_prior=3.0),
    "tied": GaussianGate("tied"),
    "diag": GaussianGate("diag"),
    "spherical": GaussianGate("spherical", usage_prior=3.0),
    "tree": EstimatorGate(DecisionTreeClassifier(max_depth=3, random_state=0)),
    "logistic": LogisticRegression(),
    "naive Bayes": GaussianNB(),
}


def data(classes):
    """Return X, y of four quarters of the plane, and the quarter."""
    rng = np.random.default_rng(5)
    X = rng.uniform(-1, 1, (70, 2))
    quarter = 2 * (X[:, 0] > 0) + (X[:, 1] > 0)
    signal = np.array([3.0, -2.0, -4.0, 2.0])[quarter] * X[:, 0] + X[:, 1]
    y = signal + 0.2 * rng.standard_normal(70)
    return X, (y > np.median(y)).astype(int) if classes else y, quarter


class Quarters:
    """A start of the user's own: a protocol of one method."""

    random = False

    def responsibilities(self, context, rng):
        quarter = 2 * (context.features[:, 0] > 0) + (context.features[:, 1] > 0)
        return np.equal(quarter, np.arange(K)[:, None]).astype(float)


ALL_STARTS = {
    **{name: name for name in PARTITIONS},
    "labels": data(False)[2],
    "responsibilities": 0.7 * np.eye(K)[data(False)[2]] + 0.3 / K,
    "clusterer": KMeans(K, n_init=1, random_state=0),
    "clusterer without seed": Birch(n_clusters=K, threshold=0.1),
    "own": Quarters(),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "gate, start, kind",
    thinned(
        ALL_GATES,
        ALL_STARTS,
        [MixtureOfExpertsRegressor, MixtureOfExpertsClassifier],
        every=4,
        always=["mixed"],
    ),
)
def test_contract(gate, start, kind):
    classes = kind is MixtureOfExpertsClassifier
    X, y, _ = data(classes)
    gate, init = ALL_GATES[gate], ALL_STARTS[start]
    model = kind(n_experts=K, gate=gate, init=init, n_init=2, max_iter=4, tol=0, random_state=0)
    weight = np.random.default_rng(0).integers(1, 3, len(X))
    model.fit(X, y, sample_weight=weight)

    # rows of the gate sum to 1, at the data and a million standard deviations away
    far = np.vstack([X, 1e6 * X, [[1e6, -1e6], [0, 1e6]]])
    proba = model.gate_proba(far)
    assert proba.shape == (len(far), K)
    assert_allclose(proba.sum(axis=1), 1.0, rtol=0, atol=1e-12)
    assert np.all(proba >= 0)
    assert np.all(np.isfinite(model.predict_proba(far) if classes else model.predict(far)))
    assert np.all(np.isfinite(model.log_density(X, y)))

    # the bound belongs to the model, and never falls where every part is a likelihood fit
    additive = not hasattr(gate, "fit") and not hasattr(gate, "estimator")
    assert model.lower_bound_ == model.lower_bounds_.max()
    if additive:
        falls = np.diff(model.lower_bounds_) / np.maximum(1, np.abs(model.lower_bounds_[1:]))
        assert falls.min(initial=0.0) >= -FALL_TOL  # after a restart there may be none
        total = model.log_density(X, y) @ weight
        if hasattr(model.gate_, "log_marginal"):
            rows = model._new_rows(X)
            total += sum(model.gate_.log_marginal(b) @ weight for b in measured_blocks(model, rows))
        prior = model._model.bank.log_prior() + model.gate_.log_prior()
        prior += usage_prior(gate, model)
        assert_allclose(model.lower_bound_, (total + prior) / weight.sum(), rtol=1e-10)

    # weight 2 is the row twice
    again = clone(model)
    if isinstance(init, np.ndarray):
        again.set_params(init=np.repeat(init, weight, axis=0))
    again.fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    assert_array_equal(again.gate_proba(X), model.gate_proba(X))
    assert_array_equal(again.predict(X), model.predict(X))


def measured_blocks(model, rows):
    """Yield blocks for which the gate has looked at x."""
    for block in rows.blocks():
        model.gate_.log_prob(block)
        yield block


def usage_prior(gate, model):
    """Return the part of the log-prior that the fitted gate no longer has."""
    if not isinstance(gate, SoftmaxGate):
        return 0.0
    return gate.usage_prior * np.sum(np.log(model.usage_))
