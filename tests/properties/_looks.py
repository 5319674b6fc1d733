"""What must hold of every mixture: each function returns a list of faults, empty if all is well."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from contextlib import contextmanager
from typing import Any

import numpy as np
from _draws import Case

#: A fall of the bound by more than this, relative to max(1, |bound|), is one.
FALL = 1e-8

#: Log-densities this far below the largest that there may be, which rises as dispersions fall, may
#: rest on gate probabilities that are too small for doubles, which a predicted distribution lacks.
LEAST = -700.0

#: The square of a mean beyond this leaves the range of doubles, and so does a variance.
FAR_MEAN = 1e150

#: Probabilities this near to 1 have a complement that is known to seven digits.
CERTAIN = 1e-9

#: Quantiles below this are subnormal, and cannot be told from their neighbours: gamma laws of large
#: coefficients of variation have such.
TINY = np.finfo(float).tiny

#: Steps between neighbouring doubles by which a quantile may be off.
ULPS = 4

#: Arguments of `fit` that a message may name beside parameters.
ARGUMENTS = ("X", "y", "sample_weight", "groups", "offset", "expert_labels")


@contextmanager
def strict():
    """Let warnings of numpy in mixexp be errors, and those for users pass."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", category=RuntimeWarning, module="mixexp")
        yield


def names_a_parameter(error: Exception, model: Any) -> bool:
    """Return whether a message names a parameter of the mixture or of `fit`, or a part by class."""
    params = model.get_params(deep=True)
    known = {word for name in params for word in name.split("__")} | set(ARGUMENTS)
    known |= {type(value).__name__ for value in params.values() if hasattr(value, "get_params")}
    return bool(known & set(re.findall(r"\w+", str(error))))


def faults_of(case: Case, counts: Counter | None = None) -> list[str]:
    """Fit a case and return its faults."""
    counts = Counter() if counts is None else counts
    counts.update(
        f"{name}={value}" for name, value in case.picks.items() if name not in ("n", "d", "seed")
    )
    with strict():
        try:
            case.model.fit(case.X, case.y, **case.fit)
        except (ValueError, TypeError) as error:
            counts.update(["refused", f"refused: {str(error)[:90]}"])
            named = names_a_parameter(error, case.model)
            return [] if named else [f"{type(error).__name__} names no parameter: {error}"]
        large = case.picks["n_experts"] > 1 and case.picks["n"] >= 50
        counts.update(["fitted", *(["converged"] if case.model.converged_ else [])])
        counts.update(["converged, K >= 2, n >= 50"] if case.model.converged_ and large else [])
        if not experts_reach(case):
            counts.update(["an expert overflows at a row of another, refused by name"])
            return falls(case)
        faults = not_finite(case) + not_probabilities(case) + falls(case)
        if case.picks["kind"] == "numbers":
            faults += not_one_density(case)
        return faults


def experts_reach(case: Case) -> bool:
    """Return whether every expert predicts for all rows of training.

    An estimator of others with a log link may overflow at rows that it never saw, which is refused.
    """
    offset = {"offset": case.fit["offset"]} if "offset" in case.fit else {}
    try:
        case.model.predict_experts(case.X, **offset)
    except ValueError as error:
        if "predicts NaN or infinity" not in str(error) or "family" not in case.picks:
            raise
        if case.picks["family"] not in ("poisson", "negative_binomial", "gamma"):
            raise
        return False
    return True


def not_finite(case: Case) -> list[str]:
    """Return which results hold NaN or inf, for training rows and for rows far away."""
    model, X, y = case.model, case.X, case.y
    offset = {"offset": case.fit["offset"]} if "offset" in case.fit else {}
    values = {
        "lower_bounds_": model.lower_bounds_,
        "usage_": model.usage_,
        "gate_proba": model.gate_proba(X),
        "route": model.route(X),
        "predict_experts": model.predict_experts(X, **offset),
        "responsibilities": responsibilities(case),
    }
    if case.picks["kind"] == "classes":
        values |= {"predict_proba": model.predict_proba(X)}
        values |= {"predict_log_proba": model.predict_log_proba(X)}
        known = np.isin(y, model.classes_)  # a label may have no weight
        values |= {"log_density": model.log_density(X[known], y[known])}
    else:
        values |= {"predict": model.predict(X, **offset)}
        values |= {"dispersions_": getattr(model, "dispersions_", 0.0)}  # poisson has none
        values |= {"log_density": model.log_density(X, y, **offset)}
        law = model.predict_distribution(X, **offset)
        if case.picks["family"] != "student_t" or np.all(law.parameters[1] > 2):  # else none
            std = model.predict(X, **offset, return_std=True)[1]
            far_means = np.abs(model.predict_experts(X, **offset)).max() > FAR_MEAN
            values |= {"predict std": np.nan_to_num(std, nan=np.nan) if far_means else std}
    allowed = {"log_density", "predict_log_proba"}  # log 0 where a row has no mass
    faults = [
        f"{name} holds {np.asarray(of)[~np.isfinite(of)][0]}"
        for name, of in values.items()
        if not np.all(np.isfinite(of)) and (name not in allowed or np.any(~(of < np.inf)))
    ]
    return faults + not_finite_far_away(case, offset)


def responsibilities(case: Case) -> np.ndarray:
    """Return the responsibilities of the rows whose label has weight."""
    offset = {"offset": case.fit["offset"]} if "offset" in case.fit else {}
    known = np.ones(len(case.y), dtype=bool)
    if case.picks["kind"] == "classes":
        known = np.isin(case.y, case.model.classes_)
    return case.model.responsibilities(case.X[known], case.y[known], **offset)


def not_finite_far_away(case: Case, offset: dict[str, Any]) -> list[str]:
    """Return which results for rows far from those of training hold NaN or inf."""
    model = case.model
    far = case.X * 64 if case.picks["scale"] != "huge" else case.X / 64
    values = {}
    try:
        values["gate_proba of far rows"] = model.gate_proba(far)
        values["route of far rows"] = model.route(far)
        values["predict of far rows"] = (
            model.predict_proba(far)
            if case.picks["kind"] == "classes"
            else model.predict(far, **offset)
        )
    except ValueError as error:  # an estimator of others may give inf there
        if not re.search("(predicts|predict_proba gives) NaN or infinity", str(error)):
            raise
    return [f"{name} is not finite" for name, of in values.items() if not np.isfinite(of).all()]


def not_probabilities(case: Case) -> list[str]:
    """Return which rows of probabilities do not add up to 1."""
    model, X = case.model, case.X
    rows = {
        "gate_proba": model.gate_proba(X),
        "route": model.route(X),
        "responsibilities": responsibilities(case),
        "usage_": np.atleast_2d(model.usage_),
    }
    if case.picks["kind"] == "classes":
        rows["predict_proba"] = model.predict_proba(X)
    return [
        f"{name} is no probability: sums from {of.sum(axis=1).min()} to {of.sum(axis=1).max()}"
        for name, of in rows.items()
        if of.min() < 0 or not np.allclose(of.sum(axis=1), 1, rtol=0, atol=1e-9)
    ]


def falls(case: Case) -> list[str]:
    """Return by how much the bound fell, where it must not."""
    bounds = case.model.lower_bounds_
    change = np.diff(bounds) / np.maximum(1, np.abs(bounds[:-1]))
    fell = case.climbs and np.any(change < -FALL)
    return [f"the bound fell by {-change.min():.3g} of itself"] if fell else []


def not_one_density(case: Case) -> list[str]:
    """Return where the density of rows, the predicted distribution and its integral disagree."""
    model, X, y = case.model, case.X, case.y
    if model.noise_expert:
        return []  # a density of rows, not a part of predictions
    offset = {"offset": case.fit["offset"]} if "offset" in case.fit else {}
    trials = {"trials": y.sum(axis=1)} if case.picks["family"] == "binomial" else {}
    law = model.predict_distribution(X, **offset, **trials)
    density, other = model.log_density(X, y, **offset), law.logpdf(y[:, 0] if trials else y)
    faults = []
    several = case.picks["target"] == "two" and len(model.experts_) > 1  # marginals
    least = LEAST - np.log(np.min(getattr(model, "dispersions_", 1.0), initial=1.0))
    seen = np.zeros(len(y), bool) if several else density > least
    if trials:  # a law holds the probability of success, to which that of failure is rounding
        seen &= law.means.max(axis=1) < 1 - CERTAIN
    if not np.allclose(density[seen], other[seen], rtol=1e-7, atol=1e-7):
        worst = np.abs(density[seen] - other[seen]).max()
        faults.append(f"log_density and predict_distribution differ by {worst:.3g}")
    if np.any(np.isnan(other)):
        faults.append("logpdf is NaN")
    low, middle, high = law.quantile(0.1), law.median(), law.quantile(0.9)
    if not np.all(np.isfinite(low) & np.isfinite(high)):
        faults.append("a quantile is not finite")
    if np.any(low > middle) or np.any(middle > high):
        faults.append("quantiles are not in order")
    for level, at in ((0.1, low), (0.9, high)):
        step = ULPS * np.spacing(np.abs(at))  # a narrow law may rise by much between two doubles
        if np.any((law.cdf(at + step) < level - 1e-6) & (np.abs(at) > TINY)):
            faults.append(f"cdf of the quantile {level} is {law.cdf(at + step).min():.9g}")
    return faults
