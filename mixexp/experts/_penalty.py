"""The ridge penalty of a bank whose strength the evidence may set: one for all experts."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.metaestimators import available_if

from mixexp._evidence import strength_ratio, strongest
from mixexp._proximal import l1_weights
from mixexp.experts._templates import LinearTerms
from mixexp.protocols import Design, Rows, Sums, evolve

__all__ = ["StrengthMixin", "ranks_of"]

#: Factor between two strengths that are compared by left-out rows, at most.
PATH_FACTOR = 3.0

#: The penalty of several experts is weaker than the one that left-out rows have chosen by at most
#: this factor, where rows are few. Without a limit the evidence of wide texts goes to its end: a
#: log-loss of .66 for .52; with none weaker, that of digits is .084 for .075.
MOST_WEAKER = 3.0


def ranks_of(ranks: np.ndarray | None, experts: np.ndarray) -> np.ndarray | None:
    """Return the ranks of some experts' columns, or the one that all have."""
    return ranks if ranks is None or len(ranks) == 1 else ranks[experts]


class StrengthMixin:
    """What linear and logistic banks share of a penalty with a strength."""

    design: Design
    terms: LinearTerms
    theta: np.ndarray
    penalty: np.ndarray
    strength: float
    mask: np.ndarray | None
    l1: Any

    #: Whether the strength is no longer the first.
    _was_set = False

    #: The strength that left-out rows have chosen for one expert, 0 if they have not.
    _chosen = 0.0

    #: The mean squares (n_outputs,) by which one expert misses left-out rows, if they are known.
    _missed: np.ndarray | None = None

    #: Linearly independent columns of each expert, (K,), or of all, (1,), if they are counted.
    _ranks: np.ndarray | None = None

    def ranked(self, rows: Rows) -> Any:
        """Return the bank with the number of coefficients that the rows can tell apart.

        A penalty determines them all, and the evidence says how far.
        """
        if self.l1 is not None or np.any(self._slope_penalty > 0):
            return evolve(self, _ranks=None)
        return evolve(self, _ranks=rows.rank(self.design, self.mask))

    @property
    def strengths(self) -> np.ndarray:
        """The penalty's strength, (1,)."""
        return np.array([self.strength])

    def begun(self, rows: Rows) -> Any:
        """Return the bank with coefficients of the constant columns that vary in these rows."""
        design, units = rows.begun(self.design), self.terms.units
        if design is self.design:
            return self
        slopes = self._slopes
        levels = self.penalty[slopes] / self.design.penalty(1.0, units=units)[slopes]
        level = float(levels[0]) if len(levels) else self.strength * (1 - self.terms.l1_ratio)
        return evolve(
            self,
            design=design,
            penalty=np.where(slopes, self.penalty, design.penalty(level, units=units)),
            l1=l1_weights(design, self.terms.lasso, units=units),
            _ranks=None,
        )

    @property
    def _slopes(self) -> np.ndarray:
        """The columns of the design, (p,), that vary."""
        varies: np.ndarray = self.design.varies.copy()
        varies[: int(self.design.intercept)] = False
        return varies

    @available_if(lambda self: self.terms.tuned)
    def loosened(self) -> Any:
        """Return the bank with the penalty that it began with."""
        return evolve(self._with_strength(self.terms.alpha), _chosen=0.0, _missed=None)

    @available_if(lambda self: self.terms.tuned)
    def chosen_at(self, strength: float, missed: np.ndarray | None = None) -> Any:
        """Return the bank with a penalty of this strength, which left-out rows have chosen.

        `missed` are mean squares (n_outputs,) by which one expert misses them, if known.
        """
        bank = self._with_strength(float(strength))
        return evolve(bank, _chosen=float(strength), _missed=missed)

    def _with_strength(self, strength: float) -> Any:
        """Return the bank with another penalty."""
        ratio = strength / self.strength
        penalty = np.where(self._slopes, self.penalty * ratio, self.penalty)
        return evolve(self, penalty=penalty, strength=strength, _was_set=True)

    @property
    def _by_left_out_rows(self) -> bool:
        """Whether left-out rows choose the strength where rows are few, and not the evidence."""
        return self.terms.tuned

    @available_if(lambda self: self._by_left_out_rows)
    def strength_path(self, rows: Rows) -> np.ndarray:
        """Return the strengths to choose from by left-out rows, from the strongest to the first."""
        weakest = self._weakest(rows)
        ends = max(self._strongest(rows), weakest), weakest
        n_steps = int(np.ceil(np.log(ends[0] / ends[1]) / np.log(PATH_FACTOR)))
        return np.geomspace(*ends, n_steps + 1)

    @available_if(lambda self: self.terms.tuned)
    def underdetermined(self, rows: Rows) -> bool:
        """Return whether rows are few for the coefficients; equal ones count once."""
        return self._fewest_rows > min(rows.total_weight, rows.n_rows)

    @available_if(lambda self: self.terms.tuned)
    def tuned(self, statistics: Sums, rows: Rows) -> Any:
        """Return the bank with the penalty that the evidence asks for.

        Where rows are few it comes down from a strong one: a weak one explains any targets, and
        little is left that could ask for a stronger one. If left-out rows have chosen that of one
        expert, it stays, and that of several is hardly weaker.
        """
        if not self._slopes.any():
            return self
        few = self.underdetermined(rows)
        if few and not self._was_set:
            return self._with_strength(self._strongest(rows))
        gamma = self._gamma(statistics, rows)
        if few and self._chosen and len(self.theta) == 1:
            return self._with_dispersions(gamma, statistics)
        least = max(self._chosen / MOST_WEAKER, self.terms.alpha) if few else self._weakest(rows)
        squares = self._squared(self._slope_penalty, statistics)
        bank = self._by_evidence(float(gamma.sum()), squares, rows, least)
        return bank._with_dispersions(gamma, statistics)

    @property
    def _slope_penalty(self) -> np.ndarray:
        """The penalty (p,) of slopes, 0 of other coefficients and of constant columns."""
        return np.where(self._slopes, self.penalty, 0.0)

    def _gamma(self, statistics: Sums, rows: Rows) -> np.ndarray:
        """Return the coefficients that rows determine, (K,), as often as the evidence counts them.

        That is once, or more where rows are wide (`_repeats`).
        """
        found = self._n_determined(statistics, self._slope_penalty, rows)
        return self._repeats(rows) * found

    def _with_dispersions(self, gamma: np.ndarray, statistics: Sums) -> Any:
        """Return the bank with dispersions for coefficients (K,) that rows determine, if it has."""
        return self

    def _repeats(self, rows: Rows) -> float:
        """Return how often the evidence counts a coefficient: of wide rows, as often as a row.

        Rows that are no more than the columns can be explained without a residual, and weights
        above 1, as of a bootstrap, would say that there is no noise. Counted like this, weights
        that are all equal change hardly anything.
        """
        if rows.n_rows > len(self.design.columns):
            return 1.0
        return max(1.0, rows.total_weight / rows.n_rows)

    def _strongest(self, rows: Rows) -> float:
        """Return the largest strength."""
        return strongest(len(self.theta), rows.total_weight, len(self.design.columns))

    def _weakest(self, rows: Rows) -> float:
        """Return the smallest strength that the evidence sets."""
        return self.terms.alpha

    @property
    def _fewest_rows(self) -> float:
        """With fewer rows, a weak penalty explains any targets."""
        raise NotImplementedError

    def _n_determined(self, statistics: Sums, penalty: np.ndarray, rows: Rows) -> np.ndarray:
        """Return how many coefficients of each expert the rows determine, (K,)."""
        raise NotImplementedError

    def _squared(self, penalty: np.ndarray, statistics: Sums) -> float:
        """Return θᵀΛθ of all experts, in units of the likelihood."""
        raise NotImplementedError

    def _by_evidence(self, gamma: float, squares: float, rows: Rows, least: float) -> Any:
        """Return the bank with the penalty of this evidence, at least `least`.

        That of several experts is no weaker than at first: a weaker one gained nothing on held-out
        rows.
        """
        largest = max(self._strongest(rows), self.strength)
        ratio = strength_ratio(gamma, squares, self.strength, least, largest)
        return self._with_strength(self.strength * float(ratio))
