"""Two slow but right EM iterations for a softmax-gated mixture of gaussian linear experts.

Both take `(X1, y, params)`, with an intercept column in `X1`, and return the next parameters and
the lower bound of the parameters they were given: one E-step, then one M-step. The experts take
their exact weighted least-squares step, the gate one full multinomial Newton step. They share no
code, so that each checks the other.

`textbook_iteration` is written straight from the paper (Jordan & Jacobs 1994): (n, K) arrays, one
weighted least-squares solve an expert, the gate's Hessian block by block. `careful_iteration` is
what one gets from numpy with some care, still over whole arrays: component-major (K, n) arrays
allocated once, square-root weights so that BLAS uses the symmetric product, no power or logarithm
computed twice.

Run this file to check that the two agree.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import log_softmax, logsumexp

LOG_2PI = np.log(2.0 * np.pi)


class Params(NamedTuple):
    """Parameters of the mixture; the first row of the gate is fixed at zero and left out."""

    gate: np.ndarray  # (K - 1, p)
    coef: np.ndarray  # (K, p)
    scale: np.ndarray  # (K,) standard deviations


def params_from_responsibilities(X1, y, resp):
    """Exact experts' step from responsibilities (n, K); the gate starts at zero."""
    n_experts = resp.shape[1]
    coef, scale = np.empty((n_experts, X1.shape[1])), np.empty(n_experts)
    for k in range(n_experts):
        root = np.sqrt(resp[:, k])
        coef[k] = np.linalg.lstsq(X1 * root[:, None], y * root, rcond=None)[0]
        scale[k] = np.sqrt(resp[:, k] @ (y - X1 @ coef[k]) ** 2 / resp[:, k].sum())
    return Params(np.zeros((n_experts - 1, X1.shape[1])), coef, scale)


def penalty_vector(p, n_experts, ridge):
    """Ridge penalty of the flattened gate; the intercept (first column) is free."""
    penalty = np.full((n_experts - 1, p), float(ridge))
    penalty[:, 0] = 0.0
    return penalty.ravel()


def textbook_iteration(X1, y, params, ridge=0.0):
    """One EM iteration as written in the paper.

    Only the blocks k <= l of the gate's Hessian are formed, the others are copied: forming all of
    them would make the textbook slower and the comparison too kind.
    """
    n, p = X1.shape
    n_experts = len(params.coef)

    # E-step
    logits = np.column_stack([np.zeros(n), X1 @ params.gate.T])
    log_gate = log_softmax(logits, axis=1)
    residual = (y[:, None] - X1 @ params.coef.T) / params.scale
    log_joint = log_gate - 0.5 * residual**2 - np.log(params.scale) - 0.5 * LOG_2PI
    log_density = logsumexp(log_joint, axis=1)
    resp = np.exp(log_joint - log_density[:, None])

    # Experts: weighted least squares
    coef, scale = np.empty_like(params.coef), np.empty_like(params.scale)
    for k in range(n_experts):
        weighted = resp[:, k, None] * X1
        coef[k] = np.linalg.solve(weighted.T @ X1, weighted.T @ y)
        scale[k] = np.sqrt(resp[:, k] @ (y - X1 @ coef[k]) ** 2 / resp[:, k].sum())

    # Gate: one Newton step of the multinomial log-likelihood
    proba = np.exp(log_gate)
    penalty = penalty_vector(p, n_experts, ridge)
    gradient = (X1.T @ (resp - proba)[:, 1:]).T.ravel() - penalty * params.gate.ravel()
    hessian = np.empty((n_experts - 1, p, n_experts - 1, p))
    for k in range(1, n_experts):
        for m in range(k, n_experts):
            weight = proba[:, k] * ((k == m) - proba[:, m])
            hessian[k - 1, :, m - 1, :] = X1.T @ (weight[:, None] * X1)
            hessian[m - 1, :, k - 1, :] = hessian[k - 1, :, m - 1, :].T
    hessian = hessian.reshape(len(gradient), len(gradient)) + np.diag(penalty)
    gate = params.gate + np.linalg.solve(hessian, gradient).reshape(params.gate.shape)

    bound = log_density.mean() - 0.5 * penalty @ params.gate.ravel() ** 2 / n
    return Params(gate, coef, scale), bound


class CarefulWork:
    """Arrays that `careful_iteration` writes to, and the transposed design, made once a fit."""

    def __init__(self, X1, n_experts):
        n, p = X1.shape
        self.design = np.ascontiguousarray(X1.T)
        self.weighted = np.empty((p, n))
        self.gate = np.zeros((n_experts, n))  # its first row of logits is filled with zeros
        self.resp = np.empty((n_experts, n))
        self.residual = np.empty((n_experts, n))
        self.scratch = np.empty((n_experts, n))
        self.row = np.empty(n)
        self.peak = np.empty(n)

    def gram(self, weight):
        """X' diag(weight) X for weight >= 0, through the symmetric product of sqrt(weight) X."""
        np.multiply(self.design, np.sqrt(weight, out=self.row), out=self.weighted)
        return self.weighted @ self.weighted.T


def softmax_rows(scores, work):
    """Overwrite scores (K, n) with their softmax over K; return log-sum-exp (n,)."""
    peak = np.max(scores, axis=0, out=work.peak)
    scores -= peak
    np.exp(scores, out=scores)
    total = np.sum(scores, axis=0, out=work.row)
    scores /= total
    return np.log(total) + peak


def careful_iteration(X1, y, params, ridge=0.0, work=None):
    """One EM iteration with care taken of memory; pass the same `work` at every iteration."""
    n, p = X1.shape
    n_experts = len(params.coef)
    work = CarefulWork(X1, n_experts) if work is None else work
    gate, resp, residual = work.gate, work.resp, work.residual

    # E-step. The gate's log-sum-exp is subtracted once, from the joint one (equal for all k).
    gate[0] = 0.0
    np.matmul(params.gate, work.design, out=gate[1:])
    np.matmul(params.coef, work.design, out=residual)
    np.subtract(y, residual, out=residual)
    squares = np.square(residual, out=work.scratch)
    np.multiply(squares, (-0.5 / params.scale**2)[:, None], out=resp)
    resp += gate
    resp -= np.log(params.scale)[:, None]
    bound = -softmax_rows(gate, work).mean()
    bound += softmax_rows(resp, work).mean() - 0.5 * LOG_2PI

    # Experts: the step from the old coefficients needs only the old residuals.
    coef, scale = np.empty_like(params.coef), np.empty_like(params.scale)
    mass = resp.sum(axis=1)
    spread = np.einsum("kn,kn->k", resp, squares)
    moment = np.multiply(resp, residual, out=residual) @ work.design.T
    for k in range(n_experts):
        step = np.linalg.solve(work.gram(resp[k]), moment[k])
        coef[k] = params.coef[k] + step
        scale[k] = np.sqrt((spread[k] - step @ moment[k]) / mass[k])

    # Gate: one Newton step, blocks k <= l of the Hessian only
    penalty = penalty_vector(p, n_experts, ridge)
    difference = np.subtract(resp[1:], gate[1:], out=work.scratch[1:])
    gradient = (difference @ work.design.T).ravel() - penalty * params.gate.ravel()
    hessian = np.empty((n_experts - 1, p, n_experts - 1, p))
    weight = work.peak
    for k in range(1, n_experts):
        np.multiply(gate[k], 1.0 - gate[k], out=weight)
        hessian[k - 1, :, k - 1, :] = work.gram(weight)
        for m in range(k + 1, n_experts):
            np.multiply(gate[k], gate[m], out=weight)
            block = -work.gram(weight)
            hessian[k - 1, :, m - 1, :] = block
            hessian[m - 1, :, k - 1, :] = block.T
    hessian = hessian.reshape(len(gradient), len(gradient)) + np.diag(penalty)
    new_gate = params.gate + np.linalg.solve(hessian, gradient).reshape(params.gate.shape)

    bound -= 0.5 * penalty @ params.gate.ravel() ** 2 / n
    return Params(new_gate, coef, scale), bound


def run(iteration, X1, y, params, max_iter, tol=0.0, **options):
    """Iterate until the bound rises by less than `tol`; return parameters, bound, iterations."""
    previous = -np.inf
    for n_iter in range(1, max_iter + 1):
        following, bound = iteration(X1, y, params, **options)
        if not np.isfinite(bound):
            raise FloatingPointError("the unguarded Newton step of the reference diverged")
        if abs(bound - previous) < tol:
            return params, bound, n_iter
        params, previous = following, bound
    return params, iteration(X1, y, params, **options)[1], max_iter


def simulate(n, d, n_experts, seed=0, noise=0.5):
    """A mixture with known truth: inputs (n, d), y, and its true responsibilities (n, K)."""
    rng = np.random.default_rng(seed)
    X1 = np.column_stack([np.ones(n), rng.standard_normal((n, d))])
    gate = rng.standard_normal((n_experts - 1, d + 1)) * 2.0 / np.sqrt(d)
    coef = rng.standard_normal((n_experts, d + 1))
    log_gate = log_softmax(np.column_stack([np.zeros(n), X1 @ gate.T]), axis=1)
    label = (log_gate + rng.gumbel(size=log_gate.shape)).argmax(axis=1)
    mean = X1 @ coef.T
    y = mean[np.arange(n), label] + noise * rng.standard_normal(n)
    log_joint = log_gate - 0.5 * ((y[:, None] - mean) / noise) ** 2
    return X1[:, 1:].copy(), y, np.exp(log_softmax(log_joint, axis=1))


def blurred(resp, share=0.5):
    """A common start: true responsibilities mixed with equal ones."""
    return (1.0 - share) * resp + share / resp.shape[1]


def self_check():
    """Both references, five iterations on random problems: largest difference of anything."""
    worst = 0.0
    for n, d, n_experts, ridge in [(500, 2, 2, 0.0), (2000, 5, 4, 0.0), (3000, 8, 6, 0.3)]:
        X, y, resp = simulate(n, d, n_experts, seed=n)
        X1 = np.column_stack([np.ones(n), X])
        one = two = params_from_responsibilities(X1, y, blurred(resp))
        work = CarefulWork(X1, n_experts)
        for _ in range(5):
            one, bound_one = textbook_iteration(X1, y, one, ridge=ridge)
            two, bound_two = careful_iteration(X1, y, two, ridge=ridge, work=work)
            worst = max(worst, abs(bound_one - bound_two))
            worst = max(worst, *(np.abs(a - b).max() for a, b in zip(one, two, strict=True)))
    return worst


if __name__ == "__main__":
    difference = self_check()
    print(f"largest difference between the two references after 5 iterations: {difference:.1e}")
    if difference > 1e-10:
        raise SystemExit("the references disagree")
