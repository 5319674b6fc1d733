"""Every kind of mixture, each once: what scikit-learn's checks, files and threads are tested over.

A new gate, family, router, basis, assignment, start or pooling needs a line here:
`test_configurations.py` says which has none.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.linear_model import (
    GammaRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mixexp import CascadeClassifier, CascadeRegressor
from mixexp import MixtureOfExpertsClassifier as Classifier
from mixexp import MixtureOfExpertsRegressor as Regressor
from mixexp.bases import QuantileBasis
from mixexp.experts import ExpertPool
from mixexp.gates import (
    ConstantGate,
    EstimatorGate,
    GaussianGate,
    HierarchicalGate,
    NestedGate,
    SoftmaxGate,
)
from mixexp.partitions import FeatureGroups, FromEstimator, NearestCenter
from mixexp.routing import ExpertChoice, Switch, Threshold, TopK, TopP

#: A fit that goes through all its parts, and no further.
RUN = {"n_init": 1, "max_iter": 6, "tol": 1e-2, "random_state": 0}

#: Rows of a problem: enough for four experts of two columns.
N_ROWS = 160


@dataclass(frozen=True)
class Configuration:
    """An estimator that is not fitted, and what it is for."""

    estimator: object
    #: Kind of target, see `problem`.
    target: str = "numbers"
    #: Whether all parts have sums over rows: then passes over blocks may run in threads.
    additive: bool = True
    #: Why scikit-learn's checks cannot be made, or None.
    unchecked: str | None = None

    @property
    def classifies(self):
        """Whether it predicts classes."""
        return self.target == "classes"

    def problem(self):
        """Return X and y to fit it to."""
        return problem(self.target)

    def fitted(self, **params):
        """Return a fitted clone."""
        return clone(self.estimator).set_params(**params).fit(*self.problem())


def problem(target, n_rows=N_ROWS):
    """Return two columns in [-1, 1], and a target with a kink in the first of them."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (n_rows, 2))
    y = np.abs(X[:, 0]) + X[:, 1] + 0.1 * rng.normal(size=n_rows)
    if target == "classes":
        return X, np.array(["ash", "elm", "oak"])[np.digitize(y, [0.2, 0.9])]
    if target == "events":
        return X, (y > 0.5).astype(float)
    if target == "counts":
        return X, rng.poisson(np.exp(y)).astype(float)
    if target == "positive":
        return X, np.exp(y)
    return X, np.column_stack([y, -y]) if target == "pairs" else y


def regressor(expert=None, n_experts=2, **params):
    return Regressor(expert, n_experts, **RUN | params)


def classifier(expert=None, n_experts=2, **params):
    return Classifier(expert, n_experts, **RUN | params)


def uneven():
    return NestedGate([(0,), (1, 0), (1, 1)], {(): None, (1,): ConstantGate()})


def numbers(expert=None, n_experts=2, additive=True, **params):
    return Configuration(regressor(expert, n_experts, **params), additive=additive)


def classes(expert=None, n_experts=2, additive=True, **params):
    return Configuration(classifier(expert, n_experts, **params), "classes", additive)


COUNTS = "the checks have targets that are no whole numbers"
EVENTS = "the checks have targets above 1"


def family(name, target, unchecked, expert=None, n_experts=2, **params):
    mixture = regressor(expert, n_experts, family=name, **params)
    return Configuration(mixture, target, unchecked=unchecked)


#: One row or two for every gate.
GATES = {
    "softmax": numbers(),
    "softmax, L1": numbers(Lasso(0.1), gate=SoftmaxGate(l1_ratio=1.0)),
    "softmax, usage prior": numbers(gate=SoftmaxGate(usage_prior=2.0)),
    "constant": numbers(gate=ConstantGate()),
    "gaussian": numbers(gate=GaussianGate()),
    "gaussian, tied": classes(gate=GaussianGate("tied")),
    "tree": numbers(n_experts=4, gate=HierarchicalGate((2, 2))),
    "tree of classes": classes(n_experts=4, gate=HierarchicalGate((2, 2))),
    "tree, usage prior": numbers(n_experts=4, gate=HierarchicalGate((2, 2), usage_prior=2.0)),
    "tree, noise": numbers(n_experts=4, gate=HierarchicalGate((2, 2)), noise_expert=True),
    "one level": numbers(gate=HierarchicalGate((2,))),
    "uneven tree": numbers(n_experts=3, gate=uneven()),
    "estimator as gate": numbers(
        gate=EstimatorGate(DecisionTreeClassifier(max_depth=2)), additive=False
    ),
    "classifier as gate": classes(gate=LogisticRegression(), additive=False),
}

FAMILIES = {
    "student_t": numbers(family="student_t"),
    "laplace": numbers(family="laplace"),
    "poisson": family("poisson", "counts", COUNTS),
    "negative_binomial": family("negative_binomial", "counts", COUNTS),
    "gamma": family("gamma", "positive", None),
    "binomial": family("binomial", "events", EVENTS),
    "zeros": family("negative_binomial", "counts", COUNTS, zero_expert=True),
    "several outputs": Configuration(regressor(), "pairs"),
}

ROUTINGS = {
    "top 2": numbers(n_experts=3, routing=TopK(2, balance="bias")),
    "top 2 of a tree": numbers(n_experts=4, gate=HierarchicalGate((2, 2)), routing=TopK(2)),
    "rest to mean": numbers(routing=TopK(1, False, fallback="mean")),
    "top p": classes(n_experts=3, routing=TopP(0.8)),
    "threshold": numbers(n_experts=3, routing=Threshold(0.2)),
    "switch": classes(routing=Switch()),
    "expert choice": numbers(Ridge(), routing=ExpertChoice()),
    "argmax": numbers(pooling="argmax"),
}

EXPERTS = {
    "one expert": numbers(n_experts=1),
    "one expert of classes": classes(n_experts=1),
    "classes": classes(),
    "least squares": numbers(LinearRegression()),
    "ridge": numbers(Ridge()),
    "logistic": classes(LogisticRegression()),
    "logistic, L1": classes(LogisticRegression(C=0.5, l1_ratio=1.0, solver="saga")),
    "counts": family("poisson", "counts", COUNTS, PoissonRegressor()),
    "amounts": family("gamma", "positive", None, GammaRegressor()),
    "trees": numbers(DecisionTreeRegressor(max_depth=2), cross_fit=2, additive=False),
    "trees of classes": classes(
        DecisionTreeClassifier(max_depth=2, min_weight_fraction_leaf=0.01),
        cross_fit=2,
        additive=False,
    ),
    "pipeline": numbers(make_pipeline(StandardScaler(), Ridge()), additive=False),
    "pool": numbers(ExpertPool([Ridge(), Ridge(10.0)]), additive=False),
    "different": numbers([("stiff", Ridge(10.0)), ("free", LinearRegression())], additive=False),
    "noise": numbers(noise_expert=True),
    "noise of classes": classes(noise_expert=True),
    "shared": numbers(shared_expert=Ridge()),
    "shared, in turn": numbers(
        make_pipeline(StandardScaler(), Ridge()), shared_expert=Ridge(), additive=False
    ),
    "shared component": classes(shared_expert=LogisticRegression(), additive=False),
    "own columns": Configuration(
        regressor(gate_features=[0], expert_features=[[0, 1], [1]]),
        unchecked="some checks have a single column",
    ),
    "quantile and spline": numbers(gate_basis="quantile", expert_basis="spline"),
    "spline and quantile": classes(gate_basis="spline", expert_basis="quantile"),
    "linear": numbers(gate_basis="linear", expert_basis="linear"),
    "transformer as basis": numbers(gate_basis=QuantileBasis(20)),
}

#: A mixture in place of an expert, the number of experts found by the fit, and two models in turn.
COMPOUNDS = {
    "nested": numbers(Regressor(n_experts=2)),
    "nested, noise": numbers(Regressor(n_experts=2), noise_expert=True),
    "nested classes": classes(Classifier(n_experts=2)),
    "nested twice": numbers(
        [("deep", Regressor(Regressor(n_experts=2), n_experts=2)), ("flat", Regressor())]
    ),
    "tree in a mixture": numbers(Regressor(n_experts=4, gate=HierarchicalGate((2, 2)))),
    "auto": numbers(n_experts="auto", max_experts=3),
    "auto, classes": classes(n_experts="auto", max_experts=3),
    "cascade": Configuration(
        CascadeRegressor(Ridge(), regressor(), cv=3, random_state=0), additive=False
    ),
    "cascade of classes": Configuration(
        CascadeClassifier(LogisticRegression(), classifier(), cv=3, random_state=0),
        "classes",
        additive=False,
    ),
}

ASSIGNMENTS = {
    "hard": numbers(assignment="hard"),
    "stochastic": classes(assignment="stochastic"),
}

#: Starts: a name each, and two objects.
STARTS = {
    f"start: {init}": numbers(init=init)
    for init in ("clusterwise", "kmeans", "kmeans_xy", "model_tree", "random", "split", "tree")
} | {
    "start: nearest center": numbers(init=NearestCenter([[-1.0, 0.0], [1.0, 0.0]])),
    "start: clusterer": numbers(init=FromEstimator(KMeans(2, n_init=1, random_state=0))),
    "start: feature groups": numbers(init=FeatureGroups([[0], [1]])),
}

CONFIGURATIONS: dict[str, Configuration] = {
    **GATES,
    **FAMILIES,
    **ROUTINGS,
    **EXPERTS,
    **COMPOUNDS,
    **ASSIGNMENTS,
    **STARTS,
}


def shared_out(names, every):
    """Return names for `parametrize`: one in so many is in every run, all are in `.ci/nightly`."""
    marks = [() if place % every == 0 else pytest.mark.slow for place in range(len(names))]
    return [pytest.param(name, marks=mark) for name, mark in zip(names, marks, strict=True)]
