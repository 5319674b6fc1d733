"""Small problems, and ways to break a fit off."""

import numpy as np

from mixexp._engine import em
from mixexp.callbacks import Callback


def two_lines(n=120, seed=0):
    """Return X and y of two overlapping lines, on which EM takes a while."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 2))
    y = np.where(X[:, 0] > 0, X[:, 1], -X[:, 1]) + 0.4 * rng.standard_normal(n)
    return X, y


class Raise(Callback):
    """Raises in a hook: at the end of the task `name`, for the `turn`-th time."""

    def __init__(self, error, name="iteration", turn=3):
        self.error = error
        self.name = name
        self.turn = turn

    def setup(self, estimator, context):
        self.seen = 0

    def on_fit_task_end(self, estimator, context):
        self.seen += context.task_name == self.name
        if self.seen == self.turn:
            raise self.error


class _Arm(Callback):
    """Is armed after an iteration of the long run."""

    armed = False

    def __init__(self, turn):
        self.turn = turn

    def on_fit_task_end(self, estimator, context):
        self.armed |= context.task_name == "iteration" and context.iteration == self.turn


def broken_off(model, X, y, saver, turn):
    """Fit with a checkpoint, interrupted in the middle of the pass after an iteration."""
    plain, arm = em.evaluate, _Arm(turn)

    def evaluate(*args, **kwargs):
        if arm.armed:
            raise KeyboardInterrupt
        return plain(*args, **kwargs)

    em.evaluate = evaluate
    try:
        model.set_callbacks(saver, arm).fit(X, y)
    except KeyboardInterrupt:
        assert not hasattr(model, "experts_")
        return
    finally:
        em.evaluate = plain
        model.set_callbacks()
    raise AssertionError("the fit was not interrupted")


def same_bits(one, other, X):
    """Assert that two fits ended with the same numbers."""
    answer = "predict_proba" if hasattr(one, "predict_proba") else "predict"
    assert np.array_equal(getattr(one, answer)(X), getattr(other, answer)(X))
    assert np.array_equal(one.lower_bounds_, other.lower_bounds_)
    assert np.array_equal(one.usage_, other.usage_)
    for name in ("lower_bound_", "n_iter_", "n_passes_", "converged_", "restarts_"):
        assert getattr(one, name) == getattr(other, name)
