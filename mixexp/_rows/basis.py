"""Bases: fitted transformers between the selected columns and a design."""

from __future__ import annotations

import copy
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn import config_context
from sklearn.pipeline import FeatureUnion, Pipeline

from mixexp._guests import failures_named
from mixexp.bases import QuantileBasis, SplineBasis

__all__ = ["Based", "Basis", "plain_columns"]


@dataclass(frozen=True, eq=False)
class Basis:
    """A fitted transformer of the selected columns, whose output a design centres and scales.

    Attributes
    ----------
    transformer : transformer
    width : int
        Number of columns of its output.
    takes_sparse : bool
        Whether sparse rows are given to it as they are.
    name : str
        Of mixture, parameter and transformer, for messages.
    """

    transformer: Any
    width: int
    takes_sparse: bool
    name: str

    def outputs(self, X: Any) -> np.ndarray:
        """Return the output (m, width) for the selected columns of rows, in float64.

        The transformer gets a copy, which it may modify. NaN is passed on where the row has one.
        """
        values = owned_rows(X, self.takes_sparse)
        with failures_named(lambda: self.name), config_context(transform_output="default"):
            output = self.transformer.transform(values)
        output = as_matrix(output, X.shape[0], self.name)
        if output.shape[1] != self.width:
            raise ValueError(
                f"{self.name} gives {output.shape[1]} columns for some rows and {self.width} for "
                "those it was fitted on. Use a transformer with a fixed output."
            )
        unknown = np.isnan(output).any(axis=1)
        if unknown.any():
            self._refuse_new_missing(X, unknown)
        return output

    def _refuse_new_missing(self, X: Any, unknown: np.ndarray) -> None:
        """Raise if a row without missing values has unknown outputs."""
        rows = X[unknown]
        given = np.isnan(rows.toarray() if sp.issparse(rows) else rows).any(axis=1)
        if not given.all():
            raise ValueError(
                f"{self.name} gives NaN for rows that have no missing value, "
                f"{int(np.sum(~given))} of {X.shape[0]}. Use a transformer that is defined for all "
                "numbers."
            )

    @property
    def sources(self) -> np.ndarray:
        """The column that each output comes from, for a basis of `mixexp.bases`; else its own.

        A transformer of others may mean anything by `sources_`, and a subclass may add outputs.
        """
        known = self.transformer
        if isinstance(known, QuantileBasis | SplineBasis) and len(known.sources_) == self.width:
            return known.sources_
        return np.arange(self.width)

    def estimator(self, input_names: np.ndarray | None) -> Any:
        """Return a copy of the transformer for users, with the names of its columns if known."""
        transformer = copy.deepcopy(self.transformer)
        if input_names is not None:
            _name_columns(transformer, input_names)
        return transformer

    def names(self, input_names: Any) -> list[str]:
        """Return the names of the output, given those of the selected columns."""
        try:
            names = self.transformer.get_feature_names_out(np.asarray(input_names, dtype=object))
        except (AttributeError, ValueError):  # not every transformer can name its output
            names = ()
        if len(names) != self.width:
            return [f"basis{j}" for j in range(self.width)]
        return [str(name) for name in names]


class Based(NamedTuple):
    """Columns together with their basis, as `Rows.design` takes them."""

    columns: np.ndarray | None
    basis: Basis


def _name_columns(transformer: Any, names: np.ndarray) -> None:
    """Tell a fitted transformer the names of its columns: it was fitted on rows without names."""
    if isinstance(transformer, Pipeline):
        _name_columns(transformer.steps[0][1], names)
    elif isinstance(transformer, FeatureUnion):
        for _, part in transformer.transformer_list:
            _name_columns(part, names)
    else:
        with suppress(AttributeError):  # "drop", "passthrough", or a property
            transformer.feature_names_in_ = names


def plain_columns(columns: Any) -> Any:
    """Return the columns of a selection, without its basis."""
    return columns.columns if isinstance(columns, Based) else columns


def owned_rows(X: Any, takes_sparse: bool) -> Any:
    """Return a copy of rows for a transformer, in float64 and dense unless it takes sparse ones."""
    if not sp.issparse(X):
        return np.array(X, dtype=np.float64)
    return X.astype(np.float64, copy=True) if takes_sparse else X.toarray().astype(np.float64)


def as_matrix(output: Any, n_rows: int, name: str) -> np.ndarray:
    """Return a transformer's output as a dense float64 matrix; raise if it is none."""
    if sp.issparse(output):
        output = output.toarray()
    remedy = "Use a transformer that gives a row of numbers for every row."
    try:
        output = np.asarray(output)
        matrix: np.ndarray = output.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} gives values that are not numbers ({error}). {remedy}") from error
    if matrix.ndim != 2 or len(matrix) != n_rows or matrix.shape[1] == 0:
        raise ValueError(
            f"{name} gives an array of shape {matrix.shape} for {n_rows} rows. {remedy}"
        )
    return matrix
