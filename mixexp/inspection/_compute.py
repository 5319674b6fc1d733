"""From a fitted mixture and rows to the arrays of a picture of expert regions."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils.validation import check_consistent_length

from mixexp.inspection._inputs import (
    check_features,
    check_resolution,
    check_row,
    check_width,
    fill_table,
    find_mixture,
    table_columns,
    table_names,
)
from mixexp.inspection._levels import Level
from mixexp.inspection._regions import axis_values, held_values, most_probable, region_grid

__all__ = ["expert_regions"]


def expert_regions(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    features: Any = (0, 1),
    at: Any = None,
    target: Any = None,
    grid_resolution: int = 100,
    level: int | None = None,
    owner: str = "expert_regions",
) -> dict[str, Any]:
    """Return the parameters of an ExpertRegionsDisplay.

    1. Find the mixture; check X and the other parameters.
    2. Make a table of the kind of X: a grid over the features, all else held.
    3. Transform it as the steps before the mixture do, and ask the mixture.
    4. Put the experts below each node of a level together.

    Parameters are those of `ExpertRegionsDisplay.from_estimator`; `owner` is named in errors.
    """
    before, mixture = find_mixture(estimator, owner)
    resolution = check_resolution(grid_resolution, owner)
    columns = table_columns(X, owner)
    check_width(len(columns), estimator, owner)
    names = table_names(X, estimator)
    varied = check_features(features, names, columns, owner)
    row = held_values(columns) if at is None else check_row(at, names, columns, varied, owner)
    if target is not None and len(varied) == 2:
        raise ValueError(
            f"{owner}: target={target!r} has no meaning for two features, which show regions only. "
            "Leave it out, or give one feature."
        )
    if y is not None:
        check_consistent_length(X, y)

    grid = tuple(axis_values(columns[j], resolution) for j in varied)
    coordinates = dict(zip(varied, region_grid(grid), strict=True))
    rows, data = fill_table(X, columns, row, coordinates), X
    for step in before:
        rows, data = step.transform(rows), step.transform(data)

    weights = mixture.route(rows)
    given = mixture.route(data) if y is None else mixture.responsibilities(data, y)
    regions = Level.of(mixture, level, rows, weights.shape[1])
    own = regions.weights(weights)
    shape = tuple(len(axis) for axis in reversed(grid))
    arrays = {
        "grid": grid,
        "weights": own.reshape(*shape, own.shape[1]),
        "feature_names": [f"feature {j}" if names is None else names[j] for j in varied],
        "points": np.column_stack([columns[j] for j in varied]),
        "point_experts": most_probable(regions.weights(given)),
        "region_names": regions.names,
    }
    if len(varied) == 2:
        labels = is_classifier(mixture) and y is not None
        return {**arrays, "point_classes": np.asarray(y).ravel() if labels else None}
    curves = _curves(mixture, rows, y, target, owner)
    curves["expert_values"] = regions.values(curves["expert_values"], weights)
    return {**arrays, **curves}


def _curves(mixture: Any, rows: Any, y: Any, target: Any, owner: str) -> dict[str, Any]:
    """Return the arrays that curves over one feature need in addition."""
    experts = mixture.predict_experts(rows)
    if is_classifier(mixture):
        output = _class_position(target, list(mixture.classes_), owner)
        label = mixture.classes_[output]
        pooled = mixture.predict_proba(rows)
        name = f"P({getattr(y, 'name', None) or 'y'} = {label})"
        heights = None if y is None else (np.asarray(y).ravel() == label).astype(float)
    else:
        experts = experts.reshape(len(experts), experts.shape[1], -1)
        output = _output_position(target, experts.shape[2], owner)
        pooled = mixture.predict(rows).reshape(len(experts), -1)
        name = _output_name(y, output, experts.shape[2])
        heights = None if y is None else np.asarray(y, dtype=float).reshape(len(y), -1)[:, output]
    return {
        "point_values": heights,
        "expert_values": experts[:, :, output],
        "pooled_values": pooled[:, output],
        "value_name": name,
    }


def _class_position(target: Any, classes: list[Any], owner: str) -> int:
    """Return the position of the class whose probability is drawn."""
    if target is None and len(classes) == 2:
        return 1
    if target not in classes:
        shown = ", ".join(map(str, classes[:10])) + (", ..." if len(classes) > 10 else "")
        raise ValueError(
            f"{owner}: target={target!r} is no class of the mixture. For curves over one feature, "
            f"give the class whose probability is drawn, one of: {shown}."
        )
    return classes.index(target)


def _output_position(target: Any, n_outputs: int, owner: str) -> int:
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


def _output_name(y: Any, output: int, n_outputs: int) -> str:
    """Return the name of an output: that of a column or series where y has one."""
    columns = getattr(y, "columns", None)
    if columns is not None:
        return str(columns[output])
    name = str(getattr(y, "name", None) or "y")
    return name if n_outputs == 1 else f"{name}[{output}]"
