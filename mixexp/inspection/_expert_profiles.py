"""Display of what each expert makes of the columns."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp.inspection._palette import GRID, expert_colors, line_of, marker_of
from mixexp.inspection._profiles import expert_profiles
from mixexp.inspection._room import (
    label_axes,
    legend_beside,
    letters_in,
    new_axes,
    shortened,
    width_of,
    write_note,
)

__all__ = ["ExpertProfilesDisplay"]

#: Most marks of a picture unless more columns are asked for, and the range of columns that gives.
MARKS, FEWEST, MOST = 96, 5, 12

#: Height of a new figure in inches: of a mark, around the marks, and the least and largest.
PER_MARK, AROUND, LEAST, LARGEST = 0.075, 1.2, 3.2, 14.0

#: Share of a column's room that its marks take; share of the width for the columns' names.
FILLED, NAMES_SHARE = 0.8, 0.4


class ExpertProfilesDisplay:
    """The columns' coefficients of every expert, or importances where experts have none.

    Each column has a line for every expert. Columns are ordered by their largest value.

    Create it with :meth:`from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    values : ndarray of shape (n_experts, n_columns)
        Coefficients or importances; NaN where an expert has none.
    names : sequence of str
        Names of the columns.
    low, high : ndarray of shape (n_experts, n_columns), default=None
        Ends of their intervals.
    value_name : str, default="coefficient"
        What the values are.
    note : str, default=""
        What is said below the picture.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The Axes that were drawn on.
    figure_ : matplotlib Figure
        Their Figure.
    containers_ : list of ErrorbarContainer
        The marks and lines of each expert.
    columns_ : ndarray of int
        Positions of the columns that are drawn, from top to bottom.
    legend_ : matplotlib Legend
        The legend.
    note_ : Annotation or None
        What is said below the picture.

    See Also
    --------
    mixexp.inference.summarize : Coefficients with standard errors, as a table.
    mixexp.metrics.expert_importance : Permutation importances of each expert on its own rows.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_ethanol
    >>> from mixexp.inspection import ExpertProfilesDisplay
    >>> X, y = load_ethanol(return_X_y=True, as_frame=True)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    >>> display = ExpertProfilesDisplay.from_estimator(model, X, y)
    >>> display.names, display.values.shape
    (['nox'], (2, 1))
    """

    def __init__(
        self,
        *,
        values: Any,
        names: Any,
        low: Any = None,
        high: Any = None,
        value_name: str = "coefficient",
        note: str = "",
    ):
        self.values = values
        self.names = names
        self.low = low
        self.high = high
        self.value_name = value_name
        self.note = note

    def plot(
        self,
        ax: Any = None,
        *,
        max_columns: int | None = None,
        colors: Any = None,
        errorbar_kwargs: dict | None = None,
        legend_kwargs: dict | None = None,
    ) -> ExpertProfilesDisplay:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is created, high enough for all marks.
        max_columns : int, default=None
            Most columns to draw, those of the largest absolute values. By default 12, and fewer
            with more than 8 experts.
        colors : sequence of matplotlib colors, default=None
            Colours of the experts, as in :meth:`ExpertRegionsDisplay.plot`.
        errorbar_kwargs : dict, default=None
            Keywords of `Axes.errorbar`.
        legend_kwargs : dict, default=None
            Keywords of `Axes.legend`.

        Returns
        -------
        self
        """
        values = np.asarray(self.values)
        n_experts, n_columns = values.shape
        rgb = expert_colors(colors, n_experts, type(self).__name__)
        if max_columns is None:
            max_columns = int(np.clip(MARKS // n_experts, FEWEST, MOST))
        size = np.abs(np.where(np.isnan(values), 0.0, values)).max(axis=0)
        self.columns_ = np.argsort(-size, kind="stable")[:max_columns]
        if ax is None:
            height = AROUND + PER_MARK * (n_experts + 1) * len(self.columns_)
            ax = new_axes(figsize=(6.4, float(np.clip(height, LEAST, LARGEST))))
        at = np.arange(len(self.columns_))
        self._draw_background(ax, at)
        places = ((np.arange(n_experts) + 0.5) / n_experts - 0.5) * FILLED
        self.containers_ = [
            self._draw_expert(ax, k, at + places[k], rgb[k], errorbar_kwargs)
            for k in range(n_experts)
        ]
        letters = letters_in(NAMES_SHARE * width_of(ax), ax.yaxis.label.get_fontsize())
        ax.set_yticks(at, [shortened(str(self.names[j]), letters) for j in self.columns_])
        for label in ax.get_yticklabels():
            label.set_parse_math(False)
        ax.set_ylim(len(at) - 0.5, -0.5)
        label_axes(ax, self.value_name, " ")
        self.legend_ = legend_beside(ax, self.containers_, legend_kwargs)
        rest = n_columns - len(at)
        left_out = f"{rest} more column{'s' * (rest > 1)} with smaller values" if rest else ""
        self.note_ = write_note(ax, "; ".join(filter(None, [self.note, left_out])))
        self.ax_ = ax
        self.figure_ = ax.figure
        return self

    def _draw_background(self, ax: Any, at: np.ndarray) -> None:
        for j in at[::2]:
            ax.axhspan(j - 0.5, j + 0.5, color="0.96", zorder=0, linewidth=0)
        ax.axvline(0.0, color=GRID, linewidth=1.0, zorder=1)

    def _draw_expert(
        self, ax: Any, k: int, at: np.ndarray, color: np.ndarray, kwargs: dict | None
    ) -> Any:
        value = np.asarray(self.values)[k, self.columns_]
        reach = None
        if self.low is not None:
            ends = [np.asarray(end)[k, self.columns_] for end in (self.low, self.high)]
            reach = np.nan_to_num([value - ends[0], ends[1] - value])
        style = {
            "color": tuple(color),
            "marker": marker_of(k),
            "markersize": 4.5,
            "linestyle": "none",
            "elinewidth": 1.5,
            "zorder": 3,
            "label": f"expert {k}",
        }
        container = ax.errorbar(value, at, xerr=reach, **(style | (kwargs or {})))
        for bars in container.lines[2]:
            bars.set_linestyle(line_of(k))
        return container

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        kind: str = "auto",
        target: Any = None,
        standardize: bool = True,
        level: float = 0.95,
        sample_weight: Any = None,
        n_repeats: int = 5,
        random_state: Any = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> ExpertProfilesDisplay:
        """Compute the profiles of a fitted mixture, and draw them.

        Parameters
        ----------
        estimator : estimator
            A fitted MixtureOfExpertsClassifier or MixtureOfExpertsRegressor, a Pipeline that ends
            in one, or a search over one of these.
        X : {array-like, data frame} of shape (n_samples, n_features)
            Rows as `estimator` takes them: for a Pipeline, before its first step. Intervals need
            the rows of the fit; importances are best of new ones.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Their targets, for intervals and importances.
        kind : {"auto", "coefficients", "importance"}, default="auto"
            "coefficients" are those of linear experts, of the columns that the mixture sees, with
            intervals where `summary` has them. "importance" is the permutation importance of each
            column of X for each expert, on the rows that it answers. "auto" takes coefficients if
            there are any.
        target : class label or int, default=None
            The class or the index of the output whose coefficients are drawn. Required if there are
            more than two classes or several outputs; of two classes, the second by default.
        standardize : bool, default=True
            Whether coefficients are multiplied by the standard deviation of their column in X, so
            that those of different columns can be compared.
        level : float, default=0.95
            Coverage of the intervals.
        sample_weight : array-like of shape (n_samples,), default=None
            Frequencies of the rows; None means 1 for every row.
        n_repeats : int, default=5
            Permutations of each column, for importances.
        random_state : int, RandomState instance or None, default=None
            Seeds the permutations.
        ax : matplotlib Axes, default=None
            Axes to draw on.
        **kwargs : dict
            Further arguments of :meth:`plot`.

        Returns
        -------
        display : ExpertProfilesDisplay

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If the estimator is not a mixture of experts.
        ValueError
            If a parameter is not valid; the message names it.

        Examples
        --------
        >>> from sklearn.tree import DecisionTreeRegressor
        >>> from mixexp import MixtureOfExpertsRegressor
        >>> from mixexp.datasets import load_ethanol
        >>> from mixexp.inspection import ExpertProfilesDisplay
        >>> X, y = load_ethanol(return_X_y=True)
        >>> trees = DecisionTreeRegressor(max_depth=2)
        >>> model = MixtureOfExpertsRegressor(trees, n_experts=2, random_state=0).fit(X, y)
        >>> ExpertProfilesDisplay.from_estimator(model, X, y, random_state=0).value_name
        "loss of R² on the expert's rows, column permuted"
        """
        arrays = expert_profiles(
            estimator,
            X,
            y,
            kind=kind,
            target=target,
            standardize=standardize,
            level=level,
            sample_weight=sample_weight,
            n_repeats=n_repeats,
            random_state=random_state,
            owner=cls.__name__,
        )
        return cls(**arrays).plot(ax, **kwargs)
