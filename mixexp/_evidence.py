"""Penalties that the data set: the evidence of a ridge penalty.

A ridge penalty ½ α |θ|² is a gaussian prior of precision α. Its evidence, the likelihood with θ
integrated out, is largest where α |θ|² = γ, with γ the number of coefficients that the rows, rather
than the prior, determine: γ = Σ_j λ_j / (λ_j + α) over the eigenvalues of the Hessian without the
penalty (MacKay 1992).
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve

__all__ = ["determined", "strength_ratio"]

#: Largest strength: a part whose coefficients the rows do not speak for would be switched off, and
#: could not come back.
LARGEST_STRENGTH = 30.0

#: Largest change of a strength at once, as a factor.
LARGEST_CHANGE = 10.0

#: Ridge that keeps directions without curvature and penalty finite, relative to the largest entry.
SINGULAR = 1e-10


def determined(hessian: np.ndarray, penalty: np.ndarray) -> float:
    """Return γ, the number of penalised coefficients that the rows determine.

    Parameters
    ----------
    hessian : ndarray of shape (p, p)
        Without the penalty; positive semidefinite.
    penalty : ndarray of shape (p,)
        0 for coefficients without a penalty, which do not count.
    """
    penalised = penalty > 0
    matrix = hessian + np.diag(penalty)
    ridge = SINGULAR * max(matrix.diagonal().max(), 1e-300)
    matrix[np.diag_indices_from(matrix)] += ridge
    inverse = cho_solve(cho_factor(matrix, lower=True), np.eye(len(matrix)))
    # The ridge counts as penalty: rows do not determine what it alone holds.
    held = float(np.sum(((penalty + ridge) * inverse.diagonal())[penalised]))
    return max(int(penalised.sum()) - held, 0.0)


def strength_ratio(gamma: float, squares: float, strength: float, lowest: float) -> float:
    """Return the factor by which a penalty's strength changes.

    Parameters
    ----------
    gamma : float
    squares : float
        θᵀΛθ at the present strength.
    strength : float
    lowest : float
        Smallest strength.
    """
    ratio = gamma / squares if squares > 0 else LARGEST_CHANGE
    ratio = float(np.clip(ratio, 1 / LARGEST_CHANGE, LARGEST_CHANGE))
    return float(np.clip(strength * ratio, lowest, LARGEST_STRENGTH)) / strength
