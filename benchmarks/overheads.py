"""What is paid whatever the size: the import, the prediction of one row, memory of predictions.

P9: seconds to import mixexp / to import sklearn.linear_model, each in a fresh interpreter.
One row: seconds of `predict` for one row / of `Ridge.predict`.
Memory: the most that `predict_proba` of a million rows holds beside X and the answer / an array of
rows times experts times classes.

Contenders take turns within a round.
"""

import argparse
import subprocess
import sys
import time
import tracemalloc

import _one_thread  # noqa: F401
import numpy as np
from _results import Result, add_json, publish
from sklearn.linear_model import Ridge

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor

IMPORT_TARGET, ROW_TARGET, MEMORY_TARGET = 1.3, 3.0, 0.5
CALLS = 300
N_EXPERTS, N_CLASSES = 8, 5

TIMED_IMPORT = """
import time
begin = time.perf_counter()
import {name}
print(time.perf_counter() - begin)
"""


def import_seconds(name):
    code = TIMED_IMPORT.format(name=name)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def import_ratios(rounds):
    """Seconds to import mixexp / sklearn.linear_model; the first round fills the disk's cache."""
    pairs = [
        (import_seconds("mixexp"), import_seconds("sklearn.linear_model"))
        for _ in range(rounds + 1)
    ]
    return [own / other for own, other in pairs[1:]]


def seconds(function, *args):
    begin = time.perf_counter()
    for _ in range(CALLS):
        function(*args)
    return time.perf_counter() - begin


def row_ratios(rounds):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 10))
    y = np.abs(X[:, 0]) + 0.1 * rng.standard_normal(len(X))
    ridge = Ridge().fit(X, y)
    mixture = MixtureOfExpertsRegressor(n_experts=4, n_init=1, tol=1e-3, random_state=0).fit(X, y)
    pairs = [
        (seconds(mixture.predict, X[:1]), seconds(ridge.predict, X[:1])) for _ in range(rounds + 1)
    ]
    return [own / other for own, other in pairs[1:]]


def memory_ratio(n):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 4))
    classes = np.digitize(X[:, 0] + 0.3 * rng.standard_normal(len(X)), [-1, -0.3, 0.3, 1])
    mixture = MixtureOfExpertsClassifier(n_experts=N_EXPERTS, n_init=1, tol=1e-3, random_state=0)
    mixture.fit(X, classes)
    X = np.tile(X, (n // len(X), 1))
    tracemalloc.start()
    proba = mixture.predict_proba(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return (peak - proba.nbytes) / (8 * n * N_EXPERTS * N_CLASSES)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--quick", action="store_true", help="three rounds, a tenth of the rows")
    add_json(parser)
    options = parser.parse_args()
    rounds = 3 if options.quick else options.rounds
    n = 100_000 if options.quick else 1_000_000
    imports, rows = import_ratios(rounds), row_ratios(rounds)
    shape = f"{n:,} × {N_EXPERTS} × {N_CLASSES}"
    publish(
        [
            Result("P9", "import mixexp / sklearn.linear_model", "", imports, IMPORT_TARGET),
            Result("row", "predict / Ridge.predict", "one row", rows, ROW_TARGET),
            Result("memory", "predict_proba / all outputs", shape, memory_ratio(n), MEMORY_TARGET),
        ],
        options.json,
    )


if __name__ == "__main__":
    main()
