"""Starting points of a search: a partition, responsibilities of the user, or a whole state."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mixexp._engine.arrange import arranged
from mixexp._engine.assign import Soft
from mixexp._engine.context import Context
from mixexp._engine.em import Evaluation, Problem, Run, evaluate
from mixexp._engine.sweep import State
from mixexp._guests import in_threads
from mixexp._rows.labels import with_labels
from mixexp.protocols import can

if TYPE_CHECKING:
    from mixexp._engine.search import SearchProblem

__all__ = [
    "Candidate",
    "FromPartition",
    "FromResponsibilities",
    "FromState",
    "OneStart",
    "Restart",
    "Start",
    "arranges",
    "plain_gate",
    "without_noise",
]

#: Share of each row that starts give to the noise expert.
NOISE_SHARE = 0.05

#: Starts of a varied partition that are tried together: a quick one, growing, and regions of X. On
#: 91 simulated problems the best of these three ended as high as the best of ten, on all.
WAVE = 3

#: The default of `n_init`.
USUAL_STARTS = 10

#: A start is credited with at most this multiple of its last gain.
MAX_CREDIT = 20.0


@dataclass
class Restart:
    """The record of one start.

    Attributes
    ----------
    seed : tuple of int
        Seed of the start's random numbers.
    bound : float
        Lower bound at its end: of the long run if there was one, otherwise of the short run on
        the sketch.
    n_iter : int
        EM iterations, on the sketch and in the long run.
    events : list of str
        ``"long run"`` if the start was continued on all rows, and what was done about experts
        that collapsed in it.
    flags : list of str
        ``"spurious dispersion of expert k: ..."`` if it ended in a spurious maximum of the
        likelihood: an expert through few rows. Such a start is chosen only if all are flagged.
    bounds : list of float
        The bound after each iteration of its short runs, on the sketch.
    """

    seed: tuple[int, ...]
    bound: float
    n_iter: int
    events: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    bounds: list[float] = field(default_factory=list)


@dataclass
class Candidate:
    """A start during the search.

    `resp` are the responsibilities (K, n) of all rows to which batch parts are first fitted; None
    stands for those of `state`. `evaluation` is that of `state` on the sketch, for the next run.
    """

    state: State
    record: Restart
    resp: np.ndarray | None = None
    settled: bool = False
    credit: float = np.inf
    n_rounds: int = 0
    evaluation: Evaluation | None = None

    def copied(self) -> Candidate:
        """Return a copy with a record of its own."""
        record = replace(
            self.record, events=list(self.record.events), flags=list(self.record.flags)
        )
        return replace(self, record=record)

    def follow(self, run: Run, flags: list[str]) -> None:
        """Take over the end of a short run and its flags, and estimate what it may still gain.

        The credit extrapolates the last gains as a geometric series (Aitken).
        """
        self.state, self.settled = run.state, run.converged
        self.evaluation = run.best
        self.n_rounds += 1
        self.record.bound = run.bound
        self.record.n_iter += len(run.bounds)
        self.record.bounds += run.bounds
        self.record.flags = flags
        if len(run.bounds) >= 3:
            before, gain = np.diff(run.bounds[-3:])
            rate = gain / before if before > gain > 0 else 1.0
            self.credit = gain * min(MAX_CREDIT, rate / max(1 - rate, 1e-3)) if gain > 0 else 0.0


class Start(Protocol):
    """A starting point of a search; it follows its `Rows` as they are dropped, sorted or merged."""

    @property
    def numbered(self) -> bool:
        """Whether the user numbered the experts."""

    @property
    def given(self) -> bool:
        """Whether the user gave the regions."""

    @property
    def whole(self) -> bool:
        """Whether it refers to all rows, and therefore cannot run on a sketch."""

    def take(self, ids: np.ndarray) -> Start:
        """Return the start for some of the rows, in this order."""

    def merge(self, codes: np.ndarray, weight: np.ndarray) -> Start:
        """Return the start for rows merged by `codes` (n,), numbered from 0."""

    def empty_experts(self) -> list[int]:
        """Return the experts that start without rows."""

    def waves(self, n_init: int) -> list[list[int]]:
        """Return the numbers of the starts to try together, and of those to try if need be."""

    def candidates(self, problem: SearchProblem, bank: Any, turns: list[int]) -> list[Candidate]:
        """Return the states from which short runs, or the long run, start."""


class FromPartition:
    """Several starts from a partition, on the sketch.

    Parameters
    ----------
    partition : Partition
    """

    whole = False

    def __init__(self, partition: Any):
        self.partition = partition

    @property
    def numbered(self) -> bool:
        """Whether the partition keeps the user's numbering of the experts."""
        return bool(getattr(self.partition, "numbered", False))

    @property
    def given(self) -> bool:
        """Whether the regions are the user's, as numbered ones are unless the partition denies."""
        return bool(getattr(self.partition, "given", self.numbered))

    def take(self, ids: np.ndarray) -> FromPartition:
        """Return itself: a partition does not refer to single rows."""
        return self

    def merge(self, codes: np.ndarray, weight: np.ndarray) -> FromPartition:
        """Return itself: a partition does not refer to single rows."""
        return self

    def empty_experts(self) -> list[int]:
        """Return none: the partition has not been computed yet."""
        return []

    def waves(self, n_init: int) -> list[list[int]]:
        """Return all starts in one wave; those of a varied partition in several.

        Starts of one kind may agree because they miss the same region; those of several kinds
        hardly do. A user who asks for more than usual wants all.
        """
        random = getattr(self.partition, "random", False)
        turns = list(range(n_init if random else 1))
        if not getattr(self.partition, "varied", False) or n_init > USUAL_STARTS:
            return [turns]
        return [turns[i : i + WAVE] for i in range(0, len(turns), WAVE)]

    def candidates(self, problem: SearchProblem, bank: Any, turns: list[int]) -> list[Candidate]:
        """Return the states after M-steps at the responsibilities of some of the starts.

        Partitions know nothing of noise. Where one expert leaves it rows, there is a start from the
        others beside that from all: the rows may be outliers, or a second regime.
        """
        context = Context(
            problem.sketch,
            problem.n_experts,
            bank,
            plain_gate(problem),
            problem.gate_columns,
            judge=problem.judge,
        )
        kinds = [problem.sketch, *without_outliers(problem)]
        calls = [
            (problem, replace(context, rows=rows, turn=turn)) for turn in turns for rows in kinds
        ]
        return in_threads(self._candidate, calls, problem.n_jobs)

    @np.errstate(over="ignore", invalid="ignore")
    def _candidate(self, problem: SearchProblem, context: Context) -> Candidate:
        """Return one start."""
        seed = (problem.seed, context.turn)
        rows, free = context.rows, not self.numbered
        if problem.n_experts == 1:
            resp = np.ones((1, rows.n_rows))
        else:
            resp = self.partition.responsibilities(context, np.random.default_rng(seed))
        resp = rows.shared(with_labels(resp, rows.labels, rows.weight, match=free))
        if arranges(problem):
            resp = arranged(problem.gate, without_noise(problem.gate), context, resp)
        state = problem.state_at(rows, context.bank, resp)
        return Candidate(state, Restart(seed, -np.inf, 0))


class OneStart:
    """What starts that are tried once have in common; by default they refer to no rows."""

    numbered = given = whole = True

    def take(self, ids: np.ndarray) -> Any:
        """Return the start for some of the rows, in this order: itself."""
        return self

    def merge(self, codes: np.ndarray, weight: np.ndarray) -> Any:
        """Return the start for merged rows: itself."""
        return self

    def empty_experts(self) -> list[int]:
        """Return the experts that start without rows: none."""
        return []

    def waves(self, n_init: int) -> list[list[int]]:
        """Return the one start."""
        return [[0]]


@dataclass(frozen=True)
class FromResponsibilities(OneStart):
    """The user's responsibilities (K, n) of all rows."""

    resp: np.ndarray

    def take(self, ids: np.ndarray) -> FromResponsibilities:
        """Return the responsibilities of some of the rows."""
        return FromResponsibilities(self.resp[:, ids])

    def merge(self, codes: np.ndarray, weight: np.ndarray) -> FromResponsibilities:
        """Return the weighted means of rows with the same code."""
        total = np.bincount(codes, weights=weight)
        sums = [np.bincount(codes, weights=resp * weight) for resp in self.resp]
        return FromResponsibilities(np.stack(sums) / total)

    def empty_experts(self) -> list[int]:
        """Return the experts without responsibility for any row."""
        return np.flatnonzero(self.resp.sum(axis=1) == 0).tolist()

    def candidates(self, problem: SearchProblem, bank: Any, turns: list[int]) -> list[Candidate]:
        """Return the one state after M-steps at the responsibilities.

        Rows that one expert leaves to noise may be outliers, or not: the better of two states.
        """
        rows = problem.rows
        resp = rows.shared(with_labels(self.resp, rows.labels, None, match=False))
        outside = problem.outside(rows)
        states = [
            (problem.state_at(rows, bank, resp, noise), problem.with_noise(resp, noise))
            for noise in ([None] if outside is None else [None, outside])
        ]
        if len(states) > 1:
            here = Problem(rows, Soft(), 1, 0.0)
            states.sort(key=lambda each: -evaluate(here, each[0], 0).bound)
        return [Candidate(states[0][0], Restart((problem.seed,), -np.inf, 0), states[0][1])]


@dataclass(frozen=True)
class FromState(OneStart):
    """A whole state from an earlier run on the same data; parameters refer to no rows."""

    state: State

    def candidates(self, problem: SearchProblem, bank: Any, turns: list[int]) -> list[Candidate]:
        """Return the state itself."""
        return [Candidate(self.state, Restart((problem.seed,), -np.inf, 0))]


def without_outliers(problem: SearchProblem) -> list[Any]:
    """Return the rows of the sketch without those that one expert leaves to noise, if any."""
    rows = problem.sketch
    outside = None if rows.labels is not None else problem.outside(rows)
    if outside is None:
        return []
    ids = np.flatnonzero(outside[0] <= 0.5)
    if len(ids) < max(problem.n_experts, rows.n_rows // 2):
        return []
    return [rows.subset(ids, None if rows.weight is None else rows.weight[ids])]


def plain_gate(problem: SearchProblem) -> Any:
    """Return the gate of short runs: without noise, and flat.

    A tree can hardly undo its first borders, and which regions belong together shows only after
    they have been found. Starts therefore run with a flat gate first, and the regions are then
    arranged for the tree. Measured on trees of depth 3 with eight lines: out of ten starts, none
    to two find the planted tree when its gate is used from the beginning, four to eight this way.
    """
    gate = without_noise(problem.gate)
    return gate.flat(problem.sketch.units) if _is_tree(gate) else gate


def arranges(problem: SearchProblem) -> bool:
    """Return whether regions may be put in the order that suits a tree of gates."""
    free = problem.arrange and not problem.start.numbered and problem.sketch.labels is None
    return free and _is_tree(problem.gate)


def without_noise(gate: Any) -> Any:
    """Return a gate without its noise expert, if it has one."""
    return gate.without_noise() if can(gate, "without_noise") else gate


def _is_tree(gate: Any) -> bool:
    return getattr(gate, "depth", 1) > 1
