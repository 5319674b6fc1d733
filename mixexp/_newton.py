"""Newton steps of multinomial models: curvature, damping, and the steps themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mixexp._numerics import pairs_of, solve_psd, solve_psd_stack

__all__ = [
    "NewtonStep",
    "centred_where_shared",
    "block_products",
    "damped",
    "first_trial",
    "multinomial_block_step",
    "multinomial_bound_step",
    "multinomial_change",
    "multinomial_hessian",
    "multinomial_newton_step",
    "multinomial_step",
    "multinomial_steps",
    "n_block_rows",
    "relaxed",
    "trusted_step",
    "trusted_steps",
    "usual_curvature",
]

#: Share of Böhning's bound added to a Hessian: in a saturated model the curvature falls below
#: rounding error, and a Newton step would be noise. It bounds logits at about 20.
CURVATURE_FLOOR = 1e-9

#: Most numbers in the diagonal blocks of a Hessian: 32 MB.
LARGEST_BLOCKS = 1 << 22

#: Factors by which damping, a share as above, grows while steps fail and falls after a success.
DAMPING_GROWTH, DAMPING_FALL = 4.0, 4.0

#: A step with a larger predicted gain, in nats per row, is damped at once: on gates of 8 to 32
#: experts no longer step was the best one. The limit grows by the factor after steps that reached
#: it without overshooting.
LARGEST_PROMISE, LIMIT_GROWTH = 2.0, 8.0

#: Beyond this, damping only shortens the step.
LARGEST_DAMPING = 1e3

#: A step overshot if the slope at its end is minus this share of the slope at its start.
OVERSHOT = 0.5

#: Slopes below this, in nats per row, are rounding error.
SMALLEST_SLOPE = 1e-10


def usual_curvature(k: int, p: int, newton_coefficients: int) -> str:
    """Return the kind of curvature for steps of K classes with p coefficients each."""
    if k * p <= newton_coefficients:
        return "newton"
    return "blocks" if n_block_rows(k) * p * p <= LARGEST_BLOCKS else "products"


def multinomial_hessian(pair_gram: np.ndarray) -> np.ndarray:
    """Return the Hessian (K p, K p) of −Σ w log p of a multinomial logistic model.

    Its blocks are H_kl = −G_kl and H_kk = Σ_{l≠k} G_kl with G_kl = Σ w g_k g_l x xᵀ, because
    g_k(1 − g_k) = Σ_{l≠k} g_k g_l.

    Parameters
    ----------
    pair_gram : (K(K-1)/2, p, p)
        G_kl for k < l.
    """
    k, p = round((1 + np.sqrt(1 + 8 * len(pair_gram))) / 2), pair_gram.shape[1]
    hessian = np.zeros((k, k, p, p))
    first, second = pairs_of(k)
    hessian[first, second] = -pair_gram
    hessian[second, first] = -pair_gram
    diagonal = np.arange(k)
    hessian[diagonal, diagonal] = -hessian.sum(axis=1)
    return hessian.transpose(0, 2, 1, 3).reshape(k * p, k * p)


def multinomial_change(gram: np.ndarray, move: np.ndarray, curvature: str) -> np.ndarray:
    """Return the change H d (K, p) of minus the gradient of a multinomial model along a move.

    `gram` are the matrices (q, p, p) of a `curvature` "newton", or "blocks" where H is a bound.
    """
    if curvature == "blocks":
        return (gram @ move[..., None])[..., 0]
    changed: np.ndarray = multinomial_hessian(gram) @ move.ravel()
    return changed.reshape(move.shape)


def multinomial_newton_step(
    pair_gram: np.ndarray,
    gradient: np.ndarray,
    theta: np.ndarray,
    penalty: np.ndarray,
    mass: float,
    seen: np.ndarray | None = None,
    damping: float = CURVATURE_FLOOR,
) -> np.ndarray:
    """Return the full Newton step of a multinomial logistic model, centred over its classes.

    Minimises the second-order model of −Σ w log p + ½ Σ_k θ_kᵀ diag(penalty) θ_k. The Hessian
    (`multinomial_hessian`) is full: a block-diagonal one diverges (Chen, Xu & Chi 1999).
    Adding the same vector to all classes changes nothing: the term (11ᵀ/K) ⊗ D makes the matrix
    definite in that direction, and as the gradient is orthogonal to it the step stays centred.

    Parameters
    ----------
    pair_gram : (K(K-1)/2, p, p)
        G_kl for k < l.
    gradient : (K, p)
        Of the log-likelihood.
    theta : (K, p)
        Centred.
    penalty : (p,)
    mass : float
        Total weight of the rows; as columns are scaled, the size of Σ w x².
    seen : ndarray of bool (K, p), optional
        Mask of free coefficients; the others stay at zero. Only columns that all classes see are
        centred.
    damping : float
        Term added to the Hessian's diagonal, as a share of `mass` (Levenberg).

    Returns
    -------
    (K, p)
    """
    k, p = gradient.shape
    if k == 2 and seen is None:
        residual = (gradient - penalty * theta)[None]
        return _two_class_steps(pair_gram, residual, penalty, np.array([damping * mass]))[0]
    flat = multinomial_hessian(pair_gram)
    diagonal = flat.reshape(-1)[:: k * p + 1].reshape(k, p)  # a view
    diagonal += penalty + damping * mass
    gauge = np.add.reduce(diagonal, axis=0) / k**2
    of_columns = np.einsum("kplp->klp", flat.reshape(k, p, k, p))  # a view
    of_columns += np.where(gauge > 0, gauge, 1.0)
    residual = (gradient - penalty * theta).ravel()
    if seen is None:
        step = solve_psd(flat, residual).reshape(k, p)
        step -= np.add.reduce(step, axis=0) / k
        return step
    step = np.zeros((k, p))
    free = np.flatnonzero(seen)
    step.ravel()[free] = solve_psd(flat[np.ix_(free, free)], residual[free])
    return centred_where_shared(step, seen)


def _two_class_steps(
    gram: np.ndarray, residual: np.ndarray, penalty: np.ndarray, damping: np.ndarray
) -> np.ndarray:
    """Return the Newton steps (B, 2, p) of B models of two classes, by systems of half the size.

    A step is centred, (s, −s): H (s, −s) = ((2 G + D) s, −(2 G + D) s). `gram` holds G (B, p, p),
    `residual` the gradients (B, 2, p) of the penalised log-likelihoods, `damping` (B,) numbers.
    """
    b, _, p = residual.shape
    matrices = 2.0 * gram
    diagonals = matrices.reshape(b, p * p)[:, :: p + 1]  # a view
    diagonals += penalty + damping[:, None]
    half = solve_psd_stack(matrices, 0.5 * (residual[:, :1] - residual[:, 1:]).transpose(0, 2, 1))
    return half.transpose(0, 2, 1) * np.array([[1.0], [-1.0]])


def centred_where_shared(step: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return coefficients (K, p) centred over classes, in the columns that all classes see."""
    return step - np.where(seen.all(axis=0), step.mean(axis=0), 0.0)


def damped(damping: Any, first: Any) -> Any:
    """Return the damping, a number or an array, of the next attempt after a step that overshot.

    `first` about halves an undamped step: the curvature along it.
    """
    return np.maximum(DAMPING_GROWTH * damping, first)


def relaxed(damping: Any) -> Any:
    """Return the damping, a number or an array, of the step after an accepted one."""
    return np.maximum(damping / DAMPING_FALL, CURVATURE_FLOOR)


class NewtonStep(NamedTuple):
    """A Newton step, with the diagnostics that control the next one.

    `slope` is its product with the gradient at its start, `damping` the damping used, and
    `curvature` the model's along it, including damping; both as shares of the mass. `limit` is
    the largest predicted gain allowed, and `limited` whether the undamped step exceeded it.
    """

    step: np.ndarray
    slope: float
    damping: float
    curvature: float
    limit: float
    limited: bool


def trusted_step(
    solve: Callable[[float], np.ndarray],
    residual: np.ndarray,
    mass: float,
    damping: float,
    last: NewtonStep | None = None,
) -> NewtonStep:
    """Return a Newton step `solve(damping)`, with more damping if it would overshoot.

    `trusted_steps` of a single model.
    """
    return trusted_steps(
        lambda dampings, _: [solve(dampings[0])],
        [residual],
        [mass],
        [damping],
        None if last is None else [last],
    )[0]


def trusted_steps(
    solve: Callable[[Any, Any], Any],
    residual: Any,
    mass: Any,
    damping: Any,
    last: list[NewtonStep] | None = None,
) -> list[NewtonStep]:
    """Return the Newton steps of B models, each with more damping if it would overshoot.

    1. The slope along the last step should be 0 at its end. If it is steep in the other
       direction, the curvature grew on the way, and the next step would overshoot too: more
       damping.
    2. Half the slope is the gain predicted by the second-order model. Above `LARGEST_PROMISE` per
       unit of weight the model cannot be trusted: more damping, until the gain is smaller. The
       limit grows as long as steps of that length do not overshoot, which shortens the way back
       from a poor state.

    Parameters
    ----------
    solve : callable
        Function from dampings (b,) and the numbers (b,) of their models to steps.
    residual : sequence of ndarray
        The gradients of the penalised log-likelihoods, of the shape of a step.
    mass : sequence of float
        Total weight of the rows, per model.
    damping : sequence of float
    last : list of NewtonStep, optional
        The previous steps.

    Returns
    -------
    list of NewtonStep
    """
    trials = [
        first_trial(*each, None if last is None else last[i])
        for i, each in enumerate(zip(residual, mass, damping, strict=True))
    ]
    done: dict[int, NewtonStep] = {}
    while len(done) < len(trials):
        open_ = np.array([i for i in range(len(trials)) if i not in done])
        steps = solve(np.array([trials[i][0] for i in open_]), open_)
        for i, step in zip(open_.tolist(), steps, strict=True):
            trial, limit, limited = trials[i]
            slope = float(np.vdot(residual[i], step))
            size = mass[i] * float(np.vdot(step, step))
            curvature = slope / size if size > 0 else 0.0
            if not slope > 2 * limit * mass[i] or trial > LARGEST_DAMPING:
                done[i] = NewtonStep(step, slope, float(trial), curvature, limit, limited)
            else:
                trials[i] = damped(trial, curvature), limit, True
    return [done[i] for i in range(len(trials))]


def first_trial(
    residual: np.ndarray, mass: float, damping: float, last: NewtonStep | None
) -> tuple[float, float, bool]:
    """Return the damping to try first, the limit of its gain, and that it is not limited."""
    limit = LARGEST_PROMISE
    if last is not None:
        end = np.vdot(residual, last.step)
        if end < -OVERSHOT * max(last.slope, SMALLEST_SLOPE * mass):
            damping = damped(last.damping, last.curvature)
        elif end > 0:
            limit = last.limit * (LIMIT_GROWTH if last.limited else 1.0)
    return damping, limit, False


def n_block_rows(k: int) -> int:
    """Return the number of weight rows of `block_products`: one for two classes."""
    return 1 if k == 2 else k


def block_products(proba: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Write the weights u of a block-diagonal bound of the Hessian: (..., K, m), or (..., 1, m).

    The curvature along v is the variance Var_g(v), at most Σ g_k v_k² and, as
    (v_k − v_l)² ≤ 2 v_k² + 2 v_l², at most 2 Σ g_k (1 − g_k) v_k². The first is smaller if no
    probability exceeds a half. For two classes both u are 2 g_1 g_2, and in the centred
    direction this is the Hessian itself.
    """
    if proba.shape[-2] == 2:
        np.multiply(proba[..., :1, :], proba[..., 1:, :], out=out)
        out *= 2.0
        return out
    np.subtract(1.0, proba, out=out)
    out *= 2.0
    np.copyto(out, 1.0, where=np.maximum.reduce(proba, axis=-2, keepdims=True) <= 0.5)
    out *= proba
    return out


def multinomial_block_step(
    gram: np.ndarray,
    gradient: np.ndarray,
    theta: np.ndarray,
    penalty: np.ndarray,
    mass: float,
    seen: np.ndarray | None = None,
    damping: float = CURVATURE_FLOOR,
) -> np.ndarray:
    """Return the step under a block-diagonal bound of the Hessian, centred over its classes.

    It solves K systems of p equations, not one of K p. The bound (see `block_products`) holds for
    the Hessian at this point only: the step is as long as a Newton step where two classes meet,
    down to half as long where more do, and can overshoot like one.

    Parameters
    ----------
    gram : (K, p, p) or (1, p, p)
        Σ w u_k x xᵀ.
    gradient, theta : (K, p)
    penalty : (p,)
    mass : float
    seen : ndarray of bool (K, p), optional
    damping : float
        As for the Newton step.

    Returns
    -------
    (K, p)
    """
    residual = gradient - penalty * theta
    matrices = np.broadcast_to(
        gram + np.diag(penalty + damping * mass), (len(theta), *gram.shape[1:])
    )
    if seen is None and len(gram) == 1:
        step = solve_psd(matrices[0], residual.T).T
        return step - step.mean(axis=0)
    step = np.zeros_like(theta)
    free = np.ones_like(theta, dtype=bool) if seen is None else seen
    for mask, matrix, out, rhs in zip(free, matrices, step, residual, strict=True):
        ids = np.flatnonzero(mask)
        out[ids] = solve_psd(matrix[np.ix_(ids, ids)], rhs[ids])
    return centred_where_shared(step, free)


def multinomial_step(
    curvature: str,
    gram: np.ndarray,
    gradient: np.ndarray,
    theta: np.ndarray,
    penalty: np.ndarray,
    mass: float,
    damping: float,
    last: NewtonStep | None = None,
    seen: np.ndarray | None = None,
) -> NewtonStep:
    """Return the step of a multinomial model, damped as needed.

    `curvature` is "newton" or "blocks", with the matching `gram`; `last` is as in `trusted_step`.
    """
    solve = multinomial_block_step if curvature == "blocks" else multinomial_newton_step
    return trusted_step(
        lambda trial: solve(gram, gradient, theta, penalty, mass, seen, trial),
        gradient - penalty * theta,
        mass,
        damping,
        last,
    )


def multinomial_steps(
    curvature: str,
    gram: np.ndarray,
    gradient: np.ndarray,
    theta: np.ndarray,
    penalty: np.ndarray,
    mass: np.ndarray,
    damping: np.ndarray,
    last: list[NewtonStep] | None = None,
) -> list[NewtonStep]:
    """Return the steps of B models, `multinomial_step` of each; those of two classes at once.

    `gram`, `gradient`, `theta`, `mass` and `damping` have one entry a model.
    """
    step = multinomial_block_step if curvature == "blocks" else multinomial_newton_step
    residual = gradient - penalty * theta

    def solve(trials: np.ndarray, ids: np.ndarray) -> Any:
        if curvature == "newton" and gradient.shape[1] == 2:
            return _two_class_steps(gram[ids, 0], residual[ids], penalty, trials * mass[ids])
        return [
            step(gram[i], gradient[i], theta[i], penalty, float(mass[i]), None, trial)
            for i, trial in zip(ids.tolist(), trials.tolist(), strict=True)
        ]

    return trusted_steps(solve, residual, mass.tolist(), damping.tolist(), last)


def multinomial_bound_step(
    gram: np.ndarray,
    gradient: np.ndarray,
    theta: np.ndarray,
    penalty: np.ndarray,
    seen: np.ndarray | None = None,
) -> np.ndarray:
    """Return the step under Böhning's bound of the Hessian, which cannot lower the objective.

    −∇² ≤ ½ (I − 11ᵀ/K) ⊗ Σ w x xᵀ (Böhning 1992); with a centred gradient the classes separate,
    and if classes see different columns (`seen`, as for the Newton step) they separate under the
    larger bound ½ I ⊗ Σ w x xᵀ.

    Parameters
    ----------
    gram : (p, p)
        Σ w x xᵀ.
    gradient, theta : (K, p)
    penalty : (p,)

    Returns
    -------
    (K, p)
    """
    residual = gradient - penalty * theta
    matrix = 0.5 * gram + np.diag(penalty)
    if seen is None:
        step = solve_psd(matrix, residual.T).T
        return step - step.mean(axis=0)
    step = np.zeros_like(theta)
    for mask, out, rhs in zip(seen, step, residual, strict=True):
        free = np.flatnonzero(mask)
        out[free] = solve_psd(matrix[np.ix_(free, free)], rhs[free])
    return centred_where_shared(step, seen)
