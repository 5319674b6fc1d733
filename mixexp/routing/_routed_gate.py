"""A gate with routing: each row reaches the experts that a router chooses."""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np
import scipy.sparse as sp

from mixexp._rows.sketch import hashed_uniform, row_hashes
from mixexp.protocols import Block, Forward, Hidden, Rows, Sums, can, evolve, if_inner_can
from mixexp.routing._queue import capacity_of, shared_out

__all__ = ["RoutedGate", "jittered"]

#: Multiplied with the column number to give each value of a row its own random number.
ODD = np.uint64(0x9E3779B97F4A7C15)


class RoutedGate:
    """An inner gate whose probabilities a router turns into routing weights.

    `log_prob` returns the logarithms of the weights, the fallback's last if there is one. With the
    routes fixed, log p(y | x) = log Σ_{k ∈ S} w_k p_k is climbed by EM; the gate's M-step is then
    that of a softmax between the routed experts S of each row (`restricted`), or, if the inner gate
    has none, its own. New parameters change the routes, which may lower the bound: the safeguard
    then shortens the gate's step, down to none.

    There are three stages of a fit. In training, routes follow the gate. Hard routers train the
    dense model instead (`dense`); an assigner gives each row to one expert. At the end the gate is
    `frozen`: it no longer changes, and neither do the routes.

    Parameters
    ----------
    inner : Gate
        After `start`, with K experts.
    router : router of `mixexp.routing`
        After `started`.
    seed : int
        Seed of the jitter.
    dense : bool
        Whether weights are the inner gate's probabilities.
    """

    def __init__(self, inner: Any, router: Any, seed: int = 0, dense: bool = False):
        self.inner = inner
        self.router = router
        self.seed = seed
        self.dense = dense
        self.frozen = False
        self.held = False
        self.routes: np.ndarray | None = None
        self.iteration = 0

    def __repr__(self) -> str:
        return f"RoutedGate({self.inner!r}, {self.router!r})"

    design = Forward()
    log_prior = Forward()
    n_parameters = Forward()
    get_parameters = Forward()
    log_marginal = Forward()
    cross_fitted = Forward()
    coef_ = Forward()
    depth = Forward()
    leaves_at = Forward()
    expert_columns = Forward()
    flat = Forward()
    arrangements = Forward()
    takes_missing = Forward()
    featureless = Forward()
    ordered = Forward()
    nested = Forward()
    estimator = Forward()

    # an inner classifier has its fit settings before it is wrapped; noise is outside
    with_fitting = Hidden()
    without_noise = Hidden()
    descended = Hidden()

    # routes jump: there are no derivatives
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
    def fallback(self) -> bool:
        """Whether the last weight is that of a fallback expert."""
        return bool(self.router.needs_fallback)

    @property
    def monotone(self) -> bool:
        """Whether an update, made more cautious if needed, cannot lower the bound."""
        if self.frozen:
            return True
        if self.router.jitter:
            return False
        return bool(self.inner.monotone) if self.dense else not self.router.looks_at_all

    def _with(self, inner: Any) -> RoutedGate:
        return evolve(self, inner=inner)

    def without_routing(self) -> Any:
        """Return the inner gate."""
        return self.inner

    @property
    def n_gram_weights(self) -> int:
        """Number of weight rows of the inner gate, none once it is frozen."""
        return 0 if self.frozen else int(self.inner.n_gram_weights)

    @if_inner_can("gram_weights")
    def gram_weights(self, block: Block, resp: np.ndarray, out: np.ndarray) -> None:
        """Write the inner gate's weight rows."""
        if not self.frozen:
            self.inner.gram_weights(*self._of_experts(block, resp), out)

    @if_inner_can("toward")
    def toward(self, new: RoutedGate, t: float) -> RoutedGate:
        """Return the gate a fraction t of the way to `new`."""
        if self.frozen:
            return new
        inner = self.inner.toward(new.inner, t)
        return new if inner is new.inner else evolve(new, inner=inner)

    @if_inner_can("damped")
    def damped(self, new: RoutedGate) -> RoutedGate:
        """Return the gate with a next step shorter than the one to `new`."""
        inner = self.inner.damped(new.inner) if self.dense else self.inner
        return self if inner is self.inner else self._with(inner)

    def bounded(self) -> RoutedGate:
        """Return the gate with a next step that cannot lower the bound: under routing, none."""
        if not self.dense:
            return evolve(self, held=True)
        return self._with(self.inner.bounded()) if can(self.inner, "bounded") else self

    def finished(self, rows: Rows) -> RoutedGate:
        """Return the gate ready to predict new rows, with the loads of these training rows."""
        gate = self._with(self.inner.finished(rows)) if can(self.inner, "finished") else self
        if "loads_" in vars(self.router):  # of frozen routes
            return gate
        asked = copy(rows)
        asked.training = False
        weights = _with_labels(np.exp(asked.map(gate.log_prob, axis=1)), rows.labels)
        return evolve(gate, router=evolve(self.router, loads_=_loads(weights, rows.weight)))

    @if_inner_can("set_parameters")
    def set_parameters(self, vector: np.ndarray) -> RoutedGate:
        """Return the gate with these parameters."""
        return self._with(self.inner.set_parameters(vector))

    @if_inner_can("ranked")
    def ranked(self, rows: Rows) -> RoutedGate:
        """Return the gate whose inner one has counted the columns that the rows can tell apart."""
        return evolve(self, inner=self.inner.ranked(rows))

    @if_inner_can("select")
    def select(self, experts: np.ndarray) -> RoutedGate:
        """Return the gate restricted to these experts, of which the fallback is the last."""
        inner = experts[:-1] if self.fallback else experts
        routes = None if self.routes is None else self.routes[experts]
        return evolve(
            self,
            inner=self.inner.select(inner),
            router=self.router.select(inner),
            routes=routes,
        )

    def trimmed(self) -> RoutedGate:
        """Return the gate without what it knows of the training rows."""
        inner = self.inner.trimmed() if can(self.inner, "trimmed") else self.inner
        return evolve(self, inner=inner, routes=None)

    @if_inner_can("measured")
    def measured(self, rows: Rows) -> RoutedGate:
        """Return the gate for a pass over these rows."""
        return self._with(self.inner.measured(rows))

    def surveyed(self, rows: Rows) -> RoutedGate:
        """Return the gate after a look at all rows, where the router needs one: one more pass."""
        if self.frozen or self.dense or not self.router.looks_at_all:
            return self
        log_gate = rows.map(self._log_gate, axis=1)
        return evolve(self, router=self.router.surveyed(log_gate, rows.weight))

    def log_prob(self, block: Block) -> np.ndarray:
        """Return the logarithms of the routing weights, (K or K + 1, m)."""
        if block.training and self.routes is not None:
            return _log(self.routes[:, block.start : block.stop])
        if self.dense and block.training:
            return self._dense(block)
        log_gate = self._log_gate(block)
        log_weights = _log(self.router.weights(log_gate.copy()))
        if block.labels is not None:  # labelled rows reach their expert, chosen or not
            labelled = block.labels >= 0
            log_weights[: len(log_gate), labelled] = self.inner.log_prob(block)[:, labelled]
        return log_weights

    def _log_gate(self, block: Block) -> np.ndarray:
        """Return the log-probabilities (K, m) that routes are chosen by."""
        log_gate: np.ndarray
        seen = self._seen(block)
        if seen is block and can(self.inner, "descended"):
            log_gate = self.inner.descended(block, self.router.kept_nodes)
        else:
            log_gate = self.inner.log_prob(seen)
        return log_gate

    def _seen(self, block: Block) -> Block:
        """Return the block as the gate sees it: with jitter in training, until it is frozen."""
        if not (self.router.jitter and block.training) or self.frozen:
            return block
        return jittered(block, self.router.jitter, self.seed, self.iteration)

    def _dense(self, block: Block) -> np.ndarray:
        """Return log g_k(x); a fallback counts as one of K + 1 equally likely experts."""
        log_gate: np.ndarray = self.inner.log_prob(self._seen(block))
        if not self.fallback:
            return log_gate
        rest = np.full((1, log_gate.shape[1]), -np.log(len(log_gate) + 1))
        return np.concatenate([log_gate, rest])

    def climbed(self, block: Block, resp: np.ndarray) -> np.ndarray:
        """Return the log-probabilities (K or K + 1, m) that the M-step of the gate raises."""
        log_gate: np.ndarray = self.inner.log_prob(block)
        if not self.fallback:
            return _restricted(log_gate, resp > 0) if self._restricts else log_gate
        rest = np.zeros((1, log_gate.shape[1]))
        if not self.dense:
            rest = np.logaddexp.reduce(np.where(resp[:-1] > 0, -np.inf, log_gate), axis=0)[None]
        return np.concatenate([log_gate, rest])

    @property
    def _restricts(self) -> bool:
        """Whether the M-step is that of a gate between the experts that a row reaches."""
        return not self.dense and self.router.renormalise and can(self.inner, "restricted")

    def _of_experts(self, block: Block, resp: np.ndarray) -> tuple[Block, np.ndarray]:
        """Return block and responsibilities for the M-step of the inner gate.

        A fallback stands for the experts that a row does not reach: its share is theirs, in the
        proportion of their probabilities. Rows that overflow to it are the gate's no longer.
        """
        if not self.fallback:
            if self._restricts:
                block = self.inner.restricted(block, resp > 0)
            return block, resp
        if self.dense:
            return block.reweighted(resp[:-1].sum(axis=0)), resp[:-1]
        outside = np.where(resp[:-1] > 0, 0.0, np.exp(self.inner.log_prob(block)))
        total = outside.sum(axis=0)
        share = resp[-1] / np.where(total > 0, total, 1.0)
        return block, resp[:-1] + share * outside

    def statistics(self, block: Block, resp: np.ndarray) -> Any:
        """Return the inner gate's statistics, none once it is frozen."""
        if self.frozen:
            return Sums()
        return self.inner.statistics(*self._of_experts(block, resp))

    def update(self, statistics: Any, rows: Rows) -> RoutedGate:
        """Return the gate after the M-step."""
        if self.frozen:
            return self
        step = self.iteration + 1
        if self.held:
            return evolve(self, held=False, iteration=step)
        return evolve(self, inner=self.inner.update(statistics, rows), iteration=step)

    def thawed(self) -> RoutedGate:
        """Return the gate as it was before its routes were frozen, for other training rows."""
        return evolve(self, frozen=False, dense=bool(self.router.hard), routes=None)

    def freeze(self, rows: Rows) -> tuple[RoutedGate, np.ndarray]:
        """Return the gate with the routes of these training rows fixed, and who else learns them.

        Rows queue at experts of limited capacity in the order of their largest gate probability,
        equal ones in that of their content. Labelled rows reach their expert.

        Returns
        -------
        gate : RoutedGate
        extra : ndarray of bool of shape (K or K + 1, n)
            Experts that are fitted to a row without being routed to, by `overlap`.
        """
        gate = evolve(self, dense=False, frozen=True, routes=None)
        log_gate = rows.map(gate._log_gate, axis=1)
        router = self.router
        router = router.surveyed(log_gate, rows.weight) if router.looks_at_all else evolve(router)
        weights = router.weights(log_gate.copy())
        proba = router.probabilities(log_gate)
        if router.hard and router.capacity_factor is not None:
            weights = self._queued(router, proba, rows)
            router.loads_ = weights @ (np.ones(rows.n_rows) if rows.weight is None else rows.weight)
        else:
            weights = _with_labels(weights, rows.labels)
            router.loads_ = _loads(weights, rows.weight)
        extra = _overlapping(proba, weights, rows.weight, router.overlap, rows.labels)
        return evolve(gate, router=router, routes=weights), extra

    @staticmethod
    def _queued(router: Any, proba: np.ndarray, rows: Rows) -> np.ndarray:
        """Return weights (K or K + 1, n) under the router's capacity.

        They are 0 and 1, but of rows with equal features, which may share an expert's last room.
        Targets must not say who has it: new rows have none.
        """
        n_experts, n = proba.shape
        hashes = row_hashes(rows.X, None, 0)
        order = np.lexsort((hashes, -proba.max(axis=0)))
        capacity = capacity_of(rows.weight, n, n_experts, router.capacity_factor)
        scores, next_best = router.scores(proba), router.overflow == "next"
        shares = shared_out(scores, order, hashes, rows.weight, capacity, next_best, rows.labels)
        weights = shares[: n_experts + router.needs_fallback]
        router.capacity_ = capacity
        moved = 1.0 - weights[scores.argmax(axis=0), np.arange(n)]
        router.overflow_ = float(moved.sum() if rows.weight is None else rows.weight @ moved)
        return weights


def _log(weights: np.ndarray) -> np.ndarray:
    """Return logarithms, −inf of 0."""
    with np.errstate(divide="ignore"):
        return np.log(weights)


def _restricted(log_gate: np.ndarray, reached: np.ndarray) -> np.ndarray:
    """Return log-probabilities between the experts reached, 0 elsewhere."""
    inside = np.where(reached, log_gate, -np.inf)
    return np.where(reached, log_gate - np.logaddexp.reduce(inside, axis=0), 0.0)


def _with_labels(weights: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """Return routing weights (K', n) with labelled rows at their expert alone."""
    if labels is not None:
        labelled = np.flatnonzero(labels >= 0)
        weights[:, labelled] = 0.0
        weights[labels[labelled], labelled] = 1.0
    return weights


def _loads(weights: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Return the weight of the rows that reach each expert."""
    reached = weights > 0
    loads: np.ndarray = reached.sum(axis=1).astype(float) if weight is None else reached @ weight
    return loads


def _overlapping(
    proba: np.ndarray,
    weights: np.ndarray,
    weight: np.ndarray | None,
    share: float,
    labels: np.ndarray | None,
) -> np.ndarray:
    """Return which rows from elsewhere each expert learns too: the most probable ones.

    Labelled rows are known to belong to one expert, and no other learns them.
    """
    extra = np.zeros(weights.shape, dtype=bool)
    if share == 0:
        return extra
    loads = _loads(weights, weight)
    unknown = True if labels is None else labels < 0
    for k, column in enumerate(proba):
        outside = np.flatnonzero((weights[k] == 0) & unknown)
        order = outside[np.argsort(-column[outside], kind="stable")]
        mass = np.cumsum(np.ones(len(order)) if weight is None else weight[order])
        extra[k, order[mass <= share * loads[k]]] = True
    return extra


def jittered(block: Block, jitter: float, seed: int, step: int) -> Block:
    """Return a block with every value of X multiplied by a number from 1 − jitter to 1 + jitter.

    The numbers depend on the content of the row, the column, the seed and the step.
    """
    hashes = row_hashes(block.X, None, seed)
    if sp.issparse(block.X):
        X = block.X.tocsr().astype(float)
        rows = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
        words = hashes[rows] + X.indices.astype(np.uint64) * ODD
        factor = 1.0 + jitter * (2.0 * hashed_uniform(words, seed, step) - 1.0)
        X.data = X.data * factor
    else:
        words = hashes[:, None] + np.arange(block.X.shape[1], dtype=np.uint64) * ODD
        factor = 1.0 + jitter * (2.0 * hashed_uniform(words, seed, step) - 1.0)
        X = np.asarray(block.X, dtype=float) * factor
    return Block(X, block.start, weight=block.weight, extra=block.extra, missing=block.missing)
