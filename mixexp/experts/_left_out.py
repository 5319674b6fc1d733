"""Errors of a ridge regression on rows left out one by one, at any strength of its penalty."""

from __future__ import annotations

import numpy as np

__all__ = ["LeftOut"]

#: Directions with a smaller singular value, relative to the largest, are rounding.
LEAST_SIZE = 1e-11

#: A row that keeps less than this share of itself is explained by rounding alone.
LEAST_KEPT = 1e-13

#: Keeps a quotient of numbers that may both be 0 finite.
TINY = np.finfo(float).tiny


class LeftOut:
    """Residuals of rows that are left out one by one, from one decomposition of them all.

    A row left out is missed by its residual over 1 − h, with h its leverage (Allen 1974, The
    relationship between variable selection and data agumentation and a method for prediction,
    Technometrics 16). Weights count rows: all copies of one are left out.

    Parameters
    ----------
    matrix : ndarray of shape (n_slopes, n)
        The design matrix without the intercept.
    y : ndarray of shape (n_outputs, n)
    weight : ndarray of shape (n,)
        Not all 0.
    penalty : ndarray of shape (n_slopes,)
        The penalty at strength 1; positive.
    intercept : bool
        Whether there is one, without a penalty.
    """

    def __init__(
        self,
        matrix: np.ndarray,
        y: np.ndarray,
        weight: np.ndarray,
        penalty: np.ndarray,
        intercept: bool,
    ):
        self.weight = weight
        self._root = np.sqrt(np.maximum(weight, TINY))
        values, leverage = matrix / np.sqrt(penalty)[:, None], np.zeros(len(weight))
        if intercept:
            leverage = weight / weight.sum()
            values = values - (values @ leverage)[:, None]
            y = y - (y @ leverage)[:, None]
        basis, sizes, _ = np.linalg.svd((values * self._root).T, full_matrices=False)
        spanned = sizes > LEAST_SIZE * sizes.max(initial=0.0)  # others may lie along the intercept
        self._basis, self._squares = basis[:, spanned], sizes[spanned] ** 2
        self._along = (y * self._root) @ self._basis
        # what the columns do not explain, and the share of each row outside of them
        self._rest = y * self._root - self._along @ self._basis.T
        outside = 1.0 - leverage - np.sum(self._basis**2, axis=1)
        self._outside = np.where(outside > LEAST_KEPT, outside, 0.0)

    def residuals(self, strength: float) -> np.ndarray:
        """Return the residuals of the rows, each left out, (n_outputs, n)."""
        share = strength / (self._squares + strength)
        kept = self._outside + self._basis**2 @ share
        left = self._rest + (self._along * share) @ self._basis.T
        return np.asarray(left / np.maximum(kept, LEAST_KEPT) / self._root)

    def mean_squares(self, strength: float) -> np.ndarray:
        """Return the mean squares of these residuals, (n_outputs,)."""
        return np.average(self.residuals(strength) ** 2, axis=1, weights=self.weight)
