"""Answers of classifiers: codes of classes, probabilities of all classes, certainty."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp._probabilities import sound_proba

__all__ = ["aligned", "class_answers", "comparable", "scores_of"]


def scores_of(estimator: Any, X: Any) -> np.ndarray:
    """Return a score of every class of a fitted classifier, (n, n_classes).

    Probabilities if it has them; else values of `decision_function`, with 0 for the first of two
    classes; else 1 for the class it predicts. One call in any case.
    """
    classes = estimator.classes_
    if hasattr(estimator, "predict_proba"):
        return sound_proba(estimator, X)
    if not hasattr(estimator, "decision_function"):
        return (np.asarray(estimator.predict(X))[:, None] == classes).astype(float)
    scores = np.asarray(estimator.decision_function(X), dtype=float)
    bad = int(np.sum(~np.isfinite(scores)))
    if bad or len(scores) != X.shape[0]:
        raise ValueError(
            f"its decision_function gives {len(scores)} rows for {X.shape[0]}, and NaN or infinity "
            f"{bad} times."
        )
    if scores.ndim == 1:
        scores = np.column_stack([np.zeros_like(scores), scores])
    if scores.shape[1] != len(classes):
        raise ValueError(
            f"its decision_function gives {scores.shape[1]} columns for {len(classes)} classes. "
            "Set decision_function_shape='ovr'."
        )
    return scores


def class_answers(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the position of the largest score of every row, and its lead over the second.

    The lead, the margin, is the certainty of the answer; NaN becomes −inf.
    """
    answers = scores.argmax(axis=1)
    if scores.shape[1] == 1:
        return answers, np.zeros(len(scores))
    two = np.partition(scores, -2, axis=1)[:, -2:]
    return answers, comparable(two[:, 1] - two[:, 0])


def comparable(certainty: np.ndarray) -> np.ndarray:
    """Return certainties in float32, NaN as −inf.

    Certainties of a tree take few values, on which rounding in float64 differs between models and
    batches; a threshold equal to one of them must not.
    """
    with np.errstate(over="ignore"):
        return np.where(np.isnan(certainty), -np.inf, certainty).astype(np.float32)


def aligned(values: np.ndarray, own: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return columns of an estimator's own classes as columns of all classes, 0 for the others."""
    if len(own) == len(classes):
        return values
    every = np.zeros((len(values), len(classes)))
    every[:, np.searchsorted(classes, own)] = values
    return every
