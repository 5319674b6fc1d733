"""The fitted mixture inside a Pipeline or a search, and rows as they reach it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

__all__ = ["find_mixture", "transformed"]


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
