"""A tree of gates: every node divides its rows among its children."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.utils.metaestimators import available_if

from mixexp.gates._arrange import arrangements
from mixexp.gates._constant import ConstantGate
from mixexp.gates._softmax import SoftmaxGate
from mixexp.protocols import (
    Block,
    Design,
    Hidden,
    ParameterSpace,
    PriorDerivatives,
    Rows,
    Scores,
    can,
    evolve,
)

__all__ = ["NodeSums", "TreeGate"]

#: A node or leaf: the index of the child at each level, from the root.
Path = tuple[int, ...]

#: Attributes that are dicts keyed by path, which formats such as skops cannot store.
BY_PATH = ("gates", "nodes_")


class TreeGate:
    """A tree of gates: g_leaf(x) is the product of the gate probabilities along its path.

    Jordan & Jacobs (1994), eq. 5 and 6. A node is a gate between its children; in its M-step the
    weight of a row is the total responsibility of the node's leaves (their eq. 26).

    Parameters
    ----------
    paths : list of tuple of int
        Path of every expert. Leaves may lie at different depths.
    nodes : dict
        The gate of every inner node, by path; the root is ``nodes[()]``.
    """

    def __init__(self, paths: list[Path], nodes: dict[Path, Any]):
        self.paths_ = list(paths)
        self.nodes_ = nodes

    def _children(self, node: Path) -> list[np.ndarray]:
        """Return the experts below each child of a node."""
        depth = len(node)
        below: dict[int, list[int]] = {}
        for expert, path in enumerate(self.paths_):
            if path[:depth] == node:
                below.setdefault(path[depth], []).append(expert)
        return [np.array(below[child]) for child in sorted(below)]

    def children(self, node: Path) -> list[Path]:
        """Return the paths of a node's children: nodes, or leaves.

        A node with a single remaining child is skipped: the child takes its place.
        """
        paths = []
        for experts in self._children(node):
            below = [self.paths_[k] for k in experts]
            inner = [v for v in self.nodes_ if v[: len(node) + 1] == below[0][: len(node) + 1]]
            paths.append(min(inner, key=len) if inner else below[0])
        return paths

    @property
    def _plan(self) -> list[tuple[Any, list[np.ndarray]]]:
        """The gate of every node, and the experts below each of its children."""
        if "_known_plan" not in vars(self):
            self._known_plan = [(part, self._children(v)) for v, part in self.nodes_.items()]
        return self._known_plan

    def _with(self, nodes: dict[Path, Any], paths: list[Path] | None = None) -> Any:
        """Return the tree with other nodes."""
        new = evolve(self, nodes_=nodes, paths_=self.paths_ if paths is None else paths)
        vars(new).pop("_known_plan", None)
        return new

    def _map_nodes(self, change: Callable[..., Any], *others: Any) -> Any:
        """Return the tree with `change(part, ...)` in place of each node's gate."""
        pairs = zip(self.nodes_.items(), *others, strict=True)
        return self._with({path: change(part, *other) for (path, part), *other in pairs})

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to save: dicts by path as lists of pairs, without the plan."""
        state = dict(super().__getstate__())  # type: ignore[call-overload]
        state.pop("_known_plan", None)
        by_path = {name: state.pop(name) for name in BY_PATH if isinstance(state.get(name), dict)}
        return {**state, "_pairs": {name: list(d.items()) for name, d in by_path.items()}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a saved state."""
        vars(self).update({name: value for name, value in state.items() if name != "_pairs"})
        vars(self).update({name: dict(pairs) for name, pairs in state["_pairs"].items()})

    @property
    def monotone(self) -> bool:
        """Whether all nodes are monotone."""
        return all(part.monotone for part in self.nodes_.values())

    def log_prob(self, block: Block) -> np.ndarray:
        """Return log g_k(x), (K, m)."""
        out = np.zeros((len(self.paths_), block.n_rows))
        for part, children in self._plan:
            for log_prob, experts in zip(part.log_prob(block), children, strict=True):
                out[experts] += log_prob
        return out

    def descended(self, block: Block, kept: Callable[[np.ndarray], Any]) -> np.ndarray:
        """Return log g_k(x), −inf below nodes that are not kept and hence not evaluated.

        Level by level, `kept` takes the log-probabilities (J, m) of the nodes and leaves reached so
        far, and returns a mask of those to go on from, or None to evaluate all.
        """
        m = block.n_rows
        if kept(np.zeros((1, m))) is None:
            return self.log_prob(block)
        level: dict[Path, np.ndarray] = {(): np.zeros(m)}
        while any(path in self.nodes_ for path in level):
            reached: dict[Path, np.ndarray] = {}
            for path, log_prob in level.items():
                reached |= self._below(path, log_prob, block)
            stacked = np.stack(list(reached.values()))
            stacked[~kept(stacked)] = -np.inf
            level = dict(zip(reached, stacked, strict=True))
        nowhere = np.full(m, -np.inf)
        return np.stack([level.get(path, nowhere) for path in self.paths_])

    def _below(self, path: Path, log_prob: np.ndarray, block: Block) -> dict[Path, np.ndarray]:
        """Return the log-probabilities (m,) of a node's children; a leaf's own."""
        if path not in self.nodes_:
            return {path: log_prob}
        ids = np.flatnonzero(log_prob > -np.inf)
        if len(ids) == 0:
            return {}
        rows = block if len(ids) == block.n_rows else block.rows_at(ids)
        below = np.full((len(self.children(path)), block.n_rows), -np.inf)
        below[:, ids] = self.nodes_[path].log_prob(rows) + log_prob[ids]
        return dict(zip(self.children(path), below, strict=True))

    def _of_node(
        self, children: list[np.ndarray], block: Block, resp: np.ndarray
    ) -> tuple[Block, np.ndarray]:
        """Return the block and responsibilities for the M-step of a node."""
        mass = np.stack([np.add.reduce(resp[experts], axis=0) for experts in children])
        if sum(map(len, children)) == len(resp):
            return block, mass
        return block.reweighted(np.add.reduce(mass, axis=0)), mass

    def statistics(self, block: Block, resp: np.ndarray) -> NodeSums:
        """Return the statistics of all nodes."""
        sums = [
            part.statistics(*self._of_node(children, block, resp)) for part, children in self._plan
        ]
        return NodeSums(sums, [self._n_weights(part) for part, _ in self._plan])

    @staticmethod
    def _n_weights(part: Any) -> int | None:
        """Return the number of weight rows of a node, None if it uses no Gram matrices."""
        return int(part.n_gram_weights) if can(part, "gram_weights") else None

    @property
    def _gram_nodes(self) -> list:
        """The nodes that use Gram matrices."""
        return [part for part in self.nodes_.values() if can(part, "gram_weights")]

    @property
    def design(self) -> Design:
        """The design shared by all nodes that have one."""
        for part in self._gram_nodes:
            return part.design
        raise AttributeError(f"no node of this {type(self).__name__} has a design")

    @property
    def n_gram_weights(self) -> int:
        """Total number of weight rows of the nodes."""
        if not self._gram_nodes:
            raise AttributeError(f"no node of this {type(self).__name__} has Gram matrices")
        return sum(self._n_weights(part) or 0 for part in self.nodes_.values())

    @available_if(lambda self: bool(self._gram_nodes))
    def gram_weights(self, block: Block, resp: np.ndarray, out: np.ndarray) -> None:
        """Write the weight rows of all nodes, one below the other."""
        start = 0
        for part, children in self._plan:
            stop = start + (self._n_weights(part) or 0)
            if stop > start:
                part.gram_weights(*self._of_node(children, block, resp), out[start:stop])
            start = stop

    @available_if(lambda self: () in self.nodes_ and can(self.nodes_[()], "log_marginal"))
    def log_marginal(self, block: Block) -> np.ndarray:
        """Return log p(x) (m,) of a generative gate at the root."""
        return self.nodes_[()].log_marginal(block)

    # nodes are gates of mixexp.gates fitted along with the tree; none is a classifier
    cross_fitted = Hidden()
    estimator = Hidden()
    expert_columns = Hidden()
    finished = Hidden()
    with_fitting = Hidden()
    without_noise = Hidden()
    climbed = Hidden()
    surveyed = Hidden()
    without_routing = Hidden()

    slope = Hidden()

    #: Whether the tree comes from a mixture of mixtures.
    nested = False

    @property
    def ordered(self) -> bool:
        """Whether experts have fixed places in the tree and are not exchangeable."""
        return True

    @property
    def featureless(self) -> bool:
        """Whether features may differ within groups."""
        return False

    @property
    def takes_missing(self) -> bool:
        """Whether NaN is accepted."""
        return True

    @property
    def coef_(self) -> Any:
        """Slopes of the nodes that have them, by path."""
        return {path: part.coef_ for path, part in self.nodes_.items() if can(part, "coef_")}

    def update(self, statistics: NodeSums, rows: Rows) -> Any:
        """Return the tree after the M-step of every node."""
        return self._map_nodes(lambda part, sums: part.update(sums, rows), statistics.sums)

    @available_if(lambda self: all(can(part, "recentred") for part in self.nodes_.values()))
    def recentred(self, statistics: NodeSums, before: TreeGate) -> tuple[Any, NodeSums]:
        """Return the tree, and the statistics at its nodes' coefficients."""
        nodes, others = self.nodes_.values(), before.nodes_.values()
        pairs = [
            part.recentred(sums, old)
            for part, sums, old in zip(nodes, statistics.sums, others, strict=True)
        ]
        tree = self._map_nodes(lambda part, ready: ready, [ready for ready, _ in pairs])
        return tree, NodeSums([sums for _, sums in pairs], statistics.sizes)

    @available_if(lambda self: self._some_can("softened"))
    def softened(self, share: float) -> Any:
        """Return the tree whose nodes have this share of their coefficients."""
        return self._changed_where("softened", share)

    @available_if(lambda self: self._some_can("begun"))
    def begun(self, rows: Rows) -> Any:
        """Return the tree whose nodes have coefficients of columns that begin to vary."""
        return self._changed_where("begun", rows)

    def _changed_where(self, name: str, *arguments: Any) -> Any:
        """Return the tree after a method of the nodes that have this capability."""
        nodes = self.nodes_.values()
        return self._map_nodes(
            lambda part, _: getattr(part, name)(*arguments) if can(part, name) else part, nodes
        )

    def _some_can(self, name: str) -> bool:
        """Return whether some node has a capability."""
        return any(can(part, name) for part in self.nodes_.values())

    @property
    def _all_damp(self) -> bool:
        """Whether each node whose step can be shortened can damp it, and there is one."""
        stubborn = (can(p, "toward") and not can(p, "damped") for p in self.nodes_.values())
        return self._some_can("damped") and not any(stubborn)

    @available_if(lambda self: self._some_can("tuned"))
    def tuned(self, statistics: NodeSums, rows: Rows) -> Any:
        """Return the tree with the penalties of its nodes that the evidence asks for."""
        return self._map_nodes(
            lambda p, sums: p.tuned(sums, rows) if can(p, "tuned") else p, statistics.sums
        )

    @available_if(lambda self: self._some_can("ranked"))
    def ranked(self, rows: Rows) -> Any:
        """Return the tree whose nodes have counted the columns that the rows can tell apart."""
        nodes = self.nodes_.values()
        return self._map_nodes(lambda p, _: p.ranked(rows) if can(p, "ranked") else p, nodes)

    @available_if(lambda self: self._some_can("penalised_as"))
    def penalised_as(self, other: TreeGate) -> Any:
        """Return the tree with the penalties of another; itself if that has other nodes."""
        if self.nodes_.keys() != other.nodes_.keys():
            return self
        return self._map_nodes(
            lambda p, o: p.penalised_as(o) if can(p, "penalised_as") else p, other.nodes_.values()
        )

    @available_if(lambda self: self._some_can("limited"))
    def limited(self, strength: float) -> Any:
        """Return the tree whose evidence sets penalties of at most this strength."""
        return self._changed_where("limited", strength)

    @available_if(lambda self: self._some_can("loosened"))
    def loosened(self) -> Any:
        """Return the tree with penalties no stronger than those it began with."""
        return self._changed_where("loosened")

    @property
    def strengths(self) -> np.ndarray:
        """The strengths of the penalties of all nodes that set theirs."""
        return np.concatenate([p.strengths for p in self.nodes_.values() if can(p, "tuned")])

    @property
    def n_strengths(self) -> float:
        """How many parameters the strengths of all nodes count as."""
        return float(sum(getattr(p, "n_strengths", 0.0) for p in self.nodes_.values()))

    @available_if(lambda self: self._some_can("toward"))
    def toward(self, new: TreeGate, t: float) -> Any:
        """Return the tree a fraction t of the way to `new`; closed forms take their full step.

        It is `new` itself if all nodes are closed forms.
        """
        others = new.nodes_.values()
        tree = self._map_nodes(lambda p, n: p.toward(n, t) if can(p, "toward") else n, others)
        return new if tree._same_nodes(new) else tree

    @available_if(lambda self: self._all_damp)
    def damped(self, new: TreeGate) -> Any:
        """Return the tree with steps shorter than those to `new`; itself if no node has one."""
        others = new.nodes_.values()
        tree = self._map_nodes(lambda p, n: p.damped(n) if can(p, "damped") else p, others)
        return self if tree._same_nodes(self) else tree

    def _same_nodes(self, other: TreeGate) -> bool:
        """Return whether both trees hold the same gates."""
        pairs = zip(self.nodes_.values(), other.nodes_.values(), strict=True)
        return all(one is another for one, another in pairs)

    @available_if(lambda self: self._some_can("bounded"))
    def bounded(self) -> Any:
        """Return the tree with its next steps under a curvature bound."""
        return self._map_nodes(lambda part: part.bounded() if can(part, "bounded") else part)

    def measured(self, rows: Rows) -> Any:
        """Return the tree for a pass over these rows."""
        return self._map_nodes(lambda part: part.measured(rows) if can(part, "measured") else part)

    def trimmed(self) -> Any:
        """Return the tree without its record of the training rows."""
        return self._map_nodes(lambda part: part.trimmed() if can(part, "trimmed") else part)

    def log_prior(self) -> float:
        """Return the sum of the nodes' log-priors."""
        return float(sum(p.log_prior() for p in self.nodes_.values() if can(p, "log_prior")))

    @property
    def n_parameters(self) -> int:
        """Number of free parameters."""
        return sum(part.n_parameters for part in self.nodes_.values())

    def get_parameters(self) -> np.ndarray:
        """Return the parameters of all nodes as one vector."""
        return np.concatenate([part.get_parameters() for part in self.nodes_.values()])

    def set_parameters(self, vector: np.ndarray) -> Any:
        """Return the tree with these parameters."""
        sizes = [len(part.get_parameters()) for part in self.nodes_.values()]
        pieces = np.split(vector, np.cumsum(sizes)[:-1])
        return self._map_nodes(lambda part, piece: part.set_parameters(piece), pieces)

    def _alone_can(self, name: str) -> bool:
        """Return whether the tree is one node, over the experts in order, with a capability.

        Elsewhere experts share nodes, so that no parameter belongs to one of them.
        """
        if len(self.nodes_) != 1:
            return False
        ((part, children),) = self._plan
        in_order = [experts.tolist() for experts in children] == [[k] for k in range(len(children))]
        return in_order and can(part, name)

    @property
    def parameter_space(self) -> ParameterSpace:
        """The parameters of the only node."""
        if not self._alone_can("parameter_space"):
            raise AttributeError(f"this {type(self).__name__} has nodes that experts share")
        space: ParameterSpace = self._plan[0][0].parameter_space
        return space

    @available_if(lambda self: self._alone_can("scores"))
    def scores(self, block: Block, resp: np.ndarray) -> Scores:
        """Return the derivatives of log g_k(x) by the parameters of the only node."""
        found: Scores = self._plan[0][0].scores(block, resp)
        return found

    @available_if(lambda self: self._alone_can("prior_derivatives"))
    def prior_derivatives(self) -> PriorDerivatives:
        """Return the derivatives of the only node's log-prior."""
        found: PriorDerivatives = self._plan[0][0].prior_derivatives()
        return found

    def select(self, experts: np.ndarray) -> Any:
        """Return the tree restricted to these experts, in this order.

        A permutation of all experts reassigns the leaves; otherwise the leaves of other experts
        are removed, and nodes with a single remaining child are skipped.
        """
        paths = [self.paths_[k] for k in experts]
        nodes = {}
        for node, part in self.nodes_.items():
            depth = len(node)
            children = sorted({path[depth] for path in self.paths_ if path[:depth] == node})
            kept = {path[depth] for path in paths if path[:depth] == node}
            if len(kept) == len(children):
                nodes[node] = part
            elif len(kept) > 1 or (kept and node == ()):
                nodes[node] = part.select(np.flatnonzero([child in kept for child in children]))
        return self._with(nodes, paths)

    def flat(self, rows: Rows) -> Any:
        """Return a flat gate for the same experts, at its start."""
        if not can(self, "design"):
            return ConstantGate().start(rows, len(self.paths_), None)
        params = {
            name: getattr(self, name) for name in ("alpha", "temperature") if hasattr(self, name)
        }
        softmax = SoftmaxGate(**params)
        return softmax.start(rows, len(self.paths_), self.design.selection)

    def arrangements(self, resp: np.ndarray, rows: Rows) -> np.ndarray:
        """Return orders of regions (K, n) that the tree's nodes can separate well."""
        if not can(self, "design"):
            return np.arange(len(resp))[None]
        return arrangements(self.paths_, resp, rows, self.design)

    @property
    def depth(self) -> int:
        """Number of levels of nodes."""
        return max(map(len, self.paths_))

    def leaves_at(self, level: int) -> list[np.ndarray]:
        """Return the experts below each node of a level; level 1 holds the root's children.

        An expert higher up in the tree counts as its own node.
        """
        ends = [path[:level] for path in self.paths_]
        order = sorted(set(ends))
        return [np.array([k for k, end in enumerate(ends) if end == node]) for node in order]


class NodeSums:
    """Statistics of the nodes, which are added node by node."""

    def __init__(self, sums: list, sizes: list[int | None]):
        self.sums = sums
        self.sizes = sizes

    def __iadd__(self, other: NodeSums) -> NodeSums:
        for i, more in enumerate(other.sums):
            self.sums[i] += more
        return self

    def __add__(self, other: NodeSums) -> NodeSums:
        pairs = zip(self.sums, other.sums, strict=True)
        return NodeSums([sums + more for sums, more in pairs], self.sizes)

    def scaled(self, factor: float) -> NodeSums:
        """Return the statistics of rows whose weights are multiplied by a factor."""
        return NodeSums([sums.scaled(factor) for sums in self.sums], self.sizes)

    def __setitem__(self, name: str, value: np.ndarray) -> None:
        """Give every node its slice of the Gram matrices."""
        start = 0
        for sums, size in zip(self.sums, self.sizes, strict=True):
            if size is not None:  # 0 with a single child, and the node still expects its slice
                sums[name] = value[start : start + size]
                start += size
