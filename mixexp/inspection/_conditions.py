"""Conditions on columns, and rules of several: what they hold for, and how they read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mixexp.inspection._table_columns import MISSING, Column

__all__ = ["Condition", "Rule", "rounded_rank"]

#: A border may move by this share of the distinct values of its column to need fewer digits.
ROUNDED = 0.001

#: Whole numbers below this are exact in double precision, and written without an exponent.
EXACT = 2**53


@dataclass(frozen=True)
class Condition:
    """What a rule says of one column.

    Attributes
    ----------
    column : Column
    distinct : ndarray of shape (d,)
        Distinct values of the column in ascending order.
    first, last : int
        Numbers of the first and the last distinct value that fulfil it; the first is the larger
        where only missing values do.
    missing : bool
        Whether a missing value fulfils it.
    excluded : tuple of int
        Of categories: codes that do not fulfil it.
    """

    column: Column
    distinct: np.ndarray
    first: int
    last: int
    missing: bool = True
    excluded: tuple[int, ...] = ()

    def cut(self, rank: int, below: bool) -> Condition:
        """Return the condition for the values up to a distinct one, or for those above it."""
        if below:
            return replace(self, last=min(self.last, rank))
        return replace(self, first=max(self.first, rank + 1))

    def holds(self, values: np.ndarray) -> np.ndarray:
        """Return a mask of the values that fulfil it."""
        inside = np.zeros(len(values), dtype=bool)
        if self.first <= self.last:
            inside = (values >= self.distinct[self.first]) & (values <= self.distinct[self.last])
        if self.missing:
            inside |= np.isnan(values)
        return inside & ~np.isin(values, self.excluded)

    def __str__(self) -> str:
        name, last = self.column.name, len(self.distinct) - 1
        if self.column.labels is not None:
            return self._of_categories(self.column.labels)
        if self.first > self.last:
            return f"{name} is missing"
        some_missing = bool(np.isnan(self.column.values).any())
        either = " or missing" if some_missing and self.missing else ""
        if self.first == self.last:
            text = f"{name} = {border(*self.distinct[[self.first, self.first]])}"
        elif self.first == 0 and self.last == last:
            return f"{name} is known"
        elif self.first == 0:
            text = f"{name} ≤ {self._cut(self.last)}"
        elif self.last == last:
            text = f"{name} > {self._cut(self.first - 1)}"
        else:
            text = f"{self._cut(self.first - 1)} < {name} ≤ {self._cut(self.last)}"
        return text + either

    def _cut(self, below: int) -> str:
        return border(self.distinct[below], self.distinct[below + 1])

    def _of_categories(self, labels: list[str]) -> str:
        kept = [int(code) for code in self.distinct[self.first : self.last + 1]]
        kept = [code for code in kept if code not in self.excluded]
        if len(kept) == 1:
            return f"{self.column.name} is {labels[kept[0]]}"
        names = [labels[code] for code in self.excluded]
        if len(names) == 1:
            return f"{self.column.name} is {'known' if names == [MISSING] else f'not {names[0]}'}"
        return f"{self.column.name} is neither {', '.join(names[:-1])} nor {names[-1]}"


def rounded_rank(distinct: np.ndarray, rank: int) -> int:
    """Return a rank after which a rounder border lies, at most a thousandth of all values away."""
    away = int(ROUNDED * len(distinct))
    if not away:
        return rank
    middle = distinct[rank] + (distinct[rank + 1] - distinct[rank]) / 2
    low, high = distinct[max(rank - away, 0)], distinct[min(rank + 1 + away, len(distinct) - 1)]
    return int(np.searchsorted(distinct, float(shortest(low, high, middle)), side="right")) - 1


def shortest(low: float, high: float, middle: float) -> str:
    """Return the rounding of the middle with the fewest digits that is in [low, high)."""
    for digits in range(1, 17):
        text = f"{middle:.{digits}g}"
        if low <= float(text) < high or low == high == float(text):
            value = float(text)
            return f"{value:.0f}" if value == int(value) and abs(value) < EXACT else text
    return repr(float(low))


def border(low: float, high: float) -> str:
    """Return a short number between two neighbouring values, which separates the same rows."""
    return shortest(low, high, low + (high - low) / 2).replace("-", "−")


@dataclass(frozen=True)
class Rule:
    """Conditions that all hold.

    Attributes
    ----------
    conditions : tuple of Condition
        One for each column that it names; ``str`` is the condition as text.
    coverage : float
        Share of the expert's rows that fulfil them, by weight.
    """

    conditions: tuple[Condition, ...]
    coverage: float = np.nan

    def holds(self, columns: Sequence[Column], positions: Sequence[int]) -> np.ndarray:
        """Return a mask of rows; `positions` has that of each condition's column."""
        mask = np.ones(len(columns[0].values), dtype=bool)
        for condition, j in zip(self.conditions, positions, strict=True):
            mask &= condition.holds(columns[j].values)
        return mask

    def __str__(self) -> str:
        return " and ".join(map(str, self.conditions)) or "everywhere"
