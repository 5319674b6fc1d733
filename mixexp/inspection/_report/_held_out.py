"""Scores of a mixture and of its single expert, on rows that their fits have not seen."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.model_selection import KFold, StratifiedKFold, check_cv

from mixexp._wrapped import predicts_shares, shares, transformed
from mixexp.inspection._report._subject import OWNER, Rows, Subject
from mixexp.metrics import calibration

__all__ = ["Answers", "HeldOut", "held_out", "mean_gain", "single_expert"]

#: Probability of the intervals whose coverage is a score.
COVERAGE = 0.9


@dataclass(frozen=True)
class Answers:
    """What a fit answers for rows that it has not seen.

    Attributes
    ----------
    rows : Rows
    score : float
        R² or accuracy.
    log_density : ndarray of shape (n,)
    squared : float
        Weighted mean of squared errors; of classes, of the Brier score.
    calibration : Bunch or None
        Of numbers, from `mixexp.metrics.calibration`.
    proba : ndarray of shape (n, n_classes) or None
        Of classes.
    labels : ndarray or None
        The classes.
    """

    rows: Rows
    score: float
    log_density: np.ndarray
    squared: float
    calibration: Any = None
    proba: np.ndarray | None = None
    labels: np.ndarray | None = None


@dataclass(frozen=True)
class HeldOut:
    """Answers of the mixture and of its single expert, one for each fold.

    Attributes
    ----------
    how : str
        Which rows these are, as a sentence.
    mixture, single : list of Answers
        `single` is empty if there is no single expert.
    why_not : str
        Why there is none.
    warned : int
        Number of the mixture's fits that warned.
    refitted : bool
        Whether the mixture was fitted again for them.
    """

    how: str
    mixture: list[Answers]
    single: list[Answers]
    why_not: str
    warned: int
    refitted: bool


def held_out(subject: Subject, test: Rows | None, cv: Any, seed: int) -> HeldOut:
    """Fit mixture and single expert by folds, or the single expert alone where rows are given."""
    rows = subject.rows
    alone, why_not = single_expert(subject.mixture)
    mixed, single, warned = [], [], 0
    splits = [(rows, test)] if test is not None else list(_folds(subject, cv, seed))
    for train, new in splits:
        if test is None:
            answers, noisy = _fitted_answers(subject.before, subject.mixture, train, new)
            warned += noisy
        else:
            answers = _answers(subject.mixture, transformed(subject.before, new.X), new)
        mixed.append(answers)
        if alone is None:
            continue
        try:
            single.append(_fitted_answers(subject.before, alone, train, new)[0])
        except (TypeError, ValueError) as error:
            alone, single, why_not = None, [], f"A fit of one expert ended with: {error}"
    how = (
        f"From {len(splits)} fits by cross-validation: every row is answered by a fit without it."
        if test is None
        else f"Of this fit, on {len(test)} rows that were given as X_test."
    )
    return HeldOut(how, mixed, single, why_not, warned, test is None)


def single_expert(mixture: Any) -> tuple[Any, str]:
    """Return a mixture of one such expert and no gate, not fitted; or None, and why."""
    if len(mixture.experts_) == 1:
        return None, "The model is one expert itself."
    if isinstance(mixture.expert, list | tuple):
        return (
            None,
            "The experts are of different kinds: there is no single one.",
        )
    params = mixture.get_params(deep=False)
    usual = type(mixture)().get_params(deep=False)
    alone = {"n_experts": 1} | {
        name: usual[name]
        for name in (
            *("gate", "gate_features", "gate_basis", "routing", "shared_expert"),
            *("noise_expert", "zero_expert", "init", "n_init", "warm_up"),
        )
        if name in params
    }
    chosen = params["expert_features"]
    if isinstance(chosen, list | tuple) and not all(isinstance(c, str | Integral) for c in chosen):
        alone["expert_features"] = None  # was a choice for each expert
    return clone(mixture).set_params(**alone), ""


def _folds(subject: Subject, cv: Any, seed: int) -> Iterator[tuple[Rows, Rows]]:
    rows = subject.rows
    if isinstance(cv, Integral):
        kind = StratifiedKFold if subject.classes else KFold
        splitter = kind(int(cv), shuffle=True, random_state=seed)
    else:
        splitter = check_cv(cv, rows.y, classifier=subject.classes)
    for train, test in splitter.split(np.zeros((len(rows), 1)), rows.y):
        yield rows.at(train), rows.at(test)


def _fitted_answers(
    before: Sequence[Any], mixture: Any, train: Rows, new: Rows
) -> tuple[Answers, bool]:
    """Fit transformers and a mixture on some rows, answer others; say whether the fit warned."""
    X, X_new = train.X, new.X
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in before:
            fresh = clone(step)
            X = fresh.fit_transform(X, train.y)
            X_new = fresh.transform(X_new)
        fitted = clone(mixture).fit(X, train.y, **train.fit_arguments)
        answers = _answers(fitted, X_new, new)
    return answers, bool(caught)


def _answers(mixture: Any, X: Any, rows: Rows) -> Answers:
    """Return what a fitted mixture answers for rows X, as they reach it."""
    offset, weight = rows.offset_argument, rows.weight
    score = mixture.score(X, rows.y, sample_weight=weight, **offset)
    density = np.asarray(mixture.log_density(X, rows.y, **offset))
    if is_classifier(mixture):
        proba = mixture.predict_proba(X, **offset)
        hits = rows.y.reshape(-1, 1) == mixture.classes_
        squared = ((proba - hits) ** 2).sum(axis=1)
        return Answers(
            *(rows, score, density, float(np.average(squared, weights=weight))),
            proba=proba,
            labels=mixture.classes_,
        )
    y, trials = shares(mixture, rows.y, weight, OWNER)
    errors = (mixture.predict(X, **offset).reshape(len(rows), -1) - y.reshape(len(rows), -1)) ** 2
    squared = float(np.average(errors.mean(axis=1), weights=trials))
    return Answers(rows, score, density, squared, _calibration(mixture, X, rows))


def _calibration(mixture: Any, X: Any, rows: Rows) -> Any:
    """Return the calibration of numbers, None where the family has none for these targets."""
    y, options = rows.y, rows.offset_argument
    if predicts_shares(mixture) and y.ndim == 2:  # successes and failures
        y, options = y[:, 0], options | {"trials": y.sum(axis=1)}
    try:
        found = mixture.predict_distribution(X, **options)
        return calibration(
            *(y, found), coverages=COVERAGE, sample_weight=rows.weight, random_state=0
        )
    except (TypeError, ValueError):
        return None


def mean_gain(found: HeldOut) -> tuple[float, float] | None:
    """Return the mean gain in log-density of the mixture over the single expert, and its error.

    None without a single expert, or where a density is 0.
    """
    if not found.single:
        return None
    pairs = zip(found.mixture, found.single, strict=True)
    gains = np.concatenate([mixed.log_density - alone.log_density for mixed, alone in pairs])
    weight = np.concatenate([answers.rows.weight for answers in found.mixture])
    if not np.all(np.isfinite(gains)):
        return None
    mean = float(np.average(gains, weights=weight))
    spread = float(np.average((gains - mean) ** 2, weights=weight))
    return mean, float(np.sqrt(spread / weight.sum()))
