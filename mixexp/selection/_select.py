"""Comparing numbers of experts along one growing path."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from numbers import Integral
from typing import Any

from sklearn.base import clone

from mixexp._checks import short
from mixexp._engine.growth import CRITERIA, Growth
from mixexp.selection._result import ExpertSelection

__all__ = ["check_grows", "fit_path", "select_n_experts"]


def select_n_experts(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    n_experts: Iterable[int] = range(1, 13),
    criterion: str = "cv",
    sample_weight: Any = None,
    groups: Any = None,
    offset: Any = None,
    n_jobs: int | None = None,
) -> ExpertSelection:
    """Compare mixtures of several numbers of experts, and choose one.

    The mixtures are those of one growing path (`mixexp.partitions.Split`): where rows are
    explained worst, an expert is split into two, on a sketch of the data; from every number that is
    asked for, a long run on all rows follows, as in any fit. Of the chosen number there is then a
    usual fit too, with the starts of `init`, and the better end is kept.

    Parameters
    ----------
    estimator : MixtureOfExpertsRegressor or MixtureOfExpertsClassifier
        Its `n_experts` and `max_experts` are ignored. It is cloned, not fitted.
    X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
        Input data.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Targets: numbers, or class labels.
    n_experts : iterable of int, default=range(1, 13)
        Numbers to try. Above 16 experts grow by half at a time, and numbers cost more.
    criterion : {"cv", "aic", "aic3", "bic", "icl"}, default="cv"
        What the number is chosen by; the table has the others too.

        "cv" asks which number predicts best: the smallest whose held-out log-density is within one
        standard error of the best, where the error is that of their difference on the same rows.
        "aic" asks the same without refits, and is generous; "aic3", AIC with a factor of 3 in place
        of 2, is what ``n_experts="auto"`` goes by. "bic" asks how many groups
        of rows with a different law there are; "icl", how many that can be told apart row by row.
    sample_weight : array-like of shape (n_samples,), default=None
        Frequencies of the rows, as in `fit`.
    groups : array-like of shape (n_samples,), default=None
        As in `fit`: rows of a group share one responsibility. They are held out together.
    offset : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
        As in `fit`.
    n_jobs : int or None, default=None
        Threads for the folds, and for the starts of the last fit. None is that of `estimator`. The
        result does not depend on it.

    Returns
    -------
    ExpertSelection
        The table, `n_experts_`, and `best_estimator_`, fitted to all rows. Numbers beyond the one
        at which no expert could be split any more are missing.

    Raises
    ------
    ValueError
        If a parameter is invalid, or the mixture is of one number of experts only: a list of
        experts, given responsibilities, labels of experts, a router, a tree of a given size.

    Notes
    -----
    *Cross-validation* has three folds, dealt by a hash of content; groups are kept together. A
    refit sets out from the responsibilities that the full fit gives the other rows, and takes up
    to 40 EM iterations; estimators that are fitted one by one are fitted once. It thus stays near
    the same optimum, and all refits together cost 0.1 to 0.5 of a fit; in exchange it knows a
    little of the rows it is judged by. Experts that are cross-fitted anyway (`cross_fit`) are
    judged by their out-of-fold predictions, with no further fits.

    *Parameters* are counted exactly where nothing is penalised (`counted` is "exact"). Otherwise
    they are effective ones, tr(H⁻¹ (H − Λ)), with the observed information H of the penalised
    log-likelihood and the share Λ of the penalties in it (Gray 1992). Where H is not positive
    definite, as where EM stopped early, the information of the complete data takes its place
    ("complete"), which counts a little more. Where parts have no derivatives (Gaussian and
    hierarchical gates, Laplace errors, a shared expert), or more than 3000 parameters, all count in
    full ("full"); of estimators fitted one by one nothing is known ("unknown"), and only "cv" can
    choose.

    *Ties.* Values of y that recur are its resolution, below which the dispersions of no candidate
    fall: a density that is high on rounded values only says how they were rounded.

    References
    ----------
    Biernacki, Celeux & Govaert (2000), Assessing a mixture model for clustering with the integrated
    completed likelihood, IEEE PAMI 22. Andrews & Currim (2003), A comparison of segment
    retention criteria for finite mixture logit models, Journal of Marketing Research 40: AIC with a
    factor of 3, after Bozdogan (1994). Breiman, Friedman, Olshen & Stone (1984), Classification and
    regression trees, section 3.4: the rule of one standard error. Gray (1992), Flexible methods for
    analyzing survival data using splines, JASA 87.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import make_random_experts
    >>> from mixexp.selection import select_n_experts
    >>> X, y = make_random_experts(n_experts=2, random_state=0)
    >>> mixture = MixtureOfExpertsRegressor(random_state=0)
    >>> found = select_n_experts(mixture, X, y, n_experts=[1, 2, 3], criterion="bic")
    >>> found.n_experts_
    2
    >>> found.best_estimator_.usage_.shape
    (2,)
    """
    check_grows(estimator, "select_n_experts")
    if criterion not in CRITERIA:
        raise ValueError(
            f"select_n_experts: criterion must be one of {list(CRITERIA)}, got {criterion!r}."
        )
    growth = Growth(_checked(n_experts), criterion, one_se=True, cross_validated=True)
    mixture = clone(estimator)
    if n_jobs is not None:
        mixture.set_params(n_jobs=n_jobs)
    given = {"sample_weight": sample_weight, "groups": groups, "offset": offset}
    fit_path(mixture, X, y, growth, **given)
    return replace(mixture.selection_, best_estimator_=mixture)


def fit_path(mixture: Any, X: Any, y: Any, growth: Growth, **arguments: Any) -> Any:
    """Fit a mixture along a path; its `n_experts` is then the chosen number."""
    mixture.set_params(n_experts="auto")
    mixture._growth = growth
    given = {name: value for name, value in arguments.items() if value is not None}
    mixture.fit(X, y, **given)
    return mixture.set_params(n_experts=mixture.selection_.n_experts_)


def check_grows(estimator: Any, caller: str) -> None:
    """Raise if an estimator is no mixture."""
    if isinstance(estimator, type) or not getattr(type(estimator), "_is_mixture", False):
        raise TypeError(
            f"{caller}: estimator must be a MixtureOfExpertsRegressor or "
            f"MixtureOfExpertsClassifier, got {short(estimator)}. Of a Pipeline give its last "
            "step, and X as the steps before it transform it."
        )


def _checked(numbers: Any) -> tuple[int, ...]:
    """Return distinct numbers of experts, ascending."""
    given = numbers
    if isinstance(given, Integral) or not isinstance(given, Iterable):
        given = [given]
    numbers = list(given)
    whole = all(isinstance(k, Integral) and not isinstance(k, bool) for k in numbers)
    if not numbers or not whole or min(numbers) < 1:
        shown = given if isinstance(given, str) else numbers
        raise ValueError(
            f"select_n_experts: n_experts={short(shown)} must hold integers of at least 1, such "
            "as range(1, 13)."
        )
    return tuple(sorted({int(k) for k in numbers}))
