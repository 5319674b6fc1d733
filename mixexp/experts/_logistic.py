"""The bank of logistic experts: K multinomial models, one Newton step per iteration."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.utils.metaestimators import available_if

from mixexp._conjugate import (
    CurvatureProducts,
    PerRow,
    curvature_level,
    kept_curvature,
    multinomial_bound_by_products,
    multinomial_determined_by_products,
    multinomial_steps_by_products,
)
from mixexp._costs import fits, require_grams
from mixexp._evidence import multinomial_determined
from mixexp._newton import (
    CURVATURE_FLOOR,
    NewtonStep,
    block_products,
    damped,
    multinomial_bound_step,
    multinomial_change,
    multinomial_step,
    multinomial_steps,
    n_block_rows,
    relaxed,
    usual_curvature,
)
from mixexp._numerics import (
    level,
    linear_scores,
    n_pairs,
    pair_products,
    softmax_of_level,
    unpack_symmetric,
)
from mixexp._proximal import (
    identified,
    l1_weights,
    n_identified,
    proximal_bound_step,
    proximal_step,
)
from mixexp.experts._based import behind_basis
from mixexp.experts._linear_scores import logistic_prior, logistic_scores_of, logistic_space
from mixexp.experts._penalty import StrengthMixin, ranks_of
from mixexp.experts._templates import LinearTerms
from mixexp.protocols import (
    Block,
    Design,
    ParameterSpace,
    PriorDerivatives,
    Rows,
    Scores,
    Sums,
    evolve,
)

__all__ = ["LogisticBank"]

#: Rows for each coefficient, of several experts and of one alone, below which a weak penalty often
#: separates the classes.
FEW_ROWS, FEW_ROWS_ALONE = 5.0, 10.0

#: Largest penalty of a gate, as a multiple of the experts', where they have that of left-out rows.
#: Of 1, 3 and 10, 3 was best on simulated wide rows and, with four experts, on wine and digits.
GATE_SHARE = 3.0

#: Above this many coefficients per expert the Hessians cost more than the rest of a pass.
NEWTON_COEFFICIENTS = 256


class LogisticBank(StrengthMixin):
    """K logistic models of a class, each with its own coefficients.

    Coefficients are centred over the classes. For two classes the penalty is doubled, to match
    that on the single coefficient vector of a binary `sklearn.linear_model.LogisticRegression`;
    an L1 penalty is the same for both. Under one, coefficients of more classes are those with the
    least penalty (`identified`).

    Parameters
    ----------
    template : estimator
        Template of the estimators that `fitted` returns.
    design : Design
    classes : ndarray
        Labels; `y` holds indices into them.
    terms : LinearTerms
        Penalty, of strength 1/C, and intercept.
    cheaper_by_products : bool
        Whether steps by conjugate gradients are cheaper than with Gram matrices.
    mask : ndarray of bool of shape (n_experts, n_design), optional
        The columns that each expert of a replicated bank sees, including the intercept; None
        means all.
    """

    monotone = True

    #: Classes need no family.
    family = None

    def __init__(
        self,
        template: BaseEstimator,
        design: Design,
        *,
        classes: np.ndarray,
        terms: LinearTerms,
        cheaper_by_products: bool = False,
        mask: np.ndarray | None = None,
    ):
        self.template = template
        self.design = design
        self.classes = classes
        self.terms = terms
        self.strength = terms.alpha
        n_classes = len(classes)
        double = 2.0 if n_classes == 2 else 1.0
        self.penalty = design.penalty(double * terms.ridge, units=terms.units)
        self.l1 = l1_weights(design, terms.lasso, units=terms.units)
        self.mask: np.ndarray | None = None
        self._masks = mask
        self.theta = np.zeros((1, n_classes, design.size))
        usual = usual_curvature(n_classes, design.size, NEWTON_COEFFICIENTS)
        if cheaper_by_products and (usual == "blocks" or design.whitened):
            usual = "products"
        if self.l1 is not None and usual == "products":
            usual = "blocks"
        self._usual_curvature = self.curvature = usual
        self.damping = np.full(1, CURVATURE_FLOOR)
        self._last: list[NewtonStep] = []

    @property
    def n_experts(self) -> int:
        """Number of experts."""
        return len(self.theta)

    @property
    def n_parameters(self) -> int:
        """Number of free parameters."""
        k, c, _ = self.theta.shape
        if self.l1 is not None:
            first = int(self.design.intercept)
            slopes = sum(n_identified(theta[:, first:]) for theta in self.theta)
            return k * first * (c - 1) + slopes
        if self._ranks is not None:
            return (c - 1) * int(np.broadcast_to(self._ranks, k).sum())
        if self.mask is None:
            return k * (c - 1) * (int(self.design.intercept) + self.design.n_varying)
        return (c - 1) * int(np.sum(self.design.varies * self.mask))

    @property
    def expert_columns(self) -> list[np.ndarray]:
        """The columns that each expert sees."""
        return self.design.seen_columns(self.mask, self.n_experts)

    def replicate(self, n_experts: int) -> LogisticBank:
        """Return K copies of a one-expert bank."""
        theta = np.repeat(self.theta, n_experts, axis=0)
        if self._masks is not None:
            theta *= self._masks[:, None]
        usual = self._usual_curvature
        if self.l1 is not None:
            owner = type(self.template).__name__
            require_grams(owner, n_experts * self.n_gram_weights, self.design.size)
        if usual != "products" and not fits(n_experts * self.n_gram_weights, self.design.size):
            usual = "products"
        return evolve(
            self,
            theta=theta,
            mask=self._masks,
            damping=np.full(n_experts, CURVATURE_FLOOR),
            curvature=usual,
            _usual_curvature=usual,
            _last=[],
        )

    def select(self, experts: np.ndarray) -> LogisticBank:
        """Return the bank of some experts, in this order."""
        mask = None if self.mask is None else self.mask[experts]
        return evolve(
            self,
            theta=self.theta[experts],
            mask=mask,
            damping=self.damping[experts],
            _last=[],
            _ranks=ranks_of(self._ranks, experts),
        )

    def _scores(self, block: Block) -> np.ndarray:
        k, c, p = self.theta.shape
        matrix = block.linear(self.design)
        if c == 2:  # coefficients are centred: one product for both classes
            second = linear_scores(self.theta[:, 1], matrix)
            scores = np.stack([-second, second], axis=1)
        else:
            scores = linear_scores(self.theta.reshape(k * c, p), matrix).reshape(k, c, -1)
        if block.offset is not None:
            scores += block.offset
        return scores

    def predict(self, block: Block) -> np.ndarray:
        """Return class probabilities (K, n_classes, m)."""
        proba = self._scores(block)
        level(proba, centred=self.l1 is None)
        softmax_of_level(proba)
        return proba

    def log_prob(self, block: Block) -> np.ndarray:
        """Return log p_k(y | x), (K, m)."""
        if len(self.classes) == 2 and block.offset is None:
            return self._log_prob_of_two(block)
        scores = self._scores(block)
        level(scores, centred=self.l1 is None)
        log_prob = scores[:, block.y, np.arange(block.n_rows)]
        log_prob -= softmax_of_level(scores)
        block.keep(self, scores)
        return log_prob

    def _log_prob_of_two(self, block: Block) -> np.ndarray:
        """Return log p_k(y | x) of two classes, (K, m), by half of the exponentials.

        With s the score of the other class minus that of y, log p(y) = −log(1 + exp s).
        """
        score = linear_scores(self.theta[:, 1] - self.theta[:, 0], block.linear(self.design))
        odds = np.abs(score)
        np.exp(np.negative(odds, out=odds), out=odds)
        rest = np.log1p(odds)
        larger = 1.0 / (1.0 + odds)
        smaller = np.multiply(odds, larger, out=odds)
        positive = score > 0
        proba = np.empty((len(score), 2, block.n_rows))
        proba[:, 0] = np.where(positive, smaller, larger)  # faster than writing where a mask is set
        proba[:, 1] = np.where(positive, larger, smaller)
        block.keep(self, proba)
        score *= np.where(block.y == 1, 1.0, -1.0)
        np.minimum(score, 0.0, out=score)
        score -= rest
        return score

    def deviance(self, block: Block) -> np.ndarray:
        """Return −log p_k(y | x), (K, m)."""
        return -self.log_prob(block)

    def log_prior(self) -> float:
        """Return the log-prior: minus the penalty."""
        prior = -0.5 * float((self.theta**2 @ self.penalty).sum())
        if self.l1 is not None:
            return prior - float(np.sum(self.l1 * np.abs(self.theta)))
        if self.strength == self.terms.alpha:
            return prior
        return prior + 0.5 * self._n_slopes * float(np.log(self.strength / self.terms.alpha))

    @property
    def n_gram_weights(self) -> int:
        """Number of weight rows."""
        k, c, _ = self.theta.shape
        if self._usual_curvature == "products":
            return 0
        return k * {"newton": n_pairs, "blocks": n_block_rows}.get(self.curvature, _bound_rows)(c)

    def gram_weights(self, block: Block, resp: np.ndarray, out: np.ndarray) -> None:
        """Write r p_c p_d for every expert and c < d, or r for the bound."""
        if not len(out):
            return
        if self.curvature == "bound":
            out[:] = resp
            return
        weights = out.reshape(len(resp), -1, block.n_rows)
        products = block_products if self.curvature == "blocks" else pair_products
        products(block.recall(self), weights)
        weights *= resp[:, None]

    def statistics(self, block: Block, resp: np.ndarray) -> Sums:
        """Return the gradients Σ r (1[y = c] − p_c) x; for products also rows' curvatures."""
        k, c, p = self.theta.shape
        proba = block.recall(self)
        transposed = block.linear(self.design).T
        if c == 2:
            error = (block.y == 1) - proba[:, 1]
            error *= resp
            second = error @ transposed
            gradient = np.stack([-second, second], axis=1)
        else:
            error = proba * -resp[:, None]
            error[:, block.y, np.arange(block.n_rows)] += resp
            gradient = (error.reshape(k * c, -1) @ transposed).reshape(k, c, p)
        sums = Sums(gradient=gradient, mass=resp.sum(axis=1))
        if self._usual_curvature == "products":
            bound = self.curvature == "bound"
            sums["rows"] = PerRow(resp if bound else kept_curvature(proba, resp))
        return sums

    def update(self, statistics: Sums, rows: Rows) -> LogisticBank:
        """Return the bank after one step per expert."""
        k, c, p = self.theta.shape
        if self._usual_curvature == "products":
            return self._updated_by_products(statistics, rows)
        gram = unpack_symmetric(statistics["gram"], p).reshape(k, -1, p, p)
        if self.mask is None and self.l1 is None and self.curvature != "bound":
            steps = multinomial_steps(
                self.curvature,
                gram,
                statistics["gradient"],
                self.theta,
                self.penalty,
                statistics["mass"],
                self.damping,
                self._last or None,
            )
            theta = self.theta + np.stack([step.step for step in steps])
        else:
            theta, steps = self._stepped_one_by_one(gram, statistics)
        damping = np.array([step.damping for step in steps]) if steps else self.damping
        return evolve(
            self,
            theta=theta,
            curvature=self._usual_curvature,
            damping=relaxed(damping),
            _last=steps,
        )

    def _stepped_one_by_one(
        self, gram: np.ndarray, statistics: Sums
    ) -> tuple[np.ndarray, list[NewtonStep]]:
        """Return the coefficients after a step of each expert, and the steps if of Newton type."""
        theta, steps = self.theta.copy(), []
        for expert, matrices in enumerate(gram):
            gradient, penalty = statistics["gradient"][expert], self.penalty
            seen: Any = slice(None)
            bound_step, newton_step = multinomial_bound_step, multinomial_step
            if self.mask is not None:
                seen = np.flatnonzero(self.mask[expert])
                matrices = matrices[:, seen[:, None], seen]
                gradient, penalty = gradient[:, seen], penalty[seen]
            start = self.theta[expert][:, seen]
            if self.l1 is not None:
                bound_step = partial(proximal_bound_step, l1=self.l1[seen])
                newton_step = partial(proximal_step, l1=self.l1[seen])
            if self.curvature == "bound":
                theta[expert][:, seen] += bound_step(matrices[0], gradient, start, penalty)
                continue
            step = newton_step(
                self.curvature,
                matrices,
                gradient,
                start,
                penalty,
                float(statistics["mass"][expert]),
                self.damping[expert],
                self._last[expert] if self._last else None,
            )
            theta[expert][:, seen] += step.step
            steps.append(step)
        return theta, steps

    def _updated_by_products(self, statistics: Sums, rows: Rows) -> LogisticBank:
        """Return the bank after one step per expert by conjugate gradients, all at once."""
        gradient, of_rows = statistics["gradient"], statistics["rows"].values
        seen = None
        if self.mask is not None:
            seen = np.broadcast_to(self.mask[:, None], self.theta.shape)
        if self.curvature == "bound":
            step = multinomial_bound_by_products(
                rows, self.design, of_rows, gradient, self.theta, self.penalty, seen=seen
            )
            return evolve(self, theta=self.theta + step, curvature="products", _last=[])
        steps = multinomial_steps_by_products(
            CurvatureProducts(rows, self.design, of_rows),
            gradient,
            self.theta,
            self.penalty,
            statistics["mass"],
            self.damping,
            self._last or None,
            seen,
        )
        return evolve(
            self,
            theta=self.theta + np.stack([step.step for step in steps]),
            damping=relaxed(np.array([step.damping for step in steps])),
            _last=steps,
        )

    @property
    def _n_slopes(self) -> int:
        """Number of coefficients with a penalty that the rows can tell apart."""
        k, c, _ = self.theta.shape
        if self.mask is None:
            return k * (c - 1) * self.design.n_slopes
        return self.n_parameters - k * (c - 1) * int(self.design.intercept)

    @property
    def _fewest_rows(self) -> float:
        return (FEW_ROWS if len(self.theta) > 1 else FEW_ROWS_ALONE) * self._n_slopes

    @available_if(lambda self: self.terms.tuned)
    def tuned(self, statistics: Sums, rows: Rows) -> LogisticBank:
        """Return the bank with the penalty that the evidence asks for; itself under a bound."""
        bank: LogisticBank = self if self.curvature == "bound" else super().tuned(statistics, rows)
        return bank

    @available_if(lambda self: self.terms.tuned)
    def gate_limit(self, rows: Rows) -> float:
        """Return the largest penalty that the evidence of a gate beside this bank may set.

        What tells classes from each other may be in the gate as well as in the experts, and its
        evidence rests on regions that may mean nothing yet.
        """
        few = self._chosen and self.underdetermined(rows)
        return GATE_SHARE * self._chosen if few else np.inf

    def _squared(self, penalty: np.ndarray, statistics: Sums) -> float:
        return float(np.sum(penalty * self.theta**2))

    def _n_determined(self, statistics: Sums, penalty: np.ndarray, rows: Rows) -> np.ndarray:
        k, c, p = self.theta.shape
        if self._usual_curvature == "products":
            kept = statistics["rows"].values
            seen = None
            if self.mask is not None:
                seen = np.broadcast_to(self.mask[:, None], self.theta.shape)
            products = CurvatureProducts(rows, self.design, kept)
            found = multinomial_determined_by_products(products, penalty, c, seen)
            n_open = c * curvature_level(kept) / self._repeats(rows)
            return np.minimum(found, n_open)
        gram = unpack_symmetric(statistics["gram"], p).reshape(k, -1, p, p)
        masks = np.ones((k, p), dtype=bool) if self.mask is None else self.mask
        return np.array(
            [
                _determined_by_grams(self.curvature, each[:, ids[:, None], ids], penalty[ids], c)
                for ids, each in zip(map(np.flatnonzero, masks), gram, strict=True)
            ]
        )

    @available_if(lambda self: self._usual_curvature != "products")
    def recentred(self, statistics: Sums, before: LogisticBank) -> tuple[LogisticBank, Sums]:
        """Return the bank, and statistics at its coefficients."""
        k, _, p = self.theta.shape
        gram = unpack_symmetric(statistics["gram"], p).reshape(k, -1, p, p)
        moves = self.theta - before.theta
        changes = [
            multinomial_change(matrices, move, self.curvature)
            for matrices, move in zip(gram, moves, strict=True)
        ]
        gradient = statistics["gradient"] - np.stack(changes)
        return evolve(self, _last=[]), Sums({**statistics, "gradient": gradient})

    def toward(self, new: LogisticBank, t: float) -> LogisticBank:
        """Return the bank a share t of the way to `new`."""
        return evolve(new, theta=self.theta + t * (new.theta - self.theta), _last=[])

    def damped(self, new: LogisticBank) -> LogisticBank:
        """Return this bank with a shorter next step than the one to `new`."""
        damping = [damped(step.damping, step.curvature) for step in new._last]
        return evolve(self, damping=np.array(damping) if damping else self.damping, _last=[])

    def bounded(self) -> LogisticBank:
        """Return this bank with its next step under Böhning's bound."""
        return evolve(self, curvature="bound")

    def get_parameters(self) -> np.ndarray:
        """Return the coefficients as one vector."""
        return self.theta.ravel()

    def set_parameters(self, vector: np.ndarray) -> LogisticBank:
        """Return the bank with these coefficients, made unique."""
        theta = vector.reshape(self.theta.shape)
        if self.l1 is None:
            theta = theta - theta.mean(axis=1, keepdims=True)
        else:
            theta = np.stack([identified(each, self.penalty, self.l1) for each in theta])
        if self.mask is not None:
            theta *= self.mask[:, None]
        return evolve(self, theta=theta, _last=[])

    @property
    def parameter_space(self) -> ParameterSpace:
        """The space of the coefficients."""
        return logistic_space(self.theta.shape, self.mask)

    @available_if(lambda bank: bank.l1 is None)
    def scores(self, block: Block, resp: np.ndarray) -> Scores:
        """Return the derivatives of log p_k(y | x) by the coefficients."""
        proba = block.recall(self)
        return logistic_scores_of(proba, self.parameter_space, self.design, block, resp)

    def prior_derivatives(self) -> PriorDerivatives:
        """Return the derivatives of the log-prior."""
        return logistic_prior(self.theta, self.penalty, self.parameter_space)

    def slope(self, statistics: Sums) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the gradient, and about the diagonal of the information, both (P,).

        Without the curvature of every row it is that of even probabilities. None where the prior
        has edges.
        """
        if self.l1 is not None or self.curvature == "bound":
            return None
        gradient = statistics["gradient"] - self.penalty * self.theta
        if self.mask is not None:
            gradient *= self.mask[:, None]
        c = self.theta.shape[1]
        level = statistics["mass"] * (c - 1) / c**2
        if self._usual_curvature == "products":
            level = curvature_level(statistics["rows"].values)
        scale = np.broadcast_to(self.penalty + level[:, None, None], self.theta.shape)
        return gradient.ravel(), scale.ravel()

    def trimmed(self) -> LogisticBank:
        """Return the bank in coefficients of the columns, not of the training rows' space."""
        design = self.design
        return evolve(
            self,
            design=design.plain,
            theta=design.to_plain(self.theta),
            penalty=design.plain_penalty(self.penalty),
            _last=[],
        )

    def fitted(self, feature_names: np.ndarray | None) -> list:
        """Return the experts as fitted scikit-learn estimators; names are those of X."""
        slopes, intercepts = self.design.to_input_units(self.theta)
        if len(self.classes) == 2:
            slopes = slopes[:, 1:] - slopes[:, :1]
            intercepts = intercepts[:, 1:] - intercepts[:, :1]
        experts = []
        for k, (coef, intercept) in enumerate(zip(slopes, intercepts, strict=True)):
            expert = clone(self.template)
            columns = self.design.columns
            if self.mask is not None:
                seen = self.mask[k, int(self.design.intercept) :]
                coef, columns = coef[:, seen], columns[seen]
            expert.coef_, expert.intercept_ = coef, intercept
            expert.classes_ = self.classes
            expert.n_iter_ = np.ones(1, dtype=np.int32)
            expert.n_features_in_ = coef.shape[1]
            if feature_names is not None and self.design.basis is None:
                expert.feature_names_in_ = feature_names[columns]
            experts.append(expert)
        return behind_basis(experts, self.design, feature_names)


def _determined_by_grams(
    curvature: str, gram: np.ndarray, penalty: np.ndarray, n_classes: int
) -> float:
    """Return how many coefficients of an expert the rows determine, by its Gram matrices.

    They are no more than the rows whose class is open, Σ r (1 − Σ_c p_c²): where classes are nearly
    separate, the posterior is far from a gaussian one, and the evidence would ask for penalties
    that cost more than they save.
    """
    found = multinomial_determined(curvature, gram, penalty, n_classes).sum()
    share = (0.5 if n_classes > 2 else 1.0) if curvature == "blocks" else 2.0
    return float(min(found, share * gram[:, 0, 0].sum()))


def _bound_rows(k: int) -> int:
    """Return the number of weight rows per expert under Böhning's bound."""
    return 1
