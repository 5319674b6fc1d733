"""Where an expert answers, as a short list of rules from a shallow tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from sklearn.tree import DecisionTreeClassifier

from mixexp.inspection._conditions import Condition, Rule
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

    1. Fit trees of depth 1, 2, ... to "the expert answers this row".
    2. Take the shallowest whose F1 score is within 0.01 of the best; if no tree has a leaf in
       which the expert answers most rows, one with both classes weighted equally.
    3. Read the rules off its leaves, leaves of the same answer merged.

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
    fits = []
    for balanced in (None, "balanced"):
        for depth in range(1, max_depth + 1):
            tree = DecisionTreeClassifier(
                max_depth=depth,
                min_weight_fraction_leaf=0.0 if balanced else leaf,
                class_weight=balanced,
                random_state=0,
            ).fit(data.matrix, member, sample_weight=weight)
            predicted = tree.predict(data.matrix)
            both = float(weight[member & predicted].sum())
            score = 2 * both / float(weight[member].sum() + weight[predicted].sum())
            fits.append((score, tree))
        if max(score for score, _ in fits) > 0:
            break
    best = max(score for score, _ in fits)
    tree = next(tree for score, tree in fits if score >= best - GAIN)
    return _judged(rules_of(tree, columns, data), columns, member, weight)


def rules_of(tree: Any, columns: Sequence[Column], data: Encoded) -> list[dict]:
    """Return the conditions of each rule of a fitted tree, by position of the column."""
    nodes = tree.tree_
    positive = nodes.value[:, 0, 1] > nodes.value[:, 0, 0]

    def below(node: int) -> list[list[tuple]]:
        """Return the splits of all rules below a node; one without splits if all of it counts."""
        left, right = nodes.children_left[node], nodes.children_right[node]
        if left < 0:
            return [[]] if positive[node] else []
        sides = below(left), below(right)
        if all(side == [[]] for side in sides):
            return [[]]
        split = int(nodes.feature[node]), float(nodes.threshold[node])
        lost = bool(nodes.missing_go_to_left[node])
        return [[(*split, True, lost), *rest] for rest in sides[0]] + [
            [(*split, False, not lost), *rest] for rest in sides[1]
        ]

    return [_conditions(splits, columns, data) for splits in below(0)]


def _conditions(splits: list[tuple], columns: Sequence[Column], data: Encoded) -> dict:
    """Return one condition a column from the splits of a path."""
    found: dict[int, Condition] = {}
    for feature, threshold, left, missing in splits:
        j, code = data.origins[feature]
        whole = Condition(columns[j], data.distinct[j], 0, len(data.distinct[j]) - 1)
        before = found.get(j, whole)
        if code is None:
            rank = int(np.floor(threshold))
            first, last = (0, rank) if left else (rank + 1, before.last)
            found[j] = replace(
                before,
                first=max(before.first, first),
                last=min(before.last, last),
                missing=before.missing and missing,
            )
        elif left:  # the indicator is 0
            found[j] = replace(before, excluded=(*before.excluded, code))
        else:
            rank = int(np.searchsorted(data.distinct[j], code))
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
    return Region(
        rules,
        fidelity=float(weight[inside == member].sum() / weight.sum()),
        precision=float(weight[inside & member].sum() / weight[inside].sum()),
        coverage=float(weight[inside & member].sum() / own),
    )
