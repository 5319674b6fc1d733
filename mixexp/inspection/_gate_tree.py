"""Compute the arrays of a GateTreeDisplay from a fitted mixture."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mixexp._wrapped import extra_name, find_mixture
from mixexp.inspection._inputs import check_width
from mixexp.inspection._room import shortened
from mixexp.inspection._units import ColumnName, first_step, names_in_input_units

__all__ = [
    "EXTRAS",
    "column_names",
    "dotted",
    "gate_tree",
    "mixture_names",
    "shares_in_words",
    "tree_layout",
]

#: Names of an expert that is drawn apart from the others.
EXTRAS = ("noise", "zero")

#: Gap between the tree and the noise or zero expert, in units of the distance between two leaves.
EXTRA_GAP = 1.5

#: Most letters of a feature's name in the picture.
LETTERS = 28

Path = tuple[int, ...]


def dotted(path: Path) -> str:
    """Return the name of a node: its path joined by dots, or "root"."""
    return ".".join(map(str, path)) if path else "root"


@dataclass
class Nodes:
    """Nodes and leaves of a tree, each after its parent."""

    parents: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    experts: list[int] = field(default_factory=list)

    def add(self, parent: int, name: str, split: str, share: float, expert: int) -> int:
        """Add a node or leaf; return its number."""
        self.parents.append(parent)
        self.names.append(name)
        self.splits.append(split)
        self.shares.append(share)
        self.experts.append(expert)
        return len(self.parents) - 1


@dataclass(frozen=True)
class Place:
    """Position of a mixture in the tree: its path, and its number if it is an inner mixture.

    `usage` holds the share of all rows of each of its experts; `expert` is the outermost expert
    that contains it.
    """

    path: Path
    number: str
    expert: int
    usage: np.ndarray


def gate_tree(
    estimator: Any,
    X: Any = None,
    *,
    feature_names: Any = None,
    decimals: int = 2,
    max_terms: int = 2,
    owner: str = "gate_tree",
) -> dict[str, Any]:
    """Return the parameters of a GateTreeDisplay.

    1. Find the mixture; transform the rows as the steps before it do.
    2. Walk down the gate; if an expert is a mixture, continue with its gate.
    3. Add the noise or zero expert, if any, as the last child of the root.

    The parameters are documented in `GateTreeDisplay.from_estimator`; error messages begin with
    `owner`.
    """
    before, mixture = find_mixture(estimator, owner)
    names = [brief(name) for name in _names(before, mixture, feature_names, owner)]
    words = {"feature_names": names, "decimals": decimals, "max_terms": max_terms}
    nodes = Nodes()
    usage = np.asarray(mixture.usage_)
    rows, weights = X, None
    if X is not None:
        if np.ndim(X) == 2:
            check_width(np.shape(X)[1], estimator, owner)
        for step in before:
            rows = step.transform(rows)
        weights = mixture.gate_proba(rows)
        usage = weights.mean(axis=0)
    _grow(nodes, mixture, Place((), "", -1, usage), -1, "", rows, weights, words)
    extra = extra_name(mixture)
    if extra is not None:
        nodes.shares[0] += float(usage[-1])
        nodes.add(0, extra, "", float(usage[-1]), -1)
    return {
        "parents": np.array(nodes.parents),
        "names": nodes.names,
        "splits": nodes.splits,
        "shares": np.array(nodes.shares),
        "experts": np.array(nodes.experts),
    }


def _grow(
    nodes: Nodes,
    mixture: Any,
    place: Place,
    parent: int,
    split: str,
    rows: Any,
    weights: Any,
    words: dict,
) -> None:
    """Add the tree of a mixture's gate, and of the gates of its inner mixtures.

    `weights` (n, n_experts) are the probabilities of its experts in the whole tree, or None.
    """
    gate = mixture.gate_
    experts = range(len(mixture.experts_))
    paths = list(getattr(gate, "paths_", [(k,) for k in experts]))
    inner = getattr(gate, "nodes_", {(): gate})

    def visit(path: Path, parent: int, split: str) -> None:
        below = [k for k in experts if paths[k][: len(path)] == path]
        share = float(place.usage[below].sum())
        if path not in inner:
            leaf(below[0], parent, split, share)
            return
        whole = not path and place.number
        name = f"expert {place.number}" if whole else _node_name(place.path + path)
        number = nodes.add(parent, name, split, share, place.expert)
        children = gate.children(path) if hasattr(gate, "children") else paths
        splits = _splits(inner[path], len(children), words)
        for child, child_split in zip(children, splits, strict=True):
            visit(child, number, child_split)

    def leaf(k: int, parent: int, split: str, share: float) -> None:
        number = f"{place.number}.{k}" if place.number else str(k)
        outermost = place.expert if place.number else k
        expert = mixture.experts_[k]
        if not (hasattr(expert, "gate_") and hasattr(expert, "gate_proba")):
            nodes.add(parent, f"expert {number}", split, share, outermost)
            return
        if weights is None:
            inner_weights, usage = None, share * np.asarray(expert.usage_)
        else:
            inner_weights = weights[:, [k]] * expert.gate_proba(rows)
            usage = inner_weights.mean(axis=0)
        below = Place(place.path + paths[k], number, outermost, usage)
        _grow(nodes, expert, below, parent, split, rows, inner_weights, words)

    visit((), parent, split)


def _node_name(path: Path) -> str:
    return f"node {dotted(path)}" if path else "root"


def _splits(gate: Any, n_children: int, words: dict) -> list[str]:
    """Return the split text of each child, empty for gates that have none."""
    if not hasattr(gate, "split_texts"):
        return [""] * n_children
    found: list[str] = gate.split_texts(**words)
    return found


def brief(name: str) -> str:
    """Return a name that leaves room for the rest of a picture; it still knows its origin."""
    if isinstance(name, ColumnName):
        return name.shortened(LETTERS)
    return shortened(name, LETTERS)


def _names(before: list, mixture: Any, feature_names: Any, owner: str) -> list[str]:
    """Return the names of the mixture's features: given, from its fit, or from earlier steps."""
    n_features = mixture.n_features_in_
    if feature_names is not None:
        names = [] if isinstance(feature_names, str) else list(feature_names)
        if len(names) != n_features:
            raise ValueError(
                f"{owner}: feature_names={feature_names!r} is not a list of {n_features} names. "
                f"Give one for each feature that the {type(mixture).__name__} was fitted on: in a "
                "Pipeline, for each column after the steps before it."
            )
        return [name if isinstance(name, str) else str(name) for name in names]
    return mixture_names(before, mixture)


def mixture_names(before: list, mixture: Any) -> list[str]:
    """Return the names of the features that a mixture sees, which know how earlier steps made them.

    Those of the fit are taken for a mixture with no transformer before it.
    """
    n_features = mixture.n_features_in_
    own = getattr(mixture, "feature_names_in_", None)
    return names_in_input_units(before, None if first_step(before) is not None else own, n_features)


def column_names(estimator: Any) -> list[str]:
    """Return the names of the columns that a fitted mixture sees, behind the steps of a Pipeline.

    Give them to `to_text` of a gate for borders in units of the Pipeline's input: columns that a
    scaler made are named by their input, and the text undoes the scaling.

    Parameters
    ----------
    estimator : estimator
        A fitted MixtureOfExpertsClassifier or MixtureOfExpertsRegressor, a Pipeline that ends in
        one, or a search over one of these.

    Returns
    -------
    list of str
        A column that is no input has a name that says so, such as "log income" or
        "income, scaled".

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If the estimator is not a mixture of experts.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_ethanol
    >>> from mixexp.inspection import column_names
    >>> X, y = load_ethanol(return_X_y=True, as_frame=True)
    >>> model = make_pipeline(
    ...     StandardScaler(), MixtureOfExpertsRegressor(n_experts=2, random_state=0)
    ... ).fit(X, y)
    >>> column_names(model)
    ['nox, scaled']
    >>> print(model[-1].gate_.to_text(column_names(model), decimals=1))
    root: 0 where 0.2 nox - 0.5 > 0, otherwise 1
      0: expert 0
      1: expert 1
    """
    return mixture_names(*find_mixture(estimator, "column_names"))


def tree_layout(parents: np.ndarray, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the column and row of every node of a tree drawn from left to right.

    Leaves are in the last column, one per row; an inner node is halfway between its first and its
    last child. A noise or zero expert comes last, below a gap.

    Parameters
    ----------
    parents : ndarray of int of shape (n_nodes,)
        Parent of each node in depth-first order; -1 for the root.
    names : list of str
        Names of the nodes; "noise" and "zero" are drawn apart.

    Returns
    -------
    columns : ndarray of int of shape (n_nodes,)
    rows : ndarray of shape (n_nodes,)
        0 for the first leaf, 1 for the next one.
    """
    columns = np.zeros(len(parents), dtype=int)
    for i, parent in enumerate(parents[1:], start=1):
        columns[i] = columns[parent] + 1
    extra = np.isin(names, EXTRAS)
    leaves = ~np.isin(np.arange(len(parents)), parents)
    columns[leaves] = columns.max()
    experts = np.flatnonzero(leaves & ~extra)
    rows = np.zeros(len(parents))
    rows[experts] = np.arange(len(experts))
    rows[extra] = len(experts) - 1 + EXTRA_GAP
    for i in np.flatnonzero(~leaves)[::-1]:
        children = np.flatnonzero((parents == i) & ~extra)
        rows[i] = (rows[children[0]] + rows[children[-1]]) / 2
    return columns, rows


def shares_in_words(shares: np.ndarray) -> list[str]:
    """Return shares in per cent, with "<1 %" for those that would round to 0."""
    return ["<1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %" for share in shares]
