"""Display of the tree of gates of a mixture."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp.inspection import _tree_draw as draw
from mixexp.inspection._gate_tree import EXTRAS, gate_tree, shares_in_words, tree_layout
from mixexp.inspection._palette import expert_colors
from mixexp.inspection._room import shortened

__all__ = ["GateTreeDisplay"]

#: Least font size of the nodes in points before splits are cut, and to how many letters.
READABLE, CUT = 5.0, 18


class GateTreeDisplay:
    """The gates of a mixture as a tree: which splits lead to which expert, and how often.

    The root is on the left and the experts are on the right, in the colours of
    :class:`ExpertRegionsDisplay`. The width of an edge is the share of rows that take it, the mean
    gate probability; its text is the condition. A flat gate is a tree with one level. If experts
    are mixtures, the tree continues with their gates, and expert 1.0 is the first expert of
    expert 1. A noise or zero expert is drawn apart from the others.

    Create it with :meth:`from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    parents : ndarray of int of shape (n_nodes,)
        Parent of every node or leaf, -1 for the root, in depth-first order.
    names : list of str
        Name of every node or leaf; a noise or zero expert is called "noise" or "zero".
    splits : list of str
        Text on the edge to each node, possibly empty. With two children, the second edge says
        where that child is more likely; with more, each edge has a score, and the largest wins.
    shares : ndarray of shape (n_nodes,)
        Share of all rows that reach the node.
    experts : ndarray of int of shape (n_nodes,)
        The expert whose colour a node takes; -1 for nodes above the experts, for noise and zeros.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The Axes that were drawn on.
    figure_ : matplotlib Figure
        Their Figure.
    edges_ : list of PathPatch
        The edges to all nodes but the root.
    node_texts_ : list of Text
        The labels of the nodes, one each.
    split_texts_ : list of Text
        The texts on the edges that have one.

    See Also
    --------
    ExpertRegionsDisplay : Regions of the experts, or of the nodes of a level.
    mixexp.gates.HierarchicalGate.to_text : The tree as text.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_ethanol
    >>> from mixexp.inspection import GateTreeDisplay
    >>> X, y = load_ethanol(return_X_y=True, as_frame=True)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    >>> display = GateTreeDisplay.from_estimator(model)
    >>> display.names
    ['root', 'expert 0', 'expert 1']
    >>> display.splits
    ['', 'nox > 1.94', 'otherwise']
    """

    def __init__(self, *, parents: Any, names: Any, splits: Any, shares: Any, experts: Any):
        self.parents = parents
        self.names = names
        self.splits = splits
        self.shares = shares
        self.experts = experts

    def plot(
        self,
        ax: Any = None,
        *,
        colors: Any = None,
        edge_kwargs: dict | None = None,
        node_kwargs: dict | None = None,
        split_kwargs: dict | None = None,
    ) -> GateTreeDisplay:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; text shrinks until the tree fits, so they should be wide. Where it
            would be too small to read, splits are cut, and then left out. If None, a new figure of
            the size of the tree is created.
        colors : sequence of matplotlib colors, default=None
            Colours of the experts, as in :meth:`ExpertRegionsDisplay.plot`.
        edge_kwargs : dict, default=None
            Keywords of `PathPatch` for the edges.
        node_kwargs, split_kwargs : dict, default=None
            Keywords of `Axes.text` for the labels of nodes and edges. The layout assumes the
            default text size.

        Returns
        -------
        self
        """
        parents, names = self.parents, list(self.names)
        experts = np.asarray(self.experts)
        palette = expert_colors(colors, int(experts.max(initial=0)) + 1, type(self).__name__)
        node_colors = [palette[k] if k >= 0 else None for k in experts]
        inner = np.isin(np.arange(len(names)), parents)
        pairs = zip(names, shares_in_words(self.shares), inner, strict=True)
        labels = [
            f"{name}\n{share}" if node else f"{name}   {share}" for name, share, node in pairs
        ]
        scored = [p for p, words in zip(parents, self.splits, strict=True) if words[:6] == "score "]
        for i in set(scored):
            labels[i] += "\nhighest score wins"
        columns, rows = tree_layout(parents, names)
        given = ax is not None
        for splits in self._splits() if given else [list(self.splits)]:
            contents = (parents, columns, rows, labels, splits, self.shares)
            layout = draw.Layout.of(*contents)
            if ax is None:
                ax = draw.new_axes(layout.size)
            layout = draw.Layout.of(*contents, scale=draw.scaled_to(ax, layout.size))
            scale = draw.scaled_to(ax, layout.size)
            if scale * draw.FONT >= READABLE:
                break
        extra = np.isin(names, EXTRAS)
        self.edges_ = draw.draw_edges(ax, parents, layout, node_colors, extra, scale, edge_kwargs)
        self.node_texts_ = draw.draw_nodes(ax, layout, labels, node_colors, scale, node_kwargs)
        self.split_texts_ = draw.draw_splits(ax, parents, layout, splits, scale, split_kwargs)
        self.ax_ = ax
        self.figure_ = ax.figure
        return self

    def _splits(self) -> list[list[str]]:
        """Return the splits in full, cut, and left out, for axes with less and less room."""
        cut = [shortened(words, CUT) for words in self.splits]
        return [list(self.splits), cut, [""] * len(cut)]

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any = None,
        *,
        feature_names: Any = None,
        decimals: int = 2,
        max_terms: int = 2,
        ax: Any = None,
        **kwargs: Any,
    ) -> GateTreeDisplay:
        """Draw the tree of a fitted mixture.

        Parameters
        ----------
        estimator : estimator
            A fitted MixtureOfExpertsClassifier or MixtureOfExpertsRegressor, a Pipeline that ends
            in one, or a search over one of these.
        X : {array-like, data frame} of shape (n_samples, n_features), default=None
            Rows from which shares are computed, as `estimator` takes them. By default, the
            weighted rows of the fit: `usage_`.
        feature_names : sequence of str, default=None
            One name for each feature of the mixture; in a Pipeline, for each column of its
            transformed input. By default those of `column_names`: splits are in units of the input
            where a step before the mixture scales a column, or keeps the order of its values.
        decimals : int, default=2
            Digits after the decimal point; numbers below 0.1 have as many significant digits.
        max_terms : int, default=2
            Number of terms shown of a split: those that vary most over the rows of the fit. The
            others are replaced by dots and enter at the mean of their column.
        ax : matplotlib Axes, default=None
            Axes to draw on.
        **kwargs : dict
            Further arguments of :meth:`plot`.

        Returns
        -------
        display : GateTreeDisplay

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
        >>> from mixexp.gates import HierarchicalGate
        >>> from mixexp.inspection import GateTreeDisplay
        >>> X, y = make_piecewise_linear(random_state=0)
        >>> gate = HierarchicalGate(branching=(2, 2))
        >>> model = MixtureOfExpertsRegressor(n_experts=4, gate=gate, random_state=0).fit(X, y)
        >>> display = GateTreeDisplay.from_estimator(model, X, feature_names=["width"])
        >>> display.names
        ['root', 'node 0', 'expert 0', 'expert 1', 'node 1', 'expert 2', 'expert 3']
        """
        arrays = gate_tree(
            estimator,
            X,
            feature_names=feature_names,
            decimals=decimals,
            max_terms=max_terms,
            owner=cls.__name__,
        )
        return cls(**arrays).plot(ax, **kwargs)
