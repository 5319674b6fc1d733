"""Fitting the estimators of a bank, per expert, candidate and fold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.dummy import DummyClassifier, DummyRegressor

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

#: Pseudo-rows with the overall class shares, added to a region with a single class.
PRIOR_ROWS = 1.0


@dataclass(frozen=True)
class Fit:
    """Key of one fit: candidate `c` of expert `k`, trained without the rows of `fold`."""

    k: int
    c: int
    fold: int | None


@dataclass(frozen=True)
class Trainer:
    """The part of an `EstimatorBank` that does not change between M-steps.

    `name` is what messages call its only estimator, None for experts, which have numbers.
    """

    candidates: list
    columns: list
    classes: Any
    family: Any
    n_outputs: int
    n_jobs: int | None
    seed: int
    owner: str
    name: str | None = None

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

    def fit(self, fits: list[Fit], refit: Refit) -> dict[Fit, tuple]:
        """Return, per fit, the estimator, the ids of the rows it predicts and its predictions."""
        draws = refit.drawn or any(
            not takes_weights(e) for pairs in self.candidates for _, e in pairs
        )
        drawn = drawn_rows(refit.weights, refit.rows, self.seed) if draws else None
        calls = [(fit, refit, drawn) for fit in fits]
        silent = silent_about_steps(e for pairs in self.candidates for _, e in pairs)
        done = in_threads(self._guarded, calls, self.n_jobs, silent)
        return dict(zip(fits, done, strict=True))

    def _guarded(self, fit: Fit, refit: Refit, drawn: Any) -> tuple:
        """Fit and predict; errors name the expert, the iteration and the effective sample size."""

        def failure() -> str:
            name, estimator = self.candidates[fit.k][fit.c]
            kind = name_of(estimator)
            who = f"expert {fit.k} ({name}: {kind})" if self.name is None else f"{self.name} {kind}"
            return (
                f"{self.owner}: {who} failed at EM iteration {refit.iteration}, on an effective "
                f"sample of {effective_size(refit.weights[fit.k]):.1f} of {refit.rows.n_rows} rows"
            )

        def hint() -> str:
            text = text_hint(refit.rows.frame, self.columns[fit.k])
            return text or _missing_hint(refit, fit.k)

        with failures_named(failure, hint), single_thread(), responsibilities_as_weights():
            return self._fit_one(fit, refit, drawn)

    def _fit_one(self, fit: Fit, refit: Refit, drawn: Any) -> tuple:
        """Return a fitted estimator, the rows it predicts and its predictions for them."""
        rows = refit.rows
        expert = self._fitted(fit, refit, drawn)
        ids = np.arange(rows.n_rows)
        if fit.fold is not None:
            ids = np.flatnonzero(refit.folds == fit.fold)
        whole = fit.fold is None
        if refit.routed:
            ids, whole = ids[refit.weights[fit.k][ids] > 0], False
            if refit.predicted is not None:
                ids = ids[refit.predicted[ids]]
            if len(ids) == 0:
                return expert, ids, np.zeros((self.width, 0))
        X = rows.take(slice(None) if whole else ids, self.columns[fit.k])
        offset = None if rows.offset is None else rows.offset[:, ids]
        return expert, ids, self.outputs(expert, X, offset)

    def _fitted(self, fit: Fit, refit: Refit, drawn: Any) -> Any:
        """Return an estimator fitted on its rows, or a constant if they have a single class."""
        rows, weight = refit.rows, refit.weights[fit.k]
        name, template = self.candidates[fit.k][fit.c]
        trained = np.ones(rows.n_rows, dtype=bool)
        if fit.fold is not None:
            trained &= refit.folds != fit.fold
        if weight[trained].max() == 0:  # no rows: use all of them until the collapse is handled
            if refit.routed:
                return self._of_nothing(rows)
            weight = np.full(rows.n_rows, 1.0 / len(self.candidates))
        smallest = refit.negligible * weight[trained].max()
        if refit.routed:  # all rows that reach the expert
            ids = np.flatnonzero(trained & (weight > 0))
            weight = np.maximum(weight, smallest)
        else:
            ids = np.flatnonzero(trained & (weight > smallest))
        weighted = takes_weights(template) and not refit.drawn
        if not weighted:
            sample = drawn[fit.k][trained[drawn[fit.k]]]
            ids = self._pair_singletons(sample, ids, rows.y, weight) if len(sample) else ids
        elif refit.plain and _are_counts(weight[ids]):
            ids, weighted = np.repeat(ids, weight[ids].astype(int)), False
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
            weight if weighted else None,
            previous=refit.models.get(fit),
            metadata={
                key: rows_of(value, ids, rows.n_rows)
                for key, value in rows.metadata.get(name, {}).items()
            },
        )

    def _pair_singletons(
        self, drawn: np.ndarray, ids: np.ndarray, y: np.ndarray, weight: np.ndarray
    ) -> np.ndarray:
        """Return the drawn rows plus a second row for each class drawn only once.

        A single row has no covariance and cannot be split into folds. The added row is the one
        in `ids` with the largest weight.
        """
        if self.classes is None:
            return drawn
        for code in np.flatnonzero(np.bincount(y[drawn], minlength=len(self.classes)) == 1):
            others = np.setdiff1d(ids[y[ids] == code], drawn)
            if len(others):
                drawn = np.append(drawn, others[np.argmax(weight[others])])
        return drawn

    def _constant(self, X: Any, code: int, mass: float, rows: Rows) -> DummyClassifier:
        """Return a constant expert for a single-class region, smoothed by the class shares."""
        counts = PRIOR_ROWS * np.bincount(rows.y, weights=rows.weight, minlength=len(self.classes))
        counts /= counts.sum()
        counts[code] += mass
        X = np.zeros((len(self.classes), X.shape[1]))
        return DummyClassifier(strategy="prior").fit(X, self.classes, sample_weight=counts)

    def _of_nothing(self, rows: Rows) -> Any:
        """Return a constant expert for a region without rows: the mean, or the class shares."""
        X = np.zeros((rows.n_rows, 1))
        if self.classes is not None:
            dummy = DummyClassifier(strategy="prior")
            return dummy.fit(X, self.classes[rows.y], sample_weight=rows.weight)
        y = rows.y[0] if len(rows.y) == 1 else rows.y.T
        return DummyRegressor().fit(X, y, sample_weight=rows.weight)

    def predicted(self, k: int, expert: Any, X: Any, offset: np.ndarray | None) -> np.ndarray:
        """Return an expert's outputs for new rows; errors name the expert."""
        kind = name_of(expert)
        who = f"expert {k} ({kind})" if self.name is None else f"{self.name} {kind}"
        failure = f"{self.owner}: {who} failed to predict {X.shape[0]} rows"
        with failures_named(lambda: failure):
            return self.outputs(expert, X, offset)

    def outputs(self, expert: Any, X: Any, offset: np.ndarray | None) -> np.ndarray:
        """Return one expert's means (n_outputs, m) or aligned class probabilities.

        Raises ValueError if the density cannot use them.
        """
        if self.classes is not None:
            return self._aligned(expert, X)
        with np.errstate(over="ignore", invalid="ignore"):  # non-finite values are reported below
            found = expert.predict(X)
            mean = np.asarray(np.nan if found is None else found, dtype=np.float64)
        expected = (X.shape[0], self.width)
        if mean.shape[:1] != expected[:1] or mean.size != expected[0] * expected[1]:
            what = "None" if found is None else f"shape {mean.shape}"
            raise ValueError(f"it predicts {what} and should predict {expected}.")
        mean = mean.reshape(expected).T
        if offset is not None:
            with np.errstate(over="ignore"):
                identity = self.family.link == "identity"
                mean = mean + offset if identity else mean * self.family.mean(offset)
        bad = np.sum(~np.isfinite(mean))
        if bad:
            raise ValueError(f"it predicts NaN or infinity, {bad} times for {X.shape[0]} rows.")
        return mean

    def _aligned(self, expert: Any, X: Any) -> np.ndarray:
        """Return class probabilities (n_classes, m), 0 for classes the expert never saw."""
        proba = np.zeros((len(self.classes), X.shape[0]))
        unknown = ~np.isin(expert.classes_, self.classes)
        if np.any(unknown):
            raise ValueError(
                f"its classes_ hold {np.asarray(expert.classes_)[unknown].tolist()[:5]}, which are "
                f"no labels of y: {self.classes.tolist()[:5]}. They must be those it was fitted on."
            )
        proba[np.searchsorted(self.classes, expert.classes_)] = sound_proba(expert, X).T
        return proba


def _are_counts(weight: np.ndarray) -> bool:
    """Return whether weights are whole numbers that at most double the rows."""
    return bool(np.all(weight == np.floor(weight)) and weight.sum() <= 2 * len(weight))


def _missing_hint(refit: Refit, k: int) -> str:
    """Return a hint at columns that are missing in all rows of an expert, empty if there are none.

    A gate can tell missing values from others, and give them an expert of their own.
    """
    rows = refit.rows
    if not rows.missing or sp.issparse(rows.X):
        return ""
    missing = np.flatnonzero(np.isnan(rows.X[refit.weights[k] > 0]).all(axis=0)).tolist()
    if not missing:
        return ""
    return (
        f". Columns {missing} are missing in all rows of this expert: impute them, or keep the "
        "gate from telling missing values by gate_features."
    )


@dataclass(frozen=True)
class Refit:
    """Inputs of one M-step: weights (K, n), folds (n,) or None, and the previous models.

    If `routed`, experts are fitted to, and predict, all rows with a weight and no others; of these
    they predict those in the mask `predicted` (n,) only, if there is one.

    Rows with less than the share `negligible` of an expert's largest weight are left out. If
    `drawn`, estimators get no weights, but rows drawn by weight. If `plain`, they get none where
    all are 1: some estimators take several times as long with weights.
    """

    rows: Rows
    weights: np.ndarray
    folds: np.ndarray | None
    models: dict[Fit, Any]
    iteration: int
    routed: bool = False
    predicted: np.ndarray | None = None
    negligible: float = NEGLIGIBLE
    drawn: bool = False
    plain: bool = False
