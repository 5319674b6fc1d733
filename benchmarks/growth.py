"""How the cost of one EM iteration grows: with n, d and K, one axis at a time from (1e5, 20, 4).

Sizes of an axis take turns within a round. Its exponent is the slope of log seconds on log size, by
least squares over the sizes: 1 is linear. With n it should be 1; the products of columns make it 2
with d, and the gate's Hessian 2 with K, while Newton steps are affordable. BLAS has one thread.
"""

import argparse
from pathlib import Path

import _one_thread  # noqa: F401
import numpy as np
from _iterations import timed_fit
from _reference_em import blurred, simulate
from _results import Result, add_json, publish
from threadpoolctl import threadpool_limits

BASE = {"n": 100_000, "d": 20, "K": 4}

#: Sizes of each axis; the other two are as in `BASE`, but for what is given.
AXES = {
    "n": ((100_000, 200_000, 500_000, 1_000_000), {}),
    "n, d = 5": ((100_000, 1_000_000, 10_000_000), {"d": 5}),
    "d": ((20, 40, 100, 200), {}),
    "K": ((4, 8, 16, 32, 64), {}),
}
QUICK_AXES = {
    "n": ((20_000, 50_000, 100_000), {}),
    "d": ((10, 20, 40, 80), {"n": 20_000}),
    "K": ((4, 8, 16), {"n": 20_000}),
}
LINEAR = 1.05  # target of the exponent of n, as in P5
MAX_ITER = 5


def measure(axis, sizes, base, rounds):
    """Seconds per EM iteration (rounds, sizes)."""
    letter = axis[0]
    found = np.empty((rounds, len(sizes)))
    for turn in range(rounds):
        for i, size in enumerate(sizes):
            problem = BASE | base | {letter: size}
            X, y, resp = simulate(*(problem[name] for name in BASE))
            found[turn, i], _ = timed_fit(X, y, blurred(resp), MAX_ITER)
    return found


def exponent(sizes, values):
    """Slope of log seconds on log size."""
    return np.polyfit(np.log(sizes), np.log(values), 1)[0]


def draw(found, path):
    """Draw seconds against size, one panel an axis."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(found), figsize=(3.2 * len(found), 3), layout="tight")
    for panel, (axis, (sizes, values)) in zip(panels, found.items(), strict=True):
        middle = np.median(values, axis=0)
        panel.loglog(sizes, values.T, ".", color="0.6")
        panel.loglog(sizes, middle, "o-", color="C0")
        panel.set_title(f"grows as {axis[0]}^{exponent(sizes, middle):.2f}", fontsize=10)
        panel.set_xticks(sizes, [f"{size:,}" if size < 1e4 else f"{size:.0e}" for size in sizes])
        panel.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
        panel.set_xlabel(axis)
    panels[0].set_ylabel("seconds per EM iteration")
    figure.savefig(path / "growth.png", dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="smaller sizes, two rounds")
    parser.add_argument("--pictures", type=Path, help="folder for growth.png")
    add_json(parser)
    options = parser.parse_args()
    axes, rounds = (QUICK_AXES, 2) if options.quick else (AXES, options.rounds)
    found, results = {}, []
    with threadpool_limits(limits=1):
        for axis, (sizes, base) in axes.items():
            values = measure(axis, sizes, base, rounds)
            found[axis] = sizes, values
            text = f"{axis} from {min(sizes):,} to {max(sizes):,}"
            slopes = [exponent(sizes, row) for row in values]
            target = LINEAR if axis[0] == "n" else None
            results.append(Result("growth", "exponent", text, slopes, target))
            middle = ", ".join(f"{1e3 * value:.3g}" for value in np.median(values, axis=0))
            print(f"- {axis} = {sizes}: {middle} ms", flush=True)
    publish(results, options.json)
    if options.pictures is not None:
        draw(found, options.pictures)


if __name__ == "__main__":
    main()
