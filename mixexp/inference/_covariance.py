"""Covariance matrices of the parameters of a fitted model."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from mixexp._engine.assign import Soft
from mixexp._engine.criteria import free_basis
from mixexp._engine.information import Information, unit_scores
from mixexp._engine.sweep import EStep, State
from mixexp.protocols import Rows, can

__all__ = ["parameter_covariance", "refuse_other_rows"]

#: Smallest eigenvalue of the information, as a share of the largest, in units in which every
#: parameter has a complete-data information of 1: below, rounding decides.
SMALLEST_EIGENVALUE = 1e-9

#: What to do where the parameters are not an optimum.
OTHER_ROWS = (
    "Give the X, y, weights, offset and groups of the fit. A fit with expert_labels, or with an "
    "assignment other than 'soft', has another objective and no standard errors."
)

#: Positive parameters that are fewer standard errors away from 0 are held, as on a bound.
NEAR_ZERO = 0.1

#: Largest relative difference between the bound of the rows and that of the fit.
SAME_BOUND = 1e-7

#: Largest standard error of log-odds: beyond, a likelihood that separates has no maximum.
LARGEST_LOGIT = 100.0

#: Largest distance to the optimum, in standard errors.
FARTHEST = 1.0


def parameter_covariance(
    model: Any,
    rows: Rows,
    information: Information,
    bound: float,
    cov_type: str,
    clusters: np.ndarray | None,
    owner: str,
) -> np.ndarray:
    """Return the covariance (P, P) of the parameters, 0 for those that are held.

    Parameters
    ----------
    model : Model
    rows : Rows
        The rows of the fit.
    information : Information
        Of the model, given these rows.
    bound : float
        The lower bound of the fit, which these rows must have.
    cov_type : {"observed", "sandwich"}
    clusters : ndarray of int of shape (n_units,) or None
        Units of one cluster have dependent scores.
    owner : str

    Raises
    ------
    ValueError
        If the rows are not those of the fit, all experts are one model, the parameters no
        optimum, the information is near-singular, or a gate or logistic expert separates.
    """
    state: State = model.state
    parameters = state.parameters
    refuse_other_rows(information.bound, bound, owner)
    _refuse_alike(model, owner)
    basis = free_basis(information, parameters, _at_zero(information))
    inverse = _inverse(basis.T @ information.observed @ basis, owner)
    gradient = basis.T @ information.gradient
    distance = float(np.sqrt(max(gradient @ inverse @ gradient, 0.0)))
    if not distance <= FARTHEST:
        raise ValueError(
            f"{owner}: the parameters are {distance:.3g} standard errors away from the optimum: "
            "the fit has not converged. Lower tol, or increase max_iter."
        )
    _refuse_separated(model, basis, inverse, owner)
    if cov_type == "sandwich":
        if clusters is not None and clusters.max() < basis.shape[1]:
            raise ValueError(
                f"{owner}: there are {clusters.max() + 1} clusters for {basis.shape[1]} free "
                "parameters; with no more clusters than parameters their covariance is singular. "
                "Give finer clusters, or leave them out."
            )
        meat = _meat(state, rows, clusters)
        inverse = inverse @ (basis.T @ meat @ basis) @ inverse
    covariance: np.ndarray = basis @ inverse @ basis.T
    return covariance


def refuse_other_rows(found: float, bound: float, owner: str) -> None:
    """Raise if the bound of given rows is not that of the fit."""
    if not abs(found - bound) <= SAME_BOUND * max(1.0, abs(bound)):
        raise ValueError(
            f"{owner}: the rows have a penalised log-likelihood of {found:.6g} per "
            f"unit of weight, and the fit has lower_bound_ = {bound:.6g}. {OTHER_ROWS}"
        )


def _at_zero(information: Information) -> np.ndarray:
    """Return which positive parameters (P,) cannot be told from 0, whose logarithm runs off.

    With s and I the score and the information of such a parameter v, those of log v are v s and
    v² I − v s; v √I says how many standard errors away from 0 it is. A fit stops somewhere on the
    way to 0, and errors by the logarithm would depend on where.
    """
    space = information.space
    away = information.observed.diagonal() + information.gradient
    return np.isfinite(space.lower) & (away < NEAR_ZERO**2)


def _refuse_alike(model: Any, owner: str) -> None:
    """Raise if all experts are one model: a gate between equal ones is not determined."""
    theta = getattr(model.bank, "theta", None)
    if theta is not None and len(theta) > 1 and not np.ptp(theta, axis=0).any():
        raise ValueError(
            f"{owner}: all {len(theta)} experts are one model, so that there is no maximum in the "
            "parameters of the gate. Fit n_experts=1, which predicts the same."
        )


def _refuse_separated(model: Any, basis: np.ndarray, inverse: np.ndarray, owner: str) -> None:
    """Raise if log-odds are so uncertain that the likelihood has no maximum."""
    gate, bank = model.gate, model.bank
    size, judged = gate.parameter_space.size, []
    if not can(gate, "tuned"):  # with a penalty by its evidence there is a maximum
        judged.append(gate.parameter_space.predictors.ravel())
    if getattr(bank, "classes", None) is not None and not can(bank, "tuned"):
        judged.append(size + bank.parameter_space.predictors.ravel())
    if not judged:
        return
    rows = basis[np.concatenate(judged)]
    variance = np.einsum("pf,fg,pg->p", rows, inverse, rows, optimize=True)
    if np.any(variance > LARGEST_LOGIT**2):
        raise ValueError(
            f"{owner}: the gate or a logistic expert separates, or nearly so: a coefficient of a "
            f"column scaled to a standard deviation of 1 has a standard error of "
            f"{np.sqrt(variance.max()):.3g} in log-odds. Its likelihood has no maximum; penalise "
            "the gate and logistic experts more."
        )


def _inverse(matrix: np.ndarray, owner: str) -> np.ndarray:
    """Return the inverse of an information, in units in which that of complete data is 1."""
    values, vectors = np.linalg.eigh(matrix)
    if len(values) and values[0] < -SMALLEST_EIGENVALUE * values[-1]:
        raise ValueError(
            f"{owner}: the parameters are no maximum: the fit has not converged, or the gate "
            "separates. Lower tol, or penalise the gate more."
        )
    if len(values) and not values[0] > SMALLEST_EIGENVALUE * values[-1]:
        raise ValueError(
            f"{owner}: the information is near-singular (eigenvalues from {values[0]:.2g} to "
            f"{values[-1]:.2g} of that of complete data), so that standard errors would be noise. "
            "An expert may have too few rows, the gate may separate, or columns may be collinear: "
            "lower n_experts, or penalise gate and experts more."
        )
    inverse: np.ndarray = (vectors / values) @ vectors.T
    return inverse


def _meat(state: State, rows: Rows, clusters: np.ndarray | None) -> np.ndarray:
    """Return the sum of squares (P, P) of the scores of units, or of clusters of units."""
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
