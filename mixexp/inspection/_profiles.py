"""Compute the arrays of an ExpertProfilesDisplay from a fitted mixture and rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import is_classifier

from mixexp._wrapped import find_mixture, refuse_offset, transformed
from mixexp.inspection._compute import class_position
from mixexp.inspection._gate_tree import mixture_names
from mixexp.inspection._routing import checked_weight
from mixexp.metrics import expert_importance

__all__ = ["KINDS", "expert_profiles"]

#: What a profile may hold.
KINDS = ("auto", "coefficients", "importance")

COEFFICIENT = "coefficient"
PER_SD = "coefficient × standard deviation of the column"
LOSS = {
    False: "loss of R² on the expert's rows, column permuted",
    True: "loss of accuracy on the expert's rows, column permuted",
}


def expert_profiles(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    kind: str = "auto",
    target: Any = None,
    standardize: bool = True,
    level: float = 0.95,
    sample_weight: Any = None,
    n_repeats: int = 5,
    random_state: Any = None,
    owner: str = "expert_profiles",
) -> dict[str, Any]:
    """Return the parameters of an ExpertProfilesDisplay.

    1. Coefficients with intervals, where `summary` covers the mixture and `y` is given.
    2. Else those of the experts themselves, if all have `coef_` for the same columns.
    3. Else permutation importances of each expert on its own rows.

    The parameters are documented in `ExpertProfilesDisplay.from_estimator`; error messages begin
    with `owner`.
    """
    if kind not in KINDS:
        raise ValueError(f"{owner}: kind must be one of {', '.join(KINDS)}, got {kind!r}.")
    before, mixture = find_mixture(estimator, owner)
    if kind != "importance":
        data = transformed(before, X)
        weight = None
        if sample_weight is not None:
            weight = checked_weight(sample_weight, np.shape(X)[0], owner)
        names = mixture_names(before, mixture)
        found = _inferred(mixture, data, y, weight, names, target, level, owner)
        if found is None:
            found = _of_experts(mixture, names, target, owner)
        if found is not None:
            return _per_sd(found, data, weight, names) if standardize else found
        if kind == "coefficients":
            raise ValueError(
                f"{owner}: the experts of estimator={type(mixture).__name__} have no coefficients "
                "of all columns. Set kind='importance'."
            )
    if y is None:
        raise ValueError(
            f"{owner}: y=None, and importances compare predictions with targets. Give y."
        )
    refuse_offset(mixture, owner, "Use mixexp.metrics.expert_importance with the offset.")
    found = expert_importance(
        estimator,
        X,
        y,
        n_repeats=n_repeats,
        sample_weight=sample_weight,
        random_state=random_state,
    )
    n_experts = len(mixture.experts_)  # a fallback comes last, and is no expert
    mean, spread = (found[name][:n_experts] for name in ("importances_mean", "importances_std"))
    columns = getattr(X, "columns", getattr(estimator, "feature_names_in_", None))
    names = [f"x{j}" for j in range(mean.shape[1])] if columns is None else columns
    return {
        "values": mean,
        "names": [str(name) for name in names],
        "low": mean - spread,
        "high": mean + spread,
        "value_name": LOSS[is_classifier(mixture)],
        "note": f"lines: ± one standard deviation of {n_repeats} permutations",
    }


def _inferred(
    mixture: Any,
    data: Any,
    y: Any,
    weight: Any,
    names: list[str],
    target: Any,
    level: float,
    owner: str,
) -> dict[str, Any] | None:
    """Return coefficients with intervals, or None where there are no standard errors."""
    if y is None:
        return None
    plain = [str(name) for name in names]
    unique = len(set(plain)) == len(plain)  # else columns that share a name would be one
    try:
        summary = mixture.summary(data, y, weight, feature_names=plain if unique else None)
        estimates = summary.estimates
    except ValueError:  # it says which part has none; the picture says that there are none
        return None
    slopes = [
        i
        for i, (part, name) in enumerate(zip(estimates.parts, estimates.names, strict=True))
        if part.startswith("expert ") and name != "intercept" and not estimates.positive[i]
    ]
    outputs = list(dict.fromkeys(estimates.outputs[i] for i in slopes))
    if not outputs:
        return None
    q, sign, label = _chosen(mixture, target, outputs, owner)
    output = outputs[q]
    slopes = [i for i in slopes if estimates.outputs[i] == output]
    columns = list(dict.fromkeys(estimates.names[i] for i in slopes))
    found = np.full((3, len(mixture.experts_), len(columns)), np.nan)
    bounds = estimates.intervals(level)
    for i in slopes:
        place = int(estimates.parts[i].split()[1]), columns.index(estimates.names[i])
        found[(slice(None), *place)] = sign * estimates.estimates[i], *np.sort(sign * bounds[i])
    own = getattr(mixture, "feature_names_in_", [f"x{j}" for j in range(len(names))])
    known = dict(zip(plain if unique else map(str, own), names, strict=True))
    return {
        "values": found[0],
        "names": [known.get(name, name) for name in columns],
        "low": found[1],
        "high": found[2],
        "value_name": COEFFICIENT + label,
        "note": f"lines: {100 * level:g} % intervals",
    }


def _of_experts(mixture: Any, names: list[str], target: Any, owner: str) -> dict[str, Any] | None:
    """Return the `coef_` of all experts, or None if one has none for all columns."""
    coefs = [getattr(expert, "coef_", None) for expert in mixture.experts_]
    if any(coef is None or hasattr(coef, "toarray") for coef in coefs):
        return None
    tables = [np.atleast_2d(np.asarray(coef, dtype=np.float64)) for coef in coefs]
    if any(table.shape != (len(tables[0]), len(names)) for table in tables):
        return None
    outputs: list[Any] = [f"y{q}" for q in range(len(tables[0]))]
    if is_classifier(mixture) and len(outputs) == len(mixture.classes_):
        outputs = list(mixture.classes_)
    q, sign, label = _chosen(mixture, target, [str(output) for output in outputs], owner)
    return {
        "values": sign * np.stack([table[q] for table in tables]),
        "names": names,
        "low": None,
        "high": None,
        "value_name": COEFFICIENT + label,
        "note": "no intervals",
    }


def _chosen(mixture: Any, target: Any, outputs: list[str], owner: str) -> tuple[int, int, str]:
    """Return the position of the output or class that is drawn, a sign, and a label of it.

    Two classes have one set of coefficients, those of the second: those of the first have the
    opposite sign.
    """
    classes = list(mixture.classes_) if is_classifier(mixture) else []
    if len(outputs) == 1 and len(classes) == 2:
        remedy = "Give the class whose coefficients are drawn"
        k = class_position(target, classes, owner, remedy)
        return 0, (-1, 1)[k], f", {classes[k]}"
    q = _position(target, outputs, owner)
    return q, 1, f", {outputs[q]}" if len(outputs) > 1 else ""


def _position(target: Any, outputs: list[str], owner: str) -> int:
    """Return the position of the output or class that is drawn; `y1` and 1 are the same one."""
    if target is None and len(outputs) == 1:
        return 0
    for wanted in (str(target), f"y{target}"):
        if wanted in outputs:
            return outputs.index(wanted)
    raise ValueError(
        f"{owner}: target={target!r} is no output or class of the mixture. Coefficients are those "
        f"of one, of: {', '.join(outputs[:10])}."
    )


def _per_sd(found: dict[str, Any], data: Any, weight: Any, names: list[str]) -> dict[str, Any]:
    """Return coefficients times the standard deviation of their column.

    Columns of a basis are not in the data: those coefficients stay as they are.
    """
    if not set(found["names"]) <= set(names) or len(set(names)) < len(names):
        return found
    scale = column_deviations(data, weight)[[names.index(name) for name in found["names"]]]
    scaled = {
        key: None if found[key] is None else found[key] * scale for key in ("values", "low", "high")
    }
    # Per standard deviation, a scaled column and its input have the same coefficient.
    labels = [getattr(name, "quantity", name) for name in found["names"]]
    return {
        **found,
        **scaled,
        "names": labels,
        "value_name": found["value_name"].replace(COEFFICIENT, PER_SD),
    }


def column_deviations(data: Any, weight: np.ndarray | None) -> np.ndarray:
    """Return the standard deviation of every column (p,), leaving out missing values."""
    if hasattr(data, "toarray"):
        data = data.toarray()
    values = np.asarray(data, dtype=np.float64)
    weights = np.ones(len(values)) if weight is None else weight
    mass = np.where(np.isnan(values), 0.0, weights[:, None])
    filled = np.nan_to_num(values)
    total = mass.sum(axis=0)
    mean = (mass * filled).sum(axis=0) / total
    deviations: np.ndarray = np.sqrt((mass * (filled - mean) ** 2).sum(axis=0) / total)
    return deviations
