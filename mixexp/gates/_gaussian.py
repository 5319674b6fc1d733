"""The localised Gaussian gate."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from mixexp._numerics import unpack_symmetric
from mixexp.gates._checks import USAGE_REMEDY, check_number
from mixexp.gates._covariances import SHAPES
from mixexp.gates._usage import log_usage_prior, shares
from mixexp.protocols import Block, Rows, Sums, evolve

__all__ = ["GaussianGate"]

#: An expert with less than this share of all weight keeps its mean and covariance.
EMPTY_SHARE = 1e-14

#: A row further away than this, in standard deviations of the columns, is moved back towards
#: their means: its gate probabilities have reached their limit, and its squares overflow.
FARTHEST = 1e100

LOG_2PI = float(np.log(2 * np.pi))


class GaussianGate(BaseEstimator):
    """Each expert answers for a Gaussian cluster of the inputs.

    g_k(x) = a_k N(x; μ_k, Σ_k) / Σ_l a_l N(x; μ_l, Σ_l). Regions are bounded by quadrics, with
    "tied" covariances by hyperplanes, and every expert has a centre, outside of which others may
    take over. The M-step is in closed form, so it needs neither Newton steps nor a safeguard.

    Parameters
    ----------
    covariance_type : {"full", "tied", "diag", "spherical"}, default="full"
        The shape of Σ_k: any matrix for each expert, one matrix for all, columns that are
        independent, or one variance for all columns once they are scaled by their standard
        deviation.
    alpha : float, default=0.3
        Strength of the log-prior −½ α Σ_k tr Σ_k⁻¹, for columns scaled by their weighted standard
        deviation: Σ_k = (S_k + α I) / N_k from the scatter S_k and the weight N_k. Without it the
        likelihood has no maximum, as a cluster may shrink onto one row; so 0 is refused. With
        "tied" the prior counts once.
    usage_prior : float, default=0.0
        Strength c ≥ 0 of a Dirichlet prior, with log-prior c Σ_k log a_k, on how often experts are
        used: every expert is credited with c rows, a_k = (N_k + c) / (N + K c).

    Attributes
    ----------
    weights_ : ndarray of shape (n_experts,)
        a_k.
    means_ : ndarray of shape (n_experts, n_gate_features)
        μ_k in units of the input.
    covariances_ : ndarray
        Σ_k in units of the input: (n_experts, n_gate_features, n_gate_features) for "full",
        (n_gate_features, n_gate_features) for "tied", variances (n_experts, n_gate_features) for
        "diag" and for "spherical", where they are those of the columns times one number an
        expert. 0 for a constant column, which has no part in the density.

    Notes
    -----
    The gate is a model of x too, p(x) = Σ_k a_k N(x; μ_k, Σ_k), and EM climbs the joint density:
    `lower_bound_` of a mixture is its mean log p(x, y), with p(x) in units of the input.
    `log_density`, `aic`, `bic` and `icl` stay about y given x, and count the parameters of
    g(x), not those of p(x) alone. As p(x) has a say in where the regions are, the conditional
    log-likelihood may be lower than a `SoftmaxGate` would reach.

    The default of `alpha` adds to each cluster's scatter about a third of what one row adds on
    average, near the 1 / K^(2/d) of Fraley & Raftery (2007). Of 0.03, 0.1, 0.3, 1 and 3 it had the
    best mean log-density of new rows where clusters are narrow, and was within 0.004 of the best
    where they are wide: less lets clusters of a few rows pay, more blurs narrow ones.

    References
    ----------
    Xu, Jordan & Hinton (1995), An alternative model for mixtures of experts, NIPS 7. Fraley &
    Raftery (2007), Bayesian regularization for normal mixture estimation and model-based
    clustering, Journal of Classification 24.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> from mixexp.gates import GaussianGate
    >>> X, y = load_tone(return_X_y=True)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, gate=GaussianGate(), random_state=0)
    >>> model.fit(X, y).gate_.means_.shape
    (2, 1)
    """

    monotone = True

    #: NaN has no place in a density of x.
    takes_missing = False

    def __init__(
        self, covariance_type: str = "full", *, alpha: float = 0.3, usage_prior: float = 0.0
    ):
        self.covariance_type = covariance_type
        self.alpha = alpha
        self.usage_prior = usage_prior

    def start(self, rows: Rows, n_experts: int, columns: Any) -> GaussianGate:
        """Return a gate for these rows in which all experts are equally likely."""
        self._check_parameters()
        if isinstance(columns, list):
            raise ValueError(
                "GaussianGate: it has one set of columns for all experts, and gate_features gives "
                "one to each. Use SoftmaxGate, or one selection."
            )
        design = rows.design(columns)
        if len(design.indicators):
            raise ValueError(
                f"GaussianGate: columns {design.columns[design.indicators].tolist()} of the gate's "
                "input contain NaN, and a density of x takes none. Use SoftmaxGate(), an imputer "
                "in a Pipeline, or leave them out by gate_features."
            )
        seen = np.flatnonzero(design.scale > 0)
        d = len(seen)
        # of log p(x), all that no M-step changes, with dx / dz of the scaled columns
        constant = -0.5 * d * LOG_2PI - float(np.log(design.scale[seen]).sum())
        gate = evolve(self, design=design, _seen=seen, _constant=constant)
        factors = self._shape.start(n_experts, d)
        return gate._at(np.full(n_experts, 1.0 / n_experts), np.zeros((n_experts, d)), factors)

    def _check_parameters(self) -> None:
        """Raise where a parameter is not what it must be."""
        if not (isinstance(self.covariance_type, str) and self.covariance_type in SHAPES):
            raise ValueError(
                f"GaussianGate: covariance_type must be one of {list(SHAPES)}, got "
                f"{self.covariance_type!r}."
            )
        if not (isinstance(self.alpha, Real) and 0 < self.alpha < np.inf):
            raise ValueError(
                f"GaussianGate: alpha must be a number in (0, inf), got {self.alpha!r}. It cannot "
                "be 0, because the joint likelihood then grows without bound as a cluster shrinks "
                "onto one row; use a small number."
            )
        check_number(self, "usage_prior", lowest=0.0, remedy=USAGE_REMEDY)

    def _at(self, weights: np.ndarray, means: np.ndarray, factors: np.ndarray) -> GaussianGate:
        """Return the gate with these parameters: of standardised columns, constant ones left out.

        Also holds what every block needs of them: inverse factors, and log a_k − ½ log|Σ_k|.
        """
        inverse = self._shape.inverse(factors)
        level = np.log(weights) - self._shape.half_log_det(factors, means.shape[1])
        return evolve(
            self, weights_=weights, _means=means, _factors=factors, _inverse=inverse, _level=level
        )

    @property
    def _shape(self) -> Any:
        return SHAPES[self.covariance_type]

    @property
    def means_(self) -> np.ndarray:
        """Means in input units."""
        means = np.repeat(self.design.center[None], len(self.weights_), axis=0)
        means[:, self._seen] += self._means * self.design.scale[self._seen]
        return means

    @property
    def covariances_(self) -> np.ndarray:
        """Covariances in input units."""
        return self._shape.covariances(self._factors, self._seen, self.design.scale)

    @property
    def n_parameters(self) -> int:
        """Number of free parameters of g(x): those of p(x) alone do not count.

        log g_k − log g_l is a quadratic function of x, with "tied" covariances a linear one.
        """
        k, d = self._means.shape
        of_shape = len(self._shape.vector(self._factors)) // k if not self._shape.shared else 0
        return (k - 1) * (1 + d + of_shape)

    def _columns(self, block: Block) -> np.ndarray:
        """Return the standardised columns that vary, (d, m)."""
        z = block.matrix(self.design)[1:]
        return z if len(self._seen) == len(z) else z[self._seen]

    def log_prob(self, block: Block) -> np.ndarray:
        """Return log g_k(x), (K, m)."""
        z = _within_reach(self._columns(block))
        distances, common = self._shape.distances(self._inverse, self._means, z)
        log_prob = np.multiply(distances, -0.5, out=distances)
        log_prob += self._level[:, None]
        # the largest is taken off first: sums of far larger numbers would round away the rest
        top = np.maximum.reduce(log_prob, axis=0)
        log_prob -= top
        total = np.log(np.add.reduce(np.exp(log_prob), axis=0))
        log_prob -= total
        block.keep(self, self._constant + top + total - 0.5 * common)
        return log_prob

    def log_marginal(self, block: Block) -> np.ndarray:
        """Return log p(x) in units of the input, (m,), of a block that `log_prob` has seen."""
        return block.recall(self)

    def log_prior(self) -> float:
        """Return the log-prior of covariances and usage."""
        trace = self._shape.inverse_trace(self._inverse, self._means.shape[1])
        return -0.5 * self.alpha * trace + log_usage_prior(self.weights_, self.usage_prior)

    @property
    def n_gram_weights(self) -> int:
        """Number of weight rows whose Gram matrices give the moments: none without products."""
        return len(self.weights_) if self._shape.crossed else 0

    def gram_weights(self, block: Block, resp: np.ndarray, out: np.ndarray) -> None:
        """Write the responsibilities: with the row of ones a Gram matrix holds all moments."""
        if self._shape.crossed:
            out[:] = resp

    def statistics(self, block: Block, resp: np.ndarray) -> Sums:
        """Return the experts' weights and sums of z and z², as far as no Gram matrix has them."""
        if self._shape.crossed:
            return Sums()
        z = self._columns(block)
        return Sums(mass=resp.sum(axis=1), first=resp @ z.T, second=resp @ (z * z).T)

    def update(self, statistics: Sums, rows: Rows) -> GaussianGate:
        """Return the gate after the M-step.

        The scatter is the second moment less N μμᵀ. As columns are centred, what is subtracted is
        no larger than about the spread of all rows: for a cluster w times as wide as its column
        the relative error is some 1e-16 / w², and in the mean and the density far less. Σ_k never
        falls below α / N_k, which is larger than that error while N_k stays below α · 1e16.
        """
        mass, first, second = self._moments(statistics)
        alive = mass > EMPTY_SHARE * mass.sum()
        own = mass[alive]
        means, factors = self._means.copy(), self._factors.copy()
        means[alive] = first[alive] / own[:, None]
        if self._shape.crossed:
            scatter = second[alive] - means[alive, :, None] * first[alive, None]
        else:
            scatter = second[alive] - means[alive] * first[alive]
        factors[slice(None) if self._shape.shared else alive] = self._shape.estimate(
            scatter, own, self.alpha
        )
        return self._at(shares(mass, self.usage_prior), means, factors)

    def _moments(self, statistics: Sums) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return Σ r (K,), Σ r z (K, d), and Σ r zzᵀ (K, d, d) or Σ r z² (K, d)."""
        if not self._shape.crossed:
            return statistics["mass"], statistics["first"], statistics["second"]
        gram = unpack_symmetric(statistics["gram"], self.design.size)
        seen = 1 + self._seen
        return gram[:, 0, 0], gram[:, 0, seen], gram[:, seen[:, None], seen]

    def get_parameters(self) -> np.ndarray:
        """Return centred log a_k, means, and Cholesky factors with logarithms as diagonals."""
        logs = np.log(self.weights_)
        vector = self._shape.vector(self._factors)
        return np.concatenate([logs - logs.mean(), self._means.ravel(), vector])

    def set_parameters(self, vector: np.ndarray) -> GaussianGate:
        """Return the gate with these parameters, log a_k up to a constant."""
        k = len(self.weights_)
        logs, means, rest = np.split(vector, [k, k + self._means.size])
        factors = self._shape.from_vector(rest, self._factors)
        weights = shares(np.exp(logs - logs.max()))
        return self._at(weights, means.reshape(self._means.shape).copy(), factors)

    def select(self, experts: np.ndarray) -> GaussianGate:
        """Return the gate between some experts, in this order."""
        factors = self._factors if self._shape.shared else self._factors[experts]
        return self._at(shares(self.weights_[experts]), self._means[experts], factors)


def _within_reach(z: np.ndarray) -> np.ndarray:
    """Return columns (d, m) with those rows moved back along their ray that are too far away."""
    if not z.size or max(z.max(), -z.min()) <= FARTHEST:
        return z
    largest_double = np.finfo(float).max
    z = np.clip(z, -largest_double, largest_double)  # infinite ones have no ray
    return z * np.minimum(1.0, FARTHEST / np.maximum(np.abs(z).max(axis=0), 1.0))
