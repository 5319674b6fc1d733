"""Fits the bases of gate and experts, once, to the rows of the starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from sklearn import get_config
from sklearn.base import clone
from sklearn.pipeline import FeatureUnion
from sklearn.utils.validation import has_fit_parameter

from mixexp._checks import short
from mixexp._compat import routing_enabled
from mixexp._estimators import parts
from mixexp._fitting import (
    estimator_targets,
    fit_estimator,
    name_of,
    seeded,
    takes_sparse,
    takes_weights,
)
from mixexp._guests import failures_named
from mixexp._rows.basis import Based, Basis, as_matrix, owned_rows
from mixexp.bases import BASES
from mixexp.protocols import Rows, Target

if TYPE_CHECKING:
    from mixexp._estimators.base import BaseMixtureOfExperts

__all__ = ["check_bases", "with_bases"]

#: What a basis is for, by parameter: the name of the columns' selection.
SELECTIONS = {"expert_basis": "expert_features", "gate_basis": "gate_features"}

#: Hint for a `ColumnTransformer` that goes by names.
ARRAYS = " A basis is fitted on an array of its columns: select them by position."


def is_linear(basis: Any) -> bool:
    """Return whether a basis is the columns themselves, as "auto" is unless it was replaced."""
    return isinstance(basis, str) and basis in ("linear", "auto")


def check_bases(mixture: BaseMixtureOfExperts, batch: bool, columns: tuple[Any, Any]) -> None:
    """Raise if a basis does not go with the part that would see it."""
    owner = parts.owner_of(mixture)
    of_experts, of_gate = (f"{name}={short(getattr(mixture, name))}" for name in SELECTIONS)
    if batch and not is_linear(mixture.expert_basis):
        raise ValueError(
            f"{owner}: {of_experts} is for linear experts that are fitted all at once, and "
            f"{_names_of(mixture)} is not. Put the transformer in a Pipeline with the expert, and "
            "leave expert_basis='linear'."
        )
    if parts.gate_is_classifier(mixture) and not is_linear(mixture.gate_basis):
        raise ValueError(
            f"{owner}: {of_gate} is for the gates of mixexp.gates, and {name_of(mixture.gate)} is "
            "a classifier. Put the transformer in a Pipeline with the gate, and leave "
            "gate_basis='linear'."
        )
    brings_gate = not (mixture.warm_up is None or isinstance(mixture.warm_up, str))
    if brings_gate and not is_linear(mixture.gate_basis):
        raise ValueError(
            f"{owner}: warm_up brings its gate, and {of_gate} would not be used. Set "
            "gate_basis='linear' here, and the basis in warm_up."
        )
    for (name, features), selection in zip(SELECTIONS.items(), columns, strict=True):
        if isinstance(selection, list) and not is_linear(getattr(mixture, name)):
            raise ValueError(
                f"{owner}: {name}={short(getattr(mixture, name))} has one output for all experts, "
                f"and {features} gives columns to each. Give one selection, or {name}='linear'."
            )


def _names_of(mixture: BaseMixtureOfExperts) -> str:
    """Return the names of the estimators that may become experts."""
    return " or ".join(sorted({name_of(e) for e in parts.templates_of(mixture)}))


def with_bases(
    mixture: BaseMixtureOfExperts, sketch: Rows, target: Target, columns: tuple[Any, Any], seed: int
) -> tuple[Any, Any]:
    """Return the columns of experts and gate, together with the bases fitted to them.

    Parts with the same named basis of the same columns share it, and so the work for it. A gate
    that sees no features needs none.
    """
    of_experts = _based(mixture, "expert_basis", sketch, target, columns[0], seed)
    if getattr(mixture.gate, "featureless", False):
        return of_experts, columns[1]
    named = isinstance(mixture.gate_basis, str) and isinstance(mixture.expert_basis, str)
    same = named and mixture.gate_basis == mixture.expert_basis
    if same and isinstance(of_experts, Based) and np.array_equal(columns[0], columns[1]):
        return of_experts, of_experts
    return of_experts, _based(mixture, "gate_basis", sketch, target, columns[1], seed)


def _based(
    mixture: BaseMixtureOfExperts, name: str, sketch: Rows, target: Target, columns: Any, seed: int
) -> Any:
    """Return columns with the basis that a parameter asks for."""
    value = getattr(mixture, name)
    if is_linear(value):
        return columns
    title = f"{parts.owner_of(mixture)}: {name}={short(value)}"
    template = BASES[value]() if isinstance(value, str) else clone(value)
    return Based(columns, _fitted(template, sketch, target, columns, seed, title))


def _fitted(
    template: Any, sketch: Rows, target: Target, columns: Any, seed: int, name: str
) -> Basis:
    """Return a transformer fitted to rows, of which equal ones are one row with their weight.

    A transformer without `sample_weight` sees every distinct row once.
    """
    X = sketch.X if columns is None else sketch.X[:, columns]
    sparse = takes_sparse(template)
    if sp.issparse(X) and not sparse:
        _refuse_dense(X, name)
    fresh = seeded(template, seed)
    weight = None if sketch.weight is None else np.array(sketch.weight)
    y = estimator_targets(sketch, target.classes)
    with failures_named(lambda: name, lambda: ARRAYS if hasattr(template, "remainder") else ""):
        if weight is not None and _all_take_weights(fresh):
            transformer = fresh.fit(owned_rows(X, sparse), y, sample_weight=weight)
        else:
            weight = weight if takes_weights(fresh) or not routing_enabled() else None
            transformer = fit_estimator(fresh, owned_rows(X, sparse), y, weight)
        one = transformer.transform(owned_rows(X[:1], sparse))
    return Basis(transformer, as_matrix(one, 1, name).shape[1], sparse, name)


def _all_take_weights(transformer: Any) -> bool:
    """Return whether this is a union that hands weights on, and every part takes them."""
    return isinstance(transformer, FeatureUnion) and all(
        has_fit_parameter(part, "sample_weight") for _, part in transformer.transformer_list
    )


def _refuse_dense(X: Any, name: str) -> None:
    """Raise if sparse rows are too large for a transformer that takes dense ones."""
    size, limit = 8 * X.shape[0] * X.shape[1] / 2**20, get_config()["working_memory"]
    if size > limit:
        raise ValueError(
            f"{name} takes no sparse rows, and {X.shape[0]} rows of {X.shape[1]} columns filled in "
            f"need {size:.0f} MiB, more than scikit-learn's working_memory of {limit} MiB. Use a "
            "transformer of sparse rows such as TruncatedSVD, or 'linear'."
        )
