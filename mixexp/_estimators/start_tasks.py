"""The tasks of the starts of a fit, as callbacks are told of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["StartTasks"]


class StartTasks:
    """Tells of starts: each is told of once when it begins, and once when it has ended.

    Parameters
    ----------
    told : callable
        Calls a hook, by name, of all callbacks with a task.
    root : task
        That of the fit.
    """

    def __init__(self, told: Callable[[str, Any], Any], root: Any):
        self._told = told
        self._root = root
        self._starts: Any = None
        self._tasks: list[Any] = []
        self._ended: set[int] = set()

    def begin(self, most: int) -> None:
        """Tell that the starts begin."""
        self._starts = self._root.subtask("starts", most)
        self._tasks, self._ended = [], set()
        self._told("on_fit_task_begin", self._starts)

    def round(self, records: list[Any], settled: list[Any]) -> None:
        """Tell of new starts, and of those that have converged."""
        for i in range(len(self._tasks), len(records)):
            self._tasks.append(self._starts.subtask("start", start=i))
            self._told("on_fit_task_begin", self._tasks[i])
        over = {id(record) for record in settled}
        for i, (record, task) in enumerate(zip(records, self._tasks, strict=True)):
            if id(record) in over and i not in self._ended:
                self._ended.add(i)
                task.iteration, task.lower_bound = record.n_iter, record.bound
                self._told("on_fit_task_end", task)

    def end(self, records: list[Any]) -> None:
        """Tell of the starts that have not ended yet, and that all have."""
        if self._starts is None:  # recalled
            self.begin(len(records))
        self.round(records, records)
        self._told("on_fit_task_end", self._starts)
        self._starts = None
