"""Draw expert regions and curves. matplotlib is imported inside the functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mixexp.inspection._regions import (
    PALETTE,
    curve_strength,
    region_margins,
    shade,
    visible_range,
)

__all__ = [
    "LowerPart",
    "draw_boundaries",
    "draw_expert_curves",
    "draw_gate_curves",
    "draw_legend",
    "draw_points",
    "draw_pooled",
    "draw_surface",
    "expert_colors",
    "label_axes",
    "new_axes",
    "point_colors",
]

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")

#: Height of the gate curves and of the gap below them, as shares of the given axes.
GATE_SHARE, GATE_GAP = 0.24, 0.06

#: Colour of rows that the noise or zero expert explains best.
NOISE = "0.45"

#: Maximum number of tick intervals below a new figure; with more, long numbers overlap.
INTERVALS = 6

#: Up to this many rows are drawn at full size.
FEW_ROWS = 500

#: Above this many rows, matplotlib is slow to find the best place for a legend.
MANY_ROWS = 10_000


def styled(defaults: dict, given: dict | None, artist: Any) -> dict:
    """Return defaults updated with the given keywords, resolving matplotlib's aliases."""
    from matplotlib import cbook

    return {
        **cbook.normalize_kwargs(defaults, artist),
        **cbook.normalize_kwargs(given or {}, artist),
    }


def expert_colors(colors: Any, n_experts: int, owner: str) -> np.ndarray:
    """Return one colour for each expert (K, 3), reusing them cyclically if there are too few."""
    from matplotlib.colors import to_rgb

    chosen = PALETTE if colors is None else colors
    if isinstance(chosen, str) or len(chosen) == 0:
        raise ValueError(
            f"{owner}: colors={colors!r} is not valid; give a list of matplotlib colours, one for "
            "each expert."
        )
    return np.array([to_rgb(chosen[k % len(chosen)]) for k in range(n_experts)])


def point_colors(colors: np.ndarray, experts: np.ndarray) -> np.ndarray:
    """Return the colour of each row's expert (n, 3); -1 is the noise or zero expert."""
    from matplotlib.colors import to_rgb

    return np.vstack([colors, to_rgb(NOISE)])[experts]


def new_axes() -> Any:
    """Return the axes of a new figure, with few enough ticks for long numbers."""
    import matplotlib.pyplot as plt

    _, ax = plt.subplots(layout="constrained")
    ax.locator_params(axis="x", nbins=INTERVALS)
    return ax


class LowerPart:
    """Axes locator that keeps axes in the lower part of their slot.

    Child axes fill the space above: they move with the axes, and a title is placed above them.
    """

    def __init__(self, ax: Any):
        self.get_subplotspec = ax.get_subplotspec  # tight_layout asks the locator for it
        inner = ax.get_axes_locator()
        # Axes that are drawn on twice must not shrink twice.
        self.inner: Any = inner.inner if isinstance(inner, LowerPart) else inner

    def __call__(self, ax: Any, renderer: Any) -> Any:
        from matplotlib.transforms import Bbox

        slot = self.inner(ax, renderer) if self.inner else ax.get_position(original=True)
        height = slot.height * (1 - GATE_SHARE - GATE_GAP)
        return Bbox.from_bounds(slot.x0, slot.y0, slot.width, height)


def draw_surface(
    ax: Any,
    grid: Sequence[np.ndarray],
    weights: np.ndarray,
    colors: np.ndarray,
    kwargs: dict | None,
) -> Any:
    """Draw the shaded regions."""
    from matplotlib.collections import QuadMesh

    defaults = {"shading": "nearest", "rasterized": True, "zorder": 0}
    return ax.pcolormesh(*grid, shade(weights, colors), **styled(defaults, kwargs, QuadMesh))


def draw_boundaries(
    ax: Any,
    grid: Sequence[np.ndarray],
    weights: np.ndarray,
    winners: np.ndarray,
    kwargs: dict | None,
) -> list[Any]:
    """Draw the lines between regions."""
    if len(winners) < 2:
        return []
    margins = region_margins(weights)
    options = {"linewidths": 1.0, "zorder": 1, **(kwargs or {})}
    if not {"colors", "cmap"} & set(options):
        options["colors"] = "0.25"
    # The outlines of all regions but one include every line.
    return [ax.contour(*grid, margins[..., k], levels=[0.0], **options) for k in winners[:-1]]


def draw_points(
    ax: Any,
    x: np.ndarray,
    y: np.ndarray,
    colors: np.ndarray,
    classes: np.ndarray | None,
    kwargs: dict | None,
    *,
    rug: bool,
) -> list[Any]:
    """Draw rows as a rug, or as points with one marker per class."""
    from matplotlib.collections import PathCollection
    from matplotlib.markers import MarkerStyle

    # Many rows are drawn small, so that they do not hide the regions.
    scale = np.sqrt(min(1.0, FEW_ROWS / len(x)))
    defaults: dict[str, Any] = {"s": max(26 * scale, 5), "zorder": 2}
    if rug:
        defaults.update(s=60, marker="|")
    if MarkerStyle((kwargs or {}).get("marker", "|" if rug else "o")).is_filled():
        defaults.update(edgecolors="white", linewidths=0.6 * scale)
    else:
        defaults.update(linewidths=1.0)
    options = styled(defaults, kwargs, PathCollection)
    colored_by_user = {"c", "color", "facecolor"} & set(options)
    labels = [None] if classes is None else np.unique(classes)
    scatters = []
    for index, label in enumerate(labels):
        rows = slice(None) if classes is None else classes == label
        style: dict[str, Any] = {"marker": MARKERS[index % len(MARKERS)]}
        if not colored_by_user:
            style["c"] = colors[rows]
        scatters.append(ax.scatter(x[rows], y[rows], **{**style, **options}))
    return scatters


def draw_expert_curves(
    ax: Any,
    axis: np.ndarray,
    values: np.ndarray,
    weights: np.ndarray,
    shown: np.ndarray,
    colors: np.ndarray,
    kwargs: dict | None,
) -> list[Any]:
    """Draw each expert's curve, with opacity and width given by its gate probability."""
    from matplotlib.collections import LineCollection

    lines = []
    for k in shown:
        points = np.column_stack([axis, values[:, k]])
        pieces = np.stack([points[:-1], points[1:]], axis=1)
        alpha, width = curve_strength(weights[:, k])
        rgba = np.column_stack([np.tile(colors[k], (len(alpha), 1)), alpha])
        defaults = {"colors": rgba, "linewidths": width, "capstyle": "butt", "zorder": 3}
        options = styled(defaults, kwargs, LineCollection)
        lines.append(ax.add_collection(LineCollection(list(pieces), **options), autolim=False))
    low, high = visible_range(values, weights)
    ax.update_datalim([(axis[0], low), (axis[-1], high)])
    ax.margins(x=0)  # the grid has a margin of its own
    return lines


def draw_pooled(ax: Any, axis: np.ndarray, pooled: np.ndarray, kwargs: dict | None) -> Any:
    """Draw the prediction of the mixture."""
    from matplotlib.lines import Line2D

    defaults = {"color": "black", "linestyle": (0, (4, 2)), "linewidth": 1.2, "zorder": 4}
    defaults["label"] = "mixture"
    return ax.plot(axis, pooled, **styled(defaults, kwargs, Line2D))[0]


def draw_gate_curves(
    ax: Any,
    axis: np.ndarray,
    weights: np.ndarray,
    shown: np.ndarray,
    colors: np.ndarray,
    kwargs: dict | None,
) -> tuple[Any, list[Any]]:
    """Draw gate probabilities on new axes above `ax`, which shrinks to make room."""
    from matplotlib.lines import Line2D

    ax.set_axes_locator(LowerPart(ax))
    lower = 1 - GATE_SHARE - GATE_GAP
    bounds = (0, 1 + GATE_GAP / lower, 1, GATE_SHARE / lower)
    gate_ax = ax.inset_axes(bounds, sharex=ax)
    lines = []
    for k in shown:
        options = styled({"color": tuple(colors[k]), "linewidth": 1.6}, kwargs, Line2D)
        lines += gate_ax.plot(axis, weights[:, k], **options)
    gate_ax.set(ylim=(-0.06, 1.06), yticks=[0, 1], ylabel="gate")
    gate_ax.tick_params(labelbottom=False)
    gate_ax.margins(x=0)  # of axes that share x, the one drawn last sets the limits
    return gate_ax, lines


def draw_legend(
    ax: Any,
    shown: np.ndarray,
    colors: np.ndarray,
    names: Sequence[str] | None,
    classes: np.ndarray | None,
    pooled_line: Any,
    *,
    extra: str | None,
    n_points: int,
    kwargs: dict | None,
) -> Any:
    """Draw a legend of experts or nodes, noise or zeros, mixture and class markers."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    labels = {k: f"expert {k}" if names is None else names[k] for k in shown}
    handles: list[Any] = [Patch(color=tuple(colors[k]), label=labels[k]) for k in shown]
    if extra is not None:
        handles.append(Patch(color=NOISE, label=extra))
    if pooled_line is not None:
        handles.append(pooled_line)
    for index, label in enumerate([] if classes is None else np.unique(classes)):
        style: dict[str, Any] = {"marker": MARKERS[index % len(MARKERS)], "linestyle": ""}
        handles.append(Line2D([], [], color="0.4", label=f"class {label}", **style))
    options: dict[str, Any] = {"fontsize": "small", "handlelength": 1.5}
    if ax.figure.get_layout_engine() is not None:  # it reserves space beside the axes
        options.update(loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0.0)
    else:
        options.update(loc="best" if n_points <= MANY_ROWS else "upper right", framealpha=0.9)
    legend = ax.legend(**{"handles": handles, **options, **(kwargs or {})})
    for text in legend.get_texts():
        text.set_parse_math(False)  # a class may be named "$_$"
    return legend


def label_axes(ax: Any, xlabel: str, ylabel: str) -> None:
    """Label axes that have no labels yet."""
    if not ax.get_xlabel():
        ax.set_xlabel(xlabel, parse_math=False)
    if not ax.get_ylabel():
        ax.set_ylabel(ylabel, parse_math=False)
