"""Derivatives of softmax gates by their coefficients."""

from __future__ import annotations

import numpy as np

from mixexp._derivatives import unbounded
from mixexp._newton import multinomial_hessian
from mixexp._numerics import n_pairs, pair_products, unpack_symmetric, weighted_gram
from mixexp.protocols import Block, Design, ParameterSpace, Scores

__all__ = ["softmax_scores_of", "softmax_space"]


def softmax_space(k: int, p: int, seen: np.ndarray | None) -> ParameterSpace:
    """Return the space of coefficients (K, p), of which a column's may all be shifted.

    `seen` (K, p) marks the coefficients that exist; None means all.
    """
    predictors = np.arange(k * p).reshape(k, 1, p)
    redundant = predictors[:, 0].T
    tied = np.arange(k * p)
    if seen is not None:
        tied[~seen.ravel()] = -1
        redundant = redundant[seen.all(axis=0)]
    return ParameterSpace(
        predictors, np.empty((k, 0), dtype=int), tied, redundant, *unbounded(k * p)
    )


def softmax_scores_of(
    proba: np.ndarray, weight: np.ndarray | None, temperature: float, design: Design, block: Block
) -> Scores:
    """Return the derivatives of log g_k(x) with gate probabilities (K, m)."""
    k, m = proba.shape
    p = design.size
    matrix = block.matrix(design)
    weights = pair_products(proba, np.empty((n_pairs(k), m)))
    if weight is not None:
        weights *= weight
    grams = unpack_symmetric(weighted_gram(weights, matrix, block.products(design)), p)
    return Scores(
        np.full((k, 1, 1), 1 / temperature),
        np.empty((k, 0, m)),
        -proba[:, None] / temperature,
        multinomial_hessian(grams) / temperature**2,
    )
