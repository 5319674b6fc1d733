"""Sparse routing: cost and accuracy beside dense mixtures and single experts.

Four parts, all run by default:

- predict (P6): seconds of a prediction with one of 16 costly experts per row ÷ seconds of the same
  mixture's dense prediction, in which every expert answers every row.
- fit (P7): seconds to fit 8 routed kernel experts, warm-up included, ÷ seconds to fit one to all
  rows; root mean squared error on new rows beside each; largest jump of the prediction across
  borders, for hard routes, hard routes with overlap, and weighted routes.
- accuracy: 16 logistic experts on tables (`--data DIR`), dense, masked to the top 2 after a dense
  fit, and trained with top-2, top-p and switch routing.
- lazy: a planted lazy gate, without balance and with each of the three.

One thread for all. Ratios are medians over `--rounds` rounds in which both contenders take turns;
fits of the kernel machines are run once. Targets are printed, not enforced.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import KNeighborsRegressor
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.routing import Switch, TopK, TopP

PREDICT_TARGET, FIT_TARGET = 1 / 8, 1 / 5
TABLES = ("phoneme", "segment", "letter8k")


def regimes(n, rng, d=4, k=8):
    """Rows of a function that differs between k regions around centres, with noise 0.1."""
    centres = np.random.default_rng(0).uniform(-1, 1, (k, 2))
    X = rng.uniform(-1, 1, (n, d))
    z = np.linalg.norm(X[:, None, :2] - centres, axis=2).argmin(axis=1)
    phase = 2 * np.pi * z / k
    y = np.sin(3 * X[:, 2] + phase) * (1 + z / k) + np.cos(2 * X[:, 3] + phase) + z / 2
    return X, y + 0.1 * rng.standard_normal(n)


def seconds(function, *args):
    start = time.perf_counter()
    result = function(*args)
    return time.perf_counter() - start, result


def gaussian_process():
    return GaussianProcessRegressor(RBF(1.0) + WhiteKernel(0.05), normalize_y=True)


def part_predict(rounds):
    print("\nP6: predict with 1 of 16 experts ÷ dense predict, 10 000 rows")
    print(f"{'expert':34} {'ratio':>7} {'target':>7}")
    rng = np.random.default_rng(1)
    kernel = RBF(1.0) + WhiteKernel(0.05)
    experts = [
        (SVR(C=10.0), 8000),
        (KNeighborsRegressor(10, algorithm="brute"), 8000),
        (GaussianProcessRegressor(kernel, optimizer=None, normalize_y=True), 4000),
    ]
    for expert, n in experts:
        X, y = regimes(n, rng, k=16)
        new = regimes(10_000, rng, k=16)[0]
        model = MixtureOfExpertsRegressor(expert, 16, routing=Switch(), random_state=0).fit(X, y)

        ratios = [
            seconds(model.predict, new)[0] / seconds(dense_prediction, model, new)[0]
            for _ in range(rounds)
        ]
        ratio = np.median(ratios)
        verdict = passed(ratio, PREDICT_TARGET)
        print(f"{type(expert).__name__:34} {ratio:7.3f} {PREDICT_TARGET:7.3f} {verdict}")


def dense_prediction(model, X):
    return np.einsum("nk,nk->n", model.gate_proba(X), model.predict_experts(X))


def passed(value, target):
    return "pass" if value <= target else "MISS"


def largest_jump(model, rng, n=2000, step=1e-4):
    """Largest change of the prediction over short steps across borders of the top expert."""
    at = rng.uniform(-1, 1, (n, 4))
    towards = rng.uniform(-1, 1, (n, 4))
    low, high = np.zeros(n), np.ones(n)
    row = lambda t: at + t[:, None] * (towards - at)  # noqa: E731
    top = lambda t: model.gate_proba(row(t)).argmax(axis=1)  # noqa: E731
    first = top(low)
    crossing = np.flatnonzero(first != top(high))
    for _ in range(16):
        middle = (low + high) / 2
        same = top(middle) == first
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    before, after = row(low - step)[crossing], row(high + step)[crossing]
    return float(np.abs(model.predict(after) - model.predict(before)).max())


def part_fit():
    print("\nP7: fit of 8 routed experts ÷ fit of one")
    print(f"{'model':44} {'time ratio':>10} {'RMSE':>7} {'largest jump':>13}")
    rng = np.random.default_rng(2)
    for name, expert, n in (("SVR", SVR(C=10.0), 20_000), ("GP", gaussian_process(), 2000)):
        X, y = regimes(n, rng)
        new, truth = regimes(5000, rng)
        alone, single = seconds(expert.fit, X, y)
        print(f"{f'one {name}, n = {n}':44} {1:10.3f} {rmse(single, new, truth):7.4f}")
        variants = {
            "hard (Switch)": Switch(),
            "hard, overlap=0.2": Switch(overlap=0.2),
            "weighted (TopK(2))": TopK(2),
        }
        for label, router in variants.items():
            mixture = MixtureOfExpertsRegressor(expert, 8, routing=router, random_state=0)
            used, mixture = seconds(mixture.fit, X, y)
            ratio = used / alone
            verdict = passed(ratio, FIT_TARGET) if "hard (" in label else ""
            print(
                f"{f'8 {name}, {label}':44} {ratio:10.3f} {rmse(mixture, new, truth):7.4f} "
                f"{largest_jump(mixture, np.random.default_rng(3)):13.3f} {verdict}"
            )


def rmse(model, X, y):
    return float(np.sqrt(np.mean((model.predict(X) - y) ** 2)))


def masked(model, X, k=2):
    """Class probabilities of a dense mixture with its gate masked to the top k."""
    weights = TopK(k).weights(np.log(np.maximum(model.gate_proba(X), 1e-300)).T).T
    return np.einsum("nk,nkc->nc", weights, model.predict_experts(X))


def part_accuracy(folder, tables, folds):
    routers = {
        "dense": None,
        "top-2": TopK(2),
        "top-p 0.9": TopP(0.9),
        "switch": Switch(),
        "switch, no limit": Switch(np.inf),
    }
    print("\nAccuracy, 16 logistic experts, 5-fold shuffled (target: top-2 within 0.010 of dense)")
    print(f"{'table':10} {'routing':18} {'accuracy':>9} {'log-loss':>9} {'experts a row':>14}")
    for table in tables:
        with np.load(folder / f"{table}.npz") as arrays:
            X, y = arrays["X"].astype(float), arrays["y"]
        splits = StratifiedKFold(5, shuffle=True, random_state=0).split(X, y)
        found = {}
        for train, test in list(splits)[:folds]:
            scaler = StandardScaler().fit(X[train])
            A, B = scaler.transform(X[train]), scaler.transform(X[test])
            for name, router in routers.items():
                model = MixtureOfExpertsClassifier(n_experts=16, routing=router, random_state=0)
                model.fit(A, y[train])
                answers = {name: (model.predict_proba(B), (model.route(B) > 0).sum(axis=1).mean())}
                if router is None:
                    answers["dense, masked to 2"] = masked(model, B), 2.0
                for label, (proba, count) in answers.items():
                    right = np.mean(model.classes_[proba.argmax(axis=1)] == y[test])
                    loss = log_loss(y[test], proba, labels=model.classes_)
                    found.setdefault(label, []).append((right, loss, count))
        for label, values in found.items():
            right, loss, count = np.mean(values, axis=0)
            print(f"{table:10} {label:18} {right:9.4f} {loss:9.4f} {count:14.2f}", flush=True)


def lazy_start(n, rng, k=4):
    """Responsibilities in which the first expert has nearly all of every row."""
    resp = 0.03 * rng.dirichlet(np.ones(k), n)
    resp[:, 0] += 0.97
    return resp


def part_lazy(seeds):
    print(
        "\nA planted lazy gate: four close lines, the first expert has 97 % of every row at first"
    )
    print(f"{'routing':36} {'largest share':>14} {'least ÷ fair':>13} {'held-out log p':>15}")
    routers = {
        f"{name}{', ' + balance if balance else ''}": make(balance)
        for name, make in (
            ("top-1", lambda b: TopK(1, balance=b)),
            ("top-2", lambda b: TopK(2, balance=b)),
            ("switch, no limit", lambda b: Switch(np.inf, balance=b)),
        )
        for balance in (None, "bias", "prior", "assignment")
    }
    for name, router in routers.items():
        rows = []
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            X, y = close_lines(1000, rng)
            new, truth = close_lines(4000, rng)
            model = MixtureOfExpertsRegressor(
                n_experts=4, init=lazy_start(len(X), rng), routing=router, random_state=0
            ).fit(X, y)
            route = model.route(X)
            shares = np.bincount(route.argmax(axis=1), minlength=4) / len(X)
            loads = (route > 0).mean(axis=0)
            rows.append(
                (shares.max(), loads.min() / loads.mean(), model.log_density(new, truth).mean())
            )
        largest, least, density = np.mean(rows, axis=0)
        print(f"{name:36} {largest:14.3f} {least:13.3f} {density:15.3f}", flush=True)


def close_lines(n, rng):
    """Four lines in the quarters of a square, whose slopes differ by about the noise."""
    X = rng.uniform(-1, 1, (n, 2))
    z = 2 * (X[:, 0] > 0) + (X[:, 1] > 0)
    slopes = 0.4 * np.array([[1.0, 0.0], [0.6, 0.4], [0.4, -0.4], [0.0, 0.2]])
    return X, np.sum(X * slopes[z], axis=1) + 0.5 * rng.standard_normal(n)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of the tables, for the part accuracy")
    parser.add_argument("--only", choices=["predict", "fit", "accuracy", "lazy"], nargs="*")
    parser.add_argument("--tables", default=",".join(TABLES), help="comma-separated names")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folds", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    parts = options.only or ["predict", "fit", "lazy", *(["accuracy"] if options.data else [])]
    if "predict" in parts:
        part_predict(options.rounds)
    if "fit" in parts:
        part_fit()
    if "lazy" in parts:
        part_lazy(options.seeds)
    if "accuracy" in parts:
        part_accuracy(options.data, options.tables.split(","), options.folds)


if __name__ == "__main__":
    main()
