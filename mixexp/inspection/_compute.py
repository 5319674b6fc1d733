"""Compute the arrays of an ExpertRegionsDisplay from a fitted mixture and rows."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils.validation import check_consistent_length

from mixexp._wrapped import extra_name, refuse_offset, shares
from mixexp.inspection._inputs import check_resolution
from mixexp.inspection._levels import Level
from mixexp.inspection._slice import Slice

__all__ = [
    "SHARES",
    "class_position",
    "expert_regions",
    "heights_of",
    "output_position",
    "refuse_targets",
]

#: How counts of successes and failures are drawn, as the experts predict them.
SHARES = "share of successes"


def expert_regions(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    features: Any = None,
    at: Any = None,
    target: Any = None,
    scales: Any = "auto",
    grid_resolution: int = 100,
    level: int | None = None,
    feature_names: Any = None,
    owner: str = "expert_regions",
) -> dict[str, Any]:
    """Return the parameters of an ExpertRegionsDisplay.

    1. Find the mixture, the features that vary and where the others are held: a `Slice`.
    2. Evaluate the mixture on the rows.
    3. Evaluate it on a grid: a table like X in which only these features vary.
    4. Merge the experts below each node of the chosen level.

    The parameters are documented in `ExpertRegionsDisplay.from_estimator`; error messages begin
    with `owner`.
    """
    part = Slice.of(
        estimator,
        X,
        features=features,
        at=at,
        scales=scales,
        owner=owner,
        feature_names=feature_names,
    )
    mixture, n_axes = part.mixture, len(part.axes)
    check_resolution(grid_resolution, owner)
    if target is not None and n_axes == 2:
        raise ValueError(
            f"{owner}: target={target!r} has no meaning for two features, which show regions only. "
            "Leave it out, or give one feature."
        )
    refuse_targets(mixture, X, y, owner)
    y = part.targets(y)

    data = part.data
    row_weights = mixture.route(data) if y is None else mixture.responsibilities(data, y)
    regions = Level.of(mixture, level, data, len(mixture.experts_))
    curves = {} if n_axes == 2 else _curves(mixture, data, y, target, owner)
    grid, values = part.evaluate(
        grid_resolution, lambda rows: _evaluate(mixture, rows, curves.get("output")), owner
    )
    weights, n_regions = regions.weights(values["weights"]), regions.members.shape[1]
    shape = tuple(len(axis) for axis in reversed(grid))
    extra = extra_name(mixture)
    arrays = {
        "grid": grid,
        "weights": weights.reshape(*shape, n_regions),
        "feature_names": part.axis_names,
        "scales": part.scales,
        "points": part.points,
        "point_experts": regions.most_probable(row_weights),
        "region_names": regions.names,
        "region_experts": None if regions.names is None else regions.experts,
        "extra_name": extra or "noise",
        "extra_weights": None if extra is None else values["extra"].reshape(shape),
        "held": part.held,
        "typical": part.typical,
        "deciders": part.deciders(y),
    }
    if n_axes == 2:
        labels = is_classifier(mixture) and y is not None
        return {**arrays, "point_classes": np.asarray(y).ravel() if labels else None}
    return {
        **arrays,
        "point_values": curves["point_values"],
        "expert_values": regions.values(values["experts"], values["weights"]),
        "pooled_values": values["pooled"],
        "value_name": curves["value_name"],
    }


def _evaluate(mixture: Any, rows: Any, output: int | None) -> dict[str, np.ndarray]:
    """Return expert weights (n, n_experts) and, for one output or class, the predictions.

    The experts' predictions are (n, n_experts), the mixture's (n,); beside a noise or zero expert
    also its gate probability (n,), which the weights leave out.
    """
    found = {"weights": np.asarray(mixture.route(rows))}
    if extra_name(mixture) is not None:
        found["extra"] = np.asarray(mixture.gate_proba(rows))[:, -1]
    if output is None:
        return found
    experts = mixture.predict_experts(rows)
    experts = experts[:, : len(mixture.experts_)]  # a fallback has no curve
    pooled = mixture.predict_proba(rows) if is_classifier(mixture) else mixture.predict(rows)
    return {
        **found,
        "experts": experts.reshape(*experts.shape[:2], -1)[:, :, output],
        "pooled": pooled.reshape(len(pooled), -1)[:, output],
    }


def _curves(mixture: Any, data: Any, y: Any, target: Any, owner: str) -> dict[str, Any]:
    """Return the index and name of the output or class to draw, and the rows' values of it."""
    if is_classifier(mixture):
        output = class_position(
            target,
            list(mixture.classes_),
            owner,
            "For curves over one feature, give the class whose probability is drawn",
        )
        label = mixture.classes_[output]
        return {
            "output": output,
            "value_name": f"P({getattr(y, 'name', None) or 'y'} = {label})",
            "point_values": None if y is None else (np.asarray(y).ravel() == label).astype(float),
        }
    n_outputs = int(np.prod(np.shape(mixture.predict(data[:1]))[1:]))
    output = output_position(target, n_outputs, owner)
    heights, name = heights_of(mixture, y, output, n_outputs, owner, "prediction")
    return {"output": output, "value_name": name, "point_values": heights}


def refuse_targets(mixture: Any, X: Any, y: Any, owner: str) -> None:
    """Raise if targets are not those of X, or if the mixture would need an offset for them."""
    if y is None:
        return
    refuse_offset(mixture, owner, "Leave y out: the picture then shows rates.")
    check_consistent_length(X, y)


def heights_of(
    mixture: Any, y: Any, output: int, n_outputs: int, owner: str, unnamed: str = "y"
) -> tuple[np.ndarray | None, str]:
    """Return where the rows lie along the axis of predictions, None without y, and its name.

    Successes and failures of family binomial lie at the share of successes, as predictions do.
    """
    if y is None:
        return None, output_name(y, output, n_outputs, unnamed)
    targets, _ = shares(mixture, y, np.ones(len(y)), owner)
    name = output_name(y, output, n_outputs, unnamed) if targets is y else SHARES
    return np.asarray(targets, dtype=float).reshape(len(y), -1)[:, output], name


def class_position(target: Any, classes: list[Any], owner: str, remedy: str) -> int:
    """Return the index of the class that is drawn: of two, the second unless one is given."""
    if target is None and len(classes) == 2:
        return 1
    if target not in classes:
        shown = ", ".join(map(str, classes[:10])) + (", ..." if len(classes) > 10 else "")
        raise ValueError(
            f"{owner}: target={target!r} is no class of the mixture. {remedy}, one of: {shown}."
        )
    return classes.index(target)


def output_position(target: Any, n_outputs: int, owner: str) -> int:
    """Return the index of the output that is drawn."""
    if target is None and n_outputs == 1:
        return 0
    whole = isinstance(target, Integral) and not isinstance(target, bool)
    if not whole or not 0 <= target < n_outputs:
        raise ValueError(
            f"{owner}: target={target!r} is no output of a mixture with n_outputs={n_outputs}. For "
            f"curves over one feature, give an index from 0 to {n_outputs - 1}."
        )
    return int(target)


def output_name(y: Any, output: int, n_outputs: int, unnamed: str = "y") -> str:
    """Return the name of an output, taken from y if it is a frame or a series with a name."""
    columns = getattr(y, "columns", None)
    if columns is not None:
        return str(columns[output])
    name = str(getattr(y, "name", None) or unnamed)
    return name if n_outputs == 1 else f"{name}[{output}]"
