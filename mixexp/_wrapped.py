"""The fitted mixture inside a Pipeline or a search, and rows and targets as they reach it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from mixexp._checks import as_numbers
from mixexp.protocols import can

__all__ = [
    "extra_name",
    "find_mixture",
    "law_and_target",
    "refuse_offset",
    "predicts_shares",
    "shares",
    "transformed",
]


def find_mixture(estimator: Any, owner: str) -> tuple[list[Any], Any]:
    """Return the fitted transformers before a mixture, and the fitted mixture.

    A Pipeline is split before its last step, and a search is replaced by its best estimator.
    """
    given, before = estimator, []
    while not hasattr(estimator, "gate_proba"):
        if isinstance(estimator, Pipeline):
            if len(estimator.steps) > 1:
                before.append(estimator[:-1])
            estimator = estimator.steps[-1][1]
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif hasattr(estimator, "refit"):
            raise NotFittedError(
                f"{owner}: estimator={type(given).__name__} has no best_estimator_. Call its fit "
                "first, with refit=True or the name of a score."
            )
        else:
            raise TypeError(
                f"{owner}: estimator={type(given).__name__} is no mixture of experts: "
                f"{type(estimator).__name__} has no gate_proba. Give a fitted "
                "MixtureOfExpertsClassifier or MixtureOfExpertsRegressor, a Pipeline that ends in "
                "one, or a search over one."
            )
    message = f"{owner}: estimator=%(name)s is not fitted. Call its fit first."
    check_is_fitted(estimator, "experts_", msg=message)
    return before, estimator


def transformed(steps: Sequence[Any], rows: Any) -> Any:
    """Return rows after all fitted transformers before the mixture."""
    for step in steps:
        rows = step.transform(rows)
    return rows


def extra_name(mixture: Any) -> str | None:
    """Return "noise" or "zero", what the last column of gate probabilities is; None without one."""
    gate = mixture.gate_
    return str(gate.what) if can(gate, "without_noise") else None


def predicts_shares(mixture: Any) -> bool:
    """Return whether a mixture is of family binomial, whose experts predict shares of trials."""
    family = getattr(mixture, "family", None)
    return (isinstance(family, str) and family == "binomial") or (
        getattr(family, "link", None) == "logit"
    )


def shares(mixture: Any, y: Any, weight: np.ndarray, owner: str) -> tuple[Any, np.ndarray]:
    """Return targets in the form of predictions, and the weights of their errors.

    Successes and failures of family binomial become the share of successes, with rows weighted by
    their trials as in `score`; everything else stays as it is.
    """
    shape = np.shape(y)
    if not predicts_shares(mixture) or len(shape) != 2 or shape[1] != 2 or shape[0] != len(weight):
        return y, weight
    counts = np.asarray(y, dtype=np.float64)
    trials = counts.sum(axis=1)
    bad = ~(np.isfinite(trials) & (counts >= 0).all(axis=1) & (trials > 0))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"{owner}: row {row} of y has {counts[row, 0]:.6g} successes and {counts[row, 1]:.6g} "
            "failures. Give numbers of at least 0, not both 0, and leave rows without trials out."
        )
    return counts[:, 0] / trials, weight * trials


def refuse_offset(mixture: Any, owner: str, remedy: str) -> None:
    """Raise if a mixture was fitted with an offset: targets would be compared with rates."""
    if "offset" in getattr(mixture, "_fitted_with", ()):
        raise ValueError(
            f"{owner}: the {type(mixture).__name__} was fitted with an offset, and {owner} has "
            f"none. {remedy}"
        )


def law_and_target(mixture: Any, X: Any, y: Any, owner: str) -> tuple[Any, Any]:
    """Return the predictive distributions of rows as a mixture takes them, and what they are of.

    Successes and failures of family binomial become the successes, among their trials.
    """
    refuse_offset(mixture, owner, "Use predict_distribution with the offset, and mixexp.metrics.")
    if not predicts_shares(mixture):
        return mixture.predict_distribution(X), y
    counts = as_numbers(y, "y", owner, "Give successes and failures of each row.")
    if counts.shape[1:] == (2,):
        return mixture.predict_distribution(X, trials=counts.sum(axis=1)), counts[:, 0]
    if np.any(counts > 1):
        raise ValueError(
            f"{owner}: y has {counts.max():.6g} successes, and one column is of one trial a row. "
            "Give successes and failures as the two columns of y."
        )
    return mixture.predict_distribution(X), y
