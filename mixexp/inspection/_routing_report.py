"""Report on the routing of a fitted mixture: loads, balance and cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.metrics import accuracy_score, r2_score

from mixexp._wrapped import find_mixture, predicts_shares, refuse_offset, shares, transformed
from mixexp.inspection._routing import (
    balance_loss,
    checked_target,
    checked_weight,
    entropy,
    mean_or_nan,
    overflow_share,
    squared_variation,
)

__all__ = ["RoutingReport", "routing_report"]

#: Calls that take less than this many seconds are timed again, and the shortest time counts.
SHORT, REPEATS = 0.1, 3


@dataclass(frozen=True, repr=False)
class RoutingReport:
    """What `routing_report` found; printed, it is a table.

    Arrays have one entry for each expert, and a last one for the fallback if there is one: n is
    n_experts or n_experts + 1.

    Attributes
    ----------
    names : list of str
        "expert 0" and so on, "fallback".
    load : ndarray of shape (n,)
        Weight of the rows that reach the expert.
    share : ndarray of shape (n,)
        Its share of the sum of loads.
    importance : ndarray of shape (n,)
        Sum of the routing weights of all rows, times their sample weights.
    mean_weight : ndarray of shape (n,)
        Mean routing weight over the rows that reach the expert, NaN if there are none.
    score : ndarray of shape (n,)
        R² or accuracy of the expert alone on the rows that reach it. NaN without y, without rows,
        and for R² with less than two.
    seconds_per_row : ndarray of shape (n,)
        Time of a prediction of the rows that reach the expert, divided by their number.
    score_name : str
        "R²" or "accuracy".
    router : str
        The router, or "dense".
    n_rows : int
        Number of rows of X.
    overflow : float
        Share of the training rows that did not reach their first choice; NaN if the router has no
        capacity.
    gate_entropy : float
        Mean entropy of the gate probabilities of a row, in nats.
    effective_experts : float
        Its exponential: the number of equally probable experts with that entropy.
    experts_per_row : float
        Mean number of experts that a row reaches, without the fallback.
    active_fraction : float
        The same as a share of all experts.
    cv2_load, cv2_importance : float
        Squared coefficient of variation over the experts, without the fallback; 0 if all are
        equal.
    balance_loss : float
        K Σ_k f_k P_k, f_k the expert's share of the loads and P_k its mean gate probability; 1 if
        either is the same for all experts.
    seconds_active, seconds_total : float
        Time of the predictions of each expert on the rows that reach it, and of each expert on all
        rows. The fallback is one of them.
    """

    names: list[str]
    load: np.ndarray
    share: np.ndarray
    importance: np.ndarray
    mean_weight: np.ndarray
    score: np.ndarray
    seconds_per_row: np.ndarray
    score_name: str
    router: str
    n_rows: int
    overflow: float
    gate_entropy: float
    effective_experts: float
    experts_per_row: float
    active_fraction: float
    cv2_load: float
    cv2_importance: float
    balance_loss: float
    seconds_active: float
    seconds_total: float

    def to_frame(self) -> Any:
        """Return the table of the experts as a data frame; needs pandas.

        Returns
        -------
        pandas.DataFrame
            One row for each expert and the fallback, indexed by `names`.
        """
        import pandas as pd

        columns = ("load", "share", "importance", "mean_weight", "score", "seconds_per_row")
        return pd.DataFrame({name: getattr(self, name) for name in columns}, index=self.names)

    def __str__(self) -> str:
        return "\n".join([self._title, "", *self._table(), "", *self._totals()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(str(self))}</pre>"

    @property
    def _title(self) -> str:
        n_experts = sum(name != "fallback" for name in self.names)
        experts = f"{n_experts} expert{'s' * (n_experts > 1)}"
        return f"Routing of {self.n_rows} rows to {experts}: {self.router}"

    def _table(self) -> list[str]:
        """Return the lines of the table of experts."""
        heads = ["", "load", "share", "importance", "weight", self.score_name, "µs/row"]
        whole = all(np.all(sums == np.round(sums)) for sums in (self.load, self.importance))
        form = ".0f" if whole else ".1f"
        rows = [
            [name, format(load, form), f"{share:.1%}", format(importance, form)]
            + [_number(weight, ".2f"), _number(score, ".3f"), _number(1e6 * seconds, ".2f")]
            for name, load, share, importance, weight, score, seconds in zip(
                self.names,
                self.load,
                self.share,
                self.importance,
                self.mean_weight,
                self.score,
                self.seconds_per_row,
                strict=True,
            )
        ]
        widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
        return [
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
            for row in [heads, *rows]
        ]

    def _totals(self) -> list[str]:
        """Return the lines below the table."""
        saved = self.seconds_active / self.seconds_total if self.seconds_total > 0 else np.nan
        totals = {
            "experts per row": f"{self.experts_per_row:.2f} "
            f"(active fraction {self.active_fraction:.2f})",
            "gate entropy": f"{self.gate_entropy:.2f} nats "
            f"({self.effective_experts:.2f} effective experts)",
            "CV² of load": f"{_number(self.cv2_load, '.3f')} "
            f"(of importance {_number(self.cv2_importance, '.3f')})",
            "balance loss": f"{_number(self.balance_loss, '.2f')} (1 is even)",
            "overflow in fit": _number(self.overflow, ".1%"),
            "seconds": f"{self.seconds_active:.3g} active, {self.seconds_total:.3g} if all experts "
            f"saw all rows ({_number(saved, '.0%')})",
        }
        return [f"{name:<16}  {value}" for name, value in totals.items()]


def _number(value: float, form: str) -> str:
    """Return a formatted number, a dash for NaN."""
    return "–" if np.isnan(value) else format(value, form)


def routing_report(
    estimator: Any, X: Any, y: Any = None, sample_weight: Any = None, *, offset: Any = None
) -> RoutingReport:
    """Report which experts rows reach, how evenly, how good each expert is there, and the cost.

    Parameters
    ----------
    estimator : estimator
        A fitted MixtureOfExpertsClassifier or MixtureOfExpertsRegressor, with or without routing,
        a Pipeline that ends in one, or a search over one of these.
    X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
        Rows as `estimator` takes them: for a Pipeline, before its first step.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
        Targets, for the scores.
    sample_weight : array-like of shape (n_samples,), default=None
        Frequencies of the rows; None means 1 for every row.
    offset : array-like of shape (n_samples,), default=None
        For the scores: added to the linear predictor, as in `fit`.

    Returns
    -------
    RoutingReport
        Printed, it is a table. Arrays with one entry for each expert, and a last one for the
        fallback if there is one: `names`, `load` (weight of the rows that reach it), `share` (of
        all loads), `importance` (sum of routing weights), `mean_weight` (where routed), `score`
        (of the expert alone on its rows), `seconds_per_row`. Numbers: `overflow`,
        `gate_entropy`, `effective_experts`, `experts_per_row`, `active_fraction`, `cv2_load`,
        `cv2_importance`, `balance_loss`, `seconds_active`, `seconds_total`; the documentation of
        its class says what each is. ``to_frame()`` returns the table of experts as a data frame.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If the estimator is not a mixture of experts.
    ValueError
        If X, y or sample_weight is not valid; the message names it. If the mixture was fitted with
        an offset, and y is given without one.

    Notes
    -----
    Each expert is called: its `predict`, or `predict_proba`, on the rows that reach it, and on all
    rows, so the report takes longer than a dense prediction. Calls of less than 0.1 s are timed
    three times. Linear experts are timed one by one like others, while the mixture evaluates them
    in one product.

    References
    ----------
    Shazeer et al. (2017), Outrageously large neural networks, arXiv 1701.06538 (importance, load,
    CV²). Fedus et al. (2021), Switch transformers, arXiv 2101.03961 (balance loss).

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor, routing_report
    >>> from mixexp.datasets import make_piecewise_linear
    >>> from mixexp.routing import TopK
    >>> X, y = make_piecewise_linear(random_state=0)
    >>> model = MixtureOfExpertsRegressor(n_experts=3, routing=TopK(1), random_state=0).fit(X, y)
    >>> report = routing_report(model, X, y)
    >>> report.load
    array([106., 107.,  87.])
    >>> print(report)  # doctest: +ELLIPSIS
    Routing of 300 rows to 3 experts: TopK(k=1)
    ...
    """
    owner = "routing_report"
    before, mixture = find_mixture(estimator, owner)
    if y is not None and offset is None:
        refuse_offset(mixture, owner, "Give the offset of these rows, or leave y out.")
    data = transformed(before, X)
    weights = np.asarray(mixture.route(data))
    n_experts = len(mixture.experts_)
    weight = checked_weight(sample_weight, len(weights), owner)
    scored = _Scored(mixture, y, weight, data, offset, owner)
    proba = mixture.gate_proba(data)[:, :n_experts]
    proba = proba / proba.sum(axis=1, keepdims=True)  # without the noise
    reached = weights > 0
    load, importance = weight @ reached, weight @ weights
    per_row, active, total = _timed(mixture, data, reached, scored)
    of_experts = load[:n_experts]
    experts_per_row = float(of_experts.sum() / weight.sum())
    gate_entropy = entropy(proba, weight)
    router = getattr(mixture, "routing_", None)
    return RoutingReport(
        names=[f"expert {k}" for k in range(n_experts)]
        + ["fallback"] * (weights.shape[1] - n_experts),
        load=load,
        share=load / load.sum(),
        importance=importance,
        mean_weight=mean_or_nan(importance, load),
        score=scored.found,
        seconds_per_row=per_row,
        score_name=scored.name,
        router="dense" if router is None else " ".join(repr(router).split()),
        n_rows=len(weights),
        overflow=overflow_share(router),
        gate_entropy=gate_entropy,
        effective_experts=float(np.exp(gate_entropy)),
        experts_per_row=experts_per_row,
        active_fraction=experts_per_row / n_experts,
        cv2_load=squared_variation(of_experts),
        cv2_importance=squared_variation(importance[:n_experts]),
        balance_loss=balance_loss(of_experts, proba, weight),
        seconds_active=active,
        seconds_total=total,
    )


class _Scored:
    """Scores of the experts on their own rows.

    Parameters
    ----------
    mixture : fitted mixture
    y : array-like or None
    weight : ndarray of shape (n,)
    data : table
        X of the mixture.
    offset : array-like or None
    owner : str
    """

    def __init__(
        self, mixture: Any, y: Any, weight: np.ndarray, data: Any, offset: Any, owner: str
    ):
        self.classifier = is_classifier(mixture)
        self.name = "accuracy" if self.classifier else "R²"
        self.weight, self.owner = weight, owner
        self.found = np.full(len(mixture.experts_) + hasattr(mixture, "fallback_"), np.nan)
        self.y = None if y is None else checked_target(y, len(weight), mixture, owner)
        if self.y is not None:
            y, self.weight = shares(mixture, self.y, weight, owner)
            self.y = y if self.classifier else y.reshape(len(weight), -1)
        self.outputs = None
        # experts of family binomial are classifiers, and `predict` gives their labels
        binomial = predicts_shares(mixture)
        if offset is not None or hasattr(mixture, "shared_expert_") or binomial:
            outputs = mixture.predict_experts(data, offset=offset)
            self.outputs = mixture.classes_[outputs.argmax(axis=2)] if self.classifier else outputs

    def add(self, k: int, expert: Any, ids: np.ndarray, predicted: np.ndarray) -> None:
        """Score the predictions of an expert for its rows."""
        weight = self.weight[ids]
        if self.y is None or np.count_nonzero(weight) < (1 if self.classifier else 2):
            return
        if self.outputs is not None:
            predicted = self.outputs[ids, k]
        elif self.classifier:
            predicted = expert.classes_[predicted.argmax(axis=1)]
        y = self.y[ids]
        if self.classifier:
            self.found[k] = accuracy_score(y, predicted, sample_weight=weight)
            return
        predicted = np.asarray(predicted).reshape(len(ids), -1)
        if predicted.shape[1] != y.shape[1]:
            raise ValueError(
                f"{self.owner}: y has {y.shape[1]} columns, and the experts predict "
                f"{predicted.shape[1]}. Give as many as in fit."
            )
        self.found[k] = r2_score(y, predicted, sample_weight=weight)


def _timed(
    mixture: Any, data: Any, reached: np.ndarray, scored: _Scored
) -> tuple[np.ndarray, float, float]:
    """Call each expert on its rows and on all; return seconds per row, and both sums of seconds."""
    experts = [*mixture.experts_, *([mixture.fallback_] if hasattr(mixture, "fallback_") else [])]
    method = "predict_proba" if scored.classifier else "predict"
    per_row, active, total = np.full(len(experts), np.nan), 0.0, 0.0
    inputs = zip(mixture.expert_inputs(data), mixture.expert_inputs(data, reached), strict=True)
    for k, (expert, (everyone, own)) in enumerate(zip(experts, inputs, strict=True)):
        ids = np.flatnonzero(reached[:, k])
        predict = getattr(expert, method)
        seconds, _ = _seconds(predict, everyone)
        total += seconds
        if len(ids):
            own_seconds, predicted = _seconds(predict, own)
            active += own_seconds
            per_row[k] = own_seconds / len(ids)
            scored.add(k, expert, ids, predicted)
    return per_row, active, total


def _seconds(predict: Callable, rows: Any) -> tuple[float, np.ndarray]:
    """Return the time of a call, and its result; short calls are repeated."""
    best = np.inf
    for _ in range(REPEATS):
        start = perf_counter()
        predicted = predict(rows)
        best = min(best, perf_counter() - start)
        if best >= SHORT:
            break
    return best, predicted
