"""When a run ends."""

import numpy as np
import pytest
from _problems import (
    random_resp,
    softmax_gated,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._engine.em import PATIENCE, _settled


@pytest.fixture
def three_lines(rng):
    """X, y and responsibilities to start from: an identified problem."""
    X, y, proba, _ = softmax_gated(np.random.default_rng(4), 300, 2, 3, noise=0.5, slope=1.0)
    return X, y, 0.5 * proba + 0.5 * random_resp(rng, 3, 300).T


@pytest.mark.parametrize("max_iter", [1, 2, 17])
@pytest.mark.parametrize("kind", [MixtureOfExpertsRegressor, MixtureOfExpertsClassifier])
@pytest.mark.parametrize("n_experts", [1, 2])
def test_tol_zero_runs_all_iterations(rng, max_iter, kind, n_experts):
    X = rng.standard_normal((40, 2))
    y = (X[:, 0] + rng.logistic(size=40) > 0).astype(int)
    model = kind(n_experts=n_experts, tol=0, max_iter=max_iter, n_init=1, random_state=0)
    with pytest.warns(ConvergenceWarning, match=f"max_iter={max_iter}"):
        model.fit(X, y)
    assert model.n_iter_ == len(model.lower_bounds_) == max_iter
    assert not model.converged_


def geometric(rate, n, first=1.0, limit=-3.0):
    """Return bounds that climb to a limit with gains that shrink by a rate."""
    return limit - first * rate ** np.arange(n) / (1 - rate)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9, 0.99, 0.999])
@pytest.mark.parametrize("tol", [1e-3, 1e-6])
@pytest.mark.parametrize("limit", [-3.0, 0.2, 500.0])
def test_a_run_settles_when_what_is_left_is_small(rate, tol, limit):
    bounds = geometric(rate, 40_000 if rate > 0.99 else 3000, limit=limit)
    small = tol * max(1.0, abs(limit))
    settled = [n for n in range(3, len(bounds)) if limit - bounds[n] > 1e-9 * abs(limit)]
    end = next(n for n in settled if _settled(list(bounds[n - 3 : n]), tol, True))
    left, gain = limit - bounds[end - 1], bounds[end - 1] - bounds[end - 2]
    assert left < small * 1.01 and gain < small
    # and not later than that
    before = limit - bounds[end - 2], bounds[end - 2] - bounds[end - 3]
    assert max(before) >= small * 0.99


def test_a_run_never_settles_at_tol_zero_or_before_three_bounds():
    assert not _settled([1.0] * 50, 0.0, True)
    assert not _settled([1.0, 1.0], 1e-6, True)
    assert _settled([1.0, 1.0, 1.0], 1e-6, True)


@pytest.mark.parametrize(
    "bounds, tol, settled",
    [
        ([0.0, 1.0, 1.0], 1e-6, True),  # no gain at all
        ([0.0, 1.0, 1.0 - 1e-16], 1e-6, True),  # a fall that is rounding
        ([0.0, 1e-7, 3e-7], 1e-6, False),  # gains that grow
        ([0.0, 1e-9, 3e-9], 1e-6, True),  # but are far below tol
        ([0.0, 2e-5, 3e-5], 1e-6, False),  # a gain above tol
        ([0.0, 1.01e-7, 2e-7], 1.5e-7, False),  # at this rate 50 times as much is left
        ([0.0, 1.8e-7, 2e-7], 1.5e-7, True),  # at this one a tenth
        ([-100.0, -100.0 + 9e-5, -100.0 + 10e-5], 1e-6, True),  # tol is relative
    ],
)
def test_settled(bounds, tol, settled):
    assert _settled(bounds, tol, True) == settled


def test_without_ascent_a_run_ends_when_it_has_stopped_improving():
    rising = list(np.arange(30.0))
    assert not _settled(rising, 1e-6, False)
    noisy = [0.0, 5.0, *[4.0, 3.0] * (PATIENCE // 2)]
    assert _settled(noisy, 1e-6, False)
    assert not _settled(noisy[:-1], 1e-6, False)
    assert not _settled([*noisy[:-1], 5.1], 1e-6, False)


def test_tighter_tolerance_ends_closer_to_the_limit(three_lines):
    X, y, resp = three_lines
    bounds = {}
    for tol in (1e-4, 1e-6, 1e-8, 1e-12):
        model = MixtureOfExpertsRegressor(
            LinearRegression(), n_experts=3, init=resp, tol=tol, max_iter=3000
        )
        bounds[tol] = model.fit(X, y).lower_bound_
        assert model.converged_
    for tol in (1e-4, 1e-6, 1e-8):
        left = bounds[1e-12] - bounds[tol]
        assert -1e-12 < left < 3 * tol * max(1.0, abs(bounds[tol]))
