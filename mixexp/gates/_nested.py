"""A tree of any gates: that of a mixture of mixtures."""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator, clone

from mixexp._checks import short
from mixexp._fitting import gate_takes_missing
from mixexp.gates._softmax import SoftmaxGate
from mixexp.gates._tree import Path, TreeGate
from mixexp.protocols import Rows, can, evolve

__all__ = ["NestedGate"]


class NestedGate(TreeGate, BaseEstimator):
    """A tree of any shape, with a gate of its own at every node.

    A mixture whose experts are mixtures is fitted with this gate: the outer mixture's at the root,
    and those of the inner ones below it. `HierarchicalGate` is the shorter way to a regular tree
    of softmax nodes.

    Parameters
    ----------
    paths : list of tuple of int
        Of every expert: the number of the child to take at each node, from the root. Experts may
        lie at different depths.
    gates : dict of tuple to gate or None
        The gate at every node that has children, by path; None is `SoftmaxGate()`. The root's
        path is ().

    Attributes
    ----------
    paths_, nodes_ : list of tuple, dict of tuple to fitted gate
        Where experts were dropped, nodes with a single child are passed over.

    References
    ----------
    Jordan & Jacobs (1994), Hierarchical mixtures of experts and the EM algorithm, Neural
    Computation 6, eq. 5 and 6.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> from mixexp.gates import ConstantGate, NestedGate
    >>> X, y = load_tone(return_X_y=True)
    >>> gate = NestedGate([(0,), (1, 0), (1, 1)], {(): None, (1,): ConstantGate()})
    >>> model = MixtureOfExpertsRegressor(n_experts=3, gate=gate, random_state=0).fit(X, y)
    >>> model.gate_.nodes_[(1,)].proba_.shape
    (2,)
    """

    nested = True

    def __init__(self, paths: list[Path], gates: dict[Path, Any]):
        self.paths = paths
        self.gates = gates

    @property
    def takes_missing(self) -> bool:
        """Whether the columns may hold NaN."""
        return all(gate_takes_missing(gate) for gate in self.gates.values())

    @property
    def featureless(self) -> bool:
        """Whether no gate needs features: they may differ within groups then."""
        return all(getattr(gate, "featureless", False) for gate in self.gates.values())

    def start(self, rows: Rows, n_experts: int, columns: Any) -> NestedGate:
        """Return a gate for these rows in which the children of each node are equally likely."""
        self._check(n_experts)
        paths = [tuple(path) for path in self.paths]
        nodes = {}
        for path, gate in self.gates.items():
            below = {own[len(path)] for own in paths if own[: len(path)] == path}
            part = SoftmaxGate() if gate is None else clone(gate)
            nodes[path] = part.start(rows, len(below), columns)
            if path != () and can(nodes[path], "log_marginal"):
                raise ValueError(
                    f"NestedGate: {type(gate).__name__} at node {path}. It is a model of x for all "
                    "rows, and a node below the root, or an inner mixture, has a part of them. Use "
                    "SoftmaxGate there."
                )
        return evolve(self, paths_=paths, nodes_=nodes)

    def _check(self, n_experts: int) -> None:
        """Raise where paths and gates are not those of a tree with this many leaves."""
        try:
            paths = [tuple(path) for path in self.paths]
            if not isinstance(self.gates, dict):
                raise TypeError
            given = set(self.gates)
        except TypeError as error:
            raise ValueError(
                f"NestedGate: paths must be a list of tuples and gates a dict, got "
                f"{short(self.paths)} and {short(self.gates)}. Give for instance "
                "paths=[(0,), (1, 0), (1, 1)] and gates={(): None, (1,): None}."
            ) from error
        wrong = [g for g in self.gates.values() if g is not None and not hasattr(g, "start")]
        if wrong:
            raise ValueError(
                f"NestedGate: gates has {wrong[0]!r}, which is no gate of mixexp.gates. Give a "
                "gate, or None for SoftmaxGate()."
            )
        if len(paths) != n_experts:
            raise ValueError(
                f"NestedGate: paths has {len(paths)} experts, and n_experts={n_experts}. Set "
                f"n_experts={len(paths)}, or give a path for each."
            )
        nodes = {path[:level] for path in paths for level in range(len(path))}
        if len(set(paths)) < len(paths) or nodes & set(paths):
            raise ValueError(
                f"NestedGate: paths={self.paths!r} has a path twice, or one that leads on to "
                "another. Each expert is a leaf of its own."
            )
        if given != nodes:
            raise ValueError(
                f"NestedGate: gates is given for the nodes {sorted(self.gates)}, and the tree of "
                f"these paths has {sorted(nodes)}. Give each node a gate; None is SoftmaxGate()."
            )

    def below(self, child: Path) -> NestedGate:
        """Return the tree below a node."""
        depth = len(child)
        paths = [path[depth:] for path in self.paths_ if path[:depth] == child]
        nodes = {v[depth:]: part for v, part in self.nodes_.items() if v[:depth] == child}
        return self._with(nodes, paths)
