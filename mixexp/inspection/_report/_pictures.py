"""Draw Displays into bytes, without pyplot and without a trace in matplotlib's settings."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from mixexp.inspection._report._page import picture

__all__ = ["SIZE", "drawn"]

#: Inches; at this width letters stay legible when a phone shrinks the picture to its screen.
SIZE = (5.4, 3.7)

#: CSS pixels in an inch, and how many dots of the picture one of them gets: screens are fine.
CSS_PIXELS, DOTS = 96, 2


def drawn(
    draw: Callable[[Any], Any], alt: str, caption: str, size: tuple[float, float] = SIZE
) -> str:
    """Return the HTML of a picture.

    Parameters
    ----------
    draw : callable
        Takes the Axes.
    alt : str
        What the picture shows, for readers who do not see it.
    caption : str
        What is said below it.
    size : tuple of float
        Width and height in inches; a picture that is wider than usual scrolls on phones.
    """
    import matplotlib.style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # The page has its own light and dark, so that a user's style would not fit into it.
    with matplotlib.style.context("default", after_reset=True):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure.add_subplot())
        file = io.BytesIO()
        # without the version of matplotlib inside
        figure.savefig(file, dpi=DOTS * CSS_PIXELS, metadata={"Software": None})
    width = round(size[0] * CSS_PIXELS)
    return picture(file.getvalue(), width, alt, caption, scrolls=size[0] > SIZE[0])
