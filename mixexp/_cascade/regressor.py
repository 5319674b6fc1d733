"""Cascade of two regressors."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import get_tags

from mixexp._cascade.base import BaseCascade
from mixexp._cascade.differences import DifferenceModel, gives_std, relative, std_certainty
from mixexp._cascade.folds import Data, Fold
from mixexp._cascade.guests import taken
from mixexp._checks import as_numbers, short
from mixexp._compat import Interval, fit_context

__all__ = ["CascadeRegressor"]

#: Default tolerance, in standard deviations of y.
TOLERATED = 0.1


class CascadeRegressor(RegressorMixin, BaseCascade):
    """A cheap regressor answers; a costly one is asked where the cheap one may be far from it.

    The draft answers every row. Where its certainty is below a threshold, its answer is rejected
    and the full model, usually a mixture of experts, is asked. The threshold is calibrated out of
    fold, so that with 95 % confidence at most a share `max_disagreement` of the accepted answers
    are more than `tolerance` away from the full model's. This is speculative decoding (Leviathan
    et al. 2023) for regressors, and a cascade (Viola & Jones 2001).

    Parameters
    ----------
    draft : regressor
        The cheap one; may be a Pipeline.
    full : regressor
        The costly one.
    max_disagreement : float, default=0.02
        Largest share of accepted answers that may differ from the full model's, in (0, 1). To
        show 0.02 takes at least 149 rows, 0.05 takes 59, 0.1 takes 29.
    tolerance : float or array-like of shape (n_outputs,), default=None
        Answers differ if they are further apart than this, in units of y; with several outputs, if
        any output is. None is 0.1 times the (weighted) standard deviation of y.
    cv : int, splitter, iterable or None, default=5
        Folds of the calibration. With a number, equal rows share a fold, as do rows of a group;
        None is 5. Splitters and iterables of (train, test) must test every row at most once; rows
        that are not tested take no part in the calibration.
    random_state : int, RandomState instance or None, default=None
        Seeds the folds, and random states of draft and full model that are None.
    n_jobs : int or None, default=None
        Number of parallel threads for the fits, of which each model has one a fold and one more.
        With several, each fit is held to one thread of its own.

    Attributes
    ----------
    draft_, full_ : fitted regressors
        Draft and full model, fitted on all rows.
    difference_model_ : object or None
        Random trees for the difference between draft and full model, fitted on all differences
        out of fold; None if the draft's own standard deviation is its certainty.
    tolerance_ : float or ndarray of shape (n_outputs,)
        Tolerance, in units of y.
    threshold_ : float
        Certainty from which the draft's answer is accepted: minus the expected difference, as
        r / (1 + r) for r tolerances; or minus the standard deviation that the draft gives by
        ``predict(X, return_std=True)``, in tolerances. inf if no row is accepted.
    acceptance_rate_ : float
        Share of the tested training rows, by weight, that are accepted.
    agreement_ : float
        Share of these accepted rows on which both models agree; NaN if there are none.
    disagreement_bound_ : float
        Upper bound on the share of accepted rows that differ, at most `max_disagreement`; NaN if
        there are none.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if X was a data frame with string column names.

    See Also
    --------
    CascadeClassifier : The same for classes, with more on the calibration.

    Notes
    -----
    *Certainty.* A draft whose `predict` takes `return_std` says it itself. For others a small
    model (30 random trees) learns the difference between both models from x and the draft's answer.
    In the calibration its predictions are out of fold, too, so that it does not know the
    differences it is tested on. It sees text columns as arbitrary codes.

    *Calibration.* As in `CascadeClassifier`: fixed-sequence tests with exact binomial bounds, from
    the surest rows on (Angelopoulos et al. 2021).

    *What the bound is about.* It holds for rows like the training rows and for models fitted on
    all but one fold, under the assumption that rows are independent given the models; the models
    that answer in `predict`, and the model of differences, were fitted on all rows. Usually they
    agree no less, but that is not shown. It is about differing from the full model, not about
    being wrong.

    *Weights* that are integers count rows. Others are no counts: an effective number of rows
    (Kish 1965) takes their place in the bound, which is then approximate. An estimator that does
    not take weights is fitted without, with a warning.

    References
    ----------
    Leviathan, Kalman & Matias (2023), Fast inference from transformers via speculative decoding,
    arXiv 2211.17192. Viola & Jones (2001), Rapid object detection using a boosted cascade of simple
    features, CVPR. Angelopoulos, Bates, Candès, Jordan & Lei (2021), Learn then test,
    arXiv 2110.01052. Clopper & Pearson (1934), Biometrika 26.

    Examples
    --------
    >>> from sklearn.linear_model import LinearRegression
    >>> from mixexp import CascadeRegressor, MixtureOfExpertsRegressor
    >>> from mixexp.datasets import make_piecewise_linear
    >>> X, y = make_piecewise_linear(600, random_state=0)
    >>> full = MixtureOfExpertsRegressor(n_experts=3, n_init=2)
    >>> cascade = CascadeRegressor(
    ...     LinearRegression(), full, tolerance=0.5, max_disagreement=0.1, cv=3, random_state=0
    ... ).fit(X, y)
    >>> answers, accepted = cascade.predict(X, return_accepted=True)
    >>> bool(0.1 < accepted.mean() < 0.9)
    True
    """

    _parameter_constraints: dict = {
        **BaseCascade._parameter_constraints,
        "tolerance": [Interval(Real, 0, None, closed="left"), "array-like", None],
    }

    def __init__(
        self,
        draft: Any,
        full: Any,
        *,
        max_disagreement: float = 0.02,
        tolerance: Any = None,
        cv: Any = 5,
        random_state: Any = None,
        n_jobs: int | None = None,
    ):
        super().__init__(
            draft=draft,
            full=full,
            max_disagreement=max_disagreement,
            cv=cv,
            random_state=random_state,
            n_jobs=n_jobs,
        )
        self.tolerance = tolerance

    @fit_context(prefer_skip_nested_validation=False)
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None, **params: Any
    ) -> CascadeRegressor:
        """Fit draft and full model, and calibrate the threshold.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Given to draft and full model as it is: text columns of a data frame, texts
            (n_samples,) or NaN are for them to take.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Numeric targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Frequencies of the rows; rescaled to a mean of 1 if all are below 1. Handed to draft
            and full model if they take weights. The model of differences, whose leaves have a
            least number of rows, is not quite the one of repeated rows.
        groups : array-like of shape (n_samples,), default=None
            Rows of a group share a fold. Handed to `cv.split` if `cv` is a splitter; with metadata
            routing also to the models that request it.
        **params : dict
            Passed to `fit` of draft and full model, and to `cv.split`, if metadata routing is
            enabled and they request it.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If data or parameters are invalid, or an estimator fails; the message names it.
        TypeError
            If draft or full is not a regressor.

        Warns
        -----
        UserWarning
            If no row is accepted, or an estimator does not take the weights.
        """
        return self._fit(X, y, sample_weight, groups, params, multi_output=True, y_numeric=True)

    def _encoded(self, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Set `tolerance_`; return the targets (n_outputs, n)."""
        owner, shape = type(self).__name__, y.shape[1:]
        targets = y.reshape(len(y), -1).T.astype(float)
        if self.tolerance is None:
            mean = np.average(targets, axis=1, weights=weight)
            variance = np.average((targets - mean[:, None]) ** 2, axis=1, weights=weight)
            tolerance = TOLERATED * np.sqrt(variance)
        else:
            remedy = "Give a number of at least 0 in units of y, or one for each output."
            tolerance = as_numbers(self.tolerance, "tolerance", owner, remedy)
            fits = tolerance.shape in ((), (len(targets),))
            if not fits or not np.all((tolerance >= 0) & (tolerance < np.inf)):
                shown = self.tolerance if fits else short(tolerance)
                raise ValueError(
                    f"{owner}: tolerance={shown!s} for {len(targets)} outputs of y. {remedy}"
                )
            tolerance = np.broadcast_to(tolerance, len(targets)).copy()
        self.tolerance_ = tolerance if shape else float(tolerance[0])
        return targets

    def _answer(self, role: str, estimator: Any, X: Any) -> tuple:
        """Return predictions (n, ...), and standard deviations or None."""
        if role == "draft" and gives_std(estimator):
            mean, std = estimator.predict(X, return_std=True)
            return self._checked(mean, X), np.asarray(std, dtype=float)
        return self._checked(estimator.predict(X), X), None

    def _checked(self, predicted: Any, X: Any) -> np.ndarray:
        """Return predictions as numbers of the shape of y; raise if they are none."""
        values = np.asarray(predicted, dtype=float)
        shape = (X.shape[0], *np.shape(self.tolerance_))
        one = int(np.prod(shape[1:])) == 1
        allowed = {(X.shape[0],), (X.shape[0], 1)} if one else {shape}
        if values.shape not in allowed:
            raise ValueError(f"it predicts shape {values.shape} and should predict {shape}.")
        bad = int(np.sum(~np.isfinite(values)))
        if bad:
            raise ValueError(f"it predicts NaN or infinity, {bad} times for {X.shape[0]} rows.")
        return values.reshape(shape)

    def _compared(
        self, draft: list[tuple], full: list[tuple], data: Data, folds: list[Fold], seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        answers = [mean for mean, _ in draft]
        pairs = zip(draft, full, strict=True)
        ratios = [relative(d - f, self.tolerance_) for (d, _), (f, _) in pairs]
        ratio = np.concatenate(ratios)
        self.difference_model_: DifferenceModel | None = None
        if draft[0][1] is not None:
            certainty = [
                std_certainty(std * self._scale(std, taken(data.X, fold.test)), self.tolerance_)
                for (_, std), fold in zip(draft, folds, strict=True)
            ]
            return np.concatenate(certainty), ratio > 1
        return self._learned(np.concatenate(answers), ratio, data, folds, seed), ratio > 1

    def _scale(self, std: np.ndarray, X: Any) -> float:
        """Return the final draft's standard deviations over those of a fold's, in the median.

        The level of what a draft says may differ from fold to fold by more than its rows do, as
        that of the noise does for a linear model. The threshold is for the final draft.
        """
        _, final = self._asked("draft", X)
        known = (std > 0) & (final > 0)
        return float(np.median(final[known] / std[known])) if np.any(known) else 1.0

    def _learned(
        self, answers: np.ndarray, ratio: np.ndarray, data: Data, folds: list[Fold], seed: int
    ) -> np.ndarray:
        """Fit the model of differences; return its certainties out of fold."""
        if len(folds) < 2:
            raise ValueError(
                f"{type(self).__name__}: cv has one fold, and the model of differences needs two: "
                "it is fitted on the rows of other folds. Use more folds, or a draft whose predict "
                "takes return_std."
            )
        tested = np.concatenate([fold.test for fold in folds])
        numbers, weight = data.numbers[tested], data.weight[tested]
        of_fold = np.repeat(np.arange(len(folds)), [len(fold.test) for fold in folds])
        certainty = np.empty(len(tested), dtype=np.float32)
        for f in range(len(folds)):
            out, rest = np.flatnonzero(of_fold == f), np.flatnonzero(of_fold != f)
            model = DifferenceModel(seed).fit(
                numbers[rest], answers[rest], ratio[rest], weight[rest]
            )
            if len(out):
                certainty[out] = model.certainty(numbers[out], answers[out])
        self.difference_model_ = DifferenceModel(seed).fit(numbers, answers, ratio, weight)
        return certainty

    def _certainty(self, numbers: Any, answers: tuple) -> np.ndarray:
        mean, std = answers
        if self.difference_model_ is None:
            return std_certainty(std, self.tolerance_)
        return self.difference_model_.certainty(numbers, mean)

    def _more_remedies(self) -> str:
        return f" or tolerance (tolerance_={short(self.tolerance_)})"

    def predict(self, X: Any, return_accepted: bool = False) -> Any:
        """Predict the targets. The full model is asked about rejected rows only.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to predict for.
        return_accepted : bool, default=False
            Whether to also return which answers are the draft's.

        Returns
        -------
        values : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        accepted : ndarray of bool of shape (n_samples,)
            Only with `return_accepted`.
        """
        given, (values, _), accepted = self._drafted(X)
        rejected = np.flatnonzero(~accepted)
        if len(rejected):
            values = values.copy()
            asked, _ = self._asked("full", taken(given, rejected))
            values[rejected] = asked
        return (values, accepted) if return_accepted else values

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        try:
            both = [get_tags(guest).target_tags.multi_output for guest in (self.draft, self.full)]
            tags.target_tags.multi_output = all(both)
        except (AttributeError, TypeError):  # invalid parameters: `fit` reports them
            pass
        return tags
