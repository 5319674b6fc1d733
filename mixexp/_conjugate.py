"""Newton steps by conjugate gradients: products with the rows in place of Gram matrices.

A product of the Hessian Σ_i w_i x_i x_iᵀ with a vector v is Σ_i w_i (x_iᵀ v) x_i: two products with
the rows, which stay sparse, and no matrix of p² numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.linalg import helmert

from mixexp._newton import NewtonStep, centred_where_shared, trusted_steps
from mixexp.protocols import Design, Rows

__all__ = [
    "CurvatureProducts",
    "PerRow",
    "conjugate_gradients",
    "contrast",
    "curvature_level",
    "kept_curvature",
    "least_squares_determined",
    "least_squares_steps",
    "multinomial_bound_by_products",
    "multinomial_determined_by_products",
    "multinomial_steps_by_products",
]

#: Norm of the residual at which a Newton step is good enough, as a share of its first norm. The
#: next iteration starts from new weights anyway.
NEWTON_TOL = 0.3

#: The same for steps that would be exact with a Gram matrix: the next one divides the error by as
#: much again.
EXACT_TOL = 1e-3

#: Most products of a Newton step, and of one that would be exact: with more, EM would wait for an
#: M-step that it overtakes. On 1 500 x 1 500 sparse rows, 200 iterations of two products ended 7e-5
#: nats a row below those of five.
MOST_NEWTON, MOST_EXACT = 2, 200

#: Tolerance and most products of the systems of a trace, which truncation makes a little too large.
PROBE_TOL, MOST_PROBE = 0.1, 10

#: Keeps a quotient of numbers that may both be 0 finite.
TINY = np.finfo(float).tiny


class PerRow:
    """Numbers of every row, (..., m), as a statistic: to add blocks is to join them."""

    def __init__(self, values: np.ndarray):
        self._parts = [values]

    def __iadd__(self, other: PerRow) -> PerRow:
        self._parts += other._parts
        return self

    def __add__(self, other: PerRow) -> PerRow:
        joined = PerRow(self.values)
        joined += other
        return joined

    @property
    def values(self) -> np.ndarray:
        """The numbers of all rows, (..., n)."""
        if len(self._parts) > 1:
            self._parts = [np.concatenate(self._parts, axis=-1)]
        return self._parts[0]


def kept_curvature(proba: np.ndarray, weight: np.ndarray, *, apart: bool = False) -> np.ndarray:
    """Return what products with the Hessian of a multinomial model need of each row.

    Parameters
    ----------
    proba : (B, C, m)
    weight : (B, m)
    apart : bool
        Whether classes see different columns, and have no contrast.

    Returns
    -------
    (B, 1, m) or (B, C + 1, m)
        For two classes the weights w p_1 p_2 of their contrast, else probabilities and weights.
    """
    if proba.shape[1] == 2 and not apart:
        return proba[:, :1] * proba[:, 1:] * weight[:, None]
    return np.concatenate([proba, weight[:, None]], axis=1)


def curvature_level(kept: np.ndarray) -> np.ndarray:
    """Return the curvature (B,) along an intercept, averaged over classes."""
    if kept.shape[1] == 1:
        return np.asarray(np.add.reduce(kept[:, 0], axis=1))
    proba, weight = kept[:, :-1], kept[:, -1:]
    return np.asarray(np.sum(weight * proba * (1 - proba), axis=(1, 2)) / proba.shape[1])


class CurvatureProducts:
    """Products of B Hessians with vectors, summed over the rows.

    Parameters
    ----------
    rows : Rows
    design : Design
    kept : ndarray of shape (B, q, n)
        Weights, one row for all outputs of a system; or, with a row more than there are outputs,
        the probabilities and the weight of a multinomial model (`kept_curvature`).
    factor : float
        Of the products: the inverse square of a temperature.
    share : int
        How many successive systems have the same weights.
    """

    def __init__(
        self, rows: Rows, design: Design, kept: np.ndarray, factor: float = 1.0, share: int = 1
    ):
        self.rows = rows
        self.design = design
        self.kept = kept
        self.factor = factor
        self.share = share

    def __call__(self, vectors: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Return the products (b, C, p) of the systems `which` (b,) with vectors (b, C, p)."""
        b, c, p = vectors.shape
        flat, out = vectors.reshape(b * c, p), np.zeros((b * c, p))
        kept = self.kept[which // self.share]
        for here, matrix in self.rows.linear(self.design):
            scores = (flat @ matrix).reshape(b, c, -1)
            out += _weighted(kept[..., here], scores).reshape(b * c, -1) @ matrix.T
        out *= self.factor
        return out.reshape(b, c, p)

    @property
    def level(self) -> np.ndarray:
        """The curvature (B,) along an intercept, averaged over classes: columns have unit scale."""
        return self.factor * np.repeat(curvature_level(self.kept), self.share)


def _weighted(kept: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the curvature of each row times scores (b, C, m)."""
    if kept.shape[1] == 1:
        return kept * scores
    proba, weight = kept[:, :-1], kept[:, -1:]
    out = scores - np.add.reduce(proba * scores, axis=1, keepdims=True)
    out *= proba
    out *= weight
    return out


def conjugate_gradients(
    product: Callable[[np.ndarray, np.ndarray], np.ndarray],
    rhs: np.ndarray,
    diagonal: np.ndarray,
    tol: float,
    most: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Solve B positive semidefinite systems at once, to a tolerance, from zero.

    Every iterate lowers its quadratic ½ xᵀA x − xᵀb, and has xᵀA x = xᵀb; the solution of a
    singular system is the one of smallest norm in the units of `diagonal`.

    Parameters
    ----------
    product : callable
        Function from vectors (b, d) and the numbers (b,) of their systems to A v.
    rhs : (B, d)
    diagonal : (B, d)
        The preconditioner, about the diagonal of A.
    tol : float
        A system is solved once the norm of its residual, in these units, has fallen by this much.
    most : int
        Most iterations (Hestenes & Stiefel 1952).

    Returns
    -------
    solution, residual : (B, d)
    """
    x, residual = np.zeros_like(rhs), rhs.copy()
    inverse = 1.0 / np.maximum(diagonal, TINY)
    direction = inverse * residual
    rho = np.add.reduce(residual * direction, axis=1)
    goal = np.maximum(tol**2 * rho, TINY)
    which = np.flatnonzero(rho > goal)
    for _ in range(most):
        if not len(which):
            break
        d = direction[which]
        along = product(d, which)
        curvature = np.add.reduce(d * along, axis=1)
        bent = curvature > 0  # else rounding is all that is left
        length = np.divide(rho[which], curvature, out=np.zeros_like(curvature), where=bent)
        x[which] += length[:, None] * d
        r = residual[which] - length[:, None] * along
        residual[which] = r
        z = inverse[which] * r
        left = np.add.reduce(r * z, axis=1)
        direction[which] = z + (left / rho[which])[:, None] * d
        rho[which] = left
        which = which[bent & (left > goal[which])]
    return x, residual


def contrast(values: np.ndarray) -> np.ndarray:
    """Return half the difference of two classes (B, 2, p), as one class (B, 1, p)."""
    return 0.5 * (values[:, 1:] - values[:, :1])


def _solved(
    products: CurvatureProducts,
    residual: np.ndarray,
    ridge: np.ndarray,
    which: np.ndarray,
    seen: np.ndarray | None,
    two: bool,
    tol: float,
    most: int,
) -> np.ndarray:
    """Return the solutions (b, C, p) of multinomial systems, centred over classes.

    The preconditioner is the same for all classes, which keeps the iterates centred. With `two`
    the systems are those of a contrast.
    """
    if seen is not None and two:
        seen = seen[:, :1]
    rhs = contrast(residual) if two else residual
    b, c, p = rhs.shape
    ridge = np.broadcast_to(ridge[:, None] * (0.5 if two else 1.0), rhs.shape)
    mask = None if seen is None else seen.reshape(len(seen), c * p)

    def product(vectors: np.ndarray, systems: np.ndarray) -> np.ndarray:
        v = vectors.reshape(-1, c, p)
        full = (products(v, which[systems]) + ridge[systems] * v).reshape(len(v), -1)
        return full if mask is None else full * mask[systems]

    flat = rhs.reshape(b, -1) if mask is None else rhs.reshape(b, -1) * mask
    diagonal = products.level[which][:, None] + ridge.reshape(b, -1)
    step = conjugate_gradients(product, flat, diagonal, tol, most)[0]
    step = step.reshape(b, c, p)
    if two:
        return np.concatenate([-0.5 * step, 0.5 * step], axis=1)
    if seen is None:
        centred: np.ndarray = step - step.mean(axis=1, keepdims=True)
        return centred
    return np.stack([centred_where_shared(*each) for each in zip(step, seen, strict=True)])


def multinomial_steps_by_products(
    products: CurvatureProducts,
    gradient: np.ndarray,
    theta: np.ndarray,
    penalty: np.ndarray,
    mass: np.ndarray,
    damping: np.ndarray,
    last: list[NewtonStep] | None = None,
    seen: np.ndarray | None = None,
) -> list[NewtonStep]:
    """Return the truncated Newton steps of B multinomial models, damped as needed.

    As `multinomial_step` for each of them, with the Hessian in products only.

    Parameters
    ----------
    products : CurvatureProducts
        With the rows of `kept_curvature`.
    gradient, theta : (B, C, p)
    penalty : (p,)
    mass, damping : (B,)
    last : list of NewtonStep, optional
    seen : ndarray of bool (B, C, p), optional
        Mask of free coefficients.
    """
    residual = gradient - penalty * theta

    def solve(dampings: np.ndarray, which: np.ndarray) -> np.ndarray:
        ridge = penalty + (dampings * mass[which])[:, None]
        part, two = None if seen is None else seen[which], products.kept.shape[1] == 1
        return _solved(products, residual[which], ridge, which, part, two, NEWTON_TOL, MOST_NEWTON)

    return trusted_steps(solve, residual, mass, damping, last)


def multinomial_bound_by_products(
    rows: Rows,
    design: Design,
    weight: np.ndarray,
    gradient: np.ndarray,
    theta: np.ndarray,
    penalty: np.ndarray,
    factor: float = 1.0,
    seen: np.ndarray | None = None,
    apart: bool = False,
) -> np.ndarray:
    """Return the steps (B, C, p) under Böhning's bound, for row weights (B, n).

    As `multinomial_bound_step`; every iterate of conjugate gradients lowers the bound's quadratic.
    For two classes the bound of their contrast is a quarter of the weights.
    """
    two = theta.shape[1] == 2 and not apart
    kept = (0.25 if two else 0.5) * weight[:, None]
    products = CurvatureProducts(rows, design, kept, factor)
    b, _, p = theta.shape
    ridge = np.broadcast_to(penalty, (b, p))
    residual, which = gradient - penalty * theta, np.arange(b)
    return _solved(products, residual, ridge, which, seen, two, NEWTON_TOL, MOST_NEWTON)


def multinomial_determined_by_products(
    products: CurvatureProducts,
    penalty: np.ndarray,
    n_classes: int,
    seen: np.ndarray | None = None,
) -> np.ndarray:
    """Return about how many coefficients of B multinomial models the rows determine, (B,).

    As the sums of `multinomial_determined`, by `_traces`.

    Parameters
    ----------
    products : CurvatureProducts
        With the rows of `kept_curvature`.
    penalty : ndarray of shape (p,)
        0 for coefficients without a penalty, which do not count.
    n_classes : int
    seen : ndarray of bool of shape (B, n_classes, p), optional
        Mask of free coefficients.
    """
    b, p = len(products.kept), len(penalty)
    which, two = np.arange(b), products.kept.shape[1] == 1
    ridge = np.broadcast_to(penalty, (b, p))

    def centred(vectors: np.ndarray) -> np.ndarray:
        if seen is None:
            # The same length for all signs, unlike what is left of them without their mean.
            return np.einsum("dc,bdp->bcp", helmert(n_classes), vectors[:, 1:])
        masked = vectors * seen
        return np.stack([centred_where_shared(*each) for each in zip(masked, seen, strict=True)])

    def solve(rhs: np.ndarray) -> np.ndarray:
        return _solved(products, rhs, ridge, which, seen, two, PROBE_TOL, MOST_PROBE)

    return _traces(solve, (b, n_classes, p), penalty, centred)


def least_squares_determined(
    products: CurvatureProducts, penalty: np.ndarray, seen: np.ndarray | None
) -> np.ndarray:
    """Return about how many coefficients of B weighted least squares the rows determine, (B,).

    `penalty` (p,) is 0 for coefficients that do not count, `seen` (B, p) a mask of free ones.
    """
    b, p = len(products.kept), len(penalty)
    ridge = np.broadcast_to(penalty, (b, p))

    def solve(rhs: np.ndarray) -> np.ndarray:
        return _least_squares(products, rhs, ridge, seen, PROBE_TOL, MOST_PROBE)[0]

    def masked(vectors: np.ndarray) -> np.ndarray:
        return vectors if seen is None else vectors * seen

    return _traces(solve, (b, p), penalty, masked)


def _traces(
    solve: Callable[[np.ndarray], np.ndarray],
    shape: tuple[int, ...],
    penalty: np.ndarray,
    free: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Return about Σ_j λ_j / (λ_j + α) of B systems: the trace of I − Λ^½ (H + Λ)⁻¹ Λ^½.

    A trace is the mean of zᵀ A z over random signs z (Hutchinson 1990). One z is enough here: the
    variance is at most twice the trace, which is large where steps are by products. Truncated
    solutions make it too large, by 10 % at most in the tests. Signs follow the order of the
    columns, and so, within this error, do strengths.

    Parameters
    ----------
    solve : callable
        Function from right-hand sides of this shape to solutions of (H + Λ) x = b.
    shape : tuple (B, ..., p)
    penalty : ndarray of shape (p,)
        The diagonal of Λ.
    free : callable
        The map from signs to vectors of the space of the coefficients.
    """
    signs = np.random.default_rng(0).choice([-1.0, 1.0], shape)
    signs = free(signs) * (penalty > 0)
    rhs = signs * np.sqrt(penalty)
    found = np.sum(signs**2 - rhs * solve(rhs), axis=tuple(range(1, len(shape))))
    return np.maximum(found, 0.0)


def least_squares_steps(
    products: CurvatureProducts,
    rhs: np.ndarray,
    ridge: np.ndarray,
    seen: np.ndarray | None,
    exact: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Solve (Σ w x xᵀ + diag(ridge)) d = rhs for B systems.

    Parameters
    ----------
    products : CurvatureProducts
    rhs, ridge : (B, p)
    seen : ndarray of bool (B, p), optional
        Mask of free coefficients; the others are 0.
    exact : bool
        Whether these are M-steps, and not steps on the way to one.

    Returns
    -------
    steps : (B, p)
    curvature : (B,)
        dᵀ (Σ w x xᵀ) d.
    """
    tol, most = (EXACT_TOL, MOST_EXACT) if exact else (NEWTON_TOL, MOST_NEWTON)
    rhs = rhs if seen is None else rhs * seen
    step, residual = _least_squares(products, rhs, ridge, seen, tol, most)
    curvature: Any = np.add.reduce(step * (rhs - residual - ridge * step), axis=1)
    return step, curvature


def _least_squares(
    products: CurvatureProducts,
    rhs: np.ndarray,
    ridge: np.ndarray,
    seen: np.ndarray | None,
    tol: float,
    most: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return solutions and residuals (B, p) of `least_squares_steps`, for masked `rhs`."""

    def product(vectors: np.ndarray, which: np.ndarray) -> np.ndarray:
        full = products(vectors[:, None], which)[:, 0] + ridge[which] * vectors
        return full if seen is None else full * seen[which]

    return conjugate_gradients(product, rhs, products.level[:, None] + ridge, tol, most)
