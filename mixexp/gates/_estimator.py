"""A gate made of any scikit-learn classifier."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.dummy import DummyClassifier

from mixexp._checks import short
from mixexp._columns import text_hint
from mixexp._fitting import (
    adds_by_class,
    drawn_rows,
    effective_size,
    fit_estimator,
    folds_of,
    learns_by_steps,
    name_of,
    seeded,
    silent_about_steps,
    takes_weights,
    will_have,
)
from mixexp._guests import failures_named, in_threads
from mixexp._probabilities import sound_proba
from mixexp._threads import single_thread
from mixexp._weights import responsibilities_as_weights
from mixexp.protocols import Block, Rows, evolve

__all__ = ["EstimatorGate"]

#: K times the lower bound of gate probabilities: a tree leaf's 0 does not rule out an expert.
SMALLEST_PROBA = 1e-6

#: Method that a classifier needs to serve as a gate.
PROBA = "predict_proba"

#: Labels with a smaller share of a row's responsibility are not passed to the classifier.
NEGLIGIBLE_LABEL = 1e-6


class EstimatorGate(BaseEstimator):
    """A classifier of the responsible expert, refitted in each M-step.

    The classifier gets every row once per responsible expert, with the expert as label and the
    responsibility as weight. Naive Bayes classifiers, whose sums over rows are additive, see the
    rows once per expert without a copy. A classifier without `sample_weight` gets every row once,
    with a label drawn by responsibility.

    The lower bound of such a mixture need not increase; the best state is returned. With
    `cross_fit` the gate probabilities of training rows are predicted out of fold.

    Parameters
    ----------
    estimator : classifier with `predict_proba`
        Neural networks (`MLPClassifier`) continue from their current weights in each M-step.

    Attributes
    ----------
    estimator_ : fitted classifier
        Its labels are the experts' indices during the fit.
    experts_of_labels_ : ndarray of int of shape (n_experts,)
        The expert that each label denotes, after the experts were sorted.

    References
    ----------
    Jordan & Jacobs (1994), Hierarchical mixtures of experts and the EM algorithm, Neural
    Computation 6: the M-step of the gate is a weighted classification of the responsibilities.

    Examples
    --------
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> from mixexp.gates import EstimatorGate
    >>> X, y = load_tone(return_X_y=True)
    >>> gate = EstimatorGate(DecisionTreeClassifier(max_depth=2))
    >>> model = MixtureOfExpertsRegressor(n_experts=2, gate=gate, random_state=0).fit(X, y)
    >>> model.gate_.estimator_.get_depth()
    2
    """

    monotone = False

    def __init__(self, estimator: Any):
        self.estimator = estimator

    def start(self, rows: Rows, n_experts: int, columns: Any) -> EstimatorGate:
        """Return a gate for these rows in which all experts are equally likely."""
        is_estimator = hasattr(self.estimator, "fit") and not isinstance(self.estimator, type)
        name = name_of(self.estimator) if is_estimator else short(self.estimator)
        if not (
            is_estimator and is_classifier(self.estimator) and will_have(self.estimator, PROBA)
        ):
            raise TypeError(
                f"EstimatorGate: estimator must be a classifier with {PROBA}, got {name}."
            )
        if isinstance(columns, list):
            raise ValueError(
                f"EstimatorGate: {name} has one set of columns for all experts, and gate_features "
                "gives one to each. Use SoftmaxGate, or one selection."
            )
        return evolve(
            self,
            columns=columns,
            n_experts=n_experts,
            estimator_=None,
            experts_of_labels_=np.arange(n_experts),
            _fitting=(0, 0, None, "EstimatorGate"),
            _iteration=-1,
            _models={},
            _resp=None,
            _folds=None,
            _train_log_prob=np.full((n_experts, rows.n_rows), -np.log(n_experts)),
        )

    def with_fitting(
        self, n_folds: int, seed: int, n_jobs: int | None, owner: str
    ) -> EstimatorGate:
        """Return the gate with these settings of its fits; 0 folds means no cross-fitting."""
        return evolve(self, _fitting=(n_folds, seed, n_jobs, owner))

    @property
    def cross_fitted(self) -> bool:
        """Whether gate probabilities of training rows are out of fold."""
        return self._folds is not None

    def log_prob(self, block: Block) -> np.ndarray:
        """Return log g_k(x), (K, m)."""
        if block.training and self._train_log_prob is not None:
            return self._train_log_prob[:, block.start : block.stop].copy()
        X = block.take(self.columns)
        owner, name = self._fitting[3], name_of(self.estimator)
        with failures_named(
            lambda: f"{owner}: the gate's {name} failed to predict {X.shape[0]} rows"
        ):
            return self._log_proba(self.estimator_, X)

    def _log_proba(self, estimator: Any, X: Any) -> np.ndarray:
        labels = np.asarray(estimator.classes_)
        if not np.all(np.isin(labels, np.arange(self.n_experts))):
            raise ValueError(
                f"its classes_ {short(labels.tolist())} are not among the labels 0 to "
                f"{self.n_experts - 1} that it was fitted to. A gate's classifier has to keep them"
            )
        proba = np.zeros((self.n_experts, X.shape[0]))
        proba[self.experts_of_labels_[labels]] = sound_proba(estimator, X).T
        proba = np.maximum(proba, SMALLEST_PROBA / self.n_experts)
        return np.log(proba / proba.sum(axis=0))

    def statistics(self, block: Block, resp: np.ndarray) -> list[np.ndarray]:
        """Return the responsibilities in a list: adding lists concatenates them."""
        return [resp.copy()]

    def update(self, statistics: list[np.ndarray], rows: Rows) -> EstimatorGate:
        """Return the gate with its classifier refitted."""
        n_folds, seed, _, _ = self._fitting
        resp = np.concatenate(statistics, axis=1)
        new = evolve(self, _resp=resp, _iteration=self._iteration + 1)
        if n_folds and new._folds is None:
            new._folds = folds_of(rows, n_folds, seed)
        new._train_log_prob = np.empty(resp.shape)
        folds = [None] if new._folds is None else np.unique(new._folds).tolist()
        fitted = new._fit(folds, rows)
        new._models = {fold: model for fold, (model, _) in fitted.items()}
        for fold, (_, log_proba) in fitted.items():
            new._train_log_prob[:, slice(None) if fold is None else new._folds == fold] = log_proba
        return new

    def _fit(self, folds: list, rows: Rows) -> dict:
        """Return classifiers and their log-probabilities, by the fold that each leaves out."""
        _, seed, n_jobs, _ = self._fitting
        drawn = None if takes_weights(self.estimator) else drawn_rows(self._resp, rows, seed)
        calls = [(fold, rows, drawn) for fold in folds]
        silent = silent_about_steps([self.estimator])
        done = in_threads(self._fit_guarded, calls, n_jobs, silent)
        return dict(zip(folds, done, strict=True))

    def _fit_guarded(self, fold: int | None, rows: Rows, drawn: Any) -> Any:
        def failure() -> str:
            return (
                f"{self._fitting[3]}: the gate's {name_of(self.estimator)} failed at EM iteration "
                f"{self._iteration}, on an effective sample of "
                f"{effective_size(self._resp.sum(axis=0)):.1f} of {rows.n_rows} rows"
            )

        hint = partial(text_hint, rows.frame, self.columns)
        with failures_named(failure, hint), single_thread(), responsibilities_as_weights():
            model = self._fit_one(fold, rows, drawn)
            ids = slice(None) if fold is None else np.flatnonzero(self._folds == fold)
            return model, self._log_proba(model, self._taken(rows, ids))

    def _taken(self, rows: Rows, ids: Any) -> Any:
        """Return rows for the classifier; a view for naive Bayes, which does not modify them."""
        return rows.take(ids, self.columns, not adds_by_class(self.estimator))

    def _fit_one(self, fold: int | None, rows: Rows, drawn: Any) -> Any:
        trained = np.ones(rows.n_rows, dtype=bool) if fold is None else self._folds != fold
        if adds_by_class(self.estimator):
            return self._fit_by_class(rows, slice(None) if fold is None else trained)
        weight: np.ndarray | None = None
        if drawn is None:
            enough = self._resp > NEGLIGIBLE_LABEL * self._resp.sum(axis=0)
            labels, ids = np.nonzero(enough & trained)
            weight = self._resp[labels, ids]
        else:
            ids_of = [ids[trained[ids]] for ids in drawn]
            labels = np.repeat(np.arange(self.n_experts), [len(ids) for ids in ids_of])
            ids = np.concatenate(ids_of)
        if np.all(labels == labels[0]):
            X = np.zeros((1, rows.X.shape[1]))
            return DummyClassifier(strategy="prior").fit(X, labels[:1])
        estimator = seeded(self.estimator, self._fitting[1])
        X = rows.take(ids, self.columns)
        return fit_estimator(estimator, X, labels, weight, previous=self._models.get(fold))

    def _fit_by_class(self, rows: Rows, trained: Any) -> Any:
        """Return a classifier fitted by `partial_fit` per label, without copying rows."""
        ids = trained if isinstance(trained, slice) else np.flatnonzero(trained)
        X = self._taken(rows, ids)
        resp = self._resp[:, trained]
        present = np.flatnonzero(resp.sum(axis=1) > NEGLIGIBLE_LABEL * resp.sum())
        estimator = clone(self.estimator)
        for label in present:
            labels = np.full(X.shape[0], label)
            estimator.partial_fit(X, labels, classes=present, sample_weight=resp[label])
        return estimator

    def select(self, experts: np.ndarray) -> EstimatorGate:
        """Return the gate restricted to these experts, in this order; its classifier starts over.

        After `finished` the selection is a permutation, and only `experts_of_labels_` changes.
        """
        if self.estimator_ is not None:
            return evolve(self, experts_of_labels_=np.argsort(experts)[self.experts_of_labels_])
        log_proba = self._train_log_prob[experts]
        log_proba = log_proba - np.log(np.exp(log_proba).sum(axis=0))
        labels = np.arange(len(experts))
        return evolve(
            self,
            n_experts=len(experts),
            experts_of_labels_=labels,
            _train_log_prob=log_proba,
            _models={},
        )

    def finished(self, rows: Rows) -> EstimatorGate:
        """Return the gate with its classifier fitted on all rows.

        A network gets as many rounds of training as the networks of the folds had.
        """
        if self.estimator_ is not None:  # of a warm-up
            return self
        if None in self._models:
            return evolve(self, estimator_=self._models[None])
        whole = evolve(self, _models={})
        for _ in range(self._iteration + 1):
            whole._models = {None: whole._fit([None], rows)[None][0]}
            if not learns_by_steps(whole._models[None]):
                break
        return evolve(self, estimator_=whole._models[None])

    def trimmed(self) -> EstimatorGate:
        """Return the gate without its record of the training rows."""
        return evolve(self, _train_log_prob=None, _resp=None, _folds=None, _models={})
