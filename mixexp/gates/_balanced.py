"""A prior on the experts' usage, for gates that are fitted to responsibilities."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from mixexp.gates._checks import USAGE_REMEDY, check_number
from mixexp.protocols import Block, Forward, Hidden, Rows, can, evolve, if_inner_can

__all__ = ["BalancedGate", "balanced"]

#: Smallest usage: the pull of an expert without rows would be infinite.
SMALLEST_USAGE = 1e-12


def balanced(gate: Any, strength: float) -> Any:
    """Return a started gate under a Dirichlet prior on usage; strength 0 means no prior."""
    check_number(gate, "usage_prior", lowest=0.0, remedy=USAGE_REMEDY)
    return BalancedGate(gate, float(strength)) if strength > 0 else gate


class BalancedGate:
    """A gate with the log-prior c Σ_k log u_k on the usage u_k = Σ_i w_i g_k(x_i) / W.

    As in EM itself, Jensen's inequality bounds the logarithm of the sum from below: with shares
    q_ik = w_i g_k(x_i) / Σ_j w_j g_k(x_j) of the current gate,
    log u_k ≥ Σ_i q_ik log(w_i g_k(x_i) / (W q_ik)). The M-step is therefore the inner gate's, with
    responsibilities w_i r_ik + c q_ik: each expert gets c extra rows, spread over the rows it
    already has. Usage is measured again before each pass, which costs one more evaluation of the
    gate. A fitted mixture stores only the inner gate (`trimmed`).

    Parameters
    ----------
    inner : Gate
        After `start`.
    strength : float
        c, as a number of rows.
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
    descended = Forward()

    # only gates of mixexp.gates have a usage_prior, and none of those is a classifier
    estimator = Hidden()
    with_fitting = Hidden()
    without_noise = Hidden()

    # routing is outside
    climbed = Hidden()
    surveyed = Hidden()
    without_routing = Hidden()

    # usage is a sum over rows: its prior has no derivatives row by row
    scores = Hidden()
    recentred = Hidden()
    begun = Hidden()
    softened = Hidden()
    slope = Hidden()
    tuned = Hidden()
    loosened = Hidden()
    limited = Hidden()
    penalised_as = Hidden()

    @property
    def monotone(self) -> bool:
        """Whether the inner gate is monotone."""
        return bool(self.inner.monotone)

    def _with(self, inner: Any) -> BalancedGate:
        return evolve(self, inner=inner, usage=None)

    @if_inner_can("gram_weights")
    def gram_weights(self, block: Block, resp: np.ndarray, out: np.ndarray) -> None:
        """Write the inner gate's weight rows, including the rows that the prior adds."""
        self.inner.gram_weights(*self._with_prior_rows(block, resp), out)

    @if_inner_can("toward")
    def toward(self, new: BalancedGate, t: float) -> BalancedGate:
        """Return the gate a fraction t of the way to `new`."""
        inner = self.inner.toward(new.inner, t)
        return new if inner is new.inner else evolve(new, inner=inner)

    @if_inner_can("damped")
    def damped(self, new: BalancedGate) -> BalancedGate:
        """Return the gate with a next step shorter than the one to `new`."""
        inner = self.inner.damped(new.inner)
        return self if inner is self.inner else evolve(self, inner=inner)

    @if_inner_can("bounded")
    def bounded(self) -> BalancedGate:
        """Return the gate with the next step of the inner gate under a curvature bound."""
        return self._with(self.inner.bounded())

    @if_inner_can("ranked")
    def ranked(self, rows: Rows) -> BalancedGate:
        """Return the gate whose inner one has counted the columns that the rows can tell apart."""
        return self._with(self.inner.ranked(rows))

    @if_inner_can("finished")
    def finished(self, rows: Rows) -> BalancedGate:
        """Return the gate ready to predict new rows."""
        return self._with(self.inner.finished(rows))

    @if_inner_can("select")
    def select(self, experts: np.ndarray) -> BalancedGate:
        """Return the gate restricted to these experts, in this order."""
        return self._with(self.inner.select(experts))

    @if_inner_can("set_parameters")
    def set_parameters(self, vector: np.ndarray) -> BalancedGate:
        """Return the gate with these parameters."""
        return self._with(self.inner.set_parameters(vector))

    def measured(self, rows: Rows) -> BalancedGate:
        """Return the gate with its usage measured on these rows."""
        usage = rows.reduce(partial(_usage, gate=self.inner))
        floor = SMALLEST_USAGE * rows.total_weight
        return evolve(self, usage=np.maximum(usage, floor), total=rows.total_weight)

    def log_prob(self, block: Block) -> np.ndarray:
        """Return log g_k(x), (K, m)."""
        log_prob: np.ndarray = self.inner.log_prob(block)
        block.keep(self, np.exp(log_prob))
        return log_prob

    def log_prior(self) -> float:
        """Return the inner gate's log-prior plus the log-prior of the usage."""
        inner = float(self.inner.log_prior()) if can(self.inner, "log_prior") else 0.0
        return inner + self.strength * float(np.sum(np.log(self.usage / self.total)))

    def _with_prior_rows(self, block: Block, resp: np.ndarray) -> tuple[Block, np.ndarray]:
        """Return block and responsibilities including the rows that the prior adds."""
        pull = (self.strength / self.usage)[:, None] * block.recall(self)
        if block.row_weight is not None:  # a block's weight may exclude noise
            pull *= block.row_weight
        resp = resp + pull
        return block.reweighted(resp.sum(axis=0)), resp

    def statistics(self, block: Block, resp: np.ndarray) -> Any:
        """Return the inner gate's statistics, including the rows that the prior adds."""
        return self.inner.statistics(*self._with_prior_rows(block, resp))

    def update(self, statistics: Any, rows: Rows) -> BalancedGate:
        """Return the gate after the M-step."""
        return self._with(self.inner.update(statistics, rows))

    def trimmed(self) -> Any:
        """Return the inner gate: only fitting needs the prior."""
        return self.inner.trimmed() if can(self.inner, "trimmed") else self.inner


def _usage(block: Block, gate: Any) -> np.ndarray:
    """Return the sums of gate probabilities of a block, (K,)."""
    proba: np.ndarray = np.exp(gate.log_prob(block))
    return proba.sum(axis=1) if block.weight is None else proba @ block.weight
