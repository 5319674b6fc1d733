"""Growing: experts are split one after another until there are enough."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from sklearn.base import BaseEstimator

from mixexp.partitions._clusters import RandomStart
from mixexp.partitions._labels import weights_of
from mixexp.partitions._proposals import Half, Table, halves, merge_costs
from mixexp.protocols import ShortRun, StartContext

__all__ = ["Split", "Stage", "grow"]

#: EM iterations after which proposals are compared, and those of the best proposal in all.
SCREEN_ITER, GROW_ITER = 2, 9

#: EM iterations after several experts were split at once.
MANY_ITER = 6

#: Most promising proposals to try, and additional ones for the worst explained expert.
N_TRIED, N_WORST = 2, 2

#: Pairs of experts to try merging per exchange, and most exchanges once all experts are there.
N_MERGED, LAST_EXCHANGES = 2, 2

#: Experts grow one by one up to this number, then by half at a time: proposals for every expert at
#: every step would take K² fits, and 200 experts took more than an hour.
MOST_SINGLY = 16

#: Experts grow on the first rows: at least so many, and so many for each of their coefficients.
GROWN_ROWS, ROWS_PER_COEFFICIENT = 2048, 20

#: Least gain of an exchange, relative to max(1, |bound|).
LEAST_GAIN = 1e-4


class Proposal(NamedTuple):
    """A split of one expert: the rows that the new expert would get."""

    expert: int
    half: Half


class Stage(NamedTuple):
    """A mixture during growth: the end of a short run, its `resp` (k, n) and lower bound."""

    n_experts: int
    run: ShortRun

    @property
    def resp(self) -> np.ndarray:
        """Responsibilities (k, n)."""
        return self.run.resp

    @property
    def bound(self) -> float:
        """The lower bound."""
        return self.run.bound


@dataclass
class Divided:
    """A mixture during growth, and the halves of its experts, which are found when first needed."""

    table: Table
    run: ShortRun
    rng: np.random.Generator
    found: dict[int, list[Half]] = field(default_factory=dict)

    def halves(self, expert: int) -> list[Half]:
        """Return proposals for the halves of an expert, best first."""
        if expert not in self.found:
            self.found[expert] = halves(self.table, self.run.resp[expert], self.rng)
        return self.found[expert]


def grow(
    context: StartContext, n_experts: int, rng: np.random.Generator, stops: Sequence[int] = ()
) -> Iterator[Stage]:
    """Yield a mixture of one expert, of two, and so on up to `n_experts`.

    1. Propose halves for every expert. Keep the most promising ones, and those of the worst
       explained expert.
    2. Give each of them a few EM iterations; go on with the best.
    3. Exchange: merge two experts that agree and split another, if that promises to raise the
       bound, and does. Repeated a few times once all experts are there.
    4. Above 16 experts, split many at once, those with the most promising proposals, without
       exchanges, but no more than make one of the numbers in `stops`.

    Ends early, with fewer experts, if none can be split.
    """
    rows = context.rows
    classes = rows.y.ndim == 1
    table = Table.of(context.features, context.targets, weights_of(rows), classes=classes)
    run = context.short_run(np.ones((1, rows.n_rows)), 1)
    yield Stage(1, run)
    divided = Divided(table, run, rng)
    for k in range(2, min(n_experts, MOST_SINGLY) + 1):
        found = [divided.halves(expert) for expert in range(k - 1)]
        proposals = _proposals(table, run, found)
        if not proposals:
            return
        run = context.best_run(_with_halves(run.resp, proposals), SCREEN_ITER, GROW_ITER)
        divided = Divided(table, run, rng)
        for _ in range(LAST_EXCHANGES if k == n_experts else 1):
            better = _exchanged(context, divided)
            if better is None:
                break
            run, divided = better, Divided(table, better, rng)
        yield Stage(k, run)
    while len(run.resp) < n_experts:
        most = min((k for k in stops if k > len(run.resp)), default=n_experts)
        resp = _many_more(table, run.resp, most, rng)
        if len(resp) == len(run.resp):
            return
        run = context.short_run(resp, MANY_ITER)
        yield Stage(len(resp), run)


def _many_more(
    table: Table, resp: np.ndarray, n_experts: int, rng: np.random.Generator
) -> np.ndarray:
    """Return responsibilities in which many experts are split, each by its best proposal."""
    halved = [(k, halves(table, resp[k], rng)[:1]) for k in range(len(resp))]
    best = [Proposal(k, half) for k, first in halved for half in first]
    best.sort(key=lambda proposal: -proposal.half.gain)
    for proposal in best[: min(len(resp) // 2, n_experts - len(resp))]:
        resp = _with_half(resp, *proposal)
    return resp


def _proposals(
    table: Table, run: ShortRun, found: list[list[Half]], least: float = -np.inf
) -> list[Proposal]:
    """Return the proposals to try: the most promising, and the best for the worst explained expert.

    `found` has the halves of each expert. Empty if no proposal promises more than `least`.
    """
    proposals = [Proposal(k, half) for k, each in enumerate(found) for half in each]
    proposals.sort(key=lambda p: -p.half.gain)
    if not proposals or proposals[0].half.gain <= least:
        return []
    excess = _excess(table, run)
    worst = max((p.expert for p in proposals), key=lambda k: excess[k])
    tied = [p for p in proposals if p.half.tied][:1]
    proposals = [p for p in proposals if not p.half.tied]
    first = proposals[:N_TRIED] + tied
    return first + [p for p in proposals[N_TRIED:] if p.expert == worst][:N_WORST]


def _excess(table: Table, run: ShortRun) -> np.ndarray:
    """Return the excess loss of each expert's rows over the best expert's, (k,)."""
    mass = run.resp @ table.weight
    loss = -(run.resp @ (table.weight * run.log_density))
    mean = loss / np.maximum(mass, np.finfo(float).tiny)
    excess: np.ndarray = mass * (mean - mean[mass > 0].min())
    return excess


def _with_half(resp: np.ndarray, expert: int, half: Half) -> np.ndarray:
    """Return responsibilities in which one expert's rows on one side go to a new expert."""
    grown = np.vstack([resp, resp[expert] * half.side])
    grown[expert] *= ~half.side
    return grown


def _with_halves(resp: np.ndarray, proposals: list[Proposal]) -> list[np.ndarray]:
    return [_with_half(resp, *proposal) for proposal in proposals]


def _exchanged(context: StartContext, divided: Divided) -> ShortRun | None:
    """Return a better run with two experts merged and another one split, or None."""
    run, table = divided.run, divided.table
    k = len(run.resp)
    if k < 3:
        return None
    costs = merge_costs(table, run.resp)
    first, second = np.triu_indices(k, 1)
    for pair in np.argsort(costs[first, second], kind="stable")[:N_MERGED]:
        i, j = int(first[pair]), int(second[pair])
        merged = np.delete(run.resp, j, axis=0)
        merged[i] += run.resp[j]
        found = [[] if e == i else divided.halves(e) for e in range(k) if e != j]
        proposals = _proposals(table, run._replace(resp=merged), found, least=costs[i, j])
        if proposals:
            least = run.bound + LEAST_GAIN * max(1.0, abs(run.bound))
            starts = _with_halves(merged, proposals)
            better = context.best_run(starts, SCREEN_ITER, GROW_ITER, least)
            gained = better.bound > least
            if gained and not better.flagged:
                return better
    return None


def _grown_rows(context: StartContext) -> StartContext:
    """Return the context of the rows on which experts grow.

    Wide rows are known to starts by a few principal scores, and no sample of them is large beside
    their columns: each short run then costs as much as a good part of the long one.
    """
    n_features = context.features.shape[1]
    if context.rows.X.shape[1] > n_features:
        return context.first_rows(GROWN_ROWS)
    size = context.n_experts * (n_features + 1) * context.targets.shape[1]
    return context.first_rows(max(GROWN_ROWS, ROWS_PER_COEFFICIENT * size))


class Split(BaseEstimator):
    """Growing: start from one expert, and repeatedly split the one that explains its rows worst.

    Proposals for the halves are borders across single directions, 2-means of X, and pairs of
    lines; each is followed by a few EM iterations of all experts, and the best is kept. Two experts
    that agree are merged, and another is split in exchange, if that raises the lower bound. Finds
    small regions, which starts that place all experts at once tend to miss. Costs about as much as
    ten clusterwise starts.

    Attributes
    ----------
    random : bool
        False: the best proposal is taken each time, and other seeds give nearly the same.

    References
    ----------
    Ueda, Nakano, Ghahramani & Hinton (2000), SMEM algorithm for mixture models, Neural
    Computation 12: merging two experts and splitting another. Li (1992), On principal Hessian
    directions for data visualization and dimension reduction, JASA 87.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> X, y = load_tone(return_X_y=True)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, init="split", random_state=0).fit(X, y)
    >>> model.usage_.shape
    (2,)
    """

    random = False

    def stages(
        self, context: StartContext, numbers: Sequence[int], rng: np.random.Generator
    ) -> Iterator[np.ndarray]:
        """Yield responsibilities (k, n) of the context's rows for these numbers of experts.

        Ascending; ends early where no expert can be split any more.
        """
        sample = _grown_rows(context)
        for stage in grow(sample, max(numbers), rng, numbers):
            if stage.n_experts in numbers:
                yield stage.resp if sample is context else context.posteriors(stage.run)

    def responsibilities(self, context: StartContext, rng: np.random.Generator) -> np.ndarray:
        """Return responsibilities (K, n) of the context's rows."""
        k, n = context.n_experts, context.rows.n_rows
        if n < k:
            return RandomStart().responsibilities(context, rng)
        sample = _grown_rows(context)
        *_, last = grow(sample, k, rng)
        if last.n_experts < k:  # too few rows differ
            return RandomStart().responsibilities(context, rng)
        return last.resp if sample is context else context.posteriors(last.run)
