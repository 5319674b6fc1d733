"""What a basis of the gate, and of the experts, does out of sample, and what it costs.

Protocol: shuffled 5-fold cross-validation, inputs standardised, everything but the bases and the
number of experts at its default. Regression: root mean squared error and negative log-density of
the rows held out; classification: accuracy and log-loss. Times are those of the fits of all folds,
over those of the linear bases in the same run.

Nothing is enforced: the table says what a basis wins and loses, and where.
"""

import argparse
import time
import warnings
from pathlib import Path

import _one_thread  # noqa: F401  (before NumPy)
import numpy as np
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_wine,
    make_friedman1,
    make_friedman2,
    make_friedman3,
)
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.datasets import load_auto_mpg, load_concrete, make_piecewise_linear

#: Bases of gate and experts.
BASES = {
    "linear": ("linear", "linear"),
    "quantile": ("quantile", "linear"),
    "spline": ("spline", "linear"),
    "quantile, both": ("quantile", "quantile"),
}

#: Rows and noise of the simulated tables, by generator.
SIMULATED = {
    "friedman1": (make_friedman1, 1.0),
    "friedman2": (make_friedman2, 125.0),
    "friedman3": (make_friedman3, 0.1),
}
N_SIMULATED = 500


def regression_tables():
    """The tables of numbers, by name; their loading takes no folder."""
    tables = {
        "auto_mpg": load_auto_mpg,
        "concrete": load_concrete,
        "diabetes": load_diabetes,
    }
    for name, load in tables.items():
        yield name, load(return_X_y=True)
    for name, (make, noise) in SIMULATED.items():
        yield name, make(n_samples=N_SIMULATED, noise=noise, random_state=0)
    yield "piecewise", make_piecewise_linear(n_samples=N_SIMULATED, random_state=0)


def class_tables(folder):
    """The tables of classes, by name: those of a folder where there is one."""
    for name, load in (("wine", load_wine), ("breast cancer", load_breast_cancer)):
        yield name, load(return_X_y=True)
    for name in ("banana", "segment", "phoneme") if folder else ():
        with np.load(folder / f"{name}.npz") as arrays:
            yield name, (arrays["X"].astype(float), arrays["y"])


def scored(kind, params, X, y):
    """Two scores of the rows held out, and the seconds of the fits."""
    numbers = kind is MixtureOfExpertsRegressor
    splitter = KFold if numbers else StratifiedKFold
    first, second, seconds = [], [], 0.0
    for train, test in splitter(5, shuffle=True, random_state=0).split(X, y):
        model = make_pipeline(StandardScaler(), kind(random_state=0, **params))
        begin = time.perf_counter()
        model.fit(X[train], y[train])
        seconds += time.perf_counter() - begin
        if numbers:
            density = model[-1].log_density(model[:-1].transform(X[test]), y[test])
            first.append(np.mean((model.predict(X[test]) - y[test]) ** 2))
            second.append(-np.mean(density))
        else:
            proba = model.predict_proba(X[test])
            first.append(accuracy_score(y[test], model.classes_[proba.argmax(axis=1)]))
            second.append(log_loss(y[test], proba, labels=model.classes_))
    score = np.mean(first)
    return (np.sqrt(score) if numbers else score), np.mean(second), seconds


def print_table(kind, tables, options):
    """Print a row per table and number of experts."""
    print(f"| table | K | {' | '.join(BASES)} | time |")
    print(f"|---|---|{'---|' * len(BASES)}---|")
    for name, (X, y) in tables:
        for k in options.sizes if name in (options.only or [name]) else ():
            results = [
                scored(kind, {"n_experts": k, "gate_basis": gate, "expert_basis": experts}, X, y)
                for gate, experts in BASES.values()
            ]
            cells = " | ".join(f"{first:.4g} ({second:.3f})" for first, second, _ in results)
            ratios = ", ".join(f"{r[2] / results[0][2]:.2f}" for r in results[1:])
            print(f"| {name} | {k} | {cells} | {ratios} |", flush=True)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with the tables of classes")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[2, 4, 8], help="numbers of experts"
    )
    parser.add_argument("--only", nargs="+", metavar="TABLE", help="these tables")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    print("RMSE (negative log-density); last column: time over that of linear bases\n")
    print_table(MixtureOfExpertsRegressor, regression_tables(), options)
    print("\nAccuracy (log-loss)\n")
    print_table(MixtureOfExpertsClassifier, class_tables(options.data), options)


if __name__ == "__main__":
    main()
