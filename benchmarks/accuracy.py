"""Mixtures with ``n_experts="auto"`` beside what a user would take instead, out of sample.

Protocol: shuffled 5-fold cross-validation (``random_state=0``; `--seeds` for more), inputs scaled
by StandardScaler on the training part, everything else at its default or as in the lists below.
Numbers: RMSE over the rows of all folds, and the held-out log-density. Classes: accuracy and
log-loss. Time is process time of fits and predictions, one thread for all, over that of boosting.

Rivals that are not part of scikit-learn are left out where they are not installed. They need older
versions than mixexp does, so they have an environment of their own::

    python3 -m venv rivals
    rivals/bin/pip install -e . -r benchmarks/accuracy_models.txt
    rivals/bin/python benchmarks/accuracy.py --data DIR

A mixture of experts trained by gradient descent takes part where torch is installed. `--data` adds
four tables of classes.
"""

import argparse
import importlib.util
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import _one_thread  # noqa: F401  (first)
import numpy as np
from _results import Result, add_json, publish
from sklearn.base import BaseEstimator, RegressorMixin, clone, is_classifier
from sklearn.cluster import KMeans
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_wine,
    make_friedman1,
    make_friedman2,
    make_friedman3,
)
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    StackingClassifier,
    StackingRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.model_selection import KFold, train_test_split
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.datasets import load_auto_mpg, load_concrete, make_piecewise_linear

BOOSTING, MIXTURE, QUANTILES = "boosting", "mixture", "mixture, experts on quantiles too"
FIXED = "mixture of 4"
CLUSTERED, M5, TREE, RULES = "k-means, ridge", "M5'", "linear tree", "Cubist, 1 rule set"
LOGISTIC, TORCH, NGB = "logistic regression", "torch mixture", "NGBoost"
#: What explains itself as a mixture does.
EXPLAINABLE = (CLUSTERED, M5, TREE, RULES)

NUMBERS = {
    "auto_mpg": lambda: load_auto_mpg(return_X_y=True),
    "concrete": lambda: load_concrete(return_X_y=True),
    "diabetes": lambda: load_diabetes(return_X_y=True),
    "friedman1": lambda: make_friedman1(1000, noise=1.0, random_state=0),
    "friedman2": lambda: make_friedman2(1000, noise=125.0, random_state=0),
    "friedman3": lambda: make_friedman3(1000, noise=0.1, random_state=0),
    "4 pieces": lambda: make_piecewise_linear(2000, 5, 4, random_state=0)[:2],
    "8 pieces": lambda: make_piecewise_linear(2000, 5, 8, random_state=0)[:2],
    "30 pieces": lambda: make_piecewise_linear(8000, 5, 30, random_state=0)[:2],
}
CLASSES = {
    "wine": lambda: load_wine(return_X_y=True),
    "breast cancer": lambda: load_breast_cancer(return_X_y=True),
    "digits": lambda: load_digits(return_X_y=True),
}
FILES = ("banana", "phoneme", "segment", "letter8k")
#: Tables on which the gradient-trained mixture is the one to beat.
AGAINST_TORCH = ("banana", "phoneme", "segment")
#: Tables with a target of their own: RMSE, and log-loss.
TARGETS = {"concrete": 5.4, "auto_mpg": 2.70}

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


class EarlyNGB(RegressorMixin, BaseEstimator):
    """NGBoost with at most 500 trees, stopped by a tenth of the rows."""

    def fit(self, X, y):
        """Fit it."""
        from ngboost import NGBRegressor

        A, B, a, b = train_test_split(X, y, test_size=0.1, random_state=0)
        self.model_ = NGBRegressor(n_estimators=500, random_state=0, verbose=False)
        self.model_.fit(A, a, X_val=B, Y_val=b, early_stopping_rounds=20)
        return self

    def predict(self, X):
        """Predict the mean."""
        return self.model_.predict(X)

    def log_density(self, X, y):
        """Log-density of y."""
        return self.model_.pred_dist(X).logpdf(y)


def installed(*names):
    """Whether all of these modules are there."""
    return all(importlib.util.find_spec(name) for name in names)


def regressors():
    """The contenders for numbers, by name."""
    tree = DecisionTreeRegressor(min_samples_leaf=5, random_state=0)
    parts = [("ridge", RIDGE), ("tree", tree), ("neighbours", KNeighborsRegressor())]
    auto = MixtureOfExpertsRegressor(n_experts="auto", random_state=0)
    models = {
        MIXTURE: auto,
        QUANTILES: clone(auto).set_params(expert_basis="quantile"),
        FIXED: MixtureOfExpertsRegressor(random_state=0),
        "ridge": RIDGE,
        CLUSTERED: ClusterThenFit(),
        "stacking": StackingRegressor(parts, RIDGE),
        BOOSTING: HistGradientBoostingRegressor(random_state=0),
    }
    if installed("m5py"):
        from m5py import M5Prime

        models[M5] = M5Prime()
    if installed("lineartree"):
        from lineartree import LinearTreeRegressor

        models[TREE] = LinearTreeRegressor(Ridge())
    if installed("cubist"):
        from cubist import Cubist

        models[RULES] = Cubist()
        models["Cubist, 20 committees, neighbours"] = Cubist(n_committees=20, neighbors=5)
    if installed("ngboost"):
        models[NGB] = EarlyNGB()
    return models


def classifiers():
    """The contenders for classes, by name."""
    tree = DecisionTreeClassifier(min_samples_leaf=5, random_state=0)
    line = LogisticRegression(max_iter=1000)
    parts = [("line", line), ("tree", tree), ("neighbours", KNeighborsClassifier())]
    auto = MixtureOfExpertsClassifier(n_experts="auto", random_state=0)
    models = {
        MIXTURE: auto,
        QUANTILES: clone(auto).set_params(expert_basis="quantile"),
        FIXED: MixtureOfExpertsClassifier(random_state=0),
        LOGISTIC: line,
        "stacking": StackingClassifier(parts, line),
        BOOSTING: HistGradientBoostingClassifier(random_state=0),
    }
    if installed("deslib"):
        from deslib.des.knora_e import KNORAE

        models["dynamic selection, KNORA-E"] = KNORAE(random_state=0)
    if installed("torch"):
        from _torch_mixture import TorchMixture

        models[TORCH] = TorchMixture()
    return models


@dataclass
class Outcome:
    """What a model did on the held-out rows of all folds, row by row.

    `loss` is the squared error, or 1 for a wrong class; `density` the log-density or
    log-probability, NaN for models without one.
    """

    loss: np.ndarray
    density: np.ndarray
    seconds: float

    def score(self, numbers):
        """RMSE or accuracy."""
        mean = self.loss.mean()
        return np.sqrt(mean) if numbers else 1 - mean


def density_of(model, X, y):
    """Log-densities of rows by a fitted pipeline, NaN where it has none."""
    last = model[-1]
    if hasattr(last, "log_density"):
        return last.log_density(model[:-1].transform(X), y)
    if not is_classifier(last):
        return np.nan
    proba = model.predict_proba(X)
    codes = np.searchsorted(last.classes_, y)
    return np.log(np.maximum(proba[np.arange(len(y)), codes], 1e-15))


def outcome_of(model, X, y, folds):
    """The outcome of a model."""
    loss, density = np.empty(len(y)), np.empty(len(y))
    begin = time.process_time()
    for train, test in folds:
        fitted = make_pipeline(StandardScaler(), clone(model)).fit(X[train], y[train])
        predicted = fitted.predict(X[test])
        loss[test] = predicted != y[test] if is_classifier(model) else (predicted - y[test]) ** 2
        density[test] = density_of(fitted, X[test], y[test])
    return Outcome(loss, density, time.process_time() - begin)


def outcomes_of_table(name, X, y, numbers, seed):
    """The outcome of each contender; prints a table of them."""
    folds = list(KFold(5, shuffle=True, random_state=seed).split(X))
    outcomes = {}
    for model_name, model in (regressors() if numbers else classifiers()).items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcomes[model_name] = outcome_of(model, X, y, folds)
    unit = outcomes[BOOSTING].seconds
    print(f"\n| {name} | {'RMSE' if numbers else 'accuracy'} | log-density | time |")
    print("|---|---|---|---|")
    for model_name, o in outcomes.items():
        density = "" if np.isnan(o.density).all() else f"{o.density.mean():.3f}"
        print(f"| {model_name} | {o.score(numbers):.4g} | {density} | {o.seconds / unit:.2f} |")
    return outcomes


def errors_above(loss, other):
    """By how many paired standard errors the mean of a loss is above another's."""
    difference = loss - other
    error = difference.std() / np.sqrt(len(difference))
    return float(difference.mean() / error) if error > 0 else 0.0


def results_of_numbers(outcomes):
    """Figures over tables of numbers, from outcomes by seed and table."""
    results, above, densities = [], [], []
    for name, target in TARGETS.items():
        rmse = [o[MIXTURE].score(True) for (_, table), o in outcomes.items() if table == name]
        if rmse:
            results.append(Result("P13", "RMSE", name, rmse, target))
    for o in outcomes.values():
        rivals = [o[name].loss for name in EXPLAINABLE if name in o]
        above.append(errors_above(o[MIXTURE].loss, min(rivals, key=np.mean)))
        if NGB in o:
            densities.append(float(o[MIXTURE].density.mean() - o[NGB].density.mean()))
    size = f"{len(above)} tables"
    what = "standard errors above the best explainable rival"
    results.append(Result("P13", f"{what}, worst", size, max(above), 1.0))
    better = float(np.mean(np.array(above) < 0))
    results.append(Result("P13", "share better than it", size, better, 0.75, True))
    if densities:
        share = float(np.mean(np.array(densities) > 0))
        what = "share with more density than NGBoost"
        results.append(Result("P13", what, size, share, 0.75, True))
    return results


def results_of_classes(outcomes):
    """Figures over tables of classes, from outcomes by seed and table."""
    results = []
    above = [errors_above(-o[MIXTURE].density, -o[LOGISTIC].density) for o in outcomes.values()]
    what = "log-loss, standard errors above logistic regression, worst"
    results.append(Result("P13", what, f"{len(above)} tables", max(above), 1.0))
    for (_, table), o in outcomes.items():
        if TORCH not in o or table not in AGAINST_TORCH:
            continue
        gain = float(o[MIXTURE].density.mean() - o[TORCH].density.mean())
        results.append(Result("P13", "log-loss below the torch mixture", table, gain, 0, True))
        gain = float(o[TORCH].loss.mean() - o[MIXTURE].loss.mean())
        results.append(Result("P13", "accuracy above the torch mixture", table, gain, 0, True))
        ratio = o[MIXTURE].seconds / o[TORCH].seconds
        results.append(Result("P13", "time over the torch mixture", table, ratio, 0.2))
    return results


def tables(folder):
    """Name, function that returns X and y, and whether y is a number."""
    for name, make in NUMBERS.items():
        yield name, make, True
    for name, make in CLASSES.items():
        yield name, make, False
    for name in FILES if folder else ():
        with np.load(folder / f"{name}.npz") as arrays:
            X, y = arrays["X"].astype(float), arrays["y"]
        yield name, lambda X=X, y=y: (X, y), False


def main():
    """Run the protocol."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, help="folder with tables of classes")
    parser.add_argument("--tables", help="comma-separated names; all by default")
    parser.add_argument("--seeds", type=int, default=1)
    add_json(parser)
    options = parser.parse_args()
    chosen = options.tables.split(",") if options.tables else None
    numbers, classes = {}, {}
    for name, make, is_number in tables(options.data):
        if chosen is not None and name not in chosen:
            continue
        X, y = make()
        for seed in range(options.seeds):
            found = outcomes_of_table(name, X, y, is_number, seed)
            (numbers if is_number else classes)[seed, name] = found
    results = results_of_numbers(numbers) if numbers else []
    results += results_of_classes(classes) if classes else []
    publish(results, options.json)


if __name__ == "__main__":
    main()
