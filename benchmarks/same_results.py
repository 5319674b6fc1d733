"""Fits of every kind, for telling whether a change of the code changes a result.

    python benchmarks/same_results.py --save before.npz      # on one commit
    python benchmarks/same_results.py --against before.npz   # on the other

Saves or compares, bit by bit, `predict`, `gate_proba` and `lower_bounds_` of each fit. Uses public
names only, so that it runs on both commits. To be run on one machine with the same versions.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable

import numpy as np
from sklearn.datasets import load_iris, load_wine
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier as Classifier
from mixexp import MixtureOfExpertsRegressor as Regressor
from mixexp.datasets import load_auto_mpg, load_tone, make_piecewise_linear
from mixexp.gates import ConstantGate, GaussianGate, HierarchicalGate, SoftmaxGate
from mixexp.partitions import KMeansStart

#: A fit: estimator, X, y, and what else `fit` takes.
Fit = tuple[object, np.ndarray, np.ndarray, dict]


def fits() -> dict[str, Callable[[], Fit]]:
    """Return fits by name, each made when it is called."""
    rng = np.random.default_rng(0)
    X, y = load_auto_mpg(return_X_y=True)
    X, y = np.asarray(X, dtype=float), np.asarray(y, dtype=float)
    tone, tuned = load_tone(return_X_y=True)
    pieces, heights = make_piecewise_linear(600, n_features=2, random_state=0)[:2]
    iris, species = load_iris(return_X_y=True)
    wine, cultivar = load_wine(return_X_y=True)
    wine = StandardScaler().fit_transform(wine)
    counts = rng.poisson(np.exp(0.3 * pieces[:, 0] + (pieces[:, 1] > 0)))
    exposure = np.log(rng.uniform(0.5, 2.0, len(pieces)))
    patients = np.repeat(np.arange(200), 3)
    constant = np.repeat(rng.normal(size=(200, 2)), 3, axis=0)
    labels = np.where(rng.random(len(X)) < 0.1, (X[:, 0] > 5).astype(int), -1)
    weight = rng.integers(0, 4, len(X))
    gappy = np.where(rng.random(X.shape) < 0.03, np.nan, X)
    tree = DecisionTreeRegressor(max_depth=3)
    start = {"random_state": 0, "n_init": 6}
    return {
        "numbers, defaults": lambda: (Regressor(random_state=0), X, y, {}),
        "two outputs, shared columns": lambda: (
            Regressor(n_experts=3, expert_features=[0, 1, 2], **start),
            *(X, np.c_[y, X[:, 0]], {}),
        ),
        "student_t, weights": lambda: (
            Regressor(Ridge(2.0), 3, family="student_t", **start),
            *(X, y, {"sample_weight": weight}),
        ),
        "laplace, constant gate, hard": lambda: (
            Regressor(
                n_experts=2, gate=ConstantGate(), family="laplace", assignment="hard", **start
            ),
            *(tone, tuned, {}),
        ),
        "poisson, offset": lambda: (
            Regressor(PoissonRegressor(alpha=0.1), 2, family="poisson", **start),
            *(pieces, counts, {"offset": exposure}),
        ),
        "gamma, usage prior": lambda: (
            Regressor(n_experts=3, family="gamma", gate=SoftmaxGate(usage_prior=2.0), **start),
            *(pieces, np.abs(heights) + 0.1, {}),
        ),
        "noise, labels": lambda: (
            Regressor(n_experts=2, noise_expert=True, **start),
            *(X, y, {"expert_labels": labels}),
        ),
        "groups, Gaussian gate": lambda: (
            Regressor(n_experts=2, gate=GaussianGate(), gate_features=[0, 1], **start),
            np.c_[constant, pieces],
            np.where(constant[:, 0] > 0, 1, -1) * pieces[:, 0] + 0.1 * heights,
            {"groups": patients},
        ),
        "tree gate": lambda: (
            Regressor(LinearRegression(), 4, gate=HierarchicalGate((2, 2)), **start),
            *(pieces, heights, {}),
        ),
        "classifier gate, missing values": lambda: (
            Regressor(tree, 3, gate=GaussianNB(), gate_features=[0], **start, max_iter=8),
            np.c_[X[:, 0], gappy[:, 1:]],
            *(y, {}),
        ),
        "list of experts, stochastic": lambda: (
            Regressor(
                [("line", make_pipeline(StandardScaler(), Ridge())), ("tree", tree)],
                *(2,),
                assignment="stochastic",
                max_iter=8,
                **start,
            ),
            *(X, y, {}),
        ),
        "nested, noise": lambda: (
            Regressor(
                [("mixture", Regressor(Ridge(), 2)), ("line", Ridge()), ("other", Ridge(5.0))],
                *(3,),
                noise_expert=True,
                **start,
            ),
            *(pieces, heights, {}),
        ),
        "classes, defaults": lambda: (Classifier(n_experts=2, random_state=0), iris, species, {}),
        "classes, tree gate, weights": lambda: (
            Classifier(
                LogisticRegression(C=2.0),
                4,
                gate=HierarchicalGate((2, 2), usage_prior=1.0),
                class_weight="balanced",
                **start,
            ),
            *(wine, cultivar, {"sample_weight": 1.0 + np.arange(len(wine)) % 2}),
        ),
        "classes, Gaussian gate, noise": lambda: (
            Classifier(n_experts=2, gate=GaussianGate("diag"), noise_expert=True, **start),
            *(iris, species, {}),
        ),
        "classes, naive Bayes experts": lambda: (
            Classifier(GaussianNB(), 2, init=KMeansStart(), max_iter=8, **start),
            *(wine, cultivar, {}),
        ),
        "collapse, many experts": lambda: (
            Regressor(n_experts=9, random_state=3, n_init=3, on_collapse="drop"),
            *(tone, tuned, {}),
        ),
    }


def results() -> dict[str, np.ndarray]:
    """Return what is compared, by fit and method."""
    found = {}
    for name, make in fits().items():
        model, X, y, more = make()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(X, y, **more)
        found[f"{name}: predict"] = model.predict(X)
        found[f"{name}: gate_proba"] = model.gate_proba(X)
        found[f"{name}: lower_bounds_"] = model.lower_bounds_
    return found


def main() -> int:
    """Save or compare; return 1 where something differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--save", metavar="FILE")
    parser.add_argument("--against", metavar="FILE")
    options = parser.parse_args()
    found = results()
    if options.save:
        np.savez(options.save, **found)
    if not options.against:
        print(f"{len(found)} results of {len(fits())} fits")
        return 0
    before = np.load(options.against)
    differ = [
        name
        for name in before.files
        if name not in found or before[name].tobytes() != found[name].tobytes()
    ]
    for name in differ:
        print(f"differs: {name}")
    print(f"{len(before.files) - len(differ)} of {len(before.files)} results are bit-equal")
    return 1 if differ or set(found) - set(before.files) else 0


if __name__ == "__main__":
    raise SystemExit(main())
