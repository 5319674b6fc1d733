"""Display of how many rows reach each expert."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp._wrapped import find_mixture, transformed
from mixexp.inspection import _load_draw as bars
from mixexp.inspection._palette import expert_colors
from mixexp.inspection._room import label_axes
from mixexp.inspection._routing import checked_weight, overflow_share

__all__ = ["RoutingLoadDisplay"]

#: Loads and routing weights that differ by less look the same; the legend leaves them out.
SAME = 0.005


class RoutingLoadDisplay:
    """Bars of the share of rows that reach each expert, against an even load.

    The strong part of a bar is the expert's mean routing weight over all rows; it is the whole bar
    where each row reaches one expert. Experts have the colours of :class:`ExpertRegionsDisplay`.
    The fallback follows in grey, then a hatched bar for the overflow: the training rows that did
    not reach their first choice, because that expert was full.

    Create it with :meth:`from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    loads : ndarray of shape (n_experts,)
        Share of the rows that reach each expert; with several experts per row they add up to more
        than 1.
    importance : ndarray of shape (n_experts,)
        Mean routing weight of each expert over all rows.
    fallback : tuple of two floats, default=None
        The same two numbers of the fallback, if there is one.
    overflow : float, default=None
        Share of the training rows that did not reach their first choice, if the router has a
        capacity.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The Axes that were drawn on.
    figure_ : matplotlib Figure
        Their Figure.
    bars_ : BarContainer
        Bars of the loads.
    importance_bars_ : BarContainer
        Bars of the mean routing weights, in front of them.
    even_line_ : Line2D
        The even load.
    fallback_bars_ : BarContainer
        Load and mean routing weight of the fallback, if there is one.
    overflow_bar_ : BarContainer
        The overflow, if the router has a capacity.
    legend_ : matplotlib Legend
        The legend.

    See Also
    --------
    mixexp.routing_report : These numbers and others, with scores and costs.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import make_piecewise_linear
    >>> from mixexp.inspection import RoutingLoadDisplay
    >>> from mixexp.routing import Switch
    >>> X, y = make_piecewise_linear(random_state=0)
    >>> model = MixtureOfExpertsRegressor(n_experts=3, routing=Switch(), random_state=0).fit(X, y)
    >>> display = RoutingLoadDisplay.from_estimator(model, X)
    >>> display.loads.round(2)
    array([0.35, 0.36, 0.29])
    """

    def __init__(self, *, loads: Any, importance: Any, fallback: Any = None, overflow: Any = None):
        self.loads = loads
        self.importance = importance
        self.fallback = fallback
        self.overflow = overflow

    def plot(
        self,
        ax: Any = None,
        *,
        colors: Any = None,
        bar_kwargs: dict | None = None,
        line_kwargs: dict | None = None,
        legend_kwargs: dict | None = None,
    ) -> RoutingLoadDisplay:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is created, wide enough for all experts. The
            legend is placed beside the axes if the figure has a layout engine; otherwise above the
            bars, for which the axis is extended.
        colors : sequence of matplotlib colors, default=None
            Colours of the experts, as in :meth:`ExpertRegionsDisplay.plot`.
        bar_kwargs : dict, default=None
            Keywords of `Axes.bar` for all bars.
        line_kwargs : dict, default=None
            Keywords of `Axes.axhline` for the even load.
        legend_kwargs : dict, default=None
            Keywords of `Axes.legend`.

        Returns
        -------
        self
        """
        loads, importance = np.asarray(self.loads), np.asarray(self.importance)
        n_experts = len(loads)
        rgb = expert_colors(colors, n_experts, type(self).__name__)
        others = [name for name in ("fallback", "overflow") if getattr(self, name) is not None]
        if ax is None:
            ax = bars.new_axes(n_experts + len(others))
        at, places = np.arange(n_experts), bars.places_of_others(ax, n_experts, len(others))
        pair = bars.draw_pair(ax, at, loads, importance, rgb, bar_kwargs)
        self.bars_, self.importance_bars_ = pair
        self.even_line_ = bars.draw_even(ax, loads.sum() / n_experts, line_kwargs)
        if self.fallback is not None:
            load, weight = self.fallback
            self.fallback_bars_ = bars.draw_fallback(ax, places[0], load, weight, bar_kwargs)
        if self.overflow is not None:
            self.overflow_bar_ = bars.draw_overflow(ax, places[-1], self.overflow, bar_kwargs)
        bars.finish_axes(ax, n_experts, places, others)
        several = not np.allclose(loads, importance, atol=SAME)
        self.legend_ = bars.draw_legend(ax, self.even_line_, several=several, kwargs=legend_kwargs)
        label_axes(ax, "expert", "share of rows")
        self.ax_ = ax
        self.figure_ = ax.figure
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        sample_weight: Any = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> RoutingLoadDisplay:
        """Compute the loads of a fitted mixture, and draw them.

        Parameters
        ----------
        estimator : estimator
            A fitted MixtureOfExpertsClassifier or MixtureOfExpertsRegressor, a Pipeline that ends
            in one, or a search over one of these.
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows as `estimator` takes them: for a Pipeline, before its first step.
        sample_weight : array-like of shape (n_samples,), default=None
            Frequencies of the rows; None means 1 for every row.
        ax : matplotlib Axes, default=None
            Axes to draw on.
        **kwargs : dict
            Further arguments of :meth:`plot`.

        Returns
        -------
        display : RoutingLoadDisplay

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If the estimator is not a mixture of experts.
        ValueError
            If X or another parameter is not valid; the message names it.

        Examples
        --------
        >>> from mixexp import MixtureOfExpertsRegressor
        >>> from mixexp.datasets import make_piecewise_linear
        >>> from mixexp.inspection import RoutingLoadDisplay
        >>> from mixexp.routing import TopK
        >>> X, y = make_piecewise_linear(random_state=0)
        >>> model = MixtureOfExpertsRegressor(n_experts=3, routing=TopK(2), random_state=0)
        >>> display = RoutingLoadDisplay.from_estimator(model.fit(X, y), X)
        >>> float(display.loads.sum().round(2))
        2.0
        """
        before, mixture = find_mixture(estimator, cls.__name__)
        weights = np.asarray(mixture.route(transformed(before, X)))
        weight = checked_weight(sample_weight, len(weights), cls.__name__)
        loads = weight @ (weights > 0) / weight.sum()
        importance = weight @ weights / weight.sum()
        n_experts = len(mixture.experts_)
        overflow = overflow_share(getattr(mixture, "routing_", None))
        return cls(
            loads=loads[:n_experts],
            importance=importance[:n_experts],
            fallback=(float(loads[-1]), float(importance[-1])) if len(loads) > n_experts else None,
            overflow=None if np.isnan(overflow) else overflow,
        ).plot(ax, **kwargs)
