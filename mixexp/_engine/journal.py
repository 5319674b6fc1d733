"""What the stages of a search ended with, so that a search that was broken off can go on.

A search is deterministic. To go on with one, it is run again, and every stage that is in the
journal returns what it ended with: nothing else of the search needs to know.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

from mixexp._engine.em import Problem, Run, run_em
from mixexp._engine.sweep import State

__all__ = ["Journal", "once", "run_or_recall"]


class Journal:
    """The ends of the stages so far, in their order, and the run in progress.

    Parameters
    ----------
    done : list of (str, value)
        The ends of the stages of an earlier search, by name.
    run : Run or None
        The run that was in progress then, as it was after an iteration.

    Attributes
    ----------
    live : bool
        Whether a stage has been run, not recalled.
    """

    def __init__(self, done: list[tuple[str, Any]] | None = None, run: Run | None = None):
        self.done = [] if done is None else list(done)
        self._next = 0
        self.live = False
        self._broken_off = run
        self._run = run

    def once(self, name: str, stage: Callable[[], Any]) -> Any:
        """Return what the stage ended with in the earlier search, else run it.

        A stage may consist of others, which the journal forgets when it has ended.
        """
        if self._next < len(self.done) and self.done[self._next][0] == name:
            value = self.done[self._next][1]
        else:
            first = self._next
            value = stage()
            self.live = True
            self.done[first:] = [(name, value)]
            self._next = first
        self._next += 1
        self._run = self._broken_off
        return value

    def begun(self) -> Run | None:
        """Return the run to go on with, if this one was broken off in the earlier search."""
        run, self._broken_off = self._broken_off, None
        return run

    def keep(self, run: Run) -> None:
        """Remember a run in progress as it is after an iteration; it changes in the next one."""
        self._run = replace(run, rows=None, bounds=list(run.bounds), accelerate=_copied_memory(run))

    def stop(self) -> None:
        """Remember that the run in progress is to stop after this iteration."""
        if self._run is not None:
            self._run.stopped = True

    def stop_after(self) -> None:
        """Remember that nothing follows the run that has just ended."""
        name, run = self.done[self._next - 1]
        self.done[self._next - 1] = name, replace(run, stopped=True)

    @property
    def position(self) -> int:
        """Number of the stages so far, the same where they are recalled."""
        return self._next

    @property
    def content(self) -> tuple[list[tuple[str, Any]], Run | None]:
        """What a later search needs to go on from here."""
        return list(self.done), self._run


def _ended(run: Run) -> Run:
    """Return a run that has ended, without what only its iterations need."""
    best, current = (
        replace(evaluation, statistics=[], information=None)
        for evaluation in (run.best, run.current)
    )
    return replace(run, best=best, current=current, rows=None, accelerate=None)


def _copied_memory(run: Run) -> Any:
    """Return a copy of a run's accelerator, which shares with the run the states that it holds."""
    leap = getattr(run.accelerate, "_leap", None)
    states = [run.current.state, run.best.state, *([] if leap is None else [leap])]
    shared = [*states, *(part for state in states for part in state.parts)]
    return deepcopy(run.accelerate, {id(value): value for value in shared})


def once(journal: Journal | None, name: str, stage: Callable[[], Any]) -> Any:
    """Return the end of a stage, from the journal if there is one that knows it."""
    return stage() if journal is None else journal.once(name, stage)


def run_or_recall(journal: Journal | None, problem: Problem, state: State) -> Run:
    """Return the run of EM from a state, or the rest of one that was broken off, or its end.

    The observer is given the iteration after which it was broken off, too: it may not have heard of
    it, or may have said stop.
    """
    if journal is None:
        return run_em(problem, state)

    def stage() -> Run:
        begun = journal.begun()
        if begun is None:
            return _ended(run_em(problem, state))
        begun = replace(begun, rows=problem.rows)
        begun.stopped = problem.observe is not None and problem.observe(begun)
        return _ended(begun if begun.stopped else run_em(problem, state, resumed=begun))

    run: Run = journal.once("run", stage)
    # callers change their copy: the numbers of a run, not its states
    return replace(run, rows=problem.rows, bounds=list(run.bounds))
