"""The softmax gate."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
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
from mixexp._costs import by_products, fits, require_grams
from mixexp._evidence import multinomial_determined, strength_ratio
from mixexp._newton import (
    CURVATURE_FLOOR,
    block_products,
    centred_where_shared,
    damped,
    multinomial_bound_step,
    multinomial_change,
    multinomial_step,
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
from mixexp.gates._balanced import balanced
from mixexp.gates._checks import check_missing, check_share, check_strength, check_temperature
from mixexp.gates._softmax_scores import softmax_scores_of, softmax_space
from mixexp.gates._text import TextMixin
from mixexp.protocols import (
    Block,
    Design,
    ParameterSpace,
    PriorDerivatives,
    Rows,
    Scores,
    Sums,
    Units,
    evolve,
)

__all__ = ["SoftmaxGate"]

#: With more coefficients than this, the Hessian costs more than the rest of a pass, and the gate
#: takes steps under a block-diagonal bound, or by conjugate gradients, whichever is cheaper.
NEWTON_COEFFICIENTS = 512

#: Twice as many where the Hessian takes fewer multiplications than this: a tenth of a second.
CHEAP_HESSIAN = 3e8

#: If the Hessian needs more weight rows than there are experts, it is recomputed in the first
#: iterations and then only once in this many; steps in between reuse the last one.
REFRESH = 3

#: The penalty where the evidence sets it, until it does, and the smallest one it may set: the less
#: the smaller the number of coefficients a row. A gate that separates few rows has no maximum.
DEFAULT_STRENGTH, WEAKEST = 0.3, 0.1

#: Largest penalty of a column that the evidence sets, as a multiple of the number of rows, and of
#: all columns together where steps are by products: rows are wide then, and as a rule few. On 80
#: tables 1 predicted as well as 10 or better, and took less time.
STRONGEST, STRONGEST_OF_MANY = 1.0, 10.0


class SoftmaxGate(TextMixin, BaseEstimator):
    """A multinomial logistic model of the responsible expert.

    g_k(x) = exp((v_k·x + c_k) / T) / Σ_l exp((v_l·x + c_l) / T), with Σ_k v_k = 0 and Σ_k c_k = 0,
    which makes the coefficients unique. The M-step takes one full Newton step of the penalised
    log-likelihood of the responsibilities; under an L1 penalty a proximal one.

    Parameters
    ----------
    alpha : float or "auto", default="auto"
        Strength of the ridge penalty ``½ α Σ_k |v_k|²``, for coefficients of columns scaled by
        their weighted standard deviation. The intercepts are not penalised. A number is the
        strength for all columns, and that of default experts is 0.3. 0 is allowed; the likelihood
        of a separable gate then has no maximum. "auto" sets the penalties by their evidence in the
        fit, starting at 0.3:

        - the gate's has a strength for each column: borders are then as sharp as the rows say, and
          columns that no border needs hardly count. Where steps are by conjugate gradients, all
          columns have one.
        - default experts' has one for all columns and experts, at least 0.3.

        Where sparse rows have many columns, these count in units of their largest values, not of
        their spreads. Beside experts that are fitted one by one the gate's are those that suit
        linear experts in their place, but for a given division. Both penalties stay at 0.3 with a
        noise or zero expert, a usage prior, a shared expert that is an estimator of others, a
        stochastic assignment, and with an L1 penalty. The gate's stays at 0.3 if it has more than
        512 coefficients (1024 if rows are few) and does not take steps by conjugate gradients. With
        routing they are those of the dense run before it.
    missing : {"indicator", "error"}, default="indicator"
        How NaN is handled: "indicator" replaces it by the column's mean, and gives each column
        with missing values in the training rows an indicator with its own coefficient; "error"
        raises.
    temperature : float, default=1.0
        T. Above 1 the gate is softer at the same coefficients. In a fit the coefficients compensate
        as far as the penalty allows, with the same effect as a penalty of `alpha` · T². A change
        after the fit, by ``model.gate_.set_params(temperature=...)``, makes predictions blend more
        (above 1) or less (below 1).
    usage_prior : float, default=0.0
        Strength c of a Dirichlet prior on the experts' usage u, their mean gate probability:
        log-prior c Σ_k log u_k, as if each expert had c more rows. It keeps the gate from
        sending every row to one expert.
    l1_ratio : float, default=0.0
        Share of the L1 penalty, as in scikit-learn's elastic net: the penalty is
        ``α Σ_k (l1_ratio |v_k|₁ + ½ (1 − l1_ratio) |v_k|²)``, with α = 0.3 for "auto". Above 0,
        coefficients may be exactly 0, and columns that no expert needs drop out
        (`unused_features_`). Slopes are then not centred: of those with the same probabilities they
        are the ones with the least penalty. For l1_ratio=1 the median of a column is 0; of two
        experts, each has half of the difference.
        Needs Gram matrices; there are no standard errors.

    Attributes
    ----------
    coef_ : ndarray of shape (n_experts, n_gate_features)
        Centred coefficients in units of the input. With separate gate features per expert, the
        columns are the union over experts, in ascending order, with 0 for columns that an expert
        does not see; a column that some experts do not see is not centred. With a `gate_basis`,
        here and below, the columns are its outputs, named by `gate_basis_` of the mixture.
    intercept_ : ndarray of shape (n_experts,)
        Centred intercepts, at an input of zeros.
    indicator_coef_ : ndarray of shape (n_experts, n_indicators)
        Added to the score if the value is missing, for the columns `indicator_features_`.
    indicator_features_ : ndarray of int of shape (n_indicators,)
        Indices of the columns that had missing values in the training rows.
    unused_features_ : ndarray of int
        Indices of the columns whose coefficients are all 0; with a `gate_basis`, of its outputs.
    n_features_in_ : int
        Number of features of the mixture's input, including those that the gate does not see.
    n_strengths : float
        How many parameters the strengths of the penalties count as that the evidence has set, in
        criteria: of each column, the share of its coefficients that the rows determine.
    alpha_ : float or ndarray of shape (n_gate_features,)
        The penalty's strength: `alpha`, or where that is "auto" the strengths of the columns of
        `coef_`. Outputs of a `SplineBasis` or `QuantileBasis` that come from one column have one
        strength. So have all columns where steps are by conjugate gradients.

    Notes
    -----
    The evidence of the penalties, the likelihood of the responsibilities with the coefficients
    integrated out, has its maximum where ``α_j = γ_j / Σ_k v_kj²`` for every column j, with γ_j the
    number of its coefficients that the rows determine (MacKay 1992; Waterhouse, MacKay & Robinson
    1996; one penalty for each column is automatic relevance determination, MacKay 1994). Before the
    long run, they change between a few iterations and the next, at fixed responsibilities. They are
    at least 0.1 or, if that is less, the cube of the number of slopes per row, and at most the
    number of rows n, or 10 n with steps by conjugate gradients; with a temperature, that holds for
    α_j T². Beside class experts with few rows for their coefficients it is at most three times
    theirs. The lower bound, by which restarts are compared, then includes ½ log α_j T² / (α_j T² +
    n) for every slope, over that for 0.3: the normaliser of the prior over that of a posterior with
    an information of 1 per row.

    References
    ----------
    Jordan & Jacobs (1994), Hierarchical mixtures of experts and the EM algorithm, Neural
    Computation 6, eq. 1 and 2. MacKay (1992), Bayesian interpolation, Neural Computation 4.
    Waterhouse, MacKay & Robinson (1996), Bayesian methods for mixtures of experts, NIPS 8.
    MacKay (1994), Bayesian nonlinear modeling for the prediction competition, ASHRAE Transactions
    100.
    Chen, Xu & Chi (1999), Improved learning algorithms for mixture of experts in multiclass
    classification, Neural Networks 12: why the Hessian must be full.
    Hinton, Vinyals & Dean (2015), Distilling the knowledge in a neural network, arXiv 1503.02531,
    eq. 1: the temperature of a softmax. Zou, Hastie & Tibshirani (2007), On the "degrees of
    freedom" of the lasso, Ann. Statist. 35: coefficients that are 0 do not count as parameters.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> from mixexp.gates import SoftmaxGate
    >>> X, y = load_tone(return_X_y=True)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, gate=SoftmaxGate(alpha=1.0), random_state=0)
    >>> model.fit(X, y).gate_.coef_.shape
    (2, 1)
    """

    monotone = True

    #: The largest penalty that the evidence sets, beside that by the number of rows.
    _limit = np.inf

    def __init__(
        self,
        alpha: float | str = "auto",
        *,
        missing: str = "indicator",
        temperature: float = 1.0,
        usage_prior: float = 0.0,
        l1_ratio: float = 0.0,
    ):
        self.alpha = alpha
        self.missing = missing
        self.temperature = temperature
        self.usage_prior = usage_prior
        self.l1_ratio = l1_ratio

    def start(self, rows: Rows, n_experts: int, columns: Any) -> Any:
        """Return a gate for these rows in which all experts are equally likely.

        `columns` is None, the columns of all experts, or a list of columns per expert.
        """
        check_strength(self)
        check_share(self, "l1_ratio", "Use 0 for a ridge penalty, 1 for an L1 penalty.")
        check_temperature(self)
        check_missing(self)
        per_expert = isinstance(columns, list)
        design = rows.design(np.unique(np.concatenate(columns)) if per_expert else columns)
        if self.missing == "error" and len(design.indicators):
            raise ValueError(
                f"SoftmaxGate: columns {design.columns[design.indicators].tolist()} of the gate's "
                "input contain NaN, and missing='error'. Use missing='indicator', or leave them "
                "out by gate_features."
            )
        strength = DEFAULT_STRENGTH if self.alpha == "auto" else float(self.alpha)
        if strength * self.l1_ratio > 0:
            usual = _gram_curvature(design, n_experts)
        else:
            design = design if per_expert else rows.spanned(design, units=self._units)
            usual = _usual_curvature(rows, design, n_experts, per_expert)
        gate = evolve(
            self,
            design=design,
            _l1=l1_weights(design, strength * self.l1_ratio),
            n_features_in_=rows.n_features,
            theta=np.zeros((n_experts, design.size)),
            _strength=_strengths(design, strength),
            _n_rows=rows.total_weight,
            n_strengths=0.0,
            _rank=None,
            _seen=_seen(design, columns) if per_expert else None,
            curvature=usual,
            damping=CURVATURE_FLOOR,
            _last=None,
            _usual_curvature=usual,
            _gram=None,
            _age=-REFRESH,
        )
        return balanced(gate._with_penalty(), self.usage_prior)

    def _with_penalty(self) -> SoftmaxGate:
        """Return the gate with the penalty (size,) of its design and strengths, kept for steps."""
        strength = self._slope_strength * (1 - self.l1_ratio)
        return evolve(self, _penalty=self.design.penalty(strength, units=self._units))

    @property
    def _units(self) -> Units:
        """The units in which a strength of all columns is the same for each."""
        return "size" if self._sets_itself else "spread"

    @property
    def takes_missing(self) -> bool:
        """Whether NaN is accepted."""
        return self.missing != "error"

    @property
    def _slope_strength(self) -> np.ndarray:
        """The strength of the penalty of each slope of the design."""
        return self._strength[self.design.groups]

    @property
    def alpha_(self) -> float | np.ndarray:
        """The strength of the penalty."""
        if self.alpha != "auto":
            return float(self.alpha)
        return self._slope_strength[: self.design.n_values]

    @property
    def _shared(self) -> np.ndarray | None:
        """The design rows that all experts' scores use, None for all."""
        return None if self._seen is None else self._seen.all(axis=0)

    @property
    def expert_columns(self) -> list[np.ndarray]:
        """The columns that each expert sees."""
        return self.design.seen_columns(self._seen, len(self.theta))

    @property
    def coef_(self) -> np.ndarray:
        """Slopes in input units."""
        return self.design.to_input_units(self.theta)[0][:, : self.design.n_values]

    @property
    def indicator_coef_(self) -> np.ndarray:
        """Slopes of the indicators of missing values."""
        return self.design.to_input_units(self.theta)[0][:, self.design.n_values :]

    @property
    def indicator_features_(self) -> np.ndarray:
        """Columns that have an indicator."""
        return self.design.columns[self.design.indicators]

    @property
    def unused_features_(self) -> np.ndarray:
        """Columns, or outputs of a basis, that do not change the gate."""
        used = np.any(self.coef_, axis=0)
        used[self.design.indicators] |= np.any(self.indicator_coef_, axis=0)
        unused = np.flatnonzero(~used)
        return unused if self.design.basis is not None else self.design.columns[unused]

    @property
    def intercept_(self) -> np.ndarray:
        """Intercepts."""
        return self.design.to_input_units(self.theta)[1]

    @property
    def n_parameters(self) -> int:
        """Number of free parameters."""
        k = len(self.theta)
        if self._l1 is not None:
            shared = None if self._seen is None else self._seen[:, 1:].all(axis=0)
            return k - 1 + n_identified(self.theta[:, 1:], shared)
        if self._seen is None:
            return (k - 1) * (1 + self.design.n_varying if self._rank is None else self._rank)
        return k - 1 + int(self._n_free.sum())

    def ranked(self, rows: Rows) -> SoftmaxGate:
        """Return the gate with the number of coefficients that the rows can tell apart.

        A penalty determines them all, and the evidence says how far. Of experts that see different
        columns all count.
        """
        penalised = bool(np.any(self._penalty[1:][self.design.varies[1:]] > 0))
        if penalised or self._l1 is not None or self._seen is not None:
            return evolve(self, _rank=None)
        found = rows.rank(self.design)
        return evolve(self, _rank=None if found is None else int(found[0]))

    @property
    def _n_free(self) -> np.ndarray:
        """The number of slopes of each column of the design that the rows can tell apart."""
        k, seen, design = len(self.theta), self._seen, self.design
        free = k - 1 if seen is None else seen[:, 1:].sum(axis=0) - seen[:, 1:].all(axis=0)
        share = 1.0 if design.rank is None else design.n_slopes / design.n_varying
        return np.where(design.scale > 0, share * free, 0.0)

    def log_prob(self, block: Block) -> np.ndarray:
        """Return log g_k(x), (K, m)."""
        check_temperature(self)  # it may be set after the fit
        scores = linear_scores(self.theta / self.temperature, block.linear(self.design))
        level(scores, centred=self._seen is None and self._l1 is None)
        proba = scores.copy()
        scores -= softmax_of_level(proba)
        block.keep(self, proba)
        return scores

    def restricted(self, block: Block, reached: np.ndarray) -> Block:
        """Return a block on which the gate is a softmax over the experts reached (K, m)."""
        proba = np.where(reached, block.recall(self), 0.0)
        total = np.add.reduce(proba, axis=0)
        proba /= np.where(total > 0, total, 1.0)
        block = block.fresh()
        block.keep(self, proba)
        return block

    def log_prior(self) -> float:
        """Return the log-prior: minus the penalty."""
        prior = -0.5 * float((self.theta**2 @ self._penalty).sum())
        if self._l1 is not None:
            return prior - float(np.sum(self._l1 * np.abs(self.theta)))
        if self.alpha != "auto":
            return prior
        strength, n = self._strength * self.temperature**2, self._n_rows
        if np.all(strength == DEFAULT_STRENGTH):
            return prior
        strength = strength[self.design.groups]
        change = np.log(strength / (strength + n) / (DEFAULT_STRENGTH / (DEFAULT_STRENGTH + n)))
        return prior + 0.5 * float(self._n_free @ change)

    @property
    def strengths(self) -> np.ndarray:
        """The strengths of the penalties of all columns."""
        return self._strength

    @property
    def _sets_itself(self) -> bool:
        """Whether the evidence sets the penalties."""
        return self.alpha == "auto" and self.l1_ratio == 0

    @available_if(lambda self: self._sets_itself)
    def penalised_as(self, other: SoftmaxGate) -> SoftmaxGate:
        """Return the gate with the penalties of another; itself if that has other columns."""
        if len(other.strengths) != len(self._strength):
            return self
        kept = {name: getattr(other, name) for name in ("_strength", "_n_rows", "n_strengths")}
        return evolve(self, **kept)._with_penalty()

    @available_if(lambda self: self._sets_itself)
    def limited(self, strength: float) -> SoftmaxGate:
        """Return the gate whose evidence sets penalties of at most this strength."""
        return evolve(self, _limit=strength)

    @available_if(lambda self: self._sets_itself)
    def loosened(self) -> SoftmaxGate:
        """Return the gate with penalties no stronger than those it began with."""
        strength = np.minimum(self._strength, DEFAULT_STRENGTH)
        return evolve(self, _strength=strength, _limit=np.inf)._with_penalty()

    @available_if(lambda self: self._sets_itself)
    def tuned(self, statistics: Sums, rows: Rows) -> SoftmaxGate:
        """Return the gate with the penalties that the evidence asks for.

        A column that was switched off comes back where the rows ask for it: whether the evidence
        lowers a large α does not depend on how large it is. Of steps by products, which know the
        trace of a Hessian only, all columns have one factor. Diagonal blocks, which are bounds, are
        not enough, and leave the penalties as they are.
        """
        varies = self.design.scale > 0
        if self.curvature not in ("newton", "products") or len(self.theta) == 1 or not varies.any():
            return self
        penalty = np.where(np.append(False, varies), self._penalty, 0.0)
        squares = self._by_column((penalty * self.theta**2)[:, 1:].sum(axis=0))
        n_free, n_rows, largest = self._by_column(self._n_free), rows.total_weight, STRONGEST
        if self.curvature == "newton":
            gamma = self._by_column(self._determined(statistics, penalty)[:, 1:].sum(axis=0))
            n_strengths = float(np.sum(gamma / np.maximum(n_free, 1)))
        else:
            share, largest = n_free / n_free.sum(), STRONGEST_OF_MANY
            total = self._n_determined(statistics, penalty, rows)
            gamma, squares = total * share, squares.sum() * share
            n_strengths = total / float(n_free.sum())
        lowest = min(WEAKEST, (n_free.sum() / n_rows) ** 3)
        # Bounds are for slopes of the scores, which are those of the coefficients over T.
        strength = self._strength * self.temperature**2
        largest = min(largest * n_rows, self._limit)
        ratio = strength_ratio(gamma, squares, strength, lowest, largest)
        gate = evolve(
            self,
            _strength=np.where(n_free > 0, self._strength * ratio, self._strength),
            _n_rows=n_rows,
            n_strengths=n_strengths,
        )
        return gate._with_penalty()

    def _determined(self, statistics: Sums, penalty: np.ndarray) -> np.ndarray:
        """Return how far the rows determine each coefficient, (K, p)."""
        gram = self._hessian(statistics)
        return multinomial_determined(self.curvature, gram, penalty, len(self.theta), self._seen)

    def _n_determined(self, statistics: Sums, penalty: np.ndarray, rows: Rows) -> float:
        """Return about how many coefficients the rows determine, by products."""
        kept, factor = statistics["rows"].values, self.temperature**-2
        seen = None if self._seen is None else self._seen[None]
        products = CurvatureProducts(rows, self.design, kept, factor)
        return float(
            multinomial_determined_by_products(products, penalty, len(self.theta), seen)[0]
        )

    def _by_column(self, values: np.ndarray) -> np.ndarray:
        """Return the sums of values of slopes over those of each column."""
        return np.bincount(self.design.groups, values, minlength=len(self._strength))

    def _hessian(self, statistics: Sums) -> np.ndarray:
        """Return the Gram matrices of the Hessian, of this pass or the last one that had them."""
        if len(statistics["gram"]) == 0 and self._gram is not None:
            return self._gram
        gram: np.ndarray = unpack_symmetric(statistics["gram"], self.design.size)
        return gram * self.temperature**-2

    @property
    def _fresh(self) -> bool:
        """Whether the next step needs a new Hessian."""
        k = len(self.theta)
        return self._gram is None or n_pairs(k) <= k or not 0 < self._age < REFRESH

    @property
    def n_gram_weights(self) -> int:
        """Number of weight rows the Hessian needs."""
        if self._usual_curvature == "products":
            return 0
        if self.curvature == "bound":
            return 1
        if self.curvature == "blocks":
            return n_block_rows(len(self.theta))
        return n_pairs(len(self.theta)) if self._fresh else 0

    def gram_weights(self, block: Block, resp: np.ndarray, out: np.ndarray) -> None:
        """Write the weight rows of the Hessian: w g_k g_l for k < l, or w for its bound."""
        if not len(out):
            return
        if self.curvature == "bound":
            out[:] = 1.0 if block.weight is None else block.weight
            return
        products = block_products if self.curvature == "blocks" else pair_products
        products(block.recall(self), out)
        if block.weight is not None:
            out *= block.weight

    def statistics(self, block: Block, resp: np.ndarray) -> Sums:
        """Return the gradient Σ_i w (r_k − g_k) x; for products also each row's curvature."""
        proba, weight = block.recall(self), block.weight
        error = resp - (proba if weight is None else proba * weight)
        sums = Sums(gradient=error @ block.linear(self.design).T)
        if self._usual_curvature == "products":
            weight = np.ones((1, block.n_rows)) if weight is None else weight[None]
            bound = self.curvature == "bound"
            apart = self._seen is not None
            kept = weight if bound else kept_curvature(proba[None], weight, apart=apart)
            sums["rows"] = PerRow(kept)
        return sums

    def update(self, statistics: Sums, rows: Rows) -> SoftmaxGate:
        """Return the gate after one step."""
        gradient = statistics["gradient"] / self.temperature
        if self._usual_curvature == "products":
            return self._updated_by_products(gradient, statistics["rows"].values, rows)
        gram = self._hessian(statistics)
        if self.curvature == "bound":
            bound_step = multinomial_bound_step
            if self._l1 is not None:
                bound_step = partial(proximal_bound_step, l1=self._l1)
            step = bound_step(gram[0], gradient, self.theta, self._penalty, self._seen)
            return evolve(
                self,
                theta=self.theta + step,
                curvature=self._usual_curvature,
                _age=-REFRESH,
                _last=None,
            )
        newton_step = multinomial_step
        if self._l1 is not None:
            newton_step = partial(proximal_step, l1=self._l1)
        taken = newton_step(
            self.curvature,
            gram,
            gradient,
            self.theta,
            self._penalty,
            rows.total_weight,
            self.damping,
            self._last,
            self._seen,
        )
        return evolve(
            self,
            theta=self.theta + taken.step,
            damping=float(relaxed(taken.damping)),
            _last=taken,
            _gram=gram if self.curvature == "newton" else None,
            _age=self._age + 1 if self._age < REFRESH else 1,
        )

    def _updated_by_products(
        self, gradient: np.ndarray, of_rows: np.ndarray, rows: Rows
    ) -> SoftmaxGate:
        """Return the gate after one step by conjugate gradients."""
        factor = self.temperature**-2
        seen = None if self._seen is None else self._seen[None]
        model = gradient[None], self.theta[None], self._penalty
        if self.curvature == "bound":
            step = multinomial_bound_by_products(
                rows, self.design, of_rows, *model, factor=factor, seen=seen, apart=seen is not None
            )
            return evolve(self, theta=self.theta + step[0], curvature="products", _last=None)
        taken = multinomial_steps_by_products(
            CurvatureProducts(rows, self.design, of_rows, factor),
            *model,
            np.array([rows.total_weight]),
            np.array([self.damping]),
            None if self._last is None else [self._last],
            seen,
        )[0]
        damping = float(relaxed(taken.damping))
        return evolve(self, theta=self.theta + taken.step, damping=damping, _last=taken)

    @available_if(lambda self: self._usual_curvature != "products")
    def recentred(self, statistics: Sums, before: SoftmaxGate) -> tuple[SoftmaxGate, Sums]:
        """Return the gate with a Hessian to be formed anew, and statistics at its coefficients."""
        gram = unpack_symmetric(statistics["gram"], self.design.size)
        change = multinomial_change(gram, self.theta - before.theta, self.curvature)
        gradient = statistics["gradient"] - change / self.temperature
        ready = evolve(self, _gram=None, _age=-REFRESH, _last=None)
        return ready, Sums({**statistics, "gradient": gradient})

    def softened(self, share: float) -> SoftmaxGate:
        """Return the gate with this share of its coefficients: its borders are less steep."""
        return evolve(self, theta=share * self.theta, _gram=None, _age=-REFRESH, _last=None)

    def begun(self, rows: Rows) -> SoftmaxGate:
        """Return the gate with coefficients of the constant columns that vary in these rows."""
        design = rows.begun(self.design)
        if design is self.design:
            return self
        gate = evolve(self, design=design, _rank=None, _gram=None, _age=-REFRESH, _last=None)
        return gate._with_penalty()

    def toward(self, new: SoftmaxGate, t: float) -> SoftmaxGate:
        """Return the gate a fraction t of the way to `new`."""
        return evolve(new, theta=self.theta + t * (new.theta - self.theta), _gram=None, _last=None)

    def damped(self, new: SoftmaxGate) -> SoftmaxGate:
        """Return this gate with a next step shorter than the one to `new`."""
        taken = new._last
        damping = self.damping if taken is None else damped(taken.damping, taken.curvature)
        return evolve(self, damping=float(damping), _age=-REFRESH, _last=None)

    def bounded(self) -> SoftmaxGate:
        """Return this gate with its next step under Böhning's bound."""
        return evolve(self, curvature="bound")

    def get_parameters(self) -> np.ndarray:
        """Return the coefficients as one vector."""
        return self.theta.ravel()

    def set_parameters(self, vector: np.ndarray) -> SoftmaxGate:
        """Return the gate with these coefficients, made unique."""
        theta = vector.reshape(self.theta.shape)
        if self._l1 is not None:
            theta = theta if self._seen is None else np.where(self._seen, theta, 0.0)
            theta = identified(theta, self._penalty, self._l1, self._shared)
            return evolve(self, theta=theta, _gram=None, _last=None)
        if self._seen is None:
            return evolve(self, theta=theta - theta.mean(axis=0), _gram=None, _last=None)
        theta = centred_where_shared(np.where(self._seen, theta, 0.0), self._seen)
        return evolve(self, theta=theta, _gram=None, _last=None)

    @property
    def parameter_space(self) -> ParameterSpace:
        """The space of the coefficients."""
        k, p = self.theta.shape
        return softmax_space(k, p, self._seen)

    @available_if(lambda gate: getattr(gate, "_l1", None) is None)
    def scores(self, block: Block, resp: np.ndarray) -> Scores:
        """Return the derivatives of log g_k(x) by the coefficients."""
        proba = block.recall(self)
        return softmax_scores_of(proba, block.weight, self.temperature, self.design, block)

    def prior_derivatives(self) -> PriorDerivatives:
        """Return the derivatives of the log-prior."""
        pull = np.broadcast_to(self._penalty, self.theta.shape).ravel()
        return PriorDerivatives(-pull * self.theta.ravel(), np.diag(pull))

    def slope(self, statistics: Sums) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the gradient, and about the diagonal of the information, both (P,).

        Without the curvature of every row it is that of even probabilities. None where the prior
        has edges.
        """
        if self._l1 is not None or self.curvature == "bound":
            return None
        gradient = statistics["gradient"] / self.temperature - self._penalty * self.theta
        k = len(self.theta)
        level = self._n_rows * (k - 1) / k**2
        if self._usual_curvature == "products":
            level = curvature_level(statistics["rows"].values)[0]
        scale = np.broadcast_to(self._penalty + level / self.temperature**2, self.theta.shape)
        if self._seen is not None:
            gradient = gradient * self._seen
        return gradient.ravel(), scale.ravel()

    def select(self, experts: np.ndarray) -> SoftmaxGate:
        """Return the gate restricted to these experts, in this order."""
        seen = None if self._seen is None else self._seen[experts]
        gate = evolve(self, theta=self.theta[experts], _seen=seen)
        return gate.set_parameters(gate.get_parameters())

    def trimmed(self) -> SoftmaxGate:
        """Return the gate without its last Hessian, in coefficients of the columns."""
        design, strength = self.design.plain, self._strength
        if design is not self.design:  # one strength for all coordinates
            strength = _strengths(design, strength[0])
        gate = evolve(self, design=design, _strength=strength, _gram=None, _last=None)
        return evolve(gate._with_penalty(), theta=self.design.to_plain(self.theta))


def _strengths(design: Design, strength: float) -> np.ndarray:
    """Return the same strength for the slopes of every column."""
    return np.full(int(design.groups.max(initial=-1)) + 1, strength)


def _seen(design: Design, columns: list) -> np.ndarray:
    """Return a mask of the design rows that each expert's score uses, (K, n_design)."""
    masks = [np.isin(design.columns, expert_columns) for expert_columns in columns]
    return np.array([np.concatenate([[True], mask, mask[design.indicators]]) for mask in masks])


def _gram_curvature(design: Design, k: int) -> str:
    """Return the kind of curvature for K experts under an L1 penalty, which takes no products."""
    newton = k * design.size <= NEWTON_COEFFICIENTS
    require_grams("SoftmaxGate", n_pairs(k) if newton else n_block_rows(k), design.size)
    return "newton" if newton else "blocks"


def _usual_curvature(rows: Rows, design: Design, k: int, per_expert: bool) -> str:
    """Return the kind of curvature for K experts: that of the cheaper step."""
    cheap = rows.n_rows * n_pairs(k) * design.size**2 / 2 < CHEAP_HESSIAN
    usual = usual_curvature(k, design.size, NEWTON_COEFFICIENTS * (1 + cheap))
    if usual == "products" or (usual == "newton" and not design.whitened):
        return usual
    newton = usual == "newton"
    n_weights = n_pairs(k) if newton else n_block_rows(k)
    cheaper = by_products(
        rows,
        design,
        n_weights=n_weights,
        systems=1 if newton else n_weights,
        order=k * design.size if newton else design.size,
        vectors=1 if k == 2 and not per_expert else k,
    )
    return "products" if cheaper or not fits(n_weights, design.size) else usual
