"""The rows of a fit in Dask collections: partitions are checked and encoded where they are."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import clone

from mixexp._checks import is_dask, short
from mixexp._estimators.checked_runs import CheckedRuns
from mixexp._estimators.tally import NumberTally, tally_of
from mixexp._rows.cluster import DaskRows, Partition, partition_of, tree
from mixexp._rows.inputs import SKETCH_ROWS
from mixexp._rows.rows import rows_per_block
from mixexp._rows.source import Fingerprint, Run
from mixexp._rows.streamed import Sketch, Survey

__all__ = ["DaskSource", "partitions_of", "sent", "task"]


class DaskSource:
    """The rows of Dask collections, partition by partition.

    Where a cluster's client is there, checked and encoded rows are kept on the workers during the
    fit; else partitions are computed anew in every pass, and nothing is kept.

    Parameters
    ----------
    mixture : BaseMixtureOfExperts
    X, y : Dask array or data frame
    weight : Dask array or series, or None
    """

    def __init__(self, mixture: Any, X: Any, y: Any, weight: Any):
        self.checks = CheckedRuns(mixture)
        self._raw = partitions_of({"X": X, "y": y, "sample_weight": weight}, self.checks.owner)
        self.keeps = _has_client(X)
        self._items: list = []
        self._runs: list = []
        self._lengths: list[int] = []
        self._prints: list[Fingerprint] = []

    @property
    def columns(self) -> tuple:
        """Columns of experts and gate."""
        return self.checks.columns

    @property
    def target(self) -> Any:
        """What y is, after the survey."""
        return self.checks.target

    def survey(self) -> Survey:
        """Check all partitions where they are, and return what there is."""
        from dask import compute

        checks = self.checks
        self._look_at_first()
        shared, check = sent(_for_workers(checks)), task(_checked)
        items = [check(shared, i, *raw) for i, raw in enumerate(self._raw)]
        self._items = self._kept(items)
        tallies = [task(_tallied)(shared, item) for item in self._items]
        prints = [task(_print_of)(item) for item in self._items]
        tally, prints = compute(tree(tallies), prints)
        self._prints = [each for each in prints if each is not None]
        tally.source = checks
        survey: Survey = tally.survey()
        shared = sent(_for_workers(checks))
        known = zip(self._items, prints, strict=True)
        self._runs = self._kept([task(_encoded)(shared, i, *each) for i, each in enumerate(known)])
        return survey

    def sketch(self, seed: int) -> Sketch:
        """Return the sketch of all rows, merged in a tree."""
        from dask import compute

        sketches = tree([task(_sketched)(run, seed) for run in self._runs])
        lengths = [task(_length)(run) for run in self._runs]
        sketch: Sketch
        sketch, self._lengths = compute(sketches, lengths)
        return sketch

    def rows(self, survey: Survey, n_threads: int) -> DaskRows:
        """Return the rows of the long run."""
        block_rows = rows_per_block(survey.n_rows, survey.n_features)
        starts = np.cumsum([0, *self._lengths]).tolist()
        made = task(partition_of)
        partitions = [
            made(run, first, survey.n_rows, survey.missing, block_rows, self.keeps)
            for run, first, length in zip(self._runs, starts, self._lengths, strict=False)
            if length
        ]
        partitions = self._kept(partitions)
        self._items, self._runs = [], []  # of which workers keep no more than the partitions need
        return DaskRows(partitions, survey, task(_head)(partitions[0]).compute())

    def identity(self) -> str:
        """Return a text that is the same for the same partitions."""
        known = "; ".join(map(str, self._prints))
        return f"partitions of {known}, {self.checks.kind} {self.checks.labels}"

    def _look_at_first(self) -> None:
        """Take in what the first rows tell: columns, dtypes, shape of the target."""
        for i, raw in enumerate(self._raw):
            first = task(_first_of)(*raw).compute()
            if first is not None:
                self.checks.checked(f"partition {i} of X", *first)
                if self.checks.kind is not None and self.checks.kind[1]:
                    raise TypeError(
                        f"{self.checks.owner}: partition {i} of X is sparse. Map the partitions "
                        "to arrays, or read them in turn by `fit_blocks`."
                    )
                return
        raise ValueError(f"{self.checks.owner}: X has no rows. Give partitions with rows.")

    def _kept(self, items: list) -> list:
        """Have workers keep lazy items, if there are workers."""
        from dask import persist

        return list(persist(*items)) if self.keeps else items


def _has_client(X: Any) -> bool:
    """Return whether a cluster's client computes this collection."""
    from dask.base import get_scheduler

    scheduler = get_scheduler(collections=[X])
    client = getattr(scheduler, "__self__", None)
    return type(client).__module__.partition(".")[0] == "distributed"


def partitions_of(collections: dict[str, Any], owner: str) -> list[tuple]:
    """Return one partition of every collection at a time, as Delayed; None of a missing one."""
    X = collections["X"]
    for name, value in collections.items():
        if value is not None and not is_dask(value):
            raise TypeError(
                f"{owner}: {name} is {short(value)}, and another argument is a Dask collection. "
                "Give X, y and sample_weight with the same partitions; an array by "
                "dask.array.from_array(..., chunks=...)."
            )
        if value is not None and not isinstance(getattr(value, "npartitions", 0), int):
            raise TypeError(
                f"{owner}: {name} is a {type(value).__name__}. Give a Dask array or data frame."
            )
    delayed = {name: _delayed(value, X) for name, value in collections.items() if value is not None}
    for name, found in delayed.items():
        if len(found) != len(delayed["X"]):
            raise ValueError(
                f"{owner}: {name} has {len(found)} partitions, and X {len(delayed['X'])}. Give X, "
                "y and sample_weight with the same partitions."
            )
    nothing = [None] * len(delayed["X"])
    return list(zip(*(delayed.get(name, nothing) for name in collections), strict=True))


def _delayed(value: Any, X: Any) -> list:
    """Return the partitions of a collection, cut as those of X are if that is known."""
    if not hasattr(value, "chunks"):
        return list(value.to_delayed())
    chunks = {axis: -1 for axis in range(1, value.ndim) if value.numblocks[axis] > 1}
    wanted = getattr(X, "chunks", value.chunks)[0]
    if value.chunks[0] != wanted and not np.isnan([*value.chunks[0], *wanted]).any():
        chunks[0] = wanted
    return list((value.rechunk(chunks) if chunks else value).to_delayed().ravel())


def task(function: Callable) -> Any:
    """Return a lazy function."""
    from dask import delayed

    return delayed(function, pure=False, traverse=False)


def sent(value: Any) -> Any:
    """Return a value as one that tasks share, so that every worker gets it once."""
    from dask import delayed

    return delayed(value, traverse=False)


def _for_workers(checks: CheckedRuns) -> CheckedRuns:
    """Return what workers need: the mixture's parameters and columns, without an earlier fit."""
    mixture = clone(checks.mixture)
    for name in ("n_features_in_", "feature_names_in_"):
        if name in vars(checks.mixture):
            setattr(mixture, name, getattr(checks.mixture, name))
    lean = copy.copy(checks)
    lean.mixture = mixture
    return lean


# What follows runs on workers. An item is (X, y, weight, fingerprint), None without rows.


def _first_of(X: Any, y: Any, weight: Any) -> tuple | None:
    """Return the first row of a partition, None if it has none."""
    if not X.shape[0]:
        return None
    return X[:1], y[:1], None if weight is None else weight[:1]


def _checked(checks: CheckedRuns, i: int, X: Any, y: Any, weight: Any) -> tuple | None:
    """Return the item of a partition; raise if it does not fit to the others."""
    others = {"y": y, "sample_weight": weight}
    longer = [name for name, rows in others.items() if rows is not None and len(rows)]
    if not X.shape[0] and longer:
        raise ValueError(
            f"{checks.owner}: partition {i} of X has no rows, and that of {longer[0]} has "
            f"{len(others[longer[0]])}. Give X, y and sample_weight with the same partitions."
        )
    if not X.shape[0]:
        return None
    X, y, weight = checks.checked(f"partition {i} of X", X, y, weight)
    fingerprint = Fingerprint()
    fingerprint.add(X=X, y=y, weight=weight)
    return X, y, weight, fingerprint


def _print_of(item: tuple | None) -> Fingerprint | None:
    """Return the fingerprint of an item."""
    return None if item is None else item[3]


def _tallied(checks: CheckedRuns, item: tuple | None) -> NumberTally:
    """Return the tally of a partition."""
    tally = tally_of(checks)
    if item is not None:
        tally.add(*item[:3])
    return tally


def _encoded(
    checks: CheckedRuns, i: int, item: tuple | None, known: Fingerprint | None
) -> Run | None:
    """Return the rows of positive weight of a partition; raise if others were there before."""
    if _print_of(item) != known:
        raise ValueError(
            f"{checks.owner}: partition {i} of X has other rows than when it was first computed. "
            "It is computed again in later passes, or where a worker was lost: its graph must give "
            "the same rows each time. Seed what is random, or call X.persist() before."
        )
    return None if item is None else checks.encoded(*item[:3])


def _sketched(run: Run | None, seed: int) -> Sketch:
    """Return the sketch of a partition."""
    sketch = Sketch(SKETCH_ROWS, seed)
    if run is not None:
        sketch.add(run)
    return sketch


def _length(run: Run | None) -> int:
    """Return the number of rows of a partition."""
    return 0 if run is None else run.X.shape[0]


def _head(rows: Partition) -> Run:
    """Return the first rows of a partition, as copies of no more than a block."""
    n = rows.block_rows
    weight = None if rows.weight is None else rows.weight[:n].copy()
    return Run(rows.X[:n].copy(), rows.y[..., :n].copy(), weight)
