"""Fitted linear experts behind their basis."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from mixexp.protocols import Design

__all__ = ["behind_basis"]


def behind_basis(experts: list, design: Design, feature_names: np.ndarray | None) -> list:
    """Return experts of a basis's outputs as Pipelines that take the columns; others as given."""
    if design.basis is None:
        return experts
    names = None if feature_names is None else feature_names[design.columns]
    transformer: Any = design.basis.estimator(names)
    return [
        Pipeline([("basis", transformer), (type(expert).__name__.lower(), expert)])
        for expert in experts
    ]
