"""Families with their options, and random cases for them."""

import numpy as np
from scipy import stats

from mixexp.families import FAMILIES, Gaussian, StudentT
from mixexp.protocols import can, has_scale

K, Q, M = 3, 2, 40

#: All but binomial, whose targets have trials.
VARIANTS = [make() for name, make in FAMILIES.items() if name != "binomial"]
VARIANTS += [Gaussian(shared=True), StudentT(df=2.5)]


def parameters_of(family, rng, shape=(K, Q)):
    """Return random parameters (P, *shape) that the family may have."""
    parameters = np.ones((len(family.parameter_names), *shape))
    if family.name != "poisson":
        parameters[0] = rng.uniform(0.3, 2.0, shape)
    if family.name == "student_t":
        parameters[1] = rng.uniform(2.5, 12.0, shape) if family.df is None else family.df
    return parameters


def draws(family, eta, parameters, seed=0):
    """Draw y of the shape of `eta` (K, Q, m)."""
    wide = np.broadcast_to(parameters[..., None], (len(parameters), *eta.shape))
    return family.sample(family.mean(eta), wide, np.random.RandomState(seed))


def make_case(family, rng, m=M):
    """Return y (Q, m), eta (K, Q, m), parameters (P, K, Q) and responsibilities (K, m)."""
    eta = 0.8 * rng.standard_normal((K, Q, m))
    parameters = parameters_of(family, rng)
    y = draws(family, eta, parameters)[0]
    return y, eta, parameters, rng.dirichlet(np.ones(K), m).T


def squared_dispersion(family, parameters):
    """Return (K, Q, 1): what scores and curvatures are multiplied by."""
    return parameters[0][..., None] ** 2 if has_scale(family) else np.ones((1, 1, 1))


def statistics_of(family, y, eta, parameters, resp):
    if can(family, "parameter_sums"):
        return family.parameter_sums(y, eta, parameters, resp)
    _, score, curvature = family.evaluate(y, eta, parameters)
    return family.statistics(score, curvature, resp, resp[:, None] * score)


def frozen(family, mean, parameters):
    """Return the distribution of scipy.stats."""
    if family.name == "poisson":
        return stats.poisson(mean)
    s = parameters[0]
    if family.name == "negative_binomial":
        return stats.nbinom(1 / s, 1 / (1 + s * mean))
    if family.name == "gamma":
        return stats.gamma(s**-2.0, scale=mean * s**2)
    if family.name == "student_t":
        return stats.t(parameters[1], mean, s)
    return {"gaussian": stats.norm, "laplace": stats.laplace}[family.name](mean, s)
