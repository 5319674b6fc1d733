"""A shared expert: one model added to the prediction of every routed expert."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from mixexp._numerics import solve_psd
from mixexp.experts._estimator import EstimatorBank
from mixexp.experts._linear import LinearBank
from mixexp.experts._templates import LinearTerms
from mixexp.protocols import Block, Forward, Hidden, Rows, can, evolve, if_inner_can

__all__ = ["SharedBank", "SharedLinearBank", "bank_statistics", "least"]

#: Penalties below this are none: they tell shared coefficients from the experts' own by rounding.
#: Designs are standardised, and weights are 1 on average.
LEAST_PENALTY = 1e-13

#: Keeps a quotient of numbers that may both be 0 finite.
TINY = np.finfo(float).tiny


class SharedLinearBank(LinearBank):
    """Linear experts around shared coefficients: y ~ (θ_s + δ_k)ᵀ x.

    The M-step is one weighted least squares for θ_s and all δ_k jointly, with the penalties
    δ_kᵀ Λ δ_k / (2 σ_k²) and θ_sᵀ Λ_s θ_s / (2 σ²). The pooled σ² is the harmonic mean of the σ_k²:
    the prior then has a term for each of them, and their M-steps stay separate. δ_k is eliminated
    from the normal equations,

        [Σ_k G_k A_k⁻¹ Λ / σ_k² + Λ_s / σ²] d_s
            = Σ_k (G_k A_k⁻¹ Λ δ_k + Λ A_k⁻¹ g_k) / σ_k² − Λ_s θ_s / σ²,

    with Gram matrices G_k, gradients g_k and A_k = G_k + Λ. An intercept without penalties belongs
    to the experts.

    Made by `around`; `theta` holds θ_s + δ_k.
    """

    #: Experts share coefficients, so that these belong to none of them.
    scores = Hidden()
    slope = Hidden()
    tuned = Hidden()
    loosened = Hidden()
    underdetermined = Hidden()
    strength_path = Hidden()
    chosen_at = Hidden()
    dispersed = Hidden()
    left_out = Hidden()
    gate_limit = Hidden()

    shared_template: Any
    shared_theta: np.ndarray
    shared_penalty: np.ndarray

    @classmethod
    def around(cls, bank: LinearBank, template: Any, terms: LinearTerms) -> SharedLinearBank:
        """Return a bank with shared coefficients of 0 added, penalised as `terms` says."""
        new = cls.__new__(cls)
        bank = bank.trimmed()
        vars(new).update(vars(bank))
        new.by_products = False  # the elimination needs the matrices
        new.shared_template = template
        new.shared_theta = np.zeros(bank.theta.shape[1:])
        penalty = bank.design.penalty(terms.alpha, units=terms.units)
        if bank.design.intercept and not terms.fit_intercept:
            penalty[0] = np.inf
        new.shared_penalty = penalty
        return new

    @property
    def n_parameters(self) -> int:
        """Number of free parameters: those of the experts, and the shared coefficients."""
        free = int(np.sum(self.design.varies[self._free_columns()]))
        return super().n_parameters + self.theta.shape[1] * free

    def _free_columns(self) -> np.ndarray:
        """Return the columns whose shared coefficients are identified and not fixed at 0."""
        unidentified = np.maximum(self.penalty, self.shared_penalty) < LEAST_PENALTY
        if self.mask is not None:
            unidentified &= self.mask.all(axis=0)
        return np.flatnonzero(~unidentified & np.isfinite(self.shared_penalty))

    def _squares(self) -> np.ndarray:
        """Return the penalties (K, n_outputs), with each expert's part of the shared one."""
        own = np.sum(self.penalty * (self.theta - self.shared_theta) ** 2, axis=2)
        free = self._free_columns()
        shared = np.sum(self.shared_penalty[free] * self.shared_theta[:, free] ** 2, axis=1)
        squares: np.ndarray = own + shared / len(self.theta)
        return squares

    def _stepped(self, gram: np.ndarray, gradient: np.ndarray, alive: np.ndarray) -> LinearBank:
        """Return the bank after the joint step of shared and own coefficients."""
        theta, shared = self.theta.copy(), self.shared_theta.copy()
        experts, free = np.flatnonzero(alive).tolist(), self._free_columns()
        for j in range(theta.shape[1]):
            grams = [gram[k, j if gram.shape[1] > 1 else 0] for k in experts]
            solved = [
                self._eliminated(k, g, gradient[k, j], j)
                for k, g in zip(experts, grams, strict=True)
            ]
            scales = self.parameters[0, :, j]
            precision = (scales.min() / scales) ** 2  # ratios suffice, and 1/scale² may overflow
            pooled = precision.mean()
            matrix = np.diag(pooled * self.shared_penalty[free])
            rhs = -pooled * self.shared_penalty[free] * shared[j, free]
            for k, (_, left, right) in zip(experts, solved, strict=True):
                matrix = matrix + precision[k] * left[np.ix_(free, free)]
                rhs = rhs + precision[k] * right[free]
            step = np.zeros(len(shared[j]))
            if len(free):
                step[free] = solve_psd((matrix + matrix.T) / (2 * pooled), rhs / pooled)
            shared[j] += step
            for k, (own, _, _) in zip(experts, solved, strict=True):
                theta[k, j] += step + own(step)
            empty = np.setdiff1d(np.arange(len(theta)), experts)
            theta[empty, j] += step
        return evolve(self, theta=theta, shared_theta=shared)

    def _eliminated(self, k: int, gram: np.ndarray, gradient: np.ndarray, j: int) -> tuple:
        """Return an expert's own step as a function of the shared one, and its share of d_s.

        That is the matrix G A⁻¹ Λ and the vector Λ A⁻¹ g + G A⁻¹ Λ δ; in columns that the expert
        does not see, G itself and g.
        """
        p = len(gradient)
        seen = np.arange(p) if self.mask is None else np.flatnonzero(self.mask[k])
        delta = self.theta[k, j] - self.shared_theta[j]
        inner = gram[np.ix_(seen, seen)] + np.diag(self.penalty[seen])
        towards = solve_psd(inner, np.column_stack([gram[seen], gradient[seen]]))
        penalty, own_penalty = self.penalty[seen], self.penalty[seen] * delta[seen]
        back = solve_psd(inner, own_penalty)
        left, right = gram.copy(), gradient.copy()
        left[seen] = penalty[:, None] * towards[:, :-1]
        right[seen] = penalty * towards[:, -1]
        hidden = np.setdiff1d(np.arange(p), seen)
        left[hidden] -= gram[np.ix_(hidden, seen)] @ towards[:, :-1]
        right[hidden] -= gram[np.ix_(hidden, seen)] @ towards[:, -1]
        right += gram[:, seen] @ back

        def own(step: np.ndarray) -> np.ndarray:
            change = np.zeros(p)
            change[seen] = towards[:, -1] - back - towards[:, :-1] @ step
            return change

        return own, left, right

    def select(self, experts: np.ndarray) -> LinearBank:
        """Return the bank of some experts, in this order, with the shared one."""
        return super().select(experts)

    def get_parameters(self) -> np.ndarray:
        """Return the experts' parameters and the shared coefficients as one vector."""
        return np.concatenate([super().get_parameters(), self.shared_theta.ravel()])

    def set_parameters(self, vector: np.ndarray) -> LinearBank:
        """Return the bank with these parameters."""
        size = self.shared_theta.size
        new = super().set_parameters(vector[:-size])
        return evolve(new, shared_theta=vector[-size:].reshape(self.shared_theta.shape))

    def fitted(self, feature_names: np.ndarray | None) -> list:
        """Return the experts, which predict what they add to the shared one."""
        own = evolve(self, theta=self.theta - self.shared_theta)
        return LinearBank.fitted(own, feature_names)

    def fitted_shared(self, feature_names: np.ndarray | None) -> Any:
        """Return the shared expert as a fitted scikit-learn estimator."""
        one = evolve(self, theta=self.shared_theta[None], mask=None, template=self.shared_template)
        return LinearBank.fitted(one, feature_names)[0]


class SharedBank:
    """A bank whose experts predict what is left by a shared estimator: y ~ s(x) + e_k(x).

    A batch part. With the shared predictions as an offset, the M-step of the experts is their own.
    The shared estimator is then fitted with weights Σ_k r_k w κ_k σ² / σ_k² to the mean of the
    residuals y − e_k, weighted by r_k κ_k / σ_k²; κ are the family's row weights, and the pooled σ²
    is the harmonic mean of the σ_k², so that penalties do not depend on the unit of y. With several
    outputs a row has the mean of its weights.

    Parameters
    ----------
    inner : ExpertBank
        Of a family with an identity link.
    shared : EstimatorBank
        Of one expert.
    """

    monotone = False

    def __init__(self, inner: Any, shared: EstimatorBank):
        self.inner = inner
        self.shared = shared.with_floor(least(inner.floor)) if can(inner, "floor") else shared
        self._known: np.ndarray | None = None
        self._left: Rows | None = None

    n_experts = Forward()
    fitted = Forward()
    expert_columns = Forward()
    log_prior = Forward()
    family = Forward()
    parameters = Forward()
    floor = Forward()
    ceiling = Forward()
    with_ceiling = Hidden()  # of the experts alone, before others join them
    on_floor = Forward()
    n_coefficients = Forward()
    calibration = Forward()
    trainer = Forward()
    predicted_rows = Forward()

    # an estimator has no such parameters; steps are not Newton's; starts use the inner bank
    n_gram_weights = Hidden()
    recentred = Hidden()
    begun = Hidden()
    gram_weights = Hidden()
    design = Hidden()
    n_parameters = Hidden()
    get_parameters = Hidden()
    set_parameters = Hidden()
    scores = Hidden()
    slope = Hidden()
    tuned = Hidden()
    ranked = Hidden()
    loosened = Hidden()
    underdetermined = Hidden()
    strength_path = Hidden()
    chosen_at = Hidden()
    dispersed = Hidden()
    left_out = Hidden()
    gate_limit = Hidden()
    toward = Hidden()
    damped = Hidden()
    bounded = Hidden()
    deviance = Hidden()
    replicate = Hidden()
    merged = Hidden()
    measured = Hidden()
    matching = Hidden()
    with_common = Hidden()

    @property
    def cross_fitted(self) -> bool:
        """Whether densities of training rows are out of fold."""
        return self.shared.cross_fitted or bool(getattr(self.inner, "cross_fitted", False))

    def _shifted(self, block: Block) -> Block:
        """Return the block with the shared predictions added to its offset."""
        if block.training and self._known is not None:
            shared = self._known[:, block.start : block.stop]
        elif self.shared.experts:
            alone = copy.copy(block)
            alone.offset = alone.reached = None
            shared = self.shared.predict(alone)[0]
        else:
            return block
        return block.shifted(shared)

    def predict(self, block: Block) -> np.ndarray:
        """Return means s(x) + e_k(x), (K, n_outputs, m)."""
        return self.inner.predict(self._shifted(block))

    def log_prob(self, block: Block) -> np.ndarray:
        """Return log p_k(y | x), (K, m)."""
        return self.inner.log_prob(self._shifted(block))

    def statistics(self, block: Block, resp: np.ndarray) -> list[np.ndarray]:
        """Return the responsibilities as a list; adding lists concatenates blocks."""
        return [resp.copy()]

    def update(self, statistics: list[np.ndarray], rows: Rows) -> SharedBank:
        """Return the bank after the M-step of the experts, and then of the shared one.

        Experts that have not been fitted yet come second: the shared one has the first word.
        """
        resp = np.concatenate(statistics, axis=1)
        first = can(self.inner, "trainer") and self._known is None
        bank = self._with_shared(resp, rows) if first else self
        bank = bank._with_inner(resp, rows)
        return bank if first else bank._with_shared(resp, rows)

    def _with_inner(self, resp: np.ndarray, rows: Rows) -> SharedBank:
        """Return the bank after the M-step of the experts at the shared predictions."""
        shifted = rows if self._known is None else rows.shifted(self._known)
        sums = shifted.reduce(lambda block: bank_statistics(self.inner, block, resp))
        return evolve(self, inner=self.inner.update(sums, shifted))

    def _with_shared(self, resp: np.ndarray, rows: Rows) -> SharedBank:
        """Return the bank after the M-step of the shared expert."""
        known = np.zeros(rows.y.shape) if self._known is None else self._known
        inner: Any = self.inner
        fitted = not can(inner, "trainer") or inner._outputs is not None
        sigma = inner.parameters[0] if fitted else np.ones_like(inner.parameters[0])
        precision = 1.0 / sigma**2
        pooled = precision.mean(axis=0)

        def left(block: Block) -> np.ndarray:
            here = slice(block.start, block.stop)
            means = np.zeros((inner.n_experts, *block.y.shape))
            means += known[:, here]
            if fitted:
                means = inner.predict(block.shifted(known[:, here]))
            elif block.offset is not None:
                means = means + block.offset
            curvature = inner.family.evaluate(block.y, means, inner.parameters)[2]
            weight = resp[:, None, here] * (precision / pooled)[..., None]
            weight = weight if curvature is None else weight * curvature
            total = weight.sum(axis=0)
            target = np.sum(weight * (block.y - means + known[:, here]), axis=0)
            return np.concatenate([target / np.maximum(total, TINY), total])

        found = rows.map(left, axis=1)
        target, weight = np.split(found, 2)
        residual = rows.retargeted(target)
        shared = self.shared.update([weight.mean(axis=0)[None]], residual)
        new = shared._outputs[0]
        if can(inner, "trainer") and inner._outputs is not None:
            inner = evolve(inner, _outputs=inner._outputs + (new - known))
        return evolve(self, inner=inner, shared=shared, _known=new, _left=residual)

    @if_inner_can("select")
    def select(self, experts: np.ndarray) -> SharedBank:
        """Return the bank of some experts, in this order, with the shared one."""
        return evolve(self, inner=self.inner.select(experts))

    @if_inner_can("with_floor")
    def with_floor(self, floor: np.ndarray) -> SharedBank:
        """Return the bank with these smallest dispersions, for the shared expert the least."""
        return evolve(
            self, inner=self.inner.with_floor(floor), shared=self.shared.with_floor(least(floor))
        )

    def finished(self, rows: Rows) -> SharedBank:
        """Return the bank with all estimators fitted on all rows.

        Where both may memorise rows, the experts are fitted to what the shared one leaves of its
        own training rows: out of fold it would leave them the same noise that it has learned.
        """
        inner, known = self.inner, self._known
        assert known is not None
        assert self._left is not None
        shared = self.shared.finished(self._left)
        if can(inner, "finished"):
            if shared.cross_fitted and getattr(inner, "cross_fitted", False):
                new = copy.copy(rows)
                new.training, new.offset = False, None
                known = new.map(lambda block: shared.predict(block)[0], axis=1)
            inner = inner.finished(rows.shifted(known))
        return evolve(self, inner=inner, shared=shared)

    def trimmed(self) -> SharedBank:
        """Return the bank without what it only knew of the training rows."""
        inner = self.inner.trimmed() if can(self.inner, "trimmed") else self.inner
        return evolve(self, inner=inner, shared=self.shared.trimmed(), _known=None, _left=None)

    def fitted_shared(self, feature_names: np.ndarray | None) -> Any:
        """Return the shared expert."""
        return self.shared.fitted(feature_names)[0]


def least(floor: np.ndarray) -> np.ndarray:
    """Return the smallest dispersions (n_outputs,) of any expert."""
    smallest: np.ndarray = np.min(np.atleast_2d(floor), axis=0)
    return smallest


def bank_statistics(bank: Any, block: Block, resp: np.ndarray) -> Any:
    """Return a bank's statistics of a block, Gram matrices included."""
    here = resp[:, block.start : block.stop]
    block = block.fresh()
    sums = bank.statistics(block, here)
    if can(bank, "gram_weights"):
        weights = np.empty((bank.n_gram_weights, block.n_rows))
        bank.gram_weights(block, here, weights)
        sums["gram"] = block.gram(weights, bank.design)
    return sums
