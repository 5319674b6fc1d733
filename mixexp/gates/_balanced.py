"""A prior on the experts' usage, for gates that are fitted to responsibilities."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp._blocks import Block, Rows
from mixexp._protocols import evolve
from mixexp.gates._checks import USAGE_REMEDY, check_number

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

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "inner":
            raise AttributeError(name)
        found = getattr(self.inner, name)
        if name == "gram_weights":
            return lambda block, resp, out: found(*self._pulled(block, resp), out)
        if name == "toward":
            return lambda new, t: evolve(new, inner=found(new.inner, t))
        if name == "damped":
            return self._damped
        if name in ("bounded", "finished", "select", "set_parameters"):
            return lambda *args: evolve(self, inner=found(*args), usage=None)
        return found

    def _damped(self, new: BalancedGate) -> BalancedGate:
        """Return the gate with a shorter next step than that to `new`."""
        inner = self.inner.damped(new.inner)
        return self if inner is self.inner else evolve(self, inner=inner)

    @property
    def monotone(self) -> bool:
        """Whether the inner gate is."""
        return bool(self.inner.monotone)

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
        inner = float(self.inner.log_prior()) if hasattr(self.inner, "log_prior") else 0.0
        return inner + self.strength * float(np.sum(np.log(self.usage / self.total)))

    def _pulled(self, block: Block, resp: np.ndarray) -> tuple[Block, np.ndarray]:
        """Return block and responsibilities with the rows that the prior adds."""
        pull = (self.strength / self.usage)[:, None] * block.recall(self)
        weight = block.rows.weight  # not the block's, which may leave out what is noise
        if weight is not None:
            pull *= weight[block.start : block.stop]
        resp = resp + pull
        return block.reweighted(resp.sum(axis=0)), resp

    def statistics(self, block: Block, resp: np.ndarray) -> Any:
        """Return the inner gate's statistics with the rows that the prior adds."""
        return self.inner.statistics(*self._pulled(block, resp))

    def update(self, statistics: Any, rows: Rows) -> BalancedGate:
        """Return the gate after the M-step."""
        return evolve(self, inner=self.inner.update(statistics, rows), usage=None)

    def trimmed(self) -> Any:
        """Return the inner gate: the prior has done its work."""
        return self.inner.trimmed() if hasattr(self.inner, "trimmed") else self.inner
