"""What a fit leaves behind: fitted attributes, the order of experts, warnings, saved versions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from mixexp import __version__
from mixexp._blocks import Rows
from mixexp._columns import Numbers
from mixexp._em import Run, State
from mixexp._known import reference_of
from mixexp._prediction import PredictionMixin
from mixexp._protocols import can
from mixexp._sound import refuse_sums
from mixexp._warn import warn

__all__ = ["FittedMixin", "Given"]

#: Root mean square change of log g_k in the last iteration above which a gate has not settled.
GATE_MOVES = 0.05

#: An expert whose gate probability is within this of 0 or 1 for every row is separated.
SATURATED = 1e-4

#: Experts whose usage differs by less than this keep the order of the run: it may be rounding.
SAME_USAGE = 1e-9


#: What a calibration has of every expert.
CALIBRATION = ("exponents", "smoothing")


@dataclass(frozen=True)
class Given:
    """What `fit` was given besides X and y, as it was given."""

    weight: Any
    groups: Any
    offset: Any
    labels: Any
    params: dict
    numbers: Numbers

    @property
    def frame(self) -> Any:
        """X as it was given, where estimators may need it so."""
        return self.numbers.frame


class FittedMixin(PredictionMixin):
    """Methods of mixtures that store the result of a fit, and put its experts in order."""

    expert: Any
    gate: Any
    init: Any
    noise_expert: bool
    max_iter: int
    tol: float
    experts_: list
    usage_: np.ndarray

    def _store(self, run: Run, rows: Rows, frames: bool) -> None:
        """Set the fitted attributes."""
        state = run.state
        self.n_iter_ = len(run.bounds)
        self.n_passes_ = run.n_passes
        self.converged_ = run.converged
        self.lower_bound_ = run.bound
        self.lower_bounds_ = np.array(run.bounds)
        self.cross_fitted_ = any(getattr(part, "cross_fitted", False) for part in state.parts)
        self._look_at_gate(run, rows.units)
        state = state.apply(
            lambda part, own: part.finished(own) if can(part, "finished") else part,
            state.views(rows.units, rows),
        )
        state = state.apply(lambda part: part.trimmed() if can(part, "trimmed") else part)
        self._frames = frames
        self._mixexp_version = __version__
        if self._exchangeable(rows) and all(can(part, "select") for part in state.parts):
            self._set_parts(state, self._canonical_order(state.bank.n_experts))
        else:
            self._set_parts(state, None)

    def _set_parts(self, state: State, order: np.ndarray | None) -> None:
        """Set the attributes that come from gate and experts, the experts in this order."""
        if order is not None:
            n_noise = len(self.usage_) - len(order)
            everyone = np.append(order, len(order) + np.arange(n_noise)).astype(int)
            state = state.select(everyone)
            self.usage_ = self.usage_[everyone]
            self._columns = tuple(
                [own[k] for k in order] if isinstance(own, list) else own for own in self._columns
            )
        self.gate_, bank = state.parts
        self._bank = bank
        self._forget()
        own: dict = {}
        if getattr(bank, "calibration", None) is not None:
            own |= {f"{name}_": getattr(bank.calibration, name) for name in CALIBRATION}
        if bank.family is not None:
            for name, values in zip(bank.family.parameter_names, bank.parameters, strict=True):
                own[f"{name}_"] = values[:, 0] if values.shape[1] == 1 else values
        vars(self).update(own, _own_names=tuple(own))
        self.experts_ = bank.fitted(getattr(self, "feature_names_in_", None))

    def _forget(self) -> None:
        """Remove the attributes that only some kinds of experts have, of a fit before this one."""
        for name in ("_flat", *vars(self).pop("_own_names", ())):
            vars(self).pop(name, None)

    def _exchangeable(self, rows: Rows) -> bool:
        """Return whether nothing but chance numbered the experts of a fit to these rows.

        The user numbers them by giving a start, labels, a list of experts, or columns for each;
        the leaves of a tree have an order of their own.
        """
        return (
            isinstance(self.init, str)
            and rows.labels is None
            and not isinstance(self.expert, list | tuple)
            and not any(isinstance(own, list) for own in self._columns)
            and not getattr(self.gate, "ordered", False)
        )

    def _canonical_order(self, n_experts: int) -> np.ndarray:
        """Return the experts by falling usage."""
        usage = np.round(self.usage_[:n_experts] / SAME_USAGE) * SAME_USAGE
        return np.argsort(-usage, kind="stable")

    def align_experts(
        self, reference: Any, X: Any, y: Any, *, offset: Any = None, groups: Any = None
    ) -> Any:
        """Give the experts the numbers of those of another fit that they are most like.

        The order of experts carries no meaning where nothing gave it one: two fits, on two
        samples of the same data say, may find the same experts in another order. Experts are
        matched, one to one, so that their responsibilities for these rows agree as much as they
        can (Stephens 2000 treats the problem at length, for draws of a sampler).

        Parameters
        ----------
        reference : fitted mixture, or array-like of shape (n_samples,) or \
                (n_samples, n_reference)
            A mixture with any number of experts; or, for the rows of X, responsibilities, or the
            number of the expert that each is to have, -1 where it is open.
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows by which experts are compared.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        offset, groups : array-like of shape (n_samples,), default=None
            As in `responsibilities`.

        Returns
        -------
        self
            With `gate_`, `experts_`, `usage_` and all else in the new order. Experts that have
            no partner come last.

        Raises
        ------
        ValueError
            Where the order cannot change: the leaves of a hierarchical gate have their places.

        References
        ----------
        Stephens (2000), Dealing with label switching in mixture models, JRSS B 62.

        Examples
        --------
        >>> from mixexp import MixtureOfExpertsRegressor
        >>> from mixexp.datasets import load_tone
        >>> X, y = load_tone(return_X_y=True)
        >>> one = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
        >>> two = MixtureOfExpertsRegressor(n_experts=2, random_state=1).fit(X[::2], y[::2])
        >>> two.align_experts(one, X, y).gate_proba(X).shape
        (150, 2)
        """
        check_is_fitted(self, "experts_")
        owner = type(self).__name__
        parts = State(self.gate_, self._bank)
        self._check_order(parts)
        n_experts = self._bank.n_experts
        given = {"offset": offset, "groups": groups}
        own = self.responsibilities(X, y, **given)[:, :n_experts]
        if hasattr(reference, "responsibilities"):
            check_is_fitted(reference, "experts_")
            other = reference.responsibilities(X, y, **given)[:, : reference._bank.n_experts]
        else:
            other = reference_of(reference, len(own), n_experts, owner)
        mine, theirs = linear_sum_assignment(own.T @ other, maximize=True)
        order = mine[np.argsort(theirs)]
        rest = np.setdiff1d(np.arange(n_experts), order)
        self._set_parts(parts, np.append(order, rest))
        return self

    def _check_order(self, parts: State) -> None:
        """Raise where the order of the experts cannot change."""
        why = ""
        if self._whole is not self:
            why = "are mixtures, under a tree of gates"
        elif getattr(self.gate_, "ordered", False):
            why = f"have their places under {self.gate_!r}"
        elif not all(can(part, "select") for part in parts.parts):
            why = f"cannot be reordered: the gate {type(self.gate_).__name__} has no `select`"
        if why:
            raise ValueError(
                f"{type(self).__name__}: align_experts, and the experts {why}. Compare "
                "predictions, or fit with a flat gate of mixexp.gates."
            )

    def _look_at_gate(self, run: Run, units: Rows) -> None:
        """Set `usage_`; warn where the run or the gate did not settle."""
        state = run.state
        usage: Any = 0.0
        moves, unsure = 0.0, np.zeros(1)
        comparable = run.previous.gate is not state.gate
        for block in units.blocks():
            log_gate = state.gate.log_prob(block)
            gate = np.exp(log_gate)
            refuse_sums(state.gate, gate.sum(axis=0), type(self).__name__)
            usage += gate.sum(axis=1) if block.weight is None else gate @ block.weight
            own = gate[: state.bank.n_experts]
            unsure = np.maximum(unsure, np.minimum(own, 1 - own).max(axis=1))
            if comparable:
                change = log_gate - run.previous.gate.log_prob(block)
                moves += float(np.sum((change - change.mean(axis=0)) ** 2))
        self.usage_ = usage / usage.sum()
        n_experts = state.bank.n_experts
        bare = state.gate.trimmed() if can(state.gate, "trimmed") else state.gate
        # a prior on usage, which `trimmed` takes off, holds no coefficient back
        penalised = can(bare, "log_prior") and bare.log_prior() < 0
        linear = can(state.gate, "coef_") and len(state.gate.coef_) > 0
        judged = n_experts > 1 and linear and not penalised
        moves = np.sqrt(moves / (units.n_rows * len(self.usage_)))
        self._warn(judged and (moves > GATE_MOVES or unsure.min() < SATURATED))

    def _warn(self, separated: bool) -> None:
        """Warn where the run did not converge, or the gate did not settle."""
        owner = type(self).__name__
        if not self.converged_:
            warn(
                f"{owner} did not converge in max_iter={self.max_iter} EM iterations at "
                f"tol={self.tol}. Increase max_iter or tol; fewer experts or a stronger penalty of "
                "gate and experts converge faster.",
                ConvergenceWarning,
            )
        elif separated:
            warn(
                f"{owner}: the gate separates the experts' regions perfectly, or nearly so: its "
                "coefficients grow while the likelihood no longer does, and have no finite limit. "
                "Predictions are sound; to get coefficients, penalise the gate: "
                "gate=SoftmaxGate().",
                ConvergenceWarning,
            )

    def _warn_of_collapse(self, restarts: list) -> None:
        """Warn of every expert that collapsed in the run that was chosen."""
        long_runs = [record for record in restarts if "long run" in record.events]
        chosen = min(long_runs, key=lambda record: (bool(record.flags), -record.bound))
        for event in chosen.events:
            if event != "long run":
                warn(
                    f"{type(self).__name__}: {event}. Lower n_experts, penalise the gate more, or "
                    "choose another on_collapse.",
                    ConvergenceWarning,
                )
