"""Experts in words: the result of `describe_experts`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np

from mixexp.inspection._effects import Effect
from mixexp.inspection._rules import Region
from mixexp.inspection._table_columns import number

__all__ = ["ExpertDescription", "ExpertDescriptions"]

#: Effects below this share of the largest one are left out of texts.
SMALL = 0.05

#: Headings of effects by their trends.
HEADINGS = {
    "rises": "raised by",
    "falls": "lowered by",
    "bends": "bent by",
    "differs": "differs by",
}


@dataclass(frozen=True)
class ExpertDescription:
    """What `describe_experts` found out about one expert.

    Attributes
    ----------
    name : str
        "expert 0" and so on, with the path of its leaf in a tree; "fallback".
    share : float
        Share of the rows that it answers: its routing weight is the largest.
    usage : float
        Its mean routing weight over all rows.
    certainty : float
        Its mean routing weight over the rows that it answers, NaN if there are none.
    region : Region or None
        Rules for these rows, with their fidelity; None if they are all rows, or none.
    where : str
        The rules as text, or why there are none.
    predictions : dict
        Its mean prediction over its rows, by output or class.
    effects : list of Effect
        What moves its prediction, largest first.
    error : float
        Without targets NaN; its root mean squared error on the rows that it answers, over several
        outputs the root of their mean, or the share of rows whose class it gets wrong.
    """

    name: str
    share: float
    usage: float
    certainty: float
    region: Region | None
    where: str
    predictions: dict[str, float]
    effects: list[Effect]
    error: float

    def effects_by_trend(self, max_effects: int) -> dict[str, list[str]]:
        """Return the texts of the largest effects of each output, under a heading by trend.

        Parameters
        ----------
        max_effects : int
            Most effects of an output.
        """
        found: dict[str, list[str]] = {}
        for output in self.predictions:
            own = [effect for effect in self.effects if effect.output == output]
            largest = own[0].size if own else 0.0
            for effect in own[:max_effects]:
                if effect.trend == "none" or effect.size < SMALL * largest:
                    continue
                named = f"{output}, " if len(self.predictions) > 1 else ""
                found.setdefault(HEADINGS[effect.trend], []).append(f"{named}{effect}")
        return {heading: found[heading] for heading in HEADINGS.values() if heading in found}


@dataclass(frozen=True, repr=False)
class ExpertDescriptions:
    """The experts of a mixture in words; `print` shows text, notebooks show HTML.

    ``len(found)`` is the number of descriptions, and ``found[k]`` that of expert k.

    Attributes
    ----------
    title : str
        The model in a line.
    experts : list of ExpertDescription
        One for each expert, then for the fallback of a router.
    error_name : str
        "RMSE" or "error rate".
    max_effects : int
        Most effects that texts show for an expert, of each output.
    unused : list of str
        Names of the columns that neither the gate nor an expert uses, as under an L1 penalty.
    noise, zero : float
        Mean gate probability of the noise and of the zero expert; NaN if there is none.
    """

    title: str
    experts: list[ExpertDescription]
    error_name: str
    max_effects: int
    unused: list[str] = field(default_factory=list)
    noise: float = np.nan
    zero: float = np.nan

    def __len__(self) -> int:
        return len(self.experts)

    def __getitem__(self, k: int) -> ExpertDescription:
        return self.experts[k]

    def __str__(self) -> str:
        return self.to_text()

    __repr__ = __str__

    def to_text(self) -> str:
        """Return the descriptions as text.

        Returns
        -------
        str
        """
        lines = [self.title]
        for expert in self.experts:
            lines += ["", self._headline(expert)]
            for heading, entries in self._parts(expert):
                for i, entry in enumerate(entries):
                    lines.append(f"  {heading if i == 0 else '':<11} {entry}")
        return "\n".join([*lines, *self._closing_lines()])

    def _closing_lines(self) -> list[str]:
        lines = []
        for name, value in {"Noise": self.noise, "Zero expert": self.zero}.items():
            if not np.isnan(value):
                lines += ["", f"{name}: probability {number(value)}, on average over the rows"]
        if self.unused:
            lines += ["", f"Used by none: {', '.join(self.unused)}"]
        return lines

    def _headline(self, expert: ExpertDescription) -> str:
        name = expert.name[0].upper() + expert.name[1:]
        if expert.share == 0:
            return f"{name} answers no row, with a mean weight of {expert.usage:.2f}"
        return (
            f"{name} answers {expert.share:.0%} of the rows, with a mean weight of "
            f"{expert.certainty:.2f}"
        )

    def _parts(self, expert: ExpertDescription) -> Iterator[tuple[str, list[str]]]:
        """Yield headings and their entries."""
        region = expert.region
        yield "where", [expert.where] if region is None else _lines_of(region)
        means = [
            f"{output} {number(value)}" if output else number(value)
            for output, value in expert.predictions.items()
        ]
        error = "" if np.isnan(expert.error) else f"; {self.error_name} {number(expert.error)}"
        yield "predicts", [f"{', '.join(means)} on average{error}"]
        effects = expert.effects_by_trend(self.max_effects)
        yield from effects.items()
        if not effects:
            yield "moved by", ["no column"]

    def to_html(self) -> str:
        """Return the descriptions as HTML, as notebooks show them.

        Returns
        -------
        str
        """
        parts = [f"<p><strong>{escape(self.title)}</strong></p>"]
        for expert in self.experts:
            rows = "".join(
                f"<tr><th>{escape(heading)}</th><td>{'<br>'.join(map(escape, entries))}</td></tr>"
                for heading, entries in self._parts(expert)
            )
            parts.append(
                f"<p>{escape(self._headline(expert))}</p><table><tbody>{rows}</tbody></table>"
            )
        parts += [f"<p>{escape(line)}</p>" for line in self._closing_lines() if line]
        return "\n".join(parts)

    _repr_html_ = to_html

    def to_frame(self) -> Any:
        """Return the descriptions as a pandas data frame.

        Returns
        -------
        pandas.DataFrame
            One row for each expert, indexed by its name: `share`, `usage`, `certainty`, `where`,
            `fidelity`, `precision`, `coverage`, `error`, and the texts of the effects by their
            headings.
        """
        import pandas as pd

        rows = []
        for expert in self.experts:
            effects = expert.effects_by_trend(self.max_effects)
            row = {name: getattr(expert, name) for name in ("share", "usage", "certainty", "where")}
            for name in ("fidelity", "precision", "coverage"):
                row[name] = np.nan if expert.region is None else getattr(expert.region, name)
            row["error"] = expert.error
            row |= {h.replace(" ", "_"): "; ".join(effects.get(h, [])) for h in HEADINGS.values()}
            rows.append(row)
        return pd.DataFrame(rows, index=[expert.name for expert in self.experts])

    def effects_to_frame(self) -> Any:
        """Return all effects as a pandas data frame.

        Returns
        -------
        pandas.DataFrame
            One row for each expert, output and column: `expert`, `output`, `feature`, `trend`,
            `slope`, `change`, `size`, `values`, `predictions`; `Effect` says what each is.
        """
        import pandas as pd

        names = ("output", "feature", "trend", "slope", "change", "size", "values", "predictions")
        rows = [
            {"expert": expert.name} | {name: getattr(effect, name) for name in names}
            for expert in self.experts
            for effect in expert.effects
        ]
        return pd.DataFrame(rows, columns=["expert", *names])


def _lines_of(region: Region) -> list[str]:
    """Return a line for each rule, and one that says how well they hold."""
    rules = [("or " if i else "") + str(rule) for i, rule in enumerate(region.rules)]
    holds = (
        f"(fidelity {region.fidelity:.2f}: {region.coverage:.0%} of its rows are there, and "
        f"{region.precision:.0%} of the rows there are its own)"
    )
    return [*rules, holds]
