"""Targets drawn from a fitted mixture, for parametric bootstraps."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import is_classifier

__all__ = ["drawn_targets"]


def drawn_targets(
    estimator: Any, X: Any, y: Any, rng: np.random.RandomState, **given: Any
) -> np.ndarray:
    """Return targets drawn from a fitted mixture, one a row; of y only numbers of trials are taken.

    `given` is an offset, or nothing.
    """
    target = estimator._model.target
    if target.family is not None and target.family.link == "logit":
        trials = target.encode_new(y, X, type(estimator).__name__)[1]
        cumulated = np.cumsum(estimator.gate_proba(X), axis=1)[:, :-1]
        chosen = (cumulated <= rng.uniform(size=(len(trials), 1))).sum(axis=1)
        chances = estimator.predict_experts(X, **given)[np.arange(len(trials)), chosen]
        won = rng.binomial(trials.astype(np.int64), chances)
        return np.column_stack([won, trials - won])
    if not is_classifier(estimator):
        drawn: np.ndarray = estimator.sample_y(X, random_state=rng, **given)[..., 0]
        return drawn
    cumulated = np.cumsum(estimator.predict_proba(X, **given), axis=1)
    codes = (rng.uniform(size=(len(cumulated), 1)) > cumulated).sum(axis=1)
    labels: np.ndarray = estimator.classes_[np.minimum(codes, cumulated.shape[1] - 1)]
    return labels
