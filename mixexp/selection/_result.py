"""What a comparison of numbers of experts has found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixexp._engine.growth import Grown, Growth

__all__ = ["ExpertSelection"]

#: Columns of the table, with the width and format of the text.
TABLE = (
    ("n_experts", "experts", 8, "d"),
    ("lower_bound", "bound", 10, ".4f"),
    ("log_likelihood", "log-lik.", 11, ".1f"),
    ("n_parameters", "parameters", 11, ".1f"),
    ("aic", "AIC", 10, ".1f"),
    ("aic3", "AIC3", 10, ".1f"),
    ("bic", "BIC", 10, ".1f"),
    ("icl", "ICL", 10, ".1f"),
    ("cv", "CV", 9, ".4f"),
    ("cv_shortfall_error", "± of gap", 9, ".4f"),
    ("fit_time", "time", 8, ".2f"),
)


@dataclass(frozen=True, eq=False, repr=False)
class ExpertSelection:
    """Mixtures of several numbers of experts, and the one that was chosen.

    Made by `select_n_experts`, and by ``n_experts="auto"``, whose fits have it as `selection_`.
    Arrays have one entry a candidate, in ascending order of the number of experts.

    Attributes
    ----------
    criterion : str
        What the number was chosen by.
    n_experts_ : int
        The chosen number.
    best_estimator_ : estimator or None
        The mixture of the chosen number, fitted to all rows; None in `selection_`, which is itself
        an attribute of that mixture.
    n_experts : ndarray of int of shape (n_candidates,)
        Numbers of experts.
    lower_bound : ndarray of shape (n_candidates,)
        Lower bounds per unit of weight, as `lower_bound_`.
    log_likelihood : ndarray of shape (n_candidates,)
        Weighted log-likelihoods; of cross-fitted experts, out of fold.
    n_parameters : ndarray of shape (n_candidates,)
        Parameters, effective ones where they are penalised; NaN where they cannot be counted.
    counted : list of str
        How they were counted: "exact", "effective", "complete", "full" or "unknown", as the notes
        of `select_n_experts` say.
    aic, aic3, bic, icl : ndarray of shape (n_candidates,)
        Criteria, of which the smallest is best.
    cv : ndarray of shape (n_candidates,)
        Mean held-out log-densities per unit of weight, of which the largest is best; NaN where
        they were not computed. ``n_experts="auto"`` computes them where parameters are many.
    cv_shortfall_error : ndarray of shape (n_candidates,)
        Standard error of the difference between the largest held-out log-density and this one, of
        the same rows; 0 for the largest.
    fit_time : ndarray of shape (n_candidates,)
        Seconds for growing to this number, the fit and its criteria.
    converged : ndarray of bool of shape (n_candidates,)
        Whether EM converged.
    flags : list of list of str
        Spurious maxima, as in `restarts_`; a flagged candidate is chosen only if all are.
    """

    criterion: str
    n_experts_: int
    best_estimator_: Any
    n_experts: np.ndarray
    lower_bound: np.ndarray
    log_likelihood: np.ndarray
    n_parameters: np.ndarray
    counted: list[str]
    aic: np.ndarray
    aic3: np.ndarray
    bic: np.ndarray
    icl: np.ndarray
    cv: np.ndarray
    cv_shortfall_error: np.ndarray
    fit_time: np.ndarray
    converged: np.ndarray
    flags: list[list[str]]

    @classmethod
    def of(cls, path: Sequence[Grown], growth: Growth, best: int) -> ExpertSelection:
        """Return what a path has found, given the position of the chosen mixture."""
        known = [each for each in path if each.held_out is not None]
        top = max(known, key=lambda each: each.cv) if known else None
        errors = [
            np.nan if top is None or each.held_out is None else each.shortfall(top)[1]
            for each in path
        ]

        def of_all(name: str) -> np.ndarray:
            return np.array([getattr(each, name) for each in path])

        return cls(
            criterion=growth.criterion,
            n_experts_=path[best].n_experts,
            best_estimator_=None,
            n_experts=of_all("n_experts"),
            lower_bound=np.array([each.run.bound for each in path]),
            log_likelihood=np.array([each.fitness.log_likelihood for each in path]),
            n_parameters=np.array([each.count.n_parameters for each in path]),
            counted=[each.count.how for each in path],
            aic=of_all("aic"),
            aic3=of_all("aic3"),
            bic=of_all("bic"),
            icl=of_all("icl"),
            cv=of_all("cv"),
            cv_shortfall_error=np.array(errors),
            fit_time=of_all("seconds"),
            converged=np.array([each.run.converged for each in path]),
            flags=[each.flags for each in path],
        )

    def to_frame(self) -> Any:
        """Return the table as a pandas data frame, one row a candidate, with `n_experts` as index.

        Returns
        -------
        pandas.DataFrame
        """
        import pandas as pd

        columns = {name: getattr(self, name) for name, *_ in TABLE}
        columns |= {"converged": self.converged, "counted": self.counted}
        columns["flags"] = ["; ".join(flags) for flags in self.flags]
        columns["chosen"] = self.n_experts == self.n_experts_
        return pd.DataFrame(columns).set_index("n_experts")

    def __repr__(self) -> str:
        """Return the table as text; the chosen number is marked."""
        shown = [c for c in TABLE if not np.all(np.isnan(getattr(self, c[0])))]
        lines = ["  " + "".join(f"{title:>{width}}" for _, title, width, _ in shown)]
        for i, k in enumerate(self.n_experts):
            mark = "* " if k == self.n_experts_ else "  "
            # a space in front keeps wide numbers apart
            cells = (
                f" {getattr(self, name)[i]:>{width - 1}{kind}}" for name, _, width, kind in shown
            )
            notes = ["" if self.converged[i] else "not converged", *self.flags[i][:1]]
            lines.append(mark + "".join(cells) + "  " * any(notes) + ", ".join(filter(None, notes)))
        head = f"{self.n_experts_} experts, by {self.criterion}"
        return "\n".join([f"{type(self).__name__}: {head}", *lines])
