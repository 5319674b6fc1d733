"""A fast finish for EM: trust-region Newton steps on the observed information.

EM slows down where the responsible experts are uncertain: its rate is the share of the information
that is missing. Newton steps on the observed log-likelihood do not, but begun far from an optimum
they may end at another one than EM. So EM begins, and they take over once it has slowed down.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotrs

from mixexp._engine.em import Run
from mixexp._engine.information import Information, has_information
from mixexp._engine.sweep import State
from mixexp.protocols import Rows, can

__all__ = ["NewtonFinish", "trust_region_step"]

#: Steps begin after an iteration with a smaller gain than this, relative to max(1, |bound|). Of 76
#: default fits to simulated problems, 75 end at the optimum of plain EM, with 1e-5 as with 3e-4.
SLOW_GAIN = 3e-4

#: Steps that it usually takes from there: they begin if EM is expected to cost more.
USUAL_STEPS = 6

#: Multiplications that the fixed costs of an iteration are worth, and factorisations of a step.
OVERHEAD, USUAL_TRIALS = 1e7, 4

#: Most parameters: beyond, the matrices take more than 100 MB and a factorisation a second.
MOST_PARAMETERS = 1500

#: The first radius, in lengths of the step of EM.
FIRST_RADIUS = 10.0

#: A step as long as the radius aims at this quotient of true and promised gain. The promise lacks
#: terms of the third order: the quotient falls by about the square of the length, the gain grows
#: with the length, and their product is largest where the quotient is two thirds.
AIM = 2 / 3

#: Limits of the factor by which the radius changes; below a quotient of POOR it does after a step
#: that is shorter than the radius, too.
SHRINK, GROW, POOR = 0.1, 2.0, 0.25

#: A step counts as being as long as the radius within these factors.
NEAR = (0.8, 1.2)

#: Most factorisations for a step.
MOST_TRIALS = 12

#: Added to the metric; damping that is none; where the information is not definite and no earlier
#: step tells, damping to try first, and its growth.
FIRST_DAMPING, NO_DAMPING, USUAL_DAMPING, DAMPING_GROWTH = 1e-9, 1e-7, 1e-2, 10.0

#: Keeps a quotient finite.
TINY = np.finfo(float).tiny

#: Steps in a row that lower the bound, after which EM goes on alone for this many iterations.
MOST_FAILURES, PAUSE = 3, 20

#: A step that is as long as the radius leaves more to gain than it promises: a run has settled only
#: if it promises less than this share of the tolerance.
LIMITED_SHARE = 1e-3

#: Where the run's tolerance is 0, EM is expected to go on until it gains less than this.
SMALLEST_TOL = 1e-12


@dataclass
class NewtonFinish:
    """An accelerator that proposes trust-region Newton steps once EM has slowed down.

    The metric of the trust region is the complete-data information D: with growing λ, the damped
    step (H + λD)⁻¹ g turns into that of EM.

    Parameters
    ----------
    tol : float
        That of the run.
    max_iter : int
        That of the run: EM costs no more iterations than are left.

    References
    ----------
    Moré & Sorensen (1983), Computing a trust region step, SIAM J. Sci. Stat. Comput. 4. Lange
    (1995), A gradient algorithm locally equivalent to the EM algorithm, JRSS B 57: EM as
    the step with D in place of H.
    """

    tol: float
    max_iter: float = np.inf
    informed: bool = False
    _radius: float = np.inf
    _leap: State | None = None
    _promise: float = np.inf
    _length: float = 0.0
    _damping: float = 0.0
    _limited: bool = True
    _failures: int = 0
    _paused_until: int = 0

    def begun(self, state: State) -> NewtonFinish:
        """Return the accelerator of a new run."""
        return NewtonFinish(self.tol, self.max_iter)

    def __call__(self, run: Run) -> State | None:
        """Return the state after a step within the trust region, or None.

        1. While EM is fast, none.
        2. Adapt the radius to how well the last step kept its promise.
        3. Solve for the step within the radius. Parameters on a bound stay if the gradient would
           push them beyond it.
        """
        information = run.current.information
        if information is None:
            self.informed = self._begins(run)
            return None
        self._learn(run)
        if not self.informed:
            return None
        weight = run.rows.units.total_weight  # type: ignore[union-attr]
        problem = _Reduced.of(information, run.current.state.parameters)
        em_length = problem.em_length()
        if self._radius == np.inf:
            self._radius = FIRST_RADIUS * em_length
        self._radius = max(self._radius, SHRINK * em_length)
        step, promise, self._length, self._damping = trust_region_step(
            problem.observed, problem.complete, problem.gradient, self._radius, self._damping
        )
        self._promise = promise / weight
        self._limited = self._length >= NEAR[0] * self._radius
        if not np.isfinite(promise):
            self._pause(run)
            return None
        self._leap = run.current.state.moved(problem.expanded(step))
        return self._leap

    def settled(self, run: Run) -> bool | None:
        """Return whether the last step was promised, and had, a gain below the tolerance."""
        if not self.informed:
            return None
        small = self.tol * max(1.0, abs(run.bounds[-1]))
        gain = run.bounds[-1] - run.bounds[-2] if len(run.bounds) > 1 else np.inf
        share = LIMITED_SHARE if self._limited else 1.0
        return self._promise < share * small and abs(gain) < small

    def _begins(self, run: Run) -> bool:
        """Return whether EM has slowed down, and has more work to come than the finish."""
        bounds, state, rows = run.bounds, run.current.state, run.rows
        if len(bounds) < max(3, self._paused_until) or not has_information(state):
            return False
        scale = max(1.0, abs(bounds[-1]))
        gain, before = bounds[-1] - bounds[-2], bounds[-2] - bounds[-3]
        if gain > SLOW_GAIN * scale:
            return False
        if len(state.parameters) > MOST_PARAMETERS or rows is None:
            return False
        small = max(self.tol, SMALLEST_TOL) * scale
        left = min(_iterations_left(gain, before, small), self.max_iter - len(bounds))
        return left > USUAL_STEPS * _relative_cost(state, rows)

    def _learn(self, run: Run) -> None:
        """Adapt the radius to the outcome of the last step."""
        if self._leap is None:
            return
        leapt = zip(run.current.state.parts, self._leap.parts, strict=True)
        taken = all(part is other for part, other in leapt)
        self._leap = None
        self._failures = 0 if taken else self._failures + 1
        if self._failures == MOST_FAILURES:
            self._pause(run)
            return
        before = run.bounds[-2] if len(run.bounds) > 1 else -np.inf
        gain = (run.bounds[-1] if taken else min(run.refused, before)) - before
        kept = gain / self._promise if self._promise > 0 else float(taken)
        if self._limited or kept < POOR:
            self._radius = _next_factor(kept) * self._length

    def _pause(self, run: Run) -> None:
        """Leave the next iterations to EM alone."""
        self.informed, self._promise, self._leap = False, np.inf, None
        self._failures, self._radius, self._damping = 0, np.inf, 0.0
        self._paused_until = len(run.bounds) + PAUSE


def _next_factor(kept: float) -> float:
    """Return the factor from the length of a step that kept this share of its promise."""
    lost = max(1.0 - kept, TINY)
    return float(np.clip(np.sqrt((1.0 - AIM) / lost), SHRINK, GROW))


@dataclass(frozen=True)
class _Reduced:
    """The derivatives by the free parameters, each scaled to a unit of complete information."""

    observed: np.ndarray
    complete: np.ndarray
    gradient: np.ndarray
    scale: np.ndarray
    ids: np.ndarray  # the free parameter of every parameter, −1 if it is held

    @classmethod
    def of(cls, information: Information, parameters: np.ndarray) -> _Reduced:
        """Return them at these parameters (P,)."""
        space, gradient = information.space, information.gradient
        low, high = space.on_bounds(parameters)
        held = (low & (gradient < 0)) | (high & (gradient > 0))
        ids = space.free_ids(held | (information.complete.diagonal() == 0))
        matrices = [_tied(m, ids) for m in (information.observed, information.complete)]
        slope = np.bincount(ids[ids >= 0], gradient[ids >= 0])
        scale = np.sqrt(np.abs(matrices[1].diagonal()))
        scale[scale == 0] = 1.0
        observed, complete = (m / scale[:, None] / scale for m in matrices)
        directions = _directions(space.redundant, ids, scale)
        along = directions.T @ directions
        observed += along
        complete = _definite(complete + along + FIRST_DAMPING * np.eye(len(along)))
        return cls(observed, complete, slope / scale, scale, ids)

    def em_length(self) -> float:
        """Return the length of the step of EM, √(gᵀ D⁻¹ g)."""
        factor = _factor(self.complete)
        if factor is None:
            return float(np.linalg.norm(self.gradient))
        return float(np.sqrt(max(self.gradient @ _solved(factor, self.gradient), 0.0)))

    def expanded(self, step: np.ndarray) -> np.ndarray:
        """Return the change of all parameters, (P,)."""
        return np.where(self.ids >= 0, np.append(step / self.scale, 0.0)[self.ids], 0.0)


def _definite(metric: np.ndarray) -> np.ndarray:
    """Return a metric, or its diagonal in absolute values where it is not positive definite.

    The complete-data information is not where the M-step's objective bends upwards, as in degrees
    of freedom far from their maximum. A step is then measured by each parameter alone.
    """
    return metric if _factor(metric) is not None else np.diag(np.abs(metric.diagonal()))


def _tied(matrix: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return a matrix by parameters with rows and columns of the same id summed, without id −1."""
    members = np.flatnonzero(ids >= 0)
    matrix, ids = matrix[np.ix_(members, members)], ids[members]
    if np.array_equal(ids, np.arange(len(ids))):
        return matrix
    ties = np.zeros((ids.max() + 1, len(ids)))
    ties[ids, np.arange(len(ids))] = 1.0
    return ties @ matrix @ ties.T


def _directions(redundant: np.ndarray, ids: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return unit vectors, in scaled free parameters, along which nothing changes."""
    members = ids[redundant]
    members = members[np.all(members >= 0, axis=1)] if members.size else members[:0]
    directions = np.zeros((len(members), len(scale)))
    if members.size:
        np.put_along_axis(directions, members, scale[members], axis=1)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return directions


def trust_region_step(
    observed: np.ndarray,
    metric: np.ndarray,
    gradient: np.ndarray,
    radius: float,
    damping: float = 0.0,
) -> tuple[np.ndarray, float, float, float]:
    """Return the step s that maximises gᵀs − ½ sᵀHs with sᵀDs ≤ radius², and what tells of it.

    It is (H + λD)⁻¹ g, with the least λ ≥ 0 at which the matrix is definite and the step is short
    enough, found by Newton's method on 1/|s| (Moré & Sorensen 1983) to within 20 %.

    Parameters
    ----------
    observed, metric : ndarray of shape (P, P)
        H, symmetric, and D, positive definite.
    gradient : ndarray of shape (P,)
    radius : float
    damping : float
        The λ to try first, such as that of the last step.

    Returns
    -------
    step : ndarray of shape (P,)
    gain : float
        NaN if no factorisation succeeded.
    length : float
        √(sᵀDs).
    damping : float
        The last λ.
    """
    low, high = -np.inf, np.inf  # too small and large enough, as far as is known
    step, length = np.zeros_like(gradient), np.nan
    for _ in range(MOST_TRIALS):
        factor = _factor(observed + damping * metric if damping else observed)
        if factor is None:
            low = damping
            grown = max(USUAL_DAMPING, DAMPING_GROWTH * damping)
            damping = grown if grown < high else np.sqrt(max(low, FIRST_DAMPING) * high)
            continue
        step = _solved(factor, gradient)
        bent = metric @ step
        length = float(np.sqrt(max(step @ bent, 0.0)))
        short = length <= NEAR[1] * radius
        if short and (damping <= NO_DAMPING or length >= NEAR[0] * radius):
            break
        low, high = (low, damping) if short else (damping, high)
        fall = max(float(bent @ _solved(factor, bent)), TINY)
        damping += (length / radius - 1) * length**2 / fall
        if not low < damping < high:
            damping = 0.5 * (low + high) if np.isfinite(high) else 10 * max(low, FIRST_DAMPING)
        damping = max(damping, 0.0)
    if length > NEAR[1] * radius:
        step, length = step * (radius / length), radius
    gain = float(gradient @ step - 0.5 * step @ observed @ step) if np.isfinite(length) else np.nan
    return step, gain, length, damping


def _factor(matrix: np.ndarray) -> np.ndarray | None:
    """Return the Cholesky factor of a matrix, None if it is not definite."""
    factor, info = dpotrf(matrix, lower=1)
    return factor if info == 0 else None


def _solved(factor: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    solution: np.ndarray = dpotrs(factor, rhs, lower=1)[0]
    return solution


def _iterations_left(gain: float, before: float, small: float) -> float:
    """Return how many iterations EM needs until what remains by Aitken's rule is `small`."""
    rate = gain / before if before > 0 else 1.0
    if not 0 < rate < 1:
        return np.inf if gain > small else 0.0
    return float(np.log(small * (1 - rate) / (gain * rate)) / np.log(rate))


def _relative_cost(state: State, rows: Rows) -> float:
    """Return the multiplications of a Newton iteration over those of one of EM."""
    n, size, bank = rows.n_rows, len(state.parameters), state.bank
    em = 2.0 * size
    for part in state.parts:
        if can(part, "gram_weights"):
            em += part.n_gram_weights * part.design.size * (part.design.size + 1) / 2
    more = n * (size**2 / 2 + size**2 / bank.n_experts)  # type: ignore[union-attr]
    more += USUAL_TRIALS * size**3 / 3
    return 1 + (more + OVERHEAD) / (n * em + OVERHEAD)
