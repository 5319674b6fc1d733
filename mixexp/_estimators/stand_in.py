"""Stand-ins for estimators in starts, which see the output of the estimators' transformers.

Starts run with linear experts and a softmax gate. If an expert is a Pipeline that encodes columns
or makes new ones, its transformers are fitted once, to the rows of the starts, and their output is
added to the rows for the stand-ins; the estimators themselves never see it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn import get_config
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import TruncatedSVD
from sklearn.pipeline import Pipeline

from mixexp._columns import nominal
from mixexp._compat import BaseSearchCV, routing_enabled
from mixexp._fitting import estimator_targets, fit_estimator, seeded, takes_weights
from mixexp._rows.rows import Rows
from mixexp._warn import silence, silenced

__all__ = ["Seen", "stand_in"]

#: Maximum number of columns added per estimator; more are projected down to it.
MOST_ADDED = 128

#: Maximum number of values of a nominal column with an indicator, the most frequent first.
MOST_VALUES = 20

#: A column is a scaled copy of another with a correlation this close to 1.
COPY_TOL = 1e-9

#: Maximum rows and columns of the data used to recognise copies.
COPY_ROWS, COPY_COLUMNS = 1024, 1024


@dataclass(frozen=True)
class Seen:
    """Columns of the stand-ins for experts and gate, in the form that parts take."""

    experts: Any
    gate: Any


class _Added:
    """Columns added to the rows, and their positions."""

    def __init__(self, n_original: int):
        self.n_original = n_original
        self.blocks: list[np.ndarray] = []
        self.cache: dict[tuple, np.ndarray] = {}

    def add(self, values: np.ndarray) -> np.ndarray:
        """Return the positions of new columns (n, q)."""
        start = self.n_original + sum(block.shape[1] for block in self.blocks)
        self.blocks.append(values)
        return np.arange(start, start + values.shape[1])


def stand_in(
    rows: Rows,
    sketch: Rows,
    experts: Any,
    gate: Any,
    columns: tuple,
    text: tuple[int, ...],
    seed: int,
    classes: Any,
) -> Seen:
    """Add columns for the stand-ins to rows and sketch; return the columns they see.

    Parameters
    ----------
    rows, sketch : Rows
        Of the long run and of the starts; may be the same.
    experts : list of lists of estimators, or None
        The candidates of each expert, if fitted one by one.
    gate : estimator or None
        The classifier of the gate, if it is one.
    columns : tuple
        Columns of experts and gate: None, positions, or a list of positions for each expert.
    text : tuple of int
        Non-numeric columns.
    """
    expert_columns, gate_columns = columns
    names = tuple(sorted({*text, *nominal(rows.frame)}))
    added = _Added(rows.n_features)
    augmented = _Augmented(rows, sketch, names, added, seed, classes)
    if gate is not None and not isinstance(gate_columns, list):
        gate_columns = _plain(
            augmented.positions([gate], gate_columns), gate_columns, added.n_original
        )
    if experts is not None:
        if isinstance(expert_columns, list):
            pairs = zip(experts, expert_columns, strict=True)
            expert_columns = [augmented.positions(pool, seen) for pool, seen in pairs]
        else:
            distinct = {id(expert): expert for pool in experts for expert in pool}
            seen = augmented.positions(list(distinct.values()), expert_columns)
            expert_columns = _plain(seen, expert_columns, added.n_original)
    if added.blocks or names:
        augmented.attach(expert_columns, gate_columns)
    return Seen(expert_columns, gate_columns)


def _plain(seen: np.ndarray, columns: Any, n_original: int) -> Any:
    """Return the original selection if nothing changed."""
    selected = np.arange(n_original) if columns is None else columns
    return columns if np.array_equal(seen, np.sort(selected)) else seen


@dataclass(frozen=True)
class _Augmented:
    """The rows, and the columns added to them."""

    rows: Rows
    sketch: Rows
    nominal: tuple[int, ...]
    added: _Added
    seed: int
    classes: Any

    @property
    def n_rows(self) -> int:
        """Number of rows of added columns: those of the long run, then those of the starts."""
        return self.rows.n_rows + (self.sketch.n_rows if self.sketch is not self.rows else 0)

    def _joined(self, j: int) -> np.ndarray:
        """Return a column of the data for all these rows."""
        sources = [self.rows] if self.sketch is self.rows else [self.rows, self.sketch]
        parts = [rows.X[:, [j]] for rows in sources]
        return np.concatenate([p.toarray() if sp.issparse(p) else p for p in parts])[:, 0]

    def positions(self, estimators: list, columns: Any) -> np.ndarray:
        """Return the columns, original and added, that the stand-ins of some estimators see."""
        selected = np.arange(self.added.n_original) if columns is None else np.asarray(columns)
        seen_by_each = [self._seen_by(estimator, columns, selected) for estimator in estimators]
        seen = np.unique(np.concatenate(seen_by_each)) if seen_by_each else selected
        if len(seen) == 0:
            return self.added.add(np.zeros((self.n_rows, 1)))
        return seen

    def _seen_by(self, estimator: Any, columns: Any, selected: np.ndarray) -> np.ndarray:
        steps = _steps(estimator)
        key = (id(estimator) if steps else None, tuple(selected.tolist()))
        if key not in self.added.cache:
            values = self._output(steps, estimator, columns) if steps else None
            self.added.cache[key] = (
                self._indicated(selected) if values is None else self._transformed(values, selected)
            )
        return self.added.cache[key]

    def _output(self, steps: list, estimator: Any, columns: Any) -> Any:
        """Return the output (n, q) of an estimator's transformers; None if unusable.

        Failures recur in the first M-step, whose error names the expert.
        """
        sketch = self.sketch
        y = estimator_targets(sketch, self.classes)
        front = seeded(Pipeline([*steps]), self.seed)
        weight = None
        if sketch.weight is not None and (takes_weights(front) or not routing_enabled()):
            weight = np.array(sketch.weight)
        try:
            with silenced(silence(Warning)):
                front = fit_estimator(front, sketch.take(slice(None), columns), y, weight)
                values = front.transform(self.rows.take(slice(None), columns))
                if sketch is not self.rows:
                    more = front.transform(sketch.take(slice(None), columns))
                    values = (sp.vstack if sp.issparse(values) else np.vstack)([values, more])
            values = sp.csr_matrix(values) if sp.issparse(values) else np.asarray(values, float)
        except Exception:
            return None
        aligned = values.ndim == 2 and values.shape[0] == self.n_rows
        return values if aligned and not _infinite(values) else None

    def _transformed(self, values: Any, selected: np.ndarray) -> np.ndarray:
        """Return the positions of the output; copies of selected columns are not added again."""
        if sp.issparse(self.rows.X) and values.shape[1] > MOST_ADDED:
            return selected  # scaled copies of all columns, or as many
        copies, rest = self._copies(values, selected)
        limit = max(8, int(get_config()["working_memory"] * 2**17 / max(1, self.rows.n_rows)))
        width = min(MOST_ADDED, limit)
        values = values[:, rest]
        if values.shape[1] > width:
            values = np.nan_to_num(values) if not sp.issparse(values) else values
            values = TruncatedSVD(width, random_state=self.seed).fit_transform(values)
        if values.shape[1] == 0:
            return copies
        values = values.toarray() if sp.issparse(values) else np.ascontiguousarray(values)
        return np.concatenate([copies, self.added.add(values)])

    def _copies(self, values: Any, selected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the columns with a scaled copy in the output, and the remaining outputs."""
        everything = np.arange(values.shape[1])
        plain = np.setdiff1d(selected, self.nominal)
        if not 0 < len(plain) <= COPY_COLUMNS:
            return np.zeros(0, dtype=int), everything
        some = slice(0, min(COPY_ROWS, self.rows.n_rows))
        new = values[some].toarray() if sp.issparse(values) else values[some]
        old = self.rows.X[some][:, plain]
        old = np.asarray(old.toarray() if sp.issparse(old) else old, dtype=np.float64)
        complete = np.all(np.isfinite(old), axis=1)
        if complete.sum() < 3:
            return np.zeros(0, dtype=int), everything
        same = np.abs(_standard(old[complete]).T @ _standard(new[complete])) > 1 - COPY_TOL
        return plain[same.any(axis=1)], np.flatnonzero(~same.any(axis=0))

    def _indicated(self, selected: np.ndarray) -> np.ndarray:
        """Return the numeric columns, and indicators for the values of the others."""
        positions = [np.setdiff1d(selected, self.nominal)]
        for j in np.intersect1d(selected, self.nominal).tolist():
            if ("values", j) not in self.added.cache:
                values = _indicators(self._joined(j), self.rows.weight)
                self.added.cache["values", j] = self.added.add(values)
            positions.append(self.added.cache["values", j])
        return np.concatenate(positions)

    def attach(self, expert_columns: Any, gate_columns: Any) -> None:
        """Add the columns to rows and sketch, and record which ones starts see."""
        n = self.added.n_original
        selections = [*expert_columns] if isinstance(expert_columns, list) else [expert_columns]
        selections += gate_columns if isinstance(gate_columns, list) else [gate_columns]
        seen = np.unique(np.concatenate([np.arange(n) if c is None else c for c in selections]))
        if not self.added.blocks:
            self.rows.attach(None, seen)
            self.sketch.attach(None, seen)
            return
        extra = np.hstack(self.added.blocks)
        self.rows.attach(extra[: self.rows.n_rows], seen)
        if self.sketch is not self.rows:
            self.sketch.attach(extra[self.rows.n_rows :], seen)


def _steps(estimator: Any) -> list:
    """Return the transformers in front of an estimator's final step."""
    if isinstance(estimator, Pipeline):
        front = [(name, step) for name, step in estimator.steps[:-1] if step is not None]
        last = estimator.steps[-1][1]
        return front + [(f"then-{name}", step) for name, step in _steps(last)]
    if isinstance(estimator, TransformedTargetRegressor):
        return _steps(estimator.regressor)
    if isinstance(estimator, BaseSearchCV):
        return _steps(estimator.estimator)
    return []


def _infinite(values: Any) -> bool:
    return bool(np.isinf(values.data if sp.issparse(values) else values).any())


def _standard(values: np.ndarray) -> np.ndarray:
    """Return columns of mean 0 and length 1; zeros and NaN where they are constant or unknown."""
    size = np.abs(values).max(axis=0, initial=0.0)
    values = values / np.where(size > 0, size, 1.0)  # squares would overflow
    values = values - values.mean(axis=0)
    length = np.sqrt(np.sum(values**2, axis=0))
    tiny = COPY_TOL * np.abs(values).max(axis=0, initial=0.0)
    return values / np.where(length > tiny, length, np.inf)


def _indicators(codes: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Return indicators (n, q) of the most frequent values; missing ones have none."""
    values, inverse = np.unique(codes, return_inverse=True)
    weight = np.ones(len(codes)) if weight is None else weight
    mass = np.bincount(inverse.ravel()[: len(weight)], weights=weight, minlength=len(values))
    mass[np.isnan(values)] = -1.0
    kept = np.argsort(-mass, kind="stable")[: min(MOST_VALUES, int(np.sum(mass > 0)))]
    return np.equal(codes[:, None], values[kept]).astype(float)
