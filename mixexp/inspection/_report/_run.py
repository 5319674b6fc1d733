"""The sections on what a fit ended with: loads of the experts, and convergence."""

from __future__ import annotations

import numpy as np

from mixexp.inspection._convergence_display import ConvergenceDisplay
from mixexp.inspection._report._facts import counted
from mixexp.inspection._report._page import Section, heading, note, paragraph, table
from mixexp.inspection._report._pictures import SIZE, drawn
from mixexp.inspection._report._subject import Subject
from mixexp.inspection._responsibilities_display import ResponsibilitiesDisplay
from mixexp.inspection._table_columns import number
from mixexp.metrics import effective_n_experts, gate_regret

__all__ = ["convergence_section", "loads_section"]

#: Inches around the lines of responsibilities, and for each expert.
RESPONSIBILITY_INCHES = (1.7, 0.45)

#: Starts that are listed at most.
LISTED = 20


def loads_section(subject: Subject) -> Section:
    """Say how many rows each expert has."""
    mixture, weight = subject.mixture, subject.rows.weight
    routed = subject.routed
    winners, total = routed.argmax(axis=1), weight.sum()
    names = [*subject.expert_names, "fallback"][: routed.shape[1]]
    dispersions = getattr(mixture, "dispersions_", None)
    head = ["", "usage, %", "largest weight, %", "mean weight there"]
    lines = []
    for k, name in enumerate(names):
        own = weight * (winners == k)
        there = own @ routed[:, k] / own.sum() if own.any() else np.nan
        cells = [f"{100 * weight @ routed[:, k] / total:.1f}", f"{100 * own.sum() / total:.1f}"]
        lines.append([name, *cells, "–" if np.isnan(there) else f"{there:.2f}"])
    if dispersions is not None and len(dispersions) == len(lines):
        head.append("dispersion")
        for line, values in zip(lines, np.atleast_2d(dispersions.T).T, strict=True):
            line.append(", ".join(map(number, np.ravel(values))))
    parts = [
        paragraph(
            "Usage is the mean routing weight of all rows. An expert answers the rows where its "
            "weight is the largest."
        ),
        table("Loads of the experts", head, lines),
        *_gate_words(subject),
        *([_responsibilities(subject)] if subject.rows.offset is None else []),
    ]
    return Section("loads", "Loads", parts)


def _responsibilities(subject: Subject) -> str:
    rows, n = subject.rows, len(subject.mixture.experts_)
    around, each = RESPONSIBILITY_INCHES
    return drawn(
        lambda ax: ResponsibilitiesDisplay.from_estimator(
            subject.estimator, rows.X, rows.y, sample_weight=rows.weight, ax=ax
        ),
        "Responsibilities of the experts, and which experts share rows",
        "How sure it is, given the target, which expert a row is from. Bars at 0 and 1: experts "
        "are told apart.",
        (SIZE[0], around + each * n),
    )


def _gate_words(subject: Subject) -> list[str]:
    if len(subject.mixture.experts_) == 1:
        return []
    mixture, X, rows = subject.mixture, subject.inside, subject.rows
    effective = effective_n_experts(mixture, X, sample_weight=rows.weight)
    parts = [paragraph(f"A row has {effective:.2f} effective experts on average.")]
    if getattr(mixture, "routing_", None) is not None:
        reached = (subject.routed[:, : len(mixture.experts_)] > 0).sum(axis=1)
        mean = np.average(reached, weights=rows.weight)
        parts.append(paragraph(f"It is sent to {mean:.2f} experts on average."))
    if rows.offset is None:
        lost = gate_regret(mixture, X, rows.y, sample_weight=rows.weight)
        text = (
            f"Were every row answered by the expert that is best for its target, the log-density "
            f"would be {number(lost)} nats a row higher; no gate can reach that."
        )
        parts.append(paragraph(text))
    return parts


def convergence_section(subject: Subject) -> Section:
    """Say how the fit ended, and where its starts did."""
    mixture = subject.mixture
    ended = "converged" if mixture.converged_ else "did not converge"
    text = (
        f"The fit {ended} after {counted(int(mixture.n_iter_), 'iteration')} and "
        f"{counted(int(mixture.n_passes_), 'pass', 'passes')} over the rows."
    )
    parts = [paragraph(text)]
    if len(mixture.lower_bounds_) > 1:
        parts.append(
            drawn(
                lambda ax: ConvergenceDisplay.from_estimator(mixture, ax=ax),
                "Lower bound by iteration",
                "The lower bound by iteration of the run that is returned, and where starts ended.",
            )
        )
    starts = mixture.restarts_
    lines = [
        [str(i), number(r.bound), str(r.n_iter), "; ".join([*r.events, *r.flags]) or "–"]
        for i, r in enumerate(starts[:LISTED])
    ]
    if lines:
        head = ["start", "lower bound", "iterations", "what happened"]
        parts += [heading("Starts"), table("Starts", head, lines, numbers=False)]
    if len(starts) > LISTED:
        parts.append(note(f"The first {LISTED} of {len(starts)} starts."))
    return Section("convergence", "Convergence", parts)
