"""What it costs to follow a fit: seconds with a callback / without, at the same iterations.

A callback that does nothing, checkpoints after every iteration and after every tenth, and early
stopping that looks at a tenth of the rows after every iteration and never stops. All take turns
within a round, and end with the same bits.
"""

import argparse
import tempfile
import time
import warnings
from pathlib import Path

import _one_thread  # noqa: F401
import numpy as np
from _reference_em import blurred, simulate
from _results import Result, add_json, name_of, publish
from sklearn.exceptions import ConvergenceWarning

from mixexp import MixtureOfExpertsRegressor
from mixexp.callbacks import Callback, Checkpoint, EarlyStopping

SIZES = [(2_000, 5, 3), (100_000, 10, 4)]
MAX_ITER = 30


def contenders(X, y, path):
    """The callbacks of each fit, by name."""
    seldom = len(y) // 10
    return {
        "no callback": [],
        "one that does nothing": [Callback()],
        "Checkpoint(every=10)": [Checkpoint(path)],
        "Checkpoint(every=1)": [Checkpoint(path, every=1)],
        "EarlyStopping": [EarlyStopping(X[:seldom], y[:seldom], patience=MAX_ITER)],
    }


def seconds(callbacks, X, y, start):
    """Seconds of a fit of a given number of iterations, and its bounds."""
    model = MixtureOfExpertsRegressor(
        n_experts=start.shape[1], init=start, acceleration=None, tol=0, max_iter=MAX_ITER
    )
    begin = time.perf_counter()
    model.set_params(random_state=0).set_callbacks(*callbacks).fit(X, y)
    return time.perf_counter() - begin, model.lower_bounds_


def ratios(size, rounds, path):
    """Seconds of every contender / of the first one, a list of rounds by name."""
    X, y, resp = simulate(*size)
    start, found = blurred(resp), {}
    for _ in range(rounds):
        timed = {
            name: seconds(callbacks, X, y, start)
            for name, callbacks in contenders(X, y, path).items()
        }
        plain, bounds = timed.pop("no callback")
        for name, (taken, others) in timed.items():
            assert np.array_equal(bounds, others), name
            found.setdefault(name, []).append(taken / plain)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="three rounds, the smaller size")
    add_json(parser)
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES[:1] if options.quick else SIZES:
            rounds = 3 if options.quick else options.rounds
            found = ratios(size, rounds, Path(folder) / "fit.checkpoint")
            results += [
                Result(name, "with / without", name_of(*size), v) for name, v in found.items()
            ]
    publish(results, options.json)


if __name__ == "__main__":
    main()
