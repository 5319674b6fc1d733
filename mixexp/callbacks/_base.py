"""The protocol of callbacks, with the names of scikit-learn 1.9."""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["Callback", "Context"]


class Context(Protocol):
    """The task of a fit that a hook is called for.

    A fit is a tree of tasks. Its root is ``"fit"``. Below it is ``"starts"``, with a ``"start"``
    for each start, and ``"long run"``, with an ``"iteration"`` for each EM iteration on all rows.
    There may be several of both: a long run from another start where the first one ended in a
    spurious maximum, the stages of a routed fit, that of frozen routes included, the numbers of
    ``n_experts="auto"``.

    Attributes
    ----------
    task_name : str
        Name of the task, as above.
    task_id : int
        Its number among the tasks of the same parent, from 0.
    parent : Context or None
        The task that it belongs to.
    max_subtasks : int or None
        Most tasks in it, 0 if it has none; None means unknown.
    start : int or None
        Number of the start, of the tasks ``"start"``, ``"long run"`` and ``"iteration"``.
    iteration : int or None
        EM iterations so far: of ``"iteration"``, in the long run, from 1.
    lower_bound : float or None
        The lower bound after it; None where there is none yet.
    elapsed : float
        Seconds since this call of `fit` began.
    """

    task_name: str
    task_id: int
    parent: Context | None
    max_subtasks: int | None
    start: int | None
    iteration: int | None
    lower_bound: float | None
    elapsed: float

    def fitted_estimator(self) -> Any:
        """Return what the keyword `fitted_estimator` of a hook is: made when it is asked for.

        Under routing it comes from the stages that would follow if the fit were stopped here: in
        every iteration before the last stage of a hard router, the experts are fitted to frozen
        routes for it. While a warm-up finds its partition, its cheap experts answer.
        """

    def checkpoint(self, trusted: bool = False) -> bytes:
        """Return the bytes of a file from which `fit` goes on, as `Checkpoint` writes them.

        Only for callbacks with ``saves = True``: what a fit goes on from is kept for them.
        """


class Callback:
    """Base of callbacks: every hook does nothing. Override the hooks that you need.

    The hooks are those of scikit-learn's `FitCallback` (version 1.9); mixexp calls them itself,
    with every version. A hook may name the keywords ``X``, ``y``, ``metadata`` (a dict with
    `sample_weight`, or None) and ``fitted_estimator``, and is given what it names: X and y as
    they came to `fit` (None in `fit_blocks`), and of the task ``"iteration"``, at its end, and of
    ``"fit"`` a mixture that predicts as if the fit had ended here. It is made only for hooks that
    name it; of other tasks it is None.

    An error in a hook ends the fit and reaches the user; the mixture stays as it was before the
    fit.

    A callback whose answers hang on earlier iterations needs two more methods, so that a fit goes
    on from a checkpoint as if nothing had happened: ``state(context)`` returns what JSON can hold,
    and ``restore(context, state)`` takes it over. A class with ``saves = True`` asks for
    checkpoints itself; its callbacks are told last, when the others know the iteration, and taken
    down first.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.callbacks import Callback
    >>> from mixexp.datasets import load_tone
    >>> class Bounds(Callback):
    ...     def setup(self, estimator, context):
    ...         self.bounds = []
    ...     def on_fit_task_end(self, estimator, context):
    ...         if context.task_name == "iteration":
    ...             self.bounds.append(context.lower_bound)
    >>> X, y = load_tone(return_X_y=True)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).set_callbacks(Bounds())
    >>> model = model.fit(X, y)
    """

    saves = False

    def setup(self, estimator: Any, context: Any) -> None:
        """Begin: called once before a fit, with the task ``"fit"``."""

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Look at a task that begins."""

    def on_fit_task_end(self, estimator: Any, context: Any) -> Any:
        """Look at a task that has ended; return True after an iteration to stop the long run.

        The fit then ends with the state of the highest bound in that run, which is usually the
        last one; `converged_` is False, and nothing is warned of. With ``n_experts="auto"`` only
        the mixture that is trained stops.
        """

    def teardown(self, estimator: Any, context: Any) -> None:
        """End: called once after a fit, also if it failed, with the task ``"fit"``."""
