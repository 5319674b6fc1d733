"""Scores of gates: against the best expert of each row, and how decided they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import entr
from sklearn.base import is_classifier

from mixexp._checks import as_numbers
from mixexp._wrapped import find_mixture, refuse_offset, shares, transformed
from mixexp.metrics._weights import checked_weight, weighted_mean

__all__ = ["effective_n_experts", "gate_entropy", "gate_regret", "oracle_score"]

#: What to do where a mixture was fitted with an offset, and none is given.
GIVE_OFFSET = "Give the offset of these rows."

#: Scores that an oracle can have, by kind of estimator.
SCORINGS = {True: ("log_score", "accuracy"), False: ("log_score", "r2")}


def oracle_score(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    scoring: str = "log_score",
    sample_weight: Any = None,
    offset: Any = None,
) -> float:
    """Return the score if every row were answered by the expert that is best for its target.

    It is what a gate could reach at most with these experts, and looks at the target to get there.

    Parameters
    ----------
    estimator : estimator
        A fitted MixtureOfExpertsClassifier or MixtureOfExpertsRegressor, a Pipeline that ends in
        one, or a search over one of these.
    X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
        Rows as `estimator` takes them.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Their targets.
    scoring : {"log_score", "r2", "accuracy"}, default="log_score"
        The mean log-density; or, of regressors, the coefficient of determination R²; of
        classifiers, the accuracy.
    sample_weight : array-like of shape (n_samples,), default=None
        Row weights; None means 1 for every row.
    offset : array-like of shape (n_samples,), default=None
        Added to the linear predictor, as in `fit`.

    Returns
    -------
    float
        Higher is better.

    Notes
    -----
    With weights w_i and experts k,

    - log_score: Σ_i w_i max_k log p_k(y_i | x_i) / Σ_i w_i. As Σ_k g_k p_k ≤ max_k p_k, no gate
      has a larger `log_score`.
    - r2: 1 − Σ_i w_i min_k (y_i − f_k(x_i))² / Σ_i w_i (y_i − ȳ)², over several outputs the
      errors in units of each output's variance, of one expert for all outputs. For family
      "binomial" y_i is the share of successes, and w_i is multiplied by the trials.
    - accuracy: the share of rows whose class some expert predicts.

    The last two bound gates that choose one expert a row. A weighted mean of experts may be better
    than each of them. Experts overlap by chance too: among useless experts some is near the target,
    so that scores of mixtures with different numbers of experts should not be compared.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> from mixexp.metrics import oracle_score
    >>> X, y = load_tone(return_X_y=True)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    >>> bool(oracle_score(model, X, y) > model.log_density(X, y).mean())
    True
    """
    return _oracle(estimator, X, y, scoring, sample_weight, offset, "oracle_score")[0]


def gate_regret(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    scoring: str = "log_score",
    sample_weight: Any = None,
    offset: Any = None,
) -> float:
    """Return what the gate loses: `oracle_score` less the score of the mixture.

    Parameters
    ----------
    estimator : estimator
        A fitted MixtureOfExpertsClassifier or MixtureOfExpertsRegressor, a Pipeline that ends in
        one, or a search over one of these.
    X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
        Rows as `estimator` takes them.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Their targets.
    scoring : {"log_score", "r2", "accuracy"}, default="log_score"
        As in `oracle_score`.
    sample_weight : array-like of shape (n_samples,), default=None
        Row weights; None means 1 for every row.
    offset : array-like of shape (n_samples,), default=None
        Added to the linear predictor, as in `fit`.

    Returns
    -------
    float
        By "log_score" in nats a row and never below 0:
        Σ_i w_i log(max_k p_k(y_i | x_i) / Σ_k g_k(x_i) p_k(y_i | x_i)) / Σ_i w_i. By the other
        scores, which are those of `predict`, it is negative where pooled predictions are better
        than the best expert.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import make_piecewise_linear
    >>> from mixexp.metrics import gate_regret
    >>> X, y = make_piecewise_linear(random_state=0)
    >>> model = MixtureOfExpertsRegressor(n_experts=3, random_state=0).fit(X, y)
    >>> 0 < gate_regret(model, X, y) < 0.3
    True
    """
    owner = "gate_regret"
    best, mixture, data, weight = _oracle(estimator, X, y, scoring, sample_weight, offset, owner)
    if scoring != "log_score":
        return best - mixture.score(data, y, weight, offset=offset)
    found = mixture.log_density(data, y, offset=offset)
    impossible = np.isneginf(found) & (weight > 0)
    if np.any(impossible):  # the logarithm of 0 / 0
        raise ValueError(
            f"{owner}: no expert can give y of row {int(np.flatnonzero(impossible)[0])}, so that "
            "none is the best. Leave such rows out, or give them weight 0."
        )
    return best - weighted_mean(found, weight)


def _oracle(
    estimator: Any, X: Any, y: Any, scoring: str, sample_weight: Any, offset: Any, owner: str
) -> tuple[float, Any, Any, np.ndarray]:
    """Return the score of the best experts, the mixture, its rows and their weights."""
    before, mixture = find_mixture(estimator, owner)
    allowed = SCORINGS[is_classifier(mixture)]
    if scoring not in allowed:
        raise ValueError(
            f"{owner}: scoring={scoring!r} is none for {type(mixture).__name__}. Use "
            f"{' or '.join(map(repr, allowed))}."
        )
    if offset is None:
        refuse_offset(mixture, owner, GIVE_OFFSET)
    data = transformed(before, X)
    if scoring == "log_score":
        best = mixture.log_density_experts(data, y, offset=offset).max(axis=1)
        weight = checked_weight(sample_weight, len(best), owner)
        return weighted_mean(best, weight), mixture, data, weight
    outputs = mixture.predict_experts(data, offset=offset)
    weight = checked_weight(sample_weight, len(outputs), owner)
    y, by_trials = shares(mixture, y, weight, owner)
    errors = errors_of(mixture, outputs, y, owner)
    if scoring == "accuracy":
        best = 1 - float(np.average(errors.min(axis=1)[:, 0], weights=weight))
        return best, mixture, data, weight
    variance = variance_of(np.asarray(y, dtype=np.float64).reshape(len(errors), -1), by_trials)
    if not np.all(variance > 0):
        raise ValueError(
            f"{owner}: R² needs targets that differ, and y is constant. Use scoring='log_score'."
        )
    scaled = (errors / variance).mean(axis=2).min(axis=1)
    return 1 - float(np.average(scaled, weights=by_trials)), mixture, data, weight


def errors_of(mixture: Any, outputs: np.ndarray, y: Any, owner: str) -> np.ndarray:
    """Return errors of experts (n, K, q): squared ones; of classes 1 where wrong, else 0.

    Parameters
    ----------
    mixture : fitted mixture
    outputs : ndarray of shape (n, K[, q])
        From `predict_experts`.
    y : array-like of shape (n,) or (n, q)
    owner : str
        For messages.
    """
    n = len(outputs)
    if is_classifier(mixture):
        target = np.asarray(y)
    else:
        target = as_numbers(y, "y", owner, "Give one target a row.")
        outputs = outputs.reshape(*outputs.shape[:2], -1)
        target = target.reshape(len(target), -1) if target.ndim else target
        if not np.all(np.isfinite(target)):
            raise ValueError(
                f"{owner}: y has missing or infinite values. Leave those rows out of X and y."
            )
    wanted = (n,) if is_classifier(mixture) else (n, outputs.shape[2])
    if target.shape != wanted:
        raise ValueError(
            f"{owner}: y has shape {np.shape(y)}. Give a target for each of {n} rows, as in fit."
        )
    if not is_classifier(mixture):
        return (outputs - target[:, None]) ** 2
    refuse_unknown(mixture, target, owner)
    wrong = mixture.classes_[outputs.argmax(axis=2)] != target[:, None]
    return wrong[..., None].astype(np.float64)


def refuse_unknown(mixture: Any, labels: np.ndarray, owner: str) -> None:
    """Raise if labels (n,) have a class that the fit of a classifier has not seen."""
    unknown = ~np.isin(labels.astype(object), mixture.classes_.astype(object))
    if np.any(unknown):
        shown = list(dict.fromkeys(labels[unknown].tolist()))[:5]
        raise ValueError(
            f"{owner}: y has labels that were not seen in fit: {shown}. Give those of "
            f"{mixture.classes_}, or leave these rows out."
        )


def variance_of(target: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the weighted variance (q,) of targets (n, q)."""
    deviation = target - np.average(target, axis=0, weights=weight)
    return np.average(deviation**2, axis=0, weights=weight)


def gate_entropy(estimator: Any, X: Any, *, sample_weight: Any = None) -> float:
    """Return the mean entropy of the gate probabilities of a row, in nats.

    Parameters
    ----------
    estimator : estimator
        A fitted MixtureOfExpertsClassifier or MixtureOfExpertsRegressor, a Pipeline that ends in
        one, or a search over one of these.
    X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
        Rows as `estimator` takes them.
    sample_weight : array-like of shape (n_samples,), default=None
        Row weights; None means 1 for every row.

    Returns
    -------
    float
        −Σ_i w_i Σ_k g_k(x_i) log g_k(x_i) / Σ_i w_i: 0 if the gate is certain of every row, log K
        if it never prefers an expert. The noise is left out, and so is a router.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import make_piecewise_linear
    >>> from mixexp.metrics import gate_entropy
    >>> X, y = make_piecewise_linear(random_state=0)
    >>> model = MixtureOfExpertsRegressor(n_experts=3, random_state=0).fit(X, y)
    >>> 0 < gate_entropy(model, X) < 0.3
    True
    """
    proba, weight = _probabilities(estimator, X, sample_weight, "gate_entropy")
    return float(np.average(entr(proba).sum(axis=1), weights=weight))


def effective_n_experts(
    estimator: Any, X: Any, *, of: str = "rows", sample_weight: Any = None
) -> float:
    """Return the effective number of experts: the exponential of an entropy.

    Parameters
    ----------
    estimator : estimator
        A fitted MixtureOfExpertsClassifier or MixtureOfExpertsRegressor, a Pipeline that ends in
        one, or a search over one of these.
    X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
        Rows as `estimator` takes them.
    of : {"rows", "usage"}, default="rows"
        "rows" says between how many experts the gate hesitates in a row, as `routing_report` does;
        "usage" how many experts all rows together use.
    sample_weight : array-like of shape (n_samples,), default=None
        Row weights; None means 1 for every row.

    Returns
    -------
    float
        From 1 to K, as many equally probable experts have that entropy. Of rows, exp of
        `gate_entropy`; of usage, exp(−Σ_k u_k log u_k) with u_k = Σ_i w_i g_k(x_i) / Σ_i w_i.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import make_piecewise_linear
    >>> from mixexp.metrics import effective_n_experts
    >>> X, y = make_piecewise_linear(random_state=0)
    >>> model = MixtureOfExpertsRegressor(n_experts=3, random_state=0).fit(X, y)
    >>> 1 < effective_n_experts(model, X) < 1.4
    True
    >>> 2.9 < effective_n_experts(model, X, of="usage") < 3
    True
    """
    if of not in ("rows", "usage"):
        raise ValueError(f"effective_n_experts: of={of!r} must be 'rows' or 'usage'.")
    proba, weight = _probabilities(estimator, X, sample_weight, "effective_n_experts")
    if of == "usage":
        return float(np.exp(entr(np.average(proba, axis=0, weights=weight)).sum()))
    return float(np.exp(np.average(entr(proba).sum(axis=1), weights=weight)))


def _probabilities(
    estimator: Any, X: Any, sample_weight: Any, owner: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return gate probabilities without the noise, and checked weights."""
    before, mixture = find_mixture(estimator, owner)
    proba = mixture.gate_proba(transformed(before, X))[:, : len(mixture.experts_)]
    weight = checked_weight(sample_weight, len(proba), owner)
    return proba / proba.sum(axis=1, keepdims=True), weight
