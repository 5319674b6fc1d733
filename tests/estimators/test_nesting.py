"""Mixtures as experts of mixtures."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import entr
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.families import Gaussian
from mixexp.gates import ConstantGate, EstimatorGate, GaussianGate, HierarchicalGate, SoftmaxGate

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SHORT = {"n_init": 2, "max_iter": 8, "tol": 0.0, "random_state": 0}
PAIR = MixtureOfExpertsRegressor(n_experts=2)


@pytest.fixture
def data(rng):
    """Return X, y of four lines, one a quadrant, and the quadrants."""
    X = rng.uniform(-1, 1, (300, 2))
    quadrant = 2 * (X[:, 0] > 0) + (X[:, 1] > 0)
    lines = np.array([[4.0, 1, 0], [-4, 0, 2], [0, -4, 1], [9, 1, 1]])
    y = np.einsum("ij,ij->i", np.column_stack([np.ones(300), X]), lines[quadrant])
    return X, y + 0.2 * rng.standard_normal(300), quadrant


def nested(expert=PAIR, n_experts=2, kind=MixtureOfExpertsRegressor, **options):
    return kind(expert, n_experts=n_experts, **{**SHORT, **options})


def check_equal(model, flat, X, y, **more):
    """Check that a mixture of mixtures and a flat one under a tree are the same model."""
    assert_allclose(model.lower_bounds_, flat.lower_bounds_, rtol=1e-9)
    assert_allclose(
        model.log_density(X, y, **more), flat.log_density(X, y, **more), rtol=1e-8, atol=1e-8
    )
    assert_allclose(model.predict(X), flat.predict(X), rtol=1e-8, atol=1e-8)
    k = len(flat.experts_)
    for ours, whole in (
        (model.gate_proba(X), flat.gate_proba(X)),
        (model.responsibilities(X, y, **more), flat.responsibilities(X, y, **more)),
        (model.usage_[None], flat.usage_[None]),
    ):
        pairs = whole[:, :k].reshape(len(whole), 2, -1).sum(axis=2)
        assert_allclose(ours, np.column_stack([pairs, whole[:, k:]]), atol=1e-8)
    assert_allclose(model.gate_proba(X), flat.gate_proba(X, level=1), atol=1e-8)


def leaves_of(model):
    """Return the innermost fitted experts, from left to right."""
    if not hasattr(model, "experts_"):
        return [model]
    return [leaf for expert in model.experts_ for leaf in leaves_of(expert)]


# ---------------------------------------------------------------- the same model


@pytest.mark.parametrize("setting", ["plain", "weights", "noise", "hard", "alpha"])
def test_it_is_a_flat_mixture_under_a_tree(data, setting):
    X, y, quadrant = data
    alpha, options, weight = 0.3, {}, None
    if setting == "weights":
        weight = np.random.default_rng(0).integers(0, 3, size=300)
    if setting == "noise":
        options["noise_expert"] = True
    if setting == "hard":
        options["assignment"] = "hard"
    if setting == "alpha":
        alpha, options["init"] = 5.0, quadrant
    gate = SoftmaxGate(alpha)
    model = nested(MixtureOfExpertsRegressor(n_experts=2, gate=gate), gate=gate, **options)
    flat = MixtureOfExpertsRegressor(
        n_experts=4, gate=HierarchicalGate((2, 2), alpha), **SHORT | options
    )
    for one in (model, flat):
        one.fit(X, y, sample_weight=weight)
    check_equal(model, flat, X, y)
    for criterion in ("aic", "bic"):
        found = getattr(model, criterion)(X, y, weight)
        assert_allclose(found, getattr(flat, criterion)(X, y, weight), rtol=1e-8)
    entropy = entr(model.responsibilities(X, y)).sum(axis=1)  # of the outer experts
    entropy = entropy.sum() if weight is None else entropy @ weight
    assert_allclose(model.icl(X, y, weight), model.bic(X, y, weight) + 2 * entropy, rtol=1e-9)
    for leaf, expert in zip(leaves_of(model), flat.experts_, strict=True):
        assert_allclose(leaf.coef_, expert.coef_, atol=1e-8)
    root = model.gate_.inner if setting == "noise" else model.gate_
    assert type(root) is SoftmaxGate
    tree = flat.gate_
    assert_allclose(root.coef_, tree.coef_[()], atol=1e-8)
    assert_allclose(model.experts_[1].gate_.coef_, tree.coef_[1,], atol=1e-8)
    assert model.n_iter_ == flat.n_iter_ and model.n_passes_ == flat.n_passes_


def test_a_classifier(data):
    X, y, _ = data
    y = np.array(["a", "b", "c"])[np.digitize(y, [-2, 3])]
    model = nested(MixtureOfExpertsClassifier(n_experts=2), kind=MixtureOfExpertsClassifier)
    flat = MixtureOfExpertsClassifier(n_experts=4, gate=HierarchicalGate((2, 2)), **SHORT)
    model.fit(X, y)
    flat.fit(X, y)
    assert_allclose(model.predict_proba(X), flat.predict_proba(X), atol=1e-8)
    assert_allclose(model.log_density(X, y), flat.log_density(X, y), atol=1e-8)
    assert_array_equal(model.predict(X), flat.predict(X))
    experts = model.predict_experts(X)
    assert experts.shape == (300, 2, 3)
    for k, expert in enumerate(model.experts_):
        assert_allclose(expert.predict_proba(X), experts[:, k], atol=1e-12)
        assert_array_equal(expert.classes_, ["a", "b", "c"])
    pooled = np.einsum("nk,nkc->nc", model.gate_proba(X), experts)
    assert_allclose(model.predict_proba(X), pooled, atol=1e-12)


def test_groups(data):
    X, y, _ = data
    groups = np.arange(300) // 3
    X = X[groups * 3]
    model, flat = nested(), MixtureOfExpertsRegressor(n_experts=4, gate=HierarchicalGate(), **SHORT)
    for one in (model, flat):
        one.fit(X, y, groups=groups)
    check_equal(model, flat, X, y, groups=groups)
    assert_allclose(model.bic(X, y, groups=groups), flat.bic(X, y, groups=groups), rtol=1e-9)


def test_groups_with_features_that_differ(data):
    X, y, _ = data
    groups = np.arange(300) // 3
    constant = MixtureOfExpertsRegressor(n_experts=2, gate=ConstantGate())
    model = nested(constant, gate=ConstantGate()).fit(X, y, groups=groups)
    assert model.log_density(X, y, groups=groups).shape == (100,)
    for expert, gate in ((PAIR, ConstantGate()), (constant, None)):
        with pytest.raises(ValueError, match="gate differs within a group"):
            nested(expert, gate=gate).fit(X, y, groups=groups)


def test_offset(data):
    X, _, _ = data
    rng = np.random.default_rng(0)
    offset = np.log(rng.uniform(1, 5, 300))
    y = rng.poisson(np.exp(offset + np.where(X[:, 0] > 0, 2 + X[:, 1], -X[:, 1])))
    inner = MixtureOfExpertsRegressor(n_experts=2, family="poisson")
    model = nested(inner, family="poisson").fit(X, y, offset=offset)
    flat = MixtureOfExpertsRegressor(
        n_experts=4, gate=HierarchicalGate(), family="poisson", **SHORT
    )
    flat.fit(X, y, offset=offset)
    assert_allclose(model.lower_bounds_, flat.lower_bounds_, rtol=1e-9)
    assert_allclose(model.predict(X, offset=offset), flat.predict(X, offset=offset), rtol=1e-7)
    experts = model.predict_experts(X, offset=offset)
    for k, expert in enumerate(model.experts_):
        assert_allclose(expert.predict(X, offset=offset), experts[:, k], rtol=1e-12)
        assert_allclose(expert.predict(X) * np.exp(offset), experts[:, k], rtol=1e-10)


def test_several_outputs(data):
    X, y, _ = data
    Y = np.column_stack([y, X[:, 0] - y])
    model = nested().fit(X, Y)
    flat = MixtureOfExpertsRegressor(n_experts=4, gate=HierarchicalGate(), **SHORT).fit(X, Y)
    assert_allclose(model.predict(X), flat.predict(X), atol=1e-8)
    assert model.predict_experts(X).shape == (300, 2, 2)
    assert_allclose(model.experts_[1].predict(X), model.predict_experts(X)[:, 1], atol=1e-12)


# ---------------------------------------------------------------- levels


def test_experts_are_fitted_mixtures(data):
    X, y, _ = data
    model = nested(noise_expert=True).fit(X, y)
    experts, flat = model.predict_experts(X), model._flat
    assert experts.shape == (300, 2)
    density = 0.0
    for k, inner in enumerate(model.experts_):
        assert isinstance(inner, MixtureOfExpertsRegressor) and len(inner.experts_) == 2
        assert_allclose(inner.predict(X), experts[:, k], atol=1e-12)
        share = model.gate_proba(X)[:, [k]]
        assert_allclose(
            share * inner.gate_proba(X), flat.gate_proba(X)[:, 2 * k : 2 * k + 2], atol=1e-12
        )
        density = density + share[:, 0] * np.exp(inner.log_density(X, y))
        own = inner.responsibilities(X, y)
        assert_allclose(own.sum(axis=1), 1.0)
        whole = flat.responsibilities(X, y)[:, 2 * k : 2 * k + 2]
        assert_allclose(own * whole.sum(axis=1, keepdims=True), whole, atol=1e-9)
        assert_allclose(inner.usage_, flat.usage_[2 * k : 2 * k + 2] / model.usage_[k])
        assert inner.predict_distribution(X).mean().shape == (300,)
        assert inner.dispersions_.shape == (2,) and inner.n_features_in_ == 2
        assert inner.score(X, y) <= 1.0 and np.isfinite(inner.bic(X, y))
        assert [e.predict(X).tolist() for e in inner.experts_] == [
            flat.experts_[2 * k + j].predict(X).tolist() for j in range(2)
        ]
    density += model.gate_proba(X)[:, 2] * np.exp(flat._bank.log_density)
    assert_allclose(np.log(density), model.log_density(X, y), atol=1e-9)
    resp = model.responsibilities(X, y)
    assert resp.shape == (300, 3)
    assert_allclose(resp.sum(axis=1), 1.0)
    assert not hasattr(PAIR, "experts_")


def test_pooling_of_every_level(data):
    X, y, _ = data
    for outer in ("weighted", "argmax"):
        for inner in ("weighted", "argmax"):
            pair = MixtureOfExpertsRegressor(n_experts=2, pooling=inner)
            model = nested(pair, pooling=outer).fit(X, y)
            own = []
            for expert in model.experts_:
                gate, outputs = expert.gate_proba(X), expert.predict_experts(X)
                if inner == "argmax":
                    gate = np.eye(2)[gate.argmax(axis=1)]
                own.append(np.sum(gate * outputs, axis=1))
            own = np.column_stack(own)
            assert_allclose(model.predict_experts(X), own, atol=1e-12)
            gate = model.gate_proba(X)
            if outer == "argmax":
                gate = np.eye(2)[gate.argmax(axis=1)]
            assert_allclose(model.predict(X), np.sum(gate * own, axis=1), atol=1e-12)


def test_three_levels(data):
    X, y, _ = data
    inner = MixtureOfExpertsRegressor(PAIR, n_experts=2)
    model = nested(inner).fit(X, y)
    flat = MixtureOfExpertsRegressor(n_experts=8, gate=HierarchicalGate((2, 2, 2)), **SHORT)
    flat.fit(X, y)
    check_equal(model, flat, X, y)
    assert len(leaves_of(model)) == 8
    for k, expert in enumerate(model.experts_):
        assert_allclose(expert.predict(X), model.predict_experts(X)[:, k], atol=1e-12)
        for j, last in enumerate(expert.experts_):
            assert_allclose(last.predict(X), expert.predict_experts(X)[:, j], atol=1e-12)
            assert isinstance(last, MixtureOfExpertsRegressor)
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.predict(X), model.predict(X))
    assert_array_equal(again.experts_[0].log_density(X, y), model.experts_[0].log_density(X, y))


def test_gates_of_their_own(data):
    # a tree above, and one of each other kind below
    X, y, _ = data
    experts = [
        ("tree", MixtureOfExpertsRegressor(n_experts=4, gate=HierarchicalGate())),
        ("constant", MixtureOfExpertsRegressor(n_experts=2, gate=ConstantGate())),
        ("balanced", MixtureOfExpertsRegressor(n_experts=2, gate=SoftmaxGate(usage_prior=5.0))),
        ("alone", MixtureOfExpertsRegressor(n_experts=1)),
    ]
    gate = HierarchicalGate((2, 2), 1.0, usage_prior=2.0)
    model = nested(experts, 4, gate=gate).fit(X, y)
    assert np.all(np.diff(model.lower_bounds_) >= -1e-9)
    assert [len(leaves_of(expert)) for expert in model.experts_] == [4, 2, 2, 1]
    kinds = [type(expert.gate_) for expert in model.experts_]
    assert kinds == [HierarchicalGate, ConstantGate, SoftmaxGate, SoftmaxGate]
    assert type(model.gate_) is HierarchicalGate
    assert model.gate_proba(X, level=1).shape == (300, 2)
    halves = model.gate_proba(X).reshape(300, 2, 2).sum(axis=2)
    assert_allclose(model.gate_proba(X, level=1), halves, atol=1e-12)
    for k, expert in enumerate(model.experts_):
        assert_allclose(expert.predict(X), model.predict_experts(X)[:, k], atol=1e-12)
    density = np.column_stack([expert.log_density(X, y) for expert in model.experts_])
    density = np.log(np.sum(model.gate_proba(X) * np.exp(density), axis=1))
    assert_allclose(density, model.log_density(X, y), atol=1e-8)
    # the temperature of the outer gate is that of the whole model
    model.gate_.set_params(temperature=5.0)
    experts = np.exp(np.column_stack([e.log_density(X, y) for e in model.experts_]))
    expected = np.log(np.sum(model.gate_proba(X) * experts, axis=1))
    assert_allclose(model.log_density(X, y), expected, atol=1e-8)


def test_the_bound_climbs_with_every_gate(data):
    X, y, _ = data
    for seed in range(3):
        inner = MixtureOfExpertsRegressor(n_experts=3, gate=SoftmaxGate(0, usage_prior=seed))
        model = nested(inner, init="random", max_iter=15, on_collapse="keep", random_state=seed)
        weight = 10.0 ** np.random.default_rng(seed).uniform(-2, 2, 300)
        bounds = model.fit(X, y, sample_weight=weight).lower_bounds_
        assert np.all(np.diff(bounds) >= -1e-9 * np.maximum(1, np.abs(bounds[1:])))


# ---------------------------------------------------------------- other experts


@pytest.mark.parametrize("noise_expert", [False, True])
def test_a_mixture_next_to_other_estimators(data, noise_expert):
    X, y, _ = data
    pair = MixtureOfExpertsRegressor(Ridge(0.1), n_experts=2)
    tree = DecisionTreeRegressor(max_depth=3, random_state=0)
    experts = [("line", LinearRegression()), ("pair", pair), ("tree", tree)]
    model = nested(experts, 3, max_iter=4, noise_expert=noise_expert).fit(X, y)
    assert [type(expert) for expert in model.experts_] == [
        LinearRegression,
        MixtureOfExpertsRegressor,
        DecisionTreeRegressor,
    ]
    outputs = model.predict_experts(X)
    for k, expert in enumerate(model.experts_):
        assert_allclose(expert.predict(X), outputs[:, k], atol=1e-10)
    assert_allclose(model.predict(X), np.sum(model.route(X) * outputs, axis=1), atol=1e-12)
    assert model.gate_proba(X).shape == (300, 3 + noise_expert)
    assert [type(e) for e in model.experts_[1].experts_] == [Ridge, Ridge]
    assert model.cross_fitted_
    mean = model.predict_distribution(X).mean()
    assert_allclose(mean, model.predict(X), atol=1e-10)


def test_classifiers_that_are_cross_fitted(data):
    X, y, _ = data
    y = (y > 1).astype(int)
    leaf = DecisionTreeClassifier(max_depth=2, random_state=0)
    pair = MixtureOfExpertsClassifier(leaf, n_experts=2)
    experts = [("pair", pair), ("alone", LogisticRegression())]
    model = nested(experts, kind=MixtureOfExpertsClassifier, max_iter=3).fit(X, y)
    inner = model.experts_[0]
    assert_allclose(inner.predict_proba(X), model.predict_experts(X)[:, 0], atol=1e-12)
    assert inner.exponents_.shape == (2,) and not hasattr(model, "exponents_")
    assert_allclose(model.predict_proba(X).sum(axis=1), 1.0)


def test_columns_of_the_innermost_experts(data):
    X, y, _ = data
    frame = pd.DataFrame(X, columns=["left", "up"])
    pair = MixtureOfExpertsRegressor(n_experts=2, expert_features=[["left"], ["left", "up"]])
    other = MixtureOfExpertsRegressor(n_experts=2, expert_features=["up"])
    model = nested([("a", pair), ("b", other)], gate_features=["left"]).fit(frame, y)
    names = [list(leaf.feature_names_in_) for leaf in leaves_of(model)]
    assert names == [["left"], ["left", "up"], ["up"], ["up"]]
    assert list(model.experts_[0].feature_names_in_) == ["left", "up"]
    assert model.gate_.coef_.shape == model.experts_[0].gate_.coef_.shape == (2, 1)
    assert_allclose(
        model.experts_[0].predict(frame), model.predict_experts(frame)[:, 0], atol=1e-12
    )


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
    plain = MixtureOfExpertsRegressor._start

    def spy(self, X):
        starts.append(self.init)
        return plain(self, X)

    monkeypatch.setattr(MixtureOfExpertsRegressor, "_start", spy)
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
        MixtureOfExpertsRegressor(Ridge(), n_experts=2),
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
    inner = MixtureOfExpertsRegressor(PAIR, n_experts=2)
    model = nested(inner, init=resp, on_collapse="drop", max_iter=20)
    model.fit(X, y)
    assert len(leaves_of(model)) == len(set(kept))
    for k, expert in enumerate(model.experts_):
        assert_allclose(expert.predict(X), model.predict_experts(X)[:, k], atol=1e-10)
        for j, last in enumerate(expert.experts_):
            assert_allclose(last.predict(X), expert.predict_experts(X)[:, j], atol=1e-10)
    density = np.exp(np.column_stack([e.log_density(X, y) for e in model.experts_]))
    density = np.log(np.sum(model.gate_proba(X) * density, axis=1))
    assert_allclose(model.log_density(X, y), density, atol=1e-8)


# ---------------------------------------------------------------- distribution


def test_distribution(data):
    X, y, _ = data
    model = nested(noise_expert=True).fit(X, y)
    found = model.predict_distribution(X)
    assert_allclose(found.mean(), model.predict(X), atol=1e-10)
    gate, mean, second = model.route(X), 0.0, 0.0
    for k, expert in enumerate(model.experts_):
        own = expert.gate_proba(X), expert.predict_experts(X)
        mean = mean + gate[:, k] * np.sum(own[0] * own[1], axis=1)
        second = second + gate[:, k] * np.sum(
            own[0] * (own[1] ** 2 + expert.dispersions_**2), axis=1
        )
    assert_allclose(found.variance(), second - mean**2, rtol=1e-8)
    drawn = model.sample_y(X[:3], 4000, random_state=0)
    assert drawn.shape == (3, 4000)
    error = np.sqrt(found.variance()[:3] / 4000)
    assert np.all(np.abs(drawn.mean(axis=1) - found.mean()[:3]) < 5 * error)


# ---------------------------------------------------------------- a scikit-learn citizen


def test_pickle_and_clone(data):
    X, y, _ = data
    model = nested(noise_expert=True).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    for method in ("predict", "gate_proba", "predict_experts", "route"):
        assert_array_equal(getattr(again, method)(X), getattr(model, method)(X))
    assert_array_equal(again.log_density(X, y), model.log_density(X, y))
    assert_array_equal(again.experts_[1].gate_proba(X), model.experts_[1].gate_proba(X))
    copy = clone(model)
    assert not hasattr(copy, "experts_") and not hasattr(copy, "_flat")
    assert_array_equal(copy.fit(X, y).predict(X), model.predict(X))
    with pytest.raises(NotFittedError):
        clone(model).predict(X)


def test_families_that_are_objects(data):
    X, y, _ = data
    shared = Gaussian(shared=True)
    inner = MixtureOfExpertsRegressor(n_experts=2, family=shared)
    model = clone(nested(inner, family=shared)).fit(X, y)  # a copy has two families
    assert len({d for expert in model.experts_ for d in expert.dispersions_}) == 1
    with pytest.raises(ValueError, match=r"inner .* has family=Gaussian\(\)"):
        nested(inner.set_params(family=Gaussian()), family=shared).fit(X, y)


def test_grid_search(data):
    X, y, _ = data
    grid = {"expert__n_experts": [1, 2], "expert__gate__alpha": [0.1, 3.0]}
    model = nested(MixtureOfExpertsRegressor(n_experts=2, gate=SoftmaxGate()), max_iter=4)
    search = GridSearchCV(model, grid, cv=2, error_score="raise").fit(X, y)
    best = search.best_estimator_
    assert len(best.experts_[0].experts_) == search.best_params_["expert__n_experts"]
    named = nested([("a", clone(PAIR)), ("b", clone(PAIR))], max_iter=3)
    search = GridSearchCV(named, {"expert__a__n_experts": [1, 3]}, cv=2, error_score="raise")
    search.fit(X, y)
    assert len(search.best_estimator_.experts_[1].experts_) == 2


def test_frames_and_trees(data):
    X, y, _ = data
    frame = pd.DataFrame(X, columns=["a", "b"])
    inner = MixtureOfExpertsRegressor(DecisionTreeRegressor(max_depth=2), n_experts=2)
    model = nested(inner, max_iter=3)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="X ")
        model.fit(frame, y)
        for k, expert in enumerate(model.experts_):
            assert list(expert.feature_names_in_) == ["a", "b"]
            assert_allclose(expert.predict(frame), model.predict_experts(frame)[:, k], atol=1e-12)
            assert list(expert.experts_[0].feature_names_in_) == ["a", "b"]
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[["b", "a"]])


def test_sparse(data):
    X, y, _ = data
    dense, model = nested().fit(X, y), nested().fit(sp.csr_matrix(X), y)
    assert_allclose(model.predict(sp.csr_matrix(X)), dense.predict(X), atol=1e-8)
    assert_allclose(model.experts_[0].predict(sp.csr_matrix(X)), dense.experts_[0].predict(X))


def test_missing_values(data):
    X, y, _ = data
    tree = MixtureOfExpertsRegressor(DecisionTreeRegressor(max_depth=3), n_experts=2)
    holes = X.copy()
    holes[::7, 0] = np.nan
    model = nested(tree, max_iter=3).fit(holes, y)
    assert np.all(np.isfinite(model.predict(holes)))
    assert np.all(np.isfinite(model.experts_[0].predict(holes)))
    assert model.__sklearn_tags__().input_tags.allow_nan
    with pytest.raises(ValueError, match=r"NaN.*linear experts cannot take missing"):
        nested().fit(holes, y)


@pytest.mark.parametrize("expert", [None, DecisionTreeRegressor(max_depth=2, random_state=0)])
def test_jobs_change_nothing(data, expert):
    X, y, _ = data
    inner = MixtureOfExpertsRegressor(expert, n_experts=2)
    one, two = (nested(inner, max_iter=3, n_jobs=jobs).fit(X, y) for jobs in (None, 2))
    assert_array_equal(one.predict(X), two.predict(X))
    assert_array_equal(one.lower_bounds_, two.lower_bounds_)


# ---------------------------------------------------------------- errors


def inner(**options):
    return MixtureOfExpertsRegressor(**{"n_experts": 2, **options})


ERRORS = {
    "noise": (inner(noise_expert=True), {}, r"inner .* has noise_expert=True.*outer mixture"),
    "family": (inner(family="laplace"), {}, r"inner .* has family='laplace'.*outer mixture"),
    "family of the outer": (inner(), {"family": "student_t"}, r"has family='gaussian'"),
    "gate features": (inner(gate_features=[0]), {}, r"inner .* has gate_features=\[0\]"),
    "array": (inner(gate_features=np.array([0, 1])), {}, r"inner .* has gate_features=array"),
    "of each": (inner(), {"gate_features": [[0], [1]]}, r"gate_features gives columns to each .*"),
    "classifier": (inner(gate=LogisticRegression()), {}, r"gate LogisticRegression .*mixexp.gates"),
    "outer classifier": (inner(), {"gate": DecisionTreeClassifier()}, r"gate DecisionTreeClass"),
    "estimator gate": (inner(gate=EstimatorGate(LogisticRegression())), {}, r"gate EstimatorGate"),
    "columns": (inner(), {"expert_features": [0]}, r"expert_features=\[0\].*Set .* inner mixture"),
    "selections": (inner(expert_features=[[0]] * 3), {}, r"inner mixture has 3 selections.*=2"),
    "list": (inner(expert=[("a", Ridge())]), {}, r"a list of 1 experts, and n_experts=2"),
    "mixed": ([("a", inner()), ("b", Ridge())], {}, r"some inner experts are None.*Ridge\(\)"),
    "none": (inner(n_experts=0), {}, r"'n_experts' parameter of MixtureOfExpertsRegressor"),
    "gate": (inner(gate=SoftmaxGate(-1.0)), {}, r"SoftmaxGate: alpha must be a number"),
    "branching": (inner(gate=HierarchicalGate()), {}, r"branching=\(2, 2\) has 4 leaves"),
    "nowhere": (inner(gate="softmax"), {}, r"'gate' parameter of MixtureOfExpertsRegressor"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_what_an_inner_mixture_cannot_be(data, name):
    X, y, _ = data
    expert, options, message = ERRORS[name]
    model = nested(expert, **options)
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)
    assert not hasattr(model, "experts_") and not hasattr(model, "_flat")


def test_wrong_kinds(data):
    X, y, quadrant = data
    with pytest.raises(TypeError, match="expert must be a regressor"):
        nested(MixtureOfExpertsClassifier(n_experts=2)).fit(X, y)
    with pytest.raises(TypeError, match="expert must be a classifier"):
        nested(kind=MixtureOfExpertsClassifier).fit(X, quadrant)
    with pytest.raises(TypeError, match="gate must be an instance"):
        nested(inner(gate=SoftmaxGate)).fit(X, y)
    with pytest.raises(ValueError, match=r"has class_weight='balanced'.*outer"):
        nested(
            MixtureOfExpertsClassifier(n_experts=2, class_weight="balanced"),
            kind=MixtureOfExpertsClassifier,
        ).fit(X, quadrant)


def test_labels(data):
    X, y, quadrant = data
    with pytest.raises(
        ValueError, match=r"expert_labels, and an expert is a mixture.*Hierarchical"
    ):
        nested().fit(X, y, expert_labels=quadrant)
    plain, nothing = nested().fit(X, y), nested().fit(X, y, expert_labels=np.full(300, -1))
    assert_array_equal(nothing.predict(X), plain.predict(X))


@pytest.mark.parametrize(
    "setting", [{"assignment": "hard"}, {"cross_fit": True}, {"on_collapse": "drop"}], ids=str
)
def test_settings_of_the_one_em_are_those_of_the_outer_mixture(data, setting):
    X, y, _ = data
    (name,) = setting
    inner = MixtureOfExpertsRegressor(Ridge(), n_experts=2, **setting)
    with pytest.raises(ValueError, match=f"has {name}="):
        MixtureOfExpertsRegressor(inner, n_experts=2).fit(X, y)
    both = MixtureOfExpertsRegressor(inner, n_experts=2, n_init=1, max_iter=3, **setting)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert both.fit(X, y).n_iter_ <= 3


def test_a_gate_that_is_a_model_of_all_rows_stands_at_the_root_only(data):
    X, y, _ = data
    inner = MixtureOfExpertsRegressor(n_experts=2, gate=GaussianGate())
    with pytest.raises(ValueError, match=r"GaussianGate at node \(0,\)"):
        nested(inner).fit(X, y)
    model = nested(gate=GaussianGate(), max_iter=5).fit(X, y)
    assert hasattr(model.gate_, "means_")
    assert np.all(np.diff(model.lower_bounds_) > -1e-9)
