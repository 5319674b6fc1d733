"""Starts of several kinds in turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from mixexp._checks import named_error, short
from mixexp.partitions._clusters import KMeansStart
from mixexp.partitions._clusterwise import Clusterwise
from mixexp.partitions._split import Split
from mixexp.partitions._tree import TreeStart
from mixexp.protocols import StartContext, can, evolve

__all__ = ["MixedStart"]

#: Remedy for an entry of the list that is not a start.
REMEDY = "Give what init takes."


class MixedStart(BaseEstimator):
    """Starts of several kinds in turn: what one kind misses, another finds.

    The first starts of a fit are one of each kind, in the order of the list; then it begins again,
    without the deterministic ones. They race in short runs, and the best one is run to its end. The
    `n_init` starts of a given list are all run; those of None until some agree, or further ones
    bring nothing better.

    Parameters
    ----------
    starts : list or None, default=None
        Each is whatever `init` takes: a start or its name, a clusterer or another object with
        `fit_predict`, labels or responsibilities of the training rows. Their numbering of the
        experts is not kept. None is clusterwise, split, k-means of X, tree, clusterwise, k-means of
        (X, y): with `n_init=1` a clusterwise start alone.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> from mixexp.partitions import KMeansStart, MixedStart, TreeStart
    >>> X, y = load_tone(return_X_y=True)
    >>> start = MixedStart([TreeStart(), KMeansStart(on="Xy")])
    >>> model = MixtureOfExpertsRegressor(n_experts=2, init=start, random_state=0)
    >>> model.fit(X, y).usage_.shape
    (2,)
    """

    random = True

    def __init__(self, starts: Any = None):
        self.starts = starts

    @property
    def varied(self) -> bool:
        """Whether starts are of several kinds: where they agree, others hardly find more."""
        return self.starts is None

    def bound(self, resolve: Callable[[Any], Any]) -> MixedStart:
        """Return the same with all of its starts resolved for a fit.

        `resolve` turns any value of `init` into a start.
        """
        if self.starts is None:
            return self
        if not isinstance(self.starts, list | tuple) or len(self.starts) == 0:
            raise ValueError(
                "MixedStart: starts must be a list of at least one start, or None, got "
                f"{short(self.starts)}."
            )
        ready = []
        for i, start in enumerate(self.starts):
            with named_error("MixedStart", f"starts[{i}]={short(start)}", REMEDY):
                resolved = resolve(start)
            ready.append(resolved.bound(resolve) if can(resolved, "bound") else resolved)
        return MixedStart(ready)

    def responsibilities(self, context: StartContext, rng: np.random.Generator) -> np.ndarray:
        """Return responsibilities (K, n) of the context's rows."""
        starts = self.starts
        if starts is None:
            first = Clusterwise()
            starts = [first, Split(), KMeansStart(), TreeStart(), first, KMeansStart(on="Xy")]
        turn, round_ = context.turn, 0
        if turn >= len(starts):
            again = [start for start in starts if start.random] or starts
            round_, turn = divmod(turn - len(starts), len(again))
            starts, round_ = again, round_ + 1
        resp: np.ndarray = starts[turn].responsibilities(evolve(context, turn=round_), rng)
        return resp
