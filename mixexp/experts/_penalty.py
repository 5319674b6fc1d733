"""The ridge penalty of a bank whose strength the evidence may set: one for all experts."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.metaestimators import available_if

from mixexp._evidence import strength_ratio, strongest
from mixexp.experts._templates import LinearTerms
from mixexp.protocols import Design, Rows, evolve

__all__ = ["StrengthMixin"]

#: Penalty from which the evidence comes down where rows are few for the coefficients: a weak one
#: explains any targets, and little is left that could ask for a stronger one.
FROM_ABOVE = 300.0


class StrengthMixin:
    """What linear and logistic banks share of a penalty with a strength."""

    design: Design
    terms: LinearTerms
    theta: np.ndarray
    penalty: np.ndarray
    strength: float
    _fewest_rows: Any  # with fewer, a weak penalty explains any targets

    #: Whether the strength is no longer the first.
    _was_set = False

    @property
    def strengths(self) -> np.ndarray:
        """The penalty's strength, (1,)."""
        return np.array([self.strength])

    @property
    def _slopes(self) -> np.ndarray:
        """The columns of the design, (p,), that vary."""
        varies: np.ndarray = self.design.varies.copy()
        varies[: int(self.design.intercept)] = False
        return varies

    @available_if(lambda self: self.terms.tuned)
    def loosened(self) -> Any:
        """Return the bank with the penalty that it began with."""
        return self._with_strength(self.terms.alpha)

    def _with_strength(self, strength: float) -> Any:
        """Return the bank with another penalty."""
        ratio = strength / self.strength
        penalty = np.where(self._slopes, self.penalty * ratio, self.penalty)
        return evolve(self, penalty=penalty, strength=strength, _was_set=True)

    @available_if(lambda self: self.terms.tuned)
    def underdetermined(self, rows: Rows) -> bool:
        """Return whether rows are few for the coefficients."""
        return bool(self._fewest_rows > rows.total_weight)

    def _from_above(self, rows: Rows) -> Any:
        """Return the bank with a strong penalty if it has its first and rows are few, else None."""
        if self._was_set or not self.underdetermined(rows):
            return None
        return self._with_strength(min(FROM_ABOVE, strongest(len(self.theta), rows.total_weight)))

    def _by_evidence(self, gamma: float, squares: float, rows: Rows) -> Any:
        """Return the bank with the penalty of this evidence.

        It is no weaker than at first: a weaker one gained nothing on held-out rows.
        """
        largest = max(strongest(len(self.theta), rows.total_weight), self.strength)
        ratio = strength_ratio(gamma, squares, self.strength, self.terms.alpha, largest)
        return self._with_strength(self.strength * float(ratio))
