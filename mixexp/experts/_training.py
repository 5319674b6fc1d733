"""Fitting the estimators of a bank: one expert, one candidate, one fold at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from sklearn.dummy import DummyClassifier

from mixexp._columns import text_hint
from mixexp._compat import rows_of
from mixexp._fitting import (
    NEGLIGIBLE,
    drawn_rows,
    effective_size,
    fit_estimator,
    name_of,
    seeded,
    silent_about_steps,
    takes_weights,
)
from mixexp._guests import failures_named, in_threads
from mixexp._probabilities import sound_proba
from mixexp._threads import single_thread
from mixexp._weights import responsibilities_as_weights
from mixexp.protocols import Rows

__all__ = ["Fit", "Trainer"]

#: Pseudo-rows with the classes' overall shares, added to a region that has only one class.
PRIOR_ROWS = 1.0


@dataclass(frozen=True)
class Fit:
    """One estimator to fit: candidate `c` of expert `k`, without the rows of `fold`."""

    k: int
    c: int
    fold: int | None


@dataclass(frozen=True)
class Trainer:
    """What stays the same from one M-step to the next; `EstimatorBank` says what it all is."""

    candidates: list
    columns: list
    classes: Any
    family: Any
    n_outputs: int
    n_jobs: int | None
    seed: int
    owner: str

    @property
    def width(self) -> int:
        """Number of outputs, or of classes."""
        return self.n_outputs if self.classes is None else len(self.classes)

    def select(self, experts: np.ndarray) -> Trainer:
        """Return the trainer of some experts, in this order."""
        return replace(
            self,
            candidates=[self.candidates[k] for k in experts],
            columns=[self.columns[k] for k in experts],
        )

    def fit(self, fits: list[Fit], task: Task) -> dict[Fit, tuple]:
        """Fit; return for each the estimator, the ids of the rows it predicts, and predictions."""
        plain = any(not takes_weights(e) for own in self.candidates for _, e in own)
        drawn = drawn_rows(task.weights, task.rows, self.seed) if plain else None
        calls = [(fit, task, drawn) for fit in fits]
        silent = silent_about_steps(e for own in self.candidates for _, e in own)
        done = in_threads(self._guarded, calls, self.n_jobs, silent)
        return dict(zip(fits, done, strict=True))

    def _guarded(self, fit: Fit, task: Task, drawn: Any) -> tuple:
        """Fit and predict; an error names the expert, the iteration and the effective sample."""

        def what() -> str:
            name, estimator = self.candidates[fit.k][fit.c]
            return (
                f"{self.owner}: expert {fit.k} ({name}: {name_of(estimator)}) failed at EM "
                f"iteration {task.iteration}, on an effective sample of "
                f"{effective_size(task.weights[fit.k]):.1f} of {task.rows.n_rows} rows"
            )

        hint = partial(text_hint, task.rows.frame, self.columns[fit.k])
        with failures_named(what, hint), single_thread(), responsibilities_as_weights():
            return self._fit_one(fit, task, drawn)

    def _fit_one(self, fit: Fit, task: Task, drawn: Any) -> tuple:
        """Return a fitted estimator, the rows it predicts and its predictions for them."""
        rows = task.rows
        expert = self._fitted(fit, task, drawn)
        ids = np.arange(rows.n_rows)
        if fit.fold is not None:
            ids = np.flatnonzero(task.folds == fit.fold)
        X = rows.take(slice(None) if fit.fold is None else ids, self.columns[fit.k])
        found = self.outputs(expert, X, None if rows.offset is None else rows.offset[:, ids])
        return expert, ids, found

    def _fitted(self, fit: Fit, task: Task, drawn: Any) -> Any:
        """Return an estimator fitted on its rows; a constant where they have one class only."""
        rows, weight = task.rows, task.weights[fit.k]
        name, template = self.candidates[fit.k][fit.c]
        trained = np.ones(rows.n_rows, dtype=bool)
        if fit.fold is not None:
            trained &= task.folds != fit.fold
        if weight[trained].max() == 0:  # nobody's rows: all, until the collapse is dealt with
            weight = np.full(rows.n_rows, 1.0 / len(self.candidates))
        ids = np.flatnonzero(trained & (weight > NEGLIGIBLE * weight[trained].max()))
        if not takes_weights(template):
            own = drawn[fit.k][trained[drawn[fit.k]]]
            ids = self._in_company(own, ids, rows.y, weight) if len(own) else ids
        y, weight = rows.y[..., ids], weight[ids]
        X = rows.take(ids, self.columns[fit.k])
        if self.classes is not None:
            if np.all(y == y[0]):
                return self._constant(X, y[0], weight.sum(), rows)
            target = self.classes[y]
        else:
            if rows.offset is not None:
                y, factor = self.family.without_offset(y, rows.offset[:, ids])
                weight = weight if factor is None else weight * factor.mean(axis=0)
            target = y[0] if len(y) == 1 else y.T
        return fit_estimator(
            seeded(template, self.seed, fit.k),
            X,
            target,
            weight if takes_weights(template) else None,
            previous=task.models.get(fit),
            metadata={
                key: rows_of(value, ids, rows.n_rows)
                for key, value in rows.metadata.get(name, {}).items()
            },
        )

    def _in_company(
        self, drawn: np.ndarray, ids: np.ndarray, y: np.ndarray, weight: np.ndarray
    ) -> np.ndarray:
        """Return drawn rows with a second one of each class that was drawn once.

        A class of one row has no covariance, and no fold of its own. It is the most responsible
        of the rows `ids`.
        """
        if self.classes is None:
            return drawn
        for code in np.flatnonzero(np.bincount(y[drawn], minlength=len(self.classes)) == 1):
            others = np.setdiff1d(ids[y[ids] == code], drawn)
            if len(others):
                drawn = np.append(drawn, others[np.argmax(weight[others])])
        return drawn

    def _constant(self, X: Any, code: int, mass: float, rows: Rows) -> DummyClassifier:
        """Return a constant expert for a region with one class, smoothed by all classes' shares."""
        counts = PRIOR_ROWS * np.bincount(rows.y, weights=rows.weight, minlength=len(self.classes))
        counts /= counts.sum()
        counts[code] += mass
        X = np.zeros((len(self.classes), X.shape[1]))
        return DummyClassifier(strategy="prior").fit(X, self.classes, sample_weight=counts)

    def predicted(self, k: int, expert: Any, X: Any, offset: np.ndarray | None) -> np.ndarray:
        """Return an expert's outputs for new rows; an error names the expert."""
        who = f"{self.owner}: expert {k} ({name_of(expert)}) failed to predict {X.shape[0]} rows"
        with failures_named(lambda: who):
            return self.outputs(expert, X, offset)

    def outputs(self, expert: Any, X: Any, offset: np.ndarray | None) -> np.ndarray:
        """Return one expert's means (n_outputs, m) or aligned class probabilities.

        Raises a ValueError where they are not what the density needs.
        """
        if self.classes is not None:
            return self._aligned(expert, X)
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is looked at below
            mean = np.asarray(expert.predict(X), dtype=np.float64)
        mean = mean.reshape(len(mean), -1).T
        wanted = (self.width, X.shape[0])
        if mean.shape != wanted:
            raise ValueError(f"it predicts shape {mean.T.shape} and should predict {wanted[::-1]}.")
        if offset is not None:
            with np.errstate(over="ignore"):
                identity = self.family.link == "identity"
                mean = mean + offset if identity else mean * self.family.mean(offset)
        bad = np.sum(~np.isfinite(mean))
        if bad:
            raise ValueError(f"it predicts NaN or infinity, {bad} times for {X.shape[0]} rows.")
        return mean

    def _aligned(self, expert: Any, X: Any) -> np.ndarray:
        """Return class probabilities (n_classes, m), 0 for a class that the expert never saw."""
        proba = np.zeros((len(self.classes), X.shape[0]))
        unknown = ~np.isin(expert.classes_, self.classes)
        if np.any(unknown):
            raise ValueError(
                f"its classes_ hold {np.asarray(expert.classes_)[unknown].tolist()[:5]}, which are "
                f"no labels of y: {self.classes.tolist()[:5]}. They must be those it was fitted on."
            )
        proba[np.searchsorted(self.classes, expert.classes_)] = sound_proba(expert, X).T
        return proba


@dataclass(frozen=True)
class Task:
    """What one M-step brings: weights (K, n), folds (n,) or None, the models of the last one."""

    rows: Rows
    weights: np.ndarray
    folds: np.ndarray | None
    models: dict[Fit, Any]
    iteration: int
