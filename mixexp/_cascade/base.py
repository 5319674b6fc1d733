"""Base of both cascades: parameters, the steps of a fit, answers for new rows."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from numbers import Integral, Real
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, is_classifier, is_regressor
from sklearn.model_selection import check_cv
from sklearn.utils import check_random_state
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.validation import check_is_fitted, validate_data

from mixexp import __version__
from mixexp._cascade.calibration import CONFIDENCE, Calibration, calibrate, rows_needed
from mixexp._cascade.folds import (
    DEFAULT_FOLDS,
    Data,
    Fold,
    check_classes,
    folds_by_content,
    folds_given,
)
from mixexp._cascade.guests import Guest, fit_all, own_rows, warn_of_weights
from mixexp._checks import all_or_nothing
from mixexp._columns import as_numbers
from mixexp._compat import (
    JOBS,
    HasMethods,
    Interval,
    check_weights,
    raise_for_params,
    routing_enabled,
    safe_indexing,
)
from mixexp._estimators.notebook import PAGES
from mixexp._estimators.versioned import Versioned
from mixexp._fitting import name_of, takes_missing, takes_sparse
from mixexp._guests import failures_named
from mixexp._rows.inputs import checked_groups
from mixexp._warn import warn
from mixexp._weights import as_counts

__all__ = ["BaseCascade"]


class BaseCascade(Versioned, BaseEstimator, metaclass=ABCMeta):
    """Base class; use `CascadeClassifier` or `CascadeRegressor`."""

    # scikit-learn's HTML view links to the page of the class
    _doc_link_module = "mixexp"
    _doc_link_template = PAGES

    classes_: np.ndarray
    draft_: Any
    full_: Any
    threshold_: float

    _parameter_constraints: dict = {
        "draft": [HasMethods(["get_params", "fit", "predict"])],
        "full": [HasMethods(["get_params", "fit", "predict"])],
        "max_disagreement": [Interval(Real, 0, 1, closed="neither")],
        "cv": ["cv_object"],
        "random_state": ["random_state"],
        "n_jobs": JOBS,
    }

    @abstractmethod
    def __init__(
        self,
        draft: Any,
        full: Any,
        max_disagreement: float,
        cv: Any,
        random_state: Any,
        n_jobs: int | None,
    ):
        self.draft = draft
        self.full = full
        self.max_disagreement = max_disagreement
        self.cv = cv
        self.random_state = random_state
        self.n_jobs = n_jobs

    @abstractmethod
    def _encoded(self, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Return the targets as numbers (n,) or (n_outputs, n), integers for classes."""

    @abstractmethod
    def _answer(self, role: str, estimator: Any, X: Any) -> tuple:
        """Return the answers of a fitted draft or full model, and what tells their certainty."""

    @abstractmethod
    def _compared(
        self, draft: list[tuple], full: list[tuple], data: Data, folds: list[Fold], seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return certainty of the draft, and whether the models differ, for all tested rows."""

    def _fit(
        self, X: Any, y: Any, sample_weight: Any, groups: Any, params: dict, **y_as: Any
    ) -> Any:
        """Fit draft and full model and calibrate the threshold.

        1. Check parameters and data; leave out rows of weight 0.
        2. Cut the rows into folds; fit both models on the rest of each fold and have them answer
           its rows; fit both on all rows.
        3. From the certainty of the draft's answers, and whether the full model's differ, find
           the threshold.
        """
        owner = type(self).__name__
        with all_or_nothing(self):
            self._check_guests()
            seed = int(check_random_state(self.random_state).randint(2**31 - 1))
            data = self._data(X, y, sample_weight, y_as)
            guests, folds = self._cut(data, groups, params, seed)
            if data.weighted:
                warn_of_weights(guests, owner)
            (draft, full), fitted = fit_all(guests, data, folds, self._answer, self.n_jobs, owner)
            self.draft_, self.full_ = fitted
            certainty, differs = self._compared(draft, full, data, folds, seed)
            tested = np.concatenate([fold.test for fold in folds])
            found = calibrate(certainty, differs, data.weight[tested], self.max_disagreement)
            self.threshold_ = found.threshold
            self.acceptance_rate_ = found.acceptance
            self.agreement_ = found.agreement
            self.disagreement_bound_ = found.bound
            self._mixexp_version = __version__
            if not found.acceptance:
                warn(self._why_nothing(found))
        return self

    def _check_guests(self) -> None:
        """Raise if draft or full is a class, or an estimator for other targets."""
        owner, classes = type(self).__name__, is_classifier(self)
        for role in ("draft", "full"):
            value = getattr(self, role)
            if isinstance(value, type):
                raise TypeError(
                    f"{owner}: {role} must be an instance, got the class {value.__name__}. Write "
                    f"{role}={value.__name__}()."
                )
            if not (is_classifier(value) if classes else is_regressor(value)):
                wanted = "classifier" if classes else "regressor"
                other = "CascadeRegressor" if classes else "CascadeClassifier"
                raise TypeError(
                    f"{owner}: {role}={name_of(value)} is not a {wanted}. Give a {wanted}, or use "
                    f"{other}."
                )

    def _data(self, X: Any, y: Any, sample_weight: Any, y_as: dict) -> Data:
        """Return the checked rows of positive weight."""
        owner = type(self).__name__
        given, table = _given(X)
        numbers, y = validate_data(self, table, y, **READ, **y_as)
        weight = np.ones(len(y))
        if sample_weight is not None:
            weight = as_counts(check_weights(sample_weight, numbers, owner), self)
        kept = np.flatnonzero(weight > 0)
        n_given = len(y)
        if len(kept) < n_given:
            given, numbers, y = safe_indexing(given, kept), numbers[kept], y[kept]
        weight = weight[kept]
        codes = self._encoded(y, weight)
        return Data(given, numbers, y, codes, weight, bool(np.any(weight != 1)), kept, n_given)

    def _cut(
        self, data: Data, groups: Any, params: dict, seed: int
    ) -> tuple[list[Guest], list[Fold]]:
        """Return draft and full model with what is routed to them, and the folds."""
        owner = type(self).__name__
        checked_groups(groups, np.empty((data.n_given, 0)), owner)
        groups = None if groups is None else np.asarray(groups)
        routed: dict = {"draft": {}, "full": {}}
        split = {} if groups is None else {"groups": groups}
        if not routing_enabled():
            raise_for_params(params, self, "fit")
        elif params or split:
            found = process_routing(self, "fit", **params, **split)
            routed = {role: dict(found[role].fit) for role in routed}
            split = dict(found["splitter"].split)
        guests = [Guest("draft", self.draft, (seed, 0), routed["draft"])]
        guests.append(Guest("full", self.full, (seed, 1), routed["full"]))
        if self.cv is None or isinstance(self.cv, Integral):
            number = DEFAULT_FOLDS if self.cv is None else int(self.cv)
            kept = None if groups is None else groups[data.kept]
            folds = folds_by_content(data, number, kept, seed, owner)
        else:
            split = {k: safe_indexing(v, data.kept) for k, v in split.items()}
            folds = folds_given(self.cv, data, split, owner)
        if data.of_classes:
            check_classes(folds, data, self.classes_, owner)
        return guests, folds

    def _why_nothing(self, found: Calibration) -> str:
        """Return the warning of a fit that accepts no row."""
        owner, limit = type(self).__name__, self.max_disagreement
        start = f"{owner}: no row is accepted, so the full model answers every row. "
        if found.first is None and found.n_rows >= rows_needed(limit):
            return (
                f"{start}The draft tells no certainty of enough rows: its standard deviations or "
                "scores are NaN. Use another draft."
            )
        if found.first is None:
            return (
                f"{start}max_disagreement={limit:g} can be shown with {CONFIDENCE:.0%} confidence "
                f"on {rows_needed(limit)} rows or more, all of which agree, and {found.n_rows:.6g} "
                "are tested. Give more rows, or raise max_disagreement."
            )
        acceptance, share, bound = found.first
        return (
            f"{start}Among the surest {acceptance:.0%} of the rows, {share:.2%} of the answers of "
            f"draft and full model differ, with an upper bound of {bound:.2%}, and "
            f"max_disagreement={limit:g}. Use a draft that is closer to the full model or knows "
            f"better where it is wrong, give more rows, or raise max_disagreement"
            f"{self._more_remedies()}."
        )

    def _more_remedies(self) -> str:
        """Return what else the warning may advise."""
        return ""

    def _drafted(self, X: Any) -> tuple[Any, tuple, np.ndarray]:
        """Return checked X, what the draft says of it, and whether that is accepted."""
        check_is_fitted(self, "threshold_")
        given, table = _given(X)
        numbers = validate_data(self, table, reset=False, **READ)
        answers = self._asked("draft", own_rows(given))
        return given, answers, self._certainty(numbers, answers) >= self.threshold_

    @abstractmethod
    def _certainty(self, numbers: Any, answers: tuple) -> np.ndarray:
        """Return the certainty of the fitted draft's answers."""

    def _asked(self, role: str, X: Any) -> tuple:
        """Return what the fitted draft or full model says."""
        estimator = getattr(self, f"{role}_")
        guest = Guest(role, estimator, (), {})
        with failures_named(lambda: f"{guest.describe(type(self).__name__)} in a prediction"):
            return self._answer(role, estimator, X)

    def get_metadata_routing(self) -> MetadataRouter:
        """Return the routing of metadata: to `fit` of draft and full, to `split` of the splitter.

        Returns
        -------
        MetadataRouter
        """
        router = MetadataRouter(owner=type(self).__name__).add_self_request(self)
        to_fit = MethodMapping().add(caller="fit", callee="fit")
        router.add(draft=self.draft, full=self.full, method_mapping=to_fit)
        to_split = MethodMapping().add(caller="fit", callee="split")
        return router.add(splitter=check_cv(self.cv), method_mapping=to_split)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        try:
            both = (self.draft, self.full)
            tags.input_tags.sparse = all(takes_sparse(guest) for guest in both)
            tags.input_tags.allow_nan = all(takes_missing(guest) for guest in both)
        except (AttributeError, TypeError):  # invalid parameters: `fit` reports them
            pass
        return tags


#: How X is read for folds and for the model of differences; estimators get it as it was given.
READ: dict = {
    "accept_sparse": "csr",
    "dtype": [np.float64, np.float32],
    "ensure_all_finite": "allow-nan",
}


def _given(X: Any) -> tuple[Any, Any]:
    """Return X as estimators get it, and a table to be read as numbers.

    Texts (n,), for a vectoriser in a Pipeline, are a table of one column.
    """
    one_axis = isinstance(X, list | tuple) or getattr(X, "ndim", 0) == 1
    if one_axis and len(X) and all(isinstance(value, str) for value in X):
        X = np.asarray(X, dtype=object)
        return X, as_numbers(X[:, None]).X
    if sp.issparse(X):
        return X.tocsr(), X
    table = as_numbers(X)
    if isinstance(X, np.ndarray) or table.frame is not None:
        return X, table.X
    array = np.asarray(X)
    return array, as_numbers(array).X
