"""A prior on the experts' usage, for gates that are fitted to responsibilities."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp.gates._checks import USAGE_REMEDY, check_number
from mixexp.protocols import Block, Forward, Hidden, Rows, can, evolve, if_inner_can

__all__ = ["BalancedGate", "balanced"]

#: Smallest usage: an expert that no row has left would pull with infinite force.
SMALLEST_USAGE = 1e-12


def balanced(gate: Any, strength: float) -> Any:
    """Return a gate at its start under a Dirichlet prior on usage; 0 is no prior."""
    check_number(gate, "usage_prior", lowest=0.0, remedy=USAGE_REMEDY)
    return BalancedGate(gate, float(strength)) if strength > 0 else gate


class BalancedGate:
    """Another gate, with the log-prior c Σ_k log u_k on the usage u_k = Σ_i w_i g_k(x_i) / W.

    The logarithm of a sum is bounded from below as in EM itself (Jensen): with shares
    q_ik = w_i g_k(x_i) / Σ_j w_j g_k(x_j) of the present gate,
    log u_k ≥ Σ_i q_ik log(w_i g_k(x_i) / (W q_ik)). So the M-step is that of the inner gate for
    responsibilities w_i r_ik + c q_ik: each expert gets c more rows, drawn from those it has. The
    usage is taken anew before each pass, which costs one more evaluation of the gate. What is
    stored in a fitted mixture is the inner gate alone (`trimmed`).

    Parameters
    ----------
    inner : Gate
        Started.
    strength : float
        c, in units of rows.
    """

    def __init__(self, inner: Any, strength: float):
        self.inner = inner
        self.strength = strength
        self.usage: Any = None
        self.total = 0.0

    n_gram_weights = Forward()
    design = Forward()
    n_parameters = Forward()
    get_parameters = Forward()
    depth = Forward()
    leaves_at = Forward()
    expert_columns = Forward()
    flat = Forward()
    arrangements = Forward()
    takes_missing = Forward()
    featureless = Forward()
    ordered = Forward()
    nested = Forward()
    cross_fitted = Forward()
    log_marginal = Forward()
    coef_ = Forward()

    # the prior is for gates in mixexp.gates that have a usage_prior; none is a classifier
    estimator = Hidden()
    with_fitting = Hidden()
    without_noise = Hidden()

    @property
    def monotone(self) -> bool:
        """Whether the inner gate is."""
        return bool(self.inner.monotone)

    def _with(self, inner: Any) -> BalancedGate:
        return evolve(self, inner=inner, usage=None)

    @if_inner_can("gram_weights")
    def gram_weights(self, block: Block, resp: np.ndarray, out: np.ndarray) -> None:
        """Write the inner gate's weight rows, with the rows that the prior adds."""
        self.inner.gram_weights(*self._pulled(block, resp), out)

    @if_inner_can("toward")
    def toward(self, new: BalancedGate, t: float) -> BalancedGate:
        """Return the gate a share t of the way to `new`."""
        return evolve(new, inner=self.inner.toward(new.inner, t))

    @if_inner_can("damped")
    def damped(self, new: BalancedGate) -> BalancedGate:
        """Return the gate with a shorter next step than that to `new`."""
        inner = self.inner.damped(new.inner)
        return self if inner is self.inner else evolve(self, inner=inner)

    @if_inner_can("bounded")
    def bounded(self) -> BalancedGate:
        """Return the gate with the inner one's next step under a bound of the curvature."""
        return self._with(self.inner.bounded())

    @if_inner_can("finished")
    def finished(self, rows: Rows) -> BalancedGate:
        """Return the gate as it predicts for new rows."""
        return self._with(self.inner.finished(rows))

    @if_inner_can("select")
    def select(self, experts: np.ndarray) -> BalancedGate:
        """Return the gate between some experts, in this order."""
        return self._with(self.inner.select(experts))

    @if_inner_can("set_parameters")
    def set_parameters(self, vector: np.ndarray) -> BalancedGate:
        """Return the gate with these parameters."""
        return self._with(self.inner.set_parameters(vector))

    def measured(self, rows: Rows) -> BalancedGate:
        """Return the gate with its usage by these rows."""
        usage: Any = 0.0
        for block in rows.blocks():
            proba = np.exp(self.inner.log_prob(block))
            usage += proba.sum(axis=1) if block.weight is None else proba @ block.weight
        floor = SMALLEST_USAGE * rows.total_weight
        return evolve(self, usage=np.maximum(usage, floor), total=rows.total_weight)

    def log_prob(self, block: Block) -> np.ndarray:
        """Return log g_k(x), (K, m)."""
        log_prob: np.ndarray = self.inner.log_prob(block)
        block.keep(self, np.exp(log_prob))
        return log_prob

    def log_prior(self) -> float:
        """Return the inner gate's log-prior and that of the usage."""
        inner = float(self.inner.log_prior()) if can(self.inner, "log_prior") else 0.0
        return inner + self.strength * float(np.sum(np.log(self.usage / self.total)))

    def _pulled(self, block: Block, resp: np.ndarray) -> tuple[Block, np.ndarray]:
        """Return block and responsibilities with the rows that the prior adds."""
        pull = (self.strength / self.usage)[:, None] * block.recall(self)
        if block.row_weight is not None:  # a block's weight may leave out what is noise
            pull *= block.row_weight
        resp = resp + pull
        return block.reweighted(resp.sum(axis=0)), resp

    def statistics(self, block: Block, resp: np.ndarray) -> Any:
        """Return the inner gate's statistics with the rows that the prior adds."""
        return self.inner.statistics(*self._pulled(block, resp))

    def update(self, statistics: Any, rows: Rows) -> BalancedGate:
        """Return the gate after the M-step."""
        return self._with(self.inner.update(statistics, rows))

    def trimmed(self) -> Any:
        """Return the inner gate: the prior has done its work."""
        return self.inner.trimmed() if can(self.inner, "trimmed") else self.inner
