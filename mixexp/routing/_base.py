"""What all routers share: temperature, jitter, balance and the fallback."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from mixexp._numerics import softmax_in_place
from mixexp.protocols import evolve
from mixexp.routing._balance import bias_steps, log_prices, priced

__all__ = ["BALANCES", "BaseRouter"]

#: Ways to keep experts equally busy.
BALANCES = ("bias", "prior", "assignment")

#: A routed expert has at least this weight, so that weights show who is routed.
SMALLEST_WEIGHT = 1e-300

#: Smallest temperature: scores divided by less would overflow.
COLDEST = 1e-3


class BaseRouter(BaseEstimator):
    """Base class of routers; subclasses choose the experts of each row.

    A subclass defines `chosen`, and what differs from the defaults below. Fitted copies carry
    `bias_` or other state that `surveyed` takes from the training rows.
    """

    #: Number of experts of every row, None if it varies.
    k: Any = None
    balance: str | None = None
    fallback: Any = None
    jitter = 0.0
    temperature = 1.0
    renormalise = True
    overflow = "next"
    capacity_factor: Any = None
    overlap = 0.0

    @property
    def hard(self) -> bool:
        """Whether training assigns rows to one expert each, and freezes the routes at its end."""
        return False

    @property
    def needs_fallback(self) -> bool:
        """Whether some weight goes to a fallback expert."""
        return not self.renormalise or self.overflow == "fallback"

    def check(self, n_experts: int, owner: str) -> None:
        """Raise if a parameter is invalid for this many experts, or `chosen` is missing."""
        kind = type(self)
        if kind.chosen is BaseRouter.chosen and kind.weights is BaseRouter.weights:
            raise TypeError(
                f"{owner}: routing {kind.__name__} has no chosen, which returns the experts that "
                "each row reaches. Define it."
            )
        self._check_number("temperature", owner, COLDEST, np.inf, "Use 1 for the gate as it is.")
        self._check_number("jitter", owner, 0.0, 0.999, "Use 0 for none.")
        if self.balance not in (None, *BALANCES):
            raise ValueError(
                f"{owner}: {self!r}: balance must be None or one of {list(BALANCES)}, got "
                f"{self.balance!r}."
            )
        if self.needs_fallback and self.fallback is None:
            why = "renormalise=False" if not self.renormalise else f"overflow={self.overflow!r}"
            raise ValueError(
                f"{owner}: {self!r}: {why} leaves weight to a fallback expert. Set "
                'fallback="mean", or fallback to an estimator.'
            )
        if not self.needs_fallback and self.fallback is not None:
            raise ValueError(
                f"{owner}: {self!r}: fallback={self.fallback!r}, to which no weight would go. Set "
                "fallback=None, or the option that uses it (renormalise=False of TopK, "
                'overflow="fallback" of Switch).'
            )

    def _check_number(
        self, name: str, owner: str, lowest: float, highest: float, remedy: str = ""
    ) -> None:
        """Raise unless a parameter is a number in a closed range."""
        value = getattr(self, name)
        number = isinstance(value, Real) and not isinstance(value, bool)
        if not (number and lowest <= value <= highest):
            span = f"at least {lowest}" if highest == np.inf else f"from {lowest} to {highest}"
            raise ValueError(
                f"{owner}: {type(self).__name__}: {name} must be a number {span}, got {value!r}. "
                f"{remedy}".rstrip()
            )

    def _check_k(self, n_experts: int, owner: str) -> None:
        """Raise unless k is a whole number from 1 to the number of experts."""
        whole = isinstance(self.k, Integral) and not isinstance(self.k, bool)
        if not (whole and 1 <= self.k <= n_experts):
            raise ValueError(
                f"{owner}: {type(self).__name__}: k must be a whole number from 1 to "
                f"n_experts={n_experts}, got {self.k!r}."
            )

    def started(self, n_experts: int) -> Any:
        """Return a copy to be fitted."""
        router = evolve(self)
        if self.balance == "bias":
            router.bias_ = np.zeros(n_experts)
        return router

    @property
    def looks_at_all(self) -> bool:
        """Whether `surveyed` needs the gate probabilities of all rows."""
        return self.balance in ("bias", "assignment")

    def surveyed(self, log_gate: np.ndarray, weight: np.ndarray | None) -> Any:
        """Return the router after a look at log g_k(x) (K, n) of all training rows."""
        proba = self.probabilities(log_gate)
        if self.balance == "bias":
            return evolve(self, bias_=bias_steps(proba, self.bias_, weight, self.chosen))
        if self.balance == "assignment":
            return evolve(self, log_prices_=log_prices(proba, weight))
        return self

    def select(self, experts: np.ndarray) -> Any:
        """Return the router of some experts, in this order."""
        names = [n for n in ("bias_", "thresholds_", "log_prices_") if n in vars(self)]
        changed = {name: vars(self)[name][experts] for name in names}
        if "loads_" in vars(self):  # the fallback's is the last one
            n_experts = len(self.loads_) - self.needs_fallback
            changed["loads_"] = np.append(self.loads_[experts], self.loads_[n_experts:])
        return evolve(self, **changed)

    def probabilities(self, log_gate: np.ndarray) -> np.ndarray:
        """Return gate probabilities (K, m) at the router's temperature."""
        proba = log_gate / self.temperature
        softmax_in_place(proba)
        return proba

    def scores(self, proba: np.ndarray) -> np.ndarray:
        """Return what experts are chosen by, (K, m): probability plus bias, or times a price."""
        if "log_prices_" in vars(self):
            return priced(proba, self.log_prices_)
        if "bias_" in vars(self):
            return proba + self.bias_[:, None]
        return proba

    def weights(self, log_gate: np.ndarray) -> np.ndarray:
        """Return routing weights from log g_k(x) (K, m).

        Parameters
        ----------
        log_gate : ndarray of shape (n_experts, m)
            Logarithms of gate probabilities, up to a constant per column.

        Returns
        -------
        ndarray of shape (n_experts, m), or (n_experts + 1, m) with a fallback
            Columns sum to 1.
        """
        proba = self.probabilities(log_gate)
        scores = self.scores(proba).view()
        scores.flags.writeable = False
        return self.weighted(proba, self._mask(scores))

    def _mask(self, scores: np.ndarray) -> np.ndarray:
        """Return the mask (K, m) of `chosen`, checked."""
        mask = self.chosen(scores)
        if not (isinstance(mask, np.ndarray) and mask.dtype == bool and mask.shape == scores.shape):
            got = f"{mask.dtype} {mask.shape}" if isinstance(mask, np.ndarray) else repr(mask)
            raise ValueError(f"`chosen` returned {got}, not a mask of shape {scores.shape}")
        if not (self.needs_fallback or np.all(mask.any(axis=0))):
            raise ValueError(
                "`chosen` kept no expert for some rows: at least one expert of each "
                "column must be True"
            )
        return mask

    def weighted(self, proba: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Return the weights (K or K + 1, m) of rows that reach the experts in `mask`."""
        weights = np.where(mask, np.maximum(proba, SMALLEST_WEIGHT), 0.0)
        total = weights.sum(axis=0)
        if self.needs_fallback:
            rest = np.clip(1.0 - total, 0.0, 1.0) if not self.renormalise else 1.0 * (total == 0)
            if self.renormalise:
                weights = weights / np.where(total == 0, 1.0, total)
            return np.concatenate([weights, rest[None]])
        weights /= total
        return weights

    def chosen(self, scores: np.ndarray) -> np.ndarray:
        """Return the experts that each row reaches, (K, m)."""
        raise NotImplementedError

    def kept_nodes(self, log_prob: np.ndarray) -> np.ndarray | None:
        """Return which nodes (J, m) of a level of a tree to go on from; None for all, always."""
        return None


def largest(scores: np.ndarray, k: int) -> np.ndarray:
    """Return a mask of the k largest scores of each column; of equal ones, the first."""
    n_experts, m = scores.shape
    mask = np.zeros((n_experts, m), dtype=bool)
    if k >= n_experts:
        mask[:] = True
    elif k == 1:
        mask[scores.argmax(axis=0), np.arange(m)] = True
    else:
        order = np.argsort(-scores, axis=0, kind="stable")[:k]
        mask[order, np.arange(m)] = True
    return mask
