"""Loads of routed experts, as functions of plain arrays; checks of their input."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import is_classifier

from mixexp.metrics._gates import refuse_unknown

__all__ = [
    "balance_loss",
    "checked_target",
    "checked_weight",
    "entropy",
    "mean_or_nan",
    "overflow_share",
    "squared_variation",
]


def checked_weight(sample_weight: Any, n_rows: int, owner: str) -> np.ndarray:
    """Return sample weights as numbers (n,), ones for None."""
    if sample_weight is None:
        return np.ones(n_rows)
    try:
        weight = np.asarray(sample_weight, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{owner}: sample_weight={type(sample_weight).__name__} does not hold numbers: {error}."
        ) from error
    if weight.shape != (n_rows,):
        raise ValueError(
            f"{owner}: sample_weight has shape {weight.shape}, and X has {n_rows} rows. Give one "
            "number for each."
        )
    if not (np.all(np.isfinite(weight)) and np.all(weight >= 0) and weight.sum() > 0):
        raise ValueError(
            f"{owner}: sample_weight must be finite and not negative, and not all 0. Its smallest "
            f"is {weight.min():.6g}, its sum {weight.sum():.6g}."
        )
    return weight


def mean_or_nan(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return total / count, NaN where count is 0."""
    return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)


def squared_variation(values: np.ndarray) -> float:
    """Return the squared coefficient of variation, variance / mean² (Shazeer et al. 2017)."""
    mean = values.mean()
    return float(values.var() / mean**2) if mean > 0 else np.nan


def entropy(proba: np.ndarray, weight: np.ndarray) -> float:
    """Return the weighted mean entropy of the rows of probabilities (n, K), in nats."""
    logs = np.log(np.where(proba > 0, proba, 1.0))
    return float(weight @ -(proba * logs).sum(axis=1) / weight.sum())


def balance_loss(load: np.ndarray, proba: np.ndarray, weight: np.ndarray) -> float:
    """Return K Σ_k (load_k / Σ load) P_k, 1 if loads or mean gate probabilities P are equal.

    Fedus et al. (2021), eq. 4, without its factor α, divided by the number of experts per row.
    """
    if load.sum() == 0:
        return np.nan
    mean_proba = weight @ proba / weight.sum()
    return float(len(load) * (load / load.sum()) @ mean_proba)


def overflow_share(router: Any) -> float:
    """Return the share of the training rows that did not reach their first choice.

    NaN if the router has no capacity.
    """
    overflow, loads = getattr(router, "overflow_", None), getattr(router, "loads_", None)
    return np.nan if overflow is None or loads is None else float(overflow / np.sum(loads))


def checked_target(y: Any, n_rows: int, mixture: Any, owner: str) -> np.ndarray:
    """Return labels (n,), all of them classes of the mixture, or targets (n, n_outputs)."""
    target, classifier = np.asarray(y), is_classifier(mixture)
    if not classifier:
        try:
            target = target.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{owner}: y does not hold numbers: {error}.") from error
        if not np.all(np.isfinite(target)):
            raise ValueError(f"{owner}: y has missing or infinite values. Leave those rows out.")
    if target.ndim == 0 or len(target) != n_rows or (classifier and target.size != n_rows):
        raise ValueError(
            f"{owner}: y has shape {target.shape}, and X has {n_rows} rows. Give a target for each."
        )
    if not classifier:
        return target.reshape(n_rows, -1)
    labels = target.ravel()
    refuse_unknown(mixture, labels, owner)
    return labels
