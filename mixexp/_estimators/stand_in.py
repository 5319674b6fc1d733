"""What stands in for estimators in starts sees what they see: the output of their own steps.

Starts are run with linear experts and a softmax gate. Where an expert is a Pipeline that encodes
a column, or makes new ones, these are fitted once, to the rows of the starts, and their output is
added to the rows for what stands in; the estimators themselves never see it.
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
from mixexp._fitting import fit_estimator, seeded, takes_weights
from mixexp._rows.rows import Rows
from mixexp._warn import silence, silenced

__all__ = ["Seen", "stand_in"]

#: Columns at most that are added for one estimator; more are projected on as many.
MOST_ADDED = 128

#: Values of a nominal column at most that get an indicator, the most frequent ones.
MOST_VALUES = 20

#: A column is a scaled copy of another with a correlation this close to 1.
COPY_TOL = 1e-9

#: Rows by which copies are recognised, and columns of the data at most.
COPY_ROWS, COPY_COLUMNS = 1024, 1024


@dataclass(frozen=True)
class Seen:
    """Columns of what stands in for experts and for a gate, as parts take them."""

    experts: Any
    gate: Any


class _Added:
    """Columns that are added to the rows, and where they are."""

    def __init__(self, n_given: int):
        self.n_given = n_given
        self.blocks: list[np.ndarray] = []
        self.known: dict[tuple, np.ndarray] = {}

    def add(self, values: np.ndarray) -> np.ndarray:
        """Return the positions of new columns (n, q)."""
        start = self.n_given + sum(block.shape[1] for block in self.blocks)
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
    """Add columns to the rows, and to the sketch, for what stands in; return which it sees.

    Parameters
    ----------
    rows, sketch : Rows
        Of the long run and of the starts; may be the same.
    experts : list of lists of estimators, or None
        The candidates of each expert where they are fitted one by one.
    gate : estimator or None
        Where it is a classifier.
    columns : tuple
        What experts and gate see: None, positions, or a list of positions for each expert.
    text : tuple of int
        Columns that are no numbers.
    """
    expert_columns, gate_columns = columns
    names = tuple(sorted({*text, *nominal(rows.frame)}))
    added = _Added(rows.X.shape[1])
    task = _Task(rows, sketch, names, added, seed, classes)
    if gate is not None and not isinstance(gate_columns, list):
        gate_columns = _plain(task.positions([gate], gate_columns), gate_columns, added.n_given)
    if experts is not None:
        if isinstance(expert_columns, list):
            pairs = zip(experts, expert_columns, strict=True)
            expert_columns = [task.positions(own, seen) for own, seen in pairs]
        else:
            distinct = {id(one): one for own in experts for one in own}
            found = task.positions(list(distinct.values()), expert_columns)
            expert_columns = _plain(found, expert_columns, added.n_given)
    if added.blocks or names:
        task.attach(expert_columns, gate_columns)
    return Seen(expert_columns, gate_columns)


def _plain(found: np.ndarray, columns: Any, n_given: int) -> Any:
    """Return the selection as it was given where it is the same."""
    given = np.arange(n_given) if columns is None else columns
    return columns if np.array_equal(found, np.sort(given)) else found


@dataclass(frozen=True)
class _Task:
    """The rows, and what is added to them."""

    rows: Rows
    sketch: Rows
    nominal: tuple[int, ...]
    added: _Added
    seed: int
    classes: Any

    @property
    def n_rows(self) -> int:
        """Number of rows of what is added: those of the long run, then those of the starts."""
        return self.rows.n_rows + (self.sketch.n_rows if self.sketch is not self.rows else 0)

    def _joined(self, j: int) -> np.ndarray:
        """Return a column of the data for all of these rows."""
        both = [self.rows] if self.sketch is self.rows else [self.rows, self.sketch]
        parts = [rows.X[:, [j]] for rows in both]
        return np.concatenate([p.toarray() if sp.issparse(p) else p for p in parts])[:, 0]

    def positions(self, estimators: list, columns: Any) -> np.ndarray:
        """Return the columns, of the data and added, that stand-ins of some estimators see."""
        given = np.arange(self.added.n_given) if columns is None else np.asarray(columns)
        own = [self._of_one(estimator, columns, given) for estimator in estimators]
        found = np.unique(np.concatenate(own)) if own else given
        if len(found) == 0:
            return self.added.add(np.zeros((self.n_rows, 1)))
        return found

    def _of_one(self, estimator: Any, columns: Any, given: np.ndarray) -> np.ndarray:
        steps = _steps(estimator)
        key = (id(estimator) if steps else None, tuple(given.tolist()))
        if key not in self.added.known:
            values = self._output(steps, estimator, columns) if steps else None
            self.added.known[key] = (
                self._indicated(given) if values is None else self._transformed(values, given)
            )
        return self.added.known[key]

    def _output(self, steps: list, estimator: Any, columns: Any) -> Any:
        """Return the output (n, q) of an estimator's own steps; None where there is none to use.

        What fails here fails again in the first M-step, where the error names the expert.
        """
        sketch = self.sketch
        y = np.array(sketch.y)
        y = self.classes[y] if self.classes is not None else y[0] if len(y) == 1 else y.T
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
        sound = values.ndim == 2 and values.shape[0] == self.n_rows
        return values if sound and not _infinite(values) else None

    def _transformed(self, values: Any, given: np.ndarray) -> np.ndarray:
        """Return where the output of steps is: copies of given columns are these."""
        if sp.issparse(self.rows.X) and values.shape[1] > MOST_ADDED:
            return given  # a scaled copy of all that there is, or as wide
        copies, rest = self._copies(values, given)
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

    def _copies(self, values: Any, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which of the data's columns there is a scaled copy of, and the other outputs."""
        everything = np.arange(values.shape[1])
        plain = np.setdiff1d(given, self.nominal)
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

    def _indicated(self, given: np.ndarray) -> np.ndarray:
        """Return the columns that are numbers, and indicators of the values of the others."""
        found = [np.setdiff1d(given, self.nominal)]
        for j in np.intersect1d(given, self.nominal).tolist():
            if ("values", j) not in self.added.known:
                values = _indicators(self._joined(j), self.rows.weight)
                self.added.known["values", j] = self.added.add(values)
            found.append(self.added.known["values", j])
        return np.concatenate(found)

    def attach(self, expert_columns: Any, gate_columns: Any) -> None:
        """Add the columns to rows and sketch, and say which of them starts look at."""
        n = self.added.n_given
        own = [*expert_columns] if isinstance(expert_columns, list) else [expert_columns]
        own += gate_columns if isinstance(gate_columns, list) else [gate_columns]
        seen = np.unique(np.concatenate([np.arange(n) if c is None else c for c in own]))
        if not self.added.blocks:
            self.rows.attach(None, seen)
            self.sketch.attach(None, seen)
            return
        extra = np.hstack(self.added.blocks)
        self.rows.attach(extra[: self.rows.n_rows], seen)
        if self.sketch is not self.rows:
            self.sketch.attach(extra[self.rows.n_rows :], seen)


def _steps(estimator: Any) -> list:
    """Return the transformers that an estimator puts in front of the one that learns."""
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
    values = values - values.mean(axis=0)
    length = np.sqrt(np.sum(values**2, axis=0))
    tiny = COPY_TOL * np.abs(values).max(axis=0, initial=0.0) + np.finfo(float).tiny
    return values / np.where(length > tiny, length, np.inf)


def _indicators(codes: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Return indicators (n, q) of the most frequent values; missing ones have none."""
    found, inverse = np.unique(codes, return_inverse=True)
    weight = np.ones(len(codes)) if weight is None else weight
    mass = np.bincount(inverse.ravel()[: len(weight)], weights=weight, minlength=len(found))
    mass[np.isnan(found)] = -1.0
    kept = np.argsort(-mass, kind="stable")[: min(MOST_VALUES, int(np.sum(mass > 0)))]
    return np.equal(codes[:, None], found[kept]).astype(float)
