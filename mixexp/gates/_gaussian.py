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

#: Rows further away than this, in standard deviations of the columns, are moved back towards the
#: means: gate probabilities have reached their limit there, and squares would overflow.
FARTHEST = 1e100

LOG_2PI = float(np.log(2 * np.pi))


class GaussianGate(BaseEstimator):
    """Each expert is responsible for a Gaussian cluster of the inputs.

    g_k(x) = a_k N(x; μ_k, Σ_k) / Σ_l a_l N(x; μ_l, Σ_l). Regions are bounded by quadrics
    (by hyperplanes if covariances are "tied"), and every expert has a centre, away from which
    other experts may take over. The M-step has a closed form and needs neither Newton steps nor a
    safeguard.

    Parameters
    ----------
    covariance_type : {"full", "tied", "diag", "spherical"}, default="full"
        The shape of Σ_k: a full matrix per expert, one matrix shared by all experts, independent
        columns, or a single variance for all columns after scaling by their standard deviation.
    alpha : float, default=0.3
        Strength of the log-prior −½ α Σ_k tr Σ_k⁻¹, for columns scaled by their weighted standard
        deviation: Σ_k = (S_k + α I) / N_k from the scatter S_k and the weight N_k. Without it the
        likelihood has no maximum, because a cluster may shrink onto a single row; 0 is therefore
        an error. With "tied" the prior counts once.
    usage_prior : float, default=0.0
        Strength c ≥ 0 of a Dirichlet prior, with log-prior c Σ_k log a_k, on the experts'
        usage: every expert is credited with c rows, a_k = (N_k + c) / (N + K c).

    Attributes
    ----------
    weights_ : ndarray of shape (n_experts,)
        a_k.
    means_ : ndarray of shape (n_experts, n_gate_features)
        μ_k in units of the input; with a `gate_basis`, of its outputs, which are modelled in its
        place.
    covariances_ : ndarray
        Σ_k in units of the input: (n_experts, n_gate_features, n_gate_features) for "full",
        (n_gate_features, n_gate_features) for "tied", variances (n_experts, n_gate_features) for
        "diag" and "spherical"; for "spherical" they are the columns' variances times one factor
        per expert. 0 for a constant column, which the density ignores.

    Notes
    -----
    The gate also models x, p(x) = Σ_k a_k N(x; μ_k, Σ_k), and EM maximises the joint density:
    `lower_bound_` of a mixture is its mean log p(x, y), with p(x) in units of the input.
    `log_density`, `aic`, `bic` and `icl` still refer to y given x, and count the parameters of
    g(x) but not those that only affect p(x). Because p(x) influences the regions, the conditional
    log-likelihood may be lower than with a `SoftmaxGate`.

    The default `alpha` adds about a third of an average row to each cluster's scatter, close to
    the 1 / K^(2/d) of Fraley & Raftery (2007). Among 0.03, 0.1, 0.3, 1 and 3 it gave the best mean
    log-density of new rows for narrow clusters, and came within 0.004 of the best for wide ones:
    smaller values favour clusters of a few rows, larger ones blur narrow clusters.

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

    #: A density of x is undefined at NaN.
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
        # the part of log p(x) that no M-step changes, with dx / dz of the scaled columns
        constant = -0.5 * d * LOG_2PI - float(np.log(design.scale[seen]).sum())
        gate = evolve(self, design=design, _seen=seen, _constant=constant)
        factors = self._shape.start(n_experts, d)
        return gate._at(np.full(n_experts, 1.0 / n_experts), np.zeros((n_experts, d)), factors)

    def _check_parameters(self) -> None:
        """Raise if a parameter is invalid."""
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
        """Return the gate with these parameters, for standardised columns without constant ones.

        It also caches values that every block needs: inverse factors, and log a_k − ½ log|Σ_k|.
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
        """Number of free parameters of g(x), without those that only affect p(x).

        log g_k − log g_l is quadratic in x, or linear if covariances are "tied".
        """
        k, d = self._means.shape
        n_shape = len(self._shape.vector(self._factors)) // k if not self._shape.shared else 0
        return (k - 1) * (1 + d + n_shape)

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
        # subtract the largest first: adding far larger numbers would round the rest away
        top = np.maximum.reduce(log_prob, axis=0)
        log_prob -= top
        total = np.log(np.add.reduce(np.exp(log_prob), axis=0))
        log_prob -= total
        block.keep(self, self._constant + top + total - 0.5 * common)
        return log_prob

    def log_marginal(self, block: Block) -> np.ndarray:
        """Return log p(x) in units of the input, (m,), for a block already passed to `log_prob`."""
        return block.recall(self)

    def log_prior(self) -> float:
        """Return the log-prior of the covariances and the usage."""
        trace = self._shape.inverse_trace(self._inverse, self._means.shape[1])
        return -0.5 * self.alpha * trace + log_usage_prior(self.weights_, self.usage_prior)

    @property
    def n_gram_weights(self) -> int:
        """Number of weight rows whose Gram matrices give the moments: 0 without cross products."""
        return len(self.weights_) if self._shape.crossed else 0

    def gram_weights(self, block: Block, resp: np.ndarray, out: np.ndarray) -> None:
        """Write the responsibilities: as x includes a 1, a Gram matrix holds all moments."""
        if self._shape.crossed:
            out[:] = resp

    def statistics(self, block: Block, resp: np.ndarray) -> Sums:
        """Return weight and sums of z and z² per expert, unless Gram matrices hold them."""
        if self._shape.crossed:
            return Sums()
        z = self._columns(block)
        return Sums(mass=resp.sum(axis=1), first=resp @ z.T, second=resp @ (z * z).T)

    def recentred(self, statistics: Sums, before: GaussianGate) -> tuple[GaussianGate, Sums]:
        """Return the gate and the statistics, which depend on no coefficients."""
        return self, statistics

    def update(self, statistics: Sums, rows: Rows) -> GaussianGate:
        """Return the gate after the M-step.

        The scatter is the second moment minus N μμᵀ. Because columns are centred, the subtracted
        term is no larger than about the spread of all rows: for a cluster w times as wide as its
        column the relative error is about 1e-16 / w², and far smaller in the mean and the density.
        Σ_k never falls below α / N_k, which exceeds that error while N_k stays below α · 1e16.
        """
        mass, first, second = self._moments(statistics)
        alive = mass > EMPTY_SHARE * mass.sum()
        alive_mass = mass[alive]
        means, factors = self._means.copy(), self._factors.copy()
        means[alive] = first[alive] / alive_mass[:, None]
        if self._shape.crossed:
            scatter = second[alive] - means[alive, :, None] * first[alive, None]
        else:
            scatter = second[alive] - means[alive] * first[alive]
        factors[slice(None) if self._shape.shared else alive] = self._shape.estimate(
            scatter, alive_mass, self.alpha
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
        """Return centred log a_k, means, and Cholesky factors with log-diagonals."""
        logs = np.log(self.weights_)
        vector = self._shape.vector(self._factors)
        return np.concatenate([logs - logs.mean(), self._means.ravel(), vector])

    def set_parameters(self, vector: np.ndarray) -> GaussianGate:
        """Return the gate with these parameters; log a_k is given up to a constant."""
        k = len(self.weights_)
        logs, means, rest = np.split(vector, [k, k + self._means.size])
        factors = self._shape.from_vector(rest, self._factors)
        weights = shares(np.exp(logs - logs.max()))
        return self._at(weights, means.reshape(self._means.shape).copy(), factors)

    def select(self, experts: np.ndarray) -> GaussianGate:
        """Return the gate restricted to these experts, in this order."""
        factors = self._factors if self._shape.shared else self._factors[experts]
        return self._at(shares(self.weights_[experts]), self._means[experts], factors)


def _within_reach(z: np.ndarray) -> np.ndarray:
    """Return columns (d, m), with rows that are too far away moved back along their ray."""
    if not z.size or max(z.max(), -z.min()) <= FARTHEST:
        return z
    largest_double = np.finfo(float).max
    z = np.clip(z, -largest_double, largest_double)  # infinite rows have no ray
    return z * np.minimum(1.0, FARTHEST / np.maximum(np.abs(z).max(axis=0), 1.0))
