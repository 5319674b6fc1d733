"""Simulated mixtures of two experts, of all families whose predictive laws are judged."""

import warnings

import numpy as np
from _results import Result
from scipy import stats
from scipy.special import expit

#: Shares of targets that central intervals are to hold, and how far off these may be.
COVERAGES, POINTS = (0.5, 0.8, 0.95), 0.02

#: Largest distance of the randomised PIT of counts from a uniform distribution.
KS = 0.02

#: Rows of which probabilities are summed, up to the count that is exceeded this rarely.
SUMMED_ROWS, RARE = 200, 1e-13

#: Families with intervals, and families of counts; "zero" has a zero expert.
CONTINUOUS = ("gaussian", "student_t")
DISCRETE = ("poisson", "negative_binomial", "binomial", "poisson, zero expert")

GATE = np.array([0.3, 1.5, -0.5])  # logit of the second expert
LINES = np.array([[1.0, 0.8, -0.5], [2.0, -0.6, 0.3]])
SCALES = np.array([0.3, 0.6])
ZERO_SHARE, ALPHA, DEGREES = 0.2, 0.5, 4.0


def simulate(kind, n, rng):
    """X, y, arguments of `fit` and of the predictive law."""
    X = rng.standard_normal((n, 2))
    A = np.column_stack([np.ones(n), X])
    z = (rng.random(n) < expit(A @ GATE)).astype(int)
    eta = np.einsum("ij,ij->i", A, LINES[z])
    if kind == "gaussian":
        return X, eta + SCALES[z] * rng.standard_normal(n), {}
    if kind == "student_t":
        return X, eta + SCALES[z] * rng.standard_t(DEGREES, n), {}
    if kind == "binomial":
        trials = rng.integers(1, 21, n)
        return X, rng.binomial(trials, expit(2 * (eta - 1.5))), {"trials": trials}
    rate = np.exp(eta)
    if kind == "negative_binomial":
        return X, rng.poisson(rate * rng.gamma(1 / ALPHA, ALPHA, n)), {}
    y = rng.poisson(rate)
    if kind == "poisson, zero expert":
        y[rng.random(n) < ZERO_SHARE] = 0
    return X, y, {}


def law_of(kind, n):
    """The law of n test rows by a mixture fitted to n others, and their targets."""
    from mixexp import MixtureOfExpertsRegressor

    family, _, zero = kind.partition(", ")
    model = MixtureOfExpertsRegressor(
        n_experts=2, family=family, zero_expert=bool(zero), random_state=0
    )
    X, y, given = simulate(kind, n, np.random.default_rng(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y, **given)
    X, y, given = simulate(kind, n, np.random.default_rng(1))
    return model.predict_distribution(X, **given), y


def off_one(law):
    """How far the probabilities of some rows are from a sum of 1, at most."""
    law = law[:SUMMED_ROWS]
    last = law.quantile(1 - RARE).max()
    return np.abs(sum(law.pdf(float(count)) for count in np.arange(last + 1)) - 1).max()


def predictive_results(n):
    """Coverage of intervals, and the PIT and sums of counts, of fitted mixtures."""
    from mixexp.metrics import pit

    size, results = f"n = {n} and {n}", []
    for kind in CONTINUOUS:
        law, y = law_of(kind, n)
        low, high = law.interval(COVERAGES)
        shares = ((low <= y) & (y <= high)).mean(axis=1)
        print(kind, dict(zip(COVERAGES, shares.round(4).tolist(), strict=True)), flush=True)
        off = np.abs(shares - COVERAGES).max()
        results.append(Result("intervals", f"{kind}, most off", size, [off], POINTS))
    for kind in DISCRETE:
        law, y = law_of(kind, n)
        distance = stats.kstest(pit(y, law, random_state=0), "uniform").statistic
        results += [
            Result("PIT", f"{kind}, Kolmogorov-Smirnov", size, [distance], KS),
            Result("pmf", f"{kind}, off a sum of 1", size, [off_one(law)], 1e-6),
        ]
    return results
