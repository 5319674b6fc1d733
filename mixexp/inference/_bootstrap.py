"""The bootstrap, parametric and of cases, with experts that keep their numbers."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from mixexp._checks import checked_rng
from mixexp._compat import safe_indexing
from mixexp._drawn import drawn_targets
from mixexp._engine.assign import Soft
from mixexp._engine.em import Problem, evaluate
from mixexp._guests import in_threads
from mixexp._warn import silence
from mixexp.inference._covariance import refuse_other_rows
from mixexp.inference._estimates import check_level
from mixexp.inference._terms import Term, check_mixture, terms_of

__all__ = ["BootstrapEstimates", "bootstrap"]

KINDS = ("case", "parametric")


@dataclass(frozen=True)
class BootstrapEstimates:
    """Estimates of a fitted mixture and of its refits to bootstrap samples.

    Made by `bootstrap`.

    Attributes
    ----------
    parts : list of str
        What each parameter belongs to: "expert 0", "gate 1".
    outputs : list of str
        The output or class it concerns, empty for a single one.
    names : list of str
        The column, "intercept", "dispersion" or another name.
    estimates : ndarray of shape (n_parameters,)
        Values of the fitted mixture, in units of the input.
    samples : ndarray of shape (n_refits, n_parameters)
        Values of the refits; NaN where a column was constant in the sample.
    n_failed : int
        Refits that raised an error and have no row in `samples`.
    """

    parts: list[str]
    outputs: list[str]
    names: list[str]
    estimates: np.ndarray
    samples: np.ndarray
    n_failed: int

    @property
    def std_errors(self) -> np.ndarray:
        """Standard deviations of the refits, (n_parameters,)."""
        return np.nanstd(self.samples, axis=0, ddof=1)

    def intervals(self, level: float = 0.95) -> np.ndarray:
        """Return percentile intervals, (n_parameters, 2).

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
        ends = [(1 - level) / 2, (1 + level) / 2]
        return np.nanquantile(self.samples, ends, axis=0).T


def bootstrap(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    trials: Any = None,
    n_refits: int = 200,
    kind: str = "case",
    random_state: Any = None,
    n_jobs: int | None = None,
    feature_names: Any = None,
) -> BootstrapEstimates:
    """Refit a mixture to bootstrap samples, with experts numbered as in the fit.

    Every refit starts from the responsibilities of the fitted mixture, so that it finds the optimum
    nearest to it, and is renumbered by `align_experts`.

    Parameters
    ----------
    estimator : MixtureOfExpertsRegressor or MixtureOfExpertsClassifier
        Fitted without weights, groups and offset, with linear experts and a softmax or constant
        gate.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        The rows of the fit.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Their targets.
    trials : array-like of shape (n_samples,) or int, default=None
        Of a regressor of family "binomial" where y has one column, as in its `fit`.
    n_refits : int, default=200
        Number of samples.
    kind : {"case", "parametric"}, default="case"
        Rows drawn with replacement, or targets drawn from the fitted mixture at the same X.
    random_state : int, RandomState instance or None, default=None
        Seeds the samples.
    n_jobs : int or None, default=None
        Number of threads. The result does not depend on it.
    feature_names : sequence of str, default=None
        Names of the columns, as in `summary`. Default: those of the fit, else x0, x1, ... Of the
        mixture in a Pipeline, `mixexp.inspection.column_names` returns them.

    Returns
    -------
    BootstrapEstimates

    Raises
    ------
    ValueError
        If a parameter is invalid, gate or experts have no named parameters, or every refit fails.

    References
    ----------
    Efron & Tibshirani (1993), An introduction to the bootstrap, chapters 6 and 13. Grün & Leisch
    (2004), Bootstrapping finite mixture models, COMPSTAT: starts and numbering.

    Examples
    --------
    >>> from mixexp import MixtureOfExpertsRegressor
    >>> from mixexp.datasets import load_tone
    >>> from mixexp.inference import bootstrap
    >>> X, y = load_tone(return_X_y=True)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X, y)
    >>> bootstrap(model, X, y, n_refits=20, random_state=0).samples.shape
    (20, 10)
    """
    check_mixture(estimator, "bootstrap")
    if kind not in KINDS:
        raise ValueError(f"bootstrap: kind must be 'case' or 'parametric', got {kind!r}.")
    if not (isinstance(n_refits, Integral) and n_refits >= 2):
        raise ValueError(f"bootstrap: n_refits must be an integer of at least 2, got {n_refits!r}.")
    given = [name for name in estimator._fitted_with if name != "trials"]
    if given:
        raise ValueError(
            f"bootstrap: the {type(estimator).__name__} was fitted with {' and '.join(given)}, "
            "and refits to drawn rows have none. Use summary for such a fit, or fit without."
        )
    if kind == "parametric" and getattr(estimator, "class_weight", None) is not None:
        raise ValueError(
            f"bootstrap: kind='parametric' with class_weight={estimator.class_weight!r}: the "
            "fit has the weighted shares of the classes, so classes drawn from it would be "
            "weighted twice. Use kind='case', or fit without class_weight."
        )
    terms = terms_of(estimator)  # whose names are unique: values of refits are found by them
    named = terms_of(estimator, feature_names)
    y = estimator._model.target.counted(y, trials, type(estimator).__name__)
    _refuse_other(estimator, X, y)
    resp = estimator.responsibilities(X, y)
    seeds = checked_rng(random_state, "bootstrap").randint(2**31 - 1, size=n_refits)
    calls = [(estimator, X, y, resp, kind, int(seed)) for seed in seeds]
    refits = in_threads(_refit, calls, n_jobs, [silence(ConvergenceWarning)])
    found = [refit for refit in refits if not isinstance(refit, Exception)]
    if not found:
        raise ValueError(
            f"bootstrap: every refit failed; the first one said: {refits[0]}. Penalise gate and "
            "experts more, or lower n_experts."
        )
    samples = np.array([[refit.get(_key(term), np.nan) for term in terms] for refit in found])
    return BootstrapEstimates(
        [term.part for term in terms],
        [term.output for term in terms],
        [term.name for term in named],
        np.array([_value(term, estimator._model.state.parameters) for term in terms]),
        samples,
        len(refits) - len(found),
    )


def _refuse_other(estimator: Any, X: Any, y: Any) -> None:
    """Raise if rows are not those of the fit, to which all estimates belong."""
    if estimator.assignment != "soft":  # has another objective
        return
    rows, _ = estimator._rows_of_fit(X, y, None, None, None, None)
    found = evaluate(Problem(rows, Soft(), 1, 0.0), estimator._model.state, 0)
    refuse_other_rows(found.bound, estimator.lower_bound_, "bootstrap")


def _key(term: Term) -> tuple[str, str, str]:
    return term.part, term.output, term.name


def _value(term: Term, parameters: np.ndarray) -> float:
    value = float(term.weights @ parameters)
    return float(np.exp(value)) if term.exponential else value


def _refit(
    estimator: Any, X: Any, y: Any, resp: np.ndarray, kind: str, seed: int
) -> dict[tuple[str, str, str], float] | Exception:
    """Return the values of a refit by name; the error where a sample cannot be fitted."""
    rng = np.random.RandomState(seed)
    n = len(resp)
    if kind == "case":
        drawn = rng.randint(n, size=n)
        X_new, y_new, start = safe_indexing(X, drawn), safe_indexing(y, drawn), resp[drawn]
    else:
        X_new, y_new = X, drawn_targets(estimator, X, y, rng)
        start = estimator.responsibilities(X, y_new)
    k = len(estimator.experts_)
    start = start[:, :k] / start[:, :k].sum(axis=1, keepdims=True)
    try:
        refit = clone(estimator).set_params(init=start, n_init=1, random_state=seed)
        refit.set_params(**estimator._settled())
        refit.fit(X_new, y_new).align_experts(estimator, X, y)
    except ValueError as error:
        return error
    parameters = refit._model.state.parameters
    return {_key(term): _value(term, parameters) for term in terms_of(refit)}
