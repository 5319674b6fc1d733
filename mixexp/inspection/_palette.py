"""How experts look in every Display: colour, and for many experts hatch, line and marker.

matplotlib is imported inside the functions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = [
    "GRID",
    "INK",
    "NOISE",
    "PALETTE",
    "expert_colors",
    "hatch_of",
    "line_of",
    "marker_of",
    "region_colors",
]

#: Colours of the experts, ordered so that the first n are as distinct as possible, at full
#: strength and blended with white, for normal and for simulated colour-blind vision. On both, the
#: least distance in CIELAB is larger than that of the eight colours of Okabe & Ito (2008).
PALETTE = (
    "#0072B2",
    "#E69F00",
    "#882255",
    "#66CCEE",
    "#B9AC70",
    "#BD1F01",
    "#8400CD",
    "#CC6677",
    "#228833",
    "#008DF9",
    "#CC79A7",
    "#332288",
)

#: What tells experts apart that share a colour: the second, third and fourth dozen. Beyond these,
#: a reader could not tell more colours apart either.
HATCHES = (None, "////", "....", "xxxx")
LINES = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))
MARKERS = ("o", "s", "^", "D")

#: Colour of rows that the noise or zero expert explains best.
NOISE = "0.45"

#: Colours of what belongs to no expert: the mixture, a criterion, a bound; and of lines behind it.
INK, GRID = "0.15", "0.75"


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


def region_colors(colors: Any, experts: Any, n_regions: int, owner: str) -> np.ndarray:
    """Return one colour for each region (n_regions, 3), that of its expert; None is the same."""
    if experts is None:
        return expert_colors(colors, n_regions, owner)
    return expert_colors(colors, int(np.max(experts)) + 1, owner)[np.asarray(experts)]


def _of(choices: tuple, k: int) -> Any:
    return choices[k // len(PALETTE) % len(choices)]


def hatch_of(k: int) -> Any:
    """Return the hatch of an expert's area; None for the first dozen."""
    return _of(HATCHES, k)


def line_of(k: int) -> Any:
    """Return the style of an expert's line."""
    return _of(LINES, k)


def marker_of(k: int) -> str:
    """Return the marker of an expert."""
    return str(_of(MARKERS, k))
