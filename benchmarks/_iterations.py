"""Seconds of one EM iteration, timed within a fit: a pass over the rows and an M-step.

Medians over the iterations of one fit are steadier than the difference of two fits that `engine.py`
takes, and cheaper at large sizes. The first pass, which prepares the blocks, is left out.
"""

import time
from unittest import mock

import numpy as np
from engine import fit_mixexp

from mixexp._engine import em


def timed_fit(X, y, start, max_iter, n_jobs=None):
    """Seconds of an iteration, and the fit."""
    times = {"evaluate": [], "m_step": []}

    def timed(name, function):
        def call(*args):
            begin = time.perf_counter()
            result = function(*args)
            times[name].append(time.perf_counter() - begin)
            return result

        return call

    with (
        mock.patch.object(em, "evaluate", timed("evaluate", em.evaluate)),
        mock.patch.object(em, "m_step", timed("m_step", em.m_step)),
    ):
        fit = fit_mixexp(X, y, start, max_iter, n_jobs=n_jobs)
    return np.median(times["evaluate"][1:]) + np.median(times["m_step"]), fit
