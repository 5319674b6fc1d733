"""Saves where a fit is, so that it can go on after whatever happens."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from mixexp._store.files import replace_file
from mixexp._warn import warn
from mixexp.callbacks._base import Callback

__all__ = ["Checkpoint"]


class Checkpoint(Callback):
    """Saves the state of a fit to a file, from which ``fit(..., resume_from=path)`` goes on.

    The fit that goes on ends with the same bits as one that was not interrupted, if it has the same
    other callbacks, in any order. The file is written after the starts, then every few iterations
    of long runs, at the end, and when a fit ends with an error or an interrupt (Ctrl-C). The file
    there is whole at all times: a new one is written beside it and takes its place once it is on
    the disk.

    If it cannot be written, as on a full disk, the fit warns and goes on, the old file stays as it
    was, and the next time it is tried again.

    Parameters
    ----------
    path : str or path-like
        The file. Its folder must exist. One file is for one fit: the fits of a search, which share
        their callbacks, would overwrite each other's.
    every : int, default=10
        Iterations between two files: a process that is killed loses at most these.
    trusted : bool, default=False
        Whether the file may hold a pickle. Without, it holds arrays and JSON only; reading it runs
        no code. Estimators that are fitted one by one, as experts or gate, and parts of your own
        can only be pickled, and to resume from such a file takes
        ``resume_from=Checkpoint(path, trusted=True)``.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.callbacks import Checkpoint
    >>> from mixexp.datasets import load_tone
    >>> X, y = load_tone(return_X_y=True)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, random_state=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "tone.checkpoint"
    ...     model = model.set_callbacks(Checkpoint(path)).fit(X, y)
    ...     again = model.fit(X, y, resume_from=path)
    """

    saves = True

    def __init__(self, path: Any, *, every: int = 10, trusted: bool = False):
        if not (isinstance(every, int | np.integer) and every >= 1):
            raise ValueError(f"Checkpoint: every={every!r}. Give an integer of at least 1.")
        self.path = Path(path)
        self.every = every
        self.trusted = trusted

    def setup(self, estimator: Any, context: Any) -> None:
        """Refuse a path that no file can have, before the fit."""
        self._since, self._unsaved = 0, False
        folder = self.path.resolve().parent
        if self.path.is_dir() or not folder.is_dir():
            why = "is a folder" if self.path.is_dir() else f"is in {folder}, which does not exist"
            raise OSError(f"Checkpoint: path={os.fspath(self.path)!r} {why}. Give that of a file.")

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Take note that there will be something to save, until the fit has ended."""
        self._unsaved |= context.task_name in ("start", "iteration")

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        """Save where the fit is, if it is time to."""
        if context.task_name == "iteration":
            self._since += 1
        if context.task_name in ("starts", "fit") or self._since >= self.every:
            self._save(context)

    def teardown(self, estimator: Any, context: Any) -> None:
        """Save the last complete iteration of a fit that has failed or was interrupted."""
        if self._unsaved:
            self._save(context)

    def _save(self, context: Any) -> None:
        content = context.checkpoint(self.trusted)
        self._since = 0
        try:
            replace_file(self.path, content)
        except OSError as error:
            warn(
                f"Checkpoint: {os.fspath(self.path)!r} could not be written ({error}). The fit "
                "goes on, and the file, if there was one, is as it was. Free space, or stop the "
                "fit and choose another path."
            )
        else:
            self._unsaved = context.task_name != "fit"
