"""Fits that go on from the last one: `warm_start`.

What is taken over is the whole state, for the same data and parts; or the division of the rows
among the experts, where parts or data have changed; or nothing, for another number of experts,
other columns, rows that the old mixture does not explain, or experts that are all one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mixexp._engine.alone import one_expert
from mixexp._engine.context import posteriors
from mixexp._engine.em import Run
from mixexp._engine.rivals import ALIKE
from mixexp._engine.search import SearchProblem
from mixexp._engine.starts import FromPartition, FromState
from mixexp._engine.sweep import State, log_joint, posterior
from mixexp._estimators.assembly import Assembly, has_estimators
from mixexp._estimators.identity import described, parameters_of
from mixexp.protocols import Block, StartContext, Target

if TYPE_CHECKING:
    from mixexp._estimators.base import BaseMixtureOfExperts

__all__ = ["LastMixture", "may_go_on", "remembered", "warm"]

#: Parameters that do not change what the parameters of parts mean: the whole state stays.
OF_THE_RUN = {
    "acceleration",
    "bound_predictions",
    "max_experts",
    "max_iter",
    "n_init",
    "n_refits",
    "on_collapse",
    "online_forget",
    "online_step",
    "pooling",
    "random_state",
    "tol",
}


class LastMixture:
    """A start from the responsibilities of a fitted mixture for the rows of the sketch."""

    random = given = False
    numbered = True

    def __init__(self, state: State):
        self._state = state

    def responsibilities(self, context: StartContext, rng: np.random.Generator) -> np.ndarray:
        """Return responsibilities (K, n) of the rows, without those of a noise expert."""
        resp = posteriors(self._state, _as_new(context.rows))[0][: context.n_experts]
        total = resp.sum(axis=0)
        alike = np.full_like(resp, 1 / len(resp))
        return np.divide(resp, total, out=alike, where=total > 0)


def _as_new(rows: Any) -> Any:
    """Return rows as those that a mixture has not been fitted to: it knows others, or more."""
    rows = rows.subset(np.arange(rows.n_rows), rows.weight)
    rows.training = rows.units.training = False
    return rows


@np.errstate(over="ignore", invalid="ignore")
def _explains(state: State, problem: SearchProblem) -> bool:
    """Return whether a mixture explains rows better than one expert that is fitted to them.

    If it does not, its responsibilities are no guide: far from all experts they only say whose
    dispersion is larger.
    """
    rows, single = _as_new(problem.sketch), one_expert(problem.bank, problem.sketch, problem.noise)

    def gains(block: Block) -> np.ndarray:
        """Return the gains in log-density of the units, (1, m)."""
        density = posterior(log_joint(state.gate, state.bank, block))[1]
        return np.asarray(density - block.of_units(single.log_prob(block)))

    gain = rows.map(gains, axis=1)[0]
    return bool(np.average(gain, weights=rows.units.weight) > 0)


def remembered(
    mixture: BaseMixtureOfExperts, run: Run, assembly: Assembly, identity: Callable[[], str]
) -> dict[str, Any]:
    """Return what the next fit needs to go on from this one.

    Without `warm_start` that is little: the state, and what identifies the data, are kept only
    with it.
    """
    problem = assembly.problem
    last: dict[str, Any] = {
        "n_features": problem.rows.n_features,
        "names": _names(mixture),
        "classes": getattr(mixture, "classes_", None),
        "init": described(mixture.init),
    }
    if mixture.warm_start and _is_plain(mixture, assembly):
        last |= {"state": run.state, "data": identity(), "parameters": parameters_of(mixture)}
    return last


def _is_plain(mixture: BaseMixtureOfExperts, assembly: Assembly) -> bool:
    """Return whether parameters are all there is to the state of a fit."""
    plain = assembly.problem.routing is None and assembly.problem.warm_up is None
    return plain and not has_estimators(mixture, assembly.batch)


def _names(mixture: BaseMixtureOfExperts) -> list | None:
    """Return the names of the columns, None if they have none."""
    names = getattr(mixture, "feature_names_in_", None)
    return None if names is None else list(names)


def may_go_on(mixture: BaseMixtureOfExperts, n_features: int, classes: Any) -> bool:
    """Return whether the last fit had the same columns, classes and `init`, and as many experts.

    Columns without names are known by their positions.
    """
    last = vars(mixture).get("_last_fit")
    if not mixture.warm_start or last is None or not hasattr(mixture, "experts_"):
        return False
    names = _names(mixture)
    if None not in (names, last["names"]) and names != last["names"]:
        return False
    return (
        mixture.n_experts == mixture.n_experts_
        and n_features == last["n_features"]
        and np.array_equal(classes, last["classes"])
        and described(mixture.init) == last["init"]
    )


def warm(
    mixture: BaseMixtureOfExperts, assembly: Assembly, target: Target, identity: Callable[[], str]
) -> Assembly:
    """Return a search that begins from the last fit, where it can."""
    problem = assembly.problem
    if not may_go_on(mixture, problem.rows.n_features, target.classes):
        return assembly
    last = mixture._last_fit
    start: Any = None
    if any(ALIKE in record.events for record in mixture.restarts_):
        return assembly  # all experts are one: there is no division to go on from
    if "state" in last and last["data"] == identity():
        now, before = parameters_of(mixture), last["parameters"]
        changed = {name for name in now if now[name] != before[name]}
        if changed <= OF_THE_RUN and last["state"].bank.n_experts == problem.n_experts:
            start = FromState(last["state"])
    if start is None:
        if not _explains(mixture._model.state, problem):
            return assembly
        start = FromPartition(LastMixture(mixture._model.state))
    return replace(assembly, problem=replace(problem, start=start))
