"""Compare pictures with stored ones: without text and coarse, so that fonts do not matter.

`python tests/inspection/_pictures.py` draws the stored ones anew; look at them before a commit.
"""

from pathlib import Path

import numpy as np
from scipy.ndimage import maximum_filter, minimum_filter

from mixexp.inspection import (
    CalibrationDisplay,
    ConditionalDensityDisplay,
    ConvergenceDisplay,
    ExpertProfilesDisplay,
    ExpertRegionsDisplay,
    GateProbabilitiesDisplay,
    GateTreeDisplay,
    ResponsibilitiesDisplay,
    RoutingLoadDisplay,
)

STORED = Path(__file__).parent / "pictures"

#: Size in inches and dots per inch; each mean over BLOCK x BLOCK dots is compared.
SIZE, DPI, BLOCK = (4.8, 3.6), 40, 4

#: Most a mean may lie outside those of the blocks around it in the other picture, on a scale of 0
#: to 1, in all but a few of the blocks: anti-aliasing, and the width of a legend by a dot, differ
#: by version. A wrong colour or a missing part changes more.
DIFFERENCE, FEW = 0.1, 0.01


def _gate(n_experts):
    x = np.linspace(-3, 3, 40)
    scores = np.outer(x, np.arange(n_experts)) - np.arange(n_experts) ** 2 / 2
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return x, weights / weights.sum(axis=1, keepdims=True)


def _plane(n_experts):
    grid = [np.linspace(0, 1, 40), np.linspace(0, 1, 40)]
    at = np.arange(n_experts)
    centers = np.column_stack([at * 0.618 % 1, (at + 0.5) / n_experts])
    x, y = np.meshgrid(*grid)
    scores = -60 * ((x[..., None] - centers[:, 0]) ** 2 + (y[..., None] - centers[:, 1]) ** 2)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return grid, weights / weights.sum(axis=-1, keepdims=True), centers


def displays():
    """Return a Display of each kind, from arrays alone."""
    x, weights = _gate(3)
    grid, plane, centers = _plane(14)
    means = np.column_stack([x, -x, 0.5 * x + 1])
    mean = (weights * means).sum(axis=1)
    y_grid = np.linspace(-4, 4, 50)
    density = np.exp(-2 * (y_grid[:, None] - mean) ** 2)
    values = np.array([[1.0, -0.5, 0.2], [-0.8, 0.4, 0.9]])
    bins = np.linspace(0, 1, 6)
    return {
        "regions": ExpertRegionsDisplay(
            grid=grid,
            weights=plane,
            feature_names="ab",
            points=centers,
            point_experts=np.arange(14),
        ),
        "curves": ExpertRegionsDisplay(
            grid=[x],
            weights=weights,
            feature_names="a",
            expert_values=means,
            pooled_values=mean,
        ),
        "gate_curves": GateProbabilitiesDisplay(grid=[x], probabilities=weights, feature_names="a"),
        "gate_maps": GateProbabilitiesDisplay(
            grid=grid, probabilities=plane[..., :4], feature_names="ab"
        ),
        "gate_tree": GateTreeDisplay(
            parents=np.array([-1, 0, 1, 1, 0]),
            names=["root", "node 0", "expert 0", "expert 1", "expert 2"],
            splits=["", "a > 1", "otherwise", "b < 2", "otherwise"],
            shares=np.array([1.0, 0.6, 0.5, 0.1, 0.4]),
            experts=np.array([-1, -1, 0, 1, 2]),
        ),
        "profiles": ExpertProfilesDisplay(
            values=values, low=values - 0.3, high=values + 0.2, names="abc"
        ),
        "density": ConditionalDensityDisplay(
            grid=x,
            y_grid=y_grid,
            density=density,
            weights=weights,
            means=means,
            low=mean - 0.8,
            high=mean + 0.8,
        ),
        "convergence": ConvergenceDisplay(
            bounds=np.array([-1.0, -0.9, -0.88, -0.87]),
            start_bounds=[np.array([-3.0, -1.5, -1.1]), np.array([-3.0, -2.0, -1.8])],
            flagged=[False, True],
            chosen=0,
        ),
        "responsibilities": ResponsibilitiesDisplay(
            bin_edges=bins,
            counts=np.array([[9, 1, 0, 4, 30], [16, 4, 1, 1, 25], [40, 2, 2, 1, 9]]),
            confusion=np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.0, 0.05, 0.95]]),
        ),
        "loads": RoutingLoadDisplay(
            loads=np.array([0.5, 0.3, 0.4]), importance=np.array([0.4, 0.2, 0.3])
        ),
        "calibration": CalibrationDisplay(
            bin_edges=bins, densities=np.array([1.4, 0.8, 0.7, 0.9, 1.2])
        ),
    }


def coarse(display):
    """Return a picture of a Display as an array of block means (rows, columns, 3)."""
    from matplotlib import pyplot
    from matplotlib.text import Text

    with pyplot.rc_context():
        pyplot.rcdefaults()
        figure, ax = pyplot.subplots(figsize=SIZE, dpi=DPI)
        display.plot(ax)
        for text in figure.findobj(Text):
            text.set_alpha(0.0)
            text.set_path_effects([])
            if text.get_bbox_patch() is not None:  # boxes are as wide as their text
                text.set_bbox(None)
        figure.canvas.draw()
        dots = np.asarray(figure.canvas.buffer_rgba())[..., :3] / 255
        pyplot.close(figure)
    rows, columns = dots.shape[0] // BLOCK, dots.shape[1] // BLOCK
    return dots.reshape(rows, BLOCK, columns, BLOCK, 3).mean(axis=(1, 3))


def share_that_differs(one, other):
    """Return the share of blocks in which two pictures differ."""
    return max(float(np.mean(_beyond(one, other))), float(np.mean(_beyond(other, one))))


def _beyond(picture, other):
    """Return the blocks of a picture that are unlike all around the same place in another one."""
    low, high = minimum_filter(other, (3, 3, 1)), maximum_filter(other, (3, 3, 1))
    return np.maximum(low - picture, picture - high).max(axis=-1) > DIFFERENCE


if __name__ == "__main__":
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.image import imsave

    STORED.mkdir(exist_ok=True)
    for kind, drawn in displays().items():
        imsave(STORED / f"{kind}.png", coarse(drawn))
