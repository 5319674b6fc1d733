"""Assembles the search of a fit from checked data and parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing

from mixexp._columns import Table
from mixexp._compat import check_weights, raise_for_params, routing_enabled
from mixexp._engine.assign import ASSIGNERS
from mixexp._engine.progress import Progress
from mixexp._engine.routed import WarmUp
from mixexp._engine.search import SearchProblem
from mixexp._estimators import part_checks, part_inputs, parts
from mixexp._estimators.bases import check_bases, with_bases
from mixexp._estimators.probes import probe_family
from mixexp._estimators.refits import tol_of
from mixexp._estimators.routed import Routes
from mixexp._estimators.stand_in import Seen, stand_in
from mixexp._estimators.starts import start_of
from mixexp._estimators.warm_up import warm_up_of
from mixexp._rows.in_order import allowed_threads
from mixexp._rows.inputs import (
    Training,
    check_constant_in_groups,
    checked_groups,
    refuse_missing,
    selected_columns,
    training_rows,
)
from mixexp._rows.labels import checked_labels
from mixexp._rows.rows import Rows
from mixexp._weights import as_counts, check_total
from mixexp.experts import candidates_of, linear_bank
from mixexp.protocols import Target, can

if TYPE_CHECKING:
    from mixexp._estimators.base import BaseMixtureOfExperts

__all__ = [
    "Assembly",
    "FitArguments",
    "assemble",
    "has_estimators",
    "metadata_router",
    "problems_of",
    "selected",
    "with_n_experts",
]


def names_given(arguments: Mapping[str, Any]) -> list[str]:
    """Return the names of arguments that are not None."""
    return [name for name, value in arguments.items() if value is not None]


@dataclass(frozen=True)
class FitArguments:
    """Arguments of `fit` besides X and y, unchecked; `table` is X before validation.

    `watch` follows the fit, if anything does.
    """

    weight: Any
    groups: Any
    offset: Any
    labels: Any
    params: dict
    table: Table
    watch: Any = None

    @property
    def frame(self) -> Any:
        """The original data frame, if estimators may need it."""
        return self.table.frame


@dataclass(frozen=True)
class Assembly:
    """A search ready to run, and the properties of the input that the model needs.

    `frames` says whether estimators, which may ask for column names, are fitted; `text` are the
    non-numeric columns. `problem_at` returns the search for another number of experts.
    """

    problem: SearchProblem
    columns: tuple[Any, Any]
    batch: bool
    frames: bool
    text: tuple[int, ...]
    problem_at: Callable[[int], SearchProblem]


def assemble(
    mixture: BaseMixtureOfExperts,
    X: Any,
    y: np.ndarray,
    arguments: FitArguments,
    target: Any,
    seed: int,
) -> Assembly:
    """Return the search of a fit to checked X and y.

    1. Select columns.
    2. Check per-row arguments, drop rows without weight, merge equal rows or sort by group.
    3. Find the columns that starts see in place of text and of experts' own transformers.
    4. Fit bases, make gate and banks.
    """
    batch = parts.is_batch(mixture, target)
    columns = selected(mixture, X if arguments.frame is None else arguments.frame)
    check_bases(mixture, batch, columns)
    custom_start = hasattr(mixture.init, "fit_predict") or hasattr(mixture.init, "responsibilities")
    frames = custom_start or has_estimators(mixture, batch)
    training = _training(mixture, X, y, arguments, target, columns, batch, frames, seed)
    text = arguments.table.text
    problem_at = problems_of(mixture, training, target, columns, text, batch, seed)
    problem = problem_at(mixture.n_experts)
    if parts.warms_up(mixture, batch):
        listed = isinstance(mixture.expert, list | tuple)
        exchangeable = not listed and not any(isinstance(s, list) for s in columns)
        n_refits = 1 if mixture.n_refits == "auto" else mixture.n_refits
        given = warm_up_of(mixture, X, y, arguments, target, problem.rows)
        problem = replace(problem, warm_up=WarmUp(n_refits, exchangeable, given))
    return Assembly(problem, columns, batch, frames, text, problem_at)


def with_n_experts(mixture: BaseMixtureOfExperts, n_experts: int) -> BaseMixtureOfExperts:
    """Return a mixture with the same parameters, not copied, and another number of experts."""
    sized = copy(mixture)
    sized.n_experts = n_experts
    return sized


def problems_of(
    mixture: BaseMixtureOfExperts,
    training: Training,
    target: Target,
    columns: tuple,
    text: tuple[int, ...],
    batch: bool,
    seed: int,
) -> Callable[[int], SearchProblem]:
    """Return the search on checked rows as a function of the number of experts."""
    seen = _stand_in(mixture, training, target, columns, text, batch, seed)
    part_checks.check_routing(mixture, bool(text), training.rows.labels is not None)
    seen_by = with_bases(mixture, training.sketch, target, (seen.experts, seen.gate), seed)

    def problem_at(n_experts: int) -> SearchProblem:
        sized = with_n_experts(mixture, n_experts)
        return _problem(sized, training, target, columns, seen_by, batch, seed)

    return problem_at


def has_estimators(mixture: BaseMixtureOfExperts, batch: bool) -> bool:
    """Return whether a part of the mixture is an estimator that is fitted on its own."""
    return (
        batch
        or mixture.shared_expert is not None
        or parts.gate_is_classifier(mixture)
        or hasattr(getattr(mixture.routing, "fallback", None), "fit")
    )


def selected(mixture: BaseMixtureOfExperts, source: Any) -> tuple[Any, Any]:
    """Return the columns of experts and of the gate."""
    owner, k = parts.owner_of(mixture), mixture.n_experts
    return (
        selected_columns(mixture.expert_features, "expert_features", source, k, owner),
        selected_columns(mixture.gate_features, "gate_features", source, k, owner),
    )


def _training(
    mixture: BaseMixtureOfExperts,
    X: Any,
    y: np.ndarray,
    arguments: FitArguments,
    target: Any,
    columns: tuple,
    batch: bool,
    frames: bool,
    seed: int,
) -> Any:
    """Return the checked rows of the fit and of its starts."""
    owner, k = parts.owner_of(mixture), mixture.n_experts
    part_inputs.refuse_text_of(mixture, arguments.table, batch, columns)
    missing = refuse_missing(X, part_inputs.refusing_missing(mixture, batch, columns), owner)
    targets = target.encode(y, owner)
    probe_family(target, targets, owner)
    codes = checked_groups(arguments.groups, X, owner)
    if codes is not None and not getattr(mixture.gate, "featureless", False):
        check_constant_in_groups(X, codes, columns[1], owner)
    weight = None
    if arguments.weight is not None:
        weight = as_counts(check_weights(arguments.weight, X, owner), mixture)
    offset = target.offset(arguments.offset, X, owner, parts.batch_name(mixture, batch))
    rows = Rows(
        X,
        targets,
        weight,
        frame=arguments.frame if frames else None,
        training=True,
        offset=offset,
        metadata=_routed(mixture, arguments.params),
        missing=missing,
        labels=checked_labels(arguments.labels, X.shape[0], codes, weight, k, owner),
        # estimators are fitted in threads; that they predict in several is not to be relied on
        n_threads=1 if has_estimators(mixture, batch) else allowed_threads(mixture.n_jobs),
    )
    target.refuse_extreme(rows.extremes, owner)
    start = start_of(mixture.init, rows, k, owner)
    return training_rows(rows, codes, start, k, seed, owner)


def _stand_in(
    mixture: BaseMixtureOfExperts,
    training: Any,
    target: Target,
    columns: tuple,
    text: tuple[int, ...],
    batch: bool,
    seed: int,
) -> Seen:
    """Return the columns that stand-ins see in starts; add new ones to the rows."""
    experts = gate = None
    if batch:
        per_expert = candidates_of(mixture.expert, mixture.n_experts, parts.owner_of(mixture))
        experts = [[expert for _, expert in candidates] for candidates in per_expert]
    if parts.gate_is_classifier(mixture):
        gate = getattr(mixture.gate, "estimator", mixture.gate)
    rows, sketch = training.rows, training.sketch
    return stand_in(rows, sketch, experts, gate, columns, text, seed, target.classes)


def _problem(
    mixture: BaseMixtureOfExperts,
    training: Any,
    target: Target,
    columns: tuple,
    seen_by: tuple[Any, Any],
    batch: bool,
    seed: int,
) -> SearchProblem:
    """Return the search: initial parts and settings."""
    rows, (expert_columns, gate_columns) = training.rows, columns
    gate = parts.start_gate(mixture, rows, seen_by[1])
    expert = None if batch else mixture.expert
    bank = linear_bank(expert, rows, seen_by[0], target, tuned=can(gate, "tuned"))
    part_checks.check_memory(mixture, gate, bank, rows.n_features)
    check_total(rows, gate, bank, mixture.n_experts, parts.owner_of(mixture))
    by_expert = any(isinstance(selection, list) for selection in columns)
    batch_bank = parts.batch_bank(mixture, rows, target, expert_columns, seed) if batch else None
    return SearchProblem(
        rows=rows,
        sketch=training.sketch,
        gate=gate,
        gate_columns=seen_by[1],
        bank=bank,
        batch_gate=parts.batch_gate(mixture, rows, gate_columns, seed),
        batch_bank=batch_bank,
        noise=parts.noise_of(mixture, rows, target),
        match=not by_expert and not getattr(mixture.gate, "nested", False) and rows.labels is None,
        arrange=not isinstance(expert_columns, list),
        on_collapse=mixture.on_collapse,
        owner=parts.owner_of(mixture),
        n_experts=mixture.n_experts,
        start=training.start,
        n_init=mixture.n_init,
        assigner=ASSIGNERS[mixture.assignment](seed),
        max_iter=mixture.max_iter,
        tol=tol_of(mixture, batch_bank),
        accelerated=mixture.acceleration is not None,
        seed=seed,
        n_jobs=mixture.n_jobs,
        share=parts.share_of(mixture, rows, target, expert_columns, bank, seed),
        routing=_routing(mixture, target, seed),
        progress=Progress(parts.owner_of(mixture), mixture.verbose) if mixture.verbose else None,
    )


def _routing(mixture: BaseMixtureOfExperts, target: Target, seed: int) -> Routes | None:
    """Return the routing of a fit, None for a dense one."""
    if mixture.routing is None:
        return None
    return Routes(
        clone(mixture.routing),
        mixture.n_experts,
        parts.has_fixed_expert(mixture),
        parts.fallback_of(mixture, target, seed),
        seed,
    )


def _routed(mixture: BaseMixtureOfExperts, params: dict) -> dict:
    """Return the routed metadata for the `fit` of each expert."""
    if not routing_enabled():
        raise_for_params(params, mixture, "fit")
        return {}
    if not params:  # nothing to route, and names need no check
        return {}
    routed = process_routing(mixture, "fit", **params)
    return {name: dict(routed[name].fit) for name in routed if name != parts.owner_of(mixture)}


def metadata_router(mixture: BaseMixtureOfExperts) -> MetadataRouter:
    """Return the routing of metadata to the experts and the shared one."""
    router = MetadataRouter(owner=parts.owner_of(mixture)).add_self_request(mixture)
    experts = {}
    if mixture.expert is not None:
        n_experts = len(mixture.expert) if isinstance(mixture.expert, list | tuple) else 1
        candidates = candidates_of(mixture.expert, n_experts, parts.owner_of(mixture))
        experts = {name: expert for pool in candidates for name, expert in pool}
    if mixture.shared_expert is not None:
        experts["shared_expert"] = mixture.shared_expert
    mapping = MethodMapping().add(caller="fit", callee="fit")
    return router.add(method_mapping=mapping, **experts)
