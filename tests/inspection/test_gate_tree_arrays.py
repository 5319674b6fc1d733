"""What a picture of a tree of gates shows is what the gate says."""

import numpy as np
import pandas as pd
import pytest
from _gate_trees import SHORT, FakeMixture, Ragged, tree
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.datasets import make_softmax_mixture
from mixexp.gates import ConstantGate, HierarchicalGate
from mixexp.inspection._gate_tree import gate_tree, shares_in_words, tree_layout

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def data():
    return make_softmax_mixture(200, n_features=3, n_experts=4, random_state=0)


@pytest.fixture(scope="module")
def binary(data):
    return tree((2, 2), data)


@pytest.fixture(scope="module")
def noisy(data):
    return tree((2, 2), data, noise_expert=True)


@pytest.fixture(scope="module")
def nested(data):
    """A tree of two levels, a single expert, and a flat mixture, under a flat gate with noise."""
    inner = [(4, HierarchicalGate((2, 2))), (2, None)]
    first, last = [
        MixtureOfExpertsRegressor(Ridge(), n_experts=k, gate=gate, **SHORT) for k, gate in inner
    ]
    experts = [("tree", first), ("line", Ridge()), ("flat", last)]
    model = MixtureOfExpertsRegressor(experts, n_experts=3, noise_expert=True, **SHORT)
    return model.fit(*data)


def leaves(arrays):
    """Return the shares of leaves by name."""
    inner = set(arrays["parents"].tolist())
    pairs = enumerate(zip(arrays["names"], arrays["shares"], strict=True))
    return {name: share for i, (name, share) in pairs if i not in inner}


def test_nodes_of_a_tree(binary):
    arrays = gate_tree(binary)
    names = ["root", "node 0", "expert 0", "expert 1", "node 1", "expert 2", "expert 3"]
    assert arrays["names"] == names
    assert_array_equal(arrays["parents"], [-1, 0, 1, 1, 0, 4, 4])
    assert_array_equal(arrays["experts"], [-1, -1, 0, 1, -1, 2, 3])
    u = binary.usage_
    wanted = [1, u[0] + u[1], u[0], u[1], u[2] + u[3], u[2], u[3]]
    assert_allclose(arrays["shares"], wanted)
    texts = {path: node.split_texts(max_terms=2) for path, node in binary.gate_.nodes_.items()}
    order = [texts[()][0], *texts[(0,)], texts[()][1], *texts[(1,)]]
    assert arrays["splits"] == ["", *order]


def test_shares_of_given_rows(binary, noisy, data):
    X = data[0][:50]
    for model in (binary, noisy):
        arrays = gate_tree(model, X)
        proba = model.gate_proba(X).mean(axis=0)
        names = [f"expert {k}" for k in range(4)] + ["noise"]
        assert leaves(arrays) == pytest.approx(dict(zip(names, proba, strict=False)))
        first = arrays["names"].index("node 1")
        level = model.gate_proba(X, level=1).mean(axis=0)
        assert_allclose(arrays["shares"][first], level[1])


def test_noise_hangs_apart(noisy):
    arrays = gate_tree(noisy)
    assert arrays["names"][-1] == "noise"
    assert (arrays["parents"][-1], arrays["experts"][-1]) == (0, -1)
    assert_allclose(arrays["shares"][-1], noisy.usage_[-1])
    assert_allclose(arrays["shares"][0], 1)  # the noise hangs from the root, so its share is in it
    assert "noise" not in arrays["names"][:-1]


def test_permuted_leaves_keep_their_experts(data):
    model = tree((4,), data)
    arrays = gate_tree(model)
    order = [model.gate_.paths_.index((child,)) for child in range(4)]
    assert arrays["names"][1:] == [f"expert {k}" for k in order]
    assert_allclose(arrays["shares"][1:], model.usage_[order])


def test_ragged_tree():
    arrays = gate_tree(FakeMixture(Ragged(2), [0.1, 0.2, 0.3, 0.4]))
    names = ["root", "node 0", "node 0.0", "expert 0", "expert 1", "expert 2", "expert 3"]
    assert arrays["names"] == names
    assert_array_equal(arrays["parents"], [-1, 0, 1, 2, 2, 1, 0])
    assert_allclose(arrays["shares"], [1, 0.6, 0.3, 0.1, 0.2, 0.3, 0.4])


def test_a_tree_that_lost_an_expert(data):
    """The same walk over a gate whose leaves were cut off by a fit."""
    gate = tree((2, 2, 2), data).gate_.select(np.array([0, 1, 3, 7]))
    ragged = Ragged(2)
    assert set(gate.nodes_) == set(ragged.nodes_) and gate.paths_ == ragged.paths_
    for path in gate.nodes_:
        assert gate.children(path) == ragged.children(path)


def test_flat_gates(data):
    X, y = data
    for gate, worded in [(None, True), (ConstantGate(), False), (GaussianNB(), False)]:
        model = MixtureOfExpertsRegressor(n_experts=3, gate=gate, **SHORT).fit(X, y)
        arrays = gate_tree(model, X)
        assert arrays["names"] == ["root", "expert 0", "expert 1", "expert 2"]
        assert_allclose(arrays["shares"][1:], model.gate_proba(X).mean(axis=0))
        assert all(split.startswith("score") for split in arrays["splits"][1:]) == worded
    X, y = data[0], data[1] > 0
    arrays = gate_tree(MixtureOfExpertsClassifier(n_experts=2, **SHORT).fit(X, y))
    assert arrays["splits"][2] == "otherwise"


def test_mixtures_of_mixtures(nested, data):
    arrays = gate_tree(nested)
    assert arrays["names"] == [
        "root",
        *("expert 0", "node 0.0", "expert 0.0", "expert 0.1"),
        *("node 0.1", "expert 0.2", "expert 0.3"),
        "expert 1",
        *("expert 2", "expert 2.0", "expert 2.1", "noise"),
    ]
    assert_array_equal(arrays["experts"], [-1] + [0] * 7 + [1] + [2] * 3 + [-1])
    assert_allclose(arrays["shares"][[1, 8, 9, 12]], nested.usage_)

    # The rows of the fit give the same shares as `usage_`; other rows give their own.
    X = data[0]
    assert_allclose(gate_tree(nested, X)["shares"], arrays["shares"], rtol=1e-9)
    shares = leaves(gate_tree(nested, X[:40]))
    outer, inner = nested.gate_proba(X[:40]), nested.experts_[2].gate_proba(X[:40])
    assert_allclose(shares["expert 2.1"], np.mean(outer[:, 2] * inner[:, 1]))
    assert_allclose(sum(shares.values()), 1)
    assert arrays["splits"][4] == nested.experts_[0].gate_.nodes_[(0,)].split_texts(max_terms=2)[1]


def test_names_come_from_wherever_they_are_known(data):
    X, y = data
    frame = pd.DataFrame(X, columns=["length", "width", "height"])
    plain = MixtureOfExpertsRegressor(n_experts=2, **SHORT)
    words = plain.fit(frame, y).gate_.split_texts(["length", "width", "height"], max_terms=2)
    assert gate_tree(plain)["splits"][1:] == words
    given = gate_tree(plain, feature_names=["a", "b", "c"], max_terms=3, decimals=1)
    assert given["splits"][1:] == plain.gate_.split_texts(list("abc"), max_terms=3, decimals=1)

    pipeline = make_pipeline(StandardScaler(), clone(plain)).fit(frame, y)
    assert "length" in "".join(gate_tree(pipeline, max_terms=3)["splits"])
    search = GridSearchCV(pipeline, {"standardscaler__with_mean": [True]}, cv=2).fit(frame, y)
    assert gate_tree(search, frame)["names"] == ["root", "expert 0", "expert 1"]
    assert_allclose(gate_tree(search, frame)["shares"], gate_tree(pipeline)["shares"])
    nameless = make_pipeline(FunctionTransformer(), clone(plain)).fit(X, y)
    assert "x0" in "".join(gate_tree(nameless, max_terms=3)["splits"])


def test_layout_of_a_tree():
    parents = np.array([-1, 0, 1, 1, 0, 0, 5, 5, 0])
    names = ["root", "n", "a", "b", "c", "n", "d", "e", "noise"]
    columns, rows = tree_layout(parents, names)
    assert_array_equal(columns, [0, 1, 2, 2, 2, 1, 2, 2, 2])
    assert_allclose(rows, [2, 0.5, 0, 1, 2, 3.5, 3, 4, 5.5])


def test_shares_that_round_to_nothing():
    assert shares_in_words(np.array([0.0, 0.004, 0.126, 1.0])) == ["0 %", "<1 %", "13 %", "100 %"]
