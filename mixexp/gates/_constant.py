"""The constant gate."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from mixexp._derivatives import unbounded
from mixexp.gates._checks import USAGE_REMEDY, check_number
from mixexp.gates._usage import log_usage_prior, shares
from mixexp.protocols import Block, ParameterSpace, PriorDerivatives, Rows, Scores, Sums, evolve

__all__ = ["ConstantGate"]


class ConstantGate(BaseEstimator):
    """The same gate probabilities everywhere: a mixture of regressions.

    Parameters
    ----------
    usage_prior : float, default=0.0
        Strength c ≥ 0 of a Dirichlet prior, with log-prior c Σ_k log g_k, on the experts'
        usage: every expert is credited with c rows, g_k = (N_k + c) / (N + K c).

    Attributes
    ----------
    proba_ : ndarray of shape (n_experts,)
        Gate probabilities: each expert's share of the responsibilities.

    References
    ----------
    Quandt & Ramsey (1978), Estimating mixtures of normal distributions and switching
    regressions, JASA 73.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> from mixexp.gates import ConstantGate
    >>> X, y = load_tone(return_X_y=True)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, gate=ConstantGate(), random_state=0)
    >>> model.fit(X, y).gate_.proba_.shape
    (2,)
    """

    monotone = True

    #: Uses no features, so features may differ within groups.
    featureless = True

    def __init__(self, *, usage_prior: float = 0.0):
        self.usage_prior = usage_prior

    def start(self, rows: Rows, n_experts: int, columns: Any) -> ConstantGate:
        """Return a gate in which all experts are equally likely."""
        check_number(self, "usage_prior", lowest=0.0, remedy=USAGE_REMEDY)
        return evolve(self, proba_=np.full(n_experts, 1.0 / n_experts))

    @property
    def n_parameters(self) -> int:
        """Number of free parameters."""
        return len(self.proba_) - 1

    def log_prob(self, block: Block) -> np.ndarray:
        """Return log g_k, (K, m)."""
        return np.repeat(np.log(self.proba_)[:, None], block.n_rows, axis=1)

    def log_prior(self) -> float:
        """Return the log-prior of the usage."""
        return log_usage_prior(self.proba_, self.usage_prior)

    @property
    def parameter_space(self) -> ParameterSpace:
        """The space of the logarithms, which may all be shifted."""
        k = len(self.proba_)
        places = np.arange(k)
        none = np.empty((k, 0, 0), dtype=int)
        return ParameterSpace(none, places[:, None], places, places[None], *unbounded(k))

    def scores(self, block: Block, resp: np.ndarray) -> Scores:
        """Return the derivatives of log g_k by the logarithms."""
        k, m = resp.shape
        total = m if block.weight is None else float(block.weight.sum())
        information = total * (np.diag(self.proba_) - np.outer(self.proba_, self.proba_))
        shared = np.broadcast_to(-self.proba_[:, None, None], (k, 1, m))
        return Scores(np.empty((k, 0, 1)), np.ones((k, 1, m)), shared, information)

    def prior_derivatives(self) -> PriorDerivatives:
        """Return the derivatives of c Σ_k log g_k."""
        k, c = len(self.proba_), self.usage_prior
        information = k * c * (np.diag(self.proba_) - np.outer(self.proba_, self.proba_))
        return PriorDerivatives(c - k * c * self.proba_, information)

    def statistics(self, block: Block, resp: np.ndarray) -> Sums:
        """Return the weight per expert."""
        return Sums(mass=resp.sum(axis=1))

    def update(self, statistics: Sums, rows: Rows) -> ConstantGate:
        """Return the gate after the M-step."""
        return evolve(self, proba_=shares(statistics["mass"], self.usage_prior))

    def recentred(self, statistics: Sums, before: ConstantGate) -> tuple[ConstantGate, Sums]:
        """Return the gate and the statistics, which depend on no coefficients."""
        return self, statistics

    def get_parameters(self) -> np.ndarray:
        """Return centred log-probabilities."""
        logs = np.log(self.proba_)
        return logs - logs.mean()

    def set_parameters(self, vector: np.ndarray) -> ConstantGate:
        """Return the gate with these log-probabilities, given up to a constant."""
        return evolve(self, proba_=shares(np.exp(vector - vector.max())))

    def select(self, experts: np.ndarray) -> ConstantGate:
        """Return the gate restricted to these experts, in this order."""
        return evolve(self, proba_=shares(self.proba_[experts]))
