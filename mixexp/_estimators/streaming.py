"""Fits that go on with every batch of rows: `partial_fit`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from mixexp import __version__
from mixexp._checks import refuse_dask, short
from mixexp._columns import as_numbers
from mixexp._compat import check_weights
from mixexp._engine.assign import ASSIGNERS
from mixexp._engine.online import Online, Schedule, begun, learnt, part_without_memory
from mixexp._engine.search import search
from mixexp._engine.sweep import State
from mixexp._estimators import outcome, part_inputs, parts
from mixexp._estimators.assembly import FitArguments, assemble
from mixexp._estimators.blockwise import why_not_additive
from mixexp._estimators.identity import parameters_of
from mixexp._estimators.known_rows import validated
from mixexp._estimators.late_columns import Late, joined
from mixexp._rows.in_order import allowed_threads
from mixexp._rows.inputs import SKETCH_ROWS, refuse_missing
from mixexp._rows.rows import Rows
from mixexp._rows.source import Run
from mixexp._threads import single_thread
from mixexp._warn import warn
from mixexp.protocols import can

__all__ = [
    "START_ROWS",
    "STEP_ROWS",
    "Memory",
    "go_on",
    "learns_from_batches",
    "memory_of",
    "refuse_unfitted",
    "valid_batch",
]

#: Rows that are collected for the start, as many as starts see in a fit in memory.
START_ROWS = SKETCH_ROWS

#: Most rows of a step: longer batches take several steps, and learn more from their rows.
STEP_ROWS = 4096

#: Rows that a first fit needs, per expert.
FEWEST_PER_EXPERT = 5

#: Parameters that shape the mixture, which stays as the first rows made it.
SHAPING = (
    "expert",
    "n_experts",
    "gate",
    "family",
    "expert_features",
    "gate_features",
    "expert_basis",
    "gate_basis",
    "noise_expert",
    "zero_expert",
    "assignment",
)


@dataclass
class Memory:
    """What a mixture keeps between calls of `partial_fit`.

    Attributes
    ----------
    target : Target
    seed : int
    shape : dict
        Of parameters at the first call: what identifies the value, and how a message shows it.
    batches : list of Run
        The rows before the start.
    n_fitted : int
        How many of them there were at the last fit.
    online : Online or None
        After the start.
    extremes : ndarray of shape (n_outputs, 2), or None
        Smallest and largest target.
    late : Late or None
        Columns that were constant at the start.
    scale : float
        Factor of weights: other than 1 if those before the start were relative.
    """

    target: Any
    seed: int
    shape: dict
    batches: list[Run] = field(default_factory=list)
    n_fitted: int = 0
    online: Online | None = None
    extremes: np.ndarray | None = None
    late: Late | None = None
    scale: float = 1.0

    @property
    def n_rows(self) -> int:
        """Number of rows before the start."""
        return sum(batch.X.shape[0] for batch in self.batches)

    def copy(self) -> Memory:
        """Return a copy, which a call that fails may leave behind."""
        return replace(self, batches=list(self.batches))


def memory_of(mixture: Any, target: Any) -> Memory:
    """Return a new memory of a mixture that has seen no rows."""
    seed = int(check_random_state(mixture.random_state).randint(2**31 - 1))
    return Memory(target, seed, _shape_of(mixture))


def _shape_of(mixture: Any) -> dict:
    """Return what identifies each parameter in `SHAPING`, and how a message shows it."""
    return {name: mark for name, mark in parameters_of(mixture).items() if name in SHAPING}


def _refuse_another_shape(mixture: Any, memory: Memory) -> None:
    """Raise if parameters of the mixture are not those of the first call."""
    for name, (now, shown) in _shape_of(mixture).items():
        first, before = memory.shape[name]
        if now != first:
            was = f"it was {before}" if shown != before else "its content was another"
            raise ValueError(
                f"{parts.owner_of(mixture)}: {name}={shown}, and {was} in the "
                "first call of partial_fit, which made the mixture. Set it back, or begin anew "
                "with a clone."
            )


def valid_batch(
    mixture: Any, X: Any, y: Any, weight: Any, *, first: bool, numeric: bool = False
) -> tuple[Any, np.ndarray, np.ndarray | None]:
    """Return checked rows of positive weight; those after the first are to have its columns."""
    owner = parts.owner_of(mixture)
    refuse_dask(owner, X, y, weight)
    table = as_numbers(X)
    X, y = validated(mixture, table.X, y, first=first, numeric=numeric)
    columns = mixture.expert_features, mixture.gate_features
    if table.text and columns == (None, None):
        part_inputs.refuse_text_of(mixture, table, False, columns)
    if weight is None:
        return X, y, None
    weight = np.asarray(weight)
    if weight.shape != (len(y),) or np.any(weight):  # a batch may be of no weight
        weight = check_weights(weight, X, owner)
    kept = weight > 0
    return X[kept], y[kept], weight[kept]


@np.errstate(under="ignore")
def go_on(mixture: Any, batch: Run) -> None:
    """Learn from a batch, and store the fitted attributes.

    1. Until there are `START_ROWS`, collect rows, and fit them as in memory whenever they have
       doubled.
    2. Then begin: keep the state of that fit and the statistics of its rows.
    3. From then on, one step of online EM for every `STEP_ROWS` rows.
    """
    _refuse_another_shape(mixture, mixture._memory)
    memory = mixture._memory = mixture._memory.copy()
    with single_thread():
        if memory.online is None:
            _refuse_rows(mixture, memory, batch)
            memory.batches.append(batch)
            _collected(mixture, memory)
            if memory.batches:  # the caller may fill the same arrays with the next rows
                memory.batches[-1] = _copied(batch)
        else:
            _stepped(mixture, memory, batch)
    mixture._mixexp_version = __version__


def _refuse_rows(mixture: Any, memory: Memory, batch: Run) -> None:
    """Raise if a fit would refuse these rows: collected, they would spoil all later batches."""
    owner = parts.owner_of(mixture)
    memory.target.encode(batch.y, owner)
    columns = mixture.expert_features, mixture.gate_features
    if "_rules" in vars(mixture):
        refuse_missing(batch.X, mixture._rules.refusing, owner)
    elif columns == (None, None):
        refuse_missing(batch.X, part_inputs.refusing_missing(mixture, False, columns), owner)


def _collected(mixture: Any, memory: Memory) -> None:
    """Fit the rows that have been collected, if it is time; begin once there are enough.

    Targets that are all the same may be fitted, but nothing begins with them: experts that are
    exact for them, or have a rate of 0, would not learn others.
    """
    n_rows, codes = memory.n_rows, memory.target.classes is not None
    several = any(np.any(batch.y != memory.batches[0].y[:1]) for batch in memory.batches)
    enough = several or not (codes or mixture.noise_expert)
    begins = several and n_rows >= START_ROWS
    fewest = max(FEWEST_PER_EXPERT * mixture.n_experts, 0 if begins else 2 * memory.n_fitted)
    if not enough or n_rows < fewest:
        return
    rows = _fitted(mixture, memory)
    memory.n_fitted = n_rows
    mixture._memory = memory  # a fit in memory has none
    if begins:
        state = State(mixture._model.gate, mixture._model.bank)
        _refuse_forgetful(mixture, state)
        state = state.apply(_free_to_change)
        memory.online = begun(state, rows, _assigner(mixture, memory), _schedule(mixture))
        memory.extremes = None if codes else rows.extremes
        memory.late = Late.of([batch.X for batch in memory.batches])
        memory.batches = []


def _free_to_change(part: Any) -> Any:
    """Return a part without the limits that the first rows set: later ones may be others."""
    part = part.loosened() if can(part, "loosened") else part
    return part.with_ceiling(None) if can(part, "with_ceiling") else part


def _fitted(mixture: Any, memory: Memory) -> Rows:
    """Fit all rows that have been collected, in memory; return them."""
    X = joined([batch.X for batch in memory.batches])
    y = np.concatenate([batch.y for batch in memory.batches])
    weights = [batch.weight for batch in memory.batches]
    weight = None
    if any(w is not None for w in weights):
        sizes = [len(batch.y) for batch in memory.batches]
        weight = np.concatenate(
            [np.ones(n) if w is None else w for w, n in zip(weights, sizes, strict=True)]
        )
    arguments = FitArguments(weight, None, None, None, {}, as_numbers(X))
    assembly = assemble(mixture, X, y, arguments, memory.target, memory.seed)
    _refuse_forgetful(mixture, State(assembly.problem.gate, assembly.problem.bank))
    run, restarts = search(assembly.problem)
    outcome.store(mixture, run, restarts, assembly, memory.target)
    rows: Rows = assembly.problem.rows
    if weight is not None:
        memory.scale = rows.total_weight / float(weight.sum())
    return rows


def _copied(batch: Run) -> Run:
    weight = None if batch.weight is None else batch.weight.copy()
    return Run(batch.X.copy(), batch.y.copy(), weight)


def refuse_unfitted(mixture: Any) -> None:
    """Raise NotFittedError if a mixture is not fitted, and say what `partial_fit` waits for."""
    if "experts_" in vars(mixture):
        return
    memory = vars(mixture).get("_memory")
    if memory is not None:
        owner, fewest = parts.owner_of(mixture), FEWEST_PER_EXPERT * mixture.n_experts
        more = " and targets that differ" if mixture.noise_expert else ""
        more = more if memory.target.classes is None else " and a second class"
        raise NotFittedError(
            f"{owner}: partial_fit has collected {memory.n_rows} rows and has not fitted them yet: "
            f"it waits for {fewest} rows"
            f"{more}. Give it more rows first."
        )
    check_is_fitted(mixture, "experts_")


def learns_from_batches(mixture: Any) -> bool:
    """Return whether there is a `partial_fit`: scikit-learn asks estimators before it calls it."""
    try:
        why = _why_not_in_batches(mixture)
    except (AttributeError, KeyError, TypeError, ValueError):
        return True  # a parameter is invalid: `partial_fit` says which
    if why:
        raise AttributeError(
            f"{parts.owner_of(mixture)}: partial_fit keeps statistics of past rows instead of the "
            f"rows, and {why}. Use `fit`, or linear experts and a gate of mixexp.gates, and "
            "routing=None."
        )
    return True


def _why_not_in_batches(mixture: Any) -> str:
    """Return which parameter asks for more than additive parts, and why; empty if none does."""
    if mixture.routing is not None:
        return f"routing={short(mixture.routing)} is not fitted by likelihood"
    if mixture.shared_expert is not None:
        return "shared_expert looks at all rows"
    if getattr(mixture.gate, "usage_prior", 0.0) > 0:
        return f"the usage_prior of gate={short(mixture.gate)} looks at all rows"
    return why_not_additive(mixture)


def _refuse_forgetful(mixture: Any, state: State) -> None:
    """Raise if a part has no statistics that can be kept over time."""
    part = part_without_memory(state)
    if part is not None:
        raise TypeError(
            f"{parts.owner_of(mixture)}: partial_fit keeps statistics of past rows instead of the "
            f"rows, and {type(part).__name__} has none that can be kept (`recentred`). Reduce "
            "the features, or use `fit`."
        )


def _schedule(mixture: Any) -> Schedule:
    return Schedule(float(mixture.online_step), mixture.online_forget)


def _assigner(mixture: Any, memory: Memory) -> Any:
    return ASSIGNERS[mixture.assignment](memory.seed)


def _stepped(mixture: Any, memory: Memory, batch: Run) -> None:
    """Take the steps of a batch, and store what they change."""
    owner, model = parts.owner_of(mixture), mixture._model
    missing = refuse_missing(batch.X, mixture._rules.refusing, owner)
    y = memory.target.encode(batch.y, owner)
    weight = batch.weight
    if memory.scale != 1:
        weight = memory.scale * (np.ones(len(batch.y)) if weight is None else weight)
    rows = Rows(batch.X, y, weight, missing=missing)
    rows.n_threads = allowed_threads(mixture.n_jobs)
    assert memory.online is not None
    online, bounds = _open_to(mixture, memory, rows), []
    n_steps = -(-rows.n_rows // STEP_ROWS)
    for ids in np.array_split(np.arange(rows.n_rows), n_steps):
        here = rows if n_steps == 1 else _some(rows, ids)
        online = learnt(online, here, _assigner(mixture, memory), _schedule(mixture))
        bounds.append(online.bound)
    memory.online = online
    gate, bank = online.state.parts
    model = replace(model, gate=gate, bank=bank)
    if memory.extremes is not None and model.limits is not None:
        wide = mixture.bound_predictions == "auto"
        model = replace(model, limits=model.target.limits(memory.extremes, None, wide))
    outcome.publish(mixture, model, online.mass / online.mass.sum(), mixture._rules)
    before = mixture.hard_loads_
    outcome.store_loads(mixture, rows)
    mixture.hard_loads_ = before + mixture.hard_loads_
    mixture.n_iter_ = mixture.n_passes_ = online.n_steps
    mixture.lower_bounds_ = np.append(mixture.lower_bounds_, bounds)
    mixture.lower_bound_ = float(np.mean(bounds))


def _open_to(mixture: Any, memory: Memory, rows: Rows) -> Online:
    """Return what is known, ready for new rows: their range of targets, and columns that vary."""
    assert memory.online is not None
    state = memory.online.state
    if memory.late is not None:
        varying, memory.late = memory.late.ready(rows.X)
        if varying is not None:
            there = Rows(varying, np.zeros((1, varying.shape[0])), missing=rows.missing)
            state = state.apply(lambda part: _begun(part, there))
    if memory.extremes is not None:
        low, high = memory.extremes.T
        new = rows.extremes
        memory.extremes = np.stack([np.minimum(low, new[:, 0]), np.maximum(high, new[:, 1])], -1)
        if mixture.noise_expert:
            bank: Any = state.bank
            noise = memory.target.noise(memory.extremes, parts.owner_of(mixture))
            state = replace(state, bank=bank.over(*noise))
    return replace(memory.online, state=state)


def _begun(part: Any, rows: Rows) -> Any:
    """Return a part with the columns that begin to vary; warn of a part that leaves them out."""
    if can(part, "begun"):
        return part.begun(rows)
    design = getattr(part, "design", None)
    if design is not None and (new := rows.begun(design)) is not design:
        ids = np.unique(design.groups[new.scale != design.scale])
        warn(
            f"{type(part).__name__}: columns {design.columns[ids].tolist()} were constant in the "
            "first rows, vary in these, and stay out of its densities. Shuffle the rows and begin "
            "anew with a clone, or use SoftmaxGate.",
            UserWarning,
        )
    return part


def _some(rows: Rows, ids: np.ndarray) -> Rows:
    """Return consecutive rows."""
    here = slice(int(ids[0]), int(ids[-1]) + 1)
    weight = None if rows.weight is None else rows.weight[here]
    some = Rows(rows.X[here], rows.y[..., here], weight, missing=rows.missing)
    some.n_threads = rows.n_threads
    return some
