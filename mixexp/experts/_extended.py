"""Base of banks with one more expert that no M-step changes."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp.protocols import Block, Forward, Hidden, Rows, evolve, if_inner_can

__all__ = ["ExtendedBank"]


class ExtendedBank:
    """The K experts of an inner bank and, as the last one, an expert that is not trained.

    A subclass defines `log_prob`, (K + 1, m), and answers for `predict`, `n_parameters` and
    `trimmed`. All that concerns training is the inner bank's, without the last responsibility.

    Parameters
    ----------
    inner : ExpertBank
    """

    def __init__(self, inner: Any):
        self.inner = inner

    # training and fitted attributes are the experts' alone
    n_experts = Forward()
    fitted = Forward()
    n_gram_weights = Forward()
    design = Forward()
    expert_columns = Forward()
    log_prior = Forward()
    get_parameters = Forward()
    cross_fitted = Forward()
    family = Forward()
    parameters = Forward()
    deviance = Forward()
    floor = Forward()
    ceiling = Forward()
    on_floor = Forward()
    n_coefficients = Forward()
    calibration = Forward()
    trainer = Forward()
    predicted_rows = Forward()

    # only used on the inner bank, before it is wrapped or after it is unwrapped
    scores = Hidden()
    slope = Hidden()
    tuned = Hidden()
    loosened = Hidden()
    underdetermined = Hidden()
    strength_path = Hidden()
    chosen_at = Hidden()
    dispersed = Hidden()
    left_out = Hidden()
    gate_limit = Hidden()
    replicate = Hidden()
    merged = Hidden()

    def _with(self, inner: Any) -> Any:
        return evolve(self, inner=inner)

    @if_inner_can("gram_weights")
    def gram_weights(self, block: Block, resp: np.ndarray, out: np.ndarray) -> None:
        """Write the experts' weight rows."""
        self.inner.gram_weights(block, resp[:-1], out)

    @if_inner_can("select")
    def select(self, experts: np.ndarray) -> Any:
        """Return the bank of some experts, the last expert still last."""
        return self._with(self.inner.select(experts[:-1]))

    @if_inner_can("toward")
    def toward(self, new: ExtendedBank, t: float) -> Any:
        """Return the bank a share t of the way to `new`."""
        inner = self.inner.toward(new.inner, t)
        return new if inner is new.inner else evolve(new, inner=inner)

    @if_inner_can("bounded")
    def bounded(self) -> Any:
        """Return the bank with the experts' next step under a bound of the curvature."""
        return self._with(self.inner.bounded())

    @if_inner_can("damped")
    def damped(self, new: ExtendedBank) -> Any:
        """Return the bank with a shorter next step of the experts than the one to `new`."""
        inner = self.inner.damped(new.inner)
        return self if inner is self.inner else self._with(inner)

    @if_inner_can("recentred")
    def recentred(self, statistics: Any, before: ExtendedBank) -> tuple[Any, Any]:
        """Return the bank, and the statistics at the experts' coefficients."""
        inner, sums = self.inner.recentred(statistics, before.inner)
        return self._with(inner), sums

    @if_inner_can("begun")
    def begun(self, rows: Rows) -> Any:
        """Return the bank with coefficients of columns that begin to vary."""
        return self._with(self.inner.begun(rows))

    @if_inner_can("set_parameters")
    def set_parameters(self, vector: np.ndarray) -> Any:
        """Return the bank with these parameters of the experts."""
        return self._with(self.inner.set_parameters(vector))

    @if_inner_can("measured")
    def measured(self, rows: Rows) -> Any:
        """Return the bank for a pass over these rows."""
        return self._with(self.inner.measured(rows))

    @if_inner_can("matching")
    def matching(self, statistics: Any, rows: Rows) -> np.ndarray:
        """Return the region that each expert fits best; the last expert has none."""
        return self.inner.matching(statistics, rows)

    @if_inner_can("with_common")
    def with_common(self, rows: Rows) -> Any:
        """Return the bank with one model of all rows in the place of the experts, or None."""
        inner = self.inner.with_common(rows)
        return None if inner is None else self._with(inner)

    @if_inner_can("ranked")
    def ranked(self, rows: Rows) -> Any:
        """Return the bank whose inner one has counted the columns that the rows can tell apart."""
        return evolve(self, inner=self.inner.ranked(rows))

    @if_inner_can("finished")
    def finished(self, rows: Rows) -> Any:
        """Return the bank as it predicts for new rows."""
        return self._with(self.inner.finished(rows))

    @if_inner_can("with_floor")
    def with_floor(self, floor: np.ndarray) -> Any:
        """Return the bank with these smallest dispersions."""
        return self._with(self.inner.with_floor(floor))

    @if_inner_can("with_ceiling")
    def with_ceiling(self, ceiling: np.ndarray | None) -> Any:
        """Return the bank with these largest dispersions."""
        return self._with(self.inner.with_ceiling(ceiling))

    @property
    def monotone(self) -> bool:
        """Whether the inner bank is."""
        return bool(self.inner.monotone)

    def statistics(self, block: Block, resp: np.ndarray) -> Any:
        """Return the experts' statistics."""
        return self.inner.statistics(block, resp[:-1])

    def update(self, statistics: Any, rows: Rows) -> Any:
        """Return the bank after the experts' M-step."""
        return evolve(self, inner=self.inner.update(statistics, rows))
