"""Groups of features as a start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.linear_model import Ridge

from mixexp._checks import short
from mixexp._columns import as_numbers, refuse_text
from mixexp._compat import column_indices
from mixexp.partitions._labels import check_one_per_expert, one_hot, weights_of
from mixexp.protocols import StartContext

__all__ = ["FeatureGroups"]

#: Rounds of refitting each group's model on its rows.
ROUNDS = 5

#: Penalty of a group's model, on features with unit variance.
ALPHA = 1.0


class FeatureGroups(BaseEstimator):
    """Subtasks from groups of features: each row to the group that predicts it best.

    A ridge regression of the scaled targets is fitted on the columns of each group alone. Each row
    goes to the group whose model has the smallest error (sum of squares over outputs; classes are
    indicators), and each model is refitted on its rows, five times or until nothing changes. The
    groups only decide the start of EM: to restrict the experts to them afterwards, pass the same
    groups as `expert_features`.

    Parameters
    ----------
    groups : sequence of column selections
        One per expert: indices, a slice, a boolean mask, or column names of a data frame. Groups
        may overlap, and need not cover all columns.

    Examples
    --------
    >>> import numpy as np
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.partitions import FeatureGroups
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((200, 4))
    >>> y = np.where(X[:, 0] > 0, X[:, 1], X[:, 2] - X[:, 3])
    >>> start = FeatureGroups([[0, 1], [2, 3]])
    >>> model = MixtureOfExpertsRegressor(n_experts=2, init=start, random_state=0)
    >>> model.fit(X, y).usage_.shape
    (2,)
    """

    random = False

    #: The user numbered the experts.
    numbered = True

    def __init__(self, groups: Any):
        self.groups = groups

    def responsibilities(self, context: StartContext, rng: np.random.Generator) -> np.ndarray:
        """Return responsibilities (K, n) of the context's rows."""
        if isinstance(self.groups, str) or not isinstance(self.groups, Sequence | np.ndarray):
            raise ValueError(
                f"FeatureGroups: groups must be a list of column selections, one per expert, got "
                f"{short(self.groups)}."
            )
        check_one_per_expert("FeatureGroups", "groups", len(self.groups), context.n_experts)
        rows = context.rows
        source = rows.X if rows.frame is None else rows.frame
        design = rows.design(None)
        features = design.matrix(rows.X)[1:].T
        text = as_numbers(rows.frame).text
        parts = []
        for number, group in enumerate(self.groups):
            columns = _columns(source, group, number)
            who = f"the model of groups[{number}]"
            remedy = "or leave it out of the group"
            refuse_text(rows.frame, text, who, columns, "FeatureGroups", remedy)
            # the indicators of missing values follow all columns
            indicators = np.isin(design.columns[design.indicators], columns)
            positions = np.append(columns, len(design.columns) + np.flatnonzero(indicators))
            parts.append(features[:, positions])
        weight = weights_of(rows)
        resp = np.ones((len(parts), rows.n_rows))
        miss = np.zeros_like(resp)
        for _ in range(ROUNDS + 1):
            for k, part in enumerate(parts):
                if resp[k].any():  # a group without rows keeps its model
                    model = Ridge(ALPHA).fit(part, context.targets, sample_weight=weight * resp[k])
                    error = context.targets - model.predict(part).reshape(rows.n_rows, -1)
                    miss[k] = np.sum(error**2, axis=1)
            again = one_hot(miss.argmin(axis=0), len(parts))
            if np.array_equal(again, resp):
                break
            resp = again
        return resp


def _columns(source: Any, group: Any, number: int) -> np.ndarray:
    """Return positions of a group's columns."""
    try:
        columns = column_indices(source, group)
    except (ValueError, IndexError, TypeError) as error:
        raise ValueError(
            f"FeatureGroups: groups[{number}]={group!r} selects no columns of X: {error} Give "
            "indices, a slice, a boolean mask, or column names of a data frame."
        ) from error
    if len(columns) == 0:
        raise ValueError(
            f"FeatureGroups: groups[{number}]={group!r} selects no columns of X. Give every group "
            "a column."
        )
    return columns
