"""The hierarchical gate: a tree of softmax nodes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from mixexp.gates._balanced import balanced
from mixexp.gates._checks import check_missing, check_number
from mixexp.gates._softmax import COLDEST, SoftmaxGate
from mixexp.gates._text import Wording, check_gate, tree_text
from mixexp.gates._tree import TreeGate
from mixexp.protocols import Rows, evolve

__all__ = ["HierarchicalGate"]


class HierarchicalGate(TreeGate, BaseEstimator):
    """A tree whose nodes are softmax gates: the hierarchical mixture of experts.

    The experts are the leaves, from left to right; the gate probability of a leaf is the product
    of those on its path from the root. Borders near the root are drawn first, and each node cuts
    only its own part of the input space. With one level it is the `SoftmaxGate`.

    Parameters
    ----------
    branching : tuple of int, default=(2, 2)
        Children of each node, level by level from the root: (2, 2, 2) is a binary tree with
        eight experts. The product is `n_experts`.
    alpha : float, default=0.3
        Ridge penalty of every node, as in `SoftmaxGate`.
    missing : {"indicator", "error"}, default="indicator"
        As in `SoftmaxGate`.
    temperature : float, default=1.0
        Of every node, as in `SoftmaxGate`.
    usage_prior : float, default=0.0
        Dirichlet prior on the usage of the leaves, as in `SoftmaxGate`.

    Attributes
    ----------
    nodes_ : dict of tuple to SoftmaxGate
        The gate at every node. A node's path is the number of the child at each level: () is the
        root, (1,) its second child. Below the root
        there is none for a node with a single child.
    paths_ : list of tuple
        Of every expert, in the same way. Nodes with a single child are passed over.
    coef_, intercept_ : dict of tuple to ndarray
        Of every node: (n_children, n_gate_features) and (n_children,), in units of the input.

    References
    ----------
    Jordan & Jacobs (1994), Hierarchical mixtures of experts and the EM algorithm, Neural
    Computation 6, eq. 5, 6 and 26.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> from mixexp.gates import HierarchicalGate
    >>> X, y = load_tone(return_X_y=True)
    >>> gate = HierarchicalGate(branching=(2, 2))
    >>> model = MixtureOfExpertsRegressor(n_experts=4, gate=gate, random_state=0).fit(X, y)
    >>> sorted(model.gate_.nodes_)
    [(), (0,), (1,)]
    >>> model.gate_proba(X, level=1).shape
    (150, 2)
    """

    def __init__(
        self,
        branching: Sequence[int] = (2, 2),
        alpha: float = 0.3,
        *,
        missing: str = "indicator",
        temperature: float = 1.0,
        usage_prior: float = 0.0,
    ):
        self.branching = branching
        self.alpha = alpha
        self.missing = missing
        self.temperature = temperature
        self.usage_prior = usage_prior

    def set_params(self, **params: Any) -> HierarchicalGate:
        """Set parameters; the temperature of a fitted gate becomes that of its nodes.

        Parameters
        ----------
        **params : dict
            Parameters by name.

        Returns
        -------
        self
        """
        super().set_params(**params)
        if "temperature" in params and "nodes_" in vars(self):
            new = self._each(lambda node: evolve(node, temperature=self.temperature))
            self.__dict__ = vars(new)
        return self

    def start(self, rows: Rows, n_experts: int, columns: Any) -> Any:
        """Return a gate for these rows in which all experts are equally likely."""
        branching = self._checked(n_experts)
        check_number(self, "alpha", lowest=0.0, remedy="Use 0 for no penalty.")
        check_number(self, "temperature", lowest=COLDEST, remedy="Use 1 for a plain softmax.")
        check_missing(self)
        if isinstance(columns, list):
            raise ValueError(
                "HierarchicalGate: gate_features gives columns to each expert, and the nodes of a "
                "tree are not experts. Use SoftmaxGate, or one selection for all."
            )
        softmax = SoftmaxGate(self.alpha, missing=self.missing, temperature=self.temperature)
        nodes = {
            path: softmax.start(rows, n_children, columns)
            for level, n_children in enumerate(branching)
            if n_children > 1 or level == 0
            for path in product(*map(range, branching[:level]))
        }
        gate = evolve(self, nodes_=nodes, paths_=list(product(*map(range, branching))))
        return balanced(gate, self.usage_prior)

    @property
    def takes_missing(self) -> bool:
        """Whether the columns may hold NaN."""
        return self.missing != "error"

    @property
    def ordered(self) -> bool:
        """Whether experts have places, so that they are not exchangeable."""
        return int(np.size(self.branching)) > 1

    def select(self, experts: np.ndarray) -> Any:
        """Return the tree of some experts, in this order.

        With one level experts are exchangeable, and the children of the root take their order.
        """
        if self.depth > 1:
            return super().select(experts)
        root = {path: node.select(experts) for path, node in self.nodes_.items()}
        return self._with(root, [(k,) for k in range(len(experts))])

    def _checked(self, n_experts: int) -> list[int]:
        """Return the branching; raise where it does not give this many experts."""
        given = self.branching
        try:
            branching = [given] if isinstance(given, Integral) else list(given)
            whole = all(isinstance(b, Integral) and not isinstance(b, bool) for b in branching)
            sound = whole and len(branching) > 0 and min(map(int, branching)) >= 1
        except TypeError:
            sound = False
        if not sound:
            raise ValueError(
                "HierarchicalGate: branching must be whole numbers of at least 1, one a level, got "
                f"{given!r}. Give for instance (2, 2), for a binary tree of four experts."
            )
        if int(np.prod(branching)) != n_experts:
            raise ValueError(
                f"HierarchicalGate: branching={given!r} has {int(np.prod(branching))} leaves, and "
                f"n_experts={n_experts}. Set n_experts={int(np.prod(branching))}, or change the "
                "branching."
            )
        return [int(b) for b in branching]

    @property
    def coef_(self) -> dict[tuple[int, ...], np.ndarray]:
        """Slopes of every node."""
        return {path: node.coef_ for path, node in self.nodes_.items()}

    @property
    def intercept_(self) -> dict[tuple[int, ...], np.ndarray]:
        """Intercepts of every node."""
        return {path: node.intercept_ for path, node in self.nodes_.items()}

    def to_text(self, feature_names: Any = None, *, decimals: int = 2, max_terms: int = 4) -> str:
        """Return the tree as text: one line per node or leaf, with its path.

        A node with two children says where the second is the more likely one: where the log-odds
        between the two are positive. Below a node with more children, each child's line has its
        score, and the child of the largest score is the most likely. Coefficients are in units of
        the input, those of `coef_` over the temperature.

        Parameters
        ----------
        feature_names : sequence of str, default=None
            One for each feature of the mixture's input, such as `model.feature_names_in_`. None
            is x0, x1 and so on.
        decimals : int, default=2
            Digits after the point; numbers below 0.1 have as many digits that are not 0.
        max_terms : int, default=4
            Terms of a score that are shown: the largest ones, by the coefficient times the
            standard deviation of its column. Others are taken at the mean of their column, and
            counted.

        Returns
        -------
        str

        Raises
        ------
        NotFittedError
            Where the gate is not that of a fitted mixture.
        ValueError
            Where a parameter makes no sense; the message names it.

        Examples
        --------
        >>> from mixexp import MixtureOfExpertsRegressor
        >>> from mixexp.datasets import make_piecewise_linear
        >>> from mixexp.gates import HierarchicalGate
        >>> X, y = make_piecewise_linear(random_state=0)
        >>> gate = HierarchicalGate(branching=(2, 2))
        >>> start = (X[:, 0] > -0.3).astype(int) + (X[:, 0] > 0) + (X[:, 0] > 0.3)
        >>> model = MixtureOfExpertsRegressor(n_experts=4, gate=gate, init=start).fit(X, y)
        >>> print(model.gate_.to_text(decimals=0))
        root: 1 where 13 x0 - 4 > 0
          0: 0.1 where 17 x0 + 6 > 0
            0.0: expert 0
            0.1: expert 1
          1: 1.1 where 10 x0 - 3 > 0
            1.0: expert 2
            1.1: expert 3
        """
        check_gate(self, "nodes_")
        n_features = self.nodes_[()].n_features_in_
        wording = Wording.checked(self, n_features, feature_names, decimals, max_terms)
        return tree_text(self.nodes_, self.paths_, self.children, wording)
