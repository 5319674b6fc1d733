"""What a fit prints of its progress, where `verbose` asks for it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # the parts that report import this module
    from mixexp._engine.em import Run
    from mixexp._engine.starts import Restart

__all__ = ["Progress", "Watcher", "Watchers"]

#: With verbosity 1, an iteration is printed when their number has grown by this factor.
GROWTH = 1.5


class Watcher(Protocol):
    """Is told how a search goes on; a long run ends where `iteration` returns True."""

    def line(self, text: str) -> None:
        """Take a remark."""

    def begin_starts(self, most: int) -> None:
        """Learn that the starts begin, and how many there are at most."""

    def round(self, records: list[Restart], settled: list[Restart]) -> None:
        """Learn which starts there are, and which have converged in a round of short runs."""

    def starts(self, records: list[Restart]) -> None:
        """Learn how all starts ended."""

    def begin(self, record: Restart) -> None:
        """Learn that a long run from a start begins."""

    def goes_on(self, run: Run) -> None:
        """Learn that a long run begins where another one has ended."""

    def iteration(self, run: Run) -> bool:
        """Look at a run after an iteration, and return whether it is to stop."""

    def end(self, run: Run) -> None:
        """Look at a long run that has ended."""


@dataclass(frozen=True)
class Watchers:
    """Several watchers, told one after the other."""

    watchers: Sequence[Watcher]

    def line(self, text: str) -> None:
        """Pass a remark on."""
        for watcher in self.watchers:
            watcher.line(text)

    def begin_starts(self, most: int) -> None:
        """Pass on that the starts begin."""
        for watcher in self.watchers:
            watcher.begin_starts(most)

    def round(self, records: list[Restart], settled: list[Restart]) -> None:
        """Pass on which starts have converged."""
        for watcher in self.watchers:
            watcher.round(records, settled)

    def starts(self, records: list[Restart]) -> None:
        """Pass on how all starts ended."""
        for watcher in self.watchers:
            watcher.starts(records)

    def begin(self, record: Restart) -> None:
        """Pass on that a long run begins."""
        for watcher in self.watchers:
            watcher.begin(record)

    def goes_on(self, run: Run) -> None:
        """Pass on that a long run begins where another one has ended."""
        for watcher in self.watchers:
            watcher.goes_on(run)

    def iteration(self, run: Run) -> bool:
        """Return whether one of them stops the run."""
        stops = [watcher.iteration(run) for watcher in self.watchers]  # all of them are told
        return any(stops)

    def end(self, run: Run) -> None:
        """Pass on how a long run ended."""
        for watcher in self.watchers:
            watcher.end(run)


@dataclass
class Progress:
    """Prints a line for each start, and the bound of the long run as it climbs.

    Parameters
    ----------
    owner : str
        Class name of the mixture, which every line begins with.
    verbose : int
        0 prints nothing, 1 fewer iterations the more there were, 2 every iteration.
    """

    owner: str
    verbose: int
    began: float = field(default_factory=time.perf_counter)
    _next: float = 1.0

    def line(self, text: str) -> None:
        """Print a line with the seconds since the fit began."""
        if self.verbose:
            print(f"[{self.owner}] {text} ({time.perf_counter() - self.began:.1f} s)", flush=True)

    def begin_starts(self, most: int) -> None:
        """Print nothing: starts are told of when all have ended."""

    def round(self, records: list[Restart], settled: list[Restart]) -> None:
        """Print nothing."""

    def begin(self, record: Restart) -> None:
        """Print nothing."""

    def goes_on(self, run: Run) -> None:
        """Print nothing."""

    def starts(self, records: list[Restart]) -> None:
        """Print the bound of every start before the long run."""
        for number, record in enumerate(records, start=1):
            flags = f", {' and '.join(record.flags)}" if record.flags else ""
            self.line(
                f"start {number} of {len(records)}: bound {record.bound:.6g} after "
                f"{record.n_iter} iterations{flags}"
            )

    def iteration(self, run: Run) -> bool:
        """Print the bound of an iteration; return that the run may go on."""
        done = len(run.bounds)
        if done == 1:
            self._next = 1.0
        if self.verbose > 1 or done >= self._next:
            self._next = max(done + 1, GROWTH * done)
            self.line(f"iteration {done}: bound {run.bounds[-1]:.6g}")
        return False

    def end(self, run: Run) -> None:
        """Print how a long run ended."""
        how = "converged" if run.converged else "ended"
        self.line(f"{how} after {len(run.bounds)} iterations: bound {run.bound:.6g}")
