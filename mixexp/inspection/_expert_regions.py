"""Display of the regions in which a gate trusts each expert."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp.inspection import _draw as draw
from mixexp.inspection._axes import as_steps, in_words, jittered, set_scale
from mixexp.inspection._compute import expert_regions
from mixexp.inspection._palette import region_colors
from mixexp.inspection._regions import depends_on_grid, shown_experts, strangers
from mixexp.inspection._room import label_axes, new_axes, write_note

__all__ = ["ExpertRegionsDisplay"]

#: With more regions than this, each has the number of its expert: a legend of many pale colours is
#: hard to follow.
NUMBERED = 6


class ExpertRegionsDisplay:
    """Regions of the experts of a mixture, over one or two features.

    Over two features, each point of the plane has the colour of its most probable expert, strong
    where the gate is certain and pale where it is not, with lines between regions and the rows on
    top. Over one feature, gate probabilities are drawn above the experts' predictions, which are
    strong where the gate trusts them, and the prediction of the mixture.

    Create it with :meth:`from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    grid : sequence of one or two ndarrays
        Values of the features along the axes, (n_0,) and (n_1,).
    weights : ndarray of shape (n_1, n_0, n_experts) or (n_0, n_experts)
        Weights of the experts at the grid points, from `route`: gate probabilities unless routing
        is sparse. A point with NaN is left blank.
    feature_names : sequence of str
        Names of the features, one for each axis.
    points : ndarray of shape (n_samples, 1) or (n_samples, 2), default=None
        Values of the features for the rows.
    point_experts : ndarray of int of shape (n_samples,), default=None
        The expert whose colour each row takes, or -1 for the noise or zero expert, drawn in
        grey. Required with `points`.
    point_classes : ndarray of shape (n_samples,), default=None
        Two features: class labels, each drawn with its own marker.
    point_values : ndarray of shape (n_samples,), default=None
        One feature: vertical positions of the rows, in units of `expert_values`.
    expert_values : ndarray of shape (n_0, n_experts), default=None
        One feature: predictions of the experts.
    pooled_values : ndarray of shape (n_0,), default=None
        One feature: prediction of the mixture.
    value_name : str, default="prediction"
        One feature: name of the predicted quantity.
    region_names : sequence of str of length n_experts, default=None
        Names for the legend, given when regions are nodes of a gate. By default, "expert 0" and
        so on.
    region_experts : ndarray of int of shape (n_experts,), default=None
        The expert whose colour each region has; by default, regions are numbered as experts.
    extra_name : {"noise", "zero"}, default="noise"
        Name of the rows that are grey.
    extra_weights : ndarray of the shape of `weights` without its last axis, default=None
        Gate probability of the noise or zero expert; `weights` sum to 1 without it.
    scales : sequence, default=None
        Of each axis "linear", "log", or the list of its categories, which lie at 0, 1 and so on.
        By default, all are linear.
    held : dict of str, default=None
        The features that do not vary, and their values.
    typical : bool, default=False
        Whether these are medians and most frequent values.
    deciders : sequence of str, default=()
        What decides the experts of the rows besides the axes: "other features", "y".

    Attributes
    ----------
    ax_ : matplotlib Axes
        The Axes that were drawn on.
    figure_ : matplotlib Figure
        Their Figure.
    legend_ : matplotlib Legend
        The legend.
    note_ : Annotation or None
        What is said below the picture: where other features are held, how many rows lie in the
        region of another expert than theirs, and whether the gate depends on what is shown.
    scatter_ : list of PathCollection
        The rows, one collection for each class marker; empty without rows.
    surface_ : QuadMesh
        Two features: the regions.
    contours_ : list of QuadContourSet
        Two features: the lines between regions.
    number_texts_ : list of Text
        Two features: the numbers of the experts in their regions, if there are more than 6.
    gate_ax_ : matplotlib Axes
        One feature: the axes of the gate probabilities, a child of `ax_`.
    gate_lines_, lines_ : list of Line2D, list of LineCollection
        One feature: curves of the gate and of the experts that occur in the picture.
    pooled_line_ : Line2D
        One feature: curve of the mixture.

    See Also
    --------
    sklearn.inspection.DecisionBoundaryDisplay : Regions of the predicted classes.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import make_softmax_mixture
    >>> from mixexp.inspection import ExpertRegionsDisplay
    >>> X, y = make_softmax_mixture(random_state=0)
    >>> model = MixtureOfExpertsRegressor(n_experts=3, random_state=0).fit(X, y)
    >>> display = ExpertRegionsDisplay.from_estimator(model, X)
    >>> display.ax_.get_xlabel()
    'feature 0'
    >>> display.weights.shape
    (100, 100, 3)
    """

    def __init__(
        self,
        *,
        grid: Any,
        weights: Any,
        feature_names: Any,
        points: Any = None,
        point_experts: Any = None,
        point_classes: Any = None,
        point_values: Any = None,
        expert_values: Any = None,
        pooled_values: Any = None,
        value_name: Any = "prediction",
        region_names: Any = None,
        region_experts: Any = None,
        extra_name: str = "noise",
        extra_weights: Any = None,
        scales: Any = None,
        held: Any = None,
        typical: bool = False,
        deciders: Any = (),
    ):
        self.grid = grid
        self.weights = weights
        self.feature_names = feature_names
        self.points = points
        self.point_experts = point_experts
        self.point_classes = point_classes
        self.point_values = point_values
        self.expert_values = expert_values
        self.pooled_values = pooled_values
        self.value_name = value_name
        self.region_names = region_names
        self.region_experts = region_experts
        self.extra_name = extra_name
        self.extra_weights = extra_weights
        self.scales = scales
        self.held = held
        self.typical = typical
        self.deciders = deciders

    def plot(
        self,
        ax: Any = None,
        *,
        colors: Any = None,
        scatter_kwargs: dict | None = None,
        surface_kwargs: dict | None = None,
        contour_kwargs: dict | None = None,
        line_kwargs: dict | None = None,
        pooled_kwargs: dict | None = None,
        gate_kwargs: dict | None = None,
        legend_kwargs: dict | None = None,
    ) -> ExpertRegionsDisplay:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; with one feature, their upper quarter is used for the gate
            probabilities. If None, a new figure is created. The legend is placed beside the
            axes, which shrink for it unless the figure has a layout engine.
        colors : sequence of matplotlib colors, default=None
            Colours of the experts, reused cyclically if there are more experts. By default, a
            palette of 12 colours that colour-blind readers can tell apart, the same in all
            Displays; further experts have hatched areas, dashed lines or other markers.
        scatter_kwargs : dict, default=None
            Keywords of `Axes.scatter` for the rows.
        surface_kwargs, contour_kwargs : dict, default=None
            Two features: keywords of `Axes.pcolormesh` for the regions and of `Axes.contour` for
            the lines between them.
        line_kwargs, pooled_kwargs, gate_kwargs : dict, default=None
            One feature: keywords of `LineCollection` for the experts' curves, and of `Axes.plot`
            for those of the mixture and of the gate.
        legend_kwargs : dict, default=None
            Keywords of `Axes.legend`.

        Returns
        -------
        self
        """
        rgb = region_colors(
            colors, self.region_experts, self.weights.shape[-1], type(self).__name__
        )
        if ax is None:
            ax = new_axes()
        regions = len(self.grid) == 2
        heights = self._heights()
        scales = self._scales()
        for axis, scale in zip((ax.xaxis, ax.yaxis), scales, strict=False):
            set_scale(axis, scale)
        point_experts = None if heights is None else self.point_experts
        shown = shown_experts(self.weights, point_experts, regions=regions)
        extra = point_experts is not None and bool(np.any(point_experts < 0))
        if regions:
            self._plot_regions(ax, rgb, surface_kwargs, contour_kwargs)
        else:
            self._plot_curves(ax, rgb, shown, line_kwargs, pooled_kwargs, gate_kwargs)
        self.scatter_: list[Any] = []
        if heights is not None:
            self._plot_points(ax, heights, rgb, scatter_kwargs)
        self.legend_ = draw.draw_legend(
            ax,
            shown,
            rgb,
            self.region_names,
            self.point_classes if regions else None,
            None if regions else self.pooled_line_,
            extra=self.extra_name if extra else None,
            kwargs=legend_kwargs,
        )
        label_axes(ax, *self.feature_names, *([] if regions else [self.value_name]))
        self.note_ = write_note(ax, self._words(heights is not None))
        self.ax_ = ax
        self.figure_ = ax.figure
        return self

    def _plot_regions(
        self, ax: Any, rgb: np.ndarray, surface_kwargs: Any, contour_kwargs: Any
    ) -> None:
        winners = shown_experts(self.weights, None, regions=True)
        self.surface_ = draw.draw_surface(ax, self.grid, self.weights, rgb, surface_kwargs)
        draw.draw_hatches(ax, self.grid, self.weights)
        self.contours_ = []
        if all(isinstance(scale, str) for scale in self._scales()):  # none between categories
            self.contours_ = draw.draw_boundaries(
                ax, self.grid, self.weights, winners, contour_kwargs
            )
        self.number_texts_: list[Any] = []
        if len(winners) > NUMBERED and self.region_names is None:
            self.number_texts_ = draw.draw_numbers(ax, self.grid, self.weights)

    def _plot_curves(
        self,
        ax: Any,
        rgb: np.ndarray,
        shown: np.ndarray,
        line_kwargs: Any,
        pooled_kwargs: Any,
        gate_kwargs: Any,
    ) -> None:
        scale = self._scales()[0]
        axis, weights, values, pooled = as_steps(
            scale, self.grid[0], self.weights, self.expert_values, self.pooled_values
        )
        self.lines_ = draw.draw_expert_curves(ax, axis, values, weights, shown, rgb, line_kwargs)
        self.pooled_line_ = draw.draw_pooled(ax, axis, pooled, pooled_kwargs)
        extra = None
        if self.extra_weights is not None:
            extra = as_steps(scale, self.grid[0], self.extra_weights)[1]
        self.gate_ax_, self.gate_lines_ = draw.draw_gate_curves(
            ax, axis, weights, shown, rgb, gate_kwargs, extra=extra
        )

    def _scales(self) -> Any:
        return ["linear"] * len(self.grid) if self.scales is None else self.scales

    def _words(self, rows: bool) -> str:
        """Return the note below the picture."""
        words = [in_words(self.held, typical=self.typical)]
        if self.weights.shape[-1] > 1 and not depends_on_grid(self.weights):
            words.append(f"the gate does not depend on {' and '.join(self.feature_names)}")
        if rows and len(self.grid) == 2 and self.deciders:
            n, n_all = strangers(self.grid, self.weights, self.points, self.point_experts)
            if n:
                others = {"y": "y decides", "other features": "other features decide"}.get(
                    ", or ".join(self.deciders), "other features, or y, decide"
                )
                words.append(f"{n} of {n_all} rows lie in another expert's region: {others} too")
        return "\n".join(filter(None, words))

    def _heights(self) -> Any:
        """Return the vertical positions of the rows, or None if rows are not drawn."""
        if self.points is None:
            return None
        return self.points[:, 1] if len(self.grid) == 2 else self.point_values

    def _plot_points(self, ax: Any, heights: Any, rgb: np.ndarray, scatter_kwargs: Any) -> None:
        regions = len(self.grid) == 2
        # As points, class indicators at 0 and 1 would hide each other.
        rug = not regions and bool(np.all(np.isin(heights, (0, 1))))
        classes = self.point_classes if regions else None
        scales = self._scales()
        x, colors = (
            jittered(scales[0], self.points[:, 0]),
            draw.point_colors(rgb, self.point_experts),
        )
        if regions:
            heights = jittered(scales[1], heights, 1)
        self.scatter_ = draw.draw_points(ax, x, heights, colors, classes, scatter_kwargs, rug=rug)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        features: Any = None,
        at: Any = None,
        target: Any = None,
        scales: Any = "auto",
        grid_resolution: int = 100,
        level: int | None = None,
        feature_names: Any = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> ExpertRegionsDisplay:
        """Compute the regions of a fitted mixture, and draw them.

        Parameters
        ----------
        estimator : estimator
            A fitted MixtureOfExpertsClassifier or MixtureOfExpertsRegressor, a Pipeline that ends
            in one, or a search over one of these.
        X : {array-like, data frame} of shape (n_samples, n_features)
            Rows to draw, or a sample of them, as `estimator` takes them: for a Pipeline, before
            its first step. They also set the limits of the axes, with a margin except where a
            step is undefined, such as a logarithm left of 0.
            Where the estimator takes missing values, rows that miss a drawn feature are left out.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Targets of the rows. If given, each row takes the colour of the expert with the
            largest responsibility P(z | x, y), or grey if that is the noise or zero
            expert; otherwise of the expert with the largest weight given x. With two features,
            each class has its own marker. With one feature, rows are drawn only if y is given; for
            classes they lie at 1 if they belong to the class and at 0 if not.
        features : int, str, or sequence of one or two of these, default=None
            Indices or column names of the features to vary. By default, the two numeric columns
            that the gate uses most, by `gate_importance`, or the only one. "principal" stands for
            the first two principal axes of all numeric columns, which then vary together.
        at : array-like of shape (n_features,) or row of a frame, default=None
            Values of the features that do not vary. By default, the median of each numeric column
            of X and the most frequent value of any other column.
        target : class label or int, default=None
            One feature only: the class whose probability is drawn, or the index of the output.
            Required if there are more than two classes or several outputs.
        scales : {"auto", "linear", "log"} or sequence of these, default="auto"
            Scales of the axes of numeric columns; "auto" is logarithmic for a positive column with
            a long upper tail. Columns that are no numbers show their 12 most frequent categories.
        grid_resolution : int, default=100
            Points along each feature.
        level : int, default=None
            Level of a hierarchical gate whose nodes are shown instead of the experts, as in
            `gate_proba`; level 1 holds the root's children. The weight of a node is the sum of its
            experts' weights, its prediction their weighted mean. By default, experts are shown.
        feature_names : sequence of str, default=None
            One per column of X. None means the columns of a data frame, the names of the fit, or
            "feature 0" and so on.
        ax : matplotlib Axes, default=None
            Axes to draw on.
        **kwargs : dict
            Further arguments of :meth:`plot`.

        Returns
        -------
        display : ExpertRegionsDisplay

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
        >>> from mixexp.datasets import load_tone
        >>> from mixexp.inspection import ExpertRegionsDisplay
        >>> X, y = load_tone(return_X_y=True, as_frame=True)
        >>> model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
        >>> display = ExpertRegionsDisplay.from_estimator(model, X, y, features="stretch_ratio")
        >>> display.ax_.get_xlabel(), display.ax_.get_ylabel()
        ('stretch_ratio', 'tuned')
        """
        arrays = expert_regions(
            estimator,
            X,
            y,
            features=features,
            at=at,
            target=target,
            scales=scales,
            grid_resolution=grid_resolution,
            level=level,
            feature_names=feature_names,
            owner=cls.__name__,
        )
        return cls(**arrays).plot(ax, **kwargs)
