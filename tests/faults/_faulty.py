"""Estimators with a fault, and a look at what belongs to the process."""

import gc
import os
import threading
import weakref
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression, Ridge

#: Where Linux lists the open files of a process.
DESCRIPTORS = Path("/proc/self/fd")


@contextmanager
def nothing_left():
    """Assert that no thread, open file or numpy error state is left behind."""

    def look():
        gc.collect()
        files = len(list(DESCRIPTORS.iterdir())) if DESCRIPTORS.exists() else 0
        return threading.active_count(), files, np.geterr()

    before = look()
    yield
    assert look() == before


class Misshapen(Ridge):
    """Predicts a row too few, or two columns."""

    def __init__(self, how="short"):
        super().__init__()
        self.how = how

    def predict(self, X):
        good = super().predict(X)
        return good[:-1] if self.how == "short" else np.column_stack([good, good])


class Improper(ClassifierMixin, BaseEstimator):
    """A classifier whose probabilities are none."""

    def __init__(self, how="doubled"):
        self.how = how

    def fit(self, X, y, sample_weight=None):
        self.inner_ = LogisticRegression().fit(X, y, sample_weight)
        self.classes_ = self.inner_.classes_
        return self

    def predict(self, X):
        return self.inner_.predict(X)

    def predict_proba(self, X):
        proba = self.inner_.predict_proba(X)
        if self.how == "doubled":
            return 2 * proba
        if self.how == "negative":
            return proba - np.array([1.0, *[0.0] * (proba.shape[1] - 1)])
        if self.how == "nan":
            return np.where(np.arange(len(X))[:, None] == 0, np.nan, proba)
        return proba[:, :-1]


class Hoarder(Ridge):
    """Keeps every array that it was given."""

    seen: list = []

    def fit(self, X, y, sample_weight=None):
        self.kept_ = X
        Hoarder.seen.append(weakref.ref(X))
        return super().fit(X, y, sample_weight)


class Deadly(Ridge):
    """Ends the process that fits it, unless that is the one of the test."""

    def __init__(self, home=0):
        super().__init__()
        self.home = home

    def fit(self, X, y, sample_weight=None):
        if os.getpid() != self.home:
            os._exit(3)
        return super().fit(X, y, sample_weight)


def predictions_of(model, X, y):
    """Fit a clone and return its predictions; at module level, so that processes find it."""
    return clone(model).fit(X, y).predict(X)
