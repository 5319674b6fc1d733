"""Figure P5: memory beyond the data, and time by the number of rows, of fits out of core.

A float32 memory map of 20 columns, four experts, five iterations: `fit` on the map, and
`fit_blocks` on runs of 65 536 of its rows. Memory is the largest anonymous memory of the process
less that before the fit, so that pages of the map do not count; Linux only. The exponent is the
slope of log seconds between the sizes, in processor time; it includes that a smaller share of the
designs is kept between passes. There is no target for that of predictions. `--rows 1e7` takes the
size of P5; it needs 800 MB on the disk and about ten minutes. By default sizes are 1e6 and 4e6.
"""

import argparse
import tempfile
import threading
import time
import warnings
from pathlib import Path

import _one_thread  # noqa: F401
import numpy as np
from _results import Result, add_json, publish

SIZES, QUICK_SIZES = (1_000_000, 4_000_000), (200_000, 800_000)
N_FEATURES, RUN = 20, 1 << 16
MEMORY, EXPONENT = 1000.0, 1.05  # targets: MB, and the power of n
PERIOD = 0.01  # seconds between looks at the memory


def anonymous():
    """Anonymous memory of this process, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    raise OSError("no RssAnon in /proc/self/status")


class Peak:
    """The largest anonymous memory within a block, beyond that at its begin."""

    def __enter__(self):
        self.base, self.most, self._ended = anonymous(), 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self):
        while not self._ended.wait(PERIOD):
            self.most = max(self.most, anonymous() - self.base)

    def __exit__(self, *error):
        self._ended.set()
        self._thread.join()


def written(path, n_rows):
    """A memory map of simulated rows, and their targets."""
    rng = np.random.default_rng(0)
    X, y = np.memmap(path, np.float32, "w+", shape=(n_rows, N_FEATURES)), np.empty(n_rows)
    slopes = np.arange(N_FEATURES) / 10
    for start in range(0, n_rows, RUN):
        rows = rng.standard_normal((min(RUN, n_rows - start), N_FEATURES))
        here = slice(start, start + len(rows))
        X[here] = rows
        y[here] = np.where(rows[:, 0] > 0, rows @ slopes, 3 - 2 * rows[:, 1])
        y[here] += 0.3 * rng.standard_normal(len(rows))
    X.flush()
    return np.memmap(path, np.float32, "r", shape=(n_rows, N_FEATURES)), y


def measured(n_rows):
    """Memory (MB) and seconds of both ways to fit, and of predictions."""
    from mixexp import MixtureOfExpertsRegressor

    options = {"n_experts": 4, "max_iter": 5, "acceleration": None, "random_state": 0}
    with tempfile.TemporaryDirectory() as folder:
        X, y = written(Path(folder) / "X", n_rows)
        found = {}

        def runs():
            for start in range(0, n_rows, RUN):
                yield X[start : start + RUN], y[start : start + RUN]

        model = MixtureOfExpertsRegressor(**options)
        for name, call in {
            "fit": lambda: model.fit(X, y),
            "fit_blocks": lambda: MixtureOfExpertsRegressor(**options).fit_blocks(runs),
            "predict": lambda: model.predict(X),
        }.items():
            with Peak() as peak:
                begin = time.process_time()
                call()
                found[name] = peak, time.process_time() - begin
    return {name: (peak.most, seconds) for name, (peak, seconds) in found.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows")
    parser.add_argument("--rows", type=float, help="the larger number of rows")
    add_json(parser)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    small, large = QUICK_SIZES if options.quick else SIZES
    large = int(options.rows or large)
    one, other = measured(small), measured(large)
    results = []
    for name in one:
        memory, seconds = other[name]
        power = np.log(seconds / one[name][1]) / np.log(large / small)
        size = f"{large:.0e} x {N_FEATURES}"
        results.append(Result("P5", f"MB beyond the data, {name}", size, memory, MEMORY))
        limit = None if name == "predict" else EXPONENT
        results.append(Result("P5", f"exponent of n, {name}", size, power, limit))
        results.append(Result("", f"seconds, {name}", size, seconds))
    publish(results, options.json)


if __name__ == "__main__":
    main()
