"""Numbers by which mixtures of different size are compared: parameters, likelihood, criteria.

Akaike (1974), A new look at the statistical model identification, IEEE TAC 19. Schwarz (1978),
Estimating the dimension of a model, Annals of Statistics 6. Biernacki, Celeux & Govaert (2000),
Assessing a mixture model for clustering with the integrated completed likelihood, IEEE PAMI 22.
Gray (1992), Flexible methods for analyzing survival data using splines, JASA 87: effective
parameters of penalised likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve, qr
from scipy.special import xlogy

from mixexp._engine.assign import Soft
from mixexp._engine.em import Problem, evaluate
from mixexp._engine.information import Information, has_information
from mixexp._engine.sweep import State, log_joint, posterior
from mixexp._numerics import RANK_TOL
from mixexp.protocols import Block, ParameterSpace, Rows, can

__all__ = [
    "Count",
    "Fitness",
    "counted",
    "effective_parameters",
    "fitness",
    "free_basis",
    "is_penalised",
]

#: Most parameters for which the observed information is inverted; beyond, all count in full.
MOST_PARAMETERS = 3000

#: An expert that lies so far from a row that its density underflows gives it this log-density at
#: least, so that differences of sums stay finite.
LEAST_LOG_DENSITY = -1e6


class Count(NamedTuple):
    """A number of parameters, NaN if it is unknown, and how they were counted.

    `how` is "exact" where nothing is penalised; "effective", by the observed information;
    "complete", by the information of the complete data, where the observed one is not positive
    definite; "full", each as one, where a part has no derivatives; and "unknown".
    """

    n_parameters: float
    how: str


@dataclass(frozen=True)
class Fitness:
    """The fit of a state to its rows.

    Attributes
    ----------
    log_density : ndarray of shape (n_units,)
        log p(y | x), of batch experts that are cross-fitted out of fold.
    weight : ndarray of shape (n_units,)
    entropy : float
        Of all responsibilities, weighted.
    """

    log_density: np.ndarray
    weight: np.ndarray
    entropy: float

    @property
    def log_likelihood(self) -> float:
        """The weighted log-likelihood."""
        return float(self.log_density @ self.weight)


def fitness(state: State, rows: Rows) -> Fitness:
    """Return the fit of a state to rows: one pass."""

    def of_block(block: Block) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            resp, density = posterior(log_joint(state.gate, state.bank, block))
        entropy = -np.add.reduce(xlogy(resp, resp), axis=0)
        return np.stack([density, np.where(np.isfinite(entropy), entropy, 0.0)])

    density, entropy = rows.map(of_block, axis=1)
    density = np.maximum(np.nan_to_num(density, nan=-np.inf), LEAST_LOG_DENSITY)
    weight = rows.units.weight
    weight = np.ones(len(density)) if weight is None else weight
    return Fitness(density, weight, float(entropy @ weight))


def is_penalised(part: Any) -> bool:
    """Return whether a part has coefficients that a prior pulls."""
    return can(part, "log_prior") and bool(np.any(part.log_prior() != 0.0))


def counted(state: State, rows: Rows, information: Information | None = None) -> Count:
    """Return the number of parameters of a state, effective ones where they are penalised.

    The information is that of the rows, which takes a pass if it is not given. Penalties that the
    data have set for columns of a gate count too: where they are free, noise is explained by a
    choice of columns.
    """
    count = _coefficients(state, rows, information)
    n_strengths = sum(getattr(part, "n_strengths", 0.0) for part in state.parts)
    return count._replace(n_parameters=count.n_parameters + n_strengths)


def _coefficients(state: State, rows: Rows, information: Information | None) -> Count:
    """Return the number of parameters without strengths of penalties."""
    if not all(can(part, "n_parameters") for part in state.parts):
        return Count(np.nan, "unknown")
    full = float(sum(part.n_parameters for part in state.parts))
    if not any(is_penalised(part) for part in state.parts):
        return Count(full, "exact")
    if not has_information(state) or len(state.parameters) > MOST_PARAMETERS:
        return Count(full, "full")
    if information is None:
        information = evaluate(Problem(rows, Soft(), 1, 0.0), state, 0, informed=True).information
        assert information is not None
    held, beyond = _of_constants(state), _beyond(state)
    return effective_parameters(information, state.parameters, full, held, beyond)


def _beyond(state: State) -> int:
    """Return the number of coefficients that coordinates of the row space leave out.

    Parts count those of all columns, and penalties alone determine these.
    """
    found = 0
    for part in state.parts:
        if can(part, "design") and part.design.whitened:
            space, design = part.parameter_space, part.design
            of_one = space.predictors[..., -1]
            n_sums = int(np.isin(space.redundant, of_one).any(axis=1).sum())
            found += (of_one.size - n_sums) * (design.n_varying - design.n_slopes)
    return found


def _of_constants(state: State) -> np.ndarray:
    """Return which parameters (P,) belong to columns that do not vary: parts do not count them."""
    found = []
    for part in state.parts:
        of_part = np.zeros(part.parameter_space.size, dtype=bool)
        if can(part, "design"):
            of_part[part.parameter_space.predictors[..., ~part.design.varies].ravel()] = True
        found.append(of_part)
    return np.concatenate(found)


def effective_parameters(
    information: Information,
    parameters: np.ndarray,
    full: float,
    held: Any = False,
    beyond: int = 0,
) -> Count:
    """Return the effective number of parameters, tr(H⁻¹ (H − Λ)), of `full` ones.

    H is the observed information of the penalised log-likelihood and Λ the share of the penalties:
    what is not penalised counts in full, and a penalised coefficient by the share of what the
    data say about it. Parameters on a bound are held, and count as one; those `held` (P,) count as
    `full` has them. `beyond` of the full ones are no parameters here, as penalties alone determine
    them. Where H is not positive definite, as at a point that is no maximum, the information of the
    complete data takes its place, which is; it counts a little more.
    """
    basis = free_basis(information, parameters, held)
    penalty = basis.T @ information.penalty @ basis
    for matrix, how in ((information.observed, "effective"), (information.complete, "complete")):
        shrunk = _shrunk(basis.T @ matrix @ basis, penalty) + beyond
        if np.isfinite(shrunk) and shrunk <= full:
            return Count(full - max(shrunk, 0.0), how)
    return Count(full, "full")


def _shrunk(information: np.ndarray, penalty: np.ndarray) -> float:
    """Return tr(H⁻¹ Λ), NaN where H has a negative direction.

    Directions in which H is zero up to rounding are none of Λ's either: copies of a column without
    a penalty, or the intercept of a class that an expert does not have. They are left out.
    """
    least = len(information) * RANK_TOL
    try:
        factor = cho_factor(information, lower=True)
    except LinAlgError:
        pass
    else:
        if np.min(factor[0].diagonal(), initial=np.inf) ** 2 > least:
            return float(np.trace(cho_solve(factor, penalty)))
    values, vectors = np.linalg.eigh(information)  # the driver of SciPy fails now and then
    least *= max(values[-1], 0.0)
    if values[0] < -least:
        return np.nan
    kept = vectors[:, values > least]
    within = np.add.reduce((penalty @ kept) * kept, axis=0)
    return float(np.sum(within / values[values > least]))


def free_basis(information: Information, parameters: np.ndarray, held: Any = False) -> np.ndarray:
    """Return directions (P, F) of the free parameters; redundant ones and those held are left out.

    Their columns are scaled to a complete-data information of 1.
    """
    space: ParameterSpace = information.space
    low, high = space.on_bounds(parameters)
    ids = space.free_ids(low | high | held | ~(information.complete.diagonal() > 0))
    members = np.flatnonzero(ids >= 0)
    ties = np.zeros((len(parameters), ids.max(initial=-1) + 1))
    ties[members, ids[members]] = 1.0
    basis = ties
    if len(space.redundant):  # before scaling, which can be by many orders: ranks are of 0 and 1
        unit = np.zeros((len(space.redundant), len(parameters)))
        np.put_along_axis(unit, space.redundant, 1.0, axis=1)
        sums = unit @ ties
        turned, _, _ = qr(sums.T, pivoting=True)
        basis = ties @ turned[:, np.linalg.matrix_rank(sums) :]
    size = np.add.reduce((information.complete @ basis) * basis, axis=0)
    scaled: np.ndarray = basis / np.sqrt(np.where(size > 0, size, 1.0))
    return scaled
