"""Every family of `FAMILIES`, and its options, through the same tests."""

import warnings

import numpy as np
import pytest
from _family_cases import (
    VARIANTS,
    K,
    M,
    Q,
    draws,
    frozen,
    make_case,
    squared_dispersion,
    statistics_of,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad
from sklearn.base import clone

from mixexp.families import FAMILIES
from mixexp.protocols import has_scale


@pytest.fixture(params=VARIANTS, ids=str)
def family(request):
    return clone(request.param)


# ---------------------------------------------------------------- shape


def test_attributes(family):
    assert FAMILIES[family.name] is type(family)
    assert family.link in {"identity", "log"}
    assert family.check(np.ones((Q, M)), "Owner") is None
    parameters = family.initial(K, Q)
    assert parameters.shape == (len(family.parameter_names), K, Q)
    assert np.all(parameters > 0)
    assert vars(family) == family.get_params()


def test_shapes_and_independent_outputs(family, rng):
    y, eta, parameters, resp = make_case(family, rng)
    log_prob, score, curvature = family.evaluate(y, eta, parameters)
    assert log_prob.shape == (K, M)
    assert score.shape == (K, Q, M)
    assert (curvature is not None) == family.curved
    parts = [family.evaluate(y[[q]], eta[:, [q]], parameters[..., [q]]) for q in range(Q)]
    assert_allclose(log_prob, parts[0][0] + parts[1][0], atol=1e-12)
    assert_allclose(score, np.concatenate([part[1] for part in parts], axis=1))
    whole = statistics_of(family, y, eta, parameters, resp)
    assert whole.shape[1:] == (K, Q)
    for q in range(Q):
        alone = statistics_of(family, y[[q]], eta[:, [q]], parameters[..., [q]], resp)
        assert_allclose(whole[..., [q]], alone)


def test_statistics_add(family, rng):
    y, eta, parameters, resp = make_case(family, rng)
    whole = statistics_of(family, y, eta, parameters, resp)
    first, second = slice(0, 13), slice(13, None)
    halves = [
        statistics_of(family, y[:, s], eta[..., s], parameters, resp[:, s]) for s in (first, second)
    ]
    assert_allclose(whole, halves[0] + halves[1], rtol=1e-12)


def test_inputs_are_not_changed(family, rng):
    case = make_case(family, rng)
    kept = [np.copy(a) for a in case]
    y, eta, parameters, resp = case
    _, score, curvature = family.evaluate(y, eta, parameters)
    more = [score, resp[:, None] * score] + ([curvature] if family.curved else [])
    kept += [np.copy(a) for a in more]
    sums = family.statistics(score, curvature, resp, more[1])
    before = sums.copy()
    family.update(sums, resp.sum(axis=1), parameters, np.zeros(Q))
    assert_array_equal(sums, before)
    for old, now in zip(kept, [*case, *more], strict=True):
        assert_array_equal(old, now)


# ---------------------------------------------------------------- density, score, curvature


def test_log_prob_equals_scipy(family, rng):
    y, eta, parameters, _ = make_case(family, rng)
    log_prob, _, _ = family.evaluate(y, eta, parameters)
    law = frozen(family, family.mean(eta), parameters[..., None])
    expected = law.logpmf(y) if family.discrete else law.logpdf(y)
    assert_allclose(log_prob, expected.sum(axis=1), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dispersion", [0.1, 1.0, 3.0])
def test_density_has_mass_one(family, dispersion):
    parameters = family.initial(1, 1)
    parameters[:1] *= dispersion

    def density(y):
        y = np.atleast_2d(y)
        return np.exp(family.evaluate(y, np.full((1, *y.shape), 1.3), parameters)[0][0])

    def side(sign):
        return quad(lambda z: density(1.3 + sign * dispersion * z)[0], 0, np.inf)[0]

    if family.discrete:
        total = density(np.arange(200.0)).sum()
    elif family.link == "log":  # over the logarithm, because the density can be infinite at 0
        ends = (-300, 1.3), (1.3, 8)
        total = sum(quad(lambda t: density(np.exp(t))[0] * np.exp(t), *end)[0] for end in ends)
    else:
        total = dispersion * (side(-1) + side(1))
    assert_allclose(total, 1.0, atol=1e-7)


def test_score_is_the_derivative(family, rng):
    y, eta, parameters, _ = make_case(family, rng)
    if family.name == "laplace":  # which has a kink at y
        eta = np.where(np.abs(y - eta) < 0.01, y - 0.01, eta)
    _, score, _ = family.evaluate(y, eta, parameters)
    for q in range(Q):
        step = np.zeros((1, Q, 1))
        step[:, q] = 1e-6
        up, down = (family.evaluate(y, eta + s, parameters)[0] for s in (step, -step))
        units = np.broadcast_to(squared_dispersion(family, parameters), (K, Q, 1))[:, q]
        slope = (up - down) / 2e-6 * units
        assert_allclose(score[:, q], slope, rtol=1e-6, atol=1e-6)


def test_curvature_is_the_expected_information_or_a_bound(family, rng):
    y, eta, parameters, _ = make_case(family, rng, m=1)
    if family.reweights:  # log p lies above the parabola with this slope and curvature
        log_prob, score, curvature = family.evaluate(y[:1], eta[:, :1], parameters[..., :1])
        assert np.all(curvature > 0)
        moves = np.linspace(-5, 5, 1001)
        moved = family.evaluate(y[:1], eta[:, :1] + moves, parameters[..., :1])[0]
        parabola = score * moves - 0.5 * curvature * moves**2
        parabola /= squared_dispersion(family, parameters[..., :1])
        assert np.all(moved >= log_prob + parabola[:, 0] - 1e-10)
        return
    eta = np.repeat(eta[:1, :1], 200_000, axis=2)  # E[score²] is the information
    y = draws(family, eta, parameters[:, :1, :1])[0]
    _, score, curvature = family.evaluate(y, eta, parameters[:, :1, :1])
    information = 1.0 if curvature is None else curvature[0, 0, 0]
    expected = information * squared_dispersion(family, parameters)[0, 0]
    assert_allclose(np.mean(score**2), expected, rtol=0.03)


@pytest.mark.parametrize("eta", [1e3, -1e3, 1e5])
def test_wild_predictors_are_impossible_and_not_nan(family, eta):
    y = np.array([[0.0, 1.0, 7.0]] if family.discrete else [[1e-3, 1.0, 7.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        far = np.full((1, 1, 3), eta)
        log_prob, score, _ = family.evaluate(y, far, family.initial(1, 1))
        sums = statistics_of(family, y, far, family.initial(1, 1), np.zeros((1, 3)))
    assert np.all(log_prob[0, 1:] < -10)
    assert np.all(np.isfinite(score))
    assert_array_equal(sums, np.zeros_like(sums))  # at responsibility 0 nothing is added
    if (family.link == "log" and has_scale(family)) or not family.parameter_names:
        overflow = eta > 0 if family.discrete else eta < 0
        assert np.all(np.isneginf(log_prob) == overflow)
