"""Principal directions of wide rows, on which starts work."""

from __future__ import annotations

import numpy as np

from mixexp._rows.designs import Design
from mixexp._rows.rows import Rows

__all__ = ["MOST_FEATURES", "principal_scores"]

#: With more columns than this, starts see principal scores instead: neighbourhoods, trees and
#: lines in hundreds of columns are slow, and need more rows than there are.
MOST_FEATURES = 256

#: Number of principal scores, and of further directions that make them exact enough.
N_SCORES, N_SPARE = 32, 8

#: Rounds of multiplication with the rows; two are enough for starts.
ROUNDS = 2


def principal_scores(rows: Rows, design: Design, n_scores: int = N_SCORES) -> np.ndarray:
    """Return the first principal scores of scaled rows, (n, n_scores).

    The first score has unit variance, the others theirs in proportion. Products with the rows
    only: sparse rows stay sparse. The random directions are the same in every fit.

    References
    ----------
    Halko, Martinsson & Tropp (2011), Finding structure with randomness: probabilistic algorithms
    for constructing approximate matrix decompositions, SIAM Review 53, algorithm 4.4.
    """
    first = int(design.intercept)
    n_directions = min(n_scores + N_SPARE, rows.n_rows, design.size - first)
    directions = np.random.default_rng(0).standard_normal((n_directions, design.size))
    directions[:, :first] = 0.0
    for _ in range(ROUNDS):
        basis = np.linalg.qr(_scores(rows, design, directions).T)[0]
        directions = np.zeros_like(directions)
        for here, matrix in rows.linear(design):
            directions += basis[here].T @ matrix.T
        directions[:, :first] = 0.0
    values, vectors = np.linalg.eigh(directions @ directions.T)
    kept = np.argsort(-values, kind="stable")[:n_scores]
    scores = basis @ (vectors[:, kept] * np.sqrt(np.maximum(values[kept], 0.0)))
    spread = float(np.sqrt(np.mean(scores[:, 0] ** 2)))
    signs = np.sign(np.sum(scores**3, axis=0))  # the sign of a direction is arbitrary
    scores *= np.where(signs < 0, -1.0, 1.0) / (spread if spread > 0 else 1.0)
    return scores


def _scores(rows: Rows, design: Design, directions: np.ndarray) -> np.ndarray:
    """Return the products (k, n) of directions (k, size) with all rows."""
    return np.concatenate([directions @ matrix for _, matrix in rows.linear(design)], axis=1)
