"""Lay out and draw a tree of gates. matplotlib is imported inside the functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mixexp.inspection._draw import styled

__all__ = ["FONT", "Layout", "draw_edges", "draw_nodes", "draw_splits", "new_axes", "scaled_to"]

#: Lengths in points, at a font size of 9: distance between two leaves; margin of the picture; bend
#: of an edge; padding at both ends of an edge's text; padding of a box; gap between an edge and the
#: text above it.
ROW, MARGIN, BEND, PAD, BOX, RAISE = 26.0, 10.0, 30.0, 6.0, 4.0, 1.5

#: Font size that these lengths assume.
FONT = 9.0

#: Font size on edges, as a share of that in nodes.
SMALLER = 0.9

#: Width of an edge that all rows take, and of one that none takes, in points.
WIDEST, THINNEST = 13.0, 0.8

#: Space for a title above the tree, in points.
TITLE = 26.0

#: Maximum size of a figure, in inches; a larger tree has smaller text.
LARGEST = (16.0, 24.0)

#: Grey level of edges that belong to no expert; share of an expert's colour, the rest being white,
#: in the box of its leaf and in the edge to it.
GREY, PALE_BOX, PALE_EDGE = 0.8, 0.3, 0.6

#: Colour of box outlines and of the edge to the noise.
DARK_GREY = "0.5"

#: Hinting rounds letter widths to whole pixels: text of s points can be LEAST_SLACK + ROUNDING / s
#: times as wide as its outline.
LEAST_SLACK, ROUNDING = 1.03, 0.5


@dataclass(frozen=True)
class Layout:
    """Positions and sizes in points, from the upper left corner.

    Attributes
    ----------
    left, right, y : ndarray of shape (n_nodes,)
        Left and right ends of the boxes, and their vertical centres.
    edge_widths : ndarray of shape (n_nodes,)
        Width of the edge from the parent.
    starts : ndarray of shape (n_nodes,)
        Vertical position at which that edge leaves the parent, side by side with its siblings.
    size : tuple of float
        Width and height of the picture.
    """

    left: np.ndarray
    right: np.ndarray
    y: np.ndarray
    edge_widths: np.ndarray
    starts: np.ndarray
    size: tuple[float, float]

    @classmethod
    def of(
        cls,
        parents: np.ndarray,
        columns: np.ndarray,
        rows: np.ndarray,
        labels: list[str],
        splits: list[str],
        shares: np.ndarray,
        scale: float = 1.0,
    ) -> Layout:
        """Return a layout without overlapping text when drawn at this scale."""
        n_columns = int(columns.max()) + 1
        label_widths = np.array([text_width(label, FONT, scale) for label in labels]) + 2 * BOX
        split_widths = np.array([text_width(words, FONT * SMALLER, scale) for words in splits])
        boxes = np.array([label_widths[columns == c].max(initial=0) for c in range(n_columns)])
        gaps = np.zeros(n_columns)
        for width, parent in zip(split_widths[1:], parents[1:], strict=True):
            gaps[columns[parent]] = max(gaps[columns[parent]], width)
        starts_of_columns = MARGIN + np.concatenate(
            [[0.0], np.cumsum(boxes + BEND + 2 * PAD + gaps)[:-1]]
        )
        left = starts_of_columns[columns]
        y = MARGIN + ROW * (rows + 0.5)
        edge_widths = np.maximum(WIDEST * shares, THINNEST)
        starts = y.copy()
        for i in range(len(parents)):
            children = np.flatnonzero(parents == i)
            above = np.cumsum(edge_widths[children]) - edge_widths[children] / 2
            starts[children] = y[i] + above - edge_widths[children].sum() / 2
        return cls(
            left=left,
            right=left + label_widths,
            y=y,
            edge_widths=edge_widths,
            starts=starts,
            size=(
                float((left + label_widths).max()) + MARGIN,
                float(y.max()) + ROW / 2 + MARGIN,
            ),
        )


def text_width(text: str, size: float, scale: float) -> float:
    """Return the width to reserve for a text of `size` points that is drawn at a scale."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    font = FontProperties(size=size)
    measure = TextToPath().get_text_width_height_descent
    slack = LEAST_SLACK + ROUNDING / (size * scale)
    return slack * max(measure(line, font, False)[0] if line else 0.0 for line in text.split("\n"))


def new_axes(size: tuple[float, float]) -> Any:
    """Return the axes of a new figure that fits a picture of this size in points."""
    import matplotlib.pyplot as plt

    width, height = size[0] / 72, (size[1] + TITLE) / 72
    scale = min(1.0, LARGEST[0] / width, LARGEST[1] / height)
    figure = plt.figure(figsize=(width * scale, height * scale))
    return figure.add_axes((0.0, 0.0, 1.0, size[1] / (size[1] + TITLE)))


def scaled_to(ax: Any, size: tuple[float, float]) -> float:
    """Set the limits of axes to fit a picture of this size in points, and return its scale."""
    box = ax.get_window_extent()
    points = 72 / ax.figure.dpi
    room = np.array([box.width, box.height]) * points
    scale = float(min(1.0, *(room / size)))
    spare = room / scale - size
    ax.set_xlim(-spare[0] / 2, size[0] + spare[0] / 2)
    ax.set_ylim(size[1] + spare[1] / 2, -spare[1] / 2)
    ax.set_axis_off()
    return scale


def pale(color: np.ndarray | None, share: float) -> tuple[float, ...]:
    """Return a colour mixed with white; grey for None."""
    return (GREY,) * 3 if color is None else tuple(1 - share * (1 - np.asarray(color)))


def draw_edges(
    ax: Any,
    parents: np.ndarray,
    layout: Layout,
    colors: list,
    dashed: np.ndarray,
    scale: float,
    kwargs: dict | None,
) -> list[Any]:
    """Draw the edges to all nodes but the root: a bend, then a straight line to the box.

    Both ends are hidden by boxes, so that no gap opens when the axes are resized.
    """
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    codes = [Path.MOVETO, Path.LINETO, Path.CURVE4, Path.CURVE4, Path.CURVE4, Path.LINETO]
    middle = (layout.left + layout.right) / 2
    edges = []
    for i, parent in enumerate(parents[1:], start=1):
        start, bend = layout.right[parent], BEND / 2
        y0, y1 = layout.starts[i], layout.y[i]
        corners = [(start, y0), (start + bend, y0), (start + bend, y1), (start + BEND, y1)]
        path = Path([(middle[parent], y0), *corners, (middle[i], y1)], codes)
        defaults = {
            "facecolor": "none",
            "edgecolor": DARK_GREY if dashed[i] else pale(colors[i], PALE_EDGE),
            "linewidth": layout.edge_widths[i] * scale,
            "linestyle": "--" if dashed[i] else "-",
            "capstyle": "butt",
            "zorder": 1,
        }
        edges.append(ax.add_patch(PathPatch(path, **styled(defaults, kwargs, PathPatch))))
    return edges


def draw_nodes(
    ax: Any, layout: Layout, labels: list[str], colors: list, scale: float, kwargs: dict | None
) -> list[Any]:
    """Draw the labelled boxes of nodes and leaves."""
    from matplotlib.text import Text

    texts = []
    for i, label in enumerate(labels):
        face = "white" if colors[i] is None else pale(colors[i], PALE_BOX)
        edge = DARK_GREY if colors[i] is None else tuple(colors[i])
        defaults = {
            "fontsize": FONT * scale,
            "ha": "center",
            "va": "center",
            "parse_math": False,
            "bbox": {
                "boxstyle": f"round,pad={BOX / FONT}",
                "facecolor": face,
                "edgecolor": edge,
                "linewidth": 0.8,
            },
            "zorder": 3,
        }
        middle = (layout.left[i] + layout.right[i]) / 2
        texts.append(ax.text(middle, layout.y[i], label, **styled(defaults, kwargs, Text)))
    return texts


def draw_splits(
    ax: Any,
    parents: np.ndarray,
    layout: Layout,
    splits: list[str],
    scale: float,
    kwargs: dict | None,
) -> list[Any]:
    """Write the split text on the straight part of each edge."""
    from matplotlib.text import Text

    texts = []
    for i, words in enumerate(splits):
        if not words:
            continue
        defaults = {
            "fontsize": FONT * SMALLER * scale,
            "ha": "left",
            "va": "bottom",
            "parse_math": False,
            "zorder": 2,
        }
        x = layout.right[parents[i]] + BEND + PAD
        y = layout.y[i] - layout.edge_widths[i] / 2 - RAISE
        texts.append(ax.text(x, y, words, **styled(defaults, kwargs, Text)))
    return texts
