"""The sections of a report; one that cannot be given raises, and its place says why."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp.inspection._convergence_display import ConvergenceDisplay
from mixexp.inspection._describe import describe_experts
from mixexp.inspection._descriptions import ExpertDescriptions
from mixexp.inspection._expert_regions import ExpertRegionsDisplay
from mixexp.inspection._gate_tree_display import GateTreeDisplay
from mixexp.inspection._report._facts import counted
from mixexp.inspection._report._held_out import COVERAGE, HeldOut, mean_gain
from mixexp.inspection._report._page import Section, heading, note, paragraph, table, tables
from mixexp.inspection._report._pictures import SIZE, drawn
from mixexp.inspection._report._subject import Subject, some_rows
from mixexp.inspection._table_columns import number
from mixexp.metrics import effective_n_experts, gate_regret

__all__ = [
    "SUMMARY",
    "WORDS",
    "convergence_section",
    "experts_section",
    "loads_section",
    "regions_section",
    "scores_section",
    "summary_section",
]

#: Titles that are said in two places.
WORDS, SUMMARY = "The experts in words", "Coefficients with standard errors"

#: Rows that are drawn at most: more hide each other, and the file grows.
DRAWN = 2_000

#: Inches of a tree for each level, and for each leaf.
TREE_INCHES = (2.4, 0.5)

#: Starts that are listed at most.
LISTED = 20


def scores_section(subject: Subject, found: HeldOut) -> Section:
    """Compare the mixture with its single expert on rows that the fits have not seen."""
    columns = {"mixture": found.mixture} | ({"one expert": found.single} if found.single else {})
    scores = {name: _scores(answers, subject.classes) for name, answers in columns.items()}
    lines = [
        [label, *(number(each[label]) for each in scores.values())]
        for label in scores["mixture"]
        if not any(np.isnan(each[label]) for each in scores.values())
    ]
    parts = [paragraph(found.how), table("Scores", ["score", *columns], lines)]
    if found.why_not:
        parts.append(note(found.why_not))
    else:
        parts.append(note("One expert: the same expert on all rows, with no gate."))
    gain = mean_gain(found)
    if gain is not None:
        words = "more" if gain[0] >= 0 else "less"
        text = (
            f"The mixture gives the targets {number(abs(gain[0]))} nats a row {words} log-density "
            f"than one expert does (standard error {number(gain[1])})."
        )
        parts.insert(1, paragraph(text))
    return Section("scores", "Scores", parts)


def _scores(answers: list[Any], classes: bool) -> dict[str, float]:
    """Return the scores of all folds, weighted by their rows."""
    weight = [each.rows.weight.sum() for each in answers]

    def mean(values: list[float]) -> float:
        return float(np.average(values, weights=weight))

    density = mean([np.average(a.log_density, weights=a.rows.weight) for a in answers])
    squared = mean([each.squared for each in answers])
    score = mean([each.score for each in answers])
    if classes:
        return {"accuracy": score, "log loss, nats a row": -density, "Brier score": squared}
    known = all(each.calibration is not None for each in answers)
    inside = mean([each.calibration.observed[0] for each in answers]) if known else np.nan
    return {
        "R²": score,
        "RMSE": float(np.sqrt(squared)),
        "log-density, nats a row": density,
        f"targets in {100 * COVERAGE:.0f} % intervals, %": 100 * inside,
    }


def regions_section(subject: Subject, seed: int) -> Section:
    """Draw where each expert has the largest weight."""
    rows = some_rows(subject.rows, DRAWN, seed)
    options: dict[str, Any] = {}
    if np.shape(rows.X)[1] == 1:
        several = len(subject.mixture.classes_) > 2 if subject.classes else rows.y.ndim == 2
        if several:  # curves are of one class or output: the most frequent, the first
            options["target"] = _most_frequent(rows.y) if subject.classes else 0
    sample = "" if len(rows) == len(subject.rows) else f", {len(rows)} of the rows as dots"

    def draw(ax: Any) -> None:
        ExpertRegionsDisplay.from_estimator(subject.estimator, rows.X, rows.y, ax=ax, **options)

    caption = (
        "The colour is that of the expert with the largest weight, pale where the gate is not "
        f"certain{sample}. A dot has the colour of the expert that explains its target best."
    )
    parts = [drawn(draw, "Regions of the experts over the columns that the axes name", caption)]
    if getattr(subject.mixture.gate_, "paths_", None) is not None:
        parts.append(_tree(subject))
    return Section("regions", "Regions", parts)


def _most_frequent(labels: np.ndarray) -> Any:
    values, counts = np.unique(labels, return_counts=True)
    return values[counts.argmax()]


def _tree(subject: Subject) -> str:
    paths = subject.mixture.gate_.paths_
    width, height = TREE_INCHES
    size = (max(SIZE[0], width * (1 + max(map(len, paths)))), 1 + height * len(paths))
    return drawn(
        lambda ax: GateTreeDisplay.from_estimator(subject.estimator, subject.rows.X, ax=ax),
        "Tree of the gate, with a split at every node",
        "The gate's tree: each node says what sends rows to which side.",
        size,
    )


def described(subject: Subject) -> ExpertDescriptions:
    """Return the experts in words."""
    rows = subject.rows
    y = rows.y if rows.offset is None else None  # errors would be without the offset
    weight = rows.weight if rows.weighted else None
    return describe_experts(subject.estimator, rows.X, y, weight)


def experts_section(subject: Subject) -> Section:
    """Say where each expert answers, and what moves its prediction."""
    found = described(subject)
    parts = [note("Errors are on the rows given as X, y, which the fit may have seen.")]
    return Section("experts", WORDS, [*parts, found.to_html()])


def summary_section(subject: Subject) -> Section:
    """Give coefficients with standard errors."""
    rows = subject.rows
    found = subject.mixture.summary(subject.inside, rows.y, **rows.fit_arguments)
    n_lines = len(found.estimates.estimates)
    return Section("summary", SUMMARY, [tables(found.to_html(), "Coefficients", n_lines)])


def loads_section(subject: Subject) -> Section:
    """Say how many rows each expert has."""
    mixture, weight = subject.mixture, subject.rows.weight
    routed = np.asarray(mixture.route(subject.inside))
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
    ]
    return Section("loads", "Loads", parts)


def _gate_words(subject: Subject) -> list[str]:
    if len(subject.mixture.experts_) == 1:
        return []
    mixture, X, rows = subject.mixture, subject.inside, subject.rows
    effective = effective_n_experts(mixture, X, sample_weight=rows.weight)
    parts = [paragraph(f"A row has {effective:.2f} effective experts on average.")]
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
                "The lower bound of the run that is returned, by iteration, and where starts ended.",
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
