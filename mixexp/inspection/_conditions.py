"""Conditions on columns, and rules of several: what they hold for, and how they read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mixexp.inspection._table_columns import MISSING, Column

__all__ = ["Condition", "Rule"]


@dataclass(frozen=True)
class Condition:
    """What a rule says of one column.

    Attributes
    ----------
    column : Column
    distinct : ndarray of shape (d,)
        Distinct values of the column in ascending order.
    first, last : int
        Numbers of the first and the last distinct value that fulfil it.
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

    def holds(self, values: np.ndarray) -> np.ndarray:
        """Return a mask of the values that fulfil it."""
        inside = (values >= self.distinct[self.first]) & (values <= self.distinct[self.last])
        if self.missing:
            inside |= np.isnan(values)
        return inside & ~np.isin(values, self.excluded)

    def __str__(self) -> str:
        name, last = self.column.name, len(self.distinct) - 1
        if self.column.labels is not None:
            return self._of_categories(self.column.labels)
        some_missing = bool(np.isnan(self.column.values).any())
        either = " or missing" if some_missing and self.missing else ""
        if self.first == self.last:
            text = f"{name} = {shortest(*self.distinct[[self.first, self.first]])}"
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
        return shortest(self.distinct[below], self.distinct[below + 1])

    def _of_categories(self, labels: list[str]) -> str:
        if self.first == self.last:
            return f"{self.column.name} is {labels[int(self.distinct[self.first])]}"
        names = [labels[code] for code in self.excluded]
        if len(names) == 1:
            return f"{self.column.name} is {'known' if names == [MISSING] else f'not {names[0]}'}"
        return f"{self.column.name} is neither {', '.join(names[:-1])} nor {names[-1]}"


def shortest(low: float, high: float) -> str:
    """Return the shortest number in [low, high), the middle rounded; low itself if there is none.

    As no value of the data lies between, it separates the same rows as the middle.
    """
    middle = low + (high - low) / 2
    for digits in range(1, 17):
        text = f"{middle:.{digits}g}"
        if low <= float(text) < high or (low == high == float(text)):
            value = float(text)
            plain = f"{value:.0f}" if value == int(value) and abs(value) < 1e16 else text
            return plain.replace("-", "−")
    return repr(float(low)).replace("-", "−")


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
