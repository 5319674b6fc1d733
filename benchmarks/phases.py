"""Where one EM iteration spends its time: shares of its phases, at the sizes of `engine.py`.

Functions of the engine and of both parts are wrapped by clocks that stop while an inner one runs.
Phases of a fit of few iterations are subtracted from those of a longer one, so that what is done
once a fit cancels. Clocks cost about a microsecond a call, a hundred times less than a block.
"""

import argparse
import time
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import _one_thread  # noqa: F401
import numpy as np
from _reference_em import blurred, simulate
from _results import Result, add_json, name_of, publish
from engine import FEW, MANY, SIZES, fit_mixexp
from threadpoolctl import threadpool_limits

from mixexp._engine import em
from mixexp._engine.assign import Soft
from mixexp._rows.blocks import Block
from mixexp.experts._linear import LinearBank
from mixexp.gates import SoftmaxGate

#: Objects and the names of their functions, by phase.
PHASES = {
    "gate: log-probabilities": [(SoftmaxGate, "log_prob")],
    "experts: log-densities": [(LinearBank, "log_prob")],
    "responsibilities": [(Soft, "__call__")],
    "gate: gradient": [(SoftmaxGate, "statistics")],
    "experts: gradient": [(LinearBank, "statistics")],
    "weights of Gram matrices": [(SoftmaxGate, "gram_weights"), (LinearBank, "gram_weights")],
    "Gram matrices": [(Block, "gram")],
    "M-step": [(em, "m_step")],
    "rest of the pass": [(em, "evaluate")],
}


class Clocks:
    """Seconds by phase; a clock stops while one inside of it runs."""

    def __init__(self):
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self.inner = [0.0]

    def wrapped(self, phase, function):
        def timed(*args, **kwargs):
            self.inner.append(0.0)
            begin = time.perf_counter()
            result = function(*args, **kwargs)
            whole = time.perf_counter() - begin
            self.seconds[phase] += whole - self.inner.pop()
            self.inner[-1] += whole
            return result

        return timed


def phases_of(*args):
    """Seconds by phase of a fit, as an array."""
    clocks = Clocks()
    with ExitStack() as stack:
        for phase, functions in PHASES.items():
            for owner, name in functions:
                clock = clocks.wrapped(phase, getattr(owner, name))
                stack.enter_context(mock.patch.object(owner, name, clock))
        fit_mixexp(*args)
    return np.array(list(clocks.seconds.values()))


def measure(size, rounds):
    """Shares of the phases (rounds, phases)."""
    X, y, resp = simulate(*size)
    start = blurred(resp)
    spent = [phases_of(X, y, start, MANY) - phases_of(X, y, start, FEW) for _ in range(rounds)]
    return np.array([own / own.sum() for own in spent])


def draw(found, path):
    """Draw a bar of phases for each size."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 1.4 + 0.6 * len(found)), layout="tight")
    left = np.zeros(len(found))
    medians = np.array([np.median(shares, axis=0) for shares in found.values()])
    for phase, shares in zip(PHASES, medians.T, strict=True):
        axes.barh(list(found), shares, left=left, label=phase)
        left += shares
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of an EM iteration")
    axes.legend(ncols=3, fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    figure.savefig(path / "phases.png", dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round of the smaller size")
    parser.add_argument("--pictures", type=Path, help="folder for phases.png")
    add_json(parser)
    options = parser.parse_args()
    sizes, rounds = (SIZES[:1], 1) if options.quick else (SIZES, options.rounds)
    with threadpool_limits(limits=1):
        found = {name_of(*size): measure(size, rounds) for size in sizes}
    publish(
        [
            Result("share", phase, name, values)
            for name, shares in found.items()
            for phase, values in zip(PHASES, shares.T, strict=True)
        ],
        options.json,
    )
    if options.pictures is not None:
        draw(found, options.pictures)


if __name__ == "__main__":
    main()
