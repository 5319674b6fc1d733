"""Display of the regions in which a gate trusts each expert."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp.inspection import _draw as draw
from mixexp.inspection._compute import expert_regions
from mixexp.inspection._regions import shown_experts

__all__ = ["ExpertRegionsDisplay"]


class ExpertRegionsDisplay:
    """Regions of the experts of a mixture, over one or two features.

    Over two features: each point of the plane has the colour of its most probable expert, strong
    where the gate is sure and pale where it is not, with lines between regions and the rows on
    top. Over one feature: gate probabilities above, and below them the experts' predictions,
    strong where the gate trusts them, with the prediction of the mixture.

    Create it with :meth:`from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    grid : sequence of one or two ndarrays
        Values of the features along the axes of the picture, (n_0,) and (n_1,).
    weights : ndarray of shape (n_1, n_0, n_experts) or (n_0, n_experts)
        Weights of the experts at the points of the grid, as `route` gives them: without sparse
        routing, gate probabilities. NaN leaves a point blank.
    feature_names : sequence of str
        One name for each axis.
    points : ndarray of shape (n_samples, 1) or (n_samples, 2), default=None
        The rows' values of the features.
    point_experts : ndarray of int of shape (n_samples,), default=None
        The expert that colours each row, -1 for the noise, which is grey; to be given with
        `points`.
    point_classes : ndarray of shape (n_samples,), default=None
        Two features: class labels, each with a marker of its own.
    point_values : ndarray of shape (n_samples,), default=None
        One feature: the rows' heights, in units of `expert_values`.
    expert_values : ndarray of shape (n_0, n_experts), default=None
        One feature: predictions of the experts.
    pooled_values : ndarray of shape (n_0,), default=None
        One feature: prediction of the mixture.
    value_name : str, default="y"
        One feature: what the predictions are.
    region_names : sequence of str of length n_experts, default=None
        For the legend, where nodes of a gate take the place of the experts. None is "expert 0"
        and so on.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    legend_ : matplotlib Legend
    scatter_ : list of PathCollection
        The rows, one for each class that has a marker; empty without rows.
    surface_ : QuadMesh
        Two features: the regions.
    contours_ : list of QuadContourSet
        Two features: the lines between regions.
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
        value_name: Any = "y",
        region_names: Any = None,
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
            Axes to draw on. With one feature they give their upper quarter to the gate
            probabilities. If None, a new figure is made. The legend lies beside the axes where
            the figure has a layout engine, and else in them.
        colors : sequence of matplotlib colors, default=None
            Colours of the experts, used again from the start where there are more experts. None
            is a palette of 12 that colour-blind readers can tell apart.
        scatter_kwargs : dict, default=None
            For the rows: keywords of `Axes.scatter`.
        surface_kwargs, contour_kwargs : dict, default=None
            Two features, for regions and lines between them: keywords of `Axes.pcolormesh` and
            `Axes.contour`.
        line_kwargs, pooled_kwargs, gate_kwargs : dict, default=None
            One feature, for the curves of experts, mixture and gate: keywords of
            `LineCollection`, `Axes.plot` and `Axes.plot`.
        legend_kwargs : dict, default=None
            Keywords of `Axes.legend`.

        Returns
        -------
        self
        """
        rgb = draw.expert_colors(colors, self.weights.shape[-1], type(self).__name__)
        if ax is None:
            ax = draw.own_axes()
        regions = len(self.grid) == 2
        heights = self._heights()
        point_experts = None if heights is None else self.point_experts
        shown = shown_experts(self.weights, point_experts, regions=regions)
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
            noise=point_experts is not None and bool(np.any(point_experts < 0)),
            n_points=0 if heights is None else len(heights),
            kwargs=legend_kwargs,
        )
        draw.label_axes(ax, *self.feature_names, *([] if regions else [self.value_name]))
        self.ax_ = ax
        self.figure_ = ax.figure
        return self

    def _plot_regions(
        self, ax: Any, rgb: np.ndarray, surface_kwargs: Any, contour_kwargs: Any
    ) -> None:
        winners = shown_experts(self.weights, None, regions=True)
        self.surface_ = draw.draw_surface(ax, self.grid, self.weights, rgb, surface_kwargs)
        self.contours_ = draw.draw_boundaries(ax, self.grid, self.weights, winners, contour_kwargs)

    def _plot_curves(
        self,
        ax: Any,
        rgb: np.ndarray,
        shown: np.ndarray,
        line_kwargs: Any,
        pooled_kwargs: Any,
        gate_kwargs: Any,
    ) -> None:
        axis, weights = self.grid[0], self.weights
        self.lines_ = draw.draw_expert_curves(
            ax, axis, self.expert_values, weights, shown, rgb, line_kwargs
        )
        self.pooled_line_ = draw.draw_pooled(ax, axis, self.pooled_values, pooled_kwargs)
        self.gate_ax_, self.gate_lines_ = draw.draw_gate_curves(
            ax, axis, weights, shown, rgb, gate_kwargs
        )

    def _heights(self) -> Any:
        """Return the rows' values on the vertical axis, None where rows are not drawn."""
        if self.points is None:
            return None
        return self.points[:, 1] if len(self.grid) == 2 else self.point_values

    def _plot_points(self, ax: Any, heights: Any, rgb: np.ndarray, scatter_kwargs: Any) -> None:
        regions = len(self.grid) == 2
        # Rows of a class or not, at 1 or 0, would hide each other as points.
        rug = not regions and bool(np.all(np.isin(heights, (0, 1))))
        classes = self.point_classes if regions else None
        x, colors = self.points[:, 0], draw.point_colors(rgb, self.point_experts)
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
        grid_resolution: int = 100,
        level: int | None = None,
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
            its first step. They also give the extent of the picture, which goes a little beyond
            them unless that leaves the domain of a step, such as a logarithm.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Targets of the rows. With them, a row has the colour of the expert that is most
            probable given x and y, P(z | x, y), and is grey where that is the noise; without, of
            the one most probable given x. With two features, classes get markers of their own.
            With one feature, rows without target are not drawn, and for classes rows lie at 1 or
            0: of the class, or not.
        features : int, str, or sequence of one or two of these, default=None
            Indices or column names of the features that vary. None is the first two columns of
            numbers, or the only one.
        at : array-like of shape (n_features,) or row of a frame, default=None
            Where all other features are held. None is the median of each column of X, and the
            most frequent value of a column that does not hold numbers.
        target : class label or int, default=None
            One feature only: the class whose probability is drawn, or the index of the output.
            To be given for more than two classes, or several outputs.
        grid_resolution : int, default=100
            Points along each feature.
        level : int, default=None
            Show the nodes of a level of a hierarchical gate instead of the experts, as in
            `gate_proba`: 1 are the root's children. A node has the weights of its experts
            together, and their mean prediction by weight. None is the experts.
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
            Where the estimator is not fitted.
        TypeError
            Where it is no mixture of experts, or X is sparse.
        ValueError
            Where X or another parameter makes no sense; the message names it.

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
            grid_resolution=grid_resolution,
            level=level,
            owner=cls.__name__,
        )
        return cls(**arrays).plot(ax, **kwargs)
