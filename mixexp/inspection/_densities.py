"""Compute the arrays of a ConditionalDensityDisplay from a fitted mixture and rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import is_classifier

from mixexp._wrapped import extra_name
from mixexp.inspection._compute import SHARES, heights_of, output_position, refuse_targets
from mixexp.inspection._inputs import check_resolution
from mixexp.inspection._slice import Slice

__all__ = ["conditional_density"]

#: The vertical axis holds at least the central intervals of this probability, and its margin.
WIDE, MARGIN = 0.99, 0.03

#: Most values of a count along the vertical axis; with more, only some of them are drawn.
MOST_COUNTS = 400

#: Name of the vertical axis where rows are counts: their trials differ.
ONE_TRIAL = f"{SHARES}; density of one trial"


def conditional_density(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    feature: Any = None,
    at: Any = None,
    target: Any = None,
    scales: Any = "auto",
    level: float = 0.9,
    grid_resolution: int = 200,
    feature_names: Any = None,
    owner: str = "conditional_density",
) -> dict[str, Any]:
    """Return the parameters of a ConditionalDensityDisplay.

    1. Find the mixture and the feature that varies: a `Slice`.
    2. Take the predictive distributions on a grid of it, of one output.
    3. Evaluate them between the ends of wide intervals, or at the counts between these.

    The parameters are documented in `ConditionalDensityDisplay.from_estimator`; error messages
    begin with `owner`.
    """
    part = Slice.of(
        estimator,
        X,
        features=feature,
        at=at,
        scales=scales,
        owner=owner,
        feature_names=feature_names,
        most=1,
    )
    mixture = part.mixture
    if len(part.axes) != 1:
        raise ValueError(f"{owner}: feature={feature!r} is not one feature. Give one.")
    if is_classifier(mixture) or not hasattr(mixture, "predict_distribution"):
        raise TypeError(
            f"{owner}: estimator={type(mixture).__name__} predicts no density of numbers. Draw "
            "ExpertRegionsDisplay or GateProbabilitiesDisplay."
        )
    if not 0 < level < 1:
        raise ValueError(f"{owner}: level={level!r} must be between 0 and 1.")
    refuse_targets(mixture, X, y, owner)
    y = part.targets(y)
    data = part.data
    n_outputs = int(np.prod(mixture.predict(data[:1]).shape[1:]))
    output = output_position(target, n_outputs, owner)
    heights, value_name = heights_of(mixture, y, output, n_outputs, owner)

    def ends(rows: Any) -> dict[str, np.ndarray]:
        law = law_of_output(mixture.predict_distribution(rows), output)
        low, high = law.interval([level, WIDE])
        return {
            "low": low[0],
            "high": high[0],
            "lowest": low[1],
            "highest": high[1],
            "weights": law.weights,
            "means": law.means,
        }

    n_points = check_resolution(grid_resolution, owner)
    grid, values = part.evaluate(n_points, ends, owner)
    discrete = bool(mixture.predict_distribution(data[:1]).family.discrete)
    y_grid = value_axis(values["lowest"], values["highest"], heights, n_points, discrete)

    def density(rows: Any) -> dict[str, np.ndarray]:
        law = law_of_output(mixture.predict_distribution(rows), output)
        return {"density": law.at("pdf", np.tile(y_grid, (len(law), 1)))}

    n_experts = len(mixture.experts_)
    _, found = part.evaluate(n_points, density, owner)
    return {
        "grid": grid[0],
        "y_grid": y_grid,
        "density": found["density"].T,
        "weights": values["weights"][:, :n_experts],
        "means": values["means"][:, :n_experts],
        "low": values["low"],
        "high": values["high"],
        "level": float(level),
        "feature_name": part.axis_names[0],
        "value_name": ONE_TRIAL if value_name == SHARES else value_name,
        "points": part.points[:, 0],
        "point_values": heights,
        "scale": part.scales[0],
        "held": part.held,
        "typical": part.typical,
        "extra_name": extra_name(mixture),
    }


def law_of_output(law: Any, output: int) -> Any:
    """Return the distribution of one of several outputs."""
    if law.means.ndim == 2:
        return law
    means, parameters = law.means[..., output], law.parameters[..., output]
    return type(law)(law.weights, means, parameters, law.family)


def value_axis(
    lowest: np.ndarray, highest: np.ndarray, heights: Any, n_points: int, discrete: bool
) -> np.ndarray:
    """Return values of y from the lowest to the highest end, and to all rows; whole for counts."""
    ends = [lowest[np.isfinite(lowest)], highest[np.isfinite(highest)]]
    ends += [] if heights is None else [heights]
    known = np.concatenate(ends)
    low, high = float(known.min()), float(known.max())
    if discrete:
        low, high = np.floor(low), np.ceil(high)
        step = max(1.0, np.ceil((high - low) / MOST_COUNTS))
        return np.arange(low, high + step, step)
    margin = MARGIN * ((high - low) or 1.0)
    return np.linspace(low - margin, high + margin, n_points)
