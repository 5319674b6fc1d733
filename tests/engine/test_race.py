"""The race of the starts: waves, agreement, and what ends it."""

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._engine import race
from mixexp._engine.race import MAX_ROUNDS, MIN_ROUNDS, ROUND_ITER, START_WORK, _rounds, agreement
from mixexp._engine.starts import FromPartition
from mixexp.datasets import make_piecewise_linear
from mixexp.gates import ConstantGate
from mixexp.partitions import CheckedStart, KMeansStart, MixedStart, Split


def crisp(codes, k):
    return np.equal(codes, np.arange(k)[:, None]).astype(float)


def test_equal_partitions_agree_whatever_their_numbering(rng):
    resp = crisp(rng.integers(4, size=200), 4)
    assert agreement(resp, resp[[2, 0, 3, 1]], None) == pytest.approx(1)


def test_unrelated_partitions_do_not_agree(rng):
    first, second = (crisp(rng.integers(3, size=20_000), 3) for _ in range(2))
    assert abs(agreement(first, second, None)) < 0.03
    everywhere = np.full((3, 200), 1 / 3)
    assert agreement(everywhere, everywhere, None) == pytest.approx(0)


def test_overlapping_experts_agree_less():
    sharp = crisp(np.arange(100) % 2, 2)
    soft = 0.8 * sharp + 0.2 * sharp[::-1]
    # drawn by either: 0.8² + 0.2² = 0.68 of the rows, 0.5 by chance
    assert agreement(soft, soft, None) == pytest.approx((0.68 - 0.5) / 0.5)


def test_a_single_expert_tells_nothing():
    one = np.ones((1, 10))
    assert agreement(one, one, None) == 0


def test_weight_two_is_the_row_twice(rng):
    first, second = rng.dirichlet(np.ones(3), 50).T, rng.dirichlet(np.ones(3), 50).T
    weight = rng.integers(1, 3, 50)
    assert_allclose(
        agreement(first, second, weight.astype(float)),
        agreement(np.repeat(first, weight, axis=1), np.repeat(second, weight, axis=1), None),
        rtol=1e-10,
    )


def test_waves_are_all_starts_once():
    mixed, single = FromPartition(MixedStart()), FromPartition(KMeansStart())
    given = FromPartition(CheckedStart(MixedStart([KMeansStart()] * 4), "Test"))
    assert given.waves(4) == [[0, 1, 2, 3]]  # what a user lists is tried
    assert FromPartition(CheckedStart(MixedStart(), "Test")).waves(10) == mixed.waves(10)
    for n_init in (1, 2, 3, 4, 10, 50):
        waves = mixed.waves(n_init)
        assert [turn for wave in waves for turn in wave] == list(range(n_init))
        assert single.waves(n_init) == [list(range(n_init))]
    assert [len(wave) for wave in mixed.waves(10)] == [3, 3, 3, 1]
    assert mixed.waves(50) == [list(range(50))]  # whoever asks for more has all tried
    assert FromPartition(Split()).waves(10) == [[0]]


def test_no_further_start_where_starts_agree():
    X, y = make_piecewise_linear(300, noise=0.1, random_state=0)
    model = MixtureOfExpertsRegressor(n_experts=3, random_state=0).fit(X, y)
    assert len(model.restarts_) == 3
    plain = MixtureOfExpertsRegressor(n_experts=3, init="clusterwise", random_state=0).fit(X, y)
    assert len(plain.restarts_) == 10
    assert model.lower_bound_ >= plain.lower_bound_ - 1e-6


def test_a_wave_without_a_better_start_is_the_last(rng):
    X, y = rng.standard_normal((200, 3)), rng.standard_normal(200)
    model = MixtureOfExpertsRegressor(n_experts=3, random_state=0, max_iter=1000).fit(X, y)
    n_starts = len(model.restarts_)
    assert n_starts in (6, 9, 10)
    last = model.restarts_[-3 if n_starts < 10 else -1 :]
    if n_starts < 10:
        assert all("long run" not in record.events for record in last)


def test_threads_do_not_change_the_race():
    X, y = make_piecewise_linear(200, random_state=1)
    one = MixtureOfExpertsRegressor(n_experts=3, random_state=0).fit(X, y)
    two = MixtureOfExpertsRegressor(n_experts=3, random_state=0, n_jobs=2).fit(X, y)
    assert one.restarts_ == two.restarts_
    assert one.lower_bound_ == two.lower_bound_


def test_rounds_are_as_many_as_the_work_allows():
    def part(n_weights, size):
        design = SimpleNamespace(size=size)
        return SimpleNamespace(gram_weights=True, n_gram_weights=n_weights, design=design)

    def rounds(n_rows):
        problem = SimpleNamespace(
            gate=part(2, 100), sketch=SimpleNamespace(n_rows=n_rows), n_init=5
        )
        return _rounds(problem, part(3, 200))

    a_round = 5 * ROUND_ITER * (2 * 100**2 + 3 * 200**2)  # multiplications for every row
    for expected in (3, 7):
        assert rounds(START_WORK / (expected + 0.5) / a_round) == expected
    assert rounds(1) == MAX_ROUNDS and rounds(START_WORK) == MIN_ROUNDS


def test_starts_of_numbers_race_on_the_first_rows(monkeypatch):
    X, y = make_piecewise_linear(1500, noise=0.1, random_state=0)
    groups = np.arange(1500) // 3
    monkeypatch.setattr(race, "RACE_ROWS", 400)
    seen = []
    short_run = race._short_run
    monkeypatch.setattr(
        race,
        "_short_run",
        lambda problem, start: seen.append(problem.sketch) or short_run(problem, start),
    )

    def rows_of(model, y=y, **more):
        seen.clear()
        model.set_params(random_state=0).fit(X, y, **more)
        assert len({id(rows) for rows in seen}) == 1
        return seen[0]

    numbers = MixtureOfExpertsRegressor(n_experts=3)
    assert rows_of(numbers).n_rows == 400
    enough = race.ROWS_PER_COEFFICIENT * 4 * (X.shape[1] + 1) * 2  # experts, coefficients, outputs
    several = MixtureOfExpertsRegressor(n_experts=4)
    assert enough > 400 and rows_of(several, np.column_stack([y, -y])).n_rows == min(enough, 1500)
    grouped = MixtureOfExpertsRegressor(n_experts=3, gate=ConstantGate())
    assert rows_of(grouped, groups=groups).n_rows == 402  # whole groups
    assert rows_of(MixtureOfExpertsRegressor(n_experts=3, init="kmeans")).n_rows == 1500
    assert rows_of(MixtureOfExpertsClassifier(n_experts=3), y > np.median(y)).n_rows == 1500
