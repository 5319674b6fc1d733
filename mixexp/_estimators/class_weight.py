"""Class weights: factors applied to row weights."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils import compute_class_weight

from mixexp._checks import named_error, short

__all__ = ["present_classes", "with_class_weight"]


def with_class_weight(
    class_weight: Any, classes: np.ndarray, codes: np.ndarray, weight: np.ndarray | None, owner: str
) -> np.ndarray | None:
    """Return row weights times class weights; "balanced" counts rows by weight.

    `codes` are the rows' indices into `classes`.
    """
    if class_weight is None:
        return weight
    rows = np.ones(len(codes)) if weight is None else weight
    if isinstance(class_weight, str):
        mass = np.bincount(codes, weights=rows, minlength=len(classes))
        factors = mass.sum() / (np.sum(mass > 0) * np.where(mass > 0, mass, 1.0))
        return rows * factors[codes]
    for label, value in class_weight.items():
        number = isinstance(value, Real) and not isinstance(value, bool | np.bool_)
        if not (number and 0 <= value < np.inf):
            raise ValueError(
                f"{owner}: class_weight has {short(value)} for class {label!r}. Weights must be "
                "finite and nonnegative numbers; 0 leaves the rows of a class out."
            )
    remedy = f"The labels of y are {classes.tolist()[:10]}."
    with named_error(owner, f"class_weight={short(class_weight)}", remedy):
        factors = compute_class_weight(class_weight, classes=classes, y=classes)
    return rows * factors[codes]


def present_classes(
    classes: np.ndarray, codes: np.ndarray, weight: np.ndarray | None, owner: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes with positive weight, and the rows' indices into them.

    Rows of weight 0 are ignored, so a class with no others is left out; its rows get index 0.
    """
    present = np.bincount(codes, weights=weight, minlength=len(classes)) > 0
    if present.sum() < 2:
        only = ", ".join(repr(label) for label in classes[present].tolist())
        raise ValueError(
            f"{owner}: the data contain one class only, {only or 'none'} (rows of zero weight, by "
            "sample_weight or class_weight, not counted). A classifier needs samples of at least 2 "
            "classes."
        )
    if np.all(present):
        return classes, codes
    return classes[present], np.where(present[codes], np.cumsum(present)[codes] - 1, 0)
