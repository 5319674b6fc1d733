"""Which region goes to which leaf of a tree of linear gates."""

from __future__ import annotations

import numpy as np

from mixexp._blocks import Design, Rows
from mixexp._numerics import solve_psd

__all__ = ["arranged"]

#: Ridge of the discriminants, as a share of the mass: columns are scaled.
RIDGE = 1e-6


def arranged(
    paths: list[tuple[int, ...]], resp: np.ndarray, rows: Rows, design: Design
) -> np.ndarray:
    """Return the order of regions in which linear nodes of a tree separate them best.

    From the root down, the regions of a node are divided among its children, as many to each as
    it has leaves, so that a linear discriminant of the children explains as much as it can.

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
    (K,)
        Leaf l is to have region ``order[l]``.
    """
    order = np.empty(len(paths), dtype=int)
    weight = np.ones(rows.n_rows) if rows.weight is None else rows.weight
    matrix = np.concatenate([block.matrix(design) for block in rows.blocks()], axis=1)

    def place(leaves: list[int], regions: list[int], depth: int) -> None:
        if len(leaves) == 1:
            order[leaves[0]] = regions[0]
            return
        below: dict[int, list[int]] = {}
        for leaf in leaves:
            below.setdefault(paths[leaf][depth], []).append(leaf)
        children = [below[child] for child in sorted(below)]
        alike = _likeness(resp[regions] * weight, matrix)
        for own, chosen in zip(children, _divided(alike, [len(c) for c in children]), strict=True):
            place(own, [regions[r] for r in chosen], depth + 1)

    place(list(range(len(paths))), list(range(len(resp))), 0)
    return order


def _likeness(resp: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return B S⁻¹ Bᵀ: what a linear discriminant of a set A of regions explains is its sum over A.

    S is the Gram matrix of the node's rows, B (K, p) the regions' sums of x.
    """
    mass = resp.sum(axis=0)
    sums = resp @ matrix.T
    gram = (matrix * mass) @ matrix.T
    gram[np.diag_indices_from(gram)] += RIDGE * mass.sum()
    return sums @ solve_psd(gram, sums.T)


def _divided(alike: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    """Return the regions of each child: the best of several starts, each improved by swaps.

    The starts are the orders along the leading axes of likeness, and the order that was given.
    """
    k = len(alike)
    _, axes = np.linalg.eigh(alike)
    orders = [np.arange(k), *(np.argsort(axis, kind="stable") for axis in axes.T[::-1])]
    owner = np.repeat(np.arange(len(sizes)), sizes)
    best, best_gain = owner, -np.inf
    for order in orders:
        child = np.empty(k, dtype=int)
        child[order] = owner
        gain = _swapped(alike, child)
        if gain > best_gain * (1 + 1e-9):
            best, best_gain = child, gain
    return [np.flatnonzero(best == c) for c in range(len(sizes))]


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
