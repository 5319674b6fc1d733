"""Two boosted experts at their defaults beside the same boosting alone: error and time.

Protocol: shuffled 5-fold cross-validation (seed 0; classes are stratified), inputs scaled by
StandardScaler on the training part. Boosting is HistGradientBoosting at its defaults, and the
mixture has two such experts and ``random_state=0``; nothing else is set. RMSE and error rate are
over the rows of all folds. Time is process time of fits with one thread, a ratio a fold.

Targets: RMSE below that of boosting on auto_mpg, and at most 1 % above it on concrete; at most 20
boostings in time on these two, and 10 where 4000 rows or more are trained on. `--data` adds a table
of classes.
"""

import argparse
import time
import warnings
from pathlib import Path

import _one_thread  # noqa: F401  (first)
import numpy as np
from _results import Result, add_json, publish
from sklearn.datasets import load_diabetes, make_friedman1
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.preprocessing import StandardScaler

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.datasets import load_auto_mpg, load_concrete, make_piecewise_linear

TABLES = {
    "auto_mpg": lambda: load_auto_mpg(return_X_y=True),
    "concrete": lambda: load_concrete(return_X_y=True),
    "diabetes": lambda: load_diabetes(return_X_y=True),
    "4 pieces": lambda: make_piecewise_linear(2000, 5, 4, random_state=0)[:2],
    "friedman1": lambda: make_friedman1(6250, noise=1.0, random_state=0),
}
QUICK = ("auto_mpg",)
#: Largest ratios of RMSE and of time.
ERRORS, TIMES = (
    {"auto_mpg": 1.0, "concrete": 1.01},
    {"auto_mpg": 20, "concrete": 20, "friedman1": 10, "phoneme": 10},
)


def timed(model, X, y):
    """Seconds of process time of a fit."""
    begin = time.process_time()
    model.fit(X, y)
    return time.process_time() - begin


def ratios(X, y, classes):
    """The ratio of errors, and of times, one a fold."""
    kind = StratifiedKFold if classes else KFold
    boosting = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    mixture = MixtureOfExpertsClassifier if classes else MixtureOfExpertsRegressor
    losses, times = [], []
    for train, test in kind(5, shuffle=True, random_state=0).split(X, y):
        scale = StandardScaler().fit(X[train])
        A, B = scale.transform(X[train]), scale.transform(X[test])
        models = boosting(random_state=0), mixture(boosting(), n_experts=2, random_state=0)
        times.append([timed(model, A, y[train]) for model in models])
        gaps = [
            model.predict(B) != y[test] if classes else model.predict(B) - y[test]
            for model in models
        ]
        losses.append(np.square(np.array(gaps, dtype=float)).T)
    alone, mixed = np.concatenate(losses).mean(axis=0) ** (1.0 if classes else 0.5)
    return mixed / alone, [both / one for one, both in times]


def main():
    parser = argparse.ArgumentParser(description=" ".join(__doc__.split("\n\n")[0].split()))
    parser.add_argument("--data", type=Path, help="folder with phoneme.npz")
    parser.add_argument("--quick", action="store_true", help="one small table")
    add_json(parser)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # runs that did not settle
    tables = {name: TABLES[name]() for name in (QUICK if options.quick else TABLES)}
    if options.data is not None and not options.quick:
        with np.load(options.data / "phoneme.npz") as arrays:
            tables["phoneme"] = arrays["X"], arrays["y"]
    results = []
    for name, (X, y) in tables.items():
        X, classes = np.asarray(X, dtype=float), name == "phoneme"
        error, times = ratios(X, np.asarray(y), classes)
        what = "error rate" if classes else "RMSE"
        size = f"{len(X)} x {X.shape[1]}"
        results += [
            Result("boosted", f"{name}: {what} / boosting's", size, [error], ERRORS.get(name)),
            Result("boosted", f"{name}: time / boosting's", size, times, TIMES.get(name)),
        ]
        print(*(result.row for result in results[-2:]), sep="\n", flush=True)
    publish(results, options.json)


if __name__ == "__main__":
    main()
