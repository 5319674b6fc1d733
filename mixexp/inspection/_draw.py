"""Draw expert regions and curves. matplotlib is imported inside the functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mixexp.inspection._palette import NOISE, hatch_of, line_of
from mixexp.inspection._regions import (
    curve_strength,
    innermost,
    most_probable,
    region_margins,
    shade,
    shown_experts,
    visible_range,
)
from mixexp.inspection._room import Slot, legend_beside

__all__ = [
    "draw_boundaries",
    "draw_expert_curves",
    "draw_gate_curves",
    "draw_hatches",
    "draw_legend",
    "draw_numbers",
    "draw_points",
    "draw_pooled",
    "draw_surface",
    "expert_patch",
    "point_colors",
]

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")

#: Height of the gate curves and of the gap below them, as shares of the given axes.
GATE_SHARE, GATE_GAP = 0.24, 0.06

#: Up to this many rows are drawn at full size.
FEW_ROWS = 500


def styled(defaults: dict, given: dict | None, artist: Any) -> dict:
    """Return defaults updated with the given keywords, resolving matplotlib's aliases."""
    from matplotlib import cbook

    return {
        **cbook.normalize_kwargs(defaults, artist),
        **cbook.normalize_kwargs(given or {}, artist),
    }


def point_colors(colors: np.ndarray, experts: np.ndarray) -> np.ndarray:
    """Return the colour of each row's expert (n, 3); -1 is the noise or zero expert."""
    from matplotlib.colors import to_rgb

    return np.vstack([colors, to_rgb(NOISE)])[experts]


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


def draw_hatches(ax: Any, grid: Sequence[np.ndarray], weights: np.ndarray) -> list[Any]:
    """Hatch the regions of experts that share their colour with another one."""
    best = np.where(np.isnan(weights).any(axis=-1), -1, most_probable(weights))
    hatched = [int(k) for k in np.unique(best[best >= 0]) if hatch_of(k) is not None]
    drawn = []
    for k in hatched:
        areas = ax.contourf(
            *grid, (best == k).astype(float), [0.5, 1.5], colors="none", hatches=[hatch_of(k)]
        )
        areas.set_edgecolor("0.5")
        areas.set_linewidth(0.0)
        drawn.append(areas)
    return drawn


def draw_numbers(ax: Any, grid: Sequence[np.ndarray], weights: np.ndarray) -> list[Any]:
    """Write the number of each expert into its region, where it is furthest from the others."""
    from matplotlib import patheffects

    best = most_probable(weights)
    outline = [patheffects.withStroke(linewidth=2.0, foreground="white")]
    texts = []
    for k in shown_experts(weights, None, regions=True):
        row, column = innermost(best == k)
        place = grid[0][column], grid[1][row]
        texts.append(
            ax.text(
                *place,
                str(k),
                ha="center",
                va="center",
                fontsize="small",
                path_effects=outline,
                zorder=3,
            )
        )
    return texts


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
    *,
    extra: np.ndarray | None = None,
) -> tuple[Any, list[Any]]:
    """Draw gate probabilities on new axes above `ax`, which shrinks to make room.

    `extra` (n,) is the share of the noise or zero expert, which the weights leave out.
    """
    from matplotlib.lines import Line2D

    Slot.of(ax).above = GATE_SHARE + GATE_GAP
    lower = 1 - GATE_SHARE - GATE_GAP
    bounds = (0, 1 + GATE_GAP / lower, 1, GATE_SHARE / lower)
    gate_ax = ax.inset_axes(bounds, sharex=ax)
    if extra is not None:
        weights = weights * (1 - extra[:, None])
    lines = []
    for k in shown:
        options = styled(
            {"color": tuple(colors[k]), "linewidth": 1.6, "linestyle": line_of(k)}, kwargs, Line2D
        )
        lines += gate_ax.plot(axis, weights[:, k], **options)
    if extra is not None:
        style = {"color": NOISE, "linewidth": 1.2, "linestyle": "--"}
        lines += gate_ax.plot(axis, extra, **styled(style, kwargs, Line2D))
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
    kwargs: dict | None,
) -> Any:
    """Draw a legend of experts or nodes, noise or zeros, mixture and class markers."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    labels = {k: f"expert {k}" if names is None else names[k] for k in shown}
    handles: list[Any] = [expert_patch(colors[k], k, labels[k]) for k in shown]
    if extra is not None:
        handles.append(Patch(color=NOISE, label=extra))
    if pooled_line is not None:
        handles.append(pooled_line)
    for index, label in enumerate([] if classes is None else np.unique(classes)):
        style: dict[str, Any] = {"marker": MARKERS[index % len(MARKERS)], "linestyle": ""}
        handles.append(Line2D([], [], color="0.4", label=f"class {label}", **style))
    return legend_beside(ax, handles, kwargs)


def expert_patch(color: np.ndarray, k: int, label: str) -> Any:
    """Return the sample of an expert in a legend."""
    from matplotlib.patches import Patch

    hatch = hatch_of(k)
    if hatch is None:
        return Patch(color=tuple(color), label=label)
    return Patch(facecolor=tuple(color), edgecolor="white", hatch=hatch, label=label)
