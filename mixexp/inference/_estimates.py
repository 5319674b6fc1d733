"""Estimates with a covariance: standard errors, tests, intervals."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import chi2, norm

from mixexp._checks import as_numbers, short

__all__ = ["ParameterEstimates", "WaldTest"]

#: Eigenvalue of a correlation matrix below which combinations depend on each other.
RANK_TOL = 1e-9

#: Standard errors by which values of dependent combinations may differ by rounding.
CONTRADICTION = 1e-6


def check_level(level: float) -> None:
    """Raise if the coverage of intervals is not between 0 and 1."""
    if not isinstance(level, Real) or not 0 < level < 1:
        raise ValueError(
            f"intervals: level must be between 0 and 1, got {level!r}. Give one number, like 0.95."
        )


class WaldTest(NamedTuple):
    """Result of a Wald test.

    Attributes
    ----------
    statistic : float
        (Rφ − q)ᵀ (R V Rᵀ)⁻¹ (Rφ − q).
    df : int
        Degrees of freedom, the rank of R V Rᵀ.
    pvalue : float
        From the chi-squared distribution.
    """

    statistic: float
    df: int
    pvalue: float


@dataclass(frozen=True)
class ParameterEstimates:
    """Estimates of a fitted mixture in units of the input, with their covariance.

    Made by `mixexp.inference.summarize`. Parameters that are held (a dispersion on its floor, fixed
    degrees of freedom) have no standard error: NaN.

    Attributes
    ----------
    parts : list of str
        What each parameter belongs to: "expert 0", "gate 1".
    outputs : list of str
        The output or class it concerns, empty for a single one.
    names : list of str
        The column, "intercept", "dispersion" or another name.
    estimates : ndarray of shape (n_parameters,)
        Their values.
    covariance : ndarray of shape (n_parameters, n_parameters)
        Estimated covariance of the estimates; 0 for those that are held.
    positive : ndarray of bool of shape (n_parameters,)
        Parameters that are positive; their intervals are made on the scale of the logarithm.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> X, y = load_tone(return_X_y=True)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    >>> estimates = model.summary(X, y).estimates
    >>> estimates.names[:3]
    ['intercept', 'x0', 'dispersion']
    """

    parts: list[str]
    outputs: list[str]
    names: list[str]
    estimates: np.ndarray
    covariance: np.ndarray
    positive: np.ndarray

    @property
    def std_errors(self) -> np.ndarray:
        """Standard errors (n_parameters,)."""
        variance = self.covariance.diagonal()
        return np.sqrt(np.where(variance > 0, variance, np.nan))

    @property
    def z_values(self) -> np.ndarray:
        """Estimates over standard errors (n_parameters,); NaN for those that are positive."""
        return np.where(self.positive, np.nan, self.estimates / self.std_errors)

    @property
    def p_values(self) -> np.ndarray:
        """Two-sided p-values of the hypotheses that a parameter is 0, (n_parameters,)."""
        return 2 * norm.sf(np.abs(self.z_values))

    def intervals(self, level: float = 0.95) -> np.ndarray:
        """Return Wald intervals, (n_parameters, 2).

        Parameters
        ----------
        level : float, default=0.95
            Coverage, between 0 and 1.

        Returns
        -------
        ndarray of shape (n_parameters, 2)

        Raises
        ------
        ValueError
            If `level` is not between 0 and 1.
        """
        check_level(level)
        reach = norm.ppf(0.5 + level / 2) * self.std_errors
        plain = np.stack([self.estimates - reach, self.estimates + reach], axis=1)
        with np.errstate(all="ignore"):
            factor = np.exp(reach / self.estimates)
            ratio = np.stack([self.estimates / factor, self.estimates * factor], axis=1)
        return np.where(self.positive[:, None], ratio, plain)

    def wald_test(self, constraints: Any, values: Any = 0.0) -> WaldTest:
        """Test that linear combinations of the parameters have given values.

        Parameters
        ----------
        constraints : array-like of shape (n_tests, n_parameters), or of int (n_tests,)
            The combinations R, or positions of parameters that are tested together.
        values : float or array-like of shape (n_tests,), default=0.0
            The hypothesised values q.

        Returns
        -------
        WaldTest

        Raises
        ------
        ValueError
            If `constraints` has the wrong shape or names unknown positions, a combination has no
            standard error, or the hypotheses contradict each other.
        """
        rows = self._constraints(constraints)
        remedy = "Give one finite number, or one for each combination."
        values = as_numbers(values, "values", "wald_test", remedy)
        if values.shape not in ((), (len(rows),)) or not np.all(np.isfinite(values)):
            raise ValueError(
                f"wald_test: values={short(values)} for {len(rows)} combinations. {remedy}"
            )
        gap = rows @ self.estimates - values
        covariance = rows @ self.covariance @ rows.T
        variance = covariance.diagonal()
        if not np.all(variance > 0):
            raise ValueError(
                "wald_test: a combination concerns only parameters that are held, which have no "
                "standard errors. Leave it out."
            )
        scale = np.sqrt(variance)  # units differ between columns
        eigenvalues, vectors = np.linalg.eigh(covariance / scale[:, None] / scale)
        kept = eigenvalues > RANK_TOL * len(rows)
        turned = vectors.T @ (gap / scale)
        rounding = CONTRADICTION * max(1.0, float(np.abs(gap / scale).max()))
        if np.any(np.abs(turned[~kept]) > rounding):
            raise ValueError(
                "wald_test: the hypotheses contradict each other: some combinations depend on the "
                "others, as centred gate coefficients do, and their values do not fit together."
            )
        df = int(np.count_nonzero(kept))
        statistic = float(np.sum(turned[kept] ** 2 / eigenvalues[kept]))
        return WaldTest(statistic, df, float(chi2.sf(statistic, df)))

    def _constraints(self, constraints: Any) -> np.ndarray:
        """Return the combinations (n_tests, n_parameters)."""
        rows, size = np.asarray(constraints), len(self.estimates)
        if rows.dtype == bool and rows.shape == (size,):
            rows = np.flatnonzero(rows)
        if rows.ndim == 1 and np.issubdtype(rows.dtype, np.integer) and len(rows):
            if rows.min() < -size or rows.max() >= size:
                raise ValueError(
                    f"wald_test: constraints name the positions {rows.tolist()}, and there are "
                    f"{size} parameters, 0 to {size - 1}."
                )
            return np.eye(size)[rows]
        if rows.ndim != 2 or rows.shape[1] != size or not len(rows):
            raise ValueError(
                f"wald_test: constraints must be positions of parameters, or have shape (n_tests, "
                f"{size}), one column a parameter; got an array of shape {np.shape(constraints)}."
            )
        remedy = "Give finite weights of the parameters."
        rows = as_numbers(rows, "constraints", "wald_test", remedy)
        if not np.all(np.isfinite(rows)):
            raise ValueError(f"wald_test: constraints has values that are not finite. {remedy}")
        return rows

    def to_frame(self, level: float = 0.95) -> Any:
        """Return a pandas data frame, one row a parameter.

        Parameters
        ----------
        level : float, default=0.95
            Coverage of the intervals.

        Returns
        -------
        pandas.DataFrame
            Indexed by part, output and name.
        """
        import pandas as pd

        low, high = self.intervals(level).T
        index = pd.MultiIndex.from_arrays(
            [self.parts, self.outputs, self.names], names=["part", "output", "name"]
        )
        return pd.DataFrame(
            {
                "estimate": self.estimates,
                "std_error": self.std_errors,
                "z": self.z_values,
                "p_value": self.p_values,
                "low": low,
                "high": high,
            },
            index=index,
        )
