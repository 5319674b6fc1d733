"""Pictures of a tree of gates, and of the regions of its nodes."""

import numpy as np
import pytest
from _gate_trees import SHORT, FakeMixture, Ragged, tree
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, Ridge

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.datasets import make_softmax_mixture
from mixexp.gates import HierarchicalGate
from mixexp.inspection import ExpertRegionsDisplay, GateTreeDisplay
from mixexp.inspection._levels import Level

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

show = GateTreeDisplay.from_estimator
regions = ExpertRegionsDisplay.from_estimator


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
        display = regions(deep, X, y, features=[0, 1], level=level, grid_resolution=6)
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
        assert experts.region_names is None and nodes.region_names[3] == "expert 3"
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
    assert display.region_names == ["expert 0", "expert 1"]
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


def test_splits_are_cut_and_left_out_where_there_is_no_room(plt):
    words = "a rather long sum of many terms > 3.00"
    display = GateTreeDisplay(
        parents=np.array([-1, 0, 0]),
        names=["root", "expert 0", "expert 1"],
        splits=["", words, "otherwise"],
        shares=np.array([1.0, 0.4, 0.6]),
        experts=np.array([-1, 0, 1]),
    )
    found = []
    for width in (5, 2.8, 1.6):
        _, ax = plt.subplots(figsize=(width, 2))
        display.plot(ax)
        assert not overlapping(display) and inside_axes(display)
        found.append([text.get_text() for text in display.split_texts_])
    assert found[0][0] == words and len(found[1][0]) == 18 and found[2] == []
