"""The tasks of a fit, as callbacks see them: starts, long runs and their iterations."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from inspect import Parameter, signature
from typing import Any
from uuid import UUID, uuid4

__all__ = ["HOOKS", "FitTask", "check_callbacks", "told"]

#: The methods of a callback, as in scikit-learn 1.9.
HOOKS = ("setup", "on_fit_task_begin", "on_fit_task_end", "teardown")


@dataclass(eq=False)
class FitTask:
    """A task of a fit: what `mixexp.callbacks.Context` documents.

    It has the public attributes of scikit-learn's `CallbackContext`, so that the callbacks of
    scikit-learn 1.9 take it for one.
    """

    estimator_name: str
    task_name: str
    task_id: int = 0
    max_subtasks: int | None = 0
    sequential_subtasks: bool = True
    parent: Any = None
    root_uuid: UUID = field(default_factory=uuid4)
    init_time: datetime = field(default_factory=lambda: datetime.now(UTC))
    source_estimator_name: str | None = None
    source_task_name: str | None = None
    start: int | None = None
    iteration: int | None = None
    lower_bound: float | None = None
    began: float = field(default_factory=time.perf_counter)
    saved: Callable[[bool], bytes] | None = None
    n_begun: int = 0
    making: Callable[[], Any] | None = None
    _made: Any = None

    @classmethod
    def root(cls, estimator: Any) -> FitTask:
        """Return the task of a whole fit; under a search with callbacks, one of its tasks."""
        name = type(estimator).__name__
        outer = vars(estimator).get("_parent_callback_ctx")  # set by scikit-learn around the fit
        if outer is None:
            return cls(name, "fit", max_subtasks=None)
        return cls(
            name,
            "fit",
            task_id=outer.task_id,
            max_subtasks=None,
            parent=outer.parent,
            root_uuid=outer.root_uuid,
            source_estimator_name=outer.estimator_name,
            source_task_name=outer.task_name,
        )

    @property
    def elapsed(self) -> float:
        """Seconds since the fit began."""
        return time.perf_counter() - self.began

    def subtask(self, name: str, max_subtasks: int | None = 0, **progress: Any) -> FitTask:
        """Return the next task in this one."""
        self.n_begun += 1
        return FitTask(
            self.estimator_name,
            name,
            self.n_begun - 1,
            max_subtasks,
            parent=self,
            root_uuid=self.root_uuid,
            began=self.began,
            saved=self.saved,
            **progress,
        )

    def fitted_estimator(self) -> Any:
        """Return a mixture that predicts as if the fit had ended here, made once; or None."""
        if self._made is None and self.making is not None:
            self._made = self.making()
        return self._made

    def checkpoint(self, trusted: bool = False) -> bytes:
        """Return the bytes of a file from which `fit` can go on."""
        assert self.saved is not None
        return self.saved(trusted)


def check_callbacks(callbacks: tuple[Any, ...], owner: str) -> None:
    """Raise if something is no callback: a class, or an object without the hooks."""
    for callback in callbacks:
        lacking = [name for name in HOOKS if not callable(getattr(callback, name, None))]
        if isinstance(callback, type) or lacking:
            what = "a class: give an instance" if isinstance(callback, type) else "no callback"
            raise TypeError(
                f"{owner}: set_callbacks got {callback!r}, which is {what}. A callback has the "
                f"methods {', '.join(HOOKS)}: derive it from mixexp.callbacks.Callback."
            )


def told(callbacks: list[Any], hook: str, estimator: Any, task: FitTask, **values: Any) -> bool:
    """Call a hook of all callbacks, and return whether one of them asks to stop.

    Each is given the values that it names as keywords; a fitted estimator is made only then.
    """
    stop = False
    for callback in callbacks:
        method = getattr(callback, hook)
        named = [
            name
            for name, parameter in signature(method).parameters.items()
            if parameter.kind is Parameter.KEYWORD_ONLY
        ]
        wanted = {name: values.get(name) for name in named}
        if "fitted_estimator" in wanted:
            wanted["fitted_estimator"] = task.fitted_estimator()
        stop |= bool(method(estimator, task, **wanted))
    return stop
