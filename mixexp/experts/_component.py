"""A shared expert of classes or counts: a component in the distribution of every expert."""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np
from scipy.special import expit

from mixexp.experts._estimator import EstimatorBank
from mixexp.experts._shared import bank_statistics, least
from mixexp.protocols import Block, Forward, Hidden, Rows, can, evolve, if_inner_can

__all__ = ["ComponentBank"]

#: Share of the shared expert before it has been fitted.
START_SHARE = 0.5

#: Steps of the share's own EM in an M-step, and its smallest value and that of its complement.
SHARE_STEPS, SMALLEST_SHARE = 10, 1e-6

#: With less weight than this the shared expert is left as it is.
LEAST_WEIGHT = 10.0


class ComponentBank:
    """K experts with one more component in the distribution of each, the shared expert's.

    p_k(y | x) = (1 − s) e_k(y | x) + s c(y | x). Whatever weights of sum 1 a gate and a router give
    to the experts, the mixture then is (1 − s) Σ_k g_k e_k + s c: the shared expert takes part in
    every route, with the same share. An E-step inside the bank divides the responsibilities of an
    expert between it and the shared one; both are then fitted, and the share s follows by EM steps
    of its own at the new fits.

    Parameters
    ----------
    inner : ExpertBank
    shared : EstimatorBank
        Of one expert.

    Attributes
    ----------
    share : float
    """

    monotone = False

    def __init__(self, inner: Any, shared: EstimatorBank):
        self.inner = inner
        self.shared = shared.with_floor(least(inner.floor)) if can(inner, "floor") else shared
        self.share = START_SHARE

    n_experts = Forward()
    fitted = Forward()
    expert_columns = Forward()
    family = Forward()
    parameters = Forward()
    floor = Forward()
    ceiling = Forward()
    with_ceiling = Hidden()  # of the experts alone, before others join them
    on_floor = Forward()
    calibration = Forward()
    trainer = Forward()
    predicted_rows = Forward()

    # an estimator has no such parameters; steps are not one Newton step; starts use the inner bank
    n_coefficients = Hidden()
    n_gram_weights = Hidden()
    recentred = Hidden()
    begun = Hidden()
    gram_weights = Hidden()
    design = Hidden()
    n_parameters = Hidden()
    get_parameters = Hidden()
    set_parameters = Hidden()
    scores = Hidden()
    slope = Hidden()
    tuned = Hidden()
    ranked = Hidden()
    loosened = Hidden()
    underdetermined = Hidden()
    strength_path = Hidden()
    chosen_at = Hidden()
    dispersed = Hidden()
    left_out = Hidden()
    gate_limit = Hidden()
    damped = Hidden()
    bounded = Hidden()
    deviance = Hidden()
    replicate = Hidden()
    merged = Hidden()
    matching = Hidden()
    with_common = Hidden()

    @property
    def cross_fitted(self) -> bool:
        """Whether densities of training rows are out of fold."""
        return self.shared.cross_fitted or bool(getattr(self.inner, "cross_fitted", False))

    def log_prior(self) -> float:
        """Return the log-priors of the experts and of the shared one."""
        of_inner = self.inner.log_prior() if can(self.inner, "log_prior") else 0.0
        return float(of_inner + self.shared.log_prior())

    def predict(self, block: Block) -> np.ndarray:
        """Return the means or class probabilities of p_k, (K, ., m)."""
        own: np.ndarray = self.inner.predict(block)
        if not self.shared.trained:
            return own
        return (1 - self.share) * own + self.share * self.shared_outputs(block)

    def shared_outputs(self, block: Block) -> np.ndarray:
        """Return the means or class probabilities of the shared expert, (., m)."""
        return self.shared.predict(_of_all(block))[0]

    def log_prob(self, block: Block) -> np.ndarray:
        """Return log p_k(y | x), (K, m)."""
        own: np.ndarray = self.inner.log_prob(block)
        if not self.shared.trained:
            return own
        own = own + np.log1p(-self.share)
        common = self.shared.log_prob(_of_all(block)) + np.log(self.share)
        with np.errstate(invalid="ignore"):  # neither may have any density
            owned = expit(own - common)
        block.keep(self, np.where(np.isnan(owned), 1 - self.share, owned))
        mixed: np.ndarray = np.logaddexp(own, common)
        return mixed

    def statistics(self, block: Block, resp: np.ndarray) -> list[np.ndarray]:
        """Return responsibilities, and what of them is the experts' own, (2, K, m) in a list."""
        own = block.recall(self) if self.shared.trained else 1 - self.share
        return [np.stack([resp, resp * own])]

    def update(self, statistics: list[np.ndarray], rows: Rows) -> ComponentBank:
        """Return the bank after the M-step."""
        resp, own = np.concatenate(statistics, axis=2)
        common = (resp - own).sum(axis=0, keepdims=True)
        sums = rows.reduce(lambda block: bank_statistics(self.inner, block, own))
        inner, shared = self.inner.update(sums, rows), self.shared
        if not shared.trained:
            shared = shared.update([common], rows)
        elif common.sum() >= LEAST_WEIGHT:
            new = shared.update([common], rows)
            shared = new if _better(new, shared, common, rows) else shared
        return evolve(self, inner=inner, shared=shared)._with_share(resp, rows)

    def _with_share(self, resp: np.ndarray, rows: Rows) -> ComponentBank:
        """Return the bank with the share that suits responsibilities (K, n) at its fits."""
        gap = rows.map(self._gap, axis=1)
        total, share = resp.sum(), self.share
        for _ in range(SHARE_STEPS):
            common = np.sum(resp * expit(gap + np.log(share) - np.log1p(-share)))
            share = float(np.clip(common / total, SMALLEST_SHARE, 1 - SMALLEST_SHARE))
        return evolve(self, share=share)

    def _gap(self, block: Block) -> np.ndarray:
        """Return how much likelier y is under the shared expert than under the others, (K, m)."""
        own: np.ndarray = self.inner.log_prob(block.fresh())
        return self.shared.log_prob(_of_all(block)) - own

    @if_inner_can("toward")
    def toward(self, new: ComponentBank, t: float) -> ComponentBank:
        """Return the bank with the experts a share t of the way to those of `new`."""
        inner = self.inner.toward(new.inner, t)
        return new if inner is new.inner else evolve(new, inner=inner)

    @if_inner_can("measured")
    def measured(self, rows: Rows) -> ComponentBank:
        """Return the bank with the measurements that the experts need for a pass."""
        return evolve(self, inner=self.inner.measured(rows))

    @if_inner_can("select")
    def select(self, experts: np.ndarray) -> ComponentBank:
        """Return the bank of some experts, in this order, with the shared one."""
        return evolve(self, inner=self.inner.select(experts))

    @if_inner_can("with_floor")
    def with_floor(self, floor: np.ndarray) -> ComponentBank:
        """Return the bank with these smallest dispersions, for the shared expert the least."""
        return evolve(
            self, inner=self.inner.with_floor(floor), shared=self.shared.with_floor(least(floor))
        )

    def finished(self, rows: Rows) -> ComponentBank:
        """Return the bank with all estimators fitted on all rows."""
        inner = self.inner.finished(rows) if can(self.inner, "finished") else self.inner
        return evolve(self, inner=inner, shared=self.shared.finished(rows))

    def trimmed(self) -> ComponentBank:
        """Return the bank without what it only knew of the training rows."""
        inner = self.inner.trimmed() if can(self.inner, "trimmed") else self.inner
        return evolve(self, inner=inner, shared=self.shared.trimmed())

    def fitted_shared(self, feature_names: np.ndarray | None) -> Any:
        """Return the shared expert."""
        return self.shared.fitted(feature_names)[0]


def _of_all(block: Block) -> Block:
    """Return the block as the shared expert sees it: every row reaches it."""
    if block.reached is None:
        return block
    block = copy(block)
    block.reached = None
    return block


def _better(new: EstimatorBank, old: EstimatorBank, resp: np.ndarray, rows: Rows) -> bool:
    """Return whether expected log-likelihood and log-prior are no lower after a fit."""

    def gain(block: Block) -> np.ndarray:
        block = _of_all(block)
        here = resp[:, block.start : block.stop]
        return np.sum(here * (new.log_prob(block) - old.log_prob(block)))

    return bool(rows.reduce(gain) + new.log_prior() - old.log_prior() >= 0)
