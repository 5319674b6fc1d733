"""Draw loads of experts as bars. matplotlib is imported inside the functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp.inspection._draw import styled
from mixexp.inspection._palette import hatch_of

__all__ = [
    "draw_even",
    "draw_fallback",
    "draw_legend",
    "draw_overflow",
    "draw_pair",
    "finish_axes",
    "new_axes",
    "places_of_others",
]

#: Width of a bar, and of the gap between experts and other bars, as shares of the distance of bars.
BAR, GAP = 0.8, 0.5

#: Both margins of the axis together, in the same unit.
MARGINS = 1.4

#: Width of an upright name with its space, as a share of the font size.
UPRIGHT = 1.6

#: Share of an expert's colour, the rest being white, in the part of a bar above the routing weight.
PALE = 0.3

#: Grey of the fallback, and in the legend of what is said of all experts.
GREY = "0.45"

#: Size in inches of a new figure, and the width that each bar beyond those of the plain one takes.
WIDTH, HEIGHT, PER_BAR, PLAIN_BARS = 6.4, 4.0, 0.26, 16

#: Width of a letter and of the space between two labels, as shares of the font size.
LETTER, SPACE = 0.64, 0.5

#: Space above the highest bar, and between it and a legend, as shares of the height of the axes.
HEADROOM = 0.05

#: Largest such share, if axes are low.
MOST_ROOM = 0.7

#: Axes that end above this share have whole percentages.
WHOLE = 0.05

#: Columns of a legend above the bars.
LEGEND_COLUMNS = 2


def new_axes(n_bars: int) -> Any:
    """Return the axes of a new figure that is wide enough for this many bars."""
    import matplotlib.pyplot as plt

    width = WIDTH + PER_BAR * max(0, n_bars - PLAIN_BARS)
    return plt.subplots(figsize=(width, HEIGHT), layout="constrained")[1]


def _bars(ax: Any, at: Any, heights: Any, defaults: dict, kwargs: dict | None) -> Any:
    from matplotlib.patches import Rectangle

    return ax.bar(at, heights, **styled({"width": BAR, "zorder": 2, **defaults}, kwargs, Rectangle))


def _pale(rgb: Any) -> np.ndarray:
    return 1 - PALE * (1 - np.asarray(rgb))


def draw_pair(
    ax: Any,
    at: np.ndarray,
    loads: np.ndarray,
    importance: np.ndarray,
    rgb: np.ndarray,
    kwargs: dict | None,
) -> tuple[Any, Any]:
    """Draw pale bars of the loads and, in front, strong ones of the mean routing weights."""
    behind = _bars(ax, at, loads, {"color": _pale(rgb)}, kwargs)
    front = _bars(ax, at, importance, {"color": rgb, "zorder": 3}, kwargs)
    for k, bar in enumerate(front):
        if hatch_of(k) is not None:
            bar.set(hatch=hatch_of(k), edgecolor="white", linewidth=0.0)
    return behind, front


def draw_fallback(ax: Any, at: float, load: float, importance: float, kwargs: dict | None) -> Any:
    """Draw the fallback's load and mean routing weight."""
    from matplotlib.colors import to_rgb

    grey = np.array(to_rgb(GREY))
    return _bars(ax, [at, at], [load, importance], {"color": [_pale(grey), grey]}, kwargs)


def draw_overflow(ax: Any, at: float, overflow: float, kwargs: dict | None) -> Any:
    """Draw the overflow as a hatched bar."""
    style = {"facecolor": "white", "edgecolor": GREY, "hatch": "////", "linewidth": 1.0}
    return _bars(ax, [at], [overflow], style, kwargs)


def draw_even(ax: Any, load: float, kwargs: dict | None) -> Any:
    """Draw the even load as a line."""
    from matplotlib.lines import Line2D

    defaults = {"color": "black", "linestyle": (0, (4, 2)), "linewidth": 1.2, "zorder": 4}
    defaults["label"] = "even load"
    return ax.axhline(load, **styled(defaults, kwargs, Line2D))


def _font_and_width(ax: Any) -> tuple[float, float]:
    """Return the font size of the labels along the axis, and its length, in points."""
    size = ax.xaxis.get_major_ticks()[0].label1.get_fontsize()
    return size, ax.get_window_extent().width * 72 / ax.figure.dpi


def places_of_others(ax: Any, n_experts: int, n_others: int) -> np.ndarray:
    """Return where the bars behind the experts stand: with room for their upright names."""
    size, width = _font_and_width(ax)
    room = UPRIGHT * size
    step = max(1.0, room * (n_experts + MARGINS) / max(width - room * n_others, room))
    return n_experts - 1 + GAP + step * np.arange(1, n_others + 1)


def finish_axes(ax: Any, n_experts: int, places: np.ndarray, names: list[str]) -> None:
    """Set limits and ticks: as many numbers as fit side by side, and the names of other bars.

    Names that are wider than their bar are upright.
    """
    from matplotlib.ticker import FixedFormatter, FixedLocator

    last = places[-1] if len(places) else n_experts - 1
    ax.set_xlim(-MARGINS / 2, last + MARGINS / 2)
    size, width = _font_and_width(ax)
    distance = width / (last + MARGINS)
    number = size * (LETTER * len(str(n_experts - 1)) + SPACE)
    numbers = np.arange(0, n_experts, max(1, int(np.ceil(number / distance))))
    ax.xaxis.set_major_locator(FixedLocator([*numbers, *places]))
    ax.xaxis.set_major_formatter(FixedFormatter([*map(str, numbers), *names]))
    ax.tick_params(axis="x", length=0)
    if any(size * (LETTER * len(name) + SPACE) > distance for name in names):
        for tick in ax.xaxis.get_major_ticks()[len(numbers) :]:
            tick.label1.set_rotation(90)


def draw_legend(ax: Any, even_line: Any, *, several: bool, kwargs: dict | None) -> Any:
    """Draw the legend beside the axes if a layout engine makes room, else above the bars."""
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Patch
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    handles = [even_line]
    if several:
        handles += [
            Patch(color=tuple(_pale(to_rgb(GREY))), label="rows that reach it"),
            Patch(color=GREY, label="mean routing weight"),
        ]
    options: dict[str, Any] = {"fontsize": "small", "handlelength": 1.8}
    beside = ax.figure.get_layout_engine() is not None
    if beside:
        options.update(loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0.0)
    else:
        options.update(loc="upper right", ncols=LEGEND_COLUMNS, frameon=False)
    options = {"handles": handles, **options, **(kwargs or {})}
    legend, room = ax.legend(**options), HEADROOM
    if not beside:
        space = ax.get_window_extent()
        if legend.get_window_extent().width > space.width:
            legend = ax.legend(**{**options, "ncols": 1})
        room = min(MOST_ROOM, legend.get_window_extent().height / space.height + 2 * HEADROOM)
    tops = [patch.get_height() for container in ax.containers for patch in container]
    top = float(max([even_line.get_ydata()[0], *tops])) or 1.0
    ticks = np.asarray(MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(0, top))
    ax.set_yticks(ticks[ticks <= top * (1 + HEADROOM)])
    ax.set_ylim(0, top / (1 - room))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0 if top > WHOLE else 1))
    return legend
