"""Figures P1 and P2: what one EM iteration costs, as ratios measured within one run.

P1: seconds per EM iteration of mixexp / seconds of the unavoidable products (`_products.py`).
P2: seconds per EM iteration of a textbook and of a careful numpy EM (`_reference_em.py`) / mixexp.
GM: seconds per EM iteration of mixexp / one of scikit-learn's GaussianMixture, with as many full
covariances, on the same X.

BLAS is held to one thread. All contenders take turns within a round, a ratio is formed within its
round, and the table shows median [minimum, maximum] over the rounds. An iteration of mixexp is the
difference of two fits that differ in `max_iter` only, divided by the difference of their
`n_passes_`, so that what is done once a fit cancels; that cost is printed apart.

Targets are printed, not enforced: the exit status is not zero only where the fits disagree, for
then the times compare different things.
"""

import argparse
import inspect
import time
import warnings

import _one_thread  # noqa: F401
import numpy as np
from _products import BLOCK_SIZES, make_sweep
from _reference_em import (
    CarefulWork,
    blurred,
    careful_iteration,
    params_from_responsibilities,
    run,
    simulate,
    textbook_iteration,
)
from _results import Result, add_json, name_of, publish
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

SIZES = ((100_000, 10, 4), (100_000, 20, 8))
P1_TARGET = 1.25
TEXTBOOK_TARGETS = (4.0, 5.5)
CAREFUL_TARGET = 3.0
GM_TARGET = 0.3  # at the first size
FEW, MANY = 2, 12  # max_iter of the two fits whose times are subtracted
CHECK_SIZE = (5_000, 4, 3)  # the problem of the same kind on which all run to convergence
CHECK_TOLERANCE = 1e-8
SAME_POINT_TOLERANCE = 1e-6


def fit_mixexp(X, y, start, max_iter, tol=0.0, n_jobs=None):
    """A plain, unpenalised, single-start EM fit from given responsibilities."""
    from mixexp import MixtureOfExpertsRegressor
    from mixexp.gates import SoftmaxGate

    options = {"n_init": 1, "acceleration": None}
    known = inspect.signature(MixtureOfExpertsRegressor).parameters
    options = {name: value for name, value in options.items() if name in known}
    estimator = MixtureOfExpertsRegressor(
        LinearRegression(),
        n_experts=start.shape[1],
        gate=SoftmaxGate(alpha=0),
        init=start,
        max_iter=max_iter,
        tol=tol,
        random_state=0,
        n_jobs=n_jobs,
        **options,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(X, y)


def check_same_optimum(with_mixexp):
    """Run every contender to convergence on a smaller problem and compare the bounds."""
    X, y, resp = simulate(*CHECK_SIZE, seed=1)
    X1 = np.column_stack([np.ones(len(y)), X])
    start = blurred(resp)
    first = params_from_responsibilities(X1, y, start)
    work = CarefulWork(X1, start.shape[1])
    bounds = {
        "textbook": run(textbook_iteration, X1, y, first, 5_000, tol=1e-14)[1],
        "careful": run(careful_iteration, X1, y, first, 5_000, tol=1e-14, work=work)[1],
    }
    if with_mixexp:
        bounds["mixexp"] = fit_mixexp(X, y, start, 5_000, tol=1e-14).lower_bound_
    for name, bound in bounds.items():
        difference = bound - bounds["textbook"]
        print(f"- bound at convergence, {name}: {bound:.12f} (difference {difference:+.1e})")
        if not abs(difference) <= CHECK_TOLERANCE:
            raise SystemExit(f"{name} does not end at the bound of the textbook EM")


def check_same_path(X, y, start, X1, first):
    """Compare the bounds of mixexp and of the textbook EM after MANY iterations.

    The first M-step of the gate may be done otherwise, so that one path may lag the other: the
    bound of mixexp must not lie below the textbook's of four iterations earlier.
    """
    bound = fit_mixexp(X, y, start, MANY).lower_bound_
    early = run(textbook_iteration, X1, y, first, MANY - 4)[1]
    same = run(textbook_iteration, X1, y, first, MANY)[1]
    print(f"- bound after {MANY} iterations, mixexp - textbook: {bound - same:+.1e}")
    if not bound >= early - SAME_POINT_TOLERANCE:
        raise SystemExit("mixexp does not climb as the textbook EM does")


def seconds(function, *args):
    begin = time.perf_counter()
    result = function(*args)
    return time.perf_counter() - begin, result


def per_call(function, repeats):
    begin = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - begin) / repeats


def fastest_sweep(X1, n_experts, keep_pairs):
    """The sweep of the block size that is fastest here, and that size."""
    times = {}
    for size in BLOCK_SIZES:
        sweep = make_sweep(X1, n_experts, size, keep_pairs)
        sweep()
        times[size] = min(per_call(sweep, 1) for _ in range(5))
    best = min(times, key=times.get)
    return make_sweep(X1, n_experts, best, keep_pairs), best


def time_mixexp(X, y, start):
    """Seconds per pass, and what a fit costs beside its passes, in passes."""
    few_seconds, few = seconds(fit_mixexp, X, y, start, FEW)
    many_seconds, many = seconds(fit_mixexp, X, y, start, MANY)
    if many.n_passes_ <= few.n_passes_:
        raise SystemExit("the longer fit made no more passes than the shorter one")
    per_pass = (many_seconds - few_seconds) / (many.n_passes_ - few.n_passes_)
    return per_pass, few_seconds / per_pass - few.n_passes_


def time_gaussians(X, k):
    """Seconds per EM iteration of a GaussianMixture with full covariances."""
    times = []
    for max_iter in (FEW, MANY):
        mixture = GaussianMixture(k, max_iter=max_iter, tol=0.0, init_params="random_from_data")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            times.append(seconds(mixture.set_params(random_state=0).fit, X)[0])
    return (times[1] - times[0]) / (MANY - FEW)


def measure(size, rounds, with_mixexp):
    """Seconds of every contender, one entry a round; set-up cost; block sizes of the products."""
    X, y, resp = simulate(*size)
    X1 = np.column_stack([np.ones(len(y)), X])
    start = blurred(resp)
    first = params_from_responsibilities(X1, y, start)
    if with_mixexp:
        check_same_path(X, y, start, X1, first)
    work = CarefulWork(X1, size[2])
    products, block = fastest_sweep(X1, size[2], keep_pairs=False)
    kept, kept_block = fastest_sweep(X1, size[2], keep_pairs=True)
    calls = {
        "textbook": (lambda: textbook_iteration(X1, y, first), 2),
        "careful": (lambda: careful_iteration(X1, y, first, work=work), 3),
        "products": (products, 8),
        "kept": (kept, 8),
    }
    times = {name: [] for name in (*calls, "gaussians", "mixexp")}
    setups = []
    for turn in range(rounds + 1):  # the first round warms up
        now = {}
        if with_mixexp:
            now["mixexp"], setup = time_mixexp(X, y, start)
            setups += [setup] if turn else []
            now["gaussians"] = time_gaussians(X, size[2])
        now.update({name: per_call(*call) for name, call in calls.items()})
        for name, value in now.items():
            times[name] += [value] if turn else []
    return {name: np.array(values) for name, values in times.items()}, setups, (block, kept_block)


def results_of(size, times, targets):
    """Results of one size; without mixexp the references over the products.

    `targets` are those of the textbook and of GaussianMixture.
    """
    name = name_of(*size)
    if not len(times["mixexp"]):
        return [
            Result("", f"{above} / {text}", name, times[above] / times[below])
            for above in ("textbook", "careful")
            for below, text in (("products", "products"), ("kept", "products, pairs kept"))
        ]
    own = times["mixexp"]
    textbook, gm = targets
    return [
        Result("P1", "mixexp / products", name, own / times["products"], P1_TARGET),
        Result("", "mixexp / products, pairs kept", name, own / times["kept"]),
        Result("P2", "textbook / mixexp", name, times["textbook"] / own, textbook, at_least=True),
        Result("P2", "careful / mixexp", name, times["careful"] / own, CAREFUL_TARGET, True),
        Result("GM", "mixexp / GaussianMixture", name, own / times["gaussians"], gm),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="two rounds of the smaller size")
    parser.add_argument(
        "--without-mixexp", action="store_true", help="time the references and products only"
    )
    add_json(parser)
    options = parser.parse_args()
    with_mixexp = not options.without_mixexp
    sizes, rounds = (SIZES[:1], 2) if options.quick else (SIZES, options.rounds)
    with threadpool_limits(limits=1):
        check_same_optimum(with_mixexp)
        results = []
        for i, size in enumerate(sizes):
            times, setups, blocks = measure(size, rounds, with_mixexp)
            targets = TEXTBOOK_TARGETS[i], GM_TARGET if i == 0 else None
            results += results_of(size, times, targets)
            print(f"- (n, d, K) = {size}, milliseconds, median [min, max]:")
            for name, values in times.items():
                if len(values):
                    low, middle, high = 1e3 * np.percentile(values, [0, 50, 100])
                    print(f"    {name}: {middle:.1f} [{low:.1f}, {high:.1f}]")
            print(f"    block size of the products: {blocks[0]}, with pairs kept {blocks[1]}")
            if setups:
                print(f"    set-up of a fit: {np.median(setups):.1f} iterations")
    publish(results, options.json)


if __name__ == "__main__":
    main()
