"""The sections of a report; one that cannot be given raises, and its place says why."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixexp._wrapped import predicts_shares
from mixexp.inspection._conditional_density import ConditionalDensityDisplay
from mixexp.inspection._describe import describe_experts
from mixexp.inspection._descriptions import ExpertDescriptions
from mixexp.inspection._expert_profiles import ExpertProfilesDisplay
from mixexp.inspection._expert_regions import ExpertRegionsDisplay
from mixexp.inspection._gate_tree_display import GateTreeDisplay
from mixexp.inspection._report._held_out import COVERAGE, HeldOut, mean_gain
from mixexp.inspection._report._page import Section, note, paragraph, table, tables
from mixexp.inspection._report._pictures import SIZE, drawn
from mixexp.inspection._report._subject import Rows, Subject, some_rows
from mixexp.inspection._table_columns import number

__all__ = [
    "SUMMARY",
    "WORDS",
    "experts_section",
    "profiles_section",
    "regions_section",
    "scores_section",
    "summary_section",
]

#: Titles that are said in two places.
WORDS, SUMMARY = "The experts in words", "Coefficients with standard errors"

#: Rows that are drawn at most: more hide each other, and the file grows.
DRAWN = 2_000

#: Columns of a picture of profiles, and pictures where there are many classes or outputs.
COLUMNS, PROFILES = 12, 4

#: Inches around the marks of profiles, and for each.
PROFILE_INCHES = (1.6, 0.085)

#: Inches of a tree for each level, and for each leaf.
TREE_INCHES = (2.4, 0.5)


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
    y = _targets(rows)
    options: dict[str, Any] = {}
    if np.shape(rows.X)[1] == 1:
        several = len(subject.mixture.classes_) > 2 if subject.classes else rows.y.ndim == 2
        if several:  # curves are of one class or output: the most frequent, the first
            options["target"] = _most_frequent(rows.y) if subject.classes else 0

    def draw(ax: Any) -> None:
        ExpertRegionsDisplay.from_estimator(subject.estimator, rows.X, y, ax=ax, **options)

    caption = _regions_caption(subject, rows, y)
    parts = [drawn(draw, "Regions of the experts over the columns that the axes name", caption)]
    if np.shape(rows.X)[1] == 1 and hasattr(subject.mixture, "sample_y"):
        parts.append(_density(subject, rows, y, options))
    if getattr(subject.mixture.gate_, "paths_", None) is not None:
        parts.append(_tree(subject))
    return Section("regions", "Regions", parts)


def _regions_caption(subject: Subject, rows: Rows, y: Any) -> str:
    if np.shape(rows.X)[1] == 1:
        text = (
            "Above: how probable each expert is. Below: predictions of the experts, strong where "
            "the gate trusts them, and of the mixture."
        )
    else:
        text = (
            "The colour is that of the expert with the largest weight, pale where the gate is not "
            "certain."
        )
    owner = "has the largest weight there" if y is None else "explains its target best"
    dots = f" A dot has the colour of the expert that {owner}"
    drawn_rows = f"; {len(rows)} of {len(subject.rows)} rows are drawn."
    return text + dots + (drawn_rows if len(rows) < len(subject.rows) else ".")


def _density(subject: Subject, rows: Rows, y: Any, options: dict[str, Any]) -> str:
    """Draw the density of numbers over the only column."""
    return drawn(
        lambda ax: ConditionalDensityDisplay.from_estimator(
            subject.estimator, rows.X, y, ax=ax, **options
        ),
        "Density of the target over the column",
        "The density of the target given the column, with the means of the experts.",
    )


def _targets(rows: Rows) -> Any:
    """Return targets for what takes no offset: where there is one, errors would be wrong."""
    return rows.y if rows.offset is None else None


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
    weight = rows.weight if rows.weighted else None
    return describe_experts(subject.estimator, rows.X, rows.y, weight, offset=rows.offset)


def experts_section(subject: Subject) -> Section:
    """Say where each expert answers, and what moves its prediction."""
    found = described(subject)
    parts = [note("Errors are on the rows given as X, y, which the fit may have seen.")]
    return Section("experts", WORDS, [*parts, found.to_html()])


def profiles_section(subject: Subject, seed: int) -> Section:
    """Draw the coefficients of the columns by expert, or their importance."""
    rows, mixture = subject.rows, subject.mixture
    targets: list[Any] = [None]
    if subject.classes and len(mixture.classes_) > 2:
        targets = list(mixture.classes_)
    elif rows.y.ndim == 2 and rows.y.shape[1] > 1 and not predicts_shares(mixture):
        targets = list(range(rows.y.shape[1]))
    parts = [_profile(subject, target, seed) for target in targets[:PROFILES]]
    if len(targets) > PROFILES:
        parts.append(note(f"The first {PROFILES} of {len(targets)}."))
    return Section("profiles", "Profiles", parts)


def _profile(subject: Subject, target: Any, seed: int) -> str:
    rows = subject.rows
    marks = min(subject.inside.shape[1], COLUMNS) * (1 + len(subject.mixture.experts_))
    around, each = PROFILE_INCHES

    def draw(ax: Any) -> None:
        ExpertProfilesDisplay.from_estimator(
            *(subject.estimator, rows.X, rows.y),
            target=target,
            sample_weight=rows.weight if rows.weighted else None,
            random_state=seed,
            ax=ax,
            max_columns=COLUMNS,
        )

    of = "" if target is None else f" of {target}" if subject.classes else f" of output {target}"
    return drawn(
        draw,
        f"What moves the prediction{of}, by column and expert",
        f"What moves the prediction{of}: a mark for each column and expert; 0 is nothing.",
        (SIZE[0], around + each * marks),
    )


def summary_section(subject: Subject) -> Section:
    """Give coefficients with standard errors."""
    found = subject.summary
    n_lines = len(found.estimates.estimates)
    return Section("summary", SUMMARY, [tables(found.to_html(), "Coefficients", n_lines)])
