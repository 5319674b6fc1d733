"""The growing path: mixtures of one expert, of two, and so on, each begun from the one before.

`fit` with ``n_experts="auto"`` and `mixexp.selection` both go along it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from mixexp._engine.context import Context
from mixexp._engine.criteria import Count, Fitness, counted, fitness
from mixexp._engine.em import Run
from mixexp._engine.held_out import held_out
from mixexp._engine.journal import once
from mixexp._engine.regimes import resolved
from mixexp._engine.rivals import ALIKE, CLEARLY, MATERIAL, mean_and_error
from mixexp._engine.search import SearchProblem, search, with_judge
from mixexp._engine.starts import Candidate, OneStart, Restart, plain_gate, without_outliers
from mixexp._engine.tuning import penalised_as
from mixexp._guests import FitFailedError
from mixexp._warn import silence, silenced, warn
from mixexp.protocols import can

__all__ = ["CRITERIA", "Growth", "Grown", "can_count", "chosen", "grown", "searched"]

#: What a number of experts can be chosen by.
CRITERIA = ("cv", "aic", "aic3", "bic", "icl")

#: Frequent values of y that may be exact regimes, whatever the number of experts: ties beyond them
#: are its resolution.
N_EXACT = 2

#: Gain by the criterion, in nats a unit, of a steep step. Gains shrink before a path has come to
#: its end: if the next number is worse, its own fit has failed, and one more is tried. From so many
#: experts on: fits of fewer seldom fail, and those of more than there are regions take long.
STEEP, STEEP_FROM = 0.1, 8

#: Fewer units than this say nothing about experts whose parameters they do not count.
FEWEST = 30

#: Largest share of the rows that a path leaves out as outliers.
MOST_OUTLIERS = 0.1


@dataclass(frozen=True)
class Growth:
    """What a path is to do.

    Attributes
    ----------
    numbers : tuple of int
        The numbers of experts to fit, ascending.
    criterion : {"cv", "aic", "aic3", "bic", "icl"}
    patience : int or None
        The path ends after so many numbers without a better one, and after one more where the
        last step up was steep and experts are many; None goes on to the last.
    least : int
        The number of experts that the path goes to at least.
    one_se : bool
        Whether the smallest number within one standard error of the best is chosen, by "cv".
    cross_validated : bool
        Whether "cv" is computed though something else is the criterion.
    searched : bool
        Whether a usual fit of the chosen number is to be compared with that of the path.
    rows_per_parameter : float
        A mixture of several experts with less weight for each parameter is judged by rows that are
        held out: criteria that hold for many rows reward whatever explains the noise.
    """

    numbers: tuple[int, ...]
    criterion: str
    patience: int | None = None
    least: int = 1
    one_se: bool = False
    cross_validated: bool = False
    searched: bool = True
    rows_per_parameter: float = 0.0

    def counts(self, mixture: Grown) -> bool:
        """Return whether there are enough rows for the criterion, if it counts parameters."""
        needed = self.rows_per_parameter * mixture.count.n_parameters
        return mixture.n_experts == 1 or not mixture.n_units < needed


@dataclass
class Grown:
    """A mixture on the path.

    Attributes
    ----------
    n_experts : int
    run : Run
        The long run on all rows.
    restarts : list of Restart
    fitness : Fitness
    count : Count
    held_out : ndarray of shape (n_units,) or None
        Log-densities of units that the experts had not seen.
    seconds : float
    flags : list of str
    """

    n_experts: int
    run: Run
    restarts: list[Restart]
    fitness: Fitness
    count: Count
    held_out: np.ndarray | None = None
    seconds: float = 0.0
    flags: list[str] = field(default_factory=list)

    @property
    def n_units(self) -> float:
        """The weight of the units, of which information is: rows, or groups."""
        return float(self.fitness.weight.sum())

    @property
    def aic(self) -> float:
        """Akaike's criterion."""
        return -2 * self.fitness.log_likelihood + 2 * self.count.n_parameters

    @property
    def aic3(self) -> float:
        """Akaike's criterion with a factor of 3 in place of 2."""
        return self.aic + self.count.n_parameters

    @property
    def bic(self) -> float:
        """The Bayesian information criterion."""
        return -2 * self.fitness.log_likelihood + self.count.n_parameters * np.log(self.n_units)

    @property
    def icl(self) -> float:
        """The integrated completed likelihood, on the scale of BIC."""
        return self.bic + 2 * self.fitness.entropy

    @property
    def cv(self) -> float:
        """The mean held-out log-density, NaN if it was not computed."""
        if self.held_out is None:
            return np.nan
        return float(self.held_out @ self.fitness.weight) / self.n_units

    def score(self, criterion: str) -> float:
        """Return the value of a criterion, larger is better; NaN where it has none."""
        value: float = getattr(self, criterion)
        return value if criterion == "cv" else -value

    def shortfall(self, best: Grown) -> tuple[float, float]:
        """Return how much the held-out log-density is below another's, and its standard error."""
        assert self.held_out is not None and best.held_out is not None
        return mean_and_error(best.held_out - self.held_out, self.fitness.weight)


def grown(
    growth: Growth, partition: Any, problem_at: Callable[[int], SearchProblem]
) -> Iterator[Grown]:
    """Yield the mixtures of a path.

    1. Grow on the sketch: the partition splits one expert after another.
    2. Of each number that is wanted, a long run on all rows from the responsibilities of its stage,
       as of any other start, with the safeguard, what is done about collapsed and spurious experts,
       and the finish.
    3. Its criteria.
    4. The path ends when the criterion has not risen for a while, when no expert can be split,
       when a fit fails, of which a warning tells, or when all numbers have been fitted.

    Dispersions of all of them stay above the same resolution of y (`resolved`), so that no number
    wins by ties.

    Parameters
    ----------
    growth : Growth
    partition : object with a method `stages`
    problem_at : callable
        Returns the search for a number of experts.
    """
    numbers, since, steep = growth.numbers, 0, False
    largest = with_judge(problem_at(numbers[-1]))
    best: Grown | None = None
    last: Grown | None = None
    rows = _rows_of_stages(largest)
    stages = _stages(largest, rows, partition, numbers)
    while True:
        begin = time.perf_counter()
        resp = next(stages, None)
        if resp is None:
            return
        k = len(resp)
        with silenced(silence(ConvergenceWarning)):  # only of the chosen one there is to be told
            problem = problem_at(k)
            problem = replace(
                problem, start=FromStage(resp, rows), n_exact=N_EXACT, single=largest.single
            )
            if last is not None and k > last.n_experts + 1:
                problem = _as_strong(problem, last)
            mixture = _attempt(problem, growth, k)
        if isinstance(mixture, FitFailedError):
            if best is None:
                raise mixture
            told = f"{k} experts cannot be fitted, and larger numbers are not tried: {mixture}"
            warn(f"{problem.owner}: {told}", UserWarning)
            return
        if best is not None and not growth.counts(mixture) and mixture.n_units >= FEWEST:
            _hold_out(problem_at, best, mixture)
        mixture.seconds = time.perf_counter() - begin
        last = mixture
        yield mixture
        if best is None or _better(mixture, best, growth):
            steep = best is not None and _is_steep(mixture, best, growth.criterion)
            best, since = mixture, 0
        else:
            since += 1
        if growth.patience is not None and since >= growth.patience + steep and k >= growth.least:
            return


def _hold_out(problem_at: Callable[[int], SearchProblem], *mixtures: Grown) -> None:
    """Let mixtures of a path be judged by rows that are held out, if they are not yet."""
    for each in mixtures:
        if each.held_out is None:
            problem, run = problem_at(each.n_experts), each.run
            with silenced(silence(ConvergenceWarning)):
                rows = problem.rows if run.rows is None else run.rows
                each.held_out = held_out(problem, run.state, rows)


def _as_strong(problem: SearchProblem, last: Grown) -> SearchProblem:
    """Return the problem with the penalties that the gate of the last mixture has set, if it has.

    At those with which every gate begins, borders are so soft that experts that are added several
    at a time mix before any evidence is looked at. One more at a time is better off with the usual
    ones: with those found before, errors are larger by .5 to 1.7 % on five of seven tables.
    """
    return replace(problem, gate=penalised_as(problem.gate, last.run.state.gate))


def searched(grown_: Grown, problem: SearchProblem, criterion: str) -> Grown:
    """Return a mixture of the path, or the end of a usual fit of as many experts if that is better.

    Better is by the criterion of the path: two bounds differ by the normalisers of penalties, too,
    and the higher one predicts worse on concrete and auto_mpg (RMSE 5.47 for 5.38, 2.73 for 2.71).
    By "cv" it is by the bound, as refits of each fold would take as long as the path.

    What the path was judged by stays: the time, and log-densities that refits held out; those of
    cross-fitted experts come with the fit.
    """
    problem = with_judge(problem)
    try:
        run, restarts = search(replace(problem, n_exact=N_EXACT))
    except FitFailedError:  # other starts may have regions of fewer rows than experts need
        return grown_
    rows, held = problem.rows if run.rows is None else run.rows, grown_.held_out
    fit = fitness(run.state, rows)
    other = replace(
        grown_,
        run=run,
        restarts=[*restarts, *grown_.restarts],
        fitness=fit,
        count=counted(run.state, rows),
        held_out=fit.log_density if held is not None and _is_cross_fitted(run.state) else held,
        flags=problem.judge.flags(run.state, problem.rows),
    )
    if _rank(other, criterion) > _rank(grown_, criterion):
        return other
    return replace(grown_, restarts=[*grown_.restarts, *restarts])


def _rank(mixture: Grown, criterion: str) -> tuple[bool, float]:
    """Return what is larger for the better of two mixtures with as many experts."""
    score = mixture.run.bound if criterion == "cv" else mixture.score(criterion)
    return not mixture.flags, score


def _is_cross_fitted(state: Any) -> bool:
    """Return whether densities of training rows are out of fold anyway."""
    return any(getattr(part, "cross_fitted", False) for part in state.parts)


def chosen(path: Sequence[Grown], growth: Growth) -> int:
    """Return the position of the chosen mixture.

    Those that ended in a spurious maximum are chosen only if all did, and those with too many
    parameters for the rows only if they predict better what they have not seen.
    """
    allowed = [i for i, each in enumerate(path) if not each.flags] or list(range(len(path)))
    best = allowed[0]
    for i in allowed[1:]:
        if _better(path[i], path[best], growth):
            best = i
    if growth.criterion != "cv" or not growth.one_se:
        return best
    for i in allowed:
        below, error = path[i].shortfall(path[best])
        if below <= error:
            return i
    return best


def can_count(problem: SearchProblem) -> bool:
    """Return whether the parameters of gate and experts can be counted."""
    gate = problem.gate if problem.batch_gate is None else problem.batch_gate
    bank = problem.bank if problem.batch_bank is None else problem.batch_bank
    return can(gate, "n_parameters") and can(bank, "n_parameters")


def _is_steep(mixture: Grown, best: Grown, criterion: str) -> bool:
    unit = 1.0 if criterion == "cv" else 2 * mixture.n_units
    return (
        mixture.n_experts >= STEEP_FROM
        and mixture.score(criterion) - best.score(criterion) > STEEP * unit
    )


def _better(mixture: Grown, best: Grown, growth: Growth) -> bool:
    """Return whether a mixture is better than the best of fewer experts."""
    if any(ALIKE in record.events for record in mixture.restarts):
        return False
    if growth.counts(mixture):
        return mixture.score(growth.criterion) > best.score(growth.criterion)
    if mixture.held_out is None or best.held_out is None:
        return False
    gain, error = best.shortfall(mixture)
    return gain > max(CLEARLY * error, MATERIAL)


def _rows_of_stages(problem: SearchProblem) -> Any:
    """Return the rows of the sketch, without outliers if these are few.

    Many are rather a regime, which the path is to find.
    """
    fewer = without_outliers(problem)
    few = fewer and fewer[0].n_rows >= (1 - MOST_OUTLIERS) * problem.sketch.n_rows
    return fewer[0] if few else problem.sketch


def _stages(
    problem: SearchProblem, rows: Any, partition: Any, numbers: Sequence[int]
) -> Iterator[np.ndarray]:
    """Yield responsibilities of rows of the sketch for each number of experts."""
    k = problem.n_experts
    if k == 1:
        yield np.ones((1, rows.n_rows))
        return
    context = Context(
        rows,
        k,
        resolved(problem.single.replicate(k), rows, N_EXACT),
        plain_gate(problem),
        problem.gate_columns,
        judge=problem.judge,
    )
    yield from partition.stages(context, numbers, np.random.default_rng((problem.seed, 0)))


@dataclass(frozen=True)
class FromStage(OneStart):
    """A start from responsibilities (K, n) of rows of the sketch, which have been merged."""

    resp: np.ndarray
    rows: Any
    numbered = given = whole = False

    def take(self, ids: np.ndarray) -> FromStage:
        """Return the start for some of the rows, in this order."""
        return FromStage(self.resp[:, ids], self.rows)

    def candidates(self, problem: SearchProblem, bank: Any, turns: list[int]) -> list[Candidate]:
        """Return the state after M-steps at the responsibilities."""
        state = problem.state_at(self.rows, bank, self.rows.shared(self.resp))
        return [Candidate(state, Restart((problem.seed, 0), -np.inf, 0))]


def _attempt(problem: SearchProblem, growth: Growth, k: int) -> Grown | FitFailedError:
    """Return the mixture from a stage; the error if experts need more rows than a region has."""
    try:
        mixture: Grown = once(problem.journal, f"{k} experts", partial(_fitted, problem, growth))
    except FitFailedError as error:
        return error
    return mixture


def _fitted(problem: SearchProblem, growth: Growth) -> Grown:
    """Return the mixture from a stage, with its criteria."""
    run, restarts = search(problem)
    (record,) = restarts
    rows = problem.rows if run.rows is None else run.rows
    fit = fitness(run.state, rows)
    count = counted(run.state, rows)
    mixture = Grown(problem.n_experts, run, restarts, fit, count, flags=list(record.flags))
    if growth.criterion == "cv" or growth.cross_validated:
        out_of_fold = _is_cross_fitted(run.state)
        mixture.held_out = fit.log_density if out_of_fold else held_out(problem, run.state, rows)
    return mixture
