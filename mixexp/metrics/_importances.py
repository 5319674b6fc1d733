"""Permutation importances: of columns for the gate, and for each expert on its own rows."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import is_classifier
from sklearn.utils import Bunch

from mixexp._checks import checked_rng, short
from mixexp._columns import check_table, rows_at, with_column
from mixexp._wrapped import find_mixture, refuse_offset, shares, transformed
from mixexp.metrics._gates import GIVE_OFFSET, errors_of, variance_of
from mixexp.metrics._weights import checked_weight

__all__ = ["expert_importance", "gate_importance"]


def gate_importance(
    estimator: Any,
    X: Any,
    *,
    n_repeats: int = 5,
    sample_weight: Any = None,
    random_state: Any = None,
    n_jobs: int | None = None,
) -> Bunch:
    """Return which columns decide who answers: the permutation importance of the gate.

    Parameters
    ----------
    estimator : estimator
        A fitted MixtureOfExpertsClassifier or MixtureOfExpertsRegressor, a Pipeline that ends in
        one, or a search over one of these.
    X : {array-like, data frame} of shape (n_samples, n_features)
        Rows as `estimator` takes them; columns are those before the first step of a Pipeline.
    n_repeats : int, default=5
        Permutations of each column.
    sample_weight : array-like of shape (n_samples,), default=None
        Row weights; None means 1 for every row. Rows of weight 0 take no part.
    random_state : int, RandomState instance or None, default=None
        Seeds the permutations.
    n_jobs : int, default=None
        Threads over the columns. Results do not depend on it.

    Returns
    -------
    Bunch
        With `importances` (n_features, n_repeats), their means `importances_mean` (n_features,)
        and standard deviations `importances_std`, as `permutation_importance` of scikit-learn. 0
        means that the gate does not use the column, 1 that every row goes to other experts.

    Notes
    -----
    With routing weights g_k (`route`; without a router the gate probabilities) and x' the row x
    with the column of another row, the importance is the mean total variation ::

        Σ_i w_i ½ Σ_k |g_k(x_i) − g_k(x_i')| / Σ_i w_i,

    the share of the routing weight that goes to other experts. It needs no targets. Columns that
    carry the same information share their importance. Permuted rows may lie where there are no
    data.

    References
    ----------
    Breiman (2001), Random forests, Machine Learning 45.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import make_piecewise_linear
    >>> from mixexp.metrics import gate_importance
    >>> X, y = make_piecewise_linear(n_features=3, random_state=0)
    >>> model = MixtureOfExpertsRegressor(n_experts=3, random_state=0).fit(X, y)
    >>> found = gate_importance(model, X, random_state=0)
    >>> int(found.importances_mean.argmax())
    0
    """
    owner = "gate_importance"
    before, mixture = find_mixture(estimator, owner)
    X, weight, kept = _checked(X, sample_weight, n_repeats, owner)
    base = mixture.route(transformed(before, X))

    def change(table: Any) -> float:
        moved = np.abs(mixture.route(transformed(before, table)) - base).sum(axis=1) / 2
        return float(np.average(moved, weights=weight))

    rng = checked_rng(random_state, owner)
    return _summed(_permuted(change, X, np.arange(len(kept)), n_repeats, rng, n_jobs))


def expert_importance(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    n_repeats: int = 5,
    sample_weight: Any = None,
    offset: Any = None,
    random_state: Any = None,
    n_jobs: int | None = None,
) -> Bunch:
    """Return which columns each expert needs: its permutation importance on its own rows.

    Parameters
    ----------
    estimator : estimator
        A fitted MixtureOfExpertsClassifier or MixtureOfExpertsRegressor, a Pipeline that ends in
        one, or a search over one of these.
    X : {array-like, data frame} of shape (n_samples, n_features)
        Rows as `estimator` takes them; columns are those before the first step of a Pipeline.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Their targets.
    n_repeats : int, default=5
        Permutations of each column, for each expert.
    sample_weight : array-like of shape (n_samples,), default=None
        Row weights; None means 1 for every row. Rows of weight 0 take no part.
    offset : array-like of shape (n_samples,), default=None
        Added to the linear predictor, as in `fit`.
    random_state : int, RandomState instance or None, default=None
        Seeds the permutations.
    n_jobs : int, default=None
        Threads over the columns. Results do not depend on it.

    Returns
    -------
    Bunch
        With `importances` (n_experts, n_features, n_repeats), their means `importances_mean`
        (n_experts, n_features) and standard deviations `importances_std`, and `n_rows`
        (n_experts,), the rows that each expert answers. A fallback comes last. NaN for experts
        with less than two rows, and where all their targets are equal.

    Notes
    -----
    The rows of an expert are those in which its routing weight (`route`) is the largest, and a
    column is permuted among these. The importance is the loss of R² of the expert alone,

        Σ_i w_i ((y_i − f_k(x_i'))² − (y_i − f_k(x_i))²) / Σ_i w_i (y_i − ȳ)²,

    over several outputs the mean of theirs; for family "binomial" of the share of successes, with
    w_i multiplied by the trials; of classifiers, the loss of accuracy. Of a linear
    expert it is about 2 β_j² Var(x_j) / Var(y) within its rows.

    References
    ----------
    Breiman (2001), Random forests, Machine Learning 45.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import make_piecewise_linear
    >>> from mixexp.metrics import expert_importance
    >>> X, y = make_piecewise_linear(n_features=3, random_state=0)
    >>> model = MixtureOfExpertsRegressor(n_experts=3, random_state=0).fit(X, y)
    >>> expert_importance(model, X, y, random_state=0).importances_mean.shape
    (3, 3)
    """
    owner = "expert_importance"
    before, mixture = find_mixture(estimator, owner)
    if offset is None:
        refuse_offset(mixture, owner, GIVE_OFFSET)
    n_all = np.shape(X)[0] if np.ndim(X) else 0
    X, weight, kept = _checked(X, sample_weight, n_repeats, owner)
    y = _rows_of(y, kept, n_all, "y", owner)
    y, weight = shares(mixture, y, weight, owner)
    offset = _rows_of(offset, kept, n_all, "offset", owner)
    data = transformed(before, X)
    errors = errors_of(mixture, mixture.predict_experts(data, offset=offset), y, owner)
    answered = mixture.route(data).argmax(axis=1)
    rng = checked_rng(random_state, owner)
    n_experts, n_features = errors.shape[1], np.shape(X)[1]
    importances = np.full((n_experts, n_features, n_repeats), np.nan)
    for k in range(n_experts):
        own = np.flatnonzero(answered == k)
        scale = np.ones(1)
        if not is_classifier(mixture) and len(own):
            target = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
            scale = variance_of(target[own], weight[own])
        if len(own) < 2 or not np.all(scale > 0):
            continue
        change = _loss_of(mixture, before, k, own, weight, y, offset, scale, errors, owner)
        importances[k] = _permuted(change, X, own, n_repeats, rng, n_jobs)
    found = _summed(importances)
    found.n_rows = np.bincount(answered, minlength=n_experts)
    return found


def _loss_of(
    mixture: Any,
    before: list,
    k: int,
    own: np.ndarray,
    weight: np.ndarray,
    y: Any,
    offset: Any,
    scale: np.ndarray,
    errors: np.ndarray,
    owner: str,
) -> Callable[[Any], float]:
    """Return a function of a table with the rows of an expert: the loss of its score."""
    shift = None if offset is None else offset[own]

    def change(table: Any) -> float:
        outputs = mixture.predict_experts(transformed(before, table), offset=shift)
        worse = errors_of(mixture, outputs[:, [k]], y[own], owner)[:, 0] - errors[own, k]
        return float(np.average((worse / scale).mean(axis=1), weights=weight[own]))

    return change


def _checked(
    X: Any, sample_weight: Any, n_repeats: Any, owner: str
) -> tuple[Any, np.ndarray, np.ndarray]:
    """Return the rows with weight as a table, their weights, and which they are."""
    if not isinstance(n_repeats, Integral) or isinstance(n_repeats, bool) or n_repeats < 1:
        raise ValueError(
            f"{owner}: n_repeats={short(n_repeats)} must be a whole number of at least 1. Use 5."
        )
    check_table(X, owner)
    X = X if hasattr(X, "columns") else np.asarray(X)
    weight = checked_weight(sample_weight, len(X), owner)
    kept = np.flatnonzero(weight > 0)
    return (X if len(kept) == len(X) else rows_at(X, kept)), weight[kept], kept


def _rows_of(values: Any, kept: np.ndarray, n_rows: int, name: str, owner: str) -> Any:
    """Return what belongs to the rows with weight."""
    if values is None:
        return None
    values = np.asarray(values)
    if values.ndim == 0 or len(values) != n_rows:
        raise ValueError(
            f"{owner}: {name} has shape {values.shape}, and X has {n_rows} rows. Give one for each."
        )
    return values[kept]


def _permuted(
    change: Callable[[Any], float],
    X: Any,
    rows: np.ndarray,
    n_repeats: int,
    rng: np.random.RandomState,
    n_jobs: int | None,
) -> np.ndarray:
    """Return the change by permutations of each column among some rows, (n_features, n_repeats)."""
    seeds = rng.randint(np.iinfo(np.int32).max, size=np.shape(X)[1])

    def of_column(j: int) -> list[float]:
        own = np.random.RandomState(seeds[j])
        return [change(with_column(X, rows, j, own.permutation(rows))) for _ in range(n_repeats)]

    columns = range(np.shape(X)[1])
    return np.array(
        Parallel(n_jobs=n_jobs, prefer="threads")(delayed(of_column)(j) for j in columns)
    )


def _summed(importances: np.ndarray) -> Bunch:
    """Return importances with their means and standard deviations over repeats."""
    return Bunch(
        importances=importances,
        importances_mean=importances.mean(axis=-1),
        importances_std=importances.std(axis=-1),
    )
