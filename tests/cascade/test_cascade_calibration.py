"""The bound and the choice of the threshold, by hand and in simulation."""

import numpy as np
import pytest
from scipy.stats import binom

from mixexp._cascade.calibration import calibrate, rows_needed, upper_bound


@pytest.mark.parametrize(
    ("n_wrong", "n_rows", "bound"),
    [
        (0, 1, 0.95),  # p with 1 − p = 0.05
        (0, 2, 1 - 0.05**0.5),
        (1, 2, 0.95**0.5),  # 1 − p² = 0.05
        (0, 100, 1 - 0.05**0.01),  # 0.0295
        (2, 2, 1.0),
        (0, 0, 1.0),
    ],
)
def test_bound_by_hand(n_wrong, n_rows, bound):
    assert upper_bound(n_wrong, n_rows) == pytest.approx(bound, rel=1e-12)


@pytest.mark.parametrize(("n_wrong", "n_rows"), [(1, 20), (3, 386), (7, 50)])
def test_bound_solves_the_binomial_equation(n_wrong, n_rows):
    assert binom.cdf(n_wrong, n_rows, upper_bound(n_wrong, n_rows)) == pytest.approx(0.05)


def test_rows_needed():
    # log 0.05 / log(1 − limit), rounded up
    assert [rows_needed(limit) for limit in (0.02, 0.05, 0.1)] == [149, 59, 29]
    for n_wrong in (1, 3):
        n = rows_needed(0.02, n_wrong)
        assert upper_bound(n_wrong, n) <= 0.02 < upper_bound(n_wrong, n - 1)


def test_threshold_by_hand():
    """300 sure rows agree, of 100 less sure ones 20 differ: 0.1 is passed by 300 + some."""
    certainty = np.linspace(1, 0, 400)
    differs = np.zeros(400, dtype=bool)
    differs[300::5] = True
    found = calibrate(certainty, differs, np.ones(400), 0.02)
    n = np.arange(8, 401, 8)  # the shares 2 %, 4 %, ...
    n = n[n >= 200]  # half of the rows: fewer than the 590 of which 6 may differ
    passed = [upper_bound(differs[:m].sum(), m) <= 0.02 for m in n]
    last = n[passed.index(False) - 1]
    assert found.threshold == certainty[last - 1]
    assert found.acceptance == last / 400
    assert found.agreement == 1 - differs[:last].mean()
    assert found.bound == upper_bound(differs[:last].sum(), last) <= 0.02


def test_stops_at_the_first_failure():
    """Rows after a bad stretch agree again, and are not reached."""
    certainty = np.linspace(1, 0, 1000)
    differs = np.zeros(1000, dtype=bool)
    differs[450:520] = True
    found = calibrate(certainty, differs, np.ones(1000), 0.1)
    assert upper_bound(70, 1000) <= 0.1  # all rows together would pass
    assert 0.44 <= found.acceptance <= 0.52


def test_two_sequences():
    """Each test has level 2.5 %; where the first share fails by chance, the larger one passes."""
    n, limit = 2000, 0.1
    assert rows_needed(limit, 6, 0.975) <= 150 and 300 <= rows_needed(limit, 20, 0.975) <= 320
    certainty = np.linspace(1, 0, n)
    late = np.zeros(n, dtype=bool)
    late[400:600:2] = True
    early = np.zeros(n, dtype=bool)
    early[:20] = True
    for differs, low, high in ((late, 0.2, 0.23), (early, 1.0, 1.0)):
        found = calibrate(certainty, differs, np.ones(n), limit)
        assert low <= found.acceptance <= high
        m = round(found.acceptance * n)
        assert found.bound == upper_bound(differs[:m].sum(), m, 0.975) <= limit
    assert calibrate(certainty, early, np.ones(n), limit).first[2] > limit


def test_ties_are_accepted_together():
    certainty = np.repeat([2.0, 1.0], [250, 250])
    differs = np.repeat([False, True], [250, 250])
    found = calibrate(certainty, differs, np.ones(500), 0.02)
    assert (found.threshold, found.acceptance) == (2.0, 0.5)
    mixed = calibrate(np.ones(500), differs, np.ones(500), 0.02)
    assert mixed.acceptance == 0.0
    assert mixed.first[:2] == (1.0, 0.5)


def test_rows_without_certainty_are_never_accepted():
    certainty = np.repeat([1.0, -np.inf], [400, 100])
    found = calibrate(certainty, np.zeros(500, dtype=bool), np.ones(500), 0.02)
    assert (found.threshold, found.acceptance) == (1.0, 0.8)


def test_too_few_rows():
    found = calibrate(np.arange(148.0), np.zeros(148, dtype=bool), np.ones(148), 0.02)
    assert (found.threshold, found.acceptance, found.first) == (np.inf, 0.0, None)
    assert np.isnan(found.agreement) and np.isnan(found.bound)
    found = calibrate(np.arange(149.0), np.zeros(149, dtype=bool), np.ones(149), 0.02)
    assert found.acceptance == 1.0


def test_weights_count_rows(rng):
    certainty, weight = rng.uniform(size=300), rng.integers(1, 4, 300).astype(float)
    differs = rng.uniform(size=300) < 0.1 * (1 - certainty)
    one = calibrate(certainty, differs, weight, 0.05)
    times = weight.astype(int)
    two = calibrate(
        np.repeat(certainty, times), np.repeat(differs, times), np.ones(times.sum()), 0.05
    )
    assert 0 < one.acceptance < 1
    for name in ("threshold", "acceptance", "agreement", "bound", "n_rows"):
        assert getattr(one, name) == pytest.approx(getattr(two, name), rel=1e-12), name


def test_other_weights_give_an_effective_number(rng):
    weight = rng.uniform(0.5, 20, 400)
    found = calibrate(rng.uniform(size=400), np.zeros(400, dtype=bool), weight, 0.05)
    n = weight.sum() ** 2 / (weight**2).sum()
    assert found.bound == pytest.approx(1 - 0.05 ** (1 / n))
    assert found.n_rows == pytest.approx(n)


@pytest.mark.parametrize("slope", [0.0, 0.1, 1.0])
def test_bound_holds_in_simulation(slope):
    """True disagreement of accepted rows exceeds the limit in about 5 % of calibrations at most.

    A row of certainty c differs with probability 0.021 + slope (1 − c)²: nothing may be accepted.
    """
    rng, limit, n, bad = np.random.default_rng(0), 0.02, 1200, 0
    for _ in range(400):
        c = rng.uniform(size=n)
        p = np.minimum(0.021 + slope * (1 - c) ** 2, 1)
        found = calibrate(c, rng.uniform(size=n) < p, np.ones(n), limit)
        bad += found.acceptance > 0
    assert bad <= 0.07 * 400


def test_bound_holds_where_some_rows_are_good():
    """Below a certainty of 0.5 rows differ: true disagreement of what is accepted is known."""
    rng, limit, n = np.random.default_rng(1), 0.05, 1500
    bad, rates = 0, []
    for _ in range(400):
        c = rng.uniform(size=n)
        differs = rng.uniform(size=n) < np.where(c > 0.5, 0.01, 0.15)
        found = calibrate(c, differs, np.ones(n), limit)
        t = max(found.threshold, 0.0)
        low = max(0.5 - t, 0.0)
        true = (0.01 * min(0.5, 1 - t) + 0.15 * low) / (1 - t)
        bad += true > limit
        rates.append(found.acceptance)
    assert bad <= 0.07 * 400
    assert np.mean(rates) > 0.6  # and it is of use: 0.7 is the best possible
