"""Callbacks and checkpoints of a fit: what is told of it, and what it goes on from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from mixexp._engine.em import Run
from mixexp._engine.journal import Journal
from mixexp._engine.progress import Watchers
from mixexp._engine.routed import ended_here
from mixexp._engine.search import SearchProblem
from mixexp._engine.starts import FromState, Restart
from mixexp._engine.sweep import State
from mixexp._estimators.assembly import Assembly, has_estimators
from mixexp._estimators.callback_states import Memory, saves, taken_down
from mixexp._estimators.outcome import store_midway
from mixexp._estimators.parts import owner_of
from mixexp._estimators.resuming import Resumed, head_of, read_checkpoint
from mixexp._estimators.start_tasks import StartTasks
from mixexp._estimators.tasks import FitTask, told
from mixexp._rows.designs import Design
from mixexp._store.codec import NotPlainError, foreign_in, instances_in
from mixexp._store.files import written

if TYPE_CHECKING:
    from mixexp._estimators.base import BaseMixtureOfExperts

__all__ = ["Following", "following"]

#: Returns what identifies the data of a fit; called only where it is needed.
Identity = Callable[[], str]


@contextmanager
def following(
    mixture: BaseMixtureOfExperts,
    X: Any = None,
    y: Any = None,
    weight: Any = None,
    path: Any = None,
) -> Iterator[Following | None]:
    """Set up callbacks before a fit and take them down after it, however it ends.

    Yields None where nobody follows the fit and it begins anew. `path` is that of a checkpoint.
    """
    callbacks = list(vars(mixture).get("_skl_callbacks", ()))
    if not callbacks and path is None:
        yield None
        return
    resumed = None if path is None else read_checkpoint(mixture, path)
    watch = Following(mixture, callbacks, {"X": X, "y": y}, weight, resumed)
    set_up: list[Any] = []
    try:
        for callback in watch.own:
            set_up.append(callback)
            callback.setup(mixture, watch.root)
        watch.told("on_fit_task_begin", watch.root)
        yield watch
        watch.finish()
        watch.root.making = partial(_bare, mixture)
        watch.told("on_fit_task_end", watch.root)
    except BaseException as error:
        for problem in taken_down(mixture, watch.root, set_up):
            error.add_note(f"The callback's teardown failed too: {problem!r}")
        raise
    for problem in taken_down(mixture, watch.root, set_up):
        raise problem


class Following:
    """The watcher of a fit that tells callbacks of it, and knows how to go on from here.

    Parameters
    ----------
    mixture : BaseMixtureOfExperts
    callbacks : list
    data : dict
        X and y, as callbacks are given them.
    weight : array-like or None
    resumed : Resumed or None
        The checkpoint to go on from.
    """

    def __init__(
        self,
        mixture: BaseMixtureOfExperts,
        callbacks: list[Any],
        data: dict[str, Any],
        weight: Any,
        resumed: Resumed | None,
    ):
        self.mixture = mixture
        self._savers = [callback for callback in callbacks if saves(callback)]
        self._others = [callback for callback in callbacks if not saves(callback)]
        self.callbacks = [*self._others, *self._savers]
        self.root = FitTask.root(mixture)
        self.root.saved = self.checkpoint
        # one that a search has handed down is set up by the search
        handed_down = self.root.source_task_name is not None
        self.own = [c for c in self.callbacks if not (handed_down and _is_handed_down(c))]
        self.finished = False
        self.journal: Journal | None = None
        metadata = None if weight is None else {"sample_weight": weight}
        self._data = {**data, "metadata": metadata}
        self._resumed = resumed
        self._fitting: Any = None  # mixture, assembly and target, of which a model is made
        self._known: list[tuple[str, Any]] = []
        self._identity = ""
        self._seed = 0
        self._records: list[Restart] = []
        self._starts = StartTasks(self.told, self.root)
        self._run_task: FitTask | None = None
        self._start_of: dict[int, int | None] = {}  # of the long runs, by their id
        self._memory = Memory(self.callbacks, self.root)

    def told(self, hook: str, task: FitTask) -> bool:
        """Tell callbacks of a task; return whether one asks to stop."""
        return self._told_to(self.callbacks, hook, task)

    def _told_to(self, callbacks: list[Any], hook: str, task: FitTask) -> bool:
        return told(callbacks, hook, self.mixture, task, **self._data)

    def seed(self, drawn: int) -> int:
        """Return the seed of the fit: that of the checkpoint if there is one."""
        self._seed = drawn if self._resumed is None else self._resumed.seed
        return self._seed

    def assembled(
        self, mixture: Any, assembly: Assembly, target: Any, identity: Identity
    ) -> Assembly:
        """Take over what is fitted, and return the assembly of a search that is followed.

        Raises `ValueError` if a checkpoint is of other data, or cannot hold this fit.
        """
        self._fitting = mixture, assembly, target
        for saver in self._savers:
            _refuse_pickles(saver, mixture, assembly.batch)
        if self._savers or self._resumed is not None:
            self._identity = identity()
            self._know_designs(assembly.problem)
            self._know(assembly.problem)
            self.journal = Journal()
        if self._resumed is not None:
            done, run = self._resumed.content(self._known, self._identity)
            self.journal = Journal(done, run)
            where = f"{self._resumed.owner}: resume_from={self._resumed.path!r}"
            self._memory.resume(self._resumed.head, where)
        return replace(
            assembly,
            problem=self._joined(assembly.problem),
            problem_at=lambda n_experts: self._joined(assembly.problem_at(n_experts)),
        )

    def _joined(self, problem: SearchProblem) -> SearchProblem:
        """Return a search that is followed; remember what its files need not hold."""
        if self.journal is not None:
            self._know(problem)
        watcher: Any = self
        if problem.progress is not None:
            watcher = Watchers((problem.progress, self))
        return replace(problem, progress=watcher, journal=self.journal)

    def _know(self, problem: SearchProblem) -> None:
        """Remember rows, and objects that are not mixexp's, of the search before it begins."""
        self._known += [("rows", problem.rows), ("sketch", problem.sketch)]
        self._known += foreign_in([problem.batch_gate, problem.batch_bank], "batch")
        self._known += foreign_in(problem.routing, "routing")
        bank = problem.bank if problem.share is None else problem.share(problem.bank)
        bank = bank if problem.noise is None else problem.noise(bank)
        self._known += _of_state(State(problem.gate, bank))
        if isinstance(problem.start, FromState):  # of parts with the same parameters
            self._known += _of_state(problem.start.state)

    def _know_designs(self, problem: SearchProblem) -> None:
        """Remember the designs of gate and bank, which rows keep products for.

        What a state shares with another state, or gate with bank, is one object: passes take
        other sums, with other last bits, where it is not.
        """
        for name, part in {"gate": problem.gate, "bank": problem.bank}.items():
            self._known += instances_in(part, Design, name)

    def checkpoint(self, trusted: bool) -> bytes:
        """Return the bytes of a file from which the fit can go on."""
        if self.journal is None:
            raise RuntimeError(
                f"{self.root.estimator_name}: a callback asks for a checkpoint, and none of them "
                "has `saves = True`, for which a fit keeps what it needs. Set it in the class."
            )
        stages, run = self.journal.content
        head = head_of(self.mixture, self._seed, self._identity, self.finished)
        head |= self._memory.standing.as_json
        try:
            return written(head, [stages, run], self._known, trusted)
        except NotPlainError as error:
            raise ValueError(_needs_trust(self.root.estimator_name, f"{error}")) from error

    def _midway(self, run: Run) -> Any:
        """Return a mixture that answers as if the fit had ended here."""
        fitting, assembly, target = self._fitting
        problem = replace(assembly.problem, progress=None, journal=None)
        if problem.warm_up is not None:  # the run is one of its cheap experts, on a sketch
            parts: dict[str, Any] = dict.fromkeys(("batch_bank", "batch_gate", "share", "warm_up"))
            problem = replace(problem, rows=run.rows, **parts)
            assembly = replace(assembly, batch=False)
        fitted = _bare(fitting)
        assembly = replace(assembly, problem=problem)
        store_midway(fitted, ended_here(problem, run), assembly, target)
        return fitted

    def line(self, text: str) -> None:
        """Take a remark, which is for readers."""

    def begin_starts(self, most: int) -> None:
        """Tell that the starts begin."""
        self._starts.begin(most)

    def round(self, records: list[Restart], settled: list[Restart]) -> None:
        """Tell of new starts, and of those that have converged."""
        self._starts.round(records, settled)

    def starts(self, records: list[Restart]) -> None:
        """Tell of the starts that have not ended yet, and that all have."""
        self._records = records
        self._starts.end(records)

    def begin(self, record: Restart) -> None:
        """Tell that a long run begins."""
        numbers = (i for i, each in enumerate(self._records) if each.seed == record.seed)
        self._begin(next(numbers, None))

    def goes_on(self, run: Run) -> None:
        """Tell that a long run begins where another one has ended."""
        self._begin(self._start_of.get(id(run)))

    def _begin(self, start: int | None) -> None:
        self._run_task = self.root.subtask("long run", self._fitting[0].max_iter, start=start)
        self._memory.begin(-1 if self.journal is None else self.journal.position)
        self.told("on_fit_task_begin", self._run_task)

    def iteration(self, run: Run) -> bool:
        """Tell of an iteration; return whether a callback stops the run.

        A run that goes on comes with its last iteration, which callbacks mostly know.
        """
        self._memory.catch_up()
        number = run.n_earlier + len(run.bounds)
        if number == self._memory.n_told:
            return run.stopped
        if self.journal is not None:
            self.journal.keep(run)
        return self._tell(run, number)

    def _tell(self, run: Run, number: int) -> bool:
        """Tell of an iteration; return whether a callback stops the run."""
        assert self._run_task is not None
        if self.journal is not None:
            self._memory.hearing()
        task = self._run_task.subtask(
            "iteration",
            start=self._run_task.start,
            iteration=number,
            lower_bound=run.bounds[-1],
        )
        self.told("on_fit_task_begin", task)
        task.making = partial(self._midway, run)
        stop = self._asked(task, number)
        return self._told_to(self._savers, "on_fit_task_end", task) or stop

    def _asked(self, task: FitTask, number: int) -> bool:
        """Tell those that do not save of an iteration; return whether one stops the run.

        In the hook of the last one, without states, nobody is left who would have to hear it again.
        """
        stop = False
        for callback in self._others:
            if callback is self._others[-1] and not self._memory.has_states:
                self._memory.heard(number)
            stop |= self._told_to([callback], "on_fit_task_end", task)
            if stop and self.journal is not None:
                self.journal.stop()
        self._memory.heard(number)  # files that are written from here on say so
        return stop

    def end(self, run: Run) -> None:
        """Tell of the last iteration, after which the run ended by itself, and of the end."""
        assert self._run_task is not None
        number, task = run.n_earlier + len(run.bounds), self._run_task
        if self.journal is None or self.journal.live:
            self._memory.catch_up()
        else:
            self._memory.recall(number)
        if number == self._memory.n_told + 1 and self._tell(run, number):
            run.stopped = True  # of the stages that would follow
            if self.journal is not None:
                self.journal.stop_after()
        self._start_of[id(run)] = task.start
        task.iteration, task.lower_bound = self._memory.n_told, run.bound
        self._told_to(self._others, "on_fit_task_end", task)
        self._memory.end()
        self._told_to(self._savers, "on_fit_task_end", task)

    def finish(self) -> None:
        """Take note that the search has ended."""
        self.finished = True
        self._memory.finish()


def _bare(mixture: Any) -> Any:
    """Return a copy of a mixture without callbacks."""
    copied = copy(mixture)
    vars(copied).pop("_skl_callbacks", None)
    return copied


def _of_state(state: State) -> list[tuple[str, Any]]:
    """Return the objects in a state that are not mixexp's, such as templates, by name."""
    return [*foreign_in(state.gate, "gate"), *foreign_in(state.bank, "bank")]


def _is_handed_down(callback: Any) -> bool:
    """Return whether a search hands a callback down to the estimators that it fits."""
    return hasattr(callback, "max_propagation_depth")


def _refuse_pickles(saver: Any, mixture: Any, batch: bool) -> None:
    """Raise if a file would hold estimators, which only a pickle can, and may hold none."""
    if has_estimators(mixture, batch) and not getattr(saver, "trusted", False):
        raise ValueError(_needs_trust(owner_of(mixture), "estimators that are fitted one by one"))


def _needs_trust(owner: str, what: str) -> str:
    return (
        f"{owner}: Checkpoint(trusted=False) writes arrays and JSON only, and the state of this "
        f"fit holds {what}, which only a pickle can. Set trusted=True; a pickle runs code when it "
        "is read, so resume only from files that nobody else could write."
    )
