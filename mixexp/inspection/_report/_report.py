"""Build the page of a fitted mixture."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from numbers import Integral
from pathlib import Path
from typing import Any

from mixexp._wrapped import refuse_offset
from mixexp.inspection._report import _sections as parts
from mixexp.inspection._report._calibrated import calibration_section
from mixexp.inspection._report._concerns import concerns, concerns_section
from mixexp.inspection._report._facts import (
    counted,
    model_section,
    reproduce_section,
    title_of,
)
from mixexp.inspection._report._held_out import HeldOut, held_out
from mixexp.inspection._report._page import Section, note, page
from mixexp.inspection._report._run import convergence_section, loads_section
from mixexp.inspection._report._subject import OWNER, Rows, Subject, rows_of, subject_of

__all__ = ["Report", "report"]

#: Pixels of the frame in a notebook.
FRAME = 700


@dataclass(frozen=True, repr=False)
class Report:
    """A page about a fitted mixture, made by `report`; notebooks show it in a frame.

    Attributes
    ----------
    title : str
        Its title.
    html : str
        The whole page: it needs no other file and no network, and runs no script.
    warnings : list of str
        What its section of warnings says.
    left_out : dict of str to str
        Sections that could not be given, by name, and why.
    """

    title: str
    html: str
    warnings: list[str]
    left_out: dict[str, str]

    def save(self, path: str | os.PathLike) -> Path:
        """Write the page to a file.

        The file is there as a whole or not at all: one that was there before stays until then.

        Parameters
        ----------
        path : str or path
            Where to write, such as "report.html".

        Returns
        -------
        pathlib.Path
            The path.
        """
        path = Path(path)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            part.write_text(self.html, encoding="utf-8", newline="\n")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        return path

    def __repr__(self) -> str:
        found = counted(len(self.warnings), "warning")
        return f"Report({self.title!r}, {found}, {counted(len(self.html) // 1024, 'KiB', 'KiB')})"

    def _repr_html_(self) -> str:
        """Return a frame with the page, whose style stays inside."""
        return (
            f'<iframe srcdoc="{escape(self.html)}" title="{escape(self.title)}" sandbox '
            f'style="width: 100%; height: {FRAME}px; border: 1px solid #8888"></iframe>'
        )


def report(
    estimator: Any,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    offset: Any = None,
    X_test: Any = None,
    y_test: Any = None,
    cv: Any = 3,
    title: str | None = None,
    random_state: int = 0,
) -> Report:
    """Put everything there is to see of a fitted mixture on one HTML page.

    Sections: the model in words; warnings; scores beside those of one expert; regions; the experts
    in words; profiles of their columns; coefficients with standard errors; loads; calibration;
    convergence; how to reproduce it. One that cannot be given says why.

    Parameters
    ----------
    estimator : estimator
        A fitted MixtureOfExpertsClassifier or MixtureOfExpertsRegressor, a Pipeline that ends in
        one, or a search over one of these.
    X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
        Rows as `estimator` takes them, best those of its fit: standard errors need these.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Their targets.
    sample_weight : array-like of shape (n_samples,), default=None
        Frequencies of the rows, as in `fit`; None means 1 for every row.
    offset : array-like of shape (n_samples,), default=None
        Added to the linear predictor, as in `fit`. Not with `X_test`.
    X_test : {array-like, sparse matrix, data frame} of shape (n_test, n_features), default=None
        Rows that the fit has not seen: scores and calibration are then on these, with nothing
        fitted again but the single expert, on X and y.
    y_test : array-like of shape (n_test,) or (n_test, n_outputs), default=None
        Their targets.
    cv : int, splitter or None, default=3
        Without `X_test`: folds in which mixture and single expert are fitted again, with the
        transformers before them, to be scored on rows that they have not seen. None leaves out
        scores and calibration, and fits nothing.
    title : str, default=None
        Title of the page; None names the number of experts and the target.
    random_state : int, default=0
        Seeds the folds, and the choice of rows that are drawn where there are many. The same input
        gives the same page.

    Returns
    -------
    Report
        ``save("report.html")`` writes it; `html`, `warnings` and `left_out` are its attributes.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If the estimator is not a mixture of experts.
    ValueError
        If X, y or another parameter is not valid; the message names it. If the mixture was fitted
        with an offset, and none is given.

    See Also
    --------
    mixexp.describe_experts : The experts in words.
    mixexp.routing_report : Loads, balance and cost of routing.

    Notes
    -----
    Refits are of the estimator as it was set up: with ``n_experts="auto"`` each chooses its own
    number of experts, and a search is not repeated: its best parameters are taken, which have seen
    all rows. One expert is the same expert on all rows without gate, routing, noise or zero expert.

    Examples
    --------
    >>> import mixexp
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> X, y = load_tone(return_X_y=True, as_frame=True)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    >>> page = mixexp.report(model, X, y)
    >>> page.title
    'Mixture of 2 experts for tuned'
    >>> page.left_out
    {}
    """
    if not isinstance(random_state, Integral) or random_state < 0:
        raise ValueError(
            f"{OWNER}: random_state={random_state!r} must be a whole number of at least 0. Leave "
            "it out."
        )
    rows = rows_of(X, y, sample_weight, offset)
    test = _test_rows(X_test, y_test, offset)
    subject = subject_of(estimator, rows, str(getattr(y, "name", None) or "y"))
    if offset is None:
        refuse_offset(subject.mixture, OWNER, "Give the offset of these rows.")
    title = title_of(subject) if title is None else str(title)
    sections, texts, left_out = _sections(subject, test, cv, int(random_state))
    subtitle = f"{counted(len(rows), 'row')}, {counted(rows.X.shape[1], 'column')}"
    return Report(title, page(title, subtitle, sections), texts, left_out)


def _test_rows(X_test: Any, y_test: Any, offset: Any) -> Rows | None:
    if (X_test is None) != (y_test is None):
        given, missing = ("X_test", "y_test") if y_test is None else ("y_test", "X_test")
        raise ValueError(f"{OWNER}: {given} was given without {missing}. Give both, or neither.")
    if X_test is None:
        return None
    if offset is not None:
        raise ValueError(
            f"{OWNER}: offset was given, and X_test has none. Leave X_test out: scores are then by "
            "cross-validation, with the offset."
        )
    return rows_of(X_test, y_test, None, None)


def _sections(
    subject: Subject, test: Rows | None, cv: Any, seed: int
) -> tuple[list[Section], list[str], dict[str, str]]:
    """Return all sections in their order, the warnings, and what was left out."""
    left_out: dict[str, str] = {}

    def given(name: str, title: str, make: Callable[[], Section]) -> Section:
        try:
            return make()
        except (TypeError, ValueError) as error:
            left_out[name] = str(error)
            return Section(name, title, [note(f"Left out. {error}")])

    found: HeldOut | None = None

    def scores() -> Section:
        nonlocal found
        if test is None and cv is None:
            raise ValueError("Scores need rows that the fit has not seen: give X_test, or cv.")
        found = held_out(subject, test, cv, seed)
        return parts.scores_section(subject, found)

    def calibration() -> Section:
        if found is None:
            raise ValueError("Calibration needs rows that the fit has not seen, as scores do.")
        return calibration_section(subject, found)

    scored = given("scores", "Scores", scores)
    summary = given("summary", parts.SUMMARY, lambda: parts.summary_section(subject))
    texts = concerns(subject, found, left_out.get("summary", ""))
    return (
        [
            model_section(subject),
            concerns_section(texts),
            scored,
            given("regions", "Regions", lambda: parts.regions_section(subject, seed)),
            given("experts", parts.WORDS, lambda: parts.experts_section(subject)),
            given("profiles", "Profiles", lambda: parts.profiles_section(subject, seed)),
            summary,
            given("loads", "Loads", lambda: loads_section(subject)),
            given("calibration", "Calibration", calibration),
            convergence_section(subject),
            reproduce_section(subject),
        ],
        texts,
        left_out,
    )
