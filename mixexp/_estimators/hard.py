"""Slim predictors in which each row is answered by one expert."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from mixexp._estimators.model import Model
from mixexp._estimators.new_rows import new_rows
from mixexp._estimators.outcome import InputRules
from mixexp._estimators.versioned import Versioned
from mixexp._numerics import softmax_in_place
from mixexp.protocols import Block, can

if TYPE_CHECKING:
    from mixexp._estimators.base import BaseMixtureOfExperts

__all__ = ["HardMixtureClassifier", "HardMixtureRegressor", "hardened"]


@dataclass(frozen=True)
class OneExpert:
    """The router of a hard mixture.

    Attributes
    ----------
    kept : ndarray of int
        Of the mixture's routing weights, the rows that were kept: experts, then the fallback.
    needs_fallback : bool
        Whether the fallback was kept.
    """

    kept: np.ndarray
    needs_fallback: bool


@dataclass(frozen=True)
class HardGate:
    """Gives each row to one kept expert: log-weights of 0 and −inf.

    A row goes to the expert with the largest routing weight in the mixture. If that one was left
    out, it goes to the most probable of those that were kept. The mixture's whole gate is needed
    for that: to leave out experts would change which one is largest under a tree or a router.

    Attributes
    ----------
    gate : Gate
        The mixture's gate without noise, with its router.
    router : OneExpert
    zero_share_ : float
        Share of a zero expert, by which predictions are smaller; 0 if there is none.
    """

    gate: Any
    router: OneExpert
    zero_share_: float = 0.0

    def without_routing(self) -> Any:
        """Return the gate without any router."""
        return self.gate.without_routing() if can(self.gate, "without_routing") else self.gate

    def log_prob(self, block: Block) -> np.ndarray:
        """Return log-weights (K', m) of the kept experts, the fallback's last."""
        weights = self.gate.log_prob(block)
        softmax_in_place(weights)
        kept = self.router.kept
        places = np.full(len(weights), -1)
        places[kept] = np.arange(len(kept))
        place = places[weights.argmax(axis=0)]
        lost = np.flatnonzero(place < 0)
        if len(lost):
            experts = kept[: len(kept) - self.router.needs_fallback]
            log_gate = self.without_routing().log_prob(block.rows_at(lost))
            place[lost] = log_gate[experts].argmax(axis=0)
        log_weights = np.full((len(kept), block.n_rows), -np.inf)
        log_weights[place, np.arange(block.n_rows)] = 0.0
        return log_weights


class BaseHardMixture(Versioned, BaseEstimator):
    """Base of hard mixtures; `to_hard` of a fitted mixture returns them."""

    _model: Model
    _rules: InputRules

    def fit(self, X: Any, y: Any = None) -> Any:
        """Raise: a hard mixture is not fitted.

        Parameters
        ----------
        X, y : object
            Not used.

        Raises
        ------
        TypeError
            Always.
        """
        name = type(self).__name__
        mixture = name.replace("HardMixture", "MixtureOfExperts")
        raise TypeError(f"{name}: it is not fitted to data. Call to_hard() of a fitted {mixture}.")

    def route(self, X: Any) -> np.ndarray:
        """Return which expert answers for each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to predict for.

        Returns
        -------
        ndarray of shape (n_samples, n_experts), or (n_samples, n_experts + 1) with a fallback
            One 1 in each row, else 0.
        """
        return self._checked_model().route(new_rows(self, X))

    def _checked_model(self) -> Model:
        check_is_fitted(self, "experts_", msg="%(name)s: call to_hard() of a fitted mixture.")
        return self._model

    def _answered(self, X: Any, offset: Any) -> np.ndarray:
        """Return the outputs of each row's expert."""
        model = self._checked_model()
        return model.pooled(new_rows(self, X, offset=offset), type(self).__name__)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        if hasattr(self, "experts_"):
            tags.input_tags.sparse = self._rules.sparse
            tags.input_tags.allow_nan = not self._rules.refusing
        return tags


class HardMixtureRegressor(RegressorMixin, BaseHardMixture):
    """A mixture of regression experts in which each row is answered by one expert.

    `MixtureOfExpertsRegressor.to_hard` returns it; it cannot be fitted.

    Attributes
    ----------
    n_experts : int
        Number of experts that were kept.
    experts_ : list of fitted estimators
        The kept experts; they are the mixture's own, not copies.
    kept_ : ndarray of int of shape (n_experts,)
        Their numbers in the mixture.
    shared_expert_ : fitted estimator
        The shared expert, if there is one; the `experts_` predict what they add to it.
    fallback_ : fitted estimator
        The fallback expert, if it was kept. It is the last column of `route`.
    gate_ : fitted gate
        The mixture's gate, without router and noise.
    n_features_in_ : int
        Number of features seen in `fit` of the mixture.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if it was fitted to a data frame.
    """

    def predict(self, X: Any, *, offset: Any = None) -> np.ndarray:
        """Predict the targets.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to predict for.
        offset : array-like of shape (n_samples,), default=None
            Added to the linear predictor, as in the mixture.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        return self._answered(X, offset)


class HardMixtureClassifier(ClassifierMixin, BaseHardMixture):
    """A mixture of classifiers in which each row is answered by one expert.

    `MixtureOfExpertsClassifier.to_hard` returns it; it cannot be fitted.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    n_experts : int
        Number of experts that were kept.
    experts_ : list of fitted estimators
        The kept experts; they are the mixture's own, not copies.
    kept_ : ndarray of int of shape (n_experts,)
        Their numbers in the mixture.
    fallback_ : fitted estimator
        The fallback expert, if it was kept. It is the last column of `route`.
    gate_ : fitted gate
        The mixture's gate, without router and noise.
    n_features_in_ : int
        Number of features seen in `fit` of the mixture.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if it was fitted to a data frame.
    """

    classes_: np.ndarray

    def predict_proba(self, X: Any, *, offset: Any = None) -> np.ndarray:
        """Return class probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to predict for.
        offset : array-like of shape (n_samples,) or (n_samples, n_classes), default=None
            Added to the linear predictors, as in the mixture.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of `classes_`.
        """
        return self._answered(X, offset)

    def predict(self, X: Any, *, offset: Any = None) -> np.ndarray:
        """Predict classes: the argmax of `predict_proba`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to predict for.
        offset : array-like of shape (n_samples,) or (n_samples, n_classes), default=None
            Added to the linear predictors, as in the mixture.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        return self.classes_[self.predict_proba(X, offset=offset).argmax(axis=1)]


#: Attributes that are taken over from the mixture, where it has them.
SHARED = (
    "n_features_in_",
    "feature_names_in_",
    "classes_",
    "shared_expert_",
    "shared_share_",
    "_mixexp_version",
)


def hardened(mixture: BaseMixtureOfExperts) -> HardMixtureClassifier | HardMixtureRegressor:
    """Return the hard mixture of a fitted one.

    1. Keep the experts that are the first choice of training rows, or else the most used one.
    2. Keep the fallback if it is the first choice of some.
    3. Leave out the noise, and what else predictions do not need.
    """
    model = mixture._model
    n_experts = model.n_experts
    chosen = mixture.hard_loads_ > 0
    kept = np.flatnonzero(chosen[:n_experts])
    if len(kept) == 0:
        kept = np.array([int(mixture.usage_[:n_experts].argmax())])
    fallback = bool(chosen[n_experts:].any())
    hard = (HardMixtureRegressor if model.target.classes is None else HardMixtureClassifier)()
    for name in SHARED:
        if hasattr(mixture, name):
            setattr(hard, name, getattr(mixture, name))
    hard._model = _hard_model(model, kept, fallback)
    hard._rules = mixture._rules
    hard.n_experts = len(kept)
    hard.kept_ = kept
    hard.gate_ = hard._model.dense_gate
    hard.experts_ = [mixture.experts_[k] for k in kept]
    if fallback:
        hard.fallback_ = mixture.fallback_
    return hard


def _hard_model(model: Model, kept: np.ndarray, fallback: bool) -> Model:
    """Return a model of some experts, and of the fallback or not, that gives each row to one."""
    gate: Any = model.gate
    bank: Any = model.bank
    if can(gate, "without_noise"):
        gate, bank = gate.without_noise(), bank.inner
    if model.has_fallback and not fallback:
        bank = bank.inner
    columns = np.append(kept, model.n_experts).astype(int) if fallback else kept
    of_experts = [model.columns_of_experts[k] for k in kept]
    return Model(
        gate=HardGate(gate, OneExpert(columns, fallback), model.zero_share),  # type: ignore[arg-type]
        bank=bank.select(columns),
        target=model.target,
        columns=(of_experts, model.columns[1]),
        pooling="argmax",
        limits=model.limits,
    )
