"""Cascade of two classifiers."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.metaestimators import available_if

from mixexp._cascade.answers import aligned, class_answers, scores_of
from mixexp._cascade.base import BaseCascade
from mixexp._cascade.folds import Data, Fold
from mixexp._cascade.guests import taken
from mixexp._checks import check_labels
from mixexp._compat import fit_context
from mixexp._estimators.targets import refuse_missing_labels
from mixexp._fitting import name_of

__all__ = ["CascadeClassifier"]


def _both_give_probabilities(cascade: Any) -> bool:
    """Return whether draft and full model have `predict_proba`; raise if not."""
    for role in ("draft", "full"):
        guest = getattr(cascade, f"{role}_", getattr(cascade, role))
        if not hasattr(guest, "predict_proba"):
            raise AttributeError(
                f"{type(cascade).__name__}: {role}={name_of(guest)} has no predict_proba. Use a "
                "classifier that has one, or predict."
            )
    return True


class CascadeClassifier(ClassifierMixin, BaseCascade):
    """A cheap classifier answers; a costly one is asked where the cheap one may be wrong.

    The draft answers every row. Where its certainty is below a threshold, its answer is rejected
    and the full model, usually a mixture of experts, is asked. The threshold is calibrated out of
    fold, so that with 95 % confidence at most a share `max_disagreement` of the accepted answers
    differ from the full model's. This is speculative decoding (Leviathan et al. 2023) for
    classifiers, and a classical cascade (Viola & Jones 2001) with Chow's (1970) rule of rejection.

    Parameters
    ----------
    draft : classifier
        The cheap one, with `predict_proba` or `decision_function`; may be a Pipeline.
    full : classifier
        The costly one.
    max_disagreement : float, default=0.02
        Largest share of accepted answers that may differ from the full model's, in (0, 1). To
        show 0.02 takes at least 149 rows, 0.05 takes 59, 0.1 takes 29.
    cv : int, splitter, iterable or None, default=5
        Folds of the calibration. With a number, equal rows share a fold, as do rows of a group,
        and classes are spread evenly; None is 5. Splitters and iterables of (train, test) must
        test every row at most once; rows that are not tested take no part in the calibration.
    random_state : int, RandomState instance or None, default=None
        Seeds the folds, and random states of draft and full model that are None.
    n_jobs : int or None, default=None
        Number of parallel threads for the fits, of which each model has one a fold and one more.
        With several, each fit is held to one thread of its own.

    Attributes
    ----------
    draft_, full_ : fitted classifiers
        Draft and full model, fitted on all rows.
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    threshold_ : float
        Certainty from which the draft's answer is accepted: the difference of its two largest
        class probabilities, or of its two largest values of `decision_function` if it has no
        probabilities. inf if no row is accepted.
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
    CascadeRegressor : The same for numbers.

    Notes
    -----
    *Calibration.* Both models are fitted on the rest of each fold and answer its rows. The 50
    acceptance shares 2 %, 4 %, ... are tested from the surest rows on, by the exact binomial bound
    of Clopper and Pearson, until one fails: fixed-sequence testing, which keeps the 95 % although
    the threshold is chosen on the same rows (Angelopoulos et al. 2021). Shares with so few rows
    that chance would decide are not tested. On enough rows there are two sequences, each at half
    of the level, that begin with different shares; the largest share that passed in either counts.

    *What the bound is about.* It holds for rows like the training rows and for models fitted on
    all but one fold, under the assumption that rows are independent given the models. The models
    that answer in `predict` were fitted on all rows; usually they agree no less, but that is not
    shown. Rows that come in groups need `groups`, and new rows of another kind need another
    calibration. The bound is about differing from the full model, not about being wrong.

    *Weights* that are integers count rows. Others are no counts: an effective number of rows
    (Kish 1965) takes their place in the bound, which is then approximate. An estimator that does
    not take weights is fitted without, with a warning.

    Both models answer by the class of the largest probability, if they have probabilities, even
    if their own `predict` does something else.

    References
    ----------
    Leviathan, Kalman & Matias (2023), Fast inference from transformers via speculative decoding,
    arXiv 2211.17192. Viola & Jones (2001), Rapid object detection using a boosted cascade of simple
    features, CVPR. Chow (1970), On optimum recognition error and reject tradeoff, IEEE Trans.
    Information Theory 16. Angelopoulos, Bates, Candès, Jordan & Lei (2021), Learn then test,
    arXiv 2110.01052. Clopper & Pearson (1934), Biometrika 26.

    Examples
    --------
    >>> from sklearn.datasets import make_moons
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from mixexp import CascadeClassifier, MixtureOfExpertsClassifier
    >>> X, y = make_moons(600, noise=0.2, random_state=0)
    >>> full = MixtureOfExpertsClassifier(n_experts=2, n_init=2)
    >>> cascade = CascadeClassifier(GaussianNB(), full, cv=3, random_state=0).fit(X, y)
    >>> answers, accepted = cascade.predict(X, return_accepted=True)
    >>> bool(0.2 < accepted.mean() < 0.8)
    True
    >>> cascade.disagreement_bound_ < 0.02
    True
    """

    def __init__(
        self,
        draft: Any,
        full: Any,
        *,
        max_disagreement: float = 0.02,
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

    @fit_context(prefer_skip_nested_validation=False)
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None, **params: Any
    ) -> CascadeClassifier:
        """Fit draft and full model, and calibrate the threshold.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Given to draft and full model as it is: text columns of a data frame, texts
            (n_samples,) or NaN are for them to take.
        y : array-like of shape (n_samples,)
            Class labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Frequencies of the rows; rescaled to a mean of 1 if all are below 1. Handed to draft
            and full model if they take weights.
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
            If draft or full is not a classifier, or the draft has no certainty.

        Warns
        -----
        UserWarning
            If no row is accepted, or an estimator does not take the weights.
        """
        return self._fit(X, y, sample_weight, groups, params)

    def _check_guests(self) -> None:
        super()._check_guests()
        if not any(hasattr(self.draft, m) for m in ("predict_proba", "decision_function")):
            raise TypeError(
                f"{type(self).__name__}: draft={name_of(self.draft)} has neither predict_proba nor "
                "decision_function, so nothing tells its certainty. Use a classifier that has one."
            )

    def _encoded(self, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
        refuse_missing_labels(y, type(self).__name__)
        check_labels(y, type(self).__name__)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"{type(self).__name__}: y has one class, {self.classes_.tolist()[0]!r}. Give rows "
                "of positive weight of at least two classes."
            )
        return codes.ravel().astype(np.int64)

    def _answer(self, role: str, estimator: Any, X: Any) -> tuple:
        """Return scores (n, n_classes) and the estimator's own classes."""
        return scores_of(estimator, X), estimator.classes_

    def _compared(
        self, draft: list[tuple], full: list[tuple], data: Data, folds: list[Fold], seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        certainty = [class_answers(scores)[1] for scores, _ in draft]
        differs = [self._labels(d) != self._labels(f) for d, f in zip(draft, full, strict=True)]
        return np.concatenate(certainty), np.concatenate(differs)

    def _labels(self, answers: tuple) -> np.ndarray:
        """Return the labels that scores and classes of an estimator stand for."""
        scores, classes = answers
        return classes[scores.argmax(axis=1)]

    def _all_columns(self, answers: tuple) -> np.ndarray:
        """Return scores with a column for each of `classes_`."""
        scores, classes = answers
        return aligned(scores, classes, self.classes_)

    def _certainty(self, numbers: Any, answers: tuple) -> np.ndarray:
        return class_answers(answers[0])[1]

    def predict(self, X: Any, return_accepted: bool = False) -> Any:
        """Predict class labels. The full model is asked about rejected rows only.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to predict for.
        return_accepted : bool, default=False
            Whether to also return which answers are the draft's.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        accepted : ndarray of bool of shape (n_samples,)
            Only with `return_accepted`.
        """
        given, answers, accepted = self._drafted(X)
        labels = self._labels(answers).astype(self.classes_.dtype)
        rejected = np.flatnonzero(~accepted)
        if len(rejected):
            labels[rejected] = self._labels(self._asked("full", taken(given, rejected)))
        return (labels, accepted) if return_accepted else labels

    @available_if(_both_give_probabilities)
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return class probabilities: the draft's for accepted rows, the full model's for others.

        Available if both have `predict_proba`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to predict for.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        given, answers, accepted = self._drafted(X)
        proba = self._all_columns(answers)
        rejected = np.flatnonzero(~accepted)
        if len(rejected):
            asked = self._asked("full", taken(given, rejected))
            proba[rejected] = self._all_columns(asked)
        return proba
