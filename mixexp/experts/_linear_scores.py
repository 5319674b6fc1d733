"""Derivatives of linear and logistic banks by their parameters."""

from __future__ import annotations

import numpy as np

from mixexp._derivatives import unbounded
from mixexp._newton import multinomial_hessian
from mixexp._numerics import pair_products, unpack_symmetric, weighted_gram
from mixexp.families._common import FamilyDerivatives
from mixexp.protocols import Block, Design, ParameterSpace, PriorDerivatives, Scores

__all__ = [
    "linear_prior",
    "linear_scores_of",
    "linear_space",
    "logistic_prior",
    "logistic_scores_of",
    "logistic_space",
]


def linear_space(
    shape: tuple[int, int, int],
    mask: np.ndarray | None,
    bounds: tuple[np.ndarray, np.ndarray],
    shared: bool,
) -> ParameterSpace:
    """Return the space of a linear bank: coefficients (K, q, p), then logarithms (F, K, q).

    Parameters
    ----------
    shape : (K, q, p)
    mask : ndarray of bool of shape (K, p) or None
        The coefficients that each expert has.
    bounds : two ndarrays of shape (F, K, q)
        Of the family's parameters.
    shared : bool
        Whether all experts share the family's parameters.
    """
    k, q, p = shape
    n_theta, n_logs = k * q * p, bounds[0].size
    predictors = np.arange(n_theta).reshape(shape)
    logs = np.arange(n_theta, n_theta + n_logs).reshape(-1, k, q)
    tied = np.arange(n_theta + n_logs)
    if shared:
        tied[logs] = logs[:, :1]
    if mask is not None:
        tied[predictors[~np.repeat(mask[:, None], q, axis=1)]] = -1
    with np.errstate(divide="ignore"):
        lower, upper = (np.log(bound).ravel() for bound in bounds)
    tied[n_theta:][lower == upper] = -1
    free_lower, free_upper = unbounded(n_theta)
    return ParameterSpace(
        predictors,
        logs.transpose(1, 0, 2).reshape(k, -1),
        tied,
        np.empty((0, 1), dtype=int),
        np.concatenate([free_lower, lower]),
        np.concatenate([free_upper, upper]),
    )


def linear_scores_of(
    derivatives: FamilyDerivatives,
    space: ParameterSpace,
    design: Design,
    block: Block,
    resp: np.ndarray,
) -> Scores:
    """Return the derivatives of a linear bank at the rows of a block; `resp` is (K, m)."""
    k, q, p = space.predictors.shape
    matrix, m = block.matrix(design), block.n_rows
    information = np.zeros((space.size, space.size))
    weights = (derivatives.curvature * resp[:, None]).reshape(k * q, m)
    grams = unpack_symmetric(weighted_gram(weights, matrix, block.products(design)), p)
    places = space.predictors.reshape(k * q, p)
    information[places[:, :, None], places[:, None]] = grams
    n_logs = len(derivatives.by_logs)
    logs = space.scalars.reshape(k, n_logs, q)
    for i in range(n_logs):
        crossed = (derivatives.crossed[i] * resp[:, None]).reshape(k * q, m) @ matrix.T
        rows, columns = logs[:, i].reshape(k * q, 1), places
        information[rows, columns] = information[columns, rows] = crossed
        for j in range(n_logs):
            information[logs[:, i], logs[:, j]] = np.einsum(
                "kqm,km->kq", derivatives.of_logs[i, j], resp
            )
    by_logs = derivatives.by_logs.transpose(1, 0, 2, 3).reshape(k, n_logs * q, m)
    return Scores(derivatives.by_eta, by_logs, None, information)


def linear_prior(
    theta: np.ndarray, penalty: np.ndarray, dispersion: np.ndarray | None, space: ParameterSpace
) -> PriorDerivatives:
    """Return the derivatives of −θᵀΛθ / (2σ²), or −θᵀΛθ / 2 without dispersions.

    Parameters
    ----------
    theta : ndarray of shape (K, q, p)
    penalty : ndarray of shape (p,)
    dispersion : ndarray of shape (K, q) or None
    """
    gradient, information = np.zeros(space.size), np.zeros((space.size, space.size))
    inverse = np.ones(theta.shape[:2]) if dispersion is None else dispersion**-2.0
    pull = penalty * theta * inverse[..., None]
    gradient[space.predictors] = -pull
    information[space.predictors, space.predictors] = penalty * inverse[..., None]
    if dispersion is not None:
        squares = np.sum(pull * theta, axis=2)
        logs = space.scalars[:, : theta.shape[1]]
        gradient[logs] = squares
        information[logs, logs] = 2 * squares
        information[space.predictors, logs[..., None]] = -2 * pull
        information[logs[..., None], space.predictors] = -2 * pull
    return PriorDerivatives(gradient, information)


def logistic_space(shape: tuple[int, int, int], mask: np.ndarray | None) -> ParameterSpace:
    """Return the space of a logistic bank: coefficients (K, n_classes, p), equal up to a shift."""
    k, c, p = shape
    predictors = np.arange(k * c * p).reshape(shape)
    tied = np.arange(predictors.size)
    redundant = predictors.transpose(0, 2, 1).reshape(k * p, c)
    if mask is not None:
        tied[predictors[~np.repeat(mask[:, None], c, axis=1)]] = -1
        redundant = redundant[mask.ravel()]
    return ParameterSpace(
        predictors, np.empty((k, 0), dtype=int), tied, redundant, *unbounded(predictors.size)
    )


def logistic_scores_of(
    proba: np.ndarray, space: ParameterSpace, design: Design, block: Block, resp: np.ndarray
) -> Scores:
    """Return the derivatives of a logistic bank with class probabilities (K, n_classes, m).

    Slopes add up to 0 over the classes, and are those of all but the last.
    """
    k, c, p = space.predictors.shape
    m = block.n_rows
    slopes = (block.y == np.arange(c - 1)[:, None]) - proba[:, :-1]
    weights = np.empty((k, c * (c - 1) // 2, m))
    pair_products(proba, weights)
    weights *= resp[:, None]
    grams = unpack_symmetric(
        weighted_gram(weights.reshape(-1, m), block.matrix(design), block.products(design)), p
    ).reshape(k, -1, p, p)
    information = np.zeros((space.size, space.size))
    places = space.predictors.reshape(k, c * p)
    information[places[:, :, None], places[:, None]] = [multinomial_hessian(g) for g in grams]
    return Scores(slopes, np.empty((k, 0, m)), None, information)


def logistic_prior(
    theta: np.ndarray, penalty: np.ndarray, space: ParameterSpace
) -> PriorDerivatives:
    """Return the derivatives of −θᵀΛθ / 2 for coefficients (K, n_classes, p)."""
    information = np.zeros((space.size, space.size))
    information[space.predictors, space.predictors] = np.broadcast_to(penalty, theta.shape)
    gradient = np.zeros(space.size)
    gradient[space.predictors] = -penalty * theta
    return PriorDerivatives(gradient, information)
