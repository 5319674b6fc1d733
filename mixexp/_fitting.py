"""Fitting any scikit-learn estimator on weighted rows, whatever its `fit` takes.

Experts and gates that are scikit-learn estimators share what is here: how weights reach the
steps of a Pipeline, what stands in for weights, seeds, folds, and going on from the last weights
of a neural network.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
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
    "adds_by_class",
    "drawn_rows",
    "effective_size",
    "fit_estimator",
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
]

#: Classifiers of sklearn.naive_bayes, by name: to import them takes time.
ADDS_BY_CLASS = ("BernoulliNB", "ComplementNB", "GaussianNB", "MultinomialNB")

#: Rows with less than this share of the largest weight are not handed to an estimator.
NEGLIGIBLE = 1e-10

#: Passes over its rows that a neural network makes in an M-step, after the first one.
EPOCHS = 10

#: Copies of a row that are drawn, on average, at most: weights may be in thousands.
MOST_COPIES = 10.0

#: Rows at least that an estimator without `sample_weight` is given.
FEWEST_DRAWN = 5


def innermost(estimator: Any) -> Any:
    """Return the estimator that learns the target: without Pipeline, target transform, search."""
    if isinstance(estimator, Pipeline):
        return innermost(estimator.steps[-1][1])
    if isinstance(estimator, TransformedTargetRegressor) and estimator.regressor is not None:
        return innermost(estimator.regressor)
    if isinstance(estimator, BaseSearchCV):
        return innermost(estimator.estimator)
    return estimator


def name_of(estimator: Any) -> str:
    """Return an estimator's class, with what it wraps in brackets."""
    inner = innermost(estimator)
    outer = type(estimator).__name__
    return outer if inner is estimator else f"{outer}({type(inner).__name__})"


def adds_by_class(estimator: Any) -> bool:
    """Return whether `partial_fit` adds weighted sums by class, so that any order gives the fit."""
    kind = type(estimator)
    return kind.__module__ == "sklearn.naive_bayes" and kind.__name__ in ADDS_BY_CLASS


def takes_weights(estimator: Any) -> bool:
    """Return whether row weights reach the estimator that learns the target."""
    return bool(dict(_weight_names(estimator)).get(True))


def _weight_names(estimator: Any, prefix: str = "") -> Iterator[tuple[bool, str]]:
    """Yield whether it reaches the learner, and the name, of each weight argument of `fit`."""
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
    elif has_fit_parameter(estimator, "sample_weight") and _hands_on_weights(estimator):
        yield True, f"{prefix}sample_weight"


def _hands_on_weights(estimator: Any) -> bool:
    """Return whether weights have an effect on the estimator inside of another, if there is one.

    Bagging draws its samples by them where the inner one does not take them.
    """
    inner = getattr(estimator, "estimator", None)
    if not hasattr(inner, "fit") or isinstance(estimator, BaggingRegressor | BaggingClassifier):
        return True
    return has_fit_parameter(inner, "sample_weight")


def takes_sparse(estimator: Any) -> bool:
    """Return whether an estimator says that it takes sparse input."""
    return bool(get_tags(estimator).input_tags.sparse)


def may_take_missing(estimator: Any) -> bool:
    """Return whether an estimator may take NaN; what is made of several is asked in `fit`."""
    composed = isinstance(estimator, Pipeline) or innermost(estimator) is not estimator
    return composed or bool(get_tags(estimator).input_tags.allow_nan)


def takes_missing(estimator: Any) -> bool:
    """Return whether an estimator, and what it is made of, says that it takes NaN."""
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
    """Return whether a gate takes NaN, which one of a user's own has to say.

    None is a softmax gate; a gate that is a classifier is asked by its tags (`takes_missing`).
    """
    if gate is None or hasattr(gate, "fit") or hasattr(gate, "with_fitting"):
        return True
    unsaid = type(gate).__module__.startswith("mixexp.") or getattr(gate, "featureless", False)
    return bool(getattr(gate, "takes_missing", unsaid))


def seeded(template: Any, *seed: int) -> Any:
    """Return a clone whose random states are set where they were None."""
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
    """Fit an estimator with row weights where it takes them; return it fitted.

    An estimator that learns by gradient steps, as neural networks do, goes on from `previous`.
    """
    metadata = metadata or {}
    with silenced(*silent_about_steps([fresh])):
        if learns_by_steps(fresh) and previous is not None and not metadata:
            estimator = _continued(previous, X, y, weight)
            if estimator is not None:
                return estimator
        if weight is None:
            return fresh.fit(X, y, **metadata)
        if routing_enabled():
            request_weights(fresh)
            return fresh.fit(X, y, sample_weight=weight, **metadata)
        weights = {name: weight for _, name in _weight_names(fresh)}
        return fresh.fit(X, y, **weights, **metadata)


def silent_about_steps(estimators: Iterable[Any]) -> list[Filter]:
    """Return filters for what networks and the like say about a fit that did not converge.

    EM goes on where one M-step stops. Other estimators' warnings pass. Whoever runs fits in threads
    sets them around all of these: a fit that restores the filters it found takes out what another
    has put in.
    """
    learners = {type(_learner(one)) for one in estimators if learns_by_steps(one)}
    modules = {base.__module__ for learner in learners for base in learner.__mro__[:-1]}
    # what is raised at the caller's line is raised here, or in a decorator of scikit-learn
    where = sorted(modules | {__name__, "sklearn.base"})
    return [silence(ConvergenceWarning, modules=where)] if modules else []


def _learner(estimator: Any) -> Any:
    """Return the last step of a Pipeline, or the estimator itself."""
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    return estimator


def learns_by_steps(estimator: Any) -> bool:
    """Return whether an estimator has both `warm_start` and `partial_fit`.

    Asked of the class: a network has no `partial_fit` with every solver.
    """
    learner = _learner(estimator)
    return hasattr(type(learner), "partial_fit") and "warm_start" in learner.get_params(deep=False)


def _continued(previous: Any, X: Any, y: np.ndarray, weight: np.ndarray | None) -> Any:
    """Return a copy of a fitted estimator that has gone on; None where it must start over.

    By `partial_fit`, which keeps the state of the optimiser: with `warm_start` alone Adam would
    begin anew each time, and its first steps are long. The other steps of a Pipeline stay as they
    were fitted, so that the network sees the same inputs. Solvers without `partial_fit`, and
    early stopping, go on by `warm_start`.
    """
    learner = _learner(previous)
    known = getattr(learner, "classes_", None)
    if known is not None and not np.all(np.isin(y, known)):
        return None
    estimator = copy.deepcopy(previous)
    learner = _learner(estimator)
    while isinstance(estimator, Pipeline) and len(estimator.steps) > 1:
        X = estimator[:-1].transform(X)
        estimator = estimator.steps[-1][1]
    weights = {} if weight is None else {"sample_weight": weight}
    if getattr(learner, "early_stopping", False) or getattr(learner, "solver", "") == "lbfgs":
        if known is not None and not np.array_equal(known, np.unique(y)):
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
    """Return for each of K models the ids of the rows it is fitted on where it takes no weights.

    Every row goes to one model, drawn with the probabilities `resp` (K, n), which carry the row
    weights; what they lack of 1 is the chance that it goes to none. A row of weight 2 goes there
    twice. Where weights are below 1, or above ten on average, they count in proportion. The draw
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
    for k, own in enumerate(resp):
        ids = np.repeat(np.arange(rows.n_rows), np.where(chosen == k, counts, 0))
        if len(ids) < FEWEST_DRAWN:
            fewest = min(FEWEST_DRAWN, rows.n_rows)
            ids = np.sort(np.argpartition(-own, fewest - 1)[:fewest])
        drawn.append(ids)
    return drawn


def folds_of(rows: Rows, n_folds: int, seed: int) -> np.ndarray | None:
    """Return the fold (n,) of every row, None where there is one row or group only.

    Rows are dealt out in the order of a hash of their content, class by class; equal rows and
    rows of one group are in one fold.
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
        here = np.flatnonzero(strata == stratum)
        found, ranks = np.unique(hashes[here], return_inverse=True)
        fold[here] = (ranks.ravel() + dealt) % n_folds
        dealt += len(found)
    return fold if dealt > 1 else None
