"""From the engine's parameters to the terms that users know: input units and names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from mixexp._columns import given_names
from mixexp.protocols import Design, can

__all__ = ["Term", "check_mixture", "terms_of"]

#: Most parameters: matrices of 70 MB.
MOST_PARAMETERS = 3000


#: Why sparse coefficients are refused.
ZEROS = (
    ", under which estimates that are exactly 0 have no normal distribution: use a ridge penalty "
    "there (l1_ratio=0, Ridge)"
)


@dataclass(frozen=True)
class Term:
    """A reported parameter: a linear function of the engine's, or the exponential of one.

    Attributes
    ----------
    part : str
        "expert 0", "gate 1": what it belongs to.
    output : str
        The output or class; empty for a single one.
    name : str
        The column, "intercept", or the family's name for it.
    weights : ndarray of shape (P,)
    exponential : bool
    """

    part: str
    output: str
    name: str
    weights: np.ndarray
    exponential: bool = False


def terms_of(estimator: Any, feature_names: Any = None) -> list[Term]:
    """Return the terms of the experts, then of the gate, of a fitted mixture."""
    model = estimator._model
    gate, bank = model.gate, model.bank
    if not (can(gate, "scores") and can(bank, "scores")):
        raise ValueError(
            f"{type(estimator).__name__}: standard errors and named parameters need a softmax or "
            "constant gate and linear experts of a family other than laplace, and this mixture has "
            f"{_what_lacks(estimator)}."
        )
    offset, size = gate.get_parameters().size, 0
    size = offset + bank.get_parameters().size
    if size > MOST_PARAMETERS:
        raise ValueError(
            f"{type(estimator).__name__}: the model has {size} parameters, and their names and "
            f"errors need square matrices of that size; the limit is {MOST_PARAMETERS}. Leave out "
            "columns, or use fewer experts."
        )
    names = getattr(estimator, "feature_names_in_", None)
    if feature_names is not None:
        given = given_names(feature_names, estimator.n_features_in_, type(estimator).__name__)
        names = np.array(given, dtype=object)
    elif names is None:
        names = np.array([f"x{j}" for j in range(estimator.n_features_in_)], dtype=object)
    found = []
    for k in range(model.n_experts):
        found += _of_expert(bank, k, names, offset, size)
    for k in range(model.n_experts if model.n_experts > 1 else 0):
        found += _of_gate(gate, k, names, size)
    return found


def _what_lacks(estimator: Any) -> str:
    """Return what stands in the way, in the words of the mixture's parameters."""
    model = estimator._model
    reasons = {
        "noise_expert=True": estimator.noise_expert,
        "zero_expert=True": getattr(estimator, "zero_expert", False),
        f"routing={estimator.routing!r}": estimator.routing is not None,
        "a shared_expert": estimator.shared_expert is not None,
        "mixtures as experts": model.flat is not None,
        "estimators as experts": model.flat is None and model.is_batch,
        f"an L1 penalty of the gate{ZEROS}": bool(getattr(model.gate, "l1_ratio", 0)),
        f"an L1 penalty of the experts{ZEROS}": getattr(model.bank, "l1", None) is not None,
        f"gate={estimator.gate_!r}": not can(model.gate, "scores"),
        f"family={getattr(estimator, 'family', None)!r}": True,
    }
    return next(reason for reason, holds in reasons.items() if holds)


def check_mixture(estimator: Any, function: str) -> None:
    """Raise if this is no fitted mixture."""
    if not hasattr(estimator, "responsibilities"):
        raise TypeError(
            f"{function}: needs a fitted MixtureOfExpertsRegressor or MixtureOfExpertsClassifier, "
            f"got {type(estimator).__name__}. Of a Pipeline or a search, give the mixture inside "
            "and the rows that it was fitted to; mixexp.inspection.unwrap returns both."
        )
    check_is_fitted(estimator, "experts_")


def _of_expert(bank: Any, k: int, names: np.ndarray, offset: int, size: int) -> list[Term]:
    space, part = bank.parameter_space, f"expert {k}"
    rows, columns = _to_input(bank.design, names)
    seen = None if bank.mask is None else bank.mask[k]
    found = []
    for output, weights in _outputs(bank, space.predictors[k] + offset, size):
        found += _predictor(part, output, rows, columns, weights, seen)
    if not can(bank, "parameters") or not len(bank.parameters):
        return found
    n_outputs = bank.parameters.shape[2]
    positions = space.scalars[k].reshape(-1, n_outputs) + offset
    for name, row in zip(bank.family.parameter_names, positions, strict=True):
        for q, position in enumerate(row):
            weights = np.zeros(size)
            weights[position] = 1.0
            output = "" if n_outputs == 1 else f"y{q}"
            found.append(Term(part, output, SINGULAR.get(name, name), weights, exponential=True))
    return found


#: Names of a family's parameters, for one expert.
SINGULAR = {"dispersions": "dispersion", "degrees_of_freedom": "degrees of freedom"}


def _outputs(bank: Any, positions: np.ndarray, size: int) -> list[tuple[str, np.ndarray]]:
    """Return the name of every output or class, and the weights (p, P) of its coefficients.

    Of two classes, the coefficients are those of the second less those of the first.
    """
    unit = np.zeros((*positions.shape, size))
    np.put_along_axis(unit, positions[..., None], 1.0, axis=2)
    classes = getattr(bank, "classes", None)
    if classes is None:
        several = len(positions) > 1
        return [(f"y{q}" if several else "", weights) for q, weights in enumerate(unit)]
    if len(classes) == 2:
        return [("", unit[1] - unit[0])]
    return [(str(label), weights) for label, weights in zip(classes, unit, strict=True)]


def _of_gate(gate: Any, k: int, names: np.ndarray, size: int) -> list[Term]:
    space, part = gate.parameter_space, f"gate {k}"
    if not can(gate, "design"):
        weights = np.zeros(size)
        weights[space.scalars[k]] = 1.0
        return [Term(part, "", "log-probability, centred", weights)]
    rows, columns = _to_input(gate.design, names)
    weights = np.zeros((space.predictors.shape[2], size))
    np.put_along_axis(weights, space.predictors[k, 0][:, None], 1.0, axis=1)
    seen = space.tied[space.predictors[k, 0]] >= 0
    return _predictor(part, "", rows, columns, weights, seen)


def _predictor(
    part: str,
    output: str,
    rows: np.ndarray,
    columns: list[str],
    weights: np.ndarray,
    seen: np.ndarray | None,
) -> list[Term]:
    """Return the terms of one linear predictor; constant and unseen columns have none."""
    found = []
    for i, (row, name) in enumerate(zip(rows, columns, strict=True)):
        if np.any(row) and (seen is None or seen[i]):
            found.append(Term(part, output, name, row @ weights))
    return found


def _to_input(design: Design, names: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return the map from coefficients of a design to input units (p, p), and names (p,)."""
    slopes, intercepts = design.to_input_units(np.eye(design.size))
    columns = design.names(names)
    columns += [f"{names[design.columns[i]]} is missing" for i in design.indicators]
    if not design.intercept:
        return slopes.T, columns
    return np.vstack([intercepts, slopes.T]), ["intercept", *columns]
