"""Regions around the user's centres as a start."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.metrics import pairwise_distances
from sklearn.utils.validation import check_array

from mixexp._checks import as_numbers, named_error, short
from mixexp._columns import as_numbers as numeric_table
from mixexp._columns import refuse_text
from mixexp.partitions._labels import check_one_per_expert, one_hot
from mixexp.protocols import StartContext

__all__ = ["NearestCenter"]


class NearestCenter(BaseEstimator):
    """Each row starts with the expert of the nearest centre.

    For subtasks with a known example each: shops, seasons, prototypes. The numbering is kept:
    expert k starts around ``centers[k]``. Ties go to the first centre.

    Parameters
    ----------
    centers : array-like of shape (n_experts, n_features)
        One centre per expert, in units of X.
    metric : str or callable, default="euclidean"
        Any metric of `sklearn.metrics.pairwise_distances`.
    scaled : bool, default=False
        Whether to divide rows and centres by the features' weighted standard deviations first, for
        features in different units. A missing value then counts as the mean of its feature;
        otherwise X must have none, unless the metric accepts them, as "nan_euclidean" does.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> from mixexp.partitions import NearestCenter
    >>> X, y = load_tone(return_X_y=True)
    >>> start = NearestCenter([[1.5], [2.5]])
    >>> model = MixtureOfExpertsRegressor(n_experts=2, init=start, random_state=0)
    >>> model.fit(X, y).usage_.shape
    (2,)
    """

    random = False

    #: The user numbered the experts.
    numbered = True

    def __init__(self, centers: Any, metric: Any = "euclidean", *, scaled: bool = False):
        self.centers = centers
        self.metric = metric
        self.scaled = scaled

    def responsibilities(self, context: StartContext, rng: np.random.Generator) -> np.ndarray:
        """Return responsibilities (K, n) of the context's rows."""
        X: Any = context.rows.X
        self._check_options()
        missing = "allow-nan" if self.metric == "nan_euclidean" else True
        remedy = "Give a point for each expert, an array of shape (n_experts, n_features)."
        with named_error("NearestCenter", "centers", remedy):
            centers = check_array(
                as_numbers(self.centers, "centers", "NearestCenter", remedy),
                input_name="centers",
                ensure_all_finite=missing,
            )
        frame = context.rows.frame
        remedy = "or give init the labels of nearest centres that you found"
        refuse_text(frame, numeric_table(frame).text, "a distance", None, "NearestCenter", remedy)
        check_one_per_expert("NearestCenter", "centers", len(centers), context.n_experts)
        if centers.shape[1] != X.shape[1]:
            raise ValueError(
                f"NearestCenter: centers have {centers.shape[1]} features and X has {X.shape[1]}. "
                "Give centres a number for every feature of X."
            )
        if self.scaled:
            design = context.rows.design(None)
            width = len(design.columns)
            X = design.matrix(X)[1 : width + 1].T
            centers = (centers - design.center[:width]) * design.inverse_scale[:width]
        remedy = "Give another metric of sklearn.metrics.pairwise_distances."
        with named_error("NearestCenter", f"metric={self.metric!r}", remedy):
            distances = pairwise_distances(X, centers, metric=self.metric)
        return one_hot(distances.argmin(axis=1), context.n_experts)

    def _check_options(self) -> None:
        """Raise a ValueError if metric or scaled is invalid."""
        if not (isinstance(self.metric, str) or callable(self.metric)):
            raise ValueError(
                f"NearestCenter: metric must be a name or a function, got {short(self.metric)}. "
                "Names are those of sklearn.metrics.pairwise_distances."
            )
        if not isinstance(self.scaled, bool | np.bool_):
            raise ValueError(
                f"NearestCenter: scaled must be True or False, got {short(self.scaled)}."
            )
