"""How often Wald intervals cover the truth, on simulated mixtures of two lines.

Unpenalised mixtures of two linear experts with a softmax gate on two columns; every fit starts from
the true regions. The share of 95 % intervals that cover the true parameter, by parameter; fits that
number the experts otherwise, or have a near-singular information, are left out and counted.

Exit status 1 where the mean over the parameters is not between 93 and 97 %, or one of them is not
between 91.5 and 98 %.
"""

import argparse
import sys
import warnings

import _one_thread  # noqa: F401
import numpy as np
from _results import Result, add_json, publish
from sklearn.linear_model import LinearRegression

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


def covered(n, seed, cov_type):
    """Whether each interval covers the truth; None where the information is near-singular."""
    from mixexp import MixtureOfExpertsRegressor
    from mixexp.gates import SoftmaxGate

    X, y, z = simulate(n, np.random.default_rng(seed))
    model = MixtureOfExpertsRegressor(
        LinearRegression(), n_experts=2, gate=SoftmaxGate(alpha=0), init=z, tol=1e-9, max_iter=1000
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)
    if model.experts_[0].intercept_ < model.experts_[1].intercept_:
        return None  # numbered by usage
    try:
        low, high = model.summary(X, y, cov_type=cov_type).estimates.intervals().T
    except ValueError:
        return None
    return (low <= truth()) & (truth() <= high)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, default=1000, help="rows of a simulation")
    parser.add_argument("--simulations", type=int, default=400)
    add_json(parser)
    arguments = parser.parse_args()
    results, failed = [], False
    for cov_type in ("observed", "sandwich"):
        found = [covered(arguments.n, seed, cov_type) for seed in range(arguments.simulations)]
        hits = np.array([hit for hit in found if hit is not None])
        shares = hits.mean(axis=0)
        size = f"{len(hits)} of {arguments.simulations} fits, n = {arguments.n}"
        failed |= not MEAN[0] <= shares.mean() <= MEAN[1]
        least, most = shares.min(), shares.max()
        failed |= not (SINGLE[0] <= least and most <= SINGLE[1])
        results += [
            Result("coverage", f"{cov_type}, mean over parameters", size, [shares.mean()]),
            Result(
                "coverage", f"{cov_type}, least", size, [shares.min()], SINGLE[0], at_least=True
            ),
            Result("coverage", f"{cov_type}, most", size, [shares.max()], SINGLE[1]),
        ]
    publish(results, arguments.json)
    sys.exit(failed)


if __name__ == "__main__":
    main()
