"""What a first pass over the runs of a fit finds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from mixexp._estimators import part_inputs
from mixexp._estimators.class_weight import present_classes, with_class_weight
from mixexp._estimators.targets import Classes
from mixexp._rows.inputs import refuse_missing
from mixexp._rows.streamed import Survey
from mixexp._weights import count_scale

if TYPE_CHECKING:
    from mixexp._estimators.checked_runs import CheckedRuns

__all__ = ["ClassTally", "NumberTally", "holds_text", "tally_of"]


def holds_text(labels: np.ndarray) -> bool:
    """Return whether labels are text, not numbers."""
    return labels.dtype.kind in "US" or any(isinstance(value, str) for value in labels.flat[:1])


def tally_of(source: CheckedRuns) -> NumberTally:
    """Return an empty tally for the targets of a fit."""
    return ClassTally(source) if source.classes else NumberTally(source)


class NumberTally:
    """What a first pass over targets that are numbers finds."""

    def __init__(self, source: CheckedRuns):
        self.source = source
        self.n_rows = self.n_stored = 0
        self.n_features = 0
        self.mass = self.largest = 0.0
        self.sums: Any = 0.0
        self.low: Any = np.inf
        self.high: Any = -np.inf
        self.missing = False

    def add(self, X: Any, y: np.ndarray, weight: np.ndarray | None) -> None:
        """Take in a run."""
        kept = slice(None) if weight is None or np.all(weight > 0) else weight > 0
        X, y = X[kept], y[kept]
        if not len(y):
            return
        self.look(X)
        targets = self.source.target.encode(y, self.source.owner)
        ones = np.ones(len(y)) if weight is None else weight[kept]
        self.mass += float(ones.sum())
        self.largest = max(self.largest, float(ones.max()))
        self.sums = self.sums + targets @ ones
        self.low = np.minimum(self.low, targets.min(axis=1))
        self.high = np.maximum(self.high, targets.max(axis=1))
        self.n_rows += len(y)

    def __getstate__(self) -> dict:
        """Leave out the source, which the receiver has."""
        return vars(self) | {"source": None}

    def __iadd__(self, other: NumberTally) -> NumberTally:
        self.n_features = max(self.n_features, other.n_features)  # 0 of a tally of no rows
        self.n_rows += other.n_rows
        self.n_stored += other.n_stored
        self.mass += other.mass
        self.largest = max(self.largest, other.largest)
        self.sums = self.sums + other.sums
        self.low = np.minimum(self.low, other.low)
        self.high = np.maximum(self.high, other.high)
        self.missing = self.missing or other.missing
        return self

    def look(self, X: Any) -> None:
        """Note size and missing values of a run."""
        mixture, source = self.source.mixture, self.source
        self.n_features = X.shape[1]
        self.n_stored += X.nnz if sp.issparse(X) else 0
        refusing = part_inputs.refusing_missing(mixture, False, source.columns)
        self.missing = refuse_missing(X, refusing, source.owner) or self.missing

    def survey(self) -> Survey:
        """Return the sum of all runs."""
        extremes = np.stack([self.low, self.high], axis=-1)
        return self.summed(extremes, self.sums / self.mass if self.mass else self.sums)

    def summed(self, extremes: np.ndarray, mean: np.ndarray) -> Survey:
        """Return the survey, with weights rescaled if they are relative."""
        source, kind = self.source, self.source.kind
        assert kind is not None
        if not self.mass > 0:
            raise ValueError(
                f"{source.owner}: sample_weight is zero for all rows. Give at least one row a "
                "positive weight."
            )
        weighted = kind[3] or source.factors is not None
        if weighted:
            source.scale = count_scale(self.n_rows, self.mass, self.largest, source.mixture)
        return Survey(
            self.n_rows,
            self.n_features,
            self.mass * source.scale,
            extremes,
            mean,
            self.missing,
            kind[1],
            weighted,
            self.n_stored,
        )


class ClassTally(NumberTally):
    """What a first pass over class labels finds."""

    def __init__(self, source: CheckedRuns):
        super().__init__(source)
        self.found: dict[Any, np.ndarray] = {}
        self.labels: np.ndarray | None = None

    def add(self, X: Any, y: np.ndarray, weight: np.ndarray | None) -> None:
        """Take in a run: count, weight and largest weight of every label."""
        self.look(X)
        labels, codes = np.unique(y, return_inverse=True)
        self._join(labels)
        ones = np.ones(len(y)) if weight is None else weight
        count = np.bincount(codes, weights=ones > 0)
        mass = np.bincount(codes, weights=ones)
        largest = np.zeros(len(labels))
        np.maximum.at(largest, codes, ones)
        self._add_found(dict(zip(labels, np.stack([count, mass, largest]).T, strict=True)))

    def _join(self, labels: np.ndarray) -> None:
        """Add labels to those that are known; raise if text and numbers would be mixed."""
        if self.labels is None:
            self.labels = labels
            return
        if holds_text(self.labels) != holds_text(labels):
            raise ValueError(
                f"{type(self.source.mixture).__name__}: y has labels of dtype {self.labels.dtype} "
                f"in some runs and {labels.dtype} in others, text and numbers. Give labels of one "
                "kind in all runs."
            )
        self.labels = np.unique(np.concatenate([self.labels, labels]))

    def _add_found(self, found: dict[Any, np.ndarray]) -> None:
        """Add count and weight of labels, and note their largest weight."""
        for label, new in found.items():
            old = self.found.get(label, np.zeros(3))
            self.found[label] = np.array([*(old[:2] + new[:2]), max(old[2], new[2])])

    def __iadd__(self, other: NumberTally) -> ClassTally:
        assert isinstance(other, ClassTally)
        super().__iadd__(other)
        self._add_found(other.found)
        if other.labels is not None:
            self._join(other.labels)
        return self

    def survey(self) -> Survey:
        """Return the sum of all runs; set the classes and their factors."""
        source, mixture = self.source, self.source.mixture
        labels = self.labels
        assert labels is not None
        count, mass, largest = np.array([self.found[label] for label in labels]).T
        codes, owner = np.arange(len(labels)), source.owner
        weighted = with_class_weight(mixture.class_weight, labels, codes, mass, owner)
        assert weighted is not None
        classes, _ = present_classes(labels, codes, weighted, owner)
        factors = np.divide(weighted, mass, out=np.zeros(len(mass)), where=mass > 0)
        mixture.classes_ = classes
        source.target, source.labels = Classes(classes), labels
        if mixture.class_weight is not None:
            source.factors = factors
        self.n_rows = int(count[weighted > 0].sum())
        self.mass, self.largest = float(weighted.sum()), float((largest * factors).max())
        return self.summed(np.array([[0.0, len(classes) - 1.0]]), np.zeros(1))
