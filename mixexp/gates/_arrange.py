"""Assign regions to the leaves of a tree of linear gates."""

from __future__ import annotations

import numpy as np

from mixexp._numerics import solve_psd
from mixexp.protocols import Design, Rows

__all__ = ["arrangements"]

#: Ridge of the discriminants relative to the total mass; columns are standardised.
RIDGE = 1e-6

#: Number of divisions tried at the root, where a bad border is hardest to undo.
N_ROOT = 4


def arrangements(
    paths: list[tuple[int, ...]], resp: np.ndarray, rows: Rows, design: Design
) -> np.ndarray:
    """Return orders of regions that the linear nodes of a tree can separate well.

    From the root down, the regions of a node are divided among its children, one region per leaf,
    to maximise the variation that a linear discriminant of the children explains. The result holds
    one order per division tried at the root, best first.

    Parameters
    ----------
    paths : list of tuple
        Path of each leaf.
    resp : (K, n)
        Responsibilities of the regions.
    rows : Rows
    design : Design
        Design of the gate.

    Returns
    -------
    (n_orders, K)
        Leaf l gets region ``order[l]``.
    """
    weight = np.ones(rows.n_rows) if rows.weight is None else rows.weight
    matrix = np.concatenate([block.matrix(design) for block in rows.blocks()], axis=1)

    def place(leaves: list[int], regions: list[int], depth: int, n_best: int) -> list[dict]:
        if len(leaves) == 1:
            return [{leaves[0]: regions[0]}]
        below: dict[int, list[int]] = {}
        for leaf in leaves:
            below.setdefault(paths[leaf][depth], []).append(leaf)
        children = [below[child] for child in sorted(below)]
        alike = _likeness(resp[regions] * weight, matrix)
        sizes = [len(child_leaves) for child_leaves in children]
        placements = []
        for division in _divided(alike, sizes, n_best):
            region_of: dict[int, int] = {}
            for child_leaves, chosen in zip(children, division, strict=True):
                child_regions = [regions[r] for r in chosen]
                region_of |= place(child_leaves, child_regions, depth + 1, n_best=1)[0]
            placements.append(region_of)
        return placements

    leaves = list(range(len(paths)))
    placements = place(leaves, leaves, 0, N_ROOT)
    return np.array([[region_of[leaf] for leaf in leaves] for region_of in placements])


def _likeness(resp: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return B S⁻¹ Bᵀ: its sum over A × A is what a discriminant of regions A explains.

    S is the Gram matrix of the node's rows; B (K, p) holds the sum of x per region.
    """
    mass = resp.sum(axis=0)
    sums = resp @ matrix.T
    gram = (matrix * mass) @ matrix.T
    gram[np.diag_indices_from(gram)] += RIDGE * mass.sum()
    return sums @ solve_psd(gram, sums.T)


def _divided(alike: np.ndarray, sizes: list[int], n_best: int) -> list[list[np.ndarray]]:
    """Return the best divisions of regions among children: the regions of each child.

    The candidates are local optima reached by swaps from several starts, and every division one
    swap away from the best of them. The starts are the orders along the leading axes of the
    likeness, and the order of the input.
    """
    k = len(alike)
    _, axes = np.linalg.eigh(alike)
    orders = [np.arange(k), *(np.argsort(axis, kind="stable") for axis in axes.T[::-1])]
    owner = np.repeat(np.arange(len(sizes)), sizes)
    gains: dict[tuple, float] = {}
    for order in orders:
        child = np.empty(k, dtype=int)
        child[order] = owner
        gain = _swapped(alike, child)
        gains.setdefault(tuple(child), gain)
    best = np.array(max(gains, key=lambda child: gains[child]))
    for i, j in zip(*np.triu_indices(k, 1), strict=True):
        neighbour = best.copy()
        neighbour[[i, j]] = neighbour[[j, i]]
        gains.setdefault(tuple(neighbour), _explained(alike, neighbour))
    divisions: list[list[np.ndarray]] = []
    seen = set()
    for division in sorted(gains, key=lambda division: -gains[division]):
        sets = [np.flatnonzero(np.array(division) == c) for c in range(len(sizes))]
        key = frozenset(tuple(regions) for regions in sets)  # children of equal size may swap
        if key not in seen:
            seen.add(key)
            divisions.append(sets)
    return divisions[:n_best]


def _swapped(alike: np.ndarray, child: np.ndarray) -> float:
    """Improve the child (K,) of each region by swaps, in place; return the explained variation."""
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
