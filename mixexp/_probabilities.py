"""Class probabilities of any estimator, validated."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import softmax

__all__ = ["sound_proba"]

#: Tolerance on nonnegativity.
NEGATIVE = 1e-4

#: Tolerance on the sums of rows. Naive Bayes takes exponentials of logarithms, in the thousands for
#: rows like those of training and beyond 1e12 for rows far away: their rounding is a share of the
#: result. Rows that are off by more are computed anew from its logarithms, which are not to be had
#: in a Pipeline.
SUM_TOLERANCE = 1e-3

#: The same for float32 probabilities.
SINGLE_TOLERANCE = 0.1

#: Sums within this of 1 are not renormalised: float64 rounding.
ROUNDING = 1e-12


def sound_proba(estimator: Any, X: Any) -> np.ndarray:
    """Return an estimator's class probabilities (m, n_classes), whose rows sum to 1.

    Raises ValueError if they are invalid; the caller adds the name of the estimator.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # non-finite values are reported below
        raw = np.asarray(estimator.predict_proba(X))
    expected = (X.shape[0], len(estimator.classes_))
    if raw.shape != expected:
        raise ValueError(
            f"its predict_proba gives shape {raw.shape}. It must give {expected}: one row per "
            "row of X and one column per class in classes_."
        )
    proba = raw.astype(np.float64)
    bad = int(np.sum(~np.isfinite(proba)))
    if bad:
        raise ValueError(
            f"its predict_proba gives NaN or infinity, {bad} times for {len(proba)} rows."
        )
    total = proba.sum(axis=1)
    off = SINGLE_TOLERANCE if raw.dtype == np.float32 else SUM_TOLERANCE
    far = np.abs(total - 1) > off
    if np.any(far) and _is_naive_bayes(estimator):
        logs = np.asarray(estimator.predict_joint_log_proba(X), dtype=np.float64)
        far &= np.all(np.isfinite(logs), axis=1)
        proba[far] = softmax(logs[far], axis=1)
        total = proba.sum(axis=1)
    if proba.min(initial=0.0) < -NEGATIVE or np.any(np.abs(total - 1) > off):
        raise ValueError(
            "its predict_proba must give nonnegative numbers that sum to 1 in every row. The "
            f"smallest is {proba.min():.6g}, and sums go from {total.min():.6g} to "
            f"{total.max():.6g}. Divide each row by its sum, or wrap the estimator in "
            "sklearn.calibration.CalibratedClassifierCV."
        )
    proba = np.maximum(proba, 0.0)
    total = proba.sum(axis=1, keepdims=True)
    proba /= np.where(np.abs(total - 1) > ROUNDING, total, 1.0)
    return np.minimum(proba, 1.0)


def _is_naive_bayes(estimator: Any) -> bool:
    """Return whether scikit-learn's naive Bayes answers, and not a method of the user's own."""
    answers = getattr(type(estimator), "predict_proba", None)
    return getattr(answers, "__module__", None) == "sklearn.naive_bayes"
