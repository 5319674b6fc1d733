"""Every gate with every router: what all of them promise."""

import numpy as np
import pytest
from _thin import thinned
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.gates import (
    ConstantGate,
    EstimatorGate,
    GaussianGate,
    HierarchicalGate,
    NestedGate,
    SoftmaxGate,
)
from mixexp.routing import ExpertChoice, Switch, Threshold, TopK, TopP

K = 4

GATES = {
    "softmax": SoftmaxGate(),
    "softmax, unpenalised": SoftmaxGate(0.0),
    "softmax, elastic net": SoftmaxGate(1.0, l1_ratio=0.5),
    "softmax, usage prior": SoftmaxGate(usage_prior=3.0, temperature=2.0),
    "constant": ConstantGate(),
    "constant, usage prior": ConstantGate(usage_prior=3.0),
    "full": GaussianGate(),
    "tied": GaussianGate("tied"),
    "diag": GaussianGate("diag"),
    "spherical": GaussianGate("spherical", usage_prior=3.0),
    "tree of gates": HierarchicalGate((2, 2)),
    "nested": NestedGate([(0,), (1, 0), (1, 1), (1, 2)], {(): None, (1,): None}),
    "tree": EstimatorGate(DecisionTreeClassifier(max_depth=3, random_state=0)),
    "logistic": LogisticRegression(),
    "naive Bayes": GaussianNB(),
}
ROUTERS = {
    "top 1": TopK(1),
    "top 2": TopK(2),
    "top 2, bias": TopK(2, balance="bias"),
    "top 1, assignment": TopK(1, balance="assignment"),
    "rest to mean": TopK(1, False, fallback="mean"),
    "top p": TopP(0.7),
    "switch": Switch(),
    "switch, fallback": Switch(0.6, "fallback", fallback="mean", balance="bias"),
    "expert choice": ExpertChoice(),
    "threshold": Threshold(0.3, temperature=0.5),
    "jitter": TopP(0.9, jitter=0.2),
}
KINDS = [MixtureOfExpertsRegressor, MixtureOfExpertsClassifier]


def data(classes):
    """Return X, y of four quarters of the plane, and the quarter."""
    rng = np.random.default_rng(5)
    X = rng.uniform(-1, 1, (70, 2))
    quarter = 2 * (X[:, 0] > 0) + (X[:, 1] > 0)
    signal = np.array([3.0, -2.0, -4.0, 2.0])[quarter] * X[:, 0] + X[:, 1]
    y = signal + 0.2 * rng.standard_normal(70)
    return X, (y > np.median(y)).astype(int) if classes else y, quarter


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("gate, router, kind", thinned(GATES, ROUTERS, KINDS, every=12))
def test_contract(gate, router, kind):
    gate, router = GATES[gate], ROUTERS[router]
    generative = isinstance(gate, GaussianGate)
    if router.needs_fallback and generative:
        router = TopK(2)
    if router.jitter and hasattr(gate, "fit" if hasattr(gate, "fit") else "estimator"):
        router = TopP(0.9)
    classes = kind is MixtureOfExpertsClassifier
    X, y, quarter = data(classes)
    weight = np.random.default_rng(0).integers(1, 3, len(X)).astype(float)
    model = kind(n_experts=K, gate=gate, init=quarter, routing=router, max_iter=3, random_state=0)
    model.fit(X, y, weight)
    far = np.vstack([X, 1e6 * X, [[1e6, -1e6], [0, 1e6]]])
    weights = model.route(far)
    assert weights.shape == (len(far), K + router.needs_fallback)
    assert_allclose(weights.sum(axis=1), 1.0, rtol=0, atol=1e-12)
    assert np.all(weights >= 0)
    if router.k is not None:
        assert_array_equal((weights[:, :K] > 0).sum(axis=1), router.k)
    assert np.all((weights > 0).any(axis=1))
    predicted = model.predict_proba(far) if classes else model.predict(far)
    assert np.all(np.isfinite(predicted))
    assert not np.any(np.isnan(model.log_density(far, np.resize(y, len(far)))))
    assert np.isfinite(model.lower_bound_)
    loads = model.routing_.loads_
    assert loads.shape == (K + router.needs_fallback,)
    assert loads.sum() >= weight.sum() - 1e-9
    assert 1 / K - 1e-9 <= model.active_fraction_ <= 1
