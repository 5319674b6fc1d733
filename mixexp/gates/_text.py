"""Gates as text: the scores of a node's children, and a tree of nodes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.exceptions import NotFittedError

from mixexp.protocols import Design

__all__ = ["TextMixin", "Wording", "check_gate", "tree_text"]

#: A constant or term below this share of the node's largest term is rounding error.
NEGLIGIBLE = 1e-10

#: Numbers of this size and above are written with an exponent.
LARGE = 1e6

#: Placeholder for omitted terms in short texts.
DOTS = " + ..."

#: Names that would be misread in a sum: they look like a number, a sum or an inequality.
AMBIGUOUS = re.compile(r"[-+]?[\d.]+(e[-+]?\d+)?|[-+<>].*|.*\s[-+<>]\s.*|\s.*|.*\s|", re.IGNORECASE)

Path = tuple[int, ...]


def readable(name: str) -> str:
    """Return a name for use in a sum, quoted if it would be misread there.

    Quoting also escapes line breaks: the text has one line per node.
    """
    return name if name.isprintable() and not AMBIGUOUS.fullmatch(name) else repr(name)


@dataclass(frozen=True)
class Wording:
    """Format of a gate's text: names of all input features, digits, terms per sum.

    A name may say how its column was made: as slope · `quantity` + intercept, where `to_source`
    turns the quantity into the input `source`. The text then speaks of the quantity, and a border
    of one term of the input.
    """

    names: list[str]
    decimals: int
    max_terms: int

    @classmethod
    def checked(
        cls, gate: Any, n_features: int, feature_names: Any, decimals: Any, max_terms: Any
    ) -> Wording:
        """Return the wording; raise if a parameter is invalid for this gate."""
        owner = type(gate).__name__
        for name, value, lowest in [("decimals", decimals, 0), ("max_terms", max_terms, 1)]:
            whole = isinstance(value, Integral) and not isinstance(value, bool)
            if not whole or value < lowest:
                raise ValueError(
                    f"{owner}: {name} must be a whole number of at least {lowest}, got {value!r}."
                )
        if feature_names is None:
            return cls([f"x{j}" for j in range(n_features)], decimals, max_terms)
        unordered = isinstance(feature_names, str | Set | Mapping)
        try:
            names = [] if unordered else list(feature_names)
        except TypeError:
            names = []
        if len(names) != n_features or any(np.ndim(name) for name in names):
            raise ValueError(
                f"{owner}: feature_names={feature_names!r} is not a list of {n_features} names. "
                "Give one per feature of the mixture's input, including those that the gate does "
                "not see, or None for x0, x1 and so on."
            )
        names = [name if isinstance(name, str) else str(name) for name in names]
        return cls(names, decimals, max_terms)

    def number(self, value: float) -> str:
        """Return a number with `decimals` decimals, or as many significant digits if it is small.

        Coefficients are in units of the input: 0.0003 may matter as much as 3.
        """
        size = abs(value)
        if size == 0 or (0.1 if self.decimals else 1) <= size < LARGE:
            return f"{value:.{self.decimals}f}"
        return f"{value:.{max(self.decimals, 1)}g}"


def check_gate(gate: Any, attribute: str) -> None:
    """Raise NotFittedError if a gate has not been fitted in a mixture."""
    if not hasattr(gate, attribute):
        raise NotFittedError(
            f"{type(gate).__name__}: this gate is not fitted. Fit a mixture with it, and ask the "
            "mixture's gate_."
        )


@dataclass(frozen=True)
class Score:
    """A linear function of the input: its largest terms, with the others at their means."""

    slopes: np.ndarray
    names: list[str]
    constant: float
    n_left_out: int
    #: Name of the input of the first term, and the input as a function of that term.
    source: tuple[str, Callable] | None = None

    @classmethod
    def of(
        cls, slopes: np.ndarray, constant: float, design: Design, names: list[str], wording: Wording
    ) -> Score:
        """Return the score with the terms that vary most over the training rows.

        A term that varies by less than a hundredth of the last decimal of the largest one is not
        counted as left out: penalties that set themselves leave such of columns without use.
        """
        spread = np.abs(slopes) * design.scale
        largest = spread.max(initial=0.0)
        least = NEGLIGIBLE * max(largest, abs(constant + float(slopes @ design.center)))
        least = max(least, 0.1 ** (wording.decimals + 2) * largest)
        order = np.argsort(-spread, kind="stable")
        seen = order[: np.count_nonzero(spread > least)]
        kept = seen[: wording.max_terms]
        rest = order[len(kept) :]
        constant += float(slopes[rest] @ design.center[rest])
        if len(kept) and abs(constant) < NEGLIGIBLE * spread[kept[0]]:
            constant = 0.0
        own = [names[j] for j in kept]
        constant += float(slopes[kept] @ [getattr(name, "intercept", 0.0) for name in own])
        first = getattr(own[0], "to_source", None) if own else None
        return cls(
            slopes[kept] * [getattr(name, "slope", 1.0) for name in own],
            [readable(getattr(name, "quantity", name)) for name in own],
            constant,
            len(seen) - len(kept),
            None if first is None else (readable(own[0].source), first),
        )

    def in_words(self, wording: Wording, after: str = "") -> str:
        """Return the sum as text, then `after`, then the number of omitted terms."""
        n = self.n_left_out
        counted = f" ({n} term{'s' * (n > 1)} at mean)" if n else ""
        return self.as_sum(wording) + after + counted

    def as_sum(self, wording: Wording, dots: str = "") -> str:
        """Return the sum as text, with `dots` in place of omitted terms."""
        parts = _sum_of(self.slopes, self.names, wording) + (dots if self.n_left_out else "")
        sign = "-" if self.constant < 0 else "+"
        size = wording.number(abs(self.constant))
        return f"{parts} {sign} {size}" if parts else wording.number(self.constant)

    def as_border(self, wording: Wording) -> str:
        """Return the condition for a positive score, in units of its largest term."""
        if not len(self.slopes):
            return f"log-odds {wording.number(self.constant)} everywhere"
        lead = self.slopes[0]
        alone = len(self.slopes) == 1 and not self.n_left_out
        if alone and self.source is not None:
            name, to_source = self.source
            with np.errstate(all="ignore"):
                value = float(to_source(-self.constant / lead))
            if np.isfinite(value):
                return f"{name} {'>' if lead > 0 else '<'} {wording.number(value + 0.0)}"
        parts = _sum_of(self.slopes / lead, self.names, wording)
        border = wording.number(-self.constant / lead + 0.0)
        dots = DOTS if self.n_left_out else ""
        return f"{parts}{dots} {'>' if lead > 0 else '<'} {border}"


def _sum_of(slopes: np.ndarray, names: list[str], wording: Wording) -> str:
    """Return the terms as text; a coefficient of 1 is omitted."""
    words = ""
    for slope, name in zip(slopes, names, strict=True):
        sign = ("-" if slope < 0 else "") if not words else (" - " if slope < 0 else " + ")
        words += sign + (name if abs(slope) == 1 else f"{wording.number(abs(slope))} {name}")
    return words


def node_scores(gate: Any, wording: Wording) -> list[Score]:
    """Return the score of every child; for two children, only the log-odds of the first."""
    design = gate.design
    if design.basis is None:  # names that know how their column was made keep that
        names = [wording.names[j] for j in design.columns]
    else:
        names = design.names(wording.names)
    inputs = [getattr(name, "source", name) for name in wording.names]
    names += [f"missing({readable(inputs[j])})" for j in gate.indicator_features_]
    slopes = np.hstack([gate.coef_, gate.indicator_coef_]) / gate.temperature
    constants = gate.intercept_ / gate.temperature
    if len(slopes) == 2:
        slopes, constants = -np.diff(slopes, axis=0), -np.diff(constants)
    pairs = zip(slopes, constants, strict=True)
    return [Score.of(v, float(c), design, names, wording) for v, c in pairs]


def node_splits(gate: Any, wording: Wording) -> list[str]:
    """Return the condition for each child: an inequality for two children, else its score."""
    scores = node_scores(gate, wording)
    n_children = len(gate.coef_)
    if n_children == 1:
        return [""]
    if n_children == 2:
        return [scores[0].as_border(wording), "otherwise"]
    return [f"score {score.as_sum(wording, DOTS)}" for score in scores]


def named(path: Path) -> str:
    """Return the name of a node or leaf."""
    return ".".join(map(str, path)) if path else "root"


def tree_text(
    nodes: dict[Path, Any],
    paths: list[Path],
    children: Callable[[Path], list[Path]],
    wording: Wording,
) -> str:
    """Return one line per node or leaf, indented by depth.

    Parameters
    ----------
    nodes : dict
        A fitted softmax gate at each path.
    paths : list of tuple
        Path of every expert.
    children : callable
        Returns the paths of a node's children.
    wording : Wording
    """
    experts = {path: k for k, path in enumerate(paths)}

    def lines(path: Path, depth: int, score: str) -> Iterator[str]:
        leaf = f"expert {experts[path]}" if path in experts else ""
        says = "; ".join(filter(None, [leaf, score, "" if leaf else split(path)]))
        yield "  " * depth + (f"{named(path)}: {says}" if says else named(path))
        if leaf:
            return
        scores = node_scores(nodes[path], wording)
        below = children(path)
        several = len(below) > 2
        for number, child in enumerate(below):
            note = f"score {scores[number].in_words(wording)}" if several else ""
            yield from lines(child, depth + 1, note)

    def split(path: Path) -> str:
        below = children(path)
        if len(below) == 2:
            (difference,) = node_scores(nodes[path], wording)
            condition = difference.in_words(wording, " > 0")
            return f"{named(below[0])} where {condition}, otherwise {named(below[1])}"
        return "the highest score wins" if len(below) > 2 else ""

    return "\n".join(lines((), 0, ""))


class TextMixin:
    """Methods that describe a softmax gate as text."""

    n_features_in_: int
    coef_: Any
    l1_ratio: float
    design: Design
    unused_features_: Any

    def to_text(self, feature_names: Any = None, *, decimals: int = 2, max_terms: int = 4) -> str:
        """Return the gate as text: one line per expert, with its score.

        Scores are log g_k(x) up to a term common to all experts. Coefficients are `coef_` divided
        by the temperature, in units of the input, and the expert with the highest score is the most
        likely. Two experts have a single score, the log-odds of the first. A last line names the
        columns whose coefficients are all 0 under an L1 penalty.

        Parameters
        ----------
        feature_names : sequence of str, default=None
            One per feature of the mixture's input; of a mixture in a Pipeline, those of
            `mixexp.inspection.column_names` give borders in units of the Pipeline's input. None
            means the names of the fit, or x0, x1 and so on. Names that would be misread in a sum,
            such as "2" or "a + b", are quoted.
        decimals : int, default=2
            Digits after the decimal point; numbers below 0.1 get as many significant digits.
        max_terms : int, default=4
            Number of terms shown per score: the largest by coefficient times standard deviation
            of the column. The others are counted, and evaluated at the mean of their column.

        Returns
        -------
        str

        Raises
        ------
        NotFittedError
            If the gate does not belong to a fitted mixture.
        ValueError
            If a parameter is invalid; the message names it.

        Examples
        --------
        >>> from mixexp import MixtureOfExpertsRegressor
        >>> from mixexp.datasets import load_ethanol
        >>> X, y = load_ethanol(return_X_y=True, as_frame=True)
        >>> model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
        >>> print(model.gate_.to_text(decimals=1))
        root: 0 where 0.2 nox - 0.5 > 0, otherwise 1
          0: expert 0
          1: expert 1
        """
        wording = self._wording(feature_names, decimals, max_terms)
        paths: list[Path] = [(k,) for k in range(len(self.coef_))]
        text = tree_text({(): self}, paths, lambda path: paths, wording)
        unused = self._unused_names(wording)
        return f"{text}\nused by none: {', '.join(unused)}" if unused else text

    def split_texts(
        self, feature_names: Any = None, *, decimals: int = 2, max_terms: int = 4
    ) -> list[str]:
        """Return the condition for each expert, or child of a node, as text.

        Parameters
        ----------
        feature_names, decimals, max_terms
            As in `to_text`; dots stand for omitted terms.

        Returns
        -------
        list of str
            One per expert. For two experts, the condition for the first to be more likely, in units
            of the most important feature, and "otherwise"; for more experts, their scores.

        Raises
        ------
        NotFittedError, ValueError
            As in `to_text`.

        Examples
        --------
        >>> from mixexp import MixtureOfExpertsRegressor
        >>> from mixexp.datasets import load_ethanol
        >>> X, y = load_ethanol(return_X_y=True, as_frame=True)
        >>> model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
        >>> model.gate_.split_texts()
        ['nox > 1.94', 'otherwise']
        """
        return node_splits(self, self._wording(feature_names, decimals, max_terms))

    def _unused_names(self, wording: Wording) -> list[str]:
        """Return the names of the columns that an L1 penalty has left out."""
        if not self.l1_ratio:
            return []
        found = self.design.columns.tolist()
        names = self.design.names(wording.names)
        if self.design.basis is not None:
            found = range(len(names))
        return [readable(names[found.index(j)]) for j in self.unused_features_]

    def _wording(self, feature_names: Any, decimals: Any, max_terms: Any) -> Wording:
        check_gate(self, "theta")
        if feature_names is None:
            feature_names = getattr(self, "feature_names_in_", None)
        return Wording.checked(self, self.n_features_in_, feature_names, decimals, max_terms)
