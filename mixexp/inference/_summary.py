"""Tables of coefficients, one an expert and one for the gate."""

from __future__ import annotations

import html
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from mixexp.inference._covariance import parameter_covariance
from mixexp.inference._estimates import ParameterEstimates, check_level
from mixexp.inference._terms import check_mixture, terms_of

__all__ = ["COV_TYPES", "Summary", "summarize"]

#: Kinds of covariance.
COV_TYPES = ("observed", "sandwich")

#: Width of a column of numbers.
WIDTH = 11


@dataclass(frozen=True)
class Summary:
    """Estimates with standard errors, as tables.

    Made by `summarize`. `print` shows text, notebooks show HTML.

    Attributes
    ----------
    title : str
        The model in a line.
    facts : dict
        What is said above the tables: number of observations, log-likelihood and others.
    estimates : ParameterEstimates
        Arrays of all numbers.
    level : float
        Coverage of the intervals.
    """

    title: str
    facts: dict[str, str]
    estimates: ParameterEstimates
    level: float

    @property
    def _head(self) -> list[str]:
        low = f"{(1 - self.level) / 2:.3g}"
        high = f"{(1 + self.level) / 2:.3g}"
        return ["estimate", "std error", "z", "P > |z|", f"[{low}", f"{high}]"]

    def _tables(self) -> list[tuple[str, list[tuple[str, list[str]]]]]:
        """Return the caption and the rows of every table: a name and six numbers as text."""
        values = self.estimates
        numbers = np.column_stack(
            [
                values.estimates,
                values.std_errors,
                values.z_values,
                values.p_values,
                values.intervals(self.level),
            ]
        )
        rows = []
        for part, output, name, row in zip(
            values.parts, values.outputs, values.names, numbers, strict=True
        ):
            table = part if part.startswith("expert") else "gate"
            owner = output if table == part else part.removeprefix("gate ")
            label = f"{owner}: {name}" if owner else name
            rows.append((table, (label, [_text(value, i) for i, value in enumerate(row)])))
        return [
            (table, [row for _, row in members])
            for table, members in groupby(rows, key=lambda row: row[0])
        ]

    def __str__(self) -> str:
        tables = self._tables()
        width = max(len(label) for _, rows in tables for label, _ in rows) + 2
        line = "-" * (width + 6 * WIDTH)
        text = [self.title, *(f"{name}: {value}" for name, value in self.facts.items())]
        for caption, rows in tables:
            head = f"{caption:{width}}" + "".join(f"{name:>{WIDTH}}" for name in self._head)
            text += ["", head, line]
            for label, numbers in rows:
                text.append(f"{label:{width}}" + "".join(f"{n:>{WIDTH}}" for n in numbers))
        return "\n".join(text)

    def to_html(self) -> str:
        """Return the tables as HTML, as notebooks show them.

        Returns
        -------
        str
        """
        facts = "<br>".join(
            f"{html.escape(name)}: {html.escape(value)}" for name, value in self.facts.items()
        )
        parts = [f"<p><strong>{html.escape(self.title)}</strong><br>{facts}</p>"]
        for caption, rows in self._tables():
            head = "".join(f"<th>{html.escape(name)}</th>" for name in self._head)
            body = "".join(
                f"<tr><th>{html.escape(label)}</th>"
                + "".join(f"<td>{number}</td>" for number in numbers)
                + "</tr>"
                for label, numbers in rows
            )
            parts.append(
                f"<table><thead><tr><th>{html.escape(caption)}</th>{head}</tr></thead>"
                f"<tbody>{body}</tbody></table>"
            )
        return "\n".join(parts)

    _repr_html_ = to_html

    def to_latex(self) -> str:
        """Return the tables as LaTeX, one `tabular` each.

        Returns
        -------
        str
        """
        blocks = []
        for caption, rows in self._tables():
            lines = [r"\begin{tabular}{lrrrrrr}", r"\hline"]
            lines.append(" & ".join([_latex(caption), *map(_latex, self._head)]) + r" \\ \hline")
            lines += [" & ".join([_latex(label), *numbers]) + r" \\" for label, numbers in rows]
            blocks.append("\n".join([*lines, r"\hline", r"\end{tabular}"]))
        return "\n\n".join(blocks)

    def to_frame(self) -> Any:
        """Return the estimates as a pandas data frame, one row a parameter.

        Returns
        -------
        pandas.DataFrame
        """
        return self.estimates.to_frame(self.level)


#: LaTeX's special characters.
SPECIAL = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"$|$",
}


def _latex(text: str) -> str:
    return "".join(SPECIAL.get(character, character) for character in text)


def _text(value: float, column: int) -> str:
    """Return a number of a table; nothing for NaN."""
    if np.isnan(value):
        return ""
    if column == 3:
        return f"{value:.3f}"
    return f"{value:.2f}" if column == 2 else f"{value:.4g}"


def summarize(
    estimator: Any,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    offset: Any = None,
    groups: Any = None,
    cov_type: str = "observed",
    clusters: Any = None,
    level: float = 0.95,
    feature_names: Any = None,
) -> Summary:
    """Return the coefficients of a fitted mixture with standard errors.

    Parameters
    ----------
    estimator : MixtureOfExpertsRegressor or MixtureOfExpertsClassifier
        Fitted, with linear experts (all families but laplace) and a softmax or constant gate.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        The rows of the fit.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Their targets.
    sample_weight : array-like of shape (n_samples,), default=None
        Their frequencies, as in `fit`.
    offset : array-like of shape (n_samples,), default=None
        As in `fit`.
    groups : array-like of shape (n_samples,), default=None
        As in `fit`: a group is one unit.
    cov_type : {"observed", "sandwich"}, default="observed"
        "observed" is the inverse of the observed information (Louis 1982). "sandwich" has the sum
        of squared scores between two of it, which holds where the densities are misspecified
        (White 1982).
    clusters : array-like of shape (n_samples,), default=None
        Rows of one cluster may depend on each other; needs ``cov_type="sandwich"``. With `groups`,
        a group must lie in one cluster.
    level : float, default=0.95
        Coverage of the intervals.
    feature_names : sequence of str, default=None
        One per column of X. None means the names of the fit, or x0, x1 and so on; of the mixture
        in a Pipeline, `inspection.column_names(pipeline)`.

    Returns
    -------
    Summary

    Raises
    ------
    ValueError
        If a parameter is invalid; if gate or experts have no derivatives; if the information is
        near-singular; if the estimates are not an optimum for these rows.

    Notes
    -----
    Numbers are in units of the input. Coefficients of a gate are centred over the experts, those of
    more than two classes over the classes, as in the attributes of the same name. A penalty is part
    of the objective: the errors are then those of a posterior whose prior is the penalty, and
    estimates are shrunk towards 0. Dispersions are treated as parameters too; least squares divides
    by n − p in their place, so that its errors are larger by √(n / (n − p)). No correction is made
    for the choice of the number of experts.

    References
    ----------
    Louis (1982), Finding the observed information matrix when using the EM algorithm, JRSS B 44.
    White (1982), Maximum likelihood estimation of misspecified models, Econometrica 50.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> from mixexp.inference import summarize
    >>> X, y = load_tone(return_X_y=True)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    >>> summary = summarize(model, X, y)
    >>> summary.facts["observations"]
    '150'
    """
    check_mixture(estimator, "summarize")
    owner = type(estimator).__name__
    if cov_type not in COV_TYPES:
        raise ValueError(
            f"summarize: cov_type must be one of {', '.join(map(repr, COV_TYPES))}, got "
            f"{cov_type!r}."
        )
    check_level(level)
    if clusters is not None and cov_type != "sandwich":
        raise ValueError(
            "summarize: clusters were given, and cov_type='observed' takes rows as independent. "
            "Set cov_type='sandwich'."
        )
    if clusters is not None:
        clusters = _checked_clusters(clusters, len(y))
    rows, codes = estimator._rows_of_fit(X, y, sample_weight, offset, groups, clusters)
    model = estimator._model
    model.target.refuse_impossible(rows.y, owner)
    terms = terms_of(estimator, feature_names)
    information = model.information(rows)
    bound = estimator.lower_bound_
    covariance = parameter_covariance(model, rows, information, bound, cov_type, codes, owner)
    linear = np.array([term.weights for term in terms])
    positive = np.array([term.exponential for term in terms])
    estimates = linear @ model.state.parameters
    estimates[positive] = np.exp(estimates[positive])
    slopes = np.where(positive, estimates, 1.0)
    values = ParameterEstimates(
        [term.part for term in terms],
        [term.output for term in terms],
        [term.name for term in terms],
        estimates,
        slopes[:, None] * (linear @ covariance @ linear.T) * slopes,
        positive,
    )
    count = model.counted(rows, information).n_parameters
    facts = _facts(estimator, rows, count, cov_type, codes)
    return Summary(f"{owner}, {model.n_experts} experts", facts, values, level)


def _checked_clusters(clusters: Any, n: int) -> np.ndarray:
    """Return the codes of clusters, one a row."""
    values = np.asarray(clusters)
    if values.shape != (n,):
        raise ValueError(
            f"summarize: clusters must have one entry a row, shape ({n},), got {values.shape}."
        )
    missing = np.array([value is None or value != value for value in values.tolist()])
    if np.any(missing):
        raise ValueError(
            f"summarize: clusters has {int(missing.sum())} missing values. Give every row a "
            "cluster."
        )
    try:
        codes: np.ndarray = np.unique(values, return_inverse=True)[1]
    except TypeError as error:  # text and numbers have no order
        raise ValueError(
            "summarize: clusters has values of several kinds, such as text and numbers. Give all "
            "of one kind."
        ) from error
    return codes


def _facts(
    estimator: Any, rows: Any, size: float, cov_type: str, clusters: np.ndarray | None
) -> dict:
    """Return what is said above the tables."""
    model, units = estimator._model, rows.units
    density = model.log_density(rows)
    weight = units.weight
    total = float(density.sum() if weight is None else density @ weight)
    n, full = units.total_weight, model.n_parameters(type(estimator).__name__)
    covariance = "observed information" if cov_type == "observed" else "sandwich"
    if clusters is not None:
        covariance += f", {clusters.max() + 1} clusters"
    effective = {} if size == full else {"effective parameters": f"{size:.6g}"}
    return {
        "groups" if rows.groups is not None else "observations": f"{n:.6g}",
        "log-likelihood": f"{total:.6g}",
        "parameters": str(full),
        **effective,
        "AIC": f"{2 * size - 2 * total:.6g}",
        "BIC": f"{size * np.log(n) - 2 * total:.6g}",
        "covariance": covariance,
    }
