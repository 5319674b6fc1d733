"""Default mixtures beside other models of scikit-learn and Cubist, out of sample.

Protocol: one shuffled 5-fold cross-validation (`--seed`), classes stratified, inputs standardised
on the training part; what is not at its default is in the lists below. Error is the RMSE over the
rows of all folds; of classes, accuracy and log-loss. Time is process time of fit and predict, one
thread for all, over that of gradient boosting.

There is no target: docs/comparison.md has the tables. Cubist is left out where it is not installed
(`pip install cubist`). `--data DIR` adds three tables of classes.
"""

import argparse
import time
import warnings
from pathlib import Path

import _one_thread  # noqa: F401  # first
import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_diabetes
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    StackingRegressor,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.datasets import load_auto_mpg, load_concrete

REFERENCE = "gradient boosting"
CLASS_TABLES = ("banana", "phoneme", "segment")
#: Settings of the mixtures with bases.
QUANTILES = {
    "n_experts": "auto",
    "gate_basis": "quantile",
    "expert_basis": "quantile",
    "random_state": 0,
}
RIDGE = RidgeCV(alphas=np.logspace(-3, 3, 13))


class ClusterThenFit(RegressorMixin, BaseEstimator):
    """K-means on X, then a ridge regression in each cluster."""

    def fit(self, X, y):
        """Fit the clusters, then their lines."""
        self.clusters_ = KMeans(4, n_init=10, random_state=0).fit(X)
        labels = self.clusters_.labels_
        self.lines_ = [clone(RIDGE).fit(X[labels == k], y[labels == k]) for k in range(4)]
        return self

    def predict(self, X):
        """Predict by the line of the nearest cluster."""
        lines = np.column_stack([line.predict(X) for line in self.lines_])
        return lines[np.arange(len(X)), self.clusters_.predict(X)]


def regressors():
    """Return the contenders for numbers, by name."""
    tree = DecisionTreeRegressor(min_samples_leaf=5, random_state=0)
    parts = [("ridge", RIDGE), ("tree", tree), ("neighbours", KNeighborsRegressor())]
    models = {
        "ridge regression": RIDGE,
        "decision tree, leaves of 5 rows": tree,
        "k-means, a ridge regression each": ClusterThenFit(),
        "stacking of ridge, tree, neighbours": StackingRegressor(parts, RIDGE),
        "random forest, 300 trees": RandomForestRegressor(300, random_state=0),
        REFERENCE: HistGradientBoostingRegressor(random_state=0),
        "mixture, 4 experts": MixtureOfExpertsRegressor(random_state=0),
        'mixture, n_experts="auto"': MixtureOfExpertsRegressor(n_experts="auto", random_state=0),
        "the same, quantile bases": MixtureOfExpertsRegressor(**QUANTILES),
    }
    try:
        from cubist import Cubist
    except ImportError:
        return models
    models["Cubist, one rule set"] = Cubist()
    models["Cubist, 20 committees, 5 neighbours"] = Cubist(n_committees=20, neighbors=5)
    return models


def classifiers():
    """Return the contenders for classes, by name."""
    tree = DecisionTreeClassifier(min_samples_leaf=5, random_state=0)
    line = LogisticRegression(max_iter=1000)
    parts = [("line", line), ("tree", tree), ("neighbours", KNeighborsClassifier())]
    return {
        "logistic regression": line,
        "decision tree, leaves of 5 rows": tree,
        "stacking of logistic, tree, neighbours": StackingClassifier(parts, line),
        "random forest, 300 trees": RandomForestClassifier(300, random_state=0),
        REFERENCE: HistGradientBoostingClassifier(random_state=0),
        "mixture, 4 experts": MixtureOfExpertsClassifier(random_state=0),
        'mixture, n_experts="auto"': MixtureOfExpertsClassifier(n_experts="auto", random_state=0),
        "the same, quantile bases": MixtureOfExpertsClassifier(**QUANTILES),
    }


def out_of_fold(model, X, y, folds, method):
    """Return predictions of the held-out rows, and the process time that they took."""
    found, began = None, time.process_time()
    for train, test in folds:
        fitted = make_pipeline(StandardScaler(), clone(model)).fit(X[train], y[train])
        part = np.asarray(getattr(fitted, method)(X[test]))
        if found is None:
            found = np.zeros((len(y), *part.shape[1:]))
        found[test] = part
    return found, time.process_time() - began


def scores_of_table(table, X, y, seed):
    """Return the score of each contender as text, and its process time."""
    numbers = table not in CLASS_TABLES
    splitter = (KFold if numbers else StratifiedKFold)(5, shuffle=True, random_state=seed)
    folds = list(splitter.split(X, y))
    scores, seconds = {}, {}
    for name, model in (regressors() if numbers else classifiers()).items():
        method = "predict" if numbers else "predict_proba"
        found, seconds[name] = out_of_fold(model, X, y, folds, method)
        if numbers:
            scores[name] = f"{np.sqrt(np.mean((found - y) ** 2)):.3g}"
        else:
            right = accuracy_score(y, np.unique(y)[found.argmax(axis=1)])
            scores[name] = f"{right:.3f} ({log_loss(y, found):.3f})"
    return scores, seconds


def tables(folder):
    """Yield the name of each table with X and y."""
    yield "auto_mpg", *load_auto_mpg(return_X_y=True)
    yield "concrete", *load_concrete(return_X_y=True)
    yield "diabetes", *load_diabetes(return_X_y=True)
    for name in CLASS_TABLES if folder else ():
        with np.load(folder / f"{name}.npz") as arrays:
            yield name, arrays["X"].astype(float), arrays["y"]


def main():
    """Print a table of scores and times for each table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with tables of classes")
    parser.add_argument("--seed", type=int, default=0, help="of the folds")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    warnings.filterwarnings("ignore", message="X does not have valid feature names")  # Cubist
    for table, X, y in tables(options.data):
        figure = "accuracy (log-loss)" if table in CLASS_TABLES else "RMSE"
        print(f"\n| {table}, {len(y)} × {X.shape[1]} | {figure} | time |\n|---|---|---|")
        scores, seconds = scores_of_table(table, X, y, options.seed)
        for name, score in scores.items():
            print(f"| {name} | {score} | {seconds[name] / seconds[REFERENCE]:.2g} |", flush=True)


if __name__ == "__main__":
    main()
