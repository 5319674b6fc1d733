"""The gate of a mixture of mixtures."""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator, clone

from mixexp._blocks import Rows
from mixexp._protocols import can, evolve
from mixexp.gates._softmax import SoftmaxGate
from mixexp.gates._tree import Path, TreeGate

__all__ = ["NestedGate"]


class NestedGate(TreeGate, BaseEstimator):
    """The gates of a mixture and of the mixtures that are its experts, as one tree.

    Parameters
    ----------
    paths : list of tuple
        Of every innermost expert.
    gates : dict of tuple to gate or None
        Of every mixture, by path; None is `SoftmaxGate()`.
    """

    #: Experts have places, and regions may not change theirs.
    ordered = nested = True

    def __init__(self, paths: list[Path], gates: dict[Path, Any]):
        self.paths = paths
        self.gates = gates

    @property
    def featureless(self) -> bool:
        """Whether no gate needs features: they may differ within groups then."""
        return all(getattr(gate, "featureless", False) for gate in self.gates.values())

    def start(self, rows: Rows, n_experts: int, columns: Any) -> NestedGate:
        """Return a gate for these rows in which all experts of a mixture are equally likely."""
        nodes = {}
        for path, gate in self.gates.items():
            below = {own[len(path)] for own in self.paths if own[: len(path)] == path}
            part = SoftmaxGate() if gate is None else clone(gate)
            nodes[path] = part.start(rows, len(below), columns)
            if path != () and can(nodes[path], "log_marginal"):
                raise ValueError(
                    f"{type(gate).__name__} as the gate of a mixture within a mixture: it is a "
                    "model of all rows, and the inner mixture has a part of them. Use SoftmaxGate "
                    "there, or HierarchicalGate."
                )
        return evolve(self, paths_=list(self.paths), nodes_=nodes)

    def below(self, child: Path) -> NestedGate:
        """Return the tree below a node."""
        depth = len(child)
        paths = [path[depth:] for path in self.paths_ if path[:depth] == child]
        nodes = {v[depth:]: part for v, part in self.nodes_.items() if v[:depth] == child}
        return self._with(nodes, paths)
