"""Out-of-sample quality of default mixtures on real tables, against one linear model.

Protocol: shuffled 5-fold cross-validation repeated for every seed, inputs as they are. The number
of experts is chosen on each training part by an inner, shuffled cross-validation with a refit;
everything else is at its default. Regression: root mean squared error, pooled over the rows of all
folds and seeds, divided by that of RidgeCV on the same folds. Classification: accuracy.

Targets are printed, not enforced.
"""

import os

# The folds run in parallel, each with one BLAS thread.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import csv
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold

N_EXPERTS = (1, 2, 3, 4, 6, 8, 10, 12)
RIDGE_ALPHAS = np.logspace(-3, 3, 13)
REGRESSION = {"auto_mpg": ("mpg", 0.84), "concrete": ("compressive_strength", 0.61)}
CLASSIFICATION = {"banana": 0.895, "phoneme": 0.848}


def load_csv(path, target):
    """A numeric table; `origin` becomes indicators of europe and japan, `name` is dropped."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    columns = [name for name in rows[0] if name not in (target, "origin", "name")]
    X = np.array([[float(row[name]) for name in columns] for row in rows])
    if "origin" in rows[0]:
        origin = np.array([row["origin"] for row in rows])
        X = np.column_stack([X, origin == "europe", origin == "japan"])
    return X, np.array([float(row[target]) for row in rows])


def load(folder, table):
    if table in REGRESSION:
        return load_csv(folder / f"{table}.csv", REGRESSION[table][0])
    with np.load(folder / f"{table}.npz") as arrays:
        return arrays["X"], arrays["y"]


def models(table, seed, inner):
    """The mixture with its inner search, and the linear model."""
    from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor

    grid = {"n_experts": list(N_EXPERTS)}
    if table in REGRESSION:
        mixture, linear = MixtureOfExpertsRegressor, RidgeCV(alphas=RIDGE_ALPHAS)
        scoring, splitter = "neg_mean_squared_error", KFold
    else:
        mixture, linear = MixtureOfExpertsClassifier, LogisticRegression(max_iter=1000)
        scoring, splitter = "accuracy", StratifiedKFold
    folds = splitter(inner, shuffle=True, random_state=seed)
    mixture = mixture(random_state=seed)
    return GridSearchCV(mixture, grid, scoring=scoring, cv=folds, error_score="raise"), linear


def one_fold(table, X, y, seed, train, test, inner):
    """Losses of the test rows (squared error, or 0/1), for both models; chosen n_experts."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    search, linear = models(table, seed, inner)
    losses = []
    for model in (search, linear):
        predicted = model.fit(X[train], y[train]).predict(X[test])
        wrong = (predicted - y[test]) ** 2 if table in REGRESSION else predicted != y[test]
        losses.append(np.asarray(wrong, dtype=float))
    return seed, losses, search.best_params_["n_experts"]


def folds_of(table, X, y, seeds):
    splitter = KFold if table in REGRESSION else StratifiedKFold
    for seed in range(seeds):
        for train, test in splitter(5, shuffle=True, random_state=seed).split(X, y):
            yield seed, train, test


def mean_losses(results, seed=None):
    """Mean loss of both models over the rows of all folds (of one seed)."""
    chosen = [losses for s, losses, _ in results if seed is None or s == seed]
    return [np.concatenate([pair[i] for pair in chosen]).mean() for i in (0, 1)]


def figures(table, mixture_loss, linear_loss):
    """The figure of the target, then the plain figures of both models."""
    if table in REGRESSION:
        mixture, linear = np.sqrt(mixture_loss), np.sqrt(linear_loss)
        return mixture / linear, mixture, linear
    return 1.0 - mixture_loss, 1.0 - mixture_loss, 1.0 - linear_loss


def row_of(table, results, seeds):
    figure, mixture, linear = figures(table, *mean_losses(results))
    spread = [figures(table, *mean_losses(results, seed))[0] for seed in range(seeds)]
    chosen = Counter(n_experts for _, _, n_experts in results)
    if table in REGRESSION:
        label, target, sign = "RMSE ratio", REGRESSION[table][1], "≤"
        met = figure <= target
    else:
        label, target, sign = "accuracy", CLASSIFICATION[table], "≥"
        met = figure >= target
    counts = ", ".join(f"{k}: {chosen[k]}" for k in sorted(chosen))
    return (
        f"| {table} | {label} | {sign} {target:g} | {figure:.4f} "
        f"| [{min(spread):.4f}, {max(spread):.4f}] | {mixture:.4f} | {linear:.4f} "
        f"| {'yes' if met else 'no'} | {counts} |"
    )


def main():
    tables = [*REGRESSION, *CLASSIFICATION]
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the tables")
    parser.add_argument("--tables", default=",".join(tables), help="comma-separated names")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--inner", type=int, default=3, help="folds of the inner search")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    chosen = options.tables.split(",")
    if unknown := set(chosen) - set(tables):
        parser.error(f"unknown tables {sorted(unknown)}; known: {tables}")
    rows = []
    for table in chosen:
        X, y = load(options.data, table)
        begin = time.perf_counter()
        results = Parallel(n_jobs=options.jobs)(
            delayed(one_fold)(table, X, y, *fold, options.inner)
            for fold in folds_of(table, X, y, options.seeds)
        )
        rows.append(row_of(table, results, options.seeds))
        print(f"- {table}: {len(results)} folds in {time.perf_counter() - begin:.0f} s", flush=True)
    print(
        "\n| table | figure | target | measured | seeds [min, max] | mixture | linear | met "
        "| n_experts chosen |\n|---|---|---|---|---|---|---|---|---|"
    )
    print("\n".join(rows))


if __name__ == "__main__":
    main()
