"""Steps under an L1 penalty: proximal Newton steps on a second-order model.

A model of the objective at x₀, with gradient g and minus the Hessian M, is maximised together with
its penalty: gᵀ(x − x₀) − ½ (x − x₀)ᵀ M (x − x₀) − Σ_j l_j |x_j|. All functions see Gram matrices,
never rows.

References
----------
Friedman, Hastie & Tibshirani (2010), Regularization paths for generalized linear models via
coordinate descent, J. Stat. Softw. 33. Lee, Battle, Raina & Ng (2007), Efficient sparse coding
algorithms, NIPS 19: the exact step between sign changes. Lee, Sun & Saunders (2014), Proximal
Newton-type methods for minimizing composite functions, SIAM J. Optim. 24.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp._newton import LARGEST_DAMPING, NewtonStep, damped, first_trial, multinomial_hessian
from mixexp._numerics import solve_psd
from mixexp.protocols import Design, Units

__all__ = [
    "identified",
    "l1_weights",
    "n_identified",
    "optimality_gap",
    "proximal_bound_step",
    "proximal_solutions",
    "proximal_step",
    "soft_thresholded",
]

#: Most sweeps over the coordinates. A few find the signs, after which the solution is exact; the
#: limit is for matrices so near-singular that rounding decides.
MOST_SWEEPS = 200

#: Most exact steps in a row that end at a change of sign: sweeps settle many signs at a time.
MOST_CROSSINGS = 8

#: A coordinate is optimal if its slope misses the penalty's range by less than this share of the
#: gradient and penalty, or of the sums that the slope is the difference of.
GAP_TOL, ROUNDING = 1e-11, 1e-13


def l1_weights(design: Design, strength: float, *, units: Units = "spread") -> np.ndarray | None:
    """Return the L1 penalty (size,) of scaled coefficients, none on the intercept; None if 0.

    In units of the input it is `strength` times the coefficients of the unscaled columns.
    """
    if strength == 0:
        return None
    weights = design.inverse_scale if units == "input" else np.ones(len(design.scale))
    return np.concatenate([np.zeros(int(design.intercept)), strength * weights])


def soft_thresholded(values: np.ndarray, threshold: Any) -> np.ndarray:
    """Return values moved towards 0 by the threshold, and 0 where they are smaller."""
    return np.copysign(np.maximum(np.abs(values) - threshold, 0.0), values)


def optimality_gap(slope: np.ndarray, x: np.ndarray, l1: np.ndarray) -> np.ndarray:
    """Return by how much slopes of the smooth part miss the subgradients of Σ l |x|.

    At an optimum the slope is l sign(x) where x is not 0, and at most l in size elsewhere.
    """
    excess = np.maximum(np.abs(slope) - l1, 0.0)
    return np.where(x == 0, excess, np.abs(slope - l1 * np.sign(x)))


def proximal_solutions(
    matrices: np.ndarray, gradient: np.ndarray, start: np.ndarray, l1: np.ndarray
) -> np.ndarray:
    """Return the maximisers of B penalised second-order models, from their centres.

    1. An exact solution for the coefficients that are not 0, as far as their signs hold.
    2. Where that is not optimal, a sweep of coordinate descent over all coefficients, of the open
       problems at once, finds other signs.

    No step lowers the model, so that a solution that is cut short is an ascent too.

    Parameters
    ----------
    matrices : ndarray of shape (B, n, n)
        Positive semidefinite.
    gradient, start : ndarray of shape (B, n)
        The gradient, ridge penalty included, at the centre.
    l1 : ndarray of shape (B, n) or (n,)
        0 for unpenalised coefficients.

    Returns
    -------
    ndarray of shape (B, n)
        Coefficients that are 0 are exactly 0.
    """
    l1 = np.broadcast_to(l1, start.shape)
    x = start.copy()
    sizes = np.abs(matrices)
    is_open = np.arange(len(x))
    for _ in range(MOST_SWEEPS):
        for b in is_open.tolist():
            x[b] = _with_same_signs(matrices[b], gradient[b], start[b], x[b], l1[b])
        here = x[is_open]
        slope = gradient[is_open] - _times(matrices[is_open], here - start[is_open])
        noise = _times(sizes[is_open], np.abs(here) + np.abs(start[is_open]))
        allowed = GAP_TOL * (np.abs(gradient[is_open]) + l1[is_open]) + ROUNDING * noise
        left = np.any(optimality_gap(slope, here, l1[is_open]) > allowed, axis=1)
        if not np.any(left):
            break
        is_open = is_open[left]
        x[is_open] = _swept(matrices[is_open], slope[left], x[is_open], l1[is_open])
    return x


def _times(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return M_b v_b for all b, (B, n)."""
    product: np.ndarray = np.matmul(matrices, vectors[:, :, None])[:, :, 0]
    return product


def _swept(matrices: np.ndarray, slope: np.ndarray, x: np.ndarray, l1: np.ndarray) -> np.ndarray:
    """Return coefficients (B, n) after one sweep of coordinate descent, given slopes at x."""
    x, slope = x.copy(), slope.copy()
    curvature = np.diagonal(matrices, axis1=1, axis2=2)
    inverse = np.divide(1.0, curvature, out=np.zeros_like(curvature), where=curvature > 0)
    for j in range(x.shape[1]):
        best = soft_thresholded(slope[:, j] + curvature[:, j] * x[:, j], l1[:, j]) * inverse[:, j]
        flat = np.where(l1[:, j] > 0, 0.0, x[:, j])
        new = np.where(curvature[:, j] > 0, best, flat)
        change = new - x[:, j]
        if np.any(change):
            slope -= change[:, None] * matrices[:, j]
            x[:, j] = new
    return x


def _with_same_signs(
    matrix: np.ndarray, gradient: np.ndarray, start: np.ndarray, x: np.ndarray, l1: np.ndarray
) -> np.ndarray:
    """Return the best coefficients (n,) with the signs of x, or fewer of them.

    Between sign changes the model is quadratic. A step across one sets all coefficients that would
    change sign to 0, if that is better than x, or else ends where the first one is 0.
    """
    for _ in range(MOST_CROSSINGS):
        ids = np.flatnonzero((x != 0) | (l1 == 0))
        if not len(ids):
            break
        inner, here, lasso = matrix[np.ix_(ids, ids)], x[ids], l1[ids]
        slope = gradient[ids] - matrix[ids] @ (x - start)
        step = solve_psd(inner, slope - lasso * np.sign(here))
        crosses = (lasso > 0) & (np.sign(here + step) != np.sign(here))
        clipped = np.where(crosses, -here, step)
        rise = _rise(inner, slope, here, lasso, clipped)
        if np.any(crosses) and not rise > 0:
            shares = np.where(crosses, -here / np.where(crosses, step, 1.0), np.inf)
            first = int(np.argmin(shares))
            clipped = shares[first] * step
            clipped[first] = -here[first]
            rise = _rise(inner, slope, here, lasso, clipped)
        if not rise > 0:
            break
        x = x.copy()
        x[ids] += clipped
        if not np.any(crosses):
            break
    return x


def _rise(
    matrix: np.ndarray, slope: np.ndarray, x: np.ndarray, l1: np.ndarray, step: np.ndarray
) -> float:
    """Return the change of a penalised model by a step from x, where its slope is given."""
    penalty = l1 @ (np.abs(x + step) - np.abs(x))
    return float(slope @ step - 0.5 * step @ matrix @ step - penalty)


def identified(
    theta: np.ndarray, ridge: np.ndarray, l1: np.ndarray, shared: np.ndarray | None = None
) -> np.ndarray:
    """Return coefficients (K, p) shifted to the least penalty, column by column.

    A softmax does not change if a vector is added to all classes; the penalty does. The minimiser
    of l Σ_k |v_k − m| + ½ a Σ_k (v_k − m)² is the median of the v_k and of the K + 1 points
    mean + l (K − 2 i) / (K a) (Li & Osher 2009). Without a ridge penalty that is the median; of an
    even number of classes the point between both medians that is next to the mean, the limit for
    a small one. Columns without penalty are centred.

    Parameters
    ----------
    theta : ndarray of shape (K, p)
    ridge, l1 : ndarray of shape (p,)
    shared : ndarray of bool of shape (p,), optional
        Columns that may be shifted; None means all.
    """
    k = len(theta)
    mean = theta.mean(axis=0)
    lead = (k - 2.0 * np.arange(k + 1))[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        kinks = np.where(lead == 0, 0.0, lead * (l1 / (k * ridge)))
    points = np.sort(np.concatenate([theta, mean + kinks]), axis=0)
    shift = np.where(l1 > 0, points[k], mean)
    if shared is not None:
        shift = np.where(shared, shift, 0.0)
    shifted: np.ndarray = theta - shift
    return shifted


def n_identified(slopes: np.ndarray, shared: np.ndarray | None = None) -> int:
    """Return the number of free coefficients of a softmax (K, p), given which are 0.

    A column has as many as are not 0; if none is, one less, as they are identified up to a shift.
    Columns that are not `shared` (p,) by all classes have no shift.
    """
    counts = np.count_nonzero(slopes, axis=0)
    redundant = counts == len(slopes)
    if shared is not None:
        redundant &= shared
    return int(np.sum(counts) - np.sum(redundant))


def proximal_step(
    curvature: str,
    gram: np.ndarray,
    gradient: np.ndarray,
    theta: np.ndarray,
    penalty: np.ndarray,
    mass: float,
    damping: float,
    last: NewtonStep | None = None,
    seen: np.ndarray | None = None,
    *,
    l1: np.ndarray,
) -> NewtonStep:
    """Return the proximal Newton step of a multinomial model, damped as needed.

    It is `multinomial_step` with an L1 penalty `l1` (p,) beside the ridge `penalty` (p,), and ends
    at coefficients that are `identified`. A step that promises too large a gain is damped, as is
    one after a step that overshot.
    """
    gradient = gradient - penalty * theta
    residual = gradient
    if last is not None:  # the slope from behind, where a coefficient has just become 0
        residual = gradient - l1 * np.where(theta != 0, np.sign(theta), -np.sign(last.step))
    trial, limit, limited = first_trial(residual, mass, damping, last)
    while True:
        matrices = _model(curvature, gram, penalty + trial * mass, seen, theta.shape)
        new, slope = _solved(matrices, gradient, theta, l1, seen)
        size = mass * float(np.vdot(new - theta, new - theta))
        along = slope / size if size > 0 else 0.0
        if not slope > 2 * limit * mass or trial > LARGEST_DAMPING:
            step = _identified(new, penalty, l1, seen) - theta
            return NewtonStep(step, slope, float(trial), along, limit, limited)
        trial, limited = damped(trial, along), True


def proximal_bound_step(
    gram: np.ndarray,
    gradient: np.ndarray,
    theta: np.ndarray,
    penalty: np.ndarray,
    seen: np.ndarray | None = None,
    *,
    l1: np.ndarray,
) -> np.ndarray:
    """Return the step under a bound of the Hessian, which cannot lower the penalised objective.

    It is `multinomial_bound_step` with an L1 penalty. With more than two classes the bound is
    ½ I ⊗ Σ w x xᵀ, under which classes separate whatever their penalties do.
    """
    matrices = _model("bound", gram, penalty, seen, theta.shape)
    new, _ = _solved(matrices, gradient - penalty * theta, theta, l1, seen)
    return _identified(new, penalty, l1, seen) - theta


def _identified(
    theta: np.ndarray, penalty: np.ndarray, l1: np.ndarray, seen: np.ndarray | None
) -> np.ndarray:
    shared = None if seen is None else np.all(seen, axis=0)
    return identified(theta, penalty, l1, shared)


def _model(
    curvature: str,
    gram: np.ndarray,
    ridge: np.ndarray,
    seen: np.ndarray | None,
    shape: tuple[int, ...],
) -> np.ndarray:
    """Return the matrices (B, n, n) of a multinomial model: of all classes, or one for each.

    Two classes have centred coefficients (s, −s), and a matrix for s.
    """
    k, p = shape
    if k == 2 and seen is None:
        factor = {"newton": 4.0, "blocks": 2.0, "bound": 1.0}[curvature]
        return factor * gram.reshape(1, p, p) + np.diag(2.0 * ridge)
    if curvature == "newton":
        hessian = multinomial_hessian(gram)[None]
        return hessian + np.diag(np.tile(ridge, k))
    half = 0.5 if curvature == "bound" else 1.0
    return np.broadcast_to(half * gram.reshape(-1, p, p) + np.diag(ridge), (k, p, p))


def _solved(
    matrices: np.ndarray,
    gradient: np.ndarray,
    theta: np.ndarray,
    l1: np.ndarray,
    seen: np.ndarray | None,
) -> tuple[np.ndarray, float]:
    """Return the best coefficients (K, p) under a model, and twice its gain."""
    k, p = theta.shape
    n_problems, n, _ = matrices.shape
    if k == 2 and seen is None:
        difference, lasso = gradient[:1] - gradient[1:], 2.0 * l1[None]
        x0 = 0.5 * (theta[:1] - theta[1:])
        x = proximal_solutions(matrices, difference, x0, lasso)
        return np.concatenate([x, -x]), 2 * _gain(matrices, difference, x0, x, lasso)
    lasso = np.broadcast_to(l1, (k, p))
    if seen is not None:
        matrices = _masked(matrices, seen.reshape(n_problems, n))
        gradient, lasso = np.where(seen, gradient, 0.0), np.where(seen, lasso, 0.0)
    shape = (n_problems, n)
    gradient, x0, lasso = gradient.reshape(shape), theta.reshape(shape), lasso.reshape(shape)
    x = proximal_solutions(matrices, gradient, x0, lasso)
    return x.reshape(k, p), 2 * _gain(matrices, gradient, x0, x, lasso)


def _masked(matrices: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return matrices that leave out coefficients: 0 there, and 1 on the diagonal."""
    kept: np.ndarray = matrices * (seen[:, :, None] & seen[:, None])
    return kept + (~seen)[:, None] * np.eye(seen.shape[1])


def _gain(
    matrices: np.ndarray, gradient: np.ndarray, x0: np.ndarray, x: np.ndarray, l1: np.ndarray
) -> float:
    """Return the rise of penalised models from their centres x₀ to x."""
    problems = zip(matrices, gradient, x0, l1, x - x0, strict=True)
    return sum(_rise(m, g, centre, lasso, step) for m, g, centre, lasso, step in problems)
