"""The covariance of the scores of a block's units, given the observed data.

Expert k has C parameters in gate and bank: coefficients of the gate, coefficients of its
predictors, scalars. Covariances are in this order, expert by expert. There are two ways, and two
functions that turn the sums of either into a matrix (K C, K C).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from mixexp._numerics import unpack_symmetric, weighted_gram
from mixexp.protocols import Block, ParameterSpace, Scores, Sums, can

__all__ = [
    "by_pairs",
    "by_vectors",
    "completed",
    "from_pairs",
    "from_vectors",
    "pairs_are_cheaper",
    "score_vectors",
]

#: Doubles that are formed at once: few enough for the cache, enough for long products.
TILE_ITEMS = 1 << 18

#: Fewest rows of a tile.
FEWEST_ROWS = 64

#: Time to form the weight of a pair of predictors for a row, in multiplications of a product.
WEIGHT_COST = 30

#: Edge of the blocks of a symmetric matrix, of which those below the diagonal are not formed.
EDGE = 128


class _Group(NamedTuple):
    """Predictors of one design: slopes (K, E, m), the design (p, m) and its products, if kept."""

    slopes: np.ndarray
    matrix: np.ndarray
    products: np.ndarray | None

    def tile(self, rows: slice) -> _Group:
        """Return the group for some of the rows."""
        products = None if self.products is None else self.products[:, rows]
        return _Group(self.slopes[..., rows], self.matrix[:, rows], products)


def _groups(state: Any, block: Block, of_gate: Scores, of_bank: Scores) -> list[_Group]:
    """Return the predictors of gate and bank, in one group if of the same design."""
    k, _, m = of_bank.slopes.shape
    gate, bank = state.gate.design, state.bank.design
    gate_slopes = np.broadcast_to(of_gate.slopes, (k, of_gate.slopes.shape[1], m))
    if gate is bank:
        slopes = np.concatenate([gate_slopes, of_bank.slopes], axis=1)
        return [_Group(slopes, block.matrix(gate), block.products(gate))]
    return [
        _Group(slopes, block.matrix(design), block.products(design))
        for slopes, design in ((gate_slopes, gate), (of_bank.slopes, bank))
    ]


def pairs_are_cheaper(k: int, sizes: list[tuple[int, int]], n_scalars: int) -> bool:
    """Return whether `by_pairs` takes less time than `by_vectors`.

    `sizes` are predictors and columns of each group.
    """
    width = sum(n * p for n, p in sizes) + n_scalars
    by_vectors = k * width * (k * width + EDGE) / 2 + k * width**2
    by_pairs = float(k * n_scalars * k * width)
    for n, p in sizes:
        by_pairs += k * n * (k * n + 1) / 2 * (p * (p + 1) / 2 + WEIGHT_COST)
    if len(sizes) == 2:
        (n, p), (n_other, p_other) = sizes
        by_pairs += k * n * k * n_other * (p * p_other + WEIGHT_COST)
    return by_pairs < by_vectors


def by_pairs(
    state: Any, block: Block, scores: tuple, posterior: np.ndarray, mass: np.ndarray
) -> Sums:
    """Return the sums where rows are units, and gate and bank have designs, the gate no scalars.

    The score by a predictor's coefficients is a number times the columns x, so that a pair of
    predictors of one design needs Σ_i w_i x xᵀ with one row of weights w: half as many products as
    with score vectors, and the products of columns may be there already. A pair of two designs
    needs Σ_i w_i x zᵀ.
    """
    of_gate, of_bank = scores
    k, n_scalars, m = of_bank.scalars.shape
    groups = _groups(state, block, of_gate, of_bank)
    by_scalars = of_bank.scalars * posterior[:, None]
    weighted = by_scalars * mass
    flat = by_scalars.reshape(-1, m)
    alone = -(flat * mass) @ flat.T
    alone = alone.reshape(k, n_scalars, k, n_scalars)
    for i in range(k):
        alone[i, :, i] += weighted[i] @ of_bank.scalars[i].T
    sums = Sums(alone=alone)
    gradients = []
    for number, group in enumerate(groups):
        sums[f"pairs {number}"] = _pairs(group, posterior, mass)
        shares = group.slopes * posterior[:, None]
        sums[f"crossed {number}"] = _crossed(group, shares, weighted)
        weights = (shares * mass).reshape(-1, m)
        gradients.append((weights @ group.matrix.T).reshape(k, -1))
    if len(groups) == 2:
        sums["between"] = _between(groups[0], groups[1], posterior, mass)
    sums["gradient"] = np.concatenate([*gradients, weighted.sum(axis=2)], axis=1)
    return sums


def _pairs(group: _Group, posterior: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Return the Gram matrices of all pairs of predictors of a group, a packed triangle of them."""
    k, n_entries, m = group.slopes.shape
    n_pairs = k * n_entries * (k * n_entries + 1) // 2
    step = max(FEWEST_ROWS, TILE_ITEMS // n_pairs)
    weights = np.empty((n_pairs, min(step, m)))
    pairs: Any = 0.0
    for rows in _tiles(m, step):
        buffer, part = weights[:, : rows.stop - rows.start], group.tile(rows)
        _pair_weights(part.slopes, posterior[:, rows], mass[rows], buffer)
        pairs = pairs + weighted_gram(buffer, part.matrix, part.products)
    return pairs


def _between(first: _Group, second: _Group, posterior: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Return Σ_i w_i x zᵀ of all pairs of predictors of two designs, (K E, K F, p, q)."""
    (k, n_entries, m), n_others = first.slopes.shape, second.slopes.shape[1]
    p, q = len(first.matrix), len(second.matrix)
    step = max(FEWEST_ROWS, TILE_ITEMS // max(k * n_entries * k * n_others, p * q))
    total = np.zeros((k * n_entries * k * n_others, p * q))
    for rows in _tiles(m, step):
        one, other, share = first.tile(rows), second.tile(rows), posterior[:, rows]
        weighted = one.slopes * (share * mass[rows])[:, None]
        shares = other.slopes * share[:, None]
        weights = weighted[:, :, None, None] * -shares
        for i in range(k):
            weights[i, :, i] += weighted[i][:, None] * other.slopes[i]
        products = one.matrix[:, None] * other.matrix
        total += weights.reshape(len(total), -1) @ products.reshape(p * q, -1).T
    return total.reshape(k * n_entries, k * n_others, p, q)


def _crossed(group: _Group, shares: np.ndarray, weighted: np.ndarray) -> np.ndarray:
    """Return the sums of scalars with the predictors of a group, (K, S, K, E, p)."""
    k, n_entries, m = shares.shape
    n_scalars = weighted.shape[1]
    crossed = np.empty((k, n_scalars, k, n_entries, len(group.matrix)))
    for i in range(k):
        for s in range(n_scalars):
            factor = -weighted[i, s] * shares
            factor[i] += weighted[i, s] * group.slopes[i]
            flat = factor.reshape(k * n_entries, m) @ group.matrix.T
            crossed[i, s] = flat.reshape(k, n_entries, -1)
    return crossed


def _tiles(n_rows: int, step: int) -> Iterator[slice]:
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def _pair_weights(
    slopes: np.ndarray, posterior: np.ndarray, mass: np.ndarray, out: np.ndarray
) -> None:
    """Write the weights of all pairs of predictors, (K, E), in the order of a packed triangle."""
    k, n_entries, m = slopes.shape
    flat = slopes.reshape(-1, m)
    shares = (slopes * posterior[:, None]).reshape(-1, m)
    weighted = shares * mass
    start = 0
    for i in range(k * n_entries):
        stop = start + k * n_entries - i
        np.multiply(shares[i:], -weighted[i], out=out[start:stop])
        same = n_entries - i % n_entries
        out[start : start + same] += weighted[i] * flat[i : i + same]
        start = stop


def from_pairs(sums: Sums) -> np.ndarray:
    """Return the covariance (K C, K C) from the sums of `by_pairs`."""
    k, n_scalars = sums["alone"].shape[:2]
    shapes = [sums[name].shape[3:] for name in ("crossed 0", "crossed 1") if name in sums]
    starts = np.cumsum([0] + [n * p for n, p in shapes])
    width = int(starts[-1])
    covariance = np.empty((k, width + n_scalars, k, width + n_scalars))
    for number, (n, p) in enumerate(shapes):
        here = slice(starts[number], starts[number + 1])
        first, second = np.triu_indices(k * n)
        grams = np.empty((k * n, k * n, p, p))
        grams[first, second] = grams[second, first] = unpack_symmetric(sums[f"pairs {number}"], p)
        covariance[:, here, :, here] = _by_parameters(grams, k)
        crossed = sums[f"crossed {number}"].reshape(k, n_scalars, k, n * p)
        covariance[:, width:, :, here] = crossed
        covariance[:, here, :, width:] = crossed.transpose(2, 3, 0, 1)
    if "between" in sums:
        first_half, other_half = slice(0, starts[1]), slice(starts[1], width)
        between = _by_parameters(sums["between"], k)
        covariance[:, first_half, :, other_half] = between
        covariance[:, other_half, :, first_half] = between.transpose(2, 3, 0, 1)
    covariance[:, width:, :, width:] = sums["alone"]
    return covariance.reshape(k * (width + n_scalars), -1)


def _by_parameters(grams: np.ndarray, k: int) -> np.ndarray:
    """Return matrices of pairs of predictors (K E, K F, p, q) as (K, E p, K, F q)."""
    n, n_others, p, q = grams.shape
    shape = (k, n // k * p, k, n_others // k * q)
    return grams.transpose(0, 2, 1, 3).reshape(shape)


def by_vectors(
    state: Any, block: Block, scores: tuple, posterior: np.ndarray, mass: np.ndarray
) -> Sums:
    """Return the sums from the score vectors themselves: for groups, and for any designs.

    Of `across`, which is symmetric, the blocks from the diagonal on: little more than half of the
    products. By NumPy, in contrast to BLAS from SciPy, they leave the interpreter to other threads.
    """
    k = len(posterior)
    within: Any = 0.0
    across: Any = None
    gradient: Any = 0.0
    root = np.sqrt(mass)
    for rows, vectors in score_vectors(state, block, *scores):
        shares = _flat(vectors * (posterior[:, rows] * root[rows])[:, None])
        if across is None:
            across = np.zeros((len(shares), len(shares)))
        for start in range(0, len(shares), EDGE):
            strip = shares[start : start + EDGE]
            across[start : start + EDGE, start:] += strip @ shares[start:].T
        gradient = gradient + shares @ root[rows]
        vectors *= np.sqrt(posterior[:, rows] * mass[rows])[:, None]
        within = within + np.matmul(vectors, vectors.transpose(0, 2, 1))
    return Sums(within=within, across=across, gradient=gradient.reshape(k, -1))


def _filled(upper: np.ndarray) -> np.ndarray:
    """Return a symmetric matrix, in C order, from its upper triangle; the rest is ignored."""
    matrix = np.empty(upper.shape)
    for start in range(0, len(upper), EDGE):
        stop = start + EDGE
        corner = np.triu(upper[start:stop, start:stop])
        matrix[start:stop, start:stop] = corner + np.triu(corner, 1).T
        matrix[start:stop, stop:] = upper[start:stop, stop:]
        matrix[stop:, start:stop] = upper[start:stop, stop:].T
    return matrix


def _flat(vectors: np.ndarray) -> np.ndarray:
    return vectors.reshape(-1, vectors.shape[-1])


def from_vectors(sums: Sums) -> np.ndarray:
    """Return the covariance (K C, K C) from the sums of `by_vectors`."""
    k, c, _ = sums["within"].shape
    covariance = -_filled(sums["across"]).reshape(k, c, k, c)
    for expert, within in enumerate(sums["within"]):
        covariance[expert, :, expert] += within
    return covariance.reshape(k * c, k * c)


def completed(values: np.ndarray, spaces: list[ParameterSpace]) -> np.ndarray:
    """Return numbers (K C, ...) by parameters with those of the last predictors, if left out.

    `spaces` are those of gate and bank.
    """
    gate, bank = spaces
    k, n_predictors, p = bank.predictors.shape
    first = gate.predictors[0].size + gate.scalars.shape[1]
    width = first + n_predictors * p + bank.scalars.shape[1]
    if len(values) == k * width:
        return values
    by_expert = values.reshape(k, width - p, *values.shape[1:])
    last = first + (n_predictors - 1) * p
    before, scalars = by_expert[:, :last], by_expert[:, last:]
    others = before[:, first:].reshape(k, n_predictors - 1, p, *values.shape[1:])
    full = np.concatenate([before, -np.add.reduce(others, axis=1), scalars], axis=1)
    return full.reshape(k * width, *values.shape[1:])


def score_vectors(
    state: Any, block: Block, of_gate: Scores, of_bank: Scores
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield runs of a block's units and their score vectors, (K, C, m).

    The score of a group is the sum over its rows; grouped blocks are taken in one piece.
    """
    unit, n_units = block.unit, block.unit.n_rows
    grouped = unit is not block
    width = of_gate.scalars.shape[1] + of_bank.scalars.shape[1]
    width += _width(state.gate, 1) + _width(state.bank, of_bank.slopes.shape[1])
    step = TILE_ITEMS // (len(of_bank.slopes) * max(width, 1))
    step = n_units if grouped else max(FEWEST_ROWS, step)
    for start in range(0, n_units, step):
        rows = slice(start, min(start + step, n_units))
        members = slice(0, block.n_rows) if grouped else rows
        bank_vectors = _vectors(state.bank, of_bank, block, members)
        if grouped:
            if block.weight is not None:
                bank_vectors = bank_vectors * block.weight
            bank_vectors = np.add.reduceat(bank_vectors, block.firsts, axis=2)
        gate_vectors = _vectors(state.gate, of_gate, unit, rows)
        yield rows, np.concatenate([gate_vectors, bank_vectors], axis=1)


def _width(part: Any, n_predictors: int) -> int:
    return part.design.size * n_predictors if can(part, "design") else 0


def _vectors(part: Any, scores: Scores, block: Block, rows: slice) -> np.ndarray:
    """Return a part's scores of some rows by each expert's parameters, (K, C, m)."""
    scalars = scores.scalars[..., rows]
    if not can(part, "design"):
        return scalars
    matrix = block.matrix(part.design)[:, rows]
    slopes = scores.slopes
    slopes = slopes if slopes.shape[2] == 1 else slopes[..., rows]
    by_columns = slopes[:, :, None] * matrix
    return np.concatenate([by_columns.reshape(len(slopes), -1, matrix.shape[1]), scalars], axis=1)
