"""The covariance of the scores of a block's units, given the observed data.

Expert k has C parameters in gate and bank: coefficients of the gate, coefficients of its
predictors, scalars. Covariances are in this order, expert by expert. There are two ways, and two
functions that turn the sums of either into a matrix (K C, K C).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mixexp._numerics import unpack_symmetric, weighted_gram
from mixexp.protocols import Block, ParameterSpace, Scores, Sums, can

__all__ = ["by_pairs", "by_vectors", "completed", "from_pairs", "from_vectors", "score_vectors"]

#: Doubles that are formed at once: few enough for the cache, enough for long products.
TILE_ITEMS = 1 << 18

#: Fewest rows of a tile.
FEWEST_ROWS = 64

#: Edge of the blocks of a symmetric matrix, of which those below the diagonal are not formed.
EDGE = 128


def by_pairs(
    state: Any, block: Block, scores: tuple, posterior: np.ndarray, mass: np.ndarray
) -> Sums:
    """Return the sums where all predictors are of the same design columns.

    The score by a predictor's coefficients is a number times the columns x, so that a pair of
    predictors needs Σ_i w_i x xᵀ with one row of weights w: half as many products as with score
    vectors, and the products of columns are there already.
    """
    k, m = posterior.shape
    of_gate, of_bank = scores
    gate_slopes = np.broadcast_to(of_gate.slopes, (k, 1, m))
    slopes = np.concatenate([gate_slopes, of_bank.slopes], axis=1)  # (K, E, m)
    scalars = of_bank.scalars
    n_entries, n_scalars = slopes.shape[1], scalars.shape[1]
    total = k * n_entries
    n_pairs = total * (total + 1) // 2
    design = state.gate.design
    matrix, products = block.matrix(design), block.products(design)
    step = max(FEWEST_ROWS, TILE_ITEMS // n_pairs)
    weights = np.empty((n_pairs, min(step, m)))
    pairs: Any = 0.0
    for start in range(0, m, step):
        rows = slice(start, min(start + step, m))
        buffer = weights[:, : rows.stop - rows.start]
        _pair_weights(slopes[..., rows], posterior[:, rows], mass[rows], buffer)
        pairs = pairs + weighted_gram(
            buffer, matrix[:, rows], None if products is None else products[:, rows]
        )
    shares = slopes * posterior[:, None]
    by_scalars = scalars * posterior[:, None]
    weighted = by_scalars * mass
    crossed = np.empty((k, n_scalars, k, n_entries, design.size))
    for i in range(k):
        for s in range(n_scalars):
            factor = -weighted[i, s] * shares
            factor[i] += weighted[i, s] * slopes[i]
            crossed[i, s] = (factor.reshape(total, m) @ matrix.T).reshape(k, n_entries, -1)
    flat = by_scalars.reshape(-1, m)
    alone = -(flat * mass) @ by_scalars.reshape(-1, m).T
    alone = alone.reshape(k, n_scalars, k, n_scalars)
    for i in range(k):
        alone[i, :, i] += weighted[i] @ scalars[i].T
    gradient = ((shares * mass).reshape(total, m) @ matrix.T).reshape(k, -1)
    gradient = np.concatenate([gradient, weighted.sum(axis=2)], axis=1)
    return Sums(pairs=pairs, crossed=crossed, alone=alone, gradient=gradient)


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
    k, n_scalars, _, n_entries, p = sums["crossed"].shape
    total, width = k * n_entries, n_entries * p
    first, second = np.triu_indices(total)
    grams = np.empty((total, total, p, p))
    grams[first, second] = grams[second, first] = unpack_symmetric(sums["pairs"], p)
    covariance = np.empty((k, width + n_scalars, k, width + n_scalars))
    of_slopes = grams.transpose(0, 2, 1, 3).reshape(k, width, k, width)
    covariance[:, :width, :, :width] = of_slopes
    crossed = sums["crossed"].reshape(k, n_scalars, k, width)
    covariance[:, width:, :, :width] = crossed
    covariance[:, :width, :, width:] = crossed.transpose(2, 3, 0, 1)
    covariance[:, width:, :, width:] = sums["alone"]
    return covariance.reshape(k * (width + n_scalars), -1)


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
