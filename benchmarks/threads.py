"""Figure P11: one EM iteration of a long run with two threads / with one.

An iteration is a pass and an M-step, timed within fits (`_iterations.py`). BLAS has one thread.
Within a round all take turns: one thread, two threads, one process, and two processes of one thread
each at the same time. The figure counts where two processes take at most 1.1 times as long as one:
elsewhere there is no second core to be had. "Share of two processes" says how much of the work of
two processes the two threads did in the same time, and holds on a busy machine too.

Exit status 1 where a fit with two threads differs from one with one thread in a single bit.
"""

import argparse
import multiprocessing

import _one_thread  # noqa: F401
import numpy as np
from _iterations import timed_fit
from _reference_em import blurred, simulate
from _results import Result, add_json, name_of, publish
from threadpoolctl import threadpool_limits

SIZE, QUICK_SIZE = (1_000_000, 20, 8), (200_000, 20, 8)
TARGET, SECOND_CORE = 0.65, 1.1
MAX_ITER = 6


def problem(size):
    X, y, resp = simulate(*size)
    return X, y, blurred(resp)


def timed(X, y, start, n_jobs):
    """Seconds of an iteration, and what the fit found, as bytes."""
    seconds, fit = timed_fit(X, y, start, MAX_ITER, n_jobs)
    found = [fit.lower_bounds_, fit.gate_.coef_, *(expert.coef_ for expert in fit.experts_)]
    return seconds, b"".join(np.asarray(each).tobytes() for each in found)


def serve(size, pipe):
    """In a process of its own: time a fit whenever asked."""
    data = problem(size)
    with threadpool_limits(limits=1):
        while pipe.recv():
            pipe.send(timed(*data, None)[0])


class Processes:
    """Two processes that time fits of one thread, alone or both at the same time."""

    def __init__(self, size):
        spawn = multiprocessing.get_context("spawn")
        pairs = [spawn.Pipe() for _ in range(2)]
        self.pipes = [here for here, _ in pairs]
        self.members = [
            spawn.Process(target=serve, args=(size, there), daemon=True) for _, there in pairs
        ]
        for member in self.members:
            member.start()

    def seconds(self, n):
        """Mean seconds per iteration of n of the processes, at the same time."""
        for pipe in self.pipes[:n]:
            pipe.send(True)
        return np.mean([pipe.recv() for pipe in self.pipes[:n]])

    def end(self):
        for pipe, member in zip(self.pipes, self.members, strict=True):
            pipe.send(False)
            member.join()


def measure(size, rounds):
    """Seconds per iteration of all contenders, one entry a round; whether threads changed a bit."""
    data, others = problem(size), Processes(size)
    times = {name: [] for name in ("one", "two", "process", "processes")}
    same = True
    for turn in range(rounds + 1):  # the first round warms up
        now = {}
        now["one"], of_one = timed(*data, 1)
        now["two"], of_two = timed(*data, 2)
        now["process"], now["processes"] = others.seconds(1), others.seconds(2)
        same = same and of_one == of_two
        for name, value in now.items():
            times[name] += [value] if turn else []
    others.end()
    return {name: np.array(values) for name, values in times.items()}, same


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a fifth of the rows")
    add_json(parser)
    options = parser.parse_args()
    size = QUICK_SIZE if options.quick else SIZE
    with threadpool_limits(limits=1):
        times, same = measure(size, options.rounds)
    name = name_of(*size)
    second = times["processes"] / times["process"]
    busy = np.median(second) > SECOND_CORE
    ratio = times["two"] / times["one"]
    publish(
        [
            Result(
                "P11",
                "two threads / one",
                name,
                ratio,
                TARGET,
                doubt="no second core" if busy else "",
            ),
            Result("", "two processes / one", name, second),
            Result("", "share of two processes", name, second / 2 / ratio, at_least=True),
        ],
        options.json,
    )
    print(f"\nResults with two threads are {'bit-equal' if same else 'NOT bit-equal'}.")
    return int(not same)


if __name__ == "__main__":
    raise SystemExit(main())
