"""A mixture given targets of groups: which expert a group comes from, by what is known of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils.metaestimators import available_if

from mixexp._estimators.known_rows import grouped, weighted
from mixexp._estimators.model import Model
from mixexp._numerics import softmax_in_place
from mixexp._rows.inputs import checked_groups
from mixexp._rows.rows import Rows
from mixexp._threads import single_thread
from mixexp.protocols import Block

__all__ = ["MixtureGiven", "condition"]

#: Routing weights of rows of a group may differ by this much, by rounding.
SAME_WEIGHT = 1e-8


def condition(
    estimator: Any, X: Any, y: Any, groups: Any, sample_weight: Any, offset: Any
) -> MixtureGiven:
    """Return a fitted mixture given known targets of groups."""
    model, owner = estimator._fitted_model(), type(estimator).__name__
    if groups is None:
        raise ValueError(f"{owner}: groups=None: give the group of every known row.")
    if model.zero_share:
        raise ValueError(
            f"{owner}: zero_expert=True: whether a group's zeros are structural depends on what is "
            "known of it, which predictions do not follow. Fit without the zero expert."
        )
    X, y, weight, offset, groups = weighted(estimator, X, y, sample_weight, offset, groups)
    rows, order = grouped(estimator, X, y, weight, offset, groups)
    model.target.refuse_impossible(rows.y, owner)
    labels = np.asarray(groups)[order]
    codes: Any = rows.groups
    firsts = np.unique(codes, return_index=True)[1]
    log_gate, log_likelihood = log_parts(model.innermost, rows)
    return MixtureGiven(estimator, labels[firsts].tolist(), log_gate, log_likelihood)


def log_parts(model: Model, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Return log g_k(x) and Σ_i w_i log p_k(y_i | x_i) of groups, each (n_groups, K or K + 1).

    Without the noise, from which no prediction comes.
    """
    n_noise = len(model.noise_columns)

    def of_block(block: Block) -> np.ndarray:
        log_gate = model.gate.log_prob(block.unit)
        density = block.of_units(model.log_densities_block(block))
        n = len(log_gate) - n_noise
        log_gate = log_gate[:n] - np.logaddexp.reduce(log_gate[:n], axis=0)
        return np.stack([log_gate.T, density[:n].T], axis=1)

    with single_thread():
        found = rows.map(of_block)
    return found[:, 0], found[:, 1]


def posterior(log_gate: np.ndarray, log_likelihood: np.ndarray) -> np.ndarray:
    """Return g_k Π p_k over its sum, (n_groups, K); g_k where all experts find y impossible."""
    joint = log_gate + log_likelihood
    nowhere = np.isneginf(joint.max(axis=1))
    joint[nowhere] = log_gate[nowhere]
    weights = np.ascontiguousarray(joint.T)
    softmax_in_place(weights)
    return weights.T


class MixtureGiven:
    """A fitted mixture given the targets of some rows of groups.

    Made by the method `given` of an estimator. With z the expert that a group comes from, a row of
    the group has the distribution Σ_k P(z = k | what is known) p_k(y | x), where

        P(z = k | what is known) ∝ g_k(x) Π_i p_k(y_i | x_i)

    over the group's known rows i. Predictions of the mixture itself have g_k(x) in its place, which
    never looks at targets. A group of which nothing is known has them here, too.

    The order of rows, and how they are cut into calls, changes nothing. Under routing only experts
    that the group reaches take part; the noise does not, as in `predict_distribution`.

    Parameters
    ----------
    estimator : MixtureOfExpertsRegressor or MixtureOfExpertsClassifier
        Fitted.
    groups : list
        The labels of the known groups.
    log_gate, log_likelihood : ndarray of shape (n_groups, n_experts)
        Logarithms of the routing weights, and of the densities of the known targets; of mixtures
        of mixtures, of the innermost experts.
    """

    def __init__(
        self, estimator: Any, groups: list, log_gate: np.ndarray, log_likelihood: np.ndarray
    ):
        self.estimator = estimator
        self.groups = groups
        self.log_gate = log_gate
        self.log_likelihood = log_likelihood

    def weights(self, X: Any, *, groups: Any) -> np.ndarray:
        """Return the weights of the experts in a prediction.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to predict for.
        groups : array-like of shape (n_samples,)
            The group of every row.

        Returns
        -------
        ndarray of shape (n_samples, n_experts)
            As `route` of the mixture; of mixtures of mixtures, of the innermost experts.

        Raises
        ------
        ValueError
            If the gate tells a row from the known rows of its group.
        """
        return self._weights(self.estimator._new_rows(X), groups)

    def _weights(self, rows: Rows, groups: Any) -> np.ndarray:
        owner = type(self.estimator).__name__
        if groups is None:
            raise ValueError(f"{owner}: groups=None: give the group of every row.")
        checked_groups(groups, rows.X, owner)
        weights: np.ndarray = self.estimator._model.innermost.route(rows)
        number = {label: i for i, label in enumerate(self.groups)}
        labels = np.asarray(groups).tolist()
        one, other = labels[0], self.groups[0]  # labels of one call are of one kind
        if isinstance(one, str) is not isinstance(other, str):
            raise ValueError(
                f"{owner}: groups has labels such as {one!r}, and those of the known rows are like "
                f"{other!r}: numbers and text are never equal. Give labels of the same kind."
            )
        codes = np.array([number.get(label, -1) for label in labels], dtype=int)
        known = np.flatnonzero(codes >= 0)
        differs = np.abs(weights[known] - np.exp(self.log_gate[codes[known]])) > SAME_WEIGHT
        if np.any(differs):
            row = int(known[np.flatnonzero(differs.any(axis=1))[0]])
            raise ValueError(
                f"{owner}: the gate tells row {row} from the known rows of its group "
                f"{labels[row]!r}, and rows of a group share one expert. Give the gate's features "
                "the same values in all rows of a group."
            )
        weights[known] = posterior(self.log_gate, self.log_likelihood)[codes[known]]
        return weights

    def _pooled(self, X: Any, groups: Any, offset: Any) -> np.ndarray:
        model, rows = self.estimator._model, self.estimator._new_rows(X, offset=offset)
        weights = self._weights(rows, groups)
        return model.pooling_innermost.pooled(rows, type(self.estimator).__name__, weights=weights)

    def predict(self, X: Any, *, groups: Any, offset: Any = None) -> np.ndarray:
        """Predict targets or classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to predict for.
        groups : array-like of shape (n_samples,)
            The group of every row; one of which nothing is known is predicted by the gate.
        offset : array-like of shape (n_samples,), default=None
            Added to the linear predictor, as in `fit`.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Pooled and bounded as by `predict` of the mixture.
        """
        if not is_classifier(self.estimator):
            return self._pooled(X, groups, offset)
        proba = self.predict_proba(X, groups=groups, offset=offset)
        return self.estimator.classes_[proba.argmax(axis=1)]

    @available_if(lambda self: is_classifier(self.estimator))
    def predict_proba(self, X: Any, *, groups: Any, offset: Any = None) -> np.ndarray:
        """Return class probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to predict for.
        groups : array-like of shape (n_samples,)
            The group of every row; one of which nothing is known is predicted by the gate.
        offset : array-like of shape (n_samples,) or (n_samples, n_classes), default=None
            Added to the linear predictors, as in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of `classes_`.
        """
        return self.estimator._as_probabilities(self._pooled(X, groups, offset))

    def predict_distribution(
        self, X: Any, *, groups: Any, offset: Any = None, trials: Any = None
    ) -> Any:
        """Return the distribution of y for every row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to predict for.
        groups : array-like of shape (n_samples,)
            The group of every row; one of which nothing is known is predicted by the gate.
        offset : array-like of shape (n_samples,), default=None
            Added to the linear predictor, as in `fit`.
        trials : array-like of shape (n_samples,) or int, default=None
            Of a regressor of family "binomial", as in its `predict_distribution`.

        Returns
        -------
        MixtureDistribution or ClassDistribution
            Of each row given what is known, not jointly of the rows of a group.
        """
        rows = self.estimator._new_rows(X, offset=offset)
        self.estimator._counted(None, trials)  # classes and other families have none
        given = {} if trials is None else {"trials": trials}
        return self.estimator._law(rows, self._weights(rows, groups), **given)
