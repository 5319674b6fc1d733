"""Bases: what gates and linear experts see in place of the columns themselves.

Any transformer may be a basis (`gate_basis`, `expert_basis`). Those of this module have names,
weigh their rows, take missing values, and give the same map whatever the order of the rows.
"""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from scipy.interpolate import BSpline
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from mixexp._compat import Interval, check_weights, checked_feature_names, fit_context

__all__ = ["QuantileBasis", "SplineBasis"]


def __dir__() -> list[str]:
    return __all__


#: Columns beyond 2 to ± this are scaled by a power of 2, which changes no digit: differences of
#: larger numbers leave the range of doubles, and so do inverses of smaller ones.
FAR_EXPONENT = 500


class _ColumnBasis(TransformerMixin, BaseEstimator):
    """A basis that maps each column by itself, from the weighted distribution of its values."""

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Learn the map of every column.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Numbers; missing values (NaN) are left out.
        y : object, default=None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight 2 counts a row twice, weight 0 leaves it out.

        Returns
        -------
        self
        """
        X = self._checked(X, reset=True)
        weight = None
        if sample_weight is not None:
            weight = check_weights(sample_weight, X, type(self).__name__)
        self._learn([_distribution(column, weight) for column in X.T])
        return self

    def _learn(self, distributions: list[tuple[np.ndarray, np.ndarray]]) -> None:
        """Set the fitted attributes from distinct values and distribution function per column."""
        raise NotImplementedError

    def _checked(self, X: Any, *, reset: bool) -> np.ndarray:
        checked: np.ndarray = validate_data(
            self, X, reset=reset, dtype=np.float64, ensure_all_finite="allow-nan"
        )
        return checked

    def _new(self, X: Any) -> np.ndarray:
        """Return checked rows to transform."""
        check_is_fitted(self)
        return self._checked(X, reset=False)

    def _input_names(self, input_features: Any) -> np.ndarray:
        check_is_fitted(self)
        return checked_feature_names(self, input_features)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


class QuantileBasis(_ColumnBasis):
    """Each column beside its quantile map: [x, F(x)].

    F is the weighted distribution function of the column's values: the weight of smaller values
    plus half of that of equal ones, over the total, and linear between values. Beyond the range
    that was seen it is constant. It puts borders on skewed columns where the rows are, while the
    column itself keeps distances and goes on beyond the range.

    A column with at most two distinct values stays alone, as its map would be a scaled copy.

    Parameters
    ----------
    n_quantiles : int, default=1000
        Most values at which F of a column is kept; with more distinct ones, evenly spaced
        quantiles are.

    Attributes
    ----------
    values_, quantiles_ : list of ndarray
        Of every column, values and F there; empty where the column stays alone.
    sources_ : ndarray of int of shape (n_outputs,)
        The column that each output comes from.
    n_features_in_ : int
        Number of columns seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if they were a data frame's.

    Examples
    --------
    >>> import numpy as np
    >>> from mixexp.bases import QuantileBasis
    >>> basis = QuantileBasis().fit(np.array([[1.0], [2.0], [100.0], [100.0]]))
    >>> basis.transform(np.array([[2.0], [51.0]]))
    array([[ 2.    ,  0.375 ],
           [51.    ,  0.5625]])
    >>> basis.get_feature_names_out(["size"]).tolist()
    ['size', 'rank(size)']
    """

    _parameter_constraints: dict = {"n_quantiles": [Interval(Integral, 2, None, closed="left")]}

    def __init__(self, n_quantiles: int = 1000):
        self.n_quantiles = n_quantiles

    def _learn(self, distributions: list[tuple[np.ndarray, np.ndarray]]) -> None:
        self.values_, self.quantiles_ = [], []
        for values, quantiles in distributions:
            kept = _evenly(quantiles, self.n_quantiles)
            if len(values) <= 2:
                kept = kept[:0]
            self.values_.append(values[kept])
            self.quantiles_.append(quantiles[kept])
        mapped = np.flatnonzero([len(values) for values in self.values_])
        self.sources_ = np.append(np.arange(len(self.values_)), mapped)

    def transform(self, X: Any) -> np.ndarray:
        """Return the columns, followed by the maps of those that have one.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Numbers; missing values (NaN) stay missing.

        Returns
        -------
        ndarray of shape (n_samples, n_features + n_maps)
        """
        X = self._new(X)
        maps = zip(X.T, self.values_, self.quantiles_, strict=True)
        ranks = [_ranked(x, values, at) for x, values, at in maps if len(values)]
        return np.column_stack([X, *ranks])

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the output: x0, ..., rank(x0), ...

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the columns; None means those seen in `fit`, or x0, x1 and so on.

        Returns
        -------
        ndarray of str
        """
        names = self._input_names(input_features)
        mapped = zip(names, self.values_, strict=True)
        ranks = [f"rank({name})" for name, values in mapped if len(values)]
        return np.asarray([*names, *ranks], dtype=object)


class SplineBasis(_ColumnBasis):
    """Each column as a B-spline, with knots at its weighted quantiles.

    The functions are those of scikit-learn's `SplineTransformer` without a constant, linear beyond
    the range that was seen. A column with at most two distinct values stays as it is; one with
    few has fewer knots and a lower degree.

    Parameters
    ----------
    n_knots : int, default=4
        Most knots of a column: its least and its largest value among them. More of them follow the
        rows more closely than most borders need.
    degree : int, default=3
        Degree of the polynomials between knots.

    Attributes
    ----------
    knots_ : list of ndarray
        Of every column; empty where it stays as it is.
    degrees_ : list of int
        Of every column.
    sources_ : ndarray of int of shape (n_outputs,)
        The column that each output comes from.
    n_features_in_ : int
        Number of columns seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if they were a data frame's.

    Examples
    --------
    >>> import numpy as np
    >>> from mixexp.bases import SplineBasis
    >>> X = np.arange(20.0).reshape(10, 2)
    >>> SplineBasis(n_knots=3, degree=1).fit(X).get_feature_names_out().tolist()
    ['spline1(x0)', 'spline2(x0)', 'spline1(x1)', 'spline2(x1)']
    """

    _parameter_constraints: dict = {
        "n_knots": [Interval(Integral, 2, None, closed="left")],
        "degree": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(self, n_knots: int = 4, degree: int = 3):
        self.n_knots = n_knots
        self.degree = degree

    def _learn(self, distributions: list[tuple[np.ndarray, np.ndarray]]) -> None:
        self.knots_, self.degrees_ = [], []
        for values, quantiles in distributions:
            n_knots = min(self.n_knots, len(values)) if len(values) > 2 else 0
            knots = np.zeros(0)
            if n_knots:
                at = np.linspace(0.0, 1.0, n_knots)
                exponent = _far_exponent(values)
                knots = np.interp(at, quantiles, np.ldexp(values, -exponent))
                knots = np.unique(np.ldexp(knots, exponent))
            self.knots_.append(knots)
            self.degrees_.append(min(self.degree, max(len(values) - 1, 1)))
        widths = map(_width, self.knots_, self.degrees_)
        self.sources_ = np.repeat(np.arange(len(self.knots_)), list(widths))

    def transform(self, X: Any) -> np.ndarray:
        """Return the splines of all columns.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Numbers; missing values (NaN) stay missing in all outputs of their column.

        Returns
        -------
        ndarray of shape (n_samples, n_outputs)
        """
        X = self._new(X)
        splines = zip(X.T, self.knots_, self.degrees_, strict=True)
        return np.hstack([_splined(x, knots, degree) for x, knots, degree in splines])

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the output: spline1(x0), spline2(x0), ...

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the columns; None means those seen in `fit`, or x0, x1 and so on.

        Returns
        -------
        ndarray of str
        """
        names: list[str] = []
        inputs = self._input_names(input_features)
        for name, knots, degree in zip(inputs, self.knots_, self.degrees_, strict=True):
            n = _width(knots, degree)
            names += [f"spline{j}({name})" for j in range(1, n + 1)] if len(knots) else [name]
        return np.asarray(names, dtype=object)


def _ranked(x: np.ndarray, values: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Return the map of a column (m,), linear between values."""
    exponent = _far_exponent(values)
    if exponent < 0:  # slopes between values as near to each other leave the range of doubles
        with np.errstate(over="ignore"):
            x, values = np.ldexp(x, -exponent), np.ldexp(values, -exponent)
    return np.interp(x, values, quantiles)


def _far_exponent(values: np.ndarray) -> int:
    """Return the exponent of the largest number if it is far from 0, and 0 if it is near."""
    exponent = int(np.frexp(np.abs(values).max())[1])
    return exponent if abs(exponent) > FAR_EXPONENT else 0


def _width(knots: np.ndarray, degree: int) -> int:
    """Return the number of outputs of a column."""
    return len(knots) + degree - 2 if len(knots) else 1


def _splined(x: np.ndarray, knots: np.ndarray, degree: int) -> np.ndarray:
    """Return a column (m,) as B-splines (m, q), without the last, as they add up to 1."""
    if not len(knots):
        return x[:, None]
    exponent = _far_exponent(knots)
    if exponent:
        with np.errstate(over="ignore"):
            x, knots = np.ldexp(x, -exponent), np.ldexp(knots, -exponent)
    first, last = knots[0], knots[-1]
    steps = np.arange(1, degree + 1)
    outer = first - (knots[1] - first) * steps[::-1], last + (last - knots[-2]) * steps
    spline = BSpline(
        np.concatenate([outer[0], knots, outer[1]]), np.eye(len(knots) + degree - 1), degree
    )
    unknown = np.isnan(x)
    output = spline(np.clip(np.where(unknown, first, x), first, last))
    for end, beyond in ((first, x < first), (last, x > last)):
        with np.errstate(over="ignore"):  # far beyond the range a line may leave the numbers
            output[beyond] += (x[beyond] - end)[:, None] * spline(end, nu=1)
    output[unknown] = np.nan
    return np.asarray(output[:, :-1])


def _distribution(column: np.ndarray, weight: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return distinct values and their mid-distribution function, without missing values.

    It depends neither on the order of rows nor on whether a row has weight 2 or occurs twice.
    """
    known = ~np.isnan(column)
    if weight is not None:
        known &= weight > 0
    values, inverse = np.unique(column[known], return_inverse=True)
    weights = None if weight is None else weight[known]
    mass = np.bincount(inverse, weights=weights, minlength=len(values)).astype(float)
    total = np.cumsum(mass)
    return values, (total - 0.5 * mass) / total[-1:]


def _evenly(quantiles: np.ndarray, most: int) -> np.ndarray:
    """Return the positions of at most `most` values, with evenly spaced quantiles."""
    if len(quantiles) <= most:
        return np.arange(len(quantiles))
    wanted = np.linspace(quantiles[0], quantiles[-1], most)
    kept = np.searchsorted(quantiles, wanted)
    kept[0], kept[-1] = 0, len(quantiles) - 1
    return np.unique(kept)


#: The bases that have a name. "linear" is the columns themselves.
BASES: dict[str, Any] = {"linear": None, "quantile": QuantileBasis, "spline": SplineBasis}
