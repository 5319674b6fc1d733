"""Names of a mixture's columns that know how the transformers before it made them."""

from __future__ import annotations

import warnings
from collections import UserList
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.feature_selection import SelectorMixin
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from mixexp.inspection._room import shortened

__all__ = ["ColumnName", "first_step", "names_in_input_units"]

#: Increasing functions of one number, and their inverses.
INVERSES: dict[Any, Callable] = {
    np.log: np.exp,
    np.log1p: np.expm1,
    np.log2: np.exp2,
    np.log10: lambda value: np.power(10.0, value),
    np.sqrt: np.square,
    np.cbrt: lambda value: np.power(value, 3),
    np.exp: np.log,
    np.expm1: np.log1p,
}

#: What the name of a column says of transformers that keep the order of its values.
ORDERED = {PowerTransformer: "power-transformed", QuantileTransformer: "by quantile"}


class ColumnName(str):
    """The name of a column that is slope · quantity + intercept.

    As a string it is the quantity, with ", scaled" behind it if the two differ: it names the
    column's own numbers.

    Attributes
    ----------
    quantity : str
        An input, or an increasing function of one, such as "log income".
    slope, intercept : float
        How the column is made of it.
    source : str
        Name of the input.
    to_source : callable or None
        The input as a function of the quantity, if that is another one.
    """

    quantity: str
    slope: float
    intercept: float
    source: str
    to_source: Callable | None

    @classmethod
    def of(cls, origin: Origin) -> ColumnName:
        """Return the name of a column of this origin."""
        scaled = (origin.slope, origin.intercept) != (1.0, 0.0)
        name = cls(f"{origin.quantity}, scaled" if scaled else origin.quantity)
        name.quantity, name.source = origin.quantity, origin.source
        name.slope, name.intercept = origin.slope, origin.intercept
        name.to_source = origin.to_source
        return name

    def shortened(self, n_letters: int) -> ColumnName:
        """Return the name with at most so many letters of the quantity and of the input."""
        return ColumnName.of(
            Origin(
                shortened(self.quantity, n_letters),
                shortened(self.source, n_letters),
                self.slope,
                self.intercept,
                self.to_source,
            )
        )


@dataclass(frozen=True)
class Origin:
    """How a column was made; see `ColumnName`."""

    quantity: str
    source: str
    slope: float = 1.0
    intercept: float = 0.0
    to_source: Callable | None = None

    def scaled(self, slope: float, intercept: float) -> Origin:
        """Return the origin of slope · column + intercept."""
        return replace(self, slope=slope * self.slope, intercept=slope * self.intercept + intercept)

    def ordered(self, name: str, inverse: Callable | None) -> Origin:
        """Return the origin of an increasing function of the column; None if it has no inverse."""
        if inverse is None:
            return Origin(name, self.source)

        def to_source(value: Any) -> Any:
            quantity = (inverse(value) - self.intercept) / self.slope
            return quantity if self.to_source is None else self.to_source(quantity)

        return Origin(name, self.source, to_source=to_source)


def names_in_input_units(before: Sequence[Any], names: Sequence[str] | None, n: int) -> list[str]:
    """Return the names of a mixture's columns.

    Parameters
    ----------
    before : list of fitted transformers
        The steps before the mixture.
    names : sequence of str or None
        The columns of the input; None means x0, x1 and so on.
    n : int
        Columns of the mixture.

    Returns
    -------
    list of str
        `ColumnName` where a column is known as a function of one input. A transformed column
        never has the name of its input alone.
    """
    first = first_step(before)
    if first is None:
        return list(names) if names is not None else [f"x{j}" for j in range(n)]
    n_inputs = getattr(first, "n_features_in_", n)
    known = names if names is not None else getattr(first, "feature_names_in_", None)
    if known is None or len(known) != n_inputs:
        known = [f"x{j}" for j in range(n_inputs)]
    found = [Origin(str(name), str(name)) for name in known]
    for step in before:
        found = _after(step, found)
    if len(found) != n:
        found = [Origin(f"column {j} of {_kind(before[-1])}", "") for j in range(n)]
    return [ColumnName.of(origin) for origin in found]


def first_step(before: Sequence[Any]) -> Any:
    """Return the first transformer that changes columns, inside Pipelines; None without one."""
    for step in before:
        if isinstance(step, Pipeline):
            step = first_step([inner for _, inner in step.steps])
        if step is not None and not isinstance(step, str):  # "passthrough"
            return step
    return None


def _kind(step: Any) -> str:
    return type(step.steps[-1][1] if isinstance(step, Pipeline) else step).__name__


def _after(step: Any, found: list[Origin]) -> list[Origin]:
    """Return the origins of the outputs of a fitted transformer."""
    if isinstance(step, str) or step is None:
        return found if step != "drop" else []
    if isinstance(step, Pipeline):
        for _, inner in step.steps:
            found = _after(inner, found)
        return found
    if isinstance(step, ColumnTransformer):
        return _of_column_transformer(step, found)
    if isinstance(step, SelectorMixin):
        return [found[j] for j in step.get_support(indices=True)]
    scales = _affine(step, len(found))
    if scales is not None:
        return [o.scaled(float(a), float(b)) for o, a, b in zip(found, *scales, strict=True)]
    plain = isinstance(step, SimpleImputer) and not step.add_indicator
    if plain and not np.any(_missing(step.statistics_)):
        return found
    if isinstance(step, FunctionTransformer):
        return _of_function(step, found)
    if isinstance(step, tuple(ORDERED)):
        what = ORDERED[type(step)] if type(step) in ORDERED else _kind(step)
        return [
            origin.ordered(f"{ColumnName.of(origin)}, {what}", _inverse_of(step, j, len(found)))
            for j, origin in enumerate(found)
        ]
    return _by_output(step, found)


def _missing(statistics: Any) -> Any:
    return [value != value for value in statistics]


def _affine(step: Any, n: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Return slope and intercept (n,) of a scaler of each column, or None if it is no such."""
    ones, zeros = np.ones(n), np.zeros(n)
    if isinstance(step, StandardScaler | RobustScaler):
        scale = ones if getattr(step, "scale_", None) is None else step.scale_
        standard = isinstance(step, StandardScaler)
        shifted = step.with_mean if standard else step.with_centering
        center = (step.mean_ if standard else step.center_) if shifted else zeros
        return ones / scale, -center / scale
    if isinstance(step, MinMaxScaler) and not step.clip:
        return step.scale_, step.min_
    if isinstance(step, MaxAbsScaler):
        return ones / step.scale_, zeros
    return None


def _of_function(step: FunctionTransformer, found: list[Origin]) -> list[Origin]:
    if step.func is None:
        return found
    if step.func in INVERSES:
        name, inverse = step.func.__name__, INVERSES[step.func]
        return [origin.ordered(f"{name} {ColumnName.of(origin)}", inverse) for origin in found]
    return _by_output(step, found)


def _inverse_of(step: Any, j: int, n: int) -> Callable:
    """Return the inverse of a transformer for one of its columns."""

    def inverse(value: float) -> float:
        row = np.zeros((1, n))
        row[0, j] = value
        with warnings.catch_warnings():  # the row has no column names
            warnings.simplefilter("ignore", UserWarning)
            return float(np.asarray(step.inverse_transform(row))[0, j])

    return inverse


def _of_column_transformer(step: ColumnTransformer, found: list[Origin]) -> list[Origin]:
    indices = step.output_indices_
    outputs: dict[int, Origin] = {}
    for name, transformer, columns in step.transformers_:
        places = indices.get(name)
        if places is None or places.start == places.stop:
            continue
        own = [found[j] for j in _positions(columns, step, len(found))]
        made = _after(transformer, own)
        if len(made) != places.stop - places.start:
            return []
        outputs.update(zip(range(places.start, places.stop), made, strict=True))
    return [outputs[j] for j in sorted(outputs)]


def _positions(columns: Any, step: Any, n: int) -> list[int]:
    """Return the positions of the columns that a transformer takes."""
    if isinstance(columns, UserList):  # of the remainder, which warns if it is read as a list
        columns = columns.data
    if isinstance(columns, slice) and not isinstance(columns.start or columns.stop, str):
        return list(range(n))[columns]
    names = [str(name) for name in getattr(step, "feature_names_in_", [])]
    if isinstance(columns, slice):
        first = 0 if columns.start is None else names.index(columns.start)
        last = n if columns.stop is None else names.index(columns.stop) + 1
        return list(range(first, last))
    chosen = [columns] if isinstance(columns, str | int) else list(columns)
    if chosen and isinstance(chosen[0], bool | np.bool_):
        return np.flatnonzero(chosen).tolist()
    return [names.index(c) if isinstance(c, str) else int(c) % n for c in chosen]


def _by_output(step: Any, found: list[Origin]) -> list[Origin]:
    """Return the outputs by the transformer's names; those of an input say that it is changed."""
    labels = [str(ColumnName.of(origin)) for origin in found]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            names = [str(name) for name in step.get_feature_names_out(_given(step, labels))]
    except (AttributeError, ValueError):  # the step cannot name its output
        return []
    raw = {origin.source for origin in found}
    return [Origin(f"{name}, by {_kind(step)}" if name in raw else name, name) for name in names]


def _given(step: Any, labels: list[str]) -> Any:
    """Return the names that a transformer takes: its own if it was fitted with some."""
    own = getattr(step, "feature_names_in_", None)
    return np.array(labels, dtype=object) if own is None else own
