"""Display of the tree of gates of a mixture."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp.inspection import _tree_draw as draw
from mixexp.inspection._draw import expert_colors
from mixexp.inspection._gate_tree import gate_tree, shares_in_words, tree_layout

__all__ = ["GateTreeDisplay"]


class GateTreeDisplay:
    """The tree of gates of a mixture: which split leads to which expert, and how often.

    The root is on the left, the experts are on the right, in the colours of
    :class:`ExpertRegionsDisplay`. An edge is as wide as the share of rows that take it, the mean
    gate probability; the words on it say when. A flat gate is a tree of one level. Where experts
    are mixtures themselves the tree goes on in their gates, and expert 1.0 is the first expert of
    expert 1. The noise, where there is one, stands apart.

    Create it with :meth:`from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    parents : ndarray of int of shape (n_nodes,)
        Of every node or leaf, the number of its parent; -1 for the root. Nodes are in the order
        of a walk that goes down before it goes on.
    names : list of str
        Of every node or leaf. "noise" is the name of the noise.
    splits : list of str
        When the edge to each node is taken; of two children the second one's says where it is the
        more likely one, of more they are scores, of which the largest wins. May be empty.
    shares : ndarray of shape (n_nodes,)
        Share of all rows that reach the node.
    experts : ndarray of int of shape (n_nodes,)
        The expert that gives a node its colour, -1 for nodes above the experts and for the noise.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The Axes that were drawn on.
    figure_ : matplotlib Figure
        Their Figure.
    edges_ : list of PathPatch
        To every node but the root.
    node_texts_ : list of Text
        The boxes, one for each node.
    split_texts_ : list of Text
        The words on edges that have some.

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
    ['', 'otherwise', 'nox < 1.89']
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
            Axes to draw on; text shrinks until the tree fits, so they should be wide. If None, a
            new figure is made, as large as the tree needs.
        colors : sequence of matplotlib colors, default=None
            Colours of the experts, as in :meth:`ExpertRegionsDisplay.plot`.
        edge_kwargs : dict, default=None
            For the edges: keywords of `PathPatch`.
        node_kwargs, split_kwargs : dict, default=None
            For boxes, and for the words on edges: keywords of `Axes.text`. Room is kept for text
            of the size that the picture chooses.

        Returns
        -------
        self
        """
        parents, names = self.parents, list(self.names)
        known = np.asarray(self.experts)
        palette = expert_colors(colors, int(known.max(initial=0)) + 1, type(self).__name__)
        own = [palette[k] if k >= 0 else None for k in known]
        inner = np.isin(np.arange(len(names)), parents)
        pairs = zip(names, shares_in_words(self.shares), inner, strict=True)
        labels = [
            f"{name}\n{share}" if node else f"{name}   {share}" for name, share, node in pairs
        ]
        columns, rows = tree_layout(parents, names)
        contents = (parents, columns, rows, labels, self.splits, self.shares)
        layout = draw.Layout.of(*contents)
        if ax is None:
            ax = draw.own_axes(layout.size)
        layout = draw.Layout.of(*contents, scale=draw.scaled_to(ax, layout.size))
        scale = draw.scaled_to(ax, layout.size)
        noise = np.array([name == "noise" for name in names])
        self.edges_ = draw.draw_edges(ax, parents, layout, own, noise, scale, edge_kwargs)
        self.node_texts_ = draw.draw_nodes(ax, layout, labels, own, scale, node_kwargs)
        self.split_texts_ = draw.draw_splits(ax, parents, layout, self.splits, scale, split_kwargs)
        self.ax_ = ax
        self.figure_ = ax.figure
        return self

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
        """Read the tree of a fitted mixture, and draw it.

        Parameters
        ----------
        estimator : estimator
            A fitted MixtureOfExpertsClassifier or MixtureOfExpertsRegressor, a Pipeline that ends
            in one, or a search over one of these.
        X : {array-like, data frame} of shape (n_samples, n_features), default=None
            Rows whose shares are drawn, as `estimator` takes them. None is the rows of the fit,
            with their weights: `usage_`.
        feature_names : sequence of str, default=None
            One for each feature that the mixture was fitted on; in a Pipeline, for each column
            after the steps before it. None is the names it was fitted with, or else x0, x1 and
            so on.
        decimals : int, default=2
            Digits after the point; numbers below 0.1 have as many digits that are not 0.
        max_terms : int, default=2
            Terms of a split that are shown: those that vary most over the rows of the fit. For
            others there are dots; they are taken at the mean of their column.
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
            Where the estimator is not fitted.
        TypeError
            Where it is no mixture of experts.
        ValueError
            Where X or another parameter makes no sense; the message names it.

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
