"""Certainty of a regressor's answers: its own standard deviation, or a model of the differences."""

from __future__ import annotations

from inspect import signature
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.pipeline import Pipeline

from mixexp._cascade.answers import comparable

__all__ = ["DifferenceModel", "gives_std", "relative", "std_certainty"]

#: Trees of the model of differences: a prediction is to cost little beside a draft's.
TREES = 30

#: Fewest rows in a leaf of it, and the share of the rows that keeps trees of many rows small.
LEAF, LEAF_SHARE = 5, 1e-3

#: Columns with numbers beyond this are scaled, as trees work in float32.
LARGE = 1e30


def gives_std(estimator: Any) -> bool:
    """Return whether `predict` takes `return_std`, also at the end of a Pipeline."""
    if isinstance(estimator, Pipeline):
        return gives_std(estimator.steps[-1][1])
    return "return_std" in signature(getattr(estimator, "predict", lambda: None)).parameters


def relative(difference: np.ndarray, tolerance: np.ndarray | float) -> np.ndarray:
    """Return |difference| in units of the tolerance, the largest over the outputs, (n,).

    A tolerance of 0 gives 0 for no difference and inf for any.
    """
    size = np.abs(difference).reshape(len(difference), -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(size == 0, 0.0, size / np.ravel(tolerance))
    return ratio.max(axis=1)


def std_certainty(std: np.ndarray, tolerance: np.ndarray | float) -> np.ndarray:
    """Return minus the standard deviation in units of the tolerance, (n,)."""
    return comparable(-relative(std, tolerance))


class DifferenceModel:
    """Random trees for the difference between draft and full model, from x and the draft's answer.

    Extremely randomised trees (Geurts, Ernst & Wehenkel 2006). The target is r / (1 + r) for a
    difference of r tolerances: 1/2 where it is as large as tolerated, and bounded, so that a few
    large differences do not lead the fit.

    Parameters
    ----------
    seed : int
        Seeds the trees.
    """

    def __init__(self, seed: int):
        self.seed = seed

    def fit(
        self, numbers: Any, answers: np.ndarray, ratio: np.ndarray, weight: np.ndarray
    ) -> DifferenceModel:
        """Fit to differences `ratio` (n,) in units of the tolerance; answers (n, ...)."""
        from sklearn.ensemble import ExtraTreesRegressor  # here, because it takes long to import

        self.trees_ = ExtraTreesRegressor(
            TREES,
            min_samples_leaf=max(LEAF, int(LEAF_SHARE * len(ratio))),
            random_state=self.seed,
        )
        bounded = 1 - 1 / (1 + ratio)
        columns = _joined(numbers, answers)
        if sp.issparse(columns):
            largest = np.abs(columns).max(axis=0).toarray().ravel()
        else:
            largest = np.nanmax(np.abs(columns), axis=0, initial=0.0)
        self.scale_ = np.where(largest > LARGE, largest, 1.0)
        self.trees_.fit(self._scaled(columns), bounded, sample_weight=weight)
        return self

    def _scaled(self, columns: Any) -> Any:
        """Return columns as float32 can hold them: trees look at the order of values alone."""
        if sp.issparse(columns):
            columns = (
                columns @ sp.diags_array(1 / self.scale_) if np.any(self.scale_ > 1) else columns
            )
            columns.data = np.clip(columns.data, -LARGE, LARGE)
            return columns
        return np.clip(columns / self.scale_, -LARGE, LARGE)

    def certainty(self, numbers: Any, answers: np.ndarray) -> np.ndarray:
        """Return minus the expected bounded difference of every row, (n,)."""
        return comparable(-self.trees_.predict(self._scaled(_joined(numbers, answers))))


def _joined(numbers: Any, answers: np.ndarray) -> Any:
    """Return X and the draft's answers as columns of one matrix."""
    columns = answers.reshape(len(answers), -1)
    if sp.issparse(numbers):
        return sp.hstack([numbers, sp.csr_array(columns)], format="csr")
    return np.column_stack([numbers, columns])
