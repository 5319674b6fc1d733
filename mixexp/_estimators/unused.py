"""The columns that no part of a fitted mixture uses."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp.protocols import can

__all__ = ["unused_features"]


def unused_features(mixture: Any) -> np.ndarray:
    """Return the features of a fitted mixture that change neither its gate nor an expert.

    A softmax gate and an expert with `coef_` use the columns with a coefficient that is not 0; any
    other gate or expert counts as using all that it sees.
    """
    model, n_features = mixture._model, mixture.n_features_in_
    used = np.zeros(n_features, dtype=bool)
    used[_of_gate(model, n_features)] = True
    others = [getattr(mixture, name, None) for name in ("fallback_", "shared_expert_")]
    guests = [(expert, None) for expert in others if expert is not None]
    experts = zip(mixture.experts_, model.columns_of_experts, strict=True)
    for expert, columns in [*experts, *guests]:
        seen = _positions(columns, n_features)
        used[seen[_used_by(expert, len(seen))]] = True
    return np.flatnonzero(~used)


def _positions(columns: Any, n_features: int) -> np.ndarray:
    """Return a selection of columns, with or without a basis, as positions."""
    if columns is None:
        return np.arange(n_features)
    return np.unique(np.asarray(getattr(columns, "columns", columns), dtype=int))


def _of_gate(model: Any, n_features: int) -> np.ndarray:
    """Return the positions of the columns that a gate uses."""
    gate = model.dense_gate
    gate = gate.without_noise() if can(gate, "without_noise") else gate
    seen = []
    for node in getattr(gate, "nodes_", {(): gate}).values():
        if getattr(node, "featureless", False):
            continue
        if can(node, "design"):
            columns = node.design.columns
            if node.design.basis is None:
                columns = np.setdiff1d(columns, getattr(node, "unused_features_", []))
            seen.append(columns)
        else:
            columns = model.columns[1]
            every = columns if isinstance(columns, list) else [columns]
            seen += [_positions(each, n_features) for each in every]
    return np.unique(np.concatenate(seen)).astype(int) if seen else np.zeros(0, dtype=int)


def _used_by(expert: Any, n_columns: int) -> np.ndarray:
    """Return a mask of the columns that an expert uses."""
    used = np.ones(n_columns, dtype=bool)
    unused = getattr(expert, "unused_features_", None)
    if unused is not None:
        used[unused] = False
        return used
    coef = np.atleast_2d(getattr(expert, "coef_", used))
    return np.any(coef != 0, axis=0) if coef.shape[1:] == used.shape else used
