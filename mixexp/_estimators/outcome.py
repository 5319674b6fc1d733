"""Results of a fit: fitted attributes, the order of the experts, warnings."""

from __future__ import annotations

from copy import copy, deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.exceptions import ConvergenceWarning

from mixexp._engine.arrange import REARRANGED
from mixexp._engine.collapse import SMALLEST_SHARE
from mixexp._engine.criteria import is_penalised
from mixexp._engine.em import Run
from mixexp._engine.rivals import ALIKE, COMMON
from mixexp._engine.starts import Restart
from mixexp._engine.sweep import State
from mixexp._estimators import part_inputs, parts
from mixexp._estimators.assembly import Assembly
from mixexp._estimators.checks import refuse_sums
from mixexp._estimators.model import Model
from mixexp._estimators.new_rows import PREDICTION_ROWS
from mixexp._rows.rows import Rows
from mixexp._warn import warn
from mixexp.protocols import Block, Target, can, has_scale

if TYPE_CHECKING:
    from mixexp._estimators.base import BaseMixtureOfExperts

__all__ = [
    "InputRules",
    "aligned_order",
    "canonical_order",
    "check_order",
    "publish",
    "store",
    "store_loads",
    "store_midway",
]

#: Largest root mean square change of log g_k in the last iteration of a settled gate.
GATE_MOVES = 0.05

#: An expert whose gate probability is within this of 0 or 1 for every row is separated.
SATURATED = 1e-4

#: Smaller differences in usage may be rounding and do not reorder experts.
SAME_USAGE = 1e-9

#: Rows at other experts below which one is the only one.
HALF_A_ROW = 0.5

#: How much wider than others an expert of outliers is, and its least and largest share of the rows.
OUTLYING, FEW_OF_ALL = 20.0, (1e-3, 0.1)

#: What other ways to fit go on from: the memory of `partial_fit`, and what `warm_start` looks at.
OF_EARLIER_FITS = ("_memory", "_last_fit")

#: Attributes that take a pass over all rows at the end of a fit, or are of the whole fit.
AT_THE_END = ("hard_loads_", "active_fraction_", "selection_", *OF_EARLIER_FITS)

#: Per-expert parameters of a calibration.
CALIBRATION = ("exponents", "smoothing")


@dataclass(frozen=True)
class InputRules:
    """The input that a fitted mixture accepts.

    Attributes
    ----------
    sparse : bool
        Whether X may be sparse.
    frames : bool
        Whether data frames are passed on, for estimators that ask for column names.
    refusing : list
        Names of the parts that reject NaN, with the columns they see.
    batch : str or None
        Name of the estimators that were fitted one by one, if any.
    text : tuple of int
        Non-numeric columns of the training data.
    """

    sparse: bool
    frames: bool
    refusing: list
    batch: str | None
    text: tuple[int, ...]


def store(
    mixture: BaseMixtureOfExperts,
    run: Run,
    restarts: list[Restart],
    assembly: Assembly,
    target: Target,
) -> None:
    """Set the fitted attributes of a mixture; warn if the run did not settle."""
    rows, owner = assembly.problem.rows, parts.owner_of(mixture)
    for name in OF_EARLIER_FITS:
        mixture.__dict__.pop(name, None)
    usage, separated = _look_at_gate(run, rows.units, owner)
    store_run(mixture, run, restarts, usage, assembly, target)
    _warn_of_run(mixture, run, separated)
    _warn_of_collapse(restarts, owner, mixture.routing is not None, usage[: mixture.n_experts_])
    store_loads(mixture, rows)
    _warn_of_outliers(mixture, rows.units.total_weight)


def store_midway(mixture: BaseMixtureOfExperts, run: Run, assembly: Assembly, target: Any) -> None:
    """Set what a mixture needs to answer as if its fit had ended with a run in progress.

    Nothing is warned of, and what is counted over all rows at the end of a fit is left out.
    """
    for name in AT_THE_END:
        mixture.__dict__.pop(name, None)
    usage, _ = _look_at_gate(run, assembly.problem.rows.units, parts.owner_of(mixture))
    store_run(mixture, run, [], usage, assembly, target)


def store_run(
    mixture: BaseMixtureOfExperts,
    run: Run,
    restarts: list[Restart],
    usage: np.ndarray,
    assembly: Assembly,
    target: Any,
) -> None:
    """Set the attributes of a mixture that come from the state of a run, and from its progress."""
    rows, state = assembly.problem.rows, run.state
    mixture.n_iter_ = len(run.bounds)
    mixture.n_passes_ = run.n_passes
    mixture.converged_ = run.converged
    mixture.lower_bound_ = run.bound
    mixture.lower_bounds_ = np.array(run.bounds)
    mixture.cross_fitted_ = any(getattr(part, "cross_fitted", False) for part in state.parts)
    mixture.restarts_ = restarts
    state = state.apply(
        lambda part, view: part.finished(view) if can(part, "finished") else part,
        state.views(rows.units, rows),
    )
    state = state.apply(lambda part: part.trimmed() if can(part, "trimmed") else part)
    columns = _seen(state, assembly.columns)
    gate, bank = state.parts
    model = Model(gate, bank, target, columns, mixture.pooling)
    bounds = getattr(mixture, "bound_predictions", False)
    if bounds == "auto" and target.family.link == "identity":
        total = rows.units.total_weight
        bounds = not _is_one_expert(restarts, usage[: model.n_experts] * total) and "auto"
    if bounds and model.n_experts > 1:
        y = rows.extremes if rows.offset is None else rows.y
        model = replace(model, limits=target.limits(y, rows.offset, bounds == "auto"))
    if _exchangeable(mixture, rows, columns) and all(can(part, "select") for part in state.parts):
        order = canonical_order(usage[: model.n_experts])
        model, usage = model.reordered(order), reordered_usage(usage, order)
    publish(mixture, model, usage, _rules(mixture, model, assembly))


def _is_one_expert(restarts: list[Restart], mass: np.ndarray) -> bool:
    """Return whether a mixture predicts as one expert alone, which is not bounded either.

    All experts are one, or the others have less than half a row: an expert of a few rows at the
    edge may be the one of all rows beyond.
    """
    alike = any(ALIKE in record.events for record in restarts)
    return alike or bool(mass.sum() - mass.max() < HALF_A_ROW)


def store_loads(mixture: BaseMixtureOfExperts, rows: Rows) -> None:
    """Set the loads of the experts, and the share of them that a row reaches."""
    model, units = mixture._model, copy(rows.units)
    units.training, units.labels, units.block_rows = False, None, PREDICTION_ROWS
    loads, mixture.hard_loads_ = units.reduce(partial(_loads_of_block, model=model))
    mixture.active_fraction_ = 1.0
    if model.router is None:
        return
    n_all = units.total_weight * model.n_experts
    mixture.active_fraction_ = float(loads[: model.n_experts].sum() / n_all)


def _loads_of_block(block: Block, model: Model) -> np.ndarray:
    """Return the weight of the rows that reach each expert, and that it is the best for."""
    weights = model.route_block(block)
    weight = np.ones(block.n_rows) if block.weight is None else block.weight
    best = np.bincount(weights.argmax(axis=1), weights=weight, minlength=weights.shape[1])
    return np.stack([weight @ (weights > 0), best])


def _seen(state: State, selections: tuple[Any, Any]) -> tuple[Any, Any]:
    """Return the columns of experts and gate, excluding dropped experts."""
    bank_and_gate: tuple[Any, Any] = (state.bank, state.gate)
    of_experts, of_gate = (
        part.expert_columns
        if isinstance(columns, list) and can(part, "expert_columns")
        else columns
        for part, columns in zip(bank_and_gate, selections, strict=True)
    )
    return of_experts, of_gate


def _rules(mixture: BaseMixtureOfExperts, model: Model, assembly: Assembly) -> InputRules:
    """Return the input that the fitted mixture accepts."""
    if assembly.batch:
        bank: Any = model.bank
        who = part_inputs.refusing(bank.fitted(None), bank.trainer.columns)
        who += part_inputs.refusing_others(mixture)
        who += part_inputs.gate_refusing(model.gate, model.columns[1])
    else:
        who = part_inputs.refusing_missing(mixture, False, model.columns)
    return InputRules(
        part_inputs.takes_all_sparse(mixture),
        assembly.frames,
        who,
        parts.batch_name(mixture, assembly.batch),
        assembly.text,
    )


def publish(
    mixture: BaseMixtureOfExperts, model: Model, usage: np.ndarray, rules: InputRules
) -> None:
    """Set the attributes that derive from a model; remove those of its predecessor."""
    attributes = mixture.__dict__
    for name in attributes.pop("_parameter_names", ()):
        attributes.pop(name, None)
    bank: Any = model.bank
    values_by_name: dict = {}
    if getattr(bank, "calibration", None) is not None:
        values_by_name |= {f"{name}_": getattr(bank.calibration, name) for name in CALIBRATION}
    if bank.family is not None:
        for name, values in zip(bank.family.parameter_names, bank.parameters, strict=True):
            values_by_name[f"{name}_"] = values[:, 0] if values.shape[1] == 1 else values
    attributes.update(values_by_name, _parameter_names=tuple(values_by_name))
    mixture._model = model
    mixture._fitted_with = []  # a fit with more than X and y says so afterwards
    mixture._class_weight = deepcopy(getattr(mixture, "class_weight", None))
    mixture._rules = rules
    mixture.n_experts_ = model.n_experts
    mixture.usage_ = usage
    mixture.gate_ = model.dense_gate
    mixture.routing_ = model.router
    names = getattr(mixture, "feature_names_in_", None)
    mixture.expert_basis_ = _basis_of(model.innermost.bank, names)
    mixture.gate_basis_ = _basis_of(model.dense_gate, names)
    _name_columns(mixture.gate_, names)
    attributes.pop("selection_", None)
    attributes.pop("gate_results_", None)
    attributes.pop("fallback_", None)
    attributes.pop("shared_expert_", None)
    attributes.pop("shared_share_", None)
    sharing = model.sharing_bank
    if sharing is not None:
        mixture.shared_expert_ = sharing.fitted_shared(names)
        if hasattr(sharing, "share"):
            mixture.shared_share_ = sharing.share
    if model.fallback is not None:
        mixture.fallback_ = model.fallback.fitted(None)[0]
    mixture.experts_ = bank.fitted(names)


def _name_columns(gate: Any, names: np.ndarray | None) -> None:
    """Tell a gate that describes itself in words what its columns are called."""
    inner = getattr(gate, "inner", gate)
    if can(inner, "to_text"):
        inner.feature_names_in_ = names


def _basis_of(part: Any, feature_names: np.ndarray | None) -> Any:
    """Return the fitted transformer in front of a part, None for the columns themselves."""
    design = part.design if can(part, "design") else None
    if design is None or design.basis is None:
        return None
    return design.basis.estimator(None if feature_names is None else feature_names[design.columns])


def reordered_usage(usage: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return usage with the experts in this order; noise stays last."""
    return np.append(usage[order], usage[len(order) :])


def _exchangeable(mixture: BaseMixtureOfExperts, rows: Rows, columns: tuple) -> bool:
    """Return whether the numbering of the experts is arbitrary.

    It is not if the user gave a start, a warm-up, labels, a list of experts, or columns per expert,
    nor for the leaves of a tree.
    """
    return (
        isinstance(mixture.init, str)
        and (mixture.warm_up is None or isinstance(mixture.warm_up, str))
        and rows.labels is None
        and not isinstance(mixture.expert, list | tuple)
        and not any(isinstance(selection, list) for selection in columns)
        and not getattr(mixture.gate, "ordered", False)
    )


def canonical_order(usage: np.ndarray) -> np.ndarray:
    """Return the experts in order of decreasing usage."""
    usage = np.round(usage / SAME_USAGE) * SAME_USAGE
    return np.argsort(-usage, kind="stable")


def aligned_order(resp: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the order of experts (n, K) that agrees best with a reference (n, K').

    Unmatched experts come last.
    """
    mine, theirs = linear_sum_assignment(resp.T @ reference, maximize=True)
    order = mine[np.argsort(theirs)]
    return np.append(order, np.setdiff1d(np.arange(resp.shape[1]), order))


def check_order(model: Model, owner: str) -> None:
    """Raise if the order of the experts cannot change."""
    why = ""
    if model.flat is not None:
        why = "are mixtures, under a tree of gates"
    elif getattr(model.gate, "ordered", False):
        why = f"have their places under {model.gate!r}"
    elif not (can(model.gate, "select") and can(model.bank, "select")):
        why = f"cannot be reordered: the gate {type(model.gate).__name__} has no `select`"
    if why:
        raise ValueError(
            f"{owner}: align_experts, and the experts {why}. Compare "
            "predictions, or fit with a flat gate of mixexp.gates."
        )


def _dense(gate: Any) -> Any:
    """Return a gate without its router."""
    return gate.without_routing() if can(gate, "without_routing") else gate


def _look_at_gate(run: Run, units: Rows, owner: str) -> tuple[np.ndarray, bool]:
    """Return the usage of the experts, and whether the gate separates regions perfectly."""
    state: State = run.state
    gate_part: Any = _dense(state.gate)
    n_experts = state.bank.n_experts  # type: ignore[union-attr]
    previous = _dense(run.previous.gate)
    if previous is gate_part:
        previous = None
    looks = partial(
        _look_of_block, gate=gate_part, previous=previous, n_experts=n_experts, owner=owner
    )
    found: _Look = units.reduce(looks)
    usage = found.usage / found.usage.sum()
    bare = gate_part.trimmed() if can(gate_part, "trimmed") else gate_part
    # a prior on usage, which `trimmed` removes, does not penalise coefficients
    penalised = is_penalised(bare)
    slopes = gate_part.coef_ if can(gate_part, "coef_") else []
    linear = any(np.any(each) for each in (slopes.values() if isinstance(slopes, dict) else slopes))
    judged = n_experts > 1 and linear and not penalised
    moves = np.sqrt(found.moves / (units.n_rows * len(usage)))
    return usage, bool(judged and (moves > GATE_MOVES or found.unsure.min() < SATURATED))


@dataclass
class _Look:
    """What a pass over the gate probabilities of all units finds.

    `usage` (K,) are their sums, `unsure` their largest distances from 0 and 1, and `moves` is the
    sum of squared changes of log g_k in the last iteration.
    """

    usage: np.ndarray
    unsure: np.ndarray
    moves: float

    def __iadd__(self, other: _Look) -> _Look:
        self.usage = self.usage + other.usage
        self.unsure = np.maximum(self.unsure, other.unsure)
        self.moves += other.moves
        return self


def _look_of_block(block: Block, gate: Any, previous: Any, n_experts: int, owner: str) -> _Look:
    """Return what a block shows of the gate, and of its change from `previous` if there is one."""
    log_gate, moves = gate.log_prob(block), 0.0
    proba = np.exp(log_gate)
    refuse_sums(gate, proba.sum(axis=0), owner)
    usage = proba.sum(axis=1) if block.weight is None else proba @ block.weight
    of_experts = proba[:n_experts]
    if previous is not None:
        change = log_gate - previous.log_prob(block)
        moves = float(np.sum((change - change.mean(axis=0)) ** 2))
    return _Look(usage, np.minimum(of_experts, 1 - of_experts).max(axis=1), moves)


def _warn_of_run(mixture: BaseMixtureOfExperts, run: Run, separated: bool) -> None:
    """Warn if the run did not converge, or the gate did not settle; not if it was stopped."""
    owner = parts.owner_of(mixture)
    if run.stopped:
        return
    if run.stuck:
        warn(
            f"{owner}: EM stopped at iteration {len(run.bounds)}, from where every step lowers the "
            f"bound, by {run.stuck:.2g} at least. The gate {type(run.state.gate).__name__} and the "
            f"experts with family {_family_name(run)} say that their updates are M-steps "
            "(monotone = True). Of a part of your own check `update`, `statistics` and "
            "`log_prior`, or set monotone = False.",
            ConvergenceWarning,
        )
    elif run.turned_back:
        warn(
            f"{owner}: the fit that is returned, of {len(run.bounds)} EM iterations, has not "
            "converged: the iterations after it end lower or in a spurious maximum of the "
            "likelihood, and more of them would not help. Lower n_experts or penalise the gate "
            "more.",
            ConvergenceWarning,
        )
    elif not mixture.converged_:
        warn(
            f"{owner} did not converge in max_iter={mixture.max_iter} EM iterations at "
            f"tol={mixture.tol}{last_gain(mixture.lower_bounds_)}. {_remedy(mixture)}",
            ConvergenceWarning,
        )
    elif separated:
        warn(
            f"{owner}: the gate separates the experts' regions perfectly, or nearly so: its "
            "coefficients grow while the likelihood no longer does, and have no finite limit. "
            "Predictions are sound; to get coefficients, penalise the gate: "
            "gate=SoftmaxGate(alpha=0.3).",
            ConvergenceWarning,
        )


def _family_name(run: Run) -> str:
    """Return the class of the experts' family, None for classes."""
    family = getattr(run.state.bank, "family", None)
    return "None" if family is None else type(family).__name__


def _warn_of_collapse(restarts: list[Restart], owner: str, routed: bool, usage: np.ndarray) -> None:
    """Warn once of experts that collapsed, or were spurious, in the run that was chosen.

    First of what is left: experts without rows do no harm, but a user may wait for all of them.
    """
    long_runs = [record for record in restarts if "long run" in record.events]
    chosen = min(
        long_runs,
        key=lambda record: (ALIKE not in record.events, bool(record.flags), -record.bound),
    )
    worrying = [event for event in chosen.events if event not in ("long run", REARRANGED)]
    text = told_events(worrying, routed)
    idle = int(np.sum(usage < SMALLEST_SHARE / len(usage)))
    if text and idle and not routed:
        left = len(usage) - idle
        text = (
            f"{idle} of {len(usage)} experts are left with hardly any rows, as usage_ shows: the "
            f"fit is one of {left}. If that is enough, set n_experts={left}, or 'auto'. What "
            f"happened: {text}"
        )
    if text:
        warn(f"{owner}: {text}", ConvergenceWarning)


def _warn_of_outliers(mixture: Any, total: float) -> None:
    """Warn of an expert that is far wider than the others, and the best one of hardly a row.

    The gate cannot tell its rows, so that they are outliers, and its mean moves all predictions.
    """
    bank, usage = mixture._model.bank, mixture.usage_[: mixture.n_experts_]
    family, parameters = (getattr(bank, name, None) for name in ("family", "parameters"))
    if parameters is None or family is None or not has_scale(family) or family.link != "identity":
        return
    if mixture.noise_expert or mixture.routing is not None or len(usage) < 2:
        return
    widths = np.asarray(parameters)[0].max(axis=1)[: len(usage)]
    order = np.argsort(widths)
    half = np.searchsorted(np.cumsum(usage[order]), 0.5 * usage.sum())
    usual = order[min(half, len(order) - 1)]
    best = mixture.hard_loads_[: len(usage)] / total
    few = (usage > FEW_OF_ALL[0]) & (usage < FEW_OF_ALL[1]) & (best < 0.5 * usage)
    near = np.array([usage[widths > width / OUTLYING].sum() for width in widths])
    wide = np.flatnonzero(few & (near < FEW_OF_ALL[1]) & (widths > OUTLYING * widths[usual]))
    if len(wide) and not np.asarray(bank.on_floor)[usual]:
        k = wide[np.argmax(widths[wide])]
        owner, times = parts.owner_of(mixture), widths[k] / widths[usual]
        warn(
            f"{owner}: expert {k} is {times:.0f} times as wide as most others, and has "
            f"{usage[k]:.1%} of the rows, which the gate cannot tell: outliers. Its mean, which "
            "rests on them, is a share of every prediction. Set noise_expert=True, which leaves "
            "them out, or pooling='argmax'.",
            UserWarning,
        )


def last_gain(bounds: np.ndarray) -> str:
    """Return the message fragment about the last gain of a run that did not converge."""
    if len(bounds) < 2 or not bounds[-1] > bounds[-2]:
        return ""
    return f": the last one raised the lower bound by {bounds[-1] - bounds[-2]:.1e}"


def _remedy(mixture: BaseMixtureOfExperts) -> str:
    """Return what helps a fit to converge."""
    if mixture.acceleration is None:
        return "Set acceleration='auto', or increase max_iter or tol."
    return "Increase max_iter or tol."


def told_events(events: list[str], routed: bool = False) -> str:
    """Return one message for all events about experts, empty if there were none."""
    if not events:
        return ""
    if events == [COMMON]:
        return f"{COMMON}. Lower n_experts, or give the regions by init."
    text = events[0]
    collapses = sum("collapsed" in event for event in events)
    if "collapsed" in text and collapses > 1:
        text += f". Experts collapsed {collapses} times in all, as the events in restarts_ tell"
    others = [event for event in events[1:] if "collapsed" not in event]
    return (
        "; ".join([text, *others])
        + ". Lower n_experts, penalise the gate more, or choose another on_collapse"
        + (", or a router's balance." if routed else ".")
    )
