"""Mixtures of mixtures: starts, refits, experts that are dropped."""

import numpy as np
import pytest
from _nested import PAIR, four_lines, leaves_of, nested
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp._estimators import assembly
from mixexp.gates import SoftmaxGate

#: A gate whose penalty does not set itself, so that superfluous experts are left where they began.
FIXED = SoftmaxGate(alpha=0.3)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def data(rng):
    return four_lines(rng)


# ---------------------------------------------------------------- starts and refits


def test_fitted_mixtures_are_a_start(data):
    X, y, quadrant = data
    left = MixtureOfExpertsRegressor(n_experts=2, init=quadrant[X[:, 0] < 0])
    left.fit(X[X[:, 0] < 0], y[X[:, 0] < 0])
    right = MixtureOfExpertsRegressor(n_experts=2, init=quadrant[X[:, 0] >= 0])
    right.fit(X[X[:, 0] >= 0], y[X[:, 0] >= 0])
    before = left.gate_.coef_.copy()
    model = nested([("left", left), ("right", right)], max_iter=30, tol=1e-6).fit(X, y)
    assert len(model.restarts_) == 1  # from what they know, and nothing else
    best = nested(init=quadrant, max_iter=30, tol=1e-6).fit(X, y)
    assert model.lower_bound_ > best.lower_bound_ - 1e-4
    found = np.column_stack([model.gate_proba(X)]).argmax(axis=1)
    assert np.mean(found == (X[:, 0] > 0)) > 0.95
    assert_array_equal(left.gate_.coef_, before)
    assert model.experts_[0] is not left and model.expert[0][1] is left
    with_init = nested([("left", left), ("right", right)], init=quadrant, max_iter=2).fit(X, y)
    other = nested([("a", clone(left)), ("b", clone(right))], init=quadrant, max_iter=2).fit(X, y)
    assert_array_equal(with_init.predict(X), other.predict(X))  # what `init` says goes first


def test_fitted_mixtures_as_a_start_know_the_offset(data, monkeypatch):
    X, _, _ = data
    rng = np.random.default_rng(0)
    offset = np.log(rng.uniform(0.1, 30, 300))
    y = rng.poisson(np.exp(offset + np.where(X[:, 0] > 0, 2 + X[:, 1], -X[:, 1])))
    pairs = []
    for seed in range(2):
        pair = MixtureOfExpertsRegressor(n_experts=2, family="poisson", n_init=1)
        pairs.append(pair.set_params(random_state=seed).fit(X, y, offset=offset))
    density = [pair.log_density(X, y, offset=offset) for pair in pairs]
    outer = np.exp(density - np.logaddexp(*density)).T
    starts = []
    plain = assembly.start_of

    def spy(init, rows, n_experts, owner):
        starts.append(init)
        return plain(init, rows, n_experts, owner)

    monkeypatch.setattr(assembly, "start_of", spy)
    nested([("a", pairs[0]), ("b", pairs[1])], family="poisson").fit(X, y, offset=offset)
    (start,) = starts
    assert_allclose(start.reshape(300, 2, 2).sum(axis=2), outer, rtol=1e-9)
    own = pairs[1].responsibilities(X, y, offset=offset) * outer[:, [1]]
    assert_allclose(start[:, 2:], own, atol=1e-12)


def test_fitted_classifiers_are_a_start(data):
    X, y, _ = data
    y = np.where(y > 1, "yes", "no")
    pairs = [
        MixtureOfExpertsClassifier(n_experts=2, n_init=1, random_state=s).fit(X, y)
        for s in range(2)
    ]
    model = nested([("a", pairs[0]), ("b", pairs[1])], kind=MixtureOfExpertsClassifier).fit(X, y)
    assert len(model.restarts_) == 1


def test_one_fitted_template_is_no_start(data):
    X, y, _ = data
    fitted = MixtureOfExpertsRegressor(n_experts=2, n_init=1, random_state=3).fit(X, y)
    a, b = nested(fitted).fit(X, y), nested(clone(fitted)).fit(X, y)
    assert_array_equal(a.predict(X), b.predict(X))


def test_a_start_for_the_innermost_experts(data):
    X, y, quadrant = data
    model = nested(init=np.eye(4)[quadrant], max_iter=20).fit(X, y)
    found = model.gate_proba(X).argmax(axis=1)
    assert np.mean(found == quadrant // 2) > 0.95
    with pytest.raises(
        ValueError, match="init is for 2 experts, and this mixture of mixtures has 4"
    ):
        nested(init=quadrant // 2).fit(X, y)


def test_what_one_fit_leaves_to_the_next(data):
    X, y, _ = data
    model = nested().fit(X, y)
    plain = nested(None).fit(X, y)
    model.set_params(expert=None).fit(X, y)
    assert vars(model).keys() == vars(plain).keys()
    assert_array_equal(model.predict(X), plain.predict(X))
    assert_array_equal(model.log_density(X, y), plain.log_density(X, y))
    assert model.bic(X, y) == plain.bic(X, y)
    model.set_params(expert=PAIR).fit(X, y)
    assert vars(model).keys() == vars(nested().fit(X, y)).keys()
    assert not hasattr(model, "dispersions_")
    before = model.predict(X)
    with pytest.raises(ValueError, match="Input X contains"):
        model.fit(np.full((300, 2), np.nan), y)
    assert_array_equal(model.predict(X), before)


# ---------------------------------------------------------------- fewer experts


def superfluous(X, quadrant, n_leaves, kept):
    """Return y of one line a leaf that is kept, and responsibilities: next to none of the others.

    `kept` is the leaf of each quadrant.
    """
    lines = np.array([[4.0, 1, 0], [-4, 0, 2], [0, -4, 1], [9, 1, 1]])
    leaf = np.asarray(kept)[quadrant]
    own = lines[np.searchsorted(np.unique(kept), leaf)]
    y = own[:, 0] + np.sum(own[:, 1:] * X, axis=1)
    resp = np.full((len(X), n_leaves), 1e-7)
    resp[np.arange(len(X)), leaf] = 1.0
    y += 0.2 * np.random.default_rng(0).standard_normal(len(X))
    return y, resp / resp.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    "kept, sizes", [([0, 1, 2, 2], [2, 1]), ([0, 0, 1, 1], [2]), ([2, 2, 2, 3], [2])]
)
def test_experts_that_are_dropped(data, kept, sizes):
    X, _, quadrant = data
    y, resp = superfluous(X, quadrant, 4, kept)
    model = nested(
        MixtureOfExpertsRegressor(Ridge(), n_experts=2, gate=FIXED),
        gate=FIXED,
        init=resp,
        on_collapse="drop",
        max_iter=20,
    )
    with pytest.warns(ConvergenceWarning, match="dropped"):
        model.fit(X, y)
    assert [len(expert.experts_) for expert in model.experts_] == sizes
    assert model.gate_proba(X).shape == model.predict_experts(X).shape == (300, len(sizes))
    assert_allclose(model.gate_proba(X).sum(axis=1), 1.0)
    for k, expert in enumerate(model.experts_):
        assert_allclose(expert.predict(X), model.predict_experts(X)[:, k], atol=1e-10)
        assert expert.gate_proba(X).shape == (300, sizes[k])
    density = np.exp(np.column_stack([e.log_density(X, y) for e in model.experts_]))
    density = np.log(np.sum(model.gate_proba(X) * density, axis=1))
    assert_allclose(model.log_density(X, y), density, atol=1e-8)
    assert np.isfinite(model.bic(X, y))


@pytest.mark.parametrize("kept", [[0, 4, 6, 7], [0, 1, 2, 6], [4, 5, 4, 5], [2, 3, 7, 7]])
def test_experts_that_are_dropped_from_three_levels(data, kept):
    X, _, quadrant = data
    y, resp = superfluous(X, quadrant, 8, kept)
    pair = MixtureOfExpertsRegressor(n_experts=2, gate=FIXED)
    inner = MixtureOfExpertsRegressor(pair, n_experts=2, gate=FIXED)
    model = nested(inner, gate=FIXED, init=resp, on_collapse="drop", max_iter=20)
    model.fit(X, y)
    assert len(leaves_of(model)) == len(set(kept))
    for k, expert in enumerate(model.experts_):
        assert_allclose(expert.predict(X), model.predict_experts(X)[:, k], atol=1e-10)
        for j, last in enumerate(expert.experts_):
            assert_allclose(last.predict(X), expert.predict_experts(X)[:, j], atol=1e-10)
    density = np.exp(np.column_stack([e.log_density(X, y) for e in model.experts_]))
    density = np.log(np.sum(model.gate_proba(X) * density, axis=1))
    assert_allclose(model.log_density(X, y), density, atol=1e-8)
