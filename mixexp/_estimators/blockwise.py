"""Fits on rows that a factory yields run by run: `fit_blocks`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import scipy.sparse as sp
from sklearn.base import is_classifier
from sklearn.utils import check_random_state

from mixexp import __version__
from mixexp._checks import short
from mixexp._engine.assign import ASSIGNERS
from mixexp._engine.search import search
from mixexp._estimators import outcome, parts
from mixexp._estimators.again import remembered, warm
from mixexp._estimators.assembly import Assembly, has_estimators, problems_of
from mixexp._estimators.checked_runs import CheckedRuns
from mixexp._estimators.probes import probe_family
from mixexp._estimators.starts import start_of
from mixexp._estimators.tally import holds_text, tally_of
from mixexp._estimators.targets import Classes
from mixexp._rows.in_order import allowed_threads
from mixexp._rows.inputs import SKETCH_ROWS, Training, training_rows
from mixexp._rows.source import Fingerprint, Run
from mixexp._rows.streamed import Sketch, StreamedRows, Survey
from mixexp._threads import single_thread
from mixexp.protocols import can

if TYPE_CHECKING:
    from mixexp._estimators.base import BaseMixtureOfExperts

__all__ = ["FactorySource", "fit_streamed", "gathered", "why_not_additive"]


class Source(Protocol):
    """All rows of a fit of additive parts, wherever they are."""

    @property
    def columns(self) -> tuple:
        """Columns of experts and gate, after the survey."""

    @property
    def target(self) -> Any:
        """What y is, after the survey."""

    def survey(self) -> Survey:
        """Check all rows, and return what there is."""

    def sketch(self, seed: int) -> Sketch:
        """Return the sketch of all rows that starts run on."""

    def rows(self, survey: Survey, n_threads: int) -> StreamedRows:
        """Return the rows of the long run."""

    def identity(self) -> str:
        """Return a text that is the same for the same rows."""


@np.errstate(under="ignore")
def fit_streamed(mixture: BaseMixtureOfExperts, source: Source, watch: Any = None) -> None:
    """Fit a mixture of additive parts to the rows of a source, and store its attributes.

    `watch` follows the fit, if anything does.

    1. Pass over the rows to check them, and to find classes, weights and the range of y.
    2. Pass again for the sketch that starts run on.
    3. Search, as in a fit in memory; every design takes three passes, every iteration one.
    """
    seed = int(check_random_state(mixture.random_state).randint(2**31 - 1))
    seed = seed if watch is None else watch.seed(seed)
    survey = source.survey()
    training = _training(mixture, source, survey, seed)
    with single_thread():
        columns, target = source.columns, source.target
        problem_at = problems_of(mixture, training, target, columns, (), False, seed)
        problem = problem_at(mixture.n_experts)
        assembly = Assembly(problem, columns, False, False, (), problem_at)
        assembly = warm(mixture, assembly, target, source.identity)
        if watch is not None:
            assembly = watch.assembled(mixture, assembly, target, source.identity)
        run, restarts = search(assembly.problem)
        outcome.store(mixture, run, restarts, assembly, target)
    if survey.weighted and getattr(mixture, "class_weight", None) is None:
        mixture._fitted_with = ["sample_weight"]
    mixture._last_fit = remembered(mixture, run, assembly, source.identity)
    mixture._mixexp_version = __version__


def _training(mixture: BaseMixtureOfExperts, source: Source, survey: Survey, seed: int) -> Training:
    """Return the rows of the long run and of the starts."""
    owner, n_threads = parts.owner_of(mixture), allowed_threads(mixture.n_jobs)
    source.target.refuse_extreme(survey.extremes, owner)
    sketch = source.sketch(seed)
    small = sketch.rows(survey.missing, n_threads)
    probe_family(source.target, small.y, owner)
    start = start_of(mixture.init, small, mixture.n_experts, owner)
    if sketch.whole:  # no more distinct rows than starts see: they stay in memory
        return training_rows(small, None, start, mixture.n_experts, seed, owner)
    rows: Any = source.rows(survey, n_threads)
    rows.share_designs(small)
    return Training(rows, small, start)


def why_not_additive(mixture: Any) -> str:
    """Return which part needs all rows at once, and why; empty if none does."""
    classes = is_classifier(mixture)
    if isinstance(mixture.gate, str):
        return f"gate={mixture.gate!r} compares fits of rows"
    if isinstance(mixture.n_experts, str):
        return f"n_experts={mixture.n_experts!r} compares fits of all rows"
    target: Any = Classes(np.arange(2)) if classes else mixture._numbers(())
    assigner = ASSIGNERS[mixture.assignment](0)
    router = mixture.routing
    if parts.is_batch(mixture, target):
        return f"expert={short(mixture.expert)} is fitted by its own `fit`, on all its rows"
    if parts.gate_is_classifier(mixture):
        return f"gate={short(mixture.gate)} is fitted by its own `fit`, on all rows"
    if has_estimators(mixture, False):
        who = "shared_expert" if mixture.shared_expert is not None else "the router's fallback"
        return f"{who} is fitted by its own `fit`, on all rows"
    if can(assigner, "assign_all"):
        return f"assignment={mixture.assignment!r} assigns all rows at once"
    if router is not None and (router.hard or router.looks_at_all):
        return f"routing={short(router)} routes all rows at once"
    if not (
        isinstance(mixture.init, str)
        or hasattr(mixture.init, "fit_predict")
        or hasattr(mixture.init, "responsibilities")
    ):
        return "init has a value for every row"
    return ""


def _runs(factory: Callable[[], Iterable], owner: str) -> Iterator[Any]:
    """Return an iterator over the runs of one call of the factory."""
    runs = factory()
    if not isinstance(runs, Iterable):
        raise TypeError(
            f"{owner}: factory() returned {short(runs)}, which cannot be iterated over. It must "
            "yield (X, y) or (X, y, sample_weight): is a `yield` missing?"
        )
    return iter(runs)


def gathered(factory: Callable[[], Iterable], owner: str) -> tuple[Any, Any, Any]:
    """Return X, y and weights (or None) of all runs of a factory, joined.

    Runs are copied: a factory may fill the same arrays with the next one.
    """
    runs: list[tuple[Any, np.ndarray, Any]] = []
    for i, item in enumerate(_runs(factory, owner)):
        X, y, weight = _unpacked(item, i, owner)
        X = X if sp.issparse(X) or hasattr(X, "columns") else np.asarray(X)
        run = deepcopy(X), np.array(y), None if weight is None else np.array(weight)
        if len({part.shape[:1] for part in run if part is not None}) > 1:
            raise ValueError(
                f"{owner}: run {i} of factory() has X, y or weights of different lengths: "
                f"{[part.shape for part in run if part is not None]}. Give one of each a row."
            )
        if not len(run[1]):
            continue
        if runs and (kind := _kind(*run)) != (first := _kind(*runs[0])):
            other = next(name for name in kind if kind[name] != first[name])
            raise ValueError(
                f"{owner}: run {i} of factory() differs from the first one in {other}: "
                f"{kind[other]}, not {first[other]}. Give rows of one kind."
            )
        runs.append(run)
    if not runs:
        raise ValueError(_nothing(owner))
    X, y, weights = zip(*runs, strict=True)
    weight = None if weights[0] is None else np.concatenate(weights)
    return _stacked(X), np.concatenate(y), weight


def _kind(X: Any, y: np.ndarray, weight: Any) -> dict[str, str]:
    """Return what must be the same for all runs, by its name in messages."""
    form = "sparse" if sp.issparse(X) else "an array"
    columns, categories = f"{X.shape[1:]}", "none"
    if hasattr(X, "columns"):
        form, columns = f"a {type(X).__module__.split('.')[0]} frame", short(list(X.columns))
        found = {n: t for n, t in zip(X.columns, X.dtypes, strict=True) if _is_categorical(t)}
        categories = short(found) if found else "none"
    return {
        "the form of X": form,
        "its columns": columns,
        "its categories": categories,
        "the outputs of y": str(y.shape[1:]),
        "the labels": "text" if holds_text(y) else "numbers",
        "sample_weight": "none" if weight is None else "given",
    }


def _is_categorical(dtype: Any) -> bool:
    return hasattr(dtype, "categories")


def _stacked(runs: tuple) -> Any:
    """Return tables of one kind as one."""
    if sp.issparse(runs[0]):
        return sp.vstack(runs, format="csr")
    if hasattr(runs[0], "iloc"):
        import pandas as pd

        return pd.concat(runs, ignore_index=True)
    if hasattr(runs[0], "columns"):
        import polars as pl

        return pl.concat(runs)
    return np.concatenate(runs)


def _nothing(owner: str) -> str:
    return f"{owner}: factory() yielded no rows. It must yield (X, y) or (X, y, sample_weight)."


def _unpacked(item: Any, i: int, owner: str) -> tuple[Any, Any, Any]:
    """Return X, y and weights (or None) of what a factory yields."""
    if not isinstance(item, tuple | list) or len(item) not in (2, 3):
        raise TypeError(
            f"{owner}: run {i} of factory() is {short(item)}. It must be (X, y) or "
            "(X, y, sample_weight)."
        )
    return item[0], item[1], item[2] if len(item) == 3 else None


class FactorySource(CheckedRuns):
    """The rows that a factory yields, checked in every pass.

    Parameters
    ----------
    mixture : BaseMixtureOfExperts
    factory : callable
        Called once a pass.
    """

    def __init__(self, mixture: Any, factory: Callable[[], Iterable]):
        super().__init__(mixture)
        self.factory = factory
        self._known: Fingerprint | None = None

    def survey(self) -> Survey:
        """Pass over all rows for the first time, and return what there is."""
        tally = tally_of(self)
        for X, y, weight in self._items():
            tally.add(X, y, weight)
        if self.kind is None:
            raise ValueError(_nothing(self.owner))
        return tally.survey()

    def sketch(self, seed: int) -> Sketch:
        """Pass over all rows for the sketch that starts run on."""
        sketch = Sketch(SKETCH_ROWS, seed)
        for run in self.runs():
            sketch.add(run)
        return sketch

    def rows(self, survey: Survey, n_threads: int) -> StreamedRows:
        """Return the rows of the long run."""
        return StreamedRows(self, survey, n_threads)

    def identity(self) -> str:
        """Return a text that is the same for the same rows, however they are cut into runs."""
        return f"runs of {self._known}, {self.kind} {self.labels}"

    def runs(self) -> Iterator[Run]:
        """Yield all rows of positive weight in order, encoded."""
        for item in self._items():
            run = self.encoded(*item)
            if run is not None:
                yield run

    def _items(self) -> Iterator[tuple[Any, np.ndarray, np.ndarray | None]]:
        """Yield the checked runs of one call of the factory; raise if rows have changed."""
        fingerprint = Fingerprint()
        for i, item in enumerate(_runs(self.factory, self.owner)):
            X, y, weight = _unpacked(item, i, self.owner)
            if np.shape(X)[:1] == (0,) == np.shape(y)[:1]:
                continue
            X, y, weight = self.checked(f"run {i} of factory()", X, y, weight)
            fingerprint.add(X=X, y=y, weight=weight)
            yield X, y, weight
        if self._known is None:
            self._known = fingerprint
        elif fingerprint != self._known:
            raise ValueError(
                f"{self.owner}: factory() yields other rows than in its first pass: "
                f"{fingerprint.n_rows} rows, then {self._known.n_rows}, or other values or another "
                "order. A fit passes over the rows many times: factory must be a function that "
                "begins anew when it is called, and yields the same rows in the same order."
            )
