"""Runs of rows of one fit: checked to be of one kind, then encoded."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.base import is_classifier

from mixexp._checks import check_labels, named_error
from mixexp._columns import as_numbers
from mixexp._compat import check_weights
from mixexp._estimators import part_inputs, parts
from mixexp._estimators.assembly import selected
from mixexp._estimators.bases import check_bases
from mixexp._estimators.known_rows import validated
from mixexp._rows.source import Run

__all__ = ["CheckedRuns"]


class CheckedRuns:
    """What is known of the runs of a fit, after the first one and after all have been seen.

    Parameters
    ----------
    mixture : BaseMixtureOfExperts

    Attributes
    ----------
    target : Target
        After the survey.
    columns : tuple
        Columns of experts and gate, after the first run.
    kind : tuple or None
        Of the first run: dtype of X, whether it is sparse, shape of a row's target, whether there
        are weights.
    labels, factors : ndarray or None
        All labels, and their class weights.
    scale : float
        Factor of relative weights.
    """

    target: Any
    columns: tuple

    def __init__(self, mixture: Any):
        self.mixture = mixture
        self.owner = parts.owner_of(mixture)
        self.classes = is_classifier(mixture)
        self.kind: tuple | None = None
        self.factors: np.ndarray | None = None
        self.labels: np.ndarray | None = None
        self.scale = 1.0

    def checked(self, name: str, X: Any, y: Any, weight: Any) -> tuple[Any, np.ndarray, Any]:
        """Return one run as numbers; raise if it does not fit to the first one."""
        mixture, first = self.mixture, self.kind is None
        table = as_numbers(X)
        with named_error(self.owner, name, "All runs must have rows of one kind."):
            X, y = validated(mixture, table.X, y, first=first, numeric=not self.classes)
        if weight is not None:
            weight = np.asarray(weight)
            if weight.shape != (len(y),) or np.any(weight):  # a run may be of no weight
                weight = check_weights(weight, X, self.owner)
            weight = weight.astype(np.float64)
        kind = X.dtype, sp.issparse(X), y.shape[1:], weight is not None
        if first:
            self.kind = kind
            self.columns = selected(mixture, X if table.frame is None else table.frame)
            check_bases(mixture, False, self.columns)
            if not self.classes:
                self.target = mixture._numbers(y.shape[1:])
        elif kind != self.kind:
            raise ValueError(
                f"{self.owner}: {name} has {_described(kind)}, and the first one "
                f"{_described(self.kind)}. Give rows of one kind."
            )
        part_inputs.refuse_text_of(mixture, table, False, self.columns)
        if self.classes:
            check_labels(y, self.owner)
        return X, y, weight

    def encoded(self, X: Any, y: np.ndarray, weight: np.ndarray | None) -> Run | None:
        """Return the rows of positive weight of a checked run, None without any."""
        if self.labels is not None:
            codes = np.searchsorted(self.labels, y)
            if self.factors is not None:
                ones = np.ones(len(y)) if weight is None else weight
                weight = ones * self.factors[codes]
            y = codes
        if weight is not None:
            kept = weight > 0
            if not np.all(kept):
                X, y, weight = X[kept], y[kept], weight[kept]
            weight = weight * self.scale
        if not len(y):
            return None
        return Run(X, self._coded(self.target.encode(y, self.owner)), weight)

    def _coded(self, y: np.ndarray) -> np.ndarray:
        """Return codes of labels as codes of the classes that have weight."""
        if self.labels is None or len(self.labels) == len(self.target.classes):
            return y
        codes: np.ndarray = np.searchsorted(self.target.classes, self.labels[y])
        return codes


def _described(kind: Any) -> str:
    """Return a message's description of the kind of a run."""
    dtype, sparse, shape, weighted = kind
    outputs = f" with {shape[0]} outputs" if shape else ""
    return (
        f"{'sparse' if sparse else 'dense'} X of {dtype}, y{outputs} and "
        f"{'weights' if weighted else 'no weights'}"
    )
