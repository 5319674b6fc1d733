"""Every family's M-step, and what it does for estimators that know neither link nor offset."""

import numpy as np
import pytest
from _family_cases import (
    VARIANTS,
    K,
    M,
    Q,
    draws,
    make_case,
    parameters_of,
    squared_dispersion,
    statistics_of,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from mixexp import MixtureOfExpertsRegressor
from mixexp.protocols import has_scale


@pytest.fixture(params=VARIANTS, ids=str)
def family(request):
    return clone(request.param)


# ---------------------------------------------------------------- the M-step


def expected_likelihood(family, y, eta, parameters, resp):
    return np.sum(resp * family.evaluate(y, eta, parameters)[0])


def test_update_climbs_to_the_maximum(family, rng):
    y, eta, parameters, resp = make_case(family, rng, m=400)
    if family.get_params().get("shared"):
        parameters[:] = parameters[:, :1]
    before = expected_likelihood(family, y, eta, parameters, resp)
    for _ in range(400):
        sums = statistics_of(family, y, eta, parameters, resp)
        parameters = family.update(sums, resp.sum(axis=1), parameters, np.zeros(Q))
        after = expected_likelihood(family, y, eta, parameters, resp)
        assert after >= before - 1e-10 * abs(before)
        before = after
    for i, name in enumerate(family.parameter_names):
        if name == "degrees_of_freedom" and family.df is not None:
            assert np.all(parameters[i] == family.df)
            continue
        inside = parameters[i] < 199  # the upper end of estimated degrees of freedom
        for factor in (0.9, 1.1):
            moved = parameters.copy()
            moved[i] = np.where(inside, factor * parameters[i], parameters[i])
            assert expected_likelihood(family, y, eta, moved, resp) <= before


@pytest.mark.parametrize("penalty", [0.0, 30.0])
def test_whole_step_of_a_constant_climbs(family, rng, penalty):
    # the arithmetic of a linear bank with one column, and its log-prior -λθ²/2s²
    y, _, parameters, resp = make_case(family, rng, m=300)
    if family.link == "identity":
        y = y + 3.0
    if family.get_params().get("shared"):
        parameters[:] = parameters[:, :1]
    theta = np.zeros((K, Q))
    mass = resp.sum(axis=1)
    bounds = []
    for _ in range(150):
        eta = np.repeat(theta[..., None], y.shape[1], axis=2)
        log_prob, score, curvature = family.evaluate(y, eta, parameters)
        prior = -0.5 * penalty * theta**2 / squared_dispersion(family, parameters)[..., 0]
        bounds.append(np.sum(resp * log_prob) + prior.sum())
        weighted = resp[:, None] * score
        sums = statistics_of(family, y, eta, parameters, resp).copy()
        hessian = np.broadcast_to(1.0 if curvature is None else curvature, score.shape)
        hessian = np.einsum("km,kqm->kq", resp, hessian)
        gradient = weighted.sum(axis=2)
        step = (gradient - penalty * theta) / (hessian + penalty)
        theta = theta + step
        if has_scale(family):
            if family.link == "identity":
                sums[0] += hessian * step**2 - 2 * gradient * step
            sums[0] += penalty * theta**2
        parameters = family.update(sums, mass, parameters, np.zeros(Q))
    assert np.all(np.diff(bounds) >= -1e-9 * np.abs(bounds[-1]))
    assert bounds[-1] > bounds[0]


def test_parameters_are_recovered(family, rng):
    m = 20_000
    truth = parameters_of(family, rng)
    if family.get_params().get("shared"):
        truth[:] = truth[:, :1]
    eta = 0.8 * rng.standard_normal((K, Q, m))
    resp = np.ones((1, m))
    y = draws(family, eta, truth)
    parameters = family.initial(K, Q)
    for _ in range(150):
        for k in range(K):  # each expert with the rows of its own
            one = parameters[:, [k]]
            sums = statistics_of(family, y[k], eta[[k]], one, resp)
            parameters[:, [k]] = family.update(sums, np.array([float(m)]), one, np.zeros(Q))
    for name, found, true in zip(family.parameter_names, parameters, truth, strict=True):
        rtol = 0.25 if name == "degrees_of_freedom" else 0.03
        # four standard errors of log α at a mean near 1
        assert_allclose(found, true, rtol=rtol if has_scale(family) or not len(truth) else 0.1)


def test_floor(family, rng):
    y, eta, parameters, resp = make_case(family, rng)
    sums, mass = statistics_of(family, y, eta, parameters, resp), resp.sum(axis=1)
    free = family.update(sums, mass, parameters, np.zeros(Q))
    if not family.parameter_names:
        assert_array_equal(family.update(sums, mass, parameters, np.ones(Q)), free)
        return
    if not has_scale(family):  # a dispersion that is no scale has a range of its own
        held = family.update(sums, mass, parameters, np.full(Q, 1e6))
        assert_array_equal(held, free)
        return
    floor = np.array([np.median(free[0, :, 0]), 0.0])
    held = family.update(sums, mass, parameters, floor)
    assert_array_equal(held[0], np.maximum(free[0], floor))
    assert_array_equal(held[1:], free[1:])
    sums[0] = -1e-20  # what rounding can leave of a perfect fit
    held = family.update(sums, mass, parameters, np.array([0.1, 0.2]))
    assert_allclose(held[0], np.broadcast_to([0.1, 0.2], (K, Q)))


# ---------------------------------------------------------------- links


def test_links(family, rng):
    eta = rng.standard_normal((K, Q, M))
    mean = family.mean(eta)
    assert_allclose(family.eta(mean), eta, atol=1e-12)
    assert_allclose(mean, np.exp(eta) if family.link == "log" else eta)
    if family.link == "log":
        assert np.all(np.isfinite(family.eta(np.array([0.0, -1.0, 1e-300]))))


def test_without_offset(family, rng):
    # the step of an estimator that knows no offset is that of the model which has it
    y, eta, parameters, _ = make_case(family, rng)
    offset = rng.uniform(-1, 1, M)
    rest, factor = family.without_offset(y, offset)
    assert (factor is not None) == family.discrete
    if family.name == "negative_binomial":  # only where the mean is small against 1 / α
        parameters = np.full_like(parameters, 1e-8)
    _, with_offset, _ = family.evaluate(y, eta + offset, parameters)
    _, without, _ = family.evaluate(rest, eta, parameters)
    atol = 1e-5 if family.name == "negative_binomial" else 1e-12
    assert_allclose(without * (1.0 if factor is None else factor), with_offset, atol=atol)


@pytest.mark.parametrize("family", ["student_t", "laplace"])
@pytest.mark.parametrize(("unit", "zero"), [(2.0**17, 0.0), (2.0**-20, 0.0), (1.0, 1e4)])
def test_starts_do_not_depend_on_the_unit_and_zero_of_y(family, unit, zero):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 2))
    y = np.sin(2 * X[:, 0]) + 0.3 * rng.standard_normal(120)
    model = MixtureOfExpertsRegressor(family=family, random_state=0)
    floors = [model.fit(X, each)._model.bank.floor for each in (y, unit * y + zero)]
    np.testing.assert_allclose(floors[1], unit * floors[0], rtol=1e-6)
    alone = MixtureOfExpertsRegressor(n_experts=1, family=family).fit(X, y)
    np.testing.assert_allclose(floors[0], 1e-3 * alone.dispersions_, rtol=0.05)
