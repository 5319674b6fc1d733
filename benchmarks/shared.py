"""A shared expert: what it adds on tables, in error on new rows.

Shuffled 5-fold cross-validation, one seed; root mean squared errors, inputs standardised. Routed
trees with and without a shared ridge; lines with and without shared boosting; boosting alone, and
boosting on the residuals of a ridge. Tables: concrete and auto_mpg (`--data DIR`), and two that are
generated: a line plus steps in twelve columns, and thirty linear pieces.

For classes, where the shared expert is a component, accuracy and log-loss of routed trees with and
without a shared logistic regression, on phoneme and segment (`--data DIR`) and a generated table.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import warnings
from pathlib import Path

import numpy as np
from real_data import load
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.routing import TopK


class Boosted(RegressorMixin, BaseEstimator):
    """A ridge, and boosting of its residuals."""

    def fit(self, X, y):
        self.line_ = RidgeCV().fit(X, y)
        self.rest_ = HistGradientBoostingRegressor(random_state=0).fit(X, y - self.line_.predict(X))
        return self

    def predict(self, X):
        return self.line_.predict(X) + self.rest_.predict(X)


def generated():
    """Return the two generated tables."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3000, 12))
    steps = 2.0 * (X[:, 0] > 0) * (X[:, 1] > 0.5) - 1.5 * (X[:, 2] > 1) + (X[:, 3] * X[:, 0] > 0)
    line = X @ rng.standard_normal(12)
    tables = {"line and steps": (X, line + steps + 0.5 * rng.standard_normal(3000))}
    centres, slopes = rng.standard_normal((30, 6)), rng.standard_normal((30, 6))
    X = rng.standard_normal((4000, 6))
    z = np.linalg.norm(X[:, None] - centres, axis=2).argmin(axis=1)
    y = X @ [3.0, -2.0, 1.0, 0.0, 1.0, 0.0] + np.sum(X * slopes[z], axis=1)
    tables["thirty pieces"] = X, y + 0.3 * rng.standard_normal(4000)
    return tables


def models():
    """Return the contenders."""
    tree = DecisionTreeRegressor(max_depth=6, min_samples_leaf=5)
    boosting = HistGradientBoostingRegressor(random_state=0)
    routed = {"routing": TopK(2), "n_experts": 4, "random_state": 0}
    return {
        "ridge": RidgeCV(),
        "boosting": boosting,
        "boosting on ridge's residuals": Boosted(),
        "routed trees": MixtureOfExpertsRegressor(tree, **routed),
        "routed trees, shared ridge": MixtureOfExpertsRegressor(
            tree, shared_expert=Ridge(), **routed
        ),
        "lines": MixtureOfExpertsRegressor(n_experts=4, random_state=0),
        "lines, shared ridge": MixtureOfExpertsRegressor(
            n_experts=4, shared_expert=Ridge(), random_state=0
        ),
        "lines, shared boosting": MixtureOfExpertsRegressor(
            n_experts=4, shared_expert=boosting, random_state=0, max_iter=20
        ),
    }


def classifiers():
    """Return the contenders for classes."""
    tree = DecisionTreeClassifier(max_depth=6, min_samples_leaf=5)
    line = LogisticRegression(max_iter=500)
    routed = {"routing": TopK(2), "n_experts": 4, "random_state": 0}
    return {
        "logistic regression": line,
        "routed trees": MixtureOfExpertsClassifier(tree, **routed),
        "routed trees, cross-fitted": MixtureOfExpertsClassifier(tree, cross_fit=True, **routed),
        "routed trees, shared logistic": MixtureOfExpertsClassifier(
            tree, shared_expert=line, **routed
        ),
    }


def numbers(tables):
    print(f"{'error':32}" + "".join(f"{name:>16}" for name in tables))
    for label, model in models().items():
        errors = []
        for X, y in tables.values():
            squares = []
            for train, test in KFold(5, shuffle=True, random_state=0).split(X):
                fitted = make_pipeline(StandardScaler(), clone(model)).fit(X[train], y[train])
                squares.append((fitted.predict(X[test]) - y[test]) ** 2)
            errors.append(np.sqrt(np.concatenate(squares).mean()))
        print(f"{label:32}" + "".join(f"{error:16.4f}" for error in errors), flush=True)


def classes(tables):
    print(f"{'accuracy, log-loss':32}" + "".join(f"{name:>16}" for name in tables))
    for label, model in classifiers().items():
        figures = []
        for X, y in tables.values():
            cut = KFold(5, shuffle=True, random_state=0)
            pipeline = make_pipeline(StandardScaler(), clone(model))
            proba = cross_val_predict(pipeline, X, y, cv=cut, method="predict_proba")
            right = accuracy_score(y, np.unique(y)[proba.argmax(axis=1)])
            figures.append(f"{right:.4f} {log_loss(y, proba):.4f}")
        print(f"{label:32}" + "".join(f"{figure:>16}" for figure in figures), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--only", choices=["numbers", "classes"])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    of_numbers = generated()
    of_classes = {
        "clusters": make_classification(
            3000, 12, n_informative=8, n_classes=3, n_clusters_per_class=4, random_state=0
        )
    }
    if options.data:
        of_numbers |= {name: load(options.data, name) for name in ("concrete", "auto_mpg")}
        of_classes |= {name: load(options.data, name) for name in ("phoneme", "segment")}
    if options.only != "classes":
        numbers(of_numbers)
    if options.only != "numbers":
        classes(of_classes)


if __name__ == "__main__":
    main()
