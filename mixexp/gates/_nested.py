"""A tree of arbitrary gates, for mixtures of mixtures."""

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
    """A tree of any shape, with its own gate at every node.

    A mixture whose experts are mixtures is fitted with this gate: the outer mixture's gate is the
    root, and the inner mixtures' gates are below it. `HierarchicalGate` is a shorter way to
    specify a regular tree of softmax nodes.

    Parameters
    ----------
    paths : list of tuple of int
        The path of every expert: the index of the child at each node, from the root. Experts may
        lie at different depths.
    gates : dict of tuple to gate or None
        The gate at every node that has children, by path; None means `SoftmaxGate()`. The root's
        path is ().

    Attributes
    ----------
    paths_, nodes_ : list of tuple, dict of tuple to fitted gate
        If experts were dropped, nodes with a single child are skipped.

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
        """Whether no gate uses features, which may then differ within groups."""
        return all(getattr(gate, "featureless", False) for gate in self.gates.values())

    def start(self, rows: Rows, n_experts: int, columns: Any) -> NestedGate:
        """Return a gate for these rows in which the children of each node are equally likely."""
        self._check(n_experts)
        paths = [tuple(path) for path in self.paths]
        nodes = {}
        for path, gate in self.gates.items():
            below = {leaf[len(path)] for leaf in paths if leaf[: len(path)] == path}
            part = SoftmaxGate() if gate is None else clone(gate)
            nodes[path] = part.start(rows, len(below), columns)
            if path != () and can(nodes[path], "log_marginal"):
                raise ValueError(
                    f"NestedGate: {type(gate).__name__} at node {path}. It models x over all "
                    "rows, but a node below the root, or an inner mixture, has only some of them. "
                    "Use SoftmaxGate there."
                )
        return evolve(self, paths_=paths, nodes_=nodes)

    def _check(self, n_experts: int) -> None:
        """Raise unless paths and gates form a tree with this many leaves."""
        try:
            paths = [tuple(path) for path in self.paths]
            if not isinstance(self.gates, dict):
                raise TypeError
            gated = set(self.gates)
        except TypeError as error:
            raise ValueError(
                f"NestedGate: paths must be a list of tuples and gates a dict, got "
                f"{short(self.paths)} and {short(self.gates)}. Give for instance "
                "paths=[(0,), (1, 0), (1, 1)] and gates={(): None, (1,): None}."
            ) from error
        invalid = [g for g in self.gates.values() if g is not None and not hasattr(g, "start")]
        if invalid:
            raise ValueError(
                f"NestedGate: gates has {invalid[0]!r}, which is not a gate of mixexp.gates. Give "
                "a gate, or None for SoftmaxGate()."
            )
        if len(paths) != n_experts:
            raise ValueError(
                f"NestedGate: paths has {len(paths)} experts, but n_experts={n_experts}. Set "
                f"n_experts={len(paths)}, or give a path for each."
            )
        nodes = {path[:level] for path in paths for level in range(len(path))}
        if len(set(paths)) < len(paths) or nodes & set(paths):
            raise ValueError(
                f"NestedGate: paths={self.paths!r} has a duplicate path, or one that is a "
                "prefix of another. Each expert must be a separate leaf."
            )
        if gated != nodes:
            raise ValueError(
                f"NestedGate: gates has the nodes {sorted(self.gates)}, but the tree of these "
                f"paths has {sorted(nodes)}. Give each node a gate; None means SoftmaxGate()."
            )

    def below(self, child: Path) -> NestedGate:
        """Return the tree below a node."""
        depth = len(child)
        paths = [path[depth:] for path in self.paths_ if path[:depth] == child]
        nodes = {v[depth:]: part for v, part in self.nodes_.items() if v[:depth] == child}
        return self._with(nodes, paths)
