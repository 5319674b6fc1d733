"""Which region goes to which leaf of a tree of linear gates."""

from __future__ import annotations

import numpy as np

from mixexp._numerics import solve_psd
from mixexp.protocols import Design, Rows

__all__ = ["arrangements"]

#: Ridge of the discriminants, as a share of the mass: columns are scaled.
RIDGE = 1e-6

#: Divisions at the root that are tried: borders there are the hardest to undo.
N_ROOT = 4


def arrangements(
    paths: list[tuple[int, ...]], resp: np.ndarray, rows: Rows, design: Design
) -> np.ndarray:
    """Return orders of regions in which linear nodes of a tree separate them well.

    From the root down, the regions of a node are divided among its children, as many to each as
    it has leaves, so that a linear discriminant of the children explains as much as it can. There
    is one order for each of the best divisions at the root, the best one first.

    Parameters
    ----------
    paths : list of tuple
        Of every leaf.
    resp : (K, n)
        Regions.
    rows : Rows
    design : Design
        Of the gate.

    Returns
    -------
    (n_orders, K)
        Leaf l is to have region ``order[l]``.
    """
    weight = np.ones(rows.n_rows) if rows.weight is None else rows.weight
    matrix = np.concatenate([block.matrix(design) for block in rows.blocks()], axis=1)

    def placed(leaves: list[int], regions: list[int], depth: int, n_best: int) -> list[dict]:
        if len(leaves) == 1:
            return [{leaves[0]: regions[0]}]
        below: dict[int, list[int]] = {}
        for leaf in leaves:
            below.setdefault(paths[leaf][depth], []).append(leaf)
        children = [below[child] for child in sorted(below)]
        alike = _likeness(resp[regions] * weight, matrix)
        found = []
        for division in _divided(alike, [len(own) for own in children], n_best):
            place: dict[int, int] = {}
            for own, chosen in zip(children, division, strict=True):
                place |= placed(own, [regions[r] for r in chosen], depth + 1, n_best=1)[0]
            found.append(place)
        return found

    everything = list(range(len(paths)))
    orders = placed(everything, everything, 0, N_ROOT)
    return np.array([[place[leaf] for leaf in everything] for place in orders])


def _likeness(resp: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return B S⁻¹ Bᵀ: what a linear discriminant of a set A of regions explains is its sum over A.

    S is the Gram matrix of the node's rows, B (K, p) the regions' sums of x.
    """
    mass = resp.sum(axis=0)
    sums = resp @ matrix.T
    gram = (matrix * mass) @ matrix.T
    gram[np.diag_indices_from(gram)] += RIDGE * mass.sum()
    return sums @ solve_psd(gram, sums.T)


def _divided(alike: np.ndarray, sizes: list[int], n_best: int) -> list[list[np.ndarray]]:
    """Return the best divisions of regions among children: the regions of each child.

    Candidates are the ends of several starts, each improved by swaps, and all that one swap makes
    of the best of them. The starts are the orders along the leading axes of likeness, and the
    order that was given.
    """
    k = len(alike)
    _, axes = np.linalg.eigh(alike)
    orders = [np.arange(k), *(np.argsort(axis, kind="stable") for axis in axes.T[::-1])]
    owner = np.repeat(np.arange(len(sizes)), sizes)
    found: dict[tuple, float] = {}
    for order in orders:
        child = np.empty(k, dtype=int)
        child[order] = owner
        gain = _swapped(alike, child)
        found.setdefault(tuple(child), gain)
    best = np.array(max(found, key=lambda child: found[child]))
    for i, j in zip(*np.triu_indices(k, 1), strict=True):
        near = best.copy()
        near[[i, j]] = near[[j, i]]
        found.setdefault(tuple(near), _explained(alike, near))
    divisions: list[list[np.ndarray]] = []
    seen = set()
    for division in sorted(found, key=lambda division: -found[division]):
        sets = [np.flatnonzero(np.array(division) == c) for c in range(len(sizes))]
        name = frozenset(tuple(own) for own in sets)  # children of one size may change places
        if name not in seen:
            seen.add(name)
            divisions.append(sets)
    return divisions[:n_best]


def _swapped(alike: np.ndarray, child: np.ndarray) -> float:
    """Improve the children (K,) of regions by swaps, in place; return what they explain."""
    total = _explained(alike, child)
    improved = True
    while improved:
        improved = False
        for i in range(len(child)):
            for j in range(i):
                if child[i] == child[j]:
                    continue
                child[[i, j]] = child[[j, i]]
                gain = _explained(alike, child)
                if gain > total + 1e-9 * abs(total):
                    total, improved = gain, True
                else:
                    child[[i, j]] = child[[j, i]]
    return total


def _explained(alike: np.ndarray, child: np.ndarray) -> float:
    return float(np.sum(alike[child[:, None] == child]))
