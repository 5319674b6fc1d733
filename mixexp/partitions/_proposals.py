"""Cheap proposals to split the rows of one expert in two.

Everything here is least squares of the scaled targets on the scaled features, whatever the
experts are: a proposal only has to be good enough for EM to continue from.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
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
    system : ndarray of shape (1 + p + q, n)
        [1, x, y] of p features and q targets, to which lines are fitted.
    n_targets : int
    weight : ndarray of shape (n,)
    no_variance : float
        Residual variance that counts as none.
    """

    system: np.ndarray
    n_targets: int
    weight: np.ndarray
    no_variance: float

    @classmethod
    def of(
        cls, features: np.ndarray, targets: np.ndarray, weight: np.ndarray, *, classes: bool
    ) -> Table:
        """Return the table of features (n, p) and targets (n, q)."""
        system = np.vstack([np.ones((1, len(weight))), features.T, targets.T])
        limit = NO_VARIANCE_CLASSES if classes else NO_VARIANCE
        return cls(system, targets.shape[1], weight, limit)

    def taken(self, ids: np.ndarray, weight: np.ndarray) -> Table:
        """Return some of the rows, with their weights under one expert."""
        system = self.system.take(ids, axis=1)
        return Table(system, self.n_targets, weight[ids], self.no_variance)

    @property
    def n_features(self) -> int:
        """The number p of features."""
        return len(self.system) - self.n_targets - 1

    @property
    def features(self) -> np.ndarray:
        """The features, (p, n)."""
        return self.system[1 : 1 + self.n_features]

    @property
    def targets(self) -> np.ndarray:
        """The targets, (q, n)."""
        return self.system[1 + self.n_features :]

    @cached_property
    def centred(self) -> np.ndarray:
        """The features less their weighted means, (p, n)."""
        middle = self.features @ self.weight / self.weight.sum()
        x: np.ndarray = self.features - middle[:, None]
        return x

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
    mass = float(weight.sum())
    share = mass / float(sample.weight.sum())  # the sample represents all rows
    error = _residual(sample)
    bent = (sample.centred * (sample.weight * error)) @ sample.centred.T  # residuals curve here
    columns = np.sort(np.argsort(-np.abs(bent).sum(axis=0), kind="stable")[:MOST_FEATURES])
    directions, thresholds = _borders(sample, bent, columns)
    regions = [directions @ table.features > thresholds[:, None]]
    clusters = _two_means(sample, table, rng)
    regions += [] if clusters is None else [clusters[None]]
    firsts = np.stack([error > 0, _turned(sample, error), _nearer(sample, rng)])
    lines = _two_lines(sample, table, firsts)
    tied = _most_frequent(sample, table)
    sides = np.concatenate([*regions, lines] + ([] if tied is None else [tied[None]]))
    gains, entropies = _gains(sample, sides.take(ids, axis=1), columns)
    n_regions = sum(map(len, regions))
    gains[n_regions:] -= entropies[n_regions:]
    own = sides @ weight
    least = min(table.n_features + 2.0, 0.25 * mass)
    fits = (own >= least) & (own <= mass - least)
    order = np.argsort(-np.where(fits, gains, -np.inf), kind="stable")[: np.count_nonzero(fits)]
    is_tied = np.arange(len(sides)) == (-1 if tied is None else len(sides) - 1)
    return [
        Half(share * float(gains[i]), sides[i], bool(is_tied[i]))
        for i in _different(sides, order, weight)
    ]


def _different(sides: np.ndarray, order: np.ndarray, weight: np.ndarray) -> list[int]:
    """Return sides (m, n) in this order without repetitions: several rules often find the same."""
    signs = np.where(sides, 1.0, -1.0)
    alike = np.abs((signs * weight) @ signs.T) >= (1 - 2 * SAME_HALVES) * weight.sum()
    kept: list[int] = []
    for i in order.tolist():
        if not alike[i, kept].any():
            kept.append(i)
    return kept


def _most_frequent(sample: Table, table: Table) -> np.ndarray | None:
    """Return which rows have the most frequent target; None if they are few, or for classes."""
    if sample.no_variance == NO_VARIANCE_CLASSES:
        return None
    values = sample.targets[:, np.lexsort(sample.targets)]
    starts = np.flatnonzero(np.append(True, np.any(values[:, 1:] != values[:, :-1], axis=0)))
    counts = np.diff(starts, append=values.shape[1])
    if counts.max() < sample.n_features + LEAST_TIED:
        return None
    most = values[:, starts[counts.argmax()], None]
    side: np.ndarray = np.all(table.targets == most, axis=0)
    return side


def merge_costs(table: Table, resp: np.ndarray) -> np.ndarray:
    """Return the loss in fit of gaussian lines when two experts are merged, (k, k)."""
    columns = np.arange(table.n_features)[:MOST_FEATURES]
    grams = _grams(table, resp * table.weight, columns)
    alone = _misfit(table, grams)
    cost = _misfit(table, grams[:, None] + grams) - alone[:, None] - alone
    cost[np.diag_indices(len(cost))] = np.inf
    return cost


def _grams(table: Table, weights: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the Gram matrices of [1, x, y] for weight rows (m, n)."""
    p, q = table.n_features, table.n_targets
    if len(columns) == p:
        gram = weighted_gram(weights, table.system, table.products)
        return unpack_symmetric(gram, len(table.system))
    system = table.system[np.concatenate([[0], 1 + columns, 1 + p + np.arange(q)])]
    return unpack_symmetric(weighted_gram(weights, system), len(system))


def _misfit(table: Table, grams: np.ndarray) -> np.ndarray:
    """Return ½ mass Σ log residual variance of lines, from Gram matrices (..., P, P) of [1, x, y].

    It is minus the log-likelihood of a gaussian line, up to a constant.
    """
    p = grams.shape[-1] - table.n_targets
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


@lru_cache(maxsize=PACKED_COLUMNS)
def _ridge(p: int) -> np.ndarray:
    ridge = np.diag(np.append(TINY_RIDGE, np.full(p - 1, RIDGE)))
    ridge.flags.writeable = False
    return ridge


def _lines(table: Table, weights: np.ndarray) -> np.ndarray:
    """Return coefficients (m, 1 + p, q) of lines fitted with weight rows (m, n)."""
    p = 1 + table.n_features
    grams = _grams(table, weights, np.arange(p - 1))
    return _solved(grams[:, :p, :p] + _ridge(p), grams[:, :p, p:])


def _residual(table: Table) -> np.ndarray:
    """Return the residuals of a line, or their first principal component if several, (n,)."""
    error = table.targets - _values(table, _lines(table, table.weight[None]))[0]
    if len(error) == 1:
        return error[0]
    _, axes = np.linalg.eigh((error * table.weight) @ error.T)
    return axes[:, -1] @ error


def _values(table: Table, lines: np.ndarray) -> np.ndarray:
    """Return the predictions of lines (m, 1 + p, q), (m, q, n)."""
    m, p, q = lines.shape
    values = lines.transpose(0, 2, 1).reshape(-1, p) @ table.system[:p]
    return values.reshape(m, q, -1)


def _turned(table: Table, error: np.ndarray) -> np.ndarray:
    """Return the sides of rows if a line is turned about its middle.

    The turn is in the direction of x in which residuals grow most, the leading eigenvector of
    Σ w e² x xᵀ; for crossing lines this is the difference of their slopes.
    """
    _, axes = np.linalg.eigh((table.centred * (table.weight * error**2)) @ table.centred.T)
    side: np.ndarray = error * (axes[:, -1] @ table.centred) > 0
    return side


def _borders(table: Table, bent: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the two best borders in different directions: directions (2, p) and thresholds (2,).

    Directions are the axes and those in which the residuals curve most: leading eigenvectors of
    Σ w e x xᵀ (principal Hessian directions, Li 1992). Thresholds are the edges of bins; the Gram
    matrices of the rows up to each are one product. There may be fewer.
    """
    axes = np.argsort(-np.abs(bent).sum(axis=0), kind="stable")[:MOST_AXES]
    values, vectors = np.linalg.eigh(bent)
    curved = vectors.T[np.argsort(-np.abs(values), kind="stable")[:N_CURVED]]
    directions = np.vstack([np.eye(len(bent))[axes], curved])
    along = directions @ table.features
    edges = _inner_edges(along, table.weight)
    weights = np.empty((1 + edges.size, len(table.weight)))
    weights[0] = table.weight
    up_to = np.less_equal(along[:, None], edges[:, :, None]).reshape(edges.size, -1)
    np.multiply(up_to, table.weight, out=weights[1:])
    grams = _grams(table, weights, columns)
    whole, parts = grams[0], grams[1:]
    misfit = _misfit(table, np.concatenate([parts, whole - parts])).reshape(2, *edges.shape)
    misfit = misfit.sum(axis=0)
    mass = parts[:, 0, 0].reshape(edges.shape)
    least = min(len(columns) + 2.0, 0.25 * table.weight.sum())
    misfit[(mass < least) | (whole[0, 0] - mass < least)] = np.inf
    best = misfit.argmin(axis=1)
    lowest = misfit.min(axis=1)
    order = np.argsort(lowest, kind="stable")[:2]
    order = order[np.isfinite(lowest[order])]
    return directions[order], edges[order, best[order]]


def _inner_edges(along: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the inner edges of `BINS` bins of about equal weight of each row, (m, BINS − 1)."""
    order = np.argsort(along, axis=1)  # the order of equal values does not matter
    passed = np.cumsum(weight[order], axis=1)
    wanted = passed[:, -1:] * (np.arange(1, BINS) / BINS)
    at = np.stack([np.searchsorted(*each) for each in zip(passed, wanted, strict=True)])
    places = np.take_along_axis(order, np.minimum(at, along.shape[1] - 1), axis=1)
    return np.take_along_axis(along, places, axis=1)


def _drawn(weight: np.ndarray, rng: np.random.Generator) -> int:
    """Return the number of a row drawn with probabilities in proportion to weights (n,)."""
    passed = np.cumsum(weight)
    drawn = np.searchsorted(passed, rng.random() * passed[-1], side="right")
    return min(int(drawn), int(np.flatnonzero(weight)[-1]))


def _two_means(sample: Table, table: Table, rng: np.random.Generator) -> np.ndarray | None:
    """Return each row's cluster by 2-means of X, seeded by k-means++; None if there is one only."""
    x, weight = sample.features, sample.weight
    low = x[:, _drawn(weight, rng)]
    distance = weight * np.sum((x - low[:, None]) ** 2, axis=0)
    if not distance.sum() > 0:
        return None
    high = x[:, _drawn(distance, rng)]
    columns = sample.system[: 1 + len(x)] * weight  # of weights and weighted features
    whole = columns.sum(axis=1)
    last = None
    for _ in range(MEANS_ROUNDS):
        side = _beyond_middle(x, low, high)
        if last is not None and np.array_equal(side, last):
            break
        if side.all() or not side.any():  # one row far from all others
            return None
        last, upper = side, columns @ side
        lower = whole - upper
        high, low = upper[1:] / upper[0], lower[1:] / lower[0]
    return _beyond_middle(table.features, low, high)


def _beyond_middle(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return which rows of x (p, n) are nearer to `high` than to `low`."""
    side: np.ndarray = (high - low) @ x > 0.5 * (high @ high - low @ low)
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
    miss = _values(table, lines)
    miss -= table.targets
    np.square(miss, out=miss)
    miss = miss.sum(axis=1)
    return miss[1::2] < miss[::2]


def _nearer(table: Table, rng: np.random.Generator) -> np.ndarray:
    """Return which of two random rows each row is nearer to, in (X, y)."""
    points = table.system[1:]
    first, second = (points[:, _drawn(table.weight, rng)] for _ in range(2))
    return _beyond_middle(points, first, second)


def _gains(table: Table, sides: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the gain of two lines over one per division (m, n), and its entropy in nats."""
    grams = _grams(table, np.vstack([sides, np.ones((1, sides.shape[1]))]) * table.weight, columns)
    parts, whole = grams[:-1], grams[-1:]
    gains = _misfit(table, whole) - _misfit(table, parts) - _misfit(table, whole - parts)
    total = table.weight.sum()
    share = np.clip(parts[:, 0, 0] / total, 1e-12, 1 - 1e-12)
    return gains, -total * (share * np.log(share) + (1 - share) * np.log1p(-share))
