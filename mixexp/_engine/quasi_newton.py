"""A fast finish for EM where coefficients are many: limited-memory quasi-Newton steps.

The gradient of the bound is that of the expected log-likelihood which the M-step raises (Fisher's
identity), so every pass of EM yields it. Steps then need no M-step, whose products with the rows
are most of the work, and no matrices.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mixexp._engine.em import Evaluation, Run
from mixexp._engine.finish import SLOW_GAIN
from mixexp._engine.sweep import State
from mixexp.protocols import can

__all__ = ["QuasiNewtonFinish", "quasi_newton_step"]

#: Most pairs of changes that are remembered, fewest, and the bytes they may take.
MOST_PAIRS, FEWEST_PAIRS, PAIR_BYTES = 20, 3, 1 << 28

#: Least cosine between the changes of a pair, in units of the curvature: others tell nothing.
LEAST_COSINE = 1e-8

#: Least scale of a parameter, relative to the largest one: saturated intercepts have none.
SMALLEST_SCALE = 1e-6

#: Iterations in a row that promise, and have, a gain below the tolerance when a run has settled:
#: the promise is that of few directions.
SMALL_STEPS = 3

#: Steps in a row that lower the bound, after which EM goes on alone for this many iterations, and
#: what was remembered is forgotten.
MOST_FAILURES, PAUSE = 3, 10


@dataclass
class QuasiNewtonFinish:
    """An accelerator that proposes quasi-Newton steps once EM has slowed down.

    Pairs of changes, of the parameters and of the gradient, are taken from EM's iterations too, so
    that the first step knows the curvature along them.

    Parameters
    ----------
    tol : float
        That of the run.

    References
    ----------
    Nocedal (1980), Updating quasi-Newton matrices with limited storage, Math. Comp. 35. Jamshidian
    & Jennrich (1997), Acceleration of the EM algorithm by using quasi-Newton methods, JRSS B 59.
    """

    tol: float
    _pairs: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    _last: tuple[np.ndarray, np.ndarray] | None = None
    _leap: State | None = None
    _share: float = 1.0
    _promise: float = np.inf
    _small: int = 0
    _failures: int = 0
    _paused_until: int = 0

    def __call__(self, run: Run) -> State | None:
        """Return the state after a quasi-Newton step, or None.

        1. Take over the last changes of parameters and gradient.
        2. While EM is fast, no step.
        3. A shorter step after one that lowered the bound.
        """
        slope = _slope(run.current)
        if slope is None:
            return None
        gradient, scale = slope
        theta = run.current.state.parameters
        self._remember(theta, gradient, scale)
        self._learn(run)
        if len(run.bounds) < self._paused_until or not self._pairs or not _is_slow(run.bounds):
            return None
        step = quasi_newton_step(self._pairs, gradient, scale)
        weight = run.rows.units.total_weight  # type: ignore[union-attr]
        self._promise = 0.5 * float(gradient @ step) / weight
        self._leap = run.current.state.moved(self._share * step)
        return self._leap

    def settled(self, run: Run) -> bool | None:
        """Return whether the last steps promised, and had, gains below the tolerance."""
        if self._leap is None:
            return None
        small = self.tol * max(1.0, abs(run.bounds[-1]))
        gain = run.bounds[-1] - run.bounds[-2] if len(run.bounds) > 1 else np.inf
        is_small = self._share * self._promise < small and abs(gain) < small
        self._small = self._small + 1 if is_small else 0
        return self._small >= SMALL_STEPS

    def _remember(self, theta: np.ndarray, gradient: np.ndarray, scale: np.ndarray) -> None:
        """Add the last changes to the pairs, if the bound was concave along them."""
        if self._last is not None:
            moved, fell = theta - self._last[0], self._last[1] - gradient
            along = float(moved @ fell)
            lengths = float(moved @ (scale * moved)) * float(fell @ (fell / scale))
            if along > LEAST_COSINE * np.sqrt(lengths):
                self._pairs.append((moved, fell))
        self._last = theta, gradient
        most = int(np.clip(PAIR_BYTES // (2 * theta.nbytes), FEWEST_PAIRS, MOST_PAIRS))
        del self._pairs[:-most]

    def _learn(self, run: Run) -> None:
        """Adapt the share of a step that is taken to whether the last one was."""
        if self._leap is None:
            return
        leapt = zip(run.current.state.parts, self._leap.parts, strict=True)
        taken = all(part is other for part, other in leapt)
        self._share = min(1.0, 2 * self._share) if taken else 0.25 * self._share
        self._failures = 0 if taken else self._failures + 1
        self._leap = None
        if self._failures == MOST_FAILURES:
            self._pairs.clear()
            self._share, self._failures = 1.0, 0
            self._paused_until = len(run.bounds) + PAUSE


def quasi_newton_step(
    pairs: list[tuple[np.ndarray, np.ndarray]], gradient: np.ndarray, scale: np.ndarray
) -> np.ndarray:
    """Return the step B⁻¹ g of the limited-memory BFGS matrix B, by the two loops of Nocedal.

    Parameters
    ----------
    pairs : list of two ndarrays of shape (P,)
        Changes of the parameters, and falls of the gradient, the latest last.
    gradient : ndarray of shape (P,)
    scale : ndarray of shape (P,)
        About the diagonal of minus the Hessian, up to a factor.
    """
    step, shares = gradient.copy(), []
    for moved, fell in reversed(pairs):
        share = float(moved @ step) / float(moved @ fell)
        step -= share * fell
        shares.append(share)
    step /= scale
    if pairs:
        moved, fell = pairs[-1]
        step *= float(moved @ fell) / float(fell @ (fell / scale))
    for (moved, fell), share in zip(pairs, reversed(shares), strict=True):
        step += (share - float(fell @ step) / float(moved @ fell)) * moved
    return step


def _slope(evaluation: Evaluation) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the gradient of the bound times the total weight, and its scale, where parts know."""
    found = []
    for part, sums in zip(evaluation.state.parts, evaluation.statistics, strict=True):
        slope = part.slope(sums) if can(part, "slope") else None
        if slope is None:
            return None
        found.append(slope)
    gradient, scale = (np.concatenate(each) for each in zip(*found, strict=True))
    return gradient, np.maximum(scale, SMALLEST_SCALE * scale.max())


def _is_slow(bounds: list[float]) -> bool:
    if len(bounds) < 2:
        return False
    return bounds[-1] - bounds[-2] <= SLOW_GAIN * max(1.0, abs(bounds[-1]))
