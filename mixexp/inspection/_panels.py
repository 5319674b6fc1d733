"""Small panels in the place of axes, one for each expert."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mixexp.inspection._room import SMALL, label_axes, letters_in, shortened, width_of

__all__ = ["Panels"]

#: Gap between panels as a share of a panel, and the room for a name above one, in points.
GAP, NAME = 0.1, 12.0

#: Most ticks of an axis of a panel.
TICKS = 3

#: Space between the panels' tick labels and the label of all, in points.
SPACE = 3.0

#: Names and ticks of panels that are narrower than this many points are smaller.
NARROW, SMALLEST = 60.0, 5.5


class Panels:
    """Panels in rows and columns, with ticks at the left and below only.

    Attributes
    ----------
    ax : matplotlib Axes
        The axes whose place they take.
    axes : list of matplotlib Axes
        The panels.
    """

    def __init__(self, ax: Any, names: Sequence[str]):
        ax.set(xticks=[], yticks=[], frame_on=False)
        self.ax, self.n = ax, len(names)
        self.n_columns, self.n_rows = self.shape(self.n)
        size = ax.get_window_extent()
        room = NAME * ax.figure.dpi / 72 / max(size.height, 1.0)
        width = 1 / (self.n_columns + GAP * (self.n_columns - 1))
        height = (1 - room * self.n_rows) / self.n_rows
        self.axes = []
        self.font = SMALL if width * width_of(ax) >= NARROW else SMALLEST
        for k, name in enumerate(names):
            row, column = divmod(k, self.n_columns)
            bounds = (
                column * width * (1 + GAP),
                1 - (row + 1) * (height + room),
                width,
                height,
            )
            panel = ax.inset_axes(bounds)
            letters = letters_in(width * width_of(ax), self.font)
            panel.set_title(shortened(name, letters), fontsize=self.font, pad=2.0, parse_math=False)
            self.axes.append(panel)

    @staticmethod
    def shape(n: int) -> tuple[int, int]:
        """Return the numbers of columns and rows of n panels."""
        n_columns = n if n <= 3 else int(np.ceil(np.sqrt(n)))
        return n_columns, -(-n // n_columns)

    def finish(self, xlabel: str, ylabel: str) -> None:
        """Remove inner ticks, and label all panels together."""
        from matplotlib.ticker import MaxNLocator

        reach = np.zeros(2)
        for k, panel in enumerate(self.axes):
            row, column = divmod(k, self.n_columns)
            left, below = column == 0, k + self.n_columns >= self.n
            panel.tick_params(labelsize=self.font, labelleft=left, labelbottom=below, length=2)
            # not of logarithms, and of categories each has its tick
            if isinstance(panel.xaxis.get_major_locator(), MaxNLocator):
                # a label at the end would meet the next panel's
                panel.locator_params(axis="x", nbins=TICKS, prune="upper")
            if isinstance(panel.yaxis.get_major_locator(), MaxNLocator):
                panel.locator_params(axis="y", nbins=TICKS)
            box, inner = panel.get_tightbbox(), panel.get_window_extent()
            if left:
                reach[0] = max(reach[0], inner.x0 - box.x0)
            if row == self.n_rows - 1:
                reach[1] = max(reach[1], inner.y0 - box.y0)
        points = reach * 72 / self.ax.figure.dpi + SPACE
        label_axes(self.ax, xlabel, ylabel)
        self.ax.yaxis.labelpad, self.ax.xaxis.labelpad = points
