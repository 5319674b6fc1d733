"""`to_hard`: one expert a row, as with pooling="argmax", and nothing that is not needed."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mixexp import MixtureOfExpertsClassifier as Classifier
from mixexp import MixtureOfExpertsRegressor as Regressor
from mixexp.gates import GaussianGate, HierarchicalGate, SoftmaxGate
from mixexp.routing import ExpertChoice, Switch, Threshold, TopK, TopP

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

#: Short runs: what is tested is the prediction.
RUN = {"n_init": 1, "max_iter": 10, "tol": 1e-2, "random_state": 0}

#: Predictions of regressors are those of the chosen expert, also out of the range of y.
FREE = {**RUN, "bound_predictions": False}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (240, 2))
    y = np.where(X[:, 0] > 0, 3 * X[:, 1], 2 - X[:, 1]) + 0.1 * rng.normal(size=240)
    return X, y


def labels(y):
    return np.array(["ash", "elm", "oak"])[np.digitize(y, [0.5, 2.0])]


def argmax_outputs(model, X, **offset):
    """Return the output of each row's first choice, and that choice, from public methods."""
    best = model.route(X).argmax(axis=1)
    return model.predict_experts(X, **offset)[np.arange(len(best)), best], best


def outputs(model, X, **offset):
    proba = hasattr(model, "predict_proba")
    return model.predict_proba(X, **offset) if proba else model.predict(X, **offset)


def check(model, X, **offset):
    """Return the hard mixture of a model, compared with it."""
    hard = model.to_hard()
    expected, best = argmax_outputs(model, X, **offset)
    own = np.isin(best, np.append(hard.kept_, [len(model.experts_)] * hasattr(hard, "fallback_")))
    assert_allclose(outputs(hard, X, **offset)[own], expected[own], rtol=1e-10, atol=1e-12)
    assert hard.n_experts == len(hard.experts_) == len(hard.kept_)
    assert all(hard.experts_[i] is model.experts_[k] for i, k in enumerate(hard.kept_))
    assert_array_equal(hard.kept_, np.flatnonzero(model.hard_loads_[: len(model.experts_)]))
    route = hard.route(X)
    assert route.shape == (len(X), hard.n_experts + hasattr(hard, "fallback_"))
    assert_array_equal(np.sort(route, axis=1)[:, -1], 1.0)
    assert_array_equal(route.sum(axis=1), 1.0)
    saved = pickle.dumps(hard)
    assert len(saved) < len(pickle.dumps(model))
    assert_array_equal(outputs(pickle.loads(saved), X, **offset), outputs(hard, X, **offset))
    if hasattr(hard, "classes_"):
        assert_array_equal(hard.predict(X), hard.classes_[outputs(hard, X).argmax(axis=1)])
    return hard


MIXTURES = {
    "dense": Regressor(n_experts=3, **FREE),
    "argmax": Regressor(n_experts=3, pooling="argmax", **FREE),
    "tree of gates": Regressor(n_experts=4, gate=HierarchicalGate((2, 2)), **FREE),
    "gaussian gate": Regressor(n_experts=3, gate=GaussianGate(), **FREE),
    "classifier as gate": Regressor(n_experts=3, gate=LogisticRegression(), **FREE),
    "cross-fitted gate": Regressor(n_experts=2, gate=DecisionTreeClassifier(max_depth=2), **FREE),
    "noise": Regressor(n_experts=3, noise_expert=True, **FREE),
    "noise and fallback": Regressor(
        n_experts=3,
        noise_expert=True,
        routing=TopK(1, renormalise=False, fallback="mean"),
        **FREE,
    ),
    "columns": Regressor(n_experts=2, expert_features=[[0, 1], [1]], **FREE),
    "top 1": Regressor(n_experts=3, routing=TopK(1), **FREE),
    "top 2, bias": Regressor(n_experts=4, routing=TopK(2, balance="bias"), **FREE),
    "top 1, tree of gates": Regressor(
        n_experts=4, gate=HierarchicalGate((2, 2)), routing=TopK(1), **FREE
    ),
    "switch": Regressor(n_experts=3, routing=Switch(1.0), **FREE),
    "top p, hot": Regressor(n_experts=3, routing=TopP(0.6, temperature=2.0), **FREE),
    "threshold": Regressor(n_experts=3, routing=Threshold(0.3), **FREE),
    "expert choice": Regressor(n_experts=3, routing=ExpertChoice(), **FREE),
    "estimators": Regressor(DecisionTreeRegressor(max_depth=2), n_experts=2, **FREE),
    "routed estimators": Regressor(
        DecisionTreeRegressor(max_depth=2), n_experts=3, routing=TopK(1), **FREE
    ),
    "mixtures": Regressor(Regressor(n_experts=2), n_experts=2, **FREE),
    "classes": Classifier(n_experts=2, **RUN),
    "calibrated classes": Classifier(DecisionTreeClassifier(max_depth=2), n_experts=2, **RUN),
    "mixtures of classes": Classifier(Classifier(n_experts=2), n_experts=2, **RUN),
    "routed classes": Classifier(n_experts=3, routing=Switch(), **RUN),
}


@pytest.mark.parametrize("name", MIXTURES)
def test_it_predicts_as_argmax_pooling(data, name):
    X, y = data
    model = clone(MIXTURES[name])
    model.fit(X, labels(y) if isinstance(model, Classifier) else y)
    hard = check(model, X)
    assert_array_equal(hard.route(X).sum(axis=0), model.hard_loads_[model.hard_loads_ > 0])
    assert not hasattr(hard.gate_, "noise_share_")
    assert hard.score(X, labels(y) if isinstance(model, Classifier) else y) > 0.3


@pytest.mark.parametrize("name", ["dense", "classes", "mixtures", "top 2, bias"])
def test_an_expert_that_no_row_prefers_is_left_out(data, name):
    X, y = data
    model = clone(MIXTURES[name])
    model.fit(X, labels(y) if isinstance(model, Classifier) else y)
    model.hard_loads_ = model.hard_loads_ * (np.arange(len(model.hard_loads_)) != 1)
    hard = check(model, X)
    assert 1 not in hard.kept_
    lost = model.route(X).argmax(axis=1) == 1
    assert lost.any()
    best = model.gate_proba(X)[lost][:, hard.kept_].argmax(axis=1)
    assert_array_equal(hard.route(X)[lost].argmax(axis=1), best)


def test_weights_of_zero_are_no_rows(data):
    X, y = data
    weight = (X[:, 0] > 0).astype(float)
    model = Regressor(n_experts=2, **FREE).fit(X, y, weight)
    assert model.hard_loads_.sum() == weight.sum()
    check(model, X)


@pytest.mark.parametrize("fallback", ["mean", Ridge()])
def test_the_fallback_is_kept_if_it_is_the_first_choice_of_rows(data, fallback):
    X, y = data
    router = TopK(1, renormalise=False, fallback=fallback, temperature=2.0)
    model = Regressor(n_experts=4, routing=router, **FREE).fit(X, y)
    assert model.hard_loads_[-1] > 0
    hard = check(model, X)
    assert hard.fallback_ is model.fallback_
    model = Regressor(n_experts=2, routing=clone(router).set_params(temperature=0.1), **FREE)
    hard = check(model.fit(X, y), X)
    assert not hasattr(hard, "fallback_")


def test_only_the_fallback_is_reached(data):
    X, y = data
    router = TopK(1, renormalise=False, fallback="mean", temperature=1e3)
    model = Regressor(n_experts=4, routing=router, **FREE).fit(X, y)
    hard = model.to_hard()
    assert hard.n_experts == 1 and hard.kept_[0] == model.usage_.argmax()
    assert_allclose(hard.predict(X), y.mean())


def test_offsets(data):
    X, y = data
    rng = np.random.default_rng(1)
    exposure = rng.uniform(0.5, 2.0, len(y))
    counts = rng.poisson(exposure * np.exp(y / 2))
    log = np.log(exposure)
    model = Regressor(n_experts=2, family="poisson", **FREE).fit(X, counts, offset=log)
    hard = check(model, X, offset=log)
    assert_allclose(hard.predict(X, offset=log), hard.predict(X) * exposure)
    inner = Regressor(n_experts=2, family="poisson")
    check(Regressor(inner, n_experts=2, family="poisson", **FREE).fit(X, counts), X, offset=log)
    model = Classifier(n_experts=2, **RUN).fit(X, y > 1, offset=log)
    check(model, X, offset=log)


def test_several_outputs(data):
    X, y = data
    model = Regressor(n_experts=3, routing=TopK(1), **FREE).fit(X, np.column_stack([y, -y]))
    assert check(model, X).predict(X).shape == (240, 2)


def test_experts_that_never_saw_some_class(data):
    X, y = data
    labels = np.where(X[:, 0] > 0, np.where(y > 0, "a", "b"), np.where(y > 2, "c", "d"))
    forest = RandomForestClassifier(5, max_depth=3, random_state=0)
    model = Classifier(forest, n_experts=2, init=(X[:, 0] > 0).astype(int), routing=TopK(1), **RUN)
    model.fit(X, labels)
    assert any(len(expert.classes_) < 4 for expert in model.experts_)
    hard = check(model, X)
    assert_array_equal(hard.classes_, ["a", "b", "c", "d"])
    assert hard.predict_proba(X).shape == (240, 4)


def test_frames_with_text(data):
    X, y = data
    table = pd.DataFrame({"x": X[:, 0], "z": X[:, 1], "c": np.where(X[:, 0] > 0.5, "s", "t")})
    encoder = make_column_transformer((OneHotEncoder(), ["c"]), remainder="passthrough")
    expert = make_pipeline(encoder, Ridge())
    gate = SoftmaxGate(alpha=0.3)
    model = Regressor(expert, 2, gate=gate, gate_features=["x", "z"], **FREE).fit(table, y)
    hard = check(model, table)
    assert_array_equal(hard.feature_names_in_, ["x", "z", "c"])
    assert hard.n_features_in_ == 3
    with pytest.raises(ValueError, match="HardMixtureRegressor"):
        hard.predict(table.assign(x="text"))
    with pytest.raises(ValueError, match="feature names"):
        hard.predict(table[["z", "x", "c"]])


def test_it_follows_a_new_order_of_experts(data):
    X, y = data
    model = clone(MIXTURES["dense"]).fit(X, y)
    loads = model.hard_loads_.copy()
    first = model.to_hard().predict(X)
    model.align_experts((model.gate_proba(X).argmax(axis=1) + 1) % 3, X, y)
    assert not np.array_equal(loads, model.hard_loads_)
    assert_array_equal(np.sort(loads), np.sort(model.hard_loads_))
    assert_allclose(check(model, X).predict(X), first)


def test_rows_with_labels_count_where_the_gate_sends_them(data):
    X, y = data
    known = np.where(np.arange(240) % 3 == 0, (X[:, 0] > 0).astype(int), -1)
    model = Regressor(n_experts=2, routing=TopK(1), **FREE).fit(X, y, expert_labels=known)
    assert model.active_fraction_ == 0.5
    assert_array_equal(model.hard_loads_, model.route(X).sum(axis=0))


def test_inner_mixtures_can_be_hard_too(data):
    X, y = data
    model = clone(MIXTURES["mixtures"]).fit(X, y)
    assert model.active_fraction_ == 1.0
    for inner in model.experts_:
        assert inner.hard_loads_.sum() == len(X)
        check(inner, X)


def test_it_is_no_estimator_to_fit(data):
    X, y = data
    hard = clone(MIXTURES["dense"]).fit(X, y).to_hard()
    with pytest.raises(TypeError, match=r"HardMixtureRegressor: .*to_hard\(\) of a fitted Mix"):
        hard.fit(X, y)
    for method in ("predict", "route"):
        with pytest.raises(NotFittedError, match=r"HardMixtureRegressor: call to_hard\(\)"):
            getattr(clone(hard), method)(X)
    with pytest.raises(NotFittedError, match="not fitted"):
        Regressor().to_hard()


def test_another_version_is_told(data):
    hard = clone(MIXTURES["dense"]).fit(*data).to_hard()
    state = copy.copy(hard.__getstate__()) | {"_mixexp_version": "0.0.0"}
    with pytest.warns(UserWarning, match=r"This HardMixtureRegressor was saved by mixexp 0\.0\.0"):
        type(hard)().__setstate__(state)


def test_through_skops(data):
    skops = pytest.importorskip("skops.io")
    X, y = data
    hard = clone(MIXTURES["top 1"]).fit(X, y).to_hard()
    saved = skops.dumps(hard)
    again = skops.loads(saved, trusted=skops.get_untrusted_types(data=saved))
    assert_array_equal(again.predict(X), hard.predict(X))


# ---------------------------------------------------------------- expert_inputs


def test_experts_predict_from_their_inputs(data):
    X, y = data
    model = clone(MIXTURES["columns"]).fit(X, y)
    expected = model.predict_experts(X)
    for k, (expert, rows) in enumerate(zip(model.experts_, model.expert_inputs(X), strict=True)):
        assert_allclose(expert.predict(rows), expected[:, k])
    reached = model.route(X) > 0.5
    for k, rows in enumerate(model.expert_inputs(X, reached)):
        assert_allclose(model.experts_[k].predict(rows), expected[reached[:, k], k])


@pytest.mark.parametrize("expert", [None, DecisionTreeRegressor(max_depth=2)])
def test_inputs_of_frames_are_frames(data, expert):
    X, y = data
    table = pd.DataFrame({"c": np.where(y > 0, "s", "t"), "x": X[:, 0], "z": X[:, 1]})
    router = TopK(1, renormalise=False, fallback="mean")
    columns = {"expert_features": ["x", "z"], "gate_features": ["x"]}
    model = Regressor(expert, n_experts=2, routing=router, **columns, **FREE).fit(table, y)
    inputs = list(model.expert_inputs(table, model.route(table) > 0))
    assert [list(rows.columns) for rows in inputs] == [["x", "z"], ["x", "z"], ["c", "x", "z"]]
    for k, expert in enumerate(model.experts_):
        rows = model.route(table)[:, k] > 0
        assert_allclose(expert.predict(inputs[k]), model.predict_experts(table)[rows, k])


def test_masks_of_another_shape(data):
    X, y = data
    model = clone(MIXTURES["dense"]).fit(X, y)
    with pytest.raises(ValueError, match=r"reached has shape \(240, 2\).*\(240, 3\)"):
        model.expert_inputs(X, np.ones((240, 2), dtype=bool))
    with pytest.raises(ValueError, match="features"):
        model.expert_inputs(X[:, :1])


def test_the_shared_expert_is_handed_on(data):
    X, y = data
    model = Regressor(n_experts=2, shared_expert=Ridge(), routing=TopK(1), **FREE).fit(X, y)
    hard = model.to_hard()
    sums = [hard.shared_expert_.predict(X) + expert.predict(X) for expert in hard.experts_]
    assert_allclose(hard.predict(X), np.sum(hard.route(X) * np.stack(sums, axis=1), axis=1))
    model.set_params(shared_expert=None).fit(X, y)
    assert not hasattr(model.to_hard(), "shared_expert_")
