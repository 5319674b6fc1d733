"""The observed information of a state, from one pass over the rows.

Louis (1982), Finding the observed information matrix when using the EM algorithm, JRSS B 44: the
information of the observed data is that of the complete data, which include the responsible
expert, less the covariance of its scores given the observed data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mixexp._engine.covariance import (
    by_pairs,
    by_vectors,
    completed,
    from_pairs,
    from_vectors,
    pairs_are_cheaper,
    score_vectors,
)
from mixexp.protocols import Block, ParameterSpace, Scores, Sums, can

__all__ = ["Information", "has_information", "information_of", "information_sums", "unit_scores"]

#: Posterior probabilities below this count as 0: their products would underflow, which is slow.
NO_SHARE = 1e-60


@dataclass(frozen=True)
class Information:
    """Derivatives of the penalised log-likelihood of a state, by all P parameters.

    Attributes
    ----------
    gradient : ndarray of shape (P,)
    complete : ndarray of shape (P, P)
        Information of the complete data, penalties included.
    observed : ndarray of shape (P, P)
        Minus the Hessian.
    penalty : ndarray of shape (P, P)
        The share of the penalties of coefficients in both.
    space : ParameterSpace
        Of gate and bank together.
    bound : float
        The penalised log-likelihood per unit of weight.
    """

    gradient: np.ndarray
    complete: np.ndarray
    observed: np.ndarray
    penalty: np.ndarray
    space: ParameterSpace
    bound: float = np.nan


def has_information(state: Any) -> bool:
    """Return whether gate and bank have the derivatives that the information needs."""
    return all(can(part, "scores", "get_parameters", "set_parameters") for part in state.parts)


def information_sums(state: Any, block: Block, unit_resp: np.ndarray, resp: np.ndarray) -> Sums:
    """Return a block's share of the derivatives.

    Every expert has its own parameters in gate and bank, and the score of a row that it answers for
    concerns these only, up to a part that is the same for all experts and has no covariance. Given
    responsibilities r and scores v_k, the covariance is Σ_k r_k v_k v_kᵀ, block by block, less
    s sᵀ with s the stacked r_k v_k.
    """
    mass = np.add.reduce(unit_resp, axis=0)
    posterior = np.divide(unit_resp, mass, out=np.zeros_like(unit_resp), where=mass > 0)
    posterior[posterior < NO_SHARE] = 0.0
    scores = (state.gate.scores(block.unit, unit_resp), state.bank.scores(block, resp))
    covariance = by_pairs if _takes_pairs(state, block, *scores) else by_vectors
    return Sums(
        covariance(state, block, scores, posterior, mass),
        shared=np.concatenate(
            [
                _shared(state.gate, scores[0], block.unit, mass),
                _shared(state.bank, scores[1], block, np.add.reduce(resp, axis=0)),
            ]
        ),
        gate=scores[0].information,
        bank=scores[1].information,
    )


def _shared(part: Any, scores: Scores, block: Block, weight: np.ndarray) -> np.ndarray:
    """Return the sum of the scores that all experts have in common, by a part's parameters."""
    space: ParameterSpace = part.parameter_space
    total = np.zeros(space.size)
    if scores.shared is None:
        return total
    weighted = scores.shared * weight
    k, n_predictors, p = space.predictors.shape
    if n_predictors:
        flat = weighted[:, :n_predictors].reshape(k * n_predictors, -1)
        total[space.predictors] = (flat @ block.matrix(part.design).T).reshape(k, n_predictors, p)
    total[space.scalars] = weighted[:, n_predictors:].sum(axis=2)
    return total


def unit_scores(block: Block, state: Any, e_step: Any) -> np.ndarray:
    """Return every unit's score given the observed data, by all parameters, (P, n_units)."""
    block = block.fresh()
    assigned = e_step(block)
    mass = np.add.reduce(assigned.unit_resp, axis=0)
    posterior = assigned.unit_resp / np.where(mass > 0, mass, 1.0)
    scores = (
        state.gate.scores(block.unit, assigned.unit_resp),
        state.bank.scores(block, assigned.resp),
    )
    found = np.concatenate(
        [
            (vectors * posterior[:, None, rows]).reshape(-1, vectors.shape[2])
            for rows, vectors in score_vectors(state, block, *scores)
        ],
        axis=1,
    )
    spaces = [part.parameter_space for part in (state.gate, state.bank)]
    found = completed(found, spaces)[_places(spaces)]
    size = spaces[0].size
    for part, each, view, here in (
        (state.gate, scores[0], block.unit, slice(0, size)),
        (state.bank, scores[1], block, slice(size, None)),
    ):
        if each.shared is not None:
            found[here] += _shared_of_units(part, each, view)
    return found


def _shared_of_units(part: Any, scores: Scores, block: Block) -> np.ndarray:
    """Return what the scores of all experts have in common, by a part's parameters, (P, m)."""
    space: ParameterSpace = part.parameter_space
    shared: Any = scores.shared
    found = np.zeros((space.size, block.n_rows))
    n_predictors = space.predictors.shape[1]
    if n_predictors:
        by_columns = shared[:, :n_predictors, None] * block.matrix(part.design)
        found[space.predictors] = by_columns
    found[space.scalars] = shared[:, n_predictors:]
    return found


def _places(spaces: list[ParameterSpace]) -> np.ndarray:
    """Return where the parameters of gate and bank are among those listed expert by expert."""
    places = [
        np.concatenate([s.predictors.reshape(len(s.predictors), -1), s.scalars], axis=1)
        for s in spaces
    ]
    return np.argsort(np.concatenate([places[0], places[1] + spaces[0].size], axis=1).ravel())


def _takes_pairs(state: Any, block: Block, of_gate: Scores, of_bank: Scores) -> bool:
    """Return whether the covariance is cheaper by pairs of predictors, and can be.

    Rows have to be units, and parts to have designs, the gate nothing else.
    """
    gate, bank = state.gate, state.bank
    if block.unit is not block or not (can(gate, "design") and can(bank, "design")):
        return False
    if of_gate.scalars.shape[1]:
        return False
    n_gate, n_bank = of_gate.slopes.shape[1], of_bank.slopes.shape[1]
    sizes = [(n_gate, gate.design.size), (n_bank, bank.design.size)]
    if gate.design is bank.design:
        sizes = [(n_gate + n_bank, gate.design.size)]
    return pairs_are_cheaper(len(of_bank.slopes), sizes, of_bank.scalars.shape[1])


def information_of(state: Any, sums: Sums) -> Information:
    """Return the information of a state, given the sum of `information_sums` over all blocks."""
    spaces = [part.parameter_space for part in (state.gate, state.bank)]
    space = joined(spaces)
    place = _places(spaces)
    covariance = (from_pairs if "alone" in sums else from_vectors)(sums)
    covariance = completed(completed(covariance, spaces).T, spaces)[np.ix_(place, place)]
    gradient = sums["shared"] + completed(sums["gradient"].ravel(), spaces)[place]
    complete, penalty = np.zeros_like(covariance), np.zeros_like(covariance)
    start = 0
    for part, name in ((state.gate, "gate"), (state.bank, "bank")):
        here = slice(start, start + len(sums[name]))
        complete[here, here] = sums[name]
        if can(part, "prior_derivatives"):
            prior = part.prior_derivatives()
            gradient[here] += prior.gradient
            complete[here, here] += prior.information
            penalty[here, here] = prior.information
            penalty[here, here][np.diag_indices(len(prior.gradient))] -= prior.uncounted
        start = here.stop
    return Information(gradient, complete, complete - covariance, penalty, space)


def joined(spaces: list[ParameterSpace]) -> ParameterSpace:
    """Return the space of the parameters of several parts, one after the other.

    The positions of predictors and scalars are left out: they differ in shape.
    """
    starts = np.cumsum([0] + [space.size for space in spaces])
    tied = [
        np.where(space.tied >= 0, space.tied + start, -1)
        for space, start in zip(spaces, starts, strict=False)
    ]
    width = max(space.redundant.shape[1] for space in spaces)
    redundant = []
    for space, start in zip(spaces, starts, strict=False):
        if space.redundant.size:
            short = width - space.redundant.shape[1]
            redundant.append(np.pad(space.redundant + start, ((0, 0), (0, short)), "edge"))
    none = np.empty((0, 0), dtype=int)
    return ParameterSpace(
        none,
        none,
        np.concatenate(tied),
        np.concatenate(redundant) if redundant else none,
        np.concatenate([space.lower for space in spaces]),
        np.concatenate([space.upper for space in spaces]),
    )
