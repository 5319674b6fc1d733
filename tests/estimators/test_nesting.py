"""A mixture of mixtures is the flat mixture of the innermost experts."""

import pickle

import numpy as np
import pandas as pd
import pytest
from _nested import PAIR, SHORT, check_equal, four_lines, leaves_of, nested
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import entr
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.gates import ConstantGate, HierarchicalGate, SoftmaxGate

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

#: Of the gates of mixtures without one, which a tree's nodes need for the same fit.
ALPHA = "auto"


@pytest.fixture
def data(rng):
    return four_lines(rng)


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
    flat = MixtureOfExpertsClassifier(n_experts=4, gate=HierarchicalGate((2, 2), ALPHA), **SHORT)
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
    model, flat = (
        nested(),
        MixtureOfExpertsRegressor(n_experts=4, gate=HierarchicalGate(alpha=ALPHA), **SHORT),
    )
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
        n_experts=4, gate=HierarchicalGate(alpha=ALPHA), family="poisson", **SHORT
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
    flat = MixtureOfExpertsRegressor(n_experts=4, gate=HierarchicalGate(alpha=ALPHA), **SHORT).fit(
        X, Y
    )
    assert_allclose(model.predict(X), flat.predict(X), atol=1e-8)
    assert model.predict_experts(X).shape == (300, 2, 2)
    assert_allclose(model.experts_[1].predict(X), model.predict_experts(X)[:, 1], atol=1e-12)


# ---------------------------------------------------------------- levels


def test_experts_are_fitted_mixtures(data):
    X, y, _ = data
    model = nested(noise_expert=True).fit(X, y)
    experts, flat, rows = model.predict_experts(X), model._model.flat, model._new_rows(X, y)
    flat_gate, flat_resp = flat.gate_proba(rows), flat.responsibilities(rows)
    flat_experts = flat.bank.fitted(None)
    assert experts.shape == (300, 2)
    density = 0.0
    for k, inner in enumerate(model.experts_):
        assert isinstance(inner, MixtureOfExpertsRegressor) and len(inner.experts_) == 2
        assert_allclose(inner.predict(X), experts[:, k], atol=1e-12)
        share = model.gate_proba(X)[:, [k]]
        assert_allclose(share * inner.gate_proba(X), flat_gate[:, 2 * k : 2 * k + 2], atol=1e-12)
        density = density + share[:, 0] * np.exp(inner.log_density(X, y))
        own = inner.responsibilities(X, y)
        assert_allclose(own.sum(axis=1), 1.0)
        whole = flat_resp[:, 2 * k : 2 * k + 2]
        assert_allclose(own * whole.sum(axis=1, keepdims=True), whole, atol=1e-9)
        usage = flat_gate[:, 2 * k : 2 * k + 2].mean(axis=0)
        assert_allclose(inner.usage_, usage / model.usage_[k])
        assert inner.predict_distribution(X).mean().shape == (300,)
        assert inner.dispersions_.shape == (2,) and inner.n_features_in_ == 2
        assert inner.score(X, y) <= 1.0 and np.isfinite(inner.bic(X, y))
        assert [e.predict(X).tolist() for e in inner.experts_] == [
            flat_experts[2 * k + j].predict(X).tolist() for j in range(2)
        ]
    density += model.gate_proba(X)[:, 2] * np.exp(flat.bank.log_density)
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
    flat = MixtureOfExpertsRegressor(n_experts=8, gate=HierarchicalGate((2, 2, 2), ALPHA), **SHORT)
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


def test_experts_are_not_copied_to_see_whether_they_are_mixtures():
    with pytest.raises(ValueError, match=r"n_samples=4 rows .* are fewer than n_experts"):
        MixtureOfExpertsRegressor(n_experts=10**12).fit(np.eye(4), np.arange(4))
