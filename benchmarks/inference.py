"""Whether standard errors, Wald intervals and predictive laws are right, on simulated mixtures.

*Coverage.* Unpenalised mixtures of two linear experts with a softmax gate on two columns; every fit
starts from the true regions. The share of 95 % intervals that cover the true parameter, by
parameter; fits that number the experts otherwise, or have a near-singular information, are left out
and counted.

*Bootstrap.* Standard errors of one such mixture against those of refits to drawn rows.

*Intervals, PIT, pmf.* Mixtures of two experts fitted by default, judged on rows of their own
(`_predictive.py`).

Exit status 1 where a target is missed: 93 to 97 % for the mean over the parameters, 91.5 to 98 %
for each; 10 % for the bootstrap; 2 points for intervals; 0.02 for the PIT.
"""

import argparse
import sys
import warnings

import _one_thread  # noqa: F401
import numpy as np
from _predictive import predictive_results
from _results import Result, add_json, publish
from sklearn.linear_model import LinearRegression

#: Largest relative difference between errors by the information and by the bootstrap.
OFF = 0.1

#: With fewer simulations or refits than these, single figures are mostly chance.
SIMULATIONS, REFITS = 400, 500

MEAN, SINGLE = (0.93, 0.97), (0.915, 0.98)
LINES = np.array([[1.0, 2.0, -1.0], [-1.0, -1.0, 1.0]])
NOISE = (0.5, 1.0)
GATE = np.array([0.3, 1.5, -0.5])  # logit of the second expert


def simulate(n, rng):
    """X, y, the responsible experts."""
    X = rng.standard_normal((n, 2))
    A = np.column_stack([np.ones(n), X])
    z = (rng.random(n) < 1 / (1 + np.exp(-A @ GATE))).astype(int)
    y = np.einsum("ij,ij->i", A, LINES[z]) + np.array(NOISE)[z] * rng.standard_normal(n)
    return X, y, z


def truth():
    """The true values, in the order of a summary."""
    of_experts = [np.append(line, noise) for line, noise in zip(LINES, NOISE, strict=True)]
    return np.concatenate([*of_experts, -GATE / 2, GATE / 2])


def fitted(n, seed):
    """A fit from the true regions, X and y; None if it numbers the experts otherwise."""
    from mixexp import MixtureOfExpertsRegressor
    from mixexp.gates import SoftmaxGate

    X, y, z = simulate(n, np.random.default_rng(seed))
    model = MixtureOfExpertsRegressor(
        LinearRegression(), n_experts=2, gate=SoftmaxGate(alpha=0), init=z, tol=1e-9, max_iter=1000
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)
    # experts are numbered by usage
    return None if model.experts_[0].intercept_ < model.experts_[1].intercept_ else (model, X, y)


def covered(n, seed, cov_type):
    """Whether each interval covers the truth; None where the information is near-singular."""
    found = fitted(n, seed)
    if found is None:
        return None
    model, X, y = found
    try:
        low, high = model.summary(X, y, cov_type=cov_type).estimates.intervals().T
    except ValueError:
        return None
    return (low <= truth()) & (truth() <= high)


def coverage_results(n, simulations):
    """Shares of Wald intervals that cover the truth."""
    results = []
    for cov_type in ("observed", "sandwich"):
        found = [covered(n, seed, cov_type) for seed in range(simulations)]
        hits = np.array([hit for hit in found if hit is not None])
        shares, size = hits.mean(axis=0), f"{len(hits)} of {simulations} fits, n = {n}"
        doubt = "" if simulations >= SIMULATIONS else "few simulations"
        mean, least, most = shares.mean(), shares.min(), shares.max()
        results += [
            Result("coverage", f"{cov_type}, mean", size, [mean], MEAN[0], at_least=True),
            Result("coverage", f"{cov_type}, mean", size, [mean], MEAN[1]),
            Result("coverage", f"{cov_type}, least", size, [least], SINGLE[0], True, doubt),
            Result("coverage", f"{cov_type}, most", size, [most], SINGLE[1], doubt=doubt),
        ]
    return results


def bootstrap_results(n, n_refits):
    """How far errors by refits are from those by the information."""
    from mixexp.inference import bootstrap

    model, X, y = fitted(n, 0)
    refits = bootstrap(model, X, y, n_refits=n_refits, random_state=0)
    errors = model.summary(X, y).estimates.std_errors
    ratios = refits.std_errors / errors
    print("errors by the bootstrap over those by the information:", ratios.round(3), flush=True)
    off, doubt = np.abs(ratios - 1).max(), "" if n_refits >= REFITS else "few refits"
    size = f"{len(refits.samples)} of {n_refits} refits, n = {n}"
    return [Result("bootstrap", "most off", size, [off], OFF, doubt=doubt)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, default=1000, help="rows of a simulation")
    parser.add_argument("--simulations", type=int, default=SIMULATIONS)
    parser.add_argument("--refits", type=int, default=REFITS, help="of the bootstrap")
    parser.add_argument("--rows", type=int, default=20_000, help="training and test rows of laws")
    parser.add_argument("--quick", action="store_true", help="few simulations, refits and rows")
    add_json(parser)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.simulations, arguments.refits, arguments.rows = 60, 100, 5000
    results = [
        *coverage_results(arguments.n, arguments.simulations),
        *bootstrap_results(4 * arguments.n, arguments.refits),
        *predictive_results(arguments.rows),
    ]
    publish(results, arguments.json)
    sys.exit(any(result.met is False for result in results))


if __name__ == "__main__":
    main()
