"""Fitting any scikit-learn estimator on weighted rows, with or without `sample_weight`.

Shared by experts and gates that are scikit-learn estimators: routing weights to the steps of a
Pipeline, resampling as a fallback for weights, seeds, folds, and warm starts of neural networks.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import BaggingClassifier, BaggingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import has_fit_parameter

from mixexp._compat import BaseSearchCV, request_weights, routing_enabled
from mixexp._rows.sketch import hashed_uniform, row_hashes
from mixexp._warn import Filter, silence, silenced
from mixexp.protocols import Rows

__all__ = [
    "CALIBRATE",
    "adds_by_class",
    "drawn_rows",
    "effective_size",
    "estimator_targets",
    "fit_estimator",
    "fit_weighted",
    "folds_of",
    "gate_takes_missing",
    "innermost",
    "learns_by_steps",
    "may_take_missing",
    "name_of",
    "seeded",
    "silent_about_steps",
    "takes_missing",
    "takes_sparse",
    "takes_weights",
    "will_have",
]

#: The remedy for a classifier that has no probabilities.
CALIBRATE = "Wrap it in sklearn.calibration.CalibratedClassifierCV, which adds them."

#: Classifiers of sklearn.naive_bayes, by name: importing them is slow.
ADDS_BY_CLASS = ("BernoulliNB", "ComplementNB", "GaussianNB", "MultinomialNB")

#: Rows with less than this share of the largest weight are not passed to an estimator.
NEGLIGIBLE = 1e-10

#: Epochs of a neural network per M-step, after the first one.
EPOCHS = 10

#: Limit on the mean number of copies drawn per row: weights may be in the thousands.
MOST_COPIES = 10.0

#: A row with this share of its weight in one model is that model's for sure.
SURE = 1 - 1e-9

#: Smallest number of rows for an estimator without `sample_weight`.
FEWEST_DRAWN = 5


def innermost(estimator: Any) -> Any:
    """Return the estimator inside any Pipeline, target transform or search."""
    if isinstance(estimator, Pipeline):
        return innermost(estimator.steps[-1][1])
    if isinstance(estimator, TransformedTargetRegressor) and estimator.regressor is not None:
        return innermost(estimator.regressor)
    if isinstance(estimator, BaseSearchCV):
        return innermost(estimator.estimator)
    return estimator


def name_of(estimator: Any) -> str:
    """Return an estimator's class name, with the wrapped class in brackets."""
    inner = innermost(estimator)
    outer = type(estimator).__name__
    return outer if inner is estimator else f"{outer}({type(inner).__name__})"


def adds_by_class(estimator: Any) -> bool:
    """Return whether `partial_fit` adds weighted sums per class, in any order of the rows."""
    kind = type(estimator)
    return kind.__module__ == "sklearn.naive_bayes" and kind.__name__ in ADDS_BY_CLASS


def takes_weights(estimator: Any) -> bool:
    """Return whether row weights reach the estimator that learns the target."""
    return bool(dict(_weight_names(estimator)).get(True))


def _weight_names(estimator: Any, prefix: str = "") -> Iterator[tuple[bool, str]]:
    """Yield, per weight argument of `fit`, whether it reaches the learner, and its name."""
    if isinstance(estimator, Pipeline):
        for name, step in estimator.steps[:-1]:
            if step not in (None, "passthrough"):
                for _, inner in _weight_names(step, f"{prefix}{name}__"):
                    yield False, inner
        name, step = estimator.steps[-1]
        if step not in (None, "passthrough"):
            yield from _weight_names(step, f"{prefix}{name}__")
    elif isinstance(estimator, TransformedTargetRegressor):
        inner = LinearRegression() if estimator.regressor is None else estimator.regressor
        yield from _weight_names(inner, prefix)
    elif isinstance(estimator, BaseSearchCV):
        yield from _weight_names(estimator.estimator, prefix)
    elif has_fit_parameter(estimator, "sample_weight") and _passes_weights_on(estimator):
        yield True, f"{prefix}sample_weight"


def _passes_weights_on(estimator: Any) -> bool:
    """Return whether weights affect the inner estimator of a meta-estimator, if there is one.

    Bagging samples in proportion to them if the inner estimator does not take them.
    """
    inner = getattr(estimator, "estimator", None)
    if not hasattr(inner, "fit") or isinstance(estimator, BaggingRegressor | BaggingClassifier):
        return True
    return has_fit_parameter(inner, "sample_weight")


def takes_sparse(estimator: Any) -> bool:
    """Return whether an estimator declares support for sparse input."""
    return bool(get_tags(estimator).input_tags.sparse)


def may_take_missing(estimator: Any) -> bool:
    """Return whether an estimator may take NaN; composite ones are checked in `fit`."""
    composed = isinstance(estimator, Pipeline) or innermost(estimator) is not estimator
    constant = isinstance(estimator, DummyClassifier | DummyRegressor)
    return composed or constant or bool(get_tags(estimator).input_tags.allow_nan)


def takes_missing(estimator: Any) -> bool:
    """Return whether an estimator and its components declare support for NaN."""
    if not isinstance(estimator, Pipeline):
        return bool(get_tags(innermost(estimator)).input_tags.allow_nan)
    for _, step in estimator.steps:
        if step in (None, "passthrough"):
            continue
        if not takes_missing(step):
            return False
        if type(step).__module__.startswith("sklearn.impute"):
            return True
    return True


def gate_takes_missing(gate: Any) -> bool:
    """Return whether a gate takes NaN; custom gates must declare it.

    None is a softmax gate; a classifier as gate declares it in its tags (see `takes_missing`).
    """
    if gate is None or hasattr(gate, "fit") or hasattr(gate, "with_fitting"):
        return True
    default = type(gate).__module__.startswith("mixexp.") or getattr(gate, "featureless", False)
    return bool(getattr(gate, "takes_missing", default))


def seeded(template: Any, *seed: int) -> Any:
    """Return a clone with random states of None replaced by seeds."""
    estimator = clone(template)
    unset = sorted(
        name
        for name, value in estimator.get_params(deep=True).items()
        if name.split("__")[-1] == "random_state" and value is None
    )
    draws = np.random.SeedSequence(seed).generate_state(max(1, len(unset)))
    chosen = {name: int(draw % 2**31) for name, draw in zip(unset, draws, strict=False)}
    return estimator.set_params(**chosen) if chosen else estimator


def fit_estimator(
    fresh: Any,
    X: Any,
    y: np.ndarray,
    weight: np.ndarray | None,
    *,
    previous: Any = None,
    metadata: dict[str, Any] | None = None,
) -> Any:
    """Fit an estimator, with row weights unless None, and return it.

    An estimator that learns by gradient steps, such as a neural network, resumes from `previous`.
    """
    metadata = metadata or {}
    with silenced(*silent_about_steps([fresh])):
        if learns_by_steps(fresh) and previous is not None and not metadata:
            estimator = _resumed(previous, X, y, weight)
            if estimator is not None:
                return estimator
        return fit_weighted(fresh, X, y, weight, metadata)


def fit_weighted(
    fresh: Any, X: Any, y: np.ndarray, weight: np.ndarray | None, metadata: dict[str, Any]
) -> Any:
    """Fit an estimator from the beginning, with row weights unless None, and return it."""
    if weight is None:
        return fresh.fit(X, y, **metadata)
    if routing_enabled():
        request_weights(fresh)
        return fresh.fit(X, y, sample_weight=weight, **metadata)
    weights = {name: weight for _, name in _weight_names(fresh)}
    return fresh.fit(X, y, **weights, **metadata)


def estimator_targets(rows: Rows, classes: np.ndarray | None) -> np.ndarray:
    """Return the targets of rows in the form that estimators are fitted on."""
    y = np.array(rows.y)
    if classes is not None:
        return classes[y]
    return y[0] if len(y) == 1 else y.T


def silent_about_steps(estimators: Iterable[Any]) -> list[Filter]:
    """Return filters for convergence warnings of networks and similar estimators.

    EM continues after an M-step that stopped early. Other estimators' warnings pass. Callers that
    fit in threads set the filters around all fits: a fit that restores the filters on exit would
    remove those another fit has added.
    """
    learners = {type(_learner(e)) for e in estimators if learns_by_steps(e)}
    modules = {base.__module__ for learner in learners for base in learner.__mro__[:-1]}
    # warnings attributed to the caller come from here, or from a decorator of scikit-learn
    where = sorted(modules | {__name__, "sklearn.base"})
    return [silence(ConvergenceWarning, modules=where)] if modules else []


def _learner(estimator: Any) -> Any:
    """Return the last step of a Pipeline, or the estimator itself."""
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    return estimator


def learns_by_steps(estimator: Any) -> bool:
    """Return whether an estimator has both `warm_start` and `partial_fit`.

    Looked up on the class: instances lack `partial_fit` with some solvers.
    """
    learner = _learner(estimator)
    return hasattr(type(learner), "partial_fit") and "warm_start" in learner.get_params(deep=False)


def _resumed(previous: Any, X: Any, y: np.ndarray, weight: np.ndarray | None) -> Any:
    """Return a copy of a fitted estimator trained further, None if it must start over.

    Uses `partial_fit`, which keeps the state of the optimiser: `warm_start` alone would restart
    Adam every time, and its first steps are long. The other steps of a Pipeline are not refitted:
    the network keeps seeing the same inputs. Solvers without `partial_fit`, and early stopping,
    use `warm_start`.
    """
    learner = _learner(previous)
    classes = getattr(learner, "classes_", None)
    if classes is not None and not np.all(np.isin(y, classes)):
        return None
    estimator = copy.deepcopy(previous)
    learner = _learner(estimator)
    while isinstance(estimator, Pipeline) and len(estimator.steps) > 1:
        X = estimator[:-1].transform(X)
        estimator = estimator.steps[-1][1]
    weights = {} if weight is None else {"sample_weight": weight}
    if getattr(learner, "early_stopping", False) or getattr(learner, "solver", "") == "lbfgs":
        if classes is not None and not np.array_equal(classes, np.unique(y)):
            return None
        learner.set_params(warm_start=True).fit(X, y, **weights)
    else:
        for _ in range(min(EPOCHS, getattr(learner, "max_iter", EPOCHS))):
            learner.partial_fit(X, y, **weights)
    if not isinstance(previous, Pipeline):
        return learner
    return _with_learner(previous, learner)


def _with_learner(pipeline: Pipeline, learner: Any) -> Pipeline:
    """Return a copy of a fitted Pipeline with another fitted last step."""
    new = copy.copy(pipeline)
    name, last = pipeline.steps[-1]
    inner = _with_learner(last, learner) if isinstance(last, Pipeline) else learner
    new.steps = [*pipeline.steps[:-1], (name, inner)]
    return new


def effective_size(weight: np.ndarray) -> float:
    """Return Kish's effective number of rows, (Σ w)² / Σ w²."""
    largest = weight.max(initial=0.0)
    if not largest > 0:
        return 0.0
    weight = weight / largest
    return float(weight.sum() ** 2 / np.sum(weight**2))


def drawn_rows(resp: np.ndarray, rows: Rows, seed: int) -> list[np.ndarray]:
    """Return, per model, the ids of the rows to fit it on if it takes no weights.

    Every row goes to one of K models, drawn with the probabilities `resp` (K, n), which include
    the row weights; if they sum to less than 1, the remainder is the chance of no model. A row of
    weight 2 is included twice; a row that is wholly several models' (`overlap` of a router) goes to
    each of them. Weights below 1, or above ten on average, are scaled. The draw
    depends on the row's content only, and is the same in all iterations.
    """
    hashes = row_hashes(rows.X, rows.y, seed)
    weight = np.ones(rows.n_rows) if rows.weight is None else rows.weight
    scale = rows.n_rows / rows.total_weight
    if weight.min() >= 1:
        scale = min(1.0, MOST_COPIES * scale)
    counts = np.floor(scale * weight + hashed_uniform(hashes, seed, 1)).astype(int)
    below = np.cumsum(resp / weight, axis=0)
    below /= np.maximum(below[-1], 1.0)
    chosen = (below <= hashed_uniform(hashes, seed, 2)).sum(axis=0)
    drawn = []
    for k, share in enumerate(resp):
        taken = (chosen == k) | (share >= SURE * weight)
        ids = np.repeat(np.arange(rows.n_rows), np.where(taken, counts, 0))
        if len(ids) < FEWEST_DRAWN:
            fewest = min(FEWEST_DRAWN, rows.n_rows)
            ids = np.sort(np.argpartition(-share, fewest - 1)[:fewest])
        drawn.append(ids)
    return drawn


def folds_of(rows: Rows, n_folds: int, seed: int) -> np.ndarray | None:
    """Return the fold (n,) of every row, None if there is only one row or group.

    Rows are dealt in the order of a hash of their content, class by class; equal rows, and rows
    of the same group, share a fold.
    """
    hashes = row_hashes(rows.X, rows.y, seed)
    if rows.groups is not None:
        sums = np.zeros(rows.units.n_rows, dtype=np.uint64)
        np.add.at(sums, rows.groups, hashes)
        hashes = sums[rows.groups]
    stratified = rows.y is not None and rows.y.ndim == 1 and rows.groups is None
    strata = rows.y if stratified else np.zeros(rows.n_rows, dtype=int)
    fold = np.empty(rows.n_rows, dtype=int)
    dealt = 0
    for stratum in np.unique(strata):
        ids = np.flatnonzero(strata == stratum)
        distinct, ranks = np.unique(hashes[ids], return_inverse=True)
        fold[ids] = (ranks.ravel() + dealt) % n_folds
        dealt += len(distinct)
    return fold if dealt > 1 else None


def will_have(expert: Any, method: str) -> bool:
    """Return whether an unfitted estimator will have a method.

    Stacking delegates to its final estimator, which does not exist before `fit` if left at None.
    """
    if hasattr(expert, "final_estimator") and hasattr(type(expert), method):
        return expert.final_estimator is None or hasattr(expert.final_estimator, method)
    return hasattr(expert, method)
