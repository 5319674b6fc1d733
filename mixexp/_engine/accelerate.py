"""The choice of the finish of a run."""

from __future__ import annotations

from dataclasses import dataclass

from mixexp._engine.em import Run
from mixexp._engine.finish import MOST_PARAMETERS, NewtonFinish
from mixexp._engine.quasi_newton import QuasiNewtonFinish
from mixexp._engine.sweep import State
from mixexp.protocols import can

__all__ = ["Finish"]


@dataclass(frozen=True)
class Finish:
    """An accelerator: Newton steps for few parameters, quasi-Newton steps for many."""

    tol: float
    max_iter: int

    def begun(self, state: State) -> NewtonFinish | QuasiNewtonFinish:
        """Return the finish for a run from this state."""
        known = all(can(part, "get_parameters") for part in state.parts)
        if known and len(state.parameters) > MOST_PARAMETERS:
            return QuasiNewtonFinish(self.tol)
        return NewtonFinish(self.tol, self.max_iter)

    def __call__(self, run: Run) -> State | None:
        """Propose nothing: a run calls the finish that `begun` returns."""
        return None
