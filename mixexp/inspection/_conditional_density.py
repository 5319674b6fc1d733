"""Display of the density of y over one feature."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp.inspection import _draw as draw
from mixexp.inspection._axes import as_steps, in_words, jittered, set_scale
from mixexp.inspection._densities import conditional_density
from mixexp.inspection._palette import INK, expert_colors
from mixexp.inspection._regions import shown_experts
from mixexp.inspection._room import label_axes, legend_beside, new_axes, write_note

__all__ = ["ConditionalDensityDisplay"]

#: The darkest grey is this quantile of the densities: a few peaks would leave the rest white.
DARKEST = 0.995

#: Densities are shown by this power of theirs, so that those in the tails can be seen too.
POWER = 0.6


class ConditionalDensityDisplay:
    """What a mixture predicts of y over one feature: its density, experts, and intervals.

    The darker the grey, the higher the density p(y | x). Lines in the experts' colours are their
    means, strong where the gate trusts them; dashed lines hold y with a given probability.

    Create it with :meth:`from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    grid : ndarray of shape (n_0,)
        Values of the feature.
    y_grid : ndarray of shape (n_y,)
        Values of y.
    density : ndarray of shape (n_y, n_0)
        Density, or probability of counts; NaN where a step before the mixture is undefined.
    weights, means : ndarray of shape (n_0, n_experts)
        Weights and predictions of the experts.
    low, high : ndarray of shape (n_0,), default=None
        Ends of central intervals.
    level : float, default=0.9
        Their probability.
    feature_name, value_name : str, default="x", "y"
        Names of the feature and of what is predicted.
    points, point_values : ndarray of shape (n_samples,), default=None
        The rows: values of the feature and of y.
    scale : "linear", "log" or list, default="linear"
        Scale of the feature, or its categories, which lie at 0, 1 and so on.
    held : dict of str, default=None
        The features that do not vary, and their values.
    typical : bool, default=False
        Whether these are medians and most frequent values.
    extra_name : {"noise", "zero"}, default=None
        Which expert has no line, if there is one.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The Axes that were drawn on.
    figure_ : matplotlib Figure
        Their Figure.
    image_ : QuadMesh
        The density.
    lines_ : list of LineCollection
        Means of the experts that occur in the picture.
    interval_lines_ : list of Line2D
        The ends of the intervals.
    scatter_ : PathCollection or None
        The rows.
    legend_ : matplotlib Legend
        The legend.
    note_ : Annotation or None
        What is said below the picture.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> from mixexp.inspection import ConditionalDensityDisplay
    >>> X, y = load_tone(return_X_y=True, as_frame=True)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    >>> display = ConditionalDensityDisplay.from_estimator(model, X, y, grid_resolution=50)
    >>> display.density.shape
    (50, 50)
    """

    def __init__(
        self,
        *,
        grid: Any,
        y_grid: Any,
        density: Any,
        weights: Any,
        means: Any,
        low: Any = None,
        high: Any = None,
        level: float = 0.9,
        feature_name: str = "x",
        value_name: str = "y",
        points: Any = None,
        point_values: Any = None,
        scale: Any = "linear",
        held: Any = None,
        typical: bool = False,
        extra_name: Any = None,
    ):
        self.grid = grid
        self.y_grid = y_grid
        self.density = density
        self.weights = weights
        self.means = means
        self.low = low
        self.high = high
        self.level = level
        self.feature_name = feature_name
        self.value_name = value_name
        self.points = points
        self.point_values = point_values
        self.scale = scale
        self.held = held
        self.typical = typical
        self.extra_name = extra_name

    def plot(
        self,
        ax: Any = None,
        *,
        colors: Any = None,
        image_kwargs: dict | None = None,
        line_kwargs: dict | None = None,
        interval_kwargs: dict | None = None,
        scatter_kwargs: dict | None = None,
        legend_kwargs: dict | None = None,
    ) -> ConditionalDensityDisplay:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is created.
        colors : sequence of matplotlib colors, default=None
            Colours of the experts, as in :meth:`ExpertRegionsDisplay.plot`.
        image_kwargs, line_kwargs, interval_kwargs, scatter_kwargs : dict, default=None
            Keywords of `Axes.pcolormesh` for the density, of `LineCollection` for the experts, of
            `Axes.plot` for the intervals, and of `Axes.scatter` for the rows.
        legend_kwargs : dict, default=None
            Keywords of `Axes.legend`.

        Returns
        -------
        self
        """
        weights = np.asarray(self.weights)
        rgb = expert_colors(colors, weights.shape[1], type(self).__name__)
        if ax is None:
            ax = new_axes()
        set_scale(ax.xaxis, self.scale)
        self._draw_density(ax, image_kwargs)
        axis, weights, means = as_steps(self.scale, self.grid, weights, self.means)
        shown = shown_experts(weights, None, regions=False)
        self.lines_ = draw.draw_expert_curves(ax, axis, means, weights, shown, rgb, line_kwargs)
        handles = [draw.expert_patch(rgb[k], k, f"expert {k}") for k in shown]
        self.interval_lines_: list[Any] = []
        if self.low is not None:
            handles += self._draw_intervals(ax, interval_kwargs)
        self.scatter_ = None
        if self.point_values is not None:
            x = jittered(self.scale, np.asarray(self.points))
            style: dict[str, Any] = {"color": "white", "edgecolors": INK, "linewidths": 0.5}
            style |= {"zorder": 2, "s": 9 * float(np.clip(300 / len(x), 0.3, 1.0))}
            self.scatter_ = ax.scatter(x, self.point_values, **(style | (scatter_kwargs or {})))
        ends = self.grid[[0, -1]] if isinstance(self.scale, str) else [-0.5, len(self.scale) - 0.5]
        half = (self.y_grid[1] - self.y_grid[0]) / 2 if len(self.y_grid) > 1 else 0.5
        ax.set(xlim=ends, ylim=(self.y_grid[0] - half, self.y_grid[-1] + half))
        label_axes(ax, self.feature_name, self.value_name)
        self.legend_ = legend_beside(ax, handles, legend_kwargs)
        words = [in_words(self.held, typical=self.typical)]
        if self.held and self.point_values is not None:
            words.append("dots: rows with other values of these")
        if self.extra_name is not None:
            words.append(f"the {self.extra_name} expert has no line")
        self.note_ = write_note(ax, "\n".join(filter(None, words)))
        self.ax_ = ax
        self.figure_ = ax.figure
        return self

    def _draw_density(self, ax: Any, kwargs: dict | None) -> None:
        from matplotlib.colors import PowerNorm

        density = np.asarray(self.density)
        top = float(np.nanquantile(density, DARKEST)) or 1.0
        style: dict[str, Any] = {"cmap": "Greys", "shading": "nearest", "rasterized": True}
        style["norm"] = PowerNorm(POWER, 0.0, top / 0.75)  # black is left to lines
        self.image_ = ax.pcolormesh(
            self.grid, self.y_grid, density, **(style | {"zorder": 0} | (kwargs or {}))
        )

    def _draw_intervals(self, ax: Any, kwargs: dict | None) -> list[Any]:
        """Draw the ends of the intervals; return the handle of the legend."""
        axis, low, high = as_steps(self.scale, self.grid, self.low, self.high)
        style = {"color": INK, "linewidth": 1.0, "linestyle": (0, (4, 2)), "zorder": 3}
        style |= kwargs or {}
        label = style.pop("label", f"{100 * self.level:g} % interval")
        self.interval_lines_ = ax.plot(axis, low, label=label, **style)
        self.interval_lines_ += ax.plot(axis, high, **style)
        return self.interval_lines_[:1]

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        feature: Any = None,
        at: Any = None,
        target: Any = None,
        scales: Any = "auto",
        level: float = 0.9,
        grid_resolution: int = 200,
        feature_names: Any = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> ConditionalDensityDisplay:
        """Compute the predictive density of a fitted regressor, and draw it.

        Parameters
        ----------
        estimator : estimator
            A fitted MixtureOfExpertsRegressor, a Pipeline that ends in one, or a search over one of
            these.
        X : {array-like, data frame} of shape (n_samples, n_features)
            Rows to draw, or a sample of them, as `estimator` takes them: for a Pipeline, before
            its first step. They also set the limits of the axes.
            Where the estimator takes missing values, rows that miss a drawn feature are left out.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Their targets; rows are drawn only if given. Successes and failures of family binomial
            are drawn as the share of successes, on the density of one trial.
        feature : int or str, default=None
            Index or column name of the feature to vary. By default, the numeric column that the
            gate uses most.
        at : array-like of shape (n_features,) or row of a frame, default=None
            Values of the features that do not vary. By default, the median of each numeric column
            of X and the most frequent value of any other column.
        target : int, default=None
            Index of the output; required if there are several.
        scales : {"auto", "linear", "log"}, default="auto"
            Scale of the feature, as in :meth:`ExpertRegionsDisplay.from_estimator`.
        level : float, default=0.9
            Probability of the intervals.
        grid_resolution : int, default=200
            Points along the feature and along y; of counts all are drawn, up to 400.
        feature_names : sequence of str, default=None
            One per column of X. None means the columns of a data frame, the names of the fit, or
            "feature 0" and so on.
        ax : matplotlib Axes, default=None
            Axes to draw on.
        **kwargs : dict
            Further arguments of :meth:`plot`.

        Returns
        -------
        display : ConditionalDensityDisplay

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If the estimator is no mixture of experts, or predicts classes.
        ValueError
            If X or another parameter is not valid; the message names it.

        Examples
        --------
        >>> from mixexp import MixtureOfExpertsRegressor
        >>> from mixexp.datasets import load_ethanol
        >>> from mixexp.inspection import ConditionalDensityDisplay
        >>> X, y = load_ethanol(return_X_y=True, as_frame=True)
        >>> model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
        >>> display = ConditionalDensityDisplay.from_estimator(model, X, y, level=0.8)
        >>> display.ax_.get_xlabel()
        'nox'
        """
        arrays = conditional_density(
            estimator,
            X,
            y,
            feature=feature,
            at=at,
            target=target,
            scales=scales,
            level=level,
            grid_resolution=grid_resolution,
            feature_names=feature_names,
            owner=cls.__name__,
        )
        return cls(**arrays).plot(ax, **kwargs)
