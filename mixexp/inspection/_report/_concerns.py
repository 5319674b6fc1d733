"""What a reader of a report should worry about, in words."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp.inspection._report._facts import counted
from mixexp.inspection._report._held_out import COVERAGE, HeldOut, mean_gain
from mixexp.inspection._report._page import Section, alerts, paragraph
from mixexp.inspection._report._subject import Subject
from mixexp.inspection._table_columns import number

__all__ = ["concerns", "concerns_section"]

#: Fewer rows for each parameter than this, and estimates are noisy: the usual rule of thumb.
ROWS_PER_PARAMETER = 10

#: An expert that answers a smaller share of the rows than this hardly takes part.
SMALL_SHARE = 0.01

#: A dispersion below this share of the spread of y: the expert runs through its rows.
SMALL_DISPERSION = 1e-3

#: Coverage may differ from its target by this much before it is said.
COVERAGE_GAP = 0.05

#: Words of `summary` where parameters are not determined, rather than without standard errors.
UNDETERMINED = ("near-singular", "separates", "no maximum")

#: Families whose dispersions are in units of y.
IN_UNITS_OF_Y = ("gaussian", "laplace", "student_t")

#: Weights that differ by less than this between rows are the same for all.
SAME = 1e-9


def concerns(subject: Subject, found: HeldOut | None, no_summary: str) -> list[str]:
    """Return warnings about a fit, the gravest first.

    Parameters
    ----------
    subject : Subject
    found : HeldOut or None
        None without held-out rows.
    no_summary : str
        Why there are no standard errors; empty if there are.
    """
    return [
        *_of_the_run(subject.mixture),
        *_of_loads(subject),
        *_of_dispersions(subject),
        *_of_information(no_summary),
        *_of_size(subject, no_summary),
        *([] if found is None else _of_scores(subject, found)),
    ]


def concerns_section(texts: list[str]) -> Section:
    """Return the section of warnings."""
    body = alerts(texts) if texts else paragraph("Nothing to warn of was found.")
    return Section("warnings", "Warnings", [body])


def _of_the_run(mixture: Any) -> list[str]:
    texts = []
    if not mixture.converged_:
        texts.append(
            f"The fit did not converge within max_iter={mixture.max_iter} iterations at "
            f"tol={mixture.tol}: estimates may still move. Increase max_iter."
        )
    ends = [record for record in mixture.restarts_ if "long run" in record.events]
    if not ends:
        return texts
    chosen = min(ends, key=lambda record: (bool(record.flags), -record.bound))
    events = [event for event in chosen.events if event != "long run"]
    if events:
        texts.append(
            f"During the fit: {'; '.join(events)}. There may be fewer regimes than "
            "n_experts; lower it, or penalise the gate more."
        )
    if chosen.flags:
        texts.append(
            f"The fit that is returned is flagged: {'; '.join(chosen.flags)}. It may be a spurious "
            "maximum of the likelihood. Lower n_experts, or raise n_init."
        )
    return texts


def _of_loads(subject: Subject) -> list[str]:
    mixture, weight = subject.mixture, subject.rows.weight
    n = len(mixture.experts_)
    if n == 1:
        return []
    routed = subject.routed
    if float(np.ptp(routed, axis=0).max()) < SAME:
        return ["The gate does not depend on the columns: it has the same weights in every row."]
    winners = np.bincount(routed.argmax(axis=1), weights=weight, minlength=n)[:n] / weight.sum()
    texts = []
    for name, share in zip(subject.expert_names, winners, strict=True):
        if share < SMALL_SHARE:
            answers = "no row" if share == 0 else f"{100 * share:.2g} % of the rows"
            texts.append(
                f"{name[0].upper()}{name[1:]} answers {answers}. Fewer experts may do as well."
            )
    return texts


def _of_dispersions(subject: Subject) -> list[str]:
    mixture, rows = subject.mixture, subject.rows
    dispersions = getattr(mixture, "dispersions_", None)
    family = getattr(mixture, "family", None)
    if dispersions is None or getattr(family, "name", family) not in IN_UNITS_OF_Y:
        return []
    y = rows.y.reshape(len(rows), -1)
    mean = np.average(y, axis=0, weights=rows.weight)
    spread = np.sqrt(np.average((y - mean) ** 2, axis=0, weights=rows.weight))
    small = dispersions.reshape(len(dispersions), -1) < SMALL_DISPERSION * spread
    return [
        f"The dispersion of expert {k} is {number(float(dispersions[k].min()))}, next to nothing "
        "beside the spread of the target: it runs through its rows. They may be copies of each "
        "other, or too few; if not, the target follows a rule there."
        for k in np.flatnonzero(small.any(axis=1))
    ]


def _of_information(no_summary: str) -> list[str]:
    if not any(word in no_summary for word in UNDETERMINED):
        return []
    return [f"Some parameters are not determined by these rows. {no_summary}"]


def _of_size(subject: Subject, no_summary: str) -> list[str]:
    """Warn of few rows for the parameters, where parameters can be counted."""
    if no_summary:
        return []
    n = subject.rows.weight.sum()
    size = int(subject.summary.facts["parameters"])
    if n >= ROWS_PER_PARAMETER * size:
        return []
    return [
        f"There are {counted(size, 'parameter')} for {n:.6g} rows, {number(n / size)} rows for "
        f"each. Below {ROWS_PER_PARAMETER}, estimates are noisy and the fit may follow noise; "
        "fewer experts need less."
    ]


def _of_scores(subject: Subject, found: HeldOut) -> list[str]:
    texts = []
    gain = mean_gain(found)
    if gain is not None and gain[0] < gain[1] and len(subject.mixture.experts_) > 1:
        texts.append(
            "On rows that it has not seen, the mixture is no better than one expert by more than "
            f"the standard error: {number(gain[0])} nats a row, standard error {number(gain[1])}."
        )
    known = [each for each in found.mixture if each.calibration is not None]
    if known:
        weight = [each.rows.weight.sum() for each in known]
        inside = float(np.average([a.calibration.observed[0] for a in known], weights=weight))
        if abs(inside - COVERAGE) > COVERAGE_GAP:
            width = "narrow" if inside < COVERAGE else "wide"
            texts.append(
                f"Intervals are too {width}: {100 * inside:.0f} % of the held-out targets are in "
                f"those of {100 * COVERAGE:.0f} %."
            )
    if found.warned:
        texts.append(
            f"{found.warned} of {counted(len(found.mixture), 'fit')} by cross-validation warned, "
            "as of convergence or of experts that collapsed: the model may be unstable."
        )
    return texts
