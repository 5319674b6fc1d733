"""Penalties that the data set: the evidence of a ridge penalty.

A ridge penalty ½ α |θ|² is a gaussian prior of precision α. Its evidence, the likelihood with θ
integrated out, is largest where α |θ|² = γ, with γ the number of coefficients that the rows, rather
than the prior, determine: γ = Σ_j λ_j / (λ_j + α) over the eigenvalues of the Hessian without the
penalty (MacKay 1992).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from mixexp._newton import multinomial_hessian

__all__ = ["determined", "multinomial_determined", "strength_ratio", "strongest"]

#: Largest change of a strength at once, as a factor.
LARGEST_CHANGE = 10.0

#: Largest penalty of experts that the evidence sets: of several, as a multiple of the number of
#: rows; of one alone, of that of rows and columns. One of several without slopes could not find its
#: rows again.
STRONGEST, STRONGEST_ALONE = 0.15, 10.0

#: Ridge that keeps directions without curvature and penalty finite, relative to the largest entry.
SINGULAR = 1e-10


def determined(hessian: np.ndarray, penalty: np.ndarray) -> np.ndarray:
    """Return how far the rows determine each coefficient, (p,): from 0 to 1, γ is the sum.

    Parameters
    ----------
    hessian : ndarray of shape (p, p)
        Without the penalty; positive semidefinite.
    penalty : ndarray of shape (p,)
        0 for coefficients without a penalty, which do not count.
    """
    matrix = hessian + np.diag(penalty)
    ridge = SINGULAR * max(matrix.diagonal().max(), 1e-300)
    matrix[np.diag_indices_from(matrix)] += ridge
    inverse = cho_solve(cho_factor(matrix, lower=True), np.eye(len(matrix)))
    # The ridge counts as penalty: rows do not determine what it alone holds.
    held = (penalty + ridge) * inverse.diagonal()
    return np.where(penalty > 0, np.maximum(1 - held, 0.0), 0.0)


def multinomial_determined(
    curvature: str, gram: np.ndarray, penalty: np.ndarray, k: int, seen: np.ndarray | None = None
) -> np.ndarray:
    """Return how far the rows determine each coefficient of a multinomial model, (K, p).

    Parameters
    ----------
    curvature : {"newton", "blocks"}
        What the Gram matrices (q, p, p) are of: all pairs of K classes, or `block_products`. Of two
        classes there is one block, which is the Hessian itself along centred coefficients; of more,
        blocks are up to twice those of the Hessian.
    penalty : ndarray of shape (p,)
        The same for all classes.
    seen : ndarray of bool of shape (K, p), optional
        The coefficients that each class has.
    """
    found = np.zeros((k, len(penalty)))
    seen = np.ones(found.shape, dtype=bool) if seen is None else seen
    if curvature == "blocks":
        share = 0.5 if k > 2 else 1.0
        for c in range(k):
            ids = np.flatnonzero(seen[c])
            block = gram[c if len(gram) > 1 else 0][np.ix_(ids, ids)]
            found[c, ids] = determined(share * block, penalty[ids])
        return found * (k - 1) / k
    hessian = multinomial_hessian(gram)[np.ix_(seen.ravel(), seen.ravel())]
    found[seen] = determined(hessian, np.tile(penalty, k)[seen.ravel()])
    return found


def strength_ratio(
    gamma: Any, squares: Any, strength: Any, lowest: float, largest: float
) -> np.ndarray:
    """Return the factors by which the strengths of penalties change.

    Parameters
    ----------
    gamma, squares, strength : float or ndarray of shape (n_penalties,)
        γ, θᵀΛθ at the present strength, and this strength.
    lowest, largest : float
        Smallest and largest strength.
    """
    ratio = np.full(np.shape(gamma), LARGEST_CHANGE)
    with np.errstate(over="ignore"):  # of squares near 0, and clipped
        np.divide(gamma, squares, out=ratio, where=squares > 0)
    ratio = np.clip(ratio, 1 / LARGEST_CHANGE, LARGEST_CHANGE)
    return np.clip(strength * ratio, lowest, largest) / strength


def strongest(n_experts: int, n_rows: float, n_columns: int = 0) -> float:
    """Return the largest penalty that the evidence sets for so many experts, rows and columns.

    The curvature along the rows is that of n times the columns over the rows: for one expert of
    noise, 10 n would be weak where columns are many.
    """
    return STRONGEST * n_rows if n_experts > 1 else STRONGEST_ALONE * (n_rows + n_columns)
