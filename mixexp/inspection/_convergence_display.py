"""Display of how the bound of a fit climbed."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp._wrapped import find_mixture
from mixexp.inspection._palette import INK
from mixexp.inspection._room import label_axes, legend_beside, new_axes, write_note

__all__ = ["ConvergenceDisplay"]

#: A bound this many times the final spread of the bounds below the best is left out of the picture:
#: the first steps would squeeze the rest.
DEPTH = 12.0


class ConvergenceDisplay:
    """The lower bound of a fit by iteration, of all starts and of the run that was returned.

    Short runs of the starts are on a sketch of the rows, the long run on all of them, so that its
    bound may begin elsewhere than the short run ended. Nothing is fitted again.

    Create it with :meth:`from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    bounds : ndarray of shape (n_iter,)
        The bound after each iteration of the long run.
    start_bounds : sequence of ndarray, default=()
        The bound after each iteration of each start's short runs; may be empty arrays.
    flagged : sequence of bool, default=()
        Whether each start ended in a spurious maximum; one for each of `start_bounds`.
    chosen : int, default=None
        Position of the start that the long run continues.
    converged : bool, default=True
        Whether the long run met its tolerance.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The Axes that were drawn on.
    figure_ : matplotlib Figure
        Their Figure.
    line_ : Line2D
        The long run.
    start_lines_ : list of Line2D
        The starts that have bounds.
    legend_ : matplotlib Legend
        The legend.
    note_ : Annotation or None
        What is said below the picture.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> from mixexp.inspection import ConvergenceDisplay
    >>> X, y = load_tone(return_X_y=True)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    >>> display = ConvergenceDisplay.from_estimator(model)
    >>> len(display.bounds) == model.n_iter_
    True
    """

    def __init__(
        self,
        *,
        bounds: Any,
        start_bounds: Any = (),
        flagged: Any = (),
        chosen: Any = None,
        converged: bool = True,
    ):
        self.bounds = bounds
        self.start_bounds = start_bounds
        self.flagged = flagged
        self.chosen = chosen
        self.converged = converged

    def plot(
        self,
        ax: Any = None,
        *,
        line_kwargs: dict | None = None,
        start_kwargs: dict | None = None,
        legend_kwargs: dict | None = None,
    ) -> ConvergenceDisplay:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is created.
        line_kwargs, start_kwargs : dict, default=None
            Keywords of `Axes.plot` for the long run and for the starts.
        legend_kwargs : dict, default=None
            Keywords of `Axes.legend`.

        Returns
        -------
        self
        """
        from matplotlib.lines import Line2D
        from matplotlib.ticker import MaxNLocator

        if ax is None:
            ax = new_axes()
        self.start_lines_: list[Any] = []
        for number, bounds in enumerate(self.start_bounds):
            self.start_lines_ += self._plot_start(ax, number, bounds, start_kwargs)
        first = 1 + (0 if self.chosen is None else len(self.start_bounds[self.chosen]))
        style = {"color": INK, "linewidth": 2.0, "zorder": 3} | _marker(self.bounds)
        x = np.arange(first, first + len(self.bounds))
        (self.line_,) = ax.plot(
            x, self.bounds, **(style | {"label": "long run"} | (line_kwargs or {}))
        )
        handles = [self.line_]
        drawn = [bool(self.flagged[i]) for i, b in enumerate(self.start_bounds) if len(b)]
        for flagged, label in [(False, "starts"), (True, "spurious")]:
            if flagged in drawn:
                sample: dict[str, Any] = {
                    "color": "0.6",
                    "linestyle": ":" if flagged else "-",
                    "label": label,
                }
                handles.append(Line2D([], [], **sample))
        floor = self._floor()
        if floor is not None:
            ax.set_ylim(bottom=floor)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        label_axes(ax, "iteration", "lower bound per unit of weight")
        self.legend_ = legend_beside(ax, handles, legend_kwargs)
        self.note_ = write_note(ax, self._words())
        self.ax_ = ax
        self.figure_ = ax.figure
        return self

    def _plot_start(self, ax: Any, number: int, bounds: Any, kwargs: dict | None) -> list[Any]:
        if not len(bounds):
            return []
        mine = number == self.chosen
        style = {"color": "0.35" if mine else "0.65", "linewidth": 1.6 if mine else 1.0}
        style |= {"linestyle": ":" if self.flagged[number] else "-"}
        style |= _marker(bounds) | {"zorder": 2 if mine else 1}
        lines: list[Any] = ax.plot(
            np.arange(1, len(bounds) + 1), bounds, **(style | (kwargs or {}))
        )
        return lines

    def _floor(self) -> float | None:
        """Return the lowest bound that is shown, or None if all are."""
        ends = [bounds[-1] for bounds in (*self.start_bounds, self.bounds) if len(bounds)]
        known = np.concatenate([np.asarray(self.bounds), *map(np.asarray, self.start_bounds)])
        known = known[np.isfinite(known)]
        top, spread = float(max(ends)), float(np.ptp(ends))
        low = top - DEPTH * max(spread, 1e-3 * max(1.0, abs(top)))
        return low if len(known) and known.min() < low else None

    def _words(self) -> str:
        words = []
        if any(len(bounds) for bounds in self.start_bounds):
            words.append("starts: on a sketch of the rows; long run: on all rows")
        if not self.converged:
            words.append("the long run did not converge")
        return "\n".join(words)

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None, **kwargs: Any) -> ConvergenceDisplay:
        """Draw the bounds that a fitted mixture holds.

        Parameters
        ----------
        estimator : estimator
            A fitted MixtureOfExpertsClassifier or MixtureOfExpertsRegressor, a Pipeline that ends
            in one, or a search over one of these.
        ax : matplotlib Axes, default=None
            Axes to draw on.
        **kwargs : dict
            Further arguments of :meth:`plot`.

        Returns
        -------
        display : ConvergenceDisplay

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If the estimator is not a mixture of experts.

        Examples
        --------
        >>> from mixexp import MixtureOfExpertsRegressor
        >>> from mixexp.datasets import load_tone
        >>> from mixexp.inspection import ConvergenceDisplay
        >>> X, y = load_tone(return_X_y=True)
        >>> model = MixtureOfExpertsRegressor(n_experts=2, n_init=3, random_state=0).fit(X, y)
        >>> display = ConvergenceDisplay.from_estimator(model)
        >>> len(display.start_bounds)
        3
        """
        _, mixture = find_mixture(estimator, cls.__name__)
        records = list(mixture.restarts_)
        runs = [i for i, record in enumerate(records) if "long run" in record.events]
        near = [abs(records[i].bound - mixture.lower_bound_) for i in runs]
        return cls(
            bounds=np.asarray(mixture.lower_bounds_),
            start_bounds=[np.asarray(record.bounds) for record in records],
            flagged=[bool(record.flags) for record in records],
            chosen=runs[int(np.argmin(near))] if runs else None,
            converged=bool(mixture.converged_),
        ).plot(ax, **kwargs)


def _marker(bounds: Any) -> dict[str, Any]:
    """Return the marker of a line that would be invisible or hard to see without."""
    return {"marker": "o", "markersize": 3.5} if len(bounds) <= 3 else {}
