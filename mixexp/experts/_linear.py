"""The bank of linear experts: K generalised linear models, one step per iteration."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import logsumexp
from sklearn.base import BaseEstimator, clone
from sklearn.utils.metaestimators import available_if

from mixexp._compat import finish_glm
from mixexp._conjugate import (
    CurvatureProducts,
    PerRow,
    least_squares_determined,
    least_squares_steps,
)
from mixexp._costs import fits, require_grams
from mixexp._evidence import determined
from mixexp._newton import damped, relaxed
from mixexp._numerics import (
    FARTHEST_SCORE,
    capped,
    linear_scores,
    solve_psd_stack,
    unpack_symmetric,
)
from mixexp._proximal import l1_weights, proximal_solutions
from mixexp.experts._based import behind_basis
from mixexp.experts._left_out import LeftOut
from mixexp.experts._linear_scores import linear_prior, linear_scores_of, linear_space
from mixexp.experts._penalty import StrengthMixin, ranks_of
from mixexp.experts._templates import LinearTerms
from mixexp.protocols import (
    Block,
    Design,
    Family,
    ParameterSpace,
    PriorDerivatives,
    Rows,
    Scores,
    Sums,
    can,
    evolve,
    has_scale,
)

__all__ = ["LinearBank"]

#: The floor of a dispersion, as a share of the one-expert fit's.
FLOOR_SHARE = 1e-3

#: An expert with less than this share of the total weight keeps its parameters.
EMPTY_SHARE = 1e-14

#: Largest root mean square change of an expert's linear predictor in a Newton step: a factor of e
#: on a log scale. Beyond it the local curvature is no guide.
LONGEST_STEP = 1.0

#: Keeps a quotient of numbers that may both be 0 finite.
TINY = np.finfo(float).tiny

#: First damping after a Newton step that lowered the objective: added to every coefficient's
#: curvature, as a share of the intercept's.
FIRST_DAMPING = 0.25

#: Logarithms of parameters are clipped here: the squares would overflow.
LARGEST_LOG = 300.0

#: Share of the deviance that a step by conjugate gradients leaves at least: of less, rounding says
#: as much as the rows.
LEAST_LEFT = 1e-12

#: Coefficients take at most this share of an expert's weight from its degrees of freedom, and of
#: one expert's where left-out rows say so.
MOST_TAKEN, MOST_TAKEN_ALONE = 0.5, 0.999

#: The weakest penalty, as a share of the one that fits begin with.
WEAKEST = 1e-5

#: Rows for each coefficient of several experts from which the penalty may be so weak.
MANY_ROWS = 10.0

#: Rows for each coefficient of an output below which a weak penalty leaves hardly a residual.
FEW_ROWS = 1.5

#: Share of a Newton step that is taken once damped steps have failed.
CAUTIOUS = 1.0 / 64.0


class LinearBank(StrengthMixin):
    """K linear models of one or more outputs, each with its own coefficients.

    The M-step of expert k is a weighted ridge regression, written as a step from the present
    coefficients: (Σ r κ x xᵀ + Λ) d = Σ r s x − Λ θ. Score s and curvature κ come from the
    family; for the gaussian they are the residual and 1. Thus sums of squares are never
    differences of large numbers. It is exact for the gaussian, a step under a bound that cannot
    lower the objective for student_t and laplace (identity link), and a Newton or scoring step
    for families with a log link.

    The penalty is in units of the squared dispersion, as in `sklearn.linear_model.Ridge`:
    log-prior −θᵀΛθ / (2σ²), and for the gaussian σ² = (Σ r e² + θᵀΛθ) / Σ r. An L1 penalty l|θ|
    adds −l|θ| / σ², and thus 2 l|θ| to that sum; the step is then the solution of the penalised
    normal equations (`proximal_solutions`).

    Where the evidence sets the penalty, new rows miss by more than σ: coefficients that the rows
    determine, γ + 1 with the intercept, are themselves off. Divided by Σ r − γ − 1, as the residual
    variance of a regression is by n − p, the sum of squares says by how much. A prior of as many
    rows, of twice these squares, makes it the M-step's end, and holds where an expert loses rows.

    Parameters
    ----------
    template : estimator
        Template of the estimators that `fitted` returns.
    design : Design
    terms : LinearTerms
        Penalty and intercept. Under an L1 penalty the link is the identity.
    family : Family
    floor : ndarray of shape (n_outputs,)
        Smallest dispersions of a one-expert fit: the rounding error of y.
    by_products : bool
        Whether the weighted least squares are solved by conjugate gradients, to a tolerance, and
        not with Gram matrices.
    mask : ndarray of bool of shape (n_experts, n_design), optional
        The columns that each expert of a replicated bank sees, including the intercept; None
        means all.
    """

    monotone = True

    #: The prior of the dispersions: its rows (K,), and their mean squares (K, n_outputs); or None.
    prior_rows: np.ndarray | None = None
    prior_squares: Any = None

    #: The largest dispersions (n_outputs,), None for any: beside a noise expert, wider is noise.
    ceiling: np.ndarray | None = None

    def __init__(
        self,
        template: BaseEstimator,
        design: Design,
        *,
        terms: LinearTerms,
        family: Family,
        floor: np.ndarray,
        by_products: bool = False,
        mask: np.ndarray | None = None,
    ):
        self.template = template
        self.design = design
        self.terms = terms
        self.strength = terms.alpha
        self.penalty = design.penalty(terms.ridge, units=terms.units)
        self.l1 = l1_weights(design, terms.lasso, units=terms.units)
        self.family = family
        self.mask: np.ndarray | None = None
        self._masks = mask
        self.theta = np.zeros((1, len(floor), design.size))
        self.parameters = family.initial(1, len(floor))
        self.floor = floor
        self.by_products = by_products
        self._unit = self.parameters
        self._step_share = 1.0
        self.damping = 0.0

    @property
    def n_experts(self) -> int:
        """Number of experts."""
        return len(self.theta)

    @property
    def n_parameters(self) -> int:
        """Number of free parameters: coefficients of varying columns, and the family's."""
        k, q, _ = self.theta.shape
        if self.l1 is not None:
            return int(self._n_used.sum()) + self.family.n_parameters(k, q)
        return q * int(self.n_coefficients.sum()) + self.family.n_parameters(k, q)

    @property
    def _n_used(self) -> np.ndarray:
        """Number of coefficients that an L1 penalty left, and the intercept, (K, n_outputs)."""
        first = int(self.design.intercept)
        used: np.ndarray = np.count_nonzero(self.theta[:, :, first:], axis=2) + first
        return used

    @property
    def _dispersed(self) -> bool:
        return has_scale(self.family)

    @property
    def on_floor(self) -> np.ndarray:
        """Whether an expert's dispersion sits on its floor, (K,)."""
        if not self._dispersed:
            return np.zeros(self.n_experts, dtype=bool)
        return np.any(self.parameters[0] <= self.floor * (1 + 1e-9), axis=1)

    @property
    def n_coefficients(self) -> np.ndarray:
        """Number of coefficients per output of each expert, (K,)."""
        k = len(self.theta)
        if self.l1 is not None:
            return self._n_used.max(axis=1)
        if self._ranks is not None:
            return np.broadcast_to(self._ranks, k)
        if self.mask is None:
            return np.full(k, int(self.design.intercept) + self.design.n_varying)
        counts: np.ndarray = (self.design.varies * self.mask).sum(axis=1)
        return counts

    def with_floor(self, floor: np.ndarray) -> LinearBank:
        """Return the bank with smallest dispersions (n_outputs,), or (K, n_outputs) per expert."""
        parameters = self.parameters.copy()
        if self._dispersed:
            np.maximum(parameters[0], floor, out=parameters[0])
        return evolve(self, floor=floor, parameters=parameters)

    def with_ceiling(self, ceiling: np.ndarray | None) -> LinearBank:
        """Return the bank with largest dispersions (n_outputs,); None for any."""
        return evolve(self, ceiling=ceiling, parameters=capped(self.parameters, ceiling))

    @property
    def expert_columns(self) -> list[np.ndarray]:
        """The columns that each expert sees."""
        return self.design.seen_columns(self.mask, self.n_experts)

    def replicate(self, n_experts: int) -> LinearBank:
        """Return K copies of a one-expert bank, whose dispersion sets the floor."""
        parameters = np.repeat(self.parameters, n_experts, axis=1)
        theta = np.repeat(self.theta, n_experts, axis=0)
        floor, n_weights = self.floor, n_experts * self.n_gram_weights
        share = n_experts if self.terms.per_weight else 1
        if self.l1 is not None:
            require_grams(type(self.template).__name__, n_weights, self.design.size)
        if self._dispersed:
            floor = np.maximum(FLOOR_SHARE * self.parameters[0, 0], floor)
        return evolve(
            self,
            theta=theta if self._masks is None else self._masks[:, None] * theta,
            mask=self._masks,
            parameters=parameters,
            floor=floor,
            by_products=self.by_products or not fits(n_weights, self.design.size),
            penalty=self.penalty / share,
            l1=None if self.l1 is None else self.l1 / share,
            _unit=parameters,
            damping=0.0,
            prior_rows=None,
        )

    def from_mean(self, rows: Rows) -> LinearBank:
        """Return a one-expert bank with intercepts at the mean of y: the start for other links."""
        theta = self.theta.copy()
        mean = rows.mean_target
        if can(self.family, "pooled_mean"):
            mean = self.family.pooled_mean(mean)  # type: ignore[attr-defined]
        theta[0, :, 0] = self.family.eta(mean)
        if rows.offset is not None:
            weight = np.ones(rows.n_rows) if rows.weight is None else rows.weight
            exposure = logsumexp(rows.offset, axis=1, b=weight) - np.log(rows.total_weight)
            theta[0, :, 0] -= exposure
        return evolve(self, theta=theta)

    def from_range(self, rows: Rows) -> LinearBank:
        """Return a one-expert bank at the middle of y, with dispersions of half of its range.

        It is the start for errors whose steps weigh rows by residuals: from 0 and 1 these depend on
        the zero and the unit of y.
        """
        low, high = rows.extremes.T
        theta, parameters = self.theta.copy(), self.parameters.copy()
        if self.design.intercept:
            theta[0, :, 0] = low / 2 + high / 2
        half = high / 2 - low / 2
        parameters[0, 0] = np.where(half > 0, half, parameters[0, 0])
        return evolve(self, theta=theta, parameters=parameters)

    def select(self, experts: np.ndarray) -> LinearBank:
        """Return the bank of some experts, in this order."""
        return evolve(
            self,
            theta=self.theta[experts],
            parameters=self.parameters[:, experts],
            mask=None if self.mask is None else self.mask[experts],
            floor=self.floor[experts] if self.floor.ndim == 2 else self.floor,
            prior_rows=None if self.prior_rows is None else self.prior_rows[experts],
            prior_squares=None if self.prior_rows is None else self.prior_squares[experts],
            _unit=self._unit[:, experts],
            _ranks=ranks_of(self._ranks, experts),
        )

    def _eta(self, block: Block) -> np.ndarray:
        """Return linear predictors (K, n_outputs, m)."""
        k, q, p = self.theta.shape
        eta = linear_scores(self.theta.reshape(k * q, p), block.linear(self.design))
        eta = eta.reshape(k, q, -1)
        if block.offset is not None:
            eta += block.offset
        return eta

    def predict(self, block: Block) -> np.ndarray:
        """Return means (K, n_outputs, m), infinite where they would overflow."""
        eta = self._eta(block)
        if self.family.link == "identity":
            eta[~(np.abs(eta) < FARTHEST_SCORE)] = np.inf
        return self.family.mean(eta)

    def log_prob(self, block: Block) -> np.ndarray:
        """Return log p_k(y | x), (K, m)."""
        log_prob, score, curvature = self.family.evaluate(
            block.y, self._eta(block), self.parameters
        )
        block.keep(self, (score, curvature))
        return log_prob

    def deviance(self, block: Block) -> np.ndarray:
        """Return −log p_k(y | x) at the dispersion of the one-expert fit, (K, m)."""
        return -self.family.evaluate(block.y, self._eta(block), self._unit)[0]

    def log_prior(self) -> float:
        """Return the log-prior: minus the penalty in units of the squared dispersion."""
        squares = self._squares()
        if self._dispersed:
            squares = squares / self.parameters[0] ** 2
        prior = -0.5 * float(squares.sum())
        if self.prior_rows is not None:
            ratio = self.prior_squares / self.parameters[0] ** 2
            off = 0.5 * (np.log(ratio / 2) - ratio) + 1.0  # from where it was set
            prior += float(self.prior_rows @ off.sum(axis=1))
        if self.strength == self.terms.alpha:
            return prior
        return prior + 0.5 * self._n_slopes * float(np.log(self.strength / self.terms.alpha))

    @property
    def _n_slopes(self) -> int:
        """Number of coefficients with a penalty that the rows can tell apart."""
        k, q, _ = self.theta.shape
        if self.mask is None:
            return k * q * self.design.n_slopes
        return q * int((self.n_coefficients - self.design.intercept).sum())

    @property
    def n_gram_weights(self) -> int:
        """Number of weight rows: one per expert, times outputs if their curvatures differ."""
        k, q, _ = self.theta.shape
        if self.by_products:
            return 0
        return k * q if self.family.curved else k

    def gram_weights(self, block: Block, resp: np.ndarray, out: np.ndarray) -> None:
        """Write the weight rows: the responsibilities, times the curvature unless it is 1."""
        if not len(out):
            return
        _, curvature = block.recall(self)
        if curvature is None:
            out[:] = resp
        else:
            np.multiply(resp[:, None], curvature, out=out.reshape(curvature.shape))

    def statistics(self, block: Block, resp: np.ndarray) -> Sums:
        """Return Σ r s x, the family's sums and, unless the Gram matrix holds it, Σ r."""
        k, q, p = self.theta.shape
        score, curvature = block.recall(self)
        weighted = resp[:, None] * score
        sums = Sums(
            gradient=(weighted.reshape(k * q, -1) @ block.linear(self.design).T).reshape(k, q, p),
        )
        if can(self.family, "parameter_sums"):
            sums["family"] = self.family.parameter_sums(  # type: ignore[attr-defined]
                block.y, self._eta(block), self.parameters, resp
            )
        else:
            sums["family"] = self.family.statistics(score, curvature, resp, weighted)
        if self.family.curved or not self.design.intercept or self.by_products:
            sums["mass"] = resp.sum(axis=1)
        if self.by_products:
            weights = resp[:, None] if curvature is None else resp[:, None] * curvature
            sums["rows"] = PerRow(weights.reshape(-1, 1, block.n_rows))
        return sums

    def update(self, statistics: Sums, rows: Rows) -> LinearBank:
        """Return the bank after the M-step."""
        k, q, p = self.theta.shape
        if self.by_products:
            mass = statistics["mass"]
            alive = mass > EMPTY_SHARE * mass.sum()
            stepped, change = self._stepped_by_products(statistics, alive, rows)
        else:
            gram = unpack_symmetric(statistics["gram"], p).reshape(k, -1, p, p)
            mass = statistics["mass"] if "mass" in statistics else gram[:, 0, 0, 0]
            alive = mass > EMPTY_SHARE * mass.sum()
            stepped = self._stepped(gram, statistics["gradient"], alive)
            step = stepped.theta - self.theta
            change = _quadratic(step, gram) - 2 * np.add.reduce(
                statistics["gradient"] * step, axis=2
            )
        sums = statistics["family"].copy()
        if self._dispersed:
            if self.family.link == "identity":
                least = LEAST_LEFT * sums[0] if self.by_products else 0.0
                sums[0] = np.maximum(sums[0] + change, least)
            sums[0] += stepped._squares()
        n_rows = np.where(alive, mass, 1.0)
        if self.prior_rows is not None:
            sums[0] += self.prior_rows[:, None] * self.prior_squares
            n_rows = n_rows + self.prior_rows
        parameters = self.family.update(sums, n_rows, self.parameters, self.floor)
        parameters = capped(parameters, self.ceiling)
        if not getattr(self.family, "shared", False):
            parameters[:, ~alive] = self.parameters[:, ~alive]
        if can(self.family, "parameter_sums"):
            parameters = _between(
                self.parameters, parameters, self._step_share / (1 + self.damping)
            )
        return evolve(
            stepped,
            parameters=parameters,
            _step_share=1.0,
            damping=float(relaxed(self.damping)) if self.damping > 0 else 0.0,
        )

    @available_if(lambda self: not self.by_products)
    def recentred(self, statistics: Sums, before: LinearBank) -> tuple[LinearBank, Sums]:
        """Return the bank, and statistics at its coefficients; deviances are quadratic too."""
        k, _, p = self.theta.shape
        gram = unpack_symmetric(statistics["gram"], p).reshape(k, -1, p, p)
        move, gradient = self.theta - before.theta, statistics["gradient"]
        family = statistics["family"].copy()
        if self._dispersed:
            family[0] += _quadratic(move, gram) - 2 * np.add.reduce(gradient * move, axis=2)
            np.maximum(family[0], 0.0, out=family[0])
        changed = {"gradient": gradient - (gram @ move[..., None])[..., 0], "family": family}
        return self, Sums({**statistics, **changed})

    def _stepped(self, gram: np.ndarray, gradient: np.ndarray, alive: np.ndarray) -> LinearBank:
        """Return the bank with new coefficients of the experts that have weight."""
        if self.mask is None:
            step = np.zeros_like(self.theta)
            step[alive] = self._step(gram[alive], gradient[alive], self.theta[alive])
            return evolve(self, theta=self.theta + step)
        theta = self.theta.copy()
        for expert in np.flatnonzero(alive).tolist():
            seen, one = np.flatnonzero(self.mask[expert]), slice(expert, expert + 1)
            theta[expert][:, seen] += self._step(
                gram[one][:, :, seen[:, None], seen],
                gradient[one][:, :, seen],
                self.theta[one][:, :, seen],
                seen,
            )[0]
        return evolve(self, theta=theta)

    def _stepped_by_products(
        self, statistics: Sums, alive: np.ndarray, rows: Rows
    ) -> tuple[LinearBank, np.ndarray]:
        """Return the bank after the steps by conjugate gradients, and changes of the deviance.

        The changes (K, n_outputs) are dᵀ G d − 2 gᵀ d.
        """
        k, q, p = self.theta.shape
        weights = statistics["rows"].values
        products = CurvatureProducts(rows, self.design, weights, share=k * q // len(weights))
        gradient = np.where(alive[:, None, None], statistics["gradient"], 0.0)
        rhs = gradient - np.where(alive[:, None, None], self.penalty * self.theta, 0.0)
        ridge = self.penalty + self.damping * products.level[:, None]
        seen = None
        if self.mask is not None:
            seen = np.repeat(self.mask, q, axis=0)
        step, curvature = least_squares_steps(
            products, rhs.reshape(k * q, p), ridge, seen, exact=not self.family.curved
        )
        if self.family.link != "identity":
            lengths = np.sqrt(np.maximum(curvature, 0.0) / np.maximum(products.level, TINY))
            share = self._step_share * np.minimum(1.0, LONGEST_STEP / np.maximum(lengths, TINY))
            step *= share[:, None]
            curvature *= share**2
        step = step.reshape(k, q, p)
        change = curvature.reshape(k, q) - 2 * np.add.reduce(gradient * step, axis=2)
        return evolve(self, theta=self.theta + step), change

    def _weakest(self, rows: Rows) -> float:
        """Return the smallest strength that the evidence sets, which is hardly a penalty.

        Where noise is low, the first one would be most of the error of a line. But it also holds
        experts of a few rows: several keep it unless errors are normal and rows are many for their
        coefficients.
        """
        n_rows, k = min(rows.total_weight, rows.n_rows), len(self.theta)
        many = n_rows >= MANY_ROWS * k * (1 + self.design.n_slopes)
        weak = k == 1 or (many and self.family.name == "gaussian")
        return self.terms.alpha * (WEAKEST if weak else 1.0)

    @property
    def _fewest_rows(self) -> float:
        return FEW_ROWS * self._n_slopes / self.theta.shape[1]

    @property
    def _by_left_out_rows(self) -> bool:
        return self.terms.tuned and self.family.name == "gaussian"

    @available_if(lambda self: self._by_left_out_rows)
    def dispersed(self, statistics: Sums, rows: Rows) -> LinearBank:
        """Return the bank with dispersions that allow for the errors of its coefficients."""
        return self._with_dispersions(self._gamma(statistics, rows), statistics)

    @available_if(lambda self: self._by_left_out_rows and self._masks is None)
    def left_out(self, rows: Rows) -> LeftOut:
        """Return what one expert misses rows by that are left out one by one, by its strength."""
        first = int(self.design.intercept)
        matrix = rows.map(lambda block: block.matrix(self.design), axis=1)[first:]
        weight = np.ones(rows.n_rows) if rows.weight is None else rows.weight
        y = rows.y if rows.offset is None else rows.y - rows.offset
        penalty = self.penalty[first:] / np.where(self._slopes[first:], self.strength, 1.0)
        return LeftOut(matrix, y, weight, penalty, self.design.intercept)

    def _squared(self, penalty: np.ndarray, statistics: Sums) -> float:
        squares = np.sum(penalty * self.theta**2, axis=2)
        if not self._dispersed:
            return float(squares.sum())
        variances = self.parameters[0] ** 2
        if self.prior_rows is not None and len(self.theta) == 1:
            # they are of new rows, and the evidence asks for those of the noise; several experts
            # with less of a penalty would learn few rows by heart
            mass = np.maximum(self._mass(statistics), self.prior_rows / MOST_TAKEN)
            variances = variances * (1 - self.prior_rows / np.maximum(mass, TINY))[:, None]
        return float((squares / variances).sum())

    def _n_determined(self, statistics: Sums, penalty: np.ndarray, rows: Rows) -> np.ndarray:
        k, q, p = self.theta.shape
        if self.by_products:
            products = CurvatureProducts(rows, self.design, statistics["rows"].values)
            share = k * q / len(products.kept)
            seen = None if self.mask is None else self.mask.repeat(len(products.kept) // k, axis=0)
            of_each = least_squares_determined(products, penalty, seen).reshape(k, -1)
            return share * of_each.sum(axis=1)
        gram = unpack_symmetric(statistics["gram"], p).reshape(k, -1, p, p)
        masks = np.ones((k, p), dtype=bool) if self.mask is None else self.mask
        return np.array(
            [
                sum(
                    float(determined(matrix[np.ix_(ids, ids)], penalty[ids]).sum()) for matrix in of
                )
                * (q / len(of))
                for ids, of in zip(map(np.flatnonzero, masks), gram, strict=True)
            ]
        )

    def _with_dispersions(self, gamma: np.ndarray, statistics: Sums) -> LinearBank:
        if self.family.name != "gaussian":
            return self
        mass = self._mass(statistics)
        alive = mass > EMPTY_SHARE * mass.sum()
        taken = gamma / self.theta.shape[1] + int(self.design.intercept)
        taken = np.where(alive, np.minimum(taken, MOST_TAKEN * mass), 0.0)
        squares = statistics["family"] + self._squares()
        if self._missed is not None and len(self.theta) == 1:
            return self._missing_by(self._missed, mass, squares[0])
        free = np.where(alive, mass - taken, 1.0)
        dispersions = self.family.update(squares, free, self.parameters, self.floor)[0]
        dispersions = np.where(alive[:, None], dispersions, self.parameters[0])
        return evolve(self, prior_rows=taken, prior_squares=2 * dispersions**2)

    def _missing_by(self, missed: np.ndarray, mass: np.ndarray, squares: np.ndarray) -> LinearBank:
        """Return the bank of one expert with dispersions at which new rows are missed.

        `missed` are mean squares (n_outputs,). The prior is such that the M-step ends there.
        """
        taken = np.max(mass - squares / missed, axis=1)
        taken = np.clip(taken, 1.0, MOST_TAKEN_ALONE * mass)
        needed = (missed * (mass + taken) - squares) / taken
        needed = np.clip(needed, missed / 10, 2 * missed)
        return evolve(self, prior_rows=taken, prior_squares=needed)

    def _mass(self, statistics: Sums) -> np.ndarray:
        """Return the weight of each expert, (K,)."""
        if "mass" in statistics:
            return statistics["mass"]
        gram = unpack_symmetric(statistics["gram"], self.design.size)
        mass: np.ndarray = gram.reshape(self.n_experts, -1, *gram.shape[1:])[:, 0, 0, 0]
        return mass

    def _squares(self) -> np.ndarray:
        """Return the penalties (K, n_outputs) in units of the squared dispersions."""
        squares: np.ndarray = self.theta**2 @ self.penalty
        if self.l1 is not None:
            squares += 2 * np.sum(self.l1 * np.abs(self.theta), axis=2)
        return squares

    def _step(
        self, gram: np.ndarray, gradient: np.ndarray, theta: np.ndarray, seen: Any = slice(None)
    ) -> np.ndarray:
        """Return some experts' changes of coefficients, (K, n_outputs, p), of the columns seen.

        `gram` is (K, 1 or n_outputs, p, p).
        """
        k, q, p = theta.shape
        rhs, penalty = gradient - self.penalty[seen] * theta, self.penalty[seen]
        ridge = np.diag(penalty)
        if self.damping > 0:
            ridge = ridge + self.damping * gram[:, :, :1, :1] * np.eye(p)
        matrices = (gram + ridge).reshape(-1, p, p)
        if self.l1 is not None:  # squared deviations, or a bound by them: the step is exact
            flat = rhs.reshape(k * q, p), theta.reshape(k * q, p)
            each = matrices.repeat(k * q // len(matrices), axis=0)
            return proximal_solutions(each, *flat, self.l1[seen]).reshape(theta.shape) - theta
        if len(matrices) == k:
            step = solve_psd_stack(matrices, rhs.transpose(0, 2, 1)).transpose(0, 2, 1)
        else:
            step = solve_psd_stack(matrices, rhs.reshape(k * q, p, 1)).reshape(k, q, p)
        if self.family.link == "identity":
            return step
        mass = np.maximum(gram[:, :, 0, 0], TINY)
        lengths = np.sqrt(np.maximum(_quadratic(step, gram), 0.0) / mass)
        share = self._step_share * np.minimum(1.0, LONGEST_STEP / np.maximum(lengths, TINY))
        return step * share[:, :, None]

    def toward(self, new: LinearBank, t: float) -> LinearBank:
        """Return the bank a share t of the way to `new`; closed forms take the full step."""
        if self.family.link == "identity":
            return new
        parameters = new.parameters
        if can(self.family, "parameter_sums"):
            parameters = _between(self.parameters, parameters, t)
        theta = self.theta + t * (new.theta - self.theta)
        return evolve(new, theta=theta, parameters=parameters)

    def damped(self, new: LinearBank) -> LinearBank:
        """Return this bank with a shorter step than the one to `new`; itself for closed forms."""
        if self.family.link == "identity":
            return self
        return evolve(self, damping=float(damped(self.damping, FIRST_DAMPING)))

    def bounded(self) -> LinearBank:
        """Return this bank with a short next step, except for closed forms."""
        return evolve(self, _step_share=CAUTIOUS)

    def get_parameters(self) -> np.ndarray:
        """Return coefficients and the logarithms of the family's parameters as one vector."""
        return np.concatenate([self.theta.ravel(), np.log(self.parameters).ravel()])

    def set_parameters(self, vector: np.ndarray) -> LinearBank:
        """Return the bank with these parameters, the family's clipped to its bounds."""
        theta, logs = np.split(vector, [self.theta.size])
        theta = theta.reshape(self.theta.shape)
        if self.mask is not None:
            theta = theta * self.mask[:, None]
        parameters = np.exp(np.clip(logs, -LARGEST_LOG, LARGEST_LOG))
        parameters = parameters.reshape(self.parameters.shape)
        if can(self.family, "within"):
            parameters = self.family.within(parameters, self.floor)
        parameters = capped(parameters, self.ceiling)
        return evolve(self, theta=theta, parameters=parameters)

    @property
    def parameter_space(self) -> ParameterSpace:
        """The space of coefficients and logarithms of the family's parameters."""
        return linear_space(
            self.theta.shape, self.mask, self._bounds(), getattr(self.family, "shared", False)
        )

    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the least and the largest of the family's parameters, (P, K, n_outputs) each."""
        lower, upper = np.zeros_like(self.parameters), np.full_like(self.parameters, np.inf)
        if self._dispersed:
            lower[0] = self.floor
        if can(self.family, "bounds"):
            lower, upper = self.family.bounds(lower[0])  # type: ignore[attr-defined]
        return lower, capped(upper, self.ceiling)

    @available_if(lambda bank: bank.l1 is None and can(bank.family, "derivatives"))
    def scores(self, block: Block, resp: np.ndarray) -> Scores:
        """Return the derivatives of log p_k(y | x) by the parameters."""
        family: Any = self.family
        derivatives = family.derivatives(block.y, self._eta(block), self.parameters)
        return linear_scores_of(derivatives, self.parameter_space, self.design, block, resp)

    def prior_derivatives(self) -> PriorDerivatives:
        """Return the derivatives of the log-prior."""
        dispersion = self.parameters[0] if self._dispersed else None
        prior = linear_prior(self.theta, self.penalty, dispersion, self.parameter_space)
        if self.prior_rows is not None:
            logs = self.parameter_space.scalars[:, : self.theta.shape[1]]
            ratio = self.prior_squares / self.parameters[0] ** 2
            uncounted = np.zeros_like(prior.gradient)
            uncounted[logs] = 2 * self.prior_rows[:, None] * ratio
            prior.gradient[logs] += self.prior_rows[:, None] * (ratio - 1)
            prior.information[np.diag_indices(len(uncounted))] += uncounted
            prior = prior._replace(uncounted=uncounted)
        return prior

    def trimmed(self) -> LinearBank:
        """Return the bank in coefficients of the columns, not of the training rows' space."""
        design = self.design
        return evolve(
            self,
            design=design.plain,
            theta=design.to_plain(self.theta),
            penalty=design.plain_penalty(self.penalty),
        )

    def fitted(self, feature_names: np.ndarray | None) -> list:
        """Return the experts as fitted scikit-learn estimators; names are those of X."""
        slopes, intercepts = self.design.to_input_units(self.theta)
        single = self.theta.shape[1] == 1
        experts = []
        for k, (coef, intercept) in enumerate(zip(slopes, intercepts, strict=True)):
            expert = clone(self.template)
            columns = self.design.columns
            if self.mask is not None:
                seen = self.mask[k, int(self.design.intercept) :]
                coef, columns = coef[:, seen], columns[seen]
            expert.coef_ = coef[0] if single else coef
            expert.intercept_ = float(intercept[0]) if single else intercept
            if not self.design.intercept:
                expert.intercept_ = 0.0
            if self.l1 is not None:
                expert.n_iter_ = 1
            if self.family.link == "log":
                finish_glm(expert)
            if self.family.link == "logit":
                _as_logistic(expert)
            expert.n_features_in_ = coef.shape[1]
            if feature_names is not None and self.design.basis is None:
                expert.feature_names_in_ = feature_names[columns]
            experts.append(expert)
        return behind_basis(experts, self.design, feature_names)


def _as_logistic(expert: Any) -> None:
    """Make a fitted linear predictor the log-odds of class 1, a success."""
    expert.coef_ = np.atleast_2d(expert.coef_)
    expert.intercept_ = np.atleast_1d(np.asarray(expert.intercept_, dtype=float))
    expert.classes_ = np.array([0, 1])
    expert.n_iter_ = np.array([1], dtype=np.int32)


def _between(old: np.ndarray, new: np.ndarray, t: float) -> np.ndarray:
    """Return parameters a share t of the way from old to new ones, of which all are above 0."""
    return new if t == 1.0 else old * (new / old) ** t


def _quadratic(step: np.ndarray, gram: np.ndarray) -> np.ndarray:
    """Return dᵀ G d per expert and output, (K, n_outputs); G may be shared by all outputs."""
    product = (
        step @ gram[:, 0] if gram.shape[1] == 1 else np.matmul(step[:, :, None], gram)[:, :, 0]
    )
    return np.add.reduce(product * step, axis=2)
