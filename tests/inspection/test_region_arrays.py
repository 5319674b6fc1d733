"""What a picture of regions shows is computed by functions of arrays."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mixexp.inspection._palette import PALETTE, hatch_of, line_of, marker_of
from mixexp.inspection._regions import (
    axis_values,
    curve_strength,
    held_values,
    region_grid,
    region_margins,
    shade,
    shown_experts,
    visible_range,
)


def test_axis_values_reach_beyond_the_rows():
    assert_allclose(axis_values(np.array([3.0, -1.0, 0.0]), 5), [-1.2, -0.1, 1.0, 2.1, 3.2])


@pytest.mark.parametrize("value", [0.0, 7.0, -1e300, 1e-300, 1.7e18])
def test_axis_of_a_constant_feature_does_not_collapse(value):
    axis = axis_values(np.full(4, value), 50)
    assert np.all(np.diff(axis) > 0)
    assert axis[0] < value < axis[-1]


def test_axis_of_large_values_with_a_small_spread_keeps_to_them():
    axis = axis_values(1.7e9 + np.array([0.0, 1.0]), 3)
    assert_allclose(axis - 1.7e9, [-0.05, 0.5, 1.05], atol=1e-5)


def test_region_grid_runs_fastest_over_the_first_feature():
    first, second = region_grid([np.array([1.0, 2.0]), np.array([10.0, 20.0, 30.0])])
    assert_array_equal(first, [1, 2, 1, 2, 1, 2])
    assert_array_equal(second, [10, 10, 20, 20, 30, 30])
    assert_array_equal(region_grid([np.array([1.0, 2.0])])[0], [1, 2])


def test_held_values_are_medians_and_most_frequent_values():
    columns = [np.array([1.0, 9.0, 2.0, 4.0]), np.array(["b", "a", "a", "b"], dtype=object)]
    assert held_values(columns) == [3.0, "b"]


def test_shade_is_monotone_in_the_probability_of_the_winner():
    top = np.linspace(0.4, 1, 30)
    weights = np.column_stack([top, 0.6 * (1 - top), 0.4 * (1 - top)])
    colors = np.array([[0.2, 0.4, 0.6], [1, 0, 0], [0, 1, 0]])
    whiteness = shade(weights, colors)
    assert np.all(np.diff(whiteness, axis=0) < 0)
    # A blend: each channel has gone the same share of the way from white to the colour.
    assert_allclose(np.ptp((1 - whiteness) / (1 - colors[0]), axis=1), 0, atol=1e-12)
    assert np.all((whiteness >= colors[0]) & (whiteness <= 1))


def test_shade_at_both_ends():
    colors = np.array([[0.0, 0.5, 1.0], [1.0, 0.0, 0.0]])
    ends = shade([[0.5, 0.5], [0.0, 1.0]], colors, lightest=0.1, darkest=0.7)
    assert_allclose(ends, [[0.9, 0.95, 1.0], [1.0, 0.3, 0.3]])
    assert_allclose(shade([[1.0]], colors[:1], darkest=0.7), [[0.3, 0.65, 1.0]])


def test_margins_are_positive_in_the_region_of_an_expert_only():
    weights = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.4, 0.4, 0.2], [0.0, 0.0, 1.0]])
    margins = region_margins(weights)
    assert_array_equal(margins > 0, np.eye(3, dtype=bool)[[0, 2, 0, 2]])
    assert np.all(margins != 0) and np.all(np.isfinite(margins))
    assert_allclose(margins[0], np.log([5 / 3, 3 / 5, 2 / 5]))


def test_margins_of_a_sharp_softmax_are_linear():
    x = np.linspace(-3, 3, 7)
    score = 40 * (x - 0.3)
    margins = region_margins(np.column_stack([1 / (1 + np.exp(score)), 1 / (1 + np.exp(-score))]))
    assert_allclose(margins[:, 1], score, rtol=1e-3, atol=1)


def test_shown_experts_are_those_that_win_or_colour_a_row():
    weights = np.array([[0.6, 0.39, 0.01, 0.0], [0.3, 0.69, 0.01, 0.0]])
    assert_array_equal(shown_experts(weights[:1], None, regions=True), [0])
    assert_array_equal(shown_experts(weights, None, regions=True), [0, 1])
    assert_array_equal(shown_experts(weights[:1], None, regions=False), [0, 1])
    assert_array_equal(shown_experts(weights[:1], np.array([3, 3]), regions=True), [0, 3])
    equal = np.full((5, 80), 1 / 80)
    assert len(shown_experts(equal, None, regions=False)) == 80


def test_curves_are_stronger_where_the_weight_is_higher():
    alpha, width = curve_strength(np.linspace(0, 1, 11))
    assert alpha.shape == width.shape == (10,)
    assert np.all(np.diff(alpha) > 0) and np.all(np.diff(width) > 0)
    assert alpha[0] > 0.1 and alpha[-1] <= 1


def test_visible_range_leaves_out_where_the_gate_gives_nothing():
    values = np.array([[0.0, 900.0], [1.0, 2.0], [-900.0, 3.0]])
    weights = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    assert visible_range(values, weights) == (0.0, 3.0)


def test_palette_is_told_apart_by_colour_blind_readers():
    # Machado, Oliveira & Fernandes (2009), severity 1, on linear RGB; difference in CIELAB.
    simulations = {
        "normal": np.eye(3),
        "protan": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
        "deutan": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    }
    rgb = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in PALETTE])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.434, 0.376, 0.190], [0.213, 0.715, 0.072], [0.018, 0.109, 0.873]]
    for matrix in simulations.values():
        xyz = np.clip(linear @ np.transpose(matrix), 0, 1) @ np.transpose(to_xyz)
        f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
        lab = np.column_stack(
            [116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])]
        )
        distance = np.linalg.norm(lab[:, None] - lab, axis=2) + 1e9 * np.eye(12)
        assert distance[:6, :6].min() > 30
        assert distance.min() > 15


def test_experts_that_share_a_colour_differ_otherwise():
    looks = [(PALETTE[k % 12], hatch_of(k), line_of(k), marker_of(k)) for k in range(48)]
    assert len(set(looks)) == 48
    for column in ((hatch_of, 16), (line_of, 48), (marker_of, 48)):
        assert len({(PALETTE[k % 12], column[0](k)) for k in range(column[1])}) == column[1]
