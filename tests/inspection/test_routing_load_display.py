"""The display of loads: what it holds, how it draws, and the conventions of Displays."""

import numpy as np
import pytest
from _regions import legend_texts
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.inspection import RoutingLoadDisplay
from mixexp.routing import Switch, TopK

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RUN = {"n_experts": 3, "n_init": 1, "max_iter": 10, "tol": 1e-2, "random_state": 0}
load_display = RoutingLoadDisplay.from_estimator


@pytest.fixture(scope="module")
def routed(data):
    return MixtureOfExpertsRegressor(routing=TopK(2), **RUN).fit(*data)


def heights(bars):
    return [bar.get_height() for bar in bars]


def test_it_holds_the_shares_of_the_rows(routed, data):
    X, _ = data
    weight = np.arange(len(X)) % 3
    display = load_display(routed, X, sample_weight=weight)
    route, own = routed.route(X), weight / weight.sum()
    assert_allclose(display.loads, own @ (route > 0))
    assert_allclose(display.importance, own @ route)
    assert display.fallback is None and display.overflow is None
    assert_allclose(heights(display.bars_), display.loads)
    assert_allclose(heights(display.importance_bars_), display.importance)
    assert_allclose(display.even_line_.get_ydata(), 2 / 3)
    assert legend_texts(display) == ["even load", "rows that reach it", "mean routing weight"]
    labels = [text.get_text() for text in display.ax_.get_xticklabels()]
    assert labels == ["0", "1", "2"]


def test_fallback_and_overflow_stand_at_the_end(data):
    X, y = data
    router = Switch(0.8, "fallback", fallback="mean")
    model = MixtureOfExpertsRegressor(routing=router, **RUN).fit(X, y)
    display = load_display(model, X)
    assert display.fallback == (0.0, 0.0)
    assert_allclose(display.overflow, model.routing_.overflow_ / len(X))
    assert_allclose(heights(display.overflow_bar_), display.overflow)
    ends = [bar.get_x() for bar in (*display.fallback_bars_, *display.overflow_bar_)]
    assert min(ends) > max(bar.get_x() + bar.get_width() for bar in display.bars_)
    labels = [text.get_text() for text in display.ax_.get_xticklabels()]
    assert labels == ["0", "1", "2", "fallback", "overflow"]
    assert legend_texts(display) == ["even load"]
    router = TopK(1, renormalise=False, fallback="mean")
    model = MixtureOfExpertsRegressor(routing=router, **RUN).fit(X, y)
    display = load_display(model, X)
    assert_allclose(heights(display.fallback_bars_), [1.0, model.route(X)[:, -1].mean()])


def test_dense_classes_in_a_pipeline(class_data):
    X, y = class_data
    model = make_pipeline(StandardScaler(), MixtureOfExpertsClassifier(**RUN)).fit(X, y)
    display = load_display(model, X)
    assert_array_equal(display.loads, 1.0)
    assert_allclose(display.importance.sum(), 1.0)


def test_plot_draws_again_what_is_stored(routed, data, plt):
    figure, axes = plt.subplots(1, 2)
    display = load_display(routed, data[0], ax=axes[1])
    assert display.ax_ is axes[1] and display.figure_ is figure and not axes[0].patches
    assert display.ax_.get_xlabel() == "expert" and display.ax_.get_ylabel() == "share of rows"
    loads = display.loads
    axes[0].set(xlabel="mine", ylabel="own")
    assert display.plot(axes[0]) is display and display.loads is loads
    assert (axes[0].get_xlabel(), axes[0].get_ylabel()) == ("mine", "own")
    assert len(plt.get_fignums()) == 1


def test_init_only_stores():
    names = ("loads", "importance", "fallback", "overflow")
    parameters = {name: object() for name in names}
    assert vars(RoutingLoadDisplay(**parameters)) == parameters


def test_styles_go_to_the_artists(routed, data):
    display = load_display(
        routed,
        data[0],
        colors=["red", "blue"],
        bar_kwargs={"lw": 3},
        line_kwargs={"c": "lime", "label": "mean"},
        legend_kwargs={"title": "who"},
    )
    faces = [bar.get_facecolor()[:3] for bar in display.importance_bars_]
    assert faces == [(1, 0, 0), (0, 0, 1), (1, 0, 0)]
    assert all(bar.get_linewidth() == 3 for bar in display.bars_)
    assert display.even_line_.get_color() == "lime"
    assert legend_texts(display)[0] == "mean"
    assert display.legend_.get_title().get_text() == "who"


@pytest.mark.parametrize("layout", [None, "constrained"])
@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("n_experts", [2, 8, 32])
@pytest.mark.parametrize("several", [False, True])
def test_nothing_covers_anything(plt, layout, columns, n_experts, several):
    size = 6.4 * columns, 4
    figure, axes = plt.subplots(1, columns, squeeze=False, layout=layout, figsize=size)
    loads = np.full(n_experts, 1 / n_experts) * np.linspace(0.7, 1.3, n_experts)
    display = RoutingLoadDisplay(
        loads=2 * loads if several else loads,
        importance=loads,
        fallback=(0.1, 0.1),
        overflow=0.0,
    ).plot(axes[0, 0])
    figure.canvas.draw()
    legend = display.legend_.get_window_extent()
    bars = [*display.bars_, *display.fallback_bars_, *display.overflow_bar_]
    assert not any(legend.overlaps(bar.get_window_extent()) for bar in bars)
    texts = [text.get_window_extent() for text in display.ax_.get_xticklabels()]
    assert all(a.x1 < b.x0 for a, b in zip(texts, texts[1:], strict=False))
    assert {text.get_fontsize() for text in display.ax_.get_xticklabels()} == {10.0}
    if layout is None:
        assert legend.x0 >= display.ax_.get_window_extent().x0


def test_a_new_figure_is_wide_enough_for_all_numbers(plt):
    loads = np.full(32, 1 / 32)
    display = RoutingLoadDisplay(loads=loads, importance=loads).plot()
    assert len(display.ax_.get_xticks()) >= 16
    assert (
        RoutingLoadDisplay(loads=np.zeros(2), importance=np.zeros(2)).plot().ax_.get_ylim()[1] > 0
    )


def test_bad_input(routed, data, plt):
    X, _ = data
    with pytest.raises(NotFittedError, match=r"^RoutingLoadDisplay: estimator=.*not fitted"):
        load_display(MixtureOfExpertsRegressor(), X)
    with pytest.raises(TypeError, match=r"^RoutingLoadDisplay: .*no gate_proba"):
        load_display(LinearRegression().fit(*data), X)
    with pytest.raises(ValueError, match=r"sample_weight has shape \(3,\), and X has 240 rows"):
        load_display(routed, X, sample_weight=np.ones(3))
    with pytest.raises(ValueError, match=r"^RoutingLoadDisplay: colors=\[\] is not valid"):
        load_display(routed, X, colors=[])
    assert plt.get_fignums() == []
