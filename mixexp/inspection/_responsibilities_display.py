"""Display of how clearly rows belong to experts."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp._wrapped import extra_name, find_mixture, refuse_offset, transformed
from mixexp.inspection._palette import INK, NOISE, expert_colors, hatch_of
from mixexp.inspection._room import SMALL, height_of, new_axes, thinned, width_of, write_note
from mixexp.inspection._routing import checked_weight

__all__ = ["ResponsibilitiesDisplay", "confusion_of", "rootogram_of"]

#: Responsibilities below this are left out of rootograms, as almost all rows have them.
NEGLIGIBLE = 1e-4

#: Share of the width for the rootograms, and where the confusion begins.
LEFT, RIGHT = 0.5, 0.56

#: Height of the tallest bar, as a share of an expert's row.
TALLEST = 0.85

#: Height of a new figure in inches: of an expert's row, around them, least and largest.
PER_ROW, AROUND, LEAST, LARGEST = 0.32, 1.1, 3.2, 14.0

#: Font size of the numbers in the confusion as a share of the width of a cell, and its ends.
CELL_TEXT, SMALLEST_TEXT, LARGEST_TEXT = 0.33, 5.0, 8.0

#: Largest font size of the experts' names.
LARGEST_LABEL = 10.0

#: Shares below this have no number, those above it a white one.
NO_NUMBER, WHITE_NUMBER = 0.005, 0.55


class ResponsibilitiesDisplay:
    """How clearly rows belong to experts, given their targets.

    On the left, an expert's rootogram: how many rows have which responsibility P(expert | x, y),
    as square roots, which show small counts too. Bars at 1 only are well separated rows; bars in
    the middle are rows that other experts explain as well. On the right, with whom the expert is
    confused: of the rows that it is most responsible for, the share of each expert.

    Create it with :meth:`from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    bin_edges : ndarray of shape (n_bins + 1,)
        Edges of the bins of responsibilities, from 0 to 1.
    counts : ndarray of shape (n_experts, n_bins)
        Weight of the rows in each bin, without those below 0.0001.
    confusion : ndarray of shape (n_experts, n_experts)
        Mean responsibility of each expert for the rows of the one of the line; NaN in the line of
        one without rows. Every other line sums to 1.
    extra_name : {"noise", "zero"}, default=None
        What the last line is, if it is no expert.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The Axes that were drawn on.
    figure_ : matplotlib Figure
        Their Figure.
    rootogram_ax_, confusion_ax_ : matplotlib Axes
        Their two parts, children of `ax_`.
    bars_ : list of BarContainer
        The rootograms.
    image_ : QuadMesh
        The confusion.
    cell_texts_ : list of Text
        Its numbers in per cent, where cells have room for them.
    note_ : Annotation
        What is said below the picture.

    References
    ----------
    Leisch (2004), FlexMix: A general framework for finite mixture models and latent class
    regression in R, Journal of Statistical Software 11.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> from mixexp.inspection import ResponsibilitiesDisplay
    >>> X, y = load_tone(return_X_y=True)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    >>> display = ResponsibilitiesDisplay.from_estimator(model, X, y)
    >>> display.confusion.shape
    (2, 2)
    """

    def __init__(self, *, bin_edges: Any, counts: Any, confusion: Any, extra_name: Any = None):
        self.bin_edges = bin_edges
        self.counts = counts
        self.confusion = confusion
        self.extra_name = extra_name

    def plot(
        self,
        ax: Any = None,
        *,
        colors: Any = None,
        bar_kwargs: dict | None = None,
        image_kwargs: dict | None = None,
    ) -> ResponsibilitiesDisplay:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw in; they become empty, and their place is taken by two new ones. If None,
            a new figure is created, high enough for all experts.
        colors : sequence of matplotlib colors, default=None
            Colours of the experts, as in :meth:`ExpertRegionsDisplay.plot`.
        bar_kwargs : dict, default=None
            Keywords of `Axes.bar` for the rootograms.
        image_kwargs : dict, default=None
            Keywords of `Axes.pcolormesh` for the confusion.

        Returns
        -------
        self
        """
        n = len(self.counts)
        n_experts = n - (self.extra_name is not None)
        rgb = expert_colors(colors, n_experts, type(self).__name__)
        names = [f"expert {k}" for k in range(n_experts)]
        names += [] if self.extra_name is None else [self.extra_name]
        if ax is None:
            height = float(np.clip(AROUND + PER_ROW * n, LEAST, LARGEST))
            ax = new_axes(figsize=(6.4, height))
        ax.set(xticks=[], yticks=[], frame_on=False)
        self.rootogram_ax_ = ax.inset_axes((0.0, 0.0, LEFT, 1.0))
        self.confusion_ax_ = ax.inset_axes((RIGHT, 0.0, 1.0 - RIGHT, 1.0))
        self._draw_rootograms(rgb, names, bar_kwargs)
        self._draw_confusion(names, image_kwargs)
        self.note_ = write_note(
            ax,
            "bars: square roots of the number of rows; matrix: of the rows of the line's expert, "
            "mean responsibility of each in %, black is all",
            below=self.rootogram_ax_,
        )
        self.ax_ = ax
        self.figure_ = ax.figure
        return self

    def _draw_rootograms(self, rgb: np.ndarray, names: list[str], kwargs: dict | None) -> None:
        ax, counts = self.rootogram_ax_, np.asarray(self.counts)
        roots = np.sqrt(counts)
        heights = TALLEST * roots / max(float(roots.max()), np.finfo(float).tiny)
        edges = np.asarray(self.bin_edges)
        self.bars_ = []
        for k, row in enumerate(heights):
            style = {"align": "edge", "edgecolor": "white", "linewidth": 0.4, "zorder": 2}
            style["color"] = tuple(rgb[k]) if k < len(rgb) else NOISE
            if k < len(rgb) and hatch_of(k) is not None:
                style["hatch"] = hatch_of(k)
            bottom = k + 0.5  # the axis points down, and bars stand on the line below the row
            self.bars_.append(
                ax.bar(edges[:-1], -row, np.diff(edges), bottom, **(style | (kwargs or {})))
            )
            ax.axhline(bottom, color="0.8", linewidth=0.6, zorder=1)
        ax.set(xlim=(0.0, 1.0), ylim=(len(names) - 0.5, -0.5))
        ax.set_xticks([0.0, 0.5, 1.0], ["0", ".5", "1"])
        size = min(LARGEST_LABEL, height_of(ax) / len(names))
        step = 1 if size >= SMALLEST_TEXT else int(np.ceil(SMALLEST_TEXT / size))
        ax.set_yticks(range(0, len(names), step), names[::step])
        ax.tick_params(axis="y", length=0, labelsize=max(size, SMALLEST_TEXT))
        ax.set_xlabel("responsibility", fontsize=SMALL)

    def _draw_confusion(self, names: list[str], kwargs: dict | None) -> None:
        ax, confusion = self.confusion_ax_, np.asarray(self.confusion)
        places = np.arange(len(names))
        style = {"cmap": "Greys", "vmin": 0.0, "vmax": 1.0, "edgecolors": "white"}
        style |= {"linewidth": 0.6, "shading": "nearest"}
        self.image_ = ax.pcolormesh(places, places, confusion, **(style | (kwargs or {})))
        ax.set_ylim(len(names) - 0.5, -0.5)
        short = [name.removeprefix("expert ") for name in names]
        step = thinned(ax, len(names), max(map(len, short)), SMALL)
        ax.set_xticks(places[::step], short[::step])
        ax.tick_params(axis="x", labelsize=SMALL)
        ax.set_yticks([])
        ax.set_xlabel("expert", fontsize=SMALL)
        self.cell_texts_: list[Any] = []
        size = min(LARGEST_TEXT, CELL_TEXT * width_of(ax) / len(names))
        if size < SMALLEST_TEXT:
            return
        for j, line in enumerate(confusion):
            for k in np.flatnonzero(line >= NO_NUMBER):
                color = "white" if line[k] > WHITE_NUMBER else INK
                text = ax.text(k, j, f"{100 * line[k]:.0f}", ha="center", va="center", color=color)
                text.set_fontsize(size)
                self.cell_texts_.append(text)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        n_bins: int = 20,
        sample_weight: Any = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> ResponsibilitiesDisplay:
        """Compute the responsibilities of a fitted mixture, and draw them.

        Parameters
        ----------
        estimator : estimator
            A fitted MixtureOfExpertsClassifier or MixtureOfExpertsRegressor, a Pipeline that ends
            in one, or a search over one of these.
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows as `estimator` takes them: for a Pipeline, before its first step.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their targets.
        n_bins : int, default=20
            Bins of the rootograms.
        sample_weight : array-like of shape (n_samples,), default=None
            Frequencies of the rows; None means 1 for every row.
        ax : matplotlib Axes, default=None
            Axes to draw in.
        **kwargs : dict
            Further arguments of :meth:`plot`.

        Returns
        -------
        display : ResponsibilitiesDisplay

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If the estimator is not a mixture of experts.
        ValueError
            If X, y or another parameter is not valid; the message names it.

        Examples
        --------
        >>> from mixexp import MixtureOfExpertsRegressor
        >>> from mixexp.datasets import load_ethanol
        >>> from mixexp.inspection import ResponsibilitiesDisplay
        >>> X, y = load_ethanol(return_X_y=True)
        >>> model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
        >>> display = ResponsibilitiesDisplay.from_estimator(model, X, y, n_bins=10)
        >>> display.counts.shape
        (2, 10)
        """
        owner = cls.__name__
        whole = isinstance(n_bins, int | np.integer) and not isinstance(n_bins, bool)
        if not whole or n_bins < 2:
            raise ValueError(
                f"{owner}: n_bins={n_bins!r} is not valid; give an integer of at least 2."
            )
        before, mixture = find_mixture(estimator, owner)
        refuse_offset(mixture, owner, "Look at responsibilities(X, y, offset=...) themselves.")
        resp = np.asarray(mixture.responsibilities(transformed(before, X), y))
        weight = checked_weight(sample_weight, len(resp), owner)
        edges = np.linspace(0.0, 1.0, int(n_bins) + 1)
        return cls(
            bin_edges=edges,
            counts=rootogram_of(resp, weight, edges),
            confusion=confusion_of(resp, weight),
            extra_name=extra_name(mixture),
        ).plot(ax, **kwargs)


def rootogram_of(resp: np.ndarray, weight: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the weight of the rows whose responsibility lies in each bin.

    Parameters
    ----------
    resp : ndarray of shape (n, n_experts)
        Those below 0.0001 are not counted.
    weight : ndarray of shape (n,)
    edges : ndarray of shape (n_bins + 1,)

    Returns
    -------
    ndarray of shape (n_experts, n_bins)
    """
    counted = [(column, column >= NEGLIGIBLE) for column in np.clip(resp, 0.0, 1.0).T]
    return np.array(
        [np.histogram(column[some], edges, weights=weight[some])[0] for column, some in counted]
    )


def confusion_of(resp: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the mean responsibilities over the rows that each expert is most responsible for.

    Parameters
    ----------
    resp : ndarray of shape (n, n_experts)
    weight : ndarray of shape (n,)

    Returns
    -------
    ndarray of shape (n_experts, n_experts)
        NaN in the lines of experts without rows.
    """
    owned = (resp.argmax(axis=1)[:, None] == np.arange(resp.shape[1])) * weight[:, None]
    total = owned.sum(axis=0)[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        confusion: np.ndarray = np.where(total > 0, owned.T @ resp / total, np.nan)
    return confusion
