"""Wide and sparse rows, and many experts: P12, and what many experts cost.

- `words`: 200 x 600, 3 % filled, K = 2, and `documents`: 20 000 x 20 000, 1 % filled, K = 2. The
  process time of a default fit ÷ that of one `LogisticRegression` fit on the same rows (P12).
- `many columns`: 100 000 x 2 000, 1 % filled, K = 16: the same quotient, and the peak of
  memory allocated in a fit of two iterations.
- `many experts`: 20 000 x 50 numbers, K = 64: an EM iteration ÷ its unavoidable products, which are
  scores and means, 2nK exponentials, and the Gram matrices of K experts and K blocks of the gate.

The exit status is 1 where a target is missed.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import sys
import time
import tracemalloc
import warnings

import numpy as np
import scipy.sparse as sp
from _products import column_pairs
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor

MOST_FITS, MOST_MEGABYTES, MOST_PRODUCTS = 100, 1000, 1.5

#: Rows, columns, share filled, experts, iterations (None is the default), repeats.
CASES = {
    "words": (200, 600, 0.03, 2, 50, 5),
    "documents": (20_000, 20_000, 0.01, 2, None, 1),
    "many columns": (100_000, 2_000, 0.01, 16, None, 1),
}


def report(name, what, figure, target):
    """Print one figure beside its target, and return whether it is met."""
    met = figure <= target
    print(f"{name:14s} {what:42s} {figure:8.2f}  <= {target:6.1f}  {'pass' if met else 'miss'}")
    return met


def seconds(run, repeats):
    """Median process time of a call."""
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        spent.append(time.process_time() - start)
    return float(np.median(spent))


def sparse_case(name):
    """Return whether a sparse classification meets its targets."""
    n, p, filled, n_experts, max_iter, repeats = CASES[name]
    X = sp.random(n, p, filled, random_state=0, format="csr")
    score = np.asarray(X[:, : max(5, p // 100)].sum(axis=1)).ravel()
    y = (score > (0 if name == "words" else np.median(score))).astype(int)
    alone = seconds(lambda: LogisticRegression().fit(X, y), 2 * repeats + 1)
    params = {} if max_iter is None else {"max_iter": max_iter}
    model = MixtureOfExpertsClassifier(n_experts=n_experts, random_state=0, **params)
    spent = seconds(lambda: model.fit(X, y), repeats)
    met = report(name, "fit / one LogisticRegression fit", spent / alone, MOST_FITS)
    if name == "many columns":
        tracemalloc.start()
        model.set_params(max_iter=2).fit(X, y)
        peak = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        met &= report(name, "peak megabytes beyond the data", peak, MOST_MEGABYTES)
    return met


def many_experts():
    """Return whether an iteration of 64 experts costs little more than its products."""
    n, d, k = 20_000, 50, 64
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    regions = np.arange(n) % k
    y = np.sum(X * rng.standard_normal((k, d))[regions], axis=1) + rng.standard_normal(n)

    def fit(max_iter):
        model = MixtureOfExpertsRegressor(n_experts=k, init=regions, tol=0, max_iter=max_iter)
        start = time.process_time()
        passes = model.fit(X, y).n_passes_
        return time.process_time() - start, passes

    quotients = []
    for _ in range(3):
        (few, first), (many, last) = fit(3), fit(13)
        quotients.append((many - few) / (last - first) / products(X, k))
    return report(
        "many experts", "an iteration / its products", float(np.median(quotients)), MOST_PRODUCTS
    )


def products(X, k, block_rows=2048):
    """Seconds of the products and exponentials that an iteration cannot avoid."""
    design = np.vstack([np.ones(len(X)), X.T])
    blocks = [
        np.ascontiguousarray(design[:, i : i + block_rows]) for i in range(0, len(X), block_rows)
    ]
    p = len(design)
    theta = np.random.default_rng(0).standard_normal((2 * k, p)) / p
    weights = np.ones((2 * k, block_rows))

    def sweep():
        for block in blocks:
            m = block.shape[1]
            scores = theta @ block
            np.exp(scores, out=scores)
            scores @ block.T
            pairs = column_pairs(block, np.empty((p * (p + 1) // 2, m)))
            weights[:, :m] @ pairs.T

    return seconds(sweep, 5)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", choices=[*CASES, "many experts"], nargs="*", default=None)
    chosen = parser.parse_args().only or [*CASES, "many experts"]
    warnings.simplefilter("ignore", ConvergenceWarning)
    met = [many_experts() if name == "many experts" else sparse_case(name) for name in chosen]
    return int(not all(met))


if __name__ == "__main__":
    sys.exit(main())
