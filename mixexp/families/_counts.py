"""What families of counts, and families without parameters, have in common."""

from __future__ import annotations

import numpy as np

from mixexp.families._common import FamilyDerivatives, LogLink

__all__ = ["TOO_LARGE", "Counts", "WithoutParameters"]

#: Counts from here on are not supported in a fit: scores are bounded (`LARGEST_SLOPE`); and from
#: here on they have no probability: log y! is infinite in doubles.
TOO_LARGE_TO_FIT, TOO_LARGE = 1e90, 1e300


class Counts(LogLink):
    """Counts 0, 1, 2, ... whose mean is the exponential of the linear predictor."""

    name: str
    discrete = True
    curved = True

    def supports(self, y: np.ndarray) -> np.ndarray:
        """Return where y is a count."""
        return (y >= 0) & (y == np.floor(y)) & (y < TOO_LARGE)

    def check(self, y: np.ndarray, owner: str) -> None:
        """Raise a ValueError if any y (n_outputs, n) is not a count."""
        bad = ~self.supports(y)
        large = y >= TOO_LARGE_TO_FIT
        if large.any() and not (bad & ~large).any():
            raise ValueError(
                f"{owner}: family '{self.name}' takes counts below {TOO_LARGE_TO_FIT:g} as y, got "
                f"{float(y[large][0])!r}. Divide such numbers by a constant, and use "
                "family='gamma'."
            )
        if bad.any():
            raise ValueError(
                f"{owner}: family '{self.name}' needs counts 0, 1, 2, ... as y, got "
                f"{float(y[bad][0])!r}. Instead of rates, give the counts and "
                "offset=np.log(exposure); for other positive y use family='gamma'."
            )


class WithoutParameters:
    """A family whose density depends on the linear predictor alone."""

    parameter_names: tuple[str, ...] = ()

    def initial(self, n_experts: int, n_outputs: int) -> np.ndarray:
        """Return no parameters, (0, K, n_outputs)."""
        return np.empty((0, n_experts, n_outputs))

    def statistics(
        self, score: np.ndarray, curvature: np.ndarray, resp: np.ndarray, weighted: np.ndarray
    ) -> np.ndarray:
        """Return nothing, (0, K, n_outputs)."""
        return np.empty((0, *score.shape[:2]))

    def update(
        self, statistics: np.ndarray, mass: np.ndarray, parameters: np.ndarray, floor: np.ndarray
    ) -> np.ndarray:
        """Return the parameters, which are empty."""
        return parameters

    def within(self, parameters: np.ndarray, floor: np.ndarray) -> np.ndarray:
        """Return the parameters, which are empty."""
        return parameters

    def n_parameters(self, n_experts: int, n_outputs: int) -> int:
        """Return 0."""
        return 0

    @staticmethod
    def by_eta_alone(score: np.ndarray, curvature: np.ndarray) -> FamilyDerivatives:
        """Return first and second derivatives (K, n_outputs, m) by eta as those of a family."""
        none = np.empty((0, *score.shape))
        return FamilyDerivatives(score, none, curvature, none, np.empty((0, 0, *score.shape)))
