"""Where an expert answers, as a short list of rules from a shallow tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from sklearn.tree import DecisionTreeClassifier

from mixexp.inspection._conditions import Condition, Rule, rounded_rank
from mixexp.inspection._table_columns import Column

__all__ = ["Encoded", "Region", "encoded", "find_region"]

#: A leaf holds at least this share of the weight, or half of a smaller region.
LEAF_SHARE = 0.005

#: A deeper tree is taken only if it raises the F1 score of the region by more than this.
GAIN = 0.01

#: Most categories of a column that a rule may name, the most frequent ones.
MOST_CATEGORIES = 30


@dataclass(frozen=True)
class Region:
    """Rules for the rows of an expert: it answers where one of them holds.

    Attributes
    ----------
    rules : list of Rule
        By falling coverage.
    fidelity : float
        Share of all rows on which rules and mixture agree whether the expert answers.
    precision : float
        Share of the rows that fulfil a rule in which the expert answers.
    coverage : float
        Share of the expert's rows that fulfil a rule.
    """

    rules: list[Rule]
    fidelity: float
    precision: float
    coverage: float

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and coverage, 0 if both are."""
        total = self.precision + self.coverage
        return 2 * self.precision * self.coverage / total if total else 0.0

    def __str__(self) -> str:
        return "; or ".join(map(str, self.rules))


@dataclass
class Encoded:
    """Columns for a tree: ranks of numbers, which single precision holds, and indicators."""

    matrix: np.ndarray
    #: For each column of the matrix: position among the columns, and the code of a category.
    origins: list[tuple[int, int | None]]
    distinct: list[np.ndarray] = field(default_factory=list)


def encoded(columns: Sequence[Column], weight: np.ndarray) -> Encoded:
    """Return columns as a matrix for a tree."""
    made: list[np.ndarray] = []
    found = Encoded(np.empty(0), [])
    for j, column in enumerate(columns):
        known = ~np.isnan(column.values)
        distinct, ranks = np.unique(column.values[known], return_inverse=True)
        found.distinct.append(distinct)
        if column.labels is None:
            values = np.full(len(known), np.nan)
            values[known] = ranks
            made.append(values)
            found.origins.append((j, None))
            continue
        mass = np.bincount(ranks, weight, len(distinct))
        for code in np.argsort(-mass, kind="stable")[:MOST_CATEGORIES]:
            made.append(column.values == distinct[code])
            found.origins.append((j, int(distinct[code])))
    found.matrix = np.column_stack(made).astype(np.float32)
    return found


def find_region(
    columns: Sequence[Column],
    data: Encoded,
    member: np.ndarray,
    weight: np.ndarray,
    max_depth: int,
) -> Region:
    """Return rules for the rows of an expert.

    1. Fit a tree to "the expert answers this row"; cut at depth 1, 2, ... it is the tree of that
       depth, as trees grow greedily.
    2. Read the rules off its leaves, leaves of the same answer merged.
    3. Take the smallest depth whose F1 score is within 0.01 of the best. If there is no leaf in
       which the expert answers most rows, weight its rows and the others equally.

    Parameters
    ----------
    columns : sequence of Column
    data : Encoded
        The same columns.
    member : ndarray of bool of shape (n,)
        Whether the expert answers the row; some are, and some are not.
    weight : ndarray of shape (n,)
    max_depth : int
    """
    share = float(weight[member].sum() / weight.sum())
    leaf = min(LEAF_SHARE, share / 2, (1 - share) / 2)
    regions: list[Region] = []
    for balanced in (None, "balanced"):
        tree = DecisionTreeClassifier(
            max_depth=max_depth,
            min_weight_fraction_leaf=0.0 if balanced else leaf,
            class_weight=balanced,
            random_state=0,
        ).fit(data.matrix, member, sample_weight=weight)
        found = [rules_of(tree, columns, data, depth) for depth in range(1, max_depth + 1)]
        regions = [_judged(rules, columns, member, weight) for rules in found if rules]
        if regions:
            break
    best = max(region.f1 for region in regions)
    return next(region for region in regions if region.f1 >= best - GAIN)


def rules_of(tree: Any, columns: Sequence[Column], data: Encoded, max_depth: int) -> list[dict]:
    """Return the conditions of each rule of a fitted tree, by position of the column."""
    nodes = tree.tree_
    positive = nodes.value[:, 0, 1] > nodes.value[:, 0, 0]

    def below(node: int, depth: int) -> list[list[tuple]]:
        """Return the splits of all rules below a node; one without splits if all of it counts."""
        left, right = nodes.children_left[node], nodes.children_right[node]
        if left < 0 or depth == max_depth:
            return [[]] if positive[node] else []
        sides = below(left, depth + 1), below(right, depth + 1)
        if all(side == [[]] for side in sides):
            return [[]]
        split = int(nodes.feature[node]), float(nodes.threshold[node])
        lost = bool(nodes.missing_go_to_left[node])
        return [[(*split, True, lost), *rest] for rest in sides[0]] + [
            [(*split, False, not lost), *rest] for rest in sides[1]
        ]

    return [_conditions(splits, columns, data) for splits in below(0, 0)]


def _conditions(splits: list[tuple], columns: Sequence[Column], data: Encoded) -> dict:
    """Return one condition a column from the splits of a path."""
    found: dict[int, Condition] = {}
    for feature, threshold, left, missing in splits:
        j, code = data.origins[feature]
        distinct = data.distinct[j]
        before = found.get(j, Condition(columns[j], distinct, 0, len(distinct) - 1))
        if code is None:
            if threshold == np.inf:  # known or missing
                found[j] = replace(before, missing=before.missing and missing)
                if not left:
                    found[j] = replace(found[j], first=len(distinct))
                continue
            rank = int(np.floor(threshold))
            near = rounded_rank(distinct, rank)
            found[j] = replace(before, missing=before.missing and missing).cut(near, left)
            if found[j].first > found[j].last:  # two borders were rounded to one
                found[j] = replace(before, missing=before.missing and missing).cut(rank, left)
        elif left:  # the indicator is 0
            found[j] = replace(before, excluded=(*before.excluded, code))
        else:
            rank = int(np.searchsorted(distinct, code))
            found[j] = replace(before, first=rank, last=rank, excluded=())
    return found


def _shortened(found: list[dict], columns: Sequence[Column]) -> list[dict]:
    """Return rules without the conditions that change nothing, given the other rules.

    The rows of a leaf fulfil conditions that only tell it from leaves of the same answer.
    """
    masks = [_mask(rule, columns) for rule in found]
    union = np.logical_or.reduce(masks)
    for i, rule in enumerate(found):
        others = np.logical_or.reduce([np.zeros_like(union), *masks[:i], *masks[i + 1 :]])
        for j in list(rule):
            shorter = {column: kept for column, kept in rule.items() if column != j}
            if shorter and np.array_equal(others | _mask(shorter, columns), union):
                rule = shorter
        found[i], masks[i] = rule, _mask(rule, columns)
    return found


def _mask(rule: dict, columns: Sequence[Column]) -> np.ndarray:
    return Rule(tuple(rule.values())).holds(columns, list(rule))


def _judged(
    found: list[dict], columns: Sequence[Column], member: np.ndarray, weight: np.ndarray
) -> Region:
    """Return the rules as a region, with how well they describe it."""
    own, rules = float(weight[member].sum()), []
    inside = np.zeros(len(member), dtype=bool)
    for conditions in _shortened(found, columns):
        mask = _mask(conditions, columns)
        rules.append(Rule(tuple(conditions.values()), float(weight[mask & member].sum() / own)))
        inside |= mask
    rules.sort(key=lambda rule: -rule.coverage)
    both = float(weight[inside & member].sum())
    return Region(
        rules,
        fidelity=float(weight[inside == member].sum() / weight.sum()),
        precision=both / float(weight[inside].sum()) if both else 0.0,
        coverage=both / own,
    )
