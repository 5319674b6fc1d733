"""Online EM (`partial_fit`) beside EM, and how soon it follows a drift.

The first table: held-out log-likelihood of a default fit to all rows, minus that of one epoch of
`partial_fit` over shuffled batches of 5 000, in nats a row, on three generated problems (numbers,
classes, counts). The target is 0.01. Where it is negative, EM ended in a lower optimum.

The second: rows after a planted drift until the log-likelihood of later rows is within 0.02 nats of
a fit to rows after the drift, in units of `online_forget`, where all slopes change and where the
gate's border turns. There is no target; docs/large_data.md states the figures.
"""

import argparse
import warnings

import _one_thread  # noqa: F401
import numpy as np
from _results import Result, add_json, publish

N_ROWS, QUICK_ROWS, HELD_OUT, BATCH = 1_000_000, 200_000, 20_000, 5000
NEAR, RECOVERED = 0.01, 0.02  # nats a row
WINDOW, STEP = 10_000, 4000
SEED = 0


def problems(n_rows):
    """Yield name, X, y and options of a mixture of four lines, logits or log-rates."""
    rng = np.random.default_rng(SEED)
    X = rng.standard_normal((n_rows, 5))
    region = (X[:, 0] + 0.5 * X[:, 1] > 0) * 2 + (X[:, 1] - X[:, 2] > 0.3)
    slopes = rng.standard_normal((4, 5))
    score = np.einsum("ij,ij->i", slopes[region], X)
    level = np.array([0.0, 2.0, -2.0, 1.0])[region]
    noise = np.array([0.5, 1.0, 0.7, 0.3])[region] * rng.standard_normal(n_rows)
    yield "numbers", X, score + level + noise, {}
    yield "classes", X, rng.random(n_rows) < 1 / (1 + np.exp(-2 * score)), {}
    counts = rng.poisson(np.exp(0.4 * np.clip(score, -4, 4)))
    yield "counts", X, counts, {"family": "poisson"}


def learn(model, X, y, batch, **first):
    """Take one epoch in batches."""
    for start in range(0, len(X), batch):
        model.partial_fit(X[start : start + batch], y[start : start + batch], **first)
        first = {}


def gaps(n_rows):
    """Yield the loss of online EM on each problem, as results."""
    from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor

    for name, X, y, options in problems(n_rows):
        classes = {"classes": [False, True]} if name == "classes" else {}
        kind = MixtureOfExpertsClassifier if classes else MixtureOfExpertsRegressor
        options = {"n_experts": 4, "random_state": SEED, **options}
        old, new = slice(0, -HELD_OUT), slice(-HELD_OUT, None)
        whole = kind(**options).fit(X[old], y[old])
        online = kind(**options)
        learn(online, X[old], y[old], BATCH, **classes)
        gap = whole.log_density(X[new], y[new]) - online.log_density(X[new], y[new])
        yield Result("online", f"EM − online EM, {name}", f"{n_rows:.0e}", gap.mean(), NEAR)


def drifts(n_rows):
    """Yield how many windows each drift takes, as results."""
    from mixexp import MixtureOfExpertsRegressor

    rng = np.random.default_rng(SEED)
    X = rng.standard_normal((n_rows, 3))
    noise = 0.5 * rng.standard_normal(n_rows)

    def lines(right):
        return np.where(right, 1 + X[:, 1], -2 * X[:, 1] - 1) + noise

    before = lines(X[:, 0] > 0)
    turned = {"slopes change": before + 2 * X[:, 2], "border turns": lines(X[:, 0] + X[:, 2] > 0)}
    half, new = n_rows // 2, slice(-HELD_OUT, None)
    for name, after in turned.items():
        y = np.where(np.arange(n_rows) < half, before, after)
        options = {"n_experts": 2, "random_state": SEED}
        aware = MixtureOfExpertsRegressor(**options).fit(X[half:-HELD_OUT], y[half:-HELD_OUT])
        wanted = aware.log_density(X[new], y[new]).mean() - RECOVERED
        online = MixtureOfExpertsRegressor(online_forget=WINDOW, **options)
        learn(online, X[:half], y[:half], STEP)
        for start in range(half, n_rows - HELD_OUT, STEP):
            online.partial_fit(X[start : start + STEP], y[start : start + STEP])
            if online.log_density(X[new], y[new]).mean() >= wanted:
                break
        else:
            start = np.inf
        n_windows = (start + STEP - half) / WINDOW
        yield Result("drift", f"windows to recover, {name}", f"{WINDOW:.0e}", n_windows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows")
    add_json(parser)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    n_rows = QUICK_ROWS if options.quick else N_ROWS
    publish([*gaps(n_rows), *drifts(min(n_rows, 400_000))], options.json)


if __name__ == "__main__":
    main()
