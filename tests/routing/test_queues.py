"""Queues at experts, against a slow reference that goes row by row."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from mixexp.routing._queue import capacity_of, placed


def placed_slowly(scores, order, weight, capacity, next_best):
    """Return the expert of every row: rounds of asking, one row after the other."""
    n_experts, n = scores.shape
    expert, load = [n_experts] * n, [0.0] * n_experts
    waiting = list(order)
    while waiting:
        open_now = [k for k in range(n_experts) if load[k] < capacity]
        if not open_now:
            break
        left = []
        for i in waiting:
            best = max(open_now, key=lambda k: (scores[k, i], -k))
            if load[best] < capacity:
                expert[i] = best
                load[best] += weight[i]
            else:
                left.append(i)
        if not next_best:
            break
        waiting = left
    return np.array(expert)


def random_case(seed, kind):
    rng = np.random.default_rng(seed)
    n_experts, n = int(rng.integers(1, 6)), int(rng.integers(1, 40))
    scores = rng.random((n_experts, n)) if seed % 2 else rng.integers(3, size=(n_experts, n)) / 4
    weight = {
        "none": None,
        "whole": rng.integers(1, 5, n).astype(float),
        "fractional": rng.integers(1, 9, n) / 4,  # sums without rounding
    }[kind]
    return scores, rng.permutation(n), weight, rng.choice([0.3, 0.8, 1.0, 1.25, 2.0])


@pytest.mark.parametrize("kind", ["none", "whole", "fractional"])
@pytest.mark.parametrize("seed", range(40))
def test_rows_stand_where_a_slow_queue_puts_them(seed, kind):
    scores, order, weight, factor = random_case(seed, kind)
    n_experts, n = scores.shape
    capacity = capacity_of(weight, n, n_experts, factor)
    weights = np.ones(n) if weight is None else weight
    for next_best in (False, True) if factor >= 1 else (False,):
        expert = placed(scores, order, weight, capacity, next_best)
        assert_array_equal(expert, placed_slowly(scores, order, weights, capacity, next_best))
        for k in range(n_experts):  # below capacity before the last one came
            own = weights[expert == k]
            assert own.sum() < capacity + own.max(initial=0)
        if next_best:
            assert expert.max(initial=0) < n_experts


@pytest.mark.parametrize(
    ("weight", "factor", "capacity"),
    [
        (None, 1.0, 4.0),  # 10 rows, 3 experts: 3.33, rounded up
        (None, 1.2, 4.0),  # 4.0000000000000001 is no 5
        (np.full(10, 2.0), 1.0, 7.0),
        (np.full(10, 0.5), 1.0, 5 / 3),
        (np.r_[np.ones(9), 1.5], 1.0, 3.5),
        (None, np.inf, np.inf),
    ],
)
def test_capacity(weight, factor, capacity):
    assert capacity_of(weight, 10, 3, factor) == pytest.approx(capacity, rel=1e-15)


def test_a_full_expert_sends_rows_to_their_next_best():
    #  rows:           0    1    2    3
    scores = np.array(
        [[0.90, 0.80, 0.70, 0.10], [0.06, 0.05, 0.20, 0.60], [0.04, 0.15, 0.10, 0.30]]
    )
    order = np.arange(4)
    assert_array_equal(placed(scores, order, None, 1.0, False), [0, 3, 3, 1])
    # row 1 asks for expert 2, which has room; row 2 for expert 1, which row 3 holds, then for none
    assert_array_equal(placed(scores, order, None, 1.0, True)[[0, 1, 3]], [0, 2, 1])
    assert_array_equal(placed(scores, order, None, 2.0, True), [0, 0, 1, 1])
    # the last row may go over the capacity by its own weight
    assert_array_equal(
        placed(scores, order, np.array([1.0, 5.0, 1.0, 1.0]), 2.0, False), [0, 0, 3, 1]
    )


def test_first_choices_go_before_second_ones():
    scores = np.array([[0.9, 0.8, 0.1], [0.1, 0.2, 0.9]])
    # row 1 is refused by expert 0; row 2, later in the queue, has expert 1 as its first choice
    assert_array_equal(placed(scores, np.arange(3), None, 1.5, True), [0, 0, 1])
    assert_array_equal(placed(scores, np.arange(3), np.full(3, 1.0), 1.0, False), [0, 2, 1])


def test_of_equal_scores_the_first_expert_is_better():
    assert_array_equal(placed(np.full((3, 4), 0.5), np.arange(4), None, 2.0, True), [0, 0, 1, 1])


def test_rounding_leaves_no_row_without_a_place():
    weight = np.r_[np.ones(9), 1e-17]  # 9 + 1e-17 is 9: the last row finds all experts full
    capacity = capacity_of(weight, 10, 3, 1.0)
    scores = np.random.default_rng(0).random((3, 10))
    assert placed(scores, np.arange(10), weight, capacity, True)[-1] == scores[:, -1].argmax()


def test_labelled_rows_come_first_and_count():
    scores = np.array([[0.9, 0.8, 0.7, 0.6], [0.1, 0.2, 0.3, 0.4]])
    labels = np.array([-1, -1, 0, 0])
    assert_array_equal(placed(scores, np.arange(4), None, 2.0, True, labels), [1, 1, 0, 0])
    assert_array_equal(placed(scores, np.arange(4), None, 1.0, False, labels), [2, 2, 0, 0])
    labels = np.array([-1, 0, 0, 0])  # more than its capacity
    assert_array_equal(placed(scores, np.arange(4), None, 2.0, True, labels), [1, 0, 0, 0])
