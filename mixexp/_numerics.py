"""Functions of plain arrays: log space, weighted Gram matrices, their solution.

Layout: *component-major*. A block of m rows is a design matrix (p, m), with one row per column
of X, and quantities per expert are (K, m): sums over experts and products with coefficients then
run along contiguous memory.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotrs

__all__ = [
    "capped",
    "column_products",
    "level",
    "linear_scores",
    "n_pairs",
    "pair_products",
    "pairs_of",
    "softmax_in_place",
    "softmax_of_level",
    "solve_psd",
    "solve_psd_stack",
    "unpack_symmetric",
    "weighted_gram",
]

#: Up to this many design columns, products of columns serve where weights are expected to be many.
PACKED_COLUMNS = 48

#: Column products pay from this many weight rows per design column, and never above this many
#: columns: elsewhere each weight row takes a product of the weighted design with itself. Measured
#: for 6 to 200 columns; with 8 weight rows and 100 columns it is 2.8 times as fast.
WEIGHTS_PER_COLUMN, MOST_PACKED_COLUMNS = 0.35, 256

#: The same where the products are kept, unless they are in the cache: from memory they take longer
#: to read than a few products of the design.
WEIGHTS_PER_KEPT_COLUMN, CACHED_ITEMS = 0.3, 1 << 19

#: Doubles of column products formed at once: about the size of a second-level cache.
TILE_ITEMS = 1 << 18

#: Sums of exponentials of numbers below this cannot overflow.
SAFE_EXPONENT = 600.0

#: Bound on scores: their differences, and sums over a tree, then cannot overflow.
FARTHEST_SCORE = 1e300

#: Relative size below which an eigenvalue of a scaled Gram matrix counts as zero.
RANK_TOL = 1e-13


def level(scores: np.ndarray, *, centred: bool = False) -> None:
    """Subtract from log-scores (..., K, m) their largest over axis -2, in place.

    If scores are `centred`, with zero sums over K, their maximum is at least zero, and only
    overflow needs a check: small ones are left as they are. Of large ones the logarithm of the sum
    of exponentials is lost beside the maximum, and two equal ones would both have probability 1.
    """
    if centred and scores.size and np.maximum.reduce(scores, axis=None) < SAFE_EXPONENT:
        return
    scores -= np.maximum.reduce(scores, axis=-2)[..., None, :]


def softmax_of_level(scores: np.ndarray) -> np.ndarray:
    """Turn scores after `level` into probabilities, in place; return log-sum-exp (..., m)."""
    np.exp(scores, out=scores)
    total = np.add.reduce(scores, axis=-2)
    scores *= np.reciprocal(total)[..., None, :]
    np.log(total, out=total)
    return total


def softmax_in_place(scores: np.ndarray) -> np.ndarray:
    """Turn log-scores (..., K, m) into probabilities over axis -2; return log-sum-exp (..., m)."""
    top = np.maximum.reduce(scores, axis=-2)
    scores -= top[..., None, :]
    total = softmax_of_level(scores)
    total += top
    return total


def linear_scores(theta: np.ndarray, design: np.ndarray) -> np.ndarray:
    """Return theta (K, p) times a design (p, m), finite however far out a row is.

    If a score would exceed `FARTHEST_SCORE`, or is NaN as a difference of such, the row is moved
    back along its ray from the centre, which does not change which score is largest.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        scores: np.ndarray = theta @ design
        flat = scores.reshape(-1)
        if flat @ flat < FARTHEST_SCORE:  # one product rules out large scores and NaN
            return scores
    far = ~np.all(np.abs(scores) < FARTHEST_SCORE, axis=0)
    if not np.any(far):
        return scores
    largest_double = np.finfo(float).max
    rows = np.clip(design[:, far], -largest_double, largest_double)
    size = np.abs(rows).max(axis=0)
    unit = theta @ (rows / size)
    largest = np.maximum(np.abs(unit).max(axis=0), np.finfo(float).tiny)
    with np.errstate(over="ignore"):
        scores[:, far] = unit * np.minimum(size, FARTHEST_SCORE / largest)
    return scores


def capped(parameters: np.ndarray, ceiling: np.ndarray | None) -> np.ndarray:
    """Return parameters (P, K, n_outputs) with dispersions, which come first, below a ceiling."""
    if ceiling is None:
        return parameters
    parameters = parameters.copy()
    np.minimum(parameters[:1], ceiling, out=parameters[:1])
    return parameters


def n_pairs(k: int) -> int:
    """Return the number of unordered pairs of k items."""
    return k * (k - 1) // 2


def pair_products(proba: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Write the products g_k g_l, k < l, of (..., K, m) into `out` (..., K(K-1)/2, m)."""
    k = proba.shape[-2]
    start = 0
    for i in range(k - 1):
        stop = start + k - 1 - i
        np.multiply(proba[..., i : i + 1, :], proba[..., i + 1 :, :], out=out[..., start:stop, :])
        start = stop
    return out


def column_products(design: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Return the products x_i x_j, i <= j, of the rows of a design (p, m): (p(p+1)/2, m).

    If the first row is the intercept, the first p rows of the result are the design itself.
    """
    p, m = design.shape
    if out is None:
        out = np.empty((p * (p + 1) // 2, m))
    start = 0
    for i in range(p):
        stop = start + p - i
        np.multiply(design[i], design[i:], out=out[start:stop])
        start = stop
    return out


def weighted_gram(
    weights: np.ndarray, design: np.ndarray, products: np.ndarray | None = None
) -> np.ndarray:
    """Return Σ_i w_qi x_i x_iᵀ per weight row, in the format of `unpack_symmetric`.

    The packed upper triangle, or full matrices of more than `MOST_PACKED_COLUMNS` columns.

    Parameters
    ----------
    weights : (q, m)
    design : (p, m)
    products : (p(p+1)/2, m), optional
        The cached result of `column_products`.

    Returns
    -------
    (q, p(p+1)/2) or (q, p²)
    """
    p, m = design.shape
    if products is not None and (
        len(weights) >= WEIGHTS_PER_KEPT_COLUMN * p or products.size <= CACHED_ITEMS
    ):
        return weights @ products.T
    if p > MOST_PACKED_COLUMNS or len(weights) < WEIGHTS_PER_COLUMN * p:
        return _gram_by_weights(weights, design)
    n_products = p * (p + 1) // 2
    tile = max(64, TILE_ITEMS // n_products)
    gram = np.zeros((len(weights), n_products))
    buffer = np.empty((n_products, min(tile, m)))
    for start in range(0, m, tile):
        part = design[:, start : start + tile]
        gram += (
            weights[:, start : start + tile] @ column_products(part, buffer[:, : part.shape[1]]).T
        )
    return gram


def _gram_by_weights(weights: np.ndarray, design: np.ndarray) -> np.ndarray:
    """Return the result of `weighted_gram` by one product per weight row.

    NumPy forms the product of an array with its own transpose in half of the time; roots of
    the weights make it one, where none is negative.
    """
    p = len(design)
    packed = None if p > MOST_PACKED_COLUMNS else _packed_places(p)
    gram = np.empty((len(weights), p * p if packed is None else len(packed)))
    buffer = np.empty_like(design)
    for w, out in zip(weights, gram, strict=True):
        if w.min(initial=0.0) < 0:
            full = np.multiply(design, w, out=buffer) @ design.T
        else:
            np.multiply(design, np.sqrt(w), out=buffer)
            full = buffer @ buffer.T
        out[:] = full.ravel() if packed is None else full.ravel()[packed]
    return gram


def unpack_symmetric(packed: np.ndarray, p: int) -> np.ndarray:
    """Return the result of `weighted_gram` as symmetric matrices (q, p, p)."""
    if packed.shape[1] == p * p:
        return packed.reshape(-1, p, p)
    return packed.take(_places_in_packed(p), axis=1)


@lru_cache(maxsize=PACKED_COLUMNS)
def pairs_of(k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of all pairs of k items, the smaller one first."""
    first, second = np.triu_indices(k, 1)
    first.flags.writeable = second.flags.writeable = False
    return first, second


@lru_cache(maxsize=PACKED_COLUMNS)
def _packed_places(p: int) -> np.ndarray:
    """Return the place in a raveled (p, p) matrix of each entry of `weighted_gram`."""
    rows, cols = np.triu_indices(p)
    places: np.ndarray = rows * p + cols
    places.flags.writeable = False
    return places


@lru_cache(maxsize=PACKED_COLUMNS)
def _places_in_packed(p: int) -> np.ndarray:
    """Return the column of `weighted_gram` that holds each entry of a symmetric (p, p) matrix."""
    places = np.empty((p, p), dtype=np.intp)
    rows, cols = np.triu_indices(p)
    places[rows, cols] = places[cols, rows] = np.arange(len(rows))
    places.flags.writeable = False
    return places


def solve_psd(matrix: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    """Solve A x = b for positive semidefinite A; x is zero in the null space of A.

    A is scaled to a unit diagonal first: columns of different scale would look rank-deficient.
    Uses Cholesky if possible, else the eigenvalues above `RANK_TOL`. If A is not finite, x is NaN.
    """
    diagonal = matrix.diagonal()
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    scaled = matrix / (scale[:, None] * scale)
    b = (rhs.T / scale).T
    factor, info = dpotrf(scaled, lower=1)
    if info == 0 and factor.diagonal().min() ** 2 > len(matrix) * RANK_TOL:
        x, _ = dpotrs(factor, b, lower=1)
    elif not np.isfinite(scaled).all():
        return np.full_like(b, np.nan)
    else:
        values, vectors = np.linalg.eigh(scaled)
        keep = values > len(matrix) * RANK_TOL * max(values[-1], 0.0)
        basis = vectors[:, keep]
        x = basis @ ((basis.T @ b).T / values[keep]).T
    return (x.T / scale).T


def solve_psd_stack(matrices: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    """Solve A_k X_k = B_k, (K, p, p) and (K, p, q), as `solve_psd` does, for all at once.

    Where one of the matrices may be rank-deficient, each is solved on its own. There may be none.
    """
    diagonal = np.diagonal(matrices, axis1=1, axis2=2)
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    scaled = matrices / (scale[:, :, None] * scale[:, None, :])
    try:
        factors = np.linalg.cholesky(scaled)
    except np.linalg.LinAlgError:
        factors = None
    if factors is not None:
        smallest = np.diagonal(factors, axis1=1, axis2=2).min(initial=np.inf)
        if smallest**2 > matrices.shape[1] * RANK_TOL:
            return np.linalg.solve(scaled, rhs / scale[:, :, None]) / scale[:, :, None]
    return np.stack([solve_psd(*pair) for pair in zip(matrices, rhs, strict=True)])
