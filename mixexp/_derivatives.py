"""Derivatives of a part's log-probabilities by its parameters, and the space these lie in.

The parameters of a part are a vector (`get_parameters`). An entry is either a coefficient of a
design column, so that log-probabilities depend on it through a linear predictor, or a scalar such
as the logarithm of a dispersion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

__all__ = ["ParameterSpace", "PriorDerivatives", "Scores", "unbounded"]


#: A parameter is on a bound if it is this close.
ON_BOUND = 1e-9


class Scores(NamedTuple):
    """First and second derivatives of log-probabilities of the rows of a block.

    log p_k depends on the L linear predictors and the S scalars of expert k; a gate's depends
    on all experts' in a way that is the same for all k (`shared`).

    Attributes
    ----------
    slopes : ndarray of shape (K, L, m) or one that broadcasts to it
        ∂ log p_k / ∂ the predictors of expert k, without the shared part. Where they add up to 0,
        the last may be left out: L is then one less than the `ParameterSpace` has.
    scalars : ndarray of shape (K, S, m)
        ∂ log p_k / ∂ the scalars of expert k, without the shared part.
    shared : ndarray of shape (K, L + S, m) or None
        The part of the derivatives that all log p_k have in common, by the predictors and scalars
        of every expert; None where there is none.
    information : ndarray of shape (P, P)
        The complete-data information Σ_i Σ_k r_ik (−∂² log p_k).
    """

    slopes: np.ndarray
    scalars: np.ndarray
    shared: np.ndarray | None
    information: np.ndarray


class PriorDerivatives(NamedTuple):
    """Gradient (P,) of a part's log-prior, and its information (P, P), minus the second one.

    `uncounted` (P,) is the share of its diagonal that does not make fewer parameters of them, as a
    penalty of coefficients does: that of a prior of dispersions.
    """

    gradient: np.ndarray
    information: np.ndarray
    uncounted: np.ndarray | float = 0.0


@dataclass(frozen=True)
class ParameterSpace:
    """How the P parameters of a part are laid out, tied and bounded.

    Attributes
    ----------
    predictors : ndarray of int of shape (K, L, p)
        Positions of the coefficients of every expert's linear predictors.
    scalars : ndarray of int of shape (K, S)
        Positions of the scalars of every expert.
    tied : ndarray of int of shape (P,)
        Parameters with the same number are equal; −1 marks those that are fixed.
    redundant : ndarray of int of shape (R, M)
        Sets of positions: adding the same number to all of a set changes nothing.
    lower, upper : ndarray of shape (P,)
    """

    predictors: np.ndarray
    scalars: np.ndarray
    tied: np.ndarray
    redundant: np.ndarray
    lower: np.ndarray
    upper: np.ndarray

    @property
    def size(self) -> int:
        """P."""
        return len(self.tied)

    def on_bounds(self, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which of the parameters (P,) are on their lower, and on their upper bound."""
        return parameters <= self.lower + ON_BOUND, parameters >= self.upper - ON_BOUND

    def free_ids(self, held: np.ndarray) -> np.ndarray:
        """Return the number of each parameter among the free ones, (P,), −1 where it is held.

        Tied parameters have the same number; fixed ones are held anyway.
        """
        numbers, ids = np.unique(np.where(held, -1, self.tied), return_inverse=True)
        ids = ids.reshape(-1)
        return ids - 1 if len(numbers) and numbers[0] == -1 else ids


def unbounded(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds (lower, upper) of parameters without bounds."""
    return np.full(size, -np.inf), np.full(size, np.inf)
