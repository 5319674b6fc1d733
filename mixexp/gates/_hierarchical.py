"""The hierarchical gate: a tree of softmax nodes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from mixexp.gates._balanced import balanced
from mixexp.gates._checks import check_missing, check_strength, check_temperature
from mixexp.gates._softmax import SoftmaxGate
from mixexp.gates._text import Wording, check_gate, tree_text
from mixexp.gates._tree import TreeGate
from mixexp.protocols import Rows, evolve

__all__ = ["HierarchicalGate"]


class HierarchicalGate(TreeGate, BaseEstimator):
    """A tree of softmax gates: the gate of a hierarchical mixture of experts.

    The experts are the leaves, from left to right; the gate probability of a leaf is the product
    of the probabilities along its path from the root. Borders near the root come first, and each
    node divides only its own part of the input space. With one level it is a `SoftmaxGate`.

    Parameters
    ----------
    branching : tuple of int, default=(2, 2)
        Number of children per node at each level, from the root: (2, 2, 2) is a binary tree with
        eight experts. The product must equal `n_experts`.
    alpha : float or "auto", default="auto"
        Ridge penalty of every node, as in `SoftmaxGate`; "auto" sets one for each column of each
        node, so that borders are as sharp as the rows say; where `SoftmaxGate` cannot, it is 0.3.
        A number is safer where rows are few for the columns: 0.3 is the default there.
    missing : {"indicator", "error"}, default="indicator"
        As in `SoftmaxGate`.
    temperature : float, default=1.0
        Temperature of every node, as in `SoftmaxGate`.
    usage_prior : float, default=0.0
        Dirichlet prior on the usage of the leaves, as in `SoftmaxGate`.

    Attributes
    ----------
    nodes_ : dict of tuple to SoftmaxGate
        The gate at every node. A node's path holds the index of the child at each level: () is the
        root, (1,) its second child. Below the root, nodes with a single child have no gate.
    paths_ : list of tuple
        The path of every expert. Nodes with a single child are skipped.
    coef_, intercept_ : dict of tuple to ndarray
        Coefficients (n_children, n_gate_features) and intercepts (n_children,) of every node, in
        units of the input, or of the outputs of a `gate_basis`.

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
        alpha: float | str = "auto",
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
        """Set parameters; a new temperature also applies to the nodes of a fitted gate.

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
            check_temperature(self)
            new = self._map_nodes(lambda node: evolve(node, temperature=self.temperature))
            self.__dict__ = vars(new)
        return self

    def start(self, rows: Rows, n_experts: int, columns: Any) -> Any:
        """Return a gate for these rows in which all experts are equally likely."""
        branching = self._checked_branching(n_experts)
        check_strength(self)
        check_temperature(self)
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
        """Whether experts have fixed places in the tree and are not exchangeable."""
        return int(np.size(self.branching)) > 1

    def select(self, experts: np.ndarray) -> Any:
        """Return the tree restricted to these experts, in this order.

        With one level experts are exchangeable, and the children of the root are reordered.
        """
        if self.depth > 1:
            return super().select(experts)
        root = {path: node.select(experts) for path, node in self.nodes_.items()}
        return self._with(root, [(k,) for k in range(len(experts))])

    def _checked_branching(self, n_experts: int) -> list[int]:
        """Return the branching; raise if it does not give this many experts."""
        raw = self.branching
        try:
            branching = [raw] if isinstance(raw, Integral) else list(raw)
            whole = all(isinstance(b, Integral) and not isinstance(b, bool) for b in branching)
            valid = whole and len(branching) > 0 and min(map(int, branching)) >= 1
        except TypeError:
            valid = False
        if not valid:
            raise ValueError(
                "HierarchicalGate: branching must be whole numbers of at least 1, one per level, "
                f"got {raw!r}. Give, for example, (2, 2) for a binary tree of four experts."
            )
        if int(np.prod(branching)) != n_experts:
            raise ValueError(
                f"HierarchicalGate: branching={raw!r} has {int(np.prod(branching))} leaves, and "
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

        The line of a node with two children gives the condition for the first to be more likely:
        positive log-odds. Below a node with more children, each child's line shows its score, and
        the child with the highest score is the most likely. Coefficients are `coef_` divided by
        the temperature, in units of the input.

        Parameters
        ----------
        feature_names : sequence of str, default=None
            One per feature of the mixture's input; of a mixture in a Pipeline, those of
            `mixexp.inspection.column_names` give borders in units of the Pipeline's input. None
            means the names of the fit, or x0, x1 and so on.
        decimals : int, default=2
            Digits after the decimal point; numbers below 0.1 get as many significant digits.
        max_terms : int, default=4
            Number of terms shown per score: the largest by coefficient times standard deviation
            of the column. The others are counted, and evaluated at the mean of their column.

        Returns
        -------
        str

        Raises
        ------
        NotFittedError
            If the gate does not belong to a fitted mixture.
        ValueError
            If a parameter is invalid; the message names it.

        Examples
        --------
        >>> from mixexp import MixtureOfExpertsRegressor
        >>> from mixexp.datasets import make_piecewise_linear
        >>> from mixexp.gates import HierarchicalGate
        >>> X, y = make_piecewise_linear(random_state=0)
        >>> gate = HierarchicalGate(branching=(2, 2), alpha=0.3)
        >>> start = (X[:, 0] > -0.3).astype(int) + (X[:, 0] > 0) + (X[:, 0] > 0.3)
        >>> model = MixtureOfExpertsRegressor(n_experts=4, gate=gate, init=start).fit(X, y)
        >>> print(model.gate_.to_text(decimals=0))
        root: 0 where -13 x0 + 4 > 0, otherwise 1
          0: 0.0 where -17 x0 - 6 > 0, otherwise 0.1
            0.0: expert 0
            0.1: expert 1
          1: 1.0 where -10 x0 + 3 > 0, otherwise 1.1
            1.0: expert 2
            1.1: expert 3
        """
        check_gate(self, "nodes_")
        n_features = self.nodes_[()].n_features_in_
        if feature_names is None:
            feature_names = getattr(self, "feature_names_in_", None)
        wording = Wording.checked(self, n_features, feature_names, decimals, max_terms)
        return tree_text(self.nodes_, self.paths_, self.children, wording)
