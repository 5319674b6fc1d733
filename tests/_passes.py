"""Counting the passes of runs of EM, apart from what the engine says of them."""

from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from mixexp._engine import collapse, em, search


@dataclass
class Watched:
    """A run of EM in a long run: passes as told, as made, of the safeguard, of leaps in vain."""

    n_iter: int
    told: int
    made: int
    extra: int
    refused: int
    events: list


@contextmanager
def watched_runs():
    """Collect the runs of EM that make up long runs."""
    found, passes, extra, refused, events = [], [], [], [], []
    evaluate, safeguarded, leapt = em.evaluate, em._safeguarded, em._leapt
    run_em, long_run = em.run_em, search.long_run

    def counted_evaluate(*args):
        passes.append(1)
        return evaluate(*args)

    def counted_safeguard(*args):
        before = len(passes)
        trial = safeguarded(*args)
        extra.append(len(passes) - before)
        return trial

    def counted_leap(*args):
        trial = leapt(*args)
        refused.append(trial is None)
        return trial

    def watched(journal, problem, state):
        passes.clear()
        extra.clear()
        refused.clear()
        run = run_em(problem, state)
        counts = len(run.bounds), run.n_passes, len(passes), sum(extra), sum(refused)
        found.append(Watched(*counts, events[-1]))
        return run

    def noted(task, state, told):
        events.append(told)
        return long_run(task, state, told)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(em, "evaluate", counted_evaluate)
        patch.setattr(em, "_safeguarded", counted_safeguard)
        patch.setattr(em, "_leapt", counted_leap)
        patch.setattr(collapse, "run_or_recall", watched)
        patch.setattr(search, "long_run", noted)
        yield found


def check_passes(model, runs, closed):
    """Assert the passes of a run: one to begin with, one an iteration, safeguard, leaps in vain.

    `closed` says that steps are in closed form, which need no safeguard. A fit's passes are those
    of all runs from the start that it ends with.
    """
    for run in runs:
        assert run.told == run.made == 1 + run.n_iter + run.extra + run.refused
        assert run.extra == 0 or not closed
    (record,) = [
        record
        for record in model.restarts_
        if "long run" in record.events and record.bound == model.lower_bound_
    ]
    assert model.n_passes_ == sum(run.made for run in runs if run.events is record.events)
