"""Growing a mixture expert by expert."""

from types import SimpleNamespace

import numpy as np
import pytest
from _problems import make_rows, softmax_gated
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LinearRegression
from test_partitions import context, context_of

from mixexp import MixtureOfExpertsRegressor
from mixexp._engine.context import CREDIT
from mixexp.gates import ConstantGate, SoftmaxGate
from mixexp.partitions import (
    KMeansStart,
    Split,
    _split,
    grow,
)
from mixexp.partitions._proposals import (
    Table,
    _borders,
    _different,
    _drawn,
    _second_nearer,
    _two_means,
    halves,
    merge_costs,
)
from mixexp.partitions._split import Divided, _excess, _exchanged
from mixexp.protocols import ShortRun


def agreement(resp, truth):
    """Return the share of rows in the right group, each found group named after its majority."""
    codes = resp.argmax(axis=0)
    return sum(np.bincount(truth[codes == k]).max() for k in np.unique(codes)) / len(truth)


def unbalanced(rng, n=1200):
    """Lines of 90, 5 and 5 % of the rows: the small ones at the two ends of one feature."""
    X = rng.standard_normal((n, 4))
    low, high = np.quantile(X[:, 0], [0.05, 0.95])
    z = np.where(X[:, 0] < low, 1, np.where(X[:, 0] > high, 2, 0))
    lines = np.array([[0, 1, 0, 1, 0.0], [3, 0, -2, 0, 1], [-3, 0, 2, 1, 0]])
    y = np.einsum("ij,ij->i", np.column_stack([np.ones(n), X]), lines[z])
    return X, y + 0.3 * rng.standard_normal(n), z


def test_growing_finds_small_regions(rng):
    X, y, z = unbalanced(rng)
    where = context_of(make_rows(X, y), 3)
    for seed in range(3):
        resp = Split().responsibilities(where, np.random.default_rng(seed))
        codes = resp.argmax(axis=0)
        assert_allclose(np.sort(resp.sum(axis=1)), [60, 60, 1080], atol=15)
        for k in range(3):  # every region is found, not only the large one
            assert np.mean(np.bincount(codes[z == k]).max() / np.sum(z == k)) > 0.9
    kmeans = KMeansStart().responsibilities(where, np.random.default_rng(0))
    assert kmeans.sum(axis=1).min() > 200
    bounds = [
        MixtureOfExpertsRegressor(n_experts=3, init=init, n_init=1, random_state=0, max_iter=2000)
        .fit(X, y)
        .lower_bound_
        for init in ("split", z)
    ]
    assert bounds[0] > bounds[1] - 1e-3


def test_the_best_border_is_where_the_line_changes(rng):
    X = rng.uniform(-1, 1, (1000, 4))
    side = X[:, 2] > 0.5
    y = np.where(side, X[:, 0] - 2 * X[:, 1], 2 * X[:, 1]) + 0.1 * rng.standard_normal(1000)
    where = context_of(make_rows(X, y), 2)
    table = Table.of(where.features, where.targets, np.ones(1000), classes=False)
    best = halves(table, np.ones(1000), rng)[0]
    right = np.mean(best.side == side)
    assert max(right, 1 - right) > 0.95  # thresholds are an eighth of the rows apart
    directions, thresholds = _borders(table, np.zeros((4, 4)), np.arange(4))
    assert_array_equal(directions[0], np.eye(4)[2])
    assert_allclose(thresholds[0], np.quantile(where.features[:, 2], 0.75), atol=0.01)
    # the gain is that of two gaussian lines over one, and is not far from the truth's
    lines = [LinearRegression().fit(X[s], y[s]) for s in (side, ~side, side | ~side)]
    spread = [
        np.mean((y[s] - line.predict(X[s])) ** 2)
        for s, line in zip((side, ~side, side | ~side), lines, strict=True)
    ]
    truth = 0.5 * (1000 * np.log(spread[2]) - side.sum() * np.log(spread[0]))
    truth -= 0.5 * np.sum(~side) * np.log(spread[1])
    assert 0.5 * truth < best.gain < 1.01 * truth


def test_a_border_between_two_values(rng):
    X = np.column_stack([rng.standard_normal(200), rng.integers(0, 2, 200)])
    y = np.where(X[:, 1] > 0, 3.0, -3.0) * X[:, 0]
    table = Table.of(X, y[:, None], np.ones(200), classes=False)
    directions, thresholds = _borders(table, np.zeros((2, 2)), np.arange(2))
    assert_array_equal(directions[0], [0, 1])
    assert thresholds[0] == 0  # a side is above it


def test_the_nearer_line_of_several_outputs(rng):
    targets = rng.standard_normal((50, 2))
    table = Table.of(np.zeros((50, 1)), targets, np.ones(50), classes=False)
    lines = np.zeros((2, 2, 2))  # constants: 0, and (0.2, 1)
    lines[1, 0] = 0.2, 1.0
    expected = np.sum((targets - [0.2, 1.0]) ** 2, axis=1) < np.sum(targets**2, axis=1)
    assert_array_equal(_second_nearer(table, lines), expected[None])


def test_crossing_lines_count_their_entropy(rng):
    X = rng.standard_normal((800, 1))
    table = Table.of(X, rng.standard_normal((800, 1)), np.ones(800), classes=False)
    # noise alone: to divide it by its sign would promise 0.5 nat a row without the entropy
    assert halves(table, np.ones(800), rng)[0].gain < 0.05 * 800
    z = rng.integers(2, size=800)
    y = np.where(z == 1, 3.0, -3.0)[:, None] * X + 0.1 * rng.standard_normal((800, 1))
    best = halves(Table.of(X, y, np.ones(800), classes=False), np.ones(800), rng)[0]
    right = best.side == z
    assert max(right.mean(), 1 - right.mean()) > 0.9


def test_no_two_proposals_are_the_same_halves(rng):
    X = rng.uniform(-1, 1, (600, 3))
    y = np.where(X[:, 0] > 0.2, 2.0, -2.0)[:, None] * X[:, 1:2] + 0.01 * X[:, 2:]
    found = halves(Table.of(X, y, np.ones(600), classes=False), np.ones(600), rng)
    assert len(found) > 3
    for i, half in enumerate(found):
        moved = np.array([np.mean(half.side != other.side) for other in found[:i]])
        assert np.all(np.minimum(moved, 1 - moved) > 0.01)
    assert [half.gain for half in found] == sorted((half.gain for half in found), reverse=True)


def test_halves_differ_by_the_weight_that_moves():
    sides = np.zeros((4, 200), dtype=bool)
    sides[0, :100] = sides[1, :101] = sides[2, :103] = True  # 0.5 and 1.5 % of the rows move
    sides[3] = ~sides[0]
    order = np.arange(4)
    assert _different(sides, order, np.ones(200)) == [0, 2]
    assert _different(sides, order[::-1], np.ones(200)) == [3, 2]
    weight = np.ones(200)
    weight[100] = 50.0  # a fifth of it moves
    assert _different(sides, order, weight) == [0, 1]


def test_rows_are_drawn_by_weight(rng):
    weight = np.array([0.0, 1.0, 0.0, 3.0, 0.0])
    drawn = np.bincount([_drawn(weight, rng) for _ in range(4000)], minlength=5)
    assert_allclose(drawn / 4000, [0, 0.25, 0, 0.75, 0], atol=0.03)
    for number, row in ((0.0, 1), (1.0, 3)):  # the lowest, and one that was rounded up
        assert _drawn(weight, SimpleNamespace(random=lambda number=number: number)) == row


def test_halves_of_an_expert_are_found_once(rng, monkeypatch):
    asked = []
    monkeypatch.setattr(_split, "halves", lambda *args: asked.append(args[1]) or halves(*args))
    where = context(rng, n=300, k=4)
    *_, last = grow(where, 4, np.random.default_rng(0))
    assert last.n_experts == 4
    assert len({resp.tobytes() for resp in asked}) == len(asked)


def test_one_row_far_from_all_others_is_no_cluster(rng):
    X = rng.standard_normal((40, 2))
    X[:] = X[:1]  # all equal
    table = Table.of(X, rng.standard_normal((40, 1)), np.ones(40), classes=False)
    assert _two_means(table, table, rng) is None
    X[3] += 1e-3
    table = Table.of(X, rng.standard_normal((40, 1)), rng.random(40) + 0.1, classes=False)
    side = _two_means(table, table, rng)
    assert side.sum() in (1, 39) and side[3] != side[4]


def three_steps(rng):
    X = rng.uniform(0, 3, (600, 1))
    z = X[:, 0].astype(int)
    y = np.array([0.0, 5.0, -5.0])[z] + np.array([1.0, -1.0, 2.0])[z] * X[:, 0]
    return X, y + 0.1 * rng.standard_normal(600), z


def test_an_exchange_merges_two_that_agree_and_splits_another(rng):
    X, y, z = three_steps(rng)
    where = context_of(make_rows(X, y), 3)
    wrong = np.stack([z < 2, (z == 2) & (X[:, 0] < 2.5), X[:, 0] >= 2.5]).astype(float)
    table = Table.of(where.features, where.targets, np.ones(600), classes=False)
    cost = merge_costs(table, wrong)
    assert np.unravel_index(cost.argmin(), cost.shape) in ((1, 2), (2, 1))
    assert_allclose(cost, cost.T)
    assert cost.min() < 10 < cost[0, 1]
    run = where.short_run(wrong, 1)
    better = _exchanged(where, Divided(table, run, rng))
    assert better.bound > run.bound + 0.5
    assert agreement(better.resp, z) > 0.99
    assert _exchanged(where, Divided(table, better, rng)) is None  # nothing promises more


def test_the_expert_explained_worst_has_a_say(rng):
    weight = rng.exponential(size=4)
    table = Table.of(np.zeros((4, 1)), np.zeros((4, 1)), weight, classes=False)
    resp = np.array([[1.0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    density = np.array([-1.0, -2.0, 0.5, -4.0])
    run = ShortRun(resp, 0.0, density, False)
    mean = (weight[0] + 2 * weight[1]) / (weight[0] + weight[1])
    expected = [(weight[0] + weight[1]) * (mean + 0.5), 0.0, weight[3] * 4.5]
    assert_allclose(_excess(table, run), expected)


def test_stages_of_growing(rng):
    where = context(rng, n=200, k=4)
    stages = list(grow(where, 4, np.random.default_rng(0)))
    assert [stage.n_experts for stage in stages] == [1, 2, 3, 4]
    assert [len(stage.resp) for stage in stages] == [1, 2, 3, 4]
    assert np.all(np.diff([stage.bound for stage in stages]) > 0)
    for stage in stages:
        assert_allclose(stage.resp.sum(axis=0), 1.0)


def test_growing_ends_where_nothing_can_be_split(rng):
    where = context_of(make_rows(np.zeros((3, 1)), np.zeros(3)), 3)
    assert next(grow(where, 3, rng)).n_experts == 1
    assert_allclose(Split().responsibilities(where, rng).sum(axis=0), 1.0)


def test_short_run(rng):
    X, y, _, _ = softmax_gated(rng, 150, 2, 3)
    where = context_of(make_rows(X, y), 3)
    resp = KMeansStart().responsibilities(where, rng)
    run = where.short_run(resp, 500)
    options = {"gate": SoftmaxGate(alpha=0.3), "max_iter": 1000, "tol": 1e-8}
    model = MixtureOfExpertsRegressor(n_experts=3, init=resp.T, **options).fit(X, y)
    assert_allclose(run.bound, model.lower_bound_, rtol=1e-4)
    assert_allclose(run.resp.T, model.responsibilities(X, y), atol=0.05)
    assert_allclose(run.log_density.mean(), model.log_density(X, y).mean(), rtol=1e-3)
    assert not run.flagged
    two = where.short_run(np.stack([resp[0] + resp[1], resp[2]]), 5)
    assert two.resp.shape == (2, 150)
    assert two.bound < run.bound


def test_short_run_of_groups_and_of_exact_lines(rng):
    X, y, _, _ = softmax_gated(rng, 60, 2, 2)
    rows = make_rows(X, y)
    groups = np.repeat(np.arange(20), 3)
    rows = rows.subset(np.arange(60), None, groups)
    where = context_of(rows, 2)
    run = where.short_run(rng.dirichlet([1, 1], 60).T, 3)
    assert_allclose(run.resp, np.repeat(run.resp[:, ::3], 3, axis=1))
    assert_allclose(run.log_density, np.repeat(run.log_density[::3], 3))
    flat = context_of(rows, 2, LinearRegression())
    flat.gate = ConstantGate().start(rows.units, 2, None)
    run = flat.short_run(rng.dirichlet([1, 1], 60).T, 3)
    assert_allclose(run.bound, run.log_density.sum() / 20)  # without penalties, per group
    exact = np.where(X[:, 0] > 0, X[:, 1], 3 - X[:, 1])
    where = context_of(make_rows(X, exact), 2, LinearRegression())
    run = where.short_run(np.stack([X[:, 0] > 0, X[:, 0] <= 0]).astype(float), 5)
    assert run.bound > 5 and not run.flagged  # exact regimes of many rows are what is looked for


def test_the_best_run_of_several(rng):
    X, y, _, _ = softmax_gated(rng, 150, 2, 3)
    where = context_of(make_rows(X, y), 3)
    good = KMeansStart().responsibilities(where, rng)
    poor = rng.dirichlet(np.ones(3), 150).T
    best = where.best_run([poor, good, poor[::-1]], 3, 6)
    assert_allclose(best.bound, where.short_run(good, 6).bound, rtol=1e-9)
    assert_allclose(where.best_run([poor], 3, 6).resp, where.short_run(poor, 6).resp, rtol=1e-6)
    assert_allclose(where.best_run([poor], 6, 6).resp, where.short_run(poor, 6).resp, rtol=1e-6)
    # it goes on only where its last gain lets it hope for the least bound that is of use
    one, two = (where.short_run(poor, n_iter).bound for n_iter in (1, 2))
    for share, n_iter in ((0.9, 6), (1.1, 2)):
        least = two + share * CREDIT * (two - one)
        found = where.best_run([poor], 2, 6, least)
        assert_allclose(found.bound, where.short_run(poor, n_iter).bound, rtol=1e-9)


def test_growing_on_the_first_rows(rng):
    X, y, _, _ = softmax_gated(rng, 300, 2, 3)
    rows = make_rows(X, y)
    where = context_of(rows, 3)
    assert where.first_rows(300) is where
    few = where.first_rows(100)
    assert_allclose(few.rows.X, X[:100])
    run = few.short_run(KMeansStart().responsibilities(few, rng), 5)
    everywhere = where.posteriors(run)
    assert everywhere.shape == (3, 300)
    assert_allclose(everywhere[:, :100], run.resp, rtol=1e-10)
    grouped = context_of(rows.subset(np.arange(300), None, np.repeat(np.arange(100), 3)), 3)
    assert grouped.first_rows(100).rows.n_rows == 102  # whole groups


def test_growing_with_noise_expert_and_lists_of_features(rng):
    X, y, _ = unbalanced(rng, 300)
    model = MixtureOfExpertsRegressor(
        n_experts=2,
        noise_expert=True,
        gate_features=[[0], [0, 1]],
        init="split",
        random_state=0,
        max_iter=1000,
    )
    assert np.isfinite(model.fit(X, y).lower_bound_)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("far", [1e12, 1e-12])
def test_one_row_far_from_all_others(rng, far):
    X = np.vstack([rng.normal(size=(59, 2)), [[1e12, -1e12]]]) * far
    y = rng.normal(size=60)
    with np.errstate(all="raise"):
        model = MixtureOfExpertsRegressor(n_experts="auto", random_state=0).fit(X, y)
    assert np.isfinite(model.predict(X)).all()
