"""Two principal axes of a table, and the way back to its columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["PRINCIPAL", "Projection"]

#: The value of `features` that asks for them.
PRINCIPAL = "principal"

#: Columns that the name of an axis lists, those with the largest loadings.
NAMED = 2


@dataclass(frozen=True)
class Projection:
    """The first two principal components of the numeric columns, each in its standard deviations.

    Attributes
    ----------
    columns : tuple of int
        Positions of the numeric columns.
    scores : ndarray of shape (n, 2)
        Positions of the rows.
    names : list of str
        Names of the axes: share of the variance, and the largest loadings.
    center, deviations, loadings : ndarray of shape (p,), (p,) and (2, p)
        The map back: center + deviations · (scores @ loadings).
    """

    columns: tuple[int, ...]
    scores: np.ndarray
    names: list[str]
    center: np.ndarray
    deviations: np.ndarray
    loadings: np.ndarray

    @classmethod
    def of(cls, columns: Sequence[np.ndarray], names: list[str] | None, owner: str) -> Projection:
        """Return the projection of a table; raise ValueError with less than two columns of it."""
        found = [j for j, c in enumerate(columns) if c.dtype.kind == "f" and np.ptp(c) > 0]
        if len(found) < 2:
            raise ValueError(
                f"{owner}: features={PRINCIPAL!r} needs two columns of numbers that vary, and X "
                f"has {len(found)}. Give one feature."
            )
        table = np.column_stack([columns[j] for j in found])
        center, deviations = table.mean(axis=0), table.std(axis=0)
        _, sizes, loadings = np.linalg.svd((table - center) / deviations, full_matrices=False)
        loadings = loadings[:2]
        largest = np.abs(loadings).argmax(axis=1)
        loadings = loadings * np.sign(loadings[[0, 1], largest])[:, None]  # signs are arbitrary
        shares = sizes[:2] ** 2 / np.sum(sizes**2)
        labels = [f"feature {j}" if names is None else names[j] for j in found]
        return cls(
            tuple(found),
            ((table - center) / deviations) @ loadings.T,
            [_named(i, shares[i], loadings[i], labels) for i in (0, 1)],
            center,
            deviations,
            loadings,
        )

    def to_columns(self, scores: np.ndarray) -> dict[int, np.ndarray]:
        """Return the values of the columns, by position, at scores (m, 2)."""
        values = self.center + self.deviations * (scores @ self.loadings)
        return {j: values[:, i] for i, j in enumerate(self.columns)}


def _named(i: int, share: float, loadings: np.ndarray, labels: list[str]) -> str:
    order = np.argsort(-np.abs(loadings), kind="stable")[:NAMED]
    terms = [f"{loadings[j]:+.1f} {labels[j]}" for j in order]
    rest = ", …" if len(labels) > NAMED else ""
    return f"principal axis {i + 1} ({100 * share:.0f} %): {', '.join(terms)}{rest}"
