"""The leaves of a linear model tree as a start."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import Ridge

from mixexp import MixtureOfExpertsRegressor
from mixexp.gates import SoftmaxGate
from mixexp.partitions import ModelTreeStart, _model_tree


def boxes(rng, n=2000):
    """Return rows of four axis-aligned boxes with a line each, and the numbers of the boxes."""
    X = rng.uniform(-1, 1, (n, 2))
    box = np.where(X[:, 0] <= 0.2, X[:, 1] > 0.3, 2 + (X[:, 1] > -0.1)).astype(int)
    lines = np.array([[0.0, 1, 0], [1, -1, 1], [-1, 0, 1], [1, 2, -1]])
    y = lines[box, 0] + np.einsum("ij,ij->i", X, lines[box, 1:])
    return X, y + 0.05 * rng.standard_normal(n), box


def one_step(X, y, k, weight=None, **params):
    """Return the responsibilities that the start gives, as those of a fit without iterations."""
    model = MixtureOfExpertsRegressor(n_experts=k, init="model_tree", n_init=1, random_state=0)
    return model.set_params(**params).fit(X, y, sample_weight=weight)


def test_losses_are_those_of_linear_models(rng):
    X, w = rng.standard_normal((60, 3)), rng.uniform(0.5, 2, 60)
    Y = X @ rng.standard_normal((3, 2)) + 0.3 * rng.standard_normal((60, 2))
    table = np.column_stack([np.ones(60), X, Y])
    halves = [_model_tree._moments(table[a], w[a]) for a in (slice(0, 25), slice(25, None))]
    expected = []
    for a in (slice(0, 25), slice(25, None)):
        alpha = _model_tree.RIDGE * w[a].sum()
        model = Ridge(alpha).fit(X[a], Y[a], sample_weight=w[a])
        error = np.average((Y[a] - model.predict(X[a])) ** 2, axis=0, weights=w[a])
        error += _model_tree.RIDGE * np.sum(model.coef_**2, axis=1)
        expected.append(w[a].sum() * np.log(error).sum())
    assert_allclose(_model_tree.losses(np.array(halves), 4), expected, rtol=1e-8)


def test_it_finds_boxes_of_lines(rng):
    X, y, box = boxes(rng)
    model = one_step(X, y, 4)
    found = model.gate_proba(X).argmax(axis=1)
    share = sum(np.bincount(box[found == k]).max() for k in range(4)) / len(X)
    assert share > 0.97


def test_one_line_is_not_split(rng, monkeypatch):
    """The steep line of a quarter of the rows stays one leaf; a plain tree cuts it."""
    x = rng.uniform(0, 4, 1000)
    y = np.where(x < 1, 10 * x, 10 - x) + 0.1 * rng.standard_normal(1000)
    given = []
    original = ModelTreeStart.responsibilities

    def kept(self, context, rng):
        given.append((context.features[:, 0].copy(), original(self, context, rng)))
        return given[-1][1]

    monkeypatch.setattr(ModelTreeStart, "responsibilities", kept)
    one_step(x[:, None], y, 2)
    (features, resp), *_ = given
    codes = resp.argmax(axis=0)
    border = (1 - x.mean()) / x.std()
    right = (features > border) == (codes == codes[features.argmax()])
    assert right.mean() > 0.95


def test_weight_two_is_the_row_twice(rng):
    X, y, _ = boxes(rng, 300)
    weight = rng.integers(1, 3, 300)
    once = one_step(X, y, 4, weight)
    again = one_step(np.repeat(X, weight, axis=0), np.repeat(y, weight), 4)
    assert_allclose(once.predict(X), again.predict(X), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("k", [1, 2, 7])
def test_as_many_leaves_as_experts(rng, k):
    tree = _model_tree._Growing(
        np.column_stack([np.ones(400), rng.standard_normal((400, 3))]), 3, np.ones(400), 6.0, None
    )
    root = tree.grown(2 * k)
    assert len(root.leaves) <= 2 * k
    _model_tree._prune(root, k)
    assert len(root.leaves) <= k
    rows = np.concatenate([leaf.rows for leaf in root.leaves])
    assert_array_equal(np.sort(rows), np.arange(400))


def test_pruning_joins_the_weakest_siblings(rng):
    X, y, _ = boxes(rng)
    table = np.column_stack([np.ones(len(X)), X, y])
    root = _model_tree._Growing(table, 3, np.ones(len(X)), 20.0, None).grown(12)
    weakest = min(_model_tree._parents(root), key=lambda node: node.gain)
    before = len(root.leaves)
    _model_tree._prune(root, before - 1)
    assert weakest.children is None and len(root.leaves) == before - 1


@pytest.mark.parametrize("n_features", [1, 70])
def test_constant_rows_and_many_features(rng, n_features):
    X = np.zeros((100, n_features))
    X[:, 0] = np.arange(100) % 3
    y = rng.standard_normal(100)
    gate = SoftmaxGate(alpha=0.3)  # three points leave a fourth expert nothing: it may collapse
    model = one_step(X, y, 4, gate=gate, on_collapse="keep", max_iter=1000)
    assert np.isfinite(model.predict(X)).all()


def test_leaves_hold_a_tenth_of_their_share_at_least(rng, monkeypatch):
    """A few rows of another line are too few for a leaf of their own."""
    x = np.linspace(0, 1, 2000)
    y = np.where(x < 0.01, 1e3 * x, 0.0) + 0.01 * rng.standard_normal(2000)
    given = []
    original = ModelTreeStart.responsibilities

    def kept(self, context, rng):
        given.append(original(self, context, rng))
        return given[-1]

    monkeypatch.setattr(ModelTreeStart, "responsibilities", kept)
    one_step(x[:, None], y, 4)
    assert given[0].sum(axis=1).min() >= 2000 / (10 * 4)
