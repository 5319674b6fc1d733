"""Room around axes for legends, notes and long names.

matplotlib is imported inside the functions.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

__all__ = [
    "SMALL",
    "Slot",
    "label_axes",
    "legend_beside",
    "letters_in",
    "new_axes",
    "shortened",
    "thinned",
    "height_of",
    "width_of",
    "write_note",
]

#: Maximum number of tick intervals below a new figure; with more, long numbers overlap.
INTERVALS = 6

#: Mean width of a letter, and height of a line, as shares of the font size.
LETTER, LINE = 0.55, 1.25

#: Font size of notes and legends, in points, and of them in axes narrower than NARROW points.
SMALL, SMALLEST, NARROW = 8.0, 6.5, 200.0

#: Gap between axes and a legend beside them, and between a label and the note below, in points.
GAP = 6.0

#: Share of the width of axes that names in a legend may take, and the fewest letters of a name.
LEGEND_SHARE, FEWEST = 0.36, 7

#: A name and its value stay in one line.
EQUALS = "\u00a0=\u00a0"

#: Most lines of a label, and of a note.
LABEL_LINES, NOTE_LINES = 2, 4


class Slot:
    """Axes locator that leaves room for a legend, a note, and child axes in the axes' slot.

    Child axes may fill the room above: they move with the axes, and a title is placed above them.

    Attributes
    ----------
    above : float
        Share of the height that is left free above the axes.
    right, below : float
        Width and height that are left free, in points. A layout engine makes this room itself.
    """

    def __init__(self, ax: Any):
        self.get_subplotspec = ax.get_subplotspec  # tight_layout asks the locator for it
        self.inner = ax.get_axes_locator()
        self.above = self.right = self.below = 0.0

    @classmethod
    def of(cls, ax: Any) -> Slot:
        """Return the slot of axes; those that are drawn on twice must not shrink twice."""
        slot = ax.get_axes_locator()
        if not isinstance(slot, cls):
            slot = cls(ax)
            ax.set_axes_locator(slot)
        return slot

    def __call__(self, ax: Any, renderer: Any) -> Any:
        from matplotlib.transforms import Bbox

        box = self.inner(ax, renderer) if self.inner else ax.get_position(original=True)
        width, height = 72 * ax.figure.get_size_inches()
        right, below = min(self.right / width, 0.6 * box.width), self.below / height
        below = min(below, 0.5 * box.height)
        return Bbox.from_bounds(
            box.x0,
            box.y0 + below,
            box.width - right,
            (box.height - below) * (1 - self.above),
        )


def new_axes(**kwargs: Any) -> Any:
    """Return the axes of a new figure, with few enough ticks for long numbers."""
    import matplotlib.pyplot as plt

    _, ax = plt.subplots(layout="constrained", **kwargs)
    ax.locator_params(axis="x", nbins=INTERVALS)
    return ax


def width_of(ax: Any) -> float:
    """Return the width of axes in points."""
    return float(ax.get_window_extent().width * 72 / ax.figure.dpi)


def height_of(ax: Any) -> float:
    """Return the height of axes in points."""
    return float(ax.get_window_extent().height * 72 / ax.figure.dpi)


def _small(ax: Any) -> float:
    return SMALL if width_of(ax) >= NARROW else SMALLEST


def thinned(ax: Any, n_ticks: int, n_letters: int, size: float) -> int:
    """Return the step at which every such tick label of an x axis has room."""
    room = size * (LETTER * n_letters + 0.5)
    return max(1, math.ceil(n_ticks * room / width_of(ax)))


def letters_in(points: float, size: float) -> int:
    """Return how many letters of a font size a width in points has room for, and at least a few."""
    return max(FEWEST, int(points / (LETTER * size)))


def shortened(name: str, n_letters: int) -> str:
    """Return a name of at most so many letters; dots stand for its middle, as ends often differ."""
    if len(name) <= n_letters:
        return name
    end = (n_letters - 1) // 3
    return f"{name[: n_letters - 1 - end]}…{name[len(name) - end :]}"


def _wrapped(text: str, points: float, size: float, n_lines: int) -> str:
    """Return a text in lines of a width in points, cut after `n_lines`."""
    letters, joined = letters_in(points, size), text.replace(" = ", EQUALS)
    lines = textwrap.wrap(joined, letters, max_lines=n_lines, placeholder=" …")
    return "\n".join(lines).replace(EQUALS, " = ")


def label_axes(ax: Any, xlabel: str, ylabel: str) -> None:
    """Label axes that have no labels yet; long names take a second line."""
    size = ax.xaxis.label.get_fontsize()
    if not ax.get_xlabel():
        ax.set_xlabel(_wrapped(xlabel, width_of(ax), size, LABEL_LINES), parse_math=False)
    if not ax.get_ylabel():
        ax.set_ylabel(_wrapped(ylabel, height_of(ax), size, LABEL_LINES), parse_math=False)


def legend_beside(ax: Any, handles: Sequence[Any], kwargs: dict | None) -> Any:
    """Draw a legend to the right of axes, which shrink for it unless a layout engine does that."""
    size = _small(ax)
    letters = letters_in(LEGEND_SHARE * width_of(ax), size)
    labels = [shortened(str(handle.get_label()), letters) for handle in handles]
    options: dict[str, Any] = {"fontsize": size, "handlelength": 1.8}
    if size < SMALL and all(label.startswith("expert ") for label in labels):
        labels = [label.removeprefix("expert ") for label in labels]
        options |= {"title": "expert", "title_fontsize": size, "columnspacing": 1.0}
    beside = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0), "borderaxespad": GAP / size}
    rows = max(1, int(height_of(ax) / (1.6 * size)))
    options |= beside | {"ncols": -(-len(labels) // rows)}
    options = {"handles": handles, "labels": labels, **options, **(kwargs or {})}
    legend = ax.legend(**options)
    for text in legend.get_texts():
        text.set_parse_math(False)  # a class may be named "$_$"
    moved = {"loc", "bbox_to_anchor"} & set(kwargs or {})
    if ax.figure.get_layout_engine() is None and not moved:
        extent = legend.get_window_extent()
        Slot.of(ax).right = extent.width * 72 / ax.figure.dpi + 2 * GAP
    return legend


def write_note(ax: Any, text: str, below: Any = None) -> Any:
    """Write a note in small letters below the label of the x axis; return None without a text.

    `below` are child axes whose label it is written below: they know where it is when they are
    drawn.
    """
    if not text:
        return None
    size = _small(ax)
    words = "\n".join(_wrapped(line, width_of(ax), size, NOTE_LINES) for line in text.splitlines())
    if ax.figure.get_layout_engine() is None:
        slot = Slot.of(ax)
        slot.below = LINE * size * (words.count("\n") + 1) + GAP
    below = ax if below is None else below
    return below.annotate(
        words,
        (0.5, 0.0),
        xycoords=(ax.transAxes, below.xaxis.label),
        xytext=(0, -GAP / 2),
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize=size,
        color="0.35",
        parse_math=False,
        annotation_clip=False,
    )
