"""Describe the experts of a fitted mixture: where they answer, and what moves their predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import is_classifier

from mixexp._checks import checked_rng, kept_rows, short
from mixexp._columns import check_table, rows_at
from mixexp._wrapped import (
    extra_name,
    find_mixture,
    predicts_shares,
    refuse_offset,
    shares,
    transformed,
)
from mixexp.inspection._descriptions import ExpertDescription, ExpertDescriptions
from mixexp.inspection._effects import Effect, expert_effects
from mixexp.inspection._inputs import check_width
from mixexp.inspection._routing import checked_target, checked_weight
from mixexp.inspection._rules import Encoded, Region, encoded, find_region
from mixexp.inspection._table_columns import Column, described_columns
from mixexp.metrics._gates import variance_of

__all__ = ["describe_experts"]

OWNER = "describe_experts"

#: Weights that differ by less than this between rows are the same for all.
SAME = 1e-9


def describe_experts(
    estimator: Any,
    X: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    offset: Any = None,
    feature_names: Any = None,
    max_depth: int = 3,
    max_effects: int = 3,
    max_rows: int = 500,
    random_state: Any = 0,
) -> ExpertDescriptions:
    """Say for each expert which rows it answers, and what raises and lowers its prediction.

    Everything is in units of `X`, for a Pipeline too: of the columns before its first step.

    Parameters
    ----------
    estimator : estimator
        A fitted MixtureOfExpertsClassifier or MixtureOfExpertsRegressor, a Pipeline that ends in
        one, or a search over one of these.
    X : {array-like, data frame} of shape (n_samples, n_features)
        Rows as `estimator` takes them, such as those of the fit.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
        Targets, for the error of each expert.
    sample_weight : array-like of shape (n_samples,), default=None
        Frequencies of the rows; None means 1 for every row.
    offset : array-like of shape (n_samples,), default=None
        Added to the linear predictors where errors are taken, as in `fit`.
    feature_names : sequence of str, default=None
        One per column of X. None means the columns of a data frame, the names of the fit, or x0,
        x1 and so on.
    max_depth : int, default=3
        Depth of the tree that finds the rules: most conditions of a rule.
    max_effects : int, default=3
        Most effects that texts show for an expert, of each output.
    max_rows : int, default=500
        Most rows of an expert over which its effects are averaged, drawn at random.
    random_state : int, RandomState instance or None, default=0
        Seeds that draw.

    Returns
    -------
    ExpertDescriptions
        Printed, it is text. ``to_frame()`` has one row an expert, ``effects_to_frame()`` one an
        effect. ``found[k]`` has `name`, `share` (of the rows, that it answers), `usage` (mean
        routing weight), `certainty` (the same over its rows), `where`, `region` (`rules`,
        `fidelity`, `precision`, `coverage`; None without rules), `predictions` (means by output),
        `effects` (each with `feature`, `output`, `values`, `predictions`, `trend`, `slope`,
        `change`, `size`) and `error`; the documentation of its class says what each is.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If the estimator is no mixture of experts, or X is sparse.
    ValueError
        If a parameter is not valid; the message names it. If the mixture was fitted with an offset,
        and y is given without one.

    Notes
    -----
    *Where.* A row is answered by the expert with the largest routing weight (`route`), which
    without a router is its gate probability. For each expert, a decision tree on the columns of X
    tells its rows from the others; the depth is the smallest that is within 0.01 of the best F1
    score, at most `max_depth`. Its leaves are the rules. The fidelity is the share of rows, by
    weight, on which rules and mixture agree, for these rows. Borders are rounded as far as that
    moves them by at most a thousandth of the values of the column. Oblique and round borders need
    more rules than a shallow tree has: where the fidelity is low, `to_text` of the gate says more.

    *What moves a prediction.* The prediction of the expert is averaged over its rows with one
    column set to the 10, 30, 50, 70 and 90 % quantiles of these rows, or to each category: its
    partial dependence (Friedman 2001). Where these are one number, all values are compared. Of
    values and categories, those are left out that less than 5 % as many rows have as the most
    frequent one. The change is from the first to the last of these values.
    For experts that are linear in a column, the change a unit is the coefficient in units of X,
    whatever scaler stands before. Probabilities and means with a log link are compared
    themselves, not their log-odds or logarithms; of two classes, the probability of the second.
    Changes of probabilities below 1e-4 are none, nor are those of numbers below 1e-4 standard
    deviations of the predictions. Other columns are held, so that a change is no cause, and of
    strongly correlated columns none should be read alone. Experts that answer no row are averaged
    over all rows, weighted by their routing weight. Offsets change the errors only. Each column
    takes five predictions of all experts for `max_rows` rows, for each expert.

    References
    ----------
    Craven & Shavlik (1996), Extracting tree-structured representations of trained networks, NIPS 8
    (fidelity). Friedman (2001), Greedy function approximation: a gradient boosting machine, Annals
    of Statistics 29.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor, describe_experts
    >>> from mixexp.datasets import make_piecewise_linear
    >>> X, y = make_piecewise_linear(random_state=0)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    >>> found = describe_experts(model, X, y)
    >>> print(found[0].where)  # doctest: +ELLIPSIS
    x0 ...
    >>> found.to_frame().shape
    (2, 12)
    """
    before, mixture = find_mixture(estimator, OWNER)
    _check_counts(max_depth=max_depth, max_effects=max_effects, max_rows=max_rows)
    check_table(X, OWNER)
    if y is not None and offset is None:
        refuse_offset(mixture, OWNER, "Give the offset of these rows, or leave y out.")
    X, y, weight, offset = _with_weight(X, y, sample_weight, offset, mixture)
    columns = described_columns(X, estimator, feature_names, OWNER)
    check_width(len(columns), estimator, OWNER)
    data = transformed(before, X)
    weights = np.asarray(mixture.route(data))
    answered = weights.argmax(axis=1)
    constant = float(np.ptp(weights, axis=0).max()) < SAME
    several = weights.shape[1] > 1
    alike = several and all(len(np.unique(column.values)) == 1 for column in columns)
    matrix = encoded(columns, weight)
    predicted = mixture.predict_experts(data, offset=offset)
    outputs = _output_names(mixture, predicted)
    scales = _scales(mixture, predicted, answered, weight)[-len(outputs) :]
    errors = _errors(mixture, predicted, y, answered, weight)
    rng = checked_rng(random_state, OWNER)
    experts = []
    for k, name in enumerate(_names(mixture, weights.shape[1])):
        own = answered == k
        region = None if constant else _region(columns, matrix, own, weight, max_depth)
        rows, shares = _rows_of(own, weight, weights[:, k], constant, max_rows, rng)
        predict = _predictor(mixture, before, k)
        effects, means = _moved(predict, X, columns, rows, shares, outputs, scales)
        share = float(weight[own].sum() / weight.sum())
        certainty = float(np.average(weights[own, k], weights=weight[own])) if share else np.nan
        usage = float(weight @ weights[:, k] / weight.sum())
        where = str(region) if region else _without_rules(share, usage, constant, alike)
        experts.append(
            ExpertDescription(
                name, share, usage, certainty, region, where, means, effects, errors[k]
            )
        )
    n, kind = len(weights), type(mixture).__name__
    title = f"{kind}: {_counted(len(mixture.experts_), 'expert')} on {_counted(n, 'row')}"
    error_name = "error rate" if is_classifier(mixture) else "RMSE"
    extra, proba = extra_name(mixture), mixture.gate_proba(data)[:, -1]
    apart = {} if extra is None else {extra: float(weight @ proba / weight.sum())}
    unused = _unused(mixture, before, columns)
    return ExpertDescriptions(title, experts, error_name, int(max_effects), unused, **apart)


def _with_weight(
    X: Any, y: Any, sample_weight: Any, offset: Any, mixture: Any
) -> tuple[Any, Any, np.ndarray, Any]:
    """Return the rows with positive weight, with checked targets (or None), weights and offset."""
    X = X if hasattr(X, "columns") else np.asarray(X)
    weight = checked_weight(sample_weight, len(X), OWNER)
    if y is not None:
        y = checked_target(y, len(X), mixture, OWNER)
    # only ratios count: by a power of 2 no digit changes, and sums stay in the range of doubles
    weight = np.ldexp(weight, -np.frexp(weight.max())[1])
    kept = np.flatnonzero(weight > 0)
    if len(kept) == len(weight):
        return X, y, weight, offset
    offset = kept_rows(offset, kept, len(weight), "offset", OWNER)
    return rows_at(X, kept), None if y is None else y[kept], weight[kept], offset


def _check_counts(**counts: Any) -> None:
    for name, value in counts.items():
        if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
            raise ValueError(
                f"{OWNER}: {name}={short(value)} must be a whole number of at least 1. Leave it "
                "out."
            )


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' * (n != 1)}"


def _unused(mixture: Any, before: Sequence[Any], columns: Sequence[Column]) -> list[str]:
    """Return the names of the columns that a mixture of these columns does not use."""
    if before or not hasattr(mixture, "unused_features_"):
        return []
    return [columns[j].name for j in mixture.unused_features_]


def _names(mixture: Any, n_columns: int) -> list[str]:
    """Return the names of the experts, with their paths in a tree, and of a fallback."""
    paths = getattr(mixture.gate_, "paths_", None)
    names = [
        f"expert {k}" + (f" (leaf {'.'.join(map(str, paths[k]))})" if paths is not None else "")
        for k in range(len(mixture.experts_))
    ]
    return [*names, "fallback"][:n_columns]


def _output_names(mixture: Any, predicted: np.ndarray) -> list[str]:
    """Return the names of what experts predict: of two classes, the second."""
    if is_classifier(mixture):
        labels = [f"P({label})" for label in mixture.classes_]
        return labels[1:] if len(labels) == 2 else labels
    return [""] if predicted.ndim < 3 else [f"y{q}" for q in range(predicted.shape[2])]


def _region(
    columns: Sequence[Column], matrix: Encoded, own: np.ndarray, weight: np.ndarray, max_depth: int
) -> Region | None:
    """Return the rules of an expert, None if it answers all rows or none."""
    if not own.any() or own.all():
        return None
    return find_region(columns, matrix, own, weight, max_depth)


def _without_rules(share: float, usage: float, constant: bool, alike: bool) -> str:
    """Return why there are no rules."""
    if alike and share > 0:
        return "in all of these rows, which are alike: they do not tell where else"
    if constant and not alike and SAME < usage < 1 - SAME:
        return f"everywhere with weight {usage:.2f}: the gate does not depend on X"
    if share == 0:
        return "nowhere: another expert has a larger weight in every row"
    return "everywhere"


def _rows_of(
    own: np.ndarray,
    weight: np.ndarray,
    routed: np.ndarray,
    constant: bool,
    max_rows: int,
    rng: np.random.RandomState,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows over which effects are averaged, and their weights."""
    shares = weight * own if own.any() and not constant else weight * routed
    if not np.any(shares > 0):  # reached by none of these rows
        shares = weight
    rows = np.flatnonzero(shares > 0)
    if len(rows) > max_rows:
        rows = np.sort(rng.choice(rows, int(max_rows), replace=False))
    return rows, shares[rows]


def _predictor(mixture: Any, before: Sequence[Any], k: int) -> Callable[[Any], np.ndarray]:
    def predict(table: Any) -> np.ndarray:
        outputs: np.ndarray = mixture.predict_experts(transformed(before, table))[:, k]
        return outputs

    return predict


def _moved(
    predict: Callable[[Any], np.ndarray],
    X: Any,
    columns: Sequence[Column],
    rows: np.ndarray,
    weight: np.ndarray,
    outputs: list[str],
    scales: np.ndarray,
) -> tuple[list[Effect], dict[str, float]]:
    """Return the effects of columns on an expert, and its mean predictions by output."""
    predicted = predict(rows_at(X, rows)).reshape(len(rows), -1)[:, -len(outputs) :]
    means = dict(zip(outputs, (weight @ predicted / weight.sum()).tolist(), strict=True))
    return expert_effects(predict, X, columns, rows, weight, outputs, scales), means


def _scales(
    mixture: Any, predicted: np.ndarray, answered: np.ndarray, weight: np.ndarray
) -> np.ndarray:
    """Return by how much each output varies: 1 for shares, else the deviation over the rows."""
    own = predicted[np.arange(len(answered)), answered].reshape(len(answered), -1)
    if is_classifier(mixture) or predicts_shares(mixture):
        return np.ones(own.shape[1])
    return np.nan_to_num(np.sqrt(variance_of(own, weight)), posinf=0.0)


def _errors(
    mixture: Any, outputs: np.ndarray, y: Any, answered: np.ndarray, weight: np.ndarray
) -> np.ndarray:
    """Return the error of each expert on the rows that it answers; NaN without targets."""
    found = np.full(outputs.shape[1], np.nan)
    if y is None:
        return found
    y, weight = shares(mixture, y, weight, OWNER)
    if not is_classifier(mixture):
        y = y.reshape(len(y), -1)
        width = outputs.reshape(*outputs.shape[:2], -1).shape[2]
        if y.shape[1] != width:
            raise ValueError(
                f"{OWNER}: y has {y.shape[1]} columns, and the experts predict {width}. Give as "
                "many as in fit."
            )
    for k in range(len(found)):
        own = answered == k
        if not own.any():
            continue
        if is_classifier(mixture):
            wrong = mixture.classes_[outputs[own, k].argmax(axis=1)] != y[own]
            found[k] = np.average(wrong, weights=weight[own])
        else:
            squared = (outputs[own, k].reshape(own.sum(), -1) - y[own]) ** 2
            found[k] = np.sqrt(np.average(squared.mean(axis=1), weights=weight[own]))
    return found
