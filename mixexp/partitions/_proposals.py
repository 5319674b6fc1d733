"""Cheap proposals to split the rows of one expert in two.

Everything here is least squares of the scaled targets on the scaled features, whatever the
experts are: a proposal only has to be good enough for EM to continue from.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from mixexp._numerics import PACKED_COLUMNS, column_products, unpack_symmetric, weighted_gram

__all__ = ["Half", "Table", "halves", "merge_costs"]

#: Most rows of an expert to use: the first ones, in the order of hashes.
MOST_ROWS = 2048

#: Rows with less than this share of the expert's largest weight are ignored.
LEAST_WEIGHT = 0.05

#: Bins along a direction; their edges are the candidate borders.
BINS = 8

#: Most axes and directions of curvature to try, and most features of lines.
MOST_AXES, N_CURVED, MOST_FEATURES = 16, 2, 40

#: Penalty of a line's slopes (features have unit variance) and of its intercept.
RIDGE, TINY_RIDGE = 1.0, 1e-9

#: Residual variance that counts as none, in units of the variance of the target. It is larger for
#: indicators of classes, which are bounded: a pure region must not count for much.
NO_VARIANCE, NO_VARIANCE_CLASSES = 1e-6, 1e-2

#: Rows with the same target are a proposal if they exceed the features in number by this.
LEAST_TIED = 3

#: Halves count as the same if at most this share of the weight is on another side.
SAME_HALVES = 0.01

#: Rounds of reassigning rows to the nearer of two lines, and most rounds of 2-means.
ROUNDS, MEANS_ROUNDS = 5, 20


@dataclass(frozen=True)
class Table:
    """The rows from which proposals are made.

    Attributes
    ----------
    features : ndarray of shape (n, p)
    targets : ndarray of shape (n, q)
    weight : ndarray of shape (n,)
    no_variance : float
        Residual variance that counts as none.
    """

    features: np.ndarray
    targets: np.ndarray
    weight: np.ndarray
    no_variance: float

    @classmethod
    def of(
        cls, features: np.ndarray, targets: np.ndarray, weight: np.ndarray, *, classes: bool
    ) -> Table:
        """Return the table with the limit that suits the kind of target."""
        return cls(features, targets, weight, NO_VARIANCE_CLASSES if classes else NO_VARIANCE)

    def taken(self, ids: np.ndarray, weight: np.ndarray) -> Table:
        """Return some of the rows, with their weights under one expert."""
        return Table(self.features[ids], self.targets[ids], weight[ids], self.no_variance)

    @cached_property
    def system(self) -> np.ndarray:
        """[1, x, y], component-major (1 + p + q, n), to which lines are fitted."""
        ones = np.ones((1, len(self.weight)))
        return np.vstack([ones, self.features.T, self.targets.T])

    @cached_property
    def products(self) -> np.ndarray | None:
        """The products of the columns of the system; None if it is wide."""
        return column_products(self.system) if len(self.system) <= PACKED_COLUMNS else None


class Half(NamedTuple):
    """A proposal: its expected gain, and a mask (n,) of the rows that go to the new expert.

    `tied` tells whether these rows share the same target.
    """

    gain: float
    side: np.ndarray
    tied: bool = False


def halves(table: Table, resp: np.ndarray, rng: np.random.Generator) -> list[Half]:
    """Return different proposals to split the rows that one expert has by `resp` (n,), best first.

    1. Borders across a single direction, with a line on either side.
    2. 2-means of X.
    3. Two lines, each row with the nearer one, starting from the sign of the residuals of one line,
       from the sign of their product with the direction in which they grow, and from two random
       rows.
    4. The rows with the most frequent target, if they outnumber the coefficients of a line: a
       machine that is off, days without rain.

    The gain is the log-likelihood gain of gaussian lines, minus the entropy of the choice between
    the halves if they overlap in X.
    """
    weight = resp * table.weight
    ids = np.flatnonzero(weight > LEAST_WEIGHT * weight.max())[:MOST_ROWS]
    if len(ids) < 2:
        return []
    sample = table.taken(ids, weight)
    share = float(weight.sum() / sample.weight.sum())  # the sample represents all rows
    error = _residual(sample)
    bent = _bent(sample, error)
    columns = np.sort(np.argsort(-np.abs(bent).sum(axis=0), kind="stable")[:MOST_FEATURES])
    sides = [
        table.features @ direction > threshold
        for direction, threshold in _borders(sample, bent, columns)
    ]
    clusters = _two_means(sample, table, rng)
    sides += [] if clusters is None else [clusters]
    n_regions = len(sides)
    firsts = np.stack([error > 0, _turned(sample, error), _nearer(sample, rng)])
    sides += list(_two_lines(sample, table, firsts))
    tied = _most_frequent(sample, table)
    sides += [] if tied is None else [tied]
    gains, entropies = _gains(sample, np.array([side[ids] for side in sides]), columns)
    gains[n_regions:] -= entropies[n_regions:]
    least = min(table.features.shape[1] + 2.0, 0.25 * weight.sum())
    proposals = [
        Half(share * float(gain), side, side is tied)
        for gain, side in zip(gains, sides, strict=True)
        if least <= weight @ side <= weight.sum() - least
    ]
    return _different(sorted(proposals, key=lambda half: -half.gain), weight)


def _different(proposals: list[Half], weight: np.ndarray) -> list[Half]:
    """Return proposals without repetitions: several rules often find the same halves."""
    kept: list[Half] = []
    for half in proposals:
        moved = [weight @ (half.side != other.side) / weight.sum() for other in kept]
        if not any(min(share, 1 - share) <= SAME_HALVES for share in moved):
            kept.append(half)
    return kept


def _most_frequent(sample: Table, table: Table) -> np.ndarray | None:
    """Return which rows have the most frequent target; None if they are few, or for classes."""
    if sample.no_variance == NO_VARIANCE_CLASSES:
        return None
    order = np.lexsort(sample.targets.T)
    values = sample.targets[order]
    starts = np.flatnonzero(np.append(True, np.any(np.diff(values, axis=0) != 0, axis=1)))
    counts = np.diff(starts, append=len(values))
    if counts.max() < sample.features.shape[1] + LEAST_TIED:
        return None
    side: np.ndarray = np.all(table.targets == values[starts[counts.argmax()]], axis=1)
    return side


def merge_costs(table: Table, resp: np.ndarray) -> np.ndarray:
    """Return the loss in fit of gaussian lines when two experts are merged, (k, k)."""
    columns = np.arange(table.features.shape[1])[:MOST_FEATURES]
    grams = _grams(table, resp * table.weight, columns)
    alone = _misfit(table, grams)
    cost = _misfit(table, grams[:, None] + grams) - alone[:, None] - alone
    cost[np.diag_indices(len(cost))] = np.inf
    return cost


def _grams(table: Table, weights: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the Gram matrices of [1, x, y] for weight rows (m, n)."""
    p, q = table.features.shape[1], table.targets.shape[1]
    if len(columns) == p:
        gram = weighted_gram(weights, table.system, table.products)
        return unpack_symmetric(gram, len(table.system))
    system = table.system[np.concatenate([[0], 1 + columns, 1 + p + np.arange(q)])]
    return unpack_symmetric(weighted_gram(weights, system), len(system))


def _misfit(table: Table, grams: np.ndarray) -> np.ndarray:
    """Return ½ mass Σ log residual variance of lines, from Gram matrices (..., P, P) of [1, x, y].

    It is minus the log-likelihood of a gaussian line, up to a constant.
    """
    p = grams.shape[-1] - table.targets.shape[1]
    inner, cross = grams[..., :p, :p], grams[..., :p, p:]
    coef = _solved(inner + _ridge(p), cross)
    squares = np.einsum("...qq->...q", grams[..., p:, p:])
    squares = squares - np.einsum("...pq,...pq->...q", coef, 2 * cross - inner @ coef)
    mass = grams[..., 0, 0]
    variance = np.maximum(squares, 0.0) / np.maximum(mass, np.finfo(float).tiny)[..., None]
    return 0.5 * mass * np.log(variance + table.no_variance).sum(axis=-1)


def _solved(inner: np.ndarray, cross: np.ndarray) -> np.ndarray:
    """Return the coefficients of lines from Gram matrices.

    Where weights span many decades, rounding in their differences may leave a matrix singular.
    """
    try:
        coef: np.ndarray = np.linalg.solve(inner, cross)
    except np.linalg.LinAlgError:
        coef = np.linalg.pinv(inner, hermitian=True) @ cross
    return coef


def _ridge(p: int) -> np.ndarray:
    return np.diag(np.append(TINY_RIDGE, np.full(p - 1, RIDGE)))


def _lines(table: Table, weights: np.ndarray) -> np.ndarray:
    """Return coefficients (m, 1 + p, q) of lines fitted with weight rows (m, n)."""
    p = 1 + table.features.shape[1]
    grams = _grams(table, weights, np.arange(p - 1))
    return _solved(grams[:, :p, :p] + _ridge(p), grams[:, :p, p:])


def _residual(table: Table) -> np.ndarray:
    """Return the residuals of a line, or their first principal component if several, (n,)."""
    error = table.targets - _values(table, _lines(table, table.weight[None]))[0]
    if error.shape[1] == 1:
        return error[:, 0]
    _, axes = np.linalg.eigh((error * table.weight[:, None]).T @ error)
    return error @ axes[:, -1]


def _values(table: Table, lines: np.ndarray) -> np.ndarray:
    """Return the predictions of lines, (m, n, q)."""
    return table.features @ lines[:, 1:] + lines[:, :1]


def _bent(table: Table, error: np.ndarray) -> np.ndarray:
    """Return Σ w e x xᵀ of centred x, which shows the features in which the residuals curve."""
    x = table.features - table.weight @ table.features / table.weight.sum()
    return (x * (table.weight * error)[:, None]).T @ x


def _turned(table: Table, error: np.ndarray) -> np.ndarray:
    """Return the sides of rows if a line is turned about its middle.

    The turn is in the direction of x in which residuals grow most, the leading eigenvector of
    Σ w e² x xᵀ; for crossing lines this is the difference of their slopes.
    """
    x = table.features - table.weight @ table.features / table.weight.sum()
    _, axes = np.linalg.eigh((x * (table.weight * error**2)[:, None]).T @ x)
    side: np.ndarray = error * (x @ axes[:, -1]) > 0
    return side


def _borders(table: Table, bent: np.ndarray, columns: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """Return the two best borders in different directions: direction (p,) and threshold.

    Directions are the axes and those in which the residuals curve most: leading eigenvectors of
    Σ w e x xᵀ (principal Hessian directions, Li 1992). Thresholds are the edges of bins; the Gram
    matrices of all bins are one product.
    """
    axes = np.argsort(-np.abs(bent).sum(axis=0), kind="stable")[:MOST_AXES]
    values, vectors = np.linalg.eigh(bent)
    curved = vectors.T[np.argsort(-np.abs(values), kind="stable")[:N_CURVED]]
    directions = np.vstack([np.eye(len(bent))[axes], curved])
    along = directions @ table.features.T
    edges = np.stack([_inner_edges(values, table.weight) for values in along])
    bins = np.sum(along[:, None] > edges[:, :, None], axis=1)
    inside = np.equal(bins[:, None], np.arange(BINS)[:, None]) * table.weight
    grams = _grams(table, inside.reshape(-1, len(table.weight)), columns)
    below = np.cumsum(grams.reshape(len(directions), BINS, *grams.shape[1:]), axis=1)
    whole, below = below[:, -1:], below[:, :-1]
    misfit = _misfit(table, below) + _misfit(table, whole - below)
    mass = below[..., 0, 0]
    least = min(len(columns) + 2.0, 0.25 * table.weight.sum())
    misfit[(mass < least) | (whole[..., 0, 0] - mass < least)] = np.inf
    best = misfit.argmin(axis=1)
    order = np.argsort(misfit.min(axis=1), kind="stable")[:2]
    return [(directions[i], edges[i, best[i]]) for i in order if np.isfinite(misfit[i, best[i]])]


def _inner_edges(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the inner edges of `BINS` bins of about equal weight, (BINS − 1,)."""
    order = np.argsort(values, kind="stable")
    passed = np.cumsum(weight[order])
    at = np.searchsorted(passed, passed[-1] * np.arange(1, BINS) / BINS)
    return values[order][np.minimum(at, len(values) - 1)]


def _two_means(sample: Table, table: Table, rng: np.random.Generator) -> np.ndarray | None:
    """Return each row's cluster by 2-means of X, seeded by k-means++; None if there is one only."""
    x, weight = sample.features, sample.weight
    low = x[rng.choice(len(x), p=weight / weight.sum())]
    distance = weight * np.sum((x - low) ** 2, axis=1)
    if not distance.sum() > 0:
        return None
    high = x[rng.choice(len(x), p=distance / distance.sum())]
    last = None
    for _ in range(MEANS_ROUNDS):
        side = _beyond_middle(x, low, high)
        if last is not None and np.array_equal(side, last):
            break
        last, upper = side, weight * side
        lower = weight - upper
        if not (upper.sum() > 0 and lower.sum() > 0):  # one row far from all others
            return None
        high, low = upper @ x / upper.sum(), lower @ x / lower.sum()
    return _beyond_middle(table.features, low, high)


def _beyond_middle(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return which rows are nearer to `high` than to `low`."""
    side: np.ndarray = x @ (high - low) > 0.5 * (high @ high - low @ low)
    return side


def _two_lines(sample: Table, table: Table, sides: np.ndarray) -> np.ndarray:
    """Return which of two lines is nearer to each row, after refitting them in rounds.

    For several first divisions (m, n) at once.
    """
    for _ in range(ROUNDS):
        halves_of_each = np.stack([~sides, sides], axis=1).reshape(-1, sides.shape[1])
        lines = _lines(sample, sample.weight * halves_of_each)
        again = _second_nearer(sample, lines)
        if np.array_equal(again, sides):
            break
        sides = again
    return _second_nearer(table, lines)


def _second_nearer(table: Table, lines: np.ndarray) -> np.ndarray:
    """Return which of the two lines of each pair (2 m, 1 + p, q) is nearer to each row, (m, n)."""
    miss = np.sum((table.targets - _values(table, lines)) ** 2, axis=2)
    return miss[1::2] < miss[::2]


def _nearer(table: Table, rng: np.random.Generator) -> np.ndarray:
    """Return which of two random rows each row is nearer to, in (X, y)."""
    points = np.hstack([table.features, table.targets])
    chosen = rng.choice(len(points), 2, p=table.weight / table.weight.sum())
    distance = [np.sum((points - points[i]) ** 2, axis=1) for i in chosen]
    return distance[1] < distance[0]


def _gains(table: Table, sides: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the gain of two lines over one per division (m, n), and its entropy in nats."""
    grams = _grams(table, np.vstack([sides, np.ones((1, sides.shape[1]))]) * table.weight, columns)
    parts, whole = grams[:-1], grams[-1:]
    gains = _misfit(table, whole) - _misfit(table, parts) - _misfit(table, whole - parts)
    total = table.weight.sum()
    share = np.clip(parts[:, 0, 0] / total, 1e-12, 1 - 1e-12)
    return gains, -total * (share * np.log(share) + (1 - share) * np.log1p(-share))
