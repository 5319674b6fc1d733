"""The generators keep to the truth they return."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax
from sklearn.linear_model import LinearRegression

from mixexp.datasets import (
    load_auto_mpg,
    load_concrete,
    load_ethanol,
    load_tone,
    make_box_tree,
    make_inverse_sine,
    make_piecewise_linear,
    make_softmax_mixture,
)

GENERATORS = [make_piecewise_linear, make_box_tree, make_softmax_mixture, make_inverse_sine]


def assert_zero_mean(terms, variances, z=4.0):
    """Check that sums of independent terms (n, ...) of mean 0 are within `z` standard errors."""
    assert np.all(np.abs(terms.sum(axis=0)) <= z * np.sqrt(variances.sum(axis=0)))


# ---------------------------------------------------------------- all generators


@pytest.mark.parametrize("make", GENERATORS)
def test_same_seed_same_rows(make):
    X, y = make(random_state=3)
    assert X.dtype == y.dtype == np.float64
    assert X.ndim == 2 and y.shape == (len(X),)
    for again in (make(random_state=3), make(random_state=np.random.RandomState(3))):
        assert_array_equal(again[0], X)
        assert_array_equal(again[1], y)
    X_other, y_other = make(random_state=4)
    assert not np.any(X_other == X) and not np.any(y_other == y)


@pytest.mark.parametrize("make", GENERATORS)
def test_asking_for_the_truth_does_not_change_the_rows(make):
    X, y = make(random_state=0)
    X_with, y_with, truth = make(random_state=0, return_truth=True)
    assert_array_equal(X_with, X)
    assert_array_equal(y_with, y)
    assert truth.gate_proba.shape[0] == len(X)
    assert_allclose(truth.gate_proba.sum(axis=1), 1)
    assert_array_equal(pickle.loads(pickle.dumps(truth)).labels, truth.labels)


@pytest.mark.parametrize("make", [make_piecewise_linear, make_softmax_mixture])
def test_parameters_do_not_depend_on_the_number_of_rows(make):
    small = make(50, 3, random_state=0, return_truth=True)[-1]
    large = make(70, 3, random_state=0, return_truth=True)[-1]
    for key in ("gate_coef", "gate_intercept", "expert_coef", "expert_intercept"):
        assert_array_equal(small[key], large[key])


@pytest.mark.parametrize(
    "make, parameters, name, error",
    [
        (make_piecewise_linear, {"n_samples": 0}, "n_samples", ValueError),
        (make_piecewise_linear, {"n_samples": 10.0}, "n_samples", TypeError),
        (make_piecewise_linear, {"n_samples": True}, "n_samples", TypeError),
        (make_box_tree, {"depth": 0}, "depth", ValueError),
        (make_box_tree, {"noise": [0.1, 0.2]}, "noise", ValueError),
        (make_piecewise_linear, {"n_features": 0}, "n_features", ValueError),
        (make_piecewise_linear, {"n_regions": 0}, "n_regions", ValueError),
        (make_piecewise_linear, {"n_regions": "3"}, "n_regions", TypeError),
        (make_piecewise_linear, {"noise": -0.1}, "noise", ValueError),
        (make_piecewise_linear, {"noise": np.inf}, "noise", ValueError),
        (make_piecewise_linear, {"noise": [0.1, 0.2]}, "noise", ValueError),
        (make_piecewise_linear, {"random_state": "a"}, "random_state", ValueError),
        (make_piecewise_linear, {"return_truth": 1}, "return_truth", TypeError),
        (make_softmax_mixture, {"n_samples": -1}, "n_samples", ValueError),
        (make_softmax_mixture, {"n_features": 1.5}, "n_features", TypeError),
        (make_softmax_mixture, {"n_experts": 0}, "n_experts", ValueError),
        (make_softmax_mixture, {"task": "ranking"}, "task", ValueError),
        (make_softmax_mixture, {"n_classes": 1}, "n_classes", ValueError),
        (make_softmax_mixture, {"noise": np.nan}, "noise", ValueError),
        (make_softmax_mixture, {"noise": None}, "noise", TypeError),
        (make_softmax_mixture, {"noise": [0.1, 0.2, -1.0]}, "noise", ValueError),
        (make_softmax_mixture, {"noise": [[0.1, 0.2, 0.3]]}, "noise", ValueError),
        (make_softmax_mixture, {"noise": 0, "task": "classification"}, "noise", ValueError),
        (make_softmax_mixture, {"sharpness": -1}, "sharpness", ValueError),
        (make_softmax_mixture, {"sharpness": "high"}, "sharpness", TypeError),
        (make_softmax_mixture, {"random_state": -1}, "random_state", ValueError),
        (make_softmax_mixture, {"return_truth": None}, "return_truth", TypeError),
        (make_inverse_sine, {"n_samples": 0}, "n_samples", ValueError),
        (make_inverse_sine, {"noise": -1.0}, "noise", ValueError),
        (make_inverse_sine, {"noise": [0.1]}, "noise", TypeError),
        (make_inverse_sine, {"random_state": 1.5}, "random_state", ValueError),
        (make_inverse_sine, {"return_truth": "yes"}, "return_truth", TypeError),
        (load_auto_mpg, {"return_X_y": 1}, "return_X_y", TypeError),
        (load_concrete, {"as_frame": "auto"}, "as_frame", TypeError),
        (load_tone, {"as_frame": None}, "as_frame", TypeError),
        (load_ethanol, {"return_X_y": None}, "return_X_y", TypeError),
    ],
)
def test_errors_name_function_parameter_value_and_remedy(make, parameters, name, error):
    with pytest.raises(error) as caught:
        make(**parameters)
    message = str(caught.value)
    assert message.startswith(f"{make.__name__}: {name}=")
    value = parameters[name]
    bad = [repr(v) for v in (value if isinstance(value, list) else [value])]
    assert repr(value) in message or any(v in message for v in bad)
    assert "; give " in message


# ---------------------------------------------------------------- piecewise linear


@pytest.mark.parametrize("n_features, n_regions", [(1, 3), (1, 1), (4, 5)])
def test_piecewise_linear_without_noise_is_its_experts(n_features, n_regions):
    X, y, truth = make_piecewise_linear(
        400, n_features, n_regions, noise=0, random_state=1, return_truth=True
    )
    assert X.shape == (400, n_features) and np.abs(X).max() <= 1
    assert truth.expert_coef.shape == truth.gate_coef.shape == (n_regions, n_features)
    assert_allclose(np.diff(np.concatenate([[-1], truth.cuts, [1]])), 2 / n_regions)
    assert_array_equal(truth.labels, np.sum(X[:, :1] > truth.cuts, axis=1))
    assert_array_equal(truth.labels, np.argmax(X @ truth.gate_coef.T + truth.gate_intercept, 1))
    assert_array_equal(truth.gate_proba, truth.labels[:, None] == np.arange(n_regions))
    assert_array_equal(y, truth.mean)
    for k in range(n_regions):
        rows = truth.labels == k
        line = LinearRegression().fit(X[rows], y[rows])
        assert_allclose(line.coef_, truth.expert_coef[k], atol=1e-8)
        assert_allclose(line.intercept_, truth.expert_intercept[k], atol=1e-8)


def test_box_tree_without_noise_is_its_experts():
    X, y, truth = make_box_tree(2000, noise=0, random_state=5, return_truth=True)
    assert_array_equal(y, truth.mean)
    for k in range(8):
        rows = truth.labels == k
        low, high = np.array([-1.0, -1.0]), np.array([1.0, 1.0])
        node = k + 7
        while node > 0:  # up to the root: the last cut of a side is the narrowest
            parent, right = (node - 1) // 2, node % 2 == 0
            j, cut = truth.features[parent], truth.cuts[parent]
            low[j], high[j] = (max(low[j], cut), high[j]) if right else (low[j], min(high[j], cut))
            node = parent
        inside = np.all(np.greater(X, low) & np.less_equal(X, high), axis=1)
        assert_array_equal(rows, inside)
        line = LinearRegression().fit(X[rows], y[rows])
        assert_allclose(line.coef_, truth.expert_coef[k], atol=1e-8)
        assert_allclose(line.intercept_, truth.expert_intercept[k], atol=1e-8)


def test_piecewise_linear_neighbours_have_slopes_of_other_sign():
    slopes = make_piecewise_linear(9, 2, 6, random_state=0, return_truth=True)[2].expert_coef[:, 0]
    assert np.all(slopes[1:] * slopes[:-1] < 0)
    assert np.all((np.abs(slopes) >= 1) & (np.abs(slopes) <= 3))


def test_piecewise_linear_noise_of_each_region():
    noise = [0.1, 1.0, 0.5]
    X, y, truth = make_piecewise_linear(6000, noise=noise, random_state=0, return_truth=True)
    assert_array_equal(truth.dispersions, noise)
    for k in range(3):
        residuals = (y - truth.mean)[truth.labels == k]
        assert_zero_mean(residuals, np.full(len(residuals), noise[k] ** 2))
        assert_allclose(residuals.std(), noise[k], rtol=4 / np.sqrt(2 * len(residuals)))


# ---------------------------------------------------------------- softmax mixture


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_softmax_mixture_gate(task):
    X, _, truth = make_softmax_mixture(
        20000, 2, 4, task=task, random_state=0, sharpness=2, return_truth=True
    )
    assert_allclose(truth.gate_proba, softmax(X @ truth.gate_coef.T + truth.gate_intercept, 1))
    assert_array_equal(truth.gate_coef[0], 0)
    assert truth.gate_intercept[0] == 0
    # Multinomial score: labels are drawn from the gate probabilities given X.
    surprise = np.eye(4)[truth.labels] - truth.gate_proba
    variance = truth.gate_proba * (1 - truth.gate_proba)
    for column in (np.ones(len(X)), X[:, 0], X[:, 1]):
        assert_zero_mean(surprise * column[:, None], variance * column[:, None] ** 2)


@pytest.mark.parametrize("n_features, n_experts", [(1, 2), (1, 6), (2, 3), (10, 2), (10, 6)])
@pytest.mark.parametrize("seed", range(3))
def test_softmax_mixture_uses_every_expert(n_features, n_experts, seed):
    truth = make_softmax_mixture(2000, n_features, n_experts, random_state=seed, return_truth=True)[
        2
    ]
    usage = truth.gate_proba.mean(axis=0)
    assert usage.min() > 0.6 / n_experts and usage.max() < 1.6 / n_experts


def test_softmax_mixture_sharpness():
    def gate(sharpness):
        return make_softmax_mixture(sharpness=sharpness, random_state=0, return_truth=True)[2]

    assert_allclose(gate(0).gate_proba, 1 / 3)
    top = [gate(sharpness).gate_proba.max(axis=1).mean() for sharpness in (0, 1, 5, 50)]
    assert np.all(np.diff(top) > 0)
    assert gate(1e8).gate_proba.max(axis=1).mean() > 0.999


def test_softmax_mixture_linear_experts():
    noise = np.array([0.2, 0.5, 1.0])
    X, y, truth = make_softmax_mixture(
        30000, 2, 3, noise=noise, sharpness=2, random_state=0, return_truth=True
    )
    assert_array_equal(truth.dispersions, noise)
    means = X @ truth.expert_coef.T + truth.expert_intercept
    for k in range(3):
        rows = truth.labels == k
        line = LinearRegression().fit(X[rows], y[rows])
        assert_allclose(line.coef_, truth.expert_coef[k], atol=6 * noise[k] / np.sqrt(rows.sum()))
        residuals = y[rows] - means[rows, k]
        for column in (np.ones(rows.sum()), X[rows, 0], X[rows, 1]):
            assert_zero_mean(residuals * column, noise[k] ** 2 * column**2)
        assert_allclose(residuals.std(), noise[k], rtol=4 / np.sqrt(2 * rows.sum()))
    # mean is E(y | x), over the draw of the expert too
    assert_allclose(truth.mean, np.sum(truth.gate_proba * means, axis=1))
    second = np.sum(truth.gate_proba * (means**2 + noise**2), axis=1)
    variance = second - truth.mean**2
    for column in (np.ones(len(X)), X[:, 0], X[:, 1]):
        assert_zero_mean((y - truth.mean) * column, variance * column**2)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_softmax_mixture_logistic_experts(n_classes):
    X, y, truth = make_softmax_mixture(
        20000,
        2,
        3,
        task="classification",
        n_classes=n_classes,
        sharpness=2,
        random_state=0,
        return_truth=True,
    )
    assert y.dtype.kind == "i"
    assert_array_equal(np.unique(y), np.arange(n_classes))
    assert truth.dispersions is None and "mean" not in truth
    assert truth.expert_coef.shape == (3, n_classes, 2)
    assert_array_equal(truth.expert_coef[:, 0], 0)
    assert_array_equal(truth.expert_intercept[:, 0], 0)
    proba = np.stack(
        [softmax(X @ truth.expert_coef[k].T + truth.expert_intercept[k], 1) for k in range(3)], 1
    )
    assert_allclose(truth.class_proba, np.sum(truth.gate_proba[:, :, None] * proba, axis=1))
    assert_allclose(truth.class_proba.sum(axis=1), 1)
    hits = np.eye(n_classes)[y]
    mixture = np.ones(len(X), dtype=bool), truth.class_proba
    experts = [(truth.labels == k, proba[:, k]) for k in range(3)]
    for rows, p in [mixture, *experts]:
        for column in (np.ones(len(X)), X[:, 0], X[:, 1]):
            c = column[rows, None]
            assert_zero_mean((hits - p)[rows] * c, (p * (1 - p))[rows] * c**2)


def test_softmax_mixture_classification_noise_divides_the_log_odds():
    def experts(noise):
        return make_softmax_mixture(
            task="classification", noise=noise, random_state=0, return_truth=True
        )[2]

    one, halves = experts(1), experts([1, 0.5, 0.25])
    factor = np.array([1, 2, 4])
    assert_allclose(halves.expert_coef, one.expert_coef * factor[:, None, None])
    assert_allclose(halves.expert_intercept, one.expert_intercept * factor[:, None])


def test_softmax_mixture_of_one_expert():
    X, y, truth = make_softmax_mixture(50, 3, 1, noise=0, random_state=0, return_truth=True)
    assert_array_equal(truth.gate_proba, 1)
    assert_array_equal(truth.labels, 0)
    assert_allclose(y, X @ truth.expert_coef[0] + truth.expert_intercept[0])
    assert_allclose(truth.mean, y)


# ---------------------------------------------------------------- inverse sine


@pytest.mark.parametrize("noise", [0.1, 0.02, 0.5])
def test_inverse_sine_rows(noise):
    X, y, truth = make_inverse_sine(5000, noise=noise, random_state=0, return_truth=True)
    assert X.shape == (5000, 1)
    assert y.min() >= 0 and y.max() <= 1
    error = X[:, 0] - (y + 0.3 * np.sin(2 * np.pi * y))
    assert np.abs(error).max() <= noise
    assert_zero_mean(error, np.full(5000, noise**2 / 3))
    assert_allclose(error.std(), noise / np.sqrt(3), rtol=0.05)
    assert_allclose(truth.forward(y), X[:, 0] - error)
    # the derivative of the forward function is zero at its turning points
    assert_allclose(1 + 0.6 * np.pi * np.cos(2 * np.pi * truth.turning_points), 0, atol=1e-12)
    assert_array_equal(truth.labels, np.sum(y[:, None] > truth.turning_points, axis=1))


@pytest.mark.parametrize("noise", [0.1, 0.02, 0.5])
def test_inverse_sine_conditional_distribution_agrees_with_a_grid(noise):
    X, y, truth = make_inverse_sine(200, noise=noise, random_state=1, return_truth=True)
    own = truth.intervals[np.arange(200), truth.labels]
    assert np.all((own[:, 0] <= y + 1e-12) & (y <= own[:, 1] + 1e-12))
    grid = (np.arange(100_000) + 0.5) / 100_000
    branch = np.sum(grid[:, None] > truth.turning_points, axis=1)
    reach = np.abs(X - truth.forward(grid)) <= noise
    shares = np.stack([reach[:, branch == b].sum(axis=1) for b in range(3)], axis=1)
    # Ends of intervals are off by at most one grid point each.
    tolerance = 6 / shares.sum(axis=1)
    assert np.all(
        np.abs(truth.gate_proba - shares / shares.sum(axis=1)[:, None]) <= tolerance[:, None]
    )
    assert np.all(np.abs(truth.mean - reach @ grid / reach.sum(axis=1)) <= tolerance)
    lengths = truth.intervals[:, :, 1] - truth.intervals[:, :, 0]
    assert_array_equal(lengths > 0, truth.gate_proba > 0)
    assert_allclose(lengths, shares / 100_000, atol=3e-5)


def test_inverse_sine_without_noise():
    X, y, truth = make_inverse_sine(500, noise=0, random_state=0, return_truth=True)
    assert_array_equal(X[:, 0], truth.forward(y))
    # x is uniform: a branch has probability proportional to 1 / |f'| at its solution
    solutions = truth.intervals.mean(axis=2)
    slope = np.abs(1 + 0.6 * np.pi * np.cos(2 * np.pi * solutions))
    density = np.where(truth.gate_proba > 0, 1 / slope, 0)
    expected = density / density.sum(axis=1, keepdims=True)
    flat = np.any((truth.gate_proba > 0) & (slope < 0.05), axis=1)
    assert flat.mean() < 0.1
    assert_allclose(truth.gate_proba[~flat], expected[~flat], atol=1e-5)
    assert np.unique(np.sum(truth.gate_proba > 0, axis=1)).tolist() == [1, 3]


def test_inverse_sine_branches_are_drawn_from_their_probabilities():
    truth = make_inverse_sine(20000, random_state=0, return_truth=True)[2]
    p = truth.gate_proba
    assert_zero_mean(np.eye(3)[truth.labels] - p, p * (1 - p))
