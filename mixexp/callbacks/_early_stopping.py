"""Stops a fit that no longer gets better on rows that it does not see."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import check_scoring

from mixexp._compat import check_weights
from mixexp.callbacks._base import Callback

__all__ = ["EarlyStopping"]


class EarlyStopping(Callback):
    """Stops the long run when a score on validation rows has not risen for a while.

    Nothing is restored: the fit ends with the state after the iteration at which it stopped,
    `patience` looks after the best one, which is kept beside it as `best_estimator_`. One instance
    is for one fit at a time.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Validation rows, which the fit does not see.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Their targets.
    sample_weight : array-like of shape (n_samples,), default=None
        Their weights.
    offset : array-like of shape (n_samples,), default=None
        As in `fit`, for `log_density`.
    scoring : str, callable or None, default=None
        A scorer as in scikit-learn, larger is better; None means the mean `log_density`.
    patience : int, default=5
        Looks without a better score after which the run stops.
    min_delta : float, default=0.0
        A score is better if it is higher than the best one by more than this.
    every : int, default=1
        Iterations between two looks: each makes a mixture, with a pass of the gate over the rows of
        the fit, and predicts the validation rows.

    Attributes
    ----------
    scores_ : list of (int, float)
        Iteration and score of each look in the last long run.
    best_iteration_ : int
        The iteration with the best score.
    best_score_ : float
        The best score.
    best_estimator_ : mixture or None
        A fitted mixture with the state of that iteration. None in a fit that resumed after it.
    stopped_ : bool
        Whether it stopped the last long run.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.callbacks import EarlyStopping
    >>> from mixexp.datasets import load_tone
    >>> X, y = load_tone(return_X_y=True)
    >>> stop = EarlyStopping(X[::3], y[::3], patience=3)
    >>> model = MixtureOfExpertsRegressor(n_experts=4, tol=0, random_state=0).set_callbacks(stop)
    >>> model = model.fit(X[1::3], y[1::3])
    >>> stop.stopped_, model.n_iter_ == stop.best_iteration_ + 3
    (True, True)
    """

    def __init__(
        self,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        offset: Any = None,
        scoring: Any = None,
        patience: int = 5,
        min_delta: float = 0.0,
        every: int = 1,
    ):
        for name, value in (("patience", patience), ("every", every)):
            if not (isinstance(value, int | np.integer) and value >= 1):
                raise ValueError(f"EarlyStopping: {name}={value!r}. Give an integer of at least 1.")
        if not min_delta >= 0:
            raise ValueError(f"EarlyStopping: min_delta={min_delta!r}. Give at least 0.")
        self.X = X
        self.y = y
        self.sample_weight = sample_weight
        self.offset = offset
        self.scoring = scoring
        self.patience = patience
        self.min_delta = min_delta
        self.every = every

    def setup(self, estimator: Any, context: Any) -> None:
        """Find the scorer and check weights, so that what is wrong is an error before the fit."""
        self._scorer = None
        if self.sample_weight is not None:
            check_weights(self.sample_weight, self.X, "EarlyStopping")
        if self.scoring is not None:
            self._scorer = check_scoring(estimator, self.scoring)
        self._forget()

    def _forget(self) -> None:
        self.scores_: list[tuple[int, float]] = []
        self.best_iteration_, self.best_score_, self.best_estimator_ = 0, -np.inf, None
        self.stopped_ = False
        self._n_worse = 0

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Begin anew with every long run."""
        if context.task_name == "long run":
            self._forget()

    def on_fit_task_end(self, estimator: Any, context: Any) -> bool:
        """Look at the score after an iteration; return whether to stop."""
        if context.task_name != "iteration" or context.iteration % self.every:
            return False
        mixture = context.fitted_estimator()
        score = self._score(mixture)
        if np.isnan(score) or (score == -np.inf and not self.scores_):
            raise ValueError(
                f"EarlyStopping: the score of X and y is {score} after iteration "
                f"{context.iteration}. Leave out rows whose target the mixture's family does not "
                "have, and look at what scoring returns."
            )
        self.scores_.append((context.iteration, score))
        if score > self.best_score_ + (self.min_delta if self.scores_[1:] else 0.0):
            self.best_iteration_, self.best_score_ = context.iteration, score
            self.best_estimator_ = mixture
            self._n_worse = 0
        else:
            self._n_worse += 1
        self.stopped_ = self._n_worse >= self.patience
        return self.stopped_

    def _score(self, mixture: Any) -> float:
        """Return the score of a mixture on the validation rows."""
        if self._scorer is None:
            density = mixture.log_density(self.X, self.y, offset=self.offset)
            return float(np.average(density, weights=self.sample_weight))
        weight = {} if self.sample_weight is None else {"sample_weight": self.sample_weight}
        return float(self._scorer(mixture, self.X, self.y, **weight))

    def state(self, context: Any) -> dict[str, Any]:
        """Return what a checkpoint has to hold of this callback."""
        best = [self.best_iteration_, self.best_score_]
        return {"scores": list(self.scores_), "best": best, "n_worse": self._n_worse}

    def restore(self, context: Any, state: dict[str, Any]) -> None:
        """Take over the state from a checkpoint."""
        self.scores_ = [(int(step), float(score)) for step, score in state["scores"]]
        self.best_iteration_, self.best_score_ = state["best"]
        self._n_worse = state["n_worse"]
        self.stopped_ = self._n_worse >= self.patience
