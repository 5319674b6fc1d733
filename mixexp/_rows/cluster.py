"""Rows in Dask partitions: blocks are evaluated where the partitions lie, and sums travel.

Only this file and `dask_source`, `dask_input` of `_estimators` import Dask, and only when a Dask
collection is given.
"""

from __future__ import annotations

import copy
import io
import pickle
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import numpy as np
from sklearn import config_context, get_config

from mixexp._rows.blocks import Block, Budget
from mixexp._rows.designs import Design
from mixexp._rows.maps import cache_doubles
from mixexp._rows.rows import Rows
from mixexp._rows.source import Run
from mixexp._rows.streamed import StreamedRows, Survey
from mixexp._threads import single_thread

__all__ = ["DaskRows", "Partition", "partition_of", "tree"]

S = TypeVar("S")

#: Results that a task of a reduction adds: few tasks, and few results at a time on a worker.
FAN_IN = 8


class Partition(Rows):
    """The rows of one partition on a worker, with what they keep between passes.

    Parameters
    ----------
    run : Run
    first : int
        Position of its first row among all rows of the fit.
    missing : bool
    block_rows : int
    n_doubles : float
        Doubles that it may keep. They depend on sizes only, as products that are kept are summed
        otherwise than those formed anew: a worker that dies does not change a bit.
    """

    def __init__(self, run: Run, first: int, missing: bool, block_rows: int, n_doubles: float):
        super().__init__(run.X, run.y, run.weight, training=True, missing=missing)
        self.first = first
        self.block_rows = block_rows
        self.n_doubles = n_doubles
        self._budget = Budget(n_doubles, self.n_rows, first)

    def __reduce__(self) -> tuple:
        """Send, or spill, the rows only: the receiver can rebuild what they keep."""
        run = Run(self.X, self.y, self.weight)
        return Partition, (run, self.first, self.missing, self.block_rows, self.n_doubles)

    def __sizeof__(self) -> int:
        """Return the bytes of the rows and of what they may keep, for Dask to plan with."""
        arrays = [self.X, self.y] if self.weight is None else [self.X, self.y, self.weight]
        return sum(array.nbytes for array in arrays) + int(8 * self.n_doubles)

    def _block(self, start: int, stop: int, **of_groups: Any) -> Block:
        block = super()._block(start, stop, **of_groups)
        block.start += self.first
        block.stop += self.first
        return block


def partition_of(
    run: Run, first: int, n_rows: int, missing: bool, block_rows: int, keeps: bool
) -> Partition:
    """Return the rows of a partition, which are some of `n_rows`.

    If it `keeps` designs between passes, these take its share of scikit-learn's `working_memory`,
    or as much as its rows if that is more.
    """
    n, n_features = run.X.shape
    share = cache_doubles(in_memory=True) * n / n_rows
    n_doubles = max(share, n * n_features) if keeps else 0.0
    return Partition(run, first, missing, block_rows, n_doubles)


class DaskRows(StreamedRows):
    """The rows of a fit in Dask partitions.

    `reduce` adds the blocks of a partition in order where it lies, then the sums of partitions in a
    tree that their number fixes: which worker does what, and when, changes no bit. `map` brings
    one result per row here. `blocks`, of which additive parts make no use, passes partitions
    through this process one at a time.

    Parameters
    ----------
    partitions : list of Delayed
        Of `Partition`, none of them empty.
    survey : Survey
    head : Run
        The first rows.
    """

    def __init__(self, partitions: list, survey: Survey, head: Run):
        super().__init__(_Fetched(partitions), survey)
        self.partitions = partitions
        self._head = head
        self._fit = uuid.uuid4().hex
        self._names: dict[Design, str] = {}

    @property
    def weight(self) -> np.ndarray | None:
        """The weights (n,), read in a pass of their own; None means ones."""
        return self.map(_weight) if self.survey.weighted else None

    def head(self, n_rows: int) -> Rows:
        """Return the first rows as rows of their own."""
        X, y, weight = self._head
        n = min(self.block_rows, n_rows)
        weight = None if weight is None else weight[:n]
        return Rows(X[:n], y[..., :n], weight, training=True, missing=self.missing)

    def reduce(self, function: Callable[[Block], S]) -> S:
        """Return the sum of `function(block)` over the blocks, added in a fixed tree."""
        graph, keys = self._graph(_reduced, function)
        (root,) = _added_in_tree(graph, keys)
        sums: S = self._computed(graph, [root])[0]
        return sums

    def map(self, function: Callable[[Block], np.ndarray], axis: int = 0) -> np.ndarray:
        """Return `function(block)` of all blocks, joined along an axis."""
        found = self._computed(*self._graph(_mapped, function, axis))
        return np.concatenate(found, axis=axis)

    def _graph(
        self, how: Callable, function: Callable, *arguments: Any
    ) -> tuple[dict[Any, Any], list[str]]:
        """Return the tasks `how(rows, function, *arguments)` of all partitions, and their keys.

        They are written out, as a pass with one Delayed a task took more than twice as long.
        """
        name = f"mixexp-{uuid.uuid4().hex}"
        context = np.geterr(), get_config(), self.training
        graph: dict[Any, Any] = {f"{name}-sent": self._packed((function, context))}
        keys = [f"{name}-{i}" for i in range(len(self.partitions))]
        for key, partition in zip(keys, self.partitions, strict=True):
            graph[key] = (how, partition.key, f"{name}-sent", *arguments)
        return graph, keys

    def _computed(self, graph: dict[Any, Any], keys: list[str]) -> tuple:
        """Return the results of some tasks of a graph on the partitions."""
        import dask
        from dask.delayed import Delayed
        from dask.highlevelgraph import HighLevelGraph

        whole = HighLevelGraph.from_collections(keys[0], graph, dependencies=self.partitions)
        found: tuple = dask.compute(*(Delayed(key, whole, layer=keys[0]) for key in keys))
        return found

    def _packed(self, values: Any) -> bytes:
        """Return values as bytes in which designs have names, so that workers know them again."""
        import cloudpickle

        names, fit = self._names, self._fit

        class Pickler(cloudpickle.Pickler):
            def reducer_override(self, obj: Any) -> Any:
                if not isinstance(obj, Design):
                    return super().reducer_override(obj)
                name = names.setdefault(obj, f"{fit}-{len(names)}")
                return _received, (name, type(obj), vars(obj))

        file = io.BytesIO()
        Pickler(file).dump(values)
        return file.getvalue()


class _Fetched:
    """Partitions as a source of runs: one at a time passes through this process."""

    def __init__(self, partitions: list):
        self.partitions = partitions

    def runs(self) -> Iterator[Run]:
        """Yield all rows in order."""
        for partition in self.partitions:
            rows = partition.compute()
            yield Run(rows.X, rows.y, rows.weight)


#: Designs that this process has received, as long as a partition keeps something of them. A design
#: that is sent again must be the same object: what is kept of it is found by identity.
_designs: WeakValueDictionary[str, Design] = WeakValueDictionary()
_lock = threading.Lock()


def _received(name: str, kind: type[Design], attributes: dict[str, Any]) -> Design:
    """Return the design of this name, the same object whenever it is sent."""
    with _lock:
        design = _designs.get(name)
        if design is None:
            design = object.__new__(kind)
            vars(design).update(attributes)
            _designs[name] = design
        return design


def tree(items: list) -> Any:
    """Return the Delayed sum of Delayed items, `FAN_IN` at a time: their number fixes the order."""
    from dask import delayed

    task = delayed(_added, pure=False)
    while len(items) > 1:
        items = [task(items[i : i + FAN_IN]) for i in range(0, len(items), FAN_IN)]
    return items[0]


def _added_in_tree(graph: dict[Any, Any], keys: list[str]) -> list[str]:
    """Add the tasks of `tree` to a graph; return the key of the sum alone."""
    while len(keys) > 1:
        parts = [keys[i : i + FAN_IN] for i in range(0, len(keys), FAN_IN)]
        keys = [f"{some[0]}-sum{len(keys)}" for some in parts]
        graph.update({key: (_added, some) for key, some in zip(keys, parts, strict=True)})
    return keys


def _added(items: list) -> Any:
    """Return the sum of items, which stay as they are: Dask may ask for them again."""
    total = copy.deepcopy(items[0])
    for item in items[1:]:
        total += item
    return total


def _reduced(rows: Partition, sent: bytes) -> Any:
    """Return the sum of a function over the blocks of a partition; runs on a worker."""
    return _evaluated(rows, sent, lambda seen, function: seen.reduce(function))


def _mapped(rows: Partition, sent: bytes, axis: int) -> np.ndarray:
    """Return a function of the blocks of a partition, joined; runs on a worker."""
    values: np.ndarray = _evaluated(rows, sent, lambda seen, f: seen.map(f, axis))
    return values


def _evaluated(rows: Partition, sent: bytes, how: Callable[[Rows, Callable], Any]) -> Any:
    """Evaluate a function as the sender would: its error handling and configuration hold."""
    function, (errors, config, training) = pickle.loads(sent)
    seen = copy.copy(rows)
    seen.training = training
    with single_thread(), np.errstate(**errors), config_context(**config):
        return how(seen, function)


def _weight(block: Block) -> np.ndarray:
    assert block.weight is not None
    return block.weight
