"""Display of gate probabilities over one or two features."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp._wrapped import extra_name
from mixexp.inspection._axes import as_steps, in_words, jittered, set_scale
from mixexp.inspection._levels import Level
from mixexp.inspection._palette import NOISE, line_of, region_colors
from mixexp.inspection._panels import Panels
from mixexp.inspection._regions import depends_on_grid
from mixexp.inspection._room import label_axes, legend_beside, new_axes, write_note
from mixexp.inspection._slice import Slice

__all__ = ["GateProbabilitiesDisplay"]

#: Rows are at most this many small dots or lines, so that they do not hide the probabilities.
MOST_ROWS = 400

#: Size of a new figure in inches: of a panel, of the rest, and the largest.
PER_PANEL, AROUND, LARGEST = 1.55, 0.9, 12.0


class GateProbabilitiesDisplay:
    """Gate probabilities of the experts, over one or two features.

    Over one feature there is a curve for each expert. Over two, each expert has a panel: white
    where its probability is 0, its full colour where it is 1, with a line at one half. Rows are
    grey.

    Create it with :meth:`from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    grid : sequence of one or two ndarrays
        Values of the features along the axes, (n_0,) and (n_1,).
    probabilities : ndarray of shape (n_1, n_0, n_experts) or (n_0, n_experts)
        Gate probabilities at the grid points; NaN where a step before the mixture is undefined.
    feature_names : sequence of str
        Names of the features, one for each axis.
    names : sequence of str, default=None
        Names of the experts or nodes; by default "expert 0" and so on.
    experts : ndarray of int, default=None
        The expert whose colour each of these has; by default, they are numbered as experts.
    extra_name : {"noise", "zero"}, default=None
        What the last of the probabilities belongs to, if it is no expert.
    points : ndarray of shape (n_samples, 1) or (n_samples, 2), default=None
        Values of the features for the rows.
    scales : sequence, default=None
        Of each axis "linear", "log", or the list of its categories, which lie at 0, 1 and so on.
    held : dict of str, default=None
        The features that do not vary, and their values.
    typical : bool, default=False
        Whether these are medians and most frequent values.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The Axes that were drawn on.
    figure_ : matplotlib Figure
        Their Figure.
    lines_ : list of Line2D
        One feature: the curves.
    legend_ : matplotlib Legend or None
        One feature: the legend.
    panels_ : list of matplotlib Axes
        Two features: the panels, children of `ax_`.
    maps_ : list of QuadMesh
        Two features: the probabilities.
    note_ : Annotation or None
        What is said below the picture.

    See Also
    --------
    ExpertRegionsDisplay : The most probable experts, all in one picture.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_ethanol
    >>> from mixexp.inspection import GateProbabilitiesDisplay
    >>> X, y = load_ethanol(return_X_y=True, as_frame=True)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    >>> display = GateProbabilitiesDisplay.from_estimator(model, X)
    >>> display.probabilities.shape
    (100, 2)
    """

    def __init__(
        self,
        *,
        grid: Any,
        probabilities: Any,
        feature_names: Any,
        names: Any = None,
        experts: Any = None,
        extra_name: Any = None,
        points: Any = None,
        scales: Any = None,
        held: Any = None,
        typical: bool = False,
    ):
        self.grid = grid
        self.probabilities = probabilities
        self.feature_names = feature_names
        self.names = names
        self.experts = experts
        self.extra_name = extra_name
        self.points = points
        self.scales = scales
        self.held = held
        self.typical = typical

    def plot(
        self,
        ax: Any = None,
        *,
        colors: Any = None,
        line_kwargs: dict | None = None,
        map_kwargs: dict | None = None,
        legend_kwargs: dict | None = None,
    ) -> GateProbabilitiesDisplay:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; over two features they become empty, and their place is taken by the
            panels. If None, a new figure is created, large enough for all experts.
        colors : sequence of matplotlib colors, default=None
            Colours of the experts, as in :meth:`ExpertRegionsDisplay.plot`.
        line_kwargs : dict, default=None
            One feature: keywords of `Axes.plot` for the curves.
        map_kwargs : dict, default=None
            Two features: keywords of `Axes.pcolormesh` for the probabilities.
        legend_kwargs : dict, default=None
            One feature: keywords of `Axes.legend`.

        Returns
        -------
        self
        """
        n = self.probabilities.shape[-1]
        n_experts = n - (self.extra_name is not None)
        rgb = list(region_colors(colors, self.experts, n_experts, type(self).__name__))
        names = list(self.names or [f"expert {k}" for k in range(n_experts)])
        if self.extra_name is not None:
            rgb, names = [*rgb, (float(NOISE),) * 3], [*names, self.extra_name]
        scales = self.scales or ["linear"] * len(self.grid)
        words = self._words()
        if len(self.grid) == 1:
            ax = new_axes() if ax is None else ax
            self._plot_curves(ax, rgb, names, scales[0], line_kwargs)
            label_axes(ax, self.feature_names[0], "gate probability")
            self.legend_ = legend_beside(ax, self.lines_, legend_kwargs)
        else:
            if ax is None:
                columns, rows = Panels.shape(n)
                size = (AROUND + PER_PANEL * columns, AROUND + PER_PANEL * rows)
                ax = new_axes(figsize=tuple(np.clip(size, 3.6, LARGEST)))
            self.legend_ = None
            self._plot_maps(ax, rgb, names, scales, map_kwargs)
            words = [*words, "white: 0, full colour: 1, line: one half"]
        self.note_ = write_note(ax, "\n".join(words))
        self.ax_ = ax
        self.figure_ = ax.figure
        return self

    def _words(self) -> list[str]:
        words = [in_words(self.held, typical=self.typical)]
        if self.probabilities.shape[-1] > 1 and not depends_on_grid(self.probabilities):
            words.append(f"the gate does not depend on {' and '.join(self.feature_names)}")
        return [word for word in words if word]

    def _plot_curves(
        self, ax: Any, rgb: list, names: list[str], scale: Any, kwargs: dict | None
    ) -> None:
        set_scale(ax.xaxis, scale)
        axis, values = as_steps(scale, self.grid[0], self.probabilities)
        self.lines_ = []
        for k, name in enumerate(names):
            style = {"color": tuple(rgb[k]), "linewidth": 1.8, "label": name}
            style["linestyle"] = line_of(k) if k < len(rgb) - bool(self.extra_name) else "--"
            self.lines_ += ax.plot(axis, values[:, k], **(style | (kwargs or {})))
        if self.points is not None:
            x = jittered(scale, self.points[_some(len(self.points)), 0])
            ax.plot(x, np.full(len(x), -0.035), "|", color="0.5", markersize=5, alpha=0.6)
        ax.set(ylim=(-0.06, 1.04))
        ax.margins(x=0)

    def _plot_maps(
        self, ax: Any, rgb: list, names: list[str], scales: Any, kwargs: dict | None
    ) -> None:
        panels = Panels(ax, names)
        self.panels_, self.maps_ = panels.axes, []
        some = None if self.points is None else self.points[_some(len(self.points))]
        for k, panel in enumerate(panels.axes):
            weight = self.probabilities[..., k]
            shade = 1 - np.nan_to_num(weight)[..., None] * (1 - np.asarray(rgb[k]))
            style = {"shading": "nearest", "rasterized": True, "zorder": 0} | (kwargs or {})
            self.maps_.append(panel.pcolormesh(*self.grid, shade, **style))
            plain = all(isinstance(scale, str) for scale in scales)
            if plain and np.nanmin(weight) < 0.5 < np.nanmax(weight):
                panel.contour(*self.grid, weight, [0.5], colors="0.25", linewidths=0.8)
            if some is not None:
                places = [jittered(scales[j], some[:, j], j) for j in (0, 1)]
                panel.scatter(*places, s=3, color="0.3", alpha=0.35, linewidths=0, zorder=2)
            for axis, scale in zip((panel.xaxis, panel.yaxis), scales, strict=True):
                set_scale(axis, scale, panels.font)
            panel.set(xlim=_ends(self.grid[0], scales[0]), ylim=_ends(self.grid[1], scales[1]))
        panels.finish(*self.feature_names)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        features: Any = None,
        at: Any = None,
        scales: Any = "auto",
        grid_resolution: int = 100,
        level: int | None = None,
        feature_names: Any = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> GateProbabilitiesDisplay:
        """Compute the gate probabilities of a fitted mixture, and draw them.

        Parameters
        ----------
        estimator : estimator
            A fitted MixtureOfExpertsClassifier or MixtureOfExpertsRegressor, a Pipeline that ends
            in one, or a search over one of these.
        X : {array-like, data frame} of shape (n_samples, n_features)
            Rows to draw, or a sample of them, as `estimator` takes them: for a Pipeline, before
            its first step. They also set the limits of the axes.
            Where the estimator takes missing values, rows that miss a drawn feature are left out.
        features, at, scales, grid_resolution
            As in :meth:`ExpertRegionsDisplay.from_estimator`.
        level : int, default=None
            Level of a hierarchical gate whose nodes are shown instead of the experts, as in
            `gate_proba`.
        feature_names : sequence of str, default=None
            One per column of X. None means the columns of a data frame, the names of the fit, or
            "feature 0" and so on.
        ax : matplotlib Axes, default=None
            Axes to draw on.
        **kwargs : dict
            Further arguments of :meth:`plot`.

        Returns
        -------
        display : GateProbabilitiesDisplay

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If the estimator is not a mixture of experts, or X is sparse.
        ValueError
            If X or another parameter is not valid; the message names it.

        Examples
        --------
        >>> from mixexp import MixtureOfExpertsRegressor
        >>> from mixexp.datasets import make_softmax_mixture
        >>> from mixexp.inspection import GateProbabilitiesDisplay
        >>> X, y = make_softmax_mixture(random_state=0)
        >>> model = MixtureOfExpertsRegressor(n_experts=3, random_state=0).fit(X, y)
        >>> display = GateProbabilitiesDisplay.from_estimator(model, X, features=(0, 1))
        >>> len(display.panels_)
        3
        """
        owner = cls.__name__
        part = Slice.of(
            estimator,
            X,
            features=features,
            at=at,
            scales=scales,
            owner=owner,
            feature_names=feature_names,
        )
        mixture = part.mixture
        regions = Level.of(mixture, level, part.data, len(mixture.experts_))
        grid, values = part.evaluate(
            grid_resolution, lambda rows: {"gate": np.asarray(mixture.gate_proba(rows))}, owner
        )
        gate, extra = values["gate"], extra_name(mixture)
        shown = regions.weights(gate)
        if extra is not None:
            shown = np.column_stack([shown, gate[:, -1]])
        return cls(
            grid=grid,
            probabilities=shown.reshape(*(len(axis) for axis in reversed(grid)), shown.shape[1]),
            feature_names=part.axis_names,
            names=regions.names,
            experts=None if regions.names is None else regions.experts,
            extra_name=extra,
            points=part.points,
            scales=part.scales,
            held=part.held,
            typical=part.typical,
        ).plot(ax, **kwargs)


def _some(n: int) -> np.ndarray:
    """Return the numbers of the rows that are drawn, evenly among all."""
    return np.unique(np.linspace(0, n - 1, min(n, MOST_ROWS)).astype(int))


def _ends(axis: np.ndarray, scale: Any) -> tuple[float, float]:
    """Return the limits of an axis: those of the grid, or around the categories."""
    if isinstance(scale, str):
        return float(axis[0]), float(axis[-1])
    return -0.5, len(axis) - 0.5
