"""The number of experts: is the right one chosen, and what does ``n_experts="auto"`` cost?

Problems with a known number are `mixexp.datasets.make_random_experts`, ten each of 1 to 5 experts:
1 000 rows, 3 features, noise of 0.3 of an expert's spread, gate slopes of norm 3. BIC and ICL of
`select_n_experts` should find the number, and "auto" one that is at most one off: it serves
prediction. Its cost is process time in that of a default fit of as many experts, at least 4.
With --data, tables too: cost, and the error of the predictions of other folds, beside that of the
default of 4 experts.
"""

import argparse
import sys
import time
import warnings
from pathlib import Path

import _one_thread  # noqa: F401  (first)
import numpy as np
from _results import Result, add_json, publish
from real_data import load
from sklearn.datasets import load_diabetes, make_friedman1
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler

RIGHT, NEAR, COST = 0.9, 0.9, 4.0  # targets
NUMBERS = range(1, 9)  # candidates of select_n_experts
TABLES = ("concrete", "auto_mpg", "diabetes", "friedman1", "banana", "phoneme")
CLASSES = ("banana", "phoneme")


def timed(function):
    """What a function returns, and the process time that it took."""
    begin = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = function()
    return result, time.process_time() - begin


def cost(kind, X, y):
    """A fit with "auto", and its time in default fits of as many experts, at least 4."""
    model, auto = timed(lambda: kind(n_experts="auto", random_state=0).fit(X, y))
    k = max(model.n_experts_, 4)
    return model, auto / timed(lambda: kind(n_experts=k, random_state=0).fit(X, y))[1]


def simulated(each):
    """Results of `each` problems of every number of experts."""
    from mixexp import MixtureOfExpertsRegressor
    from mixexp.datasets import make_random_experts
    from mixexp.selection import select_n_experts

    off = {"bic": [], "icl": [], "cv": [], "auto": []}
    costs = []
    for k in range(1, 6):
        for seed in range(each):
            X, y = make_random_experts(n_experts=k, random_state=100 * k + seed)
            mixture = MixtureOfExpertsRegressor(random_state=0)
            found, _ = timed(
                lambda X=X, y=y, mixture=mixture: select_n_experts(
                    mixture, X, y, n_experts=NUMBERS, criterion="cv"
                )
            )
            for name in ("bic", "icl"):
                off[name].append(found.n_experts[np.argmin(getattr(found, name))] - k)
            off["cv"].append(found.n_experts_ - k)
            model, ratio = cost(MixtureOfExpertsRegressor, X, y)
            off["auto"].append(model.n_experts_ - k)
            costs.append(ratio)
        last = {name: values[-each:] for name, values in off.items()}
        print(f"{k} experts, off by: {last}".replace("np.int64", ""), flush=True)
    off = {name: np.abs(values) for name, values in off.items()}
    size = f"{5 * each} problems"
    return [
        Result("selection", "right number by BIC", size, [np.mean(off["bic"] == 0)], RIGHT, True),
        Result("selection", "right number by ICL", size, [np.mean(off["icl"] == 0)], RIGHT, True),
        Result("selection", "cv and one standard error", size, [np.mean(off["cv"] == 0)]),
        Result("selection", "auto at most one off", size, [np.mean(off["auto"] <= 1)], NEAR, True),
        Result("selection", "auto / default fit", size, costs, COST),
    ]


def table(name, data):
    """X and y of a table."""
    if name == "diabetes":
        return load_diabetes(return_X_y=True)
    if name == "friedman1":
        return make_friedman1(1000, noise=1.0, random_state=0)
    return load(data, name)


def error(model, X, y, classes):
    """Root mean squared error, or log-loss."""
    if classes:
        return -model.log_density(X, y).mean()
    return np.sqrt(np.mean((model.predict(X) - y) ** 2))


def tables(data):
    """Results of the tables."""
    from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor

    results = []
    for name in TABLES:
        X, y = table(name, data)
        classes = name in CLASSES
        kind = MixtureOfExpertsClassifier if classes else MixtureOfExpertsRegressor
        errors, costs, numbers = [], [], []
        for train, test in KFold(5, shuffle=True, random_state=0).split(X):
            scaler = StandardScaler().fit(X[train])
            inside, outside = scaler.transform(X[train]), scaler.transform(X[test])
            model, ratio = cost(kind, inside, y[train])
            usual = timed(lambda X=inside, y=y[train]: kind(random_state=0).fit(X, y))[0]  # noqa: B023
            errors.append([error(m, outside, y[test], classes) for m in (model, usual)])
            costs.append(ratio)
            numbers.append(model.n_experts_)
        own, usual = np.mean(errors, axis=0)
        print(f"{name}: {numbers} experts, error {own:.4g}, of 4 {usual:.4g}", flush=True)
        results += [
            Result("selection", "auto / default fit", name, costs, COST),
            Result("selection", "error, auto / 4 experts", name, np.divide(*np.transpose(errors))),
        ]
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with tables, such as shared/data")
    parser.add_argument("--quick", action="store_true", help="two problems of each number")
    add_json(parser)
    arguments = parser.parse_args()
    results = simulated(2 if arguments.quick else 10)
    if arguments.data and not arguments.quick:
        results += tables(arguments.data)
    publish(results, arguments.json)
    sys.exit(any(result.met is False for result in results))


if __name__ == "__main__":
    main()
