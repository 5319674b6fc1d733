"""Pictures of a tree of gates, and of the regions of its nodes, show what the gate says."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.datasets import make_softmax_mixture
from mixexp.gates import ConstantGate, HierarchicalGate
from mixexp.inspection import ExpertRegionsDisplay, GateTreeDisplay
from mixexp.inspection._gate_tree import gate_tree, shares_in_words, tree_layout
from mixexp.inspection._levels import Level

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

show = GateTreeDisplay.from_estimator
regions = ExpertRegionsDisplay.from_estimator

#: Enough iterations for nodes that differ; what they are does not matter.
SHORT = {"n_init": 1, "max_iter": 5, "random_state": 0, "on_collapse": "keep"}


@pytest.fixture(autouse=True)
def plt():
    """Pyplot on a backend without windows; figures are closed after each test."""
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


@pytest.fixture(scope="module")
def data():
    return make_softmax_mixture(200, n_features=3, n_experts=4, random_state=0)


def tree(branching, data, **params):
    model = MixtureOfExpertsRegressor(
        n_experts=int(np.prod(branching)), gate=HierarchicalGate(branching), **SHORT, **params
    )
    return model.fit(*data)


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


class Ragged:
    """A gate of experts 0, 1, 3 and 7 of a binary tree of depth 3, the others having collapsed."""

    paths_ = [(0, 0, 0), (0, 0, 1), (0, 1, 1), (1, 1, 1)]
    depth = 3

    def __init__(self, n_features):
        self.nodes_ = dict.fromkeys([(), (0,), (0, 0)], self)
        self.n_features = n_features

    def children(self, node):
        return {(): [(0,), (1, 1, 1)], (0,): [(0, 0), (0, 1, 1)]}.get(node, self.paths_[:2])

    def split_texts(self, feature_names=None, *, decimals, max_terms):
        return ["otherwise", "x0 > 0"]


class FakeMixture(BaseEstimator):
    """A mixture that has only what a picture of its tree asks for."""

    def __init__(self, gate, usage):
        self.gate_, self.usage_ = gate, np.asarray(usage)
        self.experts_ = [LinearRegression() for _ in gate.paths_]
        self.n_features_in_ = 2

    def fit(self):
        return self

    def gate_proba(self, X):
        return np.tile(self.usage_, (len(X), 1))


# ---------------------------------------------------------------- arrays


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
    assert arrays["splits"][1] == "otherwise"


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


# ---------------------------------------------------------------- artists


def overlapping(display):
    """Return pairs of texts that meet, boxes included."""
    figure = display.figure_
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    boxes = [
        (text.get_text(), (text.get_bbox_patch() or text).get_window_extent(renderer))
        for text in [*display.node_texts_, *display.split_texts_]
    ]
    return [
        (one, other)
        for i, (one, box) in enumerate(boxes)
        for other, place in boxes[:i]
        if box.overlaps(place)
    ]


def inside_axes(display):
    place = display.ax_.get_window_extent()
    renderer = display.figure_.canvas.get_renderer()
    texts = [*display.node_texts_, *display.split_texts_]
    boxes = [(text.get_bbox_patch() or text).get_window_extent(renderer) for text in texts]
    return all(
        place.x0 <= b.x0 and b.x1 <= place.x1 and place.y0 <= b.y0 and b.y1 <= place.y1
        for b in boxes
    )


@pytest.mark.parametrize("branching", [(2, 2, 2), (4,), (3, 2), (2, 2, 2, 2), (2,), (2, 3)])
@pytest.mark.parametrize("names", [None, ["f", "a rather long name $x_0$", "another_long_name"]])
def test_texts_do_not_meet(data, branching, names):
    model = tree(branching, data)
    display = show(model, feature_names=names)
    assert len(display.node_texts_) == len(display.names)
    assert len(display.edges_) == len(display.names) - 1
    assert not overlapping(display)
    assert inside_axes(display)


@pytest.mark.parametrize("branching", [(2, 2, 2), (4,), (3, 2)])
def test_texts_shrink_to_given_axes(data, plt, branching):
    figure, axes = plt.subplots(1, 2, figsize=(9, 3))
    display = show(tree(branching, data), ax=axes[1], max_terms=3)
    assert display.ax_ is axes[1] and display.figure_ is figure
    assert display.node_texts_[0].get_fontsize() < 8
    assert not overlapping(display)
    assert inside_axes(display)
    assert not axes[0].texts and len(plt.get_fignums()) == 1


def test_texts_of_other_trees_do_not_meet(nested, noisy):
    ragged = FakeMixture(Ragged(2), [0.1, 0.2, 0.3, 0.4])
    for model in (nested, noisy, ragged):
        display = show(model)
        assert not overlapping(display)
        assert inside_axes(display)


def test_edges_are_as_wide_as_their_share(binary):
    display = show(binary)
    widths = np.array([edge.get_linewidth() for edge in display.edges_])
    assert_allclose(widths / display.shares[1:], widths[0] / display.shares[1], rtol=1e-6)
    # Side by side at the parent: together as wide as the edge that comes in.
    starts = [edge.get_path().vertices[0, 1] for edge in display.edges_[1:3]]
    assert_allclose(np.diff(starts), widths[1:3].mean(), rtol=1e-6)


def test_experts_have_the_colours_of_their_regions(nested, data):
    display = show(nested, colors=["#ff0000", "#00ff00", "#0000ff"])
    for name, text in zip(display.names, display.node_texts_, strict=True):
        face = np.array(text.get_bbox_patch().get_facecolor()[:3])
        if name.startswith(("root", "noise")):
            assert_array_equal(face, 1)
        elif name.startswith("expert"):
            assert face.argmax() == int(name.split()[1].split(".")[0])
    default = show(nested).node_texts_[-2].get_bbox_patch().get_edgecolor()
    patches = regions(nested, *data, grid_resolution=5).legend_.get_patches()
    labels = [patch.get_label() for patch in patches]
    assert default == patches[labels.index("expert 2")].get_facecolor()


def test_plot_again_and_styles(binary, plt):
    display = show(
        binary,
        edge_kwargs={"ls": ":"},
        node_kwargs={"color": "red"},
        split_kwargs={"style": "italic"},
    )
    assert display.edges_[0].get_linestyle() == ":"
    assert display.node_texts_[0].get_color() == "red"
    assert display.split_texts_[0].get_style() == "italic"
    first = display.ax_
    assert display.plot() is display and display.ax_ is not first
    parameters = {name: object() for name in ("parents", "names", "splits", "shares", "experts")}
    assert vars(GateTreeDisplay(**parameters)) == parameters


def test_bad_parameters(binary, data, plt):
    X, _ = data
    with pytest.raises(ValueError, match=r"^GateTreeDisplay: feature_names=\['a'\] is not .* 3"):
        show(binary, feature_names=["a"])
    with pytest.raises(ValueError, match="feature_names='abc' is not"):
        show(binary, feature_names="abc")
    with pytest.raises(ValueError, match="decimals must be"):
        show(binary, decimals=-1)
    with pytest.raises(ValueError, match=r"^GateTreeDisplay: X has 2 columns"):
        show(binary, X[:, :2])
    with pytest.raises(ValueError, match=r"^GateTreeDisplay: colors='red'"):
        show(binary, colors="red")
    with pytest.raises(NotFittedError, match=r"^GateTreeDisplay: "):
        show(clone(binary))
    with pytest.raises(TypeError, match=r"^GateTreeDisplay: .*LinearRegression has no gate_proba"):
        show(LinearRegression().fit(*data))
    assert plt.get_fignums() == []


# ---------------------------------------------------------------- regions of a level


@pytest.fixture(scope="module")
def deep(data):
    return tree((2, 2, 2), data)


def legend_texts(display):
    return [text.get_text() for text in display.legend_.get_texts()]


def test_regions_of_nodes_are_their_gate_probabilities(deep, data):
    X, y = data
    for level, names in [(1, ["0", "1"]), (2, ["0.0", "0.1", "1.0", "1.1"])]:
        display = regions(deep, X, y, level=level, grid_resolution=6)
        assert display.region_names == [f"node {name}" for name in names]
        assert set(legend_texts(display)) <= set(display.region_names)
        rows = np.tile(np.median(X, axis=0), (6, 1))
        rows[:, 0], rows[:, 1] = display.grid[0], display.grid[1][2]
        assert_allclose(display.weights[2], deep.gate_proba(rows, level=level))
        resp = deep.responsibilities(X, y)
        grouped = np.stack([resp[:, k].sum(axis=1) for k in deep.gate_.leaves_at(level)])
        assert_array_equal(display.point_experts, grouped.argmax(axis=0))


def test_curves_of_nodes_are_weighted_within_the_node(deep, data):
    X, y = data
    display = regions(deep, X, y, features=1, level=1, grid_resolution=7)
    rows = np.tile(np.median(X, axis=0), (7, 1))
    rows[:, 1] = display.grid[0]
    proba, values = deep.gate_proba(rows), deep.predict_experts(rows)
    for node, own in enumerate(deep.gate_.leaves_at(1)):
        inside = proba[:, own] / proba[:, own].sum(axis=1, keepdims=True)
        wanted = np.sum(inside * values[:, own], axis=1)
        assert_allclose(display.expert_values[:, node], wanted)
    assert_allclose(np.sum(display.weights * display.expert_values, axis=1), display.pooled_values)
    assert legend_texts(display) == ["node 0", "node 1", "mixture"]


def test_last_level_is_the_experts(deep, data):
    X, y = data
    for features in ((0, 1), 0):
        nodes = regions(deep, X, y, features=features, level=3, grid_resolution=5)
        experts = regions(deep, X, y, features=features, grid_resolution=5)
        assert_array_equal(nodes.weights, experts.weights)
        assert_array_equal(nodes.point_experts, experts.point_experts)
        assert experts.region_names is None and nodes.region_names[3] == "node 0.1.1"
        if features == 0:
            assert_allclose(nodes.expert_values, experts.expert_values, rtol=1e-12)


def test_a_node_without_weight_has_the_mean_of_its_experts():
    level = Level(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), ["node 0", "node 1"])
    values = np.array([[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]])
    weights = np.array([[0.0, 0.0, 1.0], [0.6, 0.2, 0.2]])
    assert_allclose(level.values(values, weights), [[2.0, 5.0], [2.5, 6.0]])


@pytest.mark.parametrize("level", [None, 1])
@pytest.mark.parametrize("features", [(0, 1), 0])
def test_noise_is_no_region(noisy, data, level, features):
    X, y = data
    display = regions(noisy, X, y, features=features, level=level, grid_resolution=5)
    assert display.weights.shape[-1] == (4 if level is None else 2)
    assert_allclose(display.weights.sum(axis=-1), 1)
    resp = noisy.responsibilities(X, y)[:, :4]
    if level is not None:
        resp = np.column_stack([resp[:, k].sum(axis=1) for k in noisy.gate_.leaves_at(1)])
    assert_array_equal(display.point_experts, resp.argmax(axis=1))


def test_level_of_a_flat_gate_and_of_classes(data):
    X, y = data
    flat = MixtureOfExpertsRegressor(n_experts=2, **SHORT).fit(X, y)
    display = regions(flat, X, level=1, grid_resolution=4)
    assert display.region_names == ["node 0", "node 1"]
    assert_array_equal(display.weights, regions(flat, X, grid_resolution=4).weights)
    classifier = MixtureOfExpertsClassifier(n_experts=4, gate=HierarchicalGate(), **SHORT)
    classifier.fit(X, y > 0)
    display = regions(classifier, X, y > 0, features=0, level=1, grid_resolution=4)
    assert_allclose(np.sum(display.weights * display.expert_values, axis=1), display.pooled_values)


@pytest.mark.parametrize("level", [0, 4, 1.5, True, "1"])
def test_levels_that_are_not_there(deep, data, plt, level):
    with pytest.raises(ValueError, match="level=") as of_gate:
        deep.gate_proba(data[0], level=level)
    with pytest.raises(ValueError, match="level=") as of_display:
        regions(deep, data[0], level=level)
    assert str(of_display.value) == str(of_gate.value)
    assert plt.get_fignums() == []
