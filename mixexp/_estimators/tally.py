"""What a first pass over the runs of a factory finds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from mixexp._estimators import parts
from mixexp._estimators.class_weight import present_classes, with_class_weight
from mixexp._estimators.targets import Classes
from mixexp._rows.inputs import refuse_missing
from mixexp._rows.streamed import Survey
from mixexp._weights import count_scale

if TYPE_CHECKING:
    from mixexp._estimators.blockwise import FactorySource

__all__ = ["ClassTally", "NumberTally"]


class NumberTally:
    """What a first pass over targets that are numbers finds."""

    def __init__(self, source: FactorySource):
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

    def look(self, X: Any) -> None:
        """Note size and missing values of a run."""
        mixture, source = self.source.mixture, self.source
        self.n_features = X.shape[1]
        self.n_stored += X.nnz if sp.issparse(X) else 0
        refusing = parts.refusing_missing(mixture, False, source.columns)
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

    def __init__(self, source: FactorySource):
        super().__init__(source)
        self.found: dict[Any, np.ndarray] = {}
        self.labels: np.ndarray | None = None

    def add(self, X: Any, y: np.ndarray, weight: np.ndarray | None) -> None:
        """Take in a run: count, weight and largest weight of every label."""
        self.look(X)
        labels, codes = np.unique(y, return_inverse=True)
        known = labels if self.labels is None else np.concatenate([self.labels, labels])
        self.labels = np.unique(known)
        ones = np.ones(len(y)) if weight is None else weight
        count = np.bincount(codes, weights=ones > 0)
        mass = np.bincount(codes, weights=ones)
        largest = np.zeros(len(labels))
        np.maximum.at(largest, codes, ones)
        for label, new in zip(labels, np.stack([count, mass, largest]).T, strict=True):
            old = self.found.get(label, np.zeros(3))
            self.found[label] = np.array([*(old[:2] + new[:2]), max(old[2], new[2])])

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
