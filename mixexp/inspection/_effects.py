"""What raises and lowers the prediction of an expert on its own rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixexp._columns import with_column
from mixexp.inspection._table_columns import Column, number, weighted_quantiles

__all__ = ["Effect", "expert_effects"]

#: Levels of the quantiles of a column at which predictions are compared.
LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)

#: Least weight of a category, or of a value of a column whose quantiles are all the same, as a
#: share of that of the most frequent one. The effect of rarer ones would rest on one or two of an
#: expert's rows. It is no share of all rows: of 30 equal categories none would have 5 % of these.
HELD = 0.05

#: Most categories of a column that are compared, the most frequent ones.
MOST_CATEGORIES = 10

#: A prediction rises if it goes down by at most this share of all its changes.
REVERSE = 0.1

#: Changes below this share of the size of a prediction are rounding.
ROUNDING = 1e-10

#: Changes below this share of the scale of what is predicted are none: those of an expert that is
#: certain of its class, or whose number is the same everywhere.
NEGLIGIBLE = 1e-4


@dataclass(frozen=True)
class Effect:
    """How the prediction of an expert changes with one column.

    Attributes
    ----------
    feature : str
        The column of the input.
    output : str
        The target or class; empty if there is one number.
    values : list of float or str
        Values of the column: quantiles of 10, 30, 50, 70 and 90 % over the expert's rows; if these
        are all the same, its values, and of a column of words its categories, without those that
        less than 5 % as many rows have as the most frequent one.
    predictions : ndarray of shape (n_values,)
        The mean prediction over the expert's rows, each with this value.
    trend : {"rises", "falls", "bends", "differs", "none"}
        "bends" rises and falls; "differs" between categories.
    """

    feature: str
    output: str
    values: list
    predictions: np.ndarray
    trend: str

    @property
    def size(self) -> float:
        """Largest less smallest mean prediction."""
        return float(np.ptp(self.predictions))

    @property
    def change(self) -> float:
        """Prediction at the last value less that at the first."""
        return float(self.predictions[-1] - self.predictions[0])

    @property
    def slope(self) -> float:
        """Change a unit of the column: of a linear expert, its coefficient. NaN of categories."""
        if isinstance(self.values[0], str):
            return np.nan
        return self.change / (self.values[-1] - self.values[0])

    def __str__(self) -> str:
        if self.trend in ("rises", "falls"):
            signed = ("+" if self.change > 0 else "") + number(self.change)
            span = f"{signed} from {number(self.values[0])} to {number(self.values[-1])}"
            if len(self.values) == 2:
                return f"{self.feature}: {span}"
            slope = ("+" if self.slope > 0 else "") + number(self.slope)
            return f"{self.feature}: {span} ({slope} a unit)"
        most, least = (
            value if isinstance(value := self.values[i], str) else number(value)
            for i in (int(np.argmax(self.predictions)), int(np.argmin(self.predictions)))
        )
        at = "for" if self.trend == "differs" else "near"
        return (
            f"{self.feature}: highest {at} {most}, lowest {at} {least}, {number(self.size)} apart"
        )


def expert_effects(
    predict: Callable[[Any], np.ndarray],
    X: Any,
    columns: Sequence[Column],
    rows: np.ndarray,
    weight: np.ndarray,
    outputs: Sequence[str],
    scales: np.ndarray | None = None,
) -> list[Effect]:
    """Return the effect of every column that varies over some rows, largest first.

    A column of numbers of which one value holds nearly all weight has none.

    Parameters
    ----------
    predict : callable
        Returns the predictions (m, q) of the expert for a table like X.
    X : ndarray or data frame
        The table in input units.
    columns : sequence of Column
        Its columns.
    rows : ndarray of int of shape (m,)
        The expert's rows.
    weight : ndarray of shape (m,)
        Their weights.
    outputs : sequence of str
        Names of the outputs; predictions of several classes may have more columns than there are
        names: the last ones are taken.
    scales : ndarray of shape (q,), default=None
        By how much each output varies, such as 1 for probabilities. None is not known.

    Notes
    -----
    Predictions with a column set to a value, averaged over rows, are its partial dependence
    (Friedman 2001).
    """
    found = []
    scales = np.zeros(len(outputs)) if scales is None else scales
    share = weight / weight.sum()
    for j, column in enumerate(columns):
        sources = _sources(column, rows, weight)
        if len(sources) < 2:
            continue
        table = with_column(X, np.tile(rows, len(sources)), j, np.repeat(sources, len(rows)))
        predicted = predict(table).reshape(len(sources), len(rows), -1)
        means = np.einsum("gmq,m->gq", predicted, share)[:, -len(outputs) :]
        values: list = column.values[sources].tolist()
        if column.labels is not None:
            values = [column.labels[int(code)] for code in values]
        found += [
            Effect(column.name, name, values, mean, _trend(mean, column.labels is not None, scale))
            for name, mean, scale in zip(outputs, means.T, scales, strict=True)
        ]
    return sorted(found, key=lambda effect: -effect.size)


def _sources(column: Column, rows: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return rows whose values of a column are compared, in ascending order of these."""
    known = ~np.isnan(column.values[rows])
    rows, weight = rows[known], weight[known]
    if not len(rows):
        return rows
    values = column.values[rows]
    distinct, first, codes = np.unique(values, return_index=True, return_inverse=True)
    mass = np.bincount(codes, weight, len(distinct))
    enough = mass >= HELD * mass.max()
    if column.labels is not None:
        most = np.argsort(-mass, kind="stable")[:MOST_CATEGORIES]
        return rows[first[most[enough[most]]]]
    at = weighted_quantiles(values, weight, LEVELS)
    _, kept = np.unique(values[at], return_index=True)
    return rows[at[kept] if len(kept) > 1 else first[enough]]


def _trend(means: np.ndarray, categories: bool, scale: float = 0.0) -> str:
    steps = np.diff(means)
    if np.ptp(means) <= max(ROUNDING * np.abs(means).max(), NEGLIGIBLE * scale):
        return "none"
    if categories:
        return "differs"
    up, down = steps[steps > 0].sum(), -steps[steps < 0].sum()
    if down <= REVERSE * (up + down):
        return "rises"
    return "falls" if up <= REVERSE * (up + down) else "bends"
