"""Display of how well predictive distributions are calibrated."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp._wrapped import find_mixture, law_and_target, transformed
from mixexp.inspection._palette import GRID, INK
from mixexp.inspection._room import label_axes
from mixexp.metrics import calibration

__all__ = ["CalibrationDisplay"]


class CalibrationDisplay:
    """Histogram of the probability integral transform, against the even one.

    Bars above the line at both ends say that distributions are too narrow, in the middle that they
    are too wide, at one end that they are too low or too high.

    Create it with :meth:`from_estimator` or :meth:`from_distribution`. All parameters are stored
    as attributes.

    Parameters
    ----------
    bin_edges : ndarray of shape (n_bins + 1,)
        Edges of the bins, from 0 to 1.
    densities : ndarray of shape (n_bins,)
        Share of the targets in each bin over its width.
    coverages, observed : ndarray of shape (n_coverages,), default=None
        Probabilities of central intervals, and the shares of targets in them.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The Axes that were drawn on.
    figure_ : matplotlib Figure
        Their Figure.
    bars_ : BarContainer
        The histogram.
    even_line_ : Line2D
        The histogram of calibrated distributions.

    See Also
    --------
    mixexp.metrics.calibration : These numbers.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> from mixexp.inspection import CalibrationDisplay
    >>> X, y = load_tone(return_X_y=True)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    >>> display = CalibrationDisplay.from_estimator(model, X, y)
    >>> display.densities.shape
    (10,)
    """

    def __init__(
        self, *, bin_edges: Any, densities: Any, coverages: Any = None, observed: Any = None
    ):
        self.bin_edges = bin_edges
        self.densities = densities
        self.coverages = coverages
        self.observed = observed

    def plot(
        self, ax: Any = None, *, bar_kwargs: dict | None = None, line_kwargs: dict | None = None
    ) -> CalibrationDisplay:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is created.
        bar_kwargs : dict, default=None
            Keywords of `Axes.bar`.
        line_kwargs : dict, default=None
            Keywords of `Axes.axhline` for the even histogram.

        Returns
        -------
        self
        """
        if ax is None:
            import matplotlib.pyplot as plt

            _, ax = plt.subplots()
        edges = np.asarray(self.bin_edges)
        bars = {"align": "edge", "edgecolor": "white", "color": GRID} | (bar_kwargs or {})
        line = {"color": INK, "linestyle": "--"} | (line_kwargs or {})
        self.bars_ = ax.bar(edges[:-1], self.densities, np.diff(edges), **bars)
        self.even_line_ = ax.axhline(1.0, **line)
        ax.set_xlim(0.0, 1.0)
        label_axes(ax, "P(Y ≤ y)", "density of targets")
        self.ax_ = ax
        self.figure_ = ax.figure
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        n_bins: int = 10,
        sample_weight: Any = None,
        random_state: Any = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> CalibrationDisplay:
        """Compute the calibration of a fitted regressor, and draw it.

        Parameters
        ----------
        estimator : estimator
            A fitted MixtureOfExpertsRegressor, a Pipeline that ends in one, or a search over one of
            these.
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows as `estimator` takes them, best new ones.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their targets; of family binomial also successes and failures.
        n_bins : int, default=10
            Bins of the histogram.
        sample_weight : array-like of shape (n_samples,), default=None
            Frequencies of the rows; None means 1 for every row.
        random_state : int, RandomState instance or None, default=None
            Seeds the draws for counts.
        ax : matplotlib Axes, default=None
            Axes to draw on.
        **kwargs : dict
            Further arguments of :meth:`plot`.

        Returns
        -------
        display : CalibrationDisplay
        """
        before, mixture = find_mixture(estimator, cls.__name__)
        if not hasattr(mixture, "sample_y"):
            raise TypeError(
                f"{cls.__name__}: estimator={type(mixture).__name__} predicts classes. For "
                "these use sklearn.calibration.CalibrationDisplay."
            )
        law, y = law_and_target(mixture, transformed(before, X), y, cls.__name__)
        return cls.from_distribution(
            law,
            y,
            n_bins=n_bins,
            sample_weight=sample_weight,
            random_state=random_state,
            ax=ax,
            **kwargs,
        )

    @classmethod
    def from_distribution(
        cls,
        distribution: Any,
        y: Any,
        *,
        n_bins: int = 10,
        sample_weight: Any = None,
        random_state: Any = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> CalibrationDisplay:
        """Compute the calibration of distributions, and draw it.

        Parameters
        ----------
        distribution : MixtureDistribution
            What `predict_distribution` returned.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The targets that came.
        n_bins : int, default=10
            Bins of the histogram.
        sample_weight : array-like of shape (n_samples,), default=None
            Frequencies of the rows; None means 1 for every row.
        random_state : int, RandomState instance or None, default=None
            Seeds the draws for counts.
        ax : matplotlib Axes, default=None
            Axes to draw on.
        **kwargs : dict
            Further arguments of :meth:`plot`.

        Returns
        -------
        display : CalibrationDisplay
        """
        found = calibration(
            y, distribution, n_bins=n_bins, sample_weight=sample_weight, random_state=random_state
        )
        return cls(**found).plot(ax, **kwargs)
