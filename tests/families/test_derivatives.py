"""Derivatives that families give, against differences of their log-densities and of each other."""

import numpy as np
import pytest
from _family_cases import VARIANTS, K, draws, parameters_of
from numpy.testing import assert_allclose

from mixexp.protocols import can

STEP = 1e-5

#: Of central differences: their error is about STEP², and that of rounding 1e-16 / STEP.
CLOSE = {"rtol": 1e-7, "atol": 1e-7}


def slope(function, at):
    """Return the central difference of a function of a number, at an offset of 0."""
    return (function(at) - function(-at)) / (2 * at)


@pytest.mark.parametrize("family", [f for f in VARIANTS if can(f, "derivatives")], ids=str)
def test_derivatives_are_those_of_the_log_density(family, rng):
    eta = 0.8 * rng.standard_normal((K, 1, 15))
    parameters = parameters_of(family, rng, (K, 1))
    y = draws(family, eta, parameters)[0]
    found = family.derivatives(y, eta, parameters)

    def log_prob(eta, parameters):
        return family.evaluate(y, eta.copy(), parameters)[0][:, None]

    def moved(i, by):
        return np.stack([p * np.exp(by * (j == i)) for j, p in enumerate(parameters)])

    def at_eta(by):
        return family.derivatives(y, eta + by, parameters)

    assert_allclose(found.by_eta, slope(lambda h: log_prob(eta + h, parameters), STEP), **CLOSE)
    assert_allclose(found.curvature, -slope(lambda h: at_eta(h).by_eta, STEP), **CLOSE)
    for i in range(len(found.by_logs)):

        def at_log(by, i=i):
            return family.derivatives(y, eta, moved(i, by))

        by_log = slope(lambda h, i=i: log_prob(eta, moved(i, h)), STEP)
        assert_allclose(found.by_logs[i], by_log, **CLOSE)
        crossed = -slope(lambda h, at=at_log: at(h).by_eta, STEP)
        assert_allclose(found.crossed[i], crossed, **CLOSE)
        assert_allclose(found.of_logs[i], -slope(lambda h, at=at_log: at(h).by_logs, STEP), **CLOSE)
