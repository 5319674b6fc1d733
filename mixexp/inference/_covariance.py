"""Covariance matrices of the parameters of a fitted model."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from scipy.linalg import eigh, qr

from mixexp._engine.assign import Soft
from mixexp._engine.information import Information, unit_scores
from mixexp._engine.sweep import EStep, State
from mixexp.protocols import ParameterSpace, Rows

__all__ = ["parameter_covariance", "parameters_of"]

#: A parameter this close to a bound is held there, and has no standard error.
ON_BOUND = 1e-9

#: Smallest eigenvalue of the information, as a share of the largest, in units in which every
#: parameter has a complete-data information of 1: below, rounding decides.
SMALLEST_EIGENVALUE = 1e-9

#: What to do where the parameters are not an optimum.
OTHER_ROWS = (
    "Give the X, y, weights, offset and groups of the fit; if they are, it has not converged: "
    "lower tol, or increase max_iter."
)

#: Largest distance to the optimum, in standard errors.
FARTHEST = 1.0


def parameters_of(model: Any) -> np.ndarray:
    """Return the parameters of gate and bank as one vector (P,)."""
    return np.concatenate([part.get_parameters() for part in (model.gate, model.bank)])


def parameter_covariance(
    model: Any, rows: Rows, cov_type: str, clusters: np.ndarray | None, owner: str
) -> np.ndarray:
    """Return the covariance (P, P) of the parameters, 0 for those that are held.

    Parameters
    ----------
    model : Model
    rows : Rows
        The rows of the fit.
    cov_type : {"observed", "sandwich"}
    clusters : ndarray of int of shape (n_units,) or None
        Units of one cluster have dependent scores.
    owner : str

    Raises
    ------
    ValueError
        If the information is near-singular, or the parameters are not an optimum for the rows.
    """
    information = model.information(rows)
    basis = _free_basis(information, parameters_of(model))
    inverse = _inverse(basis.T @ information.observed @ basis, owner)
    gradient = basis.T @ information.gradient
    distance = float(np.sqrt(max(gradient @ inverse @ gradient, 0.0)))
    if not distance <= FARTHEST:
        raise ValueError(
            f"{owner}: the parameters are {distance:.3g} standard errors away from the optimum for "
            f"these rows. {OTHER_ROWS}"
        )
    if cov_type == "sandwich":
        meat = _meat(model, rows, clusters)
        inverse = inverse @ (basis.T @ meat @ basis) @ inverse
    covariance: np.ndarray = basis @ inverse @ basis.T
    return covariance


def _free_basis(information: Information, parameters: np.ndarray) -> np.ndarray:
    """Return directions (P, F) of the free parameters; redundant ones are left out.

    Their columns are scaled to a complete-data information of 1.
    """
    space: ParameterSpace = information.space
    held = (space.tied < 0) | (parameters <= space.lower + ON_BOUND)
    held |= (parameters >= space.upper - ON_BOUND) | ~(information.complete.diagonal() > 0)
    numbers, ids = np.unique(np.where(held, -1, space.tied), return_inverse=True)
    first = int(len(numbers) > 0 and numbers[0] == -1)
    ties = np.zeros((len(parameters), len(numbers) - first))
    members = np.flatnonzero(ids >= first)
    ties[members, ids[members] - first] = 1.0
    scale = np.sqrt(np.einsum("pf,pq,qf->f", ties, information.complete, ties, optimize=True))
    sums = [np.isin(np.arange(len(parameters)), row) @ ties for row in space.redundant]
    basis = ties / scale
    if sums:
        turned, _, _ = qr((np.array(sums) / scale).T, pivoting=True)
        basis = basis @ turned[:, np.linalg.matrix_rank(np.array(sums)) :]
    return basis


def _inverse(matrix: np.ndarray, owner: str) -> np.ndarray:
    """Return the inverse of an information, in units in which that of complete data is 1."""
    values, vectors = eigh(matrix)
    if len(values) and values[0] < -SMALLEST_EIGENVALUE * values[-1]:
        raise ValueError(f"{owner}: the parameters are no maximum for these rows. {OTHER_ROWS}")
    if len(values) and not values[0] > SMALLEST_EIGENVALUE * values[-1]:
        raise ValueError(
            f"{owner}: the information is near-singular (eigenvalues from {values[0]:.2g} to "
            f"{values[-1]:.2g} of that of complete data), so that standard errors would be noise. "
            "An expert may have too few rows, the gate may separate, or columns may be collinear: "
            "lower n_experts, or penalise gate and experts more."
        )
    inverse: np.ndarray = (vectors / values) @ vectors.T
    return inverse


def _meat(model: Any, rows: Rows, clusters: np.ndarray | None) -> np.ndarray:
    """Return the sum of squares (P, P) of the scores of units, or of clusters of units."""
    state = State(model.gate, model.bank)
    e_step = EStep(state, Soft(), 0)
    weight = rows.units.weight
    if clusters is None:

        def squares(block: Any) -> np.ndarray:
            scores = unit_scores(block, state, e_step)
            of_units = block.unit.weight
            weighted = scores if of_units is None else scores * of_units
            product: np.ndarray = weighted @ scores.T
            return product

        total: np.ndarray = rows.reduce(squares)
        return total
    scores = rows.map(partial(unit_scores, state=state, e_step=e_step), axis=1)
    scores = scores if weight is None else scores * weight
    summed = np.zeros((len(scores), clusters.max() + 1))
    np.add.at(summed.T, clusters, scores.T)
    return summed @ summed.T
