"""Errors of a ridge regression on rows left out one by one, at any strength of its penalty."""

from __future__ import annotations

import numpy as np

__all__ = ["LeftOut"]

#: Directions with a smaller singular value, relative to the largest, are rounding.
LEAST_SIZE = 1e-11

#: A row that keeps less than this share of itself is explained by rounding alone.
LEAST_KEPT = 1e-13

#: Decimals by which the columns of two rows are the same.
DIGITS = 6

#: Keeps a quotient of numbers that may both be 0 finite.
TINY = np.finfo(float).tiny


class LeftOut:
    """Residuals of rows that are left out one by one, from one decomposition of them all.

    A row left out is missed by its residual over 1 − h, with h its leverage (Allen 1974, The
    relationship between variable selection and data agumentation and a method for prediction,
    Technometrics 16). Weights count rows: all copies of one are left out, and so are all rows with
    the same columns, as another measurement of the same unit would predict it. Those of codes,
    with two values in every column, are no such sets: new rows will have the same ones.

    Parameters
    ----------
    matrix : ndarray of shape (n_slopes, n)
        The design matrix without the intercept, of columns with a spread of about 1.
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
        self._weight = weight
        first, self._codes = _sets(np.round(matrix, DIGITS))
        total = np.maximum(np.bincount(self._codes, weight), TINY)
        means = np.stack([np.bincount(self._codes, weight * values) / total for values in y])
        self._within = y - means[:, self._codes]
        self._root = np.sqrt(total)
        values, leverage = matrix[:, first] / np.sqrt(penalty)[:, None], np.zeros(len(total))
        if intercept:
            leverage = total / total.sum()
            values = values - (values @ leverage)[:, None]
            means = means - (means @ leverage)[:, None]
        basis, sizes, _ = np.linalg.svd((values * self._root).T, full_matrices=False)
        spanned = sizes > LEAST_SIZE * sizes.max(initial=0.0)  # others may lie along the intercept
        self._basis, self._squares = basis[:, spanned], sizes[spanned] ** 2
        self._n_left = max(len(total) - len(self._squares) - int(intercept), 0)
        self._along = (means * self._root) @ self._basis
        # what the columns do not explain, and the share of each row outside of them
        self._rest = means * self._root - self._along @ self._basis.T
        outside = 1.0 - leverage - np.sum(self._basis**2, axis=1)
        self._outside = np.where(outside > LEAST_KEPT, outside, 0.0)

    @property
    def n_sets(self) -> int:
        """Number of sets of rows with the same columns."""
        return len(self._root)

    def free(self, strength: float) -> float:
        """Return about how many of the residuals are independent.

        That is (tr M²)² / tr M⁴ of the matrix M that makes residuals of targets (Satterthwaite
        1946, An approximate distribution of estimates of variance components, Biometrics
        Bulletin 2): n − p without a penalty, near 1 where rows are as many as columns, and more
        again where they are fewer.
        """
        share = strength / (self._squares + strength)
        squares, fourths = (self._n_left + np.sum(share**power) for power in (2, 4))
        return float(squares**2 / fourths) if fourths > 0 else 0.0

    def residuals(self, strength: float) -> np.ndarray:
        """Return the residuals of the rows, each left out, (n_outputs, n)."""
        share = strength / (self._squares + strength)
        left = self._rest + (self._along * share) @ self._basis.T
        missed = left / self._kept(strength) / self._root
        return np.asarray(self._within + missed[:, self._codes])

    def mean_squares(self, strength: float) -> np.ndarray:
        """Return the mean squares of these residuals, (n_outputs,), and a standard error more.

        With few degrees of freedom they may all be small by luck.
        """
        means = np.average(self.residuals(strength) ** 2, axis=1, weights=self._weight)
        return means * (1 + np.sqrt(2 / max(self.free(strength), LEAST_KEPT)))

    def _kept(self, strength: float) -> np.ndarray:
        """Return 1 − h of every set of rows."""
        share = strength / (self._squares + strength)
        return np.maximum(self._outside + self._basis**2 @ share, LEAST_KEPT)


def _sets(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first row of each set of rows with the same columns, and the set of each row."""
    ends = matrix.min(axis=1, keepdims=True), matrix.max(axis=1, keepdims=True)
    if np.all((matrix == ends[0]) | (matrix == ends[1])):
        ids = np.arange(matrix.shape[1])
        return ids, ids
    _, first, codes = np.unique(matrix.T, axis=0, return_index=True, return_inverse=True)
    return first, codes.reshape(-1)
