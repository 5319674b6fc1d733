"""What a fit prints of its progress, where `verbose` asks for it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the parts that report import this module
    from mixexp._engine.em import Run
    from mixexp._engine.starts import Restart

__all__ = ["Progress"]

#: With verbosity 1, an iteration is printed when their number has grown by this factor.
GROWTH = 1.5


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
