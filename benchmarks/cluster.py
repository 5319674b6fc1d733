"""Figure P8: ten iterations on a Dask array, with two workers, against the same in memory.

A million rows of 20 columns from four regimes, four experts (with more than there are, EM would
amplify rounding), plain EM; the rows are made on the workers, of one
thread each, and by the same function in this process. Seconds are those of the whole fit: checks,
starts, moments and ten iterations. Both are timed in turn, and the median ratio is the figure. The
data differ by seed, so that a fit finds nothing of the last one. `spread` is the largest ratio less
the smallest. Needs `pip install mixexp[dask]`, and two idle cores.
"""

import argparse
import importlib.util
import time
import warnings

import _one_thread  # noqa: F401
import numpy as np
from _results import Result, add_json, publish

N_ROWS, QUICK_ROWS = 1_000_000, 200_000
N_FEATURES, N_EXPERTS, N_PARTITIONS, N_WORKERS, N_ITER = 20, 4, 16, 2, 10
RATIO, DIFFERENCE = 2.0, 1e-8  # targets


def simulated(seed, partition, n_rows):
    """The rows of one partition: the targets in the last column."""
    rng = np.random.default_rng((seed, partition))
    X = rng.standard_normal((n_rows, N_FEATURES))
    region = 2 * (X[:, 0] > 0) + (X[:, 1] > 0)
    slopes = np.random.default_rng(seed).standard_normal((N_EXPERTS, N_FEATURES))
    y = 5.0 * region + np.sum(X * slopes[region], axis=1)
    return np.column_stack([X, y + 0.3 * rng.standard_normal(n_rows)])


def fitted(X, y):
    """A fit, and its seconds."""
    from mixexp import MixtureOfExpertsRegressor

    model = MixtureOfExpertsRegressor(
        n_experts=N_EXPERTS, max_iter=N_ITER, tol=0, acceleration=None, random_state=0
    )
    begin = time.perf_counter()
    model.fit(X, y)
    return model, time.perf_counter() - begin


def compared(seed, n_rows, client):
    """Seconds in memory and on Dask, and the relative difference of the bounds."""
    import dask
    import dask.array as da
    from distributed import wait

    size = n_rows // N_PARTITIONS
    partitions = range(N_PARTITIONS)
    table = np.concatenate([simulated(seed, i, size) for i in partitions])
    whole, of_whole = fitted(table[:, :-1].copy(), table[:, -1].copy())
    made = dask.delayed(simulated)
    rows = da.concatenate(
        [da.from_delayed(made(seed, i, size), (size, N_FEATURES + 1), float) for i in partitions]
    ).persist()
    wait(rows)
    parts, of_parts = fitted(rows[:, :-1], rows[:, -1])
    difference = np.max(np.abs(parts.lower_bounds_ / whole.lower_bounds_ - 1))
    return of_whole, of_parts, float(difference)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows")
    parser.add_argument("--rounds", type=int, default=3)
    add_json(parser)
    options = parser.parse_args()
    if importlib.util.find_spec("distributed") is None:
        parser.exit(message="cluster: dask is not installed (pip install mixexp[dask])\n")
    from distributed import Client, LocalCluster

    warnings.simplefilter("ignore")
    n_rows = QUICK_ROWS if options.quick else N_ROWS
    cluster = {"n_workers": N_WORKERS, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(**cluster) as local, Client(local) as client:
        compared(options.rounds, n_rows // 10, client)  # workers import
        found = np.array([compared(seed, n_rows, client) for seed in range(options.rounds)])
    ratios = found[:, 1] / found[:, 0]
    size = f"{n_rows:.0e} x {N_FEATURES}"
    publish(
        [
            Result("P8", "Dask, 2 workers / in memory", size, np.median(ratios), RATIO),
            Result("P8", "relative difference of bounds", size, found[:, 2].max(), DIFFERENCE),
            Result("", "spread of the ratio", size, np.ptp(ratios)),
            Result("", "seconds in memory", size, np.median(found[:, 0])),
        ],
        options.json,
    )


if __name__ == "__main__":
    main()
