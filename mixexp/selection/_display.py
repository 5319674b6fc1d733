"""Display of the criteria of several numbers of experts."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp._checks import short
from mixexp._engine.growth import CRITERIA
from mixexp.selection._result import ExpertSelection
from mixexp.selection._select import select_n_experts

__all__ = ["SelectionDisplay"]

#: Dark grey: the colours of the palette belong to experts.
INK = "0.15"

#: What the axis of a criterion says.
LABELS = {
    "cv": "mean held-out log-density",
    "aic": "AIC",
    "aic3": "AIC3",
    "bic": "BIC",
    "icl": "ICL",
}


class SelectionDisplay:
    """A criterion against the number of experts, with the chosen number marked.

    Use :meth:`from_selection` or :meth:`from_estimator` to create one. All parameters are stored
    as attributes.

    Parameters
    ----------
    n_experts : ndarray of shape (n_candidates,)
        Numbers of experts.
    values : ndarray of shape (n_candidates,)
        Values of the criterion.
    errors : ndarray of shape (n_candidates,) or None
        Standard errors of the differences from the best value; None draws no bars.
    chosen : int or None
        The chosen number.
    chosen_by : str or None
        What it was chosen by; None is `criterion`.
    criterion : {"cv", "aic", "aic3", "bic", "icl"}
        What the values are.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes.
    figure_ : matplotlib Figure
        The figure.
    line_ : matplotlib Line2D
        The values.
    chosen_line_ : matplotlib Line2D or None
        The line at the chosen number.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> from mixexp.selection import SelectionDisplay
    >>> X, y = load_tone(return_X_y=True)
    >>> display = SelectionDisplay.from_estimator(
    ...     MixtureOfExpertsRegressor(random_state=0), X, y, n_experts=range(1, 5)
    ... )
    >>> display.figure_.savefig("selection.png")  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        n_experts: Any,
        values: Any,
        criterion: str,
        errors: Any = None,
        chosen: Any = None,
        chosen_by: Any = None,
    ):
        self.n_experts = n_experts
        self.values = values
        self.criterion = criterion
        self.errors = errors
        self.chosen = chosen
        self.chosen_by = chosen_by

    def plot(
        self,
        ax: Any = None,
        *,
        line_kwargs: dict | None = None,
        chosen_kwargs: dict | None = None,
    ) -> SelectionDisplay:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is created.
        line_kwargs : dict, default=None
            Keywords of `Axes.errorbar` for the values.
        chosen_kwargs : dict, default=None
            Keywords of `Axes.axvline` for the chosen number.

        Returns
        -------
        self
        """
        from matplotlib.ticker import MaxNLocator

        if ax is None:
            import matplotlib.pyplot as plt

            _, ax = plt.subplots()
        line = {"marker": "o", "color": INK, "capsize": 3} | (line_kwargs or {})
        drawn = ax.errorbar(self.n_experts, self.values, yerr=self.errors, **line)
        self.line_ = drawn.lines[0]
        self.chosen_line_ = None
        if self.chosen is not None:
            style = {"color": "0.4", "linestyle": "--", "zorder": 0} | (chosen_kwargs or {})
            by = "" if self.chosen_by in (None, self.criterion) else f" by {self.chosen_by}"
            label = style.pop("label", f"chosen{by}: {self.chosen}")
            self.chosen_line_ = ax.axvline(self.chosen, label=label, **style)
            # Above the axes, as the values may lie anywhere in them.
            ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize="small")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlabel("number of experts")
        ax.set_ylabel(LABELS[self.criterion])
        self.ax_ = ax
        self.figure_ = ax.figure
        return self

    @classmethod
    def from_selection(
        cls, selection: Any, *, criterion: str | None = None, ax: Any = None, **kwargs: Any
    ) -> SelectionDisplay:
        """Draw a criterion of candidates that have been compared.

        Parameters
        ----------
        selection : ExpertSelection
            What `select_n_experts` returned, or `selection_` of a fit with ``n_experts="auto"``.
        criterion : {"cv", "aic", "aic3", "bic", "icl"}, default=None
            What to draw; None is what the number was chosen by.
        ax : matplotlib Axes, default=None
            Axes to draw on.
        **kwargs : dict
            Further arguments of :meth:`plot`.

        Returns
        -------
        display : SelectionDisplay

        Raises
        ------
        TypeError
            If it is no selection.
        ValueError
            If the criterion is unknown, or was not computed.
        """
        if not isinstance(selection, ExpertSelection):
            raise TypeError(
                f"{cls.__name__}: selection must be an ExpertSelection, as of select_n_experts or "
                f"the `selection_` of a fit with n_experts='auto', got {short(selection)}."
            )
        criterion = selection.criterion if criterion is None else criterion
        if criterion not in CRITERIA:
            raise ValueError(
                f"{cls.__name__}: criterion must be one of {list(CRITERIA)}, got {criterion!r}."
            )
        values = getattr(selection, criterion)
        if np.all(np.isnan(values)):
            raise ValueError(
                f"{cls.__name__}: the selection has no values of {criterion!r}. Draw "
                f"criterion={selection.criterion!r}, or compare by select_n_experts."
            )
        return cls(
            n_experts=selection.n_experts,
            values=values,
            criterion=criterion,
            errors=selection.cv_shortfall_error if criterion == "cv" else None,
            chosen=selection.n_experts_,
            chosen_by=selection.criterion,
        ).plot(ax, **kwargs)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        n_experts: Any = range(1, 13),
        criterion: str = "cv",
        sample_weight: Any = None,
        groups: Any = None,
        offset: Any = None,
        n_jobs: int | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> SelectionDisplay:
        """Compare numbers of experts by `select_n_experts`, and draw the criterion.

        Parameters
        ----------
        estimator : MixtureOfExpertsRegressor or MixtureOfExpertsClassifier
            It is cloned, not fitted.
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Input data.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        n_experts : iterable of int, default=range(1, 13)
            Numbers to try.
        criterion : {"cv", "aic", "aic3", "bic", "icl"}, default="cv"
            What to choose by and draw.
        sample_weight, groups, offset : array-like, default=None
            As in `fit`.
        n_jobs : int or None, default=None
            Threads.
        ax : matplotlib Axes, default=None
            Axes to draw on.
        **kwargs : dict
            Further arguments of :meth:`plot`.

        Returns
        -------
        display : SelectionDisplay
        """
        selection = select_n_experts(
            estimator,
            X,
            y,
            n_experts=n_experts,
            criterion=criterion,
            sample_weight=sample_weight,
            groups=groups,
            offset=offset,
            n_jobs=n_jobs,
        )
        return cls.from_selection(selection, ax=ax, **kwargs)
