"""What input the parts of a mixture take: sparse rows, missing values, text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mixexp._columns import Table, refuse_text
from mixexp._fitting import (
    gate_takes_missing,
    may_take_missing,
    name_of,
    takes_missing,
    takes_sparse,
)
from mixexp.experts import (
    candidates_of,
)

if TYPE_CHECKING:
    from mixexp._estimators.base import BaseMixtureOfExperts
from mixexp._estimators.parts import gate_is_classifier, owner_of, templates_of

__all__ = [
    "gate_refusing",
    "refuse_text_of",
    "refusing",
    "refusing_missing",
    "refusing_others",
    "takes_all_missing",
    "takes_all_sparse",
]


def _standing_by(mixture: BaseMixtureOfExperts) -> dict[str, Any]:
    """Return the shared expert and the fallback, if they are estimators, by their parameters."""
    others = {
        "shared_expert": mixture.shared_expert,
        "fallback": getattr(mixture.routing, "fallback", None),
    }
    return {n: e for n, e in others.items() if hasattr(e, "fit") and not isinstance(e, type)}


def takes_all_sparse(mixture: BaseMixtureOfExperts) -> bool:
    """Return whether all experts declare that they accept sparse input."""
    others = _standing_by(mixture).values()
    return all(takes_sparse(expert) for expert in [*templates_of(mixture), *others])


def takes_all_missing(mixture: BaseMixtureOfExperts) -> bool:
    """Return whether all experts and the gate declare that they accept NaN."""
    experts = templates_of(mixture)
    gate = getattr(mixture.gate, "estimator", mixture.gate)
    takes = all(takes_missing(expert) for expert in [*experts, *_standing_by(mixture).values()])
    takes = takes and gate_takes_missing(gate)
    bases = (mixture.expert_basis, mixture.gate_basis)
    takes = takes and all(isinstance(basis, str) or takes_missing(basis) for basis in bases)
    return bool(experts) and takes and (not hasattr(gate, "fit") or takes_missing(gate))


def refuse_text_of(
    mixture: BaseMixtureOfExperts, table: Table, batch: bool, columns: tuple
) -> None:
    """Raise if a part that needs numbers sees a non-numeric column of X."""
    if not table.text:
        return
    owner, text = owner_of(mixture), (table.frame, table.text)
    if not batch:
        linear = mixture.expert is None
        who = "the linear expert" if linear else f"expert {name_of(mixture.expert)}"
        remedy = "leave it out by expert_features; or give an expert that is such a Pipeline"
        refuse_text(*text, who, columns[0], owner, remedy)
    if not (gate_is_classifier(mixture) or getattr(mixture.gate, "featureless", False)):
        who = f"the gate {'SoftmaxGate()' if mixture.gate is None else repr(mixture.gate)}"
        remedy = "leave it out by gate_features; or give a classifier that is such a Pipeline"
        refuse_text(*text, who, columns[1], owner, remedy)


def refusing_missing(mixture: BaseMixtureOfExperts, batch: bool, columns: tuple) -> list:
    """Return the names of the parts that reject NaN, with the columns they see."""
    expert_columns, gate_columns = columns
    if not batch:
        linear = mixture.expert is None
        name = "linear experts" if linear else f"expert {name_of(mixture.expert)}"
        who = [(name, expert_columns)]
    elif isinstance(mixture.expert, list | tuple) and isinstance(expert_columns, list):
        per_expert = candidates_of(mixture.expert, mixture.n_experts, owner_of(mixture))
        pairs = zip(per_expert, expert_columns, strict=True)
        seen = [(expert, columns) for candidates, columns in pairs for _, expert in candidates]
        who = refusing(*zip(*seen, strict=True))
    else:
        templates = templates_of(mixture)
        who = refusing(templates, [expert_columns] * len(templates))
    who += refusing_others(mixture)
    return who + gate_refusing(mixture.gate, gate_columns)


def refusing(experts: Any, columns: Any) -> list[tuple[str, Any]]:
    """Return the names of experts that reject NaN, with the columns they see."""
    pairs = zip(experts, columns, strict=True)
    return [(f"expert {name_of(e)}", seen) for e, seen in pairs if not may_take_missing(e)]


def refusing_others(mixture: BaseMixtureOfExperts) -> list[tuple[str, Any]]:
    """Return the names of shared expert and fallback if they reject NaN, with their columns."""
    others = _standing_by(mixture).items()
    return [(f"{name} {name_of(e)}", None) for name, e in others if not may_take_missing(e)]


def gate_refusing(part: Any, columns: Any) -> list[tuple[str, Any]]:
    """Return the name of a gate that rejects NaN, with the columns it sees."""
    who: list[tuple[str, Any]] = []
    gate = getattr(part, "estimator", part)
    if hasattr(gate, "fit") and not may_take_missing(gate):
        who.append((f"gate {name_of(gate)}", columns))
    if not gate_takes_missing(part):
        unsaid = "" if hasattr(part, "takes_missing") else ", which has no takes_missing = True,"
        who.append((f"gate {part!r}{unsaid}", columns))
    return who
