"""Class probabilities of any estimator, checked before anything is computed with them."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["TOLERANCE", "sound_proba"]

#: By how much probabilities may miss 0 and a sum of 1: what float32 leaves of many classes.
TOLERANCE = 1e-4

#: A sum that misses 1 by less is left as it is: it is rounding in float64.
ROUNDING = 1e-12


def sound_proba(estimator: Any, X: Any) -> np.ndarray:
    """Return an estimator's class probabilities (m, n_classes), whose rows sum to 1.

    Raises a ValueError that says what is wrong with them; whose they are the caller adds.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is looked at below
        given = np.asarray(estimator.predict_proba(X))
    wanted = (X.shape[0], len(estimator.classes_))
    if given.shape != wanted:
        raise ValueError(
            f"its predict_proba gives shape {given.shape}. It must give {wanted}: a row for each "
            "row of X, a column for each of its classes_."
        )
    proba = given.astype(np.float64)
    bad = int(np.sum(~np.isfinite(proba)))
    if bad:
        raise ValueError(
            f"its predict_proba gives NaN or infinity, {bad} times for {len(proba)} rows."
        )
    total = proba.sum(axis=1)
    if proba.min(initial=0.0) < -TOLERANCE or np.any(np.abs(total - 1) > TOLERANCE):
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
